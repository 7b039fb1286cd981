//! The last incidents, for those who ask later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::explain::{Account, Missing};

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
    decisions: VecDeque<Value>,
    n_forgotten: u64,
}

impl Lists {
    fn add(&mut self, value: &Value) {
        // Flows and findings pass by without a look.
        if !matches!(value["kind"].as_str(), Some("incident" | "decision")) {
            return;
        }
        if value["kind"] == "decision" {
            if self.decisions.len() >= N_DECISIONS {
                self.decisions.pop_front();
            }
            self.decisions.push_back(value.clone());
        }
        let id = &value["incident.id"];
        let mut known = self.incidents.iter_mut().rev();
        let known = known.find(|old| old.incident["incident.id"] == *id);
        match (value["kind"].as_str(), known) {
            (Some("incident"), Some(same)) => same.incident = value.clone(),
            (Some("incident"), None) => self.begin(value),
            (Some("decision"), Some(same)) => same.decide(value),
            _ => {}
        }
    }

    fn begin(&mut self, value: &Value) {
        if self.incidents.len() >= N_KEPT {
            self.incidents.pop_front();
            self.n_forgotten += 1;
        }
        self.incidents.push_back(Account {
            incident: value.clone(),
            ..Account::default()
        });
    }
}

impl Recent {
    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an incident, and what was decided about one; everything else passes by.
    pub fn add(&self, value: &Value) {
        self.lists().add(value);
    }

    /// The last `n` incidents, the newest first.
    pub fn incidents(&self, n: usize) -> Vec<Value> {
        self.lists()
            .incidents
            .iter()
            .rev()
            .take(n)
            .map(|account| account.incident.clone())
            .collect()
    }

    /// The last `n` decisions, the newest first.
    pub fn decisions(&self, n: usize) -> Vec<Value> {
        let lists = self.lists();
        lists.decisions.iter().rev().take(n).cloned().collect()
    }

    /// What is known of one incident, by its identifier or by a beginning that no other has.
    ///
    /// # Errors
    /// With the nearest identifiers.
    pub fn account(&self, id: &str) -> Result<Account, Missing> {
        let lists = self.lists();
        let id_of = |account: &Account| account.incident["incident.id"].as_str().map(str::to_owned);
        let mut begins: Vec<&Account> = Vec::new();
        for account in &lists.incidents {
            match id_of(account) {
                Some(known) if known == id => return Ok(account.clone()),
                Some(known) if known.starts_with(id) => begins.push(account),
                _ => {}
            }
        }
        if let ([one], false) = (begins.as_slice(), id.is_empty()) {
            return Ok((*one).clone());
        }
        let ids: Vec<String> = lists.incidents.iter().filter_map(id_of).collect();
        Err(Missing::new(id, ids.iter().map(String::as_str)))
    }

    /// Remembers what a person said of an incident.
    pub fn note_opinion(&self, id: &str, said: &Value) {
        let mut lists = self.lists();
        if let Some(account) = lists
            .incidents
            .iter_mut()
            .find(|account| account.id() == id)
        {
            account.opinion = said.clone();
        }
    }

    /// Incidents that gave way to newer ones.
    pub fn n_forgotten(&self) -> u64 {
        self.lists().n_forgotten
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keeps_the_latest_state_of_the_latest_incidents() {
        let recent = Recent::default();
        for id in 0..N_KEPT + 1 {
            recent.add(&json!({"kind": "incident", "incident.id": id, "n": 0}));
        }
        recent.add(&json!({"kind": "incident", "incident.id": 7, "n": 1}));
        recent.add(&json!({"kind": "flow"}));
        let all = recent.incidents(usize::MAX);
        assert_eq!((all.len(), recent.n_forgotten()), (N_KEPT, 1));
        assert_eq!(all[0]["incident.id"], N_KEPT);
        assert_eq!(all.iter().find(|v| v["incident.id"] == 7).unwrap()["n"], 1);
    }

    #[test]
    fn an_incident_is_remembered_with_what_was_decided() {
        let recent = Recent::default();
        recent.add(&json!({"kind": "incident", "incident.id": "000001-aa"}));
        recent.add(&json!({"kind": "incident", "incident.id": "000002-ab"}));
        for n in 0..20 {
            recent.add(&json!({"kind": "decision", "incident.id": "000001-aa", "n": n}));
        }
        let account = recent.account("000001").unwrap();
        assert_eq!((account.decisions.len(), account.n_decisions), (10, 20));
        assert_eq!(recent.account("000002-ab").unwrap().n_decisions, 0);
        assert_eq!(recent.account("00000").unwrap_err().nearest.len(), 2);
        assert_eq!(
            recent.account("000003-aa").unwrap_err().nearest[0],
            "000001-aa"
        );
    }
}
