//! Share of a core that the running agent takes: its CPU time while 100,000 packets/s come in.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sensor_tests::frames::ipv4::{ACK, tcp};
use sensor_tests::pcap::{PcapWriter, Stamps};
use sensor_tests::{Network, Running};
use serde_json::{Value, json};

const PACKETS_PER_S: u32 = 100_000;
const WARM_UP: Duration = Duration::from_secs(4);
const MEASURED: Duration = Duration::from_secs(8);
/// Packets are sent for longer than is measured.
const SENT_S: u32 = 16;

/// The agent's share for each number of flows that the packets take turns in.
pub fn measure(n_flows: &[u32]) -> Result<Value> {
    let mut results = serde_json::Map::new();
    for n_flows in n_flows {
        eprintln!("agent's share of a core at {n_flows} flows");
        let path = std::env::temp_dir().join(format!("sensor-share-{}.pcap", std::process::id()));
        let measured = write_capture(&path, *n_flows).and_then(|()| share(&path, *n_flows));
        std::fs::remove_file(&path)?;
        results.insert(format!("agent_at_{n_flows}_flows"), measured?);
    }
    Ok(Value::Object(results))
}

/// Packets of answered connections, of each flow one, then the next of each.
fn write_capture(path: &PathBuf, n_flows: u32) -> Result<()> {
    let file = BufWriter::new(File::create(path)?);
    let mut file = PcapWriter::new(file, Stamps::Microseconds)?;
    for n in 0..n_flows {
        let at_ns = u64::from(n / PACKETS_PER_S) * 1_000_000_000;
        file.frame(at_ns, &frame(n))?;
    }
    Ok(file.flush()?)
}

fn frame(n: u32) -> Vec<u8> {
    // 16 flows a client, 256 servers.
    let client = (0x0a00_0000 | (n / 16)).to_be_bytes();
    let server = [192, 168, 0, n as u8];
    let port = 40_000 + (n % 16) as u16;
    tcp((client, port), (server, 443), ACK, &[0; 200])
}

fn share(capture: &Path, n_flows: u32) -> Result<Value> {
    let network = Network::new()?;
    let mut sensor = Running::start(&network, "")?;
    let n_loops = (PACKETS_PER_S * SENT_S).div_ceil(n_flows);
    let mut sending = network.start(
        "client",
        &format!(
            "tcpreplay --quiet --intf1=eth0 --preload-pcap --pps={PACKETS_PER_S} --loop={n_loops} {}",
            capture.display()
        ),
    )?;
    // It reads the capture first.
    let deadline = Instant::now() + Duration::from_secs(30);
    while received(&network)? < u64::from(PACKETS_PER_S) {
        ensure!(Instant::now() < deadline, "no packets arrive");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(WARM_UP);
    let before = (Instant::now(), sensor.cpu_s()?, received(&network)?);
    std::thread::sleep(MEASURED);
    let elapsed_s = before.0.elapsed().as_secs_f64();
    let cpu_s = sensor.cpu_s()? - before.1;
    let n_packets = received(&network)?.saturating_sub(before.2);
    let status = sensor.ask("status --json")?;
    let status: Value = serde_json::from_slice(&status.stdout).context("no status")?;
    let resident_bytes = sensor.resident_bytes()?;
    sensor.stop()?;
    sending.wait()?;
    Ok(json!({
        "core_share": cpu_s / elapsed_s,
        "packets_per_s": n_packets as f64 / elapsed_s,
        "flows": status["flows"],
        "resident_bytes": resident_bytes,
    }))
}

fn received(network: &Network) -> Result<u64> {
    network.counter("server", "client", "rx_packets")
}
