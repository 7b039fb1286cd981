//! What can be wrong with a capture file.

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
        /// Its first four bytes, most significant first.
        magic: u32,
    },
    /// An interface delivers frames of a kind that is not understood.
    UnsupportedLink {
        /// The first such frame.
        frame: u64,
        /// The link type's number in the tcpdump.org registry.
        link: u32,
        /// Where that frame begins.
        offset: u64,
    },
    /// The file ends inside a frame or its compressed data is incomplete.
    Truncated {
        /// The frame that is cut.
        frame: u64,
        /// Where that frame begins.
        offset: u64,
    },
    /// The file contradicts itself.
    Corrupt {
        /// The frame that is being read, or that would have come next.
        frame: u64,
        /// Where the fault is.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(
                f,
                "cannot read the capture: {error}; check that the file exists, is a regular file \
                 and may be read"
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
            } => write!(
                f,
                "capture is corrupt in {} at byte {offset}: {what}; copy the file again or \
                 rewrite it with a packet analyser",
                Place(*frame)
            ),
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
