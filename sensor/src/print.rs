//! Sinks of the pipeline's records.

use std::io::{self, BufWriter, Write as _};

use sensor_record::{Record, Zone, json, text};

/// Takes the records that the pipeline puts out.
pub trait Sink {
    /// # Errors
    /// When nothing more can be taken; the run ends then.
    fn take(&mut self, record: Record) -> io::Result<()>;

    /// Called when there is nothing more for now.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn flush(&mut self) -> io::Result<()>;
}

/// Format of records.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Lines for a person.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// A record as a line with its end; none where there is nothing to say to a person.
pub fn formatted(record: &Record, format: Format, zone: &Zone) -> Option<String> {
    let mut line = match format {
        Format::Json => json::line(record),
        Format::Text => text::line(record, zone)?,
    };
    line.push('\n');
    Some(line)
}

/// Standard output of a replay, which ends with its reader.
pub struct Printer {
    format: Format,
    zone: Zone,
    out: BufWriter<io::Stdout>,
}

impl Printer {
    pub fn new(format: Format) -> Self {
        let out = BufWriter::new(io::stdout());
        let zone = Zone::local();
        Self { format, zone, out }
    }
}

impl Sink for Printer {
    fn take(&mut self, record: Record) -> io::Result<()> {
        match formatted(&record, self.format, &self.zone) {
            Some(line) => self.out.write_all(line.as_bytes()),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
