//! Response to the sources of an incident: what was done, or the rule by which nothing was.

use schemars::JsonSchema;
use sensor_engine::{LocalBy, NotDecided, Withheld};
use serde::{Deserialize, Serialize};

use crate::decision::{Action, Decision, OutcomeWord};
use crate::grounds::Grounds;
use crate::network::{Network, Shown};
use crate::rule::Rule;

/// Response to one source, or the reason for none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Response {
    /// Source; absent where it holds for the whole incident
    #[serde(
        rename = "decision.target",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub target: Option<Network>,
    /// Identifier of the decision, where there was one
    #[serde(
        rename = "decision.id",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub decision_id: Option<String>,
    /// Action of that decision
    #[serde(
        rename = "decision.action",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub action: Option<Action>,
    /// Outcome; withheld: there was no decision
    #[serde(rename = "decision.outcome")]
    pub outcome: OutcomeWord,
    /// Rule by which nothing is done
    #[serde(
        rename = "decision.outcome.rule",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub rule: Option<Rule>,
    /// Particulars of it: a network, a reason of the guard, a cause
    #[serde(
        rename = "decision.outcome.reason",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub reason: Option<String>,
    #[serde(flatten)]
    pub grounds: Grounds,
}

impl Response {
    /// Builds the response that a decision led to.
    pub fn of(decision: &Decision) -> Self {
        let (rule, reason) = decision.outcome.why();
        Self {
            target: Some(decision.target),
            decision_id: Some(decision.id.clone()),
            action: Some(decision.action),
            outcome: decision.outcome.word(),
            rule,
            reason: reason.map(str::to_owned),
            grounds: decision.grounds.clone(),
        }
    }
}

impl From<&NotDecided> for Response {
    fn from(one: &NotDecided) -> Self {
        let (rule, reason) = match one.reason {
            Withheld::Local(LocalBy::Network(network)) => {
                (Rule::Local, Some(Shown(&network).to_string()))
            }
            Withheld::Local(LocalBy::SeenLeaving) => {
                (Rule::Local, Some("sends packets out".to_owned()))
            }
            Withheld::Local(LocalBy::Unknown) => (Rule::LocalUnknown, None),
            Withheld::SpecialAddress => (Rule::SpecialAddress, None),
            Withheld::Spoofed => (Rule::Spoofed, None),
            Withheld::NoSource => (Rule::NoSource, None),
            Withheld::ReportOnly => (Rule::ReportOnly, None),
            Withheld::ServiceDown => (Rule::ServiceDown, None),
            Withheld::NotProven => (Rule::NotProven, None),
            Withheld::InForce => (Rule::InForce, None),
            Withheld::Refused => (Rule::Refused, None),
            Withheld::WithinLimit => (Rule::WithinLimit, None),
            Withheld::Policy => (Rule::Policy, None),
            Withheld::GoodTraffic => (Rule::GoodTraffic, None),
            Withheld::FlowRecords => (Rule::FlowRecords, None),
        };
        Self {
            target: one.source.map(|source| Network(source.into())),
            decision_id: None,
            action: None,
            outcome: OutcomeWord::Withheld,
            rule: Some(rule),
            reason,
            grounds: one.grounds.as_ref().map(Grounds::from).unwrap_or_default(),
        }
    }
}
