//! Links: network interfaces of every kind.

use anyhow::{Context as _, Result};
use libc::{RTM_GETLINK, RTM_NEWLINK};

use super::attributes::{attributes, nested, number, number_at, text};
use super::fields::fields;
use super::socket::{Message, ROUTE, Request, Socket};

/// Bytes of `ifinfomsg`.
const HEADER_BYTES: usize = 16;
/// Leaves the counters out of a dump (`RTEXT_FILTER_SKIP_STATS`).
const SKIP_COUNTERS: u32 = 1 << 3;
const INFO_KIND: u16 = 1;
/// Settings of a family, of `linux/if_link.h`.
const INET_CONF: u16 = 1;
const INET6_CONF: u16 = 2;
const XDP_ATTACHED: u16 = 2;
const XDP_PROGRAM: u16 = 4;
const XDP_PROGRAM_DRIVER: u16 = 5;
const XDP_PROGRAM_GENERIC: u16 = 6;
const XDP_PROGRAM_HARDWARE: u16 = 7;

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// ARPHRD of `linux/if_arp.h`: what a frame begins with.
    pub hardware: u16,
    /// IFF of `linux/if.h`.
    pub flags: u32,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Link-layer address; empty where there is none.
    pub address: Vec<u8>,
    /// Kind of a virtual link, as veth or bridge.
    pub kind: Option<String>,
    /// The bridge, bond or VRF that this link is a port of.
    pub master: Option<u32>,
    /// The link below a VLAN, or the other end of a veth in the same namespace.
    pub lower: Option<u32>,
    /// True where the link below is in another network namespace.
    pub is_lower_elsewhere: bool,
    pub has_carrier: bool,
    pub n_receive_queues: u32,
    /// Packets received and sent since the link was made; 0 in dumps of all links.
    pub received_packets: u64,
    pub sent_packets: u64,
    pub xdp: Option<Xdp>,
    /// Packets of others that come in here are forwarded.
    pub forwards_v4: bool,
    pub forwards_v6: bool,
}

/// An XDP program that is attached to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xdp {
    pub mode: XdpMode,
    pub program_id: u32,
}

/// Place where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    Driver,
    Generic,
    Hardware,
}

impl Link {
    /// True unless an administrator took it down.
    pub const fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }

    /// True where frames begin with an Ethernet header; the loopback link's do.
    pub const fn has_ethernet(&self) -> bool {
        matches!(self.hardware, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK)
    }

    pub const fn is_loopback(&self) -> bool {
        self.flags & libc::IFF_LOOPBACK as u32 != 0
    }

    /// Reads a link message.
    pub(super) fn parse(message: &[u8]) -> Result<Self> {
        let mut link = Self {
            hardware: number_at(message, 2)?,
            index: number_at(message, 4)?,
            flags: number_at(message, 8)?,
            ..Self::default()
        };
        let mut below = None;
        for attribute in attributes(message, HEADER_BYTES)? {
            let (kind, value) = attribute?;
            match kind {
                libc::IFLA_IFNAME => link.name = text(value),
                libc::IFLA_ADDRESS => link.address = value.to_vec(),
                libc::IFLA_MTU => link.mtu = number(value)?,
                libc::IFLA_LINK => below = Some(number(value)?),
                libc::IFLA_MASTER => link.master = Some(number(value)?),
                libc::IFLA_LINKINFO => link.kind = info_kind(value)?,
                libc::IFLA_STATS64 => {
                    link.received_packets = number_at(value, 0)?;
                    link.sent_packets = number_at(value, 8)?;
                }
                libc::IFLA_NUM_RX_QUEUES => link.n_receive_queues = number(value)?,
                libc::IFLA_CARRIER => link.has_carrier = number::<u8>(value)? == 1,
                libc::IFLA_LINK_NETNSID => link.is_lower_elsewhere = true,
                libc::IFLA_XDP => link.xdp = xdp(value)?,
                libc::IFLA_AF_SPEC => link.take_families(value)?,
                _ => {}
            }
        }
        link.lower = below.filter(|index| *index != 0 && *index != link.index);
        Ok(link)
    }
}

impl Link {
    /// Reads the settings of the address families: of each an array in the order of its settings
    /// (`linux/ip.h`, `linux/ipv6.h`), where forwarding is the first.
    fn take_families(&mut self, families: &[u8]) -> Result<()> {
        for family in nested(families) {
            let (family, settings) = family?;
            let (forwards, wanted) = match i32::from(family) {
                libc::AF_INET => (&mut self.forwards_v4, INET_CONF),
                libc::AF_INET6 => (&mut self.forwards_v6, INET6_CONF),
                _ => continue,
            };
            for setting in nested(settings) {
                let (kind, values) = setting?;
                if kind == wanted {
                    *forwards = number::<i32>(values)? != 0;
                }
            }
        }
        Ok(())
    }
}

