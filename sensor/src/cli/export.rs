//! `sensor export`: what the store keeps as a table, for pandas, DuckDB, Tableau and spreadsheets.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use sensor_record::{Decision, Incident, Timestamp};
use sensor_store::{Filter, RateRow, Reader, StoredFlow};

use super::out::note;
use super::sources::ConfigFlags;
use crate::columns::{Cell, Column, Form, Kind, Writer};
use crate::config;

/// Standard output, as a file.
const STANDARD_OUTPUT: &str = "-";

/// Kind of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Flows that ended, and parts of long ones.
    Flows,
    /// Incidents, in their latest state.
    Incidents,
    /// Decisions on the sources of those incidents.
    Decisions,
    /// Packets and bytes of each interface and of all, minute by minute.
    Rates,
}

#[derive(Args)]
#[command(
    after_help = "The expression is that of `sensor query`; of rates its times alone are looked at. The store is read \
    where the configuration has it, whether the sensor runs or not.\n\n\
    Example: sensor export flows last 1d --to flows.parquet\n\
    Example: sensor export incidents severity high last 30d --to incidents.csv"
)]
pub struct Export {
    /// Kind of rows.
    what: What,
    /// Expression; several words need no quotes. Default: everything.
    #[arg(value_name = "EXPRESSION")]
    words: Vec<String>,
    /// File to write; - is standard output.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Form of the file. Default: by its name, .parquet or .csv.
    #[arg(long, value_enum)]
    form: Option<Form>,
    #[command(flatten)]
    config: ConfigFlags,
}

