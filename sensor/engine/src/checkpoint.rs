//! What was learned as bytes, to go on after a restart.
//!
//! A header of 32 bytes (magic, format version, schema hash, check sum of the body), then the body in
//! the postcard format. The engine reads and writes no file: the shell does.

use std::fmt;

use sensor_common::mix;
use serde::{Serialize, de::DeserializeOwned};

use crate::features::schema_hash;

const MAGIC: [u8; 8] = *b"SNSRCKPT";
/// Increases with every change of what is saved.
const VERSION: u64 = 4;
const HEADER: usize = 32;

/// Why a checkpoint was not taken. The engine is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// It does not begin as one.
    NotOne,
    /// Written in another format.
    Version { found: u64 },
    /// Learned from features of another schema.
    Schema { found: u64 },
    /// The check sum differs, or the body can't be read.
    Damaged,
    /// Learned by other models than are configured.
    Models,
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOne => write!(f, "not a checkpoint of a sensor"),
            Self::Version { found } => write!(
                f,
                "checkpoint format {found}, this sensor reads format {VERSION}; what was learned must be learned again"
            ),
            Self::Schema { found } => write!(
                f,
                "checkpoint of feature schema {found:016x}, this sensor has {:016x}; what was learned must be learned again",
                schema_hash()
            ),
            Self::Damaged => write!(f, "damaged checkpoint"),
            Self::Models => write!(
                f,
                "checkpoint of other models than engine.scoring.models names; what was learned must be learned again"
            ),
        }
    }
}

impl std::error::Error for CheckpointError {}

pub(crate) fn encode(learned: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    // Writing to memory fails on nothing that is saved: all of it has a known length.
    let body = postcard::to_stdvec(learned).unwrap_or_default();
    let header = [VERSION, schema_hash(), check_sum(&body)];
    let words = header.iter().flat_map(|word| word.to_le_bytes());
    let header: Vec<u8> = MAGIC.into_iter().chain(words).collect();
    bytes.splice(..HEADER, header);
    bytes.extend_from_slice(&body);
    bytes
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CheckpointError> {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(CheckpointError::NotOne);
    };
    let word = |i: usize| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(header.iter().skip(8 * i)) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    };
    if !header.starts_with(&MAGIC) {
        return Err(CheckpointError::NotOne);
    }
    if word(1) != VERSION {
        return Err(CheckpointError::Version { found: word(1) });
    }
    if word(2) != schema_hash() {
        return Err(CheckpointError::Schema { found: word(2) });
    }
    if word(3) != check_sum(body) {
        return Err(CheckpointError::Damaged);
    }
    postcard::from_bytes(body).map_err(|_| CheckpointError::Damaged)
}

/// Finds bad disks, not forgers: who can write the file can do worse.
pub(crate) fn check_sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    });
    words.fold(bytes.len() as u64, |sum, word| {
        mix(sum ^ word, sum.rotate_left(29), 0x5eed_c0de)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was() {
        let learned = (vec![1.5f32, -2.0], 7u64, String::from("x"));
        let bytes = encode(&learned);
        assert_eq!(decode::<(Vec<f32>, u64, String)>(&bytes), Ok(learned));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let bytes = encode(&7u64);
        let with = |at: usize| {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            decode::<u64>(&bad)
        };
        assert_eq!(with(0), Err(CheckpointError::NotOne));
        assert_eq!(
            with(8),
            Err(CheckpointError::Version { found: VERSION ^ 1 })
        );
        assert!(matches!(with(16), Err(CheckpointError::Schema { .. })));
        assert_eq!(with(24), Err(CheckpointError::Damaged));
        assert_eq!(with(32), Err(CheckpointError::Damaged));
        assert_eq!(decode::<u64>(&bytes[..20]), Err(CheckpointError::NotOne));
        let short = bytes.get(..bytes.len() - 1).unwrap_or_default();
        assert_eq!(decode::<u64>(short), Err(CheckpointError::Damaged));
    }
}
