//! Shields of local addresses.

use std::borrow::Cow;
use std::net::IpAddr;

use schemars::JsonSchema;
use sensor_common::shield::measure;
use serde::{Deserialize, Serialize};

use crate::head::Head;
use crate::origin::Origin;

/// Measure of a shield.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShieldMeasure {
    /// SYNs of strangers are answered by a SYN cookie
    Cookies,
    /// TCP segments that belong to no connection are dropped
    State,
    /// Replies that nobody asked for are dropped
    Replies,
    /// Other packets of strangers share a rate
    Rate,
}

impl ShieldMeasure {
    const ALL: [(u8, Self); 4] = [
        (measure::COOKIES, Self::Cookies),
        (measure::STATE, Self::State),
        (measure::REPLIES, Self::Replies),
        (measure::RATE, Self::Rate),
    ];

    /// The measures of a set.
    pub fn of(set: u8) -> Vec<Self> {
        let of_set = Self::ALL.iter().filter(|(bit, _)| set & bit != 0);
        of_set.map(|(_, measure)| *measure).collect()
    }

    pub const fn label(self) -> &'static str {
        match self {
            Self::Cookies => "cookies",
            Self::State => "state",
            Self::Replies => "replies",
            Self::Rate => "rate",
        }
    }
}

/// Local address, or service there, that is shielded from floods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "shield")]
pub struct Shield {
    #[serde(flatten)]
    pub head: Head,
    /// Address of this host
    pub address: IpAddr,
    /// IP protocol that it is limited to; 0 is any
    pub protocol: u8,
    /// Name of that protocol, where there is one
    #[serde(
        rename = "network.transport",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub transport: Option<Cow<'static, str>>,
    /// Local port that it is limited to; 0 is any
    pub port: u16,
    /// Measures that it takes
    pub measures: Vec<ShieldMeasure>,
    /// Packets a second that strangers share
    #[schemars(extend("x-unit" = "packets/s"))]
    pub strangers_packets_per_s: u32,
    /// Time that is left
    #[schemars(extend("x-unit" = "s"))]
    pub ttl_s: u64,
    /// SYNs that were answered by a cookie
    #[schemars(extend("x-unit" = "packets"))]
    pub answered: u64,
    /// Acknowledgements of such cookies
    #[schemars(extend("x-unit" = "packets"))]
    pub completed: u64,
    /// Packets that were dropped, or, when monitoring, would have been answered or dropped
    #[schemars(extend("x-unit" = "packets"))]
    pub held: u64,
    /// Origin of the shield
    pub origin: Origin,
    /// Reason that was given
    pub reason: String,
}
