//! Vectors of all subjects, each end of a window of 10 s.

use sensor_common::{Address, hash_address, mix};
use serde::{Deserialize, Serialize};

use super::activity::{Activity, Role, spread};
use super::bounded::TableUse;
use super::schema::N_FEATURES;
use crate::config::{SECOND_NS, VectorConfig};
use crate::flow::FlowUpdate;
use crate::slot_index::{BATCH, SlotIndex};

/// Length of the window.
pub const WINDOW_NS: u64 = 10 * SECOND_NS;

/// Subject of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// The initiator of flows.
    Source(Address),
    /// Initiator and responder.
    Pair(Address, Address),
    /// Responder, its port, protocol. ICMP has no ports: 0.
    Service(Address, u16, u8),
    /// The responder.
    Host(Address),
}

impl Subject {
    pub const N_KINDS: usize = 4;
    pub const LABELS: [&'static str; Self::N_KINDS] = ["source", "service", "host", "pair"];

    /// Position of the kind in [`Self::LABELS`].
    pub const fn kind(&self) -> usize {
        match self {
            Self::Source(_) => 0,
            Self::Service(..) => 1,
            Self::Host(_) => 2,
            // Last, so that what is found of its ends is known.
            Self::Pair(..) => 3,
        }
    }

    pub const fn label(&self) -> &'static str {
        Self::LABELS[self.kind()]
    }

    /// Hash among subjects of its kind.
    fn hash(&self, seed: u64) -> u64 {
        match self {
            Self::Source(address) | Self::Host(address) => hash_address(address, seed),
            Self::Pair(source, host) => {
                hash_pair(hash_address(source, seed), hash_address(host, seed), seed)
            }
            Self::Service(host, port, protocol) => {
                hash_service(hash_address(host, seed), *port, *protocol, seed)
            }
        }
    }
}

fn hash_pair(source: u64, host: u64, seed: u64) -> u64 {
    mix(source, host, seed)
}

fn hash_service(host: u64, port: u16, protocol: u8, seed: u64) -> u64 {
    mix(host, u64::from(port) << 8 | u64::from(protocol), seed)
}

/// The subjects of an update with their hashes, in the order of [`Subject::LABELS`].
#[derive(Clone, Copy)]
struct Involved {
    subjects: [Subject; Subject::N_KINDS],
    hashes: [u64; Subject::N_KINDS],
}

impl Involved {
    fn of(update: &FlowUpdate, seed: u64) -> Self {
        let (source, host) = (update.source, update.destination);
        let (port, protocol) = (service_port(update), update.protocol);
        let (by_source, by_host) = (hash_address(&source, seed), hash_address(&host, seed));
        Self {
            subjects: [
                Subject::Source(source),
                Subject::Service(host, port, protocol),
                Subject::Host(host),
                Subject::Pair(source, host),
            ],
            hashes: [
                by_source,
                hash_service(by_host, port, protocol, seed),
                by_host,
                hash_pair(by_source, by_host, seed),
            ],
        }
    }
}

/// The "ports" of ICMP are type and code.
const fn service_port(update: &FlowUpdate) -> u16 {
    match update.protocol {
        1 | 58 => 0,
        _ => update.destination_port,
    }
}

/// A subject's vector; columns as in [`super::schema::FEATURES`].
#[derive(Clone, Debug, PartialEq)]
pub struct Vector {
    pub subject: Subject,
    /// First and last packet in the window.
    pub first_ns: u64,
    pub last_ns: u64,
    pub n_packets: u64,
    pub values: [f32; N_FEATURES],
}

/// Place of a vector among those of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Rank among the most that are scored.
    Busy,
    /// Rank beyond, with fewer packets.
    Crowd,
}

/// One kind of subjects: a table of positions over slots that stay where they are.
#[derive(Debug)]
struct Kind {
    /// Slots by subject.
    index: SlotIndex,
    seed: u64,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots with packets in this window, in the order of their first.
    active: Vec<u32>,
    capacity: usize,
    hand: usize,
    n_shed: u64,
    /// Vectors over the limit of a window.
    n_skipped: u64,
}

#[derive(Debug)]
struct Slot {
    subject: Subject,
    activity: Activity,
    seen_ns: u64,
    is_active: bool,
    is_used: bool,
}

/// Slots looked at to find one to shed.
const SAMPLE: usize = 4;
/// A subject is forgotten after so long.
const FORGET_NS: u64 = 1_800 * SECOND_NS;

