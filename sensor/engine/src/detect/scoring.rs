//! Scoring of subjects by all models, calibrated and fused; findings where the behaviour stays odd.

mod adwin;
mod ensemble;
mod evidence;
mod feedback;
mod scorer;
mod tail;

use sensor_common::Address;
use serde::{Deserialize, Serialize};

use self::adwin::Adwin;
pub use self::ensemble::Surprises;
use self::ensemble::{Assessment, Ensemble, Past};
use self::evidence::{Alarms, Evidence as Accumulated};
use self::feedback::FeedbackTable;
pub use self::feedback::{FEEDBACK_NS, Feedback};
pub use self::scorer::Scorer;
use super::Detector;
use super::family::Family;
use super::finding::{Entity, Evidence, Finding, p_value};
use crate::address::{Seeded, Table, from_ip, to_ip};
use crate::checkpoint::CheckpointError;
use crate::config::{SECOND_NS, ScoringConfig};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::{FEATURES, N_FEATURES, Subject, Vector, WINDOW_NS};
use crate::models::{BASELINE_COLUMNS, ModelKind, Seasonal};
use crate::note::Note;

/// Scores of one subject in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    pub subject: Subject,
    /// The window; packets at its end belong to it, those at its beginning to the one before.
    pub start_ns: u64,
    pub end_ns: u64,
    pub n_packets: u64,
    /// `-log10` of each model's tail probability, in the order of [`crate::ModelKind::ALL`]; 0 from one that
    /// is off or has not learned enough.
    pub models: Surprises,
    /// Score of the models together.
    pub ensemble: f32,
    /// Score of the models and the behaviour detectors together.
    pub fused: f32,
}

/// State of one subject.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Own {
    past: Seasonal,
    evidence: Accumulated,
    /// Windows in a row that were withheld from learning.
    n_withheld: u32,
    seen_ns: u64,
}

impl Priority for Own {
    fn priority(&self) -> u64 {
        self.seen_ns
    }
}

/// One kind of subjects.
#[derive(Debug)]
struct Kind {
    ensemble: Ensemble,
    known: Bounded<Subject, Own>,
    drift: Adwin,
    quota: Quota,
    /// Share of vectors whose subject has no past.
    novelty: f32,
    /// Vectors to go until the calibration fits traffic that changed.
    n_adapting: u32,
}

/// Takes a fused surprise; `true` where the traffic has changed, and the calibration begins to follow.
fn has_drifted(drift: &mut Adwin, ensemble: &mut Ensemble, fused: f32) -> bool {
    let is_settled = ensemble.n_learned() >= SETTLED;
    let has_drifted = is_settled && drift.take(10f64.powf(-f64::from(fused)));
    if has_drifted {
        ensemble.hasten();
    }
    has_drifted
}

/// Limit of what is learned from one window: no more than windows usually bring, since a crowd of spoofed
/// sources is many vectors, but one event.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Quota {
    usual: f32,
    n_seen: u32,
    n_learned: u32,
}

impl Quota {
    fn take(&mut self) -> bool {
        self.n_seen += 1;
        let is_within = self.n_learned as f32 <= 8.0 + 2.0 * self.usual;
        self.n_learned += u32::from(is_within);
        is_within
    }

    fn close(&mut self) {
        // A step at most: the crowd doesn't raise its own quota.
        let n = (self.n_seen as f32).min(8.0 + 2.0 * self.usual);
        self.usual += 0.02 * (n - self.usual);
        (self.n_seen, self.n_learned) = (0, 0);
    }
}

type LearnedKind = (Ensemble, Vec<(Subject, Own)>, Adwin, Quota, f32);

/// State of [`Scoring`] that is kept over restarts.
#[derive(Deserialize)]
pub(crate) struct Learned((Vec<ModelKind>, Vec<LearnedKind>, Alarms, FeedbackTable));

/// Scores of a subject, for the subjects that are parts of it.
#[derive(Clone, Copy, Debug)]
struct Whole {
    models: Surprises,
    ensemble: f32,
    fused: f32,
}

