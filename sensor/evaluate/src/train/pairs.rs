//! Training of the learned windows: trees grown from labelled windows, judged by groups of captures that they
//! were not grown from.

use std::collections::{BTreeMap, BTreeSet};

use sensor_capture::player::Conditions;
use sensor_engine::{
    Boosted, BoostedAbout, BoostedRow, Boosting, Calibration, N_PAIR_FEATURES, TAIL_FROM, TAIL_STEP,
};

use super::groups;
use super::in_parallel;
use super::judge::{Alarm, N_KINDS, NEVER, Said, thresholds};
use super::windows::{Kind, Window, Windows, collect};
use crate::score::EventScore;
use crate::{Progress, Subject};

/// Settings of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    pub growth: Boosting,
    /// Parts that the groups are dealt into, each held out once.
    pub n_folds: usize,
    /// False incidents a day that the thresholds allow.
    pub false_per_day: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            growth: Boosting::default(),
            n_folds: 20,
            false_per_day: 0.3,
        }
    }
}

/// Rows of one capture, content and kind; of more, every nth.
const MAX_ROWS: usize = 240;
/// Weight of a capture's rows of one content, at most.
const MAX_WEIGHT: f32 = 120.0;
/// Nanoseconds of an hour.
const HOUR_NS: f64 = 3.6e12;

/// Figures of one group of captures, by the trees that it was kept out of.
#[derive(Clone, Debug, Default)]
pub struct GroupFigures {
    pub name: String,
    pub n_captures: usize,
    pub n_events: usize,
    pub by_detectors: usize,
    pub by_model: usize,
    /// Found by the model and by no detector.
    pub beyond: usize,
    pub n_false: usize,
    pub benign_hours: f64,
    /// Attacks found beyond: capture and attack.
    pub found: Vec<String>,
    /// Captures with false incidents.
    pub wrong: Vec<String>,
}

/// Results of a training.
#[derive(Debug)]
pub struct Trained {
    pub model: Boosted,
    pub captures: Vec<Windows>,
    pub groups: Vec<u32>,
    pub figures: Vec<GroupFigures>,
    pub problems: Vec<String>,
}

/// Trains on every capture.
///
/// # Errors
/// When there is too little to learn from.
pub fn train(
    subjects: &[Subject],
    conditions: &Conditions,
    plan: &Plan,
    progress: &impl Progress,
    has_grown: &(impl Fn(usize, usize) + Sync),
) -> Result<Trained, String> {
    let (mut captures, mut problems) = (Vec::new(), Vec::new());
    for result in in_parallel(subjects, |subject| collect(subject, conditions, progress)) {
        match result {
            Ok(mut capture) => {
                problems.append(&mut capture.problems);
                captures.push(capture);
            }
            Err(problem) => problems.push(problem),
        }
    }
    let (groups, _) = group(&mut captures);
    let n_groups = groups.iter().max().map_or(0, |last| *last as usize + 1);
    let has = |is_wanted: fn(&Kind) -> bool| {
        let mut windows = captures.iter().flat_map(|capture| &capture.windows);
        windows.any(|window| is_wanted(&window.kind))
    };
    if n_groups < 2
        || !has(|kind| *kind == Kind::Benign)
        || !has(|kind| matches!(kind, Kind::Attack(_)))
    {
        return Err(
            "captures of attacks and of ordinary traffic from at least two sources are needed"
                .to_owned(),
        );
    }
    let folds = deal(&captures, &groups, plan.n_folds.clamp(2, n_groups));
    let sums = hold_out(&captures, &folds, plan, has_grown);
    let said: Vec<Said> = captures
        .iter()
        .zip(&sums)
        .map(|(capture, sums)| Said::of(capture, sums))
        .collect();
    let figures = figures(&captures, &groups, &folds, &said, plan);
    let mut model = Boosted::grow(&rows(captures.iter()), &plan.growth);
    let all: Vec<(usize, &Said)> = said.iter().enumerate().collect();
    let alarm = best(&captures, &all, plan);
    model.scale = calibrate(&captures, &sums, alarm);
    model.about = BoostedAbout {
        n_captures: captures.len() as u32,
        n_groups: n_groups as u32,
        n_folds: folds.iter().max().map_or(0, |last| *last as u32 + 1),
        ..model.about.clone()
    };
    Ok(Trained {
        model,
        captures,
        groups,
        figures,
        problems,
    })
}

