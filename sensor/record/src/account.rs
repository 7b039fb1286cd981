//! Incidents by their identifier, each with what was decided about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::decision::Decision;
use crate::entity::engine_entity;
use crate::feedback::Feedback;
use crate::incident::Incident;
use crate::record::Record;

/// Word for the incident that began last.
pub const LAST: &str = "last";

/// True if an identifier is of the incident with a number: 000007-… is that of 7.
pub fn has_number(id: &str, wanted: &str) -> bool {
    let digits = |text: &str| -> Option<u64> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    let number = digits(id.split('-').next().unwrap_or_default());
    number.is_some() && number == digits(wanted)
}

/// Decisions kept of one incident.
pub const MAX_DECISIONS: usize = 10;
/// Incidents whose identifier begins as wanted, and identifiers that may be meant instead.
const MAX_KEPT: usize = 64;
const MAX_IDS: usize = 100_000;
/// Other identifiers that an error names.
const N_NEAREST: usize = 3;

/// Account of an incident: all that is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Latest state of the incident.
    pub incident: Incident,
    /// Decisions about its sources.
    pub decided: Decided,
    /// Latest feedback of a person.
    pub feedback: Option<Feedback>,
}

/// The first few decisions, and how many there were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    pub decisions: Vec<Decision>,
    pub n_decisions: u64,
}

impl Decided {
    pub fn add(&mut self, decision: &Decision) {
        self.n_decisions += 1;
        if self.decisions.len() < MAX_DECISIONS {
            self.decisions.push(decision.clone());
        }
    }
}

impl Account {
    pub fn new(incident: Incident) -> Self {
        Self {
            incident,
            decided: Decided::default(),
            feedback: None,
        }
    }

    pub fn id(&self) -> &str {
        &self.incident.id
    }

    /// Whom it is about, as the engine knows them; none for a station, of which nothing is learned.
    pub fn entity(&self) -> Option<sensor_engine::Entity> {
        let (entity, kind) = (self.incident.entity?, self.incident.entity_kind?);
        engine_entity(entity, kind).filter(|entity| entity.station().is_none())
    }
}

/// Error for an incident that there is not.
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

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// Account of an incident of which not all may have been read.
#[derive(Debug, Default)]
struct Parts {
    incident: Option<Incident>,
    decided: Decided,
    feedback: Option<Feedback>,
}

/// Looks for one incident among records.
#[derive(Debug)]
pub struct Accounts {
    wanted: String,
    found: BTreeMap<String, Parts>,
    ids: BTreeSet<String>,
}

impl Accounts {
    /// `wanted` is an identifier, the beginning of one that no other begins with, a number, or
    /// [`LAST`].
    pub fn new(wanted: &str) -> Self {
        Self {
            wanted: wanted.to_owned(),
            found: BTreeMap::new(),
            ids: BTreeSet::new(),
        }
    }

    pub fn take(&mut self, record: Record) {
        match record {
            Record::Incident(incident) => {
                if self.ids.len() < MAX_IDS {
                    self.ids.insert(incident.id.clone());
                }
                let is_new = !self.found.contains_key(&incident.id);
                if self.wanted == LAST && is_new {
                    self.found.clear();
                }
                if let Some(parts) = self.find(&incident.id) {
                    parts.incident = Some(*incident);
                }
            }
            Record::Decision(decision) => {
                if let Some(parts) = self.find_of(&decision.incident_id) {
                    parts.decided.add(&decision);
                }
            }
            Record::Feedback(given) => {
                if let Some(parts) = self.find_of(&given.feedback.incident_id) {
                    parts.feedback = Some(given.feedback);
                }
            }
            Record::Sensor(_)
            | Record::Flow(_)
            | Record::Finding(_)
            | Record::Event(_)
            | Record::Loss(_)
            | Record::Summary(_)
            | Record::Remark(_) => {}
        }
    }

    /// As [`Self::find`], for what is about an incident: the last one is begun by none of these.
    fn find_of(&mut self, id: &str) -> Option<&mut Parts> {
        if self.wanted == LAST && !self.found.contains_key(id) {
            return None;
        }
        self.find(id)
    }

    fn find(&mut self, id: &str) -> Option<&mut Parts> {
        let wanted = self.wanted.as_str();
        let is_wanted = wanted == LAST || id.starts_with(wanted) || has_number(id, wanted);
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
    pub fn finish(self) -> Result<Account, Missing> {
        let missing = || Missing::new(&self.wanted, self.ids.iter().map(String::as_str));
        let mut accounts: Vec<Account> = self
            .found
            .into_values()
            .filter_map(|parts| {
                Some(Account {
                    incident: parts.incident?,
                    decided: parts.decided,
                    feedback: parts.feedback,
                })
            })
            .collect();
        let exact = accounts.iter().position(|a| a.id() == self.wanted);
        let numbered = || {
            accounts
                .iter()
                .rposition(|a| has_number(a.id(), &self.wanted))
        };
        let exact = exact.or_else(numbered);
        match (exact, accounts.len()) {
            (Some(at), _) => Ok(accounts.swap_remove(at)),
            (None, 1) if !self.wanted.is_empty() => Ok(accounts.swap_remove(0)),
            _ => Err(missing()),
        }
    }
}
