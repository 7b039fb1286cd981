//! The scoring stage by itself.

use super::{Score, Scoring};
use crate::config::ScoringConfig;
use crate::detect::finding::Finding;
use crate::features::Vector;
use crate::models::ModelKind;

/// Scores vectors without the stages before and after it: for measuring what models cost.
#[derive(Debug)]
pub struct Scorer {
    scoring: Scoring,
    findings: Vec<Finding>,
}

impl Scorer {
    pub fn new(config: &ScoringConfig) -> Self {
        Self {
            scoring: Scoring::new(config, 0),
            findings: Vec::new(),
        }
    }

    /// Scores a vector of the window that is over, and learns from it.
    pub fn take(&mut self, at_ns: u64, vector: &Vector) -> Score {
        self.findings.clear();
        self.scoring.take(at_ns, vector, &mut self.findings)
    }

    /// Ends the window, after its last vector.
    pub fn close(&mut self, at_ns: u64) {
        self.scoring.close(at_ns, &mut |_| {});
    }

    /// Size in a checkpoint of what a model learned of all kinds of subjects, bytes.
    pub fn n_saved_bytes(&self, model: ModelKind) -> usize {
        let kinds = self.scoring.kinds.iter();
        if model == ModelKind::Baseline {
            let pasts = kinds.flat_map(|kind| kind.known.iter());
            return pasts.map(|(_, own)| n_bytes(&own.past)).sum();
        }
        let members = kinds.filter_map(|kind| kind.ensemble.member(model));
        members.map(n_bytes).sum()
    }
}

fn n_bytes(learned: &impl serde::Serialize) -> usize {
    postcard::to_stdvec(learned).map_or(0, |bytes| bytes.len())
}
