//! Sources that are proven real, and begin connections without being challenged: the stack of this host
//! carried a connection of theirs, or they answered a cookie. Nobody forges that blindly.
//!
//! Each proof is good for a number of connections, so that whoever sends in the name of a source that is
//! known gets no further than this number; the source is then challenged again, and connects all the same.

use crate::limits::PEER_BUCKETS;
use crate::{Address, is_less, is_zero, mask, mix};

/// Words of a bucket, one cache line: bits 32 to 63 the tag, 16 to 31 the connections left, 0 to 15 the
/// time of the last proof.
pub const WORDS: usize = 8;

/// Time is told in units of 2^34 ns = 17.2 s.
const TIME_SHIFT: u32 = 34;
/// Time for which a proof holds: a day. Addresses change hands, but seldom sooner.
const PROOF_AGE: u16 = 5_029;
/// Connections that a proof is good for, and the most that may be left.
const PER_PROOF: u16 = 32;
const MOST: u16 = 1_024;

/// Eight sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Peers {
    words: [u64; WORDS],
}

const _: () = assert!(size_of::<Peers>() == 64);
// SAFETY: an array of integers.
unsafe impl crate::Pod for Peers {}

/// Hash of a source.
#[inline(always)]
pub const fn hash(source: &Address, seed: u64) -> u64 {
    let high = (source[0] as u64) << 32 | source[1] as u64;
    let low = (source[2] as u64) << 32 | source[3] as u64;
    mix(high, low, !seed)
}

/// Bucket of a hash.
#[inline(always)]
pub const fn bucket(hash: u64) -> u32 {
    hash as u32 & (PEER_BUCKETS - 1)
}

#[inline(always)]
const fn tag(hash: u64) -> u64 {
    hash >> 32 | 1
}

#[inline(always)]
const fn time(now_ns: u64) -> u16 {
    (now_ns >> TIME_SHIFT) as u16
}

#[inline(always)]
const fn left(word: u64) -> u16 {
    (word >> 16) as u16
}

#[inline(always)]
const fn age(word: u64, time: u16) -> u16 {
    time.wrapping_sub(word as u16)
}

impl Peers {
    /// Place of a tag; [`WORDS`] if it is not here. Computed without a branch, where `opaque` keeps the
    /// compiler from making some.
    #[inline(always)]
    fn find(&self, tag: u64, opaque: &impl Fn(u64) -> u64) -> usize {
        let mut at = WORDS as u64;
        let mut i = 0;
        while i < WORDS {
            let differs = self.words[i] >> 32 ^ tag;
            at ^= (at ^ i as u64) & mask(differs, opaque);
            i += 1;
        }
        at as usize
    }

    /// The place to take: free, or proven longest ago.
    #[inline(always)]
    fn oldest(&self, now: u16, opaque: &impl Fn(u64) -> u64) -> usize {
        let (mut oldest, mut i) = (0u64, 0);
        while i < WORDS {
            let word = self.words[i];
            let is_free = is_zero(word, opaque);
            let rank = opaque(is_free << 16 | age(word, now) as u64) << 3 | i as u64;
            // The greater of two, without a branch.
            let is_more = is_less(oldest, rank, opaque).wrapping_neg();
            oldest ^= (oldest ^ rank) & is_more;
            i += 1;
        }
        (oldest & 7) as usize
    }

    /// Takes note of a proof for the source of that hash.
    #[inline(always)]
    pub fn prove(&mut self, hash: u64, now_ns: u64, opaque: impl Fn(u64) -> u64) {
        let (tag, now) = (tag(hash), time(now_ns));
        let found = self.find(tag, &opaque);
        let (at, before) = if found < WORDS {
            (found, left(self.words[found & (WORDS - 1)]))
        } else {
            (self.oldest(now, &opaque), 0)
        };
        let sum = before + PER_PROOF;
        let after = if sum < MOST { sum } else { MOST };
        self.words[at & (WORDS - 1)] = tag << 32 | (after as u64) << 16 | now as u64;
    }

    /// Takes one connection from what the source of that hash has left; false where it has none.
    #[inline(always)]
    pub fn spend(&mut self, hash: u64, now_ns: u64, opaque: impl Fn(u64) -> u64) -> bool {
        let at = self.find(tag(hash), &opaque);
        if at >= WORDS {
            return false;
        }
        let held = &mut self.words[at & (WORDS - 1)];
        if left(*held) == 0 || age(*held, time(now_ns)) > PROOF_AGE {
            return false;
        }
        *held -= 1 << 16;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v4_mapped;

    const HOUR: u64 = 3_600_000_000_000;
    const NOW: u64 = 1_000 * HOUR;

    fn of(n: u32) -> u64 {
        hash(&v4_mapped(n), 7)
    }

    fn plain(value: u64) -> u64 {
        value
    }

    fn connections(peers: &mut Peers, n: u32, now_ns: u64) -> usize {
        let all = 0..10_000;
        all.filter(|_| peers.spend(of(n), now_ns, plain)).count()
    }

    #[test]
    fn a_proof_is_good_for_some_connections_and_no_more() {
        let mut peers = Peers::default();
        assert_eq!(connections(&mut peers, 1, NOW), 0);
        peers.prove(of(1), NOW, plain);
        assert_eq!(connections(&mut peers, 2, NOW), 0);
        assert_eq!(connections(&mut peers, 1, NOW), usize::from(PER_PROOF));
        for _ in 0..1_000 {
            peers.prove(of(1), NOW, plain);
        }
        assert_eq!(connections(&mut peers, 1, NOW), usize::from(MOST));
    }

    #[test]
    fn a_proof_grows_old() {
        let mut peers = Peers::default();
        peers.prove(of(1), NOW, plain);
        assert!(peers.spend(of(1), NOW + 23 * HOUR, plain));
        assert!(!peers.spend(of(1), NOW + 25 * HOUR, plain));
    }

    #[test]
    fn the_one_proven_longest_ago_gives_way() {
        let mut peers = Peers::default();
        for n in 0..WORDS as u32 {
            peers.prove(of(n), NOW + u64::from(n) * HOUR, plain);
        }
        let now_ns = NOW + 10 * HOUR;
        peers.prove(of(0), now_ns, plain);
        peers.prove(of(100), now_ns, plain);
        let known = |n| peers.clone().spend(of(n), now_ns, plain);
        assert!(known(0) && known(100) && !known(1) && (2..8).all(known));
    }
}
