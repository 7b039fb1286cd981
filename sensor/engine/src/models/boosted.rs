//! Gradient-boosted trees that tell windows of attacks from ordinary ones.
//!
//! Friedman 2001 with the second-order gain of Chen and Guestrin 2016 (XGBoost). Inference walks flat arrays
//! and allocates nothing; what a file brings is checked when it is read, so that a walk ends after at
//! most [`MAX_DEPTH`] steps.

mod file;
mod grow;

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

pub use self::file::BoostedError;
pub use self::grow::{BoostedRow, Boosting};
use crate::features::N_PAIR_FEATURES;

/// Trees of a model, steps of a walk and nodes in all.
const MAX_TREES: usize = 1_024;
const MAX_DEPTH: usize = 12;
const MAX_NODES: usize = 60_000;

/// Least value of a node's `column` that is a leaf.
const LEAF: u8 = 0xff;

/// Trees with what they were grown from and what their sum means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boosted {
    /// First node of each tree.
    roots: Vec<u32>,
    /// Columns by node, each tree in preorder: the left child follows its parent.
    column: Vec<u8>,
    /// The greatest value that goes left; of a leaf its part of the sum.
    value: Vec<f32>,
    right: Vec<u32>,
    /// Sum before the first tree: log odds of the rows.
    base: f32,
    /// Meaning of sums by data that no part of the trees has seen.
    pub scale: Calibration,
    pub about: BoostedAbout,
}

/// Sums of windows that the trees were not grown from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Sums that a share of ordinary windows reach: 10^-1, 10^-1.5, 10^-2, ... of them, rising.
    pub tail: Vec<f32>,
    /// [`Run::take`] from which windows are reported, of pairs and of sources.
    pub alarm: [f32; 2],
    /// Sum below which a window speaks for its parties: nine of ten attack windows are above.
    pub ordinary: f32,
    /// Median of ordinary windows by column, to compare with.
    pub typical: Vec<f32>,
}

/// Windows in a row that speak together.
const RUN: usize = 6;

/// Sums of the latest windows of one pair or source, overlapping as they do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Run {
    sums: [f32; RUN],
    n: u8,
}

impl Run {
    /// Takes the sum of the next window. Returns what the run says: its mean with two windows of zero beside, so
    /// that one alone must be more than twice as sure as six.
    pub fn take(&mut self, sum: f32) -> f32 {
        self.sums.rotate_right(1);
        self.sums[0] = sum;
        self.n = (self.n + 1).min(RUN as u8);
        let n = usize::from(self.n);
        let whole: f32 = self.sums.iter().take(n).sum();
        whole / (n as f32 + 2.0)
    }

    /// Begins anew, after a silence.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Origin of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BoostedAbout {
    pub seed: u64,
    pub n_rows: u64,
    pub n_captures: u32,
    pub n_groups: u32,
    pub n_folds: u32,
}

/// Steps of [`Calibration::tail`], powers of ten.
pub const TAIL_STEP: f32 = 0.5;
/// First of them.
pub const TAIL_FROM: f32 = 1.0;

/// Trained on labelled captures: `docs/models/pair_windows.md`.
const SHIPPED: &[u8] = include_bytes!("windows.boosted");

impl Boosted {
    /// The one that comes with the sensor.
    ///
    /// # Errors
    /// When it was not trained anew after the schema changed.
    pub fn shipped() -> Result<Arc<Self>, BoostedError> {
        static ONCE: OnceLock<Result<Arc<Boosted>, BoostedError>> = OnceLock::new();
        let read = || Self::from_bytes(SHIPPED).map(Arc::new);
        ONCE.get_or_init(read).clone()
    }

    pub fn n_trees(&self) -> usize {
        self.roots.len()
    }

    pub fn n_nodes(&self) -> usize {
        self.column.len()
    }

    /// Log odds that a window is of an attack.
    pub fn sum(&self, values: &[f32; N_PAIR_FEATURES]) -> f32 {
        let trees = self.roots.iter().map(|root| self.leaf(*root, values));
        self.base + trees.sum::<f32>()
    }

    /// Columns by what they add to a window's sum, beside a typical ordinary one: column and part, the greatest
    /// first.
    pub fn reasons(&self, values: &[f32; N_PAIR_FEATURES]) -> Vec<(usize, f32)> {
        let whole = self.sum(values);
        let mut parts: Vec<(usize, f32)> = Vec::new();
        for (column, typical) in self.scale.typical.iter().enumerate() {
            let mut other = *values;
            if let Some(place) = other.get_mut(column) {
                *place = *typical;
                parts.push((column, whole - self.sum(&other)));
            }
        }
        parts.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        parts
    }

    fn leaf(&self, root: u32, values: &[f32; N_PAIR_FEATURES]) -> f32 {
        let mut node = root as usize;
        for _ in 0..=MAX_DEPTH {
            let (Some(column), Some(value)) = (self.column.get(node), self.value.get(node)) else {
                return 0.0;
            };
            if *column == LEAF {
                return *value;
            }
            let input = values.get(usize::from(*column)).copied().unwrap_or(0.0);
            node = if input <= *value {
                node + 1
            } else {
                self.right.get(node).map_or(0, |right| *right as usize)
            };
        }
        0.0
    }

    /// `-log10` of the share of ordinary windows that reach a sum.
    pub fn score(&self, sum: f32) -> f32 {
        let tail = &self.scale.tail;
        let n = tail.iter().take_while(|reached| sum >= **reached).count();
        let score = |step: usize| TAIL_FROM + TAIL_STEP * step as f32;
        let (Some(low), high) = (n.checked_sub(1).and_then(|i| tail.get(i)), tail.get(n)) else {
            return 0.0;
        };
        let part = high.map_or(0.0, |high| (sum - low) / (high - low).max(1e-6));
        score(n - 1) + TAIL_STEP * part
    }
}

#[cfg(test)]
mod tests;
