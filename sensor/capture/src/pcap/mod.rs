//! Reads frames out of capture files.
//!
//! Classic pcap (both byte orders, micro- and nanosecond stamps, the "modified" variant) and
//! pcapng are read, plain or compressed by gzip or zstd. Both the format and the compression are
//! told by their magic numbers, never by the file's name.
//!
//! Frames are lent out of one reused buffer, some at a time, so reading allocates nothing per frame and memory
//! stays bounded whatever a file claims about its own lengths.

mod bytes;
mod classic;
mod error;
mod link;
mod ng;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::path::Path;

use bytes::ByteOrder;
use classic::Classic;
use ng::Ng;
use source::Source;

pub use error::CaptureError;
pub use link::{EthernetFrame, LinkType, to_ethernet};

/// Longest frame that is read; a longer one is refused as corrupt.
///
/// This is the limit that libpcap itself puts on the snapshot length.
pub const MAX_FRAME_LEN: u32 = 256 * 1024;

/// Frames lent at a time, at most.
pub const FRAMES: usize = 16;

/// One captured frame, lent until the reader is asked for more.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Capture time in nanoseconds since the Unix epoch.
    ///
    /// A pcapng simple packet has no time of its own and is given that of the frame before it.
    pub at_ns: u64,
    /// What the bytes begin with.
    pub link: LinkType,
    /// The bytes that were captured, possibly fewer than were on the wire. They are all given, even
    /// where they exceed the snapshot length that the file header states.
    pub data: &'a [u8],
    /// Length on the wire as the file states it, but never less than `data`.
    pub wire_len: u32,
    /// From 1 in file order, with those that were passed over.
    pub number: u64,
}

/// Reads the frames of one capture file in file order.
///
/// Offsets in its errors count bytes of the unpacked capture. Every error is returned once, and
/// reading on after it is safe: the next call either goes on behind the fault or returns
/// `Ok(None)`, so a loop that merely reports errors always ends.
pub struct CaptureReader {
    source: Source,
    format: Format,
    /// Frames that are lent, each with its number, and the fault that was met behind them.
    lent: Vec<(u64, Record)>,
    fault: Option<Fault>,
    delivered: u64,
    skipped: u64,
    /// Set once nothing more can be read, be it at the end or behind a fault.
    done: bool,
}

enum Format {
    Classic(Classic),
    Ng(Ng),
}

impl CaptureReader {
    /// Opens a capture file and reads its file header.
    ///
    /// # Errors
    ///
    /// `Io` when the file cannot be read, `NotACapture` when neither format is recognised,
    /// `Truncated` or `Corrupt` when the file header itself is incomplete or wrong.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let mut source = Source::open(path).map_err(CaptureError::Io)?;
        let format = Format::detect(&mut source).map_err(|fault| match fault {
            OpenFault::Magic(magic) => CaptureError::NotACapture { magic },
            OpenFault::Fault(fault) => fault.numbered(0),
        })?;
        Ok(Self {
            source,
            format,
            lent: Vec::with_capacity(FRAMES),
            fault: None,
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
    /// skipped from then on. `Corrupt` for a frame that contradicts itself. `Truncated` once after
    /// the last whole frame when the file ends too early. `Io` when reading fails.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        self.read(1)?;
        let first = self.lent.first();
        Ok(first.map(|(number, record)| record.lend(*number, &self.source)))
    }

    /// Returns the next frames, at most [`FRAMES`]; none at the end of the file.
    ///
    /// # Errors
    ///
    /// Those of [`Self::next_frame`], once the frames before the fault were returned.
    pub fn next_frames(
        &mut self,
    ) -> Result<impl ExactSizeIterator<Item = Frame<'_>> + Clone, CaptureError> {
        self.read(FRAMES)?;
        let source = &self.source;
        let lent = self.lent.iter();
        Ok(lent.map(|(number, record)| record.lend(*number, source)))
    }

