//! Addresses of the host.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use libc::{RTM_GETADDR, RTM_NEWADDR};

use super::attributes::{attributes, ip, number_at};
use super::fields::fields;
use super::socket::{Message, ROUTE, Request, Socket};

/// Bytes of `ifaddrmsg`.
const HEADER_BYTES: usize = 8;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Index of the interface.
    pub link: u32,
    pub local: IpAddr,
    /// Length of the network on the link.
    pub prefix_length: u8,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
}

impl Address {
    /// Reads an address message; `None` for one of another family than IPv4 and IPv6.
    pub(super) fn parse(message: &[u8]) -> Result<Option<Self>> {
        let family = i32::from(number_at::<u8>(message, 0)?);
        if family != libc::AF_INET && family != libc::AF_INET6 {
            return Ok(None);
        }
        let (mut local, mut address) = (None, None);
        for attribute in attributes(message, HEADER_BYTES)? {
            let (kind, value) = attribute?;
            match kind {
                libc::IFA_LOCAL => local = Some(ip(value)?),
                libc::IFA_ADDRESS => address = Some(ip(value)?),
                _ => {}
            }
        }
        // Where both are there and differ, IFA_ADDRESS is the other end.
        let own = local
            .or(address)
            .context("address message without address")?;
        Ok(Some(Self {
            link: number_at(message, 4)?,
            local: own,
            prefix_length: number_at(message, 1)?,
            peer: address.filter(|address| *address != own && !address.is_unspecified()),
        }))
    }
}

/// Every address of every interface.
///
/// # Errors
/// When the addresses can't be read.
pub fn addresses() -> Result<Vec<Address>> {
    let request = Request::new(RTM_GETADDR, fields!(0u8, 0u8, 0u8, 0u8, 0u32));
    let take = |found: &mut Vec<Address>, message: Message<'_>| {
        if message.kind == RTM_NEWADDR {
            found.extend(Address::parse(message.payload)?);
        }
        Ok(())
    };
    let found = Socket::open(ROUTE, 0).and_then(|mut socket| socket.dump(&request, take));
    found.context("addresses can't be read from the kernel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_address() {
        let found = addresses().unwrap();
        let loopback: IpAddr = [127, 0, 0, 1].into();
        assert!(
            found.iter().any(|address| address.local == loopback),
            "{found:?}"
        );
    }

    #[test]
    fn both_ends_of_a_point_to_point_link_are_told_apart() {
        let mut message = vec![libc::AF_INET as u8, 32, 0, 0, 7, 0, 0, 0];
        message[4..8].copy_from_slice(&7u32.to_ne_bytes());
        for (kind, last) in [(libc::IFA_ADDRESS, 2), (libc::IFA_LOCAL, 1)] {
            message.extend(8u16.to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend([192, 0, 2, last]);
        }
        let address = Address::parse(&message).unwrap().unwrap();
        assert_eq!(address.local.to_string(), "192.0.2.1");
        assert_eq!(address.peer.unwrap().to_string(), "192.0.2.2");
        assert_eq!((address.link, address.prefix_length), (7, 32));
        assert!(Address::parse(&message[..8]).is_err());
        message[0] = 28;
        assert_eq!(Address::parse(&message).unwrap(), None);
    }
}
