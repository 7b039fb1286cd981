//! Where in a table a key's value is: places by hash.
//!
//! Open addressing with linear probing over cells of eight bytes, at most five in eight of them
//! used: a key is found with one cache line in most cases. A cell keeps half of the hash, so that
//! growing never looks at the keys, and tells at once which place a hash most likely has
//! ([`Places::likely`]): that lets a table fetch many values before it needs the first of them.

/// Keys that a table looks up together: their values are all on their way from memory before the
/// first of them is needed.
pub(crate) const BATCH: usize = 16;
/// No place.
pub(crate) const NOWHERE: u32 = u32::MAX;
/// Cells of the smallest table.
const LEAST: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Cell {
    hash: u32,
    place: u32,
}

const FREE: Cell = Cell {
    hash: 0,
    place: NOWHERE,
};

/// Places by hash. The keys are elsewhere: whoever asks says whether a place has the key.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// None, or a power of two.
    cells: Vec<Cell>,
    len: usize,
}

/// The low half: [`sensor_common::mix`] has folded the high one into it.
const fn fold(hash: u64) -> u32 {
    hash as u32
}

impl Places {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn n_bytes(&self) -> usize {
        self.cells.capacity().saturating_mul(size_of::<Cell>())
    }

    /// The place that is found first with this hash, of whatever key: a guess, for the cost of one
    /// load and no decision. [`NOWHERE`] where the hash is surely unknown.
    #[inline]
    pub(crate) fn likely(&self, hash: u64) -> u32 {
        let at = fold(hash) as usize & self.cells.len().wrapping_sub(1);
        self.cells.get(at).map_or(NOWHERE, |cell| cell.place)
    }

    /// [`Self::likely`] for as many hashes as come, up to [`BATCH`].
    #[inline]
    pub(crate) fn likely_all(&self, hashes: impl IntoIterator<Item = u64>) -> [u32; BATCH] {
        let mut places = [NOWHERE; BATCH];
        for (place, hash) in places.iter_mut().zip(hashes) {
            *place = self.likely(hash);
        }
        places
    }

    /// The place for which `is_key` holds, of those with this hash.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_key: impl FnMut(u32) -> bool) -> Option<u32> {
        let (hash, mask) = (fold(hash), self.cells.len().wrapping_sub(1));
        let mut at = hash as usize & mask;
        loop {
            let cell = self.cells.get(at)?;
            if cell.place == NOWHERE {
                return None;
            }
            if cell.hash == hash && is_key(cell.place) {
                return Some(cell.place);
            }
            at = (at + 1) & mask;
        }
    }

    /// Notes the place of a key that has none yet.
    pub(crate) fn insert(&mut self, hash: u64, place: u32) {
        if (self.len + 1) * 8 > self.cells.len() * 5 {
            self.grow();
        }
        self.len += 1;
        self.put(Cell {
            hash: fold(hash),
            place,
        });
    }

    fn put(&mut self, new: Cell) {
        let mask = self.cells.len().wrapping_sub(1);
        let mut at = new.hash as usize & mask;
        while let Some(cell) = self.cells.get_mut(at) {
            if cell.place == NOWHERE {
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
        for cell in before.into_iter().filter(|cell| cell.place != NOWHERE) {
            self.put(cell);
        }
    }

    /// Forgets a place. The cells behind it move up, so that no search ends too early (Knuth, The
    /// Art of Computer Programming 6.4, algorithm R).
    /// `false`: it was not known.
    pub(crate) fn remove(&mut self, hash: u64, place: u32) -> bool {
        let mask = self.cells.len().wrapping_sub(1);
        let mut hole = fold(hash) as usize & mask;
        loop {
            match self.cells.get(hole) {
                Some(cell) if cell.place == place => break,
                Some(cell) if cell.place != NOWHERE => hole = (hole + 1) & mask,
                _ => return false,
            }
        }
        self.len -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let cell = self.cells.get(at).copied().unwrap_or(FREE);
            if cell.place == NOWHERE {
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

    /// Forgets all places, and keeps the memory.
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
    fn finds_what_is_there_and_nothing_else() {
        let mut keys: Vec<u64> = Vec::new();
        let (mut places, mut known) = (Places::default(), BTreeMap::new());
        let mut state = 1u64;
        let hash = |key: u64| sensor_common::mix(key, 0, 7) & 0x3f;
        for step in 0..20_000u32 {
            state = sensor_common::mix(state, 0, 3);
            let key = state % 300;
            let is_key = |keys: &[u64], place: u32| keys.get(place as usize) == Some(&key);
            let found = places.find(hash(key), |place| is_key(&keys, place));
            assert_eq!(found, known.get(&key).copied(), "step {step}");
            match found {
                Some(place) if state & 0x1000 != 0 => {
                    assert!(places.remove(hash(key), place));
                    known.remove(&key);
                }
                Some(_) => {}
                None => {
                    let place = keys.len() as u32;
                    keys.push(key);
                    places.insert(hash(key), place);
                    known.insert(key, place);
                }
            }
            assert_eq!(places.len(), known.len());
        }
        assert!(known.len() > 50);
        places.clear();
        assert!(places.is_empty());
        assert_eq!(places.find(hash(1), |_| true), None);
    }

    #[test]
    fn a_guess_is_right_for_most() {
        let mut places = Places::default();
        let hash = |key: u32| sensor_common::mix(u64::from(key), 0, 7);
        assert_eq!(places.likely(hash(0)), NOWHERE);
        for key in 0..10_000 {
            places.insert(hash(key), key);
        }
        let n_right = (0..10_000).filter(|key| places.likely(hash(*key)) == *key);
        assert!(n_right.count() > 6_000);
    }
}
