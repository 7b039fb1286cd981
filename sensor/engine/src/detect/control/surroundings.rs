//! Surroundings of a call: who else calls the host, whether its name was asked for, who else offers the port,
//! how long the source is known.

use std::sync::Arc;

use sensor_common::Address;

use crate::config::SECOND_NS;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::decay::Spread;
use crate::flow::FlowUpdate;
use crate::site::Site;

/// Hosts called, names given and sources; ports with those that offer them; timers by source and port.
const MAX_HOSTS: usize = 16_384;
const MAX_PORTS: usize = 4_096;
/// Time after which a sighting is forgotten: a day.
const FORGET_NS: u64 = 86_400 * SECOND_NS;
/// Time for which a source must be known before a peer of it is new to it.
const KNOWN_NS: u64 = 1_800 * SECOND_NS;
/// Time for which an answer of DNS shows that names are seen here.
const NAMES_NS: u64 = 3_600 * SECOND_NS;
/// Time for which most answers are cached: until then a name may have been asked for before.
const CACHED_NS: u64 = 600 * SECOND_NS;

/// A set of addresses, and times.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    members: Spread,
    first_ns: u64,
    last_ns: u64,
}

impl Priority for Group {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

impl Group {
    fn add(&mut self, at_ns: u64, member: &Address) {
        if self.first_ns == 0 {
            self.first_ns = at_ns;
        }
        self.last_ns = self.last_ns.max(at_ns);
        self.members.insert(sensor_common::hash_address(member, 0));
    }
}

#[derive(Debug)]
pub(super) struct Surroundings {
    /// Callers by host, hosts by port and protocol, hosts by source.
    hosts: Bounded<Address, Group>,
    ports: Bounded<(u16, u8), Group>,
    sources: Bounded<Address, Group>,
    /// Hosts that a source calls by a timer on one port: monitoring, and pollers of many.
    timers: Bounded<(Address, u16), Group>,
    /// Addresses that DNS gave.
    named: Bounded<Address, Group>,
    /// First and latest answer of DNS.
    named_first_ns: u64,
    named_ns: u64,
    site: Arc<Site>,
}

impl Surroundings {
    pub(super) fn new(site: Arc<Site>, hash_seed: u64) -> Self {
        Self {
            site,
            hosts: Bounded::new("control_hosts", MAX_HOSTS, hash_seed),
            ports: Bounded::new("control_ports", MAX_PORTS, hash_seed),
            sources: Bounded::new("control_sources", MAX_HOSTS, hash_seed),
            timers: Bounded::new("control_timers", MAX_PORTS, hash_seed),
            named: Bounded::new("control_names", MAX_HOSTS, hash_seed),
            named_first_ns: 0,
            named_ns: 0,
        }
    }

    pub(super) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.hosts.usage());
        out.push(self.ports.usage());
        out.push(self.sources.usage());
        out.push(self.timers.usage());
        out.push(self.named.usage());
    }

    /// Takes who is inside.
    pub(super) fn set_site(&mut self, site: &Arc<Site>) {
        self.site = Arc::clone(site);
    }

    /// True where a host of the site is called, or one of the caller's own.
    pub(super) fn is_inside(&self, host: &Address, source: &Address) -> bool {
        self.site.has(host) || self.site.has_both(host, source)
    }

    /// True where both are hosts of the site.
    pub(super) fn are_inside(&self, source: &Address, host: &Address) -> bool {
        self.site.has_both(source, host)
    }

    /// Takes a flow that began.
    pub(super) fn take(&mut self, update: &FlowUpdate) {
        let (source, host, at_ns) = (update.source, update.destination, update.first_ns);
        let port = (update.destination_port, update.protocol);
        let group = self.hosts.get_or_insert_with(host, Group::default);
        group.add(at_ns, &source);
        let group = self.ports.get_or_insert_with(port, Group::default);
        group.add(at_ns, &host);
        let group = self.sources.get_or_insert_with(source, Group::default);
        group.add(at_ns, &host);
    }

    /// Takes addresses that an answer of DNS gave.
    pub(super) fn name(&mut self, at_ns: u64, addresses: &[Address]) {
        for address in addresses {
            self.named_ns = self.named_ns.max(at_ns);
            if self.named_first_ns == 0 {
                self.named_first_ns = at_ns;
            }
            let group = self.named.get_or_insert_with(*address, Group::default);
            group.last_ns = at_ns;
        }
    }

    /// Notes a timer; how many hosts the source calls by timers on that port.
    pub(super) fn note_timer(
        &mut self,
        at_ns: u64,
        source: Address,
        port: u16,
        host: &Address,
    ) -> f64 {
        let group = self
            .timers
            .get_or_insert_with((source, port), Group::default);
        group.add(at_ns, host);
        group.members.len()
    }

    /// Rough number of sources that called a host.
    pub(super) fn n_callers(&self, host: &Address) -> f64 {
        self.hosts
            .get(host)
            .map_or(0.0, |group| group.members.len())
    }

    /// Rough number of sources known.
    pub(super) fn n_sources(&self) -> u64 {
        self.sources.usage().n_entries
    }

    /// Rough number of hosts that offer a port.
    pub(super) fn n_offering(&self, port: u16, protocol: u8) -> f64 {
        let group = self.ports.get(&(port, protocol));
        group.map_or(0.0, |group| group.members.len())
    }

    /// True where names were seen for a while before a call began and still are, and none was given for the
    /// address. What began before may go by a name that was asked for before.
    pub(super) fn is_nameless(&self, since_ns: u64, at_ns: u64, host: &Address) -> bool {
        let are_seen = self.named_ns > 0 && at_ns.saturating_sub(self.named_ns) < NAMES_NS;
        let is_after = since_ns >= self.named_first_ns.saturating_add(CACHED_NS);
        are_seen && is_after && self.named.get(host).is_none()
    }

    /// True where the source was known for a while before `since_ns`.
    pub(super) fn is_new_peer(&self, source: &Address, since_ns: u64) -> bool {
        let known = self.sources.get(source);
        known.is_some_and(|known| since_ns.saturating_sub(known.first_ns) >= KNOWN_NS)
    }

    pub(super) fn forget(&mut self, at_ns: u64) {
        let is_fresh = |group: &Group| at_ns.saturating_sub(group.last_ns) < FORGET_NS;
        self.hosts.retain(|_, group| is_fresh(group));
        self.ports.retain(|_, group| is_fresh(group));
        self.sources.retain(|_, group| is_fresh(group));
        self.timers.retain(|_, group| is_fresh(group));
        self.named.retain(|_, group| is_fresh(group));
    }
}
