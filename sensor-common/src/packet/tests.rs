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
    parse(frame, &Decapsulate::ALL, &mut packet);
    (Outcome::ALL[packet.outcome as usize], packet)
}

/// The packet within, with its outcome.
fn check_inner(frame: &[u8]) -> Option<(Outcome, Packet)> {
    let (_, mut outer) = check(frame);
    let mut inner = Packet::default();
    parse_inner(frame, &mut outer, &mut inner);
    outer
        .carries_packet()
        .then_some((Outcome::ALL[inner.outcome as usize], inner))
}

/// A frame with such a second half of its header fields, from EtherType on.
fn linked(headers: &[&[u8]], packet: &[u8]) -> Vec<u8> {
    [&[0; 12], headers.concat().as_slice(), packet].concat()
}

#[test]
fn reads_tcp_over_ipv4_behind_two_vlan_tags() {
    let mut tagged = vec![0, 5, 0x81, 0x00, 0, 6, 0x08, 0x00];
    tagged.extend(ipv4(6, &tcp(tcp_flags::SYN)));
    let (outcome, packet) = check(&ethernet(0x88a8, &tagged));
    assert_eq!(outcome, Outcome::Tcp);
    assert!(is_v4(&packet.source));
    assert_eq!((packet.source_port, packet.destination_port), (0x1234, 80));
    assert_eq!(packet.realm, Realm::of_vlans(5, 6));
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

/// Faults of a packet are counted, and the rest of it is read.
#[test]
fn a_fault_hides_neither_addresses_nor_what_follows() {
    let chain = |n: u8| {
        let headers = (0..n).flat_map(|i| [if i + 1 == n { 6 } else { 60 }, 0, 0, 0, 0, 0, 0, 0]);
        let chain: Vec<u8> = headers.chain(tcp(tcp_flags::SYN)).collect();
        ethernet(0x86dd, &ipv6(60, &chain))
    };
    let mut bad_total = ipv4(6, &tcp(tcp_flags::SYN));
    bad_total[2..4].copy_from_slice(&[0, 10]);
    let mut bad_offset = tcp(tcp_flags::SYN);
    bad_offset[12] = 0x40;
    let tags: [&[u8]; 4] = [
        &[0x88, 0xa8, 0, 1],
        &[0x81, 0, 0, 2],
        &[0x81, 0, 0, 3],
        &[8, 0],
    ];
    let cases = [
        (chain(9), Outcome::Ipv6TooManyExtensions),
        (ethernet(0x0800, &bad_total), Outcome::Ipv4BadTotalLength),
        (
            ethernet(0x0800, &ipv4(6, &bad_offset)),
            Outcome::TcpBadDataOffset,
        ),
        (
            linked(&tags, &ipv4(6, &tcp(tcp_flags::SYN))),
            Outcome::VlanTooDeep,
        ),
        (
            ethernet(0x0800, &ipv4(6, &tcp(tcp_flags::SYN)[..16])),
            Outcome::TcpTruncated,
        ),
    ];
    for (frame, expected) in cases {
        let (outcome, packet) = check(&frame);
        assert_eq!(outcome, expected);
        assert!(outcome.is_malformed() && Outcome::has_flow(packet.outcome));
        assert_ne!(packet.source, [0; 4]);
        let read = (packet.destination_port, packet.tcp_flags);
        assert_eq!(read, (80, tcp_flags::SYN), "{outcome:?}");
        assert_eq!(packet.protocol, protocol::TCP);
    }
    let (outcome, packet) = check(&chain(40));
    assert_eq!(outcome, Outcome::Ipv6TooManyExtensions);
    assert!(Outcome::has_flow(packet.outcome));
}

#[test]
fn reads_through_link_headers() {
    let packet = ipv4(6, &tcp(tcp_flags::SYN));
    let cases: [(&[&[u8]], Realm); 9] = [
        (&[&[0x91, 0, 0, 5, 8, 0]], Realm::of_vlans(5, 0)),
        (
            &[&[0x81, 0, 0xe0, 0, 0x81, 0, 0, 7, 8, 0]],
            Realm::of_vlans(7, 0),
        ),
        // PPPoE session, behind a tag.
        (
            &[
                &[0x81, 0, 0, 9, 0x88, 0x64],
                &[0x11, 0, 0, 1, 0, 42, 0, 0x21],
            ],
            Realm::of_vlans(9, 0),
        ),
        // Two MPLS labels.
        (
            &[&[0x88, 0x47], &[0, 1, 0x40, 64, 0, 1, 0x51, 64]],
            Realm::default(),
        ),
        (
            &[
                &[0x88, 0x64],
                &[0x11, 0, 0, 1, 0, 42, 2, 0x81],
                &[0, 1, 1, 9],
            ],
            Realm::default(),
        ),
        // LLC and SNAP.
        (
            &[&[0, 48], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]],
            Realm::default(),
        ),
        // HSR.
        (&[&[0x89, 0x2f], &[0, 52, 0, 1, 8, 0]], Realm::default()),
        (
            &[&[0x92, 0, 0, 1], &[0x93, 0, 0, 2], &[8, 0]],
            Realm::of_vlans(1, 2),
        ),
        (&[&[8, 0]], Realm::default()),
    ];
    for (headers, realm) in cases {
        let (outcome, packet) = check(&linked(headers, &packet));
        assert_eq!(outcome, Outcome::Tcp, "{headers:02x?}");
        assert_eq!((packet.realm, packet.destination_port), (realm, 80));
    }
}

