//! Entries by key, and a timing wheel of when each is to be looked after.
//!
//! The wheel (Varghese and Lauck 1987, scheme 6) has lists of entries that are due in the same
//! quarter of a second. A tick costs what is due, not what is held. A due time that moves on is
//! left where it is: the entry is found early and put off.

use super::entry::{Entry, LIST};
use super::records::FlowKey;
use crate::slot_index::SlotIndex;

/// Index of no entry.
const NONE: u32 = u32::MAX;
/// Number of no list.
const UNLISTED: u16 = LIST;
/// Lists of 2^28 ns = 268 ms; 512 of them reach 137 s ahead. What is later is put off on the way.
const N_LISTS: usize = 512;
const LIST_SHIFT: u32 = 28;
const _: () = assert!(N_LISTS < UNLISTED as usize);

#[derive(Debug)]
pub(super) struct FlowTable {
    entries: Vec<Entry>,
    /// Interface of each entry's first packet: entries have no room left in their cache lines.
    interfaces: Vec<u32>,
    /// Head of the chain of entries that are not in use.
    free: u32,
    index: SlotIndex,
    seed: u64,
    capacity: usize,
    lists: Box<[u32; N_LISTS]>,
    /// Number of the list of the last tick: `time >> LIST_SHIFT`.
    now: u64,
    /// A flow bore a VLAN tag at some time.
    has_vlans: bool,
}

impl FlowTable {
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        Self {
            entries: Vec::new(),
            interfaces: Vec::new(),
            free: NONE,
            index: SlotIndex::default(),
            seed,
            capacity: capacity.clamp(1, NONE as usize - 1),
            lists: Box::new([NONE; N_LISTS]),
            now: 0,
            has_vlans: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.index.len() >= self.capacity
    }

    /// Bytes held, by capacity; pages that were never used count, too.
    pub(super) fn n_bytes(&self) -> usize {
        let entries = self.entries.capacity().saturating_mul(size_of::<Entry>());
        entries
            .saturating_add(self.interfaces.capacity().saturating_mul(4))
            .saturating_add(self.index.n_bytes())
            .saturating_add(N_LISTS * 4)
    }

    pub(super) fn find(&self, key: &FlowKey) -> Option<u32> {
        let entries = &self.entries;
        let is_key = |at: u32| entries.get(at as usize).is_some_and(|entry| entry.is(key));
        self.index.find(key.hash(self.seed), is_key)
    }

    /// The flow of which a record of that key is the other part: one direction bears a VLAN tag, and
    /// the other none. To be asked where [`Self::find`] found nothing.
    pub(super) fn find_incomplete(&mut self, key: &FlowKey) -> Option<u32> {
        self.has_vlans |= key.tags.vlans != 0;
        if !self.has_vlans {
            return None;
        }
        let entries = &self.entries;
        let is_part = |at: u32| {
            let entry = entries.get(at as usize);
            entry.is_some_and(|entry| entry.is_completed_by(key))
        };
        let at = self.index.find(key.hash(self.seed), is_part)?;
        if let Some(entry) = self.entries.get_mut(at as usize) {
            entry.complete(key);
        }
        Some(at)
    }

    /// Prefetches the entries of keys, at most [`crate::slot_index::BATCH`] of them.
    pub(super) fn fetch(&self, keys: impl Iterator<Item = FlowKey>) {
        self.bring(&self.index.likely_all(keys.map(|key| key.hash(self.seed))));
    }

    /// Prefetches entries.
    pub(super) fn bring(&self, places: &[u32]) {
        let mut sum = 0;
        for at in places {
            if let Some(entry) = self.entries.get(*at as usize) {
                sum ^= entry.touch();
            }
        }
        std::hint::black_box(sum);
    }

    pub(super) fn get(&self, at: u32) -> Option<&Entry> {
        self.entries.get(at as usize)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Entry> {
        self.entries.get_mut(at as usize)
    }

    /// Index of the interface of an entry's first packet.
    pub(super) fn interface(&self, at: u32) -> u32 {
        self.interfaces.get(at as usize).copied().unwrap_or(0)
    }

    /// An entry and the interface of its first packet, which is not read unless asked for.
    pub(super) fn get_with_interface(&mut self, at: u32) -> Option<(&mut Entry, &mut u32)> {
        let entry = self.entries.get_mut(at as usize)?;
        Some((entry, self.interfaces.get_mut(at as usize)?))
    }

    /// Hash that a key goes by.
    pub(super) fn hash(&self, key: &FlowKey) -> u64 {
        key.hash(self.seed)
    }

    /// Adds a key that is not there yet, first seen at an interface. The caller has made room.
    pub(super) fn insert(&mut self, key: &FlowKey, ifindex: u32) -> u32 {
        let mut entry = Entry::new(key);
        entry.set_list(UNLISTED);
        let at = self.free;
        let at = if let Some(place) = self.entries.get_mut(at as usize) {
            self.free = place.next;
            *place = entry;
            at
        } else {
            self.grow();
            self.entries.push(entry);
            self.interfaces.push(0);
            (self.entries.len() - 1) as u32
        };
        if let Some(place) = self.interfaces.get_mut(at as usize) {
            *place = ifindex;
        }
        self.index.insert(key.hash(self.seed), at);
        at
    }

    /// Grows by half each time and never beyond the capacity: what is reserved is what may be used.
    fn grow(&mut self) {
        let n = self.entries.len();
        if n == self.entries.capacity() {
            let more = (n / 2).max(64).min(self.capacity.saturating_sub(n)).max(1);
            self.entries.reserve_exact(more);
            self.interfaces.reserve_exact(more);
        }
    }

    pub(super) fn remove(&mut self, at: u32) {
        self.unlist(at);
        let Some(entry) = self.entries.get_mut(at as usize) else {
            return;
        };
        let hash = entry.key().hash(self.seed);
        // What is boxed is freed now, the place is kept for the next one.
        *entry = Entry::new(&FlowKey::NONE);
        entry.set_list(UNLISTED);
        entry.next = self.free;
        if self.index.remove(hash, at) {
            self.free = at;
        }
    }

    /// Entry in the `n`th slot, counted round; none where no flow is in it.
    pub(super) fn used(&self, n: usize) -> Option<(u32, &Entry)> {
        let at = n.checked_rem(self.entries.len())?;
        let entry = self.entries.get(at)?;
        // Whatever is in use is in a list.
        (entry.list() != UNLISTED).then_some((at as u32, entry))
    }

    /// Every flow with the interface of its first packet, in the order of slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Entry, u32)> {
        self.page(0, self.entries.len())
    }

