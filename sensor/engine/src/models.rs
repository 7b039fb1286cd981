//! Streaming models of what is normal: vectors in, scores out.
//!
//! A model knows nothing of subjects, time or thresholds. It is given vectors on a common scale
//! ([`Scale`]), answers how odd each is, and learns those that its owner lets it learn. Memory is
//! fixed when it is made; what chance it needs comes from its own seeded generator, so equal inputs
//! give equal scores. Each is described in `docs/models/`.

mod boosted;
mod clusters;
mod forest;
mod half_space_trees;
mod isolation_forest;
mod kitnet;
mod member;
mod mixture;
mod rng;
mod robust_cut_forest;
mod scale;
mod seasonal;

pub use self::boosted::{
    Boosted, BoostedAbout, BoostedError, BoostedRow, Boosting, Calibration, Run, TAIL_FROM,
    TAIL_STEP,
};
pub use self::clusters::Clusters;
pub use self::forest::{
    About, ClassMetrics, Forest, ForestError, Growth, Inputs, MAX_CLASSES, MAX_MODEL_BYTES,
    N_INPUTS, Row, Shares, Source, greatest_from,
};
pub use self::half_space_trees::HalfSpaceTrees;
pub use self::isolation_forest::IsolationForest;
pub use self::kitnet::KitNet;
pub(crate) use self::member::Member;
pub use self::member::ModelKind;
pub use self::mixture::Mixture;
pub(crate) use self::rng::Rng;
pub use self::robust_cut_forest::RobustCutForest;
pub use self::scale::Scale;
pub use self::seasonal::{BASELINE_COLUMNS, N_BASELINES, Seasonal};

use crate::features::N_FEATURES;

/// A vector on the common scale: 0 is usual, ±1 a deviation, ±4 as far out as it goes.
pub type Scaled = [f32; N_FEATURES];

/// Model that scores vectors as they stream in.
pub trait Model {
    /// Scores a vector: greater is odder, on a scale of the model's own. 0 before it has learned enough.
    fn score(&mut self, x: &[f32]) -> f64;
    /// Takes a vector as normal.
    fn learn(&mut self, x: &[f32]);
    /// False while the scores mean nothing yet.
    fn is_ready(&self) -> bool;
}

#[cfg(test)]
pub(crate) mod reference;
#[cfg(test)]
mod tests;
