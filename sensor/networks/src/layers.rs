//! Layers with weights: dense, convolution, normalisation, pooling, GRU and LSTM.

use std::sync::Arc;

use crate::error::{Result, damaged, misfit, unsupported};
use crate::graph::{Node, checked};
use crate::kernel::Dense;
use crate::plan::{Builder, Data, Value};
use crate::step::{Cell, Conv, Fold, Pool, Recurrent, Step};

impl Builder {
    /// Plans a node of this kind; `None`: it is of another.
    pub(crate) fn layer(&mut self, node: &Node) -> Result<Option<Value>> {
        let value = match node.kind.as_str() {
            "Gemm" => self.gemm(node)?,
            "MatMul" => self.matmul(node)?,
            "BatchNormalization" => self.normalised(node)?,
            "Conv" => self.conv(node)?,
            "MaxPool" => self.pool(node, Fold::Max)?,
            "AveragePool" => self.pool(node, Fold::Mean)?,
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    /// Packs weights, whose memory is counted.
    fn dense(
        &mut self,
        n_in: usize,
        n_out: usize,
        at: impl Fn(usize, usize) -> f32,
        bias: impl Fn(usize) -> f32,
    ) -> Result<Dense> {
        // Sixteen outputs beside each other take as much as one.
        self.spend((n_in + 1).saturating_mul(n_out.next_multiple_of(16)))?;
        Ok(Dense::new(n_in, n_out, at, bias))
    }

    fn gemm(&mut self, node: &Node) -> Result<Value> {
        let x = self.input(node, 0)?;
        let (Some((shape, weights)), [rows, n_in]) = (self.floats(node, 1)?, x.shape.as_slice())
        else {
            return unsupported("a product of other than rows and weights");
        };
        if node.int("transA", 0) != 0 {
            return unsupported("rows turned");
        }
        let is_turned = node.int("transB", 0) != 0;
        let n_out = match (shape.as_slice(), is_turned) {
            ([n_out, k], true) | ([k, n_out], false) if k == n_in => *n_out,
            _ => return misfit(format!("rows of {n_in} and weights of {shape:?}")),
        };
        let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
        let bias = self.floats(node, 2)?.map(|(_, bias)| bias);
        let n_bias = bias.as_ref().map_or(1, |bias| bias.len());
        if n_bias != 1 && n_bias != n_out {
            return misfit(format!("{n_bias} biases for {n_out} outputs"));
        }
        let at = |out: usize, i: usize| {
            let place = if is_turned {
                out * n_in + i
            } else {
                i * n_out + out
            };
            alpha * at(&weights, place)
        };
        let of_bias = |out: usize| {
            let place = if n_bias == 1 { 0 } else { out };
            bias.as_ref()
                .map_or(0.0, |bias| beta * self::at(bias, place))
        };
        let dense = self.dense(*n_in, n_out, at, of_bias)?;
        let shape = vec![*rows, n_out];
        self.multiplied(&x, shape, dense)
    }

    fn multiplied(&mut self, x: &Value, shape: Vec<usize>, dense: Dense) -> Result<Value> {
        let n = shape.iter().product::<usize>();
        self.work(n.saturating_mul(dense.n_in()))?;
        let from = self.buffer(x)?;
        self.step(shape, Step::Dense(from, dense))
    }

    fn matmul(&mut self, node: &Node) -> Result<Value> {
        let (a, b) = (self.input(node, 0)?, self.input(node, 1)?);
        let (Some((k, before)), [.., of_b, m]) = (a.shape.split_last(), b.shape.as_slice()) else {
            return unsupported("a product with a vector");
        };
        if k != of_b || before.is_empty() {
            return misfit(format!("{:?} times {:?}", a.shape, b.shape));
        }
        let mut shape = before.to_vec();
        shape.push(*m);
        let shape = checked(shape)?;
        if let (Data::Floats(weights), 2) = (&b.data, b.shape.len()) {
            let weights = Arc::clone(weights);
            let dense = self.dense(*k, *m, |out, i| at(&weights, i * m + out), |_| 0.0)?;
            return self.multiplied(&a, shape, dense);
        }
        let groups = |shape: &[usize]| shape.iter().rev().skip(2).copied().collect::<Vec<_>>();
        if a.shape.len() != b.shape.len() || groups(&a.shape) != groups(&b.shape) {
            return unsupported("a product of tensors of other groups");
        }
        self.work(shape.iter().product::<usize>().saturating_mul(*k))?;
        let sides = [self.buffer(&a)?, self.buffer(&b)?];
        let n = before.last().copied().unwrap_or(1);
        let (k, m) = (*k, *m);
        self.step(shape, Step::Product { sides, n, k, m })
    }

    fn normalised(&mut self, node: &Node) -> Result<Value> {
        let x = self.input(node, 0)?;
        let mut parts = Vec::new();
        for place in 1..5 {
            let Some((_, all)) = self.floats(node, place)? else {
                return damaged("a normalisation without its numbers");
            };
            parts.push(all);
        }
        let [scale, shift, mean, variance] = parts.as_slice() else {
            return damaged("a normalisation without its numbers");
        };
        let Some(channels) = x.shape.get(1).copied() else {
            return misfit("no channels to normalise");
        };
        if parts.iter().any(|all| all.len() != channels) {
            return misfit(format!(
                "other than {channels} numbers for as many channels"
            ));
        }
        let epsilon = node.float("epsilon", 1e-5);
        let by = (0..channels).map(|c| {
            let scale = at(scale, c) / (at(variance, c) + epsilon).sqrt();
            [scale, at(shift, c) - at(mean, c) * scale]
        });
        let by: Vec<[f32; 2]> = by.collect();
        let inner = x.shape.iter().skip(2).product();
        let from = self.buffer(&x)?;
        self.step(x.shape, Step::Scale { from, by, inner })
    }

    fn conv(&mut self, node: &Node) -> Result<Value> {
        let x = self.input(node, 0)?;
        let Some((shape, weights)) = self.floats(node, 1)? else {
            return damaged("a convolution without weights");
        };
        if node.int("group", 1) != 1 {
            return unsupported("a convolution by groups of channels");
        }
        let line = Line::of(node, &x.shape, shape.get(2..).unwrap_or(&[]))?;
        let (Some(n_out), Some(channels)) = (shape.first().copied(), x.shape.get(1).copied())
        else {
            return misfit("no channels");
        };
        if shape.get(1) != Some(&channels) {
            return misfit(format!("{channels} channels and weights of {shape:?}"));
        }
        let bias = self.floats(node, 2)?.map(|(_, bias)| bias);
        if bias.as_ref().is_some_and(|bias| bias.len() != n_out) {
            return misfit("biases of another number than outputs");
        }
        let taps = line.taps;
        let n_in = channels.saturating_mul(taps);
        let dense = self.dense(
            n_in,
            n_out,
            // Windows run by position, then by channel.
            |out, i| {
                at(
                    &weights,
                    (out * channels + i % channels) * taps + i / channels,
                )
            },
            |out| bias.as_ref().map_or(0.0, |bias| at(bias, out)),
        )?;
        let (out_shape, rows) = (line.shape(n_out, &x.shape), x.shape.first().copied());
        let n = out_shape.iter().product::<usize>();
        self.work(n.saturating_mul(n_in))?;
        let turned = self.scratch(line.padded().saturating_mul(channels))?;
        let windows = if line.dilation > 1 {
            self.work(
                n_in.saturating_mul(line.out_length)
                    .saturating_mul(rows.unwrap_or(1)),
            )?;
            Some(self.scratch(n_in.saturating_mul(line.out_length))?)
        } else {
            None
        };
        let results = self.scratch(n_out.saturating_mul(line.out_length))?;
        let from = self.buffer(&x)?;
        let conv = Conv {
            from,
            dense,
            channels,
            length: line.length,
            out_length: line.out_length,
            pad: line.pad,
            stride: line.stride,
            dilation: line.dilation,
            taps,
            turned,
            windows,
            results,
        };
        self.step(out_shape, Step::Conv(Box::new(conv)))
    }

    fn pool(&mut self, node: &Node, fold: Fold) -> Result<Value> {
        let x = self.input(node, 0)?;
        let kernel: Vec<usize> = node
            .ints("kernel_shape")
            .iter()
            .map(|n| length(*n))
            .collect();
        let line = Line::of(node, &x.shape, &kernel)?;
        if line.dilation != 1 {
            return unsupported("pooling with gaps");
        }
        if line.pad >= line.taps || line.pad_after >= line.taps {
            return misfit("pooling of padding alone");
        }
        let Some(channels) = x.shape.get(1).copied() else {
            return misfit("no channels to pool");
        };
        let shape = line.shape(channels, &x.shape);
        let n = shape.iter().product::<usize>();
        self.work(n.saturating_mul(line.taps))?;
        let pool = Pool {
            from: self.buffer(&x)?,
            fold,
            length: line.length,
            out_length: line.out_length,
            pad: line.pad,
            stride: line.stride,
            taps: line.taps,
            counts_pad: node.int("count_include_pad", 0) != 0,
        };
        self.step(shape, Step::Pool(pool))
    }

    pub(crate) fn recurrent(&mut self, node: &Node) -> Result<()> {
        let x = self.input(node, 0)?;
        let layer = Layer::of(self, node, &x)?;
        let first = [self.first(node, 5)?, self.first(node, 6)?];
        let &[steps, rows, n_in] = x.shape.as_slice() else {
            return misfit("a recurrent layer over other than steps, rows and columns");
        };
        let (n_ways, hidden) = (layer.ways.len(), layer.hidden);
        let gates = hidden * layer.n_gates;
        let shape = checked(vec![steps, n_ways, rows, hidden])?;
        let mut parts = Vec::new();
        for (way, is_backward) in layer.ways.iter().enumerate() {
            let weights = Weights {
                w: part(&layer.w, way, n_ways),
                r: part(&layer.r, way, n_ways),
                bias: layer.bias.as_ref().map(|bias| part(bias, way, n_ways)),
                hidden,
                n_in,
                n_gates: layer.n_gates,
            };
            let [inputs, state, candidate] = self.gates(&weights, layer.cell)?;
            let (Some(inputs), Some(state)) = (inputs, state) else {
                return damaged("a recurrent layer without weights");
            };
            let each = steps.saturating_mul(rows);
            self.work(each.saturating_mul(gates).saturating_mul(n_in + hidden))?;
            let n = rows * hidden;
            let scratch = [
                self.scratch(rows * gates)?,
                self.scratch(rows * gates)?,
                self.scratch(n)?,
                self.scratch(n)?,
            ];
            parts.push(Recurrent {
                cell: layer.cell,
                from: self.buffer(&x)?,
                steps,
                rows,
                hidden,
                is_backward: *is_backward,
                inputs,
                state,
                candidate,
                first: self.part_of_first(&first, way, n)?,
                scratch,
            });
        }
        self.join_ways(node, parts, shape)
    }

    /// State that a layer starts with, if it is given.
    fn first(&self, node: &Node, place: usize) -> Result<Option<Arc<[f32]>>> {
        Ok(self.floats(node, place)?.map(|(_, all)| all))
    }

    fn part_of_first(
        &mut self,
        first: &[Option<Arc<[f32]>>; 2],
        way: usize,
        n: usize,
    ) -> Result<[Option<usize>; 2]> {
        let mut found = [None; 2];
        for (place, all) in found.iter_mut().zip(first) {
            let Some(all) = all else { continue };
            // Zeros are what a layer starts with by itself.
            if all.iter().all(|x| *x == 0.0) {
                continue;
            }
            let Some(own) = all.get(way * n..(way + 1) * n) else {
                return misfit("a first state of another shape");
            };
            let value = Value {
                shape: vec![n],
                data: Data::Floats(own.into()),
            };
            *place = Some(self.buffer(&value)?);
        }
        Ok(found)
    }

    fn gates(&mut self, weights: &Weights<'_>, cell: Cell) -> Result<[Option<Dense>; 3]> {
        let (h, n_in) = (weights.hidden, weights.n_in);
        let gates = h * weights.n_gates;
        let inputs = self.dense(
            n_in,
            gates,
            |out, i| at(weights.w, out * n_in + i),
            |out| weights.bias(out),
        )?;
        let state = self.dense(
            h,
            gates,
            |out, i| at(weights.r, out * h + i),
            |out| weights.bias(gates + out),
        )?;
        let candidate = if cell == Cell::GruResetBefore {
            Some(self.dense(
                h,
                h,
                |out, i| at(weights.r, (2 * h + out) * h + i),
                |out| weights.bias(gates + 2 * h + out),
            )?)
        } else {
            None
        };
        Ok([Some(inputs), Some(state), candidate])
    }

    /// Adds the directions' steps and what the node gives: all states, the last of each direction.
    fn join_ways(&mut self, node: &Node, parts: Vec<Recurrent>, shape: Vec<usize>) -> Result<()> {
        let &[steps, n_ways, rows, hidden] = shape.as_slice() else {
            return misfit("states of no shape");
        };
        let one = vec![steps, 1, rows, hidden];
        let (mut all, mut last) = (Vec::new(), Vec::new());
        let mut cells = Vec::new();
        for part in parts {
            let n = rows * hidden;
            let end = if part.is_backward {
                0
            } else {
                steps.saturating_sub(1)
            };
            let cell = Value {
                shape: vec![1, rows, hidden],
                data: Data::Live(part.scratch[3]),
            };
            let states = self.step(one.clone(), Step::Recurrent(Box::new(part)))?;
            let index: Vec<u32> = (end * n..(end + 1) * n).map(|i| i as u32).collect();
            last.push(self.picked(&states, vec![1, rows, hidden], index)?);
            cells.push(cell);
            all.push(states);
        }
        let joined = self.beside(&all, 1, shape)?;
        self.give(node, 0, joined)?;
        for (place, parts) in [(1, last), (2, cells)] {
            if (place == 1 || node.kind == "LSTM")
                && node.outputs.get(place).is_some_and(|name| !name.is_empty())
            {
                let joined = self.beside(&parts, 0, vec![n_ways, rows, hidden])?;
                self.give(node, place, joined)?;
            }
        }
        Ok(())
    }

    fn beside(&mut self, parts: &[Value], axis: usize, shape: Vec<usize>) -> Result<Value> {
        if let [one] = parts {
            return Ok(Value {
                shape,
                data: one.data.clone(),
            });
        }
        let mut chunks = Vec::new();
        for part in parts {
            let chunk = part.shape.iter().skip(axis).product();
            chunks.push((self.buffer(part)?, chunk));
        }
        self.step(shape, Step::Join(chunks))
    }
}

/// A recurrent layer as its node has it.
struct Layer {
    cell: Cell,
    hidden: usize,
    n_gates: usize,
    /// For each direction: is it backward?
    ways: &'static [bool],
    w: Arc<[f32]>,
    r: Arc<[f32]>,
    bias: Option<Arc<[f32]>>,
}

impl Layer {
    fn of(builder: &Builder, node: &Node, x: &Value) -> Result<Self> {
        let is_lstm = node.kind == "LSTM";
        refuse_variants(node, is_lstm)?;
        let (Some((w_shape, w)), Some((r_shape, r))) =
            (builder.floats(node, 1)?, builder.floats(node, 2)?)
        else {
            return damaged("a recurrent layer without weights");
        };
        let n_gates = if is_lstm { 4 } else { 3 };
        let hidden = length(node.int("hidden_size", 0));
        let ways: &[bool] = match node.text("direction") {
            "" | "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            _ => return unsupported("a direction that is not known here"),
        };
        let gates = hidden.saturating_mul(n_gates);
        let &[steps, _, n_in] = x.shape.as_slice() else {
            return misfit("a recurrent layer over other than steps, rows and columns");
        };
        if hidden == 0
            || steps == 0
            || w_shape != [ways.len(), gates, n_in]
            || r_shape != [ways.len(), gates, hidden]
        {
            return misfit(format!("weights of {w_shape:?} and {r_shape:?}"));
        }
        let bias = builder.floats(node, 3)?.map(|(_, bias)| bias);
        let n_bias = ways.len() * 2 * gates;
        if bias.as_ref().is_some_and(|bias| bias.len() != n_bias) {
            return misfit("biases of another number than gates");
        }
        if builder.optional(node, 4)?.is_some() || builder.optional(node, 7)?.is_some() {
            return unsupported("lengths by row, or peepholes");
        }
        let resets_after = node.int("linear_before_reset", 0) != 0;
        let cell = match (is_lstm, resets_after) {
            (true, _) => Cell::Lstm,
            (false, true) => Cell::GruResetAfter,
            (false, false) => Cell::GruResetBefore,
        };
        Ok(Self {
            cell,
            hidden,
            n_gates,
            ways,
            w,
            r,
            bias,
        })
    }
}

/// Weights of one direction of a recurrent layer.
struct Weights<'a> {
    w: &'a [f32],
    r: &'a [f32],
    bias: Option<&'a [f32]>,
    hidden: usize,
    n_in: usize,
    n_gates: usize,
}

impl Weights<'_> {
    fn bias(&self, place: usize) -> f32 {
        self.bias.map_or(0.0, |bias| at(bias, place))
    }
}

