//! Events of the kernel on standard output, with live traffic. Needs root.

use std::time::Duration;

use sensor_tests::{Network, Running, needs_root, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(10);

/// An event with this name and source, within the limit.
fn event(sensor: &Running, action: &str, source: &str) -> Value {
    let is_it = |v: &Value| v["event.action"] == action && v["source.ip"] == source;
    let found = sensor.wait_for(LIMIT, is_it);
    found.unwrap_or_else(|| panic!("no {action} of {source}: {}", sensor.log()))
}

/// Checks that packets of blocked sources are told of, dropped or not, and flows that begin.
fn tells_of_hits_and_starts(mode: &str) {
    needs_root();
    let network = Network::new().unwrap();
    let mut sensor = Running::start(&network, &format!("--events --mode {mode}")).unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
    let blocked = sensor.ask("block add 10.99.2.2 --ttl 600s").unwrap();
    assert!(blocked.status.success(), "{blocked:?}");
    let _flood = network
        .start(
            "attacker",
            "hping3 -q --udp -p 9 -i u1000 -c 3000 10.99.2.1",
        )
        .unwrap();
    let hit = event(&sensor, "block_hit", "10.99.2.2");
    assert_eq!(hit["kind"], "event");
    assert_eq!(hit["destination.ip"], "10.99.2.1");
    assert_eq!(hit["destination.port"], 9);
    assert_eq!(hit["interface"], "attacker");
    assert_eq!(hit["mode"], mode);
    // The first and every 1,024th of 3,000.
    let hits = |v: &Value| v["event.action"] == "block_hit";
    let all = wait_until(LIMIT, || {
        Some(sensor.lines(hits)).filter(|hits| hits.len() >= 3)
    });
    assert!(all.is_some(), "{} hits", sensor.lines(hits).len());

    network.run("client", "ping -c 1 10.99.1.1").unwrap();
    let start = event(&sensor, "flow_started", "10.99.1.2");
    assert_eq!(start["network.transport"], "icmp");
    assert_eq!(start["interface"], "client");
    let starts = sensor.lines(|v| v["event.action"] == "flow_started");
    let is_of_attacker = |v: &&Value| v["source.ip"] == "10.99.2.2";
    let n_of_attacker = starts.iter().filter(is_of_attacker).count();
    assert_eq!(n_of_attacker > 0, mode == "monitor", "{starts:?}");
    let metrics = network.run("server", "curl -s http://127.0.0.1:9469/metrics");
    let text = String::from_utf8_lossy(&metrics.unwrap().stdout).into_owned();
    let mut missed = text
        .lines()
        .filter(|line| line.starts_with("sensor_capture_missed_events"));
    assert!(missed.clone().count() > 0, "{text}");
    assert!(missed.all(|line| line.ends_with(" 0")), "{text}");
    sensor.stop().unwrap();
}

#[test]
fn events_tell_block_hits_and_flow_starts_in_monitor_mode() {
    tells_of_hits_and_starts("monitor");
}

#[test]
fn events_tell_block_hits_and_flow_starts_when_enforcing() {
    tells_of_hits_and_starts("enforce");
}
