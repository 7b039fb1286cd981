//! Formats of what is sent: a file each.

mod alertmanager;
mod cef;
mod discord;
mod ecs;
mod eve;
mod leef;
mod mattermost;
mod ntfy;
mod ocsf;
mod slack;
mod stix;
mod teams;
mod template;

use schemars::JsonSchema;
use sensor_record::{Severity, json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::envelope::Envelope;
use crate::wording::Words;

pub use alertmanager::{
    annotations as alert_annotations, labels as alert_labels, times as alert_times,
};
pub use ecs::document as ecs_document;
pub use stix::bundle as stix_bundle;
pub use template::{Template, check as check_template};

/// A record as it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    pub content_type: &'static str,
    /// Header lines that go with it.
    pub headers: Vec<(String, String)>,
    pub bytes: Vec<u8>,
}

impl Body {
    fn json(value: &Value) -> Self {
        Self {
            content_type: "application/json",
            headers: Vec::new(),
            bytes: value.to_string().into_bytes(),
        }
    }

    fn text(text: String) -> Self {
        Self {
            content_type: "text/plain; charset=utf-8",
            headers: Vec::new(),
            bytes: text.into_bytes(),
        }
    }
}

macro_rules! formats {
    ($($(#[$doc:meta])* $variant:ident = $label:literal => $shape:expr,)+) => {
        /// Format of a record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        #[schemars(inline)]
        pub enum Format {
            $($(#[$doc])* $variant,)+
        }

        impl Format {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            fn shape(self) -> fn(&Envelope) -> Body {
                match self { $(Self::$variant => $shape,)+ }
            }
        }
    };
}

formats! {
    /// The record as it is, one JSON object.
    Json = "json" => |envelope| Body {
        content_type: "application/json",
        bytes: json::line(&envelope.record).into_bytes(),
        ..Body::default()
    },
    /// Words for people.
    Text = "text" => |envelope| Body::text(Words::of(envelope).lines()),
    /// A template of one's own.
    Template = "template" => |envelope| Body::text(Words::of(envelope).lines()),
    /// The webhook of Prometheus Alertmanager, version 4.
    Alertmanager = "alertmanager" => alertmanager::shape,
    /// An incoming webhook of Slack.
    Slack = "slack" => slack::shape,
    /// A workflow's webhook of Microsoft Teams (adaptive card).
    Teams = "teams" => teams::shape,
    /// A webhook of Discord.
    Discord = "discord" => discord::shape,
    /// An incoming webhook of Mattermost.
    Mattermost = "mattermost" => mattermost::shape,
    /// A topic of ntfy.
    Ntfy = "ntfy" => ntfy::shape,
    /// Common Event Format (ArcSight).
    Cef = "cef" => cef::shape,
    /// Log Event Extended Format (QRadar).
    Leef = "leef" => leef::shape,
    /// Elastic Common Schema.
    Ecs = "ecs" => ecs::shape,
    /// Detection Finding of OCSF 1.7.
    Ocsf = "ocsf" => ocsf::shape,
    /// Alert of Suricata's eve.json.
    Eve = "eve" => eve::shape,
    /// Bundle of STIX 2.1.
    Stix = "stix" => stix::shape,
}

/// A format, ready for use.
pub struct Shape {
    format: Format,
    template: Option<Template>,
}

impl Shape {
    /// # Errors
    /// What is wrong with the template.
    pub fn new(format: Format, template: Option<&str>) -> Result<Self, String> {
        let template = template.map(Template::new).transpose()?;
        Ok(Self { format, template })
    }

    /// # Errors
    /// What the template said.
    pub fn of(&self, envelope: &Envelope) -> Result<Body, String> {
        match (self.format, &self.template) {
            (Format::Template, Some(template)) => template.fill(envelope),
            _ => Ok(self.format.shape()(envelope)),
        }
    }
}

/// The record as a JSON value.
pub fn raw_json(envelope: &Envelope) -> Value {
    json::read(json::line(&envelope.record).as_bytes()).unwrap_or_default()
}

/// Colour of a severity, red above all.
const fn colour(severity: Severity) -> u32 {
    match severity {
        Severity::Low => 0x0036_a64f,
        Severity::Medium => 0x00ff_cc00,
        Severity::High => 0x00ff_8800,
        Severity::Critical => 0x00d0_0000,
    }
}

/// Colour of a record; that of the least where it has no severity.
fn colour_of(envelope: &Envelope) -> u32 {
    envelope
        .incident()
        .map_or(colour(Severity::Low), |incident| colour(incident.severity))
}
