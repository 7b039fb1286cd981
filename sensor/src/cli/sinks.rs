//! `sensor sinks`: systems that records are delivered to.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use sensor_deliver::{Answer, KINDS, SinkSettings};
use sensor_record::text::Table;
use sensor_record::unit::{bytes, duration};
use sensor_record::{Incident, Record, State, Timestamp, answer, escape, example, json};
use serde::Serialize;

use super::EXIT_FAILED;
use super::client::Reach;
use super::out::{note, say, say_table};
use super::sources::ConfigFlags;
use crate::agent::protocol::Request;
use crate::config::{self, Settings};
use crate::identity;

#[derive(Args)]
#[command(after_help = "Example: sensor sinks test soc")]
pub struct Sinks {
    #[command(flatten)]
    config: ConfigFlags,
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the kinds of sinks that this program has, with their keys and formats.
    #[command(after_help = "Example: sensor sinks kinds --json")]
    Kinds,
    /// List the configured sinks, with what the running agent delivered.
    #[command(after_help = "Example: sensor sinks list")]
    List,
    /// Send a test incident the whole way to a sink, opened and closed, and print the answers.
    #[command(
        after_help = "The filters of the sink are not asked. Exit code 1 unless the far side accepted both.\n\n\
                      Example: sensor sinks test soc"
    )]
    Test {
        /// Name of the sink in the configuration.
        name: String,
    },
}

/// A kind as JSON.
#[derive(Serialize)]
struct KindLine {
    kind: &'static str,
    about: &'static str,
    needs: &'static [&'static str],
    takes: &'static [&'static str],
    formats: Vec<&'static str>,
}

/// A configured sink as JSON.
#[derive(Serialize)]
struct SinkLine<'a> {
    name: &'a str,
    kind: &'static str,
    enabled: bool,
    /// Numbers of the running agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a answer::Sink>,
}

/// An answer as JSON.
#[derive(Serialize)]
struct AnswerLine<'a> {
    sink: &'a str,
    sent: &'static str,
    answer: &'static str,
    text: &'a str,
}

impl Sinks {
    pub fn execute(self) -> Result<ExitCode> {
        if matches!(self.command, Command::Kinds) {
            kinds(self.reach.json)?;
            return Ok(ExitCode::SUCCESS);
        }
        let settings = config::load(&self.config.sources(Vec::new()))?.settings;
        match &self.command {
            Command::Test { name } => test(&settings, name, self.reach.json),
            Command::Kinds | Command::List => {
                let states = match states(&self.reach) {
                    Ok(states) => states,
                    Err(cause) => {
                        note!("numbers are not known: {}", escape(&format!("{cause:#}")));
                        BTreeMap::new()
                    }
                };
                list(&settings.sink, &states, self.reach.json)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn kinds(is_json: bool) -> Result<()> {
    let mut table = Table::new(&["kind", "needs", "formats", "about"]);
    for row in KINDS {
        let formats: Vec<&str> = row.formats.iter().map(|format| format.label()).collect();
        if is_json {
            let line = KindLine {
                kind: row.label,
                about: row.about,
                needs: row.needs,
                takes: row.takes,
                formats,
            };
            say!("{}", json::line(&line))?;
            continue;
        }
        let cells = [
            row.label,
            &row.needs.join(" "),
            &formats.join(" "),
            row.about,
        ];
        table.row(cells.map(str::to_owned).into());
    }
    if is_json { Ok(()) } else { say_table(&table) }
}

fn list(
    sinks: &[SinkSettings],
    states: &BTreeMap<String, answer::Sink>,
    is_json: bool,
) -> Result<()> {
    let heading = [
        "name", "kind", "sent", "wait", "spool", "oldest", "refused", "dropped", "state",
    ];
    let mut table = Table::new(&heading);
    for sink in sinks {
        let state = states.get(&sink.name);
        if is_json {
            let line = SinkLine {
                name: &sink.name,
                kind: sink.kind.label(),
                enabled: sink.enabled,
                state,
            };
            say!("{}", json::line(&line))?;
            continue;
        }
        table.row(cells(sink, state));
    }
    if is_json {
        return Ok(());
    }
    if sinks.is_empty() {
        return say!("no sinks are configured; docs/sinks.md has an example of each kind");
    }
    say_table(&table)
}

fn cells(sink: &SinkSettings, state: Option<&answer::Sink>) -> Vec<String> {
    let number = |value: fn(&answer::Sink) -> u64| {
        state.map_or_else(|| "-".to_owned(), |state| value(state).to_string())
    };
    let words = match state {
        _ if !sink.enabled => "off".to_owned(),
        None => "-".to_owned(),
        Some(state) => state.error.clone().unwrap_or_else(|| "ok".to_owned()),
    };
    let oldest = state.and_then(|state| state.oldest_s);
    vec![
        sink.name.clone(),
        sink.kind.label().to_owned(),
        number(|state| state.sent),
        number(|state| state.waiting),
        state.map_or_else(|| "-".to_owned(), |state| bytes(state.spool_bytes as f64)),
        oldest.map_or_else(|| "-".to_owned(), |oldest| duration(oldest as u64)),
        number(|state| state.refused),
        number(|state| state.dropped.values().sum()),
        words,
    ]
}

fn test(settings: &Settings, name: &str, is_json: bool) -> Result<ExitCode> {
    let sink = settings.sink.iter().find(|sink| sink.name == name);
    let sink = sink.with_context(|| {
        let names: Vec<&str> = settings
            .sink
            .iter()
            .map(|sink| sink.name.as_str())
            .collect();
        format!(
            "no sink is called \"{name}\"; configured: {}",
            names.join(", ")
        )
    })?;
    let records = test_records(settings);
    let answers = sensor_deliver::test(sink, &records).map_err(anyhow::Error::msg)?;
    for (answer, state) in answers.iter().zip([State::Opened, State::Closed]) {
        let (sent, answer, text) = (state.label(), answer.label(), answer.text());
        if is_json {
            let line = AnswerLine {
                sink: name,
                sent,
                answer,
                text,
            };
            say!("{}", json::line(&line))?;
        } else {
            say!("{sent} incident: {answer}: {}", escape(text))?;
        }
    }
    let is_accepted = |answer: &Answer| matches!(answer, Answer::Accepted(_));
    let is_well = answers.len() == records.len() && answers.iter().all(is_accepted);
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILED)
    })
}

/// An incident of documentation addresses, opened and closed, that says what it is.
fn test_records(settings: &Settings) -> [Record; 2] {
    let sensor = identity::of_replay(settings);
    let now = Timestamp::now();
    let incident = |state| {
        let incident = Incident {
            head: sensor.head(now.0),
            id: format!("test-{:016x}", now.0),
            state,
            start: now,
            end: now,
            explanation: "test of a sink by `sensor sinks test`: nothing happened".to_owned(),
            response: Vec::new(),
            ..example::incident()
        };
        Record::from(incident)
    };
    [State::Opened, State::Closed].map(incident)
}

/// Numbers of the running agent.
fn states(reach: &Reach) -> Result<BTreeMap<String, answer::Sink>> {
    let status: answer::Status = reach.connect()?.ask(&Request::Status)?;
    Ok(status.sinks)
}
