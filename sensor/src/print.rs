//! Where the pipeline's records go.

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

/// How records are written.
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

/// Standard output.
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

    /// Writes in another form from now on.
    pub const fn set_format(&mut self, format: Format) {
        self.format = format;
    }
}

impl Sink for Printer {
    fn take(&mut self, record: Record) -> io::Result<()> {
        match self.format {
            Format::Json => json::write_line(&mut self.out, &record),
            Format::Text => match text::line(&record, &self.zone) {
                Some(line) => writeln!(self.out, "{line}"),
                None => Ok(()),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
