//! Floods over IPv6, by frames of our own (hping3 sends none), and what a flood does to a client
//! while the sensor enforces. Needs root.

use std::net::Ipv6Addr;
use std::time::Duration;

use sensor_tests::frames::{Dice, IPV6, icmp, ipv6_between, tcp, udp};
use sensor_tests::{Network, Running, Sender, needs_root, wait_until};

const LIMIT: Duration = Duration::from_secs(15);
const SYN: u8 = 0x02;

/// The network.
fn network() -> Network {
    needs_root();
    Network::new().unwrap()
}

/// Frames of the attacker to the server: an Ethernet header before each packet.
fn to_server(
    network: &Network,
    mut packet: impl FnMut(u64) -> Vec<u8> + Send + 'static,
) -> impl FnMut(u64) -> Vec<u8> + Send + 'static {
    let mut head = network.mac("server", "attacker").unwrap();
    head.extend(network.mac("attacker", "eth0").unwrap());
    head.extend(IPV6.to_be_bytes());
    move |n| [head.as_slice(), &packet(n)].concat()
}

const fn attacker() -> Ipv6Addr {
    Ipv6Addr::new(0xfd99, 2, 0, 0, 0, 0, 0, 2)
}

const fn server() -> Ipv6Addr {
    Ipv6Addr::new(0xfd99, 2, 0, 0, 0, 0, 0, 1)
}

fn syn(n: u64, source: Ipv6Addr) -> Vec<u8> {
    let port = 1_024 + (n % 60_000) as u16;
    ipv6_between(6, [source, server()], tcp((port, 80), SYN, &[]), 16)
}

/// Floods the server and waits for the family; what the incident says.
fn detects(family: &str, rate: u64, packet: impl FnMut(u64) -> Vec<u8> + Send + 'static) {
    let network = network();
    let sensor = Running::start(&network, "").unwrap();
    let frames = to_server(&network, packet);
    let flood = Sender::start(&network, "attacker", rate, 5 * rate, frames).unwrap();
    let found = sensor.wait_for(LIMIT, |v| v["incident.family"] == family);
    let incident = found.unwrap_or_else(|| {
        let (found, n_sent) = (sensor.families(), flood.n_sent());
        panic!("{n_sent} sent, found {found:?}: {}", sensor.log())
    });
    assert_eq!(
        incident["destination.ips"],
        serde_json::json!(["fd99:2::1"]),
        "{incident}"
    );
}

#[test]
fn detects_a_syn_flood_over_ipv6() {
    detects("syn_flood", 5_000, |n| syn(n, attacker()));
}

#[test]
fn detects_a_spoofed_syn_flood_over_ipv6() {
    let mut dice = Dice(1);
    detects("syn_flood", 5_000, move |n| {
        let random = u128::from(dice.roll()) << 64 | u128::from(dice.roll());
        // Global unicast.
        let source = Ipv6Addr::from(random & !(7 << 125) | 1 << 125);
        syn(n, source)
    });
}

#[test]
fn detects_a_udp_flood_over_ipv6() {
    detects("udp_flood", 20_000, |n| {
        let port = 1_024 + (n % 60_000) as u16;
        ipv6_between(17, [attacker(), server()], udp((port, 9), &[0; 20]), 6)
    });
}

#[test]
fn detects_an_icmp_flood_over_ipv6() {
    detects("icmp_flood", 5_000, |_| {
        ipv6_between(58, [attacker(), server()], icmp(128, 0), 2)
    });
}

/// Mbit/s of a transfer from the client.
fn throughput(network: &Network) -> f64 {
    let _server = network.start("server", "iperf3 -s -1").unwrap();
    let transfer = "iperf3 -c 10.99.1.1 -t 3 -J";
    let rate = wait_until(LIMIT, || {
        let output = network.run("client", transfer).ok()?;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        report["end"]["sum_received"]["bits_per_second"].as_f64()
    });
    rate.expect("a transfer") / 1e6
}

/// The transfer of a client goes on while another host floods and is dropped. Both share two CPUs
/// with the flood's sender, so that some is lost to that alone.
#[test]
fn a_transfer_keeps_its_rate_under_attack() {
    let network = network();
    let mut sensor = Running::start(&network, "--mode enforce").unwrap();
    let before = throughput(&network);
    let incidents = sensor.lines(|v| v["kind"] == "incident");
    assert!(incidents.is_empty(), "{before} Mbit/s: {incidents:?}");
    let frames = to_server(&network, |n| syn(n, attacker()));
    let flood = Sender::start(&network, "attacker", 20_000, 1_000_000, frames).unwrap();
    let decision = sensor.wait_for(LIMIT, |v| v["kind"] == "decision");
    assert_eq!(
        decision.expect("a decision")["decision.target"],
        "fd99:2::2"
    );
    let sent_before = flood.n_sent();
    let during = throughput(&network);
    let n_sent = flood.n_sent() - sent_before;
    drop(flood);
    let summary = sensor.stop().unwrap();
    let n_dropped = ["dropped", "quarantined", "rate_limited", "challenged"]
        .iter()
        .map(|event| summary["events"][event].as_u64().unwrap())
        .sum::<u64>();
    println!(
        "client: {before:.0} Mbit/s without attack, {during:.0} while {n_sent} packets of the \
         attacker were sent and dropped: {:.2} of it",
        during / before
    );
    // All but what the limit of the source lets through.
    assert!(
        10 * n_dropped >= 9 * n_sent,
        "{n_dropped} of {n_sent} dropped"
    );
    assert!(during > before / 5.0, "{before} before, {during} during");
    let blocked = sensor.lines(|v| v["kind"] == "decision" && v["decision.target"] == "10.99.1.2");
    assert!(blocked.is_empty(), "the client was blocked: {blocked:?}");
}
