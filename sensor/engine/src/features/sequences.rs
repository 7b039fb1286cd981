//! Sequences: what goes on step by step, in the order and rhythm that windows of sums lose. Input of networks.

mod contacts;
mod minutes;
mod packets;

use sensor_common::Address;
use sensor_common::event::Sample;

use self::contacts::Contacts;
use self::minutes::Minutes;
use self::packets::Packets;
use super::HostLook;
use super::bounded::TableUse;
use super::sequence_schema::{SequenceKind, SequenceKinds};
use crate::flow::FlowUpdate;

/// Sequences that wait to be handed out; a tick takes them all.
const MAX_WAITING: usize = 16_384;

/// A sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    pub kind: SequenceKind,
    /// Initiator; of a minute the host.
    pub source: Address,
    pub host: Option<Address>,
    /// Time of its last step.
    pub at_ns: u64,
    /// Time of its first step.
    pub first_ns: u64,
    /// Steps one behind the other, each of [`SequenceKind::columns`]; there may be fewer than
    /// [`SequenceKind::steps`].
    pub values: Vec<f32>,
}

impl Sequence {
    pub fn n_steps(&self) -> usize {
        self.values.len() / self.kind.columns().len().max(1)
    }
}

/// Sequences in the making and those that wait.
#[derive(Debug)]
pub(crate) struct Sequences {
    contacts: Option<Contacts>,
    packets: Option<Packets>,
    minutes: Option<Minutes>,
    waiting: Vec<Sequence>,
    /// Sequences that found the queue full.
    n_skipped: u64,
}

impl Sequences {
    /// Makes sequences of these kinds alone.
    pub(crate) fn new(kinds: SequenceKinds, hash_seed: u64) -> Self {
        let wants = |kind| kinds.has(kind);
        Self {
            contacts: wants(SequenceKind::Contacts).then(|| Contacts::new(hash_seed)),
            packets: wants(SequenceKind::Packets).then(|| Packets::new(hash_seed)),
            minutes: wants(SequenceKind::Minute).then(|| Minutes::new(hash_seed)),
            waiting: Vec::new(),
            n_skipped: 0,
        }
    }

    pub(crate) fn tables(&self, out: &mut Vec<TableUse>) {
        out.extend(self.usages());
    }

    fn usages(&self) -> impl Iterator<Item = TableUse> {
        let contacts = self.contacts.as_ref().map(Contacts::usage);
        let packets = self.packets.as_ref().map(Packets::usage);
        let minutes = self.minutes.as_ref().map(Minutes::usage);
        [contacts, packets, minutes].into_iter().flatten()
    }

    /// Pairs, flows and hosts that gave way to others, and sequences that found no room.
    pub(crate) fn n_shed(&self) -> u64 {
        let shed = self.usages().map(|table| table.n_shed);
        shed.fold(self.n_skipped, u64::saturating_add)
    }

    pub(crate) fn take_flows(&mut self, updates: &[FlowUpdate]) {
        let Some(contacts) = &mut self.contacts else {
            return;
        };
        for update in updates {
            if let Some(found) = contacts.take(update) {
                push(&mut self.waiting, &mut self.n_skipped, found);
            }
        }
    }

    /// Takes a packet; `is_answer`: it is the responder's.
    pub(crate) fn take_sample(&mut self, sample: &Sample<'_>, is_answer: bool) {
        let packets = self.packets.as_mut();
        let found = packets.and_then(|packets| packets.take(sample, is_answer));
        self.keep(found);
    }

    pub(crate) fn take_host(&mut self, at_ns: u64, look: &HostLook) {
        let minutes = self.minutes.as_mut();
        let found = minutes.and_then(|minutes| minutes.take(at_ns, look));
        self.keep(found);
    }

    /// Ends what a silence or the clock ends; `is_last`: all that runs.
    pub(crate) fn tick(&mut self, at_ns: u64, is_last: bool) {
        let (waiting, n_skipped) = (&mut self.waiting, &mut self.n_skipped);
        let mut keep = |sequence: Sequence| push(waiting, n_skipped, sequence);
        if let Some(contacts) = &mut self.contacts {
            contacts.tick(at_ns, is_last, &mut keep);
        }
        if let Some(packets) = &mut self.packets {
            packets.tick(at_ns, is_last, &mut keep);
        }
        if let Some(minutes) = &mut self.minutes {
            minutes.tick(at_ns, is_last, &mut keep);
        }
    }

    fn keep(&mut self, found: Option<Sequence>) {
        if let Some(sequence) = found {
            push(&mut self.waiting, &mut self.n_skipped, sequence);
        }
    }

    /// Hands out what is ready.
    pub(crate) fn ready(&mut self) -> std::vec::Drain<'_, Sequence> {
        self.waiting.drain(..)
    }
}

fn push(waiting: &mut Vec<Sequence>, n_skipped: &mut u64, sequence: Sequence) {
    if waiting.len() < MAX_WAITING {
        waiting.push(sequence);
    } else {
        *n_skipped = n_skipped.saturating_add(1);
    }
}

/// `ln(1 + x)` of a count.
fn ln(n: u64) -> f32 {
    (n as f32).ln_1p()
}

/// 1 where there is any.
fn flag(is_there: bool) -> f32 {
    f32::from(u8::from(is_there))
}

#[cfg(test)]
mod tests;
