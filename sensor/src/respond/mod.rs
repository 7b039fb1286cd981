//! Response: decisions become block entries, unless a guard refuses.

mod allowlist;
mod audit;
mod blocklist;
mod entry;
mod filter;
mod guard;
mod kernel;
mod saved;
mod table;
mod watch;

use sensor_engine::Decision;

pub use allowlist::Allowlist;
pub use blocklist::Blocklist;
pub use entry::{
    BlockError, Listed, MAX_TTL, Measure, Network, Origin, Request, Shown, parse_network,
};
pub use guard::Guard;
pub use kernel::{KernelRespond, Options};

/// What the sensor may do.
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
    /// Count what would be dropped; drop nothing.
    #[default]
    Monitor,
    /// Drop.
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

/// What became of a decision.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub mode: Mode,
    /// `allowed`, or why not.
    pub guard: String,
}

/// Carries decisions out.
pub trait Respond {
    fn carry_out(&mut self, decision: &Decision) -> Verdict;
}

/// Replay: nothing to block.
pub struct NoRespond;

impl Respond for NoRespond {
    fn carry_out(&mut self, _decision: &Decision) -> Verdict {
        Verdict {
            mode: Mode::Monitor,
            guard: "allowed".to_owned(),
        }
    }
}
