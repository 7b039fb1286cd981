//! Needs root: without, each test says so and passes.

use std::time::Duration;

use sensor_tests::{Network, Running, needs_root};

const LIMIT: Duration = Duration::from_secs(10);

/// The network and a sensor in it.
fn up(arguments: &str) -> (Network, Running) {
    needs_root();
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, arguments).unwrap();
    (network, sensor)
}

#[test]
fn counters_equal_the_interfaces() {
    let (network, mut sensor) = up("");
    let before = ["rx_packets", "tx_packets"].map(|name| total(&network, name));
    let _server = network.start("server", "iperf3 -s -1").unwrap();
    sensor_tests::wait_until(LIMIT, || {
        network
            .run("client", "iperf3 -c 10.99.1.1 -t 1 -b 50M")
            .ok()
    })
    .expect("iperf3 ran");
    let after = ["rx_packets", "tx_packets"].map(|name| total(&network, name));
    let summary = sensor.stop().unwrap();
    let seen = ["ingress", "egress"].map(|way| summary[way]["packets"].as_u64().unwrap());
    for i in 0..2 {
        let counted = after[i] - before[i];
        // Neighbour discovery may add a few packets outside the two readings.
        assert!(
            seen[i].abs_diff(counted) <= 20,
            "{seen:?} {before:?} {after:?}"
        );
        assert!(counted > 100, "{before:?} {after:?}");
    }
    assert!(sensor.families().is_empty(), "{:?}", sensor.families());
}

fn total(network: &Network, name: &str) -> u64 {
    ["client", "attacker"]
        .iter()
        .map(|d| network.counter("server", d, name).unwrap())
        .sum()
}

/// Runs an attack and waits for its family.
fn detects(attack: &str, family: &str) {
    let (network, sensor) = up("");
    let _attack = network.start("attacker", attack).unwrap();
    let found = sensor.wait_for(LIMIT, |v| v["incident.family"] == family);
    assert!(
        found.is_some(),
        "{attack}: {:?}\n{}",
        sensor.families(),
        sensor.log()
    );
}

#[test]
fn detects_a_port_scan() {
    detects("nmap -n -Pn -sS -p 1-2000 10.99.2.1", "port_scan");
}

#[test]
fn detects_a_port_scan_over_ipv6() {
    detects("nmap -6 -n -Pn -sS -p 1-2000 fd99:2::1", "port_scan");
}

/// SYNs in fragments of eight and of sixteen bytes.
#[test]
fn detects_port_scans_in_fragments() {
    detects("nmap -n -Pn -sS -f -p 1-1000 10.99.2.1", "port_scan");
    detects("nmap -n -Pn -sS -ff -p 1-1000 10.99.2.1", "port_scan");
}

#[test]
fn detects_a_syn_flood_in_fragments() {
    let flood = "hping3 -q -S -f -p 80 -i u1100 -c 8000 10.99.2.1";
    detects(flood, "syn_flood");
    detects(flood, "crafted_fragments");
}

#[test]
fn detects_a_syn_flood() {
    detects("hping3 -q -S -p 80 -i u200 -c 15000 10.99.2.1", "syn_flood");
}

#[test]
fn detects_a_spoofed_syn_flood() {
    detects(
        "hping3 -q -S -p 80 --rand-source -i u200 -c 15000 10.99.2.1",
        "syn_flood",
    );
}

#[test]
fn detects_a_udp_flood() {
    detects(
        "hping3 -q --udp -p 9 -i u50 -c 60000 10.99.2.1",
        "udp_flood",
    );
}

#[test]
fn detects_an_icmp_flood() {
    detects("hping3 -q --icmp -i u200 -c 15000 10.99.2.1", "icmp_flood");
}

/// A server that refuses every login.
const LOGIN_SERVER: &str = "import socket
listener = socket.create_server(('10.99.2.1', 21))
while True:
    there, _ = listener.accept()
    there.settimeout(2)
    try:
        there.sendall(b'220 ready\\r\\n')
        while (line := there.recv(200)):
            is_user = line.startswith(b'USER')
            there.sendall(b'331 password?\\r\\n' if is_user else b'530 Login incorrect.\\r\\n')
    except OSError:
        pass
";

