//! Flow stage: records of slots in, updates and ended flows out.
//!
//! The kernel cache keeps a slot until another flow wants it, so a flow that ended here may still
//! be read there. Such a flow stays as a dormant entry, with what was exported of it, until its
//! record is sent or no longer read: counters are never counted twice.

mod community;
mod entry;
mod records;
mod totals;

use sensor_common::flow::Flow;
use sensor_common::packet::protocol;

use self::entry::{Entry, Life, mark};
use self::records::{FlowKey, Turned};
use self::totals::{ACK, FIN, RST, SYN};
use crate::address::{Seeded, Table};
use crate::config::FlowConfig;

pub use self::community::{Tuple, community_id};
pub use self::records::{EndReason, FlowSummary, FlowUpdate, Progress};
pub use self::totals::{Delta, Totals};

/// What the stage hands on.
#[derive(Clone, Debug)]
pub enum FlowEvent {
    Update(FlowUpdate),
    End(FlowSummary),
}

/// The flow table.
#[derive(Debug)]
pub struct FlowStage {
    config: FlowConfig,
    flows: Table<FlowKey, Entry>,
    pass: u32,
    /// Where the search for an old flow to shed goes on.
    hand: usize,
    pub n_shed: u64,
}

/// Entries looked at to find an old one.
const SHED_SAMPLE: usize = 8;

impl FlowStage {
    pub fn new(config: &FlowConfig, hash_seed: u64) -> Self {
        Self {
            config: config.clone(),
            flows: Table::with_hasher(Seeded(hash_seed)),
            pass: 0,
            hand: 0,
            n_shed: 0,
        }
    }

    /// Works by other thresholds from now on; sizes stay.
    pub fn configure(&mut self, config: &FlowConfig) {
        self.config = config.clone();
    }

    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Takes a record in.
    pub fn take(
        &mut self,
        at_ns: u64,
        flow: &Flow,
        is_final: bool,
        emit: &mut dyn FnMut(FlowEvent),
    ) {
        let head = &flow.head;
        let key = FlowKey {
            a: head.a,
            b: head.b,
            a_port: head.a_port,
            b_port: head.b_port,
            protocol: head.protocol,
        };
        let life = Life {
            cpu: head.cpu,
            generation: head.generation,
            is_final,
        };
        let last_ns = flow.directions[0].last_ns.max(flow.directions[1].last_ns);
        let is_known = self.flows.contains_key(&key);
        let is_old = last_ns.saturating_add(self.config.idle_timeout_ns) <= at_ns;
        // A slot that outlived an engine's restart or a shed entry: nothing of now.
        if !is_known && is_old && !is_final {
            return;
        }
        if !is_known && self.flows.len() >= self.config.max_flows {
            self.shed(emit);
        }
        let pass = self.pass;
        let entry = self.flows.entry(key).or_insert_with(|| Entry::new(pass));
        entry.pass = pass;
        let deltas = entry.take(&life, &flow.directions);
        if deltas[0].packets == 0 && deltas[1].packets == 0 {
            return;
        }
        entry.marks &= !mark::DORMANT;
        if head.has_fragments != 0 {
            entry.marks |= mark::FRAGMENTS;
        }
        let [a, b] = &flow.directions;
        if head.initiator == 1 && b.packets > 0 && a.first_ns == b.first_ns {
            entry.marks |= mark::BEGUN_BY_B;
        }
        emit(FlowEvent::Update(update(
            at_ns,
            &self.config,
            &key,
            entry,
            deltas,
        )));
    }

    /// After one pass over the cache: reports what went unanswered and exports what is due.
    pub fn tick(&mut self, at_ns: u64, emit: &mut dyn FnMut(FlowEvent)) {
        self.pass = self.pass.wrapping_add(1);
        let mut index = 0;
        while let Some((key, entry)) = self.flows.get_index_mut(index) {
            if sweep(at_ns, self.pass, &self.config, key, entry, emit) {
                self.flows.swap_remove_index(index);
            } else {
                index += 1;
            }
        }
    }

    /// The live flows at `n` places of the table from `start` on, whole since their beginning.
    pub fn page(&self, start: usize, n: usize) -> impl Iterator<Item = FlowSummary> {
        let end = start.saturating_add(n).min(self.flows.len());
        let slice = self.flows.get_range(start.min(end)..end);
        let entries = slice.into_iter().flatten();
        entries
            .filter(|(_, entry)| entry.marks & mark::DORMANT == 0)
            .map(|(key, entry)| {
                let has_fragments = entry.marks & mark::FRAGMENTS != 0;
                let whole = Turned::of(key, entry.totals(), entry.marks);
                whole.summary(key.protocol, EndReason::ForcedEnd, has_fragments)
            })
    }

    /// Exports everything that is left.
    pub fn finish(&mut self, emit: &mut dyn FnMut(FlowEvent)) {
        for (key, entry) in &mut self.flows {
            if entry.marks & mark::DORMANT == 0 {
                export(key, entry, EndReason::ForcedEnd, emit);
            }
        }
        self.flows.clear();
    }

    /// Makes room: exports the oldest of a few entries, a dormant one before any other. Exact order
    /// of age would cost every packet; a sample costs only the shedding (as Redis does it).
    fn shed(&mut self, emit: &mut dyn FnMut(FlowEvent)) {
        let n = self.flows.len();
        let mut oldest: Option<(u64, usize)> = None;
        for _ in 0..SHED_SAMPLE.min(n) {
            self.hand = (self.hand + 1) % n;
            let Some((_, entry)) = self.flows.get_index(self.hand) else {
                continue;
            };
            let age = if entry.marks & mark::DORMANT != 0 {
                0
            } else {
                entry.last_ns()
            };
            if oldest.is_none_or(|(least, _)| age < least) {
                oldest = Some((age, self.hand));
            }
        }
        let Some((_, index)) = oldest else { return };
        let Some((key, entry)) = self.flows.swap_remove_index(index) else {
            return;
        };
        if entry.marks & mark::DORMANT == 0 {
            export(&key, &entry, EndReason::LackOfResources, emit);
            self.n_shed = self.n_shed.saturating_add(1);
        }
    }
}

