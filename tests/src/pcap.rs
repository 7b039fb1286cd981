//! Classic capture files, as tests and benchmarks write them.

use std::io::{self, Write};

/// Unit of the fractions of a second in a capture's time stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    Microseconds,
    Nanoseconds,
}

/// A capture of Ethernet frames that is being written, little-endian.
#[derive(Debug)]
pub struct PcapWriter<W> {
    to: W,
    stamps: Stamps,
}

impl<W: Write> PcapWriter<W> {
    /// Begins a capture with its header.
    ///
    /// # Errors
    /// The writer's.
    pub fn new(mut to: W, stamps: Stamps) -> io::Result<Self> {
        let magic = match stamps {
            Stamps::Microseconds => 0xa1b2_c3d4,
            Stamps::Nanoseconds => 0xa1b2_3c4d,
        };
        put(&mut to, [magic, 0x0004_0002, 0, 0, 65_535, 1])?;
        Ok(Self { to, stamps })
    }

    /// Appends a frame, `at_ns` after 1970.
    ///
    /// # Errors
    /// The writer's.
    pub fn frame(&mut self, at_ns: u64, frame: &[u8]) -> io::Result<()> {
        let (seconds, ns) = (at_ns / 1_000_000_000, (at_ns % 1_000_000_000) as u32);
        let fraction = match self.stamps {
            Stamps::Microseconds => ns / 1_000,
            Stamps::Nanoseconds => ns,
        };
        let length = frame.len() as u32;
        put(&mut self.to, [seconds as u32, fraction, length, length])?;
        self.to.write_all(frame)
    }

    /// # Errors
    /// The writer's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn put<const N: usize>(to: &mut impl Write, words: [u32; N]) -> io::Result<()> {
    words
        .iter()
        .try_for_each(|word| to.write_all(&word.to_le_bytes()))
}
