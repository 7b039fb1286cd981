//! `sensor config`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::out::{note, put, say};
use super::sources::ConfigFlags;
use crate::config::{self, Kind, Loaded, Origin, Setting};

#[derive(Args)]
#[command(after_help = "Example: sensor config check --config new.toml")]
pub struct Config {
    #[command(flatten)]
    config: ConfigFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the configuration and print every error; exit code 2 if there is one.
    #[command(after_help = "Example: sensor config check --config new.toml")]
    Check {
        /// Print one JSON object; faults are on standard error.
        #[arg(long)]
        json: bool,
    },
    /// Print every setting with its value and its origin.
    #[command(after_help = "Example: sensor config show --json | jq '.\"tick.hosts_ms\"'")]
    Show {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// Print only settings that differ from the default.
        #[arg(long)]
        changed: bool,
    },
    /// Print the JSON Schema of a configuration file.
    #[command(after_help = "Example: sensor config schema > sensor.schema.json")]
    Schema,
    /// Print an example file with every setting commented out at its default.
    #[command(after_help = "Example: sensor config example > /etc/sensor/sensor.toml")]
    Example,
}

impl Config {
    pub fn execute(self) -> Result<ExitCode> {
        let load = || -> Result<Loaded> {
            let loaded = config::load(&self.config.sources(Vec::new()))?;
            for warning in &loaded.warnings {
                note!("warning: config: {warning}");
            }
            Ok(loaded)
        };
        match self.command {
            Command::Check { json } => {
                let loaded = load()?;
                if json {
                    let warnings = loaded.warnings.iter().map(ToString::to_string);
                    let checked = json!({
                        "valid": true,
                        "given": loaded.origins.len(),
                        "warnings": warnings.collect::<Vec<_>>(),
                    });
                    say!("{checked}")?;
                    return Ok(ExitCode::SUCCESS);
                }
                say!(
                    "configuration is valid: {} settings given, {} deprecated",
                    loaded.origins.len(),
                    loaded.warnings.len()
                )?;
            }
            Command::Show { json, changed } => show(&load()?, json, changed)?,
            Command::Schema => say!("{:#}", config::json_schema())?,
            Command::Example => put(&config::example())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(loaded: &Loaded, json: bool, changed: bool) -> Result<()> {
    let shown = rows(loaded, changed);
    if json {
        return say!("{}", Value::Object(shown));
    }
    for (path, row) in &shown {
        let origin = row["origin"].as_str().unwrap_or_default();
        say!("{path} = {}  # {origin}", row["value"])?;
    }
    Ok(())
}

/// Every setting by its path, with its value and its origin; with `changed` those that are given.
pub(super) fn rows(loaded: &Loaded, changed: bool) -> Map<String, Value> {
    let tree = loaded.settings.tree();
    let mut rows = Vec::new();
    for setting in config::settings() {
        let value = setting.path.split('.').fold(&tree, |tree, key| &tree[key]);
        add_rows(&setting, setting.path.clone(), value, &mut rows);
    }
    let mut shown = Map::new();
    for (path, value) in rows {
        let origin = loaded.origins.get(&path);
        if changed && origin.is_none() {
            continue;
        }
        let origin = origin.unwrap_or(&Origin::Default).to_string();
        shown.insert(path, json!({"value": value, "origin": origin}));
    }
    shown
}

/// Adds a setting's value; of a list of tables each key of each table.
fn add_rows(setting: &Setting, path: String, value: &Value, rows: &mut Vec<(String, Value)>) {
    let items = value.as_array().filter(|items| {
        // An empty list is shown as such.
        setting.kind == Kind::Tables && !items.is_empty()
    });
    let Some(items) = items else {
        rows.push((path, value.clone()));
        return;
    };
    for (i, item) in items.iter().enumerate() {
        for column in &setting.columns {
            let inner = column.path.split('.').fold(item, |item, key| &item[key]);
            if !inner.is_null() {
                add_rows(column, format!("{path}[{i}].{}", column.path), inner, rows);
            }
        }
    }
}
