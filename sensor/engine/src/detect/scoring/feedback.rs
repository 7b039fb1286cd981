//! Feedback of people on entities: learned from or not, whatever the models say.

use sensor_common::Address;
use serde::{Deserialize, Serialize};

use crate::config::SECOND_NS;

/// Feedback of a person on an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feedback {
    /// Normal behaviour: it is learned from, odd or found as it may be.
    Benign,
    /// Attack: nothing of it is learned, however long it goes on.
    Attack,
}

impl Feedback {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Attack => "attack",
        }
    }
}

/// Time for which feedback holds, event time.
pub const FEEDBACK_NS: u64 = 86_400 * SECOND_NS;
/// Maximum number of entries; the oldest gives way.
const MAX_ENTRIES: usize = 1_024;

/// Address, and whether it is meant as source or as victim.
type Whom = (Address, bool);

/// Few and seldom changed: a list, asked for only while there are any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct FeedbackTable(Vec<(Whom, Feedback, u64)>);

impl FeedbackTable {
    pub(super) fn set(&mut self, at_ns: u64, whom: Whom, feedback: Feedback) {
        self.0
            .retain(|(known, _, until_ns)| *known != whom && *until_ns > at_ns);
        if self.0.len() >= MAX_ENTRIES {
            self.0.remove(0);
        }
        self.0
            .push((whom, feedback, at_ns.saturating_add(FEEDBACK_NS)));
    }

    pub(super) fn of(&self, at_ns: u64, whom: Whom) -> Option<Feedback> {
        let mut held = self.0.iter();
        let (_, feedback, _) =
            held.find(|(known, _, until_ns)| *known == whom && *until_ns > at_ns)?;
        Some(*feedback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{T0, ip};

    #[test]
    fn feedback_is_replaced_expires_and_is_bounded() {
        let mut table = FeedbackTable::default();
        let whom = (ip(1), true);
        table.set(T0, whom, Feedback::Attack);
        table.set(T0, whom, Feedback::Benign);
        assert_eq!(table.of(T0, whom), Some(Feedback::Benign));
        assert_eq!(table.of(T0, (ip(1), false)), None);
        assert_eq!(table.of(T0 + FEEDBACK_NS, whom), None);
        for i in 0..2_000 {
            table.set(T0 + 1, (ip(i), false), Feedback::Attack);
        }
        assert_eq!(table.0.len(), MAX_ENTRIES);
        assert_eq!(table.of(T0 + 1, (ip(1_999), false)), Some(Feedback::Attack));
    }
}
