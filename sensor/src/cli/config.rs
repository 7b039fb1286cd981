//! `sensor config`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::config::{self, Loaded, Origin, Sources};

#[derive(Args)]
#[command(after_help = "Example: sensor config check --config new.toml")]
pub struct Config {
    /// Read this file instead of /etc/sensor/sensor.toml and /etc/sensor/conf.d.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read and check the configuration; exit code 2 when something is wrong.
    #[command(after_help = "Example: sensor config check --config new.toml")]
    Check,
    /// Print every setting with its value and where it was set.
    #[command(after_help = "Example: sensor config show --json | jq '.\"tick.hosts_ms\"'")]
    Show {
        /// One JSON object.
        #[arg(long)]
        json: bool,
        /// Only what isn't a default.
        #[arg(long)]
        changed: bool,
    },
    /// Print the JSON Schema of a configuration file.
    #[command(after_help = "Example: sensor config schema > sensor.schema.json")]
    Schema,
    /// Print an example file: every setting, commented out, with its default.
    #[command(after_help = "Example: sensor config example > /etc/sensor/sensor.toml")]
    Example,
}

impl Config {
    pub fn execute(self) -> Result<ExitCode> {
        let load = || config::load(&Sources::of_process(self.config.clone(), Vec::new()));
        match self.command {
            Command::Check => {
                let loaded = load()?;
                println!(
                    "configuration is right: {} settings differ from the defaults",
                    loaded.origins.len()
                );
            }
            Command::Show { json, changed } => show(&load()?, json, changed),
            Command::Schema => println!("{:#}", config::json_schema()),
            Command::Example => print!("{}", config::example()),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(loaded: &Loaded, json: bool, changed: bool) {
    let tree = loaded.settings.tree();
    let mut rows = serde_json::Map::new();
    for setting in config::settings() {
        let origin = loaded.origins.get(&setting.path);
        if changed && origin.is_none() {
            continue;
        }
        let value = setting
            .path
            .split('.')
            .fold(&tree, |tree, key| &tree[key])
            .clone();
        let origin = origin.unwrap_or(&Origin::Default).to_string();
        rows.insert(setting.path, json!({"value": value, "origin": origin}));
    }
    if json {
        println!("{}", Value::Object(rows));
        return;
    }
    for (path, row) in &rows {
        let origin = row["origin"].as_str().unwrap_or_default();
        println!("{path} = {}  # {origin}", row["value"]);
    }
}
