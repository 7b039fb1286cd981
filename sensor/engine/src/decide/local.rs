//! Local addresses: those of the host itself and of the networks that it serves. Nothing is decided
//! against them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use sensor_common::{Address, is_v4};

use crate::address::{Seeded, Table, from_ip, to_ip};
use crate::config::SECOND_NS;
use crate::features::TableUse;
use crate::site::{HostNetworks, NetworkSet};

/// Reason why an address counts as local.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LocalBy {
    /// It is an address of the host, or in a network that it serves or that is configured.
    Network(IpNet),
    /// It sent packets out of a host that forwards none, within the last hour.
    SeenLeaving,
    /// It can't be known: the host's addresses were not read, or too many addresses were seen leaving.
    Unknown,
}

/// Sources of knowledge about the host.
#[derive(Debug)]
enum Host {
    /// None: a replay without `engine.local_networks`.
    Absent,
    /// The host can't be read.
    Unknown,
    Known(HostNetworks),
}

#[derive(Debug)]
pub(super) struct Locals {
    host: Host,
    configured: BTreeSet<IpNet>,
    /// Networks in force.
    networks: NetworkSet,
    /// Addresses that were seen leaving, with the last time.
    seen: Table<Address, u64>,
    n_shed: u64,
    /// Last time a local address found no room.
    shed_ns: Option<u64>,
}

/// Local addresses remembered, and for how long after their last packet out.
const MAX_SEEN: usize = 16_384;
const SEEN_NS: u64 = 3_600 * SECOND_NS;

impl Locals {
    pub(super) fn new(configured: &[IpNet], hash_seed: u64) -> Self {
        let mut locals = Self {
            host: Host::Absent,
            configured: BTreeSet::new(),
            networks: NetworkSet::default(),
            seen: Table::with_hasher(Seeded(hash_seed)),
            n_shed: 0,
            shed_ns: None,
        };
        locals.configure(configured);
        locals
    }

    /// Takes networks of the configuration in the place of those that the host serves.
    pub(super) fn configure(&mut self, networks: &[IpNet]) {
        self.configured = networks.iter().copied().collect();
        self.rebuild();
    }

    /// Takes what is known of the host; `None` where it can't be read.
    pub(super) fn set_host(&mut self, host: Option<&HostNetworks>) {
        self.host = match host {
            None => Host::Unknown,
            Some(host) => Host::Known(host.clone()),
        };
        self.rebuild();
    }

    fn rebuild(&mut self) {
        let mut all = self.configured.clone();
        if let Host::Known(host) = &self.host {
            all.extend(&host.own);
            if self.configured.is_empty() {
                all.extend(&host.served);
            }
        }
        self.networks = NetworkSet::of(all);
    }

    /// True where an address that was seen leaving is one of this side.
    fn trusts_seen(&self, address: &Address) -> bool {
        match &self.host {
            Host::Absent => self.configured.is_empty(),
            Host::Unknown => false,
            Host::Known(host) if is_v4(address) => !host.forwards_v4,
            Host::Known(host) => !host.forwards_v6,
        }
    }

    /// True where it is not known who is local.
    fn is_unknown(&self) -> bool {
        match &self.host {
            Host::Absent => false,
            Host::Unknown => true,
            Host::Known(host) => host.serves_more && self.configured.is_empty(),
        }
    }

    /// Remembers an address that packets left from.
    pub(super) fn note_seen(&mut self, at_ns: u64, address: Address) {
        if !self.trusts_seen(&address) {
            return;
        }
        if self.seen.len() < MAX_SEEN || self.seen.contains_key(&address) {
            self.seen.insert(address, at_ns);
        } else {
            self.n_shed = self.n_shed.saturating_add(1);
            self.shed_ns = Some(at_ns);
        }
    }

    /// Tells why an address counts as local; `None`: it is remote.
    pub(super) fn of(&self, at_ns: u64, address: &Address) -> Option<LocalBy> {
        if let Some(network) = self.networks.find(to_ip(address)) {
            return Some(LocalBy::Network(network));
        }
        if self.is_unknown() {
            return Some(LocalBy::Unknown);
        }
        if !self.trusts_seen(address) {
            return None;
        }
        if self.seen.contains_key(address) {
            return Some(LocalBy::SeenLeaving);
        }
        (!self.knows_all_seen(at_ns)).then_some(LocalBy::Unknown)
    }

