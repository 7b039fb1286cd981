//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use super::Reader;
use crate::address::Mac;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Request,
    Reply,
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arp {
    pub operation: Operation,
    pub sender_mac: Mac,
    pub sender: Ipv4Addr,
    pub target: Ipv4Addr,
}

impl Arp {
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let mut r = Reader(payload);
        // Hardware type Ethernet, protocol IPv4, with the lengths of their addresses.
        if r.take(6)? != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        let operation = match r.u16()? {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return None,
        };
        let sender_mac = *r.take(6)?.first_chunk()?;
        let sender = Ipv4Addr::from(*r.take(4)?.first_chunk::<4>()?);
        r.take(6)?;
        let target = Ipv4Addr::from(*r.take(4)?.first_chunk::<4>()?);
        Some(Self {
            operation,
            sender_mac,
            sender,
            target,
        })
    }

    /// Tells everybody about the sender, asked or not (RFC 5227).
    pub(crate) fn is_gratuitous(&self) -> bool {
        self.sender == self.target
    }
}
