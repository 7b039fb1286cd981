//! `sensor panic`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use sensor_capture::kernel::set_stopped;
use sensor_record::json;
use serde::Serialize;

use super::out::say;
use crate::config::{self, Sources};

#[derive(Args)]
#[command(
    after_help = "Works on the pinned maps, whether an agent runs, hangs or is gone: from then on nothing is \
    dropped, and everything is counted on. Entries stay and expire. A restart of the agent doesn't end \
    it; --end does.\n\nExample: sensor panic"
)]
pub struct Panic {
    /// Let the enforcement go on.
    #[arg(long)]
    end: bool,
    /// Instance, as in respond.instance.
    #[arg(long)]
    instance: Option<String>,
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Report of what was done.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "panic")]
struct Report<'a> {
    instance: &'a str,
    stopped: bool,
    n_lists: usize,
}

/// An agent that writes its state at that very moment would take the word back: it is said for longer
/// than one write takes.
const INSIST: Duration = Duration::from_millis(50);

impl Panic {
    pub fn execute(self) -> Result<ExitCode> {
        let sources = Sources::of_process(self.config, Vec::new());
        let respond = config::load(&sources)?.settings.respond;
        let instance = self.instance.unwrap_or(respond.instance);
        let (stopped, start) = (!self.end, Instant::now());
        let mut n_lists = set_stopped(&respond.bpffs, &instance, stopped)?;
        while start.elapsed() < INSIST {
            n_lists = set_stopped(&respond.bpffs, &instance, stopped)?;
        }
        if self.json {
            let report = Report {
                instance: &instance,
                stopped,
                n_lists,
            };
            say!("{}", json::line(&report))?;
        } else if stopped {
            say!("instance {instance}: nothing is dropped until `sensor panic --end`")?;
        } else {
            say!("instance {instance}: enforcement goes on")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
