//! Rules by which a response is not made, or not carried out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rule by which nothing is done to a source.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Rule {
    /// The source is the host itself, or a host of a network that it serves.
    Local,
    /// The host's own addresses can't be read, so any source may be local.
    LocalUnknown,
    /// Unspecified, loopback, multicast or broadcast: no host's address.
    SpecialAddress,
    /// Sources are forged or scattered: blocking them would hit others.
    Spoofed,
    /// No IP address is blamed.
    NoSource,
    /// Incidents of the family are reported only.
    ReportOnly,
    /// The service fails by itself.
    ServiceDown,
    /// The severity or the score is too low for a response.
    NotProven,
    /// A decision as strong is in force already.
    InForce,
    /// Refusal of the same, a moment ago; it is asked for again in a while.
    Refused,
    /// It begins no more at once than a limit lets pass.
    WithinLimit,
    /// The policy allows nothing.
    Policy,
    /// The guard says that the target must stay reachable.
    Guard,
    /// The guard doesn't know yet what must stay reachable.
    GuardUnknown,
    /// A person refused it.
    Rejected,
    /// Nobody approved it in time.
    Lapsed,
    /// As much is in force as may be set without a person's word.
    BlastRadius,
    /// Good traffic of the source broke off after an action.
    GoodTraffic,
    /// Flow records of other devices tell of it: no packet of it was seen.
    FlowRecords,
    /// The block-list has no room.
    Full,
    /// The request makes no sense, or the kernel refused it.
    Error,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 21] = [
        Self::Local,
        Self::LocalUnknown,
        Self::SpecialAddress,
        Self::Spoofed,
        Self::NoSource,
        Self::ReportOnly,
        Self::ServiceDown,
        Self::NotProven,
        Self::InForce,
        Self::Refused,
        Self::WithinLimit,
        Self::Policy,
        Self::Guard,
        Self::GuardUnknown,
        Self::Rejected,
        Self::Lapsed,
        Self::BlastRadius,
        Self::GoodTraffic,
        Self::FlowRecords,
        Self::Full,
        Self::Error,
    ];

    /// Sentence for people, without its full stop.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Local => "it is local",
            Self::LocalUnknown => {
                "it may be local: the addresses of the host are not known, or too many hosts send"
            }
            Self::SpecialAddress => "it is no host's address",
            Self::Spoofed => "sources are spoofed or scattered: blocking them would hit others",
            Self::NoSource => "there is no source to act on",
            Self::ReportOnly => "incidents of this family are reported, not acted on",
            Self::ServiceDown => "the service fails by itself",
            Self::NotProven => "its severity is low, or its score below engine.decide.min_score",
            Self::InForce => "a decision as strong was made a moment ago",
            Self::Refused => "the same was refused a moment ago",
            Self::WithinLimit => "it begins no more at once than a limit lets pass",
            Self::Policy => "the policy allows nothing",
            Self::Guard => "it must stay reachable",
            Self::GuardUnknown => "it is not known yet what must stay reachable",
            Self::Rejected => "a person refused it",
            Self::Lapsed => "nobody approved it in time",
            Self::BlastRadius => "as much is in force as may be set without a person's word",
            Self::GoodTraffic => "its good traffic broke off after an action",
            Self::FlowRecords => {
                "flow records of other devices tell of it, and no packet of it was seen here"
            }
            Self::Full => "the block-list has no room",
            Self::Error => "it could not be carried out",
        }
    }
}
