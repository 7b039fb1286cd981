//! Answered traffic of a host: two-way evidence of the flow stage that packets belong to conversations.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::bounded::{Bounded, Priority, TableUse};
use super::stray::{N_KINDS, StrayKind};
use crate::config::SECOND_NS;
use crate::flow::{FlowUpdate, Progress};
use crate::slot_index::BATCH;

/// Packets a second towards a host that were in flows with answers, over the last pass.
#[derive(Clone, Copy, Default, Debug)]
pub struct Answered {
    pub tcp_pps: f64,
    pub udp_pps: f64,
    /// As those, of the other protocols but ICMP.
    pub other_pps: f64,
    /// UDP packets a second from the host in such flows.
    pub udp_back_pps: f64,
    /// Kind that most packets of no conversation are of, but resets.
    pub stray: Option<StrayKind>,
    /// A two-way flow of the host carries fragments, of any protocol. Its later fragments have no ports
    /// and look like another flow.
    pub has_fragments: bool,
    /// UDP packets a second of what is never answered: reports and media.
    pub one_way_pps: f64,
    /// Unanswered UDP packets a second, those from ports of [`REFLECTORS`], and their bytes.
    pub one_way_udp_pps: f64,
    pub reflected_pps: f64,
    /// New TCP flows a second by a SYN, and those that got through the handshake.
    pub asked_per_s: f64,
    pub established_per_s: f64,
}

/// Source ports of services that answer more than they are asked (US-CERT TA14-017A).
pub const REFLECTORS: [u16; 12] = [17, 19, 53, 111, 123, 137, 161, 389, 520, 1900, 3702, 11211];

/// Time that a rate is taken over, at least.
const LEAST_NS: u64 = SECOND_NS / 2;

#[derive(Clone, Debug, Default)]
struct Host {
    now: [u64; N_COUNTS],
    last: Answered,
    /// Packets of no conversation by kind.
    strays: [(u64, Option<StrayKind>); N_KINDS],
    is_fragmented: bool,
    total: u64,
}

impl Priority for Host {
    fn priority(&self) -> u64 {
        self.total
    }
}

#[derive(Debug)]
pub(crate) struct AnsweredTraffic {
    hosts: Bounded<Address, Host>,
    at_ns: u64,
}

const TCP: usize = 0;
const UDP: usize = 1;
const ONE_WAY_UDP: usize = 2;
const REFLECTED: usize = 3;
const ASKED: usize = 4;
const ESTABLISHED: usize = 5;
const NEVER_ANSWERED: usize = 6;
const OTHER: usize = 7;
const UDP_BACK: usize = 8;
/// Of ICMP only fragments are asked for.
const FRAGMENTED: usize = 9;
const N_COUNTS: usize = 10;

impl AnsweredTraffic {
    pub(crate) fn new(capacity: usize, hash_seed: u64) -> Self {
        Self {
            hosts: Bounded::new("answered_hosts", capacity, hash_seed),
            at_ns: 0,
        }
    }

    pub(crate) fn usage(&self) -> TableUse {
        self.hosts.usage()
    }

    pub(crate) fn of(&self, address: &Address) -> Answered {
        self.hosts
            .get(address)
            .map_or_else(Answered::default, |host| host.last)
    }

    /// Takes updates one after the other.
    pub(crate) fn take_all(&mut self, updates: &[FlowUpdate]) {
        for batch in updates.chunks(BATCH) {
            self.hosts
                .fetch(batch.iter().map(|update| update.destination));
            self.hosts.fetch(batch.iter().map(|update| update.source));
            batch.iter().for_each(|update| self.take(update));
        }
    }

