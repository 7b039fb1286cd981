//! Strange headers: no packet of a blocked source passes whatever it carries, and what a tunnel carries
//! is never blamed on the addresses within, which anybody may write.

use std::time::Duration;

use sensor_common::packet::protocol;
use sensor_tests::frames::ipv4::{self, Ip, SYN, fragment};
use sensor_tests::frames::{self, Ipv4, ethernet, extension, ipv6_between, tagged};
use sensor_tests::{Network, Running, Sender, needs_root, wait_until};
use serde_json::Value;

use crate::content::{Frame, START_US};
use crate::replay::{capture, replay};
use crate::shapes::port;

const LIMIT: Duration = Duration::from_secs(20);
const BLOCKED: Ip = [10, 99, 2, 2];
const OURS: Ip = [10, 99, 2, 1];
const N_EACH: u64 = 50;

/// IPv4 from the blocked source.
fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4::packet(protocol, BLOCKED, OURS, payload)
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let ends = ["fd99:2::2", "fd99:2::1"].map(|end| end.parse().unwrap());
    ethernet(
        frames::IPV6,
        &ipv6_between(next, ends, payload.to_vec(), usize::MAX - 2),
    )
}

/// A frame with bytes put in another's place.
fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// A frame with what follows its addresses behind a tag.
fn behind(tags: &[u8], frame: &[u8]) -> Vec<u8> {
    [&frame[..12], tags, &frame[12..]].concat()
}

/// A SYN between addresses that somebody made up, without and with an Ethernet header.
fn forged(source: Ip, to_port: u16) -> [Vec<u8>; 2] {
    let bridged = ipv4::tcp((source, 40_000), ([192, 0, 2, 80], to_port), SYN, &[]);
    [bridged[14..].to_vec(), bridged]
}

/// Frames of the blocked source, by what is strange about them.
fn strange() -> Vec<(&'static str, Vec<u8>)> {
    let [inside, bridged] = forged([8, 8, 8, 8], 80);
    let inside6 = frames::ipv6(protocol::TCP, (7, 8), &frames::tcp((4_000, 80), SYN, &[]));
    let udp = v4(protocol::UDP, &frames::udp((4_000, 53), &[0; 40]));
    let tcp = v4(protocol::TCP, &frames::tcp((4_000, 80), SYN, &[]));
    let junk = |port| v4(protocol::UDP, &frames::udp((4_000, port), &[0xff; 60]));
    let mut chain = frames::tcp((4_000, 80), SYN, &[]);
    let mut next = protocol::TCP;
    for _ in 0..9 {
        chain = extension(next, 0, &chain);
        next = protocol::DESTINATION;
    }
    let three = [0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3];
    let (headers, segment) = tcp.split_at(34);
    vec![
        ("plain", tcp.clone()),
        ("VXLAN", v4(protocol::UDP, &frames::vxlan(&bridged))),
        (
            "Geneve",
            v4(protocol::UDP, &frames::geneve(2, 0x6558, &bridged)),
        ),
        (
            "GRE",
            v4(protocol::GRE, &frames::gre(0x2000, 0x0800, &inside)),
        ),
        (
            "GRE of no version",
            v4(protocol::GRE, &frames::gre(0x0007, 0x0800, &inside)),
        ),
        ("IP in IP", v4(protocol::IPIP, &inside)),
        ("6in4", v4(protocol::IPV6, &inside6)),
        ("junk in IP", v4(protocol::IPIP, &[0xff; 40])),
        ("junk on 4789", junk(4_789)),
        ("junk on 8472", junk(8_472)),
        ("junk on 4790", junk(4_790)),
        ("junk on 6081", junk(6_081)),
        ("TCP offset 0", with(tcp.clone(), 46, &[0])),
        ("TCP cut", with(tcp[..46].to_vec(), 16, &[0, 32])),
        ("UDP length 7", with(udp.clone(), 38, &[0, 7])),
        ("total length 19", with(udp.clone(), 16, &[0, 19])),
        ("nine extension headers", v6(next, &chain)),
        ("one VLAN tag", behind(&three[8..], &udp)),
        ("three VLAN tags", behind(&three, &udp)),
        (
            "tiny first fragment",
            fragment(headers, 7, 0, &segment[..8], true),
        ),
        (
            "second fragment",
            fragment(headers, 7, 8, &segment[8..16], true),
        ),
        (
            "last fragment",
            fragment(headers, 7, 16, &segment[16..], false),
        ),
    ]
}

/// Packets that the entries of the blocked source have met.
fn n_met(sensor: &Running) -> u64 {
    let output = sensor.ask("block list --json").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let entries = text.lines().map(serde_json::from_str::<Value>);
    entries
        .map(|entry| entry.unwrap()["packets"].as_u64().unwrap())
        .sum()
}

