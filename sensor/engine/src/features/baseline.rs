//! A robust normal: running median and mean absolute deviation of a logarithm.

use serde::{Deserialize, Serialize};

/// Level and spread of `ln(1 + x)`, followed by small steps: one outlier moves either by one step,
/// however far out it lies (stochastic approximation of a quantile, Robbins and Monro 1951).
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Baseline {
    level: f64,
    spread: f64,
    n: u32,
}

/// Least spread, in the logarithm: a factor of 1.1.
const MIN_SPREAD: f64 = 0.1;

impl Baseline {
    /// Learns a value; from an anomalous second a twentieth as much.
    pub(crate) fn learn(&mut self, value: f64, is_anomalous: bool) {
        let x = value.max(0.0).ln_1p();
        if self.n == 0 {
            self.level = x;
            self.spread = 0.3;
        }
        self.n = self.n.saturating_add(1);
        // Steps shrink from fast to about a minute's memory.
        let rate = (1.0 / f64::from(self.n)).max(0.02);
        let rate = if is_anomalous { rate / 20.0 } else { rate };
        let distance = x - self.level;
        let scale = self.spread.max(MIN_SPREAD);
        self.level += rate * distance.clamp(-3.0 * scale, 3.0 * scale);
        let excess = distance.abs().min(3.0 * scale) - self.spread;
        self.spread += rate * excess;
    }

    pub(crate) fn n(&self) -> u32 {
        self.n
    }

    pub(crate) fn level(&self) -> f64 {
        self.level.exp_m1()
    }

    /// Distance from the level in spreads (1.4826 makes it a standard deviation for normal data).
    pub(crate) fn z(&self, value: f64) -> f64 {
        (value.max(0.0).ln_1p() - self.level) / (1.4826 * self.spread.max(MIN_SPREAD))
    }

    /// Upper limit of what is normal: the level times a factor, or so many spreads above it.
    pub(crate) fn limit(&self, factor: f64, spreads: f64) -> f64 {
        if self.n < 10 {
            return 0.0;
        }
        let by_spread = (self.level + spreads * self.spread.max(MIN_SPREAD)).min(50.0);
        (self.level() * factor).max(if self.n < 60 { 0.0 } else { by_spread.exp_m1() })
    }
}
