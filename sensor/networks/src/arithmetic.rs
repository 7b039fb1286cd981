//! Operators that compute element by element, sums along dimensions, softmax.

use crate::error::{Result, misfit, unsupported};
use crate::graph::{Node, checked};
use crate::layout::{broadcast, spread};
use crate::plan::{Builder, Data, Value};
use crate::step::{Binary, Fold, Side, Step, Unary};

impl Builder {
    /// Plans a node of this kind; `None`: it is of another.
    pub(crate) fn arithmetic(&mut self, node: &Node) -> Result<Option<Value>> {
        if let Some(kind) = self.unary_kind(node)? {
            let value = self.input(node, 0)?;
            let from = self.buffer(&value)?;
            return self.step(value.shape, Step::Unary(kind, from)).map(Some);
        }
        let value = match node.kind.as_str() {
            "Add" => self.binary(node, Binary::Add)?,
            "Sub" => self.binary(node, Binary::Subtract)?,
            "Mul" => self.binary(node, Binary::Multiply)?,
            "Div" => self.binary(node, Binary::Divide)?,
            "Pow" => self.binary(node, Binary::Power)?,
            "Max" => self.binary(node, Binary::Greater)?,
            "Min" => self.binary(node, Binary::Lesser)?,
            "ReduceMean" => self.reduce(node, Fold::Mean)?,
            "ReduceSum" => self.reduce(node, Fold::Sum)?,
            "ReduceMax" => self.reduce(node, Fold::Max)?,
            "ReduceMin" => self.reduce(node, Fold::Min)?,
            "GlobalAveragePool" => self.global(node, Fold::Mean)?,
            "GlobalMaxPool" => self.global(node, Fold::Max)?,
            "Softmax" => self.softmax(node)?,
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    fn unary_kind(&self, node: &Node) -> Result<Option<Unary>> {
        let kind = match node.kind.as_str() {
            "Relu" => Unary::Relu,
            "LeakyRelu" => Unary::LeakyRelu(node.float("alpha", 0.01)),
            "Elu" => Unary::Elu(node.float("alpha", 1.0)),
            "Sigmoid" => Unary::Sigmoid,
            "HardSigmoid" => Unary::HardSigmoid(node.float("alpha", 0.2), node.float("beta", 0.5)),
            "Tanh" => Unary::Tanh,
            "Softplus" => Unary::Softplus,
            "Exp" => Unary::Exp,
            "Log" => Unary::Log,
            "Sqrt" => Unary::Sqrt,
            "Neg" => Unary::Negate,
            "Abs" => Unary::Absolute,
            "Reciprocal" => Unary::Reciprocal,
            "Clip" => {
                let limit = |place: usize, default: f32| {
                    let all = self.floats(node, place)?.map(|(_, all)| all);
                    Ok(all.and_then(|all| all.first().copied()).unwrap_or(default))
                };
                Unary::Clip(limit(1, f32::NEG_INFINITY)?, limit(2, f32::INFINITY)?)
            }
            _ => return Ok(None),
        };
        Ok(Some(kind))
    }

    fn binary(&mut self, node: &Node, kind: Binary) -> Result<Value> {
        if node.inputs.len() != 2 {
            return unsupported(format!("{} operands, where two go", node.inputs.len()));
        }
        let (a, b) = (self.input(node, 0)?, self.input(node, 1)?);
        let shape = broadcast(&a.shape, &b.shape)?;
        if let (Data::Ints(x), Data::Ints(y)) = (&a.data, &b.data) {
            self.spend(shape.iter().product())?;
            let (of_a, of_b) = (spread(&a.shape, &shape), spread(&b.shape, &shape));
            let at = |all: &[i64], place: &u32| all.get(*place as usize).copied().unwrap_or(0);
            let places = of_a.iter().zip(&of_b);
            let all: Option<Vec<i64>> = places
                .map(|(i, j)| whole(kind, at(x, i), at(y, j)))
                .collect();
            return match all {
                Some(all) => Ok(Value::ints(shape, all)),
                None => misfit("integers that have no result"),
            };
        }
        let mut side = |value: &Value| {
            let index = if value.shape == shape {
                None
            } else {
                self.spend(shape.iter().product())?;
                Some(spread(&value.shape, &shape))
            };
            Ok(Side {
                from: self.buffer(value)?,
                index,
            })
        };
        let (a, b) = (side(&a)?, side(&b)?);
        self.step(shape, Step::Binary(kind, a, b))
    }

    fn reduce(&mut self, node: &Node, kind: Fold) -> Result<Value> {
        let value = self.input(node, 0)?;
        let axes = self.axes(node, 1)?;
        if axes.is_empty() && node.int("noop_with_empty_axes", 0) != 0 {
            return Ok(value);
        }
        let rank = value.shape.len();
        let mut axes: Vec<usize> = axes.iter().map(|a| value.axis(*a)).collect::<Result<_>>()?;
        if axes.is_empty() {
            axes = (0..rank).collect();
        }
        axes.sort_unstable();
        axes.dedup();
        self.folded(&value, &axes, node.int("keepdims", 1) != 0, kind)
    }

    fn folded(&mut self, value: &Value, axes: &[usize], keeps: bool, kind: Fold) -> Result<Value> {
        let kept = (0..value.shape.len()).filter(|i| !axes.contains(i));
        let order: Vec<usize> = kept.chain(axes.iter().copied()).collect();
        let turned = self.permuted(value, &order)?;
        let n_kept = order.len() - axes.len();
        let (outer, inner) = turned.shape.split_at(n_kept);
        let n: usize = inner.iter().product();
        if n == 0 {
            return misfit("a mean of nothing");
        }
        let shape = if keeps {
            let dims = value.shape.iter().enumerate();
            dims.map(|(i, dim)| if axes.contains(&i) { 1 } else { *dim })
                .collect()
        } else {
            outer.to_vec()
        };
        self.work(turned.len())?;
        let from = self.buffer(&turned)?;
        self.step(checked(shape)?, Step::Fold(kind, from, n))
    }

    /// Over all dimensions behind rows and channels.
    fn global(&mut self, node: &Node, kind: Fold) -> Result<Value> {
        let value = self.input(node, 0)?;
        let axes: Vec<usize> = (2..value.shape.len()).collect();
        if axes.is_empty() {
            return misfit("nothing to pool");
        }
        self.folded(&value, &axes, true, kind)
    }

    fn softmax(&mut self, node: &Node) -> Result<Value> {
        let value = self.input(node, 0)?;
        let axis = value.axis(node.int("axis", -1))?;
        let n = value.shape.get(axis).copied().unwrap_or(1);
        let inner = value.shape.iter().skip(axis + 1).product();
        let from = self.buffer(&value)?;
        self.step(value.shape, Step::Softmax { from, n, inner })
    }
}

/// Arithmetic on lengths.
fn whole(kind: Binary, a: i64, b: i64) -> Option<i64> {
    match kind {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide => a.checked_div(b),
        Binary::Power => a.checked_pow(u32::try_from(b).ok()?),
        Binary::Greater => Some(a.max(b)),
        Binary::Lesser => Some(a.min(b)),
    }
}
