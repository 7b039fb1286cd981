//! Growing boosted trees from labelled windows.
//!
//! Columns are cut into bins by their quantiles, and splits are sought between bins (LightGBM, Ke et al. 2017).
//! Sums run in the order of the rows, and chance has a seed: equal rows give equal trees bit for bit.

use super::{Boosted, BoostedAbout, Calibration, LEAF, MAX_DEPTH, MAX_NODES, MAX_TREES};
use crate::features::N_PAIR_FEATURES;
use crate::models::Rng;

/// One labelled window.
#[derive(Clone, Debug, PartialEq)]
pub struct BoostedRow {
    pub values: [f32; N_PAIR_FEATURES],
    pub is_attack: bool,
    pub weight: f32,
}

/// Parameters of growing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Boosting {
    pub n_trees: usize,
    pub max_depth: usize,
    /// Part of each tree's answer that is added.
    pub rate: f32,
    /// Regularisation of leaves, and the least sum of second derivatives in one.
    pub lambda: f64,
    pub least_weight: f64,
    /// Share of the columns that a tree may use.
    pub columns: f32,
    pub seed: u64,
}

impl Default for Boosting {
    fn default() -> Self {
        Self {
            n_trees: 200,
            max_depth: 5,
            rate: 0.08,
            lambda: 4.0,
            least_weight: 2.0,
            columns: 0.5,
            seed: 1,
        }
    }
}

/// Bins of a column.
const MAX_BINS: usize = 48;

/// Rows by column and bin.
struct Binned {
    /// Greatest value of each bin but the last, by column.
    edges: Vec<Vec<f32>>,
    bins: Vec<[u8; N_PAIR_FEATURES]>,
}

impl Binned {
    fn of(rows: &[BoostedRow]) -> Self {
        let edges: Vec<Vec<f32>> = (0..N_PAIR_FEATURES).map(|c| edges(rows, c)).collect();
        let bins = rows.iter().map(|row| {
            std::array::from_fn(|c| edges[c].partition_point(|edge| *edge < row.values[c]) as u8)
        });
        Self {
            bins: bins.collect(),
            edges,
        }
    }
}

/// Cuts of a column, between distinct values.
fn edges(rows: &[BoostedRow], column: usize) -> Vec<f32> {
    let mut values: Vec<f32> = rows.iter().map(|row| row.values[column]).collect();
    values.sort_unstable_by(f32::total_cmp);
    let n = values.len();
    let mut edges: Vec<f32> = Vec::new();
    for i in 1..MAX_BINS {
        let place = i * n / MAX_BINS;
        let Some(low) = values.get(place).copied() else {
            continue;
        };
        let next = values.partition_point(|value| *value <= low);
        let Some(high) = values.get(next) else {
            break;
        };
        let middle = low + (high - low) / 2.0;
        let edge = if middle < *high { middle } else { low };
        if edges.last().is_none_or(|last| *last < edge) {
            edges.push(edge);
        }
    }
    edges
}

/// First and second derivatives of the loss.
#[derive(Clone, Copy, Default)]
struct Slope {
    first: f64,
    second: f64,
}

impl Slope {
    fn add(&mut self, other: Self) {
        self.first += other.first;
        self.second += other.second;
    }

    fn without(self, other: Self) -> Self {
        Self {
            first: self.first - other.first,
            second: self.second - other.second,
        }
    }

    fn gain(self, lambda: f64) -> f64 {
        self.first * self.first / (self.second + lambda)
    }
}

struct Cut {
    gain: f64,
    column: usize,
    bin: u8,
}

struct Grower<'a> {
    plan: &'a Boosting,
    rows: &'a Binned,
    slopes: Vec<Slope>,
    sums: Vec<f64>,
    columns: Vec<usize>,
    model: Boosted,
}

