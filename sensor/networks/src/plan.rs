//! From a network to steps for a number of rows: shapes are followed through the nodes, what hangs on them
//! alone is computed here, and every buffer gets its memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{NetworkError, Result, damaged, misfit, too_large, unsupported};
use crate::graph::{Network, Node, Numbers, checked};
use crate::step::{Buffer, Buffers, Step};

/// Rows that a plan takes at once.
pub const MAX_BATCH: usize = 1_024;
/// Numbers of all buffers, constants and tables of a plan: 64 MiB.
const MAX_NUMBERS: usize = 1 << 24;
/// Multiplications for one row.
const MAX_WORK: u64 = 1 << 24;

/// A network for a number of rows at once, with its memory.
#[derive(Clone, Debug)]
pub struct Plan {
    batch: usize,
    row: usize,
    n_out: usize,
    input: Buffer,
    output: Buffer,
    buffers: Buffers,
    steps: Vec<(Buffer, Step)>,
}

impl Plan {
    /// Plans a network for up to `batch` rows at once.
    ///
    /// # Errors
    /// When a layer is not known here, shapes don't fit, or it would take too much memory or time.
    pub fn new(network: &Network, batch: usize) -> Result<Self> {
        if batch == 0 || batch > MAX_BATCH {
            return too_large(format!("{batch} rows at once, where 1 to {MAX_BATCH} go"));
        }
        let mut builder = Builder::new(network, batch)?;
        let row = network.row.iter().product();
        let mut shape = vec![batch];
        shape.extend(&network.row);
        let input = builder.live(checked(shape)?)?;
        let Data::Live(from) = input.data else {
            return misfit("no input");
        };
        builder.values.insert(network.input.clone(), input);
        for node in network.needed() {
            builder.add(node).map_err(|cause| cause.of(&node.title()))?;
        }
        let Some(output) = builder.values.get(&network.output).cloned() else {
            return damaged("nothing gives its output");
        };
        let Some((_, rest)) = output.shape.split_first().filter(|(n, _)| **n == batch) else {
            return misfit(format!("an output of {:?} for {batch} rows", output.shape));
        };
        let n_out = rest.iter().product();
        if n_out == 0 {
            return misfit("an output without numbers");
        }
        Ok(Self {
            batch,
            row,
            n_out,
            input: from,
            output: builder.buffer(&output)?,
            buffers: builder.buffers,
            steps: builder.steps,
        })
    }

    /// Rows that it takes at once.
    pub const fn batch(&self) -> usize {
        self.batch
    }

    /// Numbers of a row.
    pub const fn row_len(&self) -> usize {
        self.row
    }

    /// Numbers that it answers for each row.
    pub const fn answer_len(&self) -> usize {
        self.n_out
    }

    /// Runs it on rows one behind the other, as many as [`Self::batch`] at most; what is beyond, and a row that
    /// is cut short, is left out. Returns the answers, one behind the other. Allocates nothing.
    pub fn run(&mut self, rows: &[f32]) -> &[f32] {
        let n_rows = (rows.len() / self.row.max(1)).min(self.batch);
        if let Some(input) = self.buffers.get_mut(self.input) {
            let n = n_rows * self.row;
            for (place, value) in input.iter_mut().zip(rows.iter().take(n)) {
                *place = *value;
            }
            // What an earlier run left in the other rows is of no use.
            input.iter_mut().skip(n).for_each(|place| *place = 0.0);
        }
        for (to, step) in &self.steps {
            step.run(*to, &mut self.buffers);
        }
        let answers = self.buffers.get(self.output).map_or(&[][..], |all| all);
        answers.get(..n_rows * self.n_out).unwrap_or(&[])
    }
}

/// Facts of a value while planning.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Data,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    Ints(Arc<[i64]>),
    Floats(Arc<[f32]>),
    /// Only known when the plan runs.
    Live(Buffer),
}

/// Constant floats with their shape.
pub(crate) type Floats = (Vec<usize>, Arc<[f32]>);

impl Value {
    pub(crate) fn ints(shape: Vec<usize>, all: Vec<i64>) -> Self {
        Self {
            shape,
            data: Data::Ints(all.into()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Place of a dimension that may be counted from the end.
    pub(crate) fn axis(&self, axis: i64) -> Result<usize> {
        axis_of(axis, self.shape.len())
    }
}

/// Place of a dimension that may be counted from the end, among `rank`.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let from_end = if axis < 0 {
        axis.saturating_add(rank as i64)
    } else {
        axis
    };
    match usize::try_from(from_end) {
        Ok(axis) if axis < rank => Ok(axis),
        _ => misfit(format!("dimension {axis} of {rank}")),
    }
}

pub(crate) struct Builder {
    batch: usize,
    values: BTreeMap<String, Value>,
    buffers: Buffers,
    steps: Vec<(Buffer, Step)>,
    n_numbers: usize,
    work: u64,
}

impl Builder {
    fn new(network: &Network, batch: usize) -> Result<Self> {
        let mut builder = Self {
            batch,
            values: BTreeMap::new(),
            buffers: Vec::new(),
            steps: Vec::new(),
            n_numbers: 0,
            work: 0,
        };
        for (name, tensor) in &network.constants {
            let value = builder.constant(&tensor.shape, &tensor.data)?;
            builder.values.insert(name.clone(), value);
        }
        Ok(builder)
    }

    pub(crate) fn constant(&mut self, shape: &[usize], data: &Numbers) -> Result<Value> {
        self.spend(shape.iter().product())?;
        let data = match data {
            Numbers::Floats(all) => Data::Floats(all.as_slice().into()),
            Numbers::Ints(all) => Data::Ints(all.as_slice().into()),
        };
        Ok(Value {
            shape: shape.to_vec(),
            data,
        })
    }

