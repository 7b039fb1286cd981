//! Feedback of a person on an incident.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::entity::{Entity, EntityKind};
use crate::head::Head;
use crate::origin::Origin;
use crate::time::Timestamp;

/// Word of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Said {
    /// Benign: the behaviour is normal and is learned from.
    Benign,
    /// Nothing of it is learned.
    Attack,
}

impl Said {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Attack => "attack",
        }
    }
}

impl From<sensor_engine::Feedback> for Said {
    fn from(feedback: sensor_engine::Feedback) -> Self {
        match feedback {
            sensor_engine::Feedback::Benign => Self::Benign,
            sensor_engine::Feedback::Attack => Self::Attack,
        }
    }
}

impl From<Said> for sensor_engine::Feedback {
    fn from(said: Said) -> Self {
        match said {
            Said::Benign => Self::Benign,
            Said::Attack => Self::Attack,
        }
    }
}

/// Feedback on an incident, with its origin and its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Feedback {
    /// Incident that it was said of
    #[serde(rename = "incident.id")]
    pub incident_id: String,
    /// Whom it holds for
    pub entity: Entity,
    /// Role of the entity
    #[serde(rename = "entity.kind")]
    pub entity_kind: EntityKind,
    /// Feedback of the person
    #[serde(rename = "feedback", alias = "opinion")]
    pub said: Said,
    /// Reason that the person gives
    #[serde(
        rename = "feedback.reason",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub reason: String,
    /// Event time until which it holds
    pub until: Timestamp,
    /// Origin of the feedback
    pub by: Origin,
}

/// Feedback as it is put out, and kept with its incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "feedback")]
pub struct FeedbackGiven {
    #[serde(flatten)]
    pub head: Head,
    #[serde(flatten)]
    pub feedback: Feedback,
}
