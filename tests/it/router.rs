//! The sensor on a router between an inner and an outer network.
//!
//! Needs root.

use std::time::Duration;

use sensor_tests::{Network, Running, needs_root};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
/// A host beyond the router's gateway, and one behind the router.
const OUTER: &str = "198.51.100.7";
const INNER: &str = "10.99.1.2";

/// The server as the router of the client's network; by the attacker it reaches the rest of the world.
fn routed() -> Network {
    needs_root();
    let network = Network::new().unwrap();
    for (host, line) in [
        ("server", "sysctl -q -w net.ipv4.ip_forward=1"),
        ("server", "ip route add default via 10.99.2.2"),
        ("attacker", "ip address add 198.51.100.7/32 dev lo"),
        (
            "attacker",
            "ip route replace default via 10.99.2.1 src 198.51.100.7",
        ),
    ] {
        network.run(host, line).unwrap();
    }
    network
}

/// Scans from a host, and gives the latest word on the incident that names it.
fn scanned(network: &Network, sensor: &Running, from: (&str, &str), to: &str) -> Value {
    let (host, source) = from;
    let scan = format!("nmap -n -Pn -sS --max-retries 0 -p 1-1000 {to}");
    network.run(host, &scan).unwrap();
    let is_of_it = |v: &Value| v["incident.family"] == "port_scan" && v["source.ips"][0] == source;
    let found = sensor.wait_for(LIMIT, is_of_it);
    found.unwrap_or_else(|| panic!("no scan of {source}: {}", sensor.log()))
}

#[test]
fn a_router_acts_on_an_attacker_outside_and_not_on_a_host_inside() {
    let network = routed();
    let mut sensor = Running::start(&network, "").unwrap();
    let told = sensor.lines(|v| v["event.action"] == "local_networks");
    let told = told.first().map(|v| v["local"].clone()).unwrap_or_default();
    assert_eq!(told["known"], true, "{told}");
    assert_eq!(told["forwards"], true, "{told}");
    let networks: Vec<&str> = told["networks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for local in ["10.99.1.0/24", "10.99.1.1", "10.99.2.1"] {
        assert!(networks.contains(&local), "{local}: {told}");
    }
    assert!(!networks.contains(&"10.99.2.0/24"), "{told}");

    let outside = scanned(&network, &sensor, ("attacker", OUTER), INNER);
    let response = &outside["response"][0];
    assert_eq!(response["decision.target"], OUTER, "{outside}");
    assert_eq!(response["decision.outcome"], "monitored", "{outside}");
    let decided = sensor.lines(|v| v["kind"] == "decision");
    assert_eq!(decided[0]["decision.target"], OUTER);
    assert_eq!(decided[0]["decision.id"], response["decision.id"]);

    let inside = scanned(&network, &sensor, ("client", INNER), OUTER);
    let response = &inside["response"][0];
    assert_eq!(response["decision.target"], INNER, "{inside}");
    assert_eq!(response["decision.outcome"], "withheld", "{inside}");
    assert_eq!(response["decision.outcome.rule"], "local", "{inside}");
    assert_eq!(response["decision.outcome.reason"], "10.99.1.0/24");
    sensor.stop().unwrap();
    let decided = sensor.lines(|v| v["kind"] == "decision" && v["decision.target"] == INNER);
    assert!(decided.is_empty(), "{decided:?}");
}
