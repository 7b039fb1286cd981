use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::backoff::Backoff;

/// Files in memory, on a disk that takes so many more bytes; then it is full, or the process is dead.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Bytes until the process is killed: a write is cut there, and nothing happens after.
    until_killed: Option<usize>,
    is_dead: bool,
    /// Bytes of room on the disk.
    room: Option<usize>,
}

impl State {
    /// Bytes of a write that come through.
    fn take(&mut self, wanted: usize) -> io::Result<usize> {
        if self.is_dead {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut n = wanted;
        if let Some(left) = &mut self.until_killed {
            n = n.min(*left);
            *left -= n;
            self.is_dead = n < wanted;
        }
        if let Some(room) = &mut self.room {
            n = n.min(*room);
            *room -= n;
        }
        Ok(n)
    }

    /// A step that happens or not.
    fn step(&mut self) -> io::Result<()> {
        match self.take(1)? {
            0 if self.is_dead => Err(io::ErrorKind::Interrupted.into()),
            _ => Ok(()),
        }
    }
}

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let state = self.0.borrow();
        let files = state.files.iter();
        Ok(files
            .map(|(name, bytes)| (name.clone(), bytes.len() as u64))
            .collect())
    }

    fn read(&self, name: &str, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let state = self.0.borrow();
        let bytes = state.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        Ok(rest[..rest.len().min(most)].to_vec())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let n = state.take(bytes.len())?;
        let file = state.files.entry(name.to_owned()).or_default();
        file.extend_from_slice(&bytes[..n]);
        if n < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.step()?;
        if let Some(file) = state.files.get_mut(name) {
            file.truncate(length as usize);
        }
        Ok(())
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        if state.take(bytes.len())? < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.files.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.step()?;
        state.files.remove(name);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const ROOMY: Limits = Limits {
    max_bytes: 1 << 20,
    shed: Shed::Oldest,
};

fn payloads(spool: &mut Spool<Memory>) -> Vec<Vec<u8>> {
    let frames = spool.oldest(usize::MAX).unwrap();
    frames.into_iter().map(|frame| frame.payload).collect()
}

#[derive(Clone, Debug)]
enum Step {
    /// Puts a record of so many bytes in.
    Append(usize),
    /// The far side answers for some of the oldest, each by a bit.
    Finish(u8),
    /// The process is killed so many bytes later, and started again.
    Kill(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0_usize..90).prop_map(Step::Append),
        3 => any::<u8>().prop_map(Step::Finish),
        2 => (0_usize..400).prop_map(Step::Kill),
    ];
    prop::collection::vec(step, 1..120)
}

/// Records that have to be in the spool: numbers with their bytes.
#[derive(Default)]
struct Model {
    waiting: BTreeMap<u64, Vec<u8>>,
    /// Answered for; these may come again once after a kill.
    finished: BTreeMap<u64, Vec<u8>>,
    n_made: u64,
}

impl Model {
    /// Holds the spool against what is known: all that waits is there, whole and in order, and
    /// nothing else but what was answered for before.
    fn check(&self, spool: &mut Spool<Memory>) {
        let found = spool.oldest(usize::MAX).unwrap();
        assert!(found.windows(2).all(|two| two[0].seq < two[1].seq));
        let mut waiting = self.waiting.clone();
        for frame in &found {
            let known = waiting
                .remove(&frame.seq)
                .or_else(|| self.finished.get(&frame.seq).cloned());
            assert_eq!(known.as_ref(), Some(&frame.payload), "record {}", frame.seq);
        }
        assert!(waiting.is_empty(), "lost: {:?}", waiting.keys());
        assert_eq!(spool.n_waiting(), found.len() as u64);
    }
}

fn restart(disk: &Memory, limits: Limits) -> Spool<Memory> {
    let mut state = disk.0.borrow_mut();
    (state.is_dead, state.until_killed) = (false, None);
    drop(state);
    Spool::open(disk.clone(), limits).unwrap()
}

