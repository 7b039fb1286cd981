//! `sensor feedback`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use sensor_record::{Name, Said, Zone, json};

use super::client::Reach;
use super::out::say;
use crate::agent::protocol::Request;

/// What the incident was.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// Learn from what it does, odd as it may be.
    Benign,
    /// Learn nothing of it, however long it goes on.
    Attack,
}

#[derive(Args)]
#[command(
    after_help = "It holds for 24 hours, for the incident's source or victim, and changes what the \
    models learn. Detectors of definite shapes and blocks stay as they are: see `sensor allow`. The \
    audit log says who said it.\n\nExample: sensor feedback 000007 benign"
)]
pub struct Feedback {
    /// Identifier of the incident, or the beginning of one that no other begins with.
    id: Name,
    /// What it was.
    said: Word,
    #[command(flatten)]
    reach: Reach,
}

impl Feedback {
    pub fn execute(self) -> Result<ExitCode> {
        let request = Request::Feedback {
            id: self.id,
            feedback: match self.said {
                Word::Benign => Said::Benign,
                Word::Attack => Said::Attack,
            },
        };
        let given: sensor_record::Feedback = self.reach.connect()?.ask(&request)?;
        if self.reach.json {
            say!("{}", json::line(&given))?;
        } else {
            say!(
                "{} {} is held for {} until {}",
                given.entity_kind.label(),
                given.entity,
                given.said.label(),
                Zone::local().second(given.until),
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
