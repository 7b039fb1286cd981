//! Index of slots by hash.
//!
//! Open addressing with linear probing over cells of eight bytes, at most five in eight of them
//! used: a key is found with one cache line in most cases. A cell keeps half of the hash, so that
//! growing never looks at the keys, and tells at once which slot a hash most likely has
//! ([`SlotIndex::likely`]): that lets a table fetch many values before it needs the first of them.

/// Keys that a table looks up together: their values are all on their way from memory before the
/// first of them is needed.
pub(crate) const BATCH: usize = 16;
/// Index of no slot.
pub(crate) const NO_SLOT: u32 = u32::MAX;
/// Cells of the smallest table.
const LEAST: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Cell {
    hash: u32,
    slot: u32,
}

const FREE: Cell = Cell {
    hash: 0,
    slot: NO_SLOT,
};

/// Slots by hash. The keys are elsewhere: whoever asks says whether a slot has the key.
#[derive(Debug, Default)]
pub(crate) struct SlotIndex {
    /// Cells: none, or a power of two.
    cells: Vec<Cell>,
    len: usize,
}

/// The low half: [`sensor_common::mix`] has folded the high one into it.
const fn fold(hash: u64) -> u32 {
    hash as u32
}

impl SlotIndex {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn n_bytes(&self) -> usize {
        self.cells.capacity().saturating_mul(size_of::<Cell>())
    }

    /// The slot that is found first with this hash, of whatever key: a guess, for the cost of one
    /// load and no decision. [`NO_SLOT`] where the hash is surely unknown.
    #[inline]
    pub(crate) fn likely(&self, hash: u64) -> u32 {
        let at = fold(hash) as usize & self.cells.len().wrapping_sub(1);
        self.cells.get(at).map_or(NO_SLOT, |cell| cell.slot)
    }

    /// [`Self::likely`] for as many hashes as come, up to [`BATCH`].
    #[inline]
    pub(crate) fn likely_all(&self, hashes: impl IntoIterator<Item = u64>) -> [u32; BATCH] {
        let mut slots = [NO_SLOT; BATCH];
        for (slot, hash) in slots.iter_mut().zip(hashes) {
            *slot = self.likely(hash);
        }
        slots
    }

    /// The slot for which `is_key` holds, of those with this hash.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_key: impl FnMut(u32) -> bool) -> Option<u32> {
        let (hash, mask) = (fold(hash), self.cells.len().wrapping_sub(1));
        let mut at = hash as usize & mask;
        loop {
            let cell = self.cells.get(at)?;
            if cell.slot == NO_SLOT {
                return None;
            }
            if cell.hash == hash && is_key(cell.slot) {
                return Some(cell.slot);
            }
            at = (at + 1) & mask;
        }
    }

    /// Notes the slot of a key that has none yet.
    pub(crate) fn insert(&mut self, hash: u64, slot: u32) {
        if (self.len + 1) * 8 > self.cells.len() * 5 {
            self.grow();
        }
        self.len += 1;
        self.put(Cell {
            hash: fold(hash),
            slot,
        });
    }

    fn put(&mut self, new: Cell) {
        let mask = self.cells.len().wrapping_sub(1);
        let mut at = new.hash as usize & mask;
        while let Some(cell) = self.cells.get_mut(at) {
            if cell.slot == NO_SLOT {
                *cell = new;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let n = (self.cells.len() * 2).max(LEAST);
        let before = std::mem::replace(&mut self.cells, vec![FREE; n]);
        for cell in before.into_iter().filter(|cell| cell.slot != NO_SLOT) {
            self.put(cell);
        }
    }

    /// Forgets a slot. The cells behind it move up, so that no search ends too early (Knuth, The
    /// Art of Computer Programming 6.4, algorithm R).
    /// `false`: it was not known.
    pub(crate) fn remove(&mut self, hash: u64, slot: u32) -> bool {
        let mask = self.cells.len().wrapping_sub(1);
        let mut hole = fold(hash) as usize & mask;
        loop {
            match self.cells.get(hole) {
                Some(cell) if cell.slot == slot => break,
                Some(cell) if cell.slot != NO_SLOT => hole = (hole + 1) & mask,
                _ => return false,
            }
        }
        self.len -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let cell = self.cells.get(at).copied().unwrap_or(FREE);
            if cell.slot == NO_SLOT {
                break;
            }
            let n_behind_home = at.wrapping_sub(cell.hash as usize) & mask;
            if n_behind_home >= at.wrapping_sub(hole) & mask {
                if let Some(to) = self.cells.get_mut(hole) {
                    *to = cell;
                }
                hole = at;
            }
        }
        if let Some(last) = self.cells.get_mut(hole) {
            *last = FREE;
        }
        true
    }

    /// Forgets all slots, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.cells.fill(FREE);
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Against a map that is known to be right. Hashes of few bits make long runs of neighbours.
    #[test]
    fn lookups_equal_those_of_a_reference_map() {
        let mut keys: Vec<u64> = Vec::new();
        let (mut slots, mut known) = (SlotIndex::default(), BTreeMap::new());
        let mut state = 1u64;
        let hash = |key: u64| sensor_common::mix(key, 0, 7) & 0x3f;
        for step in 0..20_000u32 {
            state = sensor_common::mix(state, 0, 3);
            let key = state % 300;
            let is_key = |keys: &[u64], slot: u32| keys.get(slot as usize) == Some(&key);
            let found = slots.find(hash(key), |slot| is_key(&keys, slot));
            assert_eq!(found, known.get(&key).copied(), "step {step}");
            match found {
                Some(slot) if state & 0x1000 != 0 => {
                    assert!(slots.remove(hash(key), slot));
                    known.remove(&key);
                }
                Some(_) => {}
                None => {
                    let slot = keys.len() as u32;
                    keys.push(key);
                    slots.insert(hash(key), slot);
                    known.insert(key, slot);
                }
            }
            assert_eq!(slots.len(), known.len());
        }
        assert!(known.len() > 50);
        slots.clear();
        assert!(slots.is_empty());
        assert_eq!(slots.find(hash(1), |_| true), None);
    }

    #[test]
    fn the_likely_slot_is_right_for_most_keys() {
        let mut slots = SlotIndex::default();
        let hash = |key: u32| sensor_common::mix(u64::from(key), 0, 7);
        assert_eq!(slots.likely(hash(0)), NO_SLOT);
        for key in 0..10_000 {
            slots.insert(hash(key), key);
        }
        let n_right = (0..10_000).filter(|key| slots.likely(hash(*key)) == *key);
        assert!(n_right.count() > 6_000);
    }
}
