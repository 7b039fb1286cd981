//! Cost of the store: flows as they come, second by second, and how fast one address is found again.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use sensor_store::{Bounds, Filter, Flow, Reader, Writer};
use serde_json::{Value, json};

const S: u64 = 1_000_000_000;
/// Unix time of the first flow, s: the beginning of an hour.
const BEGIN_S: u64 = 1_800_000_000;
/// Flows of the day that is looked through.
const N_DAY: u64 = 4_000_000;
const DAY_S: u64 = 86_400;

/// A folder that goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("sensor-bench-{name}-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _absent = std::fs::remove_dir_all(&self.0);
    }
}

/// The n-th flow: of 65,536 clients, to 256 servers.
fn flow(n: u64, at_s: u64) -> Flow {
    // Spread as addresses are: neighbours in time are none in the index.
    let client = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u32;
    let address = |bits: u32| IpAddr::V4(Ipv4Addr::from_bits(bits));
    Flow {
        start_ns: at_s * S,
        end_ns: at_s * S + S / 2,
        source: address(0x0a00_0000 | client),
        source_port: 40_000 + (n % 20_000) as u16,
        destination: address(0xc0a8_0000 | (n % 256) as u32),
        destination_port: 443,
        protocol: 6,
        packets: [8, 9],
        bytes: [1_200, 9_000],
        end_reason: "end of Flow detected",
    }
}

/// CPU time of this thread, s.
fn cpu_s() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let ns = text.split(' ').next().context("an empty schedstat")?;
    Ok(ns.parse::<u64>()? as f64 / 1e9)
}

fn bounds(flows_per_s: u32) -> Bounds {
    Bounds {
        max_bytes: 2 << 30,
        max_age_s: 30 * DAY_S,
        flows_per_s,
    }
}

/// Offers flows for some seconds: CPU time of each second, and what was kept.
fn offered(per_s: u64, limit: u32, seconds: u64) -> Result<Value> {
    let folder = Folder::new("offered");
    let mut writer = Writer::open(&folder.0, bounds(limit))?;
    let (cpu, began) = (cpu_s()?, Instant::now());
    for second in 0..seconds {
        for n in 0..per_s {
            writer.take_flow(flow(second * per_s + n, BEGIN_S + second));
        }
        writer.commit(BEGIN_S + second);
    }
    let state = writer.state();
    Ok(json!({
        "core_share": (cpu_s()? - cpu) / seconds as f64,
        "wall_s_per_s": began.elapsed().as_secs_f64() / seconds as f64,
        "kept_per_s": state.n_flows / seconds,
        "thinned_per_s": state.n_thinned / seconds,
        "lost": state.n_lost,
    }))
}

/// A day of flows, and questions about one address of it.
fn day() -> Result<Value> {
    let folder = Folder::new("day");
    let mut writer = Writer::open(&folder.0, bounds(u32::MAX))?;
    // A commit for each minute, so that the day does not take one to write.
    for minute in 0..DAY_S / 60 {
        let at_s = BEGIN_S + minute * 60;
        let per_minute = N_DAY / (DAY_S / 60);
        for n in 0..per_minute {
            writer.take_flow(flow(minute * per_minute + n, at_s));
        }
        writer.commit(at_s);
    }
    let bytes = size(&folder.0)?;
    drop(writer);
    let reader = Reader::new(&folder.0);
    let ask = |text: &str| -> Result<(f64, usize)> {
        let filter = Filter::parse(text, (BEGIN_S + DAY_S) * S)?;
        let began = Instant::now();
        let found = reader.find(&filter, 1_000)?;
        Ok((began.elapsed().as_secs_f64() * 1e3, found.flows.len()))
    };
    let (first_ms, n) = ask("host 10.0.17.4 last 1d")?;
    let (ms, _) = ask("host 10.0.17.4 last 1d")?;
    let (rare_ms, n_rare) = ask("host 203.0.113.9 last 1d")?;
    let (port_ms, n_port) = ask("port 443 last 1d")?;
    Ok(json!({
        "flows": N_DAY,
        "bytes": bytes,
        "address_first_ms": first_ms,
        "address_ms": ms,
        "address_flows": n,
        "absent_address_ms": rare_ms,
        "absent_address_flows": n_rare,
        "latest_of_port_ms": port_ms,
        "latest_of_port_flows": n_port,
    }))
}

fn size(folder: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        total += entry?.metadata()?.len();
    }
    Ok(total)
}

/// All of it.
pub fn measure() -> Result<Value> {
    eprintln!("store");
    Ok(json!({
        "offered_1000_per_s": offered(1_000, 1_000, 30)?,
        "offered_10000_per_s_all_kept": offered(10_000, u32::MAX, 20)?,
        "offered_100000_per_s_of_1000": offered(100_000, 1_000, 10)?,
        "offered_100000_per_s_all_kept": offered(100_000, u32::MAX, 5)?,
        "day": day()?,
    }))
}
