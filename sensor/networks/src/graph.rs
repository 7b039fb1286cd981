//! An ONNX file as its graph: nodes, constants, input and output. The numbers of fields are those of
//! `onnx.proto3` (IR versions 7 to 12).

use std::collections::BTreeMap;

use crate::error::{NetworkError, Result, damaged, too_large, unsupported};
use crate::wire::{Fields, Value};

/// Longest file that is read.
pub const MAX_FILE_BYTES: usize = 16 << 20;
/// Nodes and constants of a file.
const MAX_NODES: usize = 4_096;
const MAX_CONSTANTS: usize = 4_096;
/// Attributes and names of one node.
const MAX_OF_NODE: usize = 64;
/// Dimensions of a tensor, and elements.
pub(crate) const MAX_RANK: usize = 6;
pub(crate) const MAX_ELEMENTS: usize = 1 << 22;
/// Operator sets whose meaning is known here.
const OPSETS: std::ops::RangeInclusive<i64> = 13..=24;

/// A network that was read and is in order as far as its bytes go; whether its layers are known and fit each
/// other shows when it is planned ([`crate::Plan::new`]).
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) nodes: Vec<Node>,
    pub(crate) constants: BTreeMap<String, Tensor>,
    pub(crate) input: String,
    pub(crate) output: String,
    /// Lengths of the input's dimensions after that of the rows.
    pub(crate) row: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) kind: String,
    pub(crate) domain: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) attributes: BTreeMap<String, Attribute>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Attribute {
    pub(crate) int: Option<i64>,
    pub(crate) float: Option<f32>,
    pub(crate) text: Option<String>,
    pub(crate) ints: Vec<i64>,
    pub(crate) texts: Vec<String>,
    pub(crate) tensor: Option<Tensor>,
}

/// A constant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Numbers,
}

#[derive(Clone, Debug)]
pub(crate) enum Numbers {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::Floats(Vec::new())
    }
}

impl Network {
    /// Reads a file.
    ///
    /// # Errors
    /// When the bytes are no ONNX file, are beyond the limits, or want what is not evaluated here.
    pub fn read(file: &[u8]) -> Result<Self> {
        if file.len() > MAX_FILE_BYTES {
            return too_large(format!(
                "{} bytes, where {MAX_FILE_BYTES} is the most",
                file.len()
            ));
        }
        let (mut graph, mut opset) = (None, None);
        for field in Fields::new(file) {
            match field? {
                (7, value) => graph = Some(value.bytes()?),
                (8, value) => opset = opset_of(value)?.or(opset),
                _ => {}
            }
        }
        let (Some(graph), Some(opset)) = (graph, opset) else {
            return damaged("it has no graph or no operator set");
        };
        if !OPSETS.contains(&opset) {
            return unsupported(format!(
                "operator set {opset}; export with one of {} to {}",
                OPSETS.start(),
                OPSETS.end()
            ));
        }
        Self::of_graph(graph)
    }

    fn of_graph(graph: &[u8]) -> Result<Self> {
        let mut nodes = Vec::new();
        let mut constants = BTreeMap::new();
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for field in Fields::new(graph) {
            match field? {
                (1, value) => nodes.push(Node::read(value.bytes()?)?),
                (5, value) => {
                    let (name, tensor) = Tensor::read(value.bytes()?)?;
                    constants.insert(name, tensor);
                }
                (11, value) => inputs.push(Port::read(value.bytes()?)?),
                (12, value) => outputs.push(Port::read(value.bytes()?)?),
                _ => {}
            }
            if nodes.len() > MAX_NODES || constants.len() > MAX_CONSTANTS {
                return too_large(format!(
                    "more than {MAX_NODES} nodes or {MAX_CONSTANTS} constants"
                ));
            }
            if inputs.len() > MAX_CONSTANTS || outputs.len() > MAX_OF_NODE {
                return too_large("too many inputs or outputs");
            }
        }
        // Old files list their constants among the inputs.
        inputs.retain(|port| !constants.contains_key(&port.name));
        let [input] = inputs.as_slice() else {
            return unsupported(format!("{} inputs, where one is fed", inputs.len()));
        };
        let Some(output) = outputs.iter().find(|port| port.is_float) else {
            return unsupported("no output of floats");
        };
        Ok(Self {
            row: input.row()?,
            input: input.name.clone(),
            output: output.name.clone(),
            nodes,
            constants,
        })
    }

    /// Lengths of a row's dimensions, as `[64, 8]` of 64 steps with 8 columns.
    pub fn row_shape(&self) -> &[usize] {
        &self.row
    }

