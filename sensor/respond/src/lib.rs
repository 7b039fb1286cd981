//! Response: decisions become block entries, unless a guard refuses.
//!
//! It knows the maps of the block check ([`sensor_capture::kernel::BlockMaps`]) and nothing else of
//! the kernel program, and nobody who asks for blocks.

mod allowlist;
mod audit;
mod blocklist;
mod entry;
mod facts;
mod filter;
mod guard;
mod kernel;
mod reason;
mod saved;
mod table;
mod watch;

use sensor_engine::Decision;
use sensor_record::Outcome;

pub use allowlist::Allowlist;
pub use blocklist::Blocklist;
pub use entry::{
    BlockError, Listed, MAX_TTL, Measure, Network, Origin, Request, Shown, parse_network,
};
pub use facts::{Effect, Fact, Host, Networks, Source};
pub use guard::{Guard, Protected};
pub use kernel::{FileState, GuardState, Guarded, KernelRespond, Options};
pub use reason::{Reason, Why};
pub use saved::{Store, make_folder};
pub use watch::{FactState, GuardWatch};

/// Mode of the response.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Count packets that would be dropped; drop none.
    #[default]
    Monitor,
    /// Drop packets of blocked sources.
    Enforce,
}

impl Mode {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Enforce => "enforce",
        }
    }
}

impl From<Mode> for sensor_record::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Monitor => Self::Monitor,
            Mode::Enforce => Self::Enforce,
        }
    }
}

/// Carries decisions out.
pub trait Respond {
    /// Mode of the response.
    fn mode(&self) -> Mode;

    fn carry_out(&mut self, decision: &Decision) -> Outcome;
}

/// Replay: nothing to block.
pub struct NoRespond;

impl Respond for NoRespond {
    fn mode(&self) -> Mode {
        Mode::Monitor
    }

    fn carry_out(&mut self, _decision: &Decision) -> Outcome {
        Outcome::Monitored
    }
}
