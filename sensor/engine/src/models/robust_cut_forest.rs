//! Robust random cut forest (Guha, Mishra, Roy and Schrijvers 2016): how much of a tree a vector
//! would displace.

use serde::{Deserialize, Serialize};

use super::{Model, Rng};

/// Trees whose cuts fall on columns in proportion to their range, so that a column without
/// information costs nothing. Vectors come and go one by one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RobustCutForest {
    projection: Projection,
    trees: Vec<Tree>,
    rng: Rng,
    n_learned: u64,
    point: Point,
}

/// Columns that the trees work on.
const DIMENSIONS: usize = 16;
type Point = [f32; DIMENSIONS];

const TREES: usize = 12;
const SAMPLE: usize = 128;
/// A tree takes one of so many vectors, so that its sample spans that many times its size.
const ONE_OF: usize = 8;

/// A very sparse random projection (Li, Hastie and Church 2006): boxes of sixteen columns instead
/// of all keep a visit to a node cheap, distances stay nearly the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Projection(Vec<[(u8, f32); 6]>);

impl Projection {
    fn new(rng: &mut Rng, n_columns: usize) -> Self {
        // Every column takes its turn before any comes again.
        let mut turn: Vec<u8> = Vec::new();
        let mut next = |rng: &mut Rng| {
            if turn.is_empty() {
                turn = (0..n_columns).map(|column| column as u8).collect();
            }
            let place = rng.below(turn.len());
            let sign = if rng.next() & 1 == 0 { 0.5 } else { -0.5 };
            (turn.swap_remove(place), sign)
        };
        Self(
            (0..DIMENSIONS)
                .map(|_| std::array::from_fn(|_| next(rng)))
                .collect(),
        )
    }

    fn apply(&self, x: &[f32], point: &mut Point) {
        for (to, row) in point.iter_mut().zip(&self.0) {
            *to = row.iter().map(|(i, sign)| sign * x[usize::from(*i)]).sum();
        }
    }
}

const NONE: u16 = u16::MAX;

/// A leaf has no children; its box is its point.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Node {
    parent: u16,
    children: [u16; 2],
    mass: u16,
    column: u16,
    cut: f32,
    low: Point,
    high: Point,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Tree {
    nodes: Vec<Node>,
    free: Vec<u16>,
    root: u16,
    /// Leaves in the order of their vectors' arrival, a ring.
    order: Vec<u16>,
    oldest: usize,
}

impl Node {
    const fn leaf(point: &Point, parent: u16) -> Self {
        Self {
            parent,
            children: [NONE; 2],
            mass: 1,
            column: 0,
            cut: 0.0,
            low: *point,
            high: *point,
        }
    }

    const fn is_leaf(&self) -> bool {
        self.children[0] == NONE
    }

    /// Range of the box, and how far the point lies outside of it, summed over columns.
    fn ranges(&self, point: &Point) -> (f32, f32) {
        let (mut inside, mut outside) = ([0.0f32; DIMENSIONS], [0.0f32; DIMENSIONS]);
        for i in 0..DIMENSIONS {
            inside[i] = self.high[i] - self.low[i];
            let (below, above) = (self.low[i] - point[i], point[i] - self.high[i]);
            let beyond = if below > above { below } else { above };
            outside[i] = if beyond > 0.0 { beyond } else { 0.0 };
        }
        (inside.iter().sum(), outside.iter().sum())
    }

    fn stretch(&mut self, low: &Point, high: &Point) {
        for i in 0..DIMENSIONS {
            self.low[i] = self.low[i].min(low[i]);
            self.high[i] = self.high[i].max(high[i]);
        }
    }
}

impl Tree {
    fn new() -> Self {
        Self {
            nodes: Vec::with_capacity(2 * SAMPLE),
            free: Vec::new(),
            root: NONE,
            order: Vec::with_capacity(SAMPLE),
            oldest: 0,
        }
    }

    fn take(&mut self, point: &Point, rng: &mut Rng) {
        if self.order.len() < SAMPLE {
            let leaf = self.insert(point, rng);
            self.order.push(leaf);
            return;
        }
        self.remove(self.order[self.oldest]);
        self.order[self.oldest] = self.insert(point, rng);
        self.oldest = (self.oldest + 1) % SAMPLE;
    }

