//! Decisions that wait for a person.

use std::collections::BTreeMap;

use ipnet::IpNet;
use sensor_engine::{Decision, SECOND_NS, Scope};

/// Proposals that wait, and targets that were refused, at most. The oldest give way.
const MAX_PROPOSALS: usize = 256;

/// A decision that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub decision: Decision,
    /// Kernel monotonic time at which it lapses.
    pub expires_ns: u64,
}

/// Decisions that wait, the oldest first, and targets that a person refused.
#[derive(Debug, Default)]
pub struct Proposals {
    waiting: Vec<Proposal>,
    rejected: BTreeMap<(IpNet, Scope), u64>,
}

impl Proposals {
    /// Decisions that wait, the oldest first.
    pub fn waiting(&self) -> &[Proposal] {
        &self.waiting
    }

    /// Puts a decision before a person; false where one has refused the same a while ago. The decision that
    /// gave way, if one had to.
    pub fn put(
        &mut self,
        decision: &Decision,
        now_ns: u64,
        ttl_s: u32,
    ) -> Result<Option<Decision>, Refused> {
        let about = (decision.target, decision.scope);
        if self
            .rejected
            .get(&about)
            .is_some_and(|until| *until > now_ns)
        {
            return Err(Refused);
        }
        self.waiting
            .retain(|other| (other.decision.target, other.decision.scope) != about);
        let gone = if self.waiting.len() >= MAX_PROPOSALS {
            Some(self.waiting.remove(0).decision)
        } else {
            None
        };
        self.waiting.push(Proposal {
            decision: decision.clone(),
            expires_ns: now_ns.saturating_add(u64::from(ttl_s).saturating_mul(SECOND_NS)),
        });
        Ok(gone)
    }

    /// Takes out those of an incident, or the one of a decision.
    pub fn take(&mut self, id: &str) -> Vec<Proposal> {
        let is_meant = |one: &mut Proposal| one.decision.id == id || one.decision.incident_id == id;
        self.waiting.extract_if(.., is_meant).collect()
    }

    /// Remembers what a person refused, for as long as it would have waited.
    pub fn reject(&mut self, proposal: &Proposal, until_ns: u64) {
        if self.rejected.len() >= MAX_PROPOSALS {
            let oldest = self.rejected.iter().min_by_key(|(_, until)| **until);
            if let Some(about) = oldest.map(|(about, _)| *about) {
                self.rejected.remove(&about);
            }
        }
        let about = (proposal.decision.target, proposal.decision.scope);
        self.rejected.insert(about, until_ns);
    }

    /// Takes out what lapsed.
    pub fn lapse(&mut self, now_ns: u64) -> Vec<Proposal> {
        self.rejected.retain(|_, until| *until > now_ns);
        let is_over = |one: &mut Proposal| one.expires_ns <= now_ns;
        self.waiting.extract_if(.., is_over).collect()
    }
}

/// A person has refused the same a while ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(n: u8) -> Decision {
        Decision {
            target: IpNet::from(std::net::IpAddr::from([192, 0, 2, n])),
            id: format!("d{n:06}"),
            incident_id: format!("{:06}", n / 2),
            ..crate::tests::decision()
        }
    }

    #[test]
    fn a_proposal_waits_until_somebody_takes_it_or_it_lapses() {
        let mut proposals = Proposals::default();
        for n in 2..6 {
            assert_eq!(proposals.put(&decision(n), 0, 10 * u32::from(n)), Ok(None));
        }
        assert_eq!(proposals.take("d000002").len(), 1);
        assert_eq!(proposals.take("000002").len(), 2);
        assert!(proposals.lapse(29 * SECOND_NS).is_empty());
        assert_eq!(proposals.lapse(30 * SECOND_NS).len(), 1);
        assert!(proposals.waiting().is_empty());
    }

    #[test]
    fn what_a_person_refused_is_not_asked_again_for_a_while() {
        let mut proposals = Proposals::default();
        proposals.put(&decision(1), 0, 10).unwrap();
        let taken = proposals.take("d000001").pop().unwrap();
        proposals.reject(&taken, 100);
        assert_eq!(proposals.put(&decision(1), 99, 10), Err(Refused));
        assert_eq!(proposals.put(&decision(2), 99, 10), Ok(None));
        assert_eq!(proposals.put(&decision(1), 100, 10), Ok(None));
    }

    #[test]
    fn the_same_is_asked_once_and_the_oldest_gives_way() {
        let mut proposals = Proposals::default();
        for n in 0..MAX_PROPOSALS {
            let made = proposals.put(&decision(n as u8), 0, 10);
            assert_eq!(made, Ok(None), "{n}");
        }
        assert_eq!(proposals.put(&decision(7), 0, 10), Ok(None));
        assert_eq!(proposals.waiting().len(), MAX_PROPOSALS);
        let other = Decision {
            target: "198.51.100.1/32".parse().unwrap(),
            ..decision(0)
        };
        let gone = proposals.put(&other, 0, 10).unwrap().unwrap();
        assert_eq!(gone, decision(0));
        assert_eq!(proposals.waiting().len(), MAX_PROPOSALS);
    }
}
