//! Records that a far side refused, with its answer: kept for a person, never in the way.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sensor_record::{Timestamp, json};
use serde::Serialize;
use serde_json::value::RawValue;

pub const NAME: &str = "refused.jsonl";
/// From this size on the file becomes `refused.1.jsonl`, in the place of the one before.
const MAX_BYTES: u64 = 16 << 20;

/// One line of the file.
#[derive(Serialize)]
struct Letter<'a> {
    #[serde(rename = "@timestamp")]
    at: Timestamp,
    sink: &'a str,
    sequence: u64,
    answer: &'a str,
    /// The record; text where it is none.
    record: Box<RawValue>,
}

/// The file of a sink.
#[derive(Debug)]
pub struct DeadLetters {
    sink: String,
    path: PathBuf,
}

impl DeadLetters {
    pub fn new(sink: &str, folder: &Path) -> Self {
        Self {
            sink: sink.to_owned(),
            path: folder.join(NAME),
        }
    }

    /// Adds a record with the answer to it.
    ///
    /// # Errors
    /// Those of the file.
    pub fn add(&self, sequence: u64, record: &str, answer: &str) -> io::Result<()> {
        let is_full = fs::metadata(&self.path).is_ok_and(|meta| meta.len() >= MAX_BYTES);
        if is_full {
            fs::rename(&self.path, self.path.with_extension("1.jsonl"))?;
        }
        let raw = RawValue::from_string(record.to_owned());
        let raw = raw.or_else(|_| RawValue::from_string(json::line(&record)))?;
        let letter = Letter {
            at: Timestamp::now(),
            sink: &self.sink,
            sequence,
            answer,
            record: raw,
        };
        let mut options = OpenOptions::new();
        let options = options.append(true).create(true).mode(0o600);
        let mut line = json::line(&letter);
        line.push('\n');
        options.open(&self.path)?.write_all(line.as_bytes())
    }
}
