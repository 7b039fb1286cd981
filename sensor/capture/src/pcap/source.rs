//! A capture file as one unpacked stream of bytes behind one reusable buffer.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::path::Path;

use super::Fault;
use super::unpack::{self, Unpacked};

/// Path that stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// Size of the buffer that frames are lent from. It has to hold the longest block that a parser
/// asks for; beyond that, larger only means fewer reads.
const BUFFER_LEN: usize = 1 << 20;
/// Bytes read at a time: they stay in a core's own cache until they are used.
const CHUNK_LEN: usize = 128 << 10;
/// Bytes of the buffer that frames still lent may hold.
const LENT_LEN: usize = BUFFER_LEN / 2;

/// The unpacked bytes of a capture file.
pub(super) struct Source {
    input: Input,
    buffer: Vec<u8>,
    /// Part of the buffer that is read from the file but not yet consumed.
    unread: Range<usize>,
    /// Offset from which the buffer is lent, though consumed.
    lent_from: Option<usize>,
    /// Offset in the unpacked file of the buffer's first byte.
    base: u64,
    file_size: u64,
    /// Bytes that were read of the file as stored, where the reader is gone.
    file_read: u64,
    /// A pipe or the like: what comes next may not be there yet.
    is_live: bool,
    /// Bytes to be passed over before anything else.
    owed: u64,
    at_end: bool,
    /// The compressed data ended before its own end mark.
    cut: bool,
}

impl Source {
    /// Opens a file; `-` is standard input.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = if path.as_os_str() == STANDARD_INPUT {
            File::from(io::stdin().as_fd().try_clone_to_owned()?)
        } else {
            File::open(path)?
        };
        let about = file.metadata()?;
        Ok(Self {
            input: Input::new(StoredFile::new(file)?),
            buffer: vec![0; BUFFER_LEN],
            unread: 0..0,
            lent_from: None,
            base: 0,
            file_size: about.len(),
            file_read: 0,
            is_live: !about.is_file(),
            owed: 0,
            at_end: false,
            cut: false,
        })
    }

    pub(super) fn file_size(&self) -> u64 {
        self.file_size
    }

    pub(super) fn file_bytes_read(&self) -> u64 {
        let stored = self.input.stored();
        stored.map_or(self.file_read, |file| file.taken)
    }

    /// True where the file grows while it is read.
    pub(super) const fn is_live(&self) -> bool {
        self.is_live
    }

    /// Offset in the unpacked file of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.unread.start as u64
    }

    /// The bytes that are buffered and not yet consumed.
    #[inline]
    pub(super) fn peek(&self) -> &[u8] {
        self.buffer.get(self.unread.clone()).unwrap_or_default()
    }

    /// The bytes at a place that [`Source::take`] gave since the last [`Source::give_back`].
    #[inline]
    pub(super) fn lent(&self, place: &Range<u64>) -> &[u8] {
        let at = |offset: u64| offset.wrapping_sub(self.base) as usize;
        let bytes = self.buffer.get(at(place.start)..at(place.end));
        bytes.unwrap_or_default()
    }

    /// Ends the loan of what was taken before `offset`; of all that was taken where there is none.
    #[inline]
    pub(super) fn give_back(&mut self, offset: Option<u64>) {
        self.lent_from = offset.map(|offset| offset.saturating_sub(self.base) as usize);
    }

    /// Has `len` bytes passed over before anything else is read.
    pub(super) const fn owe(&mut self, len: u64) {
        self.owed = self.owed.saturating_add(len);
    }

    /// Passes over what is owed.
    #[inline]
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        if self.owed > 0 {
            if !self.skip(self.owed)? {
                self.owed = 0;
                return Err(self.truncated());
            }
            self.owed = 0;
        }
        Ok(())
    }

    /// True where more may be lent before something is given back.
    #[inline]
    pub(super) fn may_lend(&self) -> bool {
        let start = self.unread.start;
        start - self.lent_from.unwrap_or(start) < LENT_LEN
    }

    /// Makes `len` bytes available to `peek`; false when the file has fewer left.
    #[inline]
    pub(super) fn ensure(&mut self, len: usize) -> Result<bool, Fault> {
        if self.unread.len() >= len {
            Ok(true)
        } else {
            self.refill(len)
        }
    }

    /// Like `ensure`, for the start of a record: false only at a proper end of the file.
    #[inline]
    pub(super) fn ensure_record(&mut self, len: usize) -> Result<bool, Fault> {
        if self.ensure(len)? {
            return Ok(true);
        }
        if self.unread.is_empty() && !self.cut {
            Ok(false)
        } else {
            Err(self.truncated())
        }
    }

    /// Like `ensure`, for the inside of a record, where the file must not end.
    #[inline]
    pub(super) fn require(&mut self, len: usize) -> Result<(), Fault> {
        if self.ensure(len)? {
            Ok(())
        } else {
            Err(self.truncated())
        }
    }

    /// The fault that the file ends in the record that begins at the next byte.
    #[cold]
    pub(super) fn truncated(&self) -> Fault {
        Fault::Truncated {
            offset: self.offset(),
        }
    }

    /// Consumes `len` buffered bytes and says where in the unpacked file the part of them from
    /// `skip` on stands.
    #[inline]
    pub(super) fn take(&mut self, skip: usize, len: usize) -> Range<u64> {
        let start = self.unread.start;
        let end = start.saturating_add(len).min(self.unread.end);
        self.unread.start = end;
        self.lent_from.get_or_insert(start);
        let start = start.saturating_add(skip).min(end);
        self.base + start as u64..self.base + end as u64
    }

    /// Consumes `len` bytes, buffered or not; false when the file has fewer left. What is lent may
    /// have to be given back first.
    pub(super) fn skip(&mut self, len: u64) -> Result<bool, Fault> {
        if self.lent_from.is_some() && len > self.unread.len() as u64 {
            return Err(Fault::Lent);
        }
        let mut left = len;
        loop {
            let step = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.unread.len());
            self.unread.start += step;
            left -= step as u64;
            if left == 0 {
                return Ok(true);
            }
            if !self.ensure(1)? {
                return Ok(false);
            }
        }
    }

    /// Reads from the file until `len` bytes are buffered or it ends.
    #[cold]
    fn refill(&mut self, len: usize) -> Result<bool, Fault> {
        self.make_room();
        while self.unread.len() < len && !self.at_end {
            let end = self.unread.end.saturating_add(CHUNK_LEN);
            let end = end.max(self.unread.start.saturating_add(len));
            let end = end.min(self.buffer.len());
            let free = self.buffer.get_mut(self.unread.end..end);
            let free = free.unwrap_or_default();
            match self.input.read(free) {
                Ok(0) => self.at_end = true,
                Ok(n) => {
                    self.unread.end += n;
                    self.file_read = self.file_bytes_read();
                }
                Err(error) => self.read_failed(error)?,
            }
        }
        Ok(self.unread.len() >= len)
    }

    /// Moves what is lent or unread to the beginning of the buffer.
    fn make_room(&mut self) {
        let from = self.lent_from.unwrap_or(self.unread.start);
        self.buffer.copy_within(from..self.unread.end, 0);
        self.base += from as u64;
        self.unread = self.unread.start - from..self.unread.end - from;
        self.lent_from = self.lent_from.map(|_| 0);
    }

    /// Tells apart what a failed read means for the capture.
    fn read_failed(&mut self, error: io::Error) -> Result<(), Fault> {
        if error.kind() == io::ErrorKind::Interrupted {
            return Ok(());
        }
        self.at_end = true;
        // Errors of the operating system have a number; the others come from unpacking.
        if error.raw_os_error().is_some() || !self.input.is_packed() {
            return Err(Fault::Io(error));
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            self.cut = true;
            return Ok(());
        }
        let offset = self.base + self.unread.end as u64;
        Err(Fault::Lost {
            offset,
            what: "its compressed data is damaged, needs too much memory or is followed by something else",
        })
    }
}

