//! The kernel program and its twin in user space, fed the same frames.
//!
//! The program runs by `BPF_PROG_TEST_RUN`, attached to nothing, with a clock that reads each
//! frame's own time. So everything must be equal, byte for byte: counters, verdicts, flow records
//! with their inter-arrival sums, host rows with their sketches.

use std::fmt::Debug;

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use sensor_capture::drive::Tables as _;
use sensor_capture::kernel::{Kernel, LoadOptions};
use sensor_capture::software::Software;
use sensor_common::arrival::{Arrival, Way};
use sensor_common::counters::{Count, Event, Outcome};
use sensor_common::datapath::{Clock, FrameMetadata, Verdict};
use sensor_common::event::{EventHead, Sample};
use sensor_common::flow::Flow;

/// Longest frame that `BPF_PROG_TEST_RUN` keeps in one buffer; of a longer one the kernel program
/// reads that much, as it would of a jumbo frame from a driver. A page of 4 KiB less the headroom and
/// the kernel's notes at the end.
pub const LINEAR_BYTES: usize = 4_096 - 256 - 320;
/// Longest packet of segmentation offload that it takes.
const MOST_EGRESS_WIRE_BYTES: u32 = 65_536;
/// `BPF_PROG_TEST_RUN` makes no frame of less than an Ethernet header.
pub const LEAST_BYTES: usize = 14;
/// Test runs come from the loopback interface.
const IFINDEX: u32 = 1;
/// Records are drained after so many frames, long before the ring is full.
const FRAMES_PER_DRAIN: u32 = 1_024;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// One frame with what it brings.
#[derive(Clone, PartialEq, Eq)]
pub struct Case {
    pub way: Way,
    pub at_ns: u64,
    /// Length on the wire, at least that of `data`.
    pub wire_bytes: u32,
    /// Number of segments, as segmentation offload would leave it: 0 and 1 are both one.
    pub segments: u16,
    pub data: Vec<u8>,
}

impl Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hex: String = self.data.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(
            f,
            "{:?} at {}, {} bytes on the wire, {} segments, {} captured: {hex}",
            self.way,
            self.at_ns,
            self.wire_bytes,
            self.segments,
            self.data.len()
        )
    }
}

impl Case {
    /// A whole frame, incoming.
    pub fn ingress(at_ns: u64, data: Vec<u8>) -> Self {
        Self {
            way: Way::Ingress,
            at_ns,
            wire_bytes: data.len() as u32,
            segments: 1,
            data,
        }
    }

    /// Makes it outgoing, where the kernel can make such a buffer.
    #[must_use]
    pub fn outgoing(mut self, segments: u16) -> Self {
        // It wants a whole network header.
        let least = match self.data.get(12..14) {
            Some([0x08, 0x00]) => LEAST_BYTES + 20,
            Some([0x86, 0xdd]) => LEAST_BYTES + 40,
            _ => LEAST_BYTES,
        };
        if (least..=LINEAR_BYTES).contains(&self.data.len())
            && self.wire_bytes <= MOST_EGRESS_WIRE_BYTES
        {
            self.way = Way::Egress;
            self.segments = segments;
        }
        self
    }
}

/// Both sides.
pub struct Twin {
    pub kernel: Kernel,
    pub software: Software,
    sent: [Vec<Flow>; 2],
    events: [Vec<(EventHead, Vec<u8>)>; 2],
    n_since_drain: u32,
    data: Vec<u8>,
    cpu: u16,
    /// Frames that are too short for the kernel to run.
    pub n_left_out: u64,
    /// Events and samples compared.
    pub n_events: u64,
}

impl Twin {
    /// Loads the program, and keeps this thread on its CPU: that CPU's tables are the twin's.
    ///
    /// # Errors
    /// When the kernel refuses the program, e.g. without privileges.
    pub fn new(options: &LoadOptions) -> Result<Self> {
        let cpu = stay_on_this_cpu()?;
        let options = LoadOptions {
            clock: Clock::Frame,
            ..options.clone()
        };
        let mut kernel = Kernel::load(&options)?;
        for name in ["sensor_xdp", "sensor_xdp_frags"] {
            program::<Xdp>(&mut kernel, name)?.load()?;
        }
        program::<SchedClassifier>(&mut kernel, "sensor_egress")?.load()?;
        Ok(Self {
            kernel,
            software: Software::new(&options),
            sent: [Vec::new(), Vec::new()],
            events: [Vec::new(), Vec::new()],
            n_since_drain: 0,
            data: Vec::new(),
            cpu,
            n_left_out: 0,
            n_events: 0,
        })
    }

