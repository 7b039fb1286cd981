//! Floods of frames that the kernel makes up in batches (`BPF_F_TEST_XDP_LIVE_FRAMES`), each from another source and
//! port: what packet sockets are too slow for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, Pod};
use sensor_tests::Network;

/// Frames that the kernel takes at once.
const BATCH: u32 = 64;
/// Time between two calls, and the most that one makes up for: behind by more, the machine can't send as many.
const PAUSE: Duration = Duration::from_millis(5);
const MOST_BEHIND: Duration = Duration::from_millis(50);
/// Longest flood.
const LONGEST: Duration = Duration::from_secs(60);
const FIRST_SEED: u64 = 88_172_645_463_325_252;
/// First byte of IPv4 sources: some network of the internet.
const NET: u32 = 45;

/// Copy of the program's.
#[derive(Clone, Copy)]
#[repr(C)]
struct Sources {
    seed: u64,
    n_flows: u32,
    net: u32,
}
// SAFETY: integers without padding.
unsafe impl Pod for Sources {}

/// Flood under way; it ends with the value.
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    /// Sends frames like `frame` out of the attacker's interface, so many a second.
    pub fn start(network: &Network, rate: u64, frame: Vec<u8>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let send = move || send(&is_over, rate, &frame);
        let thread = Some(network.within("attacker", send)?);
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        ended
            .unwrap_or(Ok(Ok(())))
            .unwrap_or_else(|_panicked| Ok(()))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _told_by_end = thread.join();
        }
    }
}

fn object() -> Result<Ebpf> {
    let path = std::env::var_os("SENSOR_BENCH_OBJECT");
    let path = path.context("SENSOR_BENCH_OBJECT is not set: start this by `cargo xtask drill`")?;
    Ebpf::load_file(&path).with_context(|| format!("{} refused", path.display()))
}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = object.program_mut(name);
    let program: &mut Xdp = program.context("no such program")?.try_into()?;
    program.load()?;
    Ok(program)
}

fn index(name: &str) -> Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: a string that ends in zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    ensure!(index != 0, "no interface {name:?}");
    Ok(index)
}

fn send(is_over: &AtomicBool, rate: u64, frame: &[u8]) -> Result<()> {
    let mut object = object()?;
    let sender = object.map_mut("SENDER").context("no map SENDER")?;
    Array::<_, u32>::try_from(sender)?.set(0, index("eth0")?, 0)?;
    let sources = object.map_mut("SOURCES").context("no map SOURCES")?;
    let first = Sources {
        seed: FIRST_SEED,
        n_flows: u32::MAX,
        net: NET,
    };
    Array::<_, Sources>::try_from(sources)?.set(0, first, 0)?;
    let flood = program(&mut object, "flood")?;
    let (start, mut n_sent) = (Instant::now(), 0);
    let most = rate * MOST_BEHIND.as_millis() as u64 / 1_000;
    while !is_over.load(Ordering::Relaxed) && start.elapsed() < LONGEST {
        let due = (rate as f64 * start.elapsed().as_secs_f64()) as u64;
        let behind = due.saturating_sub(n_sent);
        n_sent = due;
        if behind > 0 {
            let mut options = TestRunOptions::new();
            options.data_in = Some(frame);
            options.repeat = u32::try_from(behind.min(most))?;
            options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
            flood.test_run(options)?;
        }
        sleep(PAUSE);
    }
    Ok(())
}

/// A program that lets everything pass, on interfaces of a host: a veth takes what the other end's program sends only
/// where it has one itself. It goes with the namespace.
pub fn receive_natively(network: &Network, host: &str, devices: &[&str]) -> Result<()> {
    let devices: Vec<String> = devices.iter().map(|name| (*name).to_owned()).collect();
    let attach = move || -> Result<Ebpf> {
        let mut object = object()?;
        let pass = program(&mut object, "empty_pass")?;
        for device in devices {
            pass.attach_to_if_index(index(&device)?, XdpMode::Driver)?;
        }
        Ok(object)
    };
    let attached = network.within(host, attach)?.join();
    let object = attached.map_err(|_panicked| anyhow::anyhow!("attaching failed"))??;
    // The program stays attached while its link is open.
    std::mem::forget(object);
    Ok(())
}