    /// True for an address of the host itself.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        match &self.host {
            Host::Known(host) => host.own.iter().any(|own| own.contains(&address)),
            Host::Absent | Host::Unknown => false,
        }
    }

    /// Tells why a network may hold local addresses; `None`: it holds none.
    pub(super) fn within(&self, at_ns: u64, network: &IpNet) -> Option<LocalBy> {
        let overlaps = |own: &&IpNet| own.contains(network) || network.contains(*own);
        if let Some(own) = self.networks.iter().find(overlaps) {
            return Some(LocalBy::Network(*own));
        }
        if self.is_unknown() {
            return Some(LocalBy::Unknown);
        }
        if !self.trusts_seen(&from_ip(network.addr())) {
            return None;
        }
        if self.seen.keys().any(|seen| network.contains(&to_ip(seen))) {
            return Some(LocalBy::SeenLeaving);
        }
        (!self.knows_all_seen(at_ns)).then_some(LocalBy::Unknown)
    }

    /// True while each address that sent packets out within the last hour is remembered. Without that,
    /// an address that is not in the table may be local all the same, and nothing is decided on any.
    fn knows_all_seen(&self, at_ns: u64) -> bool {
        self.shed_ns
            .is_none_or(|shed_ns| at_ns.saturating_sub(shed_ns) >= SEEN_NS)
    }

    pub(super) fn forget(&mut self, at_ns: u64) {
        self.seen
            .retain(|_, last| at_ns.saturating_sub(*last) < SEEN_NS);
    }

    pub(super) fn usage(&self) -> TableUse {
        TableUse {
            table: "local_addresses",
            n_entries: self.seen.len() as u64,
            capacity: MAX_SEEN as u64,
            n_shed: self.n_shed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: u64 = 1_000 * SECOND_NS;

    fn networks(texts: &[&str]) -> BTreeSet<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn of(locals: &Locals, address: &str) -> Option<LocalBy> {
        locals.of(T0, &from_ip(address.parse().unwrap()))
    }

    fn by(network: &str) -> Option<LocalBy> {
        Some(LocalBy::Network(network.parse().unwrap()))
    }

    fn router() -> HostNetworks {
        HostNetworks {
            own: networks(&["192.0.2.1/32", "10.0.1.1/32", "2001:db8:1::1/128"]),
            served: networks(&["10.0.0.0/16", "10.0.1.0/24", "2001:db8:1::/64"]),
            serves_more: false,
            forwards_v4: true,
            forwards_v6: true,
        }
    }

    #[test]
    fn a_network_is_local_where_one_address_of_it_is_or_may_be() {
        let whole: IpNet = "2001:db8:1::/64".parse().unwrap();
        let other: IpNet = "2001:db8:2::/64".parse().unwrap();
        let mut locals = Locals::new(&[], 0);
        assert_eq!(locals.within(T0, &whole), None);
        locals.note_seen(T0, from_ip("2001:db8:1::7".parse().unwrap()));
        assert_eq!(locals.within(T0, &whole), Some(LocalBy::SeenLeaving));
        assert_eq!(locals.within(T0, &other), None);
        for n in 0..MAX_SEEN as u32 {
            locals.note_seen(T0, from_ip(IpAddr::from(n.to_be_bytes())));
        }
        assert_eq!(locals.within(T0, &other), Some(LocalBy::Unknown));
        assert_eq!(locals.within(T0 + SEEN_NS, &other), None);
        locals.set_host(None);
        assert_eq!(locals.within(T0, &other), Some(LocalBy::Unknown));
        locals.set_host(Some(&router()));
        assert_eq!(locals.within(T0, &whole), by("2001:db8:1::/64"));
        assert_eq!(locals.within(T0, &other), None);
    }

    #[test]
    fn a_router_knows_the_networks_that_it_serves_from_those_that_it_forwards() {
        let mut locals = Locals::new(&[], 0);
        locals.set_host(Some(&router()));
        let attacker = from_ip("198.51.100.7".parse().unwrap());
        locals.note_seen(T0, attacker);
        assert_eq!(locals.of(T0, &attacker), None);
        assert_eq!(of(&locals, "192.0.2.1"), by("192.0.2.1/32"));
        assert_eq!(of(&locals, "192.0.2.2"), None);
        assert_eq!(of(&locals, "10.0.1.77"), by("10.0.0.0/16"));
        assert_eq!(of(&locals, "10.1.0.0"), None);
        assert_eq!(of(&locals, "2001:db8:1::77"), by("2001:db8:1::/64"));
        assert_eq!(of(&locals, "2001:db8:2::77"), None);
    }

    #[test]
    fn configured_networks_take_the_place_of_those_that_the_host_serves() {
        let mut locals = Locals::new(&["172.16.0.0/12".parse().unwrap()], 0);
        assert_eq!(of(&locals, "172.16.9.9"), by("172.16.0.0/12"));
        locals.set_host(Some(&router()));
        assert_eq!(of(&locals, "172.16.9.9"), by("172.16.0.0/12"));
        assert_eq!(of(&locals, "10.0.1.77"), None);
        // The host's own addresses stay.
        assert_eq!(of(&locals, "10.0.1.1"), by("10.0.1.1/32"));
        locals.configure(&[]);
        assert_eq!(of(&locals, "10.0.1.77"), by("10.0.0.0/16"));
    }

    #[test]
    fn an_unknown_host_leaves_nobody_to_act_on() {
        let mut locals = Locals::new(&[], 0);
        locals.set_host(None);
        assert_eq!(of(&locals, "198.51.100.7"), Some(LocalBy::Unknown));
        locals.configure(&["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(of(&locals, "198.51.100.7"), Some(LocalBy::Unknown));
        locals.set_host(Some(&router()));
        assert_eq!(of(&locals, "198.51.100.7"), None);
    }

    #[test]
    fn whoever_leaves_a_host_that_does_not_forward_is_local() {
        let mut locals = Locals::new(&[], 0);
        let container = from_ip("192.0.2.99".parse().unwrap());
        let host = HostNetworks {
            forwards_v4: false,
            ..router()
        };
        locals.set_host(Some(&host));
        assert_eq!(locals.of(T0, &container), None);
        locals.note_seen(T0, container);
        assert_eq!(locals.of(T0, &container), Some(LocalBy::SeenLeaving));
        // It forwards the other family.
        let sixth = from_ip("2001:db8:9::1".parse().unwrap());
        locals.note_seen(T0, sixth);
        assert_eq!(locals.of(T0, &sixth), None);
    }

    #[test]
    fn networks_that_are_served_but_not_known_leave_nobody_to_act_on() {
        let mut locals = Locals::new(&[], 0);
        let host = HostNetworks {
            serves_more: true,
            ..router()
        };
        locals.set_host(Some(&host));
        assert_eq!(of(&locals, "198.51.100.7"), Some(LocalBy::Unknown));
        assert_eq!(of(&locals, "10.0.1.77"), by("10.0.0.0/16"));
        locals.configure(&["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(of(&locals, "198.51.100.7"), None);
    }

    #[test]
    fn a_full_table_of_local_addresses_widens_no_decision() {
        let mut locals = Locals::new(&[], 0);
        let address = |n: u32| [0, 0, u32::MAX.to_be() << 16, n];
        let (stranger, last_local) = (address(1), address(2));
        for n in 0..MAX_SEEN as u32 {
            locals.note_seen(T0, address(1_000 + n));
        }
        assert_eq!(locals.of(T0, &stranger), None);
        locals.note_seen(T0, last_local);
        // Nobody can be told from a local address until all of them are known again.
        for address in [last_local, stranger] {
            assert_eq!(locals.of(T0, &address), Some(LocalBy::Unknown));
        }
        let later_ns = T0 + SEEN_NS;
        locals.forget(later_ns);
        locals.note_seen(later_ns, last_local);
        assert_eq!(locals.of(later_ns, &stranger), None);
        let seen = Some(LocalBy::SeenLeaving);
        assert_eq!(locals.of(later_ns, &last_local), seen);
    }
}
