//! Spool of a sink: records wait on disk until the far side has answered for them.
//!
//! Segment files hold frames with length and checksum; `cursor` holds the number of the last record
//! that is done with. Whatever a kill leaves behind is read again: a frame that was cut is set aside,
//! a record whose answer was not yet noted comes once more.

mod disk;
mod frame;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::io;

pub use disk::{Disk, Folder};
pub use frame::{Frame, MAX_PAYLOAD};

use frame::{HEAD, length};

const CURSOR: &str = "cursor";
/// Bytes that were no frame, the latest only.
const TORN: &str = "torn";
const MAX_TORN: usize = 1 << 20;
/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// Choice of what gives way when the spool is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    Oldest,
    Newest,
}

/// Bounds of a spool.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all segments together.
    pub max_bytes: u64,
    pub shed: Shed,
}

impl Limits {
    /// Bytes from which on a segment is followed by the next; what is shed at once.
    const fn segment(&self) -> u64 {
        let part = self.max_bytes / 8;
        if part > 8 << 20 { 8 << 20 } else { part }
    }
}

/// Records that never reach the far side, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The spool was full.
    pub full: u64,
    /// The disk took nothing.
    pub disk: u64,
    /// They could not be read any more.
    pub damaged: u64,
}

#[derive(Debug)]
struct Segment {
    name: String,
    /// Number of its first record.
    first: u64,
    /// Number after that of its last one.
    end: u64,
    bytes: u64,
}

/// Records on disk, the oldest first.
#[derive(Debug)]
pub struct Spool<D> {
    disk: D,
    limits: Limits,
    segments: VecDeque<Segment>,
    /// Number of the next record.
    next: u64,
    /// Every record below is done with.
    head: u64,
    /// Offset of the first that is not, in the first segment.
    offset: u64,
    /// Time of that one.
    oldest_ns: Option<u64>,
    /// Records beyond that are done with, too.
    done: BTreeSet<u64>,
    /// The last segment ends in what is no frame.
    is_torn: bool,
    is_dirty: bool,
    lost: Lost,
}

impl<D: Disk> Spool<D> {
    /// Opens what is there, and sets aside what was cut.
    ///
    /// # Errors
    /// When the files can't be listed or read.
    pub fn open(disk: D, limits: Limits) -> io::Result<Self> {
        let mut spool = Self {
            disk,
            limits,
            segments: VecDeque::new(),
            next: 1,
            head: 1,
            offset: 0,
            oldest_ns: None,
            done: BTreeSet::new(),
            is_torn: false,
            is_dirty: false,
            lost: Lost::default(),
        };
        let mut found: Vec<(u64, String, u64)> = spool
            .disk
            .list()?
            .into_iter()
            .filter_map(|(name, bytes)| Some((number(&name)?, name, bytes)))
            .collect();
        found.sort();
        let cursor = spool.read_cursor();
        for (first, name, bytes) in found {
            spool.take_segment(first, name, bytes)?;
        }
        spool.next = spool.next.max(cursor);
        let first = spool.segments.front().map(|segment| segment.first);
        spool.head = cursor.max(first.unwrap_or(spool.next));
        spool.drop_finished();
        spool.seek()?;
        Ok(spool)
    }

