//! `[[respond.policy]]` and `[[respond.group]]`: the strongest action, by what was found and against whom.

use std::sync::Arc;

use schemars::JsonSchema;
use sensor_engine::{
    Action, Detector, Escalation, Family, Grades, PolicyRow, SECOND_NS, Severity, Time, Whom,
};
use serde::{Deserialize, Serialize};

use super::detect::{Named, Protocol};
use sensor_respond::{Group, Network};

/// Rows that come with the sensor.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Nothing is done to anybody.
    Observe,
    /// Strangers are limited, and stopped where the proof carries it; for an hour at most.
    #[default]
    Cautious,
    /// As cautious, for up to a day: for hosts that meet the whole internet.
    Edge,
}

impl From<Preset> for sensor_engine::Preset {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::Observe => Self::Observe,
            Preset::Cautious => Self::Cautious,
            Preset::Edge => Self::Edge,
        }
    }
}

/// Least severity of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Least {
    Low,
    Medium,
    High,
    Critical,
}

impl From<Least> for Severity {
    fn from(least: Least) -> Self {
        match least {
            Least::Low => Self::Low,
            Least::Medium => Self::Medium,
            Least::High => Self::High,
            Least::Critical => Self::Critical,
        }
    }
}

/// Kind of proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Grade {
    Shape,
    Outcome,
    Content,
    TwoWay,
}

impl Grade {
    const ALL: [Self; 4] = [Self::Shape, Self::Outcome, Self::Content, Self::TwoWay];

    const fn grades(self) -> Grades {
        match self {
            Self::Shape => Grades::SHAPE,
            Self::Outcome => Grades::OUTCOME,
            Self::Content => Grades::CONTENT,
            Self::TwoWay => Grades::TWO_WAY,
        }
    }
}

/// The most that a row allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Most {
    Observe,
    Shield,
    Limit,
    Challenge,
    Quarantine,
    Drop,
}

impl Most {
    const fn action(self) -> Option<Action> {
        match self {
            Self::Observe | Self::Shield => None,
            Self::Limit => Some(Action::RateLimit),
            Self::Challenge => Some(Action::Challenge),
            Self::Quarantine => Some(Action::Quarantine),
            Self::Drop => Some(Action::Drop),
        }
    }

    const fn of(row: &PolicyRow) -> Self {
        match row.action {
            None if row.shields => Self::Shield,
            None => Self::Observe,
            Some(Action::RateLimit) => Self::Limit,
            Some(Action::Challenge) => Self::Challenge,
            Some(Action::Quarantine) => Self::Quarantine,
            Some(Action::Drop) => Self::Drop,
        }
    }
}

/// A time of whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(#[serde(with = "Time::<SECOND_NS>")] pub u32);

/// Hosts under one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupSettings {
    /// Name, for `source` of rows of the policy.
    #[schemars(example = &"partners")]
    pub name: String,
    /// Addresses and networks.
    #[schemars(with = "Vec<String>", example = &["198.51.100.0/24"])]
    pub networks: Vec<Network>,
}

/// One row: conditions, all of which have to hold, and what is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySettings {
    /// Name of the row, in decisions, in the audit log and in `sensor policy explain`.
    #[schemars(example = &"mail_guessing")]
    pub name: String,
    /// Detectors; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = &["brute_force"])]
    pub detector: Vec<Named<Detector>>,
    /// Families; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = &["brute_force"])]
    pub family: Vec<Named<Family>>,
    /// Least severity of the incident; without: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"medium")]
    pub severity: Option<Least>,
    /// Kinds of proof that the incident must rest on, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = &["outcome"])]
    pub evidence: Vec<Grade>,
    /// Names of `[[capture.alert_input]]`, one of which at least has to blame the source, too; none: it does not
    /// matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = &["ndr"])]
    pub said_by: Vec<String>,
    /// Sources: `any`, `local` (hosts of the own networks), `remote` (all others), `balancers`,
    /// `monitoring` or the name of a `[[respond.group]]`; without: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"partners")]
    pub source: Option<String>,
    /// Protocol of the service: tcp, udp, icmp, ipv6-icmp, sctp or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"tcp")]
    pub protocol: Option<Protocol>,
    /// Ports of the service; none: all. What concerns several ports meets no row with ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(range(min = 1)), example = &[25, 587])]
    pub port: Vec<u16>,
    /// Strongest action. What is done is never stronger than the proof (`docs/operating.md`). With `shield`
    /// nothing is done to sources, but services may be shielded from floods in made-up names; with `observe`
    /// neither.
    #[schemars(example = &"limit")]
    pub action: Most,
    /// Lifetime of an entry; without: `engine.decide.ttl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time::<SECOND_NS>", extend("x-minimum" = "1s"), example = &"10m")]
    pub ttl: Option<Seconds>,
    /// Longest lifetime for a source that comes back after an entry has ended: the lifetime doubles each
    /// time, up to this; without: it stays the same. A `limit` never grows: it may have been brought about
    /// in the source's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time::<SECOND_NS>", extend("x-minimum" = "1s"), example = &"1h")]
    pub ttl_max: Option<Seconds>,
    /// Time without an offence that takes one doubling back; without: a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time::<SECOND_NS>", extend("x-minimum" = "1s"), example = &"1day")]
    pub decay: Option<Seconds>,
    /// Ask a person first: a proposal, for `sensor incidents approve`. Hosts of the own networks are
    /// always proposed.
    #[serde(default)]
    #[schemars(example = false)]
    pub approval: bool,
}

