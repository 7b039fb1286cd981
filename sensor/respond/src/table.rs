//! A hash table in memory that the kernel program reads while it changes here.
//!
//! Cuckoo hashing with two buckets of four slots (Fotakis et al., "Space efficient hash tables with
//! worst case constant access time", 2005). An entry that must make room is first written to its
//! other place and then cleared at the first, so that a packet finds it at any moment.

use std::collections::VecDeque;
use std::mem::offset_of;

use sensor_common::block::list::{Key, SLOTS, SourceBucket};
use sensor_common::block::{ACTION_NONE, BlockEntry};

use sensor_capture::kernel::SharedArray;

/// Place of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    bucket: usize,
    slot: usize,
}

impl Place {
    const fn key(self) -> usize {
        offset_of!(SourceBucket, keys) + self.slot * size_of::<Key>()
    }
    const fn entry(self) -> usize {
        offset_of!(SourceBucket, entries) + self.slot * size_of::<BlockEntry>()
    }
}

/// Exact sources, or prefixes.
pub struct Table {
    buckets: SharedArray<SourceBucket>,
    seed: u64,
    n_used: usize,
    limit: usize,
}

/// Buckets looked at for a way to a free slot.
const MAX_SEARCH: usize = 2048;

/// One step of the search: the entry in `slot` of the bucket at `from` could move to `bucket`.
struct Step {
    bucket: usize,
    from: Option<(usize, usize)>,
}

impl Table {
    /// Takes the memory as it is: entries of an earlier run are found. `limit` is the number of
    /// entries from which on new ones are refused.
    pub fn new(buckets: SharedArray<SourceBucket>, seed: u64, limit: usize) -> Self {
        let mut table = Self {
            buckets,
            seed,
            n_used: 0,
            limit,
        };
        table.n_used = table.places().count();
        table
    }

    pub const fn len(&self) -> usize {
        self.n_used
    }

    /// Every entry's place and key.
    pub fn places(&self) -> impl Iterator<Item = (Place, Key)> + '_ {
        let all = (0..self.buckets.len())
            .flat_map(|bucket| (0..SLOTS).map(move |slot| Place { bucket, slot }));
        all.map(|place| (place, self.key(place)))
            .filter(|(_, key)| *key != Key::EMPTY)
    }

    fn key(&self, place: Place) -> Key {
        let key = self.buckets.copy(place.bucket, place.key());
        key.unwrap_or(Key::EMPTY)
    }

    fn homes(&self, key: Key) -> [usize; 2] {
        let mask = (self.buckets.len() as u32).wrapping_sub(1);
        let (one, other) = key.buckets(self.seed, mask);
        [one as usize, other as usize]
    }

    fn slot_with(&self, bucket: usize, key: Key) -> Option<Place> {
        let mut places = (0..SLOTS).map(|slot| Place { bucket, slot });
        places.find(|place| self.key(*place) == key)
    }

    /// Place of a key.
    pub fn find(&self, key: Key) -> Option<Place> {
        let mut homes = self.homes(key).into_iter();
        homes.find_map(|bucket| self.slot_with(bucket, key))
    }

    /// A copy of an entry; its counters go on in the kernel.
    pub fn entry(&self, place: Place) -> BlockEntry {
        let entry = self.buckets.copy(place.bucket, place.entry());
        entry.unwrap_or_default()
    }

    /// Writes an entry whose key is in place, or about to be: the action last.
    pub fn write(&mut self, place: Place, entry: &BlockEntry) {
        let (bucket, at) = (place.bucket, place.entry());
        let action = at + offset_of!(BlockEntry, action);
        self.buckets.put(bucket, action, ACTION_NONE);
        let inert = BlockEntry {
            action: ACTION_NONE,
            ..*entry
        };
        self.buckets.put(bucket, at, inert);
        self.buckets.put(bucket, action, entry.action);
    }

    /// Changes an entry but for its counters, which the kernel may be adding to.
    pub fn amend(&mut self, place: Place, entry: &BlockEntry) {
        let (bucket, at) = (place.bucket, place.entry());
        amend(&mut self.buckets, bucket, at, entry);
    }

    /// Puts a new key in. `None` when the table is full.
    pub fn insert(&mut self, key: Key, entry: &BlockEntry) -> Option<Place> {
        if self.n_used >= self.limit {
            return None;
        }
        let place = self.free_place(key)?;
        self.write(place, entry);
        self.publish(place, key);
        self.n_used += 1;
        Some(place)
    }

    /// Takes a key out and gives its entry with the counters as they were.
    pub fn remove(&mut self, place: Place) -> BlockEntry {
        let entry = self.entry(place);
        self.clear(place);
        self.n_used = self.n_used.saturating_sub(1);
        entry
    }

    /// The low half last: that makes an IPv4 key appear at once, as its high half is zero. Of an IPv6
    /// key a reader in between sees the network's own address, which is nobody's.
    fn publish(&mut self, place: Place, key: Key) {
        let (bucket, at) = (place.bucket, place.key());
        self.buckets
            .put(bucket, at + offset_of!(Key, high), key.high);
        self.buckets.put(bucket, at + offset_of!(Key, low), key.low);
    }

    fn clear(&mut self, place: Place) {
        let (bucket, at) = (place.bucket, place.key());
        let action = place.entry() + offset_of!(BlockEntry, action);
        self.buckets.put(bucket, action, ACTION_NONE);
        self.buckets.put(bucket, at + offset_of!(Key, low), 0u64);
        self.buckets.put(bucket, at + offset_of!(Key, high), 0u64);
    }

    /// A free slot for a key, made by moving others if need be: the shortest way by breadth-first
    /// search.
    fn free_place(&mut self, key: Key) -> Option<Place> {
        let mut steps: Vec<Step> = Vec::new();
        let mut queue: VecDeque<usize> = VecDeque::new();
        for bucket in self.homes(key) {
            queue.push_back(steps.len());
            steps.push(Step { bucket, from: None });
        }
        while let Some(at) = queue.pop_front() {
            let bucket = steps.get(at)?.bucket;
            if let Some(free) = self.slot_with(bucket, Key::EMPTY) {
                return Some(self.shift(&steps, at, free));
            }
            if steps.len() >= MAX_SEARCH {
                continue;
            }
            for slot in 0..SLOTS {
                let homes = self.homes(self.key(Place { bucket, slot }));
                let other = if homes[0] == bucket {
                    homes[1]
                } else {
                    homes[0]
                };
                queue.push_back(steps.len());
                steps.push(Step {
                    bucket: other,
                    from: Some((at, slot)),
                });
            }
        }
        None
    }

    /// Moves entries along the way that was found, from its end; the slot that becomes free.
    fn shift(&mut self, steps: &[Step], mut at: usize, mut free: Place) -> Place {
        while let Some((from, slot)) = steps.get(at).and_then(|step| step.from) {
            let Some(bucket) = steps.get(from).map(|step| step.bucket) else {
                break;
            };
            let place = Place { bucket, slot };
            self.relocate(place, free);
            free = place;
            at = from;
        }
        free
    }

    fn relocate(&mut self, from: Place, to: Place) {
        let (key, before) = (self.key(from), self.entry(from));
        self.write(to, &before);
        self.publish(to, key);
        self.clear(from);
        // What the kernel counted at the old place meanwhile.
        let after = self.entry(from);
        let counters = [
            (
                offset_of!(BlockEntry, packets),
                after.packets - before.packets,
            ),
            (offset_of!(BlockEntry, bytes), after.bytes - before.bytes),
        ];
        for (offset, amount) in counters {
            self.buckets.add(to.bucket, to.entry() + offset, amount);
        }
    }
}

