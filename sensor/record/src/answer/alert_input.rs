//! Inputs of alerts of other systems.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::summary::Counts;
use crate::time::Timestamp;

/// An input of alerts of other systems.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct AlertInput {
    /// Kind of the input
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// Number of what came, by what became of it
    pub counts: Counts,
    /// Time of the last alert
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Cause why nothing is taken
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