impl Boosted {
    /// Grows trees. Rows of either label weigh the same together.
    pub fn grow(rows: &[BoostedRow], plan: &Boosting) -> Self {
        let binned = Binned::of(rows);
        let of = |is_attack: bool| -> f64 {
            let of_label = rows.iter().filter(|row| row.is_attack == is_attack);
            of_label.map(|row| f64::from(row.weight)).sum()
        };
        let (attack, benign) = (of(true).max(1e-9), of(false).max(1e-9));
        let mut grower = Grower {
            plan,
            rows: &binned,
            slopes: vec![Slope::default(); rows.len()],
            sums: vec![0.0; rows.len()],
            columns: Vec::new(),
            model: Self {
                roots: Vec::new(),
                column: Vec::new(),
                value: Vec::new(),
                right: Vec::new(),
                base: 0.0,
                scale: Calibration::default(),
                about: BoostedAbout {
                    seed: plan.seed,
                    n_rows: rows.len() as u64,
                    ..BoostedAbout::default()
                },
            },
        };
        let mut rng = Rng::new(plan.seed);
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        for _ in 0..plan.n_trees.min(MAX_TREES) {
            if grower.model.column.len() + (2 << plan.max_depth.min(MAX_DEPTH)) > MAX_NODES {
                break;
            }
            for (i, row) in rows.iter().enumerate() {
                let p = 1.0 / (1.0 + (-grower.sums[i]).exp());
                let (target, whole) = if row.is_attack {
                    (1.0, attack)
                } else {
                    (0.0, benign)
                };
                let weight = f64::from(row.weight) / whole * 1_000.0;
                grower.slopes[i] = Slope {
                    first: weight * (target - p),
                    second: weight * p * (1.0 - p),
                };
            }
            grower.draw(&mut rng);
            grower.model.roots.push(grower.model.column.len() as u32);
            order.sort_unstable();
            grower.branch(&mut order, 0);
        }
        grower.model
    }
}

impl Grower<'_> {
    fn draw(&mut self, rng: &mut Rng) {
        let mut all: Vec<usize> = (0..N_PAIR_FEATURES).collect();
        let n = (self.plan.columns * N_PAIR_FEATURES as f32).ceil() as usize;
        for i in 0..n.min(all.len()) {
            all.swap(i, i + rng.below(N_PAIR_FEATURES - i));
        }
        all.truncate(n.max(1));
        self.columns = all;
    }

    fn branch(&mut self, order: &mut [u32], depth: usize) {
        let mut whole = Slope::default();
        for row in &*order {
            whole.add(self.slopes[*row as usize]);
        }
        let may_split = depth < self.plan.max_depth.min(MAX_DEPTH);
        let cut = may_split.then(|| self.cut(order, whole)).flatten();
        let Some(cut) = cut else {
            self.leaf(order, whole);
            return;
        };
        let node = self.model.column.len();
        self.model.column.push(cut.column as u8);
        self.model
            .value
            .push(self.rows.edges[cut.column][usize::from(cut.bin)]);
        self.model.right.push(0);
        let n_left = self.partition(order, &cut);
        let (left, right) = order.split_at_mut(n_left);
        self.branch(left, depth + 1);
        self.model.right[node] = self.model.column.len() as u32;
        self.branch(right, depth + 1);
    }

    fn leaf(&mut self, order: &[u32], whole: Slope) {
        let answer = whole.first / (whole.second + self.plan.lambda);
        let answer = answer * f64::from(self.plan.rate);
        for row in order {
            self.sums[*row as usize] += answer;
        }
        self.model.column.push(LEAF);
        self.model.value.push(answer as f32);
        self.model.right.push(0);
    }

    fn cut(&self, order: &[u32], whole: Slope) -> Option<Cut> {
        let (plan, rows) = (self.plan, self.rows);
        let mut best: Option<Cut> = None;
        for column in &self.columns {
            let n_edges = rows.edges[*column].len();
            let mut sums = [Slope::default(); MAX_BINS];
            for row in order {
                let bin = rows.bins[*row as usize][*column];
                sums[usize::from(bin)].add(self.slopes[*row as usize]);
            }
            let mut left = Slope::default();
            for (bin, sum) in sums.iter().enumerate().take(n_edges) {
                left.add(*sum);
                let right = whole.without(left);
                if left.second < plan.least_weight || right.second < plan.least_weight {
                    continue;
                }
                let parts = left.gain(plan.lambda) + right.gain(plan.lambda);
                let gain = parts - whole.gain(plan.lambda);
                if gain > best.as_ref().map_or(1e-6, |best| best.gain) {
                    best = Some(Cut {
                        gain,
                        column: *column,
                        bin: bin as u8,
                    });
                }
            }
        }
        best
    }

    /// Puts the rows of the left side first, in their order, and says how many they are.
    fn partition(&self, order: &mut [u32], cut: &Cut) -> usize {
        let is_left = |row: &u32| self.rows.bins[*row as usize][cut.column] <= cut.bin;
        let (left, right): (Vec<u32>, Vec<u32>) = order.iter().partition(|row| is_left(row));
        let n_left = left.len();
        for (place, row) in order.iter_mut().zip(left.into_iter().chain(right)) {
            *place = row;
        }
        n_left
    }
}

const _: () = assert!(N_PAIR_FEATURES < LEAF as usize);