#[test]
fn no_strange_header_takes_a_packet_past_a_block_on_the_wire() {
    needs_root();
    let network = Network::new().unwrap();
    let mut sensor = Running::start(&network, "--mode enforce").unwrap();
    let blocked = sensor
        .ask("block add 10.99.2.2 fd99:2::2 --ttl 600s")
        .unwrap();
    assert!(blocked.status.success(), "{blocked:?}");
    for (what, frame) in strange() {
        let before = n_met(&sensor);
        let sender = Sender::start(&network, "attacker", 1_000, N_EACH, move |_| frame.clone());
        let sender = sender.unwrap();
        let all = || (n_met(&sensor) >= before + N_EACH).then_some(());
        let dropped = wait_until(LIMIT, all);
        let n = n_met(&sensor) - before;
        assert_eq!(sender.n_sent(), N_EACH, "{what}");
        assert!(dropped.is_some(), "{what}: {n} of {N_EACH} were dropped");
    }
    let summary = sensor.stop().unwrap();
    let n_dropped = summary["events"]["dropped"].as_u64().unwrap();
    assert!(n_dropped >= strange().len() as u64 * N_EACH, "{summary}");
}

/// A tunnel's packet around a packet of each kind, from one sender.
fn around(kind: &str, source: Ip, to_port: u16) -> Vec<u8> {
    let [inside, bridged] = forged(source, to_port);
    let header = |protocol| Ipv4 {
        source: SENDER,
        destination: TUNNEL_END,
        ..Ipv4::new(protocol)
    };
    let outer =
        |protocol, payload: &[u8]| ethernet(frames::IPV4, &header(protocol).packet(payload));
    match kind {
        "vxlan" => outer(protocol::UDP, &frames::vxlan(&bridged)),
        "geneve" => outer(protocol::UDP, &frames::geneve(0, 0x6558, &bridged)),
        "gre" => outer(protocol::GRE, &frames::gre(0, 0x0800, &inside)),
        "ipip" => outer(protocol::IPIP, &inside),
        "6in4" => {
            let [.., a, b] = source;
            let hosts = (u16::from_be_bytes([a, b]), 0x80);
            let segment = frames::tcp((40_000, to_port), SYN, &[]);
            outer(
                protocol::IPV6,
                &frames::ipv6(protocol::TCP, hosts, &segment),
            )
        }
        "vlan in vxlan" => {
            let inner = ethernet(frames::VLAN, &tagged(7, frames::IPV4, &inside));
            outer(protocol::UDP, &frames::vxlan(&inner))
        }
        "gre in vxlan" => {
            let gre = ipv4::packet(
                protocol::GRE,
                source,
                source,
                &frames::gre(0, 0x0800, &inside),
            );
            outer(protocol::UDP, &frames::vxlan(&gre))
        }
        other => panic!("no tunnel {other}"),
    }
}

const SENDER: Ip = [203, 0, 113, 66];
const TUNNEL_END: Ip = [192, 0, 2, 7];
const KINDS: [&str; 7] = [
    "vxlan",
    "geneve",
    "gre",
    "ipip",
    "6in4",
    "vlan in vxlan",
    "gre in vxlan",
];

/// Addresses that anything was said of: incidents' sources and decisions' targets.
fn accused(frames: &[Frame], name: &str) -> Vec<String> {
    let output = replay(&[&capture(&format!("headers-{name}"), frames)]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut accused = Vec::new();
    for line in lines {
        let sources = line["source.ips"].as_array().into_iter().flatten();
        let said = sources.chain([&line["decision.target"]]);
        accused.extend(said.filter_map(Value::as_str).map(str::to_owned));
    }
    accused.sort();
    accused.dedup();
    accused
}

/// A scan, a flood and logins by an address within, in each kind of tunnel that nobody configured.
#[test]
fn an_address_within_a_tunnel_is_never_accused_in_any_kind_of_tunnel() {
    let victim = [8, 8, 8, 8];
    for kind in KINDS {
        let name = kind.replace(' ', "-");
        let scan: Vec<Frame> = (1..=300u16)
            .map(|to| (START_US + u64::from(to) * 2_000, around(kind, victim, to)))
            .collect();
        let flood: Vec<Frame> = (0..4_000u64)
            .map(|i| (START_US + i * 500, around(kind, victim, 80)))
            .collect();
        let spread: Vec<Frame> = (0..4_000u64)
            .map(|i| {
                let source = [8, 8, (i >> 8) as u8, i as u8];
                (START_US + i * 500, around(kind, source, port(i)))
            })
            .collect();
        for (what, frames) in [("scan", scan), ("flood", flood), ("spread", spread)] {
            let accused = accused(&frames, &format!("{name}-{what}"));
            let outer = SENDER.map(|part| part.to_string()).join(".");
            assert!(
                accused.iter().all(|address| *address == outer),
                "{kind}, {what}: {accused:?}"
            );
        }
    }
}
