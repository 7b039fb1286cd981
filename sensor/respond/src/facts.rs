//! Facts of the host that the guard protects by, each read on its own, so that one that can't be
//! read leaves the others in force.

mod chrony;
mod config;
mod datagram;
mod networks;
mod ntpd;
mod resolvers;
mod sessions;
mod time_servers;
mod timesyncd;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Result;
use sensor_capture::netlink::{
    self, Address, Change, Link, Neighbour, Route, RouteKind, addresses, neighbours, next_hops,
};

use super::guard::Protected;
use super::reason::Reason;
pub use networks::Networks;
use networks::{Inside, networks};
use resolvers::Resolvers;
use sessions::Sessions;
use time_servers::TimeServers;

/// Kind of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    Addresses,
    Routes,
    Neighbours,
    Resolvers,
    TimeServers,
    Sessions,
}

impl Fact {
    /// All facts in the order in which they are read: neighbours are looked at with the gateways
    /// known.
    pub const ALL: [Self; 6] = [
        Self::Addresses,
        Self::Routes,
        Self::Neighbours,
        Self::Resolvers,
        Self::TimeServers,
        Self::Sessions,
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Routes => "routes",
            Self::Neighbours => "neighbours",
            Self::Resolvers => "resolvers",
            Self::TimeServers => "time_servers",
            Self::Sessions => "ssh_sessions",
        }
    }
}

/// Source of facts: the host, or in tests one that fails.
pub trait Source: Send {
    /// Reads the networks that a fact protects.
    ///
    /// # Errors
    /// When they can't be known; nothing found is no error.
    fn read(&mut self, fact: Fact) -> Result<Protected>;

    /// Works out what a change touches: what is new is protected at once, what may be gone is found
    /// by reading the fact again.
    fn effect(&self, change: &Change) -> Effect;

    /// Networks of the host, of the addresses and routes that were read last; `None` before both were.
    fn networks(&self) -> Option<Networks>;
}

/// The host that the sensor runs on.
#[derive(Default)]
pub struct Host {
    /// Names of links by index.
    names: BTreeMap<u32, String>,
    /// Links and addresses, and what the routes say of them, as read last.
    links: Option<(Vec<Link>, Vec<Address>)>,
    inside: Option<Inside>,
    gateways: BTreeSet<Gateway>,
    resolvers: Resolvers,
    time_servers: TimeServers,
    sessions: Sessions,
}

/// A next hop: the link by which it is reached, where the route says so, and its address.
type Gateway = (Option<u32>, IpAddr);

impl Source for Host {
    fn read(&mut self, fact: Fact) -> Result<Protected> {
        match fact {
            Fact::Addresses => self.addresses(),
            Fact::Routes => self.routes(),
            Fact::Neighbours => self.neighbours(),
            Fact::Resolvers => self.resolvers.read(),
            Fact::TimeServers => self.time_servers.read(),
            Fact::Sessions => self.sessions.read(),
        }
    }

    fn effect(&self, change: &Change) -> Effect {
        effect(change, &self.gateways, &self.names)
    }

    fn networks(&self) -> Option<Networks> {
        let (links, addresses) = self.links.as_ref()?;
        Some(networks(links, addresses, self.inside.as_ref()?))
    }
}

impl Host {
    fn addresses(&mut self) -> Result<Protected> {
        let (links, addresses) = (netlink::links()?, addresses()?);
        let names = links.iter().map(|link| (link.index, link.name.clone()));
        self.names = names.collect();
        let mut protected = Protected::default();
        for address in &addresses {
            add_address(&mut protected, address, &self.names);
        }
        self.links = Some((links, addresses));
        Ok(protected)
    }

    fn routes(&mut self) -> Result<Protected> {
        let mut ways = netlink::routes(Ways::take)?;
        for object in next_hops()? {
            if let Some(gateway) = object.hop.gateway {
                ways.objects.insert((object.id, object.hop.link, gateway));
            }
        }
        let mut protected = Protected::default();
        ways.add_to(&mut protected, &self.names);
        self.gateways = ways.gateways();
        self.inside = Some(ways.inside);
        Ok(protected)
    }

    fn neighbours(&mut self) -> Result<Protected> {
        let all = neighbours()?;
        let mut protected = Protected::default();
        add_neighbours(&mut protected, &all, &self.gateways, &self.names);
        Ok(protected)
    }
}

fn name_of(link: u32, names: &BTreeMap<u32, String>) -> String {
    let known = names.get(&link).cloned();
    known.unwrap_or_else(|| format!("interface {link}"))
}