fn at(all: &[f32], place: usize) -> f32 {
    all.get(place).copied().unwrap_or(0.0)
}

fn part(all: &[f32], way: usize, n_ways: usize) -> &[f32] {
    let n = all.len() / n_ways.max(1);
    all.get(way * n..(way + 1) * n).unwrap_or(&[])
}

fn length(n: i64) -> usize {
    // Beyond any limit, without overflow where lengths are multiplied.
    usize::try_from(n).unwrap_or(0).min(1 << 24)
}

fn refuse_variants(node: &Node, is_lstm: bool) -> Result<()> {
    let usual: &[&str] = if is_lstm {
        &["Sigmoid", "Tanh", "Tanh"]
    } else {
        &["Sigmoid", "Tanh"]
    };
    let named = node
        .attributes
        .get("activations")
        .map_or(&[][..], |a| &a.texts);
    let is_usual = named.iter().zip(usual.iter().cycle()).all(|(a, b)| a == b);
    if !is_usual {
        return unsupported("a recurrent layer with other activations than sigmoid and tanh");
    }
    if node.int("layout", 0) != 0 || node.int("input_forget", 0) != 0 {
        return unsupported("a recurrent layer by rows first, or with coupled gates");
    }
    if node.attributes.contains_key("clip") {
        return unsupported("a recurrent layer that clips");
    }
    Ok(())
}

