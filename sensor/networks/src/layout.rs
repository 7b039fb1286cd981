//! Operators that move numbers without changing them, and those on shapes, which are computed while planning.

use crate::error::{Result, damaged, misfit, unsupported};
use crate::graph::{Node, Numbers, checked};
use crate::plan::{Builder, Data, Value, axis_of};
use crate::step::Step;

/// Elements between neighbours of each dimension.
pub(crate) fn strides(shape: &[usize]) -> Vec<i64> {
    let mut strides = vec![1i64; shape.len()];
    let mut step = 1i64;
    for (stride, dim) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.saturating_mul(*dim as i64);
    }
    strides
}

/// Places of the elements of `shape`, in order, in a tensor that they are taken from with these strides.
pub(crate) fn places(shape: &[usize], strides: &[i64], base: i64) -> Vec<u32> {
    let n: usize = shape.iter().product();
    let mut at = vec![0usize; shape.len()];
    let (mut places, mut place) = (Vec::with_capacity(n), base);
    for _ in 0..n {
        places.push(u32::try_from(place).unwrap_or(u32::MAX));
        for ((at, dim), stride) in at.iter_mut().zip(shape).zip(strides).rev() {
            *at += 1;
            place += stride;
            if *at < *dim {
                break;
            }
            place -= *stride * *dim as i64;
            *at = 0;
        }
    }
    places
}

/// Shape that two broadcast to.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |shape: &[usize], i: usize| {
        let missing = rank - shape.len();
        i.checked_sub(missing)
            .and_then(|i| shape.get(i))
            .copied()
            .unwrap_or(1)
    };
    let each = |i: usize| match (dim(a, i), dim(b, i)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        (a, b) => misfit(format!("{a} beside {b}")),
    };
    checked((0..rank).map(each).collect::<Result<_>>()?)
}

/// Places of a tensor's elements as it broadcasts to `to`.
pub(crate) fn spread(shape: &[usize], to: &[usize]) -> Vec<u32> {
    let own = strides(shape);
    let missing = to.len().saturating_sub(shape.len());
    let stride = |i: usize| {
        let i = i.checked_sub(missing)?;
        let (dim, stride) = (shape.get(i)?, own.get(i)?);
        (*dim != 1).then_some(*stride)
    };
    let strides: Vec<i64> = (0..to.len()).map(|i| stride(i).unwrap_or(0)).collect();
    places(to, &strides, 0)
}

