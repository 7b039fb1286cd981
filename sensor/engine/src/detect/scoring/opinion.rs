//! Feedback of people on entities: learned from or not, whatever the models say.

use sensor_common::Address;
use serde::{Deserialize, Serialize};

use crate::config::SECOND_NS;

/// Feedback of a person on an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opinion {
    /// Normal behaviour: it is learned from, odd or found as it may be.
    Benign,
    /// Attack: nothing of it is learned, however long it goes on.
    Attack,
}

impl Opinion {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Attack => "attack",
        }
    }
}

/// Time for which feedback holds, event time.
pub const OPINION_NS: u64 = 86_400 * SECOND_NS;
/// Most feedback that is kept; the oldest gives way.
const MAX_OPINIONS: usize = 1_024;

/// Address, and whether it is meant as source or as victim.
type Whom = (Address, bool);

/// Few and seldom changed: a list, asked for only while there are any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Opinions(Vec<(Whom, Opinion, u64)>);

impl Opinions {
    pub(super) fn set(&mut self, at_ns: u64, whom: Whom, opinion: Opinion) {
        self.0
            .retain(|(known, _, until_ns)| *known != whom && *until_ns > at_ns);
        if self.0.len() >= MAX_OPINIONS {
            self.0.remove(0);
        }
        self.0
            .push((whom, opinion, at_ns.saturating_add(OPINION_NS)));
    }

    pub(super) fn of(&self, at_ns: u64, whom: Whom) -> Option<Opinion> {
        let mut held = self.0.iter();
        let (_, opinion, _) =
            held.find(|(known, _, until_ns)| *known == whom && *until_ns > at_ns)?;
        Some(*opinion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{T0, ip};

    #[test]
    fn feedback_is_replaced_expires_and_is_bounded() {
        let mut opinions = Opinions::default();
        let whom = (ip(1), true);
        opinions.set(T0, whom, Opinion::Attack);
        opinions.set(T0, whom, Opinion::Benign);
        assert_eq!(opinions.of(T0, whom), Some(Opinion::Benign));
        assert_eq!(opinions.of(T0, (ip(1), false)), None);
        assert_eq!(opinions.of(T0 + OPINION_NS, whom), None);
        for i in 0..2_000 {
            opinions.set(T0 + 1, (ip(i), false), Opinion::Attack);
        }
        assert_eq!(opinions.0.len(), MAX_OPINIONS);
        assert_eq!(
            opinions.of(T0 + 1, (ip(1_999), false)),
            Some(Opinion::Attack)
        );
    }
}