#[derive(Debug)]
pub(crate) struct Scoring {
    config: ScoringConfig,
    kinds: [Kind; Subject::N_KINDS],
    /// Addresses that the behaviour detectors spoke of in this window: as source, as victim.
    flagged: Table<(Address, bool), f32>,
    /// Addresses of findings for which there was no room.
    n_unflagged: u64,
    /// Fused scores of the window, for those whose parts are in it.
    window: Table<Subject, Whole>,
    alarms: Alarms,
    feedback: FeedbackTable,
    start_ns: u64,
    pub n_vectors: u64,
    pub n_withheld: u64,
}

/// Highest score that a behaviour detector contributes.
const MOST: f32 = 12.0;
/// Score from which a vector is not learned from, for it may be an attack.
const WITHHOLD: f32 = 3.0;
/// Surprise from which a model is named in a finding: one vector in a hundred.
const SPEAKS: f32 = 2.0;
/// Vectors until the calibration itself has settled; before that all drifts.
const SETTLED: u64 = 4_096;
/// Vectors after a drift until scores are believed in full again, and how much they are until then.
const ADAPTING: u32 = 1_024;
const BELIEVED: f32 = 0.7;
/// Share of its host's score that a pair gets.
const HOST_SHARE: f32 = 0.8;
/// Addresses of findings remembered for a window.
const MAX_FLAGGED: usize = 16_384;

impl Scoring {
    pub(crate) fn new(config: &ScoringConfig, hash_seed: u64) -> Self {
        let kind = |i: u64, table| Kind {
            ensemble: Ensemble::new(&config.models, config.seed.wrapping_add(i << 32)),
            known: Bounded::new(table, config.max_subjects, hash_seed),
            drift: Adwin::default(),
            quota: Quota::default(),
            novelty: 0.5,
            n_adapting: 0,
        };
        Self {
            config: config.clone(),
            kinds: [
                kind(0, "baseline_sources"),
                kind(1, "baseline_services"),
                kind(2, "baseline_hosts"),
                kind(3, "baseline_pairs"),
            ],
            flagged: Table::with_hasher(Seeded(hash_seed)),
            n_unflagged: 0,
            window: Table::with_hasher(Seeded(hash_seed)),
            alarms: Alarms::new(config.alarms_per_day),
            feedback: FeedbackTable::default(),
            start_ns: 0,
            n_vectors: 0,
            n_withheld: 0,
        }
    }

