//! Sources that behave like no cluster of sources did before (mini-batch k-means, Sculley 2010).

use linfa::DatasetBase;
use linfa::traits::FitWith;
use linfa_clustering::{IncrKMeansError, KMeans, KMeansInit};
use linfa_nn::distance::L2Dist;
use ndarray::Array2;

use super::finding::{Detector, Entity, Evidence, Family, Finding, MAX_SCORE, p_value};
use crate::address::to_ip;
use crate::config::{BehaviourConfig, SECOND_NS};
use crate::features::{N_SOURCE_FEATURES, SOURCE_NAMES, SourceVector, WINDOW_NS};

type Vector = [f64; N_SOURCE_FEATURES];

/// Distances kept to know the tail from.
const N_DISTANCES: usize = 2_048;
/// Least standard deviation of a column, so that a constant one doesn't blow up.
const MIN_DEVIATION: f64 = 0.1;

#[derive(Debug)]
pub(crate) struct BehaviourDetector {
    config: BehaviourConfig,
    model: Option<KMeans<f64, L2Dist>>,
    mean: Vector,
    deviation: Vector,
    batch: Vec<Vector>,
    /// The latest distances, as a ring.
    distances: Vec<f64>,
    next: usize,
    began_ns: u64,
    n_scored: usize,
}

impl BehaviourDetector {
    pub(crate) fn new(config: &BehaviourConfig) -> Self {
        Self {
            config: config.clone(),
            model: None,
            mean: [0.0; N_SOURCE_FEATURES],
            deviation: [1.0; N_SOURCE_FEATURES],
            batch: Vec::new(),
            distances: Vec::new(),
            next: 0,
            began_ns: 0,
            n_scored: 0,
        }
    }

    /// Works by other thresholds from now on; sizes stay.
    pub(crate) fn configure(&mut self, config: &BehaviourConfig) {
        self.config = config.clone();
    }

    pub(crate) fn take(&mut self, at_ns: u64, vectors: &[SourceVector], out: &mut Vec<Finding>) {
        if self.began_ns == 0 {
            self.began_ns = at_ns;
        }
        let age_ns = at_ns.saturating_sub(self.began_ns);
        let is_warm = age_ns >= u64::from(self.config.warm_up_s).saturating_mul(SECOND_NS)
            && self.n_scored >= self.config.warm_up_vectors;
        let tail = is_warm.then(|| Tail::of(&self.distances)).flatten();
        for vector in vectors {
            let is_odd = self.score(vector, tail.as_ref(), out);
            if !is_odd {
                self.learn(&vector.values);
            }
        }
    }

    /// Scores one vector; `true`: it is a finding, and must not be learned.
    fn score(
        &mut self,
        vector: &SourceVector,
        tail: Option<&Tail>,
        out: &mut Vec<Finding>,
    ) -> bool {
        let x = self.standardise(&vector.values);
        let Some((distance, nearest)) = self.nearest(&x) else {
            return false;
        };
        if let Some(tail) = tail {
            let score = tail.score(distance);
            if score >= -self.config.p_value.log10() {
                out.push(self.finding(vector, &x, &nearest, distance, score));
                return true;
            }
        }
        self.n_scored = self.n_scored.saturating_add(1);
        if self.distances.len() < N_DISTANCES {
            self.distances.push(distance);
        } else if let Some(place) = self.distances.get_mut(self.next) {
            *place = distance;
            self.next = (self.next + 1) % N_DISTANCES;
        }
        false
    }

    fn standardise(&self, values: &Vector) -> Vector {
        let mut x = *values;
        for (i, value) in x.iter_mut().enumerate() {
            *value = (*value - self.mean[i]) / self.deviation[i];
        }
        x
    }

