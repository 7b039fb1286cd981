//! Golden replays of IPv6 neighbour discovery: claims of addresses and routers.

use std::net::Ipv6Addr;

use crate::content::{Frame, START_US, found};
use crate::replay::{capture, families, replay};

const S: u64 = 1_000_000;

type Mac = [u8; 6];

/// A station: its link-layer address and the IPv6 address that goes with it.
#[derive(Clone, Copy)]
struct Station(Mac, Ipv6Addr);

const fn station(n: u8) -> Station {
    Station(
        [2, 0, 0, 0, 0, n],
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, n as u16),
    )
}

const ROUTER: Station = station(1);
const HOST: Station = station(7);
const ATTACKER: Station = station(66);
const ALL_NODES: Station = Station(
    [0x33, 0x33, 0, 0, 0, 1],
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
);

/// An ICMPv6 message between stations; `hop_limit` 255 is what has not been forwarded.
fn icmpv6(from: Station, to: Station, message: &[u8], hop_limit: u8) -> Vec<u8> {
    let mut frame = [to.0, from.0].concat();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend((message.len() as u16).to_be_bytes());
    frame.extend([58, hop_limit]);
    frame.extend(from.1.octets());
    frame.extend(to.1.octets());
    frame.extend(message);
    frame
}

fn solicitation(from: Station, target: Station) -> Vec<u8> {
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.1.octets());
    message.extend([1, 1]);
    message.extend(from.0);
    let [.., a, b, c] = target.1.octets();
    let group = Station(
        [0x33, 0x33, 0xff, a, b, c],
        Ipv6Addr::new(
            0xff02,
            0,
            0,
            0,
            0,
            1,
            0xff00 | u16::from(a),
            u16::from_be_bytes([b, c]),
        ),
    );
    icmpv6(from, group, &message, 255)
}

/// `mac` says to `to` that it has the address of `claimed`; flags 0x60: asked for, overriding.
fn advertisement(mac: Mac, claimed: Station, to: Station, flags: u8) -> Vec<u8> {
    let mut message = vec![136, 0, 0, 0, flags, 0, 0, 0];
    message.extend(claimed.1.octets());
    message.extend([2, 1]);
    message.extend(mac);
    icmpv6(Station(mac, claimed.1), to, &message, 255)
}

fn router(from: Station, flags: u8, hop_limit: u8) -> Vec<u8> {
    let mut message = vec![134, 0, 0, 0, 64, flags, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    message.extend(from.0);
    icmpv6(from, ALL_NODES, &message, hop_limit)
}

/// A host looks its router up, now and then, and is answered.
fn lookups(n: u64) -> Vec<Frame> {
    (0..n)
        .flat_map(|i| {
            let at_us = START_US + i * 30 * S;
            [
                (at_us, solicitation(HOST, ROUTER)),
                (at_us + 400, advertisement(ROUTER.0, ROUTER, HOST, 0xe0)),
            ]
        })
        .collect()
}

#[test]
fn neighbour_spoofing_is_found_by_what_it_takes_over() {
    let mut frames = lookups(1);
    for round in 0..5 {
        let at_us = START_US + (10 + round) * S;
        frames.push((at_us, advertisement(ATTACKER.0, ROUTER, HOST, 0x20)));
        frames.push((at_us + 300, advertisement(ATTACKER.0, HOST, ROUTER, 0x20)));
    }
    let path = capture("nd-spoof", &frames);
    let output = replay(&[&path]);
    assert_eq!(families(&output), ["nd_spoof"]);
    let text = String::from_utf8_lossy(&output.stdout);
    for part in [
        r#""source.mac":"02-00-00-00-00-42""#,
        r#""destination.mac":"02-00-00-00-00-"#,
        r#""detectors":["nd_spoof"]"#,
        r#""severity":"high""#,
        "fe80::ff:fe00:1",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains(r#""kind":"decision""#), "{text}");
}

#[test]
fn an_attacker_who_answers_in_place_of_the_owner_is_found() {
    let mut frames = Vec::new();
    for round in 0..5 {
        let at_us = START_US + round * 5 * S;
        frames.push((at_us, solicitation(HOST, ROUTER)));
        frames.push((at_us + 400, advertisement(ROUTER.0, ROUTER, HOST, 0xe0)));
        frames.push((at_us + 500, advertisement(ATTACKER.0, ROUTER, HOST, 0x60)));
    }
    // Both sides of the quarrel are named: which of them is right can't be told.
    assert_eq!(found("nd-answers", &frames), ["nd_spoof", "nd_spoof"]);
}

#[test]
fn ordinary_neighbour_discovery_is_silent() {
    let mut frames = lookups(120);
    let others = [station(20), station(21)];
    for round in 0..120 {
        let at_us = START_US + round * 30 * S;
        // A proxy answers for a host that sleeps, and does not override.
        frames.push((at_us + 1_000, solicitation(HOST, others[0])));
        let by_proxy = advertisement(ROUTER.0, others[0], HOST, 0x40);
        frames.push((at_us + 1_300, by_proxy));
        frames.push((at_us + S, solicitation(others[0], HOST)));
        frames.push((
            at_us + S + 300,
            advertisement(HOST.0, HOST, others[0], 0x60),
        ));
        frames.push((at_us + 2 * S, router(ROUTER, 0, 255)));
    }
    // A service moves to another machine, which tells everybody five times.
    for n in 0..5 {
        let at_us = START_US + 1_000 * S + n * S / 5;
        let owner = if n == 0 { HOST.0 } else { [2, 0, 0, 0, 0, 9] };
        let address = Station(owner, others[1].1);
        frames.push((at_us, advertisement(owner, address, ALL_NODES, 0x20)));
    }
    // What was forwarded is no neighbour's word.
    frames.push((START_US + 3_500 * S, router(ATTACKER, 0x08, 64)));
    frames.sort_by_key(|(at_us, _)| *at_us);
    assert_eq!(found("nd-ordinary", &frames), [] as [&str; 0]);
}

#[test]
fn a_new_router_beside_a_known_one_is_told_and_graver_where_it_wants_to_be_preferred() {
    for (flags, severity) in [(0, "low"), (0x08, "medium")] {
        let mut frames: Vec<Frame> = (0..20)
            .map(|i| (START_US + i * 200 * S, router(ROUTER, 0, 255)))
            .collect();
        frames.push((START_US + 3_850 * S, router(ATTACKER, flags, 255)));
        let path = capture("nd-router", &frames);
        let output = replay(&[&path]);
        assert_eq!(families(&output), ["rogue_router"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let expected = format!(r#""severity":"{severity}""#);
        assert!(text.contains(&expected), "{expected} in {text}");
    }
}

#[test]
fn a_flood_of_routers_is_one_incident() {
    let mut frames = lookups(1);
    for n in 0..2_000u64 {
        let [.., high, low] = n.to_be_bytes();
        let forged = Station(
            [2, 0, 0, 1, high, low],
            Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, n as u16),
        );
        frames.push((START_US + S + n * 5_000, router(forged, 0x08, 255)));
    }
    assert_eq!(found("nd-flood", &frames), ["rogue_router"]);
}
