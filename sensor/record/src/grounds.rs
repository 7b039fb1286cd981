//! Grounds of a decision, or of none: the row of the policy, and the proof against the source.

use schemars::JsonSchema;
use sensor_engine::{Grades, Need};
use serde::{Deserialize, Serialize};

/// Part of the proof against a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ProofWord {
    /// Rates, counts or regularity
    Shape,
    /// Results of attempts
    Outcome,
    /// Bytes of a message
    Content,
    /// The address is proven real
    TwoWay,
    /// It was served well before, which speaks for it
    Peer,
}

impl ProofWord {
    const fn words(self) -> &'static str {
        match self {
            Self::Shape => "a shape",
            Self::Outcome => "an outcome",
            Self::Content => "a content",
            Self::TwoWay => "the address is proven real",
            Self::Peer => "it was a good peer before",
        }
    }
}

/// Part of a proof that a stronger action needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum NeedWord {
    /// Behaviour that takes TCP connections: a packet may be sent in anybody's name
    Connections,
    /// An address that is proven real
    TwoWay,
    /// A source that was no good peer before
    Stranger,
    /// An outcome or a content
    Evidence,
    /// An outcome and a content
    SecondEvidence,
    /// A row of the policy that allows more
    Policy,
}

impl NeedWord {
    const fn words(self) -> &'static str {
        match self {
            Self::Connections => "behaviour that takes TCP connections",
            Self::TwoWay => "an address that is proven real",
            Self::Stranger => "a source that was no good peer before",
            Self::Evidence => "an outcome or a content",
            Self::SecondEvidence => "an outcome and a content",
            Self::Policy => "a row of the policy that allows it",
        }
    }
}

impl From<Need> for NeedWord {
    fn from(need: Need) -> Self {
        match need {
            Need::Connections => Self::Connections,
            Need::TwoWay => Self::TwoWay,
            Need::Stranger => Self::Stranger,
            Need::Evidence => Self::Evidence,
            Need::SecondEvidence => Self::SecondEvidence,
            Need::Policy => Self::Policy,
        }
    }
}

/// Row of the policy and proof.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grounds {
    /// Row of the policy that holds for the source
    #[serde(
        rename = "decision.policy",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub row: Option<String>,
    /// Proof against the source, and what speaks for it
    #[serde(
        rename = "decision.proof",
        default,
        skip_serializing_if = "Vec::is_empty"
    )]
    pub proof: Vec<ProofWord>,
    /// Parts that a drop would need besides
    #[serde(
        rename = "decision.needs",
        default,
        skip_serializing_if = "Vec::is_empty"
    )]
    pub needs: Vec<NeedWord>,
}

impl From<&sensor_engine::Grounds> for Grounds {
    fn from(grounds: &sensor_engine::Grounds) -> Self {
        let proof = &grounds.proof;
        let has = |grade| proof.of_incident.has(grade);
        let parts = [
            (has(Grades::SHAPE), ProofWord::Shape),
            (has(Grades::OUTCOME), ProofWord::Outcome),
            (has(Grades::CONTENT), ProofWord::Content),
            (proof.is_real, ProofWord::TwoWay),
            (proof.is_peer, ProofWord::Peer),
        ];
        let there = parts.into_iter().filter(|(is_there, _)| *is_there);
        Self {
            row: grounds.row.as_deref().map(str::to_owned),
            proof: there.map(|(_, word)| word).collect(),
            needs: grounds.needs.iter().copied().map(NeedWord::from).collect(),
        }
    }
}

impl Grounds {
    /// Words for people: the proof that there is.
    pub fn proof_words(&self) -> String {
        list(self.proof.iter().map(|part| part.words()))
    }

    /// Words for people: the proof that is missing.
    pub fn needs_words(&self) -> String {
        list(self.needs.iter().map(|need| need.words()))
    }
}

fn list(words: impl Iterator<Item = &'static str>) -> String {
    let all: Vec<&str> = words.collect();
    if all.is_empty() {
        "nothing".to_owned()
    } else {
        all.join(", ")
    }
}
