//! Rights that the sensor gives up once it has started.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use sensor_tests::{Network, Running, needs_root, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
const CAP_SYS_ADMIN: u32 = 21;
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_BPF: u32 = 39;

fn status(sensor: &Running) -> Value {
    let output = sensor.ask("status --json").unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A line of /proc/PID/task/TID/status.
fn of_thread(sensor: &Running, thread: &str, key: &str) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", sensor.id())).unwrap();
    let folder = tasks.filter_map(|task| {
        let folder = task.unwrap().path();
        let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        (name.trim() == thread).then_some(folder)
    });
    let folder = folder
        .last()
        .unwrap_or_else(|| panic!("no thread {thread}"));
    let text = fs::read_to_string(folder.join("status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

#[test]
fn the_engine_keeps_what_it_needs_and_nothing_else() {
    needs_root();
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, "--mode enforce").unwrap();
    let confinement = status(&sensor)["confinement"].clone();
    for part in ["capabilities", "files", "system_calls"] {
        assert_eq!(confinement[part]["done"], true, "{part}: {confinement}");
    }
    let effective = of_thread(&sensor, "engine", "CapEff");
    let effective = u64::from_str_radix(&effective, 16).unwrap();
    let has = |capability: u32| effective & 1 << capability != 0;
    assert!(has(CAP_BPF), "{effective:x}");
    assert!(
        !has(CAP_SYS_ADMIN) && !has(CAP_DAC_OVERRIDE),
        "{effective:x}"
    );
    assert_eq!(of_thread(&sensor, "engine", "NoNewPrivs"), "1");
    assert_eq!(of_thread(&sensor, "engine", "Seccomp"), "2");
    // With that it does its work: an interface goes and comes back, a scan is found and acted on.
    network
        .run("server", "ip link set dev attacker down")
        .unwrap();
    network
        .run("server", "ip link set dev attacker up")
        .unwrap();
    let scan = "nmap -n -Pn -sS --max-retries 0 -p 1-1000 10.99.2.1";
    network.run("attacker", scan).unwrap();
    let decided = sensor.wait_for(LIMIT, |v| v["kind"] == "decision");
    let decided = decided.unwrap_or_else(|| panic!("{}", sensor.log()));
    assert_eq!(decided["decision.outcome"], "applied", "{decided}");
}

#[test]
fn a_hook_runs_and_what_it_costs_is_told() {
    needs_root();
    let network = Network::new().unwrap();
    let folder = std::env::temp_dir().join(format!("sensor-confinement-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let out = folder.join("out");
    let config = folder.join("sensor.toml");
    let text = format!(
        "[[sink]]\nname = \"hook\"\nkind = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\n",
        out.display()
    );
    fs::write(&config, text).unwrap();
    let arguments = format!("--config {}", config.display());
    let sensor = Running::start(&network, &arguments).unwrap();
    let files = status(&sensor)["confinement"]["files"].clone();
    assert_eq!(files["done"], false, "{files}");
    assert!(files["how"].as_str().unwrap().contains("exec"), "{files}");
    let scan = "nmap -n -Pn -sS --max-retries 0 -p 1-1000 10.99.2.1";
    network.run("attacker", scan).unwrap();
    let written = || {
        fs::read_to_string(&out)
            .unwrap_or_default()
            .contains("port_scan")
    };
    let is_told = wait_until(LIMIT, || written().then_some(()));
    assert!(is_told.is_some(), "{}", sensor.log());
    fs::remove_dir_all(&folder).unwrap();
}
