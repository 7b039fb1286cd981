//! Frames of every kind that the parser tells apart, whole and broken, and a source of more.

pub mod ipv4;

use sensor_common::counters::Outcome;

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;
pub const VLAN: u16 = 0x8100;
pub const QINQ: u16 = 0x88a8;
const BRIDGED: u16 = 0x6558;
const PPPOE: u16 = 0x8864;
const MPLS: u16 = 0x8847;
const HSR: u16 = 0x892f;
/// Header of a PPPoE session with IPv4.
const PPPOE_IPV4: [u8; 8] = [0x11, 0, 0, 1, 0, 42, 0, 0x21];
const SNAP_IPV4: [u8; 8] = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];

/// Ethernet II.
pub fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The rest of a tag, with what it tags.
pub fn tagged(id: u16, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut rest = id.to_be_bytes().to_vec();
    rest.extend(ethertype.to_be_bytes());
    rest.extend(payload);
    rest
}

/// Fields of an IPv4 header that vary.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    pub source: [u8; 4],
    pub destination: [u8; 4],
    pub protocol: u8,
    pub ttl: u8,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// Padded to whole words by the caller.
    pub options: Vec<u8>,
}

impl Ipv4 {
    pub fn new(protocol: u8) -> Self {
        Self {
            source: [192, 0, 2, 1],
            destination: [198, 51, 100, 2],
            protocol,
            ttl: 64,
            fragment: 0x4000,
            options: Vec::new(),
        }
    }

    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header_bytes = 20 + self.options.len();
        let total = (header_bytes + payload.len()) as u16;
        let mut packet = vec![0x40 | (header_bytes / 4) as u8, 0];
        packet.extend(total.to_be_bytes());
        packet.extend([0x12, 0x34]);
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([self.ttl, self.protocol, 0, 0]);
        packet.extend(self.source);
        packet.extend(self.destination);
        packet.extend(&self.options);
        packet.extend(payload);
        packet
    }
}

/// An IPv6 packet between two documentation addresses that end in these words.
pub fn ipv6(next: u8, hosts: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 61]);
    for host in [hosts.0, hosts.1] {
        packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend(host.to_be_bytes());
    }
    packet.extend(payload);
    packet
}

/// An IPv6 packet between any two addresses whose checksum is right; `sum_at` is its place in the
/// payload.
pub fn ipv6_between(
    next: u8,
    [source, destination]: [std::net::Ipv6Addr; 2],
    mut payload: Vec<u8>,
    sum_at: usize,
) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let ends = packet.get(8..).unwrap_or_default();
    let sum = checksum(
        ends,
        checksum(&payload, u32::from(next) + payload.len() as u32),
    );
    let sum = (!(sum as u16)).to_be_bytes();
    if let Some(place) = payload.get_mut(sum_at..sum_at + 2) {
        place.copy_from_slice(&sum);
    }
    packet.extend(payload);
    packet
}

