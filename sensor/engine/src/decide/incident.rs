//! Findings of one family about one entity, grouped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::confidence::Confidence;
use super::proof::Grounds;
use super::statement::{Said, Statement};
use super::withheld::{NotDecided, Withheld};
use crate::address::Mac;
use crate::detect::{
    Counters, Detector, Entity, Evidence, Family, Finding, Grades, Naming, Profile, Severity,
    Surprises,
};
use crate::note::Note;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Opened,
    Updated,
    Closed,
}

impl State {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Closed => "closed",
        }
    }
}

/// Findings of one family about one entity, as published.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    pub id: String,
    pub state: State,
    pub family: Family,
    pub start_ns: u64,
    pub end_ns: u64,
    pub sources: Vec<IpAddr>,
    pub n_sources: u64,
    pub is_spoofed: bool,
    /// Link-layer address of the source, where the behaviour is on the link.
    pub source_mac: Option<Mac>,
    /// Link-layer address of the station that an address was taken from, the latest.
    pub destination_mac: Option<Mac>,
    pub destinations: Vec<IpAddr>,
    pub n_destinations: u64,
    pub ports: Vec<u16>,
    pub n_ports: u64,
    pub score: f64,
    pub severity: Severity,
    pub technique: &'static str,
    pub explanation: String,
    /// Kinds of proof that it rests on.
    pub grades: Grades,
    pub detectors: Vec<Detector>,
    /// Numbers of the strongest finding; its notes and window follow.
    pub features: Vec<Evidence>,
    pub notes: Vec<Note>,
    pub window_ns: u64,
    pub entity: Entity,
    /// Family that detectors gave; differs from `family` where the naming model names what they couldn't.
    pub found_as: Family,
    pub naming: Option<Naming>,
    pub counters: Counters,
    /// `-log10 p` of each model, in the order of [`crate::ModelKind::ALL`].
    pub surprises: Surprises,
    pub confidence: Confidence,
    /// Statements of other systems about the sources.
    pub said: Vec<Said>,
    /// Sources that were not acted on, each with the reason.
    pub not_decided: Vec<NotDecided>,
    /// The flood is in made-up names, and the policy lets its victim be shielded.
    pub may_shield: bool,
}

/// Reason for no decision, with its grounds.
type Reasoned = (Withheld, Option<Grounds>);

/// An open incident.
#[derive(Debug)]
pub(super) struct Case {
    incident: Incident,
    sources: BTreeSet<IpAddr>,
    destinations: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
    /// Latest outcome by source: the reason for no decision, or `None` where there was one.
    decided: BTreeMap<Option<IpAddr>, Option<Reasoned>>,
    finding_ns: u64,
    published_ns: Option<u64>,
    has_changed: bool,
    /// A finding's shape alone was beyond what any honest client does.
    is_excess: bool,
    /// It was counted as an alarm.
    is_alarm: bool,
}

impl Case {
    pub(super) fn new(id: String, finding: &Finding, profile: Option<&Profile>) -> Self {
        let is_shapeless = matches!(finding.detector, Detector::Models | Detector::Volume);
        let naming = profile.and_then(|profile| profile.naming);
        let named = naming.filter(|_| is_shapeless).map(|naming| naming.family);
        let family = named.unwrap_or(finding.family);
        let technique = finding.detector.technique();
        let mut case = Self {
            incident: Incident {
                id,
                state: State::Opened,
                family,
                start_ns: finding.first_ns,
                end_ns: finding.last_ns,
                sources: Vec::new(),
                n_sources: 0,
                is_spoofed: finding.is_spoofed,
                source_mac: finding.entity.station(),
                destination_mac: None,
                destinations: Vec::new(),
                n_destinations: 0,
                ports: Vec::new(),
                n_ports: 0,
                score: 0.0,
                severity: Severity::Low,
                technique: technique.unwrap_or(family.technique()),
                explanation: String::new(),
                grades: Grades::NONE,
                detectors: Vec::new(),
                features: Vec::new(),
                notes: Vec::new(),
                window_ns: finding.window_ns,
                entity: finding.entity,
                found_as: finding.family,
                naming,
                counters: Counters::default(),
                surprises: Surprises::default(),
                confidence: Confidence::FULL,
                said: Vec::new(),
                not_decided: Vec::new(),
                may_shield: false,
            },
            sources: BTreeSet::new(),
            destinations: BTreeSet::new(),
            ports: BTreeSet::new(),
            decided: BTreeMap::new(),
            finding_ns: 0,
            published_ns: None,
            has_changed: true,
            is_excess: false,
            is_alarm: false,
        };
        if let Some(profile) = profile {
            case.add(profile);
        }
        case
    }

