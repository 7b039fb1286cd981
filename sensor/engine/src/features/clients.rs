//! Clients of a service taken together: all of them, and those of one IPv6 network of 64 bits, whose hosts
//! take addresses as they like. Floods that no single source shows are seen by these sums, held against what
//! the service usually gets.

use std::net::{IpAddr, Ipv6Addr};

use sensor_common::{Address, hash_address};

use super::bounded::{Bounded, Priority, TableUse};
use super::decay::Spread;
use super::pair::{Pair, fast, is_session};
use crate::address::{from_ip, to_ip};
use crate::config::SECOND_NS;
use crate::flow::{EndReason, FlowSummary, FlowUpdate, Progress};

/// A service, and a network of its clients where not all of them are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientsKey {
    pub network: Option<Address>,
    pub host: Address,
    pub port: u16,
}

/// Kinds of use that have a usual level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Requests and short sessions, as counts that fade with 5 s.
    Requests,
    Sessions,
    /// Connections that stay open.
    Open,
}

const N_USES: usize = 3;
/// Clients named at most.
const NAMED: usize = 16;
/// Time in which sources are counted together; those of the one before count, too.
const PANE_NS: u64 = 5 * SECOND_NS;
/// Time from which on the use of a service is known.
const KNOWN_NS: u64 = 60 * SECOND_NS;
/// A service that comes up later than this after the first of all is a new one: nothing is usual for it yet.
const NEW_NS: u64 = 30 * SECOND_NS;
/// Times in which a usual level may double, and in which it halves.
const DOUBLES_NS: f64 = 3_600e9;
const HALVES_NS: f64 = 86_400e9;
const FORGET_NS: u64 = 600 * SECOND_NS;
/// As long as what is usual for a service is kept.
const FORGET_USUAL_NS: u64 = 8 * 86_400 * SECOND_NS;

/// The most that is usual. It is what was seen at first, and later rises slowly: to double, an hour has to pass, so that
/// a flood that grows day by day only becomes usual where it stays, and one that grows within the hour doesn't.
#[derive(Clone, Copy, Debug, Default)]
struct Usual(f64);

impl Usual {
    fn learn(&mut self, value: f64, elapsed_ns: u64, is_first: bool, least: f64) {
        if is_first {
            self.0 = self.0.max(value);
        } else if value > self.0 {
            let grown = self.0.max(least) * (elapsed_ns as f64 / DOUBLES_NS).exp2();
            self.0 = value.min(grown);
        } else {
            self.0 *= (-(elapsed_ns as f64) / HALVES_NS).exp2();
        }
    }
}

/// Clients of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    pub sum: Pair,
    /// Sources of this pane and of the one before.
    sources: [Spread; 2],
    pane_ns: u64,
    /// Some sources of a network, and when each was last seen.
    named: Vec<(Address, u64)>,
    usual: [Usual; N_USES],
    /// The service was there when watching began, or soon after.
    is_old: bool,
    first_ns: u64,
    learned_ns: u64,
    pub is_watched: bool,
    pub reported_ns: u64,
}

impl Priority for Clients {
    fn priority(&self) -> u64 {
        self.sum.priority() + self.sum.fast.get(fast::REQUESTS) as u64
    }
}

impl Clients {
    fn take(&mut self, update: &FlowUpdate, began_ns: u64, is_naming: bool) {
        let at_ns = update.last_ns;
        if self.first_ns == 0 {
            self.first_ns = at_ns;
            self.is_old = at_ns.saturating_sub(began_ns) < NEW_NS;
        }
        if at_ns.saturating_sub(self.pane_ns) >= PANE_NS {
            let is_next = at_ns.saturating_sub(self.pane_ns) < 2 * PANE_NS;
            let [now, before] = &mut self.sources;
            *before = if is_next { *now } else { Spread::default() };
            now.clear();
            self.pane_ns = at_ns;
            self.named
                .retain(|(_, last_ns)| at_ns.saturating_sub(*last_ns) < 2 * PANE_NS);
        }
        let [now, _] = &mut self.sources;
        now.insert(hash_address(&update.source, 1));
        if is_naming {
            let mut known = self.named.iter_mut();
            if let Some((_, last_ns)) = known.find(|(source, _)| *source == update.source) {
                *last_ns = at_ns;
            } else if self.named.len() < NAMED {
                self.named.push((update.source, at_ns));
            }
        }
        self.sum.take(update);
        self.learn(at_ns);
    }

