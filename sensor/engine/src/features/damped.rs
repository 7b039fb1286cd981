//! Damped incremental statistics (AfterImage, Mirsky et al. 2018, section IV.B): sums that decay
//! with time, from which mean, deviation and the statistics of two directions follow.

use serde::{Deserialize, Serialize};

/// Statistics of two directions sampled at the same times, with one time constant.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Damped {
    weight: f32,
    mean: [f32; 2],
    /// Mean of squared deviations, and of their product.
    variance: [f32; 2],
    product: f32,
}

impl Damped {
    /// Takes a sample, after the sums decayed by `decay` (0 to 1) since the last one.
    ///
    /// The incremental form (West 1979) is used where AfterImage keeps sums of squares, whose
    /// difference cancels in single precision.
    pub(crate) fn take(&mut self, decay: f32, x: [f32; 2]) {
        let before = self.weight * decay;
        self.weight = before + 1.0;
        let share = 1.0 / self.weight;
        let keep = before * share;
        let d = [x[0] - self.mean[0], x[1] - self.mean[1]];
        self.mean[0] += share * d[0];
        self.mean[1] += share * d[1];
        self.variance[0] = keep * (self.variance[0] + share * d[0] * d[0]);
        self.variance[1] = keep * (self.variance[1] + share * d[1] * d[1]);
        self.product = keep * (self.product + share * d[0] * d[1]);
    }

    /// Weight, mean and deviation of the first direction, magnitude, radius, covariance and
    /// correlation of both. The weight has decayed by `decay` since the last sample.
    pub(crate) fn columns(&self, decay: f32) -> [f32; 7] {
        let [x, y] = self.mean;
        let [u, v] = self.variance;
        let spread = (u * v).sqrt();
        let correlation = if spread > 1e-6 {
            (self.product / spread).clamp(-1.0, 1.0)
        } else {
            0.0
        };
        [
            (self.weight * decay).ln_1p(),
            x,
            u.sqrt(),
            x.hypot(y),
            (u + v).sqrt(),
            self.product,
            correlation,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_decay_the_statistics_are_the_plain_ones() {
        let mut damped = Damped::default();
        for (x, y) in [(1.0, 2.0), (2.0, 4.0), (3.0, 6.0), (4.0, 8.0)] {
            damped.take(1.0, [x, y]);
        }
        let [
            weight,
            mean,
            deviation,
            magnitude,
            radius,
            covariance,
            correlation,
        ] = damped.columns(1.0);
        assert!((weight - 5f32.ln()).abs() < 1e-6);
        assert!((mean - 2.5).abs() < 1e-6);
        assert!((deviation - 1.25f32.sqrt()).abs() < 1e-6);
        assert!((magnitude - 2.5f32.hypot(5.0)).abs() < 1e-5);
        assert!((radius - 6.25f32.sqrt()).abs() < 1e-5);
        assert!((covariance - 2.5).abs() < 1e-5);
        assert!((correlation - 1.0).abs() < 1e-5);
    }

    #[test]
    fn damped_statistics_forget_old_values() {
        let mut damped = Damped::default();
        for _ in 0..100 {
            damped.take(0.5, [10.0, 0.0]);
        }
        for _ in 0..100 {
            damped.take(0.5, [1.0, 0.0]);
        }
        let [weight, mean, deviation, ..] = damped.columns(1.0);
        assert!((weight - 3f32.ln()).abs() < 1e-4);
        assert!((mean - 1.0).abs() < 1e-4 && deviation < 1e-3);
    }
}
