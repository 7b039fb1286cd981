//! Reads the frames that enter the ports of a switch, each once, with the port it came in by, and
//! writes them as a capture file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, bail};

use super::relay::{enter, index, packet_socket, set};

/// Bytes kept of a frame: its headers and all that the sensor samples of a payload.
pub const SNAPLEN: usize = 768;
/// Frames of a capture at most: a recipe that makes more has no bound of its own.
const MOST: usize = 600_000;

/// One frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub at_ns: u64,
    start: usize,
    len: usize,
    pub wire_len: usize,
    /// The host it came from, by its place in the list of ports.
    pub port: usize,
}

/// Captured frames in order of time.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    pub list: Vec<Frame>,
    /// Frames that the kernel had no room for.
    pub n_lost: u64,
}

impl Frames {
    pub fn data(&self, frame: &Frame) -> &[u8] {
        self.bytes
            .get(frame.start..frame.start + frame.len)
            .unwrap_or_default()
    }

    /// A frame, as if it had been captured.
    pub fn push(&mut self, at_ns: u64, port: usize, wire_len: usize, data: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        self.list.push(Frame {
            at_ns,
            start,
            len: data.len(),
            wire_len,
            port,
        });
    }

    /// Writes classic pcap with microseconds, compressed by zstd; gives the bytes written and the
    /// SHA-256 of the capture before it was compressed.
    ///
    /// # Errors
    /// The system's; without the program `sha256sum`.
    pub fn write(&self, path: &Path) -> Result<(u64, String)> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let mut hash = Hash::start()?;
        let mut encoder = zstd::Encoder::new(BufWriter::new(file), 9)?;
        let mut put = |bytes: &[u8]| -> Result<()> {
            encoder.write_all(bytes)?;
            hash.put(bytes)
        };
        let head: [u32; 6] = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, SNAPLEN as u32, 1];
        for word in head {
            put(&word.to_le_bytes())?;
        }
        for frame in &self.list {
            let data = self.data(frame);
            let (seconds, ns) = (frame.at_ns / 1_000_000_000, frame.at_ns % 1_000_000_000);
            for word in [
                seconds,
                ns / 1_000,
                data.len() as u64,
                frame.wire_len as u64,
            ] {
                put(&(word as u32).to_le_bytes())?;
            }
            put(data)?;
        }
        encoder.finish()?.flush()?;
        Ok((std::fs::metadata(path)?.len(), hash.finish()?))
    }
}

/// SHA-256 by the program that every system has.
struct Hash(std::process::Child);

impl Hash {
    fn start() -> Result<Self> {
        use std::process::{Command, Stdio};
        let mut command = Command::new("sha256sum");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self(command.spawn().context("sha256sum")?))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let input = self.0.stdin.as_mut().context("sha256sum has no input")?;
        Ok(input.write_all(bytes)?)
    }

    fn finish(mut self) -> Result<String> {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned())
    }
}

/// A capture at work.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Frames>>>,
}

impl Capture {
    /// Begins to read what enters the named ports in a namespace; frames carry the place in the list.
    ///
    /// # Errors
    /// Without the namespace, the devices, or the right to open packet sockets.
    pub fn start(namespace: &Path, ports: Vec<String>) -> Result<Self> {
        let namespace = File::open(namespace).with_context(|| namespace.display().to_string())?;
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let work = move || {
            let (socket, ports) = open(&namespace, &ports)?;
            let _waited_for = ready.send(());
            read(&socket, &ports, &is_over)
        };
        let thread = thread::Builder::new()
            .name("capture".to_owned())
            .spawn(work)?;
        let mut capture = Self {
            stop,
            thread: Some(thread),
        };
        if is_ready.recv().is_err() {
            capture.finish()?;
            bail!("the capture ended before it began");
        }
        Ok(capture)
    }

