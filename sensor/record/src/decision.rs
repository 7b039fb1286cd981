//! Decision about a source, and its outcome.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::grounds::Grounds;
use crate::head::Head;
use crate::network::Network;
use crate::rule::Rule;

/// Action on the packets of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Action {
    Observe,
    // Of sensors before version 1 of the contract.
    #[serde(alias = "rate_limit")]
    Limit,
    Challenge,
    Quarantine,
    Drop,
    Shield,
}

impl Action {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Limit => "limit",
            Self::Challenge => "challenge",
            Self::Quarantine => "quarantine",
            Self::Drop => "drop",
            Self::Shield => "shield",
        }
    }
}

impl From<sensor_engine::Action> for Action {
    fn from(action: sensor_engine::Action) -> Self {
        match action {
            sensor_engine::Action::Drop => Self::Drop,
            sensor_engine::Action::Quarantine => Self::Quarantine,
            sensor_engine::Action::Challenge => Self::Challenge,
            sensor_engine::Action::RateLimit => Self::Limit,
        }
    }
}

/// Mode of the sensor when it decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Mode {
    /// Count what would be dropped; drop nothing.
    Monitor,
    /// Drop.
    Enforce,
    /// Ask first.
    Proposed,
}

impl Mode {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Enforce => "enforce",
            Self::Proposed => "proposed",
        }
    }
}

/// Outcome of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "OutcomeFields", try_from = "OutcomeFields")]
pub enum Outcome {
    /// Carried out and in force.
    Applied,
    /// Counted only: matching packets are counted and pass.
    Monitored,
    /// Waiting for approval.
    Proposed,
    /// A rule forbids it, with its particulars.
    Refused {
        rule: Rule,
        reason: Cow<'static, str>,
    },
    /// Not carried out, with the cause.
    Failed { rule: Rule, cause: String },
}

impl Outcome {
    pub const fn label(&self) -> &'static str {
        self.word().label()
    }

    /// Rule and particulars of what was not done.
    pub fn why(&self) -> (Option<Rule>, Option<&str>) {
        match self {
            Self::Applied | Self::Monitored | Self::Proposed => (None, None),
            Self::Refused { rule, reason } => (Some(*rule), Some(reason)),
            Self::Failed { rule, cause } => (Some(*rule), Some(cause)),
        }
    }

    pub const fn word(&self) -> OutcomeWord {
        match self {
            Self::Applied => OutcomeWord::Applied,
            Self::Monitored => OutcomeWord::Monitored,
            Self::Proposed => OutcomeWord::Proposed,
            Self::Refused { .. } => OutcomeWord::Refused,
            Self::Failed { .. } => OutcomeWord::Failed,
        }
    }
}

/// Word for an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum OutcomeWord {
    Applied,
    Monitored,
    Proposed,
    Refused,
    Failed,
    /// There was no decision.
    Withheld,
}

impl OutcomeWord {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Monitored => "monitored",
            Self::Proposed => "proposed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Withheld => "withheld",
        }
    }
}

/// An outcome as it lies in a decision.
#[derive(Serialize, Deserialize, JsonSchema)]
struct OutcomeFields {
    /// Outcome
    #[serde(rename = "decision.outcome", default)]
    outcome: Option<OutcomeWord>,
    /// Rule by which it was not carried out
    #[serde(
        rename = "decision.outcome.rule",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    rule: Option<Rule>,
    /// Particulars of the rule, or cause why it failed
    #[serde(
        rename = "decision.outcome.reason",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    reason: Option<String>,
    /// Older form of the outcome, until version 2: `allowed`, `refused: …`, `failed: …`
    #[serde(default)]
    guard: String,
}

impl JsonSchema for Outcome {
    fn schema_name() -> Cow<'static, str> {
        "Outcome".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        OutcomeFields::json_schema(generator)
    }
}

