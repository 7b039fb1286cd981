//! Errors of capture files.

use std::collections::VecDeque;
use std::fmt;
use std::io;

use super::link::SUPPORTED;

/// Why a capture, or one frame of it, could not be read.
///
/// Frames are numbered from 1 in file order, as packet analysers do; frame 0 is the file header.
/// Offsets count bytes of the unpacked capture.
#[derive(Debug)]
pub enum CaptureError {
    /// The file could not be opened or read.
    Io(io::Error),
    /// The file is neither pcap nor pcapng, plain or under a known compression.
    NotACapture {
        /// First four bytes, most significant first.
        magic: u32,
    },
    /// An interface delivers frames of a kind that is not understood.
    UnsupportedLink {
        /// The first such frame.
        frame: u64,
        /// The link type's number in the tcpdump.org registry.
        link: u32,
        /// Offset at which that frame begins.
        offset: u64,
    },
    /// The file ends inside a frame or its compressed data is incomplete.
    Truncated {
        /// The frame that is cut.
        frame: u64,
        /// Offset at which that frame begins.
        offset: u64,
    },
    /// The file contradicts itself.
    Corrupt {
        /// The frame that is being read, or that would have come next.
        frame: u64,
        /// Byte of the fault.
        offset: u64,
        /// Kind of fault.
        what: &'static str,
        /// Consequence for what is behind it.
        then: Then,
    },
    /// The stamp of a frame is out of line with those around it.
    Time {
        /// The frame with the stamp.
        frame: u64,
        fault: TimeFault,
    },
    /// A frame claims a length on the wire that it can't have had.
    WireLength {
        frame: u64,
        /// Bytes that it claims.
        claimed: u32,
        /// Bytes that it counts as.
        taken: u32,
    },
    /// A frame is longer than what is read of one.
    LongFrame {
        frame: u64,
        /// Bytes that were captured.
        captured: u32,
    },
    /// Faults of a kind that was named often enough.
    More {
        /// Number of further ones.
        n: u64,
        /// The kind, in the plural.
        what: &'static str,
    },
}

/// Consequence of a fault for the frames behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// Nothing behind it can be read.
    Stop,
    /// One frame was passed over.
    PassOver,
    /// Reading goes on at this byte.
    GoOn(u64),
}

/// A stamp that is out of line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeFault {
    /// Later than those around it, alone.
    Ahead { by_ns: u64 },
    /// Earlier than those around it, alone.
    Behind { by_ns: u64 },
    /// Earlier than before, as are those that follow.
    SetBack { by_ns: u64 },
    /// Frame of another interface that came too late to be put in its place.
    Late { by_ns: u64 },
    /// Fraction of a second or more.
    Fraction,
}

impl fmt::Display for TimeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ns: u64| ns as f64 / 1e9;
        match *self {
            Self::Ahead { by_ns } => write!(
                f,
                "is stamped {:.3} s after those around it; it counts as of the frame before",
                seconds(by_ns)
            ),
            Self::Behind { by_ns } => write!(
                f,
                "is stamped {:.3} s before those around it; it counts as of the frame before",
                seconds(by_ns)
            ),
            Self::SetBack { by_ns } => write!(
                f,
                "is stamped {:.3} s before one before it; event time goes on from there, sort the \
                 capture by time if its frames are out of order",
                seconds(by_ns)
            ),
            Self::Late { by_ns } => write!(
                f,
                "is stamped {:.3} s before a frame of another interface that was already taken; it \
                 counts as of that one, sort the capture by time",
                seconds(by_ns)
            ),
            Self::Fraction => f.write_str(
                "has a stamp whose fraction is a second or more; it is taken for nanoseconds",
            ),
        }
    }
}

/// Faults that reading goes on behind: of each kind the first few are named, the rest counted.
#[derive(Default)]
pub(super) struct Notices {
    /// Each with the number of its frame.
    queue: VecDeque<(u64, CaptureError)>,
    n: [u64; KINDS.len()],
    is_over: bool,
}

/// Faults of one kind that are each named.
const MAX_NAMED: u64 = 10;
/// Kinds of faults, in the plural.
const KINDS: [&str; 5] = [
    "stamps out of line",
    "lengths on the wire that can't be",
    "frames longer than 256 KiB",
    "corrupt frames",
    "interfaces of unsupported types",
];

impl Notices {
    pub(super) fn add(&mut self, frame: u64, error: CaptureError) {
        let kind = match &error {
            CaptureError::Time { .. } => 0,
            CaptureError::WireLength { .. } => 1,
            CaptureError::LongFrame { .. } => 2,
            CaptureError::UnsupportedLink { .. } => 4,
            _ => 3,
        };
        let Some(n) = self.n.get_mut(kind) else {
            return;
        };
        *n += 1;
        if *n <= MAX_NAMED {
            self.queue.push_back((frame, error));
        }
    }

    /// True where one is to be told before the first frame that waits is lent.
    #[inline]
    pub(super) fn is_due(&self, first_waiting: Option<u64>) -> bool {
        self.queue
            .front()
            .is_some_and(|(frame, _)| first_waiting.is_none_or(|first| *frame < first))
    }

    /// The next one to be told.
    pub(super) fn next(&mut self) -> Option<CaptureError> {
        self.queue.pop_front().map(|(_, error)| error)
    }

    /// Adds what was not named, once.
    pub(super) fn finish(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        for (n, what) in self.n.iter().zip(KINDS) {
            let n = n.saturating_sub(MAX_NAMED);
            if n > 0 {
                self.queue
                    .push_back((u64::MAX, CaptureError::More { n, what }));
            }
        }
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(
                f,
                "cannot read the capture: {error}; check that the file exists and may be read"
            ),
            Self::NotACapture { magic } => write!(
                f,
                "not a capture file (it begins with 0x{magic:08x}); give a pcap or pcapng file, \
                 plain or compressed by gzip or zstd"
            ),
            Self::UnsupportedLink {
                frame,
                link,
                offset,
            } => write!(
                f,
                "link type {link} of {} at byte {offset} is not supported and the frames of that \
                 interface are skipped; capture on an interface of type {SUPPORTED}",
                Place(*frame)
            ),
            Self::Truncated { frame, offset } => write!(
                f,
                "capture ends inside {} at byte {offset}; the frames before it are complete, \
                 copy the file again for the rest",
                Place(*frame)
            ),
            Self::Corrupt {
                frame,
                offset,
                what,
                then,
            } => {
                let place = Place(*frame);
                write!(
                    f,
                    "capture is corrupt in {place} at byte {offset}: {what}; "
                )?;
                match then {
                    Then::Stop => f.write_str(
                        "nothing behind it can be read, copy the file again or rewrite it with a \
                         packet analyser",
                    ),
                    Then::PassOver => f.write_str("the frame is passed over"),
                    Then::GoOn(at) => write!(f, "reading goes on at byte {at}"),
                }
            }
            Self::Time { frame, fault } => write!(f, "frame {frame} {fault}"),
            Self::WireLength {
                frame,
                claimed,
                taken,
            } => write!(
                f,
                "frame {frame} claims {claimed} bytes on the wire, which its packet can't have had; \
                 it counts as {taken}"
            ),
            Self::LongFrame { frame, captured } => write!(
                f,
                "frame {frame} has {captured} bytes; its first 256 KiB are read"
            ),
            Self::More { n, what } => write!(f, "{n} more {what}"),
        }
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Writes a frame number, or that the fault is ahead of all frames.
struct Place(u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("the file header"),
            frame => write!(f, "frame {frame}"),
        }
    }
}
