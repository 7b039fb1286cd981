//! Networks over sequences, as the status tells of them.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A network over sequences that is installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct NetworkState {
    /// Name: kind of sequences and beginning of its hash
    pub name: String,
    /// Kind of sequences: contacts, packets, minute
    pub sequences: Cow<'static, str>,
    /// Role: active, or candidate, which scores without effect
    pub role: Cow<'static, str>,
    /// Kind of network, as its manifest has it
    pub network: String,
    /// SHA-256 of its file, hexadecimal
    pub sha256: String,
    /// Time since which it is what it is
    pub since: Timestamp,
    /// Number of sequences that it judged since the start
    pub judged: u64,
    /// Number of those that reached its threshold
    pub alarms: u64,
    /// Cause why it is not used
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
