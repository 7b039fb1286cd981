//! Contacts of a source with a host: packets without a longer silence between them.

use std::collections::VecDeque;

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::{Sequence, flag, ln};
use crate::config::SECOND_NS;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::sequence_schema::SequenceKind;
use crate::flow::{FlowUpdate, Progress};

/// Pairs followed; 90 bytes each, and 64 for each contact: 35 MB at most.
const MAX_PAIRS: usize = 8_192;
/// Silence that ends a contact, as of the beacon detector: live flows are looked at once a second.
const PAUSE_NS: u64 = 1_200_000_000;
/// A longer contact is cut: what never pauses has a rhythm too.
const LONGEST_NS: u64 = 60 * SECOND_NS;
/// A pair is forgotten after so much silence.
const FORGET_NS: u64 = 6 * 3_600 * SECOND_NS;
/// Contacts from which there is a rhythm, and after how many more the next sequence comes.
const LEAST: u64 = 6;
const EVERY: u64 = 3;
/// Position of PSH in the counts of flags.
const PSH: usize = 3;

#[derive(Clone, Copy, Debug, Default)]
struct Contact {
    begin_ns: u64,
    last_ns: u64,
    /// Since the beginning of the contact before.
    gap_ns: u64,
    sent_bytes: u32,
    got_bytes: u32,
    sent_packets: u32,
    got_packets: u32,
    flows: u32,
    pushes: u32,
    is_used: bool,
    is_refused: bool,
    is_unanswered: bool,
    is_udp: bool,
}

fn add(sum: &mut u32, n: u64) {
    *sum = sum.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
}

impl Contact {
    fn take(&mut self, update: &FlowUpdate) {
        let (sent, got) = (&update.forward, &update.backward);
        self.last_ns = self.last_ns.max(update.last_ns);
        add(&mut self.sent_bytes, sent.bytes);
        add(&mut self.got_bytes, got.bytes);
        add(&mut self.sent_packets, sent.packets);
        add(&mut self.got_packets, got.packets);
        add(&mut self.flows, u64::from(update.is_new));
        self.is_udp |= update.protocol == protocol::UDP;
        if update.protocol == protocol::TCP {
            let pushes = |n_flags: &[u64]| n_flags.get(PSH).copied().unwrap_or(0);
            add(
                &mut self.pushes,
                pushes(&sent.n_flags).saturating_add(pushes(&got.n_flags)),
            );
        }
        if update.has_progressed && update.is_attempt && !update.is_one_way {
            self.is_used |= update.progress == Progress::Established;
            self.is_refused |= update.progress == Progress::Refused;
            self.is_unanswered |= update.progress == Progress::Unanswered;
        }
    }

    fn values(&self) -> [f32; SequenceKind::Contacts.columns().len()] {
        let ms = |ns: u64| ln(ns / 1_000_000);
        [
            ms(self.gap_ns),
            ms(self.last_ns.saturating_sub(self.begin_ns)),
            ln(u64::from(self.sent_bytes)),
            ln(u64::from(self.got_bytes)),
            ln(u64::from(self.sent_packets)),
            ln(u64::from(self.got_packets)),
            ln(u64::from(self.flows)),
            flag(self.is_used),
            flag(self.is_refused),
            flag(self.is_unanswered),
            ln(u64::from(self.pushes)),
            flag(self.is_udp),
        ]
    }
}

#[derive(Clone, Debug, Default)]
struct Pair {
    /// The latest, the one that runs at the end.
    kept: VecDeque<Contact>,
    /// Contacts ever, and at the latest sequence.
    n: u64,
    n_told: u64,
}

impl Priority for Pair {
    fn priority(&self) -> u64 {
        self.n << 40 | self.last_ns() >> 24
    }
}

impl Pair {
    fn last_ns(&self) -> u64 {
        self.kept.back().map_or(0, |contact| contact.last_ns)
    }

    /// Takes packets. True where they began another contact.
    fn take(&mut self, update: &FlowUpdate) -> bool {
        let begin_ns = if update.is_new {
            update.first_ns
        } else {
            update.last_ns
        };
        let goes_on = self.kept.back().is_some_and(|contact| {
            begin_ns.saturating_sub(contact.last_ns) < PAUSE_NS
                && begin_ns.saturating_sub(contact.begin_ns) < LONGEST_NS
        });
        if !goes_on {
            let before_ns = self
                .kept
                .back()
                .map_or(begin_ns, |contact| contact.begin_ns);
            if self.kept.len() > SequenceKind::Contacts.steps() {
                self.kept.pop_front();
            }
            self.kept.push_back(Contact {
                begin_ns,
                gap_ns: begin_ns.saturating_sub(before_ns),
                ..Contact::default()
            });
            self.n = self.n.saturating_add(1);
        }
        if let Some(contact) = self.kept.back_mut() {
            contact.take(update);
        }
        !goes_on
    }

    /// The contacts that are over, the latest of them; `is_last`: and the one that runs.
    fn sequence(&self, key: &(Address, Address), is_last: bool) -> Option<Sequence> {
        let n = self.kept.len().saturating_sub(usize::from(!is_last));
        let skipped = n.saturating_sub(SequenceKind::Contacts.steps());
        let wanted = self.kept.iter().take(n).skip(skipped);
        let last_ns = wanted.clone().last()?.last_ns;
        Some(Sequence {
            kind: SequenceKind::Contacts,
            source: key.0,
            host: Some(key.1),
            at_ns: last_ns,
            first_ns: wanted.clone().next()?.begin_ns,
            values: wanted.flat_map(Contact::values).collect(),
        })
    }
}

#[derive(Debug)]
pub(super) struct Contacts {
    pairs: Bounded<(Address, Address), Pair>,
}

impl Contacts {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            pairs: Bounded::new("sequence_pairs", MAX_PAIRS, hash_seed),
        }
    }

    pub(super) fn usage(&self) -> TableUse {
        self.pairs.usage()
    }

    pub(super) fn take(&mut self, update: &FlowUpdate) -> Option<Sequence> {
        let key = (update.source, update.destination);
        let pair = self.pairs.get_or_insert_with(key, Pair::default);
        if !pair.take(update) {
            return None;
        }
        let n_over = pair.n.saturating_sub(1);
        if n_over < LEAST || !(n_over - LEAST).is_multiple_of(EVERY) {
            return None;
        }
        pair.n_told = n_over;
        pair.sequence(&key, false)
    }

    pub(super) fn tick(&mut self, at_ns: u64, is_last: bool, keep: &mut dyn FnMut(Sequence)) {
        if is_last {
            for (key, pair) in self.pairs.iter_mut() {
                if pair.n >= LEAST && pair.n > pair.n_told {
                    pair.n_told = pair.n;
                    pair.sequence(key, true).into_iter().for_each(&mut *keep);
                }
            }
        }
        // Looked at once a minute: it is a walk over all of them.
        if (at_ns / SECOND_NS).is_multiple_of(60) {
            self.pairs
                .retain(|_, pair| at_ns.saturating_sub(pair.last_ns()) < FORGET_NS);
        }
    }
}
