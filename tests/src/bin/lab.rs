//! The demo: three hosts in namespaces, an attack, detection and drop, in half a minute.
//!
//! `--latency N` measures instead: N times a fresh sensor, an attack, and the time from the attack's
//! start until its source is in the kernel's block-list.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use sensor_tests::harness::is_root;
use sensor_tests::{Network, Running, wait_until};

const ATTACK: &str = "hping3 -q -S -p 80 -i u100 -c 100000 10.99.2.1";

fn main() -> Result<()> {
    if !is_root() {
        bail!("the lab builds network namespaces: run it as root");
    }
    if let Some(n_runs) = latency_runs()? {
        return latency(n_runs);
    }
    println!("building three hosts: client, attacker, server (with the sensor, enforcing)");
    let network = Network::new()?;
    let mut sensor = Running::start(&network, "--mode enforce")?;
    let _service = network.start("server", "iperf3 -s")?;
    let quiet = transfer(&network)?;
    println!("client's transfer in peace:       {quiet:>8.1} Mbit/s");

    println!("attacker starts: {ATTACK}");
    let start = Instant::now();
    let _attack = network.start("attacker", ATTACK)?;
    let limit = Duration::from_secs(10);
    let Some(incident) = sensor.wait_for(limit, |v| v["kind"] == "incident") else {
        bail!("nothing was detected: {}", sensor.log());
    };
    println!(
        "detected after {:>4} ms: {}",
        start.elapsed().as_millis(),
        incident["explanation"]
    );
    let Some(decision) = sensor.wait_for(limit, |v| v["kind"] == "decision") else {
        bail!("nothing was decided: {}", sensor.log());
    };
    let (action, target) = (&decision["decision.action"], &decision["decision.target"]);
    println!(
        "decided  after {:>4} ms: {action} {target}",
        start.elapsed().as_millis()
    );
    println!(
        "client's transfer under attack:   {:>8.1} Mbit/s",
        transfer(&network)?
    );

    let summary = sensor.stop()?;
    let count = |event: &str| summary["events"][event].as_u64().unwrap_or(0);
    println!(
        "packets dropped in the kernel:    {:>8}",
        ["dropped", "quarantined", "rate_limited", "challenged"]
            .map(count)
            .iter()
            .sum::<u64>()
    );
    println!("incidents: {}", summary["incidents"]);
    Ok(())
}

/// The number after `--latency`, if that is given.
fn latency_runs() -> Result<Option<usize>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(None),
        ["--latency", n] if n.parse::<usize>().is_ok_and(|n| n > 0) => Ok(n.parse().ok()),
        _ => bail!("usage: cargo xtask lab [--latency RUNS], RUNS at least 1"),
    }
}

/// Prints how long it takes from the first packet of a flood until its source is blocked. The
/// sensor prints a decision after it wrote the entry, so what is measured is an upper bound.
fn latency(n_runs: usize) -> Result<()> {
    let network = Network::new()?;
    let mut times_ms = Vec::new();
    for run in 1..=n_runs {
        let mut sensor = Running::start(&network, "--mode enforce")?;
        // The phase of the attack against the sensor's looks differs from run to run.
        std::thread::sleep(Duration::from_millis(500 + (run as u64 * 37) % 100));
        let start = Instant::now();
        let attack = network.start("attacker", ATTACK)?;
        let limit = Duration::from_secs(10);
        let Some(_) = sensor.wait_for(limit, |v| v["kind"] == "decision") else {
            bail!("nothing was decided: {}", sensor.log());
        };
        let elapsed_ms = start.elapsed().as_millis();
        eprintln!("run {run} of {n_runs}: {elapsed_ms} ms");
        times_ms.push(elapsed_ms);
        drop(attack);
        // A killed sensor would leave its blocks to the next one.
        sensor.stop()?;
    }
    times_ms.sort_unstable();
    let quantile = |percent: usize| times_ms[(times_ms.len() * percent).div_ceil(100) - 1];
    println!(
        "start of the attack to block, {n_runs} runs: median {} ms, p99 {} ms, most {} ms",
        quantile(50),
        quantile(99),
        quantile(100)
    );
    Ok(())
}

/// One second from client to server, Mbit/s.
fn transfer(network: &Network) -> Result<f64> {
    let once = || {
        let mut command: Command = network.command("client", "iperf3 -c 10.99.1.1 -t 1 -J");
        let output = command.stderr(Stdio::null()).output().ok()?;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        report["end"]["sum_received"]["bits_per_second"].as_f64()
    };
    match wait_until(Duration::from_secs(10), once) {
        Some(bits) => Ok(bits / 1e6),
        None => bail!("iperf3 gave no figure; is it installed?"),
    }
}
