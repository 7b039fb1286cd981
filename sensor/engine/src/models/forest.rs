//! A random forest that names families: what a vector looks like, of what was labelled.
//!
//! Breiman 2001, on draws that are balanced over classes and captures (Chen, Liaw and Breiman 2004).
//! Inference walks flat arrays and allocates nothing; what a file brings is checked when it is read,
//! so that a walk ends after at most [`MAX_DEPTH`] steps.

mod file;
mod grow;

use serde::{Deserialize, Serialize};

pub use self::file::{ForestError, MAX_MODEL_BYTES};
pub use self::grow::{Growth, Row};
use crate::features::N_FEATURES;

/// Columns of the schema, then the kind of subject: a source's vector is not a host's.
pub const N_INPUTS: usize = N_FEATURES + 1;
/// Inputs of the forest: the columns of a vector and the kind of its subject.
pub type Inputs = [f32; N_INPUTS];

/// Classes of one forest.
pub const MAX_CLASSES: usize = 32;
pub const MAX_TREES: usize = 512;
pub const MAX_DEPTH: usize = 24;
/// Nodes of all trees, and leaves' votes.
pub const MAX_NODES: usize = 400_000;

/// Votes for each class, in the forest's order, summing to 1.
pub type Shares = [f32; MAX_CLASSES];

/// Least value of a node's `column` that is a leaf, with so many votes.
const LEAF: u8 = 0x80;

/// One vote of a leaf: class, and its part of 255.
type Vote = (u8, u8);

/// A grown forest with what it was grown from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forest {
    classes: Vec<String>,
    /// Least share from which a class is named; above 1: never.
    thresholds: Vec<f32>,
    /// First node of each tree.
    roots: Vec<u32>,
    /// Columns by node, each tree in preorder: the left child follows its parent.
    column: Vec<u8>,
    split: Vec<f32>,
    /// The right child; of a leaf the first of its votes.
    right: Vec<u32>,
    votes: Vec<Vote>,
    pub about: About,
}

/// Origin of a forest, and its metrics on captures that it was not grown from.
/// Precision of names: the share of what is named that is named right; and the share that is named.
/// Precision of names: share of what is named that is named right; and the share that is named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub seed: u64,
    pub n_folds: u32,
    pub n_rows: u64,
    pub captures: Vec<Source>,
    pub class_metrics: Vec<ClassMetrics>,
    pub macro_f1: f32,
    /// Always the most frequent class.
    pub baseline_macro_f1: f32,
    /// Precision of names: the share of what is named that is named right; and the share that is named.
    pub named_precision: f32,
    pub named_share: f32,
}

/// A capture that rows came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub id: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    pub n_rows: u32,
    /// Captures with the same number share packets: a composition and its parts.
    pub group: u32,
}

/// One class, judged on held-out captures; each capture's rows of a class weigh 1 together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    pub n_rows: u32,
    pub n_captures: u32,
    pub n_groups: u32,
    pub precision: f32,
    pub recall: f32,
    pub f1: f32,
    /// Precision of what reaches the threshold, and the share of the class that does and is right.
    pub named_precision: f32,
    pub named_recall: f32,
}

impl Forest {
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    pub fn thresholds(&self) -> &[f32] {
        &self.thresholds
    }

    /// Sets what share a class must have to be named.
    pub fn set_thresholds(&mut self, thresholds: &[f32]) {
        for (to, from) in self.thresholds.iter_mut().zip(thresholds) {
            *to = *from;
        }
    }

    pub fn n_trees(&self) -> usize {
        self.roots.len()
    }

    pub fn n_nodes(&self) -> usize {
        self.column.len()
    }

    /// Shares of the trees' votes for a vector, by class.
    pub fn shares(&self, inputs: &Inputs) -> Shares {
        let mut shares = [0.0; MAX_CLASSES];
        for root in &self.roots {
            self.vote(*root as usize, inputs, &mut shares);
        }
        let whole = shares.iter().sum::<f32>().max(1.0);
        shares.map(|share| share / whole)
    }

    fn vote(&self, root: usize, inputs: &Inputs, shares: &mut Shares) {
        let mut node = root;
        for _ in 0..=MAX_DEPTH {
            let (Some(column), Some(right)) = (self.column.get(node), self.right.get(node)) else {
                return;
            };
            if *column >= LEAF {
                let first = *right as usize;
                let votes = self.votes.get(first..first + usize::from(column - LEAF));
                for (class, weight) in votes.unwrap_or_default() {
                    if let Some(share) = shares.get_mut(usize::from(*class)) {
                        *share += f32::from(*weight);
                    }
                }
                return;
            }
            let input = inputs.get(usize::from(*column)).copied().unwrap_or(0.0);
            let split = self.split.get(node).copied().unwrap_or(0.0);
            node = if input <= split {
                node + 1
            } else {
                *right as usize
            };
        }
    }
}

/// The class with the greatest share of those from `first` on, and that share.
pub fn greatest_from(shares: &Shares, first: usize) -> (usize, f32) {
    let mut best = (first, 0.0);
    for (class, share) in shares.iter().enumerate().skip(first) {
        if *share > best.1 {
            best = (class, *share);
        }
    }
    best
}

#[cfg(test)]
mod tests;