    /// Copies the learned state, with the models' names.
    pub(crate) fn learned(&self) -> impl Serialize + '_ {
        let kinds: Vec<_> = self
            .kinds
            .iter()
            .map(|kind| {
                let known: Vec<_> = kind.known.iter().collect();
                (
                    &kind.ensemble,
                    known,
                    &kind.drift,
                    &kind.quota,
                    kind.novelty,
                )
            })
            .collect();
        (&self.config.models, kinds, self.alarms, &self.feedback)
    }

    /// Takes in what another run learned.
    ///
    /// # Errors
    /// When its models are not those that are configured.
    pub(crate) fn restore(&mut self, learned: Learned) -> Result<(), CheckpointError> {
        let (models, kinds, alarms, feedback) = learned.0;
        if models != self.config.models || kinds.len() != self.kinds.len() {
            return Err(CheckpointError::Models);
        }
        for (kind, (ensemble, known, drift, quota, novelty)) in self.kinds.iter_mut().zip(kinds) {
            kind.ensemble = ensemble;
            for (subject, own) in known {
                *kind.known.get_or_insert_with(subject, Own::default) = own;
            }
            (kind.drift, kind.quota, kind.novelty) = (drift, quota, novelty);
        }
        self.alarms = alarms;
        self.feedback = feedback;
        self.alarms.set_per_day(self.config.alarms_per_day);
        Ok(())
    }

    /// Takes new limits; tables and models stay as they are.
    pub(crate) fn configure(&mut self, config: &ScoringConfig) {
        self.alarms.set_per_day(config.alarms_per_day);
        self.config.warm_up_vectors = config.warm_up_vectors;
        self.config.readmit_windows = config.readmit_windows;
    }

    /// Takes a person's word on somebody.
    pub(crate) fn take_feedback(&mut self, at_ns: u64, entity: &Entity, feedback: Feedback) {
        let is_source = !matches!(entity, Entity::Victim(_));
        self.feedback
            .set(at_ns, (entity.address(), is_source), feedback);
    }

    /// Remembers what a behaviour detector found: it counts for the scores of this window, and
    /// nothing is learned from it.
    pub(crate) fn note(&mut self, finding: &Finding) {
        if finding.detector == Detector::Models {
            return;
        }
        let score = (finding.score as f32).min(MOST);
        let sources = finding.sources.iter().map(|ip| (from_ip(*ip), true));
        let victims = finding.destinations.iter().map(|ip| (from_ip(*ip), false));
        let entity = match finding.entity {
            Entity::Source(address) => (address, true),
            Entity::Victim(address) => (address, false),
            Entity::Station(_) => (finding.entity.address(), true),
        };
        for key in sources.chain(victims).chain([entity]) {
            if self.flagged.len() >= MAX_FLAGGED && !self.flagged.contains_key(&key) {
                self.n_unflagged = self.n_unflagged.saturating_add(1);
                continue;
            }
            let known = self.flagged.entry(key).or_default();
            *known = known.max(score);
        }
    }

    /// Scores one vector of the window that is over, and learns from it.
    pub(crate) fn take(
        &mut self,
        at_ns: u64,
        vector: &Vector,
        findings: &mut Vec<Finding>,
    ) -> Score {
        self.n_vectors = self.n_vectors.saturating_add(1);
        let flag = self.flag(&vector.subject);
        let feedback = self.feedback.of(at_ns, whom(&vector.subject));
        let hour = (at_ns / (3_600 * SECOND_NS) % 24) as usize;
        let kind = &mut self.kinds[vector.subject.kind()];
        kind.n_adapting = kind.n_adapting.saturating_sub(1);
        let own = kind.known.get_or_insert_with(vector.subject, Own::default);
        own.seen_ns = at_ns;
        let past = if own.past.is_ready() {
            Past::Known(own.past.score(hour, &vector.values))
        } else {
            Past::None(-kind.novelty.log10())
        };
        let assessment = kind.ensemble.assess(&vector.values, past);
        let fused = assessment.fused.max(flag) + 0.1 * assessment.fused.min(flag);
        let is_warm = kind.ensemble.n_learned() >= self.config.warm_up_vectors;
        let is_odd = flag > 0.0
            || (is_warm && assessment.fused >= WITHHOLD)
            || feedback == Some(Feedback::Attack);
        own.n_withheld = if is_odd {
            own.n_withheld.saturating_add(1)
        } else {
            0
        };
        let is_tolerated = match feedback {
            Some(feedback) => feedback == Feedback::Benign,
            None => flag <= 0.0 && own.n_withheld > self.config.readmit_windows,
        };
        own.past
            .learn(hour, &vector.values, is_odd && !is_tolerated);
        let is_in_quota = kind.quota.take();
        if is_in_quota && (!is_odd || is_tolerated) {
            kind.ensemble.learn(&vector.values, &assessment);
            let is_new = f32::from(u8::from(matches!(past, Past::None(_))));
            kind.novelty += 0.002 * (is_new - kind.novelty);
            kind.novelty = kind.novelty.clamp(0.005, 1.0);
        } else {
            self.n_withheld = self.n_withheld.saturating_add(1);
        }
        // A flood of equals is one event, not a change of the network.
        if flag <= 0.0 && has_drifted(&mut kind.drift, &mut kind.ensemble, assessment.fused) {
            kind.n_adapting = ADAPTING;
        }
        let is_adapting = kind.n_adapting > 0;
        let believed = if is_adapting { BELIEVED } else { 1.0 };
        own.evidence.take(at_ns, believed * assessment.fused);
        let is_alarm = is_warm && flag <= 0.0 && self.alarms.take(at_ns, &mut own.evidence);
        if is_alarm {
            let parts = kind.ensemble.explain(&vector.values, past);
            let mut found = finding(vector, &assessment, &parts, &kind.ensemble, own, hour);
            found.notes.extend(is_adapting.then(drift_note));
            findings.push(found);
        }
        self.remember(at_ns, vector, &assessment, fused)
    }

    /// The score in the context of the window, kept for those that it is a part of.
    fn remember(
        &mut self,
        at_ns: u64,
        vector: &Vector,
        assessment: &Assessment,
        fused: f32,
    ) -> Score {
        let models = assessment
            .surprises
            .map(|s| if s.is_nan() { 0.0 } else { s });
        let ensemble = self.in_context(vector, assessment.fused, |whole| whole.ensemble);
        let fused = self.in_context(vector, fused, |whole| whole.fused);
        let whole = Whole {
            models,
            ensemble,
            fused,
        };
        self.window.insert(vector.subject, whole);
        self.score(at_ns, vector, whole)
    }

    /// One of a crowd too great to score each: a pair is as odd as its host makes it.
    pub(crate) fn take_crowd(&mut self, at_ns: u64, vector: &Vector) -> Score {
        let flag = self.flag(&vector.subject);
        let mut whole = Whole {
            models: Surprises::default(),
            ensemble: 0.0,
            fused: flag,
        };
        if let Subject::Pair(_, host) = vector.subject
            && let Some(host) = self.window.get(&Subject::Host(host))
        {
            whole.models = host.models.map(|surprise| HOST_SHARE * surprise);
            whole.ensemble = HOST_SHARE * host.ensemble;
            whole.fused = flag.max(HOST_SHARE * host.fused);
        }
        self.score(at_ns, vector, whole)
    }

    fn score(&self, at_ns: u64, vector: &Vector, whole: Whole) -> Score {
        Score {
            subject: vector.subject,
            start_ns: self.start_ns,
            end_ns: at_ns,
            n_packets: vector.n_packets,
            models: whole.models,
            ensemble: whole.ensemble,
            fused: whole.fused,
        }
    }

    /// Ends the window, after its last vector. An entity that was found and has no vector (ARP makes no
    /// flows) gets a score of that.
    pub(crate) fn close(&mut self, at_ns: u64, take: &mut dyn FnMut(Score)) {
        for ((address, is_source), flag) in &self.flagged {
            let subject = if *is_source {
                Subject::Source(*address)
            } else {
                Subject::Host(*address)
            };
            if !self.window.contains_key(&subject) {
                take(Score {
                    subject,
                    start_ns: self.start_ns,
                    end_ns: at_ns,
                    n_packets: 0,
                    models: Surprises::default(),
                    ensemble: 0.0,
                    fused: *flag,
                });
            }
        }
        self.start_ns = at_ns;
        self.kinds.iter_mut().for_each(|kind| kind.quota.close());
        self.flagged.clear();
        self.window.clear();
    }

    pub(crate) fn n_adapting(&self) -> u64 {
        let kinds = self.kinds.iter();
        kinds.filter(|kind| kind.n_adapting > 0).count() as u64
    }

    pub(crate) fn n_drifts(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.drift.n_drifts).sum()
    }

    pub(crate) fn tables(&self, out: &mut Vec<TableUse>) {
        out.extend(self.kinds.iter().map(|kind| kind.known.usage()));
        out.push(TableUse {
            table: "found_addresses",
            n_entries: self.flagged.len() as u64,
            capacity: MAX_FLAGGED as u64,
            n_shed: self.n_unflagged,
        });
    }

    pub(crate) fn n_shed(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.known.n_shed).sum()
    }

    fn flag(&self, subject: &Subject) -> f32 {
        self.flagged.get(&whom(subject)).copied().unwrap_or(0.0)
    }

    /// A pair is as odd as what it does, and what its ends do altogether.
    fn in_context(&self, vector: &Vector, own: f32, of: fn(&Whole) -> f32) -> f32 {
        let Subject::Pair(source, host) = vector.subject else {
            return own;
        };
        let of = |subject: &Subject| self.window.get(subject).map_or(0.0, of);
        let (source, host) = (of(&Subject::Source(source)), of(&Subject::Host(host)));
        own.max(0.9 * source).max(HOST_SHARE * host)
    }
}

