//! Growing a forest from labelled vectors.
//!
//! Trees are CART (Breiman et al. 1984) with Gini impurity. Nothing here depends on the order of a
//! hash table or on threads: equal rows and an equal seed give the same forest bit for bit.

use super::{Forest, Inputs, LEAF, MAX_CLASSES, MAX_DEPTH, MAX_NODES, MAX_TREES, N_INPUTS};
use crate::models::Rng;

/// One labelled vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub inputs: Inputs,
    /// Position among the forest's classes.
    pub class: u8,
    /// Number of the capture that it comes from.
    pub capture: u32,
}

impl Row {
    /// Position of the subject's kind in [`crate::Subject::LABELS`].
    pub fn kind(&self) -> u32 {
        self.inputs[N_INPUTS - 1] as u32
    }
}

/// Parameters of growing a forest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    pub n_trees: usize,
    /// Rows drawn for a tree, of each class.
    pub n_drawn: usize,
    /// Columns tried at each split.
    pub n_tried: usize,
    pub max_depth: usize,
    /// Rows of a leaf.
    pub least_rows: usize,
    pub seed: u64,
}

impl Default for Growth {
    fn default() -> Self {
        Self {
            n_trees: 96,
            n_drawn: 256,
            n_tried: 8,
            max_depth: 14,
            least_rows: 2,
            seed: 1,
        }
    }
}

/// Rows by class, then by capture and kind of subject: each class is drawn as often as each other,
/// and of a class each capture and kind, whatever their lengths.
struct Strata<'a>(Vec<Vec<Vec<&'a Row>>>);

impl<'a> Strata<'a> {
    fn of(rows: &'a [Row], n_classes: usize) -> Self {
        let mut classes = vec![Vec::new(); n_classes];
        // Where the rows of a class, capture and kind are.
        let mut places: Vec<Vec<(u32, u32)>> = vec![Vec::new(); n_classes];
        for row in rows {
            let class = usize::from(row.class);
            let (Some(strata), Some(known)) = (classes.get_mut(class), places.get_mut(class))
            else {
                continue;
            };
            let key = (row.capture, row.kind());
            let place = known.iter().position(|other| *other == key);
            let place = place.unwrap_or_else(|| {
                known.push(key);
                strata.push(Vec::new());
                known.len() - 1
            });
            strata[place].push(row);
        }
        Self(classes)
    }

    fn draw(&self, n_each: usize, rng: &mut Rng) -> Vec<&'a Row> {
        let mut drawn = Vec::new();
        for captures in self.0.iter().filter(|captures| !captures.is_empty()) {
            for _ in 0..n_each {
                let capture = captures.get(rng.below(captures.len()));
                drawn.extend(capture.and_then(|rows| rows.get(rng.below(rows.len()))));
            }
        }
        drawn
    }
}

impl Forest {
    /// Grows a forest; every class is named from a share of one half on. More trees, classes or
    /// depth than a forest may have are left out.
    pub fn grow(rows: &[Row], classes: &[String], growth: &Growth) -> Self {
        let classes: Vec<String> = classes.iter().take(MAX_CLASSES).cloned().collect();
        let strata = Strata::of(rows, classes.len());
        let mut forest = Self {
            thresholds: vec![0.5; classes.len()],
            classes,
            roots: Vec::new(),
            column: Vec::new(),
            split: Vec::new(),
            right: Vec::new(),
            votes: Vec::new(),
            about: super::About::default(),
        };
        for tree in 0..growth.n_trees.min(MAX_TREES) {
            // Each tree has chance of its own.
            let mut rng = Rng::new(growth.seed ^ (tree as u64).wrapping_mul(0x9e37_79b9));
            let mut drawn = strata.draw(growth.n_drawn, &mut rng);
            if drawn.is_empty() || forest.column.len() + 2 * drawn.len() > MAX_NODES {
                break;
            }
            forest.roots.push(forest.column.len() as u32);
            forest.branch(&mut drawn, 0, growth, &mut rng);
        }
        forest
    }

    /// Appends the subtree of some rows.
    fn branch(&mut self, rows: &mut [&Row], depth: usize, growth: &Growth, rng: &mut Rng) {
        let counts = Counts::of(rows);
        let may_split = depth < growth.max_depth.min(MAX_DEPTH)
            && rows.len() >= 2 * growth.least_rows.max(1)
            && !counts.is_pure();
        let cut = may_split.then(|| cut(rows, &counts, growth, rng)).flatten();
        let Some(cut) = cut else {
            self.leaf(&counts);
            return;
        };
        let node = self.column.len();
        self.column.push(cut.column as u8);
        self.split.push(cut.split);
        self.right.push(0);
        let n_left = partition(rows, &cut);
        let (left, right) = rows.split_at_mut(n_left);
        self.branch(left, depth + 1, growth, rng);
        let next = self.column.len() as u32;
        if let Some(link) = self.right.get_mut(node) {
            *link = next;
        }
        self.branch(right, depth + 1, growth, rng);
    }

