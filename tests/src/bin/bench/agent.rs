//! Speed of the agent's parts: loading, draining, the engine, replay.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use sensor_capture::drive::Tables as _;
use sensor_capture::kernel::{Kernel, LoadOptions};
use sensor_common::flow::{Direction, Flow, FlowRecord};
use sensor_common::v4_mapped;
use sensor_engine::{Config, Engine, Input, Loss};
use sensor_tests::day::replay_day;
use sensor_tests::frames::ipv4::{ACK, SYN, tcp};
use sensor_tests::pcap::{PcapWriter, Stamps};
use serde_json::{Value, json};

use crate::drive::{Driver, PIECE, Packets, kinds, xdp};

const N_FLOWS: u32 = 1_000_000;
const N_PACKETS: u32 = 1_000_000;
const N_REPLAYED_FLOWS: u32 = 200_000;
const T0_NS: u64 = 1_700_000_000_000_000_000;

pub fn measure() -> Result<Value> {
    let mut results = json!({});
    let parts = [start, engine, replay, day];
    for part in parts {
        if let (Value::Object(all), Value::Object(more)) = (&mut results, part()?) {
            all.extend(more);
        }
    }
    Ok(results)
}

/// Loading, and emptying the ring while flows churn.
fn start() -> Result<Value> {
    eprintln!("start-up and drain");
    let begun = Instant::now();
    let mut kernel = Kernel::load(&LoadOptions {
        admit_per_second: u32::MAX,
        ..LoadOptions::fixed()
    })?;
    let program = xdp(&mut kernel.ebpf, "sensor_xdp")?;
    program.load()?;
    let start_s = begun.elapsed().as_secs_f64();
    let program = program.fd()?.try_clone()?;
    let packets = Packets {
        label: "udp4",
        frame: kinds().swap_remove(0).1,
        n_flows: N_FLOWS,
        net: 0,
    };
    let (mut n_records, mut drain_s) = (0u64, 0.0);
    Driver::new()?.fill(&program, &packets, 2 * N_PACKETS / PIECE, || {
        let begun = Instant::now();
        kernel.drain_flows(|flow| {
            std::hint::black_box(flow);
            n_records += 1;
        });
        drain_s += begun.elapsed().as_secs_f64();
        kernel.drain_samples(|_| {});
    })?;
    ensure!(n_records > 0, "no record came through the ring");
    let (begun, mut n_scanned) = (Instant::now(), 0u64);
    kernel.scan_flows(|_| n_scanned += 1);
    let scan_s = begun.elapsed().as_secs_f64();
    Ok(json!({
        "start_s": start_s,
        "drained_records_per_s": n_records as f64 / drain_s,
        "scanned_flows": n_scanned,
        "scanned_flows_per_s": n_scanned as f64 / scan_s,
    }))
}

/// CPU time of this process, or of the processes that it started and that have ended: on a busy
/// machine wall time says little.
pub fn cpu_s(of_whom: libc::c_int) -> f64 {
    // SAFETY: plain memory for the answer, of the type that the call fills in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(of_whom, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Bytes that this process holds in memory.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    // SAFETY: a query without side effects.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.unwrap_or(0u64) * u64::try_from(page_bytes).unwrap_or(4096)
}

fn flow(n: u32, at_ns: u64, packets: u16) -> Flow {
    let line = Direction {
        first_ns: at_ns,
        last_ns: at_ns + 1_000_000,
        bytes: u32::from(packets) * 100,
        packets,
        length_min: 100,
        length_max: 100,
        tcp_flags: 0x1b,
        ..Direction::EMPTY
    };
    Flow {
        head: FlowRecord {
            a: v4_mapped((0x0a00_0000 + n % 50_000).to_be()),
            b: v4_mapped((0xc633_6400 + n % 200).to_be()),
            a_port: (1024 + n / 50_000 * 7) as u16,
            b_port: 443,
            protocol: 6,
            generation: 1,
            ..FlowRecord::default()
        },
        directions: [line, line],
    }
}

