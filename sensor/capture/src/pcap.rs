//! Reads frames out of capture files.
//!
//! Classic pcap (both byte orders, micro- and nanosecond stamps, the "modified" variant) and
//! pcapng are read, plain or compressed by gzip or zstd, one after another in a file or alone. Format
//! and compression are told by their magic numbers, never by the file's name.
//!
//! Frames have event time: stamps that are out of line with those around them are named and put in
//! line, a clock that is set back is made up for, and frames of several interfaces are put in order.
//! Where a file is damaged, reading goes on at the next frame that looks like one.
//!
//! Frames are lent out of one reused buffer, some at a time, so reading allocates nothing per frame
//! and memory stays bounded whatever a file claims about its own lengths. Those of several interfaces
//! are copied until it is their turn, at most 64 MiB of them.

mod bytes;
mod classic;
mod error;
mod lane;
mod length;
mod link;
mod merge;
mod ng;
mod source;
#[cfg(test)]
mod tests;
mod unpack;
mod write;

use std::fmt;
use std::ops::Range;
use std::path::Path;

use bytes::ByteOrder;
use classic::Classic;
use error::Notices;
use merge::{Lanes, Timed};
use ng::Ng;
use source::Source;

pub use error::{CaptureError, Then, TimeFault};
pub use link::{EthernetFrame, LinkType, to_ethernet};
pub use source::STANDARD_INPUT;
pub use write::NgWriter;

/// Longest frame that is read; of a longer one, so much.
///
/// This is the limit that libpcap itself puts on the snapshot length.
pub const MAX_FRAME_LEN: u32 = 256 * 1024;
/// Longest record or block that is held in memory as a whole.
const MAX_HELD_LEN: usize = 2 * MAX_FRAME_LEN as usize;

/// Frames lent at a time, at most.
pub const FRAMES: usize = 16;

/// One captured frame, lent until the reader is asked for more.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Event time, nanoseconds since the Unix epoch: the frame's stamp, unless that is out of line.
    ///
    /// A pcapng simple packet has no time of its own and is given that of the frame before it.
    pub at_ns: u64,
    /// Header that the bytes begin with.
    pub link: LinkType,
    /// Bytes that were captured, possibly fewer than were on the wire. They are all given, even
    /// where they exceed the snapshot length that the file header states, up to [`MAX_FRAME_LEN`].
    pub data: &'a [u8],
    /// Length on the wire as the file states it, where that can be; never less than `data`.
    pub wire_len: u32,
    /// Number in file order, from 1, with the frames that were passed over.
    pub number: u64,
}

/// Reads the frames of one capture in the order of their times.
///
/// Offsets in its errors count bytes of the unpacked capture. Every error is returned once, and
/// reading on after it is safe: the next call either goes on behind the fault or returns
/// `Ok(None)`, so a loop that merely reports errors always ends. Of each kind of fault that reading
/// goes on behind, the first ten are named and the rest counted.
pub struct CaptureReader {
    source: Source,
    format: Format,
    lanes: Lanes,
    /// Event that has to wait until the frames before it are lent.
    pending: Option<Pending>,
    lent: Vec<Timed>,
    notices: Notices,
    delivered: u64,
    skipped: u64,
    /// Set once nothing more can be read, be it at the end or behind a fault.
    done: bool,
}

enum Format {
    Classic(Classic),
    Ng(Ng),
}

enum Pending {
    /// Another file header, or another section.
    Part,
    Fault(Fault),
}

/// Outcome of an attempt to read on.
enum Progress {
    Some,
    /// Frames that are lent have to be given back first.
    Full,
    Over,
}

