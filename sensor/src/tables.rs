//! Windows and scores of a replay as CSV, for training and plots outside of the sensor: columns are named and hold
//! one type each, so that any reader of tables takes them. Sequences as a file of their own kind.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use sensor_engine::{
    Config, ModelKind, Output, PAIR_FEATURES, PairVector, Score, SequenceKinds, Subject,
    pair_schema_hash, to_ip,
};
use sensor_evaluate::sequences::{Meaning, write, write_head};

/// Files that outputs are written to.
#[derive(Default)]
pub struct Tables {
    vectors: Option<BufWriter<File>>,
    scores: Option<BufWriter<File>>,
    sequences: Option<BufWriter<File>>,
}

/// Files that are asked for.
#[derive(Clone, Copy, Default)]
pub struct Wanted<'a> {
    pub vectors: Option<&'a Path>,
    pub scores: Option<&'a Path>,
    pub sequences: Option<&'a Path>,
}

impl Tables {
    /// Creates the files that are asked for, with their headers.
    ///
    /// # Errors
    /// When one can't be written.
    pub fn create(wanted: &Wanted<'_>) -> io::Result<Self> {
        let open = |path: Option<&Path>| path.map(|path| File::create(path).map(BufWriter::new));
        let mut tables = Self {
            vectors: open(wanted.vectors).transpose()?,
            scores: open(wanted.scores).transpose()?,
            sequences: open(wanted.sequences).transpose()?,
        };
        if let Some(out) = &mut tables.vectors {
            write!(out, "schema,time_ns,source,host,packets,learned")?;
            for feature in &PAIR_FEATURES {
                write!(out, ",{}", feature.name)?;
            }
            writeln!(out)?;
        }
        if let Some(out) = &mut tables.scores {
            write!(out, "time_ns,subject,source,host,port,protocol,packets")?;
            for model in ModelKind::ALL {
                write!(out, ",{}", model.label())?;
            }
            writeln!(out, ",ensemble,fused")?;
        }
        if let Some(out) = &mut tables.sequences {
            write_head(out, &[])?;
        }
        Ok(tables)
    }

    /// Has the engine hand out what is to be written.
    pub const fn ask(&self, engine: &mut Config) {
        engine.emit_vectors = self.vectors.is_some();
        engine.emit_scores = self.scores.is_some();
        if self.sequences.is_some() {
            engine.emit_sequences = SequenceKinds::ALL;
        }
    }

    /// Writes what is of either.
    ///
    /// # Errors
    /// Those of the files.
    pub fn take(&mut self, output: &Output) -> io::Result<()> {
        match (output, &mut self.vectors, &mut self.scores) {
            (Output::Window(window, sum), Some(out), _) => write_window(out, window, *sum),
            (Output::Score(score), _, Some(out)) => write_score(out, score),
            (Output::Sequence(sequence), ..) => match &mut self.sequences {
                Some(out) => write(out, sequence, u32::MAX, Meaning::Unclear),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Ends the files.
    ///
    /// # Errors
    /// Those of the files.
    pub fn finish(&mut self) -> io::Result<()> {
        let files = [&mut self.vectors, &mut self.scores, &mut self.sequences];
        files.into_iter().flatten().try_for_each(Write::flush)
    }
}

fn write_window(out: &mut impl Write, window: &PairVector, sum: f32) -> io::Result<()> {
    let host = window.host.map(|host| to_ip(&host).to_string());
    write!(
        out,
        "{:016x},{},{},{},{},{sum}",
        pair_schema_hash(),
        window.at_ns,
        to_ip(&window.source),
        host.unwrap_or_default(),
        window.n_packets
    )?;
    for value in &window.values {
        write!(out, ",{value}")?;
    }
    writeln!(out)
}

fn write_score(out: &mut impl Write, score: &Score) -> io::Result<()> {
    let text = |address| to_ip(address).to_string();
    let none = String::new();
    let (source, host, port, protocol) = match &score.subject {
        Subject::Source(source) => (text(source), none, 0, 0),
        Subject::Pair(source, host) => (text(source), text(host), 0, 0),
        Subject::Host(host) => (none, text(host), 0, 0),
        Subject::Service(host, port, protocol) => (none, text(host), *port, *protocol),
    };
    write!(
        out,
        "{},{},{source},{host},{port},{protocol},{}",
        score.end_ns,
        score.subject.label(),
        score.n_packets
    )?;
    for surprise in &score.models {
        write!(out, ",{surprise}")?;
    }
    writeln!(out, ",{},{}", score.ensemble, score.fused)
}
