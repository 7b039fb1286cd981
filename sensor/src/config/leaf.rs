//! Keys with the values that they were set to, and where.

use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

/// Place where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Environment(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One key that was set.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    pub path: String,
    pub given: Given,
    pub origin: Origin,
}

/// Value that a key was set to.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    Value(Value),
    /// Items of a list of values.
    List(Vec<(Value, Origin)>),
    /// Tables of a list of tables.
    Tables(Vec<Item>),
}

/// One table of a list of tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub origin: Origin,
    pub leaves: Vec<Leaf>,
}
