//! Running programs with packets that differ.

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, Pod};
use sensor_tests::frames::{IPV4, IPV6, Ipv4, ethernet, ipv6, tcp, udp};
use serde_json::{Value, json};

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
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const FIRST_SEED: u64 = 88_172_645_463_325_252;

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

/// Programs take turns after so many packets, and rings are emptied in between.
pub const PIECE: u32 = 20_000;

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
            "source_drop",
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
        self.aim_from(packets, FIRST_SEED)
    }

    fn aim_from(&mut self, packets: &Packets, seed: u64) -> Result<()> {
        let sources = Sources {
            seed,
            n_flows: packets.n_flows,
            net: packets.net,
        };
        Ok(self.sources.set(0, sources, 0)?)
    }

    /// Mean time of a packet in ns, the driver's included, over one piece, and what the program last answered.
    /// Its sources go on from `seed`.
    fn piece(
        &mut self,
        program: &ProgramFd,
        packets: &Packets,
        seed: &mut u64,
    ) -> Result<(f64, u32)> {
        self.target.set(0, program, 0)?;
        self.aim_from(packets, *seed)?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packets.frame);
        options.repeat = PIECE;
        let result = xdp(&mut self.object, "drive")?.test_run(options)?;
        *seed = self.sources.get(&0, 0)?.seed;
        Ok((result.duration.as_nanos() as f64, result.return_value))
    }

    /// Runs a program so many pieces, with `between` after each.
    ///
    /// # Errors
    /// The kernel's.
    pub fn fill(
        &mut self,
        program: &ProgramFd,
        packets: &Packets,
        n_pieces: u32,
        mut between: impl FnMut(),
    ) -> Result<()> {
        let mut seed = FIRST_SEED;
        for _ in 0..n_pieces {
            self.piece(program, packets, &mut seed)?;
            between();
        }
        Ok(())
    }

    /// Times of the programs, which take turns piece by piece, each with the same sources in the same order. The
    /// first is the empty one, whose time of the same turn is taken off the others'. `between` follows each piece.
    ///
    /// # Errors
    /// The kernel's, or an answer that is neither of pass and drop.
    pub fn turns<const N: usize>(
        &mut self,
        programs: [&ProgramFd; N],
        packets: &Packets,
        (n_before, n_pieces): (u32, u32),
        mut between: impl FnMut(),
    ) -> Result<Turns<N>> {
        let mut seeds = [FIRST_SEED; N];
        let mut times: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
        // Those before count for nothing: they fill tables with every flow.
        for (program, seed) in programs.iter().zip(&mut seeds) {
            for _ in 0..n_before {
                self.piece(program, packets, seed)?;
                between();
            }
        }
        for _ in 0..n_pieces {
            let mut empty_ns = 0.0;
            for n in 0..N {
                let (ns, answer) = self.piece(programs[n], packets, &mut seeds[n])?;
                between();
                ensure!(
                    answer == XDP_PASS || answer == XDP_DROP,
                    "{}: a program answered {answer}",
                    packets.label
                );
                if n == 0 {
                    empty_ns = ns;
                }
                times[n].push(if n == 0 { ns } else { ns - empty_ns });
            }
        }
        Ok(Turns { times })
    }
}

/// Times of programs that took turns, ns per packet.
pub struct Turns<const N: usize> {
    times: [Vec<f64>; N],
}

impl<const N: usize> Turns<N> {
    /// Median time of each; the first's as it is, the others' above it.
    pub fn medians(&self) -> [f64; N] {
        std::array::from_fn(|n| median(self.times[n].clone()))
    }

    /// Ratio of one program to another: of the same turn, and of those the middle.
    pub fn ratio(&self, one: usize, other: usize) -> Spread {
        let pairs = self.times[one].iter().zip(&self.times[other]);
        Spread::of(pairs.map(|(one, other)| one / other).collect())
    }
}

/// The middle of many values and the quartiles around it.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |part: usize| {
            let value = values.get(values.len() * part / 4);
            value.copied().unwrap_or(f64::NAN)
        };
        Self {
            low: at(1),
            median: at(2),
            high: at(3),
        }
    }

    pub fn json(self) -> Value {
        json!({ "median": self.median, "quartiles": [self.low, self.high] })
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

pub fn median(values: Vec<f64>) -> f64 {
    Spread::of(values).median
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