impl Kind {
    fn new(capacity: usize, hash_seed: u64) -> Self {
        Self {
            index: SlotIndex::default(),
            seed: hash_seed,
            slots: Vec::new(),
            free: Vec::new(),
            active: Vec::new(),
            capacity: capacity.max(1),
            hand: 0,
            n_shed: 0,
            n_skipped: 0,
        }
    }

    /// The slot of a subject, made where it is missing, and whether it was.
    fn slot(&mut self, at_ns: u64, subject: Subject, hash: u64) -> Option<(&mut Slot, bool)> {
        let known = self.find(hash, &subject);
        let index = match known {
            Some(index) => index,
            None => self.admit(at_ns, subject, hash),
        };
        let slot = self.slots.get_mut(index as usize)?;
        slot.seen_ns = at_ns;
        if !slot.is_active {
            slot.is_active = true;
            self.active.push(index);
        }
        Some((slot, known.is_none()))
    }

    /// Prefetches the slots of subjects with these hashes.
    fn fetch(&self, hashes: impl Iterator<Item = u64>) {
        let mut sum = 0;
        for place in self.index.likely_all(hashes) {
            if let Some(slot) = self.slots.get(place as usize) {
                sum ^= slot.seen_ns ^ slot.activity.touch();
            }
        }
        std::hint::black_box(sum);
    }

    fn find(&self, hash: u64, subject: &Subject) -> Option<u32> {
        let slots = &self.slots;
        self.index.find(hash, |index| {
            let slot = slots.get(index as usize);
            slot.is_some_and(|slot| slot.subject == *subject)
        })
    }

    fn admit(&mut self, at_ns: u64, subject: Subject, hash: u64) -> u32 {
        if self.index.len() >= self.capacity {
            self.shed();
        }
        let fresh = |is_active| Slot {
            subject,
            activity: Activity::new(at_ns),
            seen_ns: at_ns,
            is_active,
            is_used: true,
        };
        let index = if let Some(index) = self.free.pop()
            && let Some(place) = self.slots.get_mut(index as usize)
        {
            // It may still be listed for this window.
            *place = fresh(place.is_active);
            index
        } else {
            self.slots.push(fresh(false));
            self.slots.len().saturating_sub(1) as u32
        };
        self.index.insert(hash, index);
        index
    }

    /// Makes room: of a few slots under a moving hand the one with the fewest packets in this
    /// window, then the longest idle. A flood of one-packet sources displaces its own kind.
    fn shed(&mut self) {
        let n = self.slots.len().max(1);
        let mut least: Option<((u64, u64), usize)> = None;
        for _ in 0..SAMPLE {
            self.hand = (self.hand + 1) % n;
            if let Some(slot) = self.slots.get(self.hand).filter(|slot| slot.is_used) {
                let priority = (slot.activity.n_packets(), slot.seen_ns);
                if least.is_none_or(|(other, _)| priority < other) {
                    least = Some((priority, self.hand));
                }
            }
        }
        if let Some((_, index)) = least {
            self.release(index);
            self.n_shed = self.n_shed.saturating_add(1);
        }
    }

    fn release(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.is_used = false;
            let hash = slot.subject.hash(self.seed);
            self.index.remove(hash, index as u32);
            self.free.push(index as u32);
        }
    }

    /// Hands out the vectors of the window, in the order of the subjects' first packets, at most
    /// `n_most`; the busiest where there are more.
    fn close(
        &mut self,
        at_ns: u64,
        n_most: usize,
        vector: &mut Vector,
        take: &mut dyn FnMut(&Vector, Rank),
    ) {
        let mut active = std::mem::take(&mut self.active);
        let least = self.least_packets(&active, n_most);
        let mut n_left = n_most;
        for index in &active {
            let Some(slot) = self.slots.get_mut(*index as usize) else {
                continue;
            };
            slot.is_active = false;
            if !slot.is_used {
                continue;
            }
            vector.n_packets = slot.activity.n_packets();
            vector.first_ns = slot.activity.first_ns();
            vector.last_ns = slot.activity.last_ns();
            vector.subject = slot.subject;
            slot.activity.close(at_ns, &mut vector.values);
            if vector.n_packets < least || n_left == 0 {
                self.n_skipped = self.n_skipped.saturating_add(1);
                take(vector, Rank::Crowd);
            } else if vector.n_packets > 0 {
                n_left -= 1;
                take(vector, Rank::Busy);
            }
        }
        active.clear();
        self.active = active;
        self.forget(at_ns);
    }

    /// Packets that a subject must have had to be among the `n_most` busiest.
    fn least_packets(&self, active: &[u32], n_most: usize) -> u64 {
        if active.len() <= n_most {
            return 0;
        }
        let slots = active.iter().filter_map(|i| self.slots.get(*i as usize));
        let mut counts: Vec<u64> = slots.map(|slot| slot.activity.n_packets()).collect();
        let place = counts.len().saturating_sub(n_most.max(1));
        *counts.select_nth_unstable(place).1
    }

    /// Looks at a part of the slots for such as were idle for long.
    fn forget(&mut self, at_ns: u64) {
        let n = self.slots.len();
        for _ in 0..n.div_ceil(32) {
            self.hand = (self.hand + 1) % n.max(1);
            let is_idle = self.slots.get(self.hand).is_some_and(|slot| {
                slot.is_used && at_ns.saturating_sub(slot.seen_ns) >= FORGET_NS
            });
            if is_idle {
                self.release(self.hand);
            }
        }
    }
}

