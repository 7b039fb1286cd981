//! Reads of a frame what labels are decided by. Apart from the sensor's parser on purpose: a label
//! must not depend on what it judges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::plan::Mac;

/// Ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub from: IpAddr,
    pub to: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// None in later fragments and where the protocol has none.
    pub ports: Option<(u16, u16)>,
}

impl Ends {
    pub fn has_port(&self, port: u16) -> bool {
        self.ports
            .is_none_or(|(from, to)| from == port || to == port)
    }
}

/// Content of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ip(Ends),
    /// Sender and target (RFC 826).
    Arp(Ipv4Addr, Ipv4Addr),
    Other(u16),
}

#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub to_mac: Mac,
    pub kind: Kind,
    /// Endpoints that an ICMP error is about.
    pub quoted: Option<Ends>,
    /// Type of an ICMP or ICMPv6 message.
    pub icmp_type: Option<u8>,
}

pub const ICMP: u8 = 1;
pub const IGMP: u8 = 2;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

impl Packet {
    /// None where the frame is shorter than an Ethernet header.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let to_mac = *frame.first_chunk::<6>()?;
        let ethertype = word(frame, 12)?;
        let body = frame.get(14..)?;
        let mut packet = Self {
            to_mac,
            kind: Kind::Other(ethertype),
            quoted: None,
            icmp_type: None,
        };
        if ethertype == 0x0806 {
            let at = |at| Some(Ipv4Addr::from(*body.get(at..)?.first_chunk::<4>()?));
            if let Some((sender, target)) = at(14).zip(at(24)) {
                packet.kind = Kind::Arp(sender, target);
            }
        } else if let Some((ends, payload)) =
            ip(body).filter(|_| matches!(ethertype, 0x0800 | 0x86dd))
        {
            packet.kind = Kind::Ip(ends);
            let is_first = ends.protocol == ICMP || ends.protocol == ICMPV6;
            packet.icmp_type = payload.first().copied().filter(|_| is_first);
            packet.quoted = quoted(ends.protocol, payload);
        }
        Some(packet)
    }

    /// Reports of multicast listeners, which a kernel sends by itself.
    pub fn is_housekeeping(&self) -> bool {
        match self.kind {
            Kind::Ip(ends) if ends.protocol == IGMP => true,
            Kind::Ip(ends) if ends.protocol == ICMPV6 => {
                matches!(self.icmp_type, Some(130..=132 | 143))
            }
            _ => false,
        }
    }

    /// Router and neighbour discovery, and redirects (RFC 4861).
    pub fn is_discovery(&self) -> bool {
        matches!(self.kind, Kind::Ip(ends) if ends.protocol == ICMPV6)
            && matches!(self.icmp_type, Some(133..=137))
    }

    /// DHCP of either version.
    pub fn is_dhcp(&self) -> bool {
        let dhcp = |port| matches!(port, 67 | 68 | 546 | 547);
        matches!(self.kind, Kind::Ip(Ends { protocol: UDP, ports: Some((a, b)), .. }) if dhcp(a) && dhcp(b))
    }

    /// Word for the protocol, as label files have it.
    pub const fn protocol(&self) -> &'static str {
        match self.kind {
            Kind::Arp(..) => "arp",
            Kind::Other(_) => "l2",
            Kind::Ip(ends) => match ends.protocol {
                TCP => "tcp",
                UDP => "udp",
                ICMP => "icmp",
                ICMPV6 => "icmp6",
                SCTP => "sctp",
                47 => "gre",
                50 => "esp",
                _ => "ip",
            },
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?))
}

/// Ends of an IP packet, with what follows its headers.
fn ip(body: &[u8]) -> Option<(Ends, &[u8])> {
    match body.first()? >> 4 {
        4 => ip4(body),
        6 => ip6(body),
        _ => None,
    }
}

