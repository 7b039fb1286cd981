//! Errors of ICMP (RFC 792) and ICMPv6 (RFC 4443), which quote the packet that they are about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sensor_common::Address;
use sensor_common::event::{Kind, Sample};
use sensor_common::packet::protocol;

use crate::address::from_ip;
use crate::bytes::Reader;

/// An error with the flow that it is about, as its packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IcmpError {
    pub source: (Address, u16),
    pub destination: (Address, u16),
    pub protocol: u8,
    pub text: &'static str,
    /// The destination is not there, or refuses.
    pub is_unreachable: bool,
}

/// Extension headers stepped over in a quote.
const MAX_EXTENSIONS: usize = 4;

impl IcmpError {
    /// Reads an error; `None` for other messages, for a quote that is cut short or of a later fragment,
    /// and for an error that goes to somebody else than the one whose packet it quotes.
    pub(crate) fn read(sample: &Sample<'_>) -> Option<Self> {
        let packet = &sample.head.packet;
        if Kind::of(sample.head.kind) != Some(Kind::Icmp) {
            return None;
        }
        let mut r = Reader(sample.payload);
        let (kind, code) = (r.u8()?, r.u8()?);
        r.take(6)?;
        let (text, is_unreachable) = match packet.protocol {
            protocol::ICMP => text_v4(kind, code)?,
            protocol::ICMPV6 => text_v6(kind, code)?,
            _ => return None,
        };
        let quote = match packet.protocol {
            protocol::ICMP => quote_v4(r)?,
            _ => quote_v6(r)?,
        };
        let (source, destination, number, mut r) = quote;
        let [source_port, destination_port] = match number {
            protocol::TCP | protocol::UDP | protocol::SCTP => [r.u16()?, r.u16()?],
            // Type and code stand for both ports.
            protocol::ICMP | protocol::ICMPV6 => [r.u16()?; 2],
            _ => [0; 2],
        };
        let (source, destination) = (from_ip(source), from_ip(destination));
        (source == packet.destination).then_some(Self {
            source: (source, source_port),
            destination: (destination, destination_port),
            protocol: number,
            text,
            is_unreachable,
        })
    }
}

const fn text_v4(kind: u8, code: u8) -> Option<(&'static str, bool)> {
    Some(match (kind, code) {
        (3, 0) => ("network unreachable", true),
        (3, 1) => ("host unreachable", true),
        (3, 2) => ("protocol unreachable", true),
        (3, 3) => ("port unreachable", true),
        (3, 4) => ("fragmentation needed", false),
        (3, 9 | 10 | 13) => ("administratively prohibited", true),
        (3, _) => ("unreachable", true),
        (11, _) => ("time exceeded", false),
        (12, _) => ("parameter problem", false),
        _ => return None,
    })
}

const fn text_v6(kind: u8, code: u8) -> Option<(&'static str, bool)> {
    Some(match (kind, code) {
        (1, 0) => ("network unreachable", true),
        (1, 1 | 5 | 6) => ("administratively prohibited", true),
        (1, 3) => ("host unreachable", true),
        (1, 4) => ("port unreachable", true),
        (1, _) => ("unreachable", true),
        (2, _) => ("packet too big", false),
        (3, _) => ("time exceeded", false),
        (4, _) => ("parameter problem", false),
        _ => return None,
    })
}

type Quote<'a> = (IpAddr, IpAddr, u8, Reader<'a>);

