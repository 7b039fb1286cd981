//! Golden replays of what samples of packets show: each detector fires on its behaviour and stays
//! silent on what looks like it.

use sensor_tests::frames::ipv4::{Ip, Mac, arp, udp};

use crate::replay::{capture, families, replay};

pub(crate) type Frame = (u64, Vec<u8>);
pub(crate) const START_US: u64 = 1_700_000_000_000_000;
const GATEWAY: (Mac, Ip) = ([2, 0, 0, 0, 0, 1], [192, 0, 2, 1]);
const VICTIM: (Mac, Ip) = ([2, 0, 0, 0, 0, 7], [192, 0, 2, 7]);
const ATTACKER: (Mac, Ip) = ([2, 0, 0, 0, 0, 66], [192, 0, 2, 66]);
const NOBODY: Mac = [0; 6];
const EVERYBODY: Mac = [0xff; 6];

fn ask(from: (Mac, Ip), whom: Ip) -> Vec<u8> {
    arp(1, from, (NOBODY, whom), EVERYBODY)
}

fn answer(from: (Mac, Ip), to: (Mac, Ip)) -> Vec<u8> {
    arp(2, from, to, to.0)
}

/// A question and its answer 20 ms later.
fn lookup(at_us: u64, port: u16, name: &str, record: u16, rcode: u8) -> [Frame; 2] {
    let message = |flags: [u8; 2]| {
        let mut bytes = vec![0x12, 0x34, flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend(record.to_be_bytes());
        bytes.extend([0, 1]);
        bytes
    };
    let (client, resolver) = (VICTIM.1, GATEWAY.1);
    let question = udp((client, port), (resolver, 53), &message([1, 0]));
    let answer = udp(
        (resolver, 53),
        (client, port),
        &message([0x81, 0x80 | rcode]),
    );
    [(at_us, question), (at_us + 20_000, answer)]
}

/// Families found in the frames.
pub(crate) fn found(name: &str, frames: &[Frame]) -> Vec<String> {
    let path = capture(name, frames);
    let output = replay(&[&path]);
    assert!(output.status.success());
    families(&output)
}

/// Letters that look like data.
fn noise(n: usize, mut state: u64) -> String {
    let mut letters = String::new();
    for _ in 0..n {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        letters.push(char::from(
            b"abcdefghijklmnopqrstuvwxyz012345"[(state >> 59) as usize],
        ));
    }
    letters
}

#[test]
fn arp_poisoning_is_found_by_taken_addresses() {
    let mut frames = vec![
        (START_US, ask(VICTIM, GATEWAY.1)),
        (START_US + 500, answer(GATEWAY, VICTIM)),
    ];
    for round in 0..5 {
        let at_us = START_US + 10_000_000 + round * 2_000_000;
        frames.push((at_us, answer((ATTACKER.0, GATEWAY.1), VICTIM)));
        frames.push((at_us + 300, answer((ATTACKER.0, VICTIM.1), GATEWAY)));
    }
    let path = capture("poison", &frames);
    let output = replay(&[&path]);
    assert_eq!(families(&output), ["arp_spoof"]);
    let text = String::from_utf8_lossy(&output.stdout);
    for part in [
        r#""source.mac":"02-00-00-00-00-42""#,
        r#""destination.mac":"02-00-00-00-00-"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn arp_poisoning_is_found_by_its_own_lookups() {
    let mut frames = vec![(START_US, ask(VICTIM, GATEWAY.1))];
    for round in 1..7 {
        let at_us = START_US + round * 4_000_000;
        frames.push((at_us, ask(ATTACKER, VICTIM.1)));
        frames.push((at_us + 50_000, ask(ATTACKER, GATEWAY.1)));
    }
    assert_eq!(found("rounds", &frames), ["arp_spoof"]);
}

#[test]
fn ordinary_arp_raises_nothing() {
    let mut frames = Vec::new();
    for round in 0..60 {
        let at_us = START_US + round * 30_000_000;
        frames.push((at_us, ask(VICTIM, GATEWAY.1)));
        frames.push((at_us + 400, answer(GATEWAY, VICTIM)));
        // Somebody who is gone is asked for every second.
        frames.push((at_us + 1_000_000, ask(GATEWAY, [192, 0, 2, 9])));
        frames.push((at_us + 2_000_000, ask(GATEWAY, [192, 0, 2, 9])));
        // An address is announced, and taken by another device much later.
        let owner = if round < 30 {
            ATTACKER.0
        } else {
            [2, 0, 0, 0, 0, 67]
        };
        frames.push((at_us + 3_000_000, ask((owner, ATTACKER.1), ATTACKER.1)));
    }
    assert_eq!(found("ordinary-arp", &frames), [] as [&str; 0]);
}

#[test]
fn arp_sweep_is_found() {
    let sweep = |host: u8| {
        (
            START_US + u64::from(host) * 10_000,
            ask(ATTACKER, [192, 0, 2, host]),
        )
    };
    let frames: Vec<Frame> = (1..=254).map(sweep).collect();
    assert_eq!(found("sweep", &frames), ["arp_sweep"]);
    // Answers of three hosts are a proof that the others are not there; the watched host's own is none.
    let is_low = |name: &str, n_answers: u8| {
        let answers = (1..=n_answers).map(|host| {
            let station = [2, 0, 0, 0, 1, host];
            let at_us = START_US + u64::from(host) * 10_000 + 500;
            (at_us, answer((station, [192, 0, 2, host]), ATTACKER))
        });
        let mut all: Vec<Frame> = frames.iter().cloned().chain(answers).collect();
        all.sort_by_key(|(at_us, _)| *at_us);
        let output = replay(&[&capture(name, &all)]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains(r#""severity":"low""#)
    };
    assert!(is_low("sweep-unseen", 1));
    assert!(!is_low("sweep-seen", 3));
}

#[test]
fn dns_tunnels_are_found_by_any_record_type() {
    for (record, length) in [(16, 20), (5, 20), (10, 20), (1, 40)] {
        let frames: Vec<Frame> = (0..120)
            .flat_map(|n| {
                let name = format!("{}.t.example.org", noise(length, n + 1));
                lookup(START_US + n * 400_000, 40_000, &name, record, 0)
            })
            .collect();
        assert_eq!(
            found("tunnel", &frames),
            ["dns_tunnel"],
            "record type {record}"
        );
    }
}

#[test]
fn benign_names_raise_nothing() {
    let names = |n: u64| {
        [
            (
                format!("{}.{}.1.2.zen.blocklist.example", n % 256, n % 199),
                1,
            ),
            (format!("{}.2.0.192.in-addr.arpa", n % 256), 12),
            (format!("{}{n}.com.br", noise(6, n + 1)), 1),
            (format!("d{}.cdn.example", noise(5, n % 40)), 1),
            (format!("host{n}.example.org"), 28),
            (
                format!("s{}._domainkey.{}.example", n % 3, noise(6, n + 1)),
                16,
            ),
        ]
    };
    let mut frames = Vec::new();
    for n in 0..300 {
        for (i, (name, record)) in names(n).into_iter().enumerate() {
            let at_us = START_US + n * 500_000 + i as u64 * 50_000;
            // One name in ten doesn't exist.
            let rcode = if n % 10 == 0 { 3 } else { 0 };
            frames.extend(lookup(at_us, 30_000 + n as u16, &name, record, rcode));
        }
    }
    assert_eq!(found("benign-names", &frames), [] as [&str; 0]);
}

/// Names of one zone, four a second; one in ten exists.
fn tries(of: impl Fn(u64) -> String) -> Vec<Frame> {
    let name = |n: u64| {
        (
            format!("{}.shop.example", of(n)),
            u8::from(!n.is_multiple_of(10)) * 3,
        )
    };
    (0..240)
        .flat_map(|n| {
            let (name, rcode) = name(n);
            lookup(START_US + n * 250_000, 30_000 + n as u16, &name, 1, rcode)
        })
        .collect()
}

#[test]
fn names_tried_from_a_list_are_found() {
    let frames = tries(|n| {
        format!(
            "{}{}",
            ["mail", "vpn", "test", "db", "web"][n as usize % 5],
            n / 5
        )
    });
    let output = replay(&[&capture("name-list", &frames)]);
    assert_eq!(families(&output), ["name_guessing"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("T1590.002") && text.contains("shop.example"),
        "{text}"
    );
    assert!(!text.contains(r#""kind":"decision""#), "{text}");
}

#[test]
fn names_of_a_search_list_and_hashes_are_no_list() {
    let searched = tries(|n| format!("www.{}.org", noise(6, n + 1)));
    assert_eq!(found("search-list", &searched), [] as [&str; 0]);
    // Hosts of the site, looked for in one domain after the other.
    let hosts: Vec<Frame> = (0..240)
        .flat_map(|n| {
            let zone = ["shop.example", "site.example", "corp.example"][n as usize % 3];
            let name = format!("{}.{zone}", noise(8, n / 3 + 1));
            lookup(START_US + n * 250_000, 30_000 + n as u16, &name, 1, 3)
        })
        .collect();
    assert_eq!(found("searched-hosts", &hosts), [] as [&str; 0]);
    let polled = tries(|n| format!("wpad{}", n % 6));
    assert_eq!(found("polled-names", &polled), [] as [&str; 0]);
}

#[test]
fn many_clients_that_ask_for_names_that_are_nowhere_flood_their_server() {
    let mut frames = Vec::new();
    for client in 1..=4u8 {
        let of = |n: u64| noise(12, n * 4 + u64::from(client));
        for (at_us, mut frame) in tries(of) {
            // Source or destination: whichever the client is.
            for at in [26, 30] {
                if frame[at..at + 4] == VICTIM.1 {
                    frame[at + 3] = 100 + client;
                }
            }
            frames.push((at_us + u64::from(client), frame));
        }
    }
    frames.sort_by_key(|(at_us, _)| *at_us);
    let output = replay(&[&capture("water-torture", &frames)]);
    assert_eq!(families(&output), ["request_flood"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains(r#""kind":"decision""#), "{text}");
}

#[test]
fn generated_names_without_answers_are_found() {
    let frames: Vec<Frame> = (0..60)
        .flat_map(|n| {
            let name = format!("{}.xyz", noise(12, n + 1));
            lookup(START_US + n * 500_000, 40_000 + n as u16, &name, 1, 3)
        })
        .collect();
    let path = capture("dga", &frames);
    let output = replay(&[&path]);
    assert_eq!(families(&output), ["behaviour_anomaly"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("T1568.002") && text.contains(r#""detectors":["dga"]"#),
        "{text}"
    );
}
