//! Entries of the block-list and the allow-list.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::Action;
use crate::head::Head;
use crate::network::Network;
use crate::origin::Origin;

/// Action on packets that an entry covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Measure {
    /// Everything is dropped.
    Drop,
    /// Flows that go both ways pass; nothing new does.
    Quarantine,
    /// Flows that go both ways pass, and of the rest so many packets a second, and as many at once.
    RateLimit { packets_per_s: u32 },
    /// Flows that go both ways pass, and of the rest so many packets a second; beyond, SYNs are answered by a
    /// cookie, and as many connections a second begin as are acknowledged.
    Challenge { packets_per_s: u32 },
}

impl Measure {
    pub const fn action(self) -> Action {
        match self {
            Self::Drop => Action::Drop,
            Self::Quarantine => Action::Quarantine,
            Self::RateLimit { .. } => Action::Limit,
            Self::Challenge { .. } => Action::Challenge,
        }
    }

    pub const fn rate_packets_per_s(self) -> Option<u32> {
        match self {
            Self::Drop | Self::Quarantine => None,
            Self::RateLimit { packets_per_s } | Self::Challenge { packets_per_s } => {
                Some(packets_per_s)
            }
        }
    }
}

/// Source that is blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "block")]
pub struct Block {
    #[serde(flatten)]
    pub head: Head,
    /// Address or network
    pub target: Network,
    /// Action on its packets
    pub action: Action,
    /// Packets a second that are let through, where some are
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "packets/s"))]
    pub rate_packets_per_s: Option<u32>,
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
    /// Time that is left
    #[schemars(extend("x-unit" = "s"))]
    pub ttl_s: u64,
    /// Packets that were dropped, or, when monitoring, would have been
    #[schemars(extend("x-unit" = "packets"))]
    pub packets: u64,
    /// Bytes of those packets
    #[schemars(extend("x-unit" = "bytes"))]
    pub bytes: u64,
    /// Origin of the entry
    pub origin: Origin,
    /// Reason that was given
    pub reason: String,
}

/// Network that is never blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "allow")]
pub struct Allowed {
    #[serde(flatten)]
    pub head: Head,
    /// Address or network
    pub network: Network,
    /// Reasons why it must stay reachable, each with where it comes from, as an interface or a file
    pub why: Cow<'static, str>,
    /// Reasons in one word each, the weightiest first
    #[serde(default)]
    pub reasons: Vec<Cow<'static, str>>,
    /// Origin of the entry; absent for what the host itself needs
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}