fn quote_v4(mut r: Reader<'_>) -> Option<Quote<'_>> {
    let header = r.take(20)?;
    let length = usize::from(*header.first()? & 0xf) * 4;
    r.take(length.checked_sub(20)?)?;
    let fragment = u16::from_be_bytes(*header.get(6..)?.first_chunk()?);
    let address = |at: usize| {
        let bytes: [u8; 4] = *header.get(at..)?.first_chunk()?;
        Some(IpAddr::from(Ipv4Addr::from(bytes)))
    };
    let is_whole = header.first()? >> 4 == 4 && fragment & 0x1fff == 0;
    is_whole.then_some((address(12)?, address(16)?, *header.get(9)?, r))
}

fn quote_v6(mut r: Reader<'_>) -> Option<Quote<'_>> {
    let header = r.take(40)?;
    let address = |at: usize| {
        let bytes: [u8; 16] = *header.get(at..)?.first_chunk()?;
        Some(IpAddr::from(Ipv6Addr::from(bytes)))
    };
    if header.first()? >> 4 != 6 {
        return None;
    }
    let mut next = *header.get(6)?;
    for _ in 0..MAX_EXTENSIONS {
        let n_bytes = match next {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION => {
                usize::from(*r.0.get(1)?) * 8 + 8
            }
            // Offset 0: the fragment that has the ports.
            protocol::FRAGMENT if r.0.get(2..4)? == [0; 2] || r.0.get(2..4)? == [0, 1] => 8,
            protocol::FRAGMENT => return None,
            _ => break,
        };
        next = *r.take(n_bytes)?.first()?;
    }
    Some((address(8)?, address(24)?, next, r))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_common::event::EventHead;
    use sensor_common::packet::Packet;

    fn read(protocol: u8, to: IpAddr, payload: &[u8]) -> Option<IcmpError> {
        let mut packet = Packet::default();
        packet.protocol = protocol;
        packet.destination = from_ip(to);
        let head = EventHead {
            kind: Kind::Icmp as u8,
            packet,
            ..EventHead::default()
        };
        IcmpError::read(&Sample {
            head: &head,
            payload,
        })
    }

    fn error_v4(kind: u8, code: u8, protocol: u8) -> Vec<u8> {
        let mut bytes = vec![kind, code, 0, 0, 0, 0, 0, 0];
        bytes.extend([0x45, 0, 0, 29, 0, 0, 0, 0, 64, protocol, 0, 0]);
        bytes.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0x13, 0x88, 0x27, 0x0f, 0, 9, 0, 0]);
        bytes
    }

    #[test]
    fn an_error_names_the_flow_that_it_quotes() {
        let sender = IpAddr::from([10, 0, 0, 1]);
        let error = read(1, sender, &error_v4(3, 3, 17)).unwrap();
        assert_eq!(error.source, (from_ip(sender), 5_000));
        assert_eq!(error.destination.1, 9_999);
        assert_eq!(
            (error.text, error.is_unreachable),
            ("port unreachable", true)
        );
        let exceeded = read(1, sender, &error_v4(11, 0, 6)).unwrap();
        assert_eq!(
            (exceeded.text, exceeded.is_unreachable),
            ("time exceeded", false)
        );
        // Not for its receiver; no error; cut short; a later fragment.
        let other = IpAddr::from([10, 0, 0, 9]);
        assert_eq!(read(1, other, &error_v4(3, 3, 17)), None);
        assert_eq!(read(1, sender, &error_v4(8, 0, 17)), None);
        assert_eq!(read(1, sender, &error_v4(3, 3, 17)[..30]), None);
        let mut fragment = error_v4(3, 3, 17);
        fragment[15] = 9;
        assert_eq!(read(1, sender, &fragment), None);
    }

    #[test]
    fn errors_of_both_families_are_read_behind_extension_headers_too() {
        let sender = IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]);
        for (kind, text) in [
            (1, "port unreachable"),
            (2, "packet too big"),
            (3, "time exceeded"),
            (4, "parameter problem"),
        ] {
            for extension in [&[][..], &[17, 0, 0, 0, 0, 0, 0, 0][..]] {
                let mut bytes = vec![kind, 4, 0, 0, 0, 0, 0, 0];
                let next = if extension.is_empty() { 17 } else { 60 };
                bytes.extend([0x60, 0, 0, 0, 0, 9, next, 64]);
                let IpAddr::V6(v6) = sender else { panic!() };
                bytes.extend(v6.octets());
                bytes.extend([0; 16]);
                bytes.extend(extension);
                bytes.extend([0x13, 0x88, 0x27, 0x0f, 0, 9, 0, 0]);
                let error = read(58, sender, &bytes).unwrap();
                assert_eq!((error.text, error.protocol), (text, 17));
                assert_eq!((error.source.1, error.destination.1), (5_000, 9_999));
            }
        }
    }
}
