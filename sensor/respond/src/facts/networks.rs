//! Networks of the host: its own addresses, and those that it forwards for.
//!
//! A link leads inside where the host forwards what comes in there and no default route leaves by it;
//! a bridge always does, as its ports are the one network. Networks on such a link, and networks that
//! are routed through it, are served. What can't be told apart counts as served.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use sensor_capture::netlink::{Address, Link, Route, RouteKind};
use sensor_engine::HostNetworks;

/// Table that the default routes of the host are in (`RT_TABLE_MAIN`).
const MAIN_TABLE: u32 = 254;
/// Networks that are remembered; a router of the Internet has a million.
const MAX_NETWORKS: usize = 4_096;
/// Shortest prefixes of a network that may lie inside: the parts of a default route that a VPN sets
/// are shorter, and so is 2000::/3.
const WIDEST_INSIDE: [u8; 2] = [8, 16];

/// Networks of the host, as its links, addresses and routes tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    pub host: HostNetworks,
    /// Indexes of ports of bridges that have no address themselves: whom these serve is not known.
    pub bare_ports: BTreeSet<u32>,
}

/// Routes as far as they tell where inside is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inside {
    /// Links by which default routes leave, IPv4 and IPv6.
    defaults: BTreeSet<(bool, u32)>,
    /// Other networks with the links that lead there; `None`: it isn't known which.
    routed: BTreeSet<(IpNet, Option<u32>)>,
    has_more: bool,
    /// Networks that the host takes in as its own.
    pub own: BTreeSet<IpNet>,
}

impl Inside {
    pub fn take(&mut self, route: &Route) {
        let Some(network) = route.destination else {
            return;
        };
        match route.kind {
            RouteKind::Unicast => {}
            RouteKind::Local if !route.is_of_kernel => {
                self.add_own(network);
                return;
            }
            RouteKind::Local | RouteKind::Other => return,
        }
        let links = route.hops.iter().filter_map(|hop| hop.link);
        let (is_v6, widest) = match network {
            IpNet::V4(_) => (false, WIDEST_INSIDE[0]),
            IpNet::V6(_) => (true, WIDEST_INSIDE[1]),
        };
        if network.prefix_len() < widest {
            // Those of other tables hold for some packets only.
            if route.table == MAIN_TABLE {
                self.defaults.extend(links.map(|link| (is_v6, link)));
            }
            return;
        }
        let mut links: Vec<Option<u32>> = links.map(Some).collect();
        if links.is_empty() {
            links.push(None);
        }
        for link in links {
            if self.routed.len() < MAX_NETWORKS {
                self.routed.insert((network, link));
            } else if !self.routed.contains(&(network, link)) {
                self.has_more = true;
            }
        }
    }

    fn add_own(&mut self, network: IpNet) {
        if self.own.len() < MAX_NETWORKS {
            self.own.insert(network);
        } else {
            self.has_more = true;
        }
    }
}

/// Works out the networks of the host.
pub(super) fn networks(links: &[Link], addresses: &[Address], inside: &Inside) -> Networks {
    let bridged = bridged(links);
    let is_bridge = |link: &Link| bridged.contains_key(&link.index);
    let leads_inside = |network: &IpNet, index: u32| {
        let is_v6 = matches!(network, IpNet::V6(_));
        let Some(link) = links.iter().find(|link| link.index == index) else {
            return true;
        };
        let forwards = if is_v6 {
            link.forwards_v6
        } else {
            link.forwards_v4
        };
        let is_outside = inside.defaults.contains(&(is_v6, index));
        is_bridge(link) || (forwards && !is_outside)
    };
    let mut host = HostNetworks {
        own: inside.own.clone(),
        serves_more: inside.has_more,
        ..HostNetworks::default()
    };
    let (mut addressed, mut on_links) = (BTreeSet::new(), BTreeSet::new());
    for address in addresses {
        addressed.insert(address.link);
        host.own.insert(IpNet::from(address.local));
        if let Ok(network) = IpNet::new(address.local, address.prefix_length) {
            on_links.insert((network.trunc(), Some(address.link)));
        }
    }
    for (network, link) in inside.routed.iter().chain(&on_links) {
        if is_of_many(network) && link.is_none_or(|link| leads_inside(network, link)) {
            host.served.insert(*network);
        }
    }
    let others = links.iter().filter(|link| !link.is_loopback());
    for link in others {
        host.forwards_v4 |= link.forwards_v4 || is_bridge(link);
        host.forwards_v6 |= link.forwards_v6 || is_bridge(link);
    }
    let bare = bridged
        .iter()
        .filter(|(bridge, _)| !addressed.contains(*bridge));
    Networks {
        host,
        bare_ports: bare.flat_map(|(_, ports)| ports.iter().copied()).collect(),
    }
}

/// Bridges with their ports; those without ports join nobody.
fn bridged(links: &[Link]) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut bridged: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for port in links {
        let master = port.master.and_then(|master| {
            let mut all = links.iter();
            all.find(|link| link.index == master)
        });
        if let Some(master) = master
            && master.kind.as_deref() == Some("bridge")
        {
            bridged.entry(master.index).or_default().insert(port.index);
        }
    }
    bridged
}

