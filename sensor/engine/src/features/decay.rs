//! Counts that fade: a steady rate `r` settles at `r` times the time constant, a burst counts at
//! once. O(1) per update and without a window's edges.

use crate::config::SECOND_NS;

/// `N` counts with one time constant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fading<const N: usize> {
    values: [f32; N],
    at_ns: u64,
}

impl<const N: usize> Default for Fading<N> {
    fn default() -> Self {
        Self {
            values: [0.0; N],
            at_ns: 0,
        }
    }
}

impl<const N: usize> Fading<N> {
    /// Lets time pass up to `at_ns`; a time before the last changes nothing.
    pub(crate) fn fade(&mut self, at_ns: u64, time_constant_s: f32) {
        let elapsed_ns = at_ns.saturating_sub(self.at_ns);
        if elapsed_ns < SECOND_NS / 1000 {
            return;
        }
        self.at_ns = at_ns;
        let factor = (-(elapsed_ns as f32) / 1e9 / time_constant_s).exp();
        for value in &mut self.values {
            *value *= factor;
        }
    }

    pub(crate) fn add(&mut self, slot: usize, n: f32) {
        if let Some(value) = self.values.get_mut(slot) {
            *value += n;
        }
    }

    /// Count as of the last [`Self::fade`].
    pub(crate) fn get(&self, slot: usize) -> f64 {
        self.values.get(slot).copied().map_or(0.0, f64::from)
    }
}

/// Rough number of distinct values: linear counting in 64 bits (Whang et al. 1990), good to about
/// 100.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread(u64);

impl Spread {
    pub(crate) fn insert(&mut self, value: u64) {
        self.0 |= 1 << (sensor_common::mix(value, 0, 0x51ab) >> 58);
    }

    pub(crate) fn len(self) -> f64 {
        let n_zero = self.0.count_zeros();
        if n_zero == 0 {
            return 266.0;
        }
        64.0 * (64.0 / f64::from(n_zero)).ln()
    }

    pub(crate) fn clear(&mut self) {
        self.0 = 0;
    }

    /// Values of either.
    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_settles_and_a_burst_fades() {
        let mut count: Fading<1> = Fading::default();
        for i in 0..600u64 {
            count.fade(i * SECOND_NS / 10, 5.0);
            count.add(0, 1.0);
        }
        assert!((45.0..55.0).contains(&count.get(0)), "{}", count.get(0));
        count.fade(110 * SECOND_NS, 5.0);
        assert!(count.get(0) < 0.01);
    }

    #[test]
    fn spread_counts_within_a_fifth() {
        let mut spread = Spread::default();
        for value in 0..40u64 {
            spread.insert(value);
            spread.insert(value);
        }
        assert!((30.0..52.0).contains(&spread.len()), "{}", spread.len());
    }
}
