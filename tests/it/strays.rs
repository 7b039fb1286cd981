//! Floods of packets that belong to no conversation, named by what they are, and what looks like them.

use sensor_tests::frames::gre;
use sensor_tests::frames::ipv4::{self, FIN_ACK, Ip, RST_ACK};

use crate::content::{Frame, START_US};
use crate::replay::{capture, replay};
use crate::shapes::{MS, S, port, scattered, session, tcp};

const SOURCE: Ip = [203, 0, 113, 9];
const SERVER: Ip = [192, 0, 2, 1];
const FIN: u8 = 0x01;
const RST: u8 = 0x04;

/// Families and severities of the incidents of a capture.
fn incidents(name: &str, mut frames: Vec<Frame>) -> Vec<(String, String)> {
    frames.sort_by_key(|(at_us, _)| *at_us);
    let output = replay(&[&capture(&format!("stray-{name}"), &frames)]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    let records = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut found: Vec<(String, String)> = records
        .filter(|record: &serde_json::Value| record["kind"] == "incident")
        // What the models add beside is not asked about.
        .filter(|record| record["incident.family"] != "behaviour_anomaly")
        .map(|record| {
            let word = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            (word("incident.family"), word("severity"))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// `n` packets, `gap_us` apart.
fn each(n: u64, gap_us: u64, packet: impl Fn(u64) -> Vec<u8>) -> Vec<Frame> {
    (0..n).map(|i| (START_US + i * gap_us, packet(i))).collect()
}

/// Errors of a host that knows no such protocol, one a second.
fn unreachable(of: &[Frame], code: u8) -> Vec<Frame> {
    let mut said_us = 0;
    let mut errors = Vec::new();
    for (at_us, frame) in of {
        if at_us.saturating_sub(said_us) >= S {
            said_us = *at_us;
            let quote = &frame[14..frame.len().min(14 + 28)];
            let message = [&[3, code, 0, 0, 0, 0, 0, 0], quote].concat();
            let source = [frame[26], frame[27], frame[28], frame[29]];
            errors.push((at_us + 50, ipv4::packet(1, SERVER, source, &message)));
        }
    }
    errors
}

/// A packet of an IP protocol with a payload that differs.
fn raw(protocol: u8, from: Ip, n: u64) -> Vec<u8> {
    let bytes = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let payload = match protocol {
        // GRE of an EtherType that nobody knows.
        47 => [&[0, 0, 0, 0], bytes.as_slice()].concat(),
        132 => {
            let port = port(n).to_be_bytes();
            [&port, [19, 196].as_slice(), &bytes, &bytes].concat()
        }
        _ => bytes.repeat(8),
    };
    ipv4::packet(protocol, from, SERVER, &payload)
}

#[track_caller]
fn is_found_as(name: &str, frames: Vec<Frame>, family: &str) {
    let found = incidents(name, frames);
    let families: Vec<&str> = found.iter().map(|(family, _)| family.as_str()).collect();
    assert_eq!(families.first(), Some(&family), "{name}: {found:?}");
    assert!(
        families.iter().all(|other| *other == family),
        "{name}: {found:?}"
    );
}

#[test]
fn floods_of_one_source_are_named_by_their_packets() {
    let server = (SERVER, 80);
    let reset = |i| tcp((SOURCE, port(i)), server, RST, 0, 0);
    is_found_as("reset", each(1_000, 20 * MS, reset), "rst_flood");
    let fin = |i| tcp((SOURCE, port(i)), server, FIN, 0, 0);
    is_found_as("fin", each(1_000, 20 * MS, fin), "fin_flood");
    for (protocol, family) in [
        (2, "igmp_flood"),
        (47, "gre_flood"),
        (50, "esp_flood"),
        (103, "protocol_flood"),
        (132, "sctp_flood"),
    ] {
        // IGMP comes in bursts anyway.
        let gap_us = if protocol == 2 { 4 * MS } else { 20 * MS };
        for refuses in [false, true] {
            let mut frames = each(1_000, gap_us, |i| raw(protocol, SOURCE, i));
            if refuses {
                frames.extend(unreachable(&frames, 2));
            }
            let name = format!("{protocol}-{refuses}");
            is_found_as(&name, frames, family);
        }
    }
}

#[test]
fn floods_of_many_sources_are_found_below_every_limit_of_one() {
    let server = (SERVER, 80);
    // Two hundred sources, a packet in four seconds each.
    let from = |i: u64| scattered(i % 200);
    let reset = |i| tcp((from(i), port(i)), server, RST, 0, 0);
    is_found_as("resets", each(2_000, 20 * MS, reset), "rst_flood");
    let fin = |i| tcp((from(i), port(i)), server, FIN_ACK, 0, 0);
    is_found_as("fins", each(2_000, 20 * MS, fin), "fin_flood");
    for (protocol, family) in [(50, "esp_flood"), (132, "sctp_flood"), (47, "gre_flood")] {
        let mut frames = each(2_000, 20 * MS, |i| raw(protocol, from(i), i));
        frames.extend(unreachable(&frames, 2));
        is_found_as(&format!("{protocol}-many"), frames, family);
    }
}

#[test]
fn a_flood_above_all_limits_has_one_name() {
    for (protocol, family) in [(50, "esp_flood"), (132, "sctp_flood")] {
        let frames = each(30_000, 100, |i| raw(protocol, scattered(i % 5_000), i));
        is_found_as(&format!("{protocol}-strong"), frames, family);
    }
}

#[track_caller]
fn is_at_most_low(name: &str, frames: Vec<Frame>) {
    let found = incidents(name, frames);
    let is_low = |(_, severity): &(String, String)| severity == "low";
    assert!(found.iter().all(is_low), "{name}: {found:?}");
}

#[test]
fn tunnels_and_associations_that_are_answered_raise_nothing() {
    for protocol in [47, 50, 89, 115] {
        let asked = each(20_000, 200, |i| raw(protocol, SOURCE, i));
        let answer = |(at_us, _): &Frame| {
            let back = ipv4::packet(protocol, SERVER, SOURCE, &[7; 40]);
            (at_us + 9 * MS, back)
        };
        let mut frames = asked.clone();
        frames.extend(asked.iter().step_by(3).map(answer));
        assert_eq!(incidents(&format!("{protocol}-tunnel"), frames), []);
    }
    let chunk = |from: (Ip, u16), to: (Ip, u16)| {
        let ports = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
        ipv4::packet(132, from.0, to.0, &[ports, vec![5; 1_200]].concat())
    };
    let (client, server) = ((SOURCE, 40_000), (SERVER, 5_201));
    let mut frames = each(20_000, 200, |_| chunk(client, server));
    let acknowledged = each(10_000, 400, |_| chunk(server, client));
    frames.extend(
        acknowledged
            .into_iter()
            .map(|(at_us, frame)| (at_us + 100, frame)),
    );
    assert_eq!(incidents("sctp-transfer", frames), []);
}

#[test]
fn packets_that_go_one_way_by_their_nature_stay_low_at_most() {
    // The answers go another way.
    is_at_most_low("esp-half", each(40_000, 200, |i| raw(50, SOURCE, i)));
    // Each packet carries one, to a peer that is away.
    let inner = |i: u64| {
        let inner = ipv4::udp(
            ([10, 1, 0, 5], 40_000),
            ([10, 2, 0, 5], 514),
            &i.to_be_bytes(),
        );
        ipv4::packet(47, SOURCE, SERVER, &gre(0, 0x0800, &inner[14..]))
    };
    is_at_most_low("gre-carries", each(10_000, 500, inner));
    // Groups: video, routing, membership of forty hosts that were asked.
    let group = [224, 0, 0, 22];
    let report = |i: u64| ipv4::packet(2, [10, 0, 0, (i % 40) as u8 + 1], group, &[0x22; 16]);
    is_at_most_low("membership", each(400, 10 * MS, report));
    let hello = |_| ipv4::packet(89, SOURCE, [224, 0, 0, 5], &[2; 44]);
    is_at_most_low("routing", each(2_000, 5 * MS, hello));
}

#[test]
fn backscatter_and_late_segments_stay_low_at_most() {
    // A service answers thousands that somebody made up, of which some are ours.
    let answer = |i| tcp((SOURCE, 443), (SERVER, port(i * 7)), RST_ACK, 0, 0);
    is_at_most_low("backscatter", each(4_000, 5 * MS, answer));
    // A balancer resets and closes four hundred connections that idled for a minute.
    let mut frames = Vec::new();
    for i in 0..400u64 {
        let (client, server) = ((SOURCE, port(i)), (SERVER, 8_080));
        frames.extend(session(START_US + i * 20 * MS, client, server, false));
        let end_us = START_US + 70 * S + i * 100;
        frames.push((end_us, tcp(client, server, RST_ACK, 0, 0)));
    }
    is_at_most_low("balancer", frames);
}
