//! Layout of the entries: a bucket holds four keys in one cache line, and their entries.

use super::BlockEntry;
use crate::{Address, mask, mix};

/// Entries of a bucket.
pub const SLOTS: usize = 4;
/// Scopes of one source beside the source as a whole.
pub const SCOPES_PER_SOURCE: usize = 4;

/// Room for the prefix lengths of IPv4 (1 to 31), and after them for those of IPv6.
pub const SHAPES_V6: u32 = 32;
/// Most prefix lengths that one family may use at a time.
pub const MAX_SHAPES: u32 = 32;
/// Entries of the table of shapes.
pub const N_SHAPES: u32 = SHAPES_V6 + MAX_SHAPES;

/// An address, or a prefix, as two numbers: the high and the low half in host order. A prefix has
/// a one after its last bit and zeros from there on, so that a length is part of its key.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Key {
    pub high: u64,
    pub low: u64,
}

impl Key {
    /// No address that is ever blocked.
    pub const EMPTY: Self = Self { high: 0, low: 0 };

    #[inline(always)]
    pub const fn of(address: &Address) -> Self {
        Self {
            high: (u32::from_be(address[0]) as u64) << 32 | u32::from_be(address[1]) as u64,
            low: (u32::from_be(address[2]) as u64) << 32 | u32::from_be(address[3]) as u64,
        }
    }

    /// Indexes of the two buckets that may hold the key.
    #[inline(always)]
    pub const fn buckets(self, seed: u64, mask: u32) -> (u32, u32) {
        let hash = mix(self.high, self.low, seed);
        let one = hash as u32 & mask;
        let other = (hash >> 32) as u32 & mask;
        // With one bucket in place of two a key would have half its room.
        (one, if other == one { one ^ 1 & mask } else { other })
    }
}

/// Cuts a key to a prefix length.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Shape {
    pub mask: Key,
    pub mark: Key,
}

impl Shape {
    /// Shape of a length counted as in IPv6, 0 to 127.
    pub const fn new(length: u8) -> Self {
        let mask = if length == 0 {
            0
        } else {
            u128::MAX << (128 - length as u32)
        };
        let mark = 1u128 << (127 - length as u32);
        Self {
            mask: Key {
                high: (mask >> 64) as u64,
                low: mask as u64,
            },
            mark: Key {
                high: (mark >> 64) as u64,
                low: mark as u64,
            },
        }
    }

    #[inline(always)]
    pub const fn cut(&self, key: Key) -> Key {
        Key {
            high: key.high & self.mask.high | self.mark.high,
            low: key.low & self.mask.low | self.mark.low,
        }
    }
}

/// Four sources with what is to happen to them.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C, align(64))]
pub struct SourceBucket {
    pub keys: [Key; SLOTS],
    pub entries: [BlockEntry; SLOTS],
}

/// The narrower scopes of one source. Unused ones have no action.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct ScopeSet {
    pub entries: [BlockEntry; SCOPES_PER_SOURCE],
}

const _: () = assert!(size_of::<SourceBucket>() == 320);
const _: () = assert!(size_of::<Shape>() == 32);
const _: () = assert!(size_of::<ScopeSet>() == 256);
// SAFETY: integers; the size assertions rule padding out.
unsafe impl crate::Pod for Key {}
// SAFETY: as above.
unsafe impl crate::Pod for Shape {}
// SAFETY: as above.
unsafe impl crate::Pod for SourceBucket {}
// SAFETY: as above.
unsafe impl crate::Pod for ScopeSet {}

impl SourceBucket {
    /// Slot of a key; [`SLOTS`] if it is not here. Computed without a branch, where `opaque` keeps
    /// the compiler from making some.
    #[inline(always)]
    pub fn find(&self, key: Key, opaque: impl Fn(u64) -> u64) -> usize {
        let mut slot = SLOTS as u64;
        let mut i = 0;
        while i < SLOTS {
            let other = &self.keys[i];
            let differs = other.high ^ key.high | other.low ^ key.low;
            slot ^= (slot ^ i as u64) & mask(differs, &opaque);
            i += 1;
        }
        slot as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_slot_of_a_key() {
        let mut bucket = SourceBucket::default();
        let key = |low| Key { high: 7, low };
        for i in 0..SLOTS {
            bucket.keys[i] = key(i as u64 + 1);
        }
        for i in 0..SLOTS {
            assert_eq!(bucket.find(key(i as u64 + 1), |x| x), i);
        }
        assert_eq!(bucket.find(key(9), |x| x), SLOTS);
        assert_eq!(bucket.find(Key { high: 8, low: 1 }, |x| x), SLOTS);
    }

    #[test]
    fn prefixes_of_one_network_differ_by_length() {
        let key = Key::of(&crate::v4_mapped(u32::from_be_bytes([10, 0, 0, 0]).to_be()));
        let keys: Vec<Key> = (96..128).map(|n| Shape::new(n).cut(key)).collect();
        for (i, one) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|other| one != other));
            assert_ne!(*one, Key::EMPTY);
        }
    }

    #[test]
    fn a_key_has_two_buckets() {
        for low in 0..1000 {
            let (one, other) = Key { high: 1, low }.buckets(42, 7);
            assert_ne!(one, other);
            assert!(one < 8 && other < 8);
        }
    }
}
