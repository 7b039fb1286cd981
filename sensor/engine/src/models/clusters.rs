//! Incremental k-means (Sculley 2010) by linfa-clustering: how far the nearest cluster is.

use linfa::DatasetBase;
use linfa::traits::FitWith;
use linfa_clustering::{IncrKMeansError, KMeans, KMeansInit};
use linfa_nn::distance::L2Dist;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::Model;

/// Centroids learned in mini-batches, and the usual distance of each one's own vectors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Clusters {
    n_columns: usize,
    model: Option<KMeans<f64, L2Dist>>,
    batch: Vec<f64>,
    /// The model's centroids in single precision, one after the other.
    centroids: Vec<f32>,
    /// Running mean distance of the vectors of each.
    radii: Vec<f32>,
}

const CLUSTERS: usize = 12;
const BATCH: usize = 128;
/// A cluster of one point has no radius; the scale's deviation is 1 a column.
const MIN_RADIUS: f32 = 0.5;

impl Clusters {
    pub fn new(n_columns: usize) -> Self {
        Self {
            n_columns,
            model: None,
            batch: Vec::with_capacity(BATCH * n_columns),
            centroids: Vec::new(),
            radii: vec![2.0; CLUSTERS],
        }
    }

    /// Nearest centroid and the distance to it.
    pub(super) fn nearest(&self, x: &[f32]) -> (usize, f32) {
        let mut best = (0, f32::MAX);
        for (k, centroid) in self.centroids.chunks_exact(self.n_columns).enumerate() {
            let mut sums = [0.0f32; 8];
            for (x, c) in x.chunks_exact(8).zip(centroid.chunks_exact(8)) {
                for i in 0..8 {
                    sums[i] += (x[i] - c[i]) * (x[i] - c[i]);
                }
            }
            let square = sums.iter().sum();
            if square < best.1 {
                best = (k, square);
            }
        }
        (best.0, best.1.sqrt())
    }

    fn fit(&mut self) {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH * self.n_columns));
        let Ok(records) = Array2::from_shape_vec((BATCH, self.n_columns), batch) else {
            return;
        };
        // The generator of `params` has a fixed seed: equal inputs, equal clusters.
        let params = KMeans::params(CLUSTERS).init_method(KMeansInit::KMeansPlusPlus);
        let Ok(params) = linfa::ParamGuard::check(params.n_runs(3)) else {
            return;
        };
        // One step of mini-batch k-means; that it has not converged is how it should be.
        let dataset = DatasetBase::from(records);
        self.model = match params.fit_with(self.model.take(), &dataset) {
            Ok(model) | Err(IncrKMeansError::NotConverged(model)) => Some(model),
            Err(_) => None,
        };
        if let Some(model) = &self.model {
            self.centroids = model.centroids().iter().map(|c| *c as f32).collect();
        }
    }
}

impl Model for Clusters {
    fn score(&mut self, x: &[f32]) -> f64 {
        if !self.is_ready() {
            return 0.0;
        }
        let (k, distance) = self.nearest(x);
        f64::from(distance / self.radii[k].max(MIN_RADIUS))
    }

    fn learn(&mut self, x: &[f32]) {
        if self.is_ready() {
            let (k, distance) = self.nearest(x);
            self.radii[k] += 0.01 * (distance - self.radii[k]);
        }
        self.batch.extend(x.iter().map(|x| f64::from(*x)));
        if self.batch.len() >= BATCH * self.n_columns {
            self.fit();
        }
    }

    fn is_ready(&self) -> bool {
        !self.centroids.is_empty()
    }
}
