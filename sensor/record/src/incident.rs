//! An incident at one publication.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use sensor_engine::ModelKind;
use serde::{Deserialize, Serialize};

use crate::entity::{Entity, EntityKind, entity};
use crate::evidence::{Evidence, finite};
use crate::head::Head;
use crate::mac::Mac;
use crate::notes::Notes;
use crate::response::Response;
use crate::statement::Statement;
use crate::technique::{tactic_name, technique_name};
use crate::time::Timestamp;
use crate::wireshark::{self, Extent};

/// State of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum State {
    Opened,
    Updated,
    Closed,
}

impl State {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Closed => "closed",
        }
    }
}

/// Severity of an incident: the attention that it asks for; `low` is worth a look when convenient.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// Every one, the least first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Reason why a finding can be relied on less: `warm_up`, `drift`, `learned`, or `stage/reason` of a loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String", inline)]
pub enum Lowered {
    /// Less than ten minutes of traffic were seen.
    WarmUp,
    /// The traffic changed lately, and scores are calibrated anew.
    Drift,
    /// The learned model takes it for ordinary traffic.
    Learned,
    /// Flows are those of exported records.
    Records,
    /// Packets were sampled before they became records.
    Sampled,
    /// A stage shed something within the minute before.
    Loss {
        stage: Cow<'static, str>,
        reason: Cow<'static, str>,
    },
}

impl fmt::Display for Lowered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WarmUp => f.write_str("warm_up"),
            Self::Drift => f.write_str("drift"),
            Self::Learned => f.write_str("learned"),
            Self::Records => f.write_str("flow_records"),
            Self::Sampled => f.write_str("sampled"),
            Self::Loss { stage, reason } => write!(f, "{stage}/{reason}"),
        }
    }
}

impl FromStr for Lowered {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.split_once('/')) {
            ("warm_up", _) => Ok(Self::WarmUp),
            ("drift", _) => Ok(Self::Drift),
            ("learned", _) => Ok(Self::Learned),
            ("flow_records", _) => Ok(Self::Records),
            ("sampled", _) => Ok(Self::Sampled),
            (_, Some((stage, reason))) => Ok(Self::Loss {
                stage: Cow::Owned(stage.to_owned()),
                reason: Cow::Owned(reason.to_owned()),
            }),
            (other, None) => Err(format!(
                "\"{other}\" is none of warm_up, drift, learned, flow_records, sampled, stage/reason"
            )),
        }
    }
}

impl From<Lowered> for String {
    fn from(lowered: Lowered) -> Self {
        lowered.to_string()
    }
}