    /// Adds what vectors say. A name that was published stays.
    pub(super) fn add(&mut self, profile: &Profile) {
        let incident = &mut self.incident;
        incident.naming = profile.naming;
        incident.counters = profile.counters;
        incident.surprises = profile.surprises;
        self.has_changed = true;
    }

    pub(super) fn incident(&self) -> &Incident {
        &self.incident
    }

    pub(super) fn take(
        &mut self,
        at_ns: u64,
        finding: &Finding,
        confidence: Confidence,
        n_listed: usize,
    ) {
        self.finding_ns = at_ns;
        self.has_changed = true;
        extend(&mut self.sources, &finding.sources, n_listed);
        extend(&mut self.destinations, &finding.destinations, n_listed);
        extend(&mut self.ports, &finding.ports, n_listed);
        let incident = &mut self.incident;
        incident.start_ns = incident.start_ns.min(finding.first_ns);
        incident.end_ns = incident.end_ns.max(finding.last_ns);
        // One look that found attributed is enough: spoofed means that none was ever seen.
        incident.is_spoofed &= finding.is_spoofed;
        incident.destination_mac = finding.destination_mac.or(incident.destination_mac);
        incident.n_sources = incident
            .n_sources
            .max(finding.n_sources)
            .max(self.sources.len() as u64);
        incident.n_destinations = incident
            .n_destinations
            .max(finding.n_destinations)
            .max(self.destinations.len() as u64);
        incident.n_ports = incident
            .n_ports
            .max(finding.n_ports)
            .max(self.ports.len() as u64);
        incident.sources = self.sources.iter().copied().collect();
        incident.destinations = self.destinations.iter().copied().collect();
        incident.ports = self.ports.iter().copied().collect();
        if !incident.detectors.contains(&finding.detector) {
            incident.detectors.push(finding.detector);
            incident.detectors.sort();
        }
        // Findings of one behaviour are not independent: the strongest stands for all.
        if finding.score >= incident.score {
            incident.score = finding.score;
            incident.features.clone_from(&finding.features);
            incident.notes.clone_from(&finding.notes);
            incident.window_ns = finding.window_ns;
        }
        incident.confidence.join(confidence);
        incident.confidence.confirm(finding);
        incident.grades = incident.grades.with(finding.grades);
        self.is_excess |= finding.is_excess();
        // A name that nothing but the forest gives makes it no graver.
        incident.severity = incident.found_as.severity(incident.score);
        // What a rule with a reason found is no mere oddness.
        let are_models = incident.detectors.iter().all(|one| one.is_model());
        if incident.found_as == Family::BehaviourAnomaly && !are_models {
            incident.severity = Severity::Medium;
        }
        let most = incident.grades.most_severe(self.is_excess);
        incident.severity = incident.severity.min(most);
    }

    /// Takes what other systems say of the sources. That it was said again is no news.
    pub(super) fn hear(&mut self, said: Vec<Said>) {
        let statements = |said: &[Said]| -> Vec<Statement> {
            said.iter().map(|one| one.statement.clone()).collect()
        };
        self.has_changed |= statements(&self.incident.said) != statements(&said);
        self.incident.said = said;
    }

