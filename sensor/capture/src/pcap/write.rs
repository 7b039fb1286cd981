//! Writes frames as pcapng (draft-ietf-opsawg-pcapng), each with a comment.

use std::io::{self, Write};

use super::{Frame, LinkType, MAX_FRAME_LEN};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Length of a section that isn't stated.
const UNKNOWN_LENGTH: u64 = u64::MAX;
const COMMENT: u16 = 1;
const APPLICATION: u16 = 4;
const RESOLUTION: u16 = 9;
/// Stamps in units of 10^-9 s.
const NANOSECONDS: u8 = 9;

/// A pcapng file that is being written, little-endian, stamps in nanoseconds.
pub struct NgWriter<W> {
    pub(super) to: W,
    /// Links in the order of their interfaces.
    links: Vec<LinkType>,
    block: Vec<u8>,
    n_bytes: usize,
}

impl<W: Write> NgWriter<W> {
    /// Begins a file with the name of the program and a comment on the whole.
    ///
    /// # Errors
    /// Those of the file.
    pub fn new(to: W, program: &str, comment: &str) -> io::Result<Self> {
        let mut writer = Self {
            to,
            links: Vec::new(),
            block: Vec::new(),
            n_bytes: 0,
        };
        writer.put(&BYTE_ORDER.to_le_bytes());
        writer.put(&[1, 0, 0, 0]);
        writer.put(&UNKNOWN_LENGTH.to_le_bytes());
        writer.option(COMMENT, comment.as_bytes());
        writer.option(APPLICATION, program.as_bytes());
        writer.end(SECTION)?;
        Ok(writer)
    }

    /// Appends a frame as it was captured, with a comment unless that is empty.
    ///
    /// # Errors
    /// Those of the file.
    pub fn frame(&mut self, frame: &Frame<'_>, comment: &str) -> io::Result<()> {
        let interface = self.interface(frame.link)?;
        let most = usize::try_from(MAX_FRAME_LEN).unwrap_or(usize::MAX);
        let data = frame.data.get(..most).unwrap_or(frame.data);
        let length = u32::try_from(data.len()).unwrap_or(MAX_FRAME_LEN);
        let [high, low] = [(frame.at_ns >> 32) as u32, frame.at_ns as u32];
        for word in [interface, high, low, length, frame.wire_len.max(length)] {
            self.put(&word.to_le_bytes());
        }
        self.padded(data);
        if !comment.is_empty() {
            self.option(COMMENT, comment.as_bytes());
        }
        self.end(PACKET)
    }

    /// Bytes that were written.
    pub const fn written(&self) -> usize {
        self.n_bytes
    }

    /// Hands out what was written before.
    ///
    /// # Errors
    /// Those of the file.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Number of the interface of a link, begun where there is none yet.
    fn interface(&mut self, link: LinkType) -> io::Result<u32> {
        let known = self.links.iter().position(|one| *one == link);
        let index = match known {
            Some(index) => index,
            None => {
                self.put(&link.number().to_le_bytes());
                self.put(&[0, 0]);
                self.put(&MAX_FRAME_LEN.to_le_bytes());
                self.option(RESOLUTION, &[NANOSECONDS]);
                self.end(INTERFACE)?;
                self.links.push(link);
                self.links.len() - 1
            }
        };
        Ok(u32::try_from(index).unwrap_or(u32::MAX))
    }

    fn put(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
    }

    /// Bytes, and zeros up to a multiple of four.
    fn padded(&mut self, bytes: &[u8]) {
        self.put(bytes);
        let n = bytes.len().next_multiple_of(4) - bytes.len();
        self.block.extend(std::iter::repeat_n(0, n));
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let most = usize::from(u16::MAX);
        let value = value.get(..most).unwrap_or(value);
        self.put(&code.to_le_bytes());
        self.put(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.padded(value);
    }

    /// Writes the block with the end of its options.
    fn end(&mut self, kind: u32) -> io::Result<()> {
        self.put(&[0; 4]);
        let length = u32::try_from(self.block.len() + 12).unwrap_or(u32::MAX);
        self.to.write_all(&kind.to_le_bytes())?;
        self.to.write_all(&length.to_le_bytes())?;
        self.to.write_all(&self.block)?;
        self.to.write_all(&length.to_le_bytes())?;
        self.n_bytes = self.n_bytes.saturating_add(self.block.len() + 12);
        self.block.clear();
        Ok(())
    }
}
