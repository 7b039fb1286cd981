//! `sensor policy`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use sensor_record::answer::Explanation;
use sensor_record::text::{Table, outcome_word};
use sensor_record::{Name, Response, json};
use serde::Serialize;

use super::client::Reach;
use super::out::{say, say_table};
use crate::agent::protocol::Request;
use crate::config::{self, PolicySettings, Preset, Sources};

#[derive(Args)]
#[command(after_help = "Example: sensor policy list --preset edge")]
pub struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the rows in their order, those of the configuration before those of the preset, in the form
    /// that the configuration takes.
    #[command(after_help = "Example: sensor policy list --json")]
    List {
        /// Preset to list instead of what the configuration says.
        #[arg(long, value_enum)]
        preset: Option<Preset>,
        /// Configuration file.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Explain what was done to the sources of an incident: the row, the proof, and what a drop would
    /// have needed besides.
    #[command(after_help = "Example: sensor policy explain 000007")]
    Explain {
        /// Identifier of the incident, a unique beginning of one, its number, or `last`.
        id: Name,
        #[command(flatten)]
        reach: Reach,
    },
}

impl Policy {
    pub fn execute(self) -> Result<ExitCode> {
        match self.command {
            Command::List {
                preset,
                config,
                json,
            } => list(&rows(preset, config)?, json),
            Command::Explain { id, reach } => explain(&reach, id),
        }
    }
}

fn rows(preset: Option<Preset>, file: Option<PathBuf>) -> Result<Vec<PolicySettings>> {
    let rows = match preset {
        Some(preset) => sensor_engine::Preset::from(preset).rows(),
        None => {
            let sources = Sources::of_process(file, Vec::new());
            config::load(&sources)?.settings.respond.rows().0
        }
    };
    Ok(rows.iter().map(PolicySettings::of).collect())
}

/// A row as a record.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "policy_row")]
struct Row<'a> {
    #[serde(flatten)]
    row: &'a PolicySettings,
}

fn list(rows: &[PolicySettings], is_json: bool) -> Result<ExitCode> {
    for row in rows {
        if is_json {
            say!("{}", json::line(&Row { row }))?;
            continue;
        }
        say!("[[respond.policy]]\n{}\n", row.lines().join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Response to one source, as a record.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "policy_explanation")]
struct Told<'a> {
    #[serde(rename = "incident.id")]
    incident_id: &'a str,
    #[serde(flatten)]
    response: &'a Response,
}

fn explain(reach: &Reach, id: Name) -> Result<ExitCode> {
    let found: Explanation = reach.connect()?.ask(&Request::Explain { id })?;
    let incident = &found.incident;
    if reach.json {
        for response in &incident.response {
            let incident_id = &incident.id;
            let told = Told {
                incident_id,
                response,
            };
            say!("{}", json::line(&told))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["source", "row", "outcome", "proof", "a drop would need"]);
    for response in &incident.response {
        let target = response.target.map(|target| target.to_string());
        let grounds = &response.grounds;
        let row = grounds.row.clone().unwrap_or_default();
        let needs = match grounds.needs_words() {
            needs if response.target.is_some() || needs.is_empty() => needs,
            needs => format!("a shield: {needs}"),
        };
        table.row(vec![
            target.unwrap_or_else(|| "all".to_owned()),
            row,
            outcome_word(response),
            grounds.proof_words(),
            needs,
        ]);
    }
    say_table(&table)?;
    Ok(ExitCode::SUCCESS)
}
