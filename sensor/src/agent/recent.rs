//! The last incidents, for those who ask later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sensor_record::{Account, Decision, Feedback, Incident, Missing, Record};

/// Kept; the oldest go first.
const N_KEPT: usize = 1_000;
const N_DECISIONS: usize = 100;

/// Shared by the engine thread, which adds, and by those who answer.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Lists>>);

#[derive(Debug, Default)]
struct Lists {
    /// Latest state of each incident with what was decided, in the order of their beginning.
    incidents: VecDeque<Account>,
    /// The last ones of all, the oldest first.
    decisions: VecDeque<Decision>,
    n_forgotten: u64,
}

impl Lists {
    fn find(&mut self, id: &str) -> Option<&mut Account> {
        self.incidents
            .iter_mut()
            .rev()
            .find(|account| account.id() == id)
    }

    fn decide(&mut self, decision: &Decision) {
        if self.decisions.len() >= N_DECISIONS {
            self.decisions.pop_front();
        }
        self.decisions.push_back(decision.clone());
        if let Some(account) = self.find(&decision.incident_id) {
            account.decided.add(decision);
        }
    }

    fn take(&mut self, incident: &Incident) {
        if let Some(account) = self.find(&incident.id) {
            account.incident = incident.clone();
            return;
        }
        if self.incidents.len() >= N_KEPT {
            self.incidents.pop_front();
            self.n_forgotten += 1;
        }
        self.incidents.push_back(Account::new(incident.clone()));
    }
}

impl Recent {
    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an incident, and what was decided about one; everything else passes by.
    pub fn add(&self, record: &Record) {
        match record {
            Record::Incident(incident) => self.lists().take(incident),
            Record::Decision(decision) => self.lists().decide(decision),
            Record::Sensor(_)
            | Record::Flow(_)
            | Record::Finding(_)
            | Record::Event(_)
            | Record::Loss(_)
            | Record::Summary(_) => {}
        }
    }

    /// The last `n` incidents, the newest first.
    pub fn incidents(&self, n: usize) -> Vec<Incident> {
        let lists = self.lists();
        let newest = lists.incidents.iter().rev().take(n);
        newest.map(|account| account.incident.clone()).collect()
    }

    /// The last `n` decisions, the newest first.
    pub fn decisions(&self, n: usize) -> Vec<Decision> {
        let lists = self.lists();
        lists.decisions.iter().rev().take(n).cloned().collect()
    }

    /// Finds the account of one incident, by its identifier or by a beginning that no other has.
    ///
    /// # Errors
    /// With the nearest identifiers.
    pub fn account(&self, id: &str) -> Result<Account, Missing> {
        let lists = self.lists();
        let mut begins: Vec<&Account> = Vec::new();
        for account in &lists.incidents {
            if account.id() == id {
                return Ok(account.clone());
            }
            if account.id().starts_with(id) {
                begins.push(account);
            }
        }
        if let ([one], false) = (begins.as_slice(), id.is_empty()) {
            return Ok((*one).clone());
        }
        let ids = lists.incidents.iter().map(Account::id);
        Err(Missing::new(id, ids))
    }

    /// Remembers what a person said of an incident.
    pub fn note_feedback(&self, feedback: &Feedback) {
        if let Some(account) = self.lists().find(&feedback.incident_id) {
            account.feedback = Some(feedback.clone());
        }
    }

    /// Incidents that gave way to newer ones.
    pub fn n_forgotten(&self) -> u64 {
        self.lists().n_forgotten
    }
}

#[cfg(test)]
mod tests {
    use sensor_record::example;

    use super::*;

    fn incident(id: &str, score: f64) -> Record {
        let id = id.to_owned();
        Record::from(Incident {
            id,
            score,
            ..example::incident()
        })
    }

    #[test]
    fn keeps_the_latest_state_of_the_latest_incidents() {
        let recent = Recent::default();
        for id in 0..N_KEPT + 1 {
            recent.add(&incident(&id.to_string(), 0.0));
        }
        recent.add(&incident("7", 1.0));
        recent.add(&example::flow().into());
        let all = recent.incidents(usize::MAX);
        assert_eq!((all.len(), recent.n_forgotten()), (N_KEPT, 1));
        assert_eq!(all[0].id, N_KEPT.to_string());
        assert_eq!(all.iter().find(|i| i.id == "7").unwrap().score, 1.0);
    }

    #[test]
    fn an_incident_is_remembered_with_what_was_decided() {
        let recent = Recent::default();
        recent.add(&incident("000001-aa", 1.0));
        recent.add(&incident("000002-ab", 1.0));
        for _ in 0..20 {
            recent.add(&Record::from(Decision {
                incident_id: "000001-aa".to_owned(),
                ..example::decision()
            }));
        }
        let decided = recent.account("000001").unwrap().decided;
        assert_eq!((decided.decisions.len(), decided.n_decisions), (10, 20));
        let other = recent.account("000002-ab").unwrap();
        assert_eq!(other.decided.n_decisions, 0);
        assert_eq!(recent.account("00000").unwrap_err().nearest.len(), 2);
        let missing = recent.account("000003-aa").unwrap_err();
        assert_eq!(missing.nearest[0], "000001-aa");
    }
}
