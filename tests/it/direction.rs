//! Tests of who began a flow, where one ends and the next begins, and which flow an error is of: over both
//! families, by replay.

use std::process::Command;

use sensor_tests::binary;
use sensor_tests::frames::{self, IPV4, IPV6, Ipv4};
use serde_json::Value;

use crate::content::START_US;
use crate::replay::capture;

const FIN: u8 = 0x11;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const RST: u8 = 0x04;
const RST_ACK: u8 = 0x14;
const PSH: u8 = 0x18;
const ACK: u8 = 0x10;

const CLIENT_PORT: u16 = 4_000;
/// Above the client's: no guess by the lower port is right.
const SERVER_PORT: u16 = 8_080;
const DATA: &[u8] = &[b'x'; 200];

/// End that a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}
use Side::{Client, Server};

/// Content of a packet.
#[derive(Clone, Copy, Debug)]
enum What {
    Tcp(u8),
    Udp(&'static [u8]),
}
use What::{Tcp, Udp};

/// A packet at a time in milliseconds.
type Packet = (u64, Side, What);

#[derive(Clone, Copy, Debug)]
enum Family {
    V4,
    V6,
}

fn frame(family: Family, from: Side, what: What) -> Vec<u8> {
    let ports = match from {
        Client => (CLIENT_PORT, SERVER_PORT),
        Server => (SERVER_PORT, CLIENT_PORT),
    };
    let (protocol, payload) = match what {
        Tcp(flags) => {
            let data = if flags == PSH { DATA } else { &[] };
            (6, frames::tcp(ports, flags, data))
        }
        Udp(data) => (17, frames::udp(ports, data)),
    };
    match family {
        Family::V4 => {
            let mut header = Ipv4::new(protocol);
            if from == Server {
                std::mem::swap(&mut header.source, &mut header.destination);
            }
            frames::ethernet(IPV4, &header.packet(&payload))
        }
        Family::V6 => {
            let hosts = if from == Client { (1, 2) } else { (2, 1) };
            frames::ethernet(IPV6, &frames::ipv6(protocol, hosts, &payload))
        }
    }
}

fn flows(name: &str, frames: &[(u64, Vec<u8>)]) -> Vec<Value> {
    let path = capture(&format!("direction-{name}"), frames);
    let mut command = Command::new(binary().unwrap());
    let output = command
        .args(["replay", "--json", "--flows"])
        .arg(&path)
        .output()
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut flows: Vec<Value> = lines
        .filter(|line: &Value| line["kind"] == "flow")
        .collect();
    flows.sort_by_key(|flow| flow["event.start"].as_str().unwrap().to_owned());
    flows
}

/// A flow that begins at a millisecond, with its packets from the client and from the server; the
/// client is its source.
type Expected = (u64, u64, u64);

/// Replays packets between a client and a server over both families.
#[track_caller]
fn check(name: &str, packets: &[Packet], expected: &[Expected]) {
    for family in [Family::V4, Family::V6] {
        let frames: Vec<_> = packets
            .iter()
            .map(|(at_ms, from, what)| (START_US + at_ms * 1_000, frame(family, *from, *what)))
            .collect();
        let flows = flows(name, &frames);
        let found: Vec<Expected> = flows
            .iter()
            .map(|flow| {
                assert_eq!(flow["destination.port"], SERVER_PORT, "{name}: {flow}");
                let start = flow["event.start"].as_str().unwrap();
                (
                    millisecond(start),
                    count(flow, "source"),
                    count(flow, "destination"),
                )
            })
            .collect();
        assert_eq!(found, expected, "{name} {family:?}: {flows:#?}");
    }
}

fn count(flow: &Value, side: &str) -> u64 {
    flow[format!("{side}.packets")].as_u64().unwrap()
}

/// Milliseconds since the start of the captures, which is at 22:13:20.
fn millisecond(stamp: &str) -> u64 {
    let part = |range: std::ops::Range<usize>| stamp[range].parse::<u64>().unwrap();
    let (minutes, seconds) = (part(14..16) - 13, part(17..19));
    (minutes * 60 + seconds) * 1_000 + part(20..23) - 20_000
}

fn handshake(at_ms: u64) -> Vec<Packet> {
    vec![
        (at_ms, Client, Tcp(SYN)),
        (at_ms + 10, Server, Tcp(SYN_ACK)),
        (at_ms + 20, Client, Tcp(ACK)),
    ]
}

/// A connection of 4 and 3 packets, closed by the server's FIN and the client's.
fn connection(at_ms: u64) -> Vec<Packet> {
    let mut packets = handshake(at_ms);
    packets.extend([
        (at_ms + 30, Client, Tcp(PSH)),
        (at_ms + 40, Server, Tcp(FIN)),
        (at_ms + 50, Client, Tcp(FIN)),
        (at_ms + 60, Server, Tcp(ACK)),
    ]);
    packets
}

#[test]
fn a_syn_ack_proves_its_sender_the_responder() {
    let packets = [
        (0, Server, Tcp(SYN_ACK)),
        (10, Client, Tcp(ACK)),
        (20, Client, Tcp(PSH)),
        (30, Server, Tcp(PSH)),
    ];
    check("syn-ack", &packets, &[(0, 2, 2)]);
    let again = [
        (0, Server, Tcp(SYN_ACK)),
        (1_000, Server, Tcp(SYN_ACK)),
        (1_010, Client, Tcp(ACK)),
    ];
    check("syn-ack-again", &again, &[(0, 1, 2)]);
    // One way alone, as an asymmetric mirror shows it.
    let half = [
        (0, Server, Tcp(SYN_ACK)),
        (10, Server, Tcp(ACK)),
        (20, Server, Tcp(PSH)),
    ];
    check("half", &half, &[(0, 0, 3)]);
}

#[test]
fn a_syn_sent_again_begins_no_flow() {
    let mut packets = vec![(0, Client, Tcp(SYN)), (1_000, Client, Tcp(SYN))];
    packets.extend(handshake(3_000));
    check("again", &packets, &[(0, 4, 1)]);
}

#[test]
fn both_ends_may_open_at_once() {
    let packets = [
        (0, Client, Tcp(SYN)),
        (5, Server, Tcp(SYN)),
        (10, Client, Tcp(SYN_ACK)),
        (11, Server, Tcp(SYN_ACK)),
        (20, Client, Tcp(PSH)),
    ];
    check("at-once", &packets, &[(0, 3, 2)]);
}

#[test]
fn the_direction_outlasts_a_silence() {
    for silence_ms in [19_000, 25_000, 120_000, 600_000] {
        let mut packets = handshake(0);
        packets.extend([
            (silence_ms, Server, Tcp(PSH)),
            (silence_ms + 10, Client, Tcp(ACK)),
        ]);
        let expected = [(0, 2, 1), (silence_ms, 1, 1)];
        check("silence", &packets, &expected);
        let datagrams = [
            (0, Client, Udp(b"question")),
            (10, Server, Udp(b"answer")),
            (silence_ms, Server, Udp(b"news")),
            (silence_ms + 10, Client, Udp(b"thanks")),
        ];
        check("datagrams", &datagrams, &[(0, 1, 1), (silence_ms, 1, 1)]);
    }
}

#[test]
fn ports_tell_where_nothing_else_does() {
    let joined = [(0, Server, Tcp(PSH)), (10, Client, Tcp(ACK))];
    check("joined", &joined, &[(0, 1, 1)]);
    let datagrams = [(0, Server, Udp(b"news")), (10, Client, Udp(b"thanks"))];
    check("datagrams-joined", &datagrams, &[(0, 1, 1)]);
}

#[test]
fn a_port_pair_that_is_used_again_is_another_flow() {
    for pause_ms in [200, 500, 3_000, 30_000, 120_000] {
        let mut packets = connection(0);
        packets.extend(connection(pause_ms));
        check("reused", &packets, &[(0, 4, 3), (pause_ms, 4, 3)]);
        // Reset instead of closed, by either end.
        for (from, [sent, got]) in [(Client, [4, 1]), (Server, [3, 2])] {
            let reset = |at_ms| {
                let mut packets = handshake(at_ms);
                packets.push((at_ms + 30, Client, Tcp(PSH)));
                packets.push((at_ms + 40, from, Tcp(RST_ACK)));
                packets
            };
            let mut packets = reset(0);
            packets.extend(reset(pause_ms));
            check("reset", &packets, &[(0, sent, got), (pause_ms, sent, got)]);
        }
    }
    for pause_ms in [30_000, 120_000] {
        // The SYN of the second was not seen.
        let mut packets = connection(0);
        packets.extend(connection(pause_ms).into_iter().skip(1));
        check("unseen", &packets, &[(0, 4, 3), (pause_ms + 10, 3, 3)]);
    }
}

#[test]
fn a_syn_ack_that_is_sent_again_after_a_reset_begins_no_flow() {
    let packets = [
        (0, Client, Tcp(SYN)),
        (1, Server, Tcp(SYN_ACK)),
        (2, Client, Tcp(RST)),
        (900, Server, Tcp(SYN_ACK)),
        (901, Client, Tcp(RST)),
    ];
    check("reset-again", &packets, &[(0, 3, 2)]);
}

#[test]
fn what_comes_late_of_a_closed_connection_is_no_flow_of_its_own() {
    for late_ms in [2_000, 3_000, 18_000, 30_000, 120_000] {
        for flags in [ACK, FIN, RST] {
            let mut packets = connection(0);
            let from = if flags == FIN { Client } else { Server };
            packets.push((late_ms, from, Tcp(flags)));
            check("late", &packets, &[(0, 4, 3)]);
        }
        // What brings data goes on.
        let mut packets = connection(0);
        packets.push((late_ms, Server, Tcp(PSH)));
        check("data", &packets, &[(0, 4, 3), (late_ms, 0, 1)]);
    }
}

/// An error about a packet that the client sent, from a router or the server itself.
fn error(family: Family, kind: u8, code: u8, about: What) -> Vec<u8> {
    let quoted = frame(family, Client, about);
    let quote = quoted.get(14..).unwrap();
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(quote);
    match family {
        Family::V4 => {
            let mut header = Ipv4::new(1);
            std::mem::swap(&mut header.source, &mut header.destination);
            frames::ethernet(IPV4, &header.packet(&message))
        }
        Family::V6 => frames::ethernet(IPV6, &frames::ipv6(58, (9, 1), &message)),
    }
}

#[test]
fn an_error_is_told_of_the_flow_that_it_quotes() {
    for (family, kind, code, text) in [
        (Family::V4, 3, 3, "port unreachable"),
        (Family::V4, 3, 1, "host unreachable"),
        (Family::V4, 3, 4, "fragmentation needed"),
        (Family::V4, 11, 0, "time exceeded"),
        (Family::V4, 12, 0, "parameter problem"),
        (Family::V6, 1, 4, "port unreachable"),
        (Family::V6, 1, 0, "network unreachable"),
        (Family::V6, 2, 0, "packet too big"),
        (Family::V6, 3, 0, "time exceeded"),
        (Family::V6, 4, 1, "parameter problem"),
    ] {
        for about in [Udp(b"hello"), Tcp(SYN)] {
            let frames = [
                (START_US, frame(family, Client, about)),
                (START_US + 1_000, error(family, kind, code, about)),
            ];
            let flows = flows("error", &frames);
            let of = |port: u16| {
                let is_it = |flow: &&Value| flow["destination.port"] == port;
                flows.iter().find(is_it).expect("a flow")
            };
            assert_eq!(of(SERVER_PORT)["icmp.error"], text, "{flows:#?}");
            let own = u16::from(kind) << 8 | u16::from(code);
            assert_eq!(of(own)["icmp.error"], Value::Null, "{flows:#?}");
        }
    }
}