/// Somebody who guesses there.
const GUESSER: &str = "import socket, time
n = 0
while True:
    try:
        there = socket.create_connection(('10.99.2.1', 21), timeout=1)
        there.recv(200)
        for _ in range(3):
            n += 1
            for line in (b'USER root\\r\\n', b'PASS secret%d\\r\\n' % n):
                there.sendall(line)
                there.recv(200)
        there.close()
    except OSError:
        time.sleep(0.2)
";

/// Guessing takes complete connections, and is told no: nobody does that in another's name.
#[test]
fn enforcement_stops_a_guesser_and_spares_the_client() {
    let (network, mut sensor) = up("--mode enforce");
    let folder = std::env::temp_dir().join(format!("sensor-live-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let program = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        format!("python3 {}", folder.join(name).display())
    };
    let server = program("server.py", LOGIN_SERVER);
    let _server = network.start("server", &server).unwrap();
    let guesser = program("guesser.py", GUESSER);
    let _guesser = network.start("attacker", &guesser).unwrap();
    let is_stop = |v: &serde_json::Value| {
        v["decision.action"] == "quarantine" || v["decision.action"] == "drop"
    };
    let decision = sensor.wait_for(LIMIT, is_stop);
    let decision = decision.unwrap_or_else(|| panic!("not stopped: {}", sensor.log()));
    assert_eq!(decision["decision.target"], "10.99.2.2");
    assert_eq!(decision["decision.port"], 21);
    assert_eq!(decision["decision.outcome"], "applied");
    assert_eq!(decision["guard"], "allowed");
    for (host, target) in [("client", "10.99.1.1"), ("attacker", "10.99.2.1")] {
        let answered = network.run(host, &format!("ping -c 3 -i 0.2 -W 2 {target}"));
        assert!(answered.is_ok(), "{host}: {answered:?}");
    }
    let begin = "import socket; socket.create_connection(('10.99.2.1', 21), timeout=1)";
    let begin = program("begin.py", begin);
    assert!(network.run("attacker", &begin).is_err(), "he goes on");
    let summary = sensor.stop().unwrap();
    let stopped = ["dropped", "quarantined"].map(|event| summary["events"][event].as_u64());
    assert!(stopped.iter().any(|n| *n > Some(0)), "{summary}");
    let again = sensor_tests::wait_until(LIMIT, || network.run("attacker", &begin).ok());
    assert!(again.is_some(), "the block outlived the sensor");
    let _gone = std::fs::remove_dir_all(&folder);
}

#[test]
fn a_flood_of_an_address_that_was_never_proven_is_limited_at_the_service() {
    let (network, mut sensor) = up("--mode enforce");
    let _flood = network
        .start("attacker", "hping3 -q -S -p 80 -i u100 -c 60000 10.99.2.1")
        .unwrap();
    let decision = sensor
        .wait_for(LIMIT, |v| v["kind"] == "decision")
        .expect("a decision");
    assert_eq!(decision["decision.action"], "challenge");
    assert_eq!(decision["decision.protocol"], 6);
    // Whoever owns the address is answered otherwise.
    let ping = network.run("attacker", "ping -c 2 -i 0.2 -W 1 10.99.2.1");
    assert!(ping.is_ok(), "{ping:?}");
    let summary = sensor.stop().unwrap();
    let n_limited = summary["events"]["rate_limited"].as_u64().unwrap();
    assert!(n_limited > 0, "{summary}");
}

#[test]
fn monitoring_counts_but_never_drops() {
    let (network, mut sensor) = up("");
    let _flood = network
        .start("attacker", "hping3 -q -S -p 80 -i u100 -c 60000 10.99.2.1")
        .unwrap();
    sensor
        .wait_for(LIMIT, |v| v["kind"] == "decision")
        .expect("a decision");
    let ping = network.run("attacker", "ping -c 3 -i 0.2 -W 2 10.99.2.1");
    assert!(ping.is_ok(), "{ping:?}");
    let summary = sensor.stop().unwrap();
    assert_eq!(summary["events"]["dropped"], 0);
    let would = summary["events"]["would_challenge"].as_u64();
    assert!(would.unwrap() > 0, "{summary}");
}

#[test]
fn leaves_a_resident_program_alone() {
    let (network, mut first) = up("");
    let second = Running::start(&network, "");
    let error = second
        .err()
        .expect("a second sensor on the same interface")
        .to_string();
    assert!(error.contains("another sensor is attached"), "{error}");
    first.stop().unwrap();
}
