//! Memory of flows that the table has let go: what is known of one is known when it goes on after a
//! long silence, and what is heard of one before its record comes is kept for it.

use sensor_common::packet::protocol;

use super::entry::Entry;
use super::mark;
use super::totals::Tally;
use crate::bounded::{Bounded, Priority, TableUse};
use crate::config::SECOND_NS;

/// Flows remembered, 56 bytes each: 3.7 MB. Those that are over give way before those that may go
/// on, and of either the one silent for longest.
const MAX_FLOWS: usize = 65_536;
/// Silence after which a flow that is over is forgotten: twice the maximum segment lifetime and as
/// much again (RFC 9293 3.4.2).
const OVER_NS: u64 = 480 * SECOND_NS;
/// Silence after which one that may go on is forgotten: the keepalive interval of TCP (RFC 9293
/// 3.8.4).
const IDLE_NS: u64 = 7_200 * SECOND_NS;
const SWEEP_NS: u64 = 60 * SECOND_NS;

/// Knowledge of one flow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub last_ns: u64,
    /// [`mark::DECIDED`] and its like; none where nothing is known of the direction.
    pub marks: u16,
    /// It was closed or reset.
    pub is_over: bool,
    pub is_two_way: bool,
}

impl Priority for Known {
    fn priority(&self) -> u64 {
        // Half as old, at least, as everything that may go on.
        if self.is_over || !self.is_two_way {
            self.last_ns / 2
        } else {
            self.last_ns
        }
    }
}

#[derive(Debug)]
pub(super) struct Memory {
    /// By the hash of the key, under the table's secret.
    flows: Bounded<u64, Known>,
    swept_ns: u64,
}

impl Memory {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            flows: Bounded::new("flow_memory", MAX_FLOWS, hash_seed),
            swept_ns: 0,
        }
    }

    pub(super) fn usage(&self) -> TableUse {
        self.flows.usage()
    }

    /// Keeps what is known of a flow that leaves the table, where both ends spoke or may yet.
    pub(super) fn keep(&mut self, hash: u64, entry: &Entry, tallies: &[Tally; 2], is_over: bool) {
        let [a, b] = tallies;
        let is_two_way = a.packets > 0 && b.packets > 0;
        // A question may be answered late; a SYN is not.
        let is_question = entry.key().protocol == protocol::UDP;
        let is_wanted = is_two_way || is_question || entry.has(mark::DECIDED);
        if !is_wanted || is_over && !entry.has(mark::ESTABLISHED) {
            return;
        }
        let from_b = super::direction::is_from_b(tallies, entry.marks());
        let by_b = if from_b { mark::DECIDED_B } else { 0 };
        let known = Known {
            last_ns: a.last_ns.max(b.last_ns),
            marks: mark::DECIDED | by_b | entry.marks() & mark::MEDIA,
            is_over,
            is_two_way,
        };
        *self.flows.get_or_insert_with(hash, Known::default) = known;
    }

    /// Adds marks for a flow that is not in the table, or not yet.
    pub(super) fn hint(&mut self, at_ns: u64, hash: u64, marks: u16) {
        let known = self.flows.get_or_insert_with(hash, Known::default);
        known.last_ns = known.last_ns.max(at_ns);
        known.marks |= marks;
    }

    pub(super) fn get(&self, hash: u64) -> Option<&Known> {
        self.flows.get(&hash)
    }

    /// Hands over what is known of a flow that the table takes in.
    pub(super) fn take(&mut self, hash: u64) -> Option<Known> {
        self.flows.take(&hash)
    }

    pub(super) fn forget(&mut self, at_ns: u64) {
        if at_ns.saturating_sub(self.swept_ns) < SWEEP_NS {
            return;
        }
        self.swept_ns = at_ns;
        self.flows.retain(|_, known| {
            let is_open = !known.is_over && known.is_two_way;
            let kept_ns = if is_open { IDLE_NS } else { OVER_NS };
            at_ns.saturating_sub(known.last_ns) < kept_ns
        });
    }
}