    /// Counts memory before it is taken.
    pub(crate) fn spend(&mut self, n: usize) -> Result<()> {
        self.n_numbers = self.n_numbers.saturating_add(n);
        if self.n_numbers > MAX_NUMBERS {
            return too_large(format!("more than {MAX_NUMBERS} numbers in memory"));
        }
        Ok(())
    }

    /// Counts multiplications of all rows before they are planned.
    pub(crate) fn work(&mut self, n: usize) -> Result<()> {
        self.work = self.work.saturating_add(n as u64);
        if self.work > MAX_WORK.saturating_mul(self.batch as u64) {
            return too_large(format!("more than {MAX_WORK} multiplications a row"));
        }
        Ok(())
    }

    /// A buffer for a value that is only known later.
    pub(crate) fn live(&mut self, shape: Vec<usize>) -> Result<Value> {
        let shape = checked(shape)?;
        let buffer = self.scratch(shape.iter().product())?;
        Ok(Value {
            shape,
            data: Data::Live(buffer),
        })
    }

    pub(crate) fn scratch(&mut self, n: usize) -> Result<Buffer> {
        self.spend(n)?;
        self.buffers.push(vec![0.0; n]);
        Ok(self.buffers.len() - 1)
    }

    /// The buffer of a value; a constant gets one that nothing writes to.
    pub(crate) fn buffer(&mut self, value: &Value) -> Result<Buffer> {
        match &value.data {
            Data::Live(buffer) => Ok(*buffer),
            Data::Floats(all) => {
                self.spend(all.len())?;
                self.buffers.push(all.to_vec());
                Ok(self.buffers.len() - 1)
            }
            Data::Ints(_) => misfit("integers where floats have to be"),
        }
    }

    /// Adds a step that gives a value of this shape.
    pub(crate) fn step(&mut self, shape: Vec<usize>, step: Step) -> Result<Value> {
        let value = self.live(shape)?;
        if let Data::Live(buffer) = value.data {
            self.work(value.len())?;
            self.steps.push((buffer, step));
        }
        Ok(value)
    }

    /// An input of a node, if it has it.
    pub(crate) fn optional(&self, node: &Node, place: usize) -> Result<Option<Value>> {
        let Some(name) = node.inputs.get(place).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        match self.values.get(name) {
            Some(value) => Ok(Some(value.clone())),
            None => damaged("an input that nothing before it gives"),
        }
    }

    pub(crate) fn input(&self, node: &Node, place: usize) -> Result<Value> {
        match self.optional(node, place)? {
            Some(value) => Ok(value),
            None => damaged(format!("input {place} is missing")),
        }
    }

    /// A constant input of integers.
    pub(crate) fn ints(&self, node: &Node, place: usize) -> Result<Option<Arc<[i64]>>> {
        match self.optional(node, place)?.map(|value| value.data) {
            None => Ok(None),
            Some(Data::Ints(all)) => Ok(Some(all)),
            Some(_) => unsupported("a shape that depends on the values of the input"),
        }
    }

    /// A constant input of floats.
    pub(crate) fn floats(&self, node: &Node, place: usize) -> Result<Option<Floats>> {
        let Some(value) = self.optional(node, place)? else {
            return Ok(None);
        };
        match value.data {
            Data::Floats(all) => Ok(Some((value.shape, all))),
            _ => unsupported("weights that are not constant"),
        }
    }

    fn add(&mut self, node: &Node) -> Result<()> {
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return unsupported(format!(
                "an operator of {}: forests and isolation forests are no networks, and nothing here walks their \
                 trees",
                node.domain
                    .chars()
                    .take(40)
                    .collect::<String>()
                    .escape_debug()
            ));
        }
        let found = match node.kind.as_str() {
            "LSTM" | "GRU" => return self.recurrent(node),
            "Dropout" => Some(self.input(node, 0)?),
            _ => None,
        };
        let found = match found {
            Some(found) => Some(found),
            None => match self.layout(node)? {
                Some(found) => Some(found),
                None => match self.arithmetic(node)? {
                    Some(found) => Some(found),
                    None => self.layer(node)?,
                },
            },
        };
        let Some(value) = found else {
            return unsupported("an operator that is not known here");
        };
        self.give(node, 0, value)
    }

    /// Notes what a node gives.
    pub(crate) fn give(&mut self, node: &Node, place: usize, value: Value) -> Result<()> {
        if let Some(name) = node.outputs.get(place).filter(|name| !name.is_empty()) {
            if self.values.contains_key(name) {
                return damaged("two nodes that give the same");
            }
            self.values.insert(name.clone(), value);
        }
        Ok(())
    }
}

impl NetworkError {
    /// Says where.
    fn of(self, node: &str) -> Self {
        let named = |what: String| format!("{node}: {what}");
        match self {
            Self::Damaged(what) => Self::Damaged(named(what)),
            Self::Unsupported(what) => Self::Unsupported(named(what)),
            Self::TooLarge(what) => Self::TooLarge(named(what)),
            Self::Shape(what) => Self::Shape(named(what)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_takes_no_memory() {
        let file = include_bytes!("../tests/data/bilstm_new.onnx");
        let network = Network::read(file).expect("a good file");
        let mut plan = Plan::new(&network, 3).expect("a good network");
        let memory = |plan: &Plan| {
            let buffers = plan.buffers.iter();
            buffers
                .map(|buffer| (buffer.as_ptr(), buffer.len()))
                .collect::<Vec<_>>()
        };
        let before = memory(&plan);
        let answers = plan.run(&[0.5; 3 * 36]).len();
        assert_eq!((answers, memory(&plan)), (3, before));
    }
}
