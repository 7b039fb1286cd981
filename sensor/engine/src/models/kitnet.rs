//! KitNET (Mirsky, Doitshman, Elovici and Shabtai 2018): an ensemble of small autoencoders, trained
//! online, and one over their errors.

use serde::{Deserialize, Serialize};

use super::{Model, Rng};

/// Correlated columns go to one autoencoder; what none of them can reproduce is odd.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KitNet {
    n_columns: usize,
    /// Vectors seen before the columns are grouped.
    first: Vec<f32>,
    /// Columns of each autoencoder.
    groups: Vec<Vec<u8>>,
    members: Vec<Autoencoder>,
    output: Option<Autoencoder>,
    /// Running mean error of each member.
    errors: Vec<f32>,
    n_trained: u64,
    rng: Rng,
    input: Vec<f32>,
    ratios: Vec<f32>,
}

/// Columns of one autoencoder, at most.
const GROUP: usize = 8;
const GROUPING: usize = 256;
/// Vectors trained before its scores count.
const WARM_UP: u64 = 256;
const RATE: f32 = 0.2;

impl KitNet {
    pub fn new(seed: u64, n_columns: usize) -> Self {
        Self {
            n_columns,
            first: Vec::with_capacity(GROUPING * n_columns),
            groups: Vec::new(),
            members: Vec::new(),
            output: None,
            errors: Vec::new(),
            n_trained: 0,
            rng: Rng::new(seed),
            input: vec![0.0; GROUP],
            ratios: Vec::new(),
        }
    }

    fn build(&mut self) {
        self.groups = group(&self.first, self.n_columns);
        self.members = self
            .groups
            .iter()
            .map(|columns| Autoencoder::new(columns.len(), &mut self.rng))
            .collect();
        let n = self.groups.len();
        self.output = Some(Autoencoder::new(n, &mut self.rng));
        self.errors = vec![0.3; n];
        self.ratios = vec![0.0; n.next_multiple_of(LANES)];
        let first = std::mem::take(&mut self.first);
        for x in first.chunks_exact(self.n_columns) {
            self.train(x);
        }
    }

    fn train(&mut self, x: &[f32]) {
        self.n_trained += 1;
        for (i, columns) in self.groups.iter().enumerate() {
            gather(&mut self.input, columns, x);
            let error = self.members[i].train(&self.input);
            let rate = (1.0 / self.n_trained as f32).max(0.002);
            self.ratios[i] = ratio(error, self.errors[i]);
            self.errors[i] += rate * (error - self.errors[i]);
        }
        if let Some(output) = &mut self.output {
            output.train(&self.ratios);
        }
    }
}

fn gather(input: &mut [f32], columns: &[u8], x: &[f32]) {
    input.fill(0.0);
    for (to, column) in input.iter_mut().zip(columns) {
        *to = x[usize::from(*column)] * 0.5;
    }
}

/// An error against the usual one, 0 where it is usual, to 1.
fn ratio(error: f32, usual: f32) -> f32 {
    2.0 * error / (error + usual.max(1e-3)) - 1.0
}

impl Model for KitNet {
    fn score(&mut self, x: &[f32]) -> f64 {
        if !self.is_ready() {
            return 0.0;
        }
        for (i, columns) in self.groups.iter().enumerate() {
            gather(&mut self.input, columns, x);
            let error = self.members[i].error(&self.input);
            self.ratios[i] = ratio(error, self.errors[i]);
        }
        // The paper takes the output layer's error alone. It has learned that errors rise and fall
        // together, so the rise of all of them would be lost.
        let n = self.errors.len().max(1) as f32;
        let rise = self.ratios.iter().sum::<f32>() / n;
        let output = self.output.as_mut();
        output.map_or(0.0, |output| f64::from(output.error(&self.ratios) + rise))
    }

    fn learn(&mut self, x: &[f32]) {
        if self.output.is_some() {
            self.train(x);
            return;
        }
        self.first.extend_from_slice(x);
        if self.first.len() >= GROUPING * self.n_columns {
            self.build();
        }
    }

