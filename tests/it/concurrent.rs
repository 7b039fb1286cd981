//! Reads of the tables are whole while the kernel writes them.
//!
//! One thread runs the kernel program without a pause, another reads. Every flow has frames of one
//! length a direction, which follows from its port, so that each record and row can be checked by
//! itself. Needs root: without, each test says so and passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use sensor_capture::drive::Tables as _;
use sensor_capture::kernel::{Kernel, LoadOptions, SharedArray};
use sensor_common::counters::Event;
use sensor_common::flow::{Bucket, Direction, Flow, FlowRecord, Outer};
use sensor_common::host::{HostRow, HostSide};
use sensor_common::limits::FLOW_WAYS;
use sensor_common::packet::tcp_flags;
use sensor_tests::frames::{IPV4, Ipv4, ethernet, tcp};
use sensor_tests::harness::{needs_root, skip};

const N_BUCKETS: u32 = 4;
const N_FLOWS: u16 = 40;
const FIRST_PORT: u16 = 20_000;
const FLAGS: u8 = tcp_flags::SYN | tcp_flags::PSH;
const LIMIT: Duration = Duration::from_secs(30);

/// Frame length of a flow's client; its server's are eleven bytes longer.
fn length(port: u16) -> u64 {
    60 + u64::from(port - FIRST_PORT) * 37
}

fn frames(port: u16) -> [Vec<u8>; 2] {
    let client = [10, 0, 0, (port - FIRST_PORT) as u8];
    let server = [192, 0, 2, 1];
    let frame = |from, to, ports, length: u64| {
        let header = Ipv4 {
            source: from,
            destination: to,
            ..Ipv4::new(6)
        };
        let payload = vec![0; length as usize - 54];
        ethernet(IPV4, &header.packet(&tcp(ports, FLAGS, &payload)))
    };
    [
        frame(client, server, (port, 80), length(port)),
        frame(server, client, (80, port), length(port) + 11),
    ]
}

fn kernel() -> Kernel {
    needs_root();
    let options = LoadOptions {
        flow_buckets_per_cpu: N_BUCKETS,
        ..LoadOptions::fixed()
    };
    let mut kernel = Kernel::load(&options).unwrap();
    xdp(&mut kernel).load().unwrap();
    kernel
}

fn xdp(kernel: &mut Kernel) -> &mut Xdp {
    let program = kernel.ebpf.program_mut("sensor_xdp").unwrap();
    program.try_into().unwrap()
}

