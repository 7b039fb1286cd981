//! Steps of a plan that runs: from buffers to buffers, all of them made before.

use crate::kernel::{self, Dense, exp, sigmoid, tanh};

/// Place of a buffer in a plan.
pub(crate) type Buffer = usize;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unary {
    Relu,
    LeakyRelu(f32),
    Elu(f32),
    Sigmoid,
    HardSigmoid(f32, f32),
    Tanh,
    Softplus,
    Exp,
    Log,
    Sqrt,
    Negate,
    Absolute,
    Reciprocal,
    Clip(f32, f32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
    Greater,
    Lesser,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    Mean,
    Sum,
    Max,
    Min,
}

/// A side of a binary step: the buffer, and for each result its place there where shapes differ.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) from: Buffer,
    pub(crate) index: Option<Vec<u32>>,
}

/// A convolution over the last dimension.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    pub(crate) from: Buffer,
    pub(crate) dense: Dense,
    /// Inputs' channels and length, outputs' length.
    pub(crate) channels: usize,
    pub(crate) length: usize,
    pub(crate) out_length: usize,
    pub(crate) pad: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) taps: usize,
    /// One sample by position and channel, padded; its windows where they have gaps; its results.
    pub(crate) turned: Buffer,
    pub(crate) windows: Option<Buffer>,
    pub(crate) results: Buffer,
}

/// Pooling over the last dimension.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) from: Buffer,
    pub(crate) fold: Fold,
    pub(crate) length: usize,
    pub(crate) out_length: usize,
    pub(crate) pad: usize,
    pub(crate) stride: usize,
    pub(crate) taps: usize,
    /// Means are over the window's length, with what was padded.
    pub(crate) counts_pad: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Lstm,
    /// Gated by the reset after the product with the state, as PyTorch and Keras do by default.
    GruResetAfter,
    GruResetBefore,
}

/// One direction of a recurrent layer, over `[steps, rows, inputs]`.
#[derive(Clone, Debug)]
pub(crate) struct Recurrent {
    pub(crate) cell: Cell,
    pub(crate) from: Buffer,
    pub(crate) steps: usize,
    pub(crate) rows: usize,
    pub(crate) hidden: usize,
    pub(crate) is_backward: bool,
    /// Gates from the inputs, and from the state.
    pub(crate) inputs: Dense,
    pub(crate) state: Dense,
    /// The candidate from the gated state, for [`Cell::GruResetBefore`].
    pub(crate) candidate: Option<Dense>,
    /// State and cell at the start, where they are not zero.
    pub(crate) first: [Option<Buffer>; 2],
    pub(crate) scratch: [Buffer; 4],
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Unary(Unary, Buffer),
    Binary(Binary, Side, Side),
    Pick(Buffer, Vec<u32>),
    /// Chunks of each part by turns.
    Join(Vec<(Buffer, usize)>),
    /// Each result is of that many neighbours.
    Fold(Fold, Buffer, usize),
    Softmax {
        from: Buffer,
        n: usize,
        inner: usize,
    },
    Dense(Buffer, Dense),
    /// Of rows with rows, both live: `[n, k] x [k, m]` by group.
    Product {
        sides: [Buffer; 2],
        n: usize,
        k: usize,
        m: usize,
    },
    /// `x * scale + shift` by channel of `[rows, channels, inner]`.
    Scale {
        from: Buffer,
        by: Vec<[f32; 2]>,
        inner: usize,
    },
    Conv(Box<Conv>),
    Pool(Pool),
    Recurrent(Box<Recurrent>),
}

/// Buffers of a plan.
pub(crate) type Buffers = Vec<Vec<f32>>;

fn of(buffers: &Buffers, buffer: Buffer) -> &[f32] {
    buffers.get(buffer).map_or(&[], Vec::as_slice)
}

fn take(buffers: &mut Buffers, buffer: Buffer) -> Vec<f32> {
    buffers
        .get_mut(buffer)
        .map_or_else(Vec::new, std::mem::take)
}

fn put(buffers: &mut Buffers, buffer: Buffer, values: Vec<f32>) {
    if let Some(place) = buffers.get_mut(buffer) {
        *place = values;
    }
}

