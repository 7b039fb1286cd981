//! A forest as bytes: a header of 40 bytes (magic, format, schema version, schema hash, length and
//! check sum of the body), then the body in the postcard format.

use std::fmt;

use super::{Forest, LEAF, MAX_CLASSES, MAX_DEPTH, MAX_NODES, MAX_TREES, N_INPUTS};
use crate::checkpoint::check_sum;
use crate::features::{SCHEMA_VERSION, schema_hash};

const MAGIC: [u8; 8] = *b"SNSRNAME";
/// Increases with every change of what is saved.
const FORMAT: u32 = 1;
const HEADER: usize = 40;
/// Larger files are none of ours.
pub const MAX_MODEL_BYTES: u64 = 8 << 20;

/// Reason why a model file was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForestError {
    NotOne,
    Format {
        found: u32,
    },
    Schema {
        version: u32,
        hash: u64,
    },
    Damaged,
    /// Bounds that it breaks.
    Limits(&'static str),
    /// A class that is no family.
    Class(String),
}

impl fmt::Display for ForestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const REMEDY: &str = "train one with `sensor train PATH --output FILE`";
        match self {
            Self::NotOne => write!(f, "not a naming model; {REMEDY}"),
            Self::Format { found } => write!(
                f,
                "naming model of format {found}, this sensor reads format {FORMAT}; {REMEDY}"
            ),
            Self::Schema { version, hash } => write!(
                f,
                "naming model of feature schema {version} ({hash:016x}), this sensor has schema \
                 {SCHEMA_VERSION} ({:016x}); {REMEDY}",
                schema_hash()
            ),
            Self::Damaged => write!(f, "damaged naming model; copy it again, or {REMEDY}"),
            Self::Limits(what) => write!(f, "naming model with {what}; {REMEDY}"),
            Self::Class(name) => write!(
                f,
                "naming model with the class \"{name}\", which is no family of this sensor; {REMEDY}"
            ),
        }
    }
}

impl std::error::Error for ForestError {}

impl Forest {
    pub fn to_bytes(&self) -> Vec<u8> {
        // Writing to memory fails on nothing that is saved: all of it has a known length.
        let body = postcard::to_stdvec(self).unwrap_or_default();
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(SCHEMA_VERSION.to_le_bytes());
        bytes.extend(schema_hash().to_le_bytes());
        bytes.extend((body.len() as u64).to_le_bytes());
        bytes.extend(check_sum(&body).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// # Errors
    /// What is wrong with the bytes, and the remedy.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ForestError> {
        if bytes.len() as u64 > MAX_MODEL_BYTES {
            return Err(ForestError::Limits("more than 8 MiB"));
        }
        let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(ForestError::NotOne);
        };
        let small = |at: usize| word(header, at, 4) as u32;
        if !header.starts_with(&MAGIC) {
            return Err(ForestError::NotOne);
        }
        if small(8) != FORMAT {
            return Err(ForestError::Format { found: small(8) });
        }
        let (version, hash) = (small(12), word(header, 16, 8));
        if version != SCHEMA_VERSION || hash != schema_hash() {
            return Err(ForestError::Schema { version, hash });
        }
        if word(header, 24, 8) != body.len() as u64 || word(header, 32, 8) != check_sum(body) {
            return Err(ForestError::Damaged);
        }
        let forest: Self = postcard::from_bytes(body).map_err(|_| ForestError::Damaged)?;
        forest.check()?;
        Ok(forest)
    }

    /// Identity of a forest: a hash of all of it.
    pub fn id(&self) -> u64 {
        check_sum(&postcard::to_stdvec(self).unwrap_or_default())
    }

    fn check(&self) -> Result<(), ForestError> {
        let n_nodes = self.column.len();
        let n_classes = self.classes.len();
        if !(2..=MAX_CLASSES).contains(&n_classes) || self.thresholds.len() != n_classes {
            return Err(ForestError::Limits("fewer than 2 or more than 32 classes"));
        }
        if !(1..=MAX_TREES).contains(&self.roots.len()) {
            return Err(ForestError::Limits("no tree, or more than 512"));
        }
        if n_nodes > MAX_NODES || self.votes.len() > MAX_NODES {
            return Err(ForestError::Limits("more than 400,000 nodes"));
        }
        if self.split.len() != n_nodes || self.right.len() != n_nodes {
            return Err(ForestError::Damaged);
        }
        let is_sound = |x: &f32| x.is_finite() && *x >= 0.0;
        if !self.thresholds.iter().all(is_sound) || !self.split.iter().all(|x| x.is_finite()) {
            return Err(ForestError::Damaged);
        }
        let classes = 0..n_classes;
        if self
            .votes
            .iter()
            .any(|(class, _)| !classes.contains(&usize::from(*class)))
        {
            return Err(ForestError::Damaged);
        }
        let ends = self.roots.iter().skip(1).copied().chain([n_nodes as u32]);
        for (root, end) in self.roots.iter().zip(ends) {
            self.check_tree(*root as usize, end as usize)?;
        }
        Ok(())
    }

    /// Children come after their parent and within the tree, at a bounded depth; every node has one
    /// parent.
    fn check_tree(&self, root: usize, end: usize) -> Result<(), ForestError> {
        if root >= end || end > self.column.len() {
            return Err(ForestError::Damaged);
        }
        let mut depth: Vec<Option<usize>> = vec![None; end - root];
        if let Some(first) = depth.first_mut() {
            *first = Some(0);
        }
        for node in root..end {
            let (column, right) = (self.column[node], self.right[node] as usize);
            let Some(Some(own)) = depth.get(node - root).copied() else {
                return Err(ForestError::Damaged);
            };
            if column >= LEAF {
                let n_votes = usize::from(column - LEAF);
                if right.saturating_add(n_votes) > self.votes.len() {
                    return Err(ForestError::Damaged);
                }
                continue;
            }
            if usize::from(column) >= N_INPUTS {
                return Err(ForestError::Damaged);
            }
            if own >= MAX_DEPTH {
                return Err(ForestError::Limits("trees deeper than 24"));
            }
            for child in [node + 1, right] {
                let place = child.checked_sub(root).filter(|_| child > node);
                match place.and_then(|place| depth.get_mut(place)) {
                    Some(known @ None) => *known = Some(own + 1),
                    _ => return Err(ForestError::Damaged),
                }
            }
        }
        Ok(())
    }
}

/// A little-endian word of `n` bytes.
fn word(bytes: &[u8], at: usize, n: usize) -> u64 {
    let taken = bytes.iter().skip(at).take(n).rev();
    taken.fold(0, |word, byte| word << 8 | u64::from(*byte))
}
