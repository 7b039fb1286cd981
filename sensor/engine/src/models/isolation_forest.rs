//! Isolation forest (Liu, Ting and Zhou 2008) over a sliding reservoir: how few random cuts set a
//! vector apart.

use serde::{Deserialize, Serialize};

use super::{Model, Rng};

/// Trees over samples of the latest vectors, one of them grown anew every few vectors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IsolationForest {
    n_columns: usize,
    /// The latest vectors, one after the other, as a ring.
    reservoir: Vec<f32>,
    n_learned: u64,
    trees: Vec<Tree>,
    next_tree: usize,
    rng: Rng,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Tree {
    nodes: Vec<Node>,
}

/// Inner: column and cut, children at `left` and `left + 1`. A leaf is its own left child behind a
/// cut that nothing reaches, so that a descent of fixed length ends in it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Node {
    cut: f32,
    column: u16,
    left: u16,
    /// Length of the path that ends in a leaf.
    path: f32,
}

const TREES: usize = 32;
const SAMPLE: usize = 128;
const RESERVOIR: usize = 1_024;
/// Vectors between two trees grown anew.
const PER_TREE: u64 = 64;
const MAX_DEPTH: usize = 9;
const LANES: usize = 8;

impl IsolationForest {
    pub fn new(seed: u64, n_columns: usize) -> Self {
        Self {
            n_columns,
            reservoir: Vec::with_capacity(RESERVOIR * n_columns),
            n_learned: 0,
            trees: Vec::with_capacity(TREES),
            next_tree: 0,
            rng: Rng::new(seed),
        }
    }

    fn grow(&mut self) -> Tree {
        let n = self.reservoir.len() / self.n_columns.max(1);
        let rows: Vec<&[f32]> = self.reservoir.chunks_exact(self.n_columns).collect();
        let mut sample: Vec<&[f32]> = (0..SAMPLE).map(|_| rows[self.rng.below(n)]).collect();
        let mut tree = Tree {
            nodes: vec![Node::default()],
        };
        tree.split(0, 0, &mut sample, &mut self.rng);
        tree
    }
}

impl Tree {
    fn split(&mut self, node: usize, depth: usize, sample: &mut [&[f32]], rng: &mut Rng) {
        let cut = if depth < MAX_DEPTH && sample.len() > 1 {
            choose(sample, rng)
        } else {
            None
        };
        let Some((column, cut)) = cut else {
            let path = depth as f32 + mean_path(sample.len());
            self.nodes[node] = Node {
                cut: f32::INFINITY,
                column: 0,
                left: node as u16,
                path,
            };
            return;
        };
        let mut n_left = 0;
        for i in 0..sample.len() {
            if sample[i][column] < cut {
                sample.swap(i, n_left);
                n_left += 1;
            }
        }
        let left = self.nodes.len();
        self.nodes.extend([Node::default(); 2]);
        self.nodes[node] = Node {
            cut,
            column: column as u16,
            left: left as u16,
            path: 0.0,
        };
        let (low, high) = sample.split_at_mut(n_left);
        self.split(left, depth + 1, low, rng);
        self.split(left + 1, depth + 1, high, rng);
    }
}

/// Path lengths summed over a few trees. Each step waits for memory; the trees wait together.
fn paths(trees: &[Tree], x: &[f32]) -> f32 {
    let mut nodes = [0usize; LANES];
    for _ in 0..MAX_DEPTH {
        for (node, tree) in nodes.iter_mut().zip(trees) {
            let Node {
                cut, column, left, ..
            } = tree.nodes[*node];
            *node = usize::from(left) + usize::from(x[usize::from(column)] >= cut);
        }
    }
    let ends = nodes.iter().zip(trees);
    ends.map(|(node, tree)| tree.nodes[*node].path).sum()
}

/// A column in which the sample differs, and a cut within its range.
fn choose(sample: &[&[f32]], rng: &mut Rng) -> Option<(usize, f32)> {
    let n_columns = sample.first()?.len();
    for _ in 0..16 {
        let column = rng.below(n_columns);
        let (mut low, mut high) = (f32::MAX, f32::MIN);
        for row in sample {
            low = low.min(row[column]);
            high = high.max(row[column]);
        }
        let cut = low + (high - low) * rng.unit().max(1e-3);
        if cut > low && cut <= high {
            return Some((column, cut));
        }
    }
    None
}

/// Mean path of an unsuccessful search in a binary search tree of n (equation 1 of the paper).
fn mean_path(n: usize) -> f32 {
    if n < 2 {
        return 0.0;
    }
    let n = n as f32;
    2.0 * ((n - 1.0).ln() + 0.577_215_7) - 2.0 * (n - 1.0) / n
}

impl Model for IsolationForest {
    fn score(&mut self, x: &[f32]) -> f64 {
        if !self.is_ready() {
            return 0.0;
        }
        let sum: f32 = self.trees.chunks(LANES).map(|trees| paths(trees, x)).sum();
        f64::from((-(sum / self.trees.len() as f32) / mean_path(SAMPLE)).exp2())
    }

    fn learn(&mut self, x: &[f32]) {
        let at = (self.n_learned as usize % RESERVOIR) * self.n_columns;
        if self.reservoir.len() <= at {
            self.reservoir.extend_from_slice(x);
        } else {
            self.reservoir[at..at + self.n_columns].copy_from_slice(x);
        }
        self.n_learned += 1;
        if self.n_learned < SAMPLE as u64 {
            return;
        }
        if self.trees.is_empty() {
            self.trees = (0..TREES).map(|_| self.grow()).collect();
        } else if self.n_learned.is_multiple_of(PER_TREE) {
            self.trees[self.next_tree] = self.grow();
            self.next_tree = (self.next_tree + 1) % TREES;
        }
    }

    fn is_ready(&self) -> bool {
        !self.trees.is_empty()
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn the_mean_path_length_is_that_of_the_paper() {
        assert!((mean_path(256) - 10.244).abs() < 0.01);
        assert!(mean_path(1).abs() < 1e-6);
    }
}