    fn node(&mut self, node: Node) -> u16 {
        if let Some(index) = self.free.pop() {
            self.nodes[usize::from(index)] = node;
            return index;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as u16
    }

    /// Algorithm 2 of the paper: at each node a random cut of the box stretched to the point; one
    /// that sets it apart makes its leaf there, any other leaves the node as it is.
    fn insert(&mut self, point: &Point, rng: &mut Rng) -> u16 {
        let mut at = self.root;
        if at == NONE {
            self.root = self.node(Node::leaf(point, NONE));
            return self.root;
        }
        loop {
            let node = self.nodes[usize::from(at)];
            if let Some((column, cut)) = separating_cut(&node, point, rng) {
                return self.graft(at, point, column, cut);
            }
            let place = &mut self.nodes[usize::from(at)];
            place.mass += 1;
            if node.is_leaf() {
                return at;
            }
            place.stretch(point, point);
            let side = point[usize::from(node.column)] > node.cut;
            at = node.children[usize::from(side)];
        }
    }

    /// Puts an inner node with a leaf for the point above a node.
    fn graft(&mut self, at: u16, point: &Point, column: usize, cut: f32) -> u16 {
        let below = self.nodes[usize::from(at)];
        let leaf = self.node(Node::leaf(point, NONE));
        let is_high = point[column] > cut;
        let mut inner = Node {
            parent: below.parent,
            children: if is_high { [at, leaf] } else { [leaf, at] },
            mass: below.mass + 1,
            column: column as u16,
            cut,
            ..below
        };
        inner.stretch(point, point);
        let inner = self.node(inner);
        self.nodes[usize::from(leaf)].parent = inner;
        self.nodes[usize::from(at)].parent = inner;
        self.replace_child(below.parent, at, inner);
        leaf
    }

    fn replace_child(&mut self, parent: u16, old: u16, new: u16) {
        if parent == NONE {
            self.root = new;
            return;
        }
        for child in &mut self.nodes[usize::from(parent)].children {
            if *child == old {
                *child = new;
            }
        }
    }

    /// Algorithm 1 of the paper.
    fn remove(&mut self, leaf: u16) {
        let Node { mass, parent, .. } = self.nodes[usize::from(leaf)];
        let mut at = parent;
        if mass > 1 {
            self.nodes[usize::from(leaf)].mass -= 1;
        } else {
            self.free.push(leaf);
            if parent == NONE {
                self.root = NONE;
                return;
            }
            let up = self.nodes[usize::from(parent)];
            let is_right = usize::from(up.children[0] == leaf);
            let sibling = up.children[is_right];
            self.nodes[usize::from(sibling)].parent = up.parent;
            self.replace_child(up.parent, parent, sibling);
            self.free.push(parent);
            at = up.parent;
        }
        let mut is_box_right = mass > 1;
        while at != NONE {
            let [left, right] = self.nodes[usize::from(at)].children;
            let (left, right) = (
                self.nodes[usize::from(left)],
                self.nodes[usize::from(right)],
            );
            let node = &mut self.nodes[usize::from(at)];
            node.mass -= 1;
            if !is_box_right {
                let before = (node.low, node.high);
                (node.low, node.high) = (left.low, left.high);
                node.stretch(&right.low, &right.high);
                is_box_right = before == (node.low, node.high);
            }
            at = node.parent;
        }
    }

    /// Expected share of the tree that the point would displace: at each node the probability that
    /// a cut sets it apart there, times the mass of what lies on the other side.
    fn displacement(&self, point: &Point) -> f32 {
        let Some(mut node) = self.nodes.get(usize::from(self.root)) else {
            return 0.0;
        };
        let whole = f32::from(node.mass);
        let (mut reach, mut sum) = (1.0f32, 0.0f32);
        loop {
            let (inside, outside) = node.ranges(point);
            let apart = if outside > 0.0 {
                outside / (inside + outside)
            } else {
                0.0
            };
            sum += reach * apart * f32::from(node.mass);
            reach *= 1.0 - apart;
            if node.is_leaf() || reach < 0.01 {
                return sum / whole;
            }
            let side = point[usize::from(node.column)] > node.cut;
            node = &self.nodes[usize::from(node.children[usize::from(side)])];
        }
    }
}

/// A random cut of the node's box stretched to the point, if it lies between both.
fn separating_cut(node: &Node, point: &Point, rng: &mut Rng) -> Option<(usize, f32)> {
    let (inside, outside) = node.ranges(point);
    let mut rest = rng.unit() * (inside + outside);
    if outside <= 0.0 {
        return None;
    }
    for (i, x) in point.iter().enumerate() {
        let (low, high) = (node.low[i].min(*x), node.high[i].max(*x));
        if rest < high - low {
            let cut = low + rest;
            let is_below = *x <= cut && cut < node.low[i];
            let is_above = node.high[i] <= cut && cut < *x;
            return (is_below || is_above).then_some((i, cut));
        }
        rest -= high - low;
    }
    None
}

impl RobustCutForest {
    pub fn new(seed: u64, n_columns: usize) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            projection: Projection::new(&mut rng, n_columns),
            trees: (0..TREES).map(|_| Tree::new()).collect(),
            rng,
            n_learned: 0,
            point: [0.0; DIMENSIONS],
        }
    }
}