    /// Squared distances summed, root taken; and the centroid.
    fn nearest(&self, x: &Vector) -> Option<(f64, Vector)> {
        let model = self.model.as_ref()?;
        let mut best: Option<(f64, Vector)> = None;
        for row in model.centroids().rows() {
            let mut centroid = [0.0; N_SOURCE_FEATURES];
            let mut sum = 0.0;
            for ((to, value), own) in centroid.iter_mut().zip(row.iter()).zip(x) {
                *to = *value;
                sum += (own - value) * (own - value);
            }
            let distance = sum.sqrt();
            if best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, centroid));
            }
        }
        best
    }

    fn learn(&mut self, values: &Vector) {
        self.batch.push(*values);
        if self.batch.len() < self.config.batch.max(self.config.n_clusters.max(1)) {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        // Columns are scaled by the first batch and stay so: centroids live in that scale.
        if self.model.is_none() {
            self.scale_by(&batch);
        }
        let rows: Vec<Vector> = batch.iter().map(|row| self.standardise(row)).collect();
        let flat: Vec<f64> = rows.iter().flatten().copied().collect();
        let Ok(records) = Array2::from_shape_vec((rows.len(), N_SOURCE_FEATURES), flat) else {
            return;
        };
        let n = self.config.n_clusters.clamp(1, rows.len());
        // The generator of `params` has a fixed seed: equal inputs, equal clusters.
        let params = KMeans::params(n)
            .init_method(KMeansInit::KMeansPlusPlus)
            .max_n_iterations(20);
        let Ok(params) = linfa::ParamGuard::check(params) else {
            return;
        };
        let dataset = DatasetBase::from(records);
        let before = self.model.take();
        self.model = match params.fit_with(before, &dataset) {
            Ok(model) | Err(IncrKMeansError::NotConverged(model)) => Some(model),
            Err(_) => None,
        };
    }

    fn scale_by(&mut self, batch: &[Vector]) {
        let n = batch.len().max(1) as f64;
        for i in 0..N_SOURCE_FEATURES {
            let mean = batch.iter().map(|row| row[i]).sum::<f64>() / n;
            let variance = batch.iter().map(|row| (row[i] - mean).powi(2)).sum::<f64>() / n;
            self.mean[i] = mean;
            self.deviation[i] = variance.sqrt().max(MIN_DEVIATION);
        }
    }

    fn finding(
        &self,
        vector: &SourceVector,
        x: &Vector,
        nearest: &Vector,
        distance: f64,
        score: f64,
    ) -> Finding {
        let whole = (distance * distance).max(1e-9);
        let mut features: Vec<Evidence> = SOURCE_NAMES
            .iter()
            .enumerate()
            .map(|(i, name)| Evidence {
                name,
                observed: vector.values[i],
                expected: nearest[i] * self.deviation[i] + self.mean[i],
                share: (x[i] - nearest[i]).powi(2) / whole,
            })
            .collect();
        features.sort_by(|a, b| b.share.total_cmp(&a.share));
        features.truncate(5);
        Finding {
            detector: Detector::Clusters,
            family: Family::BehaviourAnomaly,
            entity: Entity::Source(vector.source),
            window_ns: WINDOW_NS,
            first_ns: vector.first_ns,
            last_ns: vector.last_ns,
            score,
            p_value: p_value(score),
            notes: Vec::new(),
            features,
            sources: vec![to_ip(&vector.source)],
            n_sources: 1,
            is_spoofed: false,
            destinations: Vec::new(),
            n_destinations: 0,
            ports: Vec::new(),
            n_ports: 0,
            protocol: 0,
        }
    }
}

/// The empirical tail: counts up to the 95th percentile, beyond it an exponential with the mean
/// excess (peaks over threshold, Pickands 1975).
struct Tail {
    threshold: f64,
    mean_excess: f64,
}

impl Tail {
    fn of(distances: &[f64]) -> Option<Self> {
        let mut sorted = distances.to_vec();
        sorted.sort_by(f64::total_cmp);
        let cut = sorted.len().saturating_mul(95) / 100;
        let threshold = *sorted.get(cut)?;
        let excesses = sorted.get(cut..)?;
        let sum: f64 = excesses.iter().map(|d| d - threshold).sum();
        Some(Self {
            threshold,
            mean_excess: (sum / excesses.len().max(1) as f64).max(0.25),
        })
    }

    fn score(&self, distance: f64) -> f64 {
        let beyond = (distance - self.threshold) / self.mean_excess;
        if beyond <= 0.0 {
            return 0.0;
        }
        (beyond / std::f64::consts::LN_10 - 0.05f64.log10()).min(MAX_SCORE)
    }
}
