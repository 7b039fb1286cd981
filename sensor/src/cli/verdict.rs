//! `sensor verdict`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use sensor_engine::Opinion;

use super::ask::word;
use super::client::Reach;
use crate::agent::protocol::Request;

/// What the incident was.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Said {
    /// Learn from what it does, odd as it may be.
    Benign,
    /// Learn nothing of it, however long it goes on.
    Attack,
}

#[derive(Args)]
#[command(
    after_help = "It holds for 24 hours, for the incident's source or victim, and changes what the \
    models learn. Detectors of definite shapes and blocks stay as they are: see `sensor allow`. The \
    audit log says who said it.\n\nExample: sensor verdict 000007 benign"
)]
pub struct Verdict {
    /// Identifier of the incident, or the beginning of one that no other begins with.
    id: String,
    said: Said,
    #[command(flatten)]
    reach: Reach,
}

impl Verdict {
    pub fn execute(self) -> Result<ExitCode> {
        let request = Request::Verdict {
            id: self.id,
            opinion: match self.said {
                Said::Benign => Opinion::Benign,
                Said::Attack => Opinion::Attack,
            },
        };
        let said = self.reach.connect()?.ask(&request)?;
        if self.reach.json {
            println!("{said}");
        } else {
            println!(
                "{} {} is held for {} until {}",
                word(&said, "entity.kind"),
                word(&said, "entity"),
                word(&said, "opinion"),
                word(&said, "until")
                    .get(..19)
                    .unwrap_or_default()
                    .replace('T', " ")
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
