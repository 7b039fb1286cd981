//! Incidents against labels: what was detected, when, whom it named, and what was said in vain.

use std::collections::HashMap;

use sensor_common::Address;
use sensor_engine::{Incident, SECOND_NS, Severity};

use super::Subject;
use super::families::{Group, Kind, kind_of};
use super::roc::{ENSEMBLE, FUSED, Ranking};
use super::source::Source;
use super::truth::{Event, Truth, WINDOW_NS, holds};
use super::watch::{Alarm, Snapshot, Watched};

/// An incident that is published this long after the last packet of an attack still counts as its
/// detection: a labelled episode ends after as much silence.
const GRACE_NS: u64 = 60 * SECOND_NS;
/// An incident may begin this much before or after the episode that it is about.
const SLACK_NS: u64 = 5 * SECOND_NS;

/// One labelled attack.
#[derive(Clone, Debug)]
pub struct EventScore {
    pub attack: String,
    pub group: Group,
    pub start_ns: u64,
    pub end_ns: u64,
    pub n_packets: u64,
    pub detection: Option<Detection>,
}

/// Detection of an attack.
#[derive(Clone, Debug)]
pub struct Detection {
    pub delay_ns: u64,
    /// Share of the attack's packets that came after.
    pub share_after: f64,
    /// Family of the incident that describes it best.
    pub family: &'static str,
    pub family_weight: f64,
    pub is_entity_right: bool,
    pub n_incidents: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truthful {
    True,
    /// About something odd that is no attack.
    Odd,
    False,
}

/// One incident.
#[derive(Clone, Debug)]
pub struct AlarmScore {
    pub incident: Incident,
    pub opened_ns: u64,
    pub judgement: Truthful,
    /// Set if there was a labelled attack at that time, by anybody.
    pub is_during_attack: bool,
}

/// A stretch that is labelled as neither benign nor an attack.
#[derive(Clone, Debug)]
pub struct OddStretch {
    pub what: String,
    pub start_ns: u64,
    pub end_ns: u64,
    pub n_packets: u64,
}

/// The greatest scores of one window of 10 s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    pub start_ns: u64,
    /// Score of the models together; then with the behaviour detectors.
    pub models: f32,
    pub fused: f32,
}

/// Entity-windows: predicted against labelled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Windows {
    pub n_hit: u64,
    pub n_missed: u64,
    pub n_false: u64,
    pub n_quiet: u64,
}

impl Windows {
    pub fn add(&mut self, other: &Self) {
        self.n_hit += other.n_hit;
        self.n_missed += other.n_missed;
        self.n_false += other.n_false;
        self.n_quiet += other.n_quiet;
    }
    pub fn precision(&self) -> f64 {
        ratio(self.n_hit, self.n_hit + self.n_false)
    }
    pub fn recall(&self) -> f64 {
        ratio(self.n_hit, self.n_hit + self.n_missed)
    }
    pub fn f1(&self) -> f64 {
        ratio(
            2 * self.n_hit,
            2 * self.n_hit + self.n_false + self.n_missed,
        )
    }
}

pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

/// Content of a capture, which decides what it is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Benign,
    Mixed,
    /// Nothing but an attack: no figure of false alarms comes from it.
    Attack,
}

impl Content {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Mixed => "mixed",
            Self::Attack => "attack",
        }
    }

    fn of(truth: &Truth) -> Self {
        let [n_benign, n_attack, _] = truth.n_by_label;
        if n_attack == 0 {
            Self::Benign
        } else if n_benign.saturating_mul(50) < n_attack {
            Self::Attack
        } else {
            Self::Mixed
        }
    }
}

/// One capture.
#[derive(Clone, Debug)]
pub struct CaptureScore {
    pub id: String,
    pub source: Source,
    pub content: Content,
    pub n_packets: u64,
    pub n_flows: u64,
    pub n_decisions: u64,
    pub n_drops: u64,
    pub first_ns: u64,
    pub duration_ns: u64,
    /// Time outside of attacks, ns.
    pub benign_ns: u64,
    pub busy_ns: u64,
    pub events: Vec<EventScore>,
    pub odd: Vec<OddStretch>,
    pub alarms: Vec<AlarmScore>,
    pub windows: Windows,
    pub moments: Vec<Moment>,
    /// None where there is nothing to tell apart.
    pub ranking: Option<Ranking>,
}

