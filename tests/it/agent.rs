//! The agent around the engine: configuration, reload, exit codes.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use sensor_tests::{Network, Running, binary, is_root};

const LIMIT: Duration = Duration::from_secs(10);

/// A file of this test run.
fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("sensor-it-{}-{name}", std::process::id()));
    fs::write(&path, text).unwrap();
    path
}

fn sensor(arguments: &[&str]) -> Output {
    Command::new(binary().unwrap())
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_wrong_configuration_is_usage_and_names_every_fault() {
    let path = file("faults.toml", "[tick]\nhosts_ms = 5\nflow_ms = 1000\n");
    for command in [&["config", "check"][..], &["run"][..]] {
        let mut arguments = command.to_vec();
        arguments.extend(["--config", path.to_str().unwrap()]);
        let output = sensor(&arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            told.contains("faults.toml:2: tick.hosts_ms: 5 is too small"),
            "{told}"
        );
        assert!(told.contains("did you mean `tick.flows_ms`?"), "{told}");
    }
}

#[test]
fn a_right_configuration_is_shown_with_its_origin() {
    let path = file("right.toml", "[tick]\nhosts_ms = 50\n");
    let path = path.to_str().unwrap();
    assert!(
        sensor(&["config", "check", "--config", path])
            .status
            .success()
    );
    let output = sensor(&["config", "show", "--changed", "--config", path]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.starts_with("tick.hosts_ms = 50  # "), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

/// Scans until a scan of forty ports is one, by the configuration that the sensor has then.
fn finds_a_scan(network: &Network, sensor: &Running, ports: &str) -> bool {
    let before = sensor.lines(|v| v["incident.family"] == "port_scan").len();
    let scan = format!("nmap -n -Pn -sS --max-retries 0 -p {ports} 10.99.2.1");
    network.run("attacker", &scan).unwrap();
    let limit = Duration::from_secs(4);
    sensor_tests::wait_until(limit, || {
        let n = sensor.lines(|v| v["incident.family"] == "port_scan").len();
        (n > before).then_some(())
    })
    .is_some()
}

#[test]
fn a_reload_changes_thresholds_and_a_bad_one_changes_nothing() {
    if !is_root() {
        eprintln!("left out: needs root (sudo -E env PATH=$PATH cargo xtask test)");
        return;
    }
    let high = "[engine.scan]\nfast_ports = 5000\nfailed_ports = 5000\n";
    let path = file("reload.toml", high);
    let network = Network::new().unwrap();
    let arguments = format!("--config {}", path.display());
    let mut sensor = Running::start(&network, &arguments).unwrap();
    let reloaded = |n: usize| {
        sensor_tests::wait_until(LIMIT, || {
            sensor
                .lines(|v| v["event.action"] == "reload")
                .get(n)
                .cloned()
        })
        .unwrap_or_else(|| panic!("no reload: {}", sensor.log()))
    };
    let start = sensor.lines(|v| v["event.action"] == "start").remove(0);
    assert!(!finds_a_scan(&network, &sensor, "1-40"), "{}", sensor.log());

    fs::write(&path, "[engine.scan]\nfailed_prots = 20\n").unwrap();
    sensor.signal("HUP").unwrap();
    let refused = reloaded(0);
    let fault = refused["config.errors"][0].as_str().unwrap().to_owned();
    assert!(
        fault.contains("did you mean `engine.scan.failed_ports`?"),
        "{fault}"
    );
    assert_eq!(refused["config.hash"], start["config.hash"]);
    assert!(
        sensor.log().contains("the old configuration stays"),
        "{}",
        sensor.log()
    );

    fs::write(
        &path,
        "[engine.scan]\nfast_ports = 5000\nfailed_ports = 20\nmax_windows = 7\n",
    )
    .unwrap();
    sensor.signal("HUP").unwrap();
    let taken = reloaded(1);
    assert_eq!(
        taken["config.applied"],
        serde_json::json!(["engine.scan.failed_ports"])
    );
    assert_eq!(
        taken["config.needs_restart"],
        serde_json::json!(["engine.scan.max_windows"])
    );
    assert_ne!(taken["config.hash"], start["config.hash"]);
    assert!(
        finds_a_scan(&network, &sensor, "101-140"),
        "{}",
        sensor.log()
    );
    let summary = sensor.stop().unwrap();
    assert!(summary["flows"].as_u64().unwrap() >= 40, "{summary}");
}
