//! Everything that the sensor puts out, one by one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::event::Event;
use crate::feedback::FeedbackGiven;
use crate::finding::Finding;
use crate::flow::Flow;
use crate::head::{Head, SCHEMA_VERSION};
use crate::incident::Incident;
use crate::json;
use crate::lifecycle::SensorEvent;
use crate::loss::Loss;
use crate::remark::Remark;
use crate::summary::Summary;

macro_rules! records {
    ($($variant:ident($type:ty) = $kind:literal,)+) => {
        /// One record; in JSON its own object, told from others by `kind`.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum Record {
            $($variant(Box<$type>),)+
        }

        impl Record {
            /// Every `kind` that there is.
            pub const KINDS: &'static [&'static str] = &[$($kind,)+];

            /// Word of its `kind`.
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $kind,)+ }
            }

            pub const fn head(&self) -> &Head {
                match self { $(Self::$variant(record) => &record.head,)+ }
            }

            fn of_kind(kind: &str, line: &[u8]) -> Result<Option<Self>, json::Error> {
                match kind {
                    $($kind => json::read(line).map(|record| Some(Self::$variant(record))),)+
                    _ => Ok(None),
                }
            }
        }

        $(impl From<$type> for Record {
            fn from(record: $type) -> Self {
                Self::$variant(Box::new(record))
            }
        })+
    };
}

records! {
    Sensor(SensorEvent) = "sensor",
    Flow(Flow) = "flow",
    Finding(Finding) = "finding",
    Incident(Incident) = "incident",
    Decision(Decision) = "decision",
    Event(Event) = "event",
    Loss(Loss) = "loss",
    Summary(Summary) = "summary",
    Feedback(FeedbackGiven) = "feedback",
    Remark(Remark) = "remark",
}

impl Record {
    /// True for what there are many of: it may be dropped first.
    pub const fn is_minor(&self) -> bool {
        matches!(self, Self::Flow(_) | Self::Finding(_) | Self::Event(_))
    }

    /// Reads a line of JSON. `None`: a record of a kind that this sensor doesn't know.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn read(line: &[u8]) -> Result<Option<Self>, BadLine> {
        #[derive(Deserialize)]
        struct Peek {
            kind: Option<String>,
            #[serde(rename = "schema.version", default)]
            version: u32,
        }
        let peek: Peek = json::read(line).map_err(BadLine::NotJson)?;
        if peek.version > SCHEMA_VERSION {
            return Err(BadLine::Newer(peek.version));
        }
        let kind = peek.kind.ok_or(BadLine::NoKind)?;
        Self::of_kind(&kind, line).map_err(|cause| BadLine::Field(kind, cause))
    }
}

/// A line that is no record.
#[derive(Debug)]
pub enum BadLine {
    NotJson(json::Error),
    NoKind,
    /// Record of a later version of the contract.
    Newer(u32),
    /// A field of this kind is missing, or another than expected.
    Field(String, json::Error),
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(cause) => write!(f, "not a JSON line: {cause}"),
            Self::NoKind => f.write_str("not a record: it has no `kind`"),
            Self::Newer(version) => write!(
                f,
                "a record of version {version}, this sensor reads up to {SCHEMA_VERSION}: use a newer one"
            ),
            Self::Field(kind, cause) => write!(f, "not a record of kind {kind}: {cause}"),
        }
    }
}

impl std::error::Error for BadLine {}
