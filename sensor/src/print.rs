//! Where the pipeline's objects go.

use std::io::{self, BufWriter, Write as _};

use serde_json::Value;

use crate::output;

/// Takes the objects that the pipeline puts out.
pub trait Sink {
    /// # Errors
    /// When nothing more can be taken; the run ends then.
    fn take(&mut self, value: Value) -> io::Result<()>;

    /// Called when there is nothing more for now.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn flush(&mut self) -> io::Result<()>;
}

/// How objects are written.
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
    out: BufWriter<io::Stdout>,
}

impl Printer {
    pub fn new(format: Format) -> Self {
        let out = BufWriter::new(io::stdout());
        Self { format, out }
    }

    /// Writes in another form from now on.
    pub const fn set_format(&mut self, format: Format) {
        self.format = format;
    }
}

impl Sink for Printer {
    fn take(&mut self, value: Value) -> io::Result<()> {
        match self.format {
            Format::Json => writeln!(self.out, "{value}"),
            Format::Text => match output::text(&value) {
                Some(line) => writeln!(self.out, "{line}"),
                None => Ok(()),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