impl TryFrom<String> for Lowered {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<&sensor_engine::Lowered> for Lowered {
    fn from(lowered: &sensor_engine::Lowered) -> Self {
        use sensor_engine::Lowered as Of;
        match lowered {
            Of::WarmUp => Self::WarmUp,
            Of::Drift => Self::Drift,
            Of::Learned => Self::Learned,
            Of::Records => Self::Records,
            Of::Sampled => Self::Sampled,
            Of::Loss(loss) => Self::Loss {
                stage: Cow::Borrowed(loss.stage()),
                reason: Cow::Borrowed(loss.reason()),
            },
        }
    }
}

/// Several findings of one family about one entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "incident")]
pub struct Incident {
    #[serde(flatten)]
    pub head: Head,
    /// Identifier, the same over the incident's life and over replays
    #[serde(rename = "incident.id")]
    pub id: String,
    /// State of the incident
    #[serde(rename = "incident.state")]
    pub state: State,
    /// Kind of behaviour
    #[serde(rename = "incident.family")]
    pub family: Cow<'static, str>,
    /// Kind of behaviour that the detectors give, where the naming model gave the family
    #[serde(
        rename = "incident.found_as",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub found_as: Option<Cow<'static, str>>,
    /// First packet of the behaviour
    #[serde(rename = "event.start")]
    pub start: Timestamp,
    /// Last packet of the behaviour so far
    #[serde(rename = "event.end")]
    pub end: Timestamp,
    /// Addresses that are blamed, 100 at most; empty where sources are spoofed
    #[serde(rename = "source.ips")]
    pub sources: Vec<IpAddr>,
    /// Number of sources, listed or not; of spoofed ones an estimate
    #[serde(rename = "source.count")]
    pub n_sources: u64,
    /// Says that no source was ever seen that could be blamed
    #[serde(rename = "source.spoofed")]
    pub is_spoofed: bool,
    /// Station on the link that is blamed
    #[serde(
        rename = "source.mac",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub source_mac: Option<Mac>,
    /// Station on the link that an address was taken from
    #[serde(
        rename = "destination.mac",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub destination_mac: Option<Mac>,
    /// Addresses that it is done to, 100 at most
    #[serde(rename = "destination.ips")]
    pub destinations: Vec<IpAddr>,
    /// Number of destinations, listed or not
    #[serde(rename = "destination.ips.count")]
    pub n_destinations: u64,
    /// Destination ports, 100 at most
    #[serde(rename = "destination.ports")]
    pub ports: Vec<u16>,
    /// Number of destination ports, listed or not
    #[serde(rename = "destination.ports.count")]
    pub n_ports: u64,
    /// Tail probability of the strongest finding, as `-log10(p)`, 300 at most
    #[schemars(extend("x-unit" = "-log10(p)"))]
    pub score: f64,
    /// Severity: the attention that it asks for
    pub severity: Severity,
    /// MITRE ATT&CK technique (enterprise matrix)
    #[serde(rename = "threat.technique.id")]
    pub technique: Cow<'static, str>,
    /// Name of that technique
    #[serde(rename = "threat.technique.name", default)]
    pub technique_name: Cow<'static, str>,
    /// Tactic that the technique serves here
    #[serde(rename = "threat.tactic.name", default)]
    pub tactic_name: Cow<'static, str>,
    /// One sentence with the numbers
    pub explanation: String,
    /// Kinds of proof that it rests on: shape, outcome, content, two_way
    #[serde(rename = "evidence.grades", default)]
    pub grades: Vec<Cow<'static, str>>,
    /// Detectors that found it
    pub detectors: Vec<Cow<'static, str>>,
    /// Numbers of the strongest finding
    #[serde(default)]
    pub features: Vec<Evidence>,
    /// Window that the strongest finding judged
    #[serde(default)]
    #[schemars(extend("x-unit" = "s"))]
    pub window_s: f64,
    /// Whom it is about: an IP address, or a station's Ethernet address
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<Entity>,
    /// Role of the entity
    #[serde(
        rename = "entity.kind",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub entity_kind: Option<EntityKind>,
    /// Hash of the feature schema that the numbers are of
    #[serde(rename = "schema.hash", default)]
    pub schema_hash: String,
    /// Confidence, from 0 to 1
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Reasons that lowered the confidence
    #[serde(rename = "confidence.lowered_by", default)]
    pub lowered_by: Vec<Lowered>,
    /// Counters of the entity in the windows of 10 s in which it was found, and the number of
    /// windows
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<Cow<'static, str>, u64>,
    /// Oddness that each streaming model sees, in its oddest window
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-unit" = "-log10(p)"))]
    pub models: BTreeMap<Cow<'static, str>, f64>,
    /// Family that the naming model gives
    #[serde(
        rename = "naming.family",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub naming_family: Option<Cow<'static, str>>,
    /// Part of its trees that give it, 0 to 1
    #[serde(
        rename = "naming.probability",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub naming_probability: Option<f64>,
    /// Identifier of the naming model
    #[serde(
        rename = "naming.model",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub naming_model: Option<String>,
    /// Display filter for Wireshark 4 that shows its packets, and may show more
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wireshark: String,
    /// Statements of other systems about its sources, 32 at most
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<Statement>,
    /// Response to its sources, 100 at most: decisions with their outcomes, and rules by which there
    /// was none
    #[serde(default)]
    pub response: Vec<Response>,
    #[serde(flatten)]
    pub notes: Notes,
}

impl Incident {
    /// Builds the record of an engine's incident.
    pub fn new(head: Head, i: &sensor_engine::Incident) -> Self {
        let (entity, entity_kind) = entity(&i.entity);
        let is_renamed = i.family != i.found_as;
        let counters = i
            .counters
            .named()
            .map(|(name, n)| (Cow::Borrowed(name), n))
            .into();
        let mut record = Self {
            head,
            id: i.id.clone(),
            state: state(i.state),
            family: Cow::Borrowed(i.family.label()),
            found_as: is_renamed.then_some(Cow::Borrowed(i.found_as.label())),
            start: Timestamp(i.start_ns),
            end: Timestamp(i.end_ns),
            sources: i.sources.clone(),
            n_sources: i.n_sources,
            is_spoofed: i.is_spoofed,
            source_mac: i.source_mac.map(Mac),
            destination_mac: i.destination_mac.map(Mac),
            destinations: i.destinations.clone(),
            n_destinations: i.n_destinations,
            ports: i.ports.clone(),
            n_ports: i.n_ports,
            score: finite(i.score),
            severity: severity(i.severity),
            technique: Cow::Borrowed(i.technique),
            technique_name: Cow::Borrowed(technique_name(i.technique)),
            tactic_name: Cow::Borrowed(tactic_name(i.technique)),
            explanation: i.explanation.clone(),
            grades: i.grades.labels().map(Cow::Borrowed).collect(),
            detectors: i.detectors.iter().map(|d| d.label().into()).collect(),
            features: Evidence::of(&i.features),
            window_s: i.window_ns as f64 / 1e9,
            entity: Some(entity),
            entity_kind: Some(entity_kind),
            schema_hash: format!("{:016x}", sensor_engine::schema_hash()),
            confidence: Some(finite(i.confidence.value)),
            lowered_by: i.confidence.lowered_by.iter().map(Lowered::from).collect(),
            counters: if i.counters.n_windows > 0 {
                counters
            } else {
                BTreeMap::new()
            },
            models: models(i),
            naming_family: i.naming.map(|naming| naming.family.label().into()),
            naming_probability: i.naming.map(|naming| finite(naming.probability.into())),
            naming_model: i.naming.map(|naming| format!("{:016x}", naming.model)),
            wireshark: String::new(),
            statements: i.said.iter().map(Statement::from).collect(),
            response: i.not_decided.iter().map(Response::from).collect(),
            notes: Notes::of(&i.notes),
        };
        record.wireshark = wireshark::filter(&record.extent());
        record
    }