/// True for networks that hosts are in: link-local ones are on every link, and nobody is in a multicast
/// one.
fn is_of_many(network: &IpNet) -> bool {
    match network {
        IpNet::V4(v4) => !v4.network().is_multicast() && !v4.network().is_loopback(),
        IpNet::V6(v6) => {
            let first = v6.network();
            !first.is_multicast() && !first.is_unicast_link_local() && !first.is_loopback()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_capture::netlink::Hop;

    const OUTER: u32 = 2;
    const INNER: u32 = 3;

    fn link(index: u32, forwards: bool) -> Link {
        Link {
            index,
            name: format!("eth{index}"),
            forwards_v4: forwards,
            forwards_v6: forwards,
            ..Link::default()
        }
    }

    fn address(link: u32, text: &str) -> Address {
        let network: IpNet = text.parse().unwrap();
        Address {
            link,
            local: network.addr(),
            prefix_length: network.prefix_len(),
            peer: None,
        }
    }

    fn route(network: &str, link: u32, table: u32) -> Route {
        Route {
            table,
            kind: RouteKind::Unicast,
            is_of_kernel: false,
            destination: Some(network.parse().unwrap()),
            metric: 0,
            hops: vec![Hop {
                link: Some(link),
                gateway: None,
            }],
            next_hop: None,
        }
    }

    fn inside(routes: &[Route]) -> Inside {
        let mut inside = Inside::default();
        routes.iter().for_each(|route| inside.take(route));
        inside
    }

    fn texts(networks: &BTreeSet<IpNet>) -> Vec<String> {
        networks.iter().map(IpNet::to_string).collect()
    }

    fn addresses() -> [Address; 3] {
        [
            address(OUTER, "203.0.113.2/29"),
            address(INNER, "10.0.1.1/24"),
            address(INNER, "fe80::1/64"),
        ]
    }

    #[test]
    fn a_router_serves_what_lies_behind_its_inner_links() {
        let links = [link(OUTER, true), link(INNER, true)];
        let routes = [
            route("0.0.0.0/0", OUTER, MAIN_TABLE),
            route("203.0.113.0/29", OUTER, MAIN_TABLE),
            route("198.51.100.0/24", OUTER, MAIN_TABLE),
            route("172.16.0.0/16", INNER, MAIN_TABLE),
            route("2001:db8:1::/48", INNER, MAIN_TABLE),
        ];
        let found = networks(&links, &addresses(), &inside(&routes));
        let own = ["10.0.1.1/32", "203.0.113.2/32", "fe80::1/128"];
        assert_eq!(texts(&found.host.own), own);
        let served = ["10.0.1.0/24", "172.16.0.0/16", "2001:db8:1::/48"];
        assert_eq!(texts(&found.host.served), served);
        assert!(found.host.forwards_v4 && found.host.forwards_v6);
        assert!(!found.host.serves_more && found.bare_ports.is_empty());
    }

    #[test]
    fn a_host_that_does_not_forward_serves_nobody() {
        let links = [link(OUTER, false), link(INNER, false)];
        let routes = [route("0.0.0.0/0", OUTER, MAIN_TABLE)];
        let found = networks(&links, &addresses(), &inside(&routes)).host;
        assert!(found.served.is_empty() && !found.forwards_v4 && !found.forwards_v6);
        assert_eq!(found.own.len(), 3);
    }

    #[test]
    fn halves_of_a_default_route_are_one_and_other_tables_have_none() {
        let links = [link(OUTER, true), link(INNER, true)];
        let halves = ["0.0.0.0/1", "128.0.0.0/1"].map(|half| route(half, OUTER, MAIN_TABLE));
        let mut routes = halves.to_vec();
        routes.push(route("0.0.0.0/0", INNER, 100));
        let found = networks(&links, &addresses(), &inside(&routes)).host;
        assert_eq!(texts(&found.served), ["10.0.1.0/24"]);
        // Without any, nothing tells which side is outside.
        let found = networks(&links, &addresses(), &inside(&[])).host;
        assert_eq!(texts(&found.served), ["10.0.1.0/24", "203.0.113.0/29"]);
    }

    #[test]
    fn a_bridge_serves_its_network_and_one_without_an_address_is_unknown() {
        let bridge = |index| Link {
            kind: Some("bridge".to_owned()),
            ..link(index, false)
        };
        let port = |index, bridge| Link {
            master: Some(bridge),
            ..link(index, false)
        };
        let links = [bridge(4), port(5, 4), bridge(6), port(7, 6), bridge(8)];
        let routes = [route("0.0.0.0/0", 4, MAIN_TABLE)];
        let addresses = [address(4, "192.0.2.9/24")];
        let found = networks(&links, &addresses, &inside(&routes));
        assert_eq!(texts(&found.host.served), ["192.0.2.0/24"]);
        assert!(found.host.forwards_v4);
        assert_eq!(found.bare_ports, BTreeSet::from([7]));
    }

    #[test]
    fn more_networks_than_are_remembered_are_said_to_be_more() {
        let links = [link(OUTER, true), link(INNER, true)];
        let network = |n: usize| format!("10.{}.{}.0/24", n / 256, n % 256);
        let routes = |n: usize| -> Vec<Route> {
            (0..n)
                .map(|n| route(&network(n), INNER, MAIN_TABLE))
                .collect()
        };
        let of = |n| networks(&links, &[], &inside(&routes(n))).host.serves_more;
        assert!(!of(MAX_NETWORKS));
        assert!(of(MAX_NETWORKS + 1));
    }

    #[test]
    fn a_route_whose_link_is_not_known_counts_as_served() {
        let mut unknown = route("198.51.100.0/24", OUTER, MAIN_TABLE);
        unknown.hops.clear();
        unknown.next_hop = Some(7);
        let found = networks(&[link(OUTER, true)], &[], &inside(&[unknown])).host;
        assert_eq!(texts(&found.served), ["198.51.100.0/24"]);
    }
}
