//! A packet sample as a frame that other tools read.

use std::borrow::Cow;
use std::net::IpAddr;

use schemars::JsonSchema;
use sensor_common::event::{EventHead, Kind, Sample};
use sensor_engine::to_ip;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Type, code and checksum, and what each type has behind.
const ICMP_HEAD: usize = 8;
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// A packet sample. The kernel keeps the first bytes of the payload and what the headers said; the headers of
/// the frame are made anew from that, without options, sequence numbers, tags and tunnels
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct PacketSample {
    /// Time of the packet
    #[serde(rename = "@timestamp")]
    pub at: Timestamp,
    /// Interface that it was seen on
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Way that it went: ingress or egress
    pub way: Cow<'static, str>,
    /// Kind of sample
    pub sample: Cow<'static, str>,
    /// Length on the wire, with headers of their least length
    #[schemars(extend("x-unit" = "bytes"))]
    pub bytes: u32,
    /// Frame with the beginning of the payload, in hexadecimal digits
    pub frame: String,
}

impl PacketSample {
    /// Builds a frame; none of an event that is no sample of a packet.
    pub fn new(sample: &Sample<'_>, interface: Option<&str>) -> Option<Self> {
        let head = sample.head;
        let kind = Kind::of(head.kind)?;
        if matches!(kind, Kind::FlowStarted | Kind::BlockHit) {
            return None;
        }
        let (frame, bytes) = sample_frame(sample, usize::MAX)?;
        Some(Self {
            at: Timestamp(head.at_ns),
            interface: interface.map(str::to_owned),
            way: if head.way == 0 { "ingress" } else { "egress" }.into(),
            sample: kind.label().into(),
            bytes,
            frame: frame.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// Bytes of the frame; none where the digits are none.
    pub fn data(&self) -> Option<Vec<u8>> {
        let digits = self.frame.as_bytes();
        let pairs = digits.chunks(2).map(|two| {
            let two = std::str::from_utf8(two).ok()?;
            u8::from_str_radix(two, 16).ok()
        });
        digits.len().is_multiple_of(2).then(|| pairs.collect())?
    }
}

/// Builds the frame of an event with `most` bytes of its payload, and the length that it had on the wire; none
/// of an event that no packet gave rise to. What stands for headers in a payload stays in any case: ARP, ICMP,
/// neighbour discovery.
pub fn sample_frame(sample: &Sample<'_>, most: usize) -> Option<(Vec<u8>, u32)> {
    let head = sample.head;
    let kind = Kind::of(head.kind)?;
    let mut frame = headers(head, kind);
    let rest = head.payload_bytes.max(sample.payload.len() as u32);
    let bytes = (frame.len() as u32).saturating_add(rest);
    let least = match kind {
        Kind::Arp | Kind::Neighbour => usize::MAX,
        Kind::Icmp => ICMP_HEAD,
        _ => 0,
    };
    let n = sample.payload.len().min(most.max(least));
    frame.extend_from_slice(sample.payload.get(..n).unwrap_or_default());
    Some((frame, bytes))
}

/// Headers before the payload.
fn headers(head: &EventHead, kind: Kind) -> Vec<u8> {
    let packet = &head.packet;
    let mut frame = [head.destination_mac, head.source_mac].concat();
    if kind == Kind::Arp {
        frame.extend_from_slice(&ARP.to_be_bytes());
        return frame;
    }
    let transport = transport(head, kind);
    let rest = (transport.len() as u32).saturating_add(head.payload_bytes);
    match (to_ip(&packet.source), to_ip(&packet.destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = u16::try_from(rest.saturating_add(20)).unwrap_or(u16::MAX);
            let mut ip = vec![0x45, 0];
            ip.extend_from_slice(&length.to_be_bytes());
            ip.extend_from_slice(&[0, 0, 0, 0, packet.ttl, packet.protocol, 0, 0]);
            ip.extend_from_slice(&source.octets());
            ip.extend_from_slice(&destination.octets());
            let sum = checksum(&ip).to_be_bytes();
            if let Some(place) = ip.get_mut(10..12) {
                place.copy_from_slice(&sum);
            }
            frame.extend_from_slice(&IPV4.to_be_bytes());
            frame.extend(ip);
        }
        (source, destination) => {
            let of = |ip: IpAddr| match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let length = u16::try_from(rest).unwrap_or(u16::MAX);
            frame.extend_from_slice(&IPV6.to_be_bytes());
            frame.extend_from_slice(&[0x60, 0, 0, 0]);
            frame.extend_from_slice(&length.to_be_bytes());
            frame.extend_from_slice(&[packet.protocol, packet.ttl]);
            frame.extend_from_slice(&of(source));
            frame.extend_from_slice(&of(destination));
        }
    }
    frame.extend(transport);
    frame
}

/// Header of TCP or UDP; that of ICMP is in the payload, and a fragment is told of without.
fn transport(head: &EventHead, kind: Kind) -> Vec<u8> {
    let packet = &head.packet;
    let ports = [packet.source_port, packet.destination_port].map(u16::to_be_bytes);
    let mut header = ports.concat();
    match packet.protocol {
        _ if kind == Kind::Fragment => Vec::new(),
        // Type and code stand where others have their port.
        ICMP | ICMPV6 if matches!(kind, Kind::FlowStarted | Kind::BlockHit) => {
            header.truncate(2);
            header.resize(ICMP_HEAD, 0);
            header
        }
        TCP => {
            header.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0x50, packet.tcp_flags]);
            header.extend_from_slice(&packet.tcp_window.to_be_bytes());
            header.extend_from_slice(&[0, 0, 0, 0]);
            header
        }
        UDP => {
            let length = head.payload_bytes.saturating_add(8);
            let length = u16::try_from(length).unwrap_or(u16::MAX);
            header.extend_from_slice(&length.to_be_bytes());
            header.extend_from_slice(&[0, 0]);
            header
        }
        _ => Vec::new(),
    }
}

/// Checksum of an IPv4 header (RFC 791).
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|two| match two {
        [high, low] => u32::from(*high) << 8 | u32::from(*low),
        _ => 0,
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use sensor_common::packet::{Decapsulate, Packet, parse};
    use sensor_engine::from_ip;

    use super::*;

    /// Frames are read as what they were made of.
    #[test]
    fn the_frame_is_read_as_the_packet_that_it_is_made_of() {
        let ends = [
            ("198.51.100.7", "192.0.2.1"),
            ("2001:db8::7", "2001:db8::1"),
        ];
        for (source, destination) in ends {
            for (protocol, kind) in [(TCP, Kind::Tcp), (UDP, Kind::Dns)] {
                let mut head = EventHead {
                    kind: kind as u8,
                    payload_bytes: 700,
                    way: 1,
                    ..EventHead::default()
                };
                head.packet.source = from_ip(source.parse().unwrap());
                head.packet.destination = from_ip(destination.parse().unwrap());
                (head.packet.protocol, head.packet.ttl) = (protocol, 63);
                (head.packet.source_port, head.packet.destination_port) = (40_000, 53);
                head.packet.tcp_flags = if protocol == TCP { 0x18 } else { 0 };
                let payload = [7; 576];
                let sample = Sample {
                    head: &head,
                    payload: &payload,
                };
                let made = PacketSample::new(&sample, Some("eth0")).unwrap();
                let data = made.data().unwrap();
                assert_eq!(made.bytes as usize, data.len() + 700 - 576);
                let mut packet = Packet::default();
                parse(&data[..], &Decapsulate::NONE, &mut packet);
                let of = |packet: &Packet| {
                    (
                        (packet.source, packet.destination),
                        (packet.source_port, packet.destination_port),
                        (packet.protocol, packet.tcp_flags, packet.ttl),
                    )
                };
                assert_eq!(of(&packet), of(&head.packet));
                assert_eq!(&data[packet.payload_offset() as usize..], &payload);
            }
        }
    }

    #[test]
    fn digits_that_are_none_are_no_frame() {
        let sample = |frame: &str| PacketSample {
            at: Timestamp(0),
            interface: None,
            way: "ingress".into(),
            sample: "arp".into(),
            bytes: 0,
            frame: frame.to_owned(),
        };
        assert_eq!(sample("00ff").data(), Some(vec![0, 255]));
        assert_eq!(sample("0").data(), None);
        assert_eq!(sample("0g").data(), None);
        assert_eq!(sample("äö").data(), None);
    }
}