fn ip4(body: &[u8]) -> Option<(Ends, &[u8])> {
    let address = |at| Some(IpAddr::from(*body.get(at..)?.first_chunk::<4>()?));
    let header = usize::from(body.first()? & 0xf) * 4;
    let is_first = word(body, 6)? & 0x1fff == 0;
    let protocol = *body.get(9)?;
    let payload = body.get(header..).unwrap_or_default();
    Some((
        Ends {
            from: address(12)?,
            to: address(16)?,
            protocol,
            ports: ports(protocol, payload).filter(|_| is_first),
        },
        if is_first { payload } else { &[] },
    ))
}

fn ip6(body: &[u8]) -> Option<(Ends, &[u8])> {
    let address = |at| {
        let bytes: [u8; 16] = *body.get(at..)?.first_chunk()?;
        Some(IpAddr::V6(Ipv6Addr::from(bytes)))
    };
    let (from, to) = (address(8)?, address(24)?);
    let mut protocol = *body.get(6)?;
    let mut payload = body.get(40..).unwrap_or_default();
    let mut is_first = true;
    // Hop-by-hop, routing, fragment and destination options (RFC 8200).
    while let (0 | 43 | 44 | 60, Some(next)) = (protocol, payload.first()) {
        let length = if protocol == 44 {
            is_first &= word(payload, 2).is_some_and(|offset| offset & 0xfff8 == 0);
            8
        } else {
            8 + 8 * usize::from(payload.get(1).copied().unwrap_or_default())
        };
        protocol = *next;
        payload = payload.get(length..).unwrap_or_default();
        if !is_first {
            break;
        }
    }
    Some((
        Ends {
            from,
            to,
            protocol,
            ports: ports(protocol, payload).filter(|_| is_first),
        },
        if is_first { payload } else { &[] },
    ))
}

fn ports(protocol: u8, payload: &[u8]) -> Option<(u16, u16)> {
    if !matches!(protocol, TCP | UDP | SCTP | 33 | 136) {
        return None;
    }
    word(payload, 0).zip(word(payload, 2))
}

/// The packet that an ICMP error quotes.
fn quoted(protocol: u8, payload: &[u8]) -> Option<Ends> {
    let is_error = match (protocol, payload.first()?) {
        (ICMP, kind) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        (ICMPV6, kind) => matches!(kind, 1..=4),
        _ => false,
    };
    let (ends, _) = ip(payload.get(8..)?).filter(|_| is_error)?;
    Some(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp4() -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0]);
        let header = [
            0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        frame.extend(header);
        frame.extend([0, 53, 0x12, 0x34, 0, 12, 0, 0, 1, 2, 3, 4]);
        frame
    }

    #[test]
    fn ends_of_a_datagram() {
        let packet = Packet::of(&udp4()).unwrap();
        let Kind::Ip(ends) = packet.kind else {
            panic!("{packet:?}");
        };
        assert_eq!(ends.from, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(ends.ports, Some((53, 0x1234)));
        assert!(ends.has_port(53) && !ends.has_port(54));
        assert_eq!(packet.protocol(), "udp");
    }

    #[test]
    fn an_icmp_error_tells_whom_it_is_about() {
        let mut frame = udp4();
        let inner = frame.split_off(14);
        let mut outer = inner[..20].to_vec();
        outer[9] = ICMP;
        frame.extend(outer);
        frame.extend([3, 3, 0, 0, 0, 0, 0, 0]);
        frame.extend(inner);
        let packet = Packet::of(&frame).unwrap();
        assert_eq!(packet.icmp_type, Some(3));
        assert_eq!(packet.quoted.unwrap().ports, Some((53, 0x1234)));
    }

    #[test]
    fn no_cut_of_a_frame_is_a_fault() {
        let frame = udp4();
        for n in 0..frame.len() {
            let _ = Packet::of(&frame[..n]);
        }
        assert!(Packet::of(&frame[..13]).is_none());
    }
}
