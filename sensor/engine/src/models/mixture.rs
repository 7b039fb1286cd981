//! Gaussian mixture by stepwise expectation maximisation (Cappé and Moulines 2009): how unlikely a
//! vector is.

use serde::{Deserialize, Serialize};

use super::{Model, Rng};

/// A few axis-parallel Gaussians whose weights, means and variances follow the vectors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mixture {
    n_columns: usize,
    weights: [f32; COMPONENTS],
    /// One component after the other.
    means: Vec<f32>,
    variances: Vec<f32>,
    /// 1 / variance and the constant of the logarithmic density, kept beside.
    precisions: Vec<f32>,
    constants: [f32; COMPONENTS],
    n_learned: u64,
    rng: Rng,
}

const COMPONENTS: usize = 6;
const MIN_VARIANCE: f32 = 0.05;
/// Vectors before its scores count.
const WARM_UP: u64 = 128;
/// Least step; about so many vectors are remembered.
const MIN_RATE: f32 = 1.0 / 4_096.0;

impl Mixture {
    pub fn new(seed: u64, n_columns: usize) -> Self {
        let mut rng = Rng::new(seed);
        let means = (0..COMPONENTS * n_columns)
            .map(|_| 1.5 * (rng.unit() - 0.5))
            .collect();
        let mut mixture = Self {
            n_columns,
            weights: [1.0 / COMPONENTS as f32; COMPONENTS],
            means,
            variances: vec![1.0; COMPONENTS * n_columns],
            precisions: vec![1.0; COMPONENTS * n_columns],
            constants: [0.0; COMPONENTS],
            n_learned: 0,
            rng,
        };
        (0..COMPONENTS).for_each(|k| mixture.refresh(k));
        mixture
    }

    fn refresh(&mut self, k: usize) {
        let range = k * self.n_columns..(k + 1) * self.n_columns;
        let mut log = 0.0;
        let variances = self.variances[range.clone()].iter();
        for (precision, variance) in self.precisions[range].iter_mut().zip(variances) {
            let variance = variance.max(MIN_VARIANCE);
            *precision = 1.0 / variance;
            log += variance.ln();
        }
        self.constants[k] = self.weights[k].max(1e-6).ln() - 0.5 * log;
    }

    /// Logarithmic density of each component, weighted.
    fn densities(&self, x: &[f32]) -> [f32; COMPONENTS] {
        let mut densities = self.constants;
        let means = self.means.chunks_exact(self.n_columns);
        let components = means.zip(self.precisions.chunks_exact(self.n_columns));
        for (density, (mean, precision)) in densities.iter_mut().zip(components) {
            *density -= 0.5 * distance(x, mean, precision);
        }
        densities
    }
}

/// Squared distance in deviations. Eight sums, so that it runs in lanes.
fn distance(x: &[f32], mean: &[f32], precision: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let rows = x.chunks_exact(8).zip(mean.chunks_exact(8));
    for ((x, mean), precision) in rows.zip(precision.chunks_exact(8)) {
        for i in 0..8 {
            let d = x[i] - mean[i];
            sums[i] += d * d * precision[i];
        }
    }
    sums.iter().sum()
}

impl Model for Mixture {
    fn score(&mut self, x: &[f32]) -> f64 {
        if !self.is_ready() {
            return 0.0;
        }
        let densities = self.densities(x);
        let most = densities.iter().copied().fold(f32::MIN, f32::max);
        let sum: f32 = densities.iter().map(|d| (d - most).exp()).sum();
        -f64::from(most + sum.ln())
    }

    fn learn(&mut self, x: &[f32]) {
        self.n_learned += 1;
        let densities = self.densities(x);
        let most = densities.iter().copied().fold(f32::MIN, f32::max);
        let mut shares = densities.map(|d| (d - most).exp());
        let sum: f32 = shares.iter().sum();
        // The step of the paper's equation 24 with exponent 0.6.
        let rate = (self.n_learned as f32 + 2.0).powf(-0.6).max(MIN_RATE);
        for (k, share) in shares.iter_mut().enumerate() {
            *share /= sum;
            self.weights[k] += rate * (*share - self.weights[k]);
            let step = rate * *share / self.weights[k].max(1e-3);
            if step < 1e-5 {
                continue;
            }
            let range = k * self.n_columns..(k + 1) * self.n_columns;
            let moments = self.means[range.clone()]
                .iter_mut()
                .zip(&mut self.variances[range]);
            let step = step.min(0.5);
            for ((mean, variance), x) in moments.zip(x) {
                let d = x - *mean;
                *mean += step * d;
                *variance += step * ((1.0 - step) * d * d - *variance);
            }
            self.refresh(k);
        }
        self.revive(x);
    }

    fn is_ready(&self) -> bool {
        self.n_learned >= WARM_UP
    }
}

impl Mixture {
    /// A component that holds next to nothing begins anew at a vector of now.
    fn revive(&mut self, x: &[f32]) {
        if !self.n_learned.is_multiple_of(512) {
            return;
        }
        let k = self.rng.below(COMPONENTS);
        if self.weights[k] < 0.005 {
            let range = k * self.n_columns..(k + 1) * self.n_columns;
            self.means[range.clone()].copy_from_slice(x);
            self.variances[range].fill(0.5);
            self.weights[k] = 0.01;
            self.refresh(k);
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::models::reference::{LOG_FACTOR, normal, recorded};

    /// Two components of given weight, mean and variance; the others are too far to matter.
    #[test]
    fn densities_equal_those_of_scikit_learn() {
        const COLUMNS: usize = 16;
        let mut mixture = Mixture::new(1, COLUMNS);
        mixture.n_learned = WARM_UP;
        mixture.weights = [0.0; COMPONENTS];
        mixture.means.fill(1e3);
        for (k, (weight, mean, variance)) in [(0.25, 0.5, 0.5), (0.75, -1.0, 2.0)]
            .into_iter()
            .enumerate()
        {
            let range = k * COLUMNS..(k + 1) * COLUMNS;
            mixture.weights[k] = weight;
            mixture.means[range.clone()].fill(mean);
            mixture.variances[range].fill(variance);
        }
        (0..COMPONENTS).for_each(|k| mixture.refresh(k));
        let mut rng = Rng::new(15);
        for _ in 0..5_000 {
            normal(&mut rng);
        }
        for expected in recorded("mixture.densities") {
            let found = LOG_FACTOR - mixture.score(&normal(&mut rng));
            assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        }
    }
}