    /// Learns what is usual, once a second.
    fn learn(&mut self, at_ns: u64) {
        let elapsed_ns = at_ns.saturating_sub(self.learned_ns);
        if elapsed_ns < SECOND_NS {
            return;
        }
        let is_first = self.is_old && at_ns.saturating_sub(self.first_ns) < KNOWN_NS;
        let elapsed_ns = if self.learned_ns == 0 { 0 } else { elapsed_ns };
        self.learned_ns = at_ns;
        let values = [
            self.sum.fast.get(fast::REQUESTS),
            self.sum.fast.get(fast::SESSIONS),
            f64::from(self.sum.n_open),
        ];
        for (usual, value) in self.usual.iter_mut().zip(values) {
            usual.learn(value, elapsed_ns, is_first, 1.0);
        }
    }

    /// The most that is usual of a kind of use; `None` where it is not known yet.
    pub(crate) fn usual(&self, of: Use, at_ns: u64) -> Option<f64> {
        let is_known = !self.is_old || at_ns.saturating_sub(self.first_ns) >= KNOWN_NS;
        let usual = self.usual.get(of as usize)?;
        is_known.then_some(usual.0)
    }

    /// Rough number of sources in the last seconds.
    pub(crate) fn n_sources(&self) -> f64 {
        let [now, before] = self.sources;
        now.union(before).len()
    }

    /// Some of them, of a network.
    pub(crate) fn named(&self) -> impl Iterator<Item = &Address> {
        self.named.iter().map(|(source, _)| source)
    }
}

/// The network of 64 bits that an address is in, where it is one of IPv6.
pub(crate) fn network_of(source: &Address) -> Option<Address> {
    match to_ip(source) {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => {
            let network = Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64);
            Some(from_ip(IpAddr::V6(network)))
        }
    }
}

/// Table of services and their clients.
#[derive(Debug)]
pub(crate) struct Services {
    clients: Bounded<ClientsKey, Clients>,
    began_ns: u64,
}

impl Services {
    pub(crate) fn new(capacity: usize, hash_seed: u64) -> Self {
        Self {
            clients: Bounded::new("shape_services", capacity, hash_seed),
            began_ns: 0,
        }
    }

    pub(crate) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.clients.usage());
    }

    /// Takes packets of a connection; the clients that it counts for after it.
    pub(crate) fn take(
        &mut self,
        update: &FlowUpdate,
        judge: &mut impl FnMut(&ClientsKey, &mut Clients),
    ) {
        if self.began_ns == 0 {
            self.began_ns = update.last_ns;
        }
        if update.progress != Progress::Established {
            return;
        }
        for key in keys(&update.source, update.destination, update.destination_port) {
            let clients = self.clients.get_or_insert_with(key, Clients::default);
            clients.take(update, self.began_ns, key.network.is_some());
            judge(&key, clients);
        }
    }

    /// Takes the end of a connection; the clients that it counted for after it.
    pub(crate) fn end(
        &mut self,
        flow: &FlowSummary,
        source: &Address,
        host: Address,
        judge: &mut impl FnMut(&ClientsKey, &mut Clients),
    ) {
        if flow.end_reason == EndReason::ActiveTimeout {
            return;
        }
        for key in keys(source, host, flow.destination_port) {
            if let Some(clients) = self.clients.get_mut(&key) {
                clients.sum.end(flow, is_session(flow));
                judge(&key, clients);
            }
        }
    }

    pub(crate) fn get_mut(&mut self, key: &ClientsKey) -> Option<&mut Clients> {
        self.clients.get_mut(key)
    }

    /// Forgets services that were silent for long; those that had clients for a while later.
    pub(crate) fn forget(&mut self, at_ns: u64) {
        self.clients.retain(|key, clients| {
            let silence_ns = at_ns.saturating_sub(clients.sum.last_ns);
            let lived_ns = clients.sum.last_ns.saturating_sub(clients.first_ns);
            let is_known = key.network.is_none() && lived_ns >= KNOWN_NS;
            silence_ns < if is_known { FORGET_USUAL_NS } else { FORGET_NS }
        });
    }
}

/// Keys that a connection counts for.
fn keys(source: &Address, host: Address, port: u16) -> impl Iterator<Item = ClientsKey> {
    let all = ClientsKey {
        network: None,
        host,
        port,
    };
    let of_network = network_of(source).map(|network| ClientsKey {
        network: Some(network),
        ..all
    });
    std::iter::once(all).chain(of_network)
}
