//! Routes of every table, and next hops.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use libc::{RTM_GETROUTE, RTM_NEWROUTE};

use super::attributes::{attributes, ip, nested, number, number_at};
use super::fields::fields;
use super::link::{Link, link_by_index};
use super::socket::{Message, ROUTE, Request, Socket};

/// Bytes of `rtmsg`.
const HEADER_BYTES: usize = 12;
/// Bytes of `rtnexthop`.
const HOP_BYTES: usize = 8;
/// Bytes of `nhmsg`.
const NEXT_HOP_BYTES: usize = 8;
/// Messages of `linux/rtnetlink.h` that `libc` does not name.
pub(super) const RTM_NEWNEXTHOP: u16 = 104;
pub(super) const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;
const NHA_ID: u16 = 1;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

/// A route of any table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub table: u32,
    pub kind: RouteKind,
    /// The kernel made it itself, of an address.
    pub is_of_kernel: bool,
    /// `None` for families other than IPv4 and IPv6, as MPLS, whose next hops count all the same.
    pub destination: Option<IpNet>,
    /// Lower is preferred.
    pub metric: u32,
    /// Next hops: one, or several of a multipath route.
    pub hops: Vec<Hop>,
    /// The next hop object that the route uses ([`next_hops`]).
    pub next_hop: Option<u32>,
}

/// Treatment of a packet by a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Takes it in: the destination is this host's own.
    Local,
    /// Broadcast, multicast, or no way at all.
    Other,
}

/// One way of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// Index of the interface.
    pub link: Option<u32>,
    /// `None` where the destination is on the link itself.
    pub gateway: Option<IpAddr>,
}

/// A next hop object; groups of them have none of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    pub id: u32,
    pub hop: Hop,
}

impl Route {
    /// Reads a route message.
    pub(super) fn parse(message: &[u8]) -> Result<Self> {
        let family = i32::from(number_at::<u8>(message, 0)?);
        let length: u8 = number_at(message, 1)?;
        let mut route = Self {
            table: number_at::<u8>(message, 4)?.into(),
            kind: match number_at::<u8>(message, 7)? {
                libc::RTN_UNICAST => RouteKind::Unicast,
                libc::RTN_LOCAL => RouteKind::Local,
                _ => RouteKind::Other,
            },
            is_of_kernel: number_at::<u8>(message, 5)? == libc::RTPROT_KERNEL,
            destination: None,
            metric: 0,
            hops: Vec::new(),
            next_hop: None,
        };
        let mut destination = unspecified(family);
        let mut hop = Hop::default();
        for attribute in attributes(message, HEADER_BYTES)? {
            let (kind, value) = attribute?;
            match kind {
                libc::RTA_DST if destination.is_some() => destination = Some(ip(value)?),
                libc::RTA_TABLE => route.table = number(value)?,
                libc::RTA_PRIORITY => route.metric = number(value)?,
                libc::RTA_MULTIPATH => route.hops = multipath(value)?,
                RTA_NH_ID => route.next_hop = Some(number(value)?),
                _ => hop.take(kind, value)?,
            }
        }
        if hop != Hop::default() {
            route.hops.push(hop);
        }
        if let Some(address) = destination {
            let network = IpNet::new(address, length).context("prefix length out of range")?;
            route.destination = Some(network.trunc());
        }
        Ok(route)
    }
}

impl Hop {
    fn take(&mut self, kind: u16, value: &[u8]) -> Result<()> {
        match kind {
            libc::RTA_OIF => self.link = Some(number(value)?),
            libc::RTA_GATEWAY => self.gateway = gateway(ip(value)?),
            RTA_VIA => self.gateway = via(value)?,
            _ => {}
        }
        Ok(())
    }
}

fn gateway(address: IpAddr) -> Option<IpAddr> {
    (!address.is_unspecified()).then_some(address)
}

/// A gateway of another family than the route's: its family, then its address.
fn via(value: &[u8]) -> Result<Option<IpAddr>> {
    let family = i32::from(number::<u16>(value)?);
    let address = value.get(2..).unwrap_or_default();
    if family != libc::AF_INET && family != libc::AF_INET6 {
        return Ok(None);
    }
    ip(address).map(gateway)
}

