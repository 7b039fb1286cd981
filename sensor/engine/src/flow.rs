//! Flow stage: records of slots in, updates and ended flows out.
//!
//! The kernel cache keeps a slot until another flow wants it, so a flow that ended here may still
//! be read there. Such a flow stays as a dormant entry until its record is sent, or is so old that
//! the cache adds nothing to it any more ([`RESTART_NS`]): counters are never counted twice.

mod community;
mod direction;
mod entry;
mod mark;
mod memory;
mod one_way;
mod records;
mod table;
mod totals;

use sensor_common::event::Sample;
use sensor_common::flow::{Direction, Flow, RESTART_NS, last_seen};
use sensor_common::packet::{Packet, Realm, protocol};
use sensor_common::service;

use self::direction::{Services, is_from_b};
use self::entry::{Entry, Life, earliest};
use self::memory::Memory;
use self::one_way::Sides;
use self::records::{FlowKey, turn};
use self::table::FlowTable;
use self::totals::{ACK, FIN, RST, SYN, Tally};
use crate::address::to_ip;
use crate::bounded::TableUse;
use crate::config::{FlowConfig, SECOND_NS};
use crate::icmp_error::IcmpError;
use crate::slot_index::BATCH;

pub use self::community::{Tuple, community_id};
pub(crate) use self::one_way::{is_group, is_never_answered};
pub use self::records::{EndReason, FlowSummary, FlowUpdate, Progress, TunnelSummary};
pub use self::totals::{Delta, Totals};

