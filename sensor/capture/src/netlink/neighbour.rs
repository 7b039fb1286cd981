//! Neighbours: who was seen on a link, and which of them route.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use libc::{RTM_GETNEIGH, RTM_NEWNEIGH};

use super::attributes::{attributes, ip, number_at};
use super::fields::fields;
use super::socket::{Message, ROUTE, Request, Socket};

/// Bytes of `ndmsg`.
const HEADER_BYTES: usize = 12;

/// An entry of the neighbour tables (ARP, neighbour discovery).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// Index of the interface.
    pub link: u32,
    pub address: IpAddr,
    /// Link-layer address; empty where none was learnt.
    pub station: Vec<u8>,
    /// Set if it called itself a router in a neighbour advertisement (RFC 4861, flag R), or sent a
    /// router advertisement.
    pub is_router: bool,
}

impl Neighbour {
    /// Reads a neighbour message; `None` for one of another family than IPv4 and IPv6.
    pub(super) fn parse(message: &[u8]) -> Result<Option<Self>> {
        let family = i32::from(number_at::<u8>(message, 0)?);
        if family != libc::AF_INET && family != libc::AF_INET6 {
            return Ok(None);
        }
        let flags: u8 = number_at(message, 10)?;
        let (mut address, mut station) = (None, Vec::new());
        for attribute in attributes(message, HEADER_BYTES)? {
            let (kind, value) = attribute?;
            match kind {
                libc::NDA_DST => address = Some(ip(value)?),
                libc::NDA_LLADDR => station = value.to_vec(),
                _ => {}
            }
        }
        Ok(Some(Self {
            link: number_at(message, 4)?,
            address: address.context("neighbour message without address")?,
            station,
            is_router: flags & libc::NTF_ROUTER != 0,
        }))
    }
}

/// Every neighbour on every link.
///
/// # Errors
/// When the neighbours can't be read.
pub fn neighbours() -> Result<Vec<Neighbour>> {
    let request = Request::new(RTM_GETNEIGH, fields!(0u8, 0u8, 0u16, 0u32, 0u16, 0u8, 0u8));
    let take = |found: &mut Vec<Neighbour>, message: Message<'_>| {
        if message.kind == RTM_NEWNEIGH {
            found.extend(Neighbour::parse(message.payload)?);
        }
        Ok(())
    };
    let found = Socket::open(ROUTE, 0).and_then(|mut socket| socket.dump(&request, take));
    found.context("neighbours can't be read from the kernel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routers_are_told_by_their_flag() {
        let mut message = vec![0; HEADER_BYTES];
        message[0] = libc::AF_INET as u8;
        message[4..8].copy_from_slice(&3u32.to_ne_bytes());
        message.extend(8u16.to_ne_bytes());
        message.extend(libc::NDA_DST.to_ne_bytes());
        message.extend([192, 0, 2, 9]);
        assert!(!Neighbour::parse(&message).unwrap().unwrap().is_router);
        message[10] = libc::NTF_ROUTER;
        let router = Neighbour::parse(&message).unwrap().unwrap();
        assert!(router.is_router && router.link == 3);
        assert!(Neighbour::parse(&message[..HEADER_BYTES]).is_err());
        neighbours().unwrap();
    }
}
