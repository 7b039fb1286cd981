//! Checkpoints: learned state as bytes, for the next run to go on with.
//!
//! A header of 32 bytes (magic, format version, schema hash, check sum of the body), then the body in
//! the postcard format. The engine reads and writes no file: the shell does.

use std::fmt;

use sensor_common::mix;
use serde::{Serialize, de::DeserializeOwned};

use crate::features::schema_hash;

const MAGIC: [u8; 8] = *b"SNSRCKPT";
/// Increases with every change of what is saved, but for parts that are added.
const VERSION: u64 = 5;
/// The format before parts had names: they follow one another, in the order in which they are read
/// today.
const UNNAMED: u64 = 4;
const HEADER: usize = 32;

/// Reason why a checkpoint was refused. The engine is left as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// Bytes that do not begin as a checkpoint.
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

/// Parts of a checkpoint, each with name and length: one that is added later leaves the others
/// readable.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    body: Vec<u8>,
}

impl Writer {
    /// Adds a part; nothing where there is nothing to keep.
    pub(crate) fn add(&mut self, name: &'static str, learned: &impl Serialize) {
        // Writing to memory fails on nothing that is saved: all of it has a known length.
        let part = postcard::to_stdvec(learned).unwrap_or_default();
        if !part.is_empty() {
            let head = postcard::to_stdvec(&(name, part.len() as u64)).unwrap_or_default();
            self.body.extend_from_slice(&head);
            self.body.extend_from_slice(&part);
        }
    }

    /// Completes the checkpoint.
    pub(crate) fn finish(&self) -> Vec<u8> {
        with_header(VERSION, &self.body)
    }
}

fn with_header(version: u64, body: &[u8]) -> Vec<u8> {
    let header = [version, schema_hash(), check_sum(body)];
    let words = header.iter().flat_map(|word| word.to_le_bytes());
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(MAGIC.into_iter().chain(words));
    bytes.extend_from_slice(body);
    bytes
}

/// Reads the parts that [`Writer`] wrote.
#[derive(Debug)]
pub(crate) enum Reader<'a> {
    Named(Vec<(&'a str, &'a [u8])>),
    /// Format [`UNNAMED`]: the parts that were not read yet.
    Unnamed(&'a [u8]),
}

impl<'a> Reader<'a> {
    /// Checks header and sum.
    ///
    /// # Errors
    /// When the bytes are no checkpoint that this sensor can use.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, CheckpointError> {
        let (version, body) = open(bytes)?;
        if version == UNNAMED {
            return Ok(Self::Unnamed(body));
        }
        let mut parts = Vec::new();
        let mut rest = body;
        while !rest.is_empty() {
            let head = postcard::take_from_bytes::<(&str, u64)>(rest);
            let ((name, n), after) = head.map_err(|_| CheckpointError::Damaged)?;
            let part = after.split_at_checked(n as usize);
            let (part, after) = part.ok_or(CheckpointError::Damaged)?;
            parts.push((name, part));
            rest = after;
        }
        Ok(Self::Named(parts))
    }

    /// A part; none where it was not written. Those of format [`UNNAMED`] must be asked for in their
    /// order.
    ///
    /// # Errors
    /// When the part can't be read.
    pub(crate) fn part<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, CheckpointError> {
        let read = match self {
            Self::Named(parts) => {
                let Some((_, bytes)) = parts.iter().find(|(known, _)| *known == name) else {
                    return Ok(None);
                };
                postcard::from_bytes(bytes)
            }
            Self::Unnamed([]) => return Ok(None),
            Self::Unnamed(rest) => postcard::take_from_bytes(rest).map(|(part, after)| {
                *rest = after;
                part
            }),
        };
        read.map(Some).map_err(|_| CheckpointError::Damaged)
    }
}

/// Format and body of a checkpoint.
fn open(bytes: &[u8]) -> Result<(u64, &[u8]), CheckpointError> {
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
    if ![UNNAMED, VERSION].contains(&word(1)) {
        return Err(CheckpointError::Version { found: word(1) });
    }
    if word(2) != schema_hash() {
        return Err(CheckpointError::Schema { found: word(2) });
    }
    if word(3) != check_sum(body) {
        return Err(CheckpointError::Damaged);
    }
    Ok((word(1), body))
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

    fn written() -> Vec<u8> {
        let mut writer = Writer::default();
        writer.add("numbers", &vec![1.5f32, -2.0]);
        writer.add("nothing", &());
        writer.add("word", &String::from("x"));
        writer.finish()
    }

    fn read(bytes: &[u8]) -> Result<(Option<Vec<f32>>, Option<String>), CheckpointError> {
        let mut reader = Reader::new(bytes)?;
        Ok((reader.part("numbers")?, reader.part("word")?))
    }

    #[test]
    fn parts_come_back_as_they_were_written_in_any_order() {
        let bytes = written();
        let (numbers, word) = (vec![1.5f32, -2.0], String::from("x"));
        assert_eq!(
            read(&bytes),
            Ok((Some(numbers.clone()), Some(word.clone())))
        );
        let mut reader = Reader::new(&bytes).unwrap();
        assert_eq!(reader.part("word"), Ok(Some(word)));
        assert_eq!(reader.part("numbers"), Ok(Some(numbers)));
        assert_eq!(reader.part::<u64>("added later"), Ok(None));
    }

    #[test]
    fn parts_without_names_are_read_in_their_order() {
        let body = postcard::to_stdvec(&(vec![1.5f32, -2.0], String::from("x"))).unwrap();
        let bytes = with_header(UNNAMED, &body);
        let expected = (Some(vec![1.5f32, -2.0]), Some(String::from("x")));
        assert_eq!(read(&bytes), Ok(expected));
        let mut reader = Reader::new(&bytes).unwrap();
        assert!(reader.part::<Vec<f32>>("numbers").unwrap().is_some());
        // What learns nothing takes no byte.
        assert_eq!(reader.part::<()>("nothing"), Ok(Some(())));
        assert!(reader.part::<String>("word").unwrap().is_some());
        assert_eq!(reader.part::<u64>("added later"), Ok(None));
    }

    #[test]
    fn a_checkpoint_that_cannot_be_used_is_refused_with_the_reason() {
        let bytes = written();
        let with = |at: usize| {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            read(&bad).unwrap_err()
        };
        assert_eq!(with(0), CheckpointError::NotOne);
        let found = VERSION ^ 0x10;
        assert_eq!(with(8), CheckpointError::Version { found });
        assert!(matches!(with(16), CheckpointError::Schema { .. }));
        assert_eq!(with(24), CheckpointError::Damaged);
        assert_eq!(with(32), CheckpointError::Damaged);
        assert_eq!(read(&bytes[..20]), Err(CheckpointError::NotOne));
        let short = bytes.get(..bytes.len() - 1).unwrap_or_default();
        assert_eq!(read(short), Err(CheckpointError::Damaged));
    }
}
