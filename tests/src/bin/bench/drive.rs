//! Running programs with packets that differ.

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, Pod};
use sensor_tests::frames::{IPV4, IPV6, Ipv4, ethernet, ipv6, tcp, udp};

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

/// Packets of one kind.
#[derive(Clone)]
pub struct Packets {
    pub label: &'static str,
    pub frame: Vec<u8>,
    pub n_flows: u32,
    /// 0: sources all over the IPv4 space, else their first byte.
    pub net: u32,
}

const ACK: u8 = 0x10;

/// UDP and TCP over both families, minimal frames.
pub fn kinds() -> Vec<(&'static str, Vec<u8>)> {
    let payload = [0u8; 18];
    let v4 = |protocol, segment: &[u8]| ethernet(IPV4, &Ipv4::new(protocol).packet(segment));
    let v6 = |next, segment: &[u8]| ethernet(IPV6, &ipv6(next, (1, 2), segment));
    let (udp, tcp) = (udp((4000, 80), &payload), tcp((4000, 80), ACK, &payload));
    vec![
        ("udp4", v4(17, &udp)),
        ("tcp4", v4(6, &tcp)),
        ("udp6", v6(17, &udp)),
        ("tcp6", v6(6, &tcp)),
    ]
}

/// Runs of one program are cut into pieces, between which rings are emptied.
const PIECE: u32 = 20_000;

/// The driver: gives each packet another source and calls the program under test.
pub struct Driver {
    object: Ebpf,
    target: ProgramArray<MapData>,
    sources: Array<MapData, Sources>,
}

impl Driver {
    /// # Errors
    /// When the object isn't there or the kernel refuses it.
    pub fn new() -> Result<Self> {
        let path = crate::object_path()?;
        let mut object =
            Ebpf::load_file(&path).with_context(|| format!("{} refused", path.display()))?;
        for name in [
            "drive",
            "generate",
            "empty_pass",
            "empty_drop",
            "textbook",
            "textbook_drop",
        ] {
            xdp(&mut object, name)?.load()?;
        }
        let target = object.take_map("TARGET").context("no map TARGET")?;
        let sources = object.take_map("SOURCES").context("no map SOURCES")?;
        Ok(Self {
            target: target.try_into()?,
            sources: sources.try_into()?,
            object,
        })
    }

    /// The driver's own programs.
    pub fn program(&mut self, name: &str) -> Result<ProgramFd> {
        Ok(xdp(&mut self.object, name)?.fd()?.try_clone()?)
    }

    pub fn object(&mut self) -> &mut Ebpf {
        &mut self.object
    }

    /// Sets the sources of the packets.
    ///
    /// # Errors
    /// The kernel's.
    pub fn aim(&mut self, packets: &Packets) -> Result<()> {
        let sources = Sources {
            seed: 88_172_645_463_325_252,
            n_flows: packets.n_flows,
            net: packets.net,
        };
        Ok(self.sources.set(0, sources, 0)?)
    }

    /// Mean time of a run in ns, the driver's included, and what the program last answered.
    pub fn run(
        &mut self,
        program: &ProgramFd,
        packets: &Packets,
        n_packets: u32,
        mut between: impl FnMut(),
    ) -> Result<(f64, u32)> {
        self.target.set(0, program, 0)?;
        self.aim(packets)?;
        let n_pieces = n_packets.div_ceil(PIECE);
        let (mut sum_ns, mut answer) = (0.0, 0);
        for _ in 0..n_pieces {
            let mut options = TestRunOptions::new();
            options.data_in = Some(&packets.frame);
            options.repeat = n_packets.min(PIECE);
            let result = xdp(&mut self.object, "drive")?.test_run(options)?;
            sum_ns += result.duration.as_nanos() as f64;
            answer = result.return_value;
            between();
        }
        Ok((sum_ns / f64::from(n_pieces), answer))
    }
}

/// An XDP program of an object.
///
/// # Errors
/// Where there is none of the name.
pub fn xdp<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = object
        .program_mut(name)
        .with_context(|| format!("no program {name}"))?;
    Ok(program.try_into()?)
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// CPUs this process may use.
///
/// # Errors
/// The kernel's.
pub fn cpus() -> Result<Vec<usize>> {
    // SAFETY: sets of CPUs are plain memory, of the size told.
    let (result, set) = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let result = libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        (result, set)
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("CPUs unknown");
    }
    let all = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: as above, with an index within the set.
    Ok(all
        .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) })
        .collect())
}

/// Keeps a thread on a CPU; 0 is the calling one.
///
/// # Errors
/// The kernel's.
pub fn pin(thread: libc::pid_t, cpu: usize) -> Result<()> {
    // SAFETY: sets of CPUs are plain memory, of the size told.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("a thread could not be kept on a CPU");
    }
    Ok(())
}