impl Step {
    /// Runs it, into a buffer of its own.
    pub(crate) fn run(&self, to: Buffer, buffers: &mut Buffers) {
        // Taken out and put back, so that the others can be read meanwhile.
        let mut out = take(buffers, to);
        match self {
            Self::Unary(kind, from) => kind.run(of(buffers, *from), &mut out),
            Self::Binary(kind, a, b) => kind.run(a, b, buffers, &mut out),
            Self::Pick(from, index) => pick(of(buffers, *from), index, &mut out),
            Self::Join(parts) => join(parts, buffers, &mut out),
            Self::Fold(kind, from, n) => {
                let groups = of(buffers, *from).chunks_exact((*n).max(1));
                out.iter_mut()
                    .zip(groups)
                    .for_each(|(out, group)| *out = kind.of(group, group.len()));
            }
            Self::Softmax { from, n, inner } => {
                kernel::softmax(of(buffers, *from), *n, *inner, &mut out);
            }
            Self::Dense(from, dense) => dense.run(of(buffers, *from), dense.n_in(), &mut out),
            Self::Product {
                sides: [a, b],
                n,
                k,
                m,
            } => product(of(buffers, *a), of(buffers, *b), [*n, *k, *m], &mut out),
            Self::Scale { from, by, inner } => {
                let rows = of(buffers, *from).chunks_exact((*inner).max(1));
                let outs = out.chunks_exact_mut((*inner).max(1));
                for ((row, out), [scale, shift]) in rows.zip(outs).zip(by.iter().cycle()) {
                    let places = out.iter_mut().zip(row);
                    places.for_each(|(out, x)| *out = x * scale + shift);
                }
            }
            Self::Conv(conv) => conv.run(buffers, &mut out),
            Self::Pool(pool) => pool.run(of(buffers, pool.from), &mut out),
            Self::Recurrent(layer) => layer.run(buffers, &mut out),
        }
        put(buffers, to, out);
    }
}

impl Unary {
    fn run(self, x: &[f32], out: &mut [f32]) {
        fn each(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32) {
            out.iter_mut().zip(x).for_each(|(out, x)| *out = f(*x));
        }
        match self {
            Self::Relu => each(x, out, |x| if x > 0.0 { x } else { 0.0 }),
            Self::LeakyRelu(slope) => each(x, out, |x| if x >= 0.0 { x } else { slope * x }),
            Self::Elu(a) => each(x, out, |x| if x >= 0.0 { x } else { a * (exp(x) - 1.0) }),
            Self::Sigmoid => each(x, out, sigmoid),
            Self::HardSigmoid(a, b) => each(x, out, |x| (a * x + b).clamp(0.0, 1.0)),
            Self::Tanh => each(x, out, tanh),
            // ln(1 + e^x), without overflow.
            Self::Softplus => each(x, out, |x| x.max(0.0) + exp(-x.abs()).ln_1p()),
            Self::Exp => each(x, out, exp),
            Self::Log => each(x, out, f32::ln),
            Self::Sqrt => each(x, out, f32::sqrt),
            Self::Negate => each(x, out, |x| -x),
            Self::Absolute => each(x, out, f32::abs),
            Self::Reciprocal => each(x, out, f32::recip),
            Self::Clip(low, high) => each(x, out, |x| x.max(low).min(high)),
        }
    }
}

impl Binary {
    pub(crate) fn of(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            // A square is the power that networks take.
            Self::Power if b == 2.0 => a * a,
            Self::Power => a.powf(b),
            Self::Greater => a.max(b),
            Self::Lesser => a.min(b),
        }
    }

    fn run(self, a: &Side, b: &Side, buffers: &Buffers, out: &mut [f32]) {
        let (x, y) = (of(buffers, a.from), of(buffers, b.from));
        let at = |values: &[f32], place: u32| values.get(place as usize).copied().unwrap_or(0.0);
        match (&a.index, &b.index) {
            (None, None) => {
                let places = out.iter_mut().zip(x).zip(y);
                places.for_each(|((out, x), y)| *out = self.of(*x, *y));
            }
            (None, Some(index)) => {
                let places = out.iter_mut().zip(x).zip(index);
                places.for_each(|((out, x), i)| *out = self.of(*x, at(y, *i)));
            }
            (Some(index), None) => {
                let places = out.iter_mut().zip(index).zip(y);
                places.for_each(|((out, i), y)| *out = self.of(at(x, *i), *y));
            }
            (Some(first), Some(second)) => {
                let places = out.iter_mut().zip(first).zip(second);
                places.for_each(|((out, i), j)| *out = self.of(at(x, *i), at(y, *j)));
            }
        }
    }
}

impl Fold {
    pub(crate) fn of(self, group: &[f32], n: usize) -> f32 {
        match self {
            Self::Mean => group.iter().sum::<f32>() / n.max(1) as f32,
            Self::Sum => group.iter().sum(),
            Self::Max => group.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            Self::Min => group.iter().copied().fold(f32::INFINITY, f32::min),
        }
    }
}

fn pick(x: &[f32], index: &[u32], out: &mut [f32]) {
    for (out, place) in out.iter_mut().zip(index) {
        *out = x.get(*place as usize).copied().unwrap_or(0.0);
    }
}