impl CaptureScore {
    pub fn of(subject: &Subject, watched: &Watched) -> Self {
        let truth = &watched.truth;
        let played = &watched.played;
        let attacks = truth.events.iter().filter(|event| event.is_attack);
        let duration_ns = played.last_ns.saturating_sub(played.first_ns);
        let attacked_ns: u64 = attacks.clone().map(|e| e.end_ns - e.start_ns).sum();
        Self {
            id: subject.id.clone(),
            source: subject.source.clone(),
            content: Content::of(truth),
            n_packets: played.n_packets,
            n_flows: watched.n_flows,
            n_decisions: watched.n_decisions,
            n_drops: watched.n_drops,
            first_ns: played.first_ns,
            duration_ns,
            benign_ns: duration_ns.saturating_sub(attacked_ns),
            busy_ns: u64::try_from(watched.busy.as_nanos()).unwrap_or(u64::MAX),
            events: attacks
                .map(|event| score_event(event, &watched.alarms))
                .collect(),
            odd: odd_stretches(truth),
            alarms: watched
                .alarms
                .iter()
                .map(|alarm| score_alarm(alarm, truth))
                .collect(),
            windows: score_windows(truth, &watched.alarms),
            moments: moments(watched),
            ranking: Ranking::of(truth, &watched.scores),
        }
    }

    /// An incident above low was published.
    pub fn is_loud(&self) -> bool {
        let mut alarms = self.alarms.iter();
        alarms.any(|alarm| alarm.incident.severity > Severity::Low)
    }

    pub fn n_alarms(&self, judgement: Truthful) -> u64 {
        let alarms = self.alarms.iter();
        alarms.filter(|alarm| alarm.judgement == judgement).count() as u64
    }
}

fn odd_stretches(truth: &Truth) -> Vec<OddStretch> {
    let odd = truth.events.iter().filter(|event| !event.is_attack);
    odd.map(|event| OddStretch {
        what: event.attack.clone(),
        start_ns: event.start_ns,
        end_ns: event.end_ns,
        n_packets: event.n_packets,
    })
    .collect()
}

fn moments(watched: &Watched) -> Vec<Moment> {
    let windows = watched.scores.over_time();
    let moment = |(window, row): (&u64, &[f32; super::roc::N_SCORES])| Moment {
        start_ns: window.saturating_mul(WINDOW_NS),
        models: row[ENSEMBLE],
        fused: row[FUSED],
    };
    windows.iter().map(moment).collect()
}

fn score_event(event: &Event, alarms: &[Alarm]) -> EventScore {
    let kind = kind_of(&event.attack);
    let matched: Vec<Match> = alarms
        .iter()
        .filter_map(|alarm| Match::of(event, kind, alarm))
        .collect();
    let first = matched.iter().map(|m| m.at_ns).min();
    // The earliest of those that describe it best: family and entity are judged on one incident.
    let best = matched.iter().max_by(|a, b| {
        (a.weight, a.is_entity_right)
            .partial_cmp(&(b.weight, b.is_entity_right))
            .unwrap_or(std::cmp::Ordering::Equal)
            .then(b.at_ns.cmp(&a.at_ns))
    });
    EventScore {
        attack: event.attack.clone(),
        group: kind.group,
        start_ns: event.start_ns,
        end_ns: event.end_ns,
        n_packets: event.n_packets,
        detection: first.zip(best).map(|(first, best)| Detection {
            delay_ns: first.saturating_sub(event.start_ns),
            share_after: event.share_after(first),
            family: best.family,
            family_weight: best.weight,
            is_entity_right: best.is_entity_right,
            n_incidents: matched.len(),
        }),
    }
}

/// An incident that is about an event.
struct Match {
    at_ns: u64,
    family: &'static str,
    weight: f64,
    is_entity_right: bool,
}

