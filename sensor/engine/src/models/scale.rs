//! One scale for all columns.

use serde::{Deserialize, Serialize};

use super::Scaled;
use crate::features::{FEATURES, N_FEATURES};

/// Running mean and deviation of every column, begun with the schema's priors, so that the first
/// vectors have a scale, too.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scale {
    mean: Vec<f32>,
    variance: Vec<f32>,
    n: f32,
}

/// Vectors that the priors weigh as much as.
const PRIOR_WEIGHT: f32 = 64.0;
/// Vectors remembered.
const MEMORY: f32 = 8_192.0;
/// Least deviation of a column, in priors, so that a constant one doesn't blow up.
const MIN_DEVIATION: f32 = 0.15;
/// End of the scale: values beyond a few deviations are pressed together.
const END: f32 = 4.0;

impl Default for Scale {
    fn default() -> Self {
        Self {
            mean: FEATURES.iter().map(|feature| feature.prior.0).collect(),
            variance: FEATURES
                .iter()
                .map(|feature| feature.prior.1 * feature.prior.1)
                .collect(),
            n: PRIOR_WEIGHT,
        }
    }
}

impl Scale {
    pub fn learn(&mut self, values: &[f32; N_FEATURES]) {
        self.n = (self.n + 1.0).min(MEMORY);
        let rate = 1.0 / self.n;
        for ((mean, variance), value) in self.mean.iter_mut().zip(&mut self.variance).zip(values) {
            // A value far out moves mean and deviation as one ten deviations out would.
            let reach = 10.0 * variance.sqrt().max(1e-3);
            let d = (value - *mean).clamp(-reach, reach);
            *mean += rate * d;
            *variance += rate * ((1.0 - rate) * d * d - *variance);
        }
    }

    pub fn apply(&self, values: &[f32; N_FEATURES]) -> Scaled {
        let mut x = [0.0; N_FEATURES];
        let columns = self.mean.iter().zip(&self.variance).zip(&FEATURES);
        for ((to, value), ((mean, variance), feature)) in x.iter_mut().zip(values).zip(columns) {
            let deviation = variance.sqrt().max(MIN_DEVIATION * feature.prior.1);
            let z = (value - mean) / deviation;
            *to = z / (1.0 + z.abs() / END);
        }
        x
    }

    /// Expected value of a column, and its deviation.
    pub fn expected(&self, column: usize) -> (f32, f32) {
        let mean = self.mean.get(column).copied().unwrap_or_default();
        let variance = self.variance.get(column).copied().unwrap_or_default();
        (mean, variance.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_mean_and_deviation() {
        let mut scale = Scale::default();
        for i in 0..20_000u32 {
            let mut values = [0.0; N_FEATURES];
            values[0] = 5.0 + (i % 3) as f32 - 1.0;
            scale.learn(&values);
        }
        let (mean, deviation) = scale.expected(0);
        assert!((mean - 5.0).abs() < 0.1, "{mean}");
        assert!((deviation - 0.816).abs() < 0.05, "{deviation}");
        let mut values = [0.0; N_FEATURES];
        values[0] = 1e9;
        let x = scale.apply(&values);
        assert!(x[0] > 3.9 && x[0] <= 4.0);
    }
}
