//! Decide stage: findings in, incidents and decisions out.

mod decision;
mod explain;
mod incident;

pub use self::decision::{Action, Decision, Scope};
pub use self::incident::{Incident, Severity, State};

use sensor_common::{hash_address, mix};

use self::decision::Decider;
use self::incident::Case;
use crate::address::{Seeded, Table};
use crate::config::{DecideConfig, SECOND_NS};
use crate::detect::{Entity, Family, Finding};

/// What the stage hands to the shell.
pub(crate) enum Verdict {
    Incident(Incident),
    Decision(Decision),
}

#[derive(Debug)]
pub(crate) struct DecideStage {
    config: DecideConfig,
    cases: Table<(Family, Entity), Case>,
    decider: Decider,
    sequence: u64,
    forgot_ns: u64,
    pub n_shed: u64,
}

/// How often what is too old is looked for.
const FORGET_NS: u64 = 10 * SECOND_NS;

impl DecideStage {
    pub(crate) fn new(config: &DecideConfig, hash_seed: u64) -> Self {
        Self {
            config: config.clone(),
            cases: Table::with_hasher(Seeded(hash_seed)),
            decider: Decider::new(config, hash_seed),
            sequence: 0,
            forgot_ns: 0,
            n_shed: 0,
        }
    }

    /// Works by other thresholds from now on; sizes stay.
    pub(crate) fn configure(&mut self, config: &DecideConfig) {
        self.config = config.clone();
        self.decider.configure(config);
    }

    pub(crate) fn n_open(&self) -> usize {
        self.cases.len()
    }

    /// Remembers that an address is ours: it is never acted on.
    pub(crate) fn note_local(&mut self, at_ns: u64, address: sensor_common::Address) {
        self.decider.note_local(at_ns, address);
    }

    pub(crate) fn take(&mut self, at_ns: u64, finding: &Finding, out: &mut Vec<Verdict>) {
        let key = (finding.family, finding.entity);
        if !self.cases.contains_key(&key) {
            if self.cases.len() >= self.config.max_incidents {
                self.n_shed = self.n_shed.saturating_add(1);
                return;
            }
            self.sequence = self.sequence.wrapping_add(1);
            let id = incident_id(self.sequence, finding);
            self.cases.insert(key, Case::new(id, finding));
        }
        let Some(case) = self.cases.get_mut(&key) else {
            return;
        };
        case.take(at_ns, finding, self.config.n_listed);
        if let Some(incident) = case.publish(at_ns, self.config.update_ns) {
            out.push(Verdict::Incident(incident));
        }
        self.decider.decide(at_ns, case.incident(), finding, out);
    }

    /// Closes what went quiet.
    pub(crate) fn tick(&mut self, at_ns: u64, out: &mut Vec<Verdict>) {
        let config = &self.config;
        self.cases.retain(|_, case| {
            let is_open = !case.is_quiet(at_ns, config.close_ns);
            if !is_open {
                out.push(Verdict::Incident(case.close()));
            } else if let Some(incident) = case.publish(at_ns, config.update_ns) {
                out.push(Verdict::Incident(incident));
            }
            is_open
        });
        if at_ns.saturating_sub(self.forgot_ns) >= FORGET_NS {
            self.forgot_ns = at_ns;
            self.decider.forget(at_ns);
        }
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<Verdict>) {
        for case in self.cases.values_mut() {
            out.push(Verdict::Incident(case.close()));
        }
        self.cases.clear();
    }
}

/// Sequence number, then a hash of start and entity: unique over restarts, equal over replays.
fn incident_id(sequence: u64, finding: &Finding) -> String {
    let entity = hash_address(&finding.entity.address(), finding.family as u64);
    let hash = mix(finding.first_ns, entity, 0);
    format!("{sequence:06}-{hash:016x}")
}
