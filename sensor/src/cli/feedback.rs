//! `sensor feedback`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use sensor_record::{Name, Reason, Said, Zone, json};

use super::client::Reach;
use super::out::say;
use crate::agent::protocol::Request;

/// Verdict of a person on an incident.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// Normal behaviour: the models learn from it.
    Benign,
    /// Attack: the models learn nothing from it, however long it goes on.
    Attack,
}

#[derive(Args)]
#[command(
    after_help = "Feedback applies to the incident's source or victim for 24 hours and changes what the \
    models learn. Behaviour detectors and blocks are not affected: see `sensor allow`. The \
    audit log says who said it.\n\nExample: sensor feedback 000007 benign --reason 'our own scanner'"
)]
pub struct Feedback {
    /// Identifier of the incident, a unique beginning of one, its number, or `last`.
    id: Name,
    /// Verdict on the incident.
    said: Word,
    /// Reason, for the audit log and for those who come after.
    #[arg(long, default_value = "")]
    reason: Reason,
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
            reason: self.reason,
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