fn join(parts: &[(Buffer, usize)], buffers: &Buffers, out: &mut [f32]) {
    let width: usize = parts.iter().map(|(_, n)| *n).sum();
    for (turn, row) in out.chunks_exact_mut(width.max(1)).enumerate() {
        let mut rest = row;
        for (part, n) in parts {
            let Some((place, after)) = rest.split_at_mut_checked(*n) else {
                return;
            };
            if let Some(values) = of(buffers, *part).get(turn * n..(turn + 1) * n) {
                place.copy_from_slice(values);
            }
            rest = after;
        }
    }
}

fn product(a: &[f32], b: &[f32], [n, k, m]: [usize; 3], out: &mut [f32]) {
    out.fill(0.0);
    if n * k * m == 0 {
        return;
    }
    let groups = a.chunks_exact(n * k).zip(b.chunks_exact(k * m));
    for (out, (a, b)) in out.chunks_exact_mut(n * m).zip(groups) {
        for (out, row) in out.chunks_exact_mut(m).zip(a.chunks_exact(k)) {
            for (x, column) in row.iter().zip(b.chunks_exact(m)) {
                let places = out.iter_mut().zip(column);
                places.for_each(|(out, y)| *out += x * y);
            }
        }
    }
}

impl Conv {
    fn run(&self, buffers: &mut Buffers, out: &mut [f32]) {
        let mut turned = take(buffers, self.turned);
        let mut results = take(buffers, self.results);
        let mut windows = self.windows.map(|windows| take(buffers, windows));
        let (c, n_out) = (self.channels, self.dense.n_out());
        // The padding stays zero.
        let inside = self.pad * c..(self.pad + self.length) * c;
        let samples = of(buffers, self.from).chunks_exact((c * self.length).max(1));
        for (sample, out) in samples.zip(out.chunks_exact_mut((n_out * self.out_length).max(1))) {
            let Some(place) = turned.get_mut(inside.clone()) else {
                break;
            };
            kernel::turn(sample, c, self.length, place);
            match &mut windows {
                None => self.dense.run(&turned, self.stride * c, &mut results),
                Some(windows) => {
                    self.spread(&turned, windows);
                    self.dense.run(windows, self.taps * c, &mut results);
                }
            }
            kernel::turn(&results, self.out_length, n_out, out);
        }
        put(buffers, self.turned, turned);
        put(buffers, self.results, results);
        if let (Some(place), Some(windows)) = (self.windows, windows) {
            put(buffers, place, windows);
        }
    }

    /// Gathers windows whose taps are apart.
    fn spread(&self, turned: &[f32], windows: &mut [f32]) {
        let c = self.channels.max(1);
        for (place, tap) in windows.chunks_exact_mut(c).enumerate() {
            let (position, k) = (place / self.taps, place % self.taps);
            let from = (position * self.stride + k * self.dilation) * c;
            if let Some(values) = turned.get(from..from + c) {
                tap.copy_from_slice(values);
            }
        }
    }
}

impl Pool {
    fn run(&self, x: &[f32], out: &mut [f32]) {
        let rows = x.chunks_exact(self.length.max(1));
        for (row, out) in rows.zip(out.chunks_exact_mut(self.out_length.max(1))) {
            for (place, out) in out.iter_mut().enumerate() {
                let from = place * self.stride;
                let to = (from + self.taps).saturating_sub(self.pad).min(self.length);
                let from = from.saturating_sub(self.pad).min(to);
                let window = row.get(from..to).unwrap_or(&[]);
                let n = if self.counts_pad {
                    self.taps
                } else {
                    window.len()
                };
                *out = self.fold.of(window, n);
            }
        }
    }
}

impl Recurrent {
    fn run(&self, buffers: &mut Buffers, out: &mut [f32]) {
        let mut scratch = self.scratch.map(|buffer| take(buffers, buffer));
        let [from_input, from_state, state, memory] = &mut scratch;
        let n = self.rows * self.hidden;
        for (place, first) in [&mut *state, &mut *memory].into_iter().zip(self.first) {
            let first = first.map(|buffer| of(buffers, buffer));
            match first.filter(|first| first.len() == n) {
                Some(first) => place.copy_from_slice(first),
                None => place.fill(0.0),
            }
        }
        let width = self.rows * self.inputs.n_in();
        let x = of(buffers, self.from);
        for turn in 0..self.steps {
            let step = if self.is_backward {
                self.steps - 1 - turn
            } else {
                turn
            };
            let Some(x) = x.get(step * width..(step + 1) * width) else {
                break;
            };
            self.inputs.run(x, self.inputs.n_in(), from_input);
            self.state.run(state, self.hidden, from_state);
            match self.cell {
                Cell::Lstm => lstm(self.hidden, from_input, from_state, state, memory),
                Cell::GruResetAfter => gru(self.hidden, from_input, from_state, state),
                Cell::GruResetBefore => self.gru_before(from_input, from_state, state, memory),
            }
            if let Some(out) = out.get_mut(step * n..(step + 1) * n) {
                out.copy_from_slice(state);
            }
        }
        for (buffer, values) in self.scratch.into_iter().zip(scratch) {
            put(buffers, buffer, values);
        }
    }