/// Address that a subject is found by, and whether as source or as victim.
const fn whom(subject: &Subject) -> (Address, bool) {
    match subject {
        Subject::Source(source) | Subject::Pair(source, _) => (*source, true),
        Subject::Service(host, ..) | Subject::Host(host) => (*host, false),
    }
}

fn finding(
    vector: &Vector,
    assessment: &Assessment,
    parts: &[f32; N_FEATURES],
    ensemble: &Ensemble,
    own: &Own,
    hour: usize,
) -> Finding {
    let whole = parts.iter().sum::<f32>().max(1e-6);
    let mut features: Vec<(f32, Evidence)> = FEATURES
        .iter()
        .enumerate()
        .map(|(i, feature)| {
            let baseline = BASELINE_COLUMNS.iter().position(|c| *c as usize == i);
            let (expected, _) = match baseline.filter(|_| own.past.is_ready()) {
                Some(place) => own.past.expected(hour, place),
                None => ensemble.expected(i),
            };
            let evidence = Evidence {
                name: feature.name,
                observed: f64::from(vector.values[i]),
                expected: f64::from(expected),
                share: f64::from(parts[i] / whole),
            };
            (parts[i], evidence)
        })
        .collect();
    features.sort_by(|a, b| b.0.total_cmp(&a.0));
    features.truncate(5);
    let score = f64::from(own.evidence.score().max(assessment.fused));
    let (sources, destinations, ports, protocol) = ends(&vector.subject);
    Finding {
        detector: Detector::Models,
        family: Family::BehaviourAnomaly,
        entity: match vector.subject {
            Subject::Source(address) | Subject::Pair(address, _) => Entity::Source(address),
            Subject::Host(address) | Subject::Service(address, ..) => Entity::Victim(address),
        },
        window_ns: WINDOW_NS,
        first_ns: own.evidence.first_ns().min(vector.first_ns),
        last_ns: vector.last_ns,
        score,
        p_value: p_value(score),
        grades: Detector::Models.grades(),
        notes: vec![speakers(&assessment.surprises)],
        features: features.into_iter().map(|(_, evidence)| evidence).collect(),
        n_sources: sources.len() as u64,
        sources,
        is_spoofed: false,
        destination_mac: None,
        n_destinations: destinations.len() as u64,
        destinations,
        n_ports: ports.len() as u64,
        ports,
        protocol,
    }
}