#[test]
fn counts_by_kind_what_is_not_read() {
    let packet = ipv4(6, &tcp(tcp_flags::SYN));
    let cases: [(&[u8], Outcome); 13] = [
        (
            &[0x88, 0x64, 0x11, 0, 0, 1, 0, 4, 0xc0, 0x21],
            Outcome::Pppoe,
        ),
        (&[0x88, 0x64, 0x11, 9, 0, 1, 0, 4, 0, 0x21], Outcome::Pppoe),
        (&[0x88, 0x63, 0x11, 9, 0, 0, 0, 0], Outcome::Pppoe),
        (&[0x88, 0x47, 0, 1, 1, 64, 0, 0, 0, 0], Outcome::Mpls),
        (&[0, 38, 0x42, 0x42, 3, 0, 0, 0, 0, 0], Outcome::Llc),
        (&[0x89, 0x26, 0, 1, 0, 2, 8, 0], Outcome::VnTag),
        (&[0xda, 0xda, 0, 0, 0x40, 0, 8, 0], Outcome::Dsa),
        (&[0xc0, 0x08, 0x10, 0, 8, 0], Outcome::Dsa),
        (&[0x00, 0x08, 0x10, 0, 8, 0], Outcome::Dsa),
        (&[0x88, 0xe5, 0x0c, 0, 0, 0, 0, 1], Outcome::Macsec),
        (&[0x88, 0xe7, 0, 0, 0, 1], Outcome::ProviderBackbone),
        (&[0x88, 0xcc, 2, 7, 4], Outcome::NotIp),
        (&[0xff, 0xff], Outcome::NotIp),
    ];
    for (headers, expected) in cases {
        let (outcome, packet) = check(&linked(&[headers], &packet));
        assert_eq!(outcome, expected, "{headers:02x?}");
        assert!(outcome.is_not_ip() && !outcome.is_malformed());
        assert!(!Outcome::has_flow(packet.outcome));
    }
}

fn ipv4_fragment(field: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(protocol, payload);
    packet[4..6].copy_from_slice(&[0x12, 0x34]);
    packet[6..8].copy_from_slice(&field.to_be_bytes());
    // Padding, as of the shortest Ethernet frame, that looks like control bits.
    packet.extend([tcp_flags::RST; 46]);
    ethernet(0x0800, &packet)
}

/// `nmap -f` divides the TCP header into parts of eight bytes, `-ff` of sixteen.
#[test]
fn reads_the_parts_of_a_divided_tcp_header() {
    let segment = tcp(tcp_flags::SYN);
    let first = check(&ipv4_fragment(0x2000, 6, &segment[..8]));
    assert_eq!(first.0, Outcome::BadFragment);
    assert_eq!((first.1.destination_port, first.1.tcp_flags), (80, 0));
    let second = check(&ipv4_fragment(0x2001, 6, &segment[8..16]));
    assert_eq!(second.0, Outcome::BadFragment);
    assert_eq!(
        (second.1.destination_port, second.1.tcp_flags),
        (0, tcp_flags::SYN)
    );
    let longer = check(&ipv4_fragment(0x2000, 6, &segment[..16]));
    assert_eq!(longer.0, Outcome::BadFragment);
    assert_eq!(
        (longer.1.destination_port, longer.1.tcp_flags),
        (80, tcp_flags::SYN)
    );
}