/// Windows along the one dimension that is longer than one.
struct Line {
    /// Number of it among the dimensions behind the channels.
    place: usize,
    length: usize,
    out_length: usize,
    pad: usize,
    pad_after: usize,
    stride: usize,
    dilation: usize,
    taps: usize,
}

impl Line {
    fn of(node: &Node, shape: &[usize], kernel: &[usize]) -> Result<Self> {
        let dims = shape.get(2..).unwrap_or(&[]);
        if dims.len() != kernel.len() || dims.is_empty() {
            return misfit(format!("windows of {kernel:?} over {shape:?}"));
        }
        let flat = |(dim, taps): (&usize, &usize)| *dim == 1 && *taps == 1;
        let long: Vec<usize> = (0..dims.len())
            .filter(|i| !dims.iter().zip(kernel).nth(*i).is_some_and(flat))
            .collect();
        let place = match long.as_slice() {
            [] => 0,
            [place] => *place,
            _ => return unsupported("windows over more than one dimension"),
        };
        let n = dims.len();
        let of = |name: &str, i: usize, default: usize| {
            node.ints(name).get(i).map_or(default, |n| length(*n))
        };
        let pads = node.ints("pads");
        let is_flat = |i: usize| i % n != place && pads.get(i).is_some_and(|pad| *pad != 0);
        if (0..pads.len().min(2 * n)).any(is_flat) || pads.iter().any(|pad| *pad < 0) {
            return unsupported("padding over more than one dimension");
        }
        let mut line = Self {
            place,
            length: dims.get(place).copied().unwrap_or(1),
            out_length: 0,
            pad: of("pads", place, 0),
            pad_after: of("pads", place + n, 0),
            stride: of("strides", place, 1),
            dilation: of("dilations", place, 1),
            taps: kernel.get(place).copied().unwrap_or(1),
        };
        if line.stride == 0 || line.dilation == 0 || line.taps == 0 {
            return misfit("windows of no length or that don't move");
        }
        line.measure(node)?;
        Ok(line)
    }

