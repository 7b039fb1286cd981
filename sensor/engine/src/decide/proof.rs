//! Proof: what is known against a source and about it, and the strongest action that it carries.

use std::sync::Arc;

use sensor_common::packet::protocol;

use super::action::Action;
use crate::detect::{Family, Finding, Grades, MaxResponse};

/// Proof against a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Kinds that the finding rests on, and all findings of the incident.
    pub grades: Grades,
    pub of_incident: Grades,
    /// The address is proven real.
    pub is_real: bool,
    /// It was served well before.
    pub is_peer: bool,
    /// It took connections, which nobody completes in another's name.
    pub by_connections: bool,
    /// It is about TCP segments that need no connection: who sends them can be asked whether he is real.
    pub may_ask: bool,
}

/// Part of a proof that is missing for a stronger action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The behaviour would have to take TCP connections: a packet may be sent in anybody's name.
    Connections,
    /// The source would have to be proven real.
    TwoWay,
    /// The source would have to be no good peer of before.
    Stranger,
    /// An outcome or a content.
    Evidence,
    /// An outcome and a content.
    SecondEvidence,
    /// A row of the policy that allows more.
    Policy,
}

/// Grounds of a decision, or of none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grounds {
    /// Row of the policy; none where no row holds.
    pub row: Option<Arc<str>>,
    pub proof: Proof,
    /// Parts that a drop would need besides.
    pub needs: Vec<Need>,
}

impl Proof {
    pub(super) fn of(
        of_incident: Grades,
        finding: &Finding,
        (is_real, is_peer): (bool, bool),
    ) -> Self {
        Self {
            grades: finding.grades,
            of_incident,
            is_real,
            is_peer,
            by_connections: takes_connections(finding.family, finding.protocol),
            may_ask: finding.protocol == protocol::TCP && !finding.family.is_of_connections(),
        }
    }

    /// The strongest action that the proof carries. A shape is what busy clients show, too, and what takes
    /// no connection may have been sent in the source's name: who can be asked, is. Two kinds of proof that
    /// don't hang on each other, an outcome and a content, carry a drop.
    pub(super) fn strongest(&self) -> Action {
        let may_stop = self.is_real && !self.is_peer;
        if !may_stop || !self.by_connections || !self.grades.is_proof() {
            if self.may_ask {
                Action::Challenge
            } else {
                Action::RateLimit
            }
        } else if self.has_two() {
            Action::Drop
        } else {
            Action::Quarantine
        }
    }

    fn has_two(&self) -> bool {
        self.of_incident.has(Grades::OUTCOME.with(Grades::CONTENT))
    }

    /// Parts that a drop would need besides.
    pub(super) fn needs(&self, allowed: Option<Action>) -> Vec<Need> {
        let missing = [
            (!self.by_connections, Need::Connections),
            (!self.is_real, Need::TwoWay),
            (self.is_peer, Need::Stranger),
            (!self.grades.is_proof(), Need::Evidence),
            (!self.has_two(), Need::SecondEvidence),
            (allowed != Some(Action::Drop), Need::Policy),
        ];
        let missing = missing.into_iter().filter(|(is_missing, _)| *is_missing);
        missing.map(|(_, need)| need).collect()
    }
}

/// True for behaviour that takes TCP connections.
fn takes_connections(family: Family, number: u8) -> bool {
    family.max_response() == MaxResponse::Drop && number == protocol::TCP
}
