//! Answered traffic of a host: two-way evidence of the flow stage that packets belong to conversations.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::bounded::{Bounded, Priority, TableUse};
use crate::config::SECOND_NS;
use crate::flow::{FlowUpdate, Progress};
use crate::slot_index::BATCH;

/// Packets a second towards a host that were in flows with answers, over the last pass.
#[derive(Clone, Copy, Default, Debug)]
pub struct Answered {
    pub tcp_pps: f64,
    pub udp_pps: f64,
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
const N_COUNTS: usize = 8;

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
            // Of those that are neither (ESP, GRE) only fragments are asked for.
            (_, Progress::Established) if update.has_fragments => OTHER,
            _ => usize::MAX,
        };
        if slot != usize::MAX {
            self.add(update, slot);
        }
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
        host.is_fragmented |= update.has_fragments;
        // The initiator receives, too; it isn't worth a new row.
        if let Some(host) = self.hosts.get_mut(&update.source) {
            host.count(slot, update.backward.packets);
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
                has_fragments: host.is_fragmented,
                one_way_pps: rate(NEVER_ANSWERED),
                one_way_udp_pps: rate(ONE_WAY_UDP),
                reflected_pps: rate(REFLECTED),
                asked_per_s: rate(ASKED),
                established_per_s: rate(ESTABLISHED),
            };
            host.total = host.now.iter().sum();
            host.now = [0; N_COUNTS];
            host.is_fragmented = false;
        }
        self.hosts.retain(|_, host| host.total > 0);
    }
}

impl Host {
    fn count(&mut self, slot: usize, n: u64) {
        if let Some(count) = self.now.get_mut(slot) {
            *count = count.saturating_add(n);
        }
        self.total = self.total.saturating_add(n);
    }
}
