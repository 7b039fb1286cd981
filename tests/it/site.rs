//! Captures run under the configuration of a site: what was tuned there, and nothing of the machine
//! that replays them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use sensor_tests::frames::ipv4::{SYN, tcp};
use sensor_tests::{Network, Running, Sender, binary, needs_root};

use crate::replay::{capture, scan};

const LIMIT: Duration = Duration::from_secs(20);

/// A configuration file of its own, removed with the value.
struct Config(PathBuf);

impl Config {
    fn new(name: &str, text: &str) -> Self {
        let file = format!("sensor-it-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(file);
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn replay_with(config: Option<&Config>, arguments: &[&str], path: &Path) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.args(["replay", "--json"]).args(arguments);
    if let Some(config) = config {
        command.arg("--config").arg(&config.0);
    }
    command.arg(path).output().unwrap()
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON lines")
}

/// True for scans found by the windows that are configured; the random walk has no thresholds.
fn is_by_windows(incident: &serde_json::Value) -> bool {
    let mut by = incident["detectors"].as_array().into_iter().flatten();
    incident["incident.family"] == "port_scan" && by.any(|detector| detector == "scan")
}

/// Sources of port scans.
fn scanners(lines: &[serde_json::Value]) -> BTreeSet<String> {
    let scans = lines.iter().filter(|v| is_by_windows(v));
    let sources = scans.filter_map(|v| v["source.ips"].as_array());
    let sources = sources.flatten().filter_map(|ip| ip.as_str());
    sources.map(str::to_owned).collect()
}

const VICTIM: [u8; 4] = [10, 99, 2, 1];
const FEW: [u8; 4] = [198, 51, 100, 40];
const MANY: [u8; 4] = [198, 51, 100, 200];

/// One address tries forty ports, then another two hundred; nobody answers.
fn two_scans(n: u64) -> Vec<u8> {
    let (source, port) = if n < 40 { (FEW, n) } else { (MANY, n) };
    tcp((source, 40_000), (VICTIM, 1 + port as u16), SYN, &[])
}

const N_PROBES: u64 = 240;
/// One a hundredth of a second.
const PROBES_PER_S: u64 = 100;

fn live_scanners(config: &str, expected: usize) -> BTreeSet<String> {
    let network = Network::new().unwrap();
    let mut sensor = Running::start(&network, config).unwrap();
    let _sent = Sender::start(&network, "attacker", PROBES_PER_S, N_PROBES, two_scans).unwrap();
    let all = |sensor: &Running| scanners(&sensor.lines(|v| v["kind"] == "incident"));
    sensor_tests::wait_until(LIMIT, || (all(&sensor).len() >= expected).then_some(()));
    sensor.stop().unwrap();
    all(&sensor)
}

#[test]
fn a_threshold_changes_the_replay_as_it_changes_the_live_run() {
    let frames: Vec<_> = (0..N_PROBES)
        .map(|n| (1_700_000_000_000_000 + n * 10_000, two_scans(n)))
        .collect();
    let path = capture("two-scans", &frames);
    let tuned = Config::new(
        "tuned",
        "[engine.scan]\nfailed_ports = 100\nslow_failed_ports = 100\n",
    );
    let default = scanners(&lines(&replay_with(None, &[], &path)));
    let raised = scanners(&lines(&replay_with(Some(&tuned), &[], &path)));
    fs::remove_file(path).unwrap();
    let both = BTreeSet::from(["198.51.100.40".to_owned(), "198.51.100.200".to_owned()]);
    assert_eq!(default, both);
    assert_eq!(raised, BTreeSet::from(["198.51.100.200".to_owned()]));
    needs_root();
    assert_eq!(live_scanners("", default.len()), default);
    let arguments = format!("--config {}", tuned.0.display());
    assert_eq!(live_scanners(&arguments, raised.len()), raised);
}

#[test]
fn looks_are_as_far_apart_as_configured() {
    let path = capture("slow-looks", &scan());
    let slow = Config::new(
        "slow",
        "[tick]\nhosts_interval = \"500ms\"\nflows_interval = \"5s\"\n",
    );
    let opened = |output: Output| {
        let lines = lines(&output);
        let first = lines.iter().find(|v| v["incident.state"] == "opened");
        first.unwrap()["@timestamp"].as_str().unwrap().to_owned()
    };
    let usual = opened(replay_with(None, &[], &path));
    let later = opened(replay_with(Some(&slow), &[], &path));
    let keys = ["tick.hosts_interval=500ms", "tick.flows_interval=5s"];
    let set = ["--set", keys[0], "--set", keys[1]];
    let set = opened(replay_with(None, &set, &path));
    fs::remove_file(path).unwrap();
    assert!(usual.starts_with("2023-11-14T22:13:20.1"), "{usual}");
    assert!(later.starts_with("2023-11-14T22:13:20.5"), "{later}");
    assert_eq!(set, later);
}

/// A datagram within IPv4 within IPv4.
fn tunnelled() -> Vec<(u64, Vec<u8>)> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 48, 0, 0, 0, 0, 64, 4, 0, 0]);
    frame.extend([203, 0, 113, 1, 203, 0, 113, 2]);
    frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend([0x9c, 0x40, 0, 53, 0, 8, 0, 0]);
    vec![(1_700_000_000_000_000, frame)]
}

#[test]
fn tunnels_are_looked_into_as_configured() {
    let path = capture("tunnel", &tunnelled());
    let outer = Config::new("outer", "[capture]\ntunnels = []\n");
    let has_flow = |output: Output, source: &str| {
        let lines = lines(&output);
        let mut flows = lines.iter().filter(|v| v["kind"] == "flow");
        flows.any(|v| v["source.ip"] == source)
    };
    assert!(has_flow(
        replay_with(None, &["--flows"], &path),
        "192.0.2.1"
    ));
    let output = replay_with(Some(&outer), &["--flows"], &path);
    assert!(has_flow(output, "203.0.113.1"));
    fs::remove_file(path).unwrap();
}

#[test]
fn the_environment_counts_with_a_configuration_alone() {
    let path = capture("environment", &scan());
    let empty = Config::new("empty", "");
    let found = |config: &[&str]| {
        let mut command = Command::new(binary().unwrap());
        command.args(["replay", "--json"]).args(config).arg(&path);
        command.env("SENSOR__ENGINE__SCAN__FAST_PORTS", "5000");
        command.env("SENSOR__ENGINE__SCAN__FAILED_PORTS", "5000");
        command.env("SENSOR__ENGINE__SCAN__SLOW_FAILED_PORTS", "5000");
        command.env("SENSOR__ENGINE__SCAN__FAST_PORTS_ROWS", "50000");
        lines(&command.output().unwrap()).iter().any(is_by_windows)
    };
    assert!(found(&[]));
    assert!(!found(&["--config", empty.0.to_str().unwrap()]));
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_wrong_configuration_is_usage_for_every_command_that_runs_captures() {
    let path = capture("wrong", &scan());
    let wrong = Config::new("wrong", "[engine.scan]\nfailed_portz = 3\n");
    for command in ["replay", "eval", "train"] {
        let mut run = Command::new(binary().unwrap());
        run.arg(command).arg("--config").arg(&wrong.0).arg(&path);
        if command == "train" {
            run.args(["--output", "/nonexistent/model"]);
        }
        let output = run.output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{command}: {log}");
        assert!(log.contains("failed_ports"), "{command}: {log}");
    }
    fs::remove_file(path).unwrap();
}
