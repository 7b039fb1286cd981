//! Lines of the audit log: what was done to somebody's packets, or refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::{Mode, Outcome};
use crate::feedback::Feedback;
use crate::grounds::Grounds;
use crate::head::Head;
use crate::list::Measure;
use crate::network::Network;
use crate::origin::Origin;

/// Action that a line records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AuditAction {
    Block,
    Refuse,
    Remove,
    Expire,
    Flush,
    BulkLoad,
    Allow,
    Disallow,
    ModeChange,
    Restore,
    Adopt,
    Feedback,
    /// Findings of an incident's kind are made into no incidents for a while
    Mute,
    Unmute,
    /// A remark on an incident, or who has it in hand
    Remark,
    /// A decision that waits for a person
    Propose,
    Approve,
    Reject,
    /// A proposal that nobody judged in time
    Lapse,
    /// A decision after which good traffic broke off is taken back
    RollBack,
    /// A saved allow-list that could not be read is done without
    AcceptLoss,
    /// A network over sequences is installed, put in force or removed
    Network,
    /// A local address is shielded
    Shield,
    Unshield,
}

/// One line; what is absent does not apply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "audit")]
pub struct AuditLine {
    #[serde(flatten)]
    pub head: Head,
    /// Action
    #[serde(rename = "event.action")]
    pub action: AuditAction,
    /// Mode of the response
    pub mode: Mode,
    /// SHA-256 of the line before, hexadecimal; zeros in the first line of all
    #[serde(
        rename = "audit.previous",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub previous: Option<String>,
    #[serde(flatten)]
    pub about: About,
}

/// Subject of a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct About {
    /// Address or network
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Network>,
    /// IP protocol that an entry is limited to; 0 is any
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// Local port that an entry is limited to; 0 is any
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    /// Action on packets
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
    /// Number that the kernel's entry carries, hexadecimal; 0 for what no decision made
    #[serde(
        rename = "entry.number",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub entry: Option<String>,
    /// Duration of an entry
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "s"))]
    pub ttl_s: Option<u64>,
    /// Origin of the entry, or of the order
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Origin of the order that ended the entry
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Origin>,
    /// Reason for the entry, or for its end
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Outcome of the decision
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Row of the policy and proof, of a decision
    #[serde(flatten)]
    pub grounds: Grounds,
    /// Packets that the entry stopped
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "packets"))]
    pub packets: Option<u64>,
    /// Bytes of those packets
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "bytes"))]
    pub bytes: Option<u64>,
    /// Number of entries made
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_added: Option<u64>,
    /// Number of entries removed
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_removed: Option<u64>,
    /// Number of entries refused
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_refused: Option<u64>,
    /// The first of the refusals
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// Mode before a change
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Mode>,
    /// Mode after a change
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Mode>,
    /// Feedback of a person on an incident
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
}