impl Match {
    fn of(event: &Event, kind: &Kind, alarm: &Alarm) -> Option<Self> {
        let about =
            |s: &&Snapshot| s.at_ns <= event.end_ns.saturating_add(GRACE_NS) && is_about(event, s);
        let first = alarm.snapshots.iter().find(about)?;
        let last = alarm.snapshots.iter().rev().find(about)?;
        let family = alarm.last.family.label();
        Some(Self {
            at_ns: first.at_ns,
            family,
            weight: kind.weight(family),
            is_entity_right: names_right(event, last),
        })
    }
}

/// Tells if both were at the same time.
const fn overlaps(event: &Event, snapshot: &Snapshot) -> bool {
    snapshot.end_ns >= event.start_ns && snapshot.start_ns <= event.end_ns.saturating_add(SLACK_NS)
}

/// Tells if both were at the same time, and about one of the parties.
fn is_about(event: &Event, snapshot: &Snapshot) -> bool {
    let named = snapshot.sources.iter().chain(&snapshot.destinations);
    overlaps(event, snapshot)
        && (named
            .clone()
            .any(|address| event.parties.contains_key(address))
            || snapshot.macs.iter().any(|mac| event.macs.contains_key(mac)))
}

/// The blamed are those who began it; where nobody is blamed, the victim is the one asked.
fn names_right(event: &Event, snapshot: &Snapshot) -> bool {
    if snapshot.macs.iter().any(|mac| event.macs.contains_key(mac)) {
        return true;
    }
    let part = |address: &Address| event.parties.get(address);
    if snapshot.sources.is_empty() {
        return snapshot.destinations.iter().any(|address| {
            event.is_principal(address) && part(address).is_some_and(|p| p.is_responder)
        });
    }
    let n_right = snapshot
        .sources
        .iter()
        .filter(|address| part(address).is_some_and(|p| p.is_initiator))
        .count();
    n_right > 0 && 2 * n_right >= snapshot.sources.len()
}

fn score_alarm(alarm: &Alarm, truth: &Truth) -> AlarmScore {
    let about = |is_attack: bool| {
        truth
            .events
            .iter()
            .filter(|event| event.is_attack == is_attack)
            .any(|event| alarm.snapshots.iter().any(|s| is_about(event, s)))
    };
    let judgement = if about(true) {
        Truthful::True
    } else if about(false) {
        Truthful::Odd
    } else {
        Truthful::False
    };
    AlarmScore {
        incident: alarm.last.clone(),
        opened_ns: alarm.opened_ns,
        judgement,
        is_during_attack: truth.events.iter().any(|event| {
            let snapshots = &alarm.snapshots;
            event.is_attack && snapshots.iter().any(|s| overlaps(event, s))
        }),
    }
}

/// Every address in every window of 10 s: principals of an attack ought to be named, addresses
/// with nothing but benign packets ought not to be. Reflectors, spoofed sources and what is to be
/// ignored are left out.
fn score_windows(truth: &Truth, alarms: &[Alarm]) -> Windows {
    let mut named: HashMap<Address, Vec<(u64, u64)>> = HashMap::new();
    for alarm in alarms {
        let Some(last) = alarm.snapshots.last() else {
            continue;
        };
        let spans = alarm.stretches.iter();
        let spans = spans.map(|(start, end)| (start / WINDOW_NS, end / WINDOW_NS));
        for address in last.sources.iter().chain(&last.destinations) {
            named.entry(*address).or_default().extend(spans.clone());
        }
    }
    let mut windows = Windows::default();
    for ((address, window), bits) in &truth.windows {
        let is_named = named
            .get(address)
            .is_some_and(|spans| spans.iter().any(|(a, b)| (a..=b).contains(&window)));
        if bits & holds::ATTACK != 0 {
            let is_principal = truth.events.iter().any(|event| {
                let (first, last) = (event.start_ns / WINDOW_NS, event.end_ns / WINDOW_NS);
                event.is_attack && (first..=last).contains(window) && event.is_principal(address)
            });
            windows.n_hit += u64::from(is_principal && is_named);
            windows.n_missed += u64::from(is_principal && !is_named);
        } else if *bits == holds::BENIGN {
            windows.n_false += u64::from(is_named);
            windows.n_quiet += u64::from(!is_named);
        }
    }
    windows
}