/// RFC 1071, folded, added to `sum`.
fn checksum(bytes: &[u8], sum: u32) -> u32 {
    let words = bytes.chunks(2).map(|word| match word {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum = words.fold(sum, |sum, word| sum + word);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// An IPv6 extension header of 8 + 8 `more` bytes, with what follows it.
pub fn extension(next: u8, more: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![next, more, 0, 0, 0, 0, 0, 0];
    packet.resize(8 + usize::from(more) * 8, 0);
    packet.extend(payload);
    packet
}

pub fn tcp(ports: (u16, u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = ports.0.to_be_bytes().to_vec();
    segment.extend(ports.1.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

pub fn udp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut datagram = ports.0.to_be_bytes().to_vec();
    datagram.extend(ports.1.to_be_bytes());
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

pub fn icmp(kind: u8, code: u8) -> Vec<u8> {
    vec![kind, code, 0, 0, 0, 1, 0, 2]
}

pub fn arp() -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2];
    packet.extend([192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 198, 51, 100, 2]);
    packet
}

pub fn vxlan(frame: &[u8]) -> Vec<u8> {
    let mut payload = vec![8, 0, 0, 0, 0, 0, 42, 0];
    payload.extend(frame);
    udp((55_555, 4_789), &payload)
}

/// Geneve with `words` of options.
pub fn geneve(words: u8, ethertype: u16, inner: &[u8]) -> Vec<u8> {
    let mut payload = vec![words & 0x3f, 0];
    payload.extend(ethertype.to_be_bytes());
    payload.extend([0, 0, 42, 0]);
    payload.resize(8 + usize::from(words & 0x3f) * 4, 0);
    payload.extend(inner);
    udp((55_555, 6_081), &payload)
}

/// GRE; `flags` says which of checksum (0x8000), key (0x2000) and sequence number (0x1000) follow.
pub fn gre(flags: u16, ethertype: u16, inner: &[u8]) -> Vec<u8> {
    let mut packet = flags.to_be_bytes().to_vec();
    packet.extend(ethertype.to_be_bytes());
    for flag in [0x8000, 0x2000, 0x1000] {
        if flags & flag != 0 {
            packet.extend([0; 4]);
        }
    }
    packet.extend(inner);
    packet
}

fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(IPV4, &Ipv4::new(protocol).packet(payload))
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(IPV6, &ipv6(next, (1, 2), payload))
}

fn edited(mut frame: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    frame[at] = byte;
    frame
}

fn cut(mut frame: Vec<u8>, to: usize) -> Vec<u8> {
    frame.truncate(to);
    frame
}

/// Frames with what the parser must make of them: every outcome is among them.
pub fn specimens() -> Vec<(Outcome, Vec<u8>)> {
    let mut all = whole();
    all.extend(linked());
    all.extend(tunnelled());
    all.extend(broken());
    all
}

fn whole() -> Vec<(Outcome, Vec<u8>)> {
    let syn = tcp((40_000, 443), 2, &[]);
    let packet = Ipv4::new(6).packet(&syn);
    let options = Ipv4 {
        options: vec![0x94, 4, 0, 0, 1, 1, 1, 0],
        ..Ipv4::new(6)
    };
    let first = Ipv4 {
        fragment: 0x2000,
        ..Ipv4::new(17)
    };
    let later = Ipv4 {
        fragment: 0x00b9,
        ..Ipv4::new(17)
    };
    let query = udp((5_353, 53), b"query");
    let large = udp((5_353, 53), &[7; 1_472]);
    let fragment = |offset: u16| v6(44, &fragment_header(17, offset, 1, &large[..1_232]));
    let chain = extension(43, 0, &extension(60, 1, &extension(6, 0, &syn)));
    let authentication = {
        let mut header = vec![6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        header.resize(24, 0xaa);
        header.extend(&syn);
        v6(51, &header)
    };
    vec![
        (Outcome::Tcp, v4(6, &syn)),
        (Outcome::Tcp, v4(6, &tcp((443, 40_000), 0x12, &[7; 1400]))),
        (Outcome::Tcp, v6(6, &syn)),
        (Outcome::Tcp, ethernet(VLAN, &tagged(5, IPV4, &packet))),
        (
            Outcome::Tcp,
            ethernet(QINQ, &tagged(7, VLAN, &tagged(8, IPV4, &packet))),
        ),
        (Outcome::Tcp, ethernet(IPV4, &options.packet(&syn))),
        (Outcome::Tcp, v6(0, &chain)),
        (Outcome::Tcp, authentication),
        (Outcome::Udp, v4(17, &query)),
        (Outcome::Udp, v6(17, &query)),
        (Outcome::Udp, edited(v4(17, &query), 39, 0)),
        (Outcome::Udp, ethernet(IPV4, &first.packet(&large))),
        (Outcome::Udp, fragment(0)),
        (Outcome::Udp, v6(44, &fragment_header(17, 0, 0, &query))),
        (Outcome::LaterFragment, fragment(185)),
        (
            Outcome::LaterFragment,
            ethernet(IPV4, &later.packet(&[9; 64])),
        ),
        (Outcome::Icmp, v4(1, &icmp(8, 0))),
        (Outcome::Icmp, v4(1, &icmp(0, 0))),
        (Outcome::Icmp, v4(1, &icmp(3, 1))),
        (Outcome::Icmp, v6(58, &icmp(128, 0))),
        (Outcome::Icmp, v6(58, &icmp(129, 0))),
        (Outcome::Icmp, v6(58, &icmp(135, 0))),
        (
            Outcome::Sctp,
            v4(132, &[0x9c, 0x40, 0x0b, 0x59, 0, 0, 0, 1, 0, 0, 0, 0]),
        ),
        (Outcome::OtherProtocol, v4(89, &[2; 24])),
        (Outcome::OtherProtocol, v6(59, &[])),
        (Outcome::Arp, ethernet(ARP, &arp())),
    ]
}

/// Behind link headers of every kind, those that lead to IP and those that don't.
fn linked() -> Vec<(Outcome, Vec<u8>)> {
    let packet = Ipv4::new(6).packet(&tcp((40_000, 443), 2, &[]));
    let with = |header: &[u8]| [header, &packet].concat();
    vec![
        (Outcome::Tcp, ethernet(0x9100, &tagged(5, IPV4, &packet))),
        (Outcome::Tcp, ethernet(VLAN, &tagged(0xe000, IPV4, &packet))),
        (Outcome::Tcp, ethernet(PPPOE, &with(&PPPOE_IPV4))),
        (
            Outcome::Tcp,
            ethernet(MPLS, &with(&[0, 1, 0, 64, 0, 2, 1, 64])),
        ),
        (Outcome::Tcp, ethernet(54, &with(&SNAP_IPV4))),
        (Outcome::Tcp, ethernet(HSR, &with(&[0, 52, 0, 1, 8, 0]))),
        (
            Outcome::Tcp,
            ethernet(VLAN, &tagged(4, PPPOE, &with(&PPPOE_IPV4))),
        ),
        (
            Outcome::Pppoe,
            ethernet(PPPOE, &[0x11, 0, 0, 1, 0, 6, 0xc0, 0x21, 9, 1, 0, 4]),
        ),
        (
            Outcome::Pppoe,
            ethernet(0x8863, &[0x11, 9, 0, 0, 0, 4, 1, 1]),
        ),
        (
            Outcome::Mpls,
            ethernet(MPLS, &with(&[0, 2, 1, 64, 0, 0, 0, 0])),
        ),
        (Outcome::Llc, ethernet(60, &[0x42, 0x42, 3, 0, 0])),
        (Outcome::Llc, ethernet(60, &[0xfe; 40])),
        (Outcome::VnTag, ethernet(0x8926, &with(&[0, 1, 0, 2, 8, 0]))),
        (
            Outcome::Dsa,
            ethernet(0xdada, &with(&[0, 0, 0x40, 0, 8, 0])),
        ),
        (Outcome::Dsa, ethernet(0xc008, &with(&[0x10, 0, 8, 0]))),
        (Outcome::Dsa, ethernet(8, &with(&[0x10, 0, 8, 0]))),
        (Outcome::Macsec, ethernet(0x88e5, &[0x0c; 60])),
        (Outcome::ProviderBackbone, ethernet(0x88e7, &[1; 60])),
        (Outcome::NotIp, ethernet(0x88cc, &[1; 40])),
        (
            Outcome::LinkTruncated,
            cut(ethernet(PPPOE, &PPPOE_IPV4), 21),
        ),
        (Outcome::LinkTruncated, ethernet(MPLS, &[0, 2, 1, 64])),
        (Outcome::LinkTruncated, ethernet(HSR, &[0, 52, 0])),
        (
            Outcome::LinkTooDeep,
            ethernet(MPLS, &with(&[[0, 2, 0, 64]; 9].concat())),
        ),
    ]
}

/// An IPv6 fragment header; the offset is in units of eight bytes.
fn fragment_header(next: u8, offset: u16, has_more: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![next, 0];
    packet.extend((offset << 3 | has_more).to_be_bytes());
    packet.extend([0, 0, 0, 1]);
    packet.extend(payload);
    packet
}

fn tunnelled() -> Vec<(Outcome, Vec<u8>)> {
    let syn = tcp((40_000, 443), 2, &[]);
    let inner4 = Ipv4 {
        source: [10, 1, 0, 1],
        destination: [10, 2, 0, 2],
        ..Ipv4::new(6)
    }
    .packet(&syn);
    let inner6 = ipv6(17, (11, 12), &udp((1, 2), &[0; 20]));
    let frame = ethernet(IPV4, &inner4);
    let tagged_frame = ethernet(VLAN, &tagged(9, IPV6, &inner6));
    let mut all: Vec<(Outcome, Vec<u8>)> = vec![
        (Outcome::OtherProtocol, v4(4, &inner4)),
        (Outcome::OtherProtocol, v4(41, &inner6)),
        (Outcome::OtherProtocol, v6(4, &inner4)),
        (Outcome::OtherProtocol, v6(41, &inner6)),
        // Whatever is within.
        (Outcome::OtherProtocol, v4(4, &[0; 64])),
        (
            Outcome::OtherProtocol,
            v4(4, &edited(inner4.clone(), 3, 200)),
        ),
        (Outcome::OtherProtocol, v4(41, &[0x60; 20])),
        // One tunnel is followed; the next is a packet of its protocol.
        (Outcome::OtherProtocol, v4(4, &Ipv4::new(4).packet(&inner4))),
        (
            Outcome::OtherProtocol,
            v4(4, &Ipv4::new(47).packet(&gre(0, IPV4, &inner4))),
        ),
        (
            Outcome::OtherProtocol,
            v4(4, &Ipv4::new(17).packet(&vxlan(&frame))),
        ),
    ];
    let headers = [
        gre(0, IPV4, &inner4),
        gre(0xb000, IPV6, &inner6),
        gre(0x2000, BRIDGED, &frame),
        gre(0, 0x880b, &[0; 20]),
        gre(1, 0x880b, &[0; 20]),
        gre(0x4000, IPV4, &inner4),
        gre(0x0400, IPV4, &inner4),
        vec![0, 0, 8],
    ];
    all.extend(headers.map(|header| (Outcome::Gre, v4(47, &header))));
    for datagram in tunnel_datagrams(&inner4, &frame, &inner6, &tagged_frame) {
        all.push((Outcome::Udp, v4(17, &datagram)));
        all.push((Outcome::Udp, v6(17, &datagram)));
    }
    all
}

/// Datagrams to ports of tunnels, with one within and with what only looks like it.
fn tunnel_datagrams(
    inner4: &[u8],
    frame: &[u8],
    inner6: &[u8],
    tagged_frame: &[u8],
) -> [Vec<u8>; 19] {
    [
        vxlan(frame),
        vxlan(tagged_frame),
        vxlan(&ethernet(ARP, &arp())),
        vxlan(&ethernet(
            0x8864,
            &[[0x11, 0].as_slice(), &[0; 20]].concat(),
        )),
        vxlan(&[0; 13]),
        edited(vxlan(frame), 8, 0),
        edited(vxlan(frame), 9, 1),
        edited(vxlan(frame), 15, 1),
        udp((55_555, 4_789), &[0x55; 64]),
        udp(
            (55_555, 4_790),
            &[[12, 0, 0, 1, 0, 0, 7, 0].as_slice(), inner4].concat(),
        ),
        udp(
            (55_555, 4_790),
            &[[8, 0, 0, 0, 0, 0, 7, 0].as_slice(), frame].concat(),
        ),
        udp((55_555, 4_790), &[0x55; 64]),
        udp(
            (55_555, 8_472),
            &[[8, 0, 0, 0, 0, 0, 7, 0].as_slice(), frame].concat(),
        ),
        geneve(0, BRIDGED, frame),
        geneve(3, BRIDGED, frame),
        geneve(63, IPV6, inner6),
        geneve(0, 0x1234, &[0; 8]),
        edited(geneve(0, BRIDGED, frame), 9, 0x80),
        udp((1, 6_081), &[0; 7]),
    ]
}

/// Transport headers that are not there in full, or contradict themselves.
fn broken_transport(syn: &[u8], query: &[u8]) -> Vec<(Outcome, Vec<u8>)> {
    vec![
        (Outcome::TcpTruncated, cut(v4(6, syn), 53)),
        (Outcome::TcpTruncated, cut(v4(6, syn), 40)),
        (Outcome::TcpTruncated, v4(6, &syn[..3])),
        (Outcome::TcpTruncated, cut(v6(6, syn), 73)),
        (
            Outcome::TcpBadDataOffset,
            v4(6, &edited(syn.to_vec(), 12, 0x40)),
        ),
        (Outcome::UdpTruncated, cut(v4(17, query), 41)),
        (Outcome::UdpBadLength, v4(17, &edited(query.to_vec(), 5, 7))),
        (Outcome::IcmpTruncated, cut(v4(1, &icmp(8, 0)), 37)),
        (Outcome::SctpTruncated, v4(132, &[0, 1, 0])),
    ]
}

fn broken() -> Vec<(Outcome, Vec<u8>)> {
    let syn = tcp((40_000, 443), 2, &[]);
    let query = udp((5_353, 53), b"query");
    let packet = Ipv4::new(6).packet(&syn);
    let deep = tagged(1, VLAN, &tagged(2, VLAN, &tagged(3, IPV4, &packet)));
    let chain = |n: usize| {
        (0..n).fold(syn.clone(), |rest, n| {
            extension(if n == 0 { 6 } else { 60 }, 0, &rest)
        })
    };
    let far = (0..6).fold(Vec::new(), |rest, n| {
        extension(if n == 0 { 6 } else { 60 }, 255, &rest)
    });
    let part = |field: u16, payload: &[u8]| {
        let header = Ipv4 {
            fragment: field,
            ..Ipv4::new(6)
        };
        let mut frame = ethernet(IPV4, &header.packet(payload));
        frame.resize(60, 0);
        frame
    };
    let mut all = vec![
        (Outcome::EthernetTruncated, cut(v4(6, &syn), 13)),
        (Outcome::EthernetTruncated, cut(v4(6, &syn), 1)),
        (Outcome::LinkTruncated, cut(ethernet(VLAN, &deep), 17)),
        (Outcome::VlanTooDeep, ethernet(QINQ, &deep)),
        (
            Outcome::VlanTooDeep,
            ethernet(VLAN, &tagged(0, QINQ, &deep)),
        ),
        (Outcome::ArpTruncated, cut(ethernet(ARP, &arp()), 41)),
        (Outcome::Ipv4Truncated, cut(v4(6, &syn), 33)),
        (Outcome::Ipv4BadVersion, edited(v4(6, &syn), 14, 0x65)),
        (Outcome::Ipv4BadHeaderLength, edited(v4(6, &syn), 14, 0x44)),
        (
            Outcome::Ipv4BadTotalLength,
            edited(edited(v4(6, &syn), 16, 0), 17, 19),
        ),
        (Outcome::Ipv6Truncated, cut(v6(6, &syn), 53)),
        (Outcome::Ipv6BadVersion, edited(v6(6, &syn), 14, 0x45)),
        (Outcome::Ipv6ExtensionTruncated, cut(v6(60, &syn), 57)),
        (
            Outcome::Ipv6ExtensionTruncated,
            v6(0, &extension(60, 0, &[])),
        ),
        (Outcome::Ipv6TooManyExtensions, v6(60, &chain(7))),
        (Outcome::Ipv6TooManyExtensions, v6(60, &chain(12))),
        (Outcome::Ipv6TooManyExtensions, v6(60, &chain(13))),
        (Outcome::BadFragment, part(0x2000, &syn[..8])),
        (Outcome::BadFragment, part(0x2001, &syn[8..16])),
        (Outcome::BadFragment, part(0x0001, &syn[8..])),
        (Outcome::BadFragment, part(0x2000, &syn[..16])),
        (Outcome::BadFragment, part(0x1fff, &[0; 30])),
        (
            Outcome::BadFragment,
            v6(44, &fragment_header(17, 0, 1, &query)),
        ),
        (Outcome::HeadersTooLong, v6(60, &far)),
    ];
    all.extend(broken_transport(&syn, &query));
    all
}

/// Pseudo-random numbers (SplitMix64, Steele et al. 2014): equal seeds give equal frames.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A packet of a random kind, often of a flow that came before, now and then broken.
pub fn random_frame(dice: &mut Dice) -> Vec<u8> {
    let (ethertype, packet) = random_packet(dice, 0);
    let with = |header: &[u8]| [header, &packet].concat();
    let [high, low] = ethertype.to_be_bytes();
    let mut frame = match dice.below(14) {
        0 => ethernet(VLAN, &tagged(dice.below(5) as u16, ethertype, &packet)),
        1 => ethernet(
            QINQ,
            &tagged(3, VLAN, &tagged(dice.below(5) as u16, ethertype, &packet)),
        ),
        2 => ethernet(MPLS, &with(&[0, 2, dice.below(2) as u8, 64, 0, 3, 1, 64])),
        3 => ethernet(PPPOE, &with(&PPPOE_IPV4)),
        4 => ethernet(54, &with(&[0xaa, 0xaa, 3, 0, 0, 0, high, low])),
        5 => ethernet(HSR, &with(&[0, 52, 0, 1, high, low])),
        _ => ethernet(ethertype, &packet),
    };
    if dice.one_in(3) {
        mutate(&mut frame, dice);
    }
    frame
}

fn random_packet(dice: &mut Dice, depth: usize) -> (u16, Vec<u8>) {
    let (protocol, payload) = random_payload(dice, depth);
    if dice.one_in(40) {
        return (ARP, arp());
    }
    if dice.one_in(2) {
        let header = Ipv4 {
            source: [10, 0, 0, dice.below(40) as u8],
            destination: [10, 0, dice.below(2) as u8, dice.below(8) as u8],
            protocol,
            ttl: dice.roll() as u8,
            fragment: *dice.pick(&[0, 0, 0x4000, 0x4000, 0x2000, 0x2001, 0x2010, 0x10, 0x1fff]),
            options: vec![1; *dice.pick(&[0, 0, 0, 4, 8, 40])],
        };
        return (IPV4, header.packet(&payload));
    }
    let hosts = (dice.below(40) as u16, dice.below(8) as u16);
    let (mut next, mut payload) = (protocol, payload);
    for _ in 0..*dice.pick(&[0, 0, 0, 1, 2, 5, 6, 7, 9, 13]) {
        let kind = *dice.pick(&[0, 43, 44, 51, 60, 135]);
        payload = extension(next, *dice.pick(&[0, 0, 1, 4, 255]), &payload);
        next = kind;
    }
    (IPV6, ipv6(next, hosts, &payload))
}

fn random_payload(dice: &mut Dice, depth: usize) -> (u8, Vec<u8>) {
    let ports = (1_024 + dice.below(40) as u16, *dice.pick(&[53, 80, 443]));
    let ports = if dice.one_in(2) {
        ports
    } else {
        (ports.1, ports.0)
    };
    let length = *dice.pick(&[0, 1, 30, 100, 300, 900, 1_400]);
    if depth == 0 && dice.one_in(4) {
        let (ethertype, inner) = random_packet(dice, 1);
        let frame = ethernet(ethertype, &inner);
        return match dice.below(8) {
            6 => (
                17,
                udp(
                    (1, *dice.pick(&[4_789, 4_790, 6_081])),
                    &dice.roll().to_be_bytes(),
                ),
            ),
            7 => (*dice.pick(&[4, 41, 47]), vec![dice.roll() as u8; 64]),
            0 => (if ethertype == IPV6 { 41 } else { 4 }, inner),
            1 => (47, gre((dice.roll() as u16) & 0xb000, ethertype, &inner)),
            2 => (47, gre(0x2000, BRIDGED, &frame)),
            3 => (17, vxlan(&frame)),
            4 => (17, geneve(dice.below(64) as u8, BRIDGED, &frame)),
            _ => (17, geneve(dice.below(4) as u8, ethertype, &inner)),
        };
    }
    match dice.below(9) {
        0..=3 => (6, tcp(ports, dice.roll() as u8, &vec![0; length])),
        4 | 5 => (17, udp(ports, &vec![0; length])),
        6 => (1, icmp(*dice.pick(&[0, 3, 8, 11]), dice.below(3) as u8)),
        7 => (58, icmp(*dice.pick(&[1, 128, 129, 135]), 0)),
        _ => (*dice.pick(&[132, 47, 50, 89]), vec![0; length]),
    }
}

/// Damages a frame: cut, lengthened, bits turned, bytes replaced by those that often matter.
pub fn mutate(frame: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        if frame.is_empty() {
            return;
        }
        // Headers lie at the beginning.
        let head = frame.len().min(120);
        let at = dice.below(head);
        match dice.below(5) {
            0 => frame.truncate(at),
            1 => frame[at] ^= 1 << dice.below(8),
            2 => frame[at] = *dice.pick(&[0, 1, 4, 6, 17, 41, 44, 47, 0x45, 0x60, 0x7f, 0xff]),
            3 => frame[at] = dice.roll() as u8,
            _ => frame.extend(std::iter::repeat_n(0, dice.below(60))),
        }
    }
}