    /// Number after that of the last record done with; 1 where that is not known.
    fn read_cursor(&self) -> u64 {
        let read = || {
            let bytes = self.disk.read(CURSOR, 0, HEAD).ok()?;
            let number: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
            let sum = u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?);
            (crc32fast::hash(&number) == sum).then(|| u64::from_le_bytes(number))
        };
        read().unwrap_or(1)
    }

    fn write_cursor(&mut self) -> io::Result<()> {
        let number = self.head.to_le_bytes();
        let sum = crc32fast::hash(&number).to_le_bytes();
        self.disk.replace(CURSOR, &[&number[..], &sum].concat())
    }

    /// Reads a segment through; what follows the last whole frame is set aside.
    fn take_segment(&mut self, first: u64, name: String, bytes: u64) -> io::Result<()> {
        let missing = first.saturating_sub(self.next);
        if !self.segments.is_empty() {
            self.lost.damaged += missing;
        }
        let mut segment = Segment {
            name,
            first,
            end: first,
            bytes: 0,
        };
        while segment.bytes < bytes {
            let Some(frame) = self.frame_at(&segment.name, segment.bytes)? else {
                break;
            };
            if frame.seq != segment.end {
                break;
            }
            segment.end += 1;
            segment.bytes += frame.size();
        }
        if segment.bytes < bytes {
            let rest = self.disk.read(&segment.name, segment.bytes, MAX_TORN)?;
            self.disk.replace(TORN, &rest)?;
            self.disk.truncate(&segment.name, segment.bytes)?;
        }
        self.next = self.next.max(segment.end);
        if segment.bytes == 0 {
            return self.disk.remove(&segment.name);
        }
        self.segments.push_back(segment);
        Ok(())
    }

    fn frame_at(&self, name: &str, offset: u64) -> io::Result<Option<Frame>> {
        let head = self.disk.read(name, offset, HEAD)?;
        let Some(n) = length(&head) else {
            return Ok(None);
        };
        let bytes = self.disk.read(name, offset, HEAD + n)?;
        Ok(Frame::decode(&bytes))
    }

    /// Puts a record in, and gives its number; none where it was shed and counted.
    pub fn append(&mut self, at_ns: u64, payload: &[u8]) -> Option<u64> {
        let frame = Frame {
            seq: self.next,
            at_ns,
            payload: payload.to_vec(),
        };
        if payload.len() > MAX_PAYLOAD || !self.make_room(frame.size()) {
            self.lost.full += 1;
            return None;
        }
        match self.write(&frame) {
            Ok(()) => {
                self.next += 1;
                self.is_dirty = true;
                if self.head == frame.seq {
                    self.oldest_ns = Some(at_ns);
                }
                Some(frame.seq)
            }
            Err(_cause) => {
                self.lost.disk += 1;
                None
            }
        }
    }

    fn make_room(&mut self, size: u64) -> bool {
        while self.total_bytes() + size > self.limits.max_bytes {
            let is_shed = self.limits.shed == Shed::Oldest || self.is_front_done();
            if !is_shed || self.segments.len() < 2 || !self.shed_oldest() {
                return false;
            }
        }
        true
    }

    fn is_front_done(&self) -> bool {
        let front = self.segments.front();
        front.is_some_and(|front| front.end <= self.head)
    }

    fn shed_oldest(&mut self) -> bool {
        let Some(front) = self.segments.front() else {
            return false;
        };
        let (name, end) = (front.name.clone(), front.end);
        if self.disk.remove(&name).is_err() {
            return false;
        }
        self.segments.pop_front();
        self.offset = 0;
        let waiting = end.saturating_sub(self.head);
        let done = self.done.range(..end).count() as u64;
        self.lost.full += waiting - done.min(waiting);
        self.head = self.head.max(end);
        self.pass_done();
        // The cursor may lag behind: what is gone can't come again.
        self.seek().is_ok()
    }

    fn write(&mut self, frame: &Frame) -> io::Result<()> {
        // Numbers in a segment have no gaps.
        let is_over =
            |segment: &Segment| segment.bytes >= self.limits.segment() || segment.end != frame.seq;
        if self.is_torn || self.segments.back().is_none_or(is_over) {
            self.segments.push_back(Segment {
                name: format!("{:020}.seg", frame.seq),
                first: frame.seq,
                end: frame.seq,
                bytes: 0,
            });
            self.is_torn = false;
            if self.segments.len() == 1 {
                self.offset = 0;
            }
        }
        let Some(last) = self.segments.back_mut() else {
            return Ok(());
        };
        if let Err(cause) = self.disk.append(&last.name, &frame.encode()) {
            self.is_torn = self.disk.truncate(&last.name, last.bytes).is_err();
            if last.bytes == 0 {
                let is_gone = self.disk.remove(&last.name).is_ok();
                // A name that is taken by what was cut is not used again.
                self.next += u64::from(self.is_torn && !is_gone);
                self.segments.pop_back();
                self.is_torn = false;
            }
            return Err(cause);
        }
        last.end += 1;
        last.bytes += frame.size();
        Ok(())
    }

    /// The oldest records that are not done with; they stay until [`Self::finish`].
    ///
    /// # Errors
    /// When a segment can't be read. What is damaged in one is set aside and counted.
    pub fn oldest(&mut self, most: usize) -> io::Result<Vec<Frame>> {
        let mut frames = Vec::new();
        let mut n_bytes = 0;
        let (mut i, mut offset) = (0, self.offset);
        while frames.len() < most && n_bytes < MAX_PAYLOAD as u64 {
            let Some(segment) = self.segments.get(i) else {
                break;
            };
            if offset >= segment.bytes {
                (i, offset) = (i + 1, 0);
                continue;
            }
            let found = match self.frames_of(segment, offset, most - frames.len()) {
                Ok(found) if found.is_empty() => {
                    self.set_aside(i, offset)?;
                    return self.oldest(most);
                }
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                    self.give_up(i, 0, 0)?;
                    return self.oldest(most);
                }
                found => found?,
            };
            let size: u64 = found.iter().map(Frame::size).sum();
            offset += size;
            n_bytes += size;
            let waits = |frame: &Frame| frame.seq >= self.head && !self.done.contains(&frame.seq);
            frames.extend(found.into_iter().filter(waits));
        }
        Ok(frames)
    }

    /// Whole frames from an offset on; none where there is damage.
    fn frames_of(&self, segment: &Segment, offset: u64, most: usize) -> io::Result<Vec<Frame>> {
        let left = usize::try_from(segment.bytes - offset).unwrap_or(usize::MAX);
        let mut bytes = self.disk.read(&segment.name, offset, left.min(CHUNK))?;
        if let Some(n) = length(&bytes)
            && bytes.len() < HEAD + n
        {
            bytes = self.disk.read(&segment.name, offset, HEAD + n)?;
        }
        let (mut frames, mut rest) = (Vec::new(), bytes.as_slice());
        while let (true, Some(frame)) = (frames.len() < most, Frame::decode(rest)) {
            rest = rest.get(HEAD + frame.payload.len()..).unwrap_or_default();
            frames.push(frame);
        }
        Ok(frames)
    }

    /// Sets the rest of a segment aside, which is damaged.
    fn set_aside(&mut self, i: usize, offset: u64) -> io::Result<()> {
        let Some(segment) = self.segments.get(i) else {
            return Ok(());
        };
        let name = segment.name.clone();
        let rest = self.disk.read(&name, offset, MAX_TORN)?;
        self.disk.replace(TORN, &rest)?;
        self.disk.truncate(&name, offset)?;
        let (mut known, mut at) = (segment.first, 0);
        while at < offset {
            let Some(frame) = self.frame_at(&name, at)? else {
                break;
            };
            at += frame.size();
            known = frame.seq + 1;
        }
        self.give_up(i, known, offset)
    }

    /// Counts the records of a segment from a number on as damaged.
    fn give_up(&mut self, i: usize, from: u64, bytes: u64) -> io::Result<()> {
        let Some(segment) = self.segments.get_mut(i) else {
            return Ok(());
        };
        segment.bytes = bytes;
        for seq in from.max(segment.first).max(self.head)..segment.end {
            self.lost.damaged += u64::from(self.done.insert(seq));
        }
        self.is_torn |= i + 1 == self.segments.len();
        self.pass_done();
        self.drop_finished();
        self.seek()
    }

    /// Notes that the far side has answered for records.
    ///
    /// # Errors
    /// When that can't be written: they come again after a restart.
    pub fn finish(&mut self, numbers: &[u64]) -> io::Result<()> {
        for seq in numbers {
            if *seq < self.head {
                // It gave way while it was on its way.
                self.lost.full = self.lost.full.saturating_sub(1);
            } else {
                self.done.insert(*seq);
            }
        }
        let before = self.head;
        self.pass_done();
        if self.head == before {
            return Ok(());
        }
        let noted = self.write_cursor();
        self.drop_finished();
        self.seek()?;
        noted
    }

    fn pass_done(&mut self) {
        self.done = self.done.split_off(&self.head);
        while self.done.remove(&self.head) {
            self.head += 1;
        }
    }

    /// Removes segments that are done with, but not the last one: its name keeps the numbers.
    fn drop_finished(&mut self) {
        while self.segments.len() > 1 && self.is_front_done() {
            let Some(front) = self.segments.pop_front() else {
                return;
            };
            // One that stays behind is removed at the next start.
            let _left = self.disk.remove(&front.name);
            self.offset = 0;
        }
    }

    /// Finds the oldest record that is not done with.
    fn seek(&mut self) -> io::Result<()> {
        self.oldest_ns = None;
        let Some(front) = self.segments.front() else {
            self.offset = 0;
            return Ok(());
        };
        let is_known = self.offset <= front.bytes && self.offset > 0;
        let mut at = if is_known { self.offset } else { 0 };
        let name = front.name.clone();
        let bytes = front.bytes;
        while at < bytes {
            let Some(frame) = self.frame_at(&name, at)? else {
                break;
            };
            if frame.seq >= self.head {
                self.oldest_ns = Some(frame.at_ns);
                break;
            }
            at += frame.size();
        }
        self.offset = at;
        Ok(())
    }

    /// Hands what was appended to the disk, so that a power cut loses none of it.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_dirty) {
            self.disk.sync()?;
        }
        Ok(())
    }

    fn total_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Bytes of records that wait.
    pub fn waiting_bytes(&self) -> u64 {
        self.total_bytes().saturating_sub(self.offset)
    }

    /// Records that wait.
    pub fn n_waiting(&self) -> u64 {
        self.next - self.head - self.done.len() as u64
    }

    /// Unix time at which the oldest of them was put in, ns.
    pub const fn oldest_ns(&self) -> Option<u64> {
        self.oldest_ns
    }

    pub const fn lost(&self) -> Lost {
        self.lost
    }
}

/// Number of a segment's first record, by its name.
fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    digits.parse().ok()
}