    fn leaf(&mut self, counts: &Counts) {
        let first = self.votes.len() as u32;
        let n = counts.n.max(1);
        let votes = counts.by_class.iter().enumerate().filter_map(|(class, k)| {
            let part = (255 * k / n) as u8;
            (part > 0).then_some((class as u8, part))
        });
        self.votes.extend(votes);
        let n_votes = self.votes.len() - first as usize;
        self.column.push(LEAF + n_votes as u8);
        self.split.push(0.0);
        self.right.push(first);
    }
}

/// Rows of each class.
#[derive(Clone)]
struct Counts {
    by_class: [u32; MAX_CLASSES],
    n: u32,
}

impl Counts {
    const NONE: Self = Self {
        by_class: [0; MAX_CLASSES],
        n: 0,
    };

    fn of(rows: &[&Row]) -> Self {
        let mut counts = Self::NONE;
        for row in rows {
            counts.add(row.class);
        }
        counts
    }

    fn add(&mut self, class: u8) {
        if let Some(n) = self.by_class.get_mut(usize::from(class)) {
            *n += 1;
            self.n += 1;
        }
    }

    fn is_pure(&self) -> bool {
        self.by_class.contains(&self.n)
    }

    /// Sum of squares: what is not Gini impurity, times the number of rows squared.
    fn squares(&self) -> u64 {
        let square = |n: &u32| u64::from(*n) * u64::from(*n);
        self.by_class.iter().map(square).sum()
    }
}

struct Cut {
    column: usize,
    split: f32,
}

/// The best split of the columns tried; more are tried until one splits at all.
fn cut(rows: &[&Row], counts: &Counts, growth: &Growth, rng: &mut Rng) -> Option<Cut> {
    let mut order: [usize; N_INPUTS] = std::array::from_fn(|i| i);
    let mut best: Option<(f64, Cut)> = None;
    let mut values: Vec<(f32, u8)> = Vec::with_capacity(rows.len());
    for i in 0..N_INPUTS {
        if i >= growth.n_tried && best.is_some() {
            break;
        }
        order.swap(i, i + rng.below(N_INPUTS - i));
        let column = order[i];
        values.clear();
        values.extend(rows.iter().map(|row| (row.inputs[column], row.class)));
        values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        if let Some((purity, split)) = best_split(&values, counts, growth.least_rows)
            && best.as_ref().is_none_or(|(known, _)| purity > *known)
        {
            best = Some((purity, Cut { column, split }));
        }
    }
    best.map(|(_, cut)| cut)
}

/// Best split of sorted values, with the purity of both sides.
fn best_split(values: &[(f32, u8)], counts: &Counts, least_rows: usize) -> Option<(f64, f32)> {
    let (mut left, mut right) = (Counts::NONE, counts.clone());
    let mut squares = (0u64, counts.squares());
    let mut best: Option<(f64, f32)> = None;
    for pair in values.windows(2) {
        let [(value, class), (next, _)] = pair else {
            continue;
        };
        let class = usize::from(*class);
        // (n + 1)^2 - n^2 = 2n + 1
        squares.0 += 2 * u64::from(left.by_class[class]) + 1;
        squares.1 -= 2 * u64::from(right.by_class[class]) - 1;
        left.by_class[class] += 1;
        right.by_class[class] -= 1;
        (left.n, right.n) = (left.n + 1, right.n - 1);
        let is_enough = left.n as usize >= least_rows && right.n as usize >= least_rows;
        if next <= value || !is_enough {
            continue;
        }
        let purity = squares.0 as f64 / f64::from(left.n) + squares.1 as f64 / f64::from(right.n);
        if best.is_none_or(|(known, _)| purity > known) {
            let middle = value + (next - value) / 2.0;
            best = Some((purity, if middle < *next { middle } else { *value }));
        }
    }
    best
}

/// Puts the rows of the left side first and says how many they are.
fn partition(rows: &mut [&Row], cut: &Cut) -> usize {
    let mut n_left = 0;
    for i in 0..rows.len() {
        if rows[i].inputs[cut.column] <= cut.split {
            rows.swap(i, n_left);
            n_left += 1;
        }
    }
    n_left
}

/// A leaf's votes fit its byte.
const _: () = assert!(MAX_CLASSES < LEAF as usize);
const _: () = assert!(N_INPUTS < LEAF as usize);
