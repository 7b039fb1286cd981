use super::*;
use crate::is_v4;

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![
        0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    let total = (20 + payload.len()) as u16;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header.extend(payload);
    header
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0, 0, 0, next, 61];
    header.extend([0xfd; 16]);
    header.extend([0xfe; 16]);
    header.extend(payload);
    header
}

fn tcp(flags: u8) -> Vec<u8> {
    vec![
        0x12, 0x34, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0,
    ]
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x12, 0x34];
    datagram.extend(port.to_be_bytes());
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

fn check(frame: &[u8]) -> (Outcome, Packet) {
    let mut packet = Packet::default();
    parse(frame, Decapsulate::ALL, &mut packet);
    (Outcome::ALL[packet.outcome as usize], packet)
}

#[test]
fn reads_tcp_over_ipv4_behind_two_vlan_tags() {
    let mut tagged = vec![0, 5, 0x81, 0x00, 0, 6, 0x08, 0x00];
    tagged.extend(ipv4(6, &tcp(tcp_flags::SYN)));
    let (outcome, packet) = check(&ethernet(0x88a8, &tagged));
    assert_eq!(outcome, Outcome::Tcp);
    assert!(is_v4(&packet.source));
    assert_eq!(
        (packet.vlan, packet.source_port, packet.destination_port),
        (5, 0x1234, 80)
    );
    assert_eq!(
        (packet.tcp_flags, packet.tcp_window, packet.ttl),
        (tcp_flags::SYN, 0x2000, 64)
    );
}

