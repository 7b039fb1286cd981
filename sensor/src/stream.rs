//! Outputs of a running sensor: whole lines, counted, by threads that nobody has to wait for.
//!
//! A reader that has gone, has stalled or has no room costs lines of its output and nothing else.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sensor_capture::kernel::monotonic_ns;
use tracing_subscriber::fmt::MakeWriter;

use crate::queue::{self, Drain, Policy, Sender};

/// Bytes that are collected before they are written.
const BUFFER: usize = 64 << 10;
/// To the next try where the reader would have to be waited for.
const AGAIN: Duration = Duration::from_millis(10);
/// Log lines on their way: 1 MB of ordinary ones.
const N_LOG_LINES: usize = 4_096;

/// State of an output, as `status` and the metrics show it.
#[derive(Debug)]
pub struct Health {
    /// Name of the output: stdout, log, file, export.NAME.
    pub name: Cow<'static, str>,
    n_written: AtomicU64,
    n_lost: AtomicU64,
    /// Monotonic time of the beginning of a write that is under way; 0 without one.
    writes_since_ns: AtomicU64,
    error: Mutex<Option<String>>,
}

impl Health {
    pub fn new(name: impl Into<Cow<'static, str>>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            n_written: AtomicU64::new(0),
            n_lost: AtomicU64::new(0),
            writes_since_ns: AtomicU64::new(0),
            error: Mutex::new(None),
        })
    }

    /// Lines written.
    pub fn n_written(&self) -> u64 {
        self.n_written.load(Ordering::Relaxed)
    }

    /// Lines lost.
    pub fn n_lost(&self) -> u64 {
        self.n_lost.load(Ordering::Relaxed)
    }

    /// Time that the reader has kept a write waiting.
    pub fn stalled(&self) -> Duration {
        match self.writes_since_ns.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_nanos(monotonic_ns().saturating_sub(since)),
        }
    }

    /// Cause of the last write that failed; none once one succeeded.
    pub fn error(&self) -> Option<String> {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.clone()
    }

    /// Counts a line that was handed on.
    pub fn hand_on(&self) {
        self.n_written.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts lines that were handed on together.
    pub fn hand_on_all(&self, n: u64) {
        self.n_written.fetch_add(n, Ordering::Relaxed);
    }

    /// Counts lines that never came to be written.
    pub fn lose(&self, n: u64) {
        self.n_lost.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the cause of the last write that failed; none where it succeeded.
    pub fn set_error(&self, cause: Option<String>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }

    fn set_writing(&self, is_writing: bool) {
        let since = if is_writing { monotonic_ns() } else { 0 };
        self.writes_since_ns.store(since, Ordering::Relaxed);
    }
}

/// Turn of an output, told once.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Lines are lost from now on.
    Fails(String),
    /// Lines are written again.
    Recovers,
}

/// Lines into a file, a pipe or a terminal: each is written as a whole or not at all, and the rest of
/// one that was cut by a full disk follows when there is room.
#[derive(Debug)]
pub struct WholeLines<W> {
    out: W,
    buffer: Vec<u8>,
    /// The buffer begins within a line.
    is_mid_line: bool,
    /// The pipe is closed: nobody will ever read.
    is_gone: bool,
    health: Arc<Health>,
}

impl<W: Write> WholeLines<W> {
    pub const fn new(out: W, health: Arc<Health>) -> Self {
        Self {
            out,
            buffer: Vec::new(),
            is_mid_line: false,
            is_gone: false,
            health,
        }
    }

    /// Goes on in another file; the rest of a line that was begun stays in the old one.
    pub fn write_to(&mut self, out: W) {
        self.out = out;
        self.is_gone = false;
        if std::mem::take(&mut self.is_mid_line) {
            self.buffer.clear();
            self.health.lose(1);
        }
    }

    /// Takes a line with its end.
    pub fn push(&mut self, line: &[u8]) -> Option<Turn> {
        if self.is_gone {
            self.health.lose(1);
            return None;
        }
        let is_full = self.buffer.len() + line.len() > BUFFER;
        let turn = if is_full { self.flush() } else { None };
        self.buffer.extend_from_slice(line);
        turn
    }

    /// Writes what was taken.
    pub fn flush(&mut self) -> Option<Turn> {
        if self.buffer.is_empty() {
            return None;
        }
        self.health.set_writing(true);
        let (n_done, result) = write_all(&mut self.out, &self.buffer);
        self.health.set_writing(false);
        let done = self.buffer.get(..n_done).unwrap_or_default();
        let n_lines = count(done);
        self.health.n_written.fetch_add(n_lines, Ordering::Relaxed);
        if let Some(last) = done.last() {
            self.is_mid_line = *last != b'\n';
        }
        match result {
            Ok(()) => {
                self.buffer.clear();
                let was_bad = self.health.error().is_some();
                self.health.set_error(None);
                was_bad.then_some(Turn::Recovers)
            }
            Err(cause) => self.fail(n_done, &cause),
        }
    }

