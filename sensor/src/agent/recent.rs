//! The last incidents, for those who ask later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// Kept; the oldest go first.
const N_KEPT: usize = 1_000;

/// Shared by the engine thread, which adds, and by those who answer.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Lists>>);

#[derive(Debug, Default)]
struct Lists {
    /// Latest state of each incident, in the order of their beginning.
    incidents: VecDeque<Value>,
    n_forgotten: u64,
}

impl Lists {
    fn add(&mut self, value: &Value) {
        if value["kind"] != "incident" {
            return;
        }
        let id = &value["incident.id"];
        let mut known = self.incidents.iter_mut().rev();
        if let Some(same) = known.find(|old| old["incident.id"] == *id) {
            *same = value.clone();
            return;
        }
        if self.incidents.len() >= N_KEPT {
            self.incidents.pop_front();
            self.n_forgotten += 1;
        }
        self.incidents.push_back(value.clone());
    }
}

impl Recent {
    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an incident; everything else passes by.
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
            .cloned()
            .collect()
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
}
