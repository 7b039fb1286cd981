//! The ring as its users meet it.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use sensor_capture::pcap::EthernetFrame;
use sensor_common::event::EventHead;
use sensor_common::packet::tcp_flags;
use sensor_engine::from_ip;
use sensor_record::Timestamp;

use super::*;

const NOW_NS: u64 = 1_800_000_000 * SECOND_NS;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sensor-ring-{}-{n}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _absent = std::fs::remove_dir_all(&self.0);
    }
}

/// Everything within a span.
struct All(u64, u64);

impl Wanted for All {
    fn span(&self) -> (Timestamp, Timestamp) {
        (Timestamp(self.0), Timestamp(self.1))
    }

    fn comment(&mut self, _: Timestamp, frame: &EthernetFrame<'_>) -> Option<String> {
        assert_eq!(frame.data[12..14], [0x08, 0x00]);
        Some(String::new())
    }

    fn told(&self) -> String {
        "all".to_owned()
    }
}

/// Packets from one of these ports, and how many there were.
struct OfPorts<'a>(&'a HashSet<u16>, usize);

impl Wanted for OfPorts<'_> {
    fn span(&self) -> (Timestamp, Timestamp) {
        (Timestamp(0), Timestamp(u64::MAX))
    }

    fn comment(&mut self, _: Timestamp, frame: &EthernetFrame<'_>) -> Option<String> {
        let port = u16::from_be_bytes([frame.data[34], frame.data[35]]);
        self.1 += usize::from(self.0.contains(&port));
        None
    }

    fn told(&self) -> String {
        "of ports".to_owned()
    }
}

fn head(at_ns: u64, kind: Kind) -> EventHead {
    let mut head = EventHead {
        at_ns,
        kind: kind as u8,
        ..EventHead::default()
    };
    let of = |text: &str| from_ip(text.parse::<IpAddr>().unwrap());
    (head.packet.source, head.packet.destination) = (of("192.0.2.7"), of("10.0.0.1"));
    (head.packet.protocol, head.packet.tcp_flags) = (6, tcp_flags::SYN);
    head
}

fn see(end: &mut RingEnd, at_ns: u64, kind: Kind) {
    let head = head(at_ns, kind);
    let sample = Sample {
        head: &head,
        payload: &[7; 100],
    };
    end.see(&sample, Some("eth0"));
}

fn opened(folder: &Folder, change: impl FnOnce(&mut RingSettings)) -> (RingKeeper, RingEnd) {
    let mut settings = RingSettings::default();
    change(&mut settings);
    open(&settings, &folder.0).unwrap()
}

#[test]
fn packets_are_found_again_by_time_also_after_a_cut() {
    let folder = Folder::new();
    let (keeper, mut end) = opened(&folder, |_| {});
    for s in 0..100 {
        see(&mut end, NOW_NS + s * SECOND_NS, Kind::Tcp);
    }
    let ring = end.ring();
    drop(end);
    keeper.run(|| NOW_NS).unwrap();
    assert_eq!((ring.state().packets, ring.state().lost), (100, 0));
    let found = ring
        .select(&mut All(NOW_NS, NOW_NS + 9 * SECOND_NS))
        .unwrap();
    assert_eq!((found.n_packets, found.n_left_out), (10, 0));
    assert_eq!(found.since, Some(Timestamp(NOW_NS)));
    // The payload stays away: 14 + 20 + 20 bytes are headers.
    assert!(!found.file.windows(4).any(|part| part == [7; 4]));
    let (_, path) = files::set(&folder.0, 0).list().pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 30]).unwrap();
    let found = ring.select(&mut All(0, u64::MAX)).unwrap();
    assert_eq!(found.n_packets, 99);
}

#[test]
fn a_flood_of_beginnings_leaves_room_and_is_counted() {
    let folder = Folder::new();
    let (keeper, mut end) = opened(&folder, |settings| settings.packets_per_s = 100);
    for _ in 0..1_000 {
        see(&mut end, NOW_NS, Kind::FlowStarted);
    }
    for _ in 0..60 {
        see(&mut end, NOW_NS, Kind::Tcp);
    }
    let ring = end.ring();
    drop(end);
    keeper.run(|| NOW_NS).unwrap();
    // Half of the room of beginnings is for flows of low ranks.
    assert_eq!(ring.state().thinned, 975);
    assert_eq!(ring.state().packets, 85);
}

