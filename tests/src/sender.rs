//! Frames onto the wire of a namespace, at a rate: what the usual tools can't send, IPv6 above all.

use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Network;

/// A thread that sends; ended with the value.
pub struct Sender {
    stop: Arc<AtomicBool>,
    n_sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    /// Sends `n_frames` from `eth0` of a host, `rate` a second; `frame` makes each by its number.
    ///
    /// # Errors
    /// Without the namespace or the right to send there.
    pub fn start(
        network: &Network,
        host: &str,
        rate: u64,
        n_frames: u64,
        mut frame: impl FnMut(u64) -> Vec<u8> + Send + 'static,
    ) -> Result<Self> {
        let namespace = format!("/run/netns/{}", network.namespace(host));
        let namespace = File::open(&namespace).context(namespace)?;
        let stop = Arc::new(AtomicBool::new(false));
        let n_sent = Arc::new(AtomicU64::new(0));
        let (is_over, count) = (Arc::clone(&stop), Arc::clone(&n_sent));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let work = move || {
            let opened = open(&namespace);
            let Ok((socket, to)) = opened.map_err(|cause| ready.send(Err(cause))) else {
                return;
            };
            let _waited_for = ready.send(Ok(()));
            let start = Instant::now();
            for n in 0..n_frames {
                let due = Duration::from_nanos(n * 1_000_000_000 / rate);
                while start.elapsed() < due {
                    thread::sleep(Duration::from_micros(500));
                }
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                if send(&socket, &to, &frame(n)) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let thread = thread::Builder::new()
            .name("sender".to_owned())
            .spawn(work)?;
        is_ready.recv()??;
        Ok(Self {
            stop,
            n_sent,
            thread: Some(thread),
        })
    }

    /// Frames that went out so far.
    pub fn n_sent(&self) -> u64 {
        self.n_sent.load(Ordering::Relaxed)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Moves this thread into the namespace and opens a socket there.
fn open(namespace: &File) -> Result<(OwnedFd, libc::sockaddr_ll)> {
    // SAFETY: an open descriptor; only this thread moves.
    let moved = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    if moved != 0 {
        return Err(std::io::Error::last_os_error()).context("setns");
    }
    // SAFETY: no pointers.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
    if socket < 0 {
        return Err(std::io::Error::last_os_error()).context("packet socket");
    }
    // SAFETY: a descriptor that was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: integers, for which zeros are valid.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    // SAFETY: a terminated name.
    to.sll_ifindex = unsafe { libc::if_nametoindex(c"eth0".as_ptr()) } as i32;
    Ok((socket, to))
}

fn send(socket: &OwnedFd, to: &libc::sockaddr_ll, frame: &[u8]) -> bool {
    // SAFETY: a buffer and an address of the lengths told.
    let n = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            std::ptr::from_ref(to).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    n == frame.len() as isize
}