fn carry_out(step: &Step, spool: &mut Spool<Memory>, model: &mut Model) {
    match step {
        Step::Append(n) => {
            model.n_made += 1;
            let payload = vec![model.n_made as u8; *n];
            if let Some(seq) = spool.append(model.n_made, &payload) {
                model.waiting.insert(seq, payload);
            }
        }
        Step::Finish(bits) => {
            let oldest = spool.oldest(8).unwrap_or_default();
            let chosen = oldest.iter().enumerate();
            let chosen = chosen.filter(|(i, _)| bits >> i & 1 == 1);
            let numbers: Vec<u64> = chosen.map(|(_, frame)| frame.seq).collect();
            let _noted = spool.finish(&numbers);
            for seq in numbers {
                if let Some(payload) = model.waiting.remove(&seq) {
                    model.finished.insert(seq, payload);
                }
            }
        }
        Step::Kill(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Kills at any byte of any write lose nothing that was taken, and invent nothing.
    #[test]
    fn a_kill_at_any_byte_loses_no_record(steps in steps()) {
        let disk = Memory::default();
        let limits = Limits { max_bytes: 1 << 20, shed: Shed::Oldest };
        // Small segments, so that many are begun and removed.
        let limits = Limits { max_bytes: limits.max_bytes.min(64 << 10), ..limits };
        let mut spool = restart(&disk, limits);
        let mut model = Model::default();
        for step in &steps {
            if let Step::Kill(bytes) = step {
                disk.0.borrow_mut().until_killed = Some(*bytes);
                continue;
            }
            carry_out(step, &mut spool, &mut model);
            if disk.0.borrow().is_dead {
                spool = restart(&disk, limits);
            }
            model.check(&mut spool);
        }
        model.check(&mut restart(&disk, limits));
    }

    /// Whatever gives way is counted, and is the oldest.
    #[test]
    fn what_finds_no_room_is_counted(steps in steps()) {
        let disk = Memory::default();
        let limits = Limits { max_bytes: 1_200, shed: Shed::Oldest };
        let mut spool = restart(&disk, limits);
        let mut model = Model::default();
        for step in &steps {
            carry_out(step, &mut spool, &mut model);
            let found = spool.oldest(usize::MAX).unwrap();
            let n_shed = model.waiting.len() - found.len();
            let n_refused = model.n_made as usize - model.waiting.len() - model.finished.len();
            prop_assert_eq!(spool.lost().full as usize, n_shed + n_refused);
            let newest: Vec<_> = model.waiting.iter().skip(n_shed).collect();
            let found: Vec<_> = found.iter().map(|f| (&f.seq, &f.payload)).collect();
            prop_assert_eq!(newest, found);
            let n_bytes: usize = disk.0.borrow().files.iter()
                .filter(|(name, _)| name.ends_with(".seg")).map(|(_, bytes)| bytes.len()).sum();
            prop_assert!(n_bytes as u64 <= limits.max_bytes);
        }
    }

    /// Damage at any place costs the records of that place alone.
    #[test]
    fn damage_is_counted_and_set_aside(at in 0_usize..2_000, n in 1_usize..12) {
        let disk = Memory::default();
        let mut spool = restart(&disk, ROOMY);
        for i in 0..n {
            spool.append(1, &[i as u8; 100]).unwrap();
        }
        let name = spool.segments[0].name.clone();
        let length = disk.0.borrow().files[&name].len();
        disk.0.borrow_mut().files.get_mut(&name).unwrap()[at % length] ^= 0x40;
        let n_whole = (at % length) / 124;
        prop_assert_eq!(payloads(&mut spool).len(), n_whole);
        prop_assert_eq!(spool.lost().damaged as usize, n - n_whole);
        prop_assert!(disk.0.borrow().files.contains_key(TORN));
        // It goes on.
        let seq = spool.append(2, b"after").unwrap();
        prop_assert_eq!(spool.oldest(usize::MAX).unwrap().last().unwrap().seq, seq);
        let mut again = restart(&disk, ROOMY);
        prop_assert_eq!(payloads(&mut again).len(), n_whole + 1);
    }
}

#[test]
fn the_newest_gives_way_where_that_is_wanted() {
    let disk = Memory::default();
    let limits = Limits {
        max_bytes: 800,
        shed: Shed::Newest,
    };
    let mut spool = restart(&disk, limits);
    let taken = (0..20).filter(|n| spool.append(*n, &[7; 76]).is_some());
    assert_eq!(taken.count(), 8);
    assert_eq!(spool.lost().full, 12);
    let first = spool.oldest(8).unwrap();
    assert_eq!(first[0].seq, 1);
    spool.finish(&[1, 2]).unwrap();
    assert!(spool.append(21, &[7; 76]).is_some());
}

#[test]
fn a_full_disk_is_counted_and_passes() {
    let disk = Memory::default();
    let mut spool = restart(&disk, ROOMY);
    spool.append(1, b"first").unwrap();
    disk.0.borrow_mut().room = Some(10);
    assert_eq!(spool.append(2, b"second"), None);
    assert_eq!(spool.append(3, b"third"), None);
    assert_eq!(spool.lost().disk, 2);
    disk.0.borrow_mut().room = None;
    spool.append(4, b"fourth").unwrap();
    let wanted = [b"first".to_vec(), b"fourth".to_vec()];
    assert_eq!(payloads(&mut spool), wanted);
    assert_eq!(payloads(&mut restart(&disk, ROOMY)), wanted);
}

#[test]
fn a_file_that_was_removed_costs_its_records_alone() {
    let disk = Memory::default();
    let limits = Limits {
        max_bytes: 4_000,
        shed: Shed::Oldest,
    };
    let mut spool = restart(&disk, limits);
    for n in 0..20 {
        spool.append(n, &[1; 76]).unwrap();
    }
    let name = spool.segments[1].name.clone();
    let n_gone = spool.segments[1].end - spool.segments[1].first;
    disk.0.borrow_mut().files.remove(&name);
    assert_eq!(spool.oldest(100).unwrap().len() as u64, 20 - n_gone);
    assert_eq!(spool.lost().damaged, n_gone);
}

#[test]
fn numbers_go_on_after_everything_was_delivered() {
    let disk = Memory::default();
    let mut spool = restart(&disk, ROOMY);
    assert_eq!(spool.append(1, b"a"), Some(1));
    assert_eq!(spool.oldest_ns(), Some(1));
    spool.finish(&[1]).unwrap();
    assert_eq!((spool.n_waiting(), spool.waiting_bytes()), (0, 0));
    assert_eq!(spool.oldest_ns(), None);
    let mut spool = restart(&disk, ROOMY);
    assert_eq!(spool.append(2, b"b"), Some(2));
    assert_eq!(spool.oldest_ns(), Some(2));
    // Even where somebody cleared the segments.
    disk.0.borrow_mut().files.retain(|name, _| name == CURSOR);
    assert_eq!(restart(&disk, ROOMY).append(3, b"c"), Some(2));
}

#[test]
fn a_folder_keeps_what_it_was_given() {
    let path = std::env::temp_dir().join(format!("sensor-spool-{}", std::process::id()));
    let _none = std::fs::remove_dir_all(&path);
    let open = || Spool::open(Folder::open(&path).unwrap(), ROOMY).unwrap();
    let mut spool = open();
    for n in 0..3 {
        spool.append(n, format!("record {n}").as_bytes()).unwrap();
    }
    spool.sync().unwrap();
    spool.finish(&[1]).unwrap();
    let found = open().oldest(9).unwrap();
    assert_eq!(found[0].payload, b"record 1");
    assert_eq!(found.len(), 2);
    std::fs::remove_dir_all(&path).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    /// A far side that is away for a day costs nothing but room: whenever records come, however often the
    /// process begins anew, each is delivered in its turn, at the latest a longest wait after the day.
    #[test]
    fn a_day_without_the_far_side_loses_nothing(
        came in prop::collection::vec((1_u64..300, 0_usize..2_000, 0_u8..50), 600..900),
        seed in any::<u64>(),
    ) {
        const DAY: u64 = 24 * 3_600;
        const LONGEST: Duration = Duration::from_secs(300);
        let disk = Memory::default();
        let limits = Limits { max_bytes: 2 << 20, shed: Shed::Oldest };
        let mut spool = restart(&disk, limits);
        let mut waits = Backoff::new(Duration::from_secs(1), LONGEST, seed);
        // Seconds of a made-up clock; the first try fails at once.
        let (mut now, mut next_try, mut wanted) = (0, 0, Vec::new());
        for (gap, bytes, dice) in came.iter().cycle() {
            now += gap;
            if now > DAY {
                break;
            }
            while next_try <= now {
                next_try += waits.next(None).as_secs().max(1);
            }
            if *dice == 0 {
                spool = restart(&disk, limits);
            }
            let payload = vec![wanted.len() as u8; *bytes];
            let seq = spool.append(now * 1_000_000_000, &payload);
            wanted.push((seq.unwrap(), payload));
            prop_assert_eq!(spool.n_waiting() as usize, wanted.len());
        }
        while next_try <= DAY {
            next_try += waits.next(None).as_secs().max(1);
        }
        prop_assert!(next_try <= DAY + LONGEST.as_secs());
        let mut delivered = Vec::new();
        while spool.n_waiting() > 0 {
            let frames = spool.oldest(50).unwrap();
            let numbers: Vec<u64> = frames.iter().map(|frame| frame.seq).collect();
            delivered.extend(frames.into_iter().map(|frame| (frame.seq, frame.payload)));
            spool.finish(&numbers).unwrap();
        }
        prop_assert!(wanted.len() > 300, "{}", wanted.len());
        prop_assert_eq!(delivered, wanted);
        prop_assert_eq!(spool.lost(), Lost::default());
    }
}
