//! Bytes of a file as they were before compression: gzip members and zstd frames one after another,
//! with zeros between or behind them, as tapes and copying tools leave them.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Bytes of a compressed file read at a time.
const CHUNK_LEN: usize = 128 << 10;
/// zstd files that need a larger window than 2 to this power are refused, to bound memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Kind of compression, told by the first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // The second is a skippable frame, which parallel compressors put first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// True for the first bytes of a compressed file.
pub(super) fn is_packed(head: &[u8]) -> bool {
    Packing::of(head).is_some()
}

/// Reader of compressed data.
pub(super) struct Unpacked<R> {
    member: Member<R>,
}

enum Member<R> {
    Gzip(Box<GzDecoder<Ahead<R>>>),
    Zstd(Box<zstd::Decoder<'static, Ahead<R>>>),
    /// Before the first member, between two, or behind the last.
    Between(Ahead<R>),
    /// An error took the reader along.
    Broken,
}

impl<R: Read> Unpacked<R> {
    pub(super) fn new(file: R) -> Self {
        Self {
            member: Member::Between(Ahead::new(file)),
        }
    }

    /// The file as stored; none once it can't be read any more.
    pub(super) fn stored(&self) -> Option<&R> {
        match &self.member {
            Member::Gzip(decoder) => Some(&decoder.get_ref().file),
            Member::Zstd(decoder) => Some(&decoder.get_ref().file),
            Member::Between(ahead) => Some(&ahead.file),
            Member::Broken => None,
        }
    }

    /// Begins the next member. `false`: there is none, the file is over.
    fn begin(&mut self) -> io::Result<bool> {
        let Member::Between(mut ahead) = std::mem::replace(&mut self.member, Member::Broken) else {
            return Ok(false);
        };
        ahead.skip_zeros()?;
        let head = ahead.peek(4)?;
        let Some(packing) = Packing::of(head) else {
            let is_over = head.is_empty();
            self.member = Member::Between(ahead);
            return if is_over {
                Ok(false)
            } else {
                Err(io::ErrorKind::InvalidData.into())
            };
        };
        self.member = match packing {
            Packing::Gzip => Member::Gzip(Box::new(GzDecoder::new(ahead))),
            Packing::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(ahead)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Member::Zstd(Box::new(decoder))
            }
        };
        Ok(true)
    }

    /// Leaves a member that is over.
    fn end(&mut self) {
        self.member = match std::mem::replace(&mut self.member, Member::Broken) {
            Member::Gzip(decoder) => Member::Between(decoder.into_inner()),
            Member::Zstd(decoder) => Member::Between(decoder.finish()),
            other => other,
        };
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let n = match &mut self.member {
                Member::Gzip(decoder) => decoder.read(out)?,
                Member::Zstd(decoder) => decoder.read(out)?,
                Member::Between(_) | Member::Broken => {
                    if self.begin()? {
                        continue;
                    }
                    return Ok(0);
                }
            };
            if n > 0 {
                return Ok(n);
            }
            self.end();
        }
    }
}

/// Buffered reader that can look some bytes ahead.
struct Ahead<R> {
    file: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Ahead<R> {
    fn new(file: R) -> Self {
        Self {
            file,
            buffer: vec![0; CHUNK_LEN],
            start: 0,
            end: 0,
        }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The next `n` bytes, fewer where the file ends.
    fn peek(&mut self, n: usize) -> io::Result<&[u8]> {
        if self.end - self.start < n {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end < n {
            let free = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.file.read(free) {
                Ok(0) => break,
                Ok(n) => self.end += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let unread = self.unread();
        Ok(unread.get(..n).unwrap_or(unread))
    }

    fn skip_zeros(&mut self) -> io::Result<()> {
        loop {
            let unread = self.fill_buf()?;
            let n_zeros = unread.iter().take_while(|byte| **byte == 0).count();
            let is_all = n_zeros == unread.len();
            let is_over = unread.is_empty();
            self.consume(n_zeros);
            if is_over || !is_all {
                return Ok(());
            }
        }
    }
}

impl<R: Read> Read for Ahead<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut unread = self.fill_buf()?;
        let n = unread.read(out)?;
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for Ahead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, self.file.read(&mut self.buffer)?);
        }
        Ok(self.unread())
    }

    fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
    }
}
