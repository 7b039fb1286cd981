//! Change detection in a stream by adaptive windowing (ADWIN, Bifet and Gavaldà 2007).

use serde::{Deserialize, Serialize};

/// A window of values in [0, 1] as buckets of exponentially growing size. Where two parts of it
/// differ by more than chance allows, the older one is dropped: the stream has drifted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Adwin {
    /// Buckets by size, 2^row values each; the oldest first.
    rows: Vec<Vec<f64>>,
    n: u64,
    sum: f64,
    n_since_check: u32,
    pub n_drifts: u64,
}

/// Buckets of one size.
const PER_ROW: usize = 5;
const CHECK_EVERY: u32 = 32;
/// Probability of a false alarm of one check.
const DELTA: f64 = 1e-4;
/// Values that each part must have.
const LEAST: u64 = 64;
const ROWS: usize = 20;

impl Adwin {
    /// Takes a value; `true`: drift was found with it.
    pub(crate) fn take(&mut self, value: f64) -> bool {
        let value = value.clamp(0.0, 1.0);
        self.n += 1;
        self.sum += value;
        self.push(0, value);
        self.n_since_check += 1;
        if self.n_since_check < CHECK_EVERY {
            return false;
        }
        self.n_since_check = 0;
        let mut has_drifted = false;
        while self.differs() {
            self.drop_oldest();
            has_drifted = true;
        }
        self.n_drifts += u64::from(has_drifted);
        has_drifted
    }

    fn push(&mut self, row: usize, sum: f64) {
        if row >= ROWS {
            // The oldest values leave the window.
            self.n = self.n.saturating_sub(1 << row);
            self.sum -= sum;
            return;
        }
        if self.rows.len() <= row {
            self.rows.push(Vec::with_capacity(PER_ROW + 1));
        }
        self.rows[row].push(sum);
        if self.rows[row].len() > PER_ROW {
            let merged: f64 = self.rows[row].drain(..2).sum();
            self.push(row + 1, merged);
        }
    }

    /// True where there is a cut whose sides differ (theorem 3.1, with the variance bounded by 1/4).
    fn differs(&self) -> bool {
        let (mut n_old, mut old) = (0u64, 0.0);
        let delta = DELTA / (self.n.max(2) as f64).ln();
        for (row, buckets) in self.rows.iter().enumerate().rev() {
            for sum in buckets {
                n_old += 1 << row;
                old += sum;
                let n_new = self.n.saturating_sub(n_old);
                if n_old < LEAST || n_new < LEAST {
                    continue;
                }
                let (a, b) = (n_old as f64, n_new as f64);
                let harmonic = 1.0 / (1.0 / a + 1.0 / b);
                let bound = ((2.0 / delta).ln() / (2.0 * harmonic)).sqrt();
                if (old / a - (self.sum - old) / b).abs() > bound {
                    return true;
                }
            }
        }
        false
    }

    fn drop_oldest(&mut self) {
        let Some(row) = self.rows.iter().rposition(|buckets| !buckets.is_empty()) else {
            return;
        };
        let sum = self.rows[row].remove(0);
        self.n = self.n.saturating_sub(1 << row);
        self.sum -= sum;
    }

    #[cfg(test)]
    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.n.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Rng;
    use crate::models::reference::recorded;

    #[test]
    fn a_step_is_detected_and_a_steady_stream_is_not() {
        let (mut adwin, mut rng) = (Adwin::default(), Rng::new(3));
        for _ in 0..20_000 {
            assert!(!adwin.take(f64::from(rng.unit())));
        }
        assert!((adwin.mean() - 0.5).abs() < 0.02);
        let step = (0..2_000).position(|_| adwin.take(0.3 * f64::from(rng.unit()) + 0.6));
        assert!(step.is_some_and(|n| n < 1_000), "{step:?}");
        for _ in 0..4_000 {
            adwin.take(0.3 * f64::from(rng.unit()) + 0.6);
        }
        assert!((adwin.mean() - 0.75).abs() < 0.05, "{}", adwin.mean());
        let n_buckets: usize = adwin.rows.iter().map(Vec::len).sum();
        assert!(n_buckets <= PER_ROW * ROWS);
    }

    /// River decides by the variance, ours by the bound for any values, which needs more of them.
    #[test]
    fn finds_changes_not_much_later_than_river() {
        for (low, high) in [(0.3, 0.7), (0.4, 0.6), (0.2, 0.3)] {
            let (mut adwin, mut rng) = (Adwin::default(), Rng::new(17));
            let mut found = None;
            for n in 0..12_000u32 {
                let rate = if n < 4_000 { low } else { high };
                if adwin.take(f64::from(u8::from(rng.unit() < rate))) && found.is_none() {
                    found = Some(n);
                }
            }
            let theirs = recorded(&format!("adwin.found.{low}.{high}"))[0] - 4_000.0;
            let ours = f64::from(found.unwrap()) - 4_000.0;
            assert!(
                ours > 0.0 && ours < 2.0 * theirs + 64.0,
                "{low} to {high}: after {ours}, river after {theirs}"
            );
        }
    }
}
