//! Training of the model that names families: labelled captures in, a forest out, judged on captures
//! that it was not grown from.
//!
//! Every capture runs through the same pipeline as live traffic would. What the engine makes of it,
//! a vector for each subject and window, gets the label of the packets in it. Equal captures and an
//! equal seed give the same file, bit for bit, whatever the number of CPUs.

mod class_metrics;
mod collect;
mod fingerprint;
mod folds;
mod groups;
mod judge;
pub mod model_card;
pub mod pairs;
pub mod pairs_card;
pub mod sequences;
pub mod windows;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sensor_capture::player::Conditions;
use sensor_engine::{
    About, BENIGN, Config, Family, Forest, Growth, Row, Shares, Source, greatest_from,
};

use crate::{Progress, Subject};
pub use class_metrics::{Judgement, Said};
use collect::{Collected, collect};

/// Settings of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    pub growth: Growth,
    pub n_folds: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            growth: Growth::default(),
            n_folds: 10,
        }
    }
}

/// Results of a training.
#[derive(Debug)]
pub struct Trained {
    pub forest: Forest,
    pub judgement: Judgement,
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
    let (mut captures, problems) = collect_all(subjects, conditions, progress);
    let groups = leave_out_compositions(&mut captures);
    let classes = classes(&captures);
    if classes.len() < 3 {
        return Err(format!(
            "only {} to tell apart: captures of at least two attack families are needed",
            classes.join(", ")
        ));
    }
    let rows = rows(&captures, &classes);
    let folds = folds::assign(&captures, &groups, plan.n_folds);
    let held_out = hold_out(&rows, &classes, &folds, plan, has_grown);
    let judgement = Judgement::of(&rows, &held_out, &classes, &groups);
    let mut forest = Forest::grow(&rows, &classes, &plan.growth);
    forest.set_thresholds(&judgement.thresholds);
    let sources = captures.iter().zip(&groups).map(|(capture, group)| Source {
        id: capture.id.clone(),
        sha256: capture.sha256.clone(),
        n_rows: capture.rows.len() as u32,
        group: *group,
    });
    forest.about = About {
        seed: plan.growth.seed,
        n_folds: folds.iter().max().map_or(0, |last| last + 1),
        n_rows: rows.len() as u64,
        captures: sources.collect(),
        class_metrics: judgement.class_metrics.clone(),
        macro_f1: judgement.macro_f1,
        baseline_macro_f1: judgement.baseline_macro_f1,
        named_precision: judgement.named_precision,
        named_share: judgement.named_share,
    };
    Ok(Trained {
        forest,
        judgement,
        problems,
    })
}

/// Runs `work` on each item, as many at once as there are CPUs; results in the order of the items.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let n_workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..n_workers.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(place) else {
                        return;
                    };
                    let result = work(item);
                    // A worker that panicked leaves whole entries behind.
                    let mut done = done.lock().unwrap_or_else(|e| e.into_inner());
                    done.push((place, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

fn collect_all(
    subjects: &[Subject],
    conditions: &Conditions,
    progress: &impl Progress,
) -> (Vec<Collected>, Vec<String>) {
    let conditions = conditions.with_engine(Config {
        emit_vectors: true,
        omit_flows: true,
        ..conditions.engine.clone()
    });
    let (mut captures, mut problems) = (Vec::new(), Vec::new());
    for result in in_parallel(subjects, |subject| collect(subject, &conditions, progress)) {
        match result {
            Ok(mut capture) => {
                problems.append(&mut capture.problems);
                captures.push(capture);
            }
            Err(problem) => problems.push(problem),
        }
    }
    (captures, problems)
}

/// The group of each capture. A composition holds what its parts hold, and ties them together: its
/// rows are left out.
fn leave_out_compositions(captures: &mut [Collected]) -> Vec<u32> {
    let sets: Vec<_> = captures.iter().map(|c| &c.fingerprints).collect();
    let found = groups::find(&sets);
    for (capture, is_composed) in captures.iter_mut().zip(&found.is_composed) {
        if *is_composed {
            capture.rows.clear();
        }
    }
    found.of
}

/// Classes: benign, and the families that there are rows of.
fn classes(captures: &[Collected]) -> Vec<String> {
    let has = |family: &Family| {
        let rows = captures.iter().flat_map(|capture| &capture.rows);
        rows.into_iter().any(|(class, _)| *class == Some(*family))
    };
    let families = Family::ALL.into_iter().filter(has);
    let labels = families.map(|family| family.label().to_owned());
    std::iter::once(BENIGN.to_owned()).chain(labels).collect()
}

fn rows(captures: &[Collected], classes: &[String]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, capture) in captures.iter().enumerate() {
        for (family, inputs) in &capture.rows {
            let label = family.map_or(BENIGN, Family::label);
            if let Some(class) = classes.iter().position(|class| class == label) {
                rows.push(Row {
                    inputs: *inputs,
                    class: class as u8,
                    capture: number as u32,
                });
            }
        }
    }
    rows
}

/// Predictions of forests for rows of captures that they were not grown from.
fn hold_out(
    rows: &[Row],
    classes: &[String],
    folds: &[u32],
    plan: &Plan,
    has_grown: &(impl Fn(usize, usize) + Sync),
) -> Vec<Said> {
    let n_folds = folds.iter().max().map_or(0, |last| last + 1);
    let numbers: Vec<u32> = (0..n_folds).collect();
    let fold_of = |row: &Row| folds.get(row.capture as usize).copied();
    let n_done = AtomicUsize::new(0);
    let parts = in_parallel(&numbers, |fold| {
        let others = rows.iter().filter(|row| fold_of(row) != Some(*fold));
        let others: Vec<Row> = others.cloned().collect();
        let forest = Forest::grow(&others, classes, &plan.growth);
        has_grown(n_done.fetch_add(1, Ordering::Relaxed) + 1, numbers.len());
        let held = rows.iter().enumerate();
        held.filter(|(_, row)| fold_of(row) == Some(*fold))
            .map(|(place, row)| (place, said(&forest.shares(&row.inputs))))
            .collect::<Vec<_>>()
    });
    let mut all = vec![Said::default(); rows.len()];
    for (place, said) in parts.into_iter().flatten() {
        if let Some(slot) = all.get_mut(place) {
            *slot = said;
        }
    }
    all
}

fn said(shares: &Shares) -> Said {
    let (class, _) = greatest_from(shares, 0);
    let (family, share) = greatest_from(shares, 1);
    Said {
        class: class as u8,
        family: family as u8,
        share,
    }
}