    /// Gives a frame to both, unless it is too short for the kernel.
    ///
    /// # Errors
    /// When their verdicts differ, or the kernel can't run the frame.
    pub fn feed(&mut self, case: &Case) -> Result<()> {
        if case.data.len() < LEAST_BYTES {
            self.n_left_out += 1;
            return Ok(());
        }
        let visible = &case.data[..case.data.len().min(LINEAR_BYTES)];
        self.n_since_drain += 1;
        let arrival = Arrival {
            now_ns: case.at_ns,
            bytes: case.wire_bytes,
            segments: case.segments.max(1),
            ifindex: IFINDEX,
            cpu: self.cpu,
        };
        let ours = self.software.process_as(visible, case.way, &arrival);
        let theirs = match case.way {
            Way::Ingress => self.run_ingress(case),
            Way::Egress => self.run_egress(case),
        };
        let theirs = theirs.with_context(|| format!("{case:?}"))?;
        ensure!(
            ours == theirs,
            "verdict: kernel {theirs:?}, replay {ours:?}"
        );
        if self.n_since_drain >= FRAMES_PER_DRAIN {
            self.drain();
        }
        Ok(())
    }

    /// Gives an incoming frame to the kernel alone.
    ///
    /// # Errors
    /// When the kernel can't run the frame.
    pub fn run_ingress(&mut self, case: &Case) -> Result<Verdict> {
        let name = if case.data.len() > LINEAR_BYTES {
            "sensor_xdp_frags"
        } else {
            "sensor_xdp"
        };
        let metadata = FrameMetadata {
            now_ns: case.at_ns,
            bytes: case.wire_bytes,
            reserved: 0,
        };
        self.data.clear();
        self.data.extend(metadata.now_ns.to_ne_bytes());
        self.data.extend(metadata.bytes.to_ne_bytes());
        self.data.extend(metadata.reserved.to_ne_bytes());
        // Enough to need several buffers.
        self.data.extend(case.data.iter().take(4 * LINEAR_BYTES));
        let mut context = [0; XDP_MD_BYTES];
        put(
            &mut context,
            xdp_md::DATA,
            size_of::<FrameMetadata>() as u32,
        );
        put(&mut context, xdp_md::DATA_END, self.data.len() as u32);
        let mut options = TestRunOptions::new();
        options.data_in = Some(&self.data);
        options.ctx_in = Some(&context);
        let result = program::<Xdp>(&mut self.kernel, name)?.test_run(options)?;
        match result.return_value {
            XDP_PASS => Ok(Verdict::Pass),
            XDP_DROP => Ok(Verdict::Drop),
            other => bail!("{name} returned {other}"),
        }
    }

    /// Gives an outgoing frame to the kernel alone.
    ///
    /// # Errors
    /// When the kernel can't run the frame.
    pub fn run_egress(&mut self, case: &Case) -> Result<Verdict> {
        let mut context = [0; SK_BUFF_BYTES];
        let at_ns = case.at_ns.to_ne_bytes();
        context[sk_buff::TSTAMP..sk_buff::TSTAMP + 8].copy_from_slice(&at_ns);
        put(&mut context, sk_buff::WIRE_LEN, case.wire_bytes);
        put(&mut context, sk_buff::GSO_SEGS, u32::from(case.segments));
        let mut options = TestRunOptions::new();
        options.data_in = Some(&case.data);
        options.ctx_in = Some(&context);
        let program = program::<SchedClassifier>(&mut self.kernel, "sensor_egress")?;
        let result = program.test_run(options)?;
        ensure!(
            result.return_value.cast_signed() == -1,
            "egress gave a verdict of its own: {}",
            result.return_value
        );
        Ok(Verdict::Pass)
    }

    fn drain(&mut self) {
        self.n_since_drain = 0;
        let [theirs, ours] = &mut self.sent;
        self.kernel.drain_flows(|flow| theirs.push(*flow));
        self.software.drain_flows(|flow| ours.push(*flow));
        let [theirs, ours] = &mut self.events;
        let owned = |sample: &Sample<'_>| (*sample.head, sample.payload.to_vec());
        self.kernel
            .drain_samples(|sample| theirs.push(owned(sample)));
        self.software
            .drain_samples(|sample| ours.push(owned(sample)));
    }