impl Export {
    pub fn execute(self) -> Result<ExitCode> {
        let is_parquet = self.to.extension().is_some_and(|end| end == "parquet");
        let by_name = if is_parquet { Form::Parquet } else { Form::Csv };
        let form = self.form.unwrap_or(by_name);
        let filter = Filter::parse(&self.words.join(" "), Timestamp::now().0)?;
        let settings = config::load(&self.config.sources(Vec::new()))?.settings;
        let folder = settings.respond.state_of_instance();
        let folder = folder.context("respond.state_folder is empty: nothing is stored")?;
        let reader = Reader::new(&folder.join("store"));
        let n = if self.to == Path::new(STANDARD_OUTPUT) {
            let out = BufWriter::new(io::stdout().lock());
            rows(self.what, &reader, &filter, (form, out))?
        } else {
            let path = self.to.display();
            let file = File::create(&self.to).with_context(|| path.to_string())?;
            let written = rows(self.what, &reader, &filter, (form, BufWriter::new(file)));
            written.inspect_err(|_| {
                // Half a table looks like a whole one.
                let _gone = std::fs::remove_file(&self.to);
            })?
        };
        note!("{n} rows");
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the rows; their number.
fn rows<W: Write>(
    what: What,
    reader: &Reader,
    filter: &Filter,
    (form, out): (Form, W),
) -> Result<u64> {
    let columns = match what {
        What::Flows => FLOWS,
        What::Incidents => INCIDENTS,
        What::Decisions => DECISIONS,
        What::Rates => RATES,
    };
    let mut table = Writer::new(form, columns, out)?;
    let mut n = 0;
    let mut add = |cells: &[Cell]| {
        n += 1;
        Ok(table.row(cells)?)
    };
    match what {
        What::Flows => reader.each_flow(filter, |one| add(&flow(&one)))?,
        What::Incidents => reader.each_incident(filter, |one| add(&incident(&one)))?,
        What::Decisions => reader.each_decision(filter, |one| add(&decision(&one)))?,
        What::Rates => reader.each_rate(filter, |one| add(&rate(&one)))?,
    }
    table.finish()?;
    Ok(n)
}

const FLOWS: &[Column] = &[
    Column::new("start", Kind::Time),
    Column::new("end", Kind::Time),
    Column::new("source_ip", Kind::Text),
    Column::new("source_port", Kind::Int),
    Column::new("destination_ip", Kind::Text),
    Column::new("destination_port", Kind::Int),
    Column::new("transport", Kind::Text),
    Column::new("source_packets", Kind::Int),
    Column::new("source_bytes", Kind::Int),
    Column::new("destination_packets", Kind::Int),
    Column::new("destination_bytes", Kind::Int),
    Column::new("end_reason", Kind::Text),
];

fn flow(one: &StoredFlow) -> [Cell; 12] {
    [
        Cell::Time(one.start.0),
        Cell::Time(one.end.0),
        one.source.to_string().into(),
        one.source_port.into(),
        one.destination.to_string().into(),
        one.destination_port.into(),
        one.transport.as_ref().into(),
        one.source_packets.into(),
        one.source_bytes.into(),
        one.destination_packets.into(),
        one.destination_bytes.into(),
        one.end_reason.as_str().into(),
    ]
}

const INCIDENTS: &[Column] = &[
    Column::new("incident_id", Kind::Text),
    Column::new("start", Kind::Time),
    Column::new("end", Kind::Time),
    Column::new("state", Kind::Text),
    Column::new("family", Kind::Text),
    Column::new("severity", Kind::Text),
    Column::new("score", Kind::Number),
    Column::optional("confidence", Kind::Number),
    Column::new("source_ips", Kind::Text),
    Column::new("source_count", Kind::Int),
    Column::new("destination_ips", Kind::Text),
    Column::new("destination_count", Kind::Int),
    Column::new("destination_ports", Kind::Text),
    Column::new("technique", Kind::Text),
    Column::new("grades", Kind::Text),
    Column::new("detectors", Kind::Text),
    Column::new("explanation", Kind::Text),
];

fn incident(one: &Incident) -> [Cell; 17] {
    [
        one.id.as_str().into(),
        Cell::Time(one.start.0),
        Cell::Time(one.end.0),
        one.state.label().into(),
        one.family.as_ref().into(),
        one.severity.label().into(),
        Cell::Number(one.score),
        one.confidence.map_or(Cell::Empty, Cell::Number),
        joined(&one.sources),
        one.n_sources.into(),
        joined(&one.destinations),
        one.n_destinations.into(),
        joined(&one.ports),
        one.technique.as_ref().into(),
        joined(&one.grades),
        joined(&one.detectors),
        one.explanation.as_str().into(),
    ]
}

const DECISIONS: &[Column] = &[
    Column::new("decision_id", Kind::Text),
    Column::new("incident_id", Kind::Text),
    Column::new("at", Kind::Time),
    Column::new("action", Kind::Text),
    Column::new("target", Kind::Text),
    Column::new("protocol", Kind::Int),
    Column::new("port", Kind::Int),
    Column::new("lifetime_s", Kind::Int),
    Column::new("mode", Kind::Text),
    Column::new("outcome", Kind::Text),
    Column::optional("why", Kind::Text),
    Column::new("reason", Kind::Text),
];

fn decision(one: &Decision) -> [Cell; 12] {
    let (rule, _) = one.outcome.why();
    [
        one.id.as_str().into(),
        one.incident_id.as_str().into(),
        Cell::Time(one.head.at.0),
        one.action.label().into(),
        one.target.to_string().into(),
        u16::from(one.protocol).into(),
        one.port.into(),
        one.ttl_s.into(),
        one.mode.label().into(),
        one.outcome.word().label().into(),
        rule.map_or(Cell::Empty, |rule| rule.words().into()),
        one.reason.as_str().into(),
    ]
}

const RATES: &[Column] = &[
    Column::new("at", Kind::Time),
    Column::new("interface", Kind::Text),
    Column::new("in_packets", Kind::Int),
    Column::new("in_bytes", Kind::Int),
    Column::new("out_packets", Kind::Int),
    Column::new("out_bytes", Kind::Int),
];

fn rate(one: &RateRow) -> [Cell; 6] {
    [
        Cell::Time(one.at.0),
        one.name.as_str().into(),
        one.packets[0].into(),
        one.bytes[0].into(),
        one.packets[1].into(),
        one.bytes[1].into(),
    ]
}

/// Several values in one text: lists are not for every reader of tables.
fn joined<T: ToString>(values: &[T]) -> Cell {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    texts.join(" ").into()
}