/// Output of the stage.
#[derive(Debug)]
pub enum FlowEvent<'a> {
    Update(&'a FlowUpdate),
    End(&'a FlowSummary),
    /// A flow is over of which everything was exported before.
    Over(&'a FlowSummary),
}

/// The flow stage.
#[derive(Debug)]
pub struct FlowStage {
    config: FlowConfig,
    flows: FlowTable,
    memory: Memory,
    services: Services,
    sides: Sides,
    /// Entries that a tick looks after; kept for its memory.
    due: Vec<u32>,
    n_dormant: usize,
    n_boxed_bytes: usize,
    /// Slot at which the search for an old flow to shed goes on.
    hand: usize,
    pub n_shed: u64,
}

/// Entries looked at to find an old one.
const SHED_SAMPLE: usize = 8;
/// Age from which nothing will be added to a record: what the cache promises, and time for the
/// reader to come round.
const FORGET_NS: u64 = RESTART_NS + 3 * SECOND_NS;

impl FlowStage {
    pub fn new(config: &FlowConfig, hash_seed: u64) -> Self {
        Self {
            config: config.clone(),
            flows: FlowTable::new(config.max_flows, hash_seed),
            memory: Memory::new(hash_seed),
            services: Services::new(hash_seed),
            sides: Sides::default(),
            due: Vec::new(),
            n_dormant: 0,
            n_boxed_bytes: 0,
            hand: 0,
            n_shed: 0,
        }
    }

    /// Takes new thresholds; the table keeps its capacity.
    pub fn configure(&mut self, config: &FlowConfig) {
        self.config = config.clone();
    }

    /// Flows that have not ended.
    pub fn len(&self) -> usize {
        self.flows.len().saturating_sub(self.n_dormant)
    }

    /// Entries, those included that ended and wait for their slot, and how many fit.
    pub fn n_entries(&self) -> [u64; 2] {
        [self.flows.len() as u64, self.config.max_flows as u64]
    }

    /// Use of the tables beside that of flows.
    pub fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.memory.usage());
        out.push(self.services.usage());
    }

    /// Connections of which one side alone was seen where that is so of nearly all: the mirror is
    /// asymmetric, and missing answers are no evidence.
    pub const fn n_one_sided(&self) -> u64 {
        self.sides.n_one_sided
    }

    /// Memory held, by capacity.
    pub fn n_bytes(&self) -> usize {
        self.flows.n_bytes().saturating_add(self.n_boxed_bytes)
    }

    /// Prefetches the entries of records, at most [`crate::slot_index::BATCH`] of them.
    pub fn fetch(&self, flows: &[Flow]) {
        self.flows
            .fetch(flows.iter().map(|flow| FlowKey::of(&flow.head)));
    }

    /// Takes a record in.
    pub fn take(
        &mut self,
        at_ns: u64,
        flow: &Flow,
        is_final: bool,
        emit: &mut impl FnMut(FlowEvent<'_>),
    ) {
        let (key, life) = (FlowKey::of(&flow.head), life_of(flow));
        let Some(at) = self.find_or_admit(at_ns, &key, flow, emit) else {
            return;
        };
        let Some((entry, interface)) = self.flows.get_with_interface(at) else {
            return;
        };
        if entry.is_unchanged(life, is_final, &flow.directions) {
            return;
        }
        let boxed_before = entry.n_boxed_bytes();
        let mut tallies = entry.tallies();
        let mut was_dormant = entry.has(mark::DORMANT);
        if restarts(entry, &tallies, flow) {
            if !was_dormant {
                export((entry, *interface), EndReason::EndOfFlow, emit);
            }
            self.n_dormant = self.n_dormant.saturating_sub(usize::from(was_dormant));
            was_dormant = false;
            entry.restart(earliest(&parts_of(flow)));
            *interface = flow.head.ifindex;
            tallies = entry.tallies();
        }
        let had_ended = has_ended(key.protocol, &tallies);
        let exported = was_dormant.then(|| entry.totals());
        let deltas = entry.take(life, is_final, &flow.directions);
        let is_nothing = deltas[0].packets == 0 && deltas[1].packets == 0;
        if is_nothing || was_dormant && had_ended && are_late(&key, &deltas) {
            // Nothing new, and perhaps the last of what was waited for.
            let (boxed, is_final) = (entry.n_boxed_bytes(), entry.is_final());
            self.n_boxed_bytes = self.n_boxed_bytes.saturating_add(boxed) - boxed_before;
            if was_dormant && is_final {
                self.remove(at);
            }
            return;
        }
        if let Some(totals) = exported {
            entry.revive(totals, at_ns);
            self.n_dormant = self.n_dormant.saturating_sub(1);
        }
        let boxed = entry.n_boxed_bytes();
        self.n_boxed_bytes = self.n_boxed_bytes.saturating_add(boxed) - boxed_before;
        note_record(entry, flow);
        let tallies = entry.tallies();
        decide(entry, &key, &tallies, &self.services);
        let mut update = update(
            at_ns,
            &self.config,
            &key,
            entry,
            &tallies,
            deltas,
            self.sides.are_one(),
        );
        let has_ended = !had_ended && has_ended(key.protocol, &tallies);
        update.has_closed = has_ended;
        // A later due time waits until the earlier one is found.
        if update.is_new || has_ended || was_dormant {
            let due_ns = due_ns(&self.config, entry, &tallies);
            self.flows.schedule(at, due_ns);
        }
        self.learn(at_ns, &update);
        emit(FlowEvent::Update(&update));
    }

    /// Learns from what a flow has come to.
    fn learn(&mut self, at_ns: u64, update: &FlowUpdate) {
        if !update.has_progressed || update.progress != Progress::Established {
            return;
        }
        let is_two_way = update.n_forward > 0 && update.n_backward > 0;
        if is_two_way && update.protocol == protocol::TCP {
            self.sides.note(true);
        }
        if is_two_way && update.is_attempt {
            let (host, port) = (&update.destination, update.destination_port);
            self.services.note(at_ns, host, port, update.protocol);
        }
    }

    /// Takes in a record of before this stage's time. Whoever looked until `looked_ns` exported the
    /// flow if it had ended by then; such a one is dormant. Nobody is told: it is the past.
    pub fn take_past(&mut self, at_ns: u64, flow: &Flow, is_final: bool, looked_ns: u64) {
        let (key, life) = (FlowKey::of(&flow.head), life_of(flow));
        // Room is made by forgetting: none of these was told of by this stage.
        let Some(at) = self.find_or_admit(at_ns, &key, flow, &mut |_| {}) else {
            return;
        };
        let Some(entry) = self.flows.get_mut(at) else {
            return;
        };
        let boxed_before = entry.n_boxed_bytes();
        let was_dormant = entry.has(mark::DORMANT);
        entry.take(life, is_final, &flow.directions);
        note_record(entry, flow);
        let tallies = entry.tallies();
        let nothing = [Delta::default(); 2];
        // Marks what it has come to, so that this is not told as news.
        update(at_ns, &self.config, &key, entry, &tallies, nothing, false);
        entry.unset(mark::DORMANT);
        let has_ended = end_reason(looked_ns, &self.config, entry, &tallies)
            .is_some_and(|reason| reason != EndReason::ActiveTimeout);
        if has_ended {
            entry.set(mark::DORMANT);
        }
        let is_dormant = entry.has(mark::DORMANT);
        let boxed = entry.n_boxed_bytes();
        let due_ns = due_ns(&self.config, entry, &tallies);
        self.n_boxed_bytes = self.n_boxed_bytes.saturating_add(boxed) - boxed_before;
        self.n_dormant =
            self.n_dormant.saturating_add(usize::from(is_dormant)) - usize::from(was_dormant);
        self.flows.schedule(at, due_ns);
    }

    /// Returns the slot of a flow, taken where it has none. `None`: a record of the past, counted before it
    /// was forgotten.
    fn find_or_admit(
        &mut self,
        at_ns: u64,
        key: &FlowKey,
        flow: &Flow,
        emit: &mut impl FnMut(FlowEvent<'_>),
    ) -> Option<u32> {
        if let Some(at) = self.flows.find(key) {
            return Some(at);
        }
        if let Some(at) = self.flows.find_incomplete(key) {
            return Some(at);
        }
        let last_ns = last_seen(&flow.directions);
        if last_ns.saturating_add(FORGET_NS) <= at_ns {
            return None;
        }
        let hash = self.flows.hash(key);
        let parts = parts_of(flow);
        let is_over = |known: &memory::Known| known.is_over && last_ns > known.last_ns;
        if self.memory.get(hash).is_some_and(is_over) && is_late(key, &parts, &flow.directions) {
            return None;
        }
        if self.flows.is_full() {
            self.shed(emit);
        }
        let at = self.flows.insert(key, flow.head.ifindex);
        let known = self.memory.take(hash);
        if let (Some(known), Some(entry)) = (known, self.flows.get_mut(at)) {
            entry.set(known.marks);
        }
        Some(at)
    }

    /// Takes a sample, an ICMP error or the first bytes of a stream of media as evidence on the flow
    /// that it is of. True where the sample is the responder's of its own flow.
    pub fn take_sample(&mut self, sample: &Sample<'_>) -> bool {
        let packet = &sample.head.packet;
        // What is in a tunnel says nothing of flows outside.
        if packet.realm.is_tunnelled() {
            return is_answer(packet);
        }
        let evidence = if one_way::is_media(sample) {
            Some((FlowKey::of_packet(packet), mark::MEDIA))
        } else {
            let error = IcmpError::read(sample).filter(|error| error.is_unreachable);
            error.map(|error| (FlowKey::of_error(&error, packet.realm), mark::UNREACHABLE))
        };
        if let Some((key, marks)) = evidence {
            let found = self.flows.find(&key);
            match found.and_then(|at| self.flows.get_mut(at)) {
                Some(entry) => entry.set(marks),
                None => {
                    let hash = self.flows.hash(&key);
                    self.memory.hint(sample.head.at_ns, hash, marks);
                }
            }
        }
        self.is_answer(packet)
    }

    /// True where a packet is the responder's: as its flow says where that is known, else as it
    /// tells itself.
    fn is_answer(&self, packet: &Packet) -> bool {
        let key = FlowKey::of_packet(packet);
        let is_b = !key.is_from_a(packet);
        let entry = self.flows.find(&key).and_then(|at| self.flows.get(at));
        let marks = match entry {
            Some(entry) => return is_from_b(&entry.tallies(), entry.marks()) != is_b,
            None => self
                .memory
                .get(self.flows.hash(&key))
                .map_or(0, |known| known.marks),
        };
        if marks & mark::DECIDED != 0 {
            return (marks & mark::DECIDED_B != 0) != is_b;
        }
        is_answer(packet)
    }

    /// Reports what went unanswered and exports what is due, after one pass over the cache.
    pub fn tick(&mut self, at_ns: u64, emit: &mut impl FnMut(FlowEvent<'_>)) {
        let mut due = std::mem::take(&mut self.due);
        self.flows.advance(at_ns, &mut due);
        for batch in due.chunks(BATCH) {
            self.flows.bring(batch);
            for at in batch {
                self.look_after(at_ns, *at, emit);
            }
        }
        due.clear();
        self.due = due;
        self.memory.forget(at_ns);
        self.sides.tick(at_ns);
    }

    pub fn n_slots(&self) -> usize {
        self.flows.n_slots()
    }

    /// Live flows in `n` slots of the table from `start` on, whole since their beginning.
    pub fn page(&self, start: usize, n: usize) -> impl Iterator<Item = FlowSummary> {
        let entries = self.flows.page(start, n);
        entries
            .filter(|(entry, _)| !entry.has(mark::DORMANT))
            .map(|(entry, ifindex)| summary((entry, ifindex), EndReason::ForcedEnd, entry.totals()))
    }

    /// Exports everything that is left.
    pub fn finish(&mut self, emit: &mut impl FnMut(FlowEvent<'_>)) {
        for (entry, ifindex) in self.flows.iter() {
            if !entry.has(mark::DORMANT) {
                export((entry, ifindex), EndReason::ForcedEnd, emit);
            }
        }
        self.flows.clear();
        (self.n_dormant, self.n_boxed_bytes) = (0, 0);
    }

    fn look_after(&mut self, at_ns: u64, at: u32, emit: &mut impl FnMut(FlowEvent<'_>)) {
        let config = &self.config;
        let Some((entry, interface)) = self.flows.get_with_interface(at) else {
            return;
        };
        let key = entry.key();
        let tallies = entry.tallies();
        if !entry.has(mark::DORMANT | mark::ESTABLISHED | mark::FAILED) {
            let nothing = [Delta::default(); 2];
            let [a, b] = &tallies;
            let is_tcp = key.protocol == protocol::TCP;
            if is_tcp && (one_way::advances(a) || one_way::advances(b)) && !entry.has(mark::COUNTED)
            {
                entry.set(mark::COUNTED);
                self.sides.note(false);
            }
            let update = update(
                at_ns,
                config,
                &key,
                entry,
                &tallies,
                nothing,
                self.sides.are_one(),
            );
            if update.has_progressed {
                emit(FlowEvent::Update(&update));
            }
        }
        if let Some(reason) = end_reason(at_ns, config, entry, &tallies) {
            export((entry, *interface), reason, emit);
            if reason == EndReason::ActiveTimeout {
                let before = entry.n_boxed_bytes();
                entry.mark_exported(at_ns);
                let boxed = entry.n_boxed_bytes();
                self.n_boxed_bytes = self.n_boxed_bytes.saturating_add(boxed) - before;
            } else {
                entry.set(mark::DORMANT);
                self.n_dormant = self.n_dormant.saturating_add(1);
            }
        }
        let due_ns = due_ns(config, entry, &tallies);
        let is_gone = entry.has(mark::DORMANT) && (entry.is_final() || due_ns <= at_ns);
        if is_gone {
            self.remove(at);
        } else {
            self.flows.schedule(at, due_ns);
        }
    }

    fn remove(&mut self, at: u32) {
        let Some(entry) = self.flows.get(at) else {
            return;
        };
        let (key, tallies) = (entry.key(), entry.tallies());
        let is_over = has_ended(key.protocol, &tallies);
        self.memory
            .keep(self.flows.hash(&key), entry, &tallies, is_over);
        let was_dormant = usize::from(entry.has(mark::DORMANT));
        self.n_dormant = self.n_dormant.saturating_sub(was_dormant);
        self.n_boxed_bytes = self.n_boxed_bytes.saturating_sub(entry.n_boxed_bytes());
        self.flows.remove(at);
    }

    /// Makes room: exports the oldest of a few entries, a dormant one before any other. Exact order
    /// of age would cost every packet; a sample costs only the shedding (as Redis does it).
    fn shed(&mut self, emit: &mut impl FnMut(FlowEvent<'_>)) {
        let mut oldest: Option<(u64, u32)> = None;
        for _ in 0..SHED_SAMPLE {
            self.hand = self.hand.wrapping_add(1);
            let Some((at, entry)) = self.flows.used(self.hand) else {
                continue;
            };
            let age = if entry.has(mark::DORMANT) {
                0
            } else {
                entry.last_ns()
            };
            if oldest.is_none_or(|(least, _)| age < least) {
                oldest = Some((age, at));
            }
        }
        let Some((_, at)) = oldest else { return };
        if let Some(entry) = self.flows.get(at).filter(|e| !e.has(mark::DORMANT)) {
            export(
                (entry, self.flows.interface(at)),
                EndReason::LackOfResources,
                emit,
            );
            self.n_shed = self.n_shed.saturating_add(1);
        }
        self.remove(at);
    }
}

/// True where a packet is the responder's, as far as it tells itself.
const fn is_answer(packet: &Packet) -> bool {
    let (from, to) = (packet.source_port, packet.destination_port);
    service::is_answer(packet.tcp_flags, from, to)
}

/// Both directions of a record.
fn parts_of(flow: &Flow) -> [Tally; 2] {
    let [a, b] = &flow.directions;
    [Tally::of(a), Tally::of(b)]
}

/// Notes in the entry what a record says beside its counters.
fn note_record(entry: &mut Entry, flow: &Flow) {
    if flow.head.has_fragments != 0 {
        entry.set(mark::FRAGMENTS);
    }
    let [a, b] = &flow.directions;
    if flow.head.initiator == 1 && b.packets > 0 && a.first_ns == b.first_ns {
        entry.set(mark::BEGUN_BY_B);
    }
}

/// Decides by ports, once, who began a flow whose packets don't tell.
fn decide(entry: &mut Entry, key: &FlowKey, tallies: &[Tally; 2], services: &Services) {
    if entry.has(mark::DECIDED) {
        return;
    }
    match services.decide(key, tallies) {
        Some(true) => entry.set(mark::DECIDED | mark::DECIDED_B),
        Some(false) => entry.set(mark::DECIDED),
        None => {}
    }
}

/// True where a record begins another connection of the same endpoints: with a SYN or a SYN-ACK after
/// all that was seen of one that was closed or reset, or was established.
fn restarts(entry: &Entry, tallies: &[Tally; 2], flow: &Flow) -> bool {
    let [a, b] = tallies;
    let is_closing = [a, b]
        .iter()
        .any(|side| side.n_flags[FIN] + side.n_flags[RST] > 0);
    let parts = parts_of(flow);
    flow.head.protocol == protocol::TCP
        && (is_closing || entry.has(mark::ESTABLISHED))
        && parts.iter().any(|side| side.n_flags[SYN] > 0)
        && earliest(&parts) > a.last_ns.max(b.last_ns)
}

/// Longest frame of a segment without data: headers with as many options as fit.
const fn bare_bytes(key: &FlowKey) -> u64 {
    if sensor_common::is_v4(&key.a) {
        98
    } else {
        118
    }
}

/// True for what comes late of a connection that is over: segments without SYN and data.
fn are_late(key: &FlowKey, deltas: &[Delta; 2]) -> bool {
    let [a, b] = deltas;
    let n_packets = a.packets.saturating_add(b.packets);
    key.protocol == protocol::TCP
        && a.n_flags[SYN] + b.n_flags[SYN] == 0
        && a.bytes.saturating_add(b.bytes) <= n_packets.saturating_mul(bare_bytes(key))
}

/// As [`are_late`], of a record.
fn is_late(key: &FlowKey, parts: &[Tally; 2], directions: &[Direction; 2]) -> bool {
    let [a, b] = parts;
    let n_packets = a.packets + b.packets;
    let n_bytes: u64 = directions
        .iter()
        .filter(|side| side.packets > 0)
        .map(|side| u64::from(side.bytes))
        .sum();
    key.protocol == protocol::TCP
        && a.n_flags[SYN] + b.n_flags[SYN] == 0
        && n_bytes <= n_packets.saturating_mul(bare_bytes(key))
}

const fn life_of(flow: &Flow) -> Life {
    Life {
        cpu: flow.head.cpu,
        generation: flow.head.generation as u16,
    }
}

/// Time at which the flow is due, if nothing happens.
fn due_ns(config: &FlowConfig, entry: &Entry, tallies: &[Tally; 2]) -> u64 {
    let last_ns = tallies[0].last_ns.max(tallies[1].last_ns);
    if entry.has(mark::DORMANT) {
        return last_ns.saturating_add(FORGET_NS);
    }
    let silence_ns = if has_ended(entry.key().protocol, tallies) {
        config.linger_ns.min(config.idle_timeout_ns)
    } else {
        config.idle_timeout_ns
    };
    let silent_ns = last_ns.saturating_add(silence_ns);
    let active_ns = entry.period_ns().saturating_add(config.active_timeout_ns);
    let due_ns = silent_ns.min(active_ns);
    let is_open = !entry.has(mark::ESTABLISHED | mark::FAILED);
    let [sent, got] = turn(is_from_b(tallies, entry.marks()), *tallies);
    if is_open && got.packets == 0 {
        due_ns.min(unanswered_ns(config, &sent))
    } else {
        due_ns
    }
}

/// Reason for which the flow's record is to be exported now, if it is.
fn end_reason(
    at_ns: u64,
    config: &FlowConfig,
    entry: &Entry,
    tallies: &[Tally; 2],
) -> Option<EndReason> {
    if entry.has(mark::DORMANT) {
        return None;
    }
    let silence_ns = at_ns.saturating_sub(tallies[0].last_ns.max(tallies[1].last_ns));
    let age_ns = at_ns.saturating_sub(entry.period_ns());
    if silence_ns >= config.linger_ns && has_ended(entry.key().protocol, tallies) {
        Some(EndReason::EndOfFlow)
    } else if silence_ns >= config.idle_timeout_ns {
        Some(EndReason::IdleTimeout)
    } else {
        (age_ns >= config.active_timeout_ns).then_some(EndReason::ActiveTimeout)
    }
}

fn has_ended(protocol_number: u8, [a, b]: &[Tally; 2]) -> bool {
    let has_reset = a.n_flags[RST] > 0 || b.n_flags[RST] > 0;
    let is_closed = a.n_flags[FIN] > 0 && b.n_flags[FIN] > 0;
    protocol_number == protocol::TCP && (has_reset || is_closed)
}

/// Exports an entry, first seen at an interface.
fn export(
    (entry, ifindex): (&Entry, u32),
    reason: EndReason,
    emit: &mut impl FnMut(FlowEvent<'_>),
) {
    let unexported = entry.unexported();
    if unexported.iter().any(|side| side.packets > 0) {
        emit(FlowEvent::End(&summary(
            (entry, ifindex),
            reason,
            unexported,
        )));
    } else if reason != EndReason::ActiveTimeout {
        emit(FlowEvent::Over(&summary(
            (entry, ifindex),
            reason,
            unexported,
        )));
    }
}

/// Summarises a part of a flow. Its direction is that of the whole flow.
fn summary(
    (entry, ifindex): (&Entry, u32),
    end_reason: EndReason,
    part: [Totals; 2],
) -> FlowSummary {
    let is_from_b = is_from_b(&entry.tallies(), entry.marks());
    let key = entry.key();
    let [source, destination] = key.turned(is_from_b);
    let [forward, backward] = turn(is_from_b, part);
    let tallies = [Tally::of_totals(&forward), Tally::of_totals(&backward)];
    FlowSummary {
        notes: Vec::new(),
        source: to_ip(&source.0),
        destination: to_ip(&destination.0),
        source_port: source.1,
        destination_port: destination.1,
        protocol: key.protocol,
        ifindex,
        realm: Realm(entry.vlans()),
        tunnel: entry.around().map(|around| around.summary(is_from_b)),
        forward,
        backward,
        first_ns: earliest(&tallies),
        last_ns: forward.last_ns.max(backward.last_ns),
        end_reason,
        has_fragments: entry.has(mark::FRAGMENTS),
        was_established: entry.has(mark::ESTABLISHED),
        was_closing: entry.has(mark::CLOSING),
    }
}

fn update(
    at_ns: u64,
    config: &FlowConfig,
    key: &FlowKey,
    entry: &mut Entry,
    tallies: &[Tally; 2],
    deltas: [Delta; 2],
    is_one_sided: bool,
) -> FlowUpdate {
    let is_from_b = is_from_b(tallies, entry.marks());
    let [source, destination] = key.turned(is_from_b);
    let claimed = entry.around().and_then(|it| it.claimed_ends(is_from_b));
    let [source_address, destination_address] = claimed.unwrap_or([source.0, destination.0]);
    let [sent, got] = turn(is_from_b, *tallies);
    let [forward, backward] = turn(is_from_b, deltas);
    let is_one_way = entry.has(mark::MEDIA) || is_never_answered(&destination.0, destination.1);
    let progress = if got.packets > 0 {
        answered(key.protocol, &sent, &got)
    } else if entry.has(mark::UNREACHABLE) {
        Progress::Refused
    } else if is_one_sided && key.protocol == protocol::TCP {
        one_sided(&sent)
    } else if entry.has(mark::MEDIA) || is_group(&destination.0) {
        Progress::Pending
    } else {
        unanswered(at_ns, config, &sent)
    };
    let reported = match progress {
        Progress::Pending => 0,
        Progress::Established => mark::ESTABLISHED,
        Progress::Refused | Progress::Unanswered => mark::FAILED,
    };
    let is_closing =
        progress == Progress::Established && key.protocol == protocol::TCP && sent.n_flags[FIN] > 0;
    let closing = if is_closing { mark::CLOSING } else { 0 };
    let update = FlowUpdate {
        source: source_address,
        destination: destination_address,
        source_port: source.1,
        destination_port: destination.1,
        protocol: key.protocol,
        is_claimed: claimed.is_some(),
        has_fragments: entry.has(mark::FRAGMENTS),
        forward,
        backward,
        n_forward: sent.packets,
        n_backward: got.packets,
        n_flags: sent.n_flags,
        is_attempt: is_attempt(key.protocol, &sent),
        is_stray: key.protocol == protocol::TCP
            && sent.n_flags[SYN] + sent.n_flags[RST] == 0
            && sent.n_flags[ACK] > 0,
        is_new: !entry.has(mark::STARTED),
        progress,
        has_progressed: reported & !entry.marks() != 0,
        has_closed: false,
        is_one_way,
        begins_to_close: closing & !entry.marks() != 0,
        first_ns: earliest(tallies),
        last_ns: sent.last_ns.max(got.last_ns),
    };
    entry.set(reported | closing | mark::STARTED);
    update
}

/// TCP: a bare SYN, or a first packet without any of SYN, ACK and RST (the NULL, FIN and Xmas
/// probes of RFC 9293 3.10.7.1 readers). Answers never look like that.
fn is_attempt(protocol_number: u8, sent: &Tally) -> bool {
    if protocol_number != protocol::TCP {
        return true;
    }
    sent.has_bare_syn()
        || sent.packets > 0 && (sent.n_flags[SYN] + sent.n_flags[ACK] + sent.n_flags[RST] == 0)
}

/// Time at which an attempt without an answer has waited long enough.
fn unanswered_ns(config: &FlowConfig, sent: &Tally) -> u64 {
    let since_ns = sent.last_ns.max(sent.first_ns);
    since_ns.saturating_add(config.unanswered_ns)
}

/// Progress without an answer.
fn unanswered(at_ns: u64, config: &FlowConfig, sent: &Tally) -> Progress {
    if at_ns >= unanswered_ns(config, sent) {
        Progress::Unanswered
    } else {
        Progress::Pending
    }
}

/// Progress where answers go another way: a side that goes on got some.
fn one_sided(sent: &Tally) -> Progress {
    if one_way::advances(sent) {
        Progress::Established
    } else {
        Progress::Pending
    }
}

/// Progress with an answer.
fn answered(protocol_number: u8, sent: &Tally, got: &Tally) -> Progress {
    if protocol_number != protocol::TCP {
        return Progress::Established;
    }
    // A handshake is done when the initiator acknowledged; RST with ACK doesn't count.
    let agreed = sent.n_flags[ACK] > sent.n_flags[RST] && got.n_flags[ACK] > got.n_flags[RST];
    if agreed {
        Progress::Established
    } else if got.n_flags[RST] > 0 {
        Progress::Refused
    } else {
        Progress::Pending
    }
}