#[test]
fn tells_fragments_that_no_stack_sends() {
    let cases = [
        (0x2000, vec![7; 1480], Outcome::Udp, "the first"),
        (0x20b9, vec![7; 1480], Outcome::LaterFragment, "one between"),
        (0x0172, vec![7; 9], Outcome::LaterFragment, "the last"),
        (0x2000, vec![7; 248], Outcome::BadFragment, "tiny"),
        (0x20b9, vec![7; 8], Outcome::LaterFragment, "divided again"),
        (
            0x2000,
            vec![7; 1481],
            Outcome::BadFragment,
            "no multiple of 8",
        ),
        (0x1fff, vec![7; 9], Outcome::BadFragment, "beyond 65,535"),
    ];
    for (field, mut payload, expected, what) in cases {
        payload[4..6].copy_from_slice(&[8, 0]);
        let (outcome, packet) = check(&ipv4_fragment(field, 17, &payload));
        assert_eq!(outcome, expected, "{what}");
        assert_eq!((packet.is_fragment, packet.identification), (1, 0x1234));
    }
    // A snapshot length cuts the frame, not the fragment.
    let cut = ipv4_fragment(0x2000, 17, &[7; 1480]);
    assert_eq!(check(&cut[..60]).0, Outcome::Udp);
}

fn tunnels() -> Vec<Vec<u8>> {
    let inside = ipv4(6, &tcp(tcp_flags::ACK));
    let bridged = ethernet(0x0800, &inside);
    let mut vxlan = vec![8, 0, 0, 0, 0, 0, 7, 0];
    vxlan.extend(&bridged);
    let mut gpe = vec![0x0c, 0, 0, 1, 0, 0, 7, 0];
    gpe.extend(&inside);
    let mut geneve = vec![0, 0, 0x65, 0x58, 0, 0, 7, 0];
    geneve.extend(&bridged);
    let mut gre = vec![0x20, 0, 0x08, 0x00, 0, 0, 0, 7];
    gre.extend(&inside);
    [
        ipv4(protocol::IPIP, &inside),
        ipv4(protocol::GRE, &gre),
        ipv4(protocol::UDP, &udp(4789, &vxlan)),
        ipv4(protocol::UDP, &udp(8472, &vxlan)),
        ipv4(protocol::UDP, &udp(4790, &gpe)),
        ipv4(protocol::UDP, &udp(6081, &geneve)),
    ]
    .into_iter()
    .map(|outer| ethernet(0x0800, &outer))
    .collect()
}

#[test]
fn reads_the_packet_within_each_tunnel_and_the_one_around_it() {
    let kinds = [
        tunnel::kind::IP,
        tunnel::kind::GRE,
        tunnel::kind::VXLAN,
        tunnel::kind::VXLAN,
        tunnel::kind::VXLAN_GPE,
        tunnel::kind::GENEVE,
    ];
    for (frame, kind) in tunnels().iter().zip(kinds) {
        let (outcome, outer) = check(frame);
        assert!(Outcome::has_flow(outer.outcome) && outcome != Outcome::Tcp);
        assert!(!outer.realm.is_tunnelled());
        let (outcome, inner) = check_inner(frame).expect("a packet within");
        assert_eq!(outcome, Outcome::Tcp);
        let id = if kind == tunnel::kind::IP { 0 } else { 7 };
        assert_eq!(
            (inner.tunnel, inner.tunnel_id, inner.destination_port),
            (kind, id, 80)
        );
        assert!(inner.realm.is_tunnelled() && inner.realm.is_untrusted());
    }
}