/// Counts of each destination port, for the surprise of the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ports {
    counts: Vec<f32>,
    total: f32,
}

impl Ports {
    const N: usize = 4096;
    /// Total beyond which all counts are halved: a memory of about so many flows.
    const MOST: f32 = 65_536.0;

    fn new() -> Self {
        Self {
            counts: vec![0.0; Self::N],
            total: 0.0,
        }
    }

    /// Surprise of a port, bits, before it is counted.
    fn take(&mut self, port: u16, protocol: u8) -> f32 {
        let index = spread(u64::from(port) << 8 | u64::from(protocol)) >> 52;
        let Some(count) = self.counts.get_mut(index as usize) else {
            return 0.0;
        };
        let surprise = ((self.total + 16.0) / (*count + 1.0)).log2();
        *count += 1.0;
        self.total += 1.0;
        if self.total >= Self::MOST {
            self.total = 0.0;
            for count in &mut self.counts {
                *count *= 0.5;
                self.total += *count;
            }
        }
        surprise.max(0.0)
    }
}

type Life<T> = (Subject, u64, T);

/// State of [`Subjects`] that is kept over restarts.
#[derive(Deserialize)]
pub(crate) struct Learned((Vec<Vec<Life<Activity>>>, Ports));

/// All subjects.
#[derive(Debug)]
pub(crate) struct Subjects {
    kinds: [Kind; Subject::N_KINDS],
    ports: Ports,
    seed: u64,
    began_ns: u64,
    n_most: usize,
}

impl Subjects {
    pub(crate) fn new(config: &VectorConfig, hash_seed: u64) -> Self {
        let kind = |capacity| Kind::new(capacity, hash_seed);
        Self {
            kinds: [
                kind(config.max_sources),
                kind(config.max_services),
                kind(config.max_hosts),
                kind(config.max_pairs),
            ],
            ports: Ports::new(),
            seed: hash_seed,
            began_ns: 0,
            n_most: config.max_vectors,
        }
    }

