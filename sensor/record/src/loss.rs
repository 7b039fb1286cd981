//! Loss: what a stage shed.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::head::Head;

/// Something that was shed, told once a second at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "loss")]
pub struct Loss {
    #[serde(flatten)]
    pub head: Head,
    /// Stage that shed it
    pub stage: Cow<'static, str>,
    /// Cause of the loss
    pub reason: Cow<'static, str>,
    /// Number shed since the last such record
    pub count: u64,
}

impl Loss {
    pub const fn new(head: Head, stage: &'static str, reason: &'static str, count: u64) -> Self {
        Self {
            head,
            stage: Cow::Borrowed(stage),
            reason: Cow::Borrowed(reason),
            count,
        }
    }
}