    /// Extent in time, hosts and ports.
    fn extent(&self) -> Extent<'_> {
        let sources = if self.is_spoofed {
            &[]
        } else {
            &self.sources[..]
        };
        Extent {
            start: self.start,
            end: self.end,
            station: self.source_mac,
            sources: (sources, self.n_sources),
            destinations: (&self.destinations, self.n_destinations),
            ports: (&self.ports, self.n_ports),
        }
    }

    /// Kind of behaviour that the detectors give.
    pub fn found_as(&self) -> &str {
        self.found_as.as_deref().unwrap_or(&self.family)
    }
}

fn models(i: &sensor_engine::Incident) -> BTreeMap<Cow<'static, str>, f64> {
    let all = ModelKind::ALL.iter().zip(i.surprises);
    all.filter(|(_, surprise)| *surprise > 0.0)
        .map(|(model, surprise)| (Cow::Borrowed(model.label()), finite(surprise.into())))
        .collect()
}

const fn state(state: sensor_engine::State) -> State {
    match state {
        sensor_engine::State::Opened => State::Opened,
        sensor_engine::State::Updated => State::Updated,
        sensor_engine::State::Closed => State::Closed,
    }
}

const fn severity(severity: sensor_engine::Severity) -> Severity {
    match severity {
        sensor_engine::Severity::Low => Severity::Low,
        sensor_engine::Severity::Medium => Severity::Medium,
        sensor_engine::Severity::High => Severity::High,
        sensor_engine::Severity::Critical => Severity::Critical,
    }
}