/// The group of each capture: captures of one source, or that share packets. Compositions lose their windows:
/// their parts are among the others. Returns the groups, and which are compositions.
pub(super) fn group(captures: &mut [Windows]) -> (Vec<u32>, Vec<bool>) {
    let sets: Vec<_> = captures.iter().map(|c| &c.fingerprints).collect();
    let found = groups::find(&sets);
    for (capture, is_composed) in captures.iter_mut().zip(&found.is_composed) {
        if *is_composed {
            capture.windows.clear();
            capture.score.events.clear();
            capture.score.benign_ns = 0;
        }
    }
    // The least number of those that hang together by packets or by name.
    let mut root: Vec<usize> = (0..captures.len()).collect();
    loop {
        let (mut of_packets, mut of_name) = (BTreeMap::new(), BTreeMap::new());
        for ((place, capture), packets) in captures.iter().enumerate().zip(&found.of) {
            let own = root[place];
            let least = of_packets.entry(*packets).or_insert(own);
            *least = own.min(*least);
            let least = of_name.entry(&capture.source).or_insert(own);
            *least = own.min(*least);
        }
        let mut has_changed = false;
        for ((place, capture), packets) in captures.iter().enumerate().zip(&found.of) {
            let least = of_packets[packets].min(of_name[&capture.source]);
            has_changed |= least < root[place];
            root[place] = root[place].min(least);
        }
        if !has_changed {
            break;
        }
    }
    let known: Vec<usize> = root
        .iter()
        .copied()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let number = |root: &usize| known.binary_search(root).unwrap_or(0) as u32;
    (root.iter().map(number).collect(), found.is_composed)
}

/// The fold of each capture: whole groups, the largest first to where least is.
fn deal(captures: &[Windows], groups: &[u32], n_folds: usize) -> Vec<usize> {
    let mut weight: BTreeMap<u32, usize> = BTreeMap::new();
    for (capture, group) in captures.iter().zip(groups) {
        *weight.entry(*group).or_default() += capture.windows.len().min(MAX_ROWS) + 20;
    }
    let mut order: Vec<(usize, u32)> = weight.into_iter().map(|(group, n)| (n, group)).collect();
    order.sort_by(|a, b| b.cmp(a));
    let mut held = vec![0usize; n_folds];
    let mut fold_of: BTreeMap<u32, usize> = BTreeMap::new();
    for (n, group) in order {
        let fold = (0..n_folds).min_by_key(|fold| held[*fold]).unwrap_or(0);
        held[fold] += n;
        fold_of.insert(group, fold);
    }
    groups.iter().map(|group| fold_of[group]).collect()
}

/// Rows to grow from: a capture's of one content weigh the more the more there are, up to a limit.
fn rows<'a>(captures: impl Iterator<Item = &'a Windows>) -> Vec<BoostedRow> {
    let mut rows = Vec::new();
    for capture in captures {
        for is_attack in [false, true] {
            for is_source in [false, true] {
                let is_wanted = |window: &&Window| {
                    let is_right = match window.kind {
                        Kind::Benign => !is_attack,
                        Kind::Attack(_) => is_attack,
                        Kind::Unclear => false,
                    };
                    is_right && window.vector.host.is_none() == is_source
                };
                let wanted: Vec<&Window> = capture.windows.iter().filter(is_wanted).collect();
                rows.extend(thinned(&wanted, is_attack));
            }
        }
    }
    rows
}

fn thinned<'a>(windows: &'a [&Window], is_attack: bool) -> impl Iterator<Item = BoostedRow> + 'a {
    let n = windows.len();
    let n_kept = n.min(MAX_ROWS);
    let weight = (n as f32).min(MAX_WEIGHT) / n_kept.max(1) as f32;
    (0..n_kept).filter_map(move |i| {
        let window = windows.get(i * n / n_kept)?;
        Some(BoostedRow {
            values: window.vector.values,
            is_attack,
            weight,
        })
    })
}

/// Sums of every window by trees grown without its group.
fn hold_out(
    captures: &[Windows],
    folds: &[usize],
    plan: &Plan,
    has_grown: &(impl Fn(usize, usize) + Sync),
) -> Vec<Vec<f32>> {
    let n_folds = folds.iter().max().map_or(0, |last| last + 1);
    let numbers: Vec<usize> = (0..n_folds).collect();
    let n_done = std::sync::atomic::AtomicUsize::new(0);
    let parts = in_parallel(&numbers, |held| {
        let others = captures.iter().zip(folds).filter(|(_, fold)| *fold != held);
        let model = Boosted::grow(&rows(others.map(|(capture, _)| capture)), &plan.growth);
        let done = n_done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        has_grown(done, n_folds);
        let own = captures.iter().zip(folds).enumerate();
        own.filter(|(_, (_, fold))| *fold == held)
            .map(|(place, (capture, _))| {
                let windows = capture.windows.iter();
                (
                    place,
                    windows.map(|w| model.sum(&w.vector.values)).collect(),
                )
            })
            .collect::<Vec<(usize, Vec<f32>)>>()
    });
    let mut all = vec![Vec::new(); captures.len()];
    for (place, sums) in parts.into_iter().flatten() {
        all[place] = sums;
    }
    all
}