    /// Drops what was not begun.
    fn fail(&mut self, n_done: usize, cause: &io::Error) -> Option<Turn> {
        self.is_gone = cause.kind() == ErrorKind::BrokenPipe;
        self.buffer.drain(..n_done);
        let n_kept = if self.is_mid_line && !self.is_gone {
            let end = self.buffer.iter().position(|byte| *byte == b'\n');
            end.map_or(self.buffer.len(), |end| end + 1)
        } else {
            0
        };
        self.health
            .lose(count(self.buffer.get(n_kept..).unwrap_or_default()));
        self.buffer.truncate(n_kept);
        let is_news = self.health.error().is_none();
        self.health.set_error(Some(cause.to_string()));
        is_news.then(|| Turn::Fails(cause.to_string()))
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// As [`Write::write_all`], and tells how far it came.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut n_done = 0;
    while let Some(rest @ [_, ..]) = bytes.get(n_done..) {
        match out.write(rest) {
            Ok(0) => return (n_done, Err(ErrorKind::WriteZero.into())),
            Ok(n) => n_done += n,
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            // Somebody else who shares the terminal made it so.
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => thread::sleep(AGAIN),
            Err(cause) => return (n_done, Err(cause)),
        }
    }
    (n_done, Ok(()))
}

/// Duplicate of the open file, without the locks and buffers of the standard library: a write that
/// never returns then holds up nobody else.
///
/// # Errors
/// When it is closed.
pub fn unbuffered(stream: &impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// Log lines on standard error, handed to a thread of its own.
#[derive(Clone)]
pub struct LogLines {
    queue: Sender<Vec<u8>>,
    /// Lines that the thread has dealt with.
    n_done: Arc<AtomicU64>,
    n_sent: Arc<AtomicU64>,
    health: Arc<Health>,
}

impl LogLines {
    /// Starts the thread.
    ///
    /// # Errors
    /// When standard error is closed, or there can be no thread.
    pub fn start() -> io::Result<Self> {
        let out = unbuffered(&io::stderr())?;
        let (queue, lines) = queue::bounded("log", N_LOG_LINES, Policy::DropNewest);
        let health = Health::new("log");
        let log = Self {
            queue,
            n_done: Arc::default(),
            n_sent: Arc::default(),
            health: Arc::clone(&health),
        };
        let n_done = Arc::clone(&log.n_done);
        let write = move || write_lines(&lines, WholeLines::new(out, health), &n_done);
        thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok(log)
    }

    /// Puts a line in, its end included. One that finds no room is counted.
    pub fn put(&self, line: &[u8]) {
        match self.queue.send(line.to_vec()) {
            Ok(()) => {
                self.n_sent.fetch_add(1, Ordering::Relaxed);
            }
            Err(_full) => self.health.lose(1),
        }
    }

    /// Waits until everything is written, but not for long.
    pub fn settle(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let is_open = || {
            self.n_done.load(Ordering::Relaxed) < self.n_sent.load(Ordering::Relaxed)
                && Instant::now() < until
        };
        while is_open() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }
}

/// Body of the log's thread.
fn write_lines(lines: &Drain<Vec<u8>>, mut out: WholeLines<File>, n_done: &AtomicU64) {
    while let Ok(next) = lines.receive(Duration::from_secs(3600)) {
        let (mut next, mut n_taken) = (next, 0);
        while let Some(line) = next {
            // There is no other place to tell of the log's own faults.
            let _told_by_status = out.push(&line);
            n_taken += 1;
            next = lines.next_waiting();
        }
        let _told_by_status = out.flush();
        n_done.fetch_add(n_taken, Ordering::Relaxed);
    }
}

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so many bytes of room.
    struct Disk {
        written: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            if n == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= n;
            self.written.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_cuts_no_line() {
        let health = Health::new("stdout");
        let disk = Disk {
            written: Vec::new(),
            room: 10,
        };
        let mut lines = WholeLines::new(disk, Arc::clone(&health));
        for line in ["first\n", "second\n", "third\n"] {
            assert_eq!(lines.push(line.as_bytes()), None);
        }
        assert!(matches!(lines.flush(), Some(Turn::Fails(_))));
        assert_eq!((health.n_written(), health.n_lost()), (1, 1));
        assert_eq!(lines.push(b"fourth\n"), None);
        // The fourth is lost, the second is still owed.
        assert_eq!(lines.flush(), None);
        assert_eq!((health.n_written(), health.n_lost()), (1, 2));
        assert!(health.error().is_some());
        lines.out.room = 100;
        assert_eq!(lines.push(b"fifth\n"), None);
        assert_eq!(lines.flush(), Some(Turn::Recovers));
        assert_eq!(lines.out.written, b"first\nsecond\nfifth\n");
        assert_eq!((health.n_written(), health.n_lost()), (3, 2));
        assert_eq!(health.error(), None);
    }

    #[test]
    fn a_closed_pipe_is_never_written_to_again() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let health = Health::new("stdout");
        let mut lines = WholeLines::new(writer, Arc::clone(&health));
        assert_eq!(lines.push(b"first\n"), None);
        assert!(matches!(lines.flush(), Some(Turn::Fails(_))));
        assert_eq!(lines.push(b"second\n"), None);
        assert_eq!(lines.flush(), None);
        assert_eq!((health.n_written(), health.n_lost()), (0, 2));
    }

    #[test]
    fn a_stalled_reader_is_seen_and_holds_up_nobody() {
        let (_reader, writer) = io::pipe().unwrap();
        let health = Health::new("stdout");
        let mut lines = WholeLines::new(writer, Arc::clone(&health));
        // More than a pipe takes.
        let line = [vec![b'x'; 2 << 20], vec![b'\n']].concat();
        thread::spawn(move || {
            lines.push(&line);
            lines.flush()
        });
        let until = Instant::now() + Duration::from_secs(10);
        while health.stalled() < Duration::from_millis(20) {
            assert!(Instant::now() < until, "no stall seen");
            thread::yield_now();
        }
        assert_eq!(health.n_written(), 0);
    }
}