impl Builder {
    /// Plans a node of this kind; `None`: it is of another.
    pub(crate) fn layout(&mut self, node: &Node) -> Result<Option<Value>> {
        let value = match node.kind.as_str() {
            "Identity" => self.input(node, 0)?,
            "Cast" => self.cast(node)?,
            "Constant" => self.given(node)?,
            "ConstantOfShape" => self.filled(node)?,
            "Shape" => self.shape(node)?,
            "Reshape" => self.reshape(node)?,
            "Flatten" => self.flatten(node)?,
            "Squeeze" => self.squeeze(node)?,
            "Unsqueeze" => self.unsqueeze(node)?,
            "Expand" => self.expand(node)?,
            "Transpose" => self.transpose(node)?,
            "Slice" => self.slice(node)?,
            "Gather" => self.gather(node)?,
            "Concat" => self.concat(node)?,
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    /// A value of other elements of the same tensor; its shape was checked.
    pub(crate) fn picked(
        &mut self,
        value: &Value,
        shape: Vec<usize>,
        index: Vec<u32>,
    ) -> Result<Value> {
        let is_same = index
            .iter()
            .enumerate()
            .all(|(i, place)| i == *place as usize);
        if is_same && index.len() == value.len() {
            return Ok(Value {
                shape,
                data: value.data.clone(),
            });
        }
        self.spend(index.len())?;
        let at = |place: &u32| *place as usize;
        let data = match &value.data {
            Data::Live(from) => return self.step(shape, Step::Pick(*from, index)),
            Data::Ints(all) => {
                let found: Option<Vec<i64>> =
                    index.iter().map(|i| all.get(at(i)).copied()).collect();
                found.map(|all| Data::Ints(all.into()))
            }
            Data::Floats(all) => {
                let found: Option<Vec<f32>> =
                    index.iter().map(|i| all.get(at(i)).copied()).collect();
                found.map(|all| Data::Floats(all.into()))
            }
        };
        match data {
            Some(data) => Ok(Value { shape, data }),
            None => misfit("an element outside of its tensor"),
        }
    }

    fn cast(&mut self, node: &Node) -> Result<Value> {
        let value = self.input(node, 0)?;
        let data = match (node.int("to", 0), value.data) {
            (1, Data::Ints(all)) => {
                self.spend(all.len())?;
                Data::Floats(all.iter().map(|n| *n as f32).collect())
            }
            (6 | 7, Data::Floats(all)) => {
                self.spend(all.len())?;
                Data::Ints(all.iter().map(|x| *x as i64).collect())
            }
            (1, data @ (Data::Floats(_) | Data::Live(_))) | (6 | 7, data @ Data::Ints(_)) => data,
            (to, _) => return unsupported(format!("a cast to ONNX type {to}")),
        };
        Ok(Value {
            shape: value.shape,
            data,
        })
    }

    fn given(&mut self, node: &Node) -> Result<Value> {
        let (name, given) = match node.attributes.first_key_value() {
            Some((name, given)) if node.attributes.len() == 1 => (name.as_str(), given),
            _ => return damaged("a constant of no or of several values"),
        };
        match (name, given) {
            ("value", given) => match &given.tensor {
                Some(tensor) => self.constant(&tensor.shape, &tensor.data),
                None => damaged("a constant without its tensor"),
            },
            ("value_int", given) => {
                let all = Numbers::Ints(given.int.into_iter().collect());
                self.constant(&[], &all)
            }
            ("value_float", given) => {
                let all = Numbers::Floats(given.float.into_iter().collect());
                self.constant(&[], &all)
            }
            ("value_ints", given) => {
                let shape = checked(vec![given.ints.len()])?;
                self.constant(&shape, &Numbers::Ints(given.ints.clone()))
            }
            _ => unsupported("a constant of another kind than numbers"),
        }
    }

    fn filled(&mut self, node: &Node) -> Result<Value> {
        let Some(dims) = self.ints(node, 0)? else {
            return damaged("no shape");
        };
        let shape = lengths(&dims)?;
        let n = shape.iter().product();
        self.spend(n)?;
        let tensor = node.attributes.get("value").and_then(|a| a.tensor.as_ref());
        let data = match tensor.map(|tensor| &tensor.data) {
            Some(Numbers::Ints(all)) => {
                let value = all.first().copied().unwrap_or(0);
                Data::Ints(vec![value; n].into())
            }
            Some(Numbers::Floats(all)) => {
                let value = all.first().copied().unwrap_or(0.0);
                Data::Floats(vec![value; n].into())
            }
            None => Data::Floats(vec![0.0; n].into()),
        };
        Ok(Value { shape, data })
    }

    fn shape(&mut self, node: &Node) -> Result<Value> {
        let shape = self.input(node, 0)?.shape;
        let rank = shape.len() as i64;
        let place = |at: i64| {
            let at = if at < 0 { at.saturating_add(rank) } else { at };
            at.clamp(0, rank) as usize
        };
        let (start, end) = (place(node.int("start", 0)), place(node.int("end", rank)));
        let wanted = shape.get(start..end).unwrap_or(&[]);
        let dims: Vec<i64> = wanted.iter().map(|dim| *dim as i64).collect();
        Ok(Value::ints(vec![dims.len()], dims))
    }

    fn reshape(&mut self, node: &Node) -> Result<Value> {
        let value = self.input(node, 0)?;
        let Some(dims) = self.ints(node, 1)? else {
            return damaged("no shape");
        };
        let keeps_zero = node.int("allowzero", 0) != 0;
        let mut shape = Vec::new();
        let mut free = None;
        for (i, dim) in dims.iter().enumerate() {
            match *dim {
                -1 if free.is_none() => {
                    free = Some(i);
                    shape.push(1);
                }
                0 if !keeps_zero => match value.shape.get(i) {
                    Some(dim) => shape.push(*dim),
                    None => return misfit("a dimension is kept that there is not"),
                },
                dim => shape.push(usize::try_from(dim).unwrap_or(usize::MAX)),
            }
        }
        let mut shape = checked(shape)?;
        let n: usize = shape.iter().product();
        if let Some(place) = free.and_then(|i| shape.get_mut(i)) {
            *place = value.len().checked_div(n).unwrap_or(0);
        }
        Self::renamed(value, shape)
    }

    /// Copy of the numbers in another shape.
    fn renamed(value: Value, shape: Vec<usize>) -> Result<Value> {
        let shape = checked(shape)?;
        if shape.iter().product::<usize>() != value.len() {
            return misfit(format!("{:?} can't become {shape:?}", value.shape));
        }
        Ok(Value {
            shape,
            data: value.data,
        })
    }

    fn flatten(&mut self, node: &Node) -> Result<Value> {
        let value = self.input(node, 0)?;
        let rank = value.shape.len();
        let axis = axis_of(node.int("axis", 1), rank + 1)?;
        let (first, last) = value.shape.split_at(axis);
        let shape = vec![first.iter().product(), last.iter().product()];
        Self::renamed(value, shape)
    }

    /// Dimensions by an input, or by an attribute as of old.
    pub(crate) fn axes(&self, node: &Node, place: usize) -> Result<Vec<i64>> {
        Ok(match self.ints(node, place)? {
            Some(axes) => axes.to_vec(),
            None => node.ints("axes").to_vec(),
        })
    }

    fn squeeze(&mut self, node: &Node) -> Result<Value> {
        let value = self.input(node, 0)?;
        let axes = self.axes(node, 1)?;
        let axes: Vec<usize> = axes.iter().map(|a| value.axis(*a)).collect::<Result<_>>()?;
        let goes = |(i, dim): &(usize, &usize)| {
            if axes.is_empty() {
                **dim == 1
            } else {
                axes.contains(i)
            }
        };
        let dims = value.shape.iter().enumerate();
        let shape: Vec<usize> = dims.filter(|d| !goes(d)).map(|(_, dim)| *dim).collect();
        Self::renamed(value, shape)
    }

    fn unsqueeze(&mut self, node: &Node) -> Result<Value> {
        let value = self.input(node, 0)?;
        let axes = self.axes(node, 1)?;
        let rank = value.shape.len() + axes.len();
        // Nobody has so many dimensions; their order below takes time.
        checked(vec![1; rank])?;
        let axes: Vec<usize> = axes
            .iter()
            .map(|a| axis_of(*a, rank))
            .collect::<Result<_>>()?;
        let mut old = value.shape.iter();
        let dim = |i: usize| {
            if axes.contains(&i) {
                Some(1)
            } else {
                old.next().copied()
            }
        };
        let shape: Option<Vec<usize>> = (0..rank).map(dim).collect();
        match shape {
            Some(shape) => Self::renamed(value, shape),
            None => misfit("a dimension is added twice"),
        }
    }

    fn expand(&mut self, node: &Node) -> Result<Value> {
        let value = self.input(node, 0)?;
        let Some(dims) = self.ints(node, 1)? else {
            return damaged("no shape");
        };
        let shape = broadcast(&value.shape, &lengths(&dims)?)?;
        self.spend(shape.iter().product())?;
        let index = spread(&value.shape, &shape);
        self.picked(&value, shape, index)
    }

    fn transpose(&mut self, node: &Node) -> Result<Value> {
        let value = self.input(node, 0)?;
        let rank = value.shape.len();
        let order: Vec<usize> = match node.ints("perm") {
            [] => (0..rank).rev().collect(),
            order => order
                .iter()
                .map(|a| value.axis(*a))
                .collect::<Result<_>>()?,
        };
        self.permuted(&value, &order)
    }

    pub(crate) fn permuted(&mut self, value: &Value, order: &[usize]) -> Result<Value> {
        let mut seen = order.to_vec();
        seen.sort_unstable();
        if !seen.iter().copied().eq(0..value.shape.len()) {
            return misfit("an order that does not name each dimension once");
        }
        let own = strides(&value.shape);
        let of = |all: &[usize], i: usize| all.get(i).copied().unwrap_or(1);
        let shape: Vec<usize> = order.iter().map(|i| of(&value.shape, *i)).collect();
        let strides: Vec<i64> = order
            .iter()
            .map(|i| own.get(*i).copied().unwrap_or(0))
            .collect();
        self.spend(value.len())?;
        let index = places(&shape, &strides, 0);
        self.picked(value, shape, index)
    }

    fn slice(&mut self, node: &Node) -> Result<Value> {
        let value = self.input(node, 0)?;
        let (Some(starts), Some(ends)) = (self.ints(node, 1)?, self.ints(node, 2)?) else {
            return damaged("a slice without its ends");
        };
        let axes = match self.ints(node, 3)? {
            Some(axes) => axes.to_vec(),
            None => (0..starts.len() as i64).collect(),
        };
        let steps = match self.ints(node, 4)? {
            Some(steps) => steps.to_vec(),
            None => vec![1; starts.len()],
        };
        let (mut shape, mut strides) = (value.shape.clone(), strides(&value.shape));
        let mut base = 0i64;
        let parts = axes.iter().zip(starts.iter()).zip(ends.iter()).zip(&steps);
        for (((axis, start), end), step) in parts {
            let axis = value.axis(*axis)?;
            let (Some(dim), Some(stride)) = (shape.get_mut(axis), strides.get_mut(axis)) else {
                return misfit("a slice outside of its tensor");
            };
            let (first, n) = cut(*start, *end, *step, *dim as i64)?;
            base = base.saturating_add(first.saturating_mul(*stride));
            *dim = usize::try_from(n).unwrap_or(0);
            *stride = stride.saturating_mul(*step);
        }
        let shape = checked(shape)?;
        self.spend(shape.iter().product())?;
        let index = places(&shape, &strides, base);
        self.picked(&value, shape, index)
    }

    fn gather(&mut self, node: &Node) -> Result<Value> {
        let value = self.input(node, 0)?;
        let wanted = self.input(node, 1)?;
        let Data::Ints(index) = &wanted.data else {
            return unsupported("places that depend on the values of the input");
        };
        let axis = value.axis(node.int("axis", 0))?;
        let (before, after) = value.shape.split_at(axis);
        let Some((dim, after)) = after.split_first() else {
            return misfit("a tensor without dimensions");
        };
        let mut shape = before.to_vec();
        shape.extend(&wanted.shape);
        shape.extend(after);
        let shape = checked(shape)?;
        self.spend(shape.iter().product())?;
        let n_after: usize = after.iter().product();
        let mut places = Vec::with_capacity(shape.iter().product());
        for group in 0..before.iter().product::<usize>() {
            for place in index.iter() {
                let place = axis_of(*place, *dim)?;
                let from = (group * dim + place) * n_after;
                places.extend((from..from + n_after).map(|i| i as u32));
            }
        }
        self.picked(&value, shape, places)
    }

    fn concat(&mut self, node: &Node) -> Result<Value> {
        let parts: Vec<Value> = (0..node.inputs.len())
            .map(|i| self.input(node, i))
            .collect::<Result<_>>()?;
        let Some(first) = parts.first() else {
            return damaged("nothing to join");
        };
        let axis = first.axis(node.int("axis", 0))?;
        let mut shape = first.shape.clone();
        let mut joined = 0usize;
        for part in &parts {
            let fits = part.shape.len() == shape.len()
                && part
                    .shape
                    .iter()
                    .zip(&shape)
                    .enumerate()
                    .all(|(i, (a, b))| i == axis || a == b);
            if !fits {
                return misfit(format!("{:?} beside {shape:?}", part.shape));
            }
            joined = joined.saturating_add(part.shape.get(axis).copied().unwrap_or(0));
        }
        if let Some(dim) = shape.get_mut(axis) {
            *dim = joined;
        }
        let shape = checked(shape)?;
        if let Some(all) = ints_of(&parts) {
            if shape.len() != 1 {
                return unsupported("tables of integers");
            }
            self.spend(all.len())?;
            return Ok(Value::ints(shape, all));
        }
        let mut chunks = Vec::new();
        for part in &parts {
            let chunk = part.shape.iter().skip(axis).product();
            chunks.push((self.buffer(part)?, chunk));
        }
        self.step(shape, Step::Join(chunks))
    }
}

/// All integers of parts that have nothing else.
fn ints_of(parts: &[Value]) -> Option<Vec<i64>> {
    let mut found = Vec::new();
    for part in parts {
        match &part.data {
            Data::Ints(all) => found.extend(all.iter()),
            _ => return None,
        }
    }
    Some(found)
}

/// First place and number of elements of a slice of a dimension.
fn cut(start: i64, end: i64, step: i64, dim: i64) -> Result<(i64, i64)> {
    if step == 0 || step == i64::MIN {
        return misfit("a slice that does not move");
    }
    let place = |at: i64| if at < 0 { at.saturating_add(dim) } else { at };
    let (first, n) = if step > 0 {
        let (first, last) = (place(start).clamp(0, dim), place(end).clamp(0, dim));
        (first, (last - first).max(0).div_ceil_of(step))
    } else {
        let (first, last) = (
            place(start).clamp(-1, dim - 1),
            place(end).clamp(-1, dim - 1),
        );
        (first.max(0), (first - last).max(0).div_ceil_of(-step))
    };
    Ok((first, n))
}

trait DivCeil {
    fn div_ceil_of(self, by: i64) -> i64;
}

impl DivCeil for i64 {
    /// Of a number that is not negative, by one that is positive.
    fn div_ceil_of(self, by: i64) -> i64 {
        (self / by).saturating_add(i64::from(self % by != 0))
    }
}

/// Lengths of dimensions that are not negative.
fn lengths(dims: &[i64]) -> Result<Vec<usize>> {
    checked(
        dims.iter()
            .map(|dim| usize::try_from(*dim).unwrap_or(usize::MAX))
            .collect(),
    )
}