    /// Has up to `n_most` frames lent.
    fn read(&mut self, n_most: usize) -> Result<(), CaptureError> {
        self.lent.clear();
        if let Some(fault) = self.fault.take() {
            return Err(self.fail(fault));
        }
        self.source.give_back();
        while !self.done && self.lent.len() < n_most && self.source.may_lend() {
            let step = match &mut self.format {
                Format::Classic(classic) => classic.step(&mut self.source),
                Format::Ng(ng) => ng.step(&mut self.source),
            };
            match step {
                Ok(Step::Frame(record)) => {
                    self.delivered += 1;
                    let number = self.delivered + self.skipped;
                    self.lent.push((number, record));
                }
                Ok(Step::Skipped) => self.skipped += 1,
                Ok(Step::End) => self.done = true,
                // Taken, but no frame: it is given back now.
                Err(Fault::Lent) if self.lent.is_empty() => {}
                Err(Fault::Lent) => break,
                Err(fault) if self.lent.is_empty() => return Err(self.fail(fault)),
                Err(fault) => {
                    self.fault = Some(fault);
                    break;
                }
            }
            if self.lent.is_empty() {
                self.source.give_back();
            }
        }
        Ok(())
    }

    /// Bytes of the file (as stored, compressed or not) read so far, and its size.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.source.file_bytes_read(), self.source.file_size())
    }

    /// Frames delivered so far.
    #[must_use]
    pub fn n_frames(&self) -> u64 {
        self.delivered
    }

    /// Frames passed over so far, because their link type is unknown or they are corrupt.
    #[must_use]
    pub fn n_skipped(&self) -> u64 {
        self.skipped
    }

    /// Turns a fault into the error to report and notes what it means for reading on.
    #[cold]
    fn fail(&mut self, fault: Fault) -> CaptureError {
        let frame = self.delivered + self.skipped + 1;
        if fault.is_fatal() {
            self.done = true;
        } else {
            self.skipped += 1;
        }
        fault.numbered(frame)
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

impl Format {
    fn detect(source: &mut Source) -> Result<Self, OpenFault> {
        if !source.ensure(4)? {
            return Err(OpenFault::Fault(source.truncated()));
        }
        let magic = ByteOrder::Big.u32_at(source.peek(), 0);
        if magic == ng::SECTION_HEADER {
            return Ok(Self::Ng(Ng::open(source)?));
        }
        match classic::Variant::from_magic(magic) {
            Some(variant) => Ok(Self::Classic(Classic::open(variant, source)?)),
            None => Err(OpenFault::Magic(magic)),
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

/// What one step of a format's parser gave.
enum Step {
    Frame(Record),
    /// A frame of an interface that was already reported as unsupported.
    Skipped,
    End,
}

/// A frame as a place in the unpacked file.
///
/// Parsers hand out places and not slices so that they can go on past skipped frames without
/// holding a borrow of the buffer.
struct Record {
    at_ns: u64,
    link: LinkType,
    wire_len: u32,
    place: Range<u64>,
}

impl Record {
    #[inline]
    fn lend<'a>(&self, number: u64, source: &'a Source) -> Frame<'a> {
        let data = source.lent(&self.place);
        // A frame cannot have been shorter on the wire than what was captured of it, and byte
        // counts that rely on that must not be misled by a careless writer.
        let captured = u32::try_from(data.len()).unwrap_or(u32::MAX);
        Frame {
            at_ns: self.at_ns,
            link: self.link,
            data,
            wire_len: self.wire_len.max(captured),
            number,
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
    /// No fault: what is lent has to be given back before more can be read.
    Lent,
    /// Only this frame is bad; the source already stands behind it.
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

    fn numbered(self, frame: u64) -> CaptureError {
        match self {
            Self::Io(error) => CaptureError::Io(error),
            Self::UnsupportedLink { link, offset } => CaptureError::UnsupportedLink {
                frame,
                link,
                offset,
            },
            Self::Truncated { offset } => CaptureError::Truncated { frame, offset },
            // Never told; and if it were, to read on is the remedy.
            Self::Lent => CaptureError::Io(std::io::ErrorKind::WouldBlock.into()),
            Self::Lost { offset, what } | Self::BadFrame { offset, what } => {
                CaptureError::Corrupt {
                    frame,
                    offset,
                    what,
                }
            }
        }
    }
}