#[test]
fn of_a_flood_the_ring_has_packets_of_flows_that_the_store_shows() {
    let folder = Folder::new();
    let (keeper, mut end) = opened(&folder, |_| {});
    let bounds = sensor_store::Bounds {
        max_bytes: 16 << 20,
        max_age_s: 3_600,
        flows_per_s: 1_000,
    };
    let mut store = sensor_store::Writer::open(&folder.0, bounds).unwrap();
    let victim: IpAddr = "10.0.0.1".parse().unwrap();
    let source: IpAddr = "192.0.2.7".parse().unwrap();
    // 20,000 flows a second, that the store hears of late: its seconds are not those of the ring.
    for n in 0..50_000_u32 {
        let at_ns = NOW_NS + u64::from(n) * 50_000;
        let port = 1_024 + u16::try_from(n).unwrap();
        let mut head = head(at_ns, Kind::FlowStarted);
        (head.packet.source_port, head.packet.destination_port) = (port, 80);
        let sample = Sample {
            head: &head,
            payload: &[],
        };
        end.see(&sample, Some("eth0"));
        store.take_flow(sensor_store::Flow {
            start_ns: at_ns,
            end_ns: at_ns,
            source: victim,
            source_port: 80,
            destination: source,
            destination_port: port,
            protocol: 6,
            packets: [1, 1],
            bytes: [60, 60],
            end_reason: "end of Flow detected",
        });
        if n % 20_000 == 14_000 {
            store.commit(NOW_NS / SECOND_NS);
        }
    }
    store.commit(NOW_NS / SECOND_NS);
    let ring = end.ring();
    drop(end);
    keeper.run(|| NOW_NS).unwrap();
    let filter = sensor_store::Filter::parse("host 192.0.2.7", NOW_NS).unwrap();
    let shown = sensor_store::Reader::new(&folder.0).find(&filter, 1_000);
    let shown: HashSet<u16> = shown
        .unwrap()
        .flows
        .iter()
        .map(|one| one.destination_port)
        .collect();
    let mut of_shown = OfPorts(&shown, 0);
    ring.select(&mut of_shown).unwrap();
    assert!(shown.len() == 1_000 && of_shown.1 > 100, "{}", of_shown.1);
}

/// Writes until it is killed; says how many packets the disk has been handed.
#[test]
fn writes_until_killed() {
    let Some(folder) = std::env::var_os("SENSOR_RING_VICTIM") else {
        return;
    };
    use std::io::Write as _;
    let mut files = Files::open(folder.as_ref(), 1 << 30, 100_000_000).unwrap();
    let frame = [&[0; 12][..], &[8, 0], &[0; 46]].concat();
    for n in 0..100_000 {
        for _ in 0..20 {
            files.put(&Kept {
                at_ns: NOW_NS + n * SECOND_NS,
                bytes: 60,
                frame: frame.clone(),
                comment: "tcp".to_owned(),
            });
        }
        files.tidy(NOW_NS + n * SECOND_NS);
        writeln!(std::io::stderr(), "written {}", files.n_written).unwrap();
    }
}

#[test]
fn packets_that_the_disk_was_handed_survive_a_kill() {
    use std::io::{BufRead as _, BufReader};
    for n_least in [20, 200, 5_000] {
        let folder = Folder::new();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ring::tests::writes_until_killed", "--nocapture"])
            .env("SENSOR_RING_VICTIM", &folder.0)
            .stderr(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut told =
            lines.filter_map(|line| line.ok()?.strip_prefix("written ")?.parse::<u64>().ok());
        let first = told.find(|n| *n >= n_least).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = told.last().unwrap_or(first);
        let (keeper, end) = opened(&folder, |_| {});
        let found = end.ring().select(&mut All(0, u64::MAX)).unwrap();
        let may_be = acknowledged..=acknowledged + 20;
        assert!(
            may_be.contains(&found.n_packets),
            "{acknowledged}: {}",
            found.n_packets
        );
        drop((keeper, end));
    }
}

#[test]
fn a_disk_without_room_loses_packets_and_leaves_no_empty_files() {
    let folder = Folder::new();
    let mut files = Files::open(&folder.0, 160 << 10, 3_600).unwrap();
    let kept = |n: u64| Kept {
        at_ns: NOW_NS + n,
        bytes: 60,
        frame: vec![0; 60],
        comment: "tcp".to_owned(),
    };
    // What always says that there is no room stands where the next file begins.
    for n in 0..3 {
        std::os::unix::fs::symlink("/dev/full", files::set(&folder.0, 0).path(NOW_NS + n)).unwrap();
        files.put(&kept(n));
        files.put(&kept(n));
        files.tidy(NOW_NS);
        assert!(files.error.as_ref().unwrap().contains("No space left"));
        // It stays told, and the next packet is tried again.
        files.tidy(NOW_NS);
        assert!(files.error.is_some());
    }
    assert_eq!((files.n_written, files.n_lost), (0, 6));
    assert_eq!(files::set(&folder.0, 0).list().len(), 0);
    files.put(&kept(9));
    files.tidy(NOW_NS);
    assert_eq!((files.n_written, files.n_lost), (1, 6));
    assert_eq!(files.error, None);
}

#[test]
fn the_oldest_give_way_to_size() {
    let folder = Folder::new();
    let mut files = Files::open(&folder.0, 160 << 10, 3_600).unwrap();
    for n in 0..40 {
        for _ in 0..100 {
            files.put(&Kept {
                at_ns: NOW_NS + n * SECOND_NS,
                bytes: 60,
                frame: vec![0; 60],
                comment: "tcp".to_owned(),
            });
        }
        files.tidy(NOW_NS + n * SECOND_NS);
        assert!(files.n_bytes <= 160 << 10, "{}", files.n_bytes);
    }
    let kept = files::set(&folder.0, 0).list();
    assert!(
        kept.len() > 5 && files.since() > Some(Timestamp(NOW_NS)),
        "{kept:?}"
    );
    assert_eq!((files.n_written, files.n_lost), (4_000, 0));
}
