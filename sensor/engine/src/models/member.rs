//! The models by name, so that they can be chosen, listed and saved.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Clusters, HalfSpaceTrees, IsolationForest, KitNet, Mixture, Model, RobustCutForest};
use crate::features::N_FEATURES;

/// A model by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    HalfSpaceTrees,
    IsolationForest,
    RobustCutForest,
    Clusters,
    Mixture,
    #[serde(rename = "kitnet")]
    KitNet,
    /// The subject's own past.
    Baseline,
}

impl ModelKind {
    pub const ALL: [Self; 7] = [
        Self::HalfSpaceTrees,
        Self::IsolationForest,
        Self::RobustCutForest,
        Self::Clusters,
        Self::Mixture,
        Self::KitNet,
        Self::Baseline,
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::HalfSpaceTrees => "half_space_trees",
            Self::IsolationForest => "isolation_forest",
            Self::RobustCutForest => "robust_cut_forest",
            Self::Clusters => "clusters",
            Self::Mixture => "mixture",
            Self::KitNet => "kitnet",
            Self::Baseline => "baseline",
        }
    }

    /// The model of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == name)
    }
}

/// A model over vectors; [`ModelKind::Baseline`] is not among them, it needs to know the subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Member {
    HalfSpaceTrees(HalfSpaceTrees),
    IsolationForest(IsolationForest),
    RobustCutForest(RobustCutForest),
    Clusters(Clusters),
    Mixture(Mixture),
    KitNet(KitNet),
}

impl Member {
    pub(crate) fn new(kind: ModelKind, seed: u64) -> Option<Self> {
        Some(match kind {
            ModelKind::HalfSpaceTrees => {
                Self::HalfSpaceTrees(HalfSpaceTrees::new(seed, N_FEATURES))
            }
            ModelKind::IsolationForest => {
                Self::IsolationForest(IsolationForest::new(seed, N_FEATURES))
            }
            ModelKind::RobustCutForest => {
                Self::RobustCutForest(RobustCutForest::new(seed, N_FEATURES))
            }
            ModelKind::Clusters => Self::Clusters(Clusters::new(N_FEATURES)),
            ModelKind::Mixture => Self::Mixture(Mixture::new(seed, N_FEATURES)),
            ModelKind::KitNet => Self::KitNet(KitNet::new(seed, N_FEATURES)),
            ModelKind::Baseline => return None,
        })
    }

    fn model(&self) -> &dyn Model {
        match self {
            Self::HalfSpaceTrees(model) => model,
            Self::IsolationForest(model) => model,
            Self::RobustCutForest(model) => model,
            Self::Clusters(model) => model,
            Self::Mixture(model) => model,
            Self::KitNet(model) => model,
        }
    }

    fn model_mut(&mut self) -> &mut dyn Model {
        match self {
            Self::HalfSpaceTrees(model) => model,
            Self::IsolationForest(model) => model,
            Self::RobustCutForest(model) => model,
            Self::Clusters(model) => model,
            Self::Mixture(model) => model,
            Self::KitNet(model) => model,
        }
    }
}

impl Model for Member {
    fn score(&mut self, x: &[f32]) -> f64 {
        self.model_mut().score(x)
    }
    fn learn(&mut self, x: &[f32]) {
        self.model_mut().learn(x);
    }
    fn is_ready(&self) -> bool {
        self.model().is_ready()
    }
}