    /// Nodes that the output of floats hangs on, in their order.
    pub(crate) fn needed(&self) -> Vec<&Node> {
        let mut wanted = std::collections::BTreeSet::from([self.output.as_str()]);
        let mut needed = Vec::new();
        for node in self.nodes.iter().rev() {
            let is_wanted = |name: &String| !name.is_empty() && wanted.contains(name.as_str());
            if node.outputs.iter().any(is_wanted) {
                wanted.extend(node.inputs.iter().map(String::as_str));
                needed.push(node);
            }
        }
        needed.reverse();
        needed
    }
}

fn opset_of(value: Value<'_>) -> Result<Option<i64>> {
    let (mut domain, mut version) = ("", 0);
    for field in Fields::new(value.bytes()?) {
        match field? {
            (1, value) => domain = value.text()?,
            (2, value) => version = value.int()?,
            _ => {}
        }
    }
    Ok(matches!(domain, "" | "ai.onnx").then_some(version))
}

impl Node {
    fn read(message: &[u8]) -> Result<Self> {
        let mut node = Self::default();
        for field in Fields::new(message) {
            match field? {
                (1, value) => node.inputs.push(value.text()?.to_owned()),
                (2, value) => node.outputs.push(value.text()?.to_owned()),
                (4, value) => value.text()?.clone_into(&mut node.kind),
                (5, value) => {
                    let (name, attribute) = Attribute::read(value.bytes()?)?;
                    node.attributes.insert(name, attribute);
                }
                (7, value) => value.text()?.clone_into(&mut node.domain),
                _ => {}
            }
            if node.attributes.len() > MAX_OF_NODE
                || node.inputs.len() > MAX_OF_NODE
                || node.outputs.len() > MAX_OF_NODE
            {
                return too_large(format!(
                    "a node with more than {MAX_OF_NODE} names or attributes"
                ));
            }
        }
        Ok(node)
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        let attribute = self.attributes.get(name);
        attribute.and_then(|a| a.int).unwrap_or(default)
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> f32 {
        let attribute = self.attributes.get(name);
        attribute.and_then(|a| a.float).unwrap_or(default)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        let attribute = self.attributes.get(name);
        attribute.and_then(|a| a.text.as_deref()).unwrap_or("")
    }

    pub(crate) fn ints(&self, name: &str) -> &[i64] {
        self.attributes.get(name).map_or(&[], |a| &a.ints)
    }

    /// Name in messages.
    pub(crate) fn title(&self) -> String {
        let name = self.outputs.first().map_or("", String::as_str);
        let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        let kind: String = self
            .kind
            .chars()
            .filter(|c| !c.is_control())
            .take(40)
            .collect();
        format!("{kind} ({name})")
    }
}

impl Attribute {
    fn read(message: &[u8]) -> Result<(String, Self)> {
        let (mut name, mut attribute) = (String::new(), Self::default());
        for field in Fields::new(message) {
            match field? {
                (1, value) => value.text()?.clone_into(&mut name),
                (2, value) => attribute.float = Some(value.float()?),
                (3, value) => attribute.int = Some(value.int()?),
                // Some exporters put bytes here that are no text: of no layer known here.
                (4, value) => attribute.text = value.text().ok().map(str::to_owned),
                (5, value) => attribute.tensor = Some(Tensor::read(value.bytes()?)?.1),
                (8, value) => value.ints(&mut attribute.ints)?,
                // Layers known here name a handful of functions.
                (9, value) if attribute.texts.len() < MAX_OF_NODE => {
                    attribute.texts.extend(value.text().ok().map(str::to_owned));
                }
                _ => {}
            }
        }
        Ok((name, attribute))
    }
}

/// Parts of a constant as they stand in the file.
#[derive(Default)]
struct Raw<'a> {
    name: String,
    dims: Vec<i64>,
    kind: i64,
    floats: Vec<f32>,
    ints: Vec<i64>,
    bytes: Option<&'a [u8]>,
    is_external: bool,
}

impl Tensor {
    fn read(message: &[u8]) -> Result<(String, Self)> {
        let mut raw = Raw::default();
        for field in Fields::new(message) {
            match field? {
                (1, value) => value.ints(&mut raw.dims)?,
                (2, value) => raw.kind = value.int()?,
                (4, value) => value.floats(&mut raw.floats)?,
                (5 | 7, value) => value.ints(&mut raw.ints)?,
                (8, value) => value.text()?.clone_into(&mut raw.name),
                (9, value) => raw.bytes = Some(value.bytes()?),
                (13, _) => raw.is_external = true,
                (14, value) => raw.is_external |= value.int()? != 0,
                _ => {}
            }
        }
        if raw.is_external {
            return unsupported("weights outside of the file; export with all of them in it");
        }
        let shape = shape_of(&raw.dims)?;
        let n = shape.iter().product::<usize>();
        let data = raw.numbers()?;
        let n_given = match &data {
            Numbers::Floats(all) => all.len(),
            Numbers::Ints(all) => all.len(),
        };
        if n != n_given {
            return damaged(format!("a constant of {n} numbers has {n_given}"));
        }
        Ok((raw.name, Self { shape, data }))
    }
}