fn add_address(protected: &mut Protected, address: &Address, names: &BTreeMap<u32, String>) {
    let link = name_of(address.link, names);
    if let Some(peer) = address.peer {
        protected.add_address(peer, Reason::LinkPeer, link.clone());
    }
    if !address.local.is_loopback() {
        protected.add_address(address.local, Reason::OwnAddress, link);
    }
}

/// Next hops of the routes, without the routes: a router may have a million of those.
#[derive(Default)]
struct Ways {
    hops: BTreeSet<(u32, Option<u32>, IpAddr)>,
    objects: BTreeSet<(u32, Option<u32>, IpAddr)>,
    /// Networks that the host takes in as its own, by table.
    local: BTreeSet<(u32, ipnet::IpNet)>,
    inside: Inside,
}

impl Ways {
    fn take(&mut self, route: Route) {
        self.inside.take(&route);
        for hop in &route.hops {
            if let Some(gateway) = hop.gateway {
                self.hops.insert((route.table, hop.link, gateway));
            }
        }
        // Those that the kernel makes itself are of addresses, which are known.
        if let (RouteKind::Local, false, Some(network)) =
            (route.kind, route.is_of_kernel, route.destination)
        {
            self.local.insert((route.table, network));
        }
    }

    fn gateways(&self) -> BTreeSet<Gateway> {
        let both = self.hops.iter().chain(&self.objects);
        both.map(|(_, link, gateway)| (*link, *gateway)).collect()
    }

    fn add_to(&self, protected: &mut Protected, names: &BTreeMap<u32, String>) {
        let on = |link: &Option<u32>| match link {
            Some(link) => format!(" on {}", name_of(*link, names)),
            None => String::new(),
        };
        for (table, link, gateway) in &self.hops {
            let from = format!("{}{}", table_name(*table), on(link));
            protected.add_address(*gateway, Reason::Gateway, from);
        }
        for (id, link, gateway) in &self.objects {
            let from = format!("next hop {id}{}", on(link));
            protected.add_address(*gateway, Reason::Gateway, from);
        }
        for (table, network) in &self.local {
            let from = format!("local route of {}", table_name(*table));
            protected.add(*network, Reason::OwnAddress, from);
        }
    }
}

fn table_name(table: u32) -> String {
    match table {
        254 => "main table".to_owned(),
        255 => "local table".to_owned(),
        other => format!("table {other}"),
    }
}

/// Neighbours that say they route, and link-local addresses of stations that are gateways by another
/// address. Other addresses of such a station are left: behind proxy ARP that is everybody.
fn add_neighbours(
    protected: &mut Protected,
    all: &[Neighbour],
    gateways: &BTreeSet<Gateway>,
    names: &BTreeMap<u32, String>,
) {
    let is_gateway = |neighbour: &&Neighbour| is_gateway(neighbour, gateways);
    let stations: BTreeMap<(u32, &[u8]), IpAddr> = all
        .iter()
        .filter(is_gateway)
        .filter(|neighbour| !neighbour.station.is_empty())
        .map(|neighbour| {
            (
                (neighbour.link, neighbour.station.as_slice()),
                neighbour.address,
            )
        })
        .collect();
    for neighbour in all {
        let link = name_of(neighbour.link, names);
        if neighbour.is_router {
            protected.add_address(neighbour.address, Reason::Router, link.clone());
        }
        let station = (neighbour.link, neighbour.station.as_slice());
        if let Some(gateway) = stations
            .get(&station)
            .filter(|_| is_link_local(neighbour.address))
        {
            let from = format!("link-local address of {gateway} on {link}");
            if *gateway != neighbour.address {
                protected.add_address(neighbour.address, Reason::Gateway, from);
            }
        }
    }
}

fn is_gateway(neighbour: &Neighbour, gateways: &BTreeSet<Gateway>) -> bool {
    let by_link = |link| gateways.contains(&(link, neighbour.address));
    by_link(Some(neighbour.link)) || by_link(None)
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Effect of a change on what is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Protected from now on, until the fact is read again.
    pub added: Option<(Fact, Protected)>,
    /// Facts to be read again.
    pub stale: Vec<Fact>,
}