    fn take(&mut self, update: &FlowUpdate) {
        let slot = match (update.protocol, update.progress) {
            (protocol::TCP, Progress::Established) => TCP,
            (protocol::UDP, Progress::Established) => UDP,
            (protocol::UDP, _) if update.is_one_way => NEVER_ANSWERED,
            (protocol::UDP, _) => ONE_WAY_UDP,
            (protocol::TCP, _) => usize::MAX,
            (protocol::ICMP | protocol::ICMPV6, progress) => {
                let is_two_way = progress == Progress::Established && update.has_fragments;
                if is_two_way { FRAGMENTED } else { usize::MAX }
            }
            (_, Progress::Established) => OTHER,
            _ => usize::MAX,
        };
        if slot != usize::MAX {
            self.add(update, slot);
        }
        self.take_stray(update);
        if update.protocol == protocol::TCP && update.is_attempt {
            let established = update.has_progressed && update.progress == Progress::Established;
            if update.is_new || established {
                let host = self
                    .hosts
                    .get_or_insert_with(update.destination, Host::default);
                host.now[ASKED] += u64::from(update.is_new);
                host.now[ESTABLISHED] += u64::from(established);
            }
        }
    }

    fn take_stray(&mut self, update: &FlowUpdate) {
        let kind = StrayKind::of(update).filter(|kind| *kind != StrayKind::Reset);
        let Some(kind) = kind else { return };
        let host = self
            .hosts
            .get_or_insert_with(update.destination, Host::default);
        let [n, _] = kind.count(update);
        host.total = host.total.saturating_add(n);
        if let Some((count, latest)) = host.strays.get_mut(kind.index()) {
            *count = count.saturating_add(n);
            *latest = Some(kind);
        }
    }

    fn add(&mut self, update: &FlowUpdate, slot: usize) {
        let host = self
            .hosts
            .get_or_insert_with(update.destination, Host::default);
        host.count(slot, update.forward.packets);
        if slot == ONE_WAY_UDP {
            if REFLECTORS.contains(&update.source_port) {
                host.count(REFLECTED, update.forward.packets);
            }
            return;
        }
        if slot == NEVER_ANSWERED {
            return;
        }
        if slot == UDP {
            host.count(UDP_BACK, update.backward.packets);
        }
        host.is_fragmented |= update.has_fragments;
        // The initiator receives, too; it isn't worth a new row.
        if let Some(host) = self.hosts.get_mut(&update.source) {
            host.count(slot, update.backward.packets);
            if slot == UDP {
                host.count(UDP_BACK, update.forward.packets);
            }
            host.is_fragmented |= update.has_fragments;
        }
    }

    /// Turns the counts of a pass into rates. Handshakes take time: of a moment's connections most
    /// are not done, so what passes out of turn bring is judged with the next.
    pub(crate) fn tick(&mut self, at_ns: u64) {
        if at_ns.saturating_sub(self.at_ns) < LEAST_NS {
            return;
        }
        // When the first pass began nobody said.
        let elapsed_s = match self.at_ns {
            0 => 1.0,
            before_ns => (at_ns.saturating_sub(before_ns) as f64 / 1e9).clamp(0.1, 10.0),
        };
        self.at_ns = at_ns;
        for (_, host) in self.hosts.iter_mut() {
            let rate = |slot: usize| host.now.get(slot).map_or(0.0, |n| *n as f64 / elapsed_s);
            host.last = Answered {
                tcp_pps: rate(TCP),
                udp_pps: rate(UDP),
                other_pps: rate(OTHER),
                udp_back_pps: rate(UDP_BACK),
                stray: most(&host.strays),
                has_fragments: host.is_fragmented,
                one_way_pps: rate(NEVER_ANSWERED),
                one_way_udp_pps: rate(ONE_WAY_UDP),
                reflected_pps: rate(REFLECTED),
                asked_per_s: rate(ASKED),
                established_per_s: rate(ESTABLISHED),
            };
            let strays = host.strays.iter().map(|(n, _)| n);
            host.total = host.now.iter().chain(strays).sum();
            host.now = [0; N_COUNTS];
            host.strays = [(0, None); N_KINDS];
            host.is_fragmented = false;
        }
        self.hosts.retain(|_, host| host.total > 0);
    }
}

/// Kind with the most packets.
fn most(strays: &[(u64, Option<StrayKind>); N_KINDS]) -> Option<StrayKind> {
    let seen = strays.iter().filter(|(n, _)| *n > 0);
    seen.max_by_key(|(n, _)| *n).and_then(|(_, kind)| *kind)
}

impl Host {
    fn count(&mut self, slot: usize, n: u64) {
        if let Some(count) = self.now.get_mut(slot) {
            *count = count.saturating_add(n);
        }
        self.total = self.total.saturating_add(n);
    }
}
