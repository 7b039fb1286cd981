//! Room for open incidents: which of them gives way where there is none.
//!
//! The least severe and oldest does. Incidents of sources that were never proven real have a quarter of
//! the room: whoever makes up addresses takes none from what is known to be there.

use std::collections::BTreeMap;

use super::{Entity, Family};
use crate::address::{Seeded, Table};
use crate::detect::Severity;

/// Part of a table that never proven sources may take.
pub(super) const UNPROVEN_SHARE: usize = 4;

pub(super) type Key = (Family, Entity);

/// Place of an incident: the first of its kind gives way.
type Rank = (Severity, u64);

#[derive(Debug)]
pub(super) struct Room {
    capacity: usize,
    /// By rank: those of sources never proven real, and the others.
    unproven: BTreeMap<Rank, Key>,
    proven: BTreeMap<Rank, Key>,
    ranks: Table<Key, (bool, Rank)>,
}

impl Room {
    pub(super) fn new(capacity: usize, hash_seed: u64) -> Self {
        Self {
            capacity: capacity.max(1),
            unproven: BTreeMap::new(),
            proven: BTreeMap::new(),
            ranks: Table::with_hasher(Seeded(hash_seed)),
        }
    }

    /// Incident that has to go before another one comes in, if any has.
    pub(super) fn must_go(&self, is_proven: bool) -> Option<Key> {
        let share = (self.capacity / UNPROVEN_SHARE).max(1);
        let is_over = !is_proven && self.unproven.len() >= share;
        if !is_over && self.ranks.len() < self.capacity {
            return None;
        }
        let mut first = self.unproven.values().chain(self.proven.values());
        first.next().copied()
    }

    /// Notes an incident with its number, or what became of it.
    pub(super) fn note(&mut self, key: Key, number: u64, is_proven: bool, severity: Severity) {
        let before = self.ranks.get(&key).copied();
        let is_proven = is_proven || before.is_some_and(|(was_proven, _)| was_proven);
        let number = before.map_or(number, |(_, (_, number))| number);
        let now = (is_proven, (severity, number));
        if before == Some(now) {
            return;
        }
        if before.is_some() {
            self.remove(&key);
        }
        self.of(is_proven).insert(now.1, key);
        self.ranks.insert(key, now);
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some((is_proven, rank)) = self.ranks.swap_remove(key) {
            self.of(is_proven).remove(&rank);
        }
    }

    pub(super) fn clear(&mut self) {
        self.unproven.clear();
        self.proven.clear();
        self.ranks.clear();
    }

    const fn of(&mut self, is_proven: bool) -> &mut BTreeMap<Rank, Key> {
        if is_proven {
            &mut self.proven
        } else {
            &mut self.unproven
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ip;

    const fn key(n: u16) -> Key {
        (Family::PortScan, Entity::Source([0, 0, 0, n as u32]))
    }

    #[test]
    fn sources_never_proven_give_way_among_themselves_from_a_quarter_on() {
        let mut room = Room::new(8, 1);
        room.note(key(1), 1, false, Severity::High);
        room.note(key(2), 2, false, Severity::Medium);
        assert_eq!(room.must_go(false), Some(key(2)), "the less severe one");
        assert_eq!(room.must_go(true), None);
        // Proven meanwhile, it counts no longer.
        room.note(key(2), 9, true, Severity::Medium);
        assert_eq!(room.must_go(false), None);
    }

    #[test]
    fn a_full_table_keeps_what_is_severe_and_young() {
        let mut room = Room::new(4, 1);
        for n in 1..=4 {
            room.note(key(n), n.into(), true, Severity::Medium);
        }
        assert_eq!(room.must_go(true), Some(key(1)));
        room.note(key(1), 1, true, Severity::Critical);
        assert_eq!(room.must_go(true), Some(key(2)));
        room.remove(&key(2));
        assert_eq!(room.must_go(true), None);
        let victim = (Family::SynFlood, Entity::Victim(ip(1)));
        room.note(victim, 5, false, Severity::Critical);
        assert_eq!(room.must_go(true), Some(victim), "never proven");
    }
}
