//! IP fragments: scans, floods and evasions in pieces are found, and what networks divide is not.

use sensor_tests::frames::ipv4::{self, Ip, RST_ACK, SYN, SYN_ACK, fragment, fragments};
use sensor_tests::frames::{self, ethernet, extension};

use crate::content::{Frame, START_US};
use crate::replay::{capture, families, replay};
use crate::shapes::{MS, port, scattered, tcp, udp};

const ATTACKER: Ip = [198, 51, 100, 7];
const SERVER: Ip = [192, 0, 2, 1];
const CLIENT: Ip = [192, 0, 2, 9];

/// Families of the incidents opened, and whether anything was decided.
fn found(name: &str, mut frames: Vec<Frame>) -> (Vec<String>, bool) {
    frames.sort_by_key(|(at_us, _)| *at_us);
    let output = replay(&[&capture(&format!("fragments-{name}"), &frames)]);
    assert!(output.status.success(), "{name}");
    let mut families = families(&output);
    families.sort();
    families.dedup();
    let text = String::from_utf8_lossy(&output.stdout);
    (families, text.contains(r#""kind":"decision""#))
}

#[track_caller]
fn is_silent(name: &str, frames: Vec<Frame>) {
    assert_eq!(found(name, frames), (vec![], false), "{name}");
}

/// A packet divided, sent at one time.
fn divided(at_us: u64, packet: &[u8], identification: u64, n_bytes: usize) -> Vec<Frame> {
    let parts = fragments(packet, identification as u16, n_bytes);
    parts.into_iter().map(|part| (at_us, part)).collect()
}

/// SYNs of 24 bytes, as nmap sends them, in fragments of `n_bytes`.
fn divided_syn(at_us: u64, from: (Ip, u16), to: (Ip, u16), n: u64, n_bytes: usize) -> Vec<Frame> {
    divided(at_us, &tcp(from, to, SYN, 4, 0), n, n_bytes)
}

#[test]
fn scans_in_divided_syns_are_scans_whether_they_are_answered_or_not() {
    for n_bytes in [8, 16] {
        for is_answered in [true, false] {
            for gap_us in [2 * MS, 100 * MS] {
                let probes = (1..=120u16).flat_map(|to| {
                    let at_us = START_US + u64::from(to) * gap_us;
                    let ends = ((ATTACKER, 50_000), (SERVER, to));
                    let mut frames = divided_syn(at_us, ends.0, ends.1, u64::from(to), n_bytes);
                    if is_answered {
                        let flags = if to == 80 { SYN_ACK } else { RST_ACK };
                        frames.push((at_us + 200, tcp(ends.1, ends.0, flags, 0, 0)));
                    }
                    frames
                });
                let name = format!("scan-{n_bytes}-{is_answered}-{gap_us}");
                let (families, _) = found(&name, probes.collect());
                assert_eq!(families, ["crafted_fragments", "port_scan"], "{name}");
            }
        }
    }
}

#[test]
fn floods_of_divided_syns_are_floods() {
    for n_bytes in [8, 16] {
        for is_spoofed in [true, false] {
            let syns = (0..4_500u64).flat_map(|i| {
                let from = if is_spoofed { scattered(i) } else { ATTACKER };
                let at_us = START_US + i * 1_111;
                divided_syn(at_us, (from, port(i * 7)), (SERVER, 80), i, n_bytes)
            });
            let name = format!("flood-{n_bytes}-{is_spoofed}");
            let (families, _) = found(&name, syns.collect());
            assert!(families.contains(&"syn_flood".to_owned()), "{families:?}");
            assert!(!families.contains(&"port_scan".to_owned()), "{families:?}");
        }
    }
}

/// One fragment of each kind that hides a header, and the rest never comes.
#[test]
fn first_fragments_alone_are_found_by_their_sender() {
    let firsts = (0..40u64).map(|i| {
        let syn = tcp((ATTACKER, port(i)), (SERVER, 80), SYN, 0, 0);
        let parts = fragments(&syn, i as u16, 8);
        (START_US + i * 200 * MS, parts[0].clone())
    });
    let (families, _) = found("firsts", firsts.collect());
    assert!(
        families.contains(&"crafted_fragments".to_owned()),
        "{families:?}"
    );
}

/// A second fragment that writes over the TCP header of the first (RFC 3128), and one that ends within
/// the first, as "teardrop" sent.
#[test]
fn overlapping_fragments_are_found_and_nothing_is_done_about_their_sender() {
    let overlap = |from: usize, n_bytes: usize| -> Vec<Frame> {
        let whole = udp((ATTACKER, 4_000), (SERVER, 9_999), 1_192);
        let (headers, payload) = whole.split_at(34);
        let pair = |i: u64| {
            let at_us = START_US + i * 500 * MS;
            let first = fragment(headers, i as u16, 0, &payload[..800], true);
            let second = &payload[from..from + n_bytes];
            let second = fragment(headers, i as u16, from, second, false);
            [(at_us, first), (at_us + 300, second)]
        };
        (0..30u64).flat_map(pair).collect()
    };
    let crafted = (vec!["crafted_fragments".to_owned()], false);
    assert_eq!(found("over", overlap(400, 800)), crafted);
    assert_eq!(found("teardrop", overlap(24, 4)), crafted);
    is_silent("fitting", overlap(800, 400));
}

#[test]
fn overlapping_ipv6_fragments_are_found() {
    let datagram = frames::udp((4_000, 9_999), &[0; 1_592]);
    let part = |i: u64, from: usize, to: usize| {
        let has_more = u16::from(to < datagram.len());
        let mut header = vec![17, 0];
        header.extend((from as u16 | has_more).to_be_bytes());
        header.extend((i as u32).to_be_bytes());
        header.extend(&datagram[from..to]);
        ethernet(0x86dd, &frames::ipv6(44, (7, 1), &header))
    };
    let pairs = |begins: usize| -> Vec<Frame> {
        let pair = |i: u64| {
            let at_us = START_US + i * 400 * MS;
            let rest = part(i, begins, datagram.len());
            [(at_us, part(i, 0, 1_232)), (at_us + 200, rest)]
        };
        (0..30).flat_map(pair).collect()
    };
    assert_eq!(found("v6-over", pairs(1_200)).0, ["crafted_fragments"]);
    is_silent("v6-fitting", pairs(1_232));
    // A whole datagram behind a fragment header (RFC 6946), again and again.
    let mut atomic = vec![17, 0, 0, 0, 0, 0, 0, 7];
    atomic.extend(&frames::udp((4_000, 53), &[0; 40]));
    let frame = ethernet(0x86dd, &frames::ipv6(44, (7, 1), &atomic));
    let atomics = (0..60).map(|i| (START_US + i * 100 * MS, frame.clone()));
    is_silent("v6-atomic", atomics.collect());
    // Fragments behind other extension headers are read, too.
    let behind = ethernet(
        0x86dd,
        &frames::ipv6(60, (7, 1), &extension(44, 0, &atomic)),
    );
    is_silent("v6-behind", vec![(START_US, behind)]);
}

/// Files over NFS by UDP: 32 KiB a datagram, both ways, thousands of fragments a second; and again over
/// a link that takes 1,492 bytes, whose router leaves fragments of eight bytes.
#[test]
fn large_datagrams_that_routers_divide_again_raise_nothing() {
    for is_divided_again in [false, true] {
        let mut frames = Vec::new();
        for i in 0..300u64 {
            let at_us = START_US + i * 20 * MS;
            let (client, server) = ((CLIENT, 800), (SERVER, 2_049));
            frames.push((at_us, udp(client, server, 120)));
            let answer = fragments(&udp(server, client, 32_768), i as u16, 1_480);
            for (n, part) in answer.into_iter().enumerate() {
                let at_us = at_us + MS + n as u64 * 12;
                if is_divided_again {
                    frames.extend(again(&part).into_iter().map(|part| (at_us, part)));
                } else {
                    frames.push((at_us, part));
                }
            }
        }
        is_silent(&format!("nfs-{is_divided_again}"), frames);
    }
}

/// A fragment as a router sends it on to a link of 1,492 bytes (RFC 791 3.2).
fn again(part: &[u8]) -> Vec<Vec<u8>> {
    let (headers, payload) = part.split_at(34);
    let field = u16::from_be_bytes([headers[20], headers[21]]);
    let identification = u16::from_be_bytes([headers[18], headers[19]]);
    let (offset, has_more) = (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0);
    let n_parts = payload.chunks(1_472).count();
    let one = |(n, bytes): (usize, &[u8])| {
        let has_more = has_more || n + 1 < n_parts;
        fragment(headers, identification, offset + n * 1_472, bytes, has_more)
    };
    payload.chunks(1_472).enumerate().map(one).collect()
}

#[test]
fn divided_answers_of_name_servers_raise_nothing() {
    let answers = (0..400u64).flat_map(|i| {
        let at_us = START_US + i * 25 * MS;
        let (client, server) = ((CLIENT, port(i * 11)), ([203, 0, 113, 53], 53));
        let mut frames = vec![(at_us, udp(client, server, 50))];
        frames.extend(divided(
            at_us + 8 * MS,
            &udp(server, client, 3_600),
            i,
            1_480,
        ));
        frames
    });
    is_silent("dns", answers.collect());
}

/// Certificates in IKE messages, and what a gateway of a tunnel divides: a download by ESP, whose
/// fragments come one way and whose acknowledgements are small.
#[test]
fn divided_packets_of_private_networks_raise_nothing() {
    let mut frames = Vec::new();
    for i in 0..30u64 {
        let at_us = START_US + i * 300 * MS;
        let (client, gateway) = ((CLIENT, 4_500), (SERVER, 4_500));
        frames.extend(divided(at_us, &udp(client, gateway, 2_400), i, 1_480));
        frames.extend(divided(
            at_us + 9 * MS,
            &udp(gateway, client, 2_800),
            i,
            1_480,
        ));
    }
    is_silent("ike", frames);
    for carrier in [50, 47] {
        let mut frames = Vec::new();
        for i in 0..15_000u64 {
            let at_us = START_US + i * 300;
            let data = ipv4::packet(carrier, SERVER, CLIENT, &[7; 1_528]);
            frames.extend(divided(at_us, &data, i, 1_480));
            if i % 2 == 0 {
                frames.push((at_us + 150, ipv4::packet(carrier, CLIENT, SERVER, &[7; 80])));
            }
        }
        is_silent(&format!("tunnel-{carrier}"), frames);
    }
}

/// Identifications come round while fragments of other datagrams with them are still missing, and a
/// mirror shows fragments twice.
#[test]
fn identifications_that_come_round_and_copies_of_fragments_raise_nothing() {
    let mut frames = Vec::new();
    for i in 0..600u64 {
        let at_us = START_US + i * 10 * MS;
        let (from, to) = ((CLIENT, 5_000), (SERVER, 5_001));
        let n_bytes = [3_000, 4_000, 6_000, 8_000][(i % 4) as usize];
        let mut parts = fragments(&udp(from, to, n_bytes), i as u16 % 40, 1_480);
        if i % 50 == 7 {
            parts.pop();
        }
        for part in parts {
            frames.push((at_us, part.clone()));
            frames.push((at_us + 3, part));
        }
        frames.push((at_us + MS, udp(to, from, 40)));
    }
    is_silent("wrap", frames);
}
