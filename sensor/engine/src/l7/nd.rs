//! Neighbour discovery of IPv6 (RFC 4861, router preference RFC 4191).

use std::net::{IpAddr, Ipv6Addr};

use sensor_common::Address;
use sensor_common::packet::{Packet, protocol};

use super::Reader;
use crate::address::{Mac, from_ip};

/// Options read of one message.
const MAX_OPTIONS: usize = 16;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Asks who has an address.
    Solicitation { target: Address },
    /// Says that its sender has an address; `overrides` what others know.
    Advertisement { target: Address, overrides: bool },
    /// Offers the sender as a router for so long; 0: no more.
    Router { lifetime_s: u16, is_preferred: bool },
}

/// One message with the link-layer address that it tells, where it tells one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeighbourMessage {
    pub message: Message,
    pub mac: Option<Mac>,
}

impl NeighbourMessage {
    /// Reads an ICMPv6 message from its type on; `None` for what a host would not take for one: it
    /// has come from elsewhere than the link, or has a code.
    pub(crate) fn read(packet: &Packet, payload: &[u8]) -> Option<Self> {
        if packet.protocol != protocol::ICMPV6 || packet.ttl != u8::MAX {
            return None;
        }
        let mut r = Reader(payload);
        let kind = r.u8()?;
        let code = r.u8()?;
        let _checksum = r.u16()?;
        if code != 0 {
            return None;
        }
        let message = match kind {
            134 => {
                let _hop_limit = r.u8()?;
                let flags = r.u8()?;
                let lifetime_s = r.u16()?;
                r.take(8)?;
                Message::Router {
                    lifetime_s,
                    is_preferred: flags >> 3 & 3 == 1,
                }
            }
            135 => {
                r.take(4)?;
                Message::Solicitation {
                    target: address(&mut r)?,
                }
            }
            136 => {
                let flags = r.u8()?;
                r.take(3)?;
                Message::Advertisement {
                    target: address(&mut r)?,
                    overrides: flags & 0x20 != 0,
                }
            }
            _ => return None,
        };
        let wanted = match message {
            Message::Advertisement { .. } => TARGET_LINK_ADDRESS,
            Message::Solicitation { .. } | Message::Router { .. } => SOURCE_LINK_ADDRESS,
        };
        Some(Self {
            message,
            mac: link_address(r, wanted),
        })
    }
}

fn address(r: &mut Reader<'_>) -> Option<Address> {
    let bytes = r.take(16)?.first_chunk::<16>()?;
    Some(from_ip(IpAddr::V6(Ipv6Addr::from(*bytes))))
}

fn link_address(mut r: Reader<'_>, wanted: u8) -> Option<Mac> {
    for _ in 0..MAX_OPTIONS {
        let kind = r.u8()?;
        // In units of eight bytes, the two read so far among them; zero is not allowed.
        let n_bytes = usize::from(r.u8()?) * 8;
        let body = r.take(n_bytes.checked_sub(2)?)?;
        if kind == wanted {
            return body.first_chunk().copied();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    fn packet(ttl: u8) -> Packet {
        let mut packet = Packet::default();
        (packet.protocol, packet.ttl) = (protocol::ICMPV6, ttl);
        packet
    }

    fn router(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![134, 0, 0, 0, 64, 0x08, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(options);
        bytes
    }

    #[test]
    fn a_router_advertisement_tells_lifetime_preference_and_link_address() {
        let mut options = vec![5, 1, 0, 0, 0, 0, 5, 0xdc, 1, 1];
        options.extend(MAC);
        let read = NeighbourMessage::read(&packet(255), &router(&options)).unwrap();
        let message = Message::Router {
            lifetime_s: 1_800,
            is_preferred: true,
        };
        assert_eq!((read.message, read.mac), (message, Some(MAC)));
    }

    #[test]
    fn forwarded_and_truncated_messages_are_ignored() {
        assert_eq!(NeighbourMessage::read(&packet(254), &router(&[])), None);
        let whole = router(&[]);
        for n in 0..whole.len() {
            assert_eq!(NeighbourMessage::read(&packet(255), &whole[..n]), None);
        }
        // An option without length, and one that ends behind the message.
        for options in [[1, 0, 2, 0], [1, 1, 2, 0]] {
            let read = NeighbourMessage::read(&packet(255), &router(&options)).unwrap();
            assert_eq!(read.mac, None);
        }
    }

    #[test]
    fn an_advertisement_tells_its_target_and_whether_it_overrides() {
        let mut bytes = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
        bytes.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
        bytes.extend([2, 1]);
        bytes.extend(MAC);
        let read = NeighbourMessage::read(&packet(255), &bytes).unwrap();
        let target = from_ip(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5)));
        let overrides = true;
        assert_eq!(read.message, Message::Advertisement { target, overrides });
        assert_eq!(read.mac, Some(MAC));
    }
}