fn multipath(mut value: &[u8]) -> Result<Vec<Hop>> {
    let mut hops = Vec::new();
    while !value.is_empty() {
        let length = usize::from(number_at::<u16>(value, 0)?);
        ensure!(length >= HOP_BYTES, "next hop of {length} bytes");
        let mut hop = Hop {
            link: Some(number_at(value, 4)?),
            gateway: None,
        };
        let inner = value.get(HOP_BYTES..length).context("next hop is cut")?;
        for attribute in nested(inner) {
            let (kind, value) = attribute?;
            hop.take(kind, value)?;
        }
        hops.push(hop);
        value = value.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(hops)
}

fn unspecified(family: i32) -> Option<IpAddr> {
    match family {
        libc::AF_INET => Some(Ipv4Addr::UNSPECIFIED.into()),
        libc::AF_INET6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    }
}

fn header(family: i32, length: u8) -> Vec<u8> {
    fields!(family as u8, length, 0u8, 0u8, 0u8, 0u8, 0u8, 0u8, 0u32)
}

/// Folds the routes of every table and family into a value: a router may have a million of them.
///
/// # Errors
/// When the routes can't be read.
pub fn routes<A: Default>(mut take: impl FnMut(&mut A, Route)) -> Result<A> {
    let request = Request::new(RTM_GETROUTE, header(libc::AF_UNSPEC, 0));
    let take = |all: &mut A, message: Message<'_>| {
        if message.kind == RTM_NEWROUTE {
            take(all, Route::parse(message.payload)?);
        }
        Ok(())
    };
    let all = Socket::open(ROUTE, 0).and_then(|mut socket| socket.dump(&request, take));
    all.context("routes can't be read from the kernel")
}

impl NextHop {
    /// Reads a next hop message; `None` for a group or one that leads nowhere.
    pub(super) fn parse(message: &[u8]) -> Result<Option<Self>> {
        let mut id = None;
        let mut hop = Hop::default();
        for attribute in attributes(message, NEXT_HOP_BYTES)? {
            let (kind, value) = attribute?;
            match kind {
                NHA_ID => id = Some(number(value)?),
                NHA_OIF => hop.link = Some(number(value)?),
                NHA_GATEWAY => hop.gateway = gateway(ip(value)?),
                _ => {}
            }
        }
        let id = id.context("next hop without number")?;
        Ok((hop != Hop::default()).then_some(Self { id, hop }))
    }
}

/// Every next hop object. Routes that use one don't name its gateway where
/// `net.ipv4.nexthop_compat_mode` is off.
///
/// # Errors
/// When next hops can't be read.
pub fn next_hops() -> Result<Vec<NextHop>> {
    let request = Request::new(RTM_GETNEXTHOP, fields!(0u8, 0u8, 0u8, 0u8, 0u32));
    let take = |found: &mut Vec<NextHop>, message: Message<'_>| {
        if message.kind == RTM_NEWNEXTHOP {
            found.extend(NextHop::parse(message.payload)?);
        }
        Ok(())
    };
    let found = Socket::open(ROUTE, 0).and_then(|mut socket| socket.dump(&request, take));
    found.context("next hops can't be read from the kernel")
}

/// The link of the main table's preferred default route, IPv4 before IPv6; `None` without one.
///
/// # Errors
/// When routes, next hops or links can't be read.
pub fn default_link() -> Result<Option<Link>> {
    let take = |best: &mut Vec<Route>, route: Route| {
        let is_default = route.destination.is_some_and(|to| to.prefix_len() == 0);
        if is_default && route.kind == RouteKind::Unicast && is_main(route.table) {
            best.push(route);
        }
    };
    let mut found: Vec<Route> = routes(take)?;
    // Of routes alike, the kernel tells the one it uses first.
    found.sort_by_key(|route| {
        let is_v6 = matches!(route.destination, Some(IpNet::V6(_)));
        (is_v6, route.metric)
    });
    let Some(route) = found.first() else {
        return Ok(None);
    };
    let mut index = route.hops.iter().find_map(|hop| hop.link);
    if let (None, Some(id)) = (index, route.next_hop) {
        let objects = next_hops()?;
        index = objects
            .iter()
            .find(|object| object.id == id)
            .and_then(|object| object.hop.link);
    }
    index.map_or(Ok(None), link_by_index)
}

const fn is_main(table: u32) -> bool {
    table == libc::RT_TABLE_MAIN as u32
}

