//! The agent around the engine: configuration, reload, exit codes.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use sensor_tests::{Network, Running, binary, needs_root};
use serde_json::Value;

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
fn a_wrong_configuration_exits_with_2_and_names_every_fault() {
    let path = file(
        "faults.toml",
        "[tick]\nhosts_interval = \"5ms\"\nflow_ms = 1000\n",
    );
    for command in [&["config", "check"][..], &["run"][..]] {
        let mut arguments = command.to_vec();
        arguments.extend(["--config", path.to_str().unwrap()]);
        let output = sensor(&arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            told.contains("faults.toml:2: tick.hosts_interval: \"5ms\" is too small"),
            "{told}"
        );
        assert!(
            told.contains("did you mean `tick.flows_interval`?"),
            "{told}"
        );
    }
}

#[test]
fn a_right_configuration_is_shown_with_its_origins() {
    let path = file("right.toml", "[tick]\nhosts_ms = 50\n");
    let path = path.to_str().unwrap();
    let output = sensor(&["config", "check", "--config", path]);
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("warning: config:") && told.contains("write `hosts_interval = \"50ms\"`"),
        "{told}"
    );
    let output = sensor(&["config", "show", "--changed", "--config", path]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.starts_with("tick.hosts_interval = \"50ms\"  # "),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
    let set = [
        "--set",
        "tick.hosts_interval=20ms",
        "--set",
        "respond.allow=192.0.2.1,192.0.2.2",
    ];
    let output = sensor(&[&["config", "show", "--changed", "--config", path], &set[..]].concat());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains("tick.hosts_interval = \"20ms\"  # --set"),
        "{told}"
    );
    assert!(
        told.contains("respond.allow = [\"192.0.2.1\",\"192.0.2.2\"]  # --set"),
        "{told}"
    );
}

/// Scans, and tells whether the detector of many ports in a window finds it, by the configuration that
/// the sensor has then. The random walk has no thresholds to configure.
fn finds_a_scan(network: &Network, sensor: &Running, ports: &str) -> bool {
    let is_scan = |v: &Value| {
        let mut by = v["detectors"].as_array().into_iter().flatten();
        v["incident.family"] == "port_scan" && by.any(|detector| detector == "scan")
    };
    let before = sensor.lines(is_scan).len();
    let scan = format!("nmap -n -Pn -sS --max-retries 0 -p {ports} 10.99.2.1");
    network.run("attacker", &scan).unwrap();
    let limit = Duration::from_secs(4);
    sensor_tests::wait_until(limit, || {
        let n = sensor.lines(is_scan).len();
        (n > before).then_some(())
    })
    .is_some()
}

/// Reads what the service manager is told, in order, until `last`.
fn told(manager: &UnixDatagram, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut buffer = [0; 1024];
    while !all.iter().any(|state: &String| state.starts_with(last)) {
        let n = manager
            .recv(&mut buffer)
            .unwrap_or_else(|_| panic!("no {last}: {all:?}"));
        all.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
    }
    all
}

#[test]
fn the_service_manager_is_told_start_reload_and_stop() {
    needs_root();
    let path = std::env::temp_dir().join(format!("sensor-it-{}-notify", std::process::id()));
    let _absent = fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let network = Network::new().unwrap();
    let environment = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "30000000"),
    ];
    let mut sensor = Running::start_with(&network, "", &environment).unwrap();
    let ready = told(&manager, "READY=1").pop().unwrap();
    assert_eq!(ready, "READY=1\nSTATUS=monitor mode on client, attacker");
    told(&manager, "WATCHDOG=1");
    sensor.signal("HUP").unwrap();
    told(&manager, "RELOADING=1\nMONOTONIC_USEC=");
    told(&manager, "READY=1");
    sensor.stop().unwrap();
    told(&manager, "STOPPING=1");
    let _ = fs::remove_file(path);
}

/// Has the sensor read another text; what it says to that.
fn reload(sensor: &Running, path: &Path, text: &str) -> Value {
    let reloads = || sensor.lines(|v| v["event.action"] == "reload");
    let n = reloads().len();
    fs::write(path, text).unwrap();
    sensor.signal("HUP").unwrap();
    let reloaded = sensor_tests::wait_until(LIMIT, || reloads().get(n).cloned());
    reloaded.unwrap_or_else(|| panic!("no reload: {}", sensor.log()))
}

