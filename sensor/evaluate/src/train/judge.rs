//! Judgement of a model of windows, alarm by alarm, held against labels and detectors.

use std::collections::{BTreeMap, HashMap};

use sensor_common::Address;
use sensor_engine::{Run, SECOND_NS};

use super::windows::{Kind, Windows};

/// Silence after which a run of windows is over, as the engine has it.
const PAUSE_NS: u64 = 25 * SECOND_NS;
/// Alarms about one source within this time are one incident.
const INCIDENT_NS: u64 = 3_600 * SECOND_NS;

/// Pairs, and sources.
pub const N_KINDS: usize = 2;
/// Least strength of each that is an alarm.
pub type Alarm = [f32; N_KINDS];
/// Strength that no run reaches.
pub const NEVER: f32 = 1e9;

/// Greatest strengths in one capture, whatever the thresholds.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// By attack of the capture.
    pub of_events: BTreeMap<usize, Alarm>,
    /// By source and hour of ordinary traffic.
    pub of_benign: Vec<Alarm>,
}

const NOTHING: Alarm = [-NEVER; N_KINDS];

impl Said {
    /// Goes through the windows of a capture in their order, each with the sum that a model gives it.
    pub fn of(capture: &Windows, sums: &[f32]) -> Self {
        let mut said = Self::default();
        let mut runs: HashMap<(Address, Option<Address>), (Run, u64)> = HashMap::new();
        let mut benign: BTreeMap<(Address, u64), Alarm> = BTreeMap::new();
        for (window, sum) in capture.windows.iter().zip(sums) {
            let vector = &window.vector;
            let key = (vector.source, vector.host);
            let (run, last_ns) = runs.entry(key).or_default();
            if vector.at_ns.saturating_sub(*last_ns) > PAUSE_NS {
                run.clear();
            }
            *last_ns = vector.at_ns;
            let strength = run.take(*sum);
            let most = match window.kind {
                Kind::Unclear => continue,
                Kind::Attack(event) => said.of_events.entry(event).or_insert(NOTHING),
                Kind::Benign => {
                    let hour = vector.at_ns / INCIDENT_NS;
                    benign.entry((vector.source, hour)).or_insert(NOTHING)
                }
            };
            if let Some(most) = most.get_mut(usize::from(vector.host.is_none())) {
                *most = most.max(strength);
            }
        }
        said.of_benign = benign.into_values().collect();
        said
    }

    pub fn n_false(&self, alarm: &Alarm) -> usize {
        let said = self.of_benign.iter();
        said.filter(|most| reaches(most, alarm)).count()
    }

    pub fn found(&self, event: usize, alarm: &Alarm) -> bool {
        self.of_events
            .get(&event)
            .is_some_and(|most| reaches(most, alarm))
    }
}

fn reaches(most: &Alarm, alarm: &Alarm) -> bool {
    most.iter().zip(alarm).any(|(most, least)| most >= least)
}

/// Least strengths by which at most so many ordinary sources and hours are told of, and most attacks that
/// `is_wanted` are found.
pub fn thresholds(
    said: &[(usize, &Said)],
    n_false: usize,
    is_wanted: impl Fn(usize, usize) -> bool,
) -> Alarm {
    let candidates = |kind: usize| {
        let all = said.iter().flat_map(|(_, said)| &said.of_benign);
        let mut most: Vec<f32> = all.map(|most| most[kind]).collect();
        most.sort_unstable_by(|a, b| b.total_cmp(a));
        // Just above the n-th greatest.
        let above = |n: usize| most.get(n).map_or(0.0, |sum| sum.max(0.0) + 0.05);
        (0..=n_false).map(above).collect::<Vec<_>>()
    };
    let (pairs, sources) = (candidates(0), candidates(1));
    let mut best: Option<(usize, Alarm)> = None;
    for pair in pairs.iter().chain([&NEVER]) {
        for source in sources.iter().chain([&NEVER]) {
            let alarm = [*pair, *source];
            let wrong: usize = said.iter().map(|(_, said)| said.n_false(&alarm)).sum();
            if wrong > n_false {
                continue;
            }
            let right = said.iter().map(|(capture, said)| {
                let events = said.of_events.keys();
                let found = events.filter(|e| is_wanted(*capture, **e) && said.found(**e, &alarm));
                found.count()
            });
            let right: usize = right.sum();
            if best.is_none_or(|(most, _)| right > most) {
                best = Some((right, alarm));
            }
        }
    }
    best.map_or([NEVER; N_KINDS], |(_, alarm)| alarm)
}