    fn measure(&mut self, node: &Node) -> Result<()> {
        let span = (self.taps - 1)
            .saturating_mul(self.dilation)
            .saturating_add(1);
        match node.text("auto_pad") {
            "" | "NOTSET" => {}
            "VALID" => (self.pad, self.pad_after) = (0, 0),
            same @ ("SAME_UPPER" | "SAME_LOWER") => {
                let wanted = self.length.div_ceil(self.stride);
                let reach = wanted.saturating_sub(1).saturating_mul(self.stride);
                let whole = reach.saturating_add(span).saturating_sub(self.length);
                let (less, more) = (whole / 2, whole - whole / 2);
                (self.pad, self.pad_after) = if same == "SAME_UPPER" {
                    (less, more)
                } else {
                    (more, less)
                };
            }
            _ => return unsupported("a kind of padding that is not known here"),
        }
        let Some(room) = self.padded().checked_sub(span) else {
            return misfit("windows longer than what they go over");
        };
        if node.int("ceil_mode", 0) != 0 && !room.is_multiple_of(self.stride) {
            return unsupported("a last window that is cut short");
        }
        self.out_length = room / self.stride + 1;
        // No length that memory could be taken for by mistake.
        checked(vec![self.padded()])?;
        checked(vec![self.out_length, self.taps])?;
        Ok(())
    }

    const fn padded(&self) -> usize {
        self.length
            .saturating_add(self.pad)
            .saturating_add(self.pad_after)
    }

    /// Shape of the results.
    fn shape(&self, channels: usize, of: &[usize]) -> Vec<usize> {
        let mut shape = of.to_vec();
        if let Some(place) = shape.get_mut(1) {
            *place = channels;
        }
        if let Some(place) = shape.get_mut(self.place + 2) {
            *place = self.out_length;
        }
        shape
    }
}