#[test]
fn an_exception_keeps_a_scan_from_being_an_incident_until_a_reload_removes_it() {
    needs_root();
    let except = "[[detect.except]]\nfamily = \"port_scan\"\nsource = \"10.99.2.2\"\n\
                  reason = \"audit\"\n";
    let path = file("except.toml", except);
    let network = Network::new().unwrap();
    let mut sensor = Running::start(&network, &format!("--config {}", path.display())).unwrap();
    assert!(
        !finds_a_scan(&network, &sensor, "1-200"),
        "an excepted scan is an incident"
    );
    let counted = sensor_tests::wait_until(Duration::from_secs(10), || {
        let status = sensor.ask("status --json").unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        let first = status["exceptions"][0].clone();
        (first["findings"].as_u64()? > 0).then_some(first)
    });
    let counted = counted.expect("no excepted finding was counted");
    assert_eq!(counted["reason"], "audit");
    assert_eq!(counted["expired"], false);
    let told = sensor.ask("status").unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("exception \"audit\": "), "{told}");
    let metrics = "curl -s http://127.0.0.1:9469/metrics";
    let served = network.run("server", metrics).unwrap();
    let text = String::from_utf8_lossy(&served.stdout).into_owned();
    let series = "sensor_findings_excepted_total{reason=\"audit\"} ";
    assert!(text.lines().any(|line| line.starts_with(series)), "{text}");

    let applied = reload(&sensor, &path, "")["config.applied"].clone();
    assert_eq!(applied, serde_json::json!(["detect.except"]));
    assert!(finds_a_scan(&network, &sensor, "201-400"), "no incident");
    sensor.stop().unwrap();
}

#[test]
fn a_reload_switches_enforcement_metrics_and_log() {
    needs_root();
    let path = file("live.toml", "[metrics]\nenabled = false\n");
    let network = Network::new().unwrap();
    let mut sensor = Running::start(&network, &format!("--config {}", path.display())).unwrap();
    let reload = |sensor: &Running, text: &str| reload(sensor, &path, text);
    let pings = |host: &str, server: &str| {
        let ping = format!("ping -c 2 -i 0.2 -W 1 {server}");
        network.run(host, &ping).is_ok()
    };
    let blocked = sensor
        .ask("block add 10.99.2.2 10.99.1.2 --ttl 600s")
        .unwrap();
    assert!(blocked.status.success(), "{blocked:?}");
    assert!(pings("attacker", "10.99.2.1"), "monitor mode drops");

    let enforcing = "[respond]\nmode = \"enforce\"\nallow = [\"10.99.1.0/24\"]\n\
        [metrics]\nlisten = \"127.0.0.1:9470\"\n[log]\nfilter = \"debug\"\n\
        [output]\nflows = true\n";
    let applied = reload(&sensor, enforcing)["config.applied"].clone();
    for key in [
        "log.filter",
        "metrics.enabled",
        "metrics.listen",
        "output.flows",
        "respond.allow",
        "respond.mode",
    ] {
        assert!(
            applied.as_array().unwrap().contains(&key.into()),
            "{key}: {applied}"
        );
    }
    assert!(!pings("attacker", "10.99.2.1"), "not enforced");
    assert!(pings("client", "10.99.1.1"), "not allowed");
    let flow = sensor.wait_for(Duration::from_secs(30), |v| v["kind"] == "flow");
    assert!(flow.is_some(), "no flows");
    let metrics = "curl -s http://127.0.0.1:9470/metrics";
    let served = network.run("server", metrics).unwrap();
    let text = String::from_utf8_lossy(&served.stdout).into_owned();
    assert!(text.contains("mode=\"enforce\""), "{text}");

    let last = reload(
        &sensor,
        "[respond]\nstate_folder = \"/nonexistent\"\n[metrics]\nenabled = false\n",
    );
    assert!(pings("attacker", "10.99.2.1"), "still enforced");
    assert!(
        network.run("server", metrics).is_err(),
        "metrics still served"
    );
    assert_eq!(
        last["config.needs_restart"],
        serde_json::json!([]),
        "the environment wins"
    );
    let refused = reload(&sensor, "[respond]\nmode = \"monitr\"\n");
    assert!(
        refused["config.errors"][0]
            .as_str()
            .unwrap()
            .contains("respond.mode"),
        "{refused}"
    );
    sensor.stop().unwrap();
}

#[test]
fn a_reload_changes_thresholds_and_a_bad_one_changes_nothing() {
    needs_root();
    let high = "[engine.scan]\nfast_ports = 5000\nfailed_ports = 5000\nslow_failed_ports = 5000\n";
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
        sensor.log().contains("the previous configuration stays"),
        "{}",
        sensor.log()
    );

    fs::write(
        &path,
        "[engine.scan]\nfast_ports = 5000\nfailed_ports = 20\nslow_failed_ports = 5000\n\
         max_windows = 7\n",
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
