//! Response: decisions become block entries, unless a guard refuses.
//!
//! It knows the maps of the block check ([`sensor_capture::kernel::BlockMaps`]) and nothing else of
//! the kernel program, and nobody who asks for blocks.

mod action;
mod allowlist;
mod audit;
mod blocklist;
mod entry;
mod facts;
mod feed;
mod filter;
mod group;
mod guard;
mod kernel;
mod proposals;
mod radius;
mod reason;
mod saved;
mod shield;
mod table;
mod watch;

use sensor_engine::{Decision, Incident, Rollback};
use sensor_record::Outcome;

pub use action::BlockAction;
pub use allowlist::Allowlist;
pub use audit::{AuditBreak, Verified, verify as verify_audit};
pub use blocklist::Blocklist;
pub use entry::{
    BlockError, Listed, MAX_TTL, Measure, Network, Origin, Request, Shown, parse_network,
};
pub use facts::{Effect, Fact, Host, Networks, Source};
pub use feed::{BadLine, Parsed, narrow, parse_feed};
pub use group::{BALANCERS, Group, MONITORING};
pub use guard::{Guard, Protected};
pub use kernel::{
    FeedEnd, FeedEntry, FeedLoaded, FeedPart, FileState, Followed, GuardState, Guarded,
    KernelRespond, Options,
};
pub use proposals::Proposal;
pub use radius::{Bound, Bounds, RadiusState};
pub use reason::{Reason, Why};
pub use saved::{Store, make_folder};
pub use shield::{ListedShield, MAX_SHIELD_TTL, STRANGERS_PER_S, ShieldError, ShieldRequest};
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

    /// Shields the victim of an incident, where that is a flood in made-up names.
    fn defend(&mut self, _incident: &Incident) {}

    /// Takes back what a decision did.
    fn roll_back(&mut self, _rollback: &Rollback) {}

    /// Decisions of before on which something was settled since the last call: proposals that a person
    /// judged, or that lapsed.
    fn settled(&mut self) -> Vec<Settled> {
        Vec::new()
    }
}

/// A decision of before, with its outcome now.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    pub decision: Decision,
    pub outcome: Outcome,
}

/// Replay: nothing to block.
pub struct NoRespond;

impl Respond for NoRespond {
    fn mode(&self) -> Mode {
        Mode::Monitor
    }

    fn carry_out(&mut self, decision: &Decision) -> Outcome {
        if decision.needs_approval {
            Outcome::Proposed
        } else {
            Outcome::Monitored
        }
    }
}

#[cfg(test)]
mod tests {
    use sensor_engine::{Action, Grades, Grounds, Proof, Scope};

    use super::*;

    /// A decision on somebody.
    pub fn decision() -> Decision {
        Decision {
            id: "d000001-0000000000000001".to_owned(),
            incident_id: "000001-0000000000000001".to_owned(),
            action: Action::Quarantine,
            target: "192.0.2.9/32".parse().unwrap(),
            scope: Scope::default(),
            ttl_s: 60,
            reason: String::new(),
            is_proven: true,
            needs_approval: true,
            grounds: Grounds {
                row: None,
                proof: Proof {
                    grades: Grades::SHAPE,
                    of_incident: Grades::SHAPE,
                    is_real: true,
                    is_peer: false,
                    by_connections: false,
                    may_ask: false,
                },
                needs: Vec::new(),
            },
            good: None,
        }
    }

    #[test]
    fn a_replay_proposes_what_needs_approval() {
        let decision = decision();
        assert_eq!(NoRespond.carry_out(&decision), Outcome::Proposed);
        let automatic = Decision {
            needs_approval: false,
            ..decision
        };
        assert_eq!(NoRespond.carry_out(&automatic), Outcome::Monitored);
    }
}