#[test]
fn walks_ipv6_extensions() {
    let mut chain = vec![60, 0, 0, 0, 0, 0, 0, 0]; // hop-by-hop, then destination options
    chain.extend([44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // 16 bytes, then fragment
    chain.extend([17, 0, 0, 1, 0, 0, 0, 9]); // first fragment, more to come
    chain.extend(udp(53, b"x"));
    let (outcome, packet) = check(&ethernet(0x86dd, &ipv6(0, &chain)));
    assert_eq!(outcome, Outcome::Udp);
    assert_eq!(
        (packet.protocol, packet.is_fragment, packet.destination_port),
        (17, 1, 53)
    );
}

#[test]
fn refuses_an_endless_extension_chain() {
    let chain = [[60, 0, 0, 0, 0, 0, 0, 0]; 9].concat();
    let (outcome, _) = check(&ethernet(0x86dd, &ipv6(0, &chain)));
    assert_eq!(outcome, Outcome::Ipv6TooManyExtensions);
}

#[test]
fn steps_into_each_tunnel() {
    let inside = ipv4(6, &tcp(tcp_flags::ACK));
    let mut vxlan = vec![8, 0, 0, 0, 0, 0, 1, 0];
    vxlan.extend(ethernet(0x0800, &inside));
    let mut geneve = vec![0, 0, 0x65, 0x58, 0, 0, 1, 0];
    geneve.extend(ethernet(0x0800, &inside));
    let mut gre = vec![0x20, 0, 0x08, 0x00, 0, 0, 0, 7];
    gre.extend(&inside);
    let outers = [
        ipv4(protocol::IPIP, &inside),
        ipv4(protocol::GRE, &gre),
        ipv4(protocol::UDP, &udp(4789, &vxlan)),
        ipv4(protocol::UDP, &udp(6081, &geneve)),
    ];
    for outer in outers {
        let (outcome, packet) = check(&ethernet(0x0800, &outer));
        assert_eq!(outcome, Outcome::Tcp);
        assert_eq!((packet.n_tunnels, packet.destination_port), (1, 80));
    }
}

#[test]
fn names_each_malformed_case() {
    let mut short_options = ipv4(6, &tcp(0));
    short_options[0] = 0x43;
    let mut bad_total = ipv4(6, &tcp(0));
    bad_total[2..4].copy_from_slice(&[0, 10]);
    let mut bad_offset = tcp(0);
    bad_offset[12] = 0x40;
    let mut bad_udp = udp(1, b"");
    bad_udp[5] = 7;
    let cases = [
        (vec![0; 13], Outcome::EthernetTruncated),
        (ethernet(0x8100, &[0]), Outcome::VlanTruncated),
        (
            ethernet(0x8100, &[0, 1, 0x81, 0, 0, 1, 0x81, 0, 0, 1, 8, 0]),
            Outcome::VlanTooDeep,
        ),
        (ethernet(0x0806, &[0; 20]), Outcome::ArpTruncated),
        (ethernet(0x0800, &[0x45; 19]), Outcome::Ipv4Truncated),
        (ethernet(0x0800, &[0x65; 20]), Outcome::Ipv4BadVersion),
        (
            ethernet(0x0800, &short_options),
            Outcome::Ipv4BadHeaderLength,
        ),
        (ethernet(0x0800, &bad_total), Outcome::Ipv4BadTotalLength),
        (ethernet(0x86dd, &[0x60; 39]), Outcome::Ipv6Truncated),
        (ethernet(0x86dd, &[0x45; 40]), Outcome::Ipv6BadVersion),
        (
            ethernet(0x86dd, &ipv6(0, &[6])),
            Outcome::Ipv6ExtensionTruncated,
        ),
        (ethernet(0x0800, &ipv4(6, &[0; 19])), Outcome::TcpTruncated),
        (
            ethernet(0x0800, &ipv4(6, &bad_offset)),
            Outcome::TcpBadDataOffset,
        ),
        (ethernet(0x0800, &ipv4(17, &[0; 5])), Outcome::UdpTruncated),
        (ethernet(0x0800, &ipv4(17, &bad_udp)), Outcome::UdpBadLength),
        (ethernet(0x0800, &ipv4(1, &[8])), Outcome::IcmpTruncated),
        (ethernet(0x0800, &ipv4(132, &[8])), Outcome::SctpTruncated),
        (
            ethernet(0x0800, &ipv4(47, &[0, 0])),
            Outcome::TunnelTruncated,
        ),
    ];
    for (frame, expected) in cases {
        assert_eq!(check(&frame).0, expected);
        assert!(expected.is_malformed());
    }
}

#[test]
fn survives_every_truncation() {
    let mut vxlan = vec![8, 0, 0, 0, 0, 0, 1, 0];
    vxlan.extend(ethernet(0x86dd, &ipv6(0, &[6, 0, 0, 0, 0, 0, 0, 0])));
    let whole = ethernet(0x0800, &ipv4(17, &udp(4789, &vxlan)));
    for length in 0..whole.len() {
        let (outcome, _) = check(&whole[..length]);
        assert!(outcome.is_malformed(), "{length}: {outcome:?}");
    }
}

/// Frames that the straight way reads, the full way reads alike, whatever byte is changed and
/// wherever the frame ends.
#[test]
fn both_ways_read_the_same() {
    let transports = [
        (6, tcp(tcp_flags::ACK)),
        (17, udp(53, b"x")),
        (1, vec![8, 0, 0, 0]),
    ];
    let mut n_plain = 0;
    for (protocol, segment) in transports {
        for whole in [
            ethernet(0x0800, &ipv4(protocol, &segment)),
            ethernet(0x86dd, &ipv6(protocol, &segment)),
        ] {
            for at in 0..whole.len() {
                for value in 0..=255u8 {
                    let mut frame = whole.clone();
                    frame[at] = value;
                    n_plain += agree(&frame);
                }
                n_plain += agree(&whole[..at]);
            }
        }
    }
    assert!(n_plain > 10_000);
}

/// 1 where the straight way read the frame.
fn agree(frame: &[u8]) -> u32 {
    let (mut straight, mut full) = (Packet::default(), Packet::default());
    if !plain::read(frame, &mut straight) {
        return 0;
    }
    parse_any(frame, Decapsulate::ALL, &mut full);
    assert_eq!(straight, full, "{frame:02x?}");
    1
}

#[test]
fn invariants_hold_on_whole_and_broken_frames() {
    let segment = tcp(tcp_flags::SYN);
    let v4 = ethernet(0x0800, &ipv4(6, &segment));
    let v6 = ethernet(0x86dd, &ipv6(6, &segment));
    let mut vxlan = vec![8, 0, 0, 0, 0, 0, 1, 0];
    vxlan.extend(&v6);
    let tunnel = ethernet(0x0800, &ipv4(17, &udp(4789, &vxlan)));
    for frame in [v4, v6, tunnel] {
        for at in 0..frame.len() {
            for byte in [0, 4, 17, 44, 0x60, 0xff] {
                let mut changed = frame.clone();
                changed[at] = byte;
                invariants::check(&changed);
            }
        }
    }
}
