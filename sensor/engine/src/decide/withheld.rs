//! Reasons why the sources of an incident were not acted on.

use std::net::IpAddr;

use super::local::LocalBy;
use super::proof::Grounds;

/// Reason why nothing was decided on a source, or on an incident as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Withheld {
    /// The source is local.
    Local(LocalBy),
    /// Unspecified, loopback, multicast or broadcast: no host's address.
    SpecialAddress,
    /// Sources are forged or scattered: blocking them would hit others.
    Spoofed,
    /// No IP address is blamed.
    NoSource,
    /// The family is reported only.
    ReportOnly,
    /// The service fails by itself.
    ServiceDown,
    /// The severity or the score is too low for a response.
    NotProven,
    /// A decision as strong was made a short while ago, for another incident.
    InForce,
    /// Refusal of the same, a short while ago.
    Refused,
    /// It begins no more in a second than a limit lets pass.
    WithinLimit,
    /// No row of the policy allows anything.
    Policy,
    /// Its good traffic broke off after an action a while ago.
    GoodTraffic,
    /// Flow records of others tell of it: no packet of it was seen.
    FlowRecords,
}

/// A reason, with the source that it holds for; without one it holds for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDecided {
    pub source: Option<IpAddr>,
    pub reason: Withheld,
    /// Row and proof, where one source was looked at.
    pub grounds: Option<Grounds>,
}