/// Anybody may send anything to a tunnel's port: each bit that is fixed is looked at.
#[test]
fn takes_nothing_for_a_tunnel_that_is_none() {
    let headers: [(usize, &[(usize, u8)]); 6] = [
        // Version and header length of the inner packet.
        (34, &[(0, 0x55), (0, 0x44)]),
        // Routing, strict source route, recursion, reserved bits, version; a type that is no IP.
        (
            34,
            &[(0, 0x60), (0, 0x28), (0, 0x24), (1, 0x08), (1, 1), (2, 9)],
        ),
        (42, &[(0, 0), (0, 0x18), (0, 0x88), (1, 1), (3, 1), (7, 1)]),
        (42, &[(0, 0), (0, 0x0c)]),
        // Neither I nor P, another version, OAM.
        (42, &[(0, 0x04), (0, 0x1c), (0, 0x0d), (3, 4), (7, 1)]),
        (42, &[(0, 0x40), (1, 0x80), (1, 0x01), (2, 0x66), (7, 1)]),
    ];
    for (frame, (at, changes)) in tunnels().iter().zip(headers) {
        for (offset, byte) in changes {
            let mut frame = frame.clone();
            frame[at + offset] = *byte;
            let (_, outer) = check(&frame);
            assert!(Outcome::has_flow(outer.outcome), "the packet around it");
            assert!(outer.may_carry_packet());
            assert_eq!(check_inner(&frame), None, "{at} {offset} {byte:#x}");
        }
    }
    // An inner packet that claims to be longer than the packet around it.
    let mut frame = ethernet(0x0800, &ipv4(4, &ipv4(17, &udp(53, b""))));
    frame[34 + 3] = 200;
    assert_eq!(check_inner(&frame), None);
}

#[test]
fn ports_of_tunnels_are_found_among_lanes() {
    let ports = Ports::of(&[4789, 8472, 1, 65_535]);
    for port in [4789, 8472, 1, 65_535] {
        assert!(ports.has(port));
    }
    for port in [0, 2, 4788, 4790, 8471, 65_534, 0x8000] {
        assert!(!ports.has(port), "{port}");
    }
    assert!(Ports::of(&[4789, 8472]).has(0));
}

#[test]
fn names_each_malformed_case() {
    let mut short_options = ipv4(6, &tcp(0));
    short_options[0] = 0x43;
    let mut bad_udp = udp(1, b"");
    bad_udp[5] = 7;
    let nine_tags = [[0x81, 0, 0, 1]; 9].concat();
    let cases = [
        (vec![0; 13], Outcome::EthernetTruncated),
        (ethernet(0x8100, &[0]), Outcome::LinkTruncated),
        (ethernet(0x8847, &[0, 0, 1, 9]), Outcome::LinkTruncated),
        (ethernet(0x8864, &[0x11, 0]), Outcome::LinkTruncated),
        (ethernet(0x892f, &[0; 5]), Outcome::LinkTruncated),
        (linked(&[&nine_tags], &[8, 0]), Outcome::LinkTooDeep),
        (ethernet(0x0806, &[0; 20]), Outcome::ArpTruncated),
        (ethernet(0x0800, &[0x45; 19]), Outcome::Ipv4Truncated),
        (ethernet(0x0800, &[0x65; 20]), Outcome::Ipv4BadVersion),
        (
            ethernet(0x0800, &short_options),
            Outcome::Ipv4BadHeaderLength,
        ),
        (ethernet(0x86dd, &[0x60; 39]), Outcome::Ipv6Truncated),
        (ethernet(0x86dd, &[0x45; 40]), Outcome::Ipv6BadVersion),
        (
            ethernet(0x86dd, &ipv6(0, &[6])),
            Outcome::Ipv6ExtensionTruncated,
        ),
        (ethernet(0x0800, &ipv4(6, &[0; 19])), Outcome::TcpTruncated),
        (ethernet(0x0800, &ipv4(17, &[0; 5])), Outcome::UdpTruncated),
        (ethernet(0x0800, &ipv4(17, &bad_udp)), Outcome::UdpBadLength),
        (ethernet(0x0800, &ipv4(1, &[8])), Outcome::IcmpTruncated),
        (ethernet(0x0800, &ipv4(132, &[8])), Outcome::SctpTruncated),
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
        assert_eq!(outcome.is_malformed(), length < 42, "{length}: {outcome:?}");
        assert!(check_inner(&whole[..length]).is_none_or(|(outcome, _)| outcome.is_malformed()));
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
    let Some(straight) = plain::read(frame, &Decapsulate::ALL) else {
        return 0;
    };
    let mut full = Packet::default();
    parse_any(frame, &Decapsulate::ALL, &mut full);
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
    // A tunnel's header with less than an Ethernet header behind it.
    let short = ethernet(0x86dd, &ipv6(17, &udp(4789, &vxlan[..13])));
    for frame in [v4, v6, tunnel, short] {
        for at in 0..frame.len() {
            for byte in [0, 4, 17, 44, 0x60, 0xff] {
                let mut changed = frame.clone();
                changed[at] = byte;
                invariants::check(&changed);
            }
        }
    }
}