/// Time without an offence that takes one doubling back, where a row says none.
const DECAY_S: u32 = 86_400;

/// Sources that need no group.
const WHOLE: [&str; 3] = ["any", "local", "remote"];

impl PolicySettings {
    /// Row in the form that the engine takes.
    pub fn row(&self, groups: &[Group]) -> PolicyRow {
        let whom = match self.source.as_deref() {
            None | Some("any") => Whom::Any,
            Some("local") => Whom::Local,
            Some("remote") => Whom::Remote,
            Some(name) => Whom::Group {
                name: name.to_owned(),
                networks: groups
                    .iter()
                    .filter(|group| group.name == name)
                    .flat_map(|group| group.networks.iter().copied())
                    .collect(),
            },
        };
        let all = |grades: Grades, grade: &Grade| grades.with(grade.grades());
        PolicyRow {
            name: Arc::from(self.name.as_str()),
            detectors: self.detector.iter().map(|named| named.0).collect(),
            families: self.family.iter().map(|named| named.0).collect(),
            severity: self.severity.map_or(Severity::Low, Severity::from),
            evidence: self.evidence.iter().fold(Grades::NONE, all),
            said_by: self
                .said_by
                .iter()
                .map(|name| Arc::from(name.as_str()))
                .collect(),
            whom,
            protocol: self.protocol.map_or(0, |protocol| protocol.0),
            ports: self.port.clone(),
            action: self.action.action(),
            shields: self.action != Most::Observe,
            ttl_s: self.ttl.map(|ttl| ttl.0),
            escalation: self.ttl_max.map(|longest| Escalation {
                max_ttl_s: longest.0,
                decay_s: self.decay.map_or(DECAY_S, |decay| decay.0),
            }),
            needs_approval: self.approval,
        }
    }

    /// Row of a preset, as the configuration would say it.
    pub fn of(row: &PolicyRow) -> Self {
        let source = match &row.whom {
            Whom::Any => None,
            Whom::Local => Some("local".to_owned()),
            Whom::Remote => Some("remote".to_owned()),
            Whom::Group { name, .. } => Some(name.clone()),
        };
        let severity = match row.severity {
            Severity::Low => None,
            Severity::Medium => Some(Least::Medium),
            Severity::High => Some(Least::High),
            Severity::Critical => Some(Least::Critical),
        };
        let grades = Grade::ALL.into_iter();
        Self {
            name: row.name.to_string(),
            detector: row.detectors.iter().copied().map(Named).collect(),
            family: row.families.iter().copied().map(Named).collect(),
            severity,
            evidence: grades
                .filter(|grade| row.evidence.has(grade.grades()))
                .collect(),
            said_by: row.said_by.iter().map(|name| name.to_string()).collect(),
            source,
            protocol: (row.protocol != 0).then_some(Protocol(row.protocol)),
            port: row.ports.clone(),
            action: Most::of(row),
            ttl: row.ttl_s.map(Seconds),
            ttl_max: row.escalation.map(|by| Seconds(by.max_ttl_s)),
            decay: row.escalation.map(|by| Seconds(by.decay_s)),
            approval: row.needs_approval,
        }
    }

    /// Keys and values as a file has them.
    pub fn lines(&self) -> Vec<String> {
        let value = serde_json::to_value(self).unwrap_or_default();
        let keys = value.as_object().into_iter().flatten();
        keys.map(|(key, value)| format!("{key} = {value}"))
            .collect()
    }

    /// Contradiction within the row, or with the groups: key and message.
    pub(super) fn conflict(&self, groups: &[Group]) -> Option<(&'static str, String)> {
        if self.name.trim().is_empty() {
            return Some(("name", "is empty; name the row".to_owned()));
        }
        if let Some(name) = &self.source
            && !WHOLE.contains(&name.as_str())
            && !groups.iter().any(|group| group.name == *name)
        {
            let known: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
            let message = format!(
                "\"{name}\" is no group; write any, local, remote, or one of: {}",
                known.join(", ")
            );
            return Some(("source", message));
        }
        let has_ports = |protocol: Protocol| matches!(protocol.0, 6 | 17 | 132);
        if let Some(protocol) = self.protocol
            && !self.port.is_empty()
            && !has_ports(protocol)
        {
            return Some(("port", format!("{protocol} has no ports; leave them out")));
        }
        if self.decay.is_some() && self.ttl_max.is_none() {
            let message = "has no effect without ttl_max".to_owned();
            return Some(("decay", message));
        }
        None
    }
}