/// A million flows: memory, and looks at them.
fn engine() -> Result<Value> {
    eprintln!("engine");
    let mut engine = Engine::new(Config::default());
    let mut out = Vec::new();
    let before = resident_bytes();
    let begun = cpu_s(libc::RUSAGE_SELF);
    for n in 0..N_FLOWS {
        engine.handle(T0_NS, Input::FlowLive(&flow(n, T0_NS, 3)), &mut out);
    }
    let new_s = cpu_s(libc::RUSAGE_SELF) - begun;
    out.clear();
    let bytes = resident_bytes().saturating_sub(before);
    let begun = cpu_s(libc::RUSAGE_SELF);
    for n in 0..N_FLOWS {
        let at_ns = T0_NS + 1_000_000_000;
        engine.handle(at_ns, Input::FlowLive(&flow(n, T0_NS, 5)), &mut out);
    }
    engine.handle(T0_NS + 1_000_000_000, Input::FlowTick, &mut out);
    let again_s = cpu_s(libc::RUSAGE_SELF) - begun;
    Ok(json!({
        "engine_new_flows_per_cpu_s": f64::from(N_FLOWS) / new_s,
        "engine_known_flows_per_cpu_s": f64::from(N_FLOWS) / again_s,
        "engine_resident_bytes_at_1m_flows": bytes,
        "engine_flows_shed": engine.stats().losses.of(Loss::Flows),
    }))
}

/// A capture of TCP packets that take turns in many flows.
fn write_capture(path: &Path) -> Result<()> {
    let file = BufWriter::new(File::create(path)?);
    let mut file = PcapWriter::new(file, Stamps::Nanoseconds)?;
    for n in 0..N_PACKETS {
        let flow = n % N_REPLAYED_FLOWS;
        let client = (0x0a00_0000 + flow / 50).to_be_bytes();
        let flags = if n < N_REPLAYED_FLOWS { SYN } else { ACK };
        let from = (client, 1024 + (flow % 50) as u16);
        let frame = tcp(from, ([198, 51, 100, 2], 443), flags, &[0; 40]);
        let at_ns = 1_700_000_000_000_000_000 + u64::from(n) * 10_000;
        file.frame(at_ns, &frame)?;
    }
    file.flush()?;
    Ok(())
}

/// `sensor replay` of a million packets, start to end.
fn replay() -> Result<Value> {
    eprintln!("replay");
    let path = std::env::temp_dir().join(format!("sensor-bench-{}.pcap", std::process::id()));
    write_capture(&path).with_context(|| format!("{} could not be written", path.display()))?;
    let before = cpu_s(libc::RUSAGE_CHILDREN);
    let output = std::process::Command::new(sensor_tests::binary()?)
        .args(["replay", "--json"])
        .arg(&path)
        .output();
    std::fs::remove_file(&path)?;
    let output = output.context("the sensor could not be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let summary = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["kind"] == "summary")
        .context("replay gave no summary")?;
    let seconds = summary["wall_time_s"].as_f64().context("no wall time")?;
    ensure!(
        summary["packets"] == N_PACKETS,
        "not all packets: {summary}"
    );
    let on_cpu_s = cpu_s(libc::RUSAGE_CHILDREN) - before;
    Ok(json!({
        "replayed_packets_per_s": f64::from(N_PACKETS) / seconds,
        "replayed_packets_per_cpu_s": f64::from(N_PACKETS) / on_cpu_s,
    }))
}

/// Memory of a replay over a day of event time: after a quarter of it, and the most after that.
fn day() -> Result<Value> {
    eprintln!("a day");
    let (bytes, _) = replay_day(1_200)?;
    let (warm_up, rest) = bytes.split_at(6);
    Ok(json!({
        "day_resident_bytes_after_6_hours": warm_up.last(),
        "day_resident_bytes_most_after": rest.iter().max(),
        "day_resident_bytes_at_the_end": rest.last(),
    }))
}
