//! Incidents by their identifier, each with what was decided about it.

use std::collections::{BTreeMap, BTreeSet};

use sensor_engine::{Entity, from_ip};
use serde_json::Value;

/// Decisions kept of one incident.
pub const MAX_DECISIONS: usize = 10;
/// Incidents whose identifier begins as wanted, and identifiers that may be meant instead.
const MAX_KEPT: usize = 64;
const MAX_IDS: usize = 100_000;
/// Other identifiers that an error names.
const N_NEAREST: usize = 3;

/// What is known of an incident.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Its latest state.
    pub incident: Value,
    /// The first few.
    pub decisions: Vec<Value>,
    pub n_decisions: u64,
    /// What a person said of it last.
    pub opinion: Value,
}

impl Account {
    pub fn id(&self) -> &str {
        self.incident["incident.id"].as_str().unwrap_or_default()
    }

    /// Whom it is about; none where that is no address.
    pub fn entity(&self) -> Option<Entity> {
        let address = self.incident["entity"].as_str()?.parse().ok()?;
        match self.incident["entity.kind"].as_str()? {
            "source" => Some(Entity::Source(from_ip(address))),
            "victim" => Some(Entity::Victim(from_ip(address))),
            _ => None,
        }
    }

    pub fn decide(&mut self, decision: &Value) {
        self.n_decisions += 1;
        if self.decisions.len() < MAX_DECISIONS {
            self.decisions.push(decision.clone());
        }
    }
}

/// There is no such incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub wanted: String,
    /// The nearest of those that there are.
    pub nearest: Vec<String>,
}

impl Missing {
    /// Nearest by the edits that make one the other; those that begin as wanted come first.
    pub fn new<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let mut known: Vec<(bool, usize, &str)> = known
            .map(|id| (!id.starts_with(wanted), strsim::levenshtein(wanted, id), id))
            .collect();
        known.sort_unstable();
        Self {
            wanted: wanted.to_owned(),
            nearest: known
                .iter()
                .take(N_NEAREST)
                .map(|(_, _, id)| (*id).to_owned())
                .collect(),
        }
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nearest.is_empty() {
            return write!(f, "no incident {}: there is none at all", self.wanted);
        }
        write!(
            f,
            "no incident {}, or more than one; the nearest: {}",
            self.wanted,
            self.nearest.join(", ")
        )
    }
}

impl std::error::Error for Missing {}

/// Looks for one incident among objects as the sensor puts them out.
#[derive(Debug)]
pub struct Accounts {
    wanted: String,
    found: BTreeMap<String, Account>,
    ids: BTreeSet<String>,
}

impl Accounts {
    /// `wanted` is an identifier, or the beginning of one that no other begins with.
    pub fn new(wanted: &str) -> Self {
        Self {
            wanted: wanted.to_owned(),
            found: BTreeMap::new(),
            ids: BTreeSet::new(),
        }
    }

    pub fn take(&mut self, value: &Value) {
        let Some(id) = value["incident.id"].as_str() else {
            return;
        };
        match value["kind"].as_str() {
            Some("incident") => {
                if self.ids.len() < MAX_IDS {
                    self.ids.insert(id.to_owned());
                }
                if let Some(account) = self.account(id) {
                    account.incident = value.clone();
                }
            }
            Some("decision") => {
                if let Some(account) = self.account(id) {
                    account.decide(value);
                }
            }
            _ => {}
        }
    }

    fn account(&mut self, id: &str) -> Option<&mut Account> {
        let is_wanted = id.starts_with(&self.wanted);
        let has_room = self.found.len() < MAX_KEPT || id == self.wanted;
        if !is_wanted || !(has_room || self.found.contains_key(id)) {
            return None;
        }
        Some(self.found.entry(id.to_owned()).or_default())
    }

    /// The one that was wanted.
    ///
    /// # Errors
    /// When there is none, or when several begin so.
    pub fn finish(mut self) -> Result<Account, Missing> {
        self.found.retain(|_, account| account.incident.is_object());
        if let Some(account) = self.found.remove(&self.wanted) {
            return Ok(account);
        }
        match self.found.pop_first() {
            Some((_, account)) if self.found.is_empty() && !self.wanted.is_empty() => Ok(account),
            _ => Err(Missing::new(
                &self.wanted,
                self.ids.iter().map(String::as_str),
            )),
        }
    }
}