/// Checks dimensions. A product of those that it lets through does not overflow.
fn shape_of(dims: &[i64]) -> Result<Vec<usize>> {
    let shape: Vec<usize> = dims
        .iter()
        .map(|dim| usize::try_from(*dim).unwrap_or(usize::MAX))
        .collect();
    checked(shape)
}

/// Refuses a shape with too many dimensions or elements.
pub(crate) fn checked(shape: Vec<usize>) -> Result<Vec<usize>> {
    // An empty dimension hides no overflow of those beside it.
    let n = shape
        .iter()
        .try_fold(1usize, |n, dim| n.checked_mul((*dim).max(1)));
    if shape.len() > MAX_RANK || n.is_none_or(|n| n > MAX_ELEMENTS) {
        return too_large(format!(
            "a tensor with more than {MAX_RANK} dimensions or {MAX_ELEMENTS} numbers"
        ));
    }
    Ok(shape)
}

impl Raw<'_> {
    fn numbers(&self) -> Result<Numbers> {
        let bytes = self.bytes.unwrap_or_default();
        let data = match (self.kind, self.bytes.is_some()) {
            (1, false) => Numbers::Floats(self.floats.clone()),
            (6 | 7, false) => Numbers::Ints(self.ints.clone()),
            (1, true) => {
                let (whole, _) = bytes.as_chunks();
                Numbers::Floats(whole.iter().map(|b| f32::from_le_bytes(*b)).collect())
            }
            (6, true) => {
                let (whole, _) = bytes.as_chunks();
                let ints = whole.iter().map(|b| i64::from(i32::from_le_bytes(*b)));
                Numbers::Ints(ints.collect())
            }
            (7, true) => {
                let (whole, _) = bytes.as_chunks();
                Numbers::Ints(whole.iter().map(|b| i64::from_le_bytes(*b)).collect())
            }
            (kind, _) => {
                return unsupported(format!(
                    "constants of ONNX type {kind}; export 32-bit floats"
                ));
            }
        };
        Ok(data)
    }
}

/// An input or output of the graph.
struct Port {
    name: String,
    is_float: bool,
    /// Lengths, none where the file leaves one free.
    dims: Vec<Option<i64>>,
}

impl Port {
    fn read(message: &[u8]) -> Result<Self> {
        let mut port = Self {
            name: String::new(),
            is_float: false,
            dims: Vec::new(),
        };
        for field in Fields::new(message) {
            match field? {
                (1, value) => value.text()?.clone_into(&mut port.name),
                (2, value) => {
                    for field in Fields::new(value.bytes()?) {
                        if let (1, tensor) = field? {
                            port.read_type(tensor.bytes()?)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(port)
    }

    fn read_type(&mut self, message: &[u8]) -> Result<()> {
        for field in Fields::new(message) {
            match field? {
                (1, value) => self.is_float = value.int()? == 1,
                (2, value) => {
                    for dim in Fields::new(value.bytes()?) {
                        if let (1, value) = dim? {
                            self.dims.push(length(value.bytes()?)?);
                        }
                        if self.dims.len() > MAX_RANK {
                            return too_large(format!("more than {MAX_RANK} dimensions"));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn row(&self) -> Result<Vec<usize>> {
        if !self.is_float {
            return unsupported("an input that is not of 32-bit floats");
        }
        let Some((None, dims)) = self.dims.split_first() else {
            return unsupported(
                "a fixed number of rows; export with the first dimension left free",
            );
        };
        let dims: Option<Vec<i64>> = dims.iter().copied().collect();
        let Some(dims) = dims.filter(|dims| !dims.is_empty()) else {
            return unsupported("an input whose rows have no fixed lengths");
        };
        let row = shape_of(&dims)?;
        if row.contains(&0) {
            return Err(NetworkError::Shape("an input without numbers".to_owned()));
        }
        Ok(row)
    }
}

fn length(message: &[u8]) -> Result<Option<i64>> {
    let mut length = None;
    for field in Fields::new(message) {
        if let (1, value) = field? {
            length = Some(value.int()?);
        }
    }
    Ok(length)
}