/// The file's bytes, unpacked if need be.
enum Input {
    Plain(StoredFile),
    Packed(Unpacked<StoredFile>),
}

impl Input {
    fn new(file: StoredFile) -> Self {
        if unpack::is_packed(&file.head) {
            Self::Packed(Unpacked::new(file))
        } else {
            Self::Plain(file)
        }
    }

    fn is_packed(&self) -> bool {
        matches!(self, Self::Packed(_))
    }

    fn stored(&self) -> Option<&StoredFile> {
        match self {
            Self::Plain(file) => Some(file),
            Self::Packed(unpacked) => unpacked.stored(),
        }
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(out),
            Self::Packed(unpacked) => unpacked.read(out),
        }
    }
}

/// The file as stored, counting what is taken of it.
struct StoredFile {
    file: File,
    /// The first bytes, read ahead to recognise compression. Kept rather than read again, since a
    /// pipe cannot be rewound; zeros where the file is shorter.
    head: [u8; 4],
    head_len: usize,
    /// Bytes handed out so far, head included.
    taken: u64,
}

impl StoredFile {
    fn new(mut file: File) -> io::Result<Self> {
        let mut head = [0; 4];
        let mut head_len = 0;
        while let Some(free) = head.get_mut(head_len..).filter(|free| !free.is_empty()) {
            match file.read(free) {
                Ok(0) => break,
                Ok(n) => head_len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            file,
            head,
            head_len,
            taken: 0,
        })
    }

    /// Part of the head that has not been handed out.
    fn head_left(&self) -> &[u8] {
        let taken = usize::try_from(self.taken).unwrap_or(usize::MAX);
        self.head.get(taken..self.head_len).unwrap_or_default()
    }
}

impl Read for StoredFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut head = self.head_left();
        let n = if head.is_empty() {
            self.file.read(out)?
        } else {
            head.read(out)?
        };
        self.taken += n as u64;
        Ok(n)
    }
}