    fn is_ready(&self) -> bool {
        self.n_trained >= WARM_UP
    }
}

/// Groups columns by correlation: the closest pairs first, no group above [`GROUP`] (the paper cuts
/// a dendrogram of the same distances at that size).
fn group(rows: &[f32], n_columns: usize) -> Vec<Vec<u8>> {
    let correlations = correlations(rows, n_columns);
    let mut pairs: Vec<(usize, usize)> = (0..n_columns)
        .flat_map(|a| (a + 1..n_columns).map(move |b| (a, b)))
        .collect();
    let strength = |(a, b): &(usize, usize)| correlations[a * n_columns + b];
    pairs.sort_by(|x, y| strength(y).total_cmp(&strength(x)));
    let mut group_of: Vec<usize> = (0..n_columns).collect();
    let mut sizes = vec![1; n_columns];
    for (a, b) in pairs {
        let (to, from) = (group_of[a], group_of[b]);
        if to != from && sizes[to] + sizes[from] <= GROUP {
            sizes[to] += sizes[from];
            sizes[from] = 0;
            for group in group_of.iter_mut().filter(|group| **group == from) {
                *group = to;
            }
        }
    }
    let members = |group: usize| {
        let columns = (0..n_columns).filter(|column| group_of[*column] == group);
        columns.map(|column| column as u8).collect()
    };
    (0..n_columns)
        .filter(|group| sizes[*group] > 0)
        .map(members)
        .collect()
}

/// Absolute correlation of every two columns.
fn correlations(rows: &[f32], n: usize) -> Vec<f32> {
    let n_rows = (rows.len() / n.max(1)).max(1) as f32;
    let mut mean = vec![0.0f32; n];
    for row in rows.chunks_exact(n) {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += x / n_rows);
    }
    let mut products = vec![0.0f32; n * n];
    for row in rows.chunks_exact(n) {
        for a in 0..n {
            let d = row[a] - mean[a];
            let to = products[a * n..(a + 1) * n].iter_mut();
            for (sum, (x, m)) in to.zip(row.iter().zip(&mean)) {
                *sum += d * (x - m);
            }
        }
    }
    let variance: Vec<f32> = (0..n).map(|a| products[a * n + a].max(1e-6)).collect();
    for a in 0..n {
        for b in 0..n {
            products[a * n + b] = (products[a * n + b] / (variance[a] * variance[b]).sqrt()).abs();
        }
    }
    products
}

const LANES: usize = 8;

/// One hidden layer with tied weights. The squashing function is Elliott's x / (1 + |x|), which
/// needs no exponential; the output is linear.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Autoencoder {
    /// Inputs, and rounded up to lanes; the rest is 0.
    n: usize,
    n_padded: usize,
    /// A row of inputs for each hidden unit.
    weights: Vec<f32>,
    hidden_bias: Vec<f32>,
    output_bias: Vec<f32>,
    hidden: Vec<f32>,
    slope: Vec<f32>,
    output: Vec<f32>,
}

impl Autoencoder {
    fn new(n: usize, rng: &mut Rng) -> Self {
        let n_padded = n.next_multiple_of(LANES);
        // The paper's three quarters let a lone odd column through.
        let n_hidden = (n * 2).div_ceil(5).max(1);
        let reach = 1.0 / (n as f32).sqrt();
        let mut weights = vec![0.0; n_hidden * n_padded];
        for row in weights.chunks_exact_mut(n_padded) {
            for weight in row.iter_mut().take(n) {
                *weight = reach * (2.0 * rng.unit() - 1.0);
            }
        }
        Self {
            n,
            n_padded,
            weights,
            hidden_bias: vec![0.0; n_hidden],
            output_bias: vec![0.0; n_padded],
            hidden: vec![0.0; n_hidden],
            slope: vec![0.0; n_hidden],
            output: vec![0.0; n_padded],
        }
    }