    /// Ends it and gives what was read.
    ///
    /// # Errors
    /// Where reading failed, or more came than a recipe may make.
    pub fn finish(&mut self) -> Result<Frames> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the capture was ended before")?;
        let Ok(frames) = thread.join() else {
            bail!("the capture's thread failed");
        };
        let mut frames = frames?;
        frames.list.sort_by_key(|frame| frame.at_ns);
        Ok(frames)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open(namespace: &File, ports: &[String]) -> Result<(OwnedFd, HashMap<i32, usize>)> {
    enter(namespace)?;
    let socket = packet_socket(None)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    let mut places = HashMap::new();
    for (place, port) in ports.iter().enumerate() {
        places.insert(index(port)? as i32, place);
    }
    Ok((socket, places))
}

fn read(socket: &OwnedFd, ports: &HashMap<i32, usize>, is_over: &AtomicBool) -> Result<Frames> {
    let mut frames = Frames::default();
    loop {
        // Looked at before the last reading, so that what came until then is read.
        let is_last = is_over.load(Ordering::Relaxed);
        while let Some(one) = receive(socket)? {
            let Some(place) = ports.get(&one.device) else {
                continue;
            };
            if frames.list.len() >= MOST {
                bail!("more than {MOST} frames: the recipe needs a bound");
            }
            frames.push(one.at_ns, *place, one.wire_len, one.bytes());
        }
        if is_last {
            frames.n_lost = n_lost(socket)?;
            return Ok(frames);
        }
        let mut polled = libc::pollfd {
            fd: socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, as told.
        unsafe { libc::poll(&mut polled, 1, 50) };
    }
}

struct Received {
    buffer: [u8; SNAPLEN],
    len: usize,
    wire_len: usize,
    at_ns: u64,
    device: i32,
}

impl Received {
    fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

/// The next frame, if one waits.
fn receive(socket: &OwnedFd) -> Result<Option<Received>> {
    let mut buffer = [0u8; SNAPLEN];
    let mut control = [0u64; 16];
    // SAFETY: integers, for which zeros are valid.
    let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: SNAPLEN,
    };
    // SAFETY: integers and pointers, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = std::ptr::from_mut(&mut from).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as u32;
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: buffers of the lengths told, which outlive the call.
    let n = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_TRUNC) };
    let Ok(wire_len) = usize::try_from(n) else {
        let error = std::io::Error::last_os_error();
        let is_nothing = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR));
        // A port that goes down with its host says so once.
        let is_down = error.raw_os_error() == Some(libc::ENETDOWN);
        return if is_nothing || is_down {
            Ok(None)
        } else {
            Err(error).context("recvmsg")
        };
    };
    Ok(Some(Received {
        buffer,
        len: wire_len.min(SNAPLEN),
        wire_len,
        at_ns: stamp(&message).context("a frame without a time")?,
        device: from.sll_ifindex,
    }))
}

/// The kernel's time of a message.
fn stamp(message: &libc::msghdr) -> Option<u64> {
    // SAFETY: a message that the kernel filled, whose control buffer is alive.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !control.is_null() {
        // SAFETY: inside the control buffer, as CMSG_FIRSTHDR and CMSG_NXTHDR promise.
        let head = unsafe { *control };
        if head.cmsg_level == libc::SOL_SOCKET && head.cmsg_type == libc::SCM_TIMESTAMPNS {
            // SAFETY: the kernel put a timespec here, at whatever alignment.
            let time: libc::timespec =
                unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(control).cast()) };
            return Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64);
        }
        // SAFETY: as above.
        control = unsafe { libc::CMSG_NXTHDR(message, control) };
    }
    None
}

fn n_lost(socket: &OwnedFd) -> Result<u64> {
    // SAFETY: integers, for which zeros are valid.
    let mut counts: libc::tpacket_stats = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tpacket_stats>() as u32;
    // SAFETY: a value of the length told.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            std::ptr::from_mut(&mut counts).cast(),
            &mut len,
        )
    };
    if done != 0 {
        return Err(std::io::Error::last_os_error()).context("packet statistics");
    }
    Ok(u64::from(counts.tp_drops))
}