fn info_kind(info: &[u8]) -> Result<Option<String>> {
    for attribute in nested(info) {
        let (kind, value) = attribute?;
        if kind == INFO_KIND {
            return Ok(Some(text(value)));
        }
    }
    Ok(None)
}

fn xdp(value: &[u8]) -> Result<Option<Xdp>> {
    let mut mode = None;
    let mut ids = [None; 4];
    for attribute in nested(value) {
        let (kind, value) = attribute?;
        let id = match kind {
            XDP_ATTACHED => {
                mode = match number::<u8>(value)? {
                    1 => Some(XdpMode::Driver),
                    2 => Some(XdpMode::Generic),
                    3 => Some(XdpMode::Hardware),
                    _ => mode,
                };
                continue;
            }
            XDP_PROGRAM => 0,
            XDP_PROGRAM_DRIVER => 1,
            XDP_PROGRAM_GENERIC => 2,
            XDP_PROGRAM_HARDWARE => 3,
            _ => continue,
        };
        ids[id] = Some(number(value)?);
    }
    let [only, driver, generic, hardware] = ids;
    // Several at once have no common mode: the one nearest to the wire is named.
    let mode = mode.or(match (hardware, driver) {
        (Some(_), _) => Some(XdpMode::Hardware),
        (None, Some(_)) => Some(XdpMode::Driver),
        (None, None) => generic.map(|_| XdpMode::Generic),
    });
    let program_id = only.or(hardware).or(driver).or(generic);
    Ok(mode
        .zip(program_id)
        .map(|(mode, program_id)| Xdp { mode, program_id }))
}

fn header(index: u32) -> Vec<u8> {
    fields!(libc::AF_UNSPEC as u8, 0u8, 0u16, index, 0u32, 0u32)
}

/// Every link of this network namespace, without counters.
///
/// # Errors
/// When the links can't be read.
pub fn links() -> Result<Vec<Link>> {
    let request = Request::new(RTM_GETLINK, header(0))
        .with(libc::IFLA_EXT_MASK, &SKIP_COUNTERS.to_ne_bytes());
    let take = |links: &mut Vec<Link>, message: Message<'_>| {
        if message.kind == RTM_NEWLINK {
            links.push(Link::parse(message.payload)?);
        }
        Ok(())
    };
    let links = Socket::open(ROUTE, 0).and_then(|mut socket| socket.dump(&request, take));
    links.context("links can't be read from the kernel")
}

/// The link of a name; `None` where there is none.
///
/// # Errors
/// When links can't be read.
pub fn link(name: &str) -> Result<Option<Link>> {
    // The kernel takes 15 characters and calls more an invalid argument.
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Ok(None);
    }
    let mut terminated = name.as_bytes().to_vec();
    terminated.push(0);
    one(&Request::new(RTM_GETLINK, header(0)).with(libc::IFLA_IFNAME, &terminated))
}

/// The link of an index; `None` where there is none.
///
/// # Errors
/// When links can't be read.
pub fn link_by_index(index: u32) -> Result<Option<Link>> {
    one(&Request::new(RTM_GETLINK, header(index)))
}

fn one(request: &Request) -> Result<Option<Link>> {
    let answer = Socket::open(ROUTE, 0).and_then(|mut socket| socket.get(request));
    match answer {
        Ok(message) => Link::parse(&message).map(Some),
        Err(cause) => {
            let system = cause.downcast_ref::<std::io::Error>();
            if system.and_then(std::io::Error::raw_os_error) == Some(libc::ENODEV) {
                return Ok(None);
            }
            Err(cause.context("links can't be read from the kernel"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_by_name_and_index() {
        let all = links().unwrap();
        let loopback = all.iter().find(|link| link.is_loopback()).unwrap();
        assert_eq!(loopback.name, "lo");
        let named = link("lo").unwrap().unwrap();
        assert_eq!(named.index, loopback.index);
        let indexed = link_by_index(loopback.index).unwrap().unwrap();
        assert_eq!(
            (indexed.name.as_str(), indexed.hardware),
            ("lo", libc::ARPHRD_LOOPBACK)
        );
        assert!(indexed.mtu > 0);
    }

    #[test]
    fn an_absent_link_is_none_and_no_error() {
        assert_eq!(link("no-such-link-12").unwrap(), None);
        assert_eq!(link("a-name-longer-than-the-kernel-takes").unwrap(), None);
        assert_eq!(link("").unwrap(), None);
        assert_eq!(link_by_index(0x7fff_fff0).unwrap(), None);
    }

    #[test]
    fn a_cut_message_is_an_error() {
        assert!(Link::parse(&[0; 12]).is_err());
        let mut message = header(3);
        message.extend([9, 0, 4, 0, 1]);
        assert!(Link::parse(&message).is_err());
    }
}
