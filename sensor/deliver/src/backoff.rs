//! Times to wait between tries: doubled from try to try, spread by chance, and never shorter than the
//! far side asks.

use std::time::Duration;

/// A far side that asks for more is not believed.
const MOST_ASKED: Duration = Duration::from_secs(3_600);

/// Waits of one sink.
#[derive(Clone, Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    n_failed: u32,
    /// State of the generator (SplitMix64).
    seed: u64,
}

impl Backoff {
    pub const fn new(least: Duration, most: Duration, seed: u64) -> Self {
        Self {
            least,
            most,
            n_failed: 0,
            seed,
        }
    }

    /// Begins again with the shortest wait.
    pub const fn reset(&mut self) {
        self.n_failed = 0;
    }

    /// The next wait: between half and the whole of the doubled time, so that many sensors don't come
    /// back at once.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let doubled = self.least.saturating_mul(1 << self.n_failed.min(20));
        self.n_failed = self.n_failed.saturating_add(1);
        let whole = doubled.min(self.most);
        let wait = whole.mul_f64(0.5 + 0.5 * self.chance());
        asked.map_or(wait, |asked| wait.max(asked.min(MOST_ASKED)))
    }

    /// A number from 0 to 1 (Steele, Lea and Flood: Fast splittable pseudorandom number generators,
    /// OOPSLA 2014).
    fn chance(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_secs(1);
    const MOST: Duration = Duration::from_secs(60);

    #[test]
    fn waits_grow_up_to_the_longest_and_are_spread() {
        let mut backoff = Backoff::new(LEAST, MOST, 7);
        let waits: Vec<Duration> = (0..12).map(|_| backoff.next(None)).collect();
        for (n, wait) in waits.iter().enumerate() {
            let whole = LEAST.saturating_mul(1 << n).min(MOST);
            assert!(whole / 2 <= *wait && *wait <= whole, "{n}: {wait:?}");
        }
        let mut same = Backoff::new(LEAST, MOST, 7);
        assert_eq!(waits[0], same.next(None));
        assert_ne!(waits[0], Backoff::new(LEAST, MOST, 8).next(None));
        backoff.reset();
        assert!(backoff.next(None) <= LEAST);
    }

    #[test]
    fn the_far_sides_wish_is_met_within_reason() {
        let mut backoff = Backoff::new(LEAST, MOST, 7);
        let asked = Duration::from_secs(600);
        assert_eq!(backoff.next(Some(asked)), asked);
        let asked = Duration::from_secs(1 << 40);
        assert_eq!(backoff.next(Some(asked)), MOST_ASKED);
    }
}