fn best(captures: &[Windows], said: &[(usize, &Said)], plan: &Plan) -> Alarm {
    let hours: f64 = said.iter().map(|(place, _)| hours(&captures[*place])).sum();
    let n_false = (plan.false_per_day * hours / 24.0).floor() as usize;
    let is_missed = |capture: usize, event: usize| {
        let events = &captures[capture].score.events;
        events
            .get(event)
            .is_none_or(|event| event.detection.is_none())
    };
    thresholds(said, n_false, is_missed)
}

fn hours(capture: &Windows) -> f64 {
    capture.score.benign_ns as f64 / HOUR_NS
}

/// Figures by group, each by thresholds that the other folds gave.
fn figures(
    captures: &[Windows],
    groups: &[u32],
    folds: &[usize],
    said: &[Said],
    plan: &Plan,
) -> Vec<GroupFigures> {
    let n_folds = folds.iter().max().map_or(0, |last| last + 1);
    let alarms: Vec<Alarm> = (0..n_folds)
        .map(|held| {
            let others = said.iter().enumerate().zip(folds);
            let others: Vec<(usize, &Said)> = others
                .filter(|(_, fold)| **fold != held)
                .map(|(said, _)| said)
                .collect();
            best(captures, &others, plan)
        })
        .collect();
    let mut figures: BTreeMap<u32, GroupFigures> = BTreeMap::new();
    for (place, capture) in captures.iter().enumerate() {
        let (alarm, said) = (&alarms[folds[place]], &said[place]);
        let figure = figures.entry(groups[place]).or_default();
        if figure.name.is_empty() {
            figure.name.clone_from(&capture.source);
        }
        figure.n_captures += 1;
        figure.benign_hours += hours(capture);
        let n_false = said.n_false(alarm);
        figure.n_false += n_false;
        if n_false > 0 {
            figure.wrong.push(format!("{} {n_false}", capture.id));
        }
        for (event, score) in capture.score.events.iter().enumerate() {
            figure.add(&capture.id, score, said.found(event, alarm));
        }
    }
    figures.into_values().collect()
}

impl GroupFigures {
    fn add(&mut self, capture: &str, event: &EventScore, is_found: bool) {
        self.n_events += 1;
        self.by_detectors += usize::from(event.detection.is_some());
        self.by_model += usize::from(is_found);
        if is_found && event.detection.is_none() {
            self.beyond += 1;
            self.found.push(format!("{capture}: {}", event.attack));
        }
    }
}

/// Meaning of sums by windows that the trees have not seen; a capture's ordinary windows weigh as much as
/// another's.
fn calibrate(captures: &[Windows], sums: &[Vec<f32>], alarm: Alarm) -> Calibration {
    let (mut benign, mut attack): (Vec<(f32, f64)>, Vec<f32>) = Default::default();
    for (capture, sums) in captures.iter().zip(sums) {
        let of = |is_wanted: fn(&Kind) -> bool| {
            let windows = capture.windows.iter().zip(sums);
            windows
                .filter(move |(w, _)| is_wanted(&w.kind))
                .map(|(_, sum)| *sum)
        };
        let n = of(|kind| *kind == Kind::Benign).count();
        let weight = (n as f64).min(200.0) / n.max(1) as f64;
        benign.extend(of(|kind| *kind == Kind::Benign).map(|sum| (sum, weight)));
        attack.extend(of(|kind| matches!(kind, Kind::Attack(_))));
    }
    benign.sort_by(|a, b| b.0.total_cmp(&a.0));
    attack.sort_by(f32::total_cmp);
    let whole: f64 = benign.iter().map(|(_, weight)| weight).sum();
    let mut tail = Vec::new();
    let (mut above, mut step) = (0.0, 0);
    for (sum, weight) in benign.iter().rev() {
        // Rising: what is left above.
        let left = 1.0 - above / whole.max(1e-9);
        while step < 8 && left <= 10f64.powf(-f64::from(TAIL_FROM + TAIL_STEP * step as f32)) {
            tail.push(*sum);
            step += 1;
        }
        above += weight;
    }
    // Attacks that look ordinary to the trees are many; only the plainly ordinary speaks for anybody.
    let ordinary = attack.get(attack.len() / 10).copied().unwrap_or(-NEVER);
    Calibration {
        tail,
        alarm,
        ordinary,
        typical: typical(captures),
    }
}

fn typical(captures: &[Windows]) -> Vec<f32> {
    let benign = rows(captures.iter().filter(|capture| capture.is_benign()));
    let median = |column: usize| {
        let mut values: Vec<f32> = benign.iter().map(|row| row.values[column]).collect();
        values.sort_unstable_by(f32::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    (0..N_PAIR_FEATURES).map(median).collect()
}

const _: () = assert!(N_KINDS == 2);