impl CaptureReader {
    /// Opens a capture file and reads its file header; `-` is standard input.
    ///
    /// # Errors
    ///
    /// `Io` when the file cannot be read, `NotACapture` when neither format is recognised,
    /// `Truncated` or `Corrupt` when the file header itself is incomplete or wrong.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let mut source = Source::open(path).map_err(CaptureError::Io)?;
        let format = Format::detect(&mut source, 0).map_err(|fault| match fault {
            OpenFault::Magic(magic) => CaptureError::NotACapture { magic },
            OpenFault::Fault(fault) => fault.numbered(0, Then::Stop),
        })?;
        Ok(Self {
            lanes: Lanes::new(source.is_live()),
            source,
            format,
            pending: None,
            lent: Vec::with_capacity(FRAMES),
            notices: Notices::default(),
            delivered: 0,
            skipped: 0,
            done: false,
        })
    }

    /// Returns the next frame, or `Ok(None)` at the end of the file.
    ///
    /// # Errors
    ///
    /// `UnsupportedLink` once for each interface whose frames cannot be decoded; its frames are
    /// skipped from then on. `Corrupt` for a frame that contradicts itself, and where the file is
    /// damaged. `Truncated` once after the last whole frame when the file ends too early. `Time`,
    /// `WireLength` and `LongFrame` for frames that are given all the same. `Io` when reading fails.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        self.read(1)?;
        Ok(self.lent.first().map(|timed| timed.lend(&self.source)))
    }

    /// Returns the next frames, at most [`FRAMES`]; none at the end of the file.
    ///
    /// # Errors
    ///
    /// Those of [`Self::next_frame`].
    pub fn next_frames(
        &mut self,
    ) -> Result<impl ExactSizeIterator<Item = Frame<'_>> + Clone, CaptureError> {
        self.read(FRAMES)?;
        let source = &self.source;
        Ok(self.lent.iter().map(|timed| timed.lend(source)))
    }

    /// Has up to `n_most` frames lent.
    fn read(&mut self, n_most: usize) -> Result<(), CaptureError> {
        self.lent.clear();
        let mut is_forced = false;
        // A fault is told before the frames behind it are lent.
        while self.lent.len() < n_most && !self.notices.is_due(self.lanes.first_number()) {
            if self.lent.is_empty() {
                self.source.give_back(self.lanes.first_place());
            }
            let is_all = is_forced || self.done || self.pending.is_some();
            if let Some((timed, faults)) = self.lanes.pop(is_all) {
                let frame = timed.number;
                for fault in faults.into_iter().flatten() {
                    self.notices.add(frame, CaptureError::Time { frame, fault });
                }
                self.lend(timed);
                continue;
            }
            match self.advance()? {
                Progress::Some => is_forced = false,
                Progress::Full if self.lent.is_empty() => is_forced = true,
                Progress::Full | Progress::Over => break,
            }
        }
        if self.lent.is_empty() {
            if let Some(error) = self.notices.next() {
                return Err(error);
            }
            self.notices.finish();
            if let Some(error) = self.notices.next() {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Reads one record, or deals with what waited for the frames before it.
    fn advance(&mut self) -> Result<Progress, CaptureError> {
        if self.pending.is_some() {
            if !self.lent.is_empty() {
                return Ok(Progress::Full);
            }
            return self.resolve();
        }
        if self.done {
            return Ok(Progress::Over);
        }
        let is_awaited = self.source.is_live() && self.source.peek().len() < SHORTEST_RECORD;
        if !self.source.may_lend() || (is_awaited && !self.lent.is_empty()) {
            return Ok(Progress::Full);
        }
        match self
            .source
            .settle()
            .and_then(|()| self.format.step(&mut self.source))
        {
            Ok(Step::Frame(record)) => self.take(record),
            Ok(Step::Skipped) => self.skipped += 1,
            Ok(Step::End) => self.done = true,
            Ok(Step::Part) => self.pending = Some(Pending::Part),
            Err(Fault::Lent) => return Ok(Progress::Full),
            Err(fault) if fault.is_fatal() => self.pending = Some(Pending::Fault(fault)),
            Err(fault) => {
                let number = self.number();
                let error = fault.numbered(number, Then::PassOver);
                self.notices.add(number, error);
                self.skipped += 1;
            }
        }
        Ok(Progress::Some)
    }

    /// Number of the frame that comes next.
    const fn number(&self) -> u64 {
        self.delivered + self.skipped + 1
    }

    #[inline]
    fn take(&mut self, mut record: Record) {
        let number = self.number();
        self.delivered += 1;
        self.lanes.widen(self.format.n_interfaces(), &self.source);
        if self.lanes.is_merging() {
            record.own(&self.source);
            self.source.give_back(None);
        } else if let Some(at_ns) = self.lanes.take_plain(&record) {
            self.lend(Timed {
                number,
                at_ns,
                record,
            });
            return;
        }
        self.lanes.add(number, record);
    }

    #[inline]
    fn lend(&mut self, mut timed: Timed) {
        let Timed { number, record, .. } = &timed;
        let frame = *number;
        let Record {
            captured_len,
            wire_len,
            ..
        } = *record;
        if captured_len > MAX_FRAME_LEN {
            let captured = captured_len;
            let error = CaptureError::LongFrame { frame, captured };
            self.notices.add(frame, error);
        }
        if record.is_fraction_odd {
            let fault = TimeFault::Fraction;
            self.notices.add(frame, CaptureError::Time { frame, fault });
        }
        if wire_len > length::CHECKED_LEN
            && let Some(taken) = length::believable(&timed.lend(&self.source))
        {
            let error = CaptureError::WireLength {
                frame,
                claimed: wire_len,
                taken,
            };
            self.notices.add(frame, error);
            timed.record.wire_len = taken;
        }
        self.lent.push(timed);
    }

    /// Deals with what waited, now that nothing before it waits any more.
    #[cold]
    fn resolve(&mut self) -> Result<Progress, CaptureError> {
        let fault = match self.pending.take() {
            None => return Ok(Progress::Some),
            Some(Pending::Part) => match Format::detect(&mut self.source, self.format.last_ns()) {
                Ok(format) => {
                    self.format = format;
                    self.lanes.begin_part();
                    return Ok(Progress::Some);
                }
                Err(OpenFault::Fault(fault)) => fault,
                Err(OpenFault::Magic(_)) => Fault::Lost {
                    offset: self.source.offset(),
                    what: "the file header is none",
                },
            },
            Some(Pending::Fault(fault)) => fault,
        };
        let is_section = matches!(fault, Fault::LostSection { .. });
        let resumed = match &fault {
            Fault::Io(_) => Ok(None),
            _ => self.search(is_section),
        };
        let number = self.number();
        match resumed {
            Ok(Some(offset)) => {
                self.notices
                    .add(number, fault.numbered(number, Then::GoOn(offset)));
                self.skipped += 1;
                Ok(Progress::Some)
            }
            Ok(None) => {
                self.done = true;
                Err(fault.numbered(number, Then::Stop))
            }
            Err(failed) => {
                self.done = true;
                self.notices.add(number, fault.numbered(number, Then::Stop));
                Err(failed.numbered(number, Then::Stop))
            }
        }
    }

    /// Goes to the next place behind the current one that looks like a record or a file header; none:
    /// there is no more.
    fn search(&mut self, only_parts: bool) -> Result<Option<u64>, Fault> {
        self.source.take(0, 1);
        loop {
            self.source.give_back(None);
            let is_all = !self.source.ensure(MAX_HELD_LEN)?;
            let bytes = self.source.peek();
            // Of each place that is looked at, enough has to be there to tell.
            let n_places = if is_all {
                bytes.len()
            } else {
                bytes.len() - MAX_HELD_LEN / 2
            };
            let begins = |place: &usize| {
                let bytes = bytes.get(*place..).unwrap_or_default();
                begins_part(bytes) || (!only_parts && self.format.begins(bytes, is_all))
            };
            let found = (0..n_places).find(begins);
            self.source.take(0, found.unwrap_or(n_places));
            self.source.give_back(None);
            if found.is_some() {
                return Ok(Some(self.source.offset()));
            }
            if is_all {
                return Ok(None);
            }
        }
    }

    /// Bytes of the file (as stored, compressed or not) read so far, and its size; 0 of a pipe.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.source.file_bytes_read(), self.source.file_size())
    }

    /// Frames read so far.
    #[must_use]
    pub fn n_frames(&self) -> u64 {
        self.delivered
    }

    /// Frames passed over so far, because their link type is unknown or they are corrupt.
    #[must_use]
    pub fn n_skipped(&self) -> u64 {
        self.skipped
    }
}

impl fmt::Debug for CaptureReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureReader")
            .field("delivered", &self.delivered)
            .field("skipped", &self.skipped)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

/// Fewer bytes are no record of any format.
const SHORTEST_RECORD: usize = 12;

/// True where a file header or a section header begins.
#[inline]
fn begins_part(bytes: &[u8]) -> bool {
    // The first bytes of all magic numbers, so that a record costs one comparison.
    matches!(bytes.first(), Some(0x0a | 0x34 | 0x4d | 0xa1 | 0xd4))
        && (classic::is_file_header(bytes) || ng::is_section_header(bytes))
}

impl Format {
    /// Reads a file header; frames before it were stamped up to `last_ns`.
    fn detect(source: &mut Source, last_ns: u64) -> Result<Self, OpenFault> {
        if !source.ensure(4)? {
            return Err(OpenFault::Fault(source.truncated()));
        }
        let magic = ByteOrder::Big.u32_at(source.peek(), 0);
        if magic == ng::SECTION_HEADER {
            return Ok(Self::Ng(Ng::open(source, last_ns)?));
        }
        match classic::Variant::from_magic(magic) {
            Some(variant) => Ok(Self::Classic(Classic::open(variant, source)?)),
            None => Err(OpenFault::Magic(magic)),
        }
    }

    #[inline]
    fn step(&mut self, source: &mut Source) -> Result<Step, Fault> {
        match self {
            Self::Classic(classic) => classic.step(source),
            Self::Ng(ng) => ng.step(source),
        }
    }

    /// Interfaces whose frames have to be put in order.
    #[inline]
    const fn n_interfaces(&self) -> usize {
        match self {
            Self::Classic(_) => 1,
            Self::Ng(ng) => ng.n_interfaces(),
        }
    }

    const fn last_ns(&self) -> u64 {
        match self {
            Self::Classic(_) => 0,
            Self::Ng(ng) => ng.last_ns(),
        }
    }

    /// Tells if a record or block seems to begin here; `is_all`: the file ends with these bytes.
    fn begins(&self, bytes: &[u8], is_all: bool) -> bool {
        match self {
            Self::Classic(classic) => classic.begins_records(bytes, is_all),
            Self::Ng(ng) => ng.begins_block(bytes),
        }
    }
}

/// Why a file could not be opened as a capture.
enum OpenFault {
    Magic(u32),
    Fault(Fault),
}

impl From<Fault> for OpenFault {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Outcome of one step of a format's parser.
enum Step {
    Frame(Record),
    /// A frame of an interface that was already reported as unsupported.
    Skipped,
    /// Another file header or section header begins here.
    Part,
    End,
}

/// A frame as it was read.
struct Record {
    /// Time stamp.
    at_ns: u64,
    /// Interface within the part of the file.
    interface: usize,
    link: LinkType,
    /// Captured length as the file states it.
    captured_len: u32,
    wire_len: u32,
    data: Data,
    is_fraction_odd: bool,
}

/// Bytes of a frame.
///
/// Parsers hand out places and not slices so that they can go on past skipped frames without
/// holding a borrow of the buffer.
enum Data {
    /// Range in the unpacked file.
    Place(Range<u64>),
    Owned(Vec<u8>),
}

impl Timed {
    #[inline]
    fn lend<'a>(&'a self, source: &'a Source) -> Frame<'a> {
        let data = match &self.record.data {
            Data::Place(place) => source.lent(place),
            Data::Owned(bytes) => bytes,
        };
        // A frame cannot have been shorter on the wire than what was captured of it, and byte
        // counts that rely on that must not be misled by a careless writer.
        let captured = u32::try_from(data.len()).unwrap_or(u32::MAX);
        Frame {
            at_ns: self.at_ns,
            link: self.record.link,
            data,
            wire_len: self.record.wire_len.max(captured),
            number: self.number,
        }
    }
}

/// A fault as a parser sees it: it knows the place but not the frame number.
enum Fault {
    Io(std::io::Error),
    UnsupportedLink {
        link: u32,
        offset: u64,
    },
    Truncated {
        offset: u64,
    },
    /// The start of the next frame is not known any more.
    Lost {
        offset: u64,
        what: &'static str,
    },
    /// Nor is what the frames up to the next section refer to.
    LostSection {
        offset: u64,
        what: &'static str,
    },
    /// No fault: what is lent has to be given back before more can be read.
    Lent,
    /// One bad frame; the source already stands behind it.
    BadFrame {
        offset: u64,
        what: &'static str,
    },
}

impl Fault {
    fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Self::UnsupportedLink { .. } | Self::BadFrame { .. } | Self::Lent
        )
    }

    fn numbered(self, frame: u64, then: Then) -> CaptureError {
        match self {
            Self::Io(error) => CaptureError::Io(error),
            Self::UnsupportedLink { link, offset } => CaptureError::UnsupportedLink {
                frame,
                link,
                offset,
            },
            Self::Truncated { offset } if then == Then::Stop => {
                CaptureError::Truncated { frame, offset }
            }
            // Never told; and if it were, to read on is the remedy.
            Self::Lent => CaptureError::Io(std::io::ErrorKind::WouldBlock.into()),
            Self::Truncated { offset } => CaptureError::Corrupt {
                frame,
                offset,
                what: "the frame claims more bytes than there are",
                then,
            },
            Self::Lost { offset, what }
            | Self::LostSection { offset, what }
            | Self::BadFrame { offset, what } => CaptureError::Corrupt {
                frame,
                offset,
                what,
                then,
            },
        }
    }
}