/// The link by which the host reaches an address; `None` where there is no route to it.
///
/// # Errors
/// When the kernel can't be asked.
pub fn link_towards(address: IpAddr) -> Result<Option<Link>> {
    let (header, octets) = match address {
        IpAddr::V4(v4) => (header(libc::AF_INET, 32), v4.octets().to_vec()),
        IpAddr::V6(v6) => (header(libc::AF_INET6, 128), v6.octets().to_vec()),
    };
    let request = Request::new(RTM_GETROUTE, header).with(libc::RTA_DST, &octets);
    let answer = Socket::open(ROUTE, 0).and_then(|mut socket| socket.get(&request));
    let route = match answer {
        Ok(message) => Route::parse(&message)?,
        Err(cause) if is_unreachable(&cause) => return Ok(None),
        Err(cause) => return Err(cause.context("the kernel's route can't be asked for")),
    };
    let index = route.hops.iter().find_map(|hop| hop.link);
    index.map_or(Ok(None), link_by_index)
}

fn is_unreachable(cause: &anyhow::Error) -> bool {
    let system = cause.downcast_ref::<io::Error>();
    let number = system.and_then(io::Error::raw_os_error);
    matches!(
        number,
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn hop(link: u32, inner: &[u8]) -> Vec<u8> {
        let length = u16::try_from(HOP_BYTES + inner.len()).unwrap();
        let mut bytes = fields!(length, 0u8, 0u8, link);
        bytes.extend(inner);
        bytes
    }

    fn gateways(route: &Route) -> Vec<String> {
        let gateways = route.hops.iter().filter_map(|hop| hop.gateway);
        gateways.map(|address| address.to_string()).collect()
    }

    #[test]
    fn every_hop_of_a_multipath_route_is_read() {
        let mut message = header(libc::AF_INET, 0);
        message[7] = libc::RTN_UNICAST;
        let via = [
            &(libc::AF_INET6 as u16).to_ne_bytes()[..],
            &[0xfe, 0x80],
            &[0; 13],
            &[7],
        ]
        .concat();
        let hops = [
            hop(2, &attribute(libc::RTA_GATEWAY, &[192, 0, 2, 1])),
            hop(3, &attribute(RTA_VIA, &via)),
            hop(4, &[]),
        ];
        message.extend(attribute(libc::RTA_TABLE, &1000u32.to_ne_bytes()));
        message.extend(attribute(libc::RTA_MULTIPATH, &hops.concat()));
        let route = Route::parse(&message).unwrap();
        assert_eq!(route.table, 1000);
        assert_eq!(route.destination, Some("0.0.0.0/0".parse().unwrap()));
        assert_eq!(gateways(&route), ["192.0.2.1", "fe80::7"]);
        let links: Vec<_> = route.hops.iter().map(|hop| hop.link).collect();
        assert_eq!(links, [Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn cut_routes_are_errors() {
        assert!(Route::parse(&[0; 8]).is_err());
        let mut message = header(libc::AF_INET, 33);
        assert!(Route::parse(&message).is_err(), "33 bits of IPv4");
        message[1] = 0;
        assert!(Route::parse(&message).is_ok());
        message.extend(attribute(libc::RTA_MULTIPATH, &[4, 0, 0, 0, 1, 0, 0, 0]));
        assert!(Route::parse(&message).is_err(), "a hop of 4 bytes");
    }

    #[test]
    fn groups_of_next_hops_have_no_hop() {
        let id = attribute(NHA_ID, &5u32.to_ne_bytes());
        let head = vec![0; NEXT_HOP_BYTES];
        let group = [head.clone(), id.clone()].concat();
        assert_eq!(NextHop::parse(&group).unwrap(), None);
        let one = [head.clone(), id, attribute(NHA_GATEWAY, &[192, 0, 2, 1])].concat();
        assert_eq!(NextHop::parse(&one).unwrap().unwrap().id, 5);
        assert!(NextHop::parse(&head).is_err());
    }

    #[test]
    fn loopback_is_routed_to_itself() {
        let local = routes(|found: &mut bool, route| {
            *found |= route.kind == RouteKind::Local;
        });
        assert!(local.unwrap());
        next_hops().unwrap();
        let link = link_towards([127, 0, 0, 1].into()).unwrap().unwrap();
        assert!(link.is_loopback());
        default_link().unwrap();
    }
}