    pub(super) fn n_slots(&self) -> usize {
        self.entries.len()
    }

    /// Flows in `n` slots from `start` on, as [`Self::iter`] gives them.
    pub(super) fn page(&self, start: usize, n: usize) -> impl Iterator<Item = (&Entry, u32)> {
        let entries = self.entries.iter().zip(self.interfaces.iter().copied());
        let page = entries.skip(start).take(n);
        page.filter(|(entry, _)| entry.list() != UNLISTED)
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.interfaces.clear();
        self.index.clear();
        self.lists.fill(NONE);
        self.free = NONE;
    }

    /// Schedules the entry for the first tick at or after `due_ns`, or an earlier one.
    pub(super) fn schedule(&mut self, at: u32, due_ns: u64) {
        self.unlist(at);
        let furthest = self.now.saturating_add(N_LISTS as u64 - 1);
        let number = (due_ns >> LIST_SHIFT).clamp(self.now, furthest);
        let list = (number % N_LISTS as u64) as usize;
        let Some(head) = self.lists.get_mut(list) else {
            return;
        };
        let after = std::mem::replace(head, at);
        if let Some(after) = self.entries.get_mut(after as usize) {
            after.previous = at;
        }
        if let Some(entry) = self.entries.get_mut(at as usize) {
            (entry.next, entry.previous) = (after, NONE);
            entry.set_list(list as u16);
        }
    }

    fn unlist(&mut self, at: u32) {
        let Some(entry) = self.entries.get_mut(at as usize) else {
            return;
        };
        let (next, previous, list) = (entry.next, entry.previous, entry.list());
        if list == UNLISTED {
            return;
        }
        entry.set_list(UNLISTED);
        if let Some(previous) = self.entries.get_mut(previous as usize) {
            previous.next = next;
        } else if let Some(head) = self.lists.get_mut(usize::from(list)) {
            *head = next;
        }
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = previous;
        }
    }

    /// Moves time on and appends the entries that are due, or are in the list of those that are, to
    /// `due`. Each must be scheduled again or removed.
    pub(super) fn advance(&mut self, at_ns: u64, due: &mut Vec<u32>) {
        let now = (at_ns >> LIST_SHIFT).max(self.now);
        let n_lists = (now - self.now).min(N_LISTS as u64 - 1);
        for number in now - n_lists..=now {
            let list = (number % N_LISTS as u64) as usize;
            let mut at = self.lists.get(list).copied().unwrap_or(NONE);
            while let Some(entry) = self.entries.get(at as usize) {
                due.push(at);
                at = entry.next;
            }
        }
        self.now = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> FlowKey {
        FlowKey {
            a: [0, 0, 0, n],
            b: [0; 4],
            a_port: 1,
            b_port: 2,
            protocol: 6,
            around: None,
            tags: crate::flow::records::Tags::default(),
        }
    }

    fn due(table: &mut FlowTable, at_ns: u64) -> Vec<u32> {
        let mut due = Vec::new();
        table.advance(at_ns, &mut due);
        due
    }

    #[test]
    fn only_entries_that_are_due_are_found() {
        let second = 1_000_000_000;
        let t0 = 1_700_000_000 * second;
        let mut table = FlowTable::new(10, 7);
        assert!(due(&mut table, t0).is_empty());
        let [first, second_, far] = [1, 2, 3].map(|n| table.insert(&key(n), n));
        table.schedule(first, t0 + 2 * second);
        table.schedule(second_, t0 + 15 * second);
        table.schedule(far, t0 + 1_000 * second);
        assert!(due(&mut table, t0 + second).is_empty());
        assert_eq!(due(&mut table, t0 + 2 * second), [first]);
        table.remove(first);
        assert_eq!(table.find(&key(1)), None);
        assert_eq!(due(&mut table, t0 + 16 * second), [second_]);
        table.schedule(second_, t0 + 17 * second);
        // A long silence finds everything, what lies beyond the horizon too.
        let mut all = due(&mut table, t0 + 500 * second);
        all.sort_unstable();
        assert_eq!(all, [second_, far]);
        table.schedule(far, t0 + 1_000 * second);
        table.schedule(second_, t0);
        assert_eq!(due(&mut table, t0 + 501 * second), [second_]);
    }

    #[test]
    fn slots_are_reused() {
        let mut table = FlowTable::new(3, 7);
        for n in 0..100 {
            let at = table.insert(&key(n), n);
            table.schedule(at, 5);
            assert_eq!(table.find(&key(n)), Some(at));
            assert_eq!(table.interface(at), n);
            if n >= 2 {
                let oldest = table.find(&key(n - 2)).unwrap();
                table.remove(oldest);
            }
        }
        assert_eq!(table.len(), 2);
        assert_eq!(table.entries.len(), 3);
        assert_eq!(table.iter().count(), 2);
    }
}
