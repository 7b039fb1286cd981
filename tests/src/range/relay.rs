//! Delay, jitter and loss on cables, in user space: a thread reads the frames at either end of a
//! cable and sends each on at the other when its time has come. Order is kept.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::random::Random;
use super::recipe::Path;

/// Names of a cable's two ends in the relay's namespace.
#[derive(Clone, Debug)]
pub struct Cable(pub String, pub String);

/// Frames under way at most; more are lost, as in a full queue.
const QUEUE: usize = 20_000;
/// Longest frame.
const FRAME: usize = 9_216;

/// A relay at work; ended with the value.
pub struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts relaying in a namespace.
    ///
    /// # Errors
    /// Without the namespace, its devices, or the right to open packet sockets.
    pub fn start(
        namespace: &FilePath,
        cables: Vec<Cable>,
        path: Path,
        random: Random,
    ) -> Result<Self> {
        let namespace = File::open(namespace).with_context(|| namespace.display().to_string())?;
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let work = move || match open_all(&namespace, &cables) {
            Ok(ends) => {
                let _waited_for = ready.send(Ok(()));
                Work::new(ends, path, random).run(&is_over);
            }
            Err(error) => {
                let _waited_for = ready.send(Err(error));
            }
        };
        let thread = thread::Builder::new()
            .name("relay".to_owned())
            .spawn(work)?;
        is_ready.recv()??;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Moves this thread into a namespace.
///
/// # Errors
/// Without the right to.
pub fn enter(namespace: &File) -> Result<()> {
    // SAFETY: an open descriptor; only this thread moves.
    let moved = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    if moved != 0 {
        return Err(std::io::Error::last_os_error()).context("setns");
    }
    Ok(())
}

/// A socket that gets every frame of a device, or of all devices, but none that we send ourselves.
///
/// # Errors
/// Without the device, or the right to open packet sockets.
pub fn packet_socket(device: Option<&str>) -> Result<OwnedFd> {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: no pointers.
    let socket = unsafe {
        libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            0,
        )
    };
    if socket < 0 {
        return Err(std::io::Error::last_os_error()).context("packet socket");
    }
    // SAFETY: a descriptor that was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    set(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 256 << 20)?;
    // SAFETY: integers, for which zeros are valid.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_protocol = protocol;
    if let Some(device) = device {
        to.sll_ifindex = index(device)? as i32;
    }
    // SAFETY: an address of the length told.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(&to).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    if bound != 0 {
        return Err(std::io::Error::last_os_error()).context("bind");
    }
    Ok(socket)
}

/// Sets an integer option of a socket.
pub fn set(socket: &OwnedFd, level: i32, option: i32, value: i32) -> Result<()> {
    // SAFETY: a value of the length told.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of::<i32>() as u32,
        )
    };
    if done != 0 {
        return Err(std::io::Error::last_os_error()).context("setsockopt");
    }
    Ok(())
}

/// Number of a device in this thread's namespace.
///
/// # Errors
/// Without the device.
pub fn index(device: &str) -> Result<u32> {
    let name = CString::new(device)?;
    // SAFETY: a terminated name.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => bail!("no device {device}"),
        index => Ok(index),
    }
}

/// Two ends of each cable, one after the other: the other end of `n` is `n ^ 1`.
fn open_all(namespace: &File, cables: &[Cable]) -> Result<Vec<OwnedFd>> {
    enter(namespace)?;
    let ends = cables.iter().flat_map(|Cable(a, b)| [a, b]);
    ends.map(|end| packet_socket(Some(end))).collect()
}

/// Frame ordered by time, then by arrival: time in µs, number, end to send at, frame.
type Queued = (u64, u64, usize, Vec<u8>);

struct Work {
    ends: Vec<OwnedFd>,
    path: Path,
    random: Random,
    start: Instant,
    queue: BinaryHeap<Reverse<Queued>>,
    /// Times when the latest frame of each end is due.
    latest: Vec<u64>,
    n_frames: u64,
}

impl Work {
    fn new(ends: Vec<OwnedFd>, path: Path, random: Random) -> Self {
        let latest = vec![0; ends.len()];
        Self {
            ends,
            path,
            random,
            start: Instant::now(),
            queue: BinaryHeap::new(),
            latest,
            n_frames: 0,
        }
    }

    fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn run(mut self, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            self.wait();
            for end in 0..self.ends.len() {
                self.receive(end);
            }
            self.send();
        }
    }

    /// Until a frame comes, one is due, or a tenth of a second has passed.
    fn wait(&self) {
        let mut polled: Vec<libc::pollfd> = self
            .ends
            .iter()
            .map(|end| libc::pollfd {
                fd: end.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        let due = self.queue.peek().map(|Reverse((due, ..))| *due);
        let wait_us = due.map_or(100_000, |due| {
            due.saturating_sub(self.now_us()).min(100_000)
        });
        let wait = libc::timespec {
            tv_sec: 0,
            tv_nsec: Duration::from_micros(wait_us).as_nanos() as i64,
        };
        // SAFETY: an array of the length told, and a time.
        unsafe {
            libc::ppoll(
                polled.as_mut_ptr(),
                polled.len() as libc::nfds_t,
                &wait,
                std::ptr::null(),
            );
        }
    }

    fn receive(&mut self, end: usize) {
        let mut frame = [0u8; FRAME];
        loop {
            let Some(socket) = self.ends.get(end) else {
                return;
            };
            // SAFETY: a buffer of the length told.
            let n = unsafe {
                libc::recv(
                    socket.as_raw_fd(),
                    frame.as_mut_ptr().cast(),
                    frame.len(),
                    0,
                )
            };
            let Some(bytes) = usize::try_from(n).ok().and_then(|n| frame.get(..n)) else {
                return;
            };
            self.take(end, bytes.to_vec());
        }
    }

    fn take(&mut self, end: usize, frame: Vec<u8>) {
        let is_lost = self.random.below(1_000_000) < self.path.loss_ppm;
        if is_lost || self.queue.len() >= QUEUE {
            return;
        }
        let delay = self.path.delay_us + self.random.below(self.path.jitter_us + 1);
        let due = self.now_us() + delay;
        let Some(latest) = self.latest.get_mut(end) else {
            return;
        };
        // A frame never overtakes another.
        let due = due.max(*latest);
        *latest = due;
        self.n_frames += 1;
        self.queue
            .push(Reverse((due, self.n_frames, end ^ 1, frame)));
    }

    fn send(&mut self) {
        let now = self.now_us();
        while let Some(Reverse((due, ..))) = self.queue.peek() {
            if *due > now {
                return;
            }
            let Some(Reverse((_, _, end, frame))) = self.queue.pop() else {
                return;
            };
            if let Some(socket) = self.ends.get(end) {
                // SAFETY: a buffer of the length told. What doesn't fit is lost, as on a wire.
                unsafe {
                    libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0);
                }
            }
        }
    }
}