impl Model for RobustCutForest {
    fn score(&mut self, x: &[f32]) -> f64 {
        if !self.is_ready() {
            return 0.0;
        }
        self.projection.apply(x, &mut self.point);
        let point = &self.point;
        let sum: f32 = self.trees.iter().map(|t| t.displacement(point)).sum();
        f64::from(sum / TREES as f32)
    }

    fn learn(&mut self, x: &[f32]) {
        self.projection.apply(x, &mut self.point);
        self.n_learned += 1;
        let is_filling = self.n_learned <= SAMPLE as u64;
        for tree in &mut self.trees {
            if is_filling || self.rng.below(ONE_OF) == 0 {
                tree.take(&self.point, &mut self.rng);
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.n_learned >= SAMPLE as u64 / 2
    }
}

#[cfg(test)]
impl RobustCutForest {
    /// Mean displacement of each probe over trees that held `before`, then `points` in its place.
    pub(super) fn mean_displacements(
        before: &[Point],
        points: &[Point],
        probes: &[Point],
        n_trees: usize,
    ) -> Vec<f64> {
        let mut rng = Rng::new(1);
        let mut means = vec![0.0; probes.len()];
        for _ in 0..n_trees {
            let mut tree = Tree::new();
            for point in before.iter().chain(points) {
                tree.take(point, &mut rng);
            }
            for (mean, probe) in means.iter_mut().zip(probes) {
                *mean += f64::from(tree.displacement(probe)) / n_trees as f64;
            }
        }
        means
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    /// Masses add up, boxes are those of the children, every leaf is reached by its own cuts.
    fn check(tree: &Tree, at: u16) -> u16 {
        let node = &tree.nodes[usize::from(at)];
        if node.is_leaf() {
            return node.mass;
        }
        let [left, right] = node.children;
        let mass = check(tree, left) + check(tree, right);
        assert_eq!(node.mass, mass);
        let (left, right) = (
            &tree.nodes[usize::from(left)],
            &tree.nodes[usize::from(right)],
        );
        let column = usize::from(node.column);
        assert!(left.high[column] <= node.cut && node.cut < right.low[column]);
        for i in 0..DIMENSIONS {
            assert!((node.low[i] - left.low[i].min(right.low[i])).abs() < 1e-6);
            assert!((node.high[i] - left.high[i].max(right.high[i])).abs() < 1e-6);
        }
        mass
    }

    #[test]
    fn tree_stays_sound_while_vectors_come_and_go() {
        let (mut rng, mut tree) = (Rng::new(5), Tree::new());
        for i in 0..1_000 {
            // Every third vector is one that was there before.
            let value = if i % 3 == 0 { 0.5 } else { rng.unit() };
            let point = std::array::from_fn(|j| if j % 2 == 0 { value } else { 0.0 });
            tree.take(&point, &mut rng);
            let mass = check(&tree, tree.root);
            assert_eq!(usize::from(mass), tree.order.len());
        }
        assert!(tree.nodes.len() <= 2 * SAMPLE + 1);
    }

    #[test]
    fn an_outlier_has_the_greatest_displacement() {
        let (mut rng, mut tree) = (Rng::new(5), Tree::new());
        for _ in 0..100 {
            tree.take(&std::array::from_fn(|_| rng.unit()), &mut rng.clone());
        }
        let inside = tree.displacement(&[0.5; DIMENSIONS]);
        let outside = tree.displacement(&[100.0; DIMENSIONS]);
        assert!(outside > 0.98 && inside < 0.2, "{inside} {outside}");
    }
}
