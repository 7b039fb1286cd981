//! Learned windows: a model that was trained on labelled windows of pairs and sources says whether what
//! goes on is like an attack. It speaks where no detector does, and of what detectors say it says how
//! much it looks like that.

use std::sync::Arc;

use sensor_common::Address;

use super::Detect;
use super::Detector;
use super::family::Family;
use super::finding::{Entity, Evidence, Finding, p_value};
use crate::address::{from_ip, to_ip};
use crate::config::{Config, SECOND_NS};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::{PAIR_FEATURES, PairVector, PairWindows};
use crate::flow::{FlowSummary, FlowUpdate};
use crate::models::{Boosted, Run};
use crate::note::Note;

/// Pairs and sources whose latest windows are remembered, 64 bytes each.
const MAX_RUNS: usize = 16_384;
/// Addresses that detectors found.
const MAX_FOUND: usize = 8_192;
/// Silence after which a run of windows is over: one may be missing.
const PAUSE_NS: u64 = 25 * SECOND_NS;
/// Time for which a detector's word on an address makes this one's needless.
const FOUND_NS: u64 = 120 * SECOND_NS;
/// Age up to which a window says something about a finding.
const FRESH_NS: u64 = 15 * SECOND_NS;
/// Time between two findings about the same.
const REPEAT_NS: u64 = 60 * SECOND_NS;
/// Columns named in a finding.
const NAMED: usize = 5;

/// Name of the note that says what the model makes of a detector's finding.
pub(crate) const LEARNED_NOTE: &str = "sensor.learned";
pub(crate) const AGREES: &str = "like an attack";
pub(crate) const DISAGREES: &str = "like ordinary traffic";

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    run: Run,
    sum: f32,
    is_alarm: bool,
    at_ns: u64,
    reported_ns: u64,
}

impl Priority for Seen {
    fn priority(&self) -> u64 {
        self.at_ns
    }
}

/// Time of a detector's latest finding on an address.
#[derive(Clone, Copy, Debug, Default)]
struct Found(u64);

impl Priority for Found {
    fn priority(&self) -> u64 {
        self.0
    }
}

/// A source, and a host where it is about a pair.
type Key = (Address, Option<Address>);

#[derive(Debug)]
pub(crate) struct LearnedDetector {
    windows: PairWindows,
    model: Option<Arc<Boosted>>,
    runs: Bounded<Key, Seen>,
    found: Bounded<Address, Found>,
    is_emitting: bool,
    emitted: Vec<(PairVector, f32)>,
}

impl Detect for LearnedDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let hash_seed = config.hash_seed;
        Self {
            windows: PairWindows::new(hash_seed),
            model: config.learned.model(),
            runs: Bounded::new("learned_runs", MAX_RUNS, hash_seed),
            found: Bounded::new("learned_found", MAX_FOUND, hash_seed),
            is_emitting: config.emit_vectors,
            emitted: Vec::new(),
        }
    }

    fn configure(&mut self, _config: &Config) {}

    fn tables(&self, out: &mut Vec<TableUse>) {
        self.windows.tables(out);
        out.push(self.runs.usage());
        out.push(self.found.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        self.close(at_ns, false, findings);
    }
}

impl LearnedDetector {
    /// True where somebody wants the windows.
    const fn is_on(&self) -> bool {
        self.model.is_some() || self.is_emitting
    }

    pub(crate) fn take_all(&mut self, at_ns: u64, updates: &[FlowUpdate]) {
        if self.is_on() {
            self.windows.take_all(at_ns, updates);
        }
    }

    pub(crate) fn take_end(&mut self, flow: &FlowSummary) {
        if self.is_on() {
            self.windows.end(flow);
        }
    }

    /// Judges the window that runs, which nothing will be added to.
    pub(crate) fn finish(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        self.close(at_ns, true, findings);
    }