/// Runs the program without a pause until told to stop: by turns all frames, so that flows take
/// each other's place, and one frame many times, so that one record changes all the time.
fn write(program: &Xdp, stop: &AtomicBool) {
    let all: Vec<_> = (FIRST_PORT..FIRST_PORT + N_FLOWS)
        .flat_map(frames)
        .collect();
    for often in all.iter().cycle() {
        for frame in all.iter().cycle().take(50 * all.len()) {
            run(program, frame, 1);
        }
        // Each such call waits for the kernel to swap programs: few of them, and long.
        run(program, often, 300_000);
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn run(program: &Xdp, frame: &[u8], repeat: u32) {
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.repeat = repeat;
    program.test_run(options).unwrap();
}

/// The other end's port tells the flow.
fn client_port(head: &FlowRecord) -> u16 {
    head.a_port.max(head.b_port)
}

/// Names a fault of the record: something that can't be true of a whole one.
fn fault(flow: &Flow) -> Option<String> {
    let port = client_port(&flow.head);
    if !(FIRST_PORT..FIRST_PORT + N_FLOWS).contains(&port) {
        return Some(format!("no such flow: {flow:?}"));
    }
    let address = if flow.head.a_port == port {
        flow.head.a
    } else {
        flow.head.b
    };
    let host = u64::from(u32::from_be(address[3]) & 0xff);
    if host != u64::from(port - FIRST_PORT) {
        return Some(format!("port and address of two flows: {flow:?}"));
    }
    if flow.directions == [Direction::default(); 2] {
        return Some(format!("a flow without a packet: {flow:?}"));
    }
    let is_a = flow.head.a_port == port;
    let [client, server] = if is_a { [0, 1] } else { [1, 0] };
    let ways = [(client, length(port)), (server, length(port) + 11)];
    ways.into_iter()
        .find_map(|(n, length)| fault_of(&flow.directions[n], length))
        .map(|what| format!("{what}: {flow:?}"))
}

fn fault_of(line: &Direction, length: u64) -> Option<&'static str> {
    let packets = u64::from(line.packets);
    if packets == 0 {
        return (*line != Direction::default()).then_some("counters without a packet");
    }
    let binned: u64 = line.length_histogram.iter().map(|n| u64::from(*n)).sum();
    let flags = [line.packets, 0, 0, line.packets, 0];
    let checks = [
        (u64::from(line.bytes) == packets * length, "bytes"),
        (line.length_sumsq == packets * length * length, "squares"),
        (u64::from(line.length_min) == length, "least length"),
        (u64::from(line.length_max) == length, "greatest length"),
        (line.n_flags == flags, "flags counted"),
        (line.tcp_flags == FLAGS, "flags seen"),
        (
            binned == if length > 1000 { 0 } else { packets },
            "histogram",
        ),
        (line.first_ns <= line.last_ns, "times"),
        (line.first_ns > 0, "first time"),
    ];
    checks.into_iter().find(|(ok, _)| !ok).map(|(_, what)| what)
}

fn fault_of_row(row: &HostRow) -> Option<String> {
    let host = u32::from_be(row.address[3]);
    let port = FIRST_PORT + (host & 0xff) as u16;
    let is_client = host >> 8 == 10 << 16;
    let lengths = [(&row.toward, length(port) + 11), (&row.from, length(port))];
    for (side, length) in lengths {
        let bytes = side.packets * length;
        if is_client && side.bytes != bytes {
            return Some(format!("bytes of a client: {row:?}"));
        }
        let expected = HostSide {
            packets: side.packets,
            bytes: side.bytes,
            n_syn: side.packets as u32,
            n_new_flows: side.n_new_flows,
            n_not_admitted: side.n_not_admitted,
            ..HostSide::EMPTY
        };
        if *side != expected || u64::from(side.n_new_flows) > side.packets {
            return Some(format!("counts: {row:?}"));
        }
    }
    None
}

#[derive(Default, Debug)]
struct Seen {
    n_live: u64,
    n_sent: u64,
    n_rows: u64,
    /// Copies without the sequence check that were not whole.
    n_torn: u64,
}

impl Seen {
    fn is_enough(&self) -> bool {
        self.n_live > 3_000 && self.n_sent > 10_000 && self.n_rows > 5_000 && self.n_torn > 0
    }

    fn look(&mut self, kernel: &mut Kernel, unchecked: &SharedArray<Bucket>) {
        for _ in 0..200 {
            kernel.drain_flows(|flow| {
                assert_eq!(fault(flow), None);
                self.n_sent += 1;
            });
            kernel.scan_flows(|flow| {
                assert_eq!(fault(flow), None);
                self.n_live += 1;
            });
            for _ in 0..10 {
                self.look_unchecked(unchecked);
            }
        }
        let (mut local, mut remote) = (Vec::new(), Vec::new());
        kernel.read_hosts(&mut local, &mut remote);
        for row in local.iter().chain(&remote) {
            assert_eq!(fault_of_row(row), None);
            self.n_rows += 1;
        }
    }

    /// Reads without looking at the sequence number.
    fn look_unchecked(&mut self, array: &SharedArray<Bucket>) {
        for index in 0..array.len() {
            let bucket: Bucket = array.copy(index, 0).unwrap();
            for way in 0..FLOW_WAYS {
                let head = &bucket.heads[way];
                let flow = Flow::of(head, &bucket.directions[way], &Outer::default(), 0, 0);
                self.n_torn += u64::from(head.tag != 0 && fault(&flow).is_some());
            }
        }
    }
}

#[test]
fn reads_are_consistent_while_the_kernel_writes() {
    let mut kernel = kernel();
    if std::thread::available_parallelism().unwrap().get() < 2 {
        skip("needs two CPUs");
    }
    let n_entries = aya::util::nr_cpus().unwrap() as u32 * N_BUCKETS;
    let Some(aya::maps::Map::Array(flows)) = kernel.ebpf.map("FLOWS") else {
        panic!("no FLOWS");
    };
    let unchecked = SharedArray::new(flows, n_entries, false).unwrap();
    // The writer needs the program, the reader all else: they are two values only so.
    let mut other = self::kernel();
    std::mem::swap(&mut kernel.ebpf, &mut other.ebpf);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || write(xdp(&mut other), &stop)
    });
    let (start, mut seen) = (Instant::now(), Seen::default());
    while !seen.is_enough() && start.elapsed() < LIMIT {
        seen.look(&mut kernel, &unchecked);
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    eprintln!("{seen:?}, {} unstable", kernel.n_unstable);
    // If nothing was ever torn, the test would not tell a reader that checks from one that doesn't.
    assert!(seen.is_enough(), "{seen:?}");
    assert!(kernel.event(Event::FlowEvicted).packets > 10_000);
}

#[test]
fn a_record_without_a_stable_read_is_counted_and_left_out() {
    let mut kernel = kernel();
    run(xdp(&mut kernel), &frames(FIRST_PORT)[0], 1);
    let n_entries = aya::util::nr_cpus().unwrap() as u32 * N_BUCKETS;
    let Some(aya::maps::Map::Array(flows)) = kernel.ebpf.map("FLOWS") else {
        panic!("no FLOWS");
    };
    let mut array: SharedArray<Bucket> = SharedArray::new(flows, n_entries, true).unwrap();
    let count = |kernel: &mut Kernel| {
        let mut n = 0;
        kernel.scan_flows(|_| n += 1);
        n
    };
    assert_eq!((count(&mut kernel), kernel.n_unstable), (1, 0));
    // As if the writer were at work for good.
    for index in 0..array.len() {
        let mut bucket: Bucket = array.copy(index, 0).unwrap();
        for head in &mut bucket.heads {
            head.sequence |= u32::from(head.tag != 0);
        }
        array.write(index, bucket);
    }
    assert_eq!((count(&mut kernel), kernel.n_unstable), (0, 1));
}
