//! Arithmetic of the layers. Plain loops over fixed arrays, which the compiler makes vectors of; no
//! platform's mathematics library, so that results are the same everywhere.

/// Outputs that are summed up side by side.
const LANES: usize = 16;
/// Rows that share a load of the weights.
const ROWS: usize = 2;

/// Weights of a dense layer, sixteen outputs beside each other.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    n_in: usize,
    n_out: usize,
    /// By panel of sixteen outputs, then by input.
    weights: Vec<[f32; LANES]>,
    /// By panel.
    bias: Vec<[f32; LANES]>,
}

impl Dense {
    /// Packs weights that `at` gives by output and input.
    pub(crate) fn new(
        n_in: usize,
        n_out: usize,
        at: impl Fn(usize, usize) -> f32,
        bias: impl Fn(usize) -> f32,
    ) -> Self {
        let n_panels = n_out.div_ceil(LANES);
        let mut weights = Vec::with_capacity(n_panels * n_in);
        let mut biases = Vec::with_capacity(n_panels);
        for panel in 0..n_panels {
            let lane = |lane: usize| Some(panel * LANES + lane).filter(|out| *out < n_out);
            for i in 0..n_in {
                weights.push(std::array::from_fn(|l| {
                    lane(l).map_or(0.0, |out| at(out, i))
                }));
            }
            biases.push(std::array::from_fn(|l| lane(l).map_or(0.0, &bias)));
        }
        Self {
            n_in,
            n_out,
            weights,
            bias: biases,
        }
    }

    pub(crate) const fn n_in(&self) -> usize {
        self.n_in
    }

    pub(crate) const fn n_out(&self) -> usize {
        self.n_out
    }

    /// Multiplies rows of `x`, each `step` behind the one before, as many as `out` has room for. A row's sums
    /// are taken in the order of its inputs, whatever stands beside it.
    pub(crate) fn run(&self, x: &[f32], step: usize, out: &mut [f32]) {
        if self.n_out == 0 || self.n_in == 0 {
            return;
        }
        let row = |n: usize| {
            let start = n.saturating_mul(step);
            x.get(start..start.saturating_add(self.n_in)).unwrap_or(&[])
        };
        let mut n = 0;
        let mut blocks = out.chunks_exact_mut(ROWS * self.n_out);
        for block in &mut blocks {
            self.block([row(n), row(n + 1)], block);
            n += ROWS;
        }
        for rest in blocks.into_remainder().chunks_exact_mut(self.n_out) {
            self.block([row(n)], rest);
            n += 1;
        }
    }

    fn block<const N: usize>(&self, rows: [&[f32]; N], out: &mut [f32]) {
        let panels = self.weights.chunks_exact(self.n_in).zip(&self.bias);
        for (panel, (weights, bias)) in panels.enumerate() {
            let sums = sums(rows, weights, *bias);
            let from = panel * LANES;
            let n = LANES.min(self.n_out - from);
            for (out, sums) in out.chunks_exact_mut(self.n_out).zip(&sums) {
                let places = out.iter_mut().skip(from).take(n);
                places.zip(sums).for_each(|(out, sum)| *out = *sum);
            }
        }
    }
}

#[inline]
fn sums<const N: usize>(
    rows: [&[f32]; N],
    weights: &[[f32; LANES]],
    bias: [f32; LANES],
) -> [[f32; LANES]; N] {
    let mut sums = [bias; N];
    let mut inputs = rows.map(<[f32]>::iter);
    for weights in weights {
        for (sums, inputs) in sums.iter_mut().zip(&mut inputs) {
            let x = inputs.next().copied().unwrap_or(0.0);
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += x * weight;
            }
        }
    }
    sums
}

/// `e^x` to about one unit in the last place: Cephes' expf without a branch (Moshier 1992).
#[inline]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, which stands in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.3, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut y = 1.987_569_1e-4;
    y = y * r + 1.398_199_9e-3;
    y = y * r + 8.333_452e-3;
    y = y * r + 4.166_579_6e-2;
    y = y * r + 1.666_666_5e-1;
    y = y * r + 0.5;
    y = y * r * r + r + 1.0;
    let power = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127);
    y * f32::from_bits(power << 23)
}

#[inline]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline]
pub(crate) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

/// Softmax along dimension `n` of `[outer, n, inner]`.
pub(crate) fn softmax(x: &[f32], n: usize, inner: usize, out: &mut [f32]) {
    let (n, inner) = (n.max(1), inner.max(1));
    let groups = x.chunks_exact(n * inner);
    for (x, out) in groups.zip(out.chunks_exact_mut(n * inner)) {
        for column in 0..inner {
            let values = || x.iter().skip(column).step_by(inner);
            let top = values().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut whole = 0.0;
            let places = out.iter_mut().skip(column).step_by(inner);
            for (out, value) in places.zip(values()) {
                *out = exp(value - top);
                whole += *out;
            }
            let places = out.iter_mut().skip(column).step_by(inner);
            places.for_each(|out| *out /= whole);
        }
    }
}

/// Writes `[a, b]` as `[b, a]`.
pub(crate) fn turn(x: &[f32], a: usize, b: usize, out: &mut [f32]) {
    if a == 0 || b == 0 {
        return;
    }
    for (place, row) in x.chunks_exact(b).take(a).enumerate() {
        let places = out.iter_mut().skip(place).step_by(a);
        places.zip(row).for_each(|(out, value)| *out = *value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_to_the_last_digits() {
        for i in -8_700..8_800 {
            let x = i as f32 / 100.0;
            let wanted = f64::from(x).exp();
            let error = (f64::from(exp(x)) / wanted - 1.0).abs();
            assert!(error < 2.5e-7, "exp({x}) is off by {error:e}");
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 2.5e-7);
        }
        assert_eq!(exp(-1e30), exp(-87.3));
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(sigmoid(1e30), 1.0);
        assert!(sigmoid(-1e30) < 1e-37);
    }

    #[test]
    fn a_row_gives_the_same_alone_and_among_others() {
        let dense = Dense::new(
            5,
            11,
            |o, i| (o as f32 - 4.0) * 0.37 + i as f32 * 0.11,
            |o| o as f32,
        );
        let x: Vec<f32> = (0..7 * 5).map(|i| (i as f32 * 0.713).sin()).collect();
        let mut all = [0.0; 7 * 11];
        dense.run(&x, 5, &mut all);
        for (x, wanted) in x.chunks(5).zip(all.chunks(11)) {
            let mut one = [0.0; 11];
            dense.run(x, 5, &mut one);
            assert_eq!(one, wanted);
            let plain = 10.0
                + x.iter()
                    .enumerate()
                    .map(|(i, x)| x * (6.0 * 0.37 + i as f32 * 0.11))
                    .sum::<f32>();
            assert!((one[10] - plain).abs() < 1e-5);
        }
    }
}