    /// Hands out the vectors judged since the last call, each with its sum.
    pub(crate) fn emitted(&mut self) -> std::vec::Drain<'_, (PairVector, f32)> {
        self.emitted.drain(..)
    }

    /// Vectors beyond the most of one time.
    pub(crate) const fn n_skipped(&self) -> u64 {
        self.windows.n_skipped
    }

    /// True where the model takes the latest window of whom the streaming models find odd for ordinary, or
    /// saw none: odd to one of the two is a change, not an attack.
    pub(crate) fn doubts(&self, at_ns: u64, finding: &Finding) -> bool {
        let Some(model) = &self.model else {
            return false;
        };
        let seen = self.runs.get(&(finding.entity.address(), None));
        let agrees = seen.is_some_and(|seen| {
            seen.at_ns.saturating_add(FRESH_NS) > at_ns && seen.sum >= model.scale.ordinary
        });
        finding.detector == Detector::Models && !agrees
    }

    /// True where a detector found an address lately.
    pub(crate) fn was_found(&self, at_ns: u64, address: &Address) -> bool {
        was_found(&self.found, at_ns, address)
    }

    fn close(&mut self, at_ns: u64, is_last: bool, findings: &mut Vec<Finding>) {
        let (runs, found, model) = (&mut self.runs, &self.found, self.model.as_deref());
        let (is_emitting, emitted) = (self.is_emitting, &mut self.emitted);
        self.windows.close(at_ns, is_last, &mut |vector| {
            let sum = model.map_or(0.0, |model| model.sum(&vector.values));
            if let Some(model) = model {
                findings.extend(judge(runs, found, model, &vector, sum));
            }
            if is_emitting {
                emitted.push((vector, sum));
            }
        });
    }

    /// Notes what the model makes of another detector's finding, and that it was found.
    pub(crate) fn weigh(&mut self, at_ns: u64, finding: &mut Finding) {
        if finding.detector.is_model() {
            return;
        }
        let sources = finding.sources.iter().map(|ip| from_ip(*ip));
        let addresses: Vec<Address> = sources.chain([finding.entity.address()]).collect();
        for address in &addresses {
            self.found.get_or_insert_with(*address, Found::default).0 = at_ns;
        }
        let Some(ordinary) = self.model.as_ref().map(|model| model.scale.ordinary) else {
            return;
        };
        let ([source], hosts) = (finding.sources.as_slice(), finding.destinations.as_slice())
        else {
            return;
        };
        let host = match hosts {
            [host] => Some(from_ip(*host)),
            _ => None,
        };
        let key = (from_ip(*source), host);
        let seen = self
            .runs
            .get(&key)
            .filter(|seen| seen.at_ns.saturating_add(FRESH_NS) > at_ns);
        let word = match seen {
            Some(seen) if seen.is_alarm => AGREES,
            Some(seen) if seen.sum < ordinary => DISAGREES,
            _ => return,
        };
        finding.notes.push(Note {
            name: LEARNED_NOTE,
            value: word.to_owned(),
        });
    }
}

fn was_found(found: &Bounded<Address, Found>, at_ns: u64, address: &Address) -> bool {
    let found = found.get(address);
    found.is_some_and(|found| found.0.saturating_add(FOUND_NS) > at_ns)
}

/// Adds a window to its run; a finding where the run is sure and nobody else spoke.
fn judge(
    runs: &mut Bounded<Key, Seen>,
    found: &Bounded<Address, Found>,
    model: &Boosted,
    vector: &PairVector,
    sum: f32,
) -> Option<Finding> {
    let at_ns = vector.at_ns;
    let key = (vector.source, vector.host);
    let seen = runs.get_or_insert_with(key, Seen::default);
    if at_ns.saturating_sub(seen.at_ns) > PAUSE_NS {
        seen.run.clear();
    }
    let strength = seen.run.take(sum);
    let [of_pair, of_source] = model.scale.alarm;
    let least = if vector.host.is_some() {
        of_pair
    } else {
        of_source
    };
    (seen.at_ns, seen.sum, seen.is_alarm) = (at_ns, sum, strength >= least);
    let was_found = |address: &Address| was_found(found, at_ns, address);
    let is_known = was_found(&vector.source) || vector.host.as_ref().is_some_and(was_found);
    let is_due = seen.reported_ns == 0 || at_ns.saturating_sub(seen.reported_ns) >= REPEAT_NS;
    if !seen.is_alarm || is_known || !is_due {
        return None;
    }
    seen.reported_ns = at_ns;
    Some(finding(model, vector, sum))
}

fn finding(model: &Boosted, vector: &PairVector, sum: f32) -> Finding {
    let score = f64::from(model.score(sum));
    let reasons = model.reasons(&vector.values);
    let whole: f32 = reasons.iter().map(|(_, part)| part.max(0.0)).sum();
    let evidence = |(column, part): &(usize, f32)| {
        let feature = PAIR_FEATURES.get(*column)?;
        Some(Evidence {
            name: feature.name,
            observed: f64::from(*vector.values.get(*column)?),
            expected: f64::from(*model.scale.typical.get(*column)?),
            share: f64::from((part / whole.max(1e-6)).clamp(0.0, 1.0)),
        })
    };
    let destinations: Vec<std::net::IpAddr> = vector.host.iter().map(to_ip).collect();
    Finding {
        window_ns: 60 * SECOND_NS,
        first_ns: vector.at_ns.saturating_sub(60 * SECOND_NS),
        score,
        p_value: p_value(score),
        features: reasons.iter().take(NAMED).filter_map(evidence).collect(),
        sources: vec![to_ip(&vector.source)],
        n_sources: 1,
        n_destinations: destinations.len() as u64,
        destinations,
        ..Finding::new(
            Detector::Learned,
            Family::BehaviourAnomaly,
            Entity::Source(vector.source),
            vector.at_ns,
        )
    }
}

#[cfg(test)]
mod tests;