impl From<Outcome> for OutcomeFields {
    fn from(outcome: Outcome) -> Self {
        let (rule, reason) = outcome.why();
        let reason = reason.map(str::to_owned);
        let guard = match &outcome {
            Outcome::Applied | Outcome::Monitored | Outcome::Proposed => "allowed".to_owned(),
            Outcome::Refused { reason, .. } => format!("refused: {reason}"),
            Outcome::Failed { cause, .. } => format!("failed: {cause}"),
        };
        Self {
            outcome: Some(outcome.word()),
            rule,
            reason,
            guard,
        }
    }
}

impl TryFrom<OutcomeFields> for Outcome {
    type Error = String;

    fn try_from(fields: OutcomeFields) -> Result<Self, String> {
        let OutcomeFields {
            outcome,
            rule,
            reason,
            guard,
        } = fields;
        let reason = reason.unwrap_or_default();
        match outcome {
            Some(OutcomeWord::Applied) => Ok(Self::Applied),
            Some(OutcomeWord::Monitored) => Ok(Self::Monitored),
            Some(OutcomeWord::Proposed) => Ok(Self::Proposed),
            Some(OutcomeWord::Refused) => Ok(refused(rule, reason)),
            Some(OutcomeWord::Failed) => Ok(failed(rule, reason)),
            Some(OutcomeWord::Withheld) => {
                Err("a decision is not \"withheld\": there would be none".to_owned())
            }
            None => of_guard(&guard),
        }
    }
}

/// Until there were rules, the guard alone refused.
fn refused(rule: Option<Rule>, reason: String) -> Outcome {
    Outcome::Refused {
        rule: rule.unwrap_or(Rule::Guard),
        reason: Cow::Owned(reason),
    }
}

fn failed(rule: Option<Rule>, cause: String) -> Outcome {
    Outcome::Failed {
        rule: rule.unwrap_or(Rule::Error),
        cause,
    }
}

/// Derives the outcome from lines written before there was one: what was allowed was at least
/// monitored.
fn of_guard(guard: &str) -> Result<Outcome, String> {
    match guard.split_once(": ") {
        None if guard == "allowed" => Ok(Outcome::Monitored),
        Some(("refused", reason)) => Ok(refused(None, reason.to_owned())),
        Some(("failed", cause)) => Ok(failed(None, cause.to_owned())),
        _ => Err("missing field `decision.outcome`".to_owned()),
    }
}

/// A decision with its outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "decision")]
pub struct Decision {
    #[serde(flatten)]
    pub head: Head,
    /// Identifier
    #[serde(rename = "decision.id")]
    pub id: String,
    /// Incident that it was made for
    #[serde(rename = "incident.id")]
    pub incident_id: String,
    /// Action on the target's packets
    #[serde(rename = "decision.action")]
    pub action: Action,
    /// Source that it is about
    #[serde(rename = "decision.target")]
    pub target: Network,
    /// IP protocol that it is limited to; 0 is any
    #[serde(rename = "decision.protocol", default)]
    pub protocol: u8,
    /// Local port that it is limited to; 0 is any
    #[serde(rename = "decision.port", default)]
    pub port: u16,
    /// Duration
    #[serde(rename = "decision.ttl_s")]
    #[schemars(extend("x-unit" = "s"))]
    pub ttl_s: u64,
    /// One sentence: why
    #[serde(rename = "decision.reason")]
    pub reason: String,
    /// Mode of the sensor
    #[serde(rename = "decision.mode")]
    pub mode: Mode,
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(flatten)]
    pub grounds: Grounds,
}

impl Decision {
    /// Builds the record of an engine's decision, with its outcome.
    pub fn new(
        head: Head,
        decision: &sensor_engine::Decision,
        mode: Mode,
        outcome: Outcome,
    ) -> Self {
        Self {
            head,
            id: decision.id.clone(),
            incident_id: decision.incident_id.clone(),
            action: decision.action.into(),
            target: Network(decision.target),
            protocol: decision.scope.protocol,
            port: decision.scope.local_port,
            ttl_s: decision.ttl_s.into(),
            reason: decision.reason.clone(),
            mode,
            outcome,
            grounds: Grounds::from(&decision.grounds),
        }
    }
}
