//! SYNs that were answered a moment ago: one that comes again goes to the stack, whose answer takes another
//! way. So a link on which the answers of the kernel program are lost delays its clients by a second, and
//! shuts nobody out.
//!
//! A blocked Bloom filter (Putze, Sanders, Singler 2007), one word a block, in two halves that take turns.
//! A word says itself for which turn it holds: nobody has to clear it.

/// Words of a half: 2^18 x 8 bytes = 2 MiB.
const WORDS: u32 = 1 << 18;
/// Words of the filter.
pub const N_WORDS: u32 = 2 * WORDS;
/// A turn takes 2^31 ns = 2.1 s; a SYN is sent again after a second (RFC 6298 section 2).
const TURN_SHIFT: u32 = 31;
/// Bits of a word; the turn is above.
const BITS: u64 = 48;

/// SYNs a second, and at once, that may go to the stack because they came again: few for it, and more than
/// clients that lose a packet.
pub const PACKET_COST_NS: u64 = 1_000_000_000 / 20_000;
pub const BURST_NS: u64 = 1_000_000_000;

/// Places of a SYN in the filter: the word of this turn, that of the turn before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    pub now: u32,
    pub before: u32,
    turn: u16,
    bits: u64,
}

impl Places {
    /// Places by the hash of the SYN's addresses and ports.
    #[inline(always)]
    pub const fn of(hash: u64, now_ns: u64) -> Self {
        let turn = (now_ns >> TURN_SHIFT) as u16;
        let (index, half) = (hash as u32 & (WORDS - 1), turn as u32 & 1);
        let (one, other) = ((hash >> 32) & 0xffff, hash >> 48);
        let bits = 1 << ((one * BITS) >> 16) | 1 << ((other * BITS) >> 16);
        Self {
            now: half * WORDS + index,
            before: (half ^ 1) * WORDS + index,
            turn,
            bits,
        }
    }

    /// True where the words at the two places know the SYN.
    #[inline(always)]
    pub const fn is_known(&self, now: u64, before: u64) -> bool {
        holds(now, self.turn, self.bits) || holds(before, self.turn.wrapping_sub(1), self.bits)
    }

    /// The word of this turn with the SYN.
    #[inline(always)]
    pub const fn with(&self, now: u64) -> u64 {
        let held = if now >> BITS == self.turn as u64 {
            now
        } else {
            (self.turn as u64) << BITS
        };
        held | self.bits
    }
}

#[inline(always)]
const fn holds(word: u64, turn: u16, bits: u64) -> bool {
    word >> BITS == turn as u64 && word & bits == bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1_000 * SECOND;

    struct Filter(Vec<u64>);

    impl Filter {
        /// Takes a SYN; true where it came before.
        fn takes(&mut self, n: u64, now_ns: u64) -> bool {
            let places = Places::of(mix(n, 1, 2), now_ns);
            let (now, before) = (places.now as usize, places.before as usize);
            let is_known = places.is_known(self.0[now], self.0[before]);
            self.0[now] = places.with(self.0[now]);
            is_known
        }
    }

    #[test]
    fn a_syn_that_comes_again_is_known_for_two_seconds_and_soon_forgotten() {
        for ms in [0, 500, 1_000, 1_500, 2_000] {
            let mut filter = Filter(vec![0; N_WORDS as usize]);
            let first_ns = NOW + ms * 1_000_000;
            assert!(!filter.takes(1, first_ns));
            assert!(filter.takes(1, first_ns + 2 * SECOND));
            let mut filter = Filter(vec![0; N_WORDS as usize]);
            assert!(!filter.takes(1, first_ns));
            assert!(!filter.takes(1, first_ns + 5 * SECOND));
        }
    }

    #[test]
    fn of_a_hundred_thousand_a_second_hardly_one_is_taken_for_another() {
        let mut filter = Filter(vec![0; N_WORDS as usize]);
        let n = (0..400_000u64)
            .filter(|n| filter.takes(*n, NOW + n * 10_000))
            .count();
        assert!(n < 4_000, "{n}");
    }
}