    /// Remembers whether the victim may be shielded.
    pub(super) const fn shield(&mut self, may_shield: bool) {
        self.incident.may_shield = may_shield;
    }

    /// Remembers what was decided on whom. Once a source was acted on for this incident, that the
    /// decision is in force is no news.
    pub(super) fn note(
        &mut self,
        made: impl Iterator<Item = IpAddr>,
        withheld: &[NotDecided],
        n_listed: usize,
    ) {
        let made = made.map(|source| (Some(source), None));
        let withheld = withheld
            .iter()
            .map(|one| (one.source, Some((one.reason, one.grounds.clone()))));
        for (source, outcome) in made.chain(withheld) {
            let before = self.decided.get(&source);
            let is_in_force = matches!(outcome, Some((Withheld::InForce, _)));
            let is_news = !is_in_force || before != Some(&None);
            let has_room = self.decided.len() < n_listed || before.is_some();
            if is_news && has_room {
                self.decided.insert(source, outcome);
            }
        }
        // What holds for all held for a weaker finding, where there is a word on one by now.
        let has_any = self.decided.keys().any(Option::is_some);
        let told = self.decided.iter();
        let told = told.filter(|(source, _)| source.is_some() || !has_any);
        let told = told.filter_map(|(source, outcome)| {
            let (reason, grounds) = outcome.clone()?;
            Some(NotDecided {
                source: *source,
                reason,
                grounds,
            })
        });
        self.incident.not_decided = told.collect();
    }

    /// Decides whether it becomes an alarm now: it is above low for the first time. Where the budget of
    /// alarms is spent, what rests on shape alone stays low.
    pub(super) fn alarms(&mut self, is_spent: bool) -> bool {
        if self.is_alarm || self.incident.severity == Severity::Low {
            return false;
        }
        self.is_alarm = !is_spent || self.incident.grades.is_proof();
        if !self.is_alarm {
            self.incident.severity = Severity::Low;
        }
        self.is_alarm
    }

    /// Time of the last finding.
    pub(super) const fn found_ns(&self) -> u64 {
        self.finding_ns
    }

    /// Time of the first packet that was found.
    pub(super) const fn opened_ns(&self) -> u64 {
        self.incident.start_ns
    }

    /// True where it is over and other sources did what was found now: that is an incident of their
    /// own.
    pub(super) fn is_of_others(&self, finding: &Finding) -> bool {
        let incident = &self.incident;
        let are_named =
            |sources: &[IpAddr], n: u64| !sources.is_empty() && n <= sources.len() as u64;
        finding.first_ns > incident.end_ns
            && are_named(&incident.sources, incident.n_sources)
            && are_named(&finding.sources, finding.n_sources)
            && !finding
                .sources
                .iter()
                .any(|source| self.sources.contains(source))
    }

    /// Returns the incident if it is new, or has changed and was last published long enough ago.
    pub(super) fn publish(&mut self, at_ns: u64, update_ns: u64) -> Option<Incident> {
        let is_due = self
            .published_ns
            .is_none_or(|last| at_ns.saturating_sub(last) >= update_ns);
        if !self.has_changed || !is_due {
            return None;
        }
        self.incident.state = if self.published_ns.is_none() {
            State::Opened
        } else {
            State::Updated
        };
        self.published_ns = Some(at_ns);
        self.has_changed = false;
        Some(self.incident.clone())
    }

    pub(super) fn is_quiet(&self, at_ns: u64, close_ns: u64) -> bool {
        at_ns.saturating_sub(self.finding_ns) >= close_ns
    }

    pub(super) fn close(&mut self) -> Incident {
        self.incident.state = State::Closed;
        self.incident.clone()
    }
}

fn extend<T: Ord + Copy>(set: &mut BTreeSet<T>, more: &[T], n_listed: usize) {
    for item in more {
        if set.len() >= n_listed {
            return;
        }
        set.insert(*item);
    }
}