/// Passes that a flow may miss. The shell shows all of them every few passes only, those that had
/// packets every time.
const MISSED_PASSES: u32 = 15;

/// Looks after one flow; `true`: nothing is left to keep.
fn sweep(
    at_ns: u64,
    pass: u32,
    config: &FlowConfig,
    key: &FlowKey,
    entry: &mut Entry,
    emit: &mut dyn FnMut(FlowEvent),
) -> bool {
    // Not shown for long: the slot is gone, whatever became of its last record.
    let is_gone = entry.is_final() || pass.wrapping_sub(entry.pass) > MISSED_PASSES;
    if entry.marks & mark::DORMANT != 0 {
        return is_gone;
    }
    if entry.marks & (mark::ESTABLISHED | mark::FAILED) == 0 {
        let nothing = [Delta::default(); 2];
        let update = update(at_ns, config, key, entry, nothing);
        if update.has_progressed {
            emit(FlowEvent::Update(update));
        }
    }
    let silence = at_ns.saturating_sub(entry.last_ns());
    let age = at_ns.saturating_sub(entry.first_ns());
    let reason = if silence >= config.linger_ns && has_ended(key, entry) {
        EndReason::EndOfFlow
    } else if silence >= config.idle_timeout_ns {
        EndReason::IdleTimeout
    } else if age >= config.active_timeout_ns {
        export(key, entry, EndReason::ActiveTimeout, emit);
        entry.mark_exported(at_ns);
        return false;
    } else {
        return false;
    };
    export(key, entry, reason, emit);
    if !is_gone {
        entry.mark_exported(at_ns);
        entry.marks = mark::DORMANT;
    }
    is_gone
}

fn has_ended(key: &FlowKey, entry: &Entry) -> bool {
    if key.protocol != protocol::TCP {
        return false;
    }
    let [a, b] = entry.totals();
    let has_reset = a.n_flags[RST] > 0 || b.n_flags[RST] > 0;
    has_reset || (a.n_flags[FIN] > 0 && b.n_flags[FIN] > 0)
}

fn export(key: &FlowKey, entry: &Entry, reason: EndReason, emit: &mut dyn FnMut(FlowEvent)) {
    // Who began is a matter of the whole flow, what is exported of the last period.
    let whole = Turned::of(key, entry.totals(), entry.marks);
    let [a, b] = entry.unexported();
    if a.packets == 0 && b.packets == 0 {
        return;
    }
    let (forward, backward) = if whole.side == 0 { (a, b) } else { (b, a) };
    let turned = Turned {
        forward,
        backward,
        ..whole
    };
    let has_fragments = entry.marks & mark::FRAGMENTS != 0;
    emit(FlowEvent::End(turned.summary(
        key.protocol,
        reason,
        has_fragments,
    )));
}

fn update(
    at_ns: u64,
    config: &FlowConfig,
    key: &FlowKey,
    entry: &mut Entry,
    deltas: [Delta; 2],
) -> FlowUpdate {
    let turned = Turned::of(key, entry.totals(), entry.marks);
    let [a, b] = deltas;
    let (forward, backward) = if turned.side == 0 { (a, b) } else { (b, a) };
    let progress = progress(at_ns, config, key.protocol, &turned);
    let reported = match progress {
        Progress::Pending => 0,
        Progress::Established => mark::ESTABLISHED,
        Progress::Refused | Progress::Unanswered => mark::FAILED,
    };
    let update = FlowUpdate {
        source: turned.source,
        destination: turned.destination,
        source_port: turned.source_port,
        destination_port: turned.destination_port,
        protocol: key.protocol,
        has_fragments: entry.marks & mark::FRAGMENTS != 0,
        forward,
        backward,
        n_forward: turned.forward.packets,
        n_backward: turned.backward.packets,
        is_attempt: is_attempt(key.protocol, &turned),
        is_new: entry.marks & mark::STARTED == 0,
        progress,
        has_progressed: reported & !entry.marks != 0,
        first_ns: entry::earliest(&[turned.forward, turned.backward]),
        last_ns: turned.forward.last_ns.max(turned.backward.last_ns),
    };
    entry.marks |= reported | mark::STARTED;
    update
}

/// TCP: a bare SYN, or a first packet without any of SYN, ACK and RST (the NULL, FIN and Xmas
/// probes of RFC 9293 3.10.7.1 readers). Answers never look like that.
fn is_attempt(protocol_number: u8, turned: &Turned) -> bool {
    let sent = &turned.forward;
    if protocol_number != protocol::TCP {
        return true;
    }
    sent.has_bare_syn() || (sent.n_flags[SYN] + sent.n_flags[ACK] + sent.n_flags[RST] == 0)
}

fn progress(at_ns: u64, config: &FlowConfig, protocol_number: u8, turned: &Turned) -> Progress {
    let (sent, got) = (&turned.forward, &turned.backward);
    if got.packets == 0 {
        let waited = at_ns.saturating_sub(sent.last_ns.max(sent.first_ns));
        return if waited >= config.unanswered_ns {
            Progress::Unanswered
        } else {
            Progress::Pending
        };
    }
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