    /// Compares all that the two have counted, and gives how many flow records that were.
    ///
    /// # Errors
    /// Names the first difference.
    pub fn compare(&mut self) -> Result<usize> {
        self.drain();
        for way in [Way::Ingress, Way::Egress] {
            for outcome in Outcome::ALL {
                let (theirs, ours) = (self.kernel.outcome(way, *outcome), self.ours(way, *outcome));
                ensure!(
                    theirs == ours,
                    "{way:?} {}: kernel {theirs:?}, replay {ours:?}",
                    outcome.label()
                );
            }
        }
        for event in Event::ALL {
            let (theirs, ours) = (self.kernel.event(*event), self.software.event(*event));
            ensure!(
                theirs == ours,
                "{}: kernel {theirs:?}, replay {ours:?}",
                event.label()
            );
        }
        let [theirs, ours] = &mut self.events;
        same("event", theirs, ours)?;
        self.n_events += theirs.len() as u64;
        theirs.clear();
        ours.clear();
        let [theirs, ours] = &mut self.sent;
        ours.iter_mut().for_each(|flow| flow.head.cpu = self.cpu);
        same("record sent", theirs, ours)?;
        let n_sent = theirs.len();
        theirs.clear();
        ours.clear();
        Ok(n_sent + self.compare_tables()?)
    }

    fn compare_tables(&mut self) -> Result<usize> {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        self.kernel.scan_flows(|flow| theirs.push(*flow));
        self.software.scan_flows(|flow| ours.push(*flow));
        // Replay is one CPU, whatever its number.
        ours.iter_mut().for_each(|flow| flow.head.cpu = self.cpu);
        for flows in [&mut theirs, &mut ours] {
            flows.sort_unstable_by_key(|flow| {
                let head = &flow.head;
                let tunnel = &head.tunnel;
                let ends = (head.a, head.b, head.a_port, head.b_port, head.protocol);
                (
                    ends,
                    head.realm.0,
                    tunnel.a,
                    tunnel.b,
                    tunnel.id,
                    tunnel.kind,
                )
            });
        }
        same("live flow", &theirs, &ours)?;
        let (mut their_local, mut their_remote) = (Vec::new(), Vec::new());
        let (mut our_local, mut our_remote) = (Vec::new(), Vec::new());
        self.kernel.read_hosts(&mut their_local, &mut their_remote);
        self.software.read_hosts(&mut our_local, &mut our_remote);
        for rows in [
            &mut their_local,
            &mut their_remote,
            &mut our_local,
            &mut our_remote,
        ] {
            rows.sort_unstable_by_key(|row| row.address);
            // Places count the CPUs before this one.
            rows.iter_mut().for_each(|row| row.place = 0);
        }
        same("local host", &their_local, &our_local)?;
        same("remote host", &their_remote, &our_remote)?;
        ensure!(self.kernel.n_unstable == 0, "unstable reads at rest");
        Ok(theirs.len())
    }

    fn ours(&self, way: Way, outcome: Outcome) -> Count {
        let index = way as u32 * Outcome::COUNT + outcome as u32;
        self.software.counts()[index as usize]
    }
}

fn same<T: PartialEq + Debug>(what: &str, theirs: &[T], ours: &[T]) -> Result<()> {
    for (n, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
        ensure!(
            theirs == ours,
            "{what} {n}:\nkernel {theirs:?}\nreplay {ours:?}"
        );
    }
    ensure!(
        theirs.len() == ours.len(),
        "{what}: kernel has {}, replay {}",
        theirs.len(),
        ours.len()
    );
    Ok(())
}

fn program<'a, P>(kernel: &'a mut Kernel, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = kernel.ebpf.program_mut(name);
    Ok(program
        .with_context(|| format!("program {name} missing"))?
        .try_into()?)
}

/// Keeps this thread on the CPU where it is.
///
/// # Errors
/// The system's.
pub fn stay_on_this_cpu() -> Result<u16> {
    // SAFETY: a query without side effects.
    let cpu = usize::try_from(unsafe { libc::sched_getcpu() })?;
    // SAFETY: a set of CPUs is valid when zero.
    let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: a valid set, which ignores numbers beyond its end.
    unsafe { libc::CPU_SET(cpu, &mut cpus) };
    // SAFETY: a set of the size told; 0 is this thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&cpus), &raw const cpus) };
    ensure!(
        result == 0,
        "this thread can't stay on CPU {cpu}: {}",
        std::io::Error::last_os_error()
    );
    Ok(u16::try_from(cpu)?)
}

fn put(context: &mut [u8], at: usize, value: u32) {
    context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
}

/// Byte offsets in `struct xdp_md` of `linux/bpf.h`.
mod xdp_md {
    pub const DATA: usize = 0;
    pub const DATA_END: usize = 4;
}
const XDP_MD_BYTES: usize = 24;

/// Byte offsets in `struct __sk_buff` of `linux/bpf.h`.
mod sk_buff {
    pub const TSTAMP: usize = 152;
    pub const WIRE_LEN: usize = 160;
    pub const GSO_SEGS: usize = 164;
}
const SK_BUFF_BYTES: usize = 168;