/// Writes all of an entry but its counters and the state of its bucket, each field whole.
pub fn amend<T: sensor_common::Pod>(
    array: &mut SharedArray<T>,
    index: usize,
    at: usize,
    entry: &BlockEntry,
) {
    let fields = [
        (offset_of!(BlockEntry, packet_cost_ns), entry.packet_cost_ns),
        (offset_of!(BlockEntry, origin), entry.origin),
        (offset_of!(BlockEntry, expires_ns), entry.expires_ns),
    ];
    for (offset, value) in fields {
        array.put(index, at + offset, value);
    }
    let tail = offset_of!(BlockEntry, action);
    let packed = u64::from_ne_bytes({
        let mut bytes = [0; 8];
        bytes[0] = entry.action;
        bytes[1] = entry.protocol;
        bytes[2..4].copy_from_slice(&entry.port.to_ne_bytes());
        bytes[4..6].copy_from_slice(&entry.scopes.to_ne_bytes());
        bytes[6] = entry.length;
        bytes
    });
    array.put(index, at + tail, packed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_common::block::ACTION_DROP;

    fn table(n_buckets: u32) -> Table {
        let limit = n_buckets as usize * SLOTS;
        Table::new(SharedArray::unshared(n_buckets).unwrap(), 42, limit)
    }

    fn key(n: u64) -> Key {
        Key {
            high: n % 3,
            low: n + 1,
        }
    }

    fn entry(n: u64) -> BlockEntry {
        BlockEntry {
            origin: n,
            packets: n * 2,
            action: ACTION_DROP,
            ..BlockEntry::default()
        }
    }

    #[test]
    fn holds_92_percent_of_its_slots_and_loses_none() {
        let mut table = table(1 << 10);
        let n = (1 << 10) * SLOTS as u64 * 92 / 100;
        for i in 0..n {
            assert!(table.insert(key(i), &entry(i)).is_some(), "{i} of {n}");
        }
        for i in 0..n {
            let place = table.find(key(i)).unwrap();
            assert_eq!(table.entry(place), entry(i));
        }
        assert_eq!(table.len() as u64, n);
        assert_eq!(table.places().count() as u64, n);
    }

    #[test]
    fn a_full_table_refuses_and_stays_whole() {
        let mut table = table(4);
        let taken = (0..40).filter(|i| table.insert(key(*i), &entry(*i)).is_some());
        let taken: Vec<u64> = taken.collect();
        assert!(taken.len() >= 12 && taken.len() <= 16);
        assert!(taken.iter().all(|i| table.find(key(*i)).is_some()));
    }

    #[test]
    fn what_was_removed_is_gone_and_its_slot_free() {
        let mut table = table(4);
        for round in 0..100 {
            let place = table.insert(key(round), &entry(round)).unwrap();
            assert_eq!(table.remove(place).packets, round * 2);
            assert_eq!(table.find(key(round)), None);
        }
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn amending_keeps_the_counters() {
        let mut table = table(4);
        let place = table.insert(key(1), &entry(7)).unwrap();
        let change = BlockEntry {
            expires_ns: 99,
            port: 0x1234,
            scopes: 5,
            protocol: 6,
            length: 128,
            action: ACTION_DROP,
            ..BlockEntry::default()
        };
        table.amend(place, &change);
        let packets = entry(7).packets;
        assert_eq!(table.entry(place), BlockEntry { packets, ..change });
    }
}