fn effect(change: &Change, gateways: &BTreeSet<Gateway>, names: &BTreeMap<u32, String>) -> Effect {
    use Fact::{Addresses, Neighbours, Routes};
    let mut added = Protected::default();
    let (fact, stale) = match change {
        // With a link go its routes, which is not told, and its name is in what `allow list` says.
        Change::Link(_) | Change::LinkGone(_) => (Addresses, vec![Addresses, Routes, Neighbours]),
        Change::Address(address) => {
            add_address(&mut added, address, names);
            (Addresses, vec![Addresses])
        }
        Change::AddressGone(_) => (Addresses, vec![Addresses]),
        Change::Route(route) | Change::RouteGone(route) if !touches(route) => (Routes, Vec::new()),
        Change::Route(route) => {
            let mut ways = Ways::default();
            ways.take(route.clone());
            ways.add_to(&mut added, names);
            (Routes, vec![Routes, Neighbours])
        }
        Change::NextHop(object) => {
            if let Some(gateway) = object.hop.gateway {
                let mut ways = Ways::default();
                ways.objects.insert((object.id, object.hop.link, gateway));
                ways.add_to(&mut added, names);
            }
            (Routes, vec![Routes, Neighbours])
        }
        Change::RouteGone(_) | Change::NextHopGone => (Routes, vec![Routes, Neighbours]),
        Change::Neighbour(neighbour) | Change::NeighbourGone(neighbour) => {
            let is_told = neighbour.is_router
                || is_link_local(neighbour.address)
                || is_gateway(neighbour, gateways);
            (
                Neighbours,
                is_told.then_some(Neighbours).into_iter().collect(),
            )
        }
    };
    Effect {
        added: (!added.is_empty()).then_some((fact, added)),
        stale,
    }
}

/// True for routes that the guard knows something by.
fn touches(route: &Route) -> bool {
    let has_gateway = route.hops.iter().any(|hop| hop.gateway.is_some());
    let is_local = route.kind == RouteKind::Local && !route.is_of_kernel;
    has_gateway || is_local || route.next_hop.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_capture::netlink::Hop;

    fn shown(protected: &Protected) -> Vec<String> {
        let one = |(network, reasons): (&ipnet::IpNet, &BTreeSet<_>)| {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            format!("{}: {}", network.addr(), reasons.join("; "))
        };
        protected.iter().map(one).collect()
    }

    fn neighbour(address: &str, station: &[u8], is_router: bool) -> Neighbour {
        Neighbour {
            link: 2,
            address: address.parse().unwrap(),
            station: station.to_vec(),
            is_router,
        }
    }

    #[test]
    fn a_gateways_link_local_address_is_found_by_its_station() {
        let names = BTreeMap::from([(2, "eth0".to_owned())]);
        let gateways = BTreeSet::from([(Some(2), "192.0.2.1".parse().unwrap())]);
        let all = [
            neighbour("192.0.2.1", &[2, 0, 0, 0, 0, 1], false),
            neighbour("fe80::9", &[2, 0, 0, 0, 0, 1], false),
            // Behind proxy ARP.
            neighbour("192.0.2.77", &[2, 0, 0, 0, 0, 1], false),
            neighbour("fe80::8", &[2, 0, 0, 0, 0, 2], false),
            neighbour("fe80::7", &[], false),
            neighbour("fe80::6", &[2, 0, 0, 0, 0, 3], true),
        ];
        let mut protected = Protected::default();
        add_neighbours(&mut protected, &all, &gateways, &names);
        let expected = [
            "fe80::6: router (eth0)",
            "fe80::9: gateway (link-local address of 192.0.2.1 on eth0)",
        ];
        assert_eq!(shown(&protected), expected);
    }

    #[test]
    fn every_fact_of_this_host_can_be_read() {
        let mut host = Host::default();
        for fact in Fact::ALL {
            let read = host.read(fact);
            assert!(read.is_ok(), "{}: {read:?}", fact.label());
        }
    }

    #[test]
    fn a_new_next_hop_is_protected_before_the_table_is_read_again() {
        let hop = Hop {
            link: Some(3),
            gateway: Some("fe80::1".parse().unwrap()),
        };
        let route = Route {
            table: 100,
            kind: RouteKind::Unicast,
            is_of_kernel: false,
            destination: Some("10.0.0.0/8".parse().unwrap()),
            metric: 0,
            hops: vec![Hop::default(), hop],
            next_hop: None,
        };
        let of = |change: &Change| effect(change, &BTreeSet::new(), &BTreeMap::new());
        let told = of(&Change::Route(route.clone()));
        let (fact, added) = told.added.unwrap();
        assert_eq!(fact, Fact::Routes);
        assert_eq!(
            shown(&added),
            ["fe80::1: gateway (table 100 on interface 3)"]
        );
        assert_eq!(told.stale, [Fact::Routes, Fact::Neighbours]);
        let gone = of(&Change::RouteGone(route.clone()));
        assert!(gone.added.is_none() && !gone.stale.is_empty());
        let direct = Route {
            hops: vec![Hop::default()],
            ..route
        };
        assert_eq!(of(&Change::Route(direct)), Effect::default());
    }
}
