//! Health of a part of the running agent.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of a part.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Health {
    /// It does its work.
    Ok,
    /// It does part of it.
    Degraded,
    /// It does not do its work.
    Failed,
}

/// A part of the agent with its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct HealthCheck {
    /// Kind of part: interface, output, sink, feed, confinement, file, service, guard, local_networks
    pub check: Cow<'static, str>,
    /// Name of the part, where there are several
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// State of the part
    pub state: Health,
    /// Finding in words
    pub finding: String,
    /// Remedy
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl HealthCheck {
    pub(crate) fn ok(check: &'static str, of: Option<&str>, finding: impl Into<String>) -> Self {
        Self {
            check: Cow::Borrowed(check),
            of: of.map(str::to_owned),
            state: Health::Ok,
            finding: finding.into(),
            remedy: None,
        }
    }

    pub(crate) fn with(self, state: Health, remedy: &str) -> Self {
        Self {
            state,
            remedy: Some(remedy.to_owned()),
            ..self
        }
    }
}