/// Names the models that found the vector odd, the highest score first.
fn speakers(surprises: &Surprises) -> Note {
    let mut odd: Vec<(f32, &str)> = ModelKind::ALL
        .iter()
        .zip(surprises)
        .filter(|(_, surprise)| **surprise >= SPEAKS)
        .map(|(kind, surprise)| (*surprise, kind.label()))
        .collect();
    odd.sort_by(|a, b| b.0.total_cmp(&a.0));
    let odd: Vec<String> = odd
        .iter()
        .map(|(surprise, name)| format!("{name} {surprise:.1}"))
        .collect();
    Note {
        name: "sensor.models",
        value: odd.join(", "),
    }
}

/// Name of the note that a finding has while scores are calibrated anew.
pub(crate) const DRIFT_NOTE: &str = "sensor.drift";

fn drift_note() -> Note {
    Note {
        name: DRIFT_NOTE,
        value: "the traffic changed recently; scores are being recalibrated".to_owned(),
    }
}

type Ends = (Vec<std::net::IpAddr>, Vec<std::net::IpAddr>, Vec<u16>, u8);

fn ends(subject: &Subject) -> Ends {
    match subject {
        Subject::Source(source) => (vec![to_ip(source)], Vec::new(), Vec::new(), 0),
        Subject::Pair(source, host) => (vec![to_ip(source)], vec![to_ip(host)], Vec::new(), 0),
        Subject::Host(host) => (Vec::new(), vec![to_ip(host)], Vec::new(), 0),
        Subject::Service(host, port, protocol) => {
            (Vec::new(), vec![to_ip(host)], vec![*port], *protocol)
        }
    }
}

#[cfg(test)]
mod tests;