    /// Root mean square of what it can't reproduce.
    fn error(&mut self, x: &[f32]) -> f32 {
        self.output.copy_from_slice(&self.output_bias);
        let units = self.hidden.iter_mut().zip(&mut self.slope);
        let rows = self.weights.chunks_exact(self.n_padded);
        for ((hidden, slope), (row, bias)) in units.zip(rows.zip(&self.hidden_bias)) {
            let sum = bias + dot(row, x);
            let scale = 1.0 / (1.0 + sum.abs());
            *hidden = sum * scale;
            *slope = scale * scale;
            add(&mut self.output, row, *hidden);
        }
        let pairs = self.output.iter().zip(x).take(self.n);
        let square: f32 = pairs.map(|(z, x)| (x - z) * (x - z)).sum();
        (square / self.n as f32).sqrt()
    }

    /// One step of gradient descent; the error before it.
    fn train(&mut self, x: &[f32]) -> f32 {
        let error = self.error(x);
        // From here on `output` is what was missing.
        for (z, x) in self.output.iter_mut().zip(x).take(self.n) {
            *z = x - *z;
        }
        // Steps are bounded: one vector far out moves no weight far.
        let rate = RATE / (1.0 + 4.0 * error);
        let units = self.hidden.iter().zip(&self.slope);
        let rows = self.weights.chunks_exact_mut(self.n_padded);
        for ((hidden, slope), (row, bias)) in units.zip(rows.zip(&mut self.hidden_bias)) {
            let back = rate * slope * dot(row, &self.output);
            add(row, x, back);
            add(row, &self.output, rate * hidden);
            *bias += back;
        }
        add(&mut self.output_bias, &self.output, rate);
        error
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum()
}

fn add(to: &mut [f32], from: &[f32], factor: f32) {
    for (to, from) in to.chunks_exact_mut(LANES).zip(from.chunks_exact(LANES)) {
        for i in 0..LANES {
            to[i] += factor * from[i];
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::models::reference::{normal, recorded};

    #[test]
    fn correlations_equal_those_of_numpy() {
        let mut rng = Rng::new(14);
        let rows: Vec<f32> = (0..256).flat_map(|_| normal(&mut rng)).collect();
        let found = correlations(&rows, 16);
        for (found, expected) in found.iter().zip(recorded("kitnet.correlations")) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-4,
                "{found} {expected}"
            );
        }
    }

    const N: usize = 5;

    /// Half the squared error, whose gradient a step follows.
    fn loss(member: &Autoencoder, x: &[f32]) -> f64 {
        let error = f64::from(member.clone().error(x));
        0.5 * error * error * N as f64
    }

    /// Weights, then biases of the hidden units, then those of the output.
    fn parameter(member: &mut Autoencoder, i: usize) -> &mut f32 {
        let n_hidden = member.hidden_bias.len();
        let n_weights = n_hidden * N;
        if i < n_weights {
            &mut member.weights[i / N * member.n_padded + i % N]
        } else if i < n_weights + n_hidden {
            &mut member.hidden_bias[i - n_weights]
        } else {
            &mut member.output_bias[i - n_weights - n_hidden]
        }
    }

    #[test]
    fn a_step_of_training_follows_the_gradient() {
        const STEP: f32 = 1e-2;
        let mut rng = Rng::new(3);
        let mut before = Autoencoder::new(N, &mut rng);
        let mut x = [0.0; LANES];
        x.iter_mut().take(N).for_each(|x| *x = rng.unit() - 0.5);
        let mut after = before.clone();
        let error = after.train(&x);
        let rate = f64::from(RATE / (1.0 + 4.0 * error));
        let n_hidden = before.hidden_bias.len();
        for i in 0..n_hidden * N + n_hidden + N {
            let shifted = |by: f32| {
                let mut member = before.clone();
                *parameter(&mut member, i) += by;
                loss(&member, &x)
            };
            let gradient = (shifted(STEP) - shifted(-STEP)) / f64::from(2.0 * STEP);
            let moved = *parameter(&mut after, i) - *parameter(&mut before, i);
            let expected = -rate * gradient;
            assert!(
                (f64::from(moved) - expected).abs() < 1e-4,
                "parameter {i}: {moved} instead of {expected}"
            );
        }
    }
}
