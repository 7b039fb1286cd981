//! Networks of the site: the one definition of who is inside.
//!
//! Those that are configured come first. Without any, the addresses of the host itself, the networks that it
//! serves, and all that are private.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use sensor_common::Address;

use crate::address::to_ip;

/// Addresses and networks of the host that the sensor runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNetworks {
    /// Addresses of the host itself.
    pub own: BTreeSet<IpNet>,
    /// Networks that the host forwards for; those of the configuration take their place.
    pub served: BTreeSet<IpNet>,
    /// It serves networks that are not known.
    pub serves_more: bool,
    /// The host forwards packets of others. Where it does not, whoever was seen leaving is local.
    pub forwards_v4: bool,
    pub forwards_v6: bool,
}

/// Networks without overlaps, in the order of their addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct NetworkSet(Vec<IpNet>);

impl NetworkSet {
    pub(crate) fn of(networks: BTreeSet<IpNet>) -> Self {
        let mut kept: Vec<IpNet> = Vec::new();
        for network in networks {
            // A network sorts before those within it.
            if !kept.last().is_some_and(|last| last.contains(&network)) {
                kept.push(network);
            }
        }
        Self(kept)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }

    /// The network that an address is in.
    pub(crate) fn find(&self, address: IpAddr) -> Option<IpNet> {
        let one = IpNet::from(address);
        let n = self.0.partition_point(|it| it.network() <= one.addr());
        let network = self.0.get(n.checked_sub(1)?)?;
        network.contains(&address).then_some(*network)
    }
}

/// Networks of the site.
#[derive(Clone, Debug, Default)]
pub(crate) struct Site {
    networks: NetworkSet,
    is_configured: bool,
}

impl Site {
    /// The site of a configuration and, live, of the host that the sensor runs on.
    pub(crate) fn of(configured: &[IpNet], host: Option<&HostNetworks>) -> Self {
        let mut all: BTreeSet<IpNet> = configured.iter().copied().collect();
        if let Some(host) = host {
            all.extend(&host.own);
            if configured.is_empty() {
                all.extend(&host.served);
            }
        }
        Self {
            networks: NetworkSet::of(all),
            is_configured: !configured.is_empty(),
        }
    }

    /// True for a host of the site, and for addresses that go no further than the link.
    pub(crate) fn has(&self, address: &Address) -> bool {
        let ip = to_ip(address);
        is_of_link(ip)
            || (!self.is_configured && is_private(ip))
            || self.networks.find(ip).is_some()
    }

    /// True for two hosts of the site. Those of one assignment are of one site, though nobody said whose it is.
    pub(crate) fn has_both(&self, a: &Address, b: &Address) -> bool {
        let is_shared = || !self.is_configured && are_of_one_assignment(to_ip(a), to_ip(b));
        (self.has(a) && self.has(b)) || is_shared()
    }
}

/// Bits of what one customer is given of IPv6: a /56 is usual, and a /48 may be many customers' (RFC 6177).
const ASSIGNMENT_BITS: u32 = 56;

/// True for addresses of hosts out of one customer's networks. IPv6 alone: neighbours in an IPv4 network may be strangers.
fn are_of_one_assignment(a: IpAddr, b: IpAddr) -> bool {
    let (IpAddr::V6(a), IpAddr::V6(b)) = (a, b) else {
        return false;
    };
    let differ = a.to_bits() ^ b.to_bits();
    // 2000::/3, which is all that is assigned to anybody (RFC 4291).
    a.segments()[0] >> 13 == 1 && differ.leading_zeros() >= ASSIGNMENT_BITS
}

/// Addresses of the host and the link, and groups (RFC 3927, 4291).
fn is_of_link(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_loopback() || v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

/// Addresses of sites (RFC 1918, 4193, 6598).
const fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::from_ip;

    fn has(site: &Site, address: &str) -> bool {
        site.has(&from_ip(address.parse().unwrap()))
    }

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn without_a_configuration_private_addresses_are_inside_and_what_the_host_has() {
        let site = Site::of(&[], None);
        for inside in [
            "10.1.2.3",
            "192.168.0.9",
            "100.64.1.1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(has(&site, inside), "{inside}");
        }
        for outside in ["203.0.113.7", "100.128.0.1", "2001:db8::1"] {
            assert!(!has(&site, outside), "{outside}");
        }
        let host = HostNetworks {
            own: networks(&["203.0.113.7/32"]).into_iter().collect(),
            served: networks(&["2001:db8:1::/48"]).into_iter().collect(),
            ..HostNetworks::default()
        };
        let site = Site::of(&[], Some(&host));
        assert!(has(&site, "203.0.113.7") && !has(&site, "203.0.113.8"));
        assert!(has(&site, "2001:db8:1::9") && has(&site, "10.1.2.3"));
    }

    #[test]
    fn hosts_of_one_assignment_are_of_one_site_unless_a_configuration_says_otherwise() {
        let both = |site: &Site, a: &str, b: &str| {
            let of = |text: &str| from_ip(text.parse().unwrap());
            site.has_both(&of(a), &of(b))
        };
        let site = Site::of(&[], None);
        for [a, b] in [
            ["2001:db8:0:100::1", "2001:db8:0:100::2"],
            ["2001:db8:0:100::1", "2001:db8:0:1ff::2"],
            ["10.0.0.1", "fd00::1"],
        ] {
            assert!(both(&site, a, b), "{a} {b}");
        }
        for [a, b] in [
            ["2001:db8:0:100::1", "2001:db8:0:200::1"],
            ["203.0.113.1", "203.0.113.2"],
            ["ff02::1", "ff02::2"],
            ["10.0.0.1", "2001:db8::1"],
        ] {
            assert!(!both(&site, a, b), "{a} {b}");
        }
        let site = Site::of(&networks(&["10.0.0.0/8"]), None);
        assert!(!both(&site, "2001:db8::1", "2001:db8::2"));
    }

    #[test]
    fn a_configuration_says_alone_who_is_inside() {
        let host = HostNetworks {
            own: networks(&["198.51.100.1/32"]).into_iter().collect(),
            served: networks(&["10.9.0.0/16"]).into_iter().collect(),
            ..HostNetworks::default()
        };
        let configured = networks(&["203.0.113.0/24", "203.0.113.0/28", "172.18.0.0/16"]);
        let site = Site::of(&configured, Some(&host));
        for inside in [
            "203.0.113.200",
            "172.18.39.6",
            "198.51.100.1",
            "169.254.1.1",
        ] {
            assert!(has(&site, inside), "{inside}");
        }
        for outside in ["10.10.10.5", "10.9.1.1", "172.19.0.1", "fd00::1"] {
            assert!(!has(&site, outside), "{outside}");
        }
    }
}
