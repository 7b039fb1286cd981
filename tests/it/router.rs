//! The sensor on a router between an inner and an outer network.
//!
//! Needs root.

use std::time::Duration;

use sensor_tests::{Network, Running, needs_program, needs_root, wait_until};
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
    let told = sensor.wait_for(LIMIT, |v| v["event.action"] == "local_networks");
    let told = told.map(|v| v["local"].clone()).unwrap_or_default();
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

/// Flows of two hosts, of a protocol.
fn flows(sensor: &Running, host: &str, protocol: &str) -> Vec<Value> {
    let question = format!("flows --network {host} --protocol {protocol} --json");
    let output = sensor.ask(&question).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn packets(flow: &Value) -> [u64; 2] {
    ["source.packets", "destination.packets"].map(|key| flow[key].as_u64().unwrap_or_default())
}

#[test]
fn a_packet_that_crosses_two_interfaces_is_counted_once() {
    let network = routed();
    let mut sensor = Running::start(&network, "").unwrap();
    network
        .run("client", "ping -c 20 -i 0.05 -W 2 198.51.100.7")
        .unwrap();
    let found = wait_until(LIMIT, || {
        let all = flows(&sensor, OUTER, "icmp");
        all.iter().any(|flow| packets(flow)[1] >= 20).then_some(all)
    });
    let found = found.unwrap_or_else(|| panic!("{:?}", flows(&sensor, OUTER, "icmp")));
    let [flow] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(packets(flow), [20, 20], "{flow}");
    assert_eq!(flow["source.ip"], INNER, "{flow}");
    // Both ways it left by one interface after it had come in by the other.
    let summary = sensor.stop().unwrap();
    let events = &summary["events"];
    assert_eq!(events["counted_elsewhere"], 40, "{summary}");
    // The interfaces' own totals have it twice.
    let of = |way: &str| summary[way]["packets"].as_u64().unwrap();
    assert!(of("ingress") >= 40 && of("egress") >= 40, "{summary}");
}

#[test]
fn networks_with_the_same_addresses_lose_nothing_on_two_interfaces() {
    let network = routed();
    let sensor = Running::start(&network, "").unwrap();
    // The same ends on both sides; the router's own address takes them in.
    let line = "hping3 -q --udp -s 5000 -k -p 9 -i u20000 -c 30 -a 10.99.1.2 10.99.1.1";
    network
        .run("server", "sysctl -q -w net.ipv4.conf.all.rp_filter=0")
        .unwrap();
    for host in ["client", "attacker"] {
        // Nobody answers, which hping takes for a failure.
        let _unanswered = network.run(host, line);
    }
    let counted = wait_until(LIMIT, || {
        let all = flows(&sensor, INNER, "udp");
        let sent: u64 = all.iter().map(|flow| packets(flow)[0]).sum();
        (sent >= 60).then_some(sent)
    });
    let all = || flows(&sensor, INNER, "udp");
    assert_eq!(counted, Some(60), "{:?}", all());
}

#[test]
fn a_translated_connection_is_two_flows_with_both_directions() {
    needs_program("iptables");
    let network = routed();
    let rule = "iptables -t nat -A POSTROUTING -o attacker -j MASQUERADE";
    network.run("server", rule).unwrap();
    let sensor = Running::start(&network, "").unwrap();
    network
        .run("client", "ping -c 20 -i 0.05 -W 2 198.51.100.7")
        .unwrap();
    let found = wait_until(LIMIT, || {
        let all = flows(&sensor, OUTER, "icmp");
        let whole = all.iter().filter(|flow| packets(flow) == [20, 20]).count();
        (whole == 2).then_some(())
    });
    assert!(found.is_some(), "{:?}", flows(&sensor, OUTER, "icmp"));
}

/// The server as a bridge between the networks of the client and the attacker, with an address of its own.
fn bridged() -> Network {
    needs_root();
    let network = Network::new().unwrap();
    for (host, line) in [
        ("server", "ip link add br0 type bridge"),
        ("server", "ip link set client master br0"),
        ("server", "ip link set attacker master br0"),
        ("server", "ip address add 10.99.3.1/24 dev br0"),
        ("server", "ip link set br0 up"),
        ("client", "ip address add 10.99.3.2/24 dev eth0"),
        ("attacker", "ip address add 10.99.3.3/24 dev eth0"),
    ] {
        network.run(host, line).unwrap();
    }
    network
}

#[test]
fn a_bridge_and_its_ports_count_a_packet_once() {
    let network = bridged();
    let mut sensor = Running::start(&network, "--iface br0").unwrap();
    for whom in ["10.99.3.3", "10.99.3.1"] {
        let line = format!("ping -c 20 -i 0.05 -W 2 {whom}");
        network.run("client", &line).unwrap();
        let found = wait_until(LIMIT, || {
            let all = flows(&sensor, whom, "icmp");
            all.iter().any(|flow| packets(flow)[1] >= 20).then_some(all)
        });
        let found = found.unwrap_or_else(|| panic!("{whom}: {:?}", flows(&sensor, whom, "icmp")));
        let [flow] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(packets(flow), [20, 20], "{flow}");
        assert_eq!(flow["source.ip"], "10.99.3.2", "{flow}");
    }
    // Between the ports each packet left by one after it had come in by the other; those to the bridge
    // itself came in by a port first, and left by one last. Neighbour discovery crosses them as well.
    let summary = sensor.stop().unwrap();
    let n = summary["events"]["counted_elsewhere"].as_u64().unwrap();
    assert!((80..120).contains(&n), "{summary}");
}