    /// As [`gru`], the reset before the product: `memory` holds the gated state.
    fn gru_before(&self, x: &mut [f32], s: &mut [f32], state: &mut [f32], memory: &mut [f32]) {
        let h = self.hidden;
        for ((x, s), (state, gated)) in rows(x, s, h, 3).zip(pairs(state, memory, h)) {
            add(x, s, 2 * h);
            let (z, rest) = x.split_at_mut(h);
            let (r, _) = rest.split_at_mut(h);
            z.iter_mut().for_each(|z| *z = sigmoid(*z));
            let places = gated.iter_mut().zip(r).zip(state);
            places.for_each(|((gated, r), state)| *gated = sigmoid(*r) * *state);
        }
        let Some(candidate) = &self.candidate else {
            return;
        };
        let n = state.len();
        let Some(products) = s.get_mut(..n) else {
            return;
        };
        candidate.run(memory, h, products);
        let parts = x.chunks_exact(3 * h).zip(products.chunks_exact(h));
        for ((x, product), state) in parts.zip(state.chunks_exact_mut(h)) {
            let (z, rest) = x.split_at(h);
            let candidates = rest.iter().skip(h).zip(product);
            for ((state, z), (x, product)) in state.iter_mut().zip(z).zip(candidates) {
                let candidate = tanh(x + product);
                *state = candidate + z * (*state - candidate);
            }
        }
    }
}

/// Rows of gates, of inputs and of the state.
fn rows<'a>(
    x: &'a mut [f32],
    s: &'a mut [f32],
    hidden: usize,
    n_gates: usize,
) -> impl Iterator<Item = (&'a mut [f32], &'a mut [f32])> {
    let width = (hidden * n_gates).max(1);
    x.chunks_exact_mut(width).zip(s.chunks_exact_mut(width))
}

fn pairs<'a>(
    a: &'a mut [f32],
    b: &'a mut [f32],
    hidden: usize,
) -> impl Iterator<Item = (&'a mut [f32], &'a mut [f32])> {
    let width = hidden.max(1);
    a.chunks_exact_mut(width).zip(b.chunks_exact_mut(width))
}

fn add(x: &mut [f32], s: &[f32], n: usize) {
    let places = x.iter_mut().zip(s).take(n);
    places.for_each(|(x, s)| *x += s);
}

/// A step of a GRU (Cho et al. 2014), gates in ONNX' order: update, reset, candidate.
fn gru(hidden: usize, x: &mut [f32], s: &mut [f32], state: &mut [f32]) {
    let states = state.chunks_exact_mut(hidden.max(1));
    for ((x, s), state) in rows(x, s, hidden, 3).zip(states) {
        add(x, s, 2 * hidden);
        let (gates, candidate) = x.split_at_mut(2 * hidden);
        gates.iter_mut().for_each(|gate| *gate = sigmoid(*gate));
        let (z, r) = gates.split_at(hidden);
        let (_, s) = s.split_at(2 * hidden);
        let places = candidate.iter_mut().zip(r).zip(s);
        places.for_each(|((x, r), s)| *x = tanh(*x + r * s));
        let places = state.iter_mut().zip(z).zip(candidate);
        // (1 - z) n + z h.
        places.for_each(|((h, z), n)| *h = *n + z * (*h - *n));
    }
}

/// A step of an LSTM (Hochreiter and Schmidhuber 1997; Gers et al. 2000), gates in ONNX' order: input, output,
/// forget, cell.
fn lstm(hidden: usize, x: &mut [f32], s: &mut [f32], state: &mut [f32], memory: &mut [f32]) {
    for ((x, s), (state, memory)) in rows(x, s, hidden, 4).zip(pairs(state, memory, hidden)) {
        add(x, s, 4 * hidden);
        let (gates, candidate) = x.split_at_mut(3 * hidden);
        gates.iter_mut().for_each(|gate| *gate = sigmoid(*gate));
        candidate.iter_mut().for_each(|x| *x = tanh(*x));
        let (i, rest) = gates.split_at(hidden);
        let (o, f) = rest.split_at(hidden);
        let places = memory.iter_mut().zip(f).zip(i.iter().zip(candidate));
        places.for_each(|((c, f), (i, x))| *c = f * *c + i * *x);
        let places = state.iter_mut().zip(o).zip(memory);
        places.for_each(|((h, o), c)| *h = o * tanh(*c));
    }
}
