//! Remarks of people on an incident, and who has it in hand.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::head::Head;
use crate::origin::Origin;
use crate::time::Timestamp;

/// Remark of a person on an incident; what it leaves out stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "remark")]
pub struct Remark {
    #[serde(flatten)]
    pub head: Head,
    /// Incident that it is about
    #[serde(rename = "incident.id")]
    pub incident_id: String,
    /// Text of the person
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remark: String,
    /// Name of whoever has the incident in hand from now on; empty: nobody
    #[serde(
        rename = "incident.assignee",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub assignee: Option<String>,
    /// Number or address of the ticket where it is dealt with; empty: none
    #[serde(
        rename = "incident.ticket",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub ticket: Option<String>,
    /// Origin of the remark
    pub by: Origin,
}

impl Remark {
    /// Time of it.
    pub const fn at(&self) -> Timestamp {
        self.head.at
    }

    /// Puts all of it into one line.
    pub fn told(&self) -> String {
        let part = |word: &str, value: &Option<String>| match value.as_deref() {
            None => None,
            Some("") => Some(format!("no {word}")),
            Some(value) => Some(format!("{word} {value}")),
        };
        let text = Some(self.remark.clone()).filter(|text| !text.is_empty());
        let parts = [
            text,
            part("assignee", &self.assignee),
            part("ticket", &self.ticket),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}
