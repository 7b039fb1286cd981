//! Whole Ethernet frames over IPv4, between any two ends.

use sensor_common::packet::{protocol, tcp_flags};

use super::{ARP, IPV4, Ipv4, ethernet};

pub type Ip = [u8; 4];
pub type Mac = [u8; 6];
/// An address and a port.
pub type End = (Ip, u16);

pub const SYN: u8 = tcp_flags::SYN;
pub const ACK: u8 = tcp_flags::ACK;
pub const SYN_ACK: u8 = tcp_flags::SYN | tcp_flags::ACK;
pub const PSH_ACK: u8 = tcp_flags::PSH | tcp_flags::ACK;
pub const FIN_ACK: u8 = tcp_flags::FIN | tcp_flags::ACK;
pub const RST_ACK: u8 = tcp_flags::RST | tcp_flags::ACK;

/// A packet of any protocol.
pub fn packet(protocol: u8, from: Ip, to: Ip, payload: &[u8]) -> Vec<u8> {
    let header = Ipv4 {
        source: from,
        destination: to,
        ..Ipv4::new(protocol)
    };
    ethernet(IPV4, &header.packet(payload))
}

/// A segment without options, as tools send them.
pub fn tcp(from: End, to: End, flags: u8, payload: &[u8]) -> Vec<u8> {
    let segment = super::tcp((from.1, to.1), flags, payload);
    packet(protocol::TCP, from.0, to.0, &segment)
}

/// A segment with `n_options` bytes of options, a multiple of 4: 20 are what systems send.
pub fn tcp_with_options(
    from: End,
    to: End,
    flags: u8,
    n_options: usize,
    payload: &[u8],
) -> Vec<u8> {
    let mut segment = super::tcp((from.1, to.1), flags, &vec![1; n_options]);
    if let Some(offset) = segment.get_mut(12) {
        *offset = (((20 + n_options) / 4) << 4) as u8;
    }
    segment.extend(payload);
    packet(protocol::TCP, from.0, to.0, &segment)
}

pub fn udp(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let datagram = super::udp((from.1, to.1), payload);
    packet(protocol::UDP, from.0, to.0, &datagram)
}

/// An ICMP message of 8 bytes, code 0: 8 asks for an echo, 0 answers.
pub fn icmp(from: Ip, to: Ip, kind: u8) -> Vec<u8> {
    packet(protocol::ICMP, from, to, &super::icmp(kind, 0))
}

/// An ARP packet, padded to the least length of a frame; operation 1 asks, 2 answers.
pub fn arp(operation: u8, sender: (Mac, Ip), target: (Mac, Ip), to: Mac) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend(sender.0);
    frame.extend(ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend(sender.0);
    frame.extend(sender.1);
    frame.extend(target.0);
    frame.extend(target.1);
    frame.resize(60, 0);
    frame
}

/// Parts of a frame's IPv4 packet, each with at most `n_bytes` of its payload, a multiple of 8.
pub fn fragments(frame: &[u8], identification: u16, n_bytes: usize) -> Vec<Vec<u8>> {
    let (headers, payload) = frame.split_at(34.min(frame.len()));
    let n_parts = payload.chunks(n_bytes).count();
    let part = |(i, part): (usize, &[u8])| {
        let has_more = i + 1 < n_parts;
        fragment(headers, identification, i * n_bytes, part, has_more)
    };
    payload.chunks(n_bytes).enumerate().map(part).collect()
}

/// One fragment, whose bytes begin at `offset`, behind the Ethernet and IPv4 headers of `headers`.
pub fn fragment(
    headers: &[u8],
    identification: u16,
    offset: usize,
    bytes: &[u8],
    has_more: bool,
) -> Vec<u8> {
    let mut frame = headers.get(..34).unwrap_or_default().to_vec();
    let field = (offset / 8) as u16 | u16::from(has_more) << 13;
    let length = (20 + bytes.len()) as u16;
    let fields = [(16, length), (18, identification), (20, field)];
    for (at, value) in fields {
        if let Some(place) = frame.get_mut(at..at + 2) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }
    frame.extend(bytes);
    frame
}
