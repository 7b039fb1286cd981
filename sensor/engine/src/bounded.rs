//! A table that never outgrows its capacity.

use std::hash::{BuildHasher as _, Hash};

use crate::address::Seeded;
use crate::slot_index::SlotIndex;

/// Eviction order of a full table: the entry of higher priority stays.
pub(crate) trait Priority {
    fn priority(&self) -> u64;
}

/// Full, it replaces the least of a few entries under a moving hand. A flood of one-packet sources
/// then displaces its own kind and not the one that scans.
///
/// A key keeps its slot for as long as it is there, so that lists of slots say what to look at.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    name: &'static str,
    slots: Vec<Option<(K, V)>>,
    free: Vec<u32>,
    index: SlotIndex,
    hasher: Seeded,
    capacity: usize,
    hand: usize,
    pub n_shed: u64,
}

const SAMPLE: usize = 4;

/// Use of a table of bounded size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableUse {
    pub table: &'static str,
    pub n_entries: u64,
    pub capacity: u64,
    /// Entries that gave way, or found no room.
    pub n_shed: u64,
}

impl<K: Hash + Eq, V: Priority> Bounded<K, V> {
    /// Makes a table under the name that metrics know it by.
    pub(crate) fn new(name: &'static str, capacity: usize, hash_seed: u64) -> Self {
        #[cfg(test)]
        tests::MADE.with_borrow_mut(|made| made.push(name));
        Self {
            name,
            slots: Vec::new(),
            free: Vec::new(),
            index: SlotIndex::default(),
            hasher: Seeded(hash_seed),
            capacity: capacity.clamp(1, u32::MAX as usize),
            hand: 0,
            n_shed: 0,
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Reports how full the table is.
    pub(crate) fn usage(&self) -> TableUse {
        TableUse {
            table: self.name,
            n_entries: self.index.len() as u64,
            capacity: self.capacity as u64,
            n_shed: self.n_shed,
        }
    }

    /// Memory held by capacity, without what the values box.
    pub(crate) fn n_bytes(&self) -> usize {
        let slots = self.slots.capacity() * size_of::<Option<(K, V)>>();
        slots + self.free.capacity() * size_of::<u32>() + self.index.n_bytes()
    }

    /// Prefetches the values of keys, at most [`crate::slot_index::BATCH`] of them.
    pub(crate) fn fetch(&self, keys: impl IntoIterator<Item = K>) {
        let hashes = keys.into_iter().map(|key| self.hasher.hash_one(key));
        let mut sum = 0;
        for place in self.index.likely_all(hashes) {
            if let Some(Some((_, value))) = self.slots.get(place as usize) {
                sum ^= value.priority();
            }
        }
        std::hint::black_box(sum);
    }

    /// Returns the value of a key, made where it is missing.
    pub(crate) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let slot = self.slot_or_insert_with(key, make);
        match self.slots.get_mut(slot as usize) {
            Some(Some((_, value))) => value,
            Some(None) | None => unreachable!("the slot of a key holds its value"),
        }
    }

    /// Returns the slot of a key, taken where it has none.
    pub(crate) fn slot_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> u32 {
        let hash = self.hasher.hash_one(&key);
        if let Some(slot) = self.find(hash, &key) {
            return slot;
        }
        if self.index.len() >= self.capacity {
            self.shed();
        }
        let fresh = Some((key, make()));
        let slot = if let Some(slot) = self.free.pop() {
            if let Some(place) = self.slots.get_mut(slot as usize) {
                *place = fresh;
            }
            slot
        } else {
            self.grow();
            self.slots.push(fresh);
            (self.slots.len() - 1) as u32
        };
        self.index.insert(hash, slot);
        slot
    }

    /// Grows by half each time, and never beyond the capacity.
    fn grow(&mut self) {
        let n = self.slots.len();
        if n == self.slots.capacity() {
            let more = (n / 2).max(16).min(self.capacity.saturating_sub(n)).max(1);
            self.slots.reserve_exact(more);
        }
    }

    fn find(&self, hash: u64, key: &K) -> Option<u32> {
        let slots = &self.slots;
        self.index.find(
            hash,
            |slot| matches!(slots.get(slot as usize), Some(Some((k, _))) if k == key),
        )
    }

    /// The key and value in a slot.
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<(&K, &mut V)> {
        let (key, value) = self.slots.get_mut(slot as usize)?.as_mut()?;
        Some((key, value))
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let slot = self.find(self.hasher.hash_one(key), key)?;
        self.at_mut(slot).map(|(_, value)| value)
    }

    /// Takes the value of a key out.
    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        let slot = self.find(self.hasher.hash_one(key), key)?;
        self.remove(slot)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let slot = self.find(self.hasher.hash_one(key), key)?;
        let (_, value) = self.slots.get(slot as usize)?.as_ref()?;
        Some(value)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.slots
            .iter_mut()
            .flatten()
            .map(|(key, value)| (&*key, value))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().flatten().map(|(key, value)| (key, value))
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        for slot in 0..self.slots.len() {
            if let Some(Some((key, value))) = self.slots.get_mut(slot)
                && !keep(key, value)
            {
                self.remove(slot as u32);
            }
        }
        if self.index.is_empty() {
            self.clear();
        }
    }

    /// Forgets everything, and keeps the memory for what comes.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.free.clear();
        self.index.clear();
    }

    fn remove(&mut self, slot: u32) -> Option<V> {
        let (key, _) = self.slots.get(slot as usize)?.as_ref()?;
        let hash = self.hasher.hash_one(key);
        self.index.remove(hash, slot);
        let (_, value) = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(value)
    }

    fn shed(&mut self) {
        let n = self.slots.len();
        let mut least: Option<(u64, usize)> = None;
        for _ in 0..SAMPLE {
            self.hand = if self.hand + 1 < n { self.hand + 1 } else { 0 };
            if let Some(Some((_, value))) = self.slots.get(self.hand)
                && least.is_none_or(|(priority, _)| value.priority() < priority)
            {
                least = Some((value.priority(), self.hand));
            }
        }
        if let Some((_, slot)) = least {
            self.remove(slot as u32);
            self.n_shed = self.n_shed.saturating_add(1);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        /// Names of the tables that a test has made.
        pub(crate) static MADE: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    }

    impl Priority for u64 {
        fn priority(&self) -> u64 {
            *self
        }
    }

    #[test]
    fn a_full_table_keeps_entries_of_higher_priority_in_their_slots() {
        let mut table: Bounded<u64, u64> = Bounded::new("numbers", 8, 1);
        let slot = table.slot_or_insert_with(1, || 1000);
        for key in 2..100u64 {
            table.get_or_insert_with(key, || 1);
        }
        assert_eq!((table.len(), table.n_shed), (8, 91));
        assert_eq!(table.slot_or_insert_with(1, || 0), slot);
        assert_eq!(table.at_mut(slot), Some((&1, &mut 1000)));
        table.retain(|key, _| *key == 1);
        assert_eq!(table.iter_mut().count(), 1);
        assert_eq!(table.get(&99), None);
        table.retain(|_, _| false);
        assert_eq!((table.len(), table.get(&1)), (0, None));
        assert_eq!(*table.get_or_insert_with(5, || 7), 7);
    }
}
