//! The demo: three hosts in namespaces, an attack, detection and drop, in half a minute.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use sensor_tests::{Network, Running, is_root, wait_until};

const ATTACK: &str = "hping3 -q -S -p 80 -i u100 -c 100000 10.99.2.1";

fn main() -> Result<()> {
    if !is_root() {
        bail!("the lab builds network namespaces: run it as root");
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
    println!(
        "packets dropped in the kernel:    {:>8}",
        summary["events"]["dropped"]
    );
    println!("incidents: {}", summary["incidents"]);
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