    /// Copies the learned state of each kind's subjects and of the ports.
    pub(crate) fn learned(&self) -> impl Serialize + '_ {
        let known = |kind: &Kind| -> Vec<Life<Activity>> {
            let used = kind.slots.iter().filter(|slot| slot.is_used);
            used.map(|slot| (slot.subject, slot.seen_ns, slot.activity.clone()))
                .collect()
        };
        let kinds: Vec<Vec<Life<Activity>>> = self.kinds.iter().map(known).collect();
        (kinds, &self.ports)
    }

    /// Takes in what another run learned. More than fits is left out.
    pub(crate) fn restore(&mut self, learned: Learned) {
        let (kinds, ports) = learned.0;
        for (kind, lives) in self.kinds.iter_mut().zip(kinds) {
            for (subject, seen_ns, activity) in lives.into_iter().take(kind.capacity) {
                let hash = subject.hash(kind.seed);
                let index = kind.admit(seen_ns, subject, hash);
                if let Some(slot) = kind.slots.get_mut(index as usize) {
                    slot.activity = activity;
                }
            }
        }
        if ports.counts.len() == Ports::N {
            self.ports = ports;
        }
    }

    pub(crate) fn tables(&self, out: &mut Vec<TableUse>) {
        let names = [
            "subject_sources",
            "subject_services",
            "subject_hosts",
            "subject_pairs",
        ];
        let uses = self.kinds.iter().zip(names);
        out.extend(uses.map(|(kind, table)| TableUse {
            table,
            n_entries: kind.index.len() as u64,
            capacity: kind.capacity as u64,
            n_shed: kind.n_shed,
        }));
    }

    pub(crate) fn n_shed(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.n_shed).sum()
    }

    /// Vectors that were not handed out because the window had too many.
    pub(crate) fn n_skipped(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.n_skipped).sum()
    }

    /// Takes updates one after the other.
    pub(crate) fn take_all(&mut self, at_ns: u64, updates: &[FlowUpdate]) {
        for batch in updates.chunks(BATCH) {
            self.fetch(batch);
            for update in batch {
                self.take(at_ns, update);
            }
        }
    }

    /// Prefetches the slots of the updates' subjects.
    fn fetch(&self, updates: &[FlowUpdate]) {
        let mut hashes = [[0; BATCH]; Subject::N_KINDS];
        for (i, update) in updates.iter().enumerate() {
            let involved = Involved::of(update, self.seed);
            for (hashes, hash) in hashes.iter_mut().zip(involved.hashes) {
                if let Some(place) = hashes.get_mut(i) {
                    *place = hash;
                }
            }
        }
        for (kind, hashes) in self.kinds.iter().zip(hashes) {
            kind.fetch(hashes.into_iter().take(updates.len()));
        }
    }

    fn take(&mut self, at_ns: u64, update: &FlowUpdate) {
        let (sent, got) = (&update.forward, &update.backward);
        let port = service_port(update);
        let rarity = if update.is_new {
            self.ports.take(port, update.protocol)
        } else {
            0.0
        };
        let mut role = Role {
            update,
            sent,
            got,
            peer: 0,
            port: 0,
            rarity,
            is_new_pair: false,
        };
        if update.is_new {
            role.peer = spread(hash_address(&update.destination, 0));
            role.port = spread(u64::from(port));
        }
        let Involved { subjects, hashes } = Involved::of(update, self.seed);
        let [sources, services, hosts, pairs] = &mut self.kinds;
        let [source, service, host, pair] = subjects;
        let [by_source, by_service, by_host, by_pair] = hashes;
        if let Some((slot, is_new)) = pairs.slot(at_ns, pair, by_pair) {
            role.is_new_pair = is_new;
            slot.activity.take(at_ns, &role);
        }
        if let Some((slot, _)) = sources.slot(at_ns, source, by_source) {
            slot.activity.take(at_ns, &role);
        }
        (role.sent, role.got) = (got, sent);
        if update.is_new {
            role.peer = spread(hash_address(&update.source, 0));
        }
        if let Some((slot, _)) = hosts.slot(at_ns, host, by_host) {
            slot.activity.take(at_ns, &role);
        }
        if update.is_new {
            role.port = spread(u64::from(update.source_port));
        }
        if let Some((slot, _)) = services.slot(at_ns, service, by_service) {
            slot.activity.take(at_ns, &role);
        }
    }

    /// True where a window is over: they begin at multiples of 10 s.
    pub(crate) fn is_due(&mut self, at_ns: u64) -> bool {
        if self.began_ns == 0 || at_ns < self.began_ns {
            self.began_ns = at_ns;
        }
        at_ns / WINDOW_NS != self.began_ns / WINDOW_NS
    }

    /// Ends the window and hands out its vectors.
    pub(crate) fn close(&mut self, at_ns: u64, take: &mut dyn FnMut(&Vector, Rank)) {
        self.began_ns = at_ns;
        let mut vector = Vector {
            subject: Subject::Host([0; 4]),
            first_ns: 0,
            last_ns: 0,
            n_packets: 0,
            values: [0.0; N_FEATURES],
        };
        for kind in &mut self.kinds {
            kind.close(at_ns, self.n_most, &mut vector, take);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::Column;
    use super::*;
    use crate::flow::{Delta, Progress};
    use crate::tests::{T0, ip};

    fn update(source: u16, destination: u16, port: u16, packets: u64) -> FlowUpdate {
        let delta = Delta {
            packets,
            bytes: packets * 100,
            length_sumsq: packets * 10_000,
            length_histogram: [0, packets, 0, 0],
            ..Delta::default()
        };
        FlowUpdate {
            is_one_way: false,
            begins_to_close: false,
            n_flags: [1, 0, 0, 0, 0],
            is_stray: false,
            source: ip(source),
            destination: ip(destination),
            source_port: 40_000,
            destination_port: port,
            protocol: 6,
            is_claimed: false,
            has_fragments: false,
            forward: delta,
            backward: Delta::default(),
            n_forward: packets,
            n_backward: 0,
            is_attempt: true,
            is_new: true,
            progress: Progress::Pending,
            has_progressed: false,
            has_closed: false,
            first_ns: T0,
            last_ns: T0,
        }
    }

    fn subjects(most: usize) -> Subjects {
        let config = VectorConfig {
            max_sources: most,
            max_pairs: most,
            max_services: most,
            max_hosts: most,
            max_vectors: most,
        };
        Subjects::new(&config, 1)
    }

    fn window(subjects: &mut Subjects, at_ns: u64) -> Vec<Vector> {
        let mut vectors = Vec::new();
        if subjects.is_due(at_ns) {
            subjects.close(at_ns, &mut |vector, rank| {
                if rank == Rank::Busy {
                    vectors.push(vector.clone());
                }
            });
        }
        vectors
    }

    #[test]
    fn each_kind_of_subject_counts_its_own_side() {
        let mut subjects = subjects(100);
        assert_eq!(window(&mut subjects, T0).len(), 0);
        for port in 1..=20 {
            subjects.take(T0, &update(1, 2, port, 3));
        }
        let vectors = window(&mut subjects, T0 + WINDOW_NS);
        assert_eq!(vectors.len(), 1 + 1 + 20 + 1);
        let value = |subject: Subject, column: Column| {
            let found = vectors.iter().find(|vector| vector.subject == subject);
            found.map_or(f32::NAN, |vector| vector.values[column as usize])
        };
        let source = Subject::Source(ip(1));
        assert!((value(source, Column::OutPackets) - 61f32.ln()).abs() < 1e-5);
        assert!((value(source, Column::Ports) - 21f32.ln()).abs() < 0.05);
        assert!((value(source, Column::Peers) - 2f32.ln()).abs() < 0.01);
        assert!((value(source, Column::OutLengthMean) - 101f32.ln()).abs() < 1e-4);
        assert!(value(source, Column::OutLengthDeviation).abs() < 1e-3);
        assert!((value(Subject::Host(ip(2)), Column::InPackets) - 61f32.ln()).abs() < 1e-5);
        let service = Subject::Service(ip(2), 5, 6);
        assert!((value(service, Column::InBytes) - 301f32.ln()).abs() < 1e-4);
        assert!((value(service, Column::NewPairs)).abs() < 1e-6);
    }

    #[test]
    fn tables_are_bounded_and_the_busy_stay() {
        let mut subjects = subjects(50);
        window(&mut subjects, T0);
        subjects.take(T0, &update(9999, 2, 80, 1000));
        for source in 0..500 {
            subjects.take(T0, &update(source, 2, 80, 1));
        }
        let vectors = window(&mut subjects, T0 + WINDOW_NS);
        let busy = Subject::Source(ip(9999));
        assert!(vectors.iter().any(|vector| vector.subject == busy));
        let n_sources = vectors.iter().filter(|v| v.subject.kind() == 0).count();
        assert_eq!(n_sources, 50);
        assert_eq!(subjects.n_shed(), 2 * 451);
    }

    #[test]
    fn too_many_vectors_leave_the_busiest() {
        let config = VectorConfig {
            max_vectors: 10,
            ..VectorConfig::default()
        };
        let mut subjects = Subjects::new(&config, 1);
        window(&mut subjects, T0);
        for source in 0..100 {
            subjects.take(T0, &update(source, 2, 80, u64::from(source) + 1));
        }
        let vectors = window(&mut subjects, T0 + WINDOW_NS);
        let sources = vectors.iter().filter(|v| v.subject.kind() == 0);
        assert!(sources.clone().all(|v| v.n_packets > 90));
        assert_eq!(sources.count(), 10);
        assert_eq!(subjects.n_skipped(), 180);
    }

    #[test]
    fn idle_subjects_are_forgotten() {
        let mut subjects = subjects(100);
        window(&mut subjects, T0);
        subjects.take(T0, &update(1, 2, 80, 1));
        for i in 1..200 {
            window(&mut subjects, T0 + i * 100 * SECOND_NS);
        }
        assert!(subjects.kinds.iter().all(|k| k.index.is_empty()));
    }
}
