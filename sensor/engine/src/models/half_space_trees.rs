//! Half-space trees (Tan, Ting and Liu 2011): how full the region around a vector is.

use serde::{Deserialize, Serialize};

use super::{Model, Rng};

/// Trees of random halvings, drawn before any data; only masses are learned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HalfSpaceTrees {
    /// Inner nodes of all trees, breadth first: column and place of the halving.
    splits: Vec<(u8, f32)>,
    /// All nodes of all trees: vectors in the reference window and in the running one.
    masses: Vec<[u16; 2]>,
    n_window: u16,
    n_windows: u32,
}

const TREES: usize = 24;
const DEPTH: usize = 8;
/// Columns of one tree. With all of them a tree as shallow as this halves hardly any twice.
const COLUMNS: usize = 8;
const LANES: usize = 8;
/// Vectors of a window.
const WINDOW: u16 = 256;
/// A node with fewer reference vectors ends the descent (a tenth of the window in the paper).
const SIZE_LIMIT: u16 = 20;
const INNER: usize = (1 << DEPTH) - 1;
const NODES: usize = (1 << (DEPTH + 1)) - 1;

impl HalfSpaceTrees {
    pub fn new(seed: u64, n_columns: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mut splits = vec![(0, 0.0); TREES * INNER];
        for tree in splits.chunks_mut(INNER) {
            let mut column = || {
                let column = rng.below(n_columns) as u8;
                (column, work_range(&mut rng))
            };
            let ranges: Vec<Range> = (0..COLUMNS).map(|_| column()).collect();
            halve(tree, 0, ranges, &mut rng);
        }
        Self {
            splits,
            masses: vec![[0; 2]; TREES * NODES],
            n_window: 0,
            n_windows: 0,
        }
    }
}

/// The paper's work range is [0, 1] widened at random; ours is the common scale's ±4, of which most
/// vectors use the middle.
fn work_range(rng: &mut Rng) -> (f32, f32) {
    let middle = 4.0 * (rng.unit() - 0.5);
    let reach = 2.0 + middle.abs();
    (middle - reach, middle + reach)
}

/// A column and the part of it that a node covers.
type Range = (u8, (f32, f32));

fn halve(tree: &mut [(u8, f32)], node: usize, mut ranges: Vec<Range>, rng: &mut Rng) {
    let Some(split) = tree.get_mut(node) else {
        return;
    };
    let place = rng.below(ranges.len());
    let (column, (low, high)) = ranges[place];
    let middle = (low + high) / 2.0;
    *split = (column, middle);
    let mut left = ranges.clone();
    left[place].1.1 = middle;
    halve(tree, 2 * node + 1, left, rng);
    ranges[place].1.0 = middle;
    halve(tree, 2 * node + 2, ranges, rng);
}

impl HalfSpaceTrees {
    /// Mean over the trees of the logarithm of the mass where the descent ends, times 2 to the depth.
    /// The paper sums the masses themselves; their sum is that of the few densest trees, so that a
    /// vector that is odd in some columns is lost among the trees of the others.
    fn log_mass(&self, x: &[f32]) -> f32 {
        let mut sum = 0.0;
        let splits = self.splits.chunks_exact(LANES * INNER);
        for (splits, masses) in splits.zip(self.masses.chunks_exact(LANES * NODES)) {
            // Several trees at once: each step waits for memory, eight of them wait together.
            let mut nodes = [0usize; LANES];
            let mut ends = [(0usize, 0u16); LANES];
            let mut is_down = [true; LANES];
            for depth in 0..=DEPTH {
                for tree in 0..LANES {
                    let node = nodes[tree];
                    let mass = masses[tree * NODES + node][0];
                    if is_down[tree] {
                        ends[tree] = (depth, mass);
                    }
                    is_down[tree] &= mass > SIZE_LIMIT;
                    let (column, place) = splits[tree * INNER + node.min(INNER - 1)];
                    let side = usize::from(x[usize::from(column)] >= place);
                    nodes[tree] = (2 * node + 1 + side).min(NODES - 1);
                }
            }
            for (depth, mass) in ends {
                sum += (f32::from(mass) + 0.5).log2() + depth as f32;
            }
        }
        sum / TREES as f32
    }
}

impl Model for HalfSpaceTrees {
    fn score(&mut self, x: &[f32]) -> f64 {
        if !self.is_ready() {
            return 0.0;
        }
        DEPTH as f64 + f64::from(f32::from(WINDOW).log2() - self.log_mass(x))
    }

    fn learn(&mut self, x: &[f32]) {
        let trees = self.splits.chunks_exact(INNER);
        for (splits, masses) in trees.zip(self.masses.chunks_exact_mut(NODES)) {
            let mut node = 0;
            masses[node][1] += 1;
            while node < INNER {
                let (column, place) = splits[node];
                node = 2 * node + 1 + usize::from(x[usize::from(column)] >= place);
                masses[node][1] += 1;
            }
        }
        self.n_window += 1;
        if self.n_window >= WINDOW {
            self.n_window = 0;
            self.n_windows = self.n_windows.saturating_add(1);
            for mass in &mut self.masses {
                // The paper swaps windows; a mean with the older ones forgets less at once.
                let kept = if self.n_windows == 1 {
                    mass[1]
                } else {
                    mass[0]
                };
                *mass = [(kept + mass[1]).div_ceil(2), 0];
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.n_windows > 0
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::models::reference::{normal, outlier};

    /// Vectors of a window in the region of a node, counted one by one: those that take each turn on
    /// the way from the root.
    fn count(splits: &[(u8, f32)], node: usize, window: &[[f32; 16]]) -> usize {
        let mut turns = Vec::new();
        let mut at = node;
        while at > 0 {
            let parent = (at - 1) / 2;
            turns.push((splits[parent], at == 2 * parent + 2));
            at = parent;
        }
        let is_in = |x: &&[f32; 16]| {
            let mut turns = turns.iter();
            turns.all(|((column, place), is_high)| (x[usize::from(*column)] >= *place) == *is_high)
        };
        window.iter().filter(is_in).count()
    }

    #[test]
    fn masses_and_scores_follow_from_their_definition() {
        let mut rng = Rng::new(21);
        let window: Vec<[f32; 16]> = (0..WINDOW).map(|_| normal(&mut rng)).collect();
        let mut trees = HalfSpaceTrees::new(4, 16);
        window.iter().for_each(|x| trees.learn(x));
        for (n, masses) in trees.masses.chunks_exact(NODES).enumerate() {
            let splits = &trees.splits[n * INNER..(n + 1) * INNER];
            for node in (0..NODES).step_by(7) {
                let expected = count(splits, node, &window);
                assert_eq!(usize::from(masses[node][0]), expected, "node {node}");
            }
        }
        for x in [normal(&mut rng), outlier(&mut rng)] {
            let mut sum = 0.0;
            for (n, masses) in trees.masses.chunks_exact(NODES).enumerate() {
                let (mut node, mut depth) = (0, 0);
                while masses[node][0] > SIZE_LIMIT && node < INNER {
                    let (column, place) = trees.splits[n * INNER + node];
                    node = 2 * node + 1 + usize::from(x[usize::from(column)] >= place);
                    depth += 1;
                }
                sum += (f64::from(masses[node][0]) + 0.5).log2() + f64::from(depth);
            }
            let expected = DEPTH as f64 + f64::from(WINDOW).log2() - sum / TREES as f64;
            let found = trees.score(&x);
            assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        }
    }
}
