//! A table that never outgrows its capacity.

use std::hash::Hash;

use crate::address::{Seeded, Table};

/// What a table keeps when it is full: the entry with more worth.
pub(crate) trait Worth {
    fn worth(&self) -> u64;
}

/// Full, it replaces the least of a few entries under a moving hand. A flood of one-packet sources
/// then displaces its own kind and not the one that scans.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    table: Table<K, V>,
    capacity: usize,
    hand: usize,
    pub n_shed: u64,
}

const SAMPLE: usize = 4;

impl<K: Hash + Eq, V: Worth> Bounded<K, V> {
    pub(crate) fn new(capacity: usize, hash_seed: u64) -> Self {
        Self {
            table: Table::with_hasher(Seeded(hash_seed)),
            capacity: capacity.max(1),
            hand: 0,
            n_shed: 0,
        }
    }

    /// The value of a key, made where it is missing.
    pub(crate) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if self.table.len() >= self.capacity && !self.table.contains_key(&key) {
            self.shed();
        }
        self.table.entry(key).or_insert_with(make)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.table.get_mut(key)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.table.get(key)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.table.iter_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.table.iter()
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&K, &mut V) -> bool) {
        self.table.retain(keep);
    }

    fn shed(&mut self) {
        let n = self.table.len();
        let mut least: Option<(u64, usize)> = None;
        for _ in 0..SAMPLE.min(n) {
            self.hand = (self.hand + 1) % n;
            if let Some((_, value)) = self.table.get_index(self.hand)
                && least.is_none_or(|(worth, _)| value.worth() < worth)
            {
                least = Some((value.worth(), self.hand));
            }
        }
        if let Some((_, index)) = least {
            self.table.swap_remove_index(index);
            self.n_shed = self.n_shed.saturating_add(1);
        }
    }
}
