//! A score above its limit.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::entity::{Entity, EntityKind, entity};
use crate::evidence::{Evidence, finite};
use crate::head::Head;
use crate::notes::Notes;

/// Finding of one detector about one entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "finding")]
pub struct Finding {
    #[serde(flatten)]
    pub head: Head,
    /// Detector that gave the score
    pub detector: Cow<'static, str>,
    /// Kind of behaviour that it speaks of
    #[serde(rename = "incident.family")]
    pub family: Cow<'static, str>,
    /// Whom it is about: an IP address, or a station's Ethernet address
    pub entity: Entity,
    /// Role of the entity
    #[serde(rename = "entity.kind")]
    pub entity_kind: EntityKind,
    #[serde(flatten)]
    pub window: Window,
    /// Tail probability, as `-log10(p)`, 300 at most
    #[schemars(extend("x-unit" = "-log10(p)"))]
    pub score: f64,
    /// Tail probability
    pub p_value: f64,
    /// Kinds of proof that it is: shape, outcome, content, two_way
    #[serde(rename = "evidence.grades", default)]
    pub grades: Vec<Cow<'static, str>>,
    /// Numbers that gave the score
    pub features: Vec<Evidence>,
    #[serde(flatten)]
    pub notes: Notes,
}

/// Length of the judged window, under both of its names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "WindowFields", from = "WindowFields")]
pub struct Window {
    pub seconds: f64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct WindowFields {
    /// Length of the window that was judged
    #[schemars(extend("x-unit" = "s"))]
    window: Option<f64>,
    /// Length of that window, as in `window`
    #[schemars(extend("x-unit" = "s"))]
    window_s: f64,
}

impl JsonSchema for Window {
    fn schema_name() -> Cow<'static, str> {
        "Window".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        WindowFields::json_schema(generator)
    }
}

impl From<Window> for WindowFields {
    fn from(window: Window) -> Self {
        Self {
            window: Some(window.seconds),
            window_s: window.seconds,
        }
    }
}

impl From<WindowFields> for Window {
    fn from(fields: WindowFields) -> Self {
        Self {
            seconds: fields.window.unwrap_or(fields.window_s),
        }
    }
}

impl Finding {
    /// Builds the record of an engine's finding.
    pub fn new(head: Head, finding: &sensor_engine::Finding) -> Self {
        let (entity, entity_kind) = entity(&finding.entity);
        Self {
            head,
            detector: Cow::Borrowed(finding.detector.label()),
            family: Cow::Borrowed(finding.family.label()),
            entity,
            entity_kind,
            window: Window {
                seconds: finding.window_ns as f64 / 1e9,
            },
            score: finite(finding.score),
            p_value: finite(finding.p_value),
            grades: finding.grades.labels().map(Cow::Borrowed).collect(),
            features: Evidence::of(&finding.features),
            notes: Notes::of(&finding.notes),
        }
    }
}
