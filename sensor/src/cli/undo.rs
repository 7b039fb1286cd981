//! `sensor undo`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use sensor_record::Name;
use sensor_record::answer::BlockRemoved;

use super::client::Reach;
use super::lists::report;
use crate::agent::protocol::Request;

#[derive(Args)]
#[command(
    after_help = "The entries that the decision made are removed; the audit log says by whom. A source that \
    goes on may be decided on again: see `sensor allow` and exceptions.\n\n\
    Example: sensor undo d000003-00000000000000ff"
)]
pub struct Undo {
    /// Identifier of the decision, as `sensor explain` shows it.
    id: Name,
    #[command(flatten)]
    reach: Reach,
}

impl Undo {
    pub fn execute(self) -> Result<ExitCode> {
        let done: BlockRemoved = self.reach.connect()?.ask(&Request::Undo { id: self.id })?;
        report(&self.reach, &done.removed, "entries removed")
    }
}
