//! Boosted trees as bytes: a header of 40 bytes (magic, format, schema version, schema hash, length and
//! check sum of the body), then the body in the postcard format.

use std::fmt;

use super::{Boosted, LEAF, MAX_DEPTH, MAX_NODES, MAX_TREES};
use crate::checkpoint::check_sum;
use crate::features::{N_PAIR_FEATURES, PAIR_SCHEMA_VERSION, pair_schema_hash};

const MAGIC: [u8; 8] = *b"SNSRPAIR";
/// Increases with every change of what is saved.
const FORMAT: u32 = 1;
const HEADER: usize = 40;

/// Reason why a model file was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoostedError {
    NotOne,
    Format(u32),
    Schema {
        version: u32,
        hash: u64,
    },
    Damaged,
    /// Bounds that it breaks.
    Limits(&'static str),
}

impl fmt::Display for BoostedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const REMEDY: &str = "train one with `sensor train --windows PATH --output FILE`";
        match self {
            Self::NotOne => write!(f, "not a model of windows; {REMEDY}"),
            Self::Format(found) => write!(
                f,
                "model of windows of format {found}, this sensor reads format {FORMAT}; {REMEDY}"
            ),
            Self::Schema { version, hash } => write!(
                f,
                "model of windows of schema {version} ({hash:016x}), this sensor has schema \
                 {PAIR_SCHEMA_VERSION} ({:016x}); {REMEDY}",
                pair_schema_hash()
            ),
            Self::Damaged => write!(f, "damaged model of windows; copy it again, or {REMEDY}"),
            Self::Limits(what) => write!(f, "model of windows with {what}; {REMEDY}"),
        }
    }
}

impl std::error::Error for BoostedError {}

impl Boosted {
    pub fn to_bytes(&self) -> Vec<u8> {
        // Writing to memory fails on nothing that is saved: all of it has a known length.
        let body = postcard::to_stdvec(self).unwrap_or_default();
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(PAIR_SCHEMA_VERSION.to_le_bytes());
        bytes.extend(pair_schema_hash().to_le_bytes());
        bytes.extend((body.len() as u64).to_le_bytes());
        bytes.extend(check_sum(&body).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// Reads a model.
    ///
    /// # Errors
    /// What is wrong with the bytes, and the remedy.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BoostedError> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(BoostedError::NotOne);
        };
        let word = |at: usize, n: usize| {
            let bytes = header.iter().skip(at).take(n).rev();
            bytes.fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        if !header.starts_with(&MAGIC) {
            return Err(BoostedError::NotOne);
        }
        if word(8, 4) != u64::from(FORMAT) {
            return Err(BoostedError::Format(word(8, 4) as u32));
        }
        let (version, hash) = (word(12, 4) as u32, word(16, 8));
        if version != PAIR_SCHEMA_VERSION || hash != pair_schema_hash() {
            return Err(BoostedError::Schema { version, hash });
        }
        if word(24, 8) != body.len() as u64 || word(32, 8) != check_sum(body) {
            return Err(BoostedError::Damaged);
        }
        let model: Self = postcard::from_bytes(body).map_err(|_| BoostedError::Damaged)?;
        model.check()?;
        Ok(model)
    }

    /// Identity of a model: a hash of all of it.
    pub fn id(&self) -> u64 {
        check_sum(&postcard::to_stdvec(self).unwrap_or_default())
    }

    fn check(&self) -> Result<(), BoostedError> {
        let n = self.column.len();
        if n > MAX_NODES || self.value.len() != n || self.right.len() != n {
            return Err(BoostedError::Limits("more nodes than a model may have"));
        }
        if self.roots.len() > MAX_TREES {
            return Err(BoostedError::Limits("more than 1,024 trees"));
        }
        let is_finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let sums = [self.base, self.scale.ordinary];
        if self.scale.typical.len() > N_PAIR_FEATURES || !is_finite(&self.scale.typical) {
            return Err(BoostedError::Limits("other columns than the schema"));
        }
        if !is_finite(&self.value) || !is_finite(&self.scale.tail) || !is_finite(&sums) {
            return Err(BoostedError::Limits("values that are no numbers"));
        }
        if self.scale.alarm.iter().any(|sum| sum.is_nan()) {
            return Err(BoostedError::Limits("thresholds that are no numbers"));
        }
        let is_node = |at: usize| {
            let column = self.column.get(at).copied().unwrap_or(LEAF);
            let right = self.right.get(at).map_or(0, |right| *right as usize);
            column == LEAF || (usize::from(column) < N_PAIR_FEATURES && right > at + 1 && right < n)
        };
        if !(0..n).all(is_node) || self.roots.iter().any(|root| *root as usize >= n) {
            return Err(BoostedError::Limits("links that lead nowhere"));
        }
        if self
            .roots
            .iter()
            .any(|root| self.depth(*root as usize) > MAX_DEPTH)
        {
            return Err(BoostedError::Limits("trees of more than 12 levels"));
        }
        Ok(())
    }

    /// Greatest number of steps below a node; links lead on only, so that the walk ends.
    fn depth(&self, root: usize) -> usize {
        let mut deepest = 0;
        let mut open = vec![(root, 0)];
        while let Some((node, depth)) = open.pop() {
            deepest = deepest.max(depth);
            if depth > MAX_DEPTH {
                break;
            }
            if self.column.get(node).is_some_and(|column| *column != LEAF) {
                open.push((node + 1, depth + 1));
                open.extend(
                    self.right
                        .get(node)
                        .map(|right| (*right as usize, depth + 1)),
                );
            }
        }
        deepest
    }
}
