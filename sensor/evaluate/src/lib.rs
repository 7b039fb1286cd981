//! Evaluation on labelled captures: each is run through the whole pipeline from a cold start, in
//! event time and with one configuration, and what came out is held against the labels.

pub mod ablation;
pub mod change;
pub mod compare;
pub mod cost;
pub mod families;
pub mod labels;
pub mod number;
pub mod page;
pub mod report;
pub mod roc;
pub mod score;
pub mod sequences;
pub mod source;
pub mod source_sums;
pub mod table;
pub mod targets;
pub mod train;
pub mod truth;
pub mod watch;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sensor_capture::player::Conditions;
use sensor_engine::{Config, ModelKind};

use self::change::{Change, Changed};
use self::compare::Comparison;
use self::labels::Labels;
use self::score::CaptureScore;
use self::source::{Source, Sources};
use self::truth::Truth;
use self::watch::{first_ns, watch};

/// A capture with the files that label it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub id: String,
    pub capture: PathBuf,
    pub packets: PathBuf,
    pub episodes: PathBuf,
    pub source: Source,
    /// Change under which it is run.
    pub change: Option<Change>,
}

/// Results, and faults of the input.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Models that spoke.
    pub models: Vec<ModelKind>,
    pub captures: Vec<CaptureScore>,
    pub problems: Vec<String>,
    /// None where none was asked for.
    pub comparison: Option<Comparison>,
}

/// Finds captures with labels: in a folder with `pcap/` and `labels/`, in a plain folder, or a
/// single file, with its labels beside it or in a `labels/` beside its folder.
pub fn find(paths: &[PathBuf]) -> (Vec<Subject>, Vec<String>) {
    let (mut found, mut problems) = (BTreeSet::new(), Vec::new());
    let mut sources = Sources::default();
    for path in paths {
        let folder = path.join("pcap");
        let listed = if folder.is_dir() {
            captures_in(&folder)
        } else if path.is_dir() {
            captures_in(path)
        } else {
            Ok(vec![path.clone()])
        };
        match listed {
            Ok(listed) if listed.is_empty() => {
                problems.push(format!("{}: no captures in it", path.display()));
            }
            Ok(listed) => {
                for capture in listed {
                    match subject(&capture, &mut sources) {
                        Ok(subject) => {
                            found.insert(subject);
                        }
                        Err(problem) => problems.push(problem),
                    }
                }
            }
            Err(error) => problems.push(format!("{}: {error}", path.display())),
        }
    }
    (found.into_iter().collect(), problems)
}

fn captures_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut captures = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() && id_of(&path).is_some() {
            captures.push(path);
        }
    }
    captures.sort();
    Ok(captures)
}

/// The file's name up to `.pcap` or `.pcapng`.
fn id_of(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let at = name.rfind(".pcap")?;
    name.get(..at)
}

fn subject(capture: &Path, sources: &mut Sources) -> Result<Subject, String> {
    let id = id_of(capture)
        .or_else(|| capture.file_stem()?.to_str())
        .unwrap_or_default();
    let folder = capture.parent().unwrap_or(Path::new("."));
    let folders = [
        folder.to_owned(),
        folder.join("labels"),
        folder.join("../labels"),
    ];
    let Some((packets, episodes)) = Labels::find(id, &folders) else {
        return Err(format!(
            "{}: no labels, expected {id}.pkt.csv and {id}.csv beside it or in ../labels",
            capture.display()
        ));
    };
    Ok(Subject {
        id: id.to_owned(),
        capture: capture.to_owned(),
        packets,
        episodes,
        source: sources.of(id, capture),
        change: None,
    })
}

/// Told of progress: bytes of capture files read so far.
pub trait Progress: Sync {
    fn add_bytes(&self, n_bytes: u64);
}

/// Runs every capture, as many at once as there are CPUs.
pub fn evaluate(
    subjects: &[Subject],
    conditions: &Conditions,
    progress: &impl Progress,
) -> Evaluation {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let n_workers = thread::available_parallelism().map_or(1, usize::from);
    // The longest first, so that the last to end is a short one.
    let mut order: Vec<&Subject> = subjects.iter().collect();
    let size = |subject: &&Subject| fs::metadata(&subject.capture).map_or(0, |meta| meta.len());
    order.sort_by_key(|subject| std::cmp::Reverse(size(subject)));
    thread::scope(|scope| {
        for _ in 0..n_workers.min(subjects.len()) {
            scope.spawn(|| {
                while let Some(subject) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = run(subject, conditions, progress);
                    // A worker that panicked leaves whole entries behind.
                    let mut results = results.lock().unwrap_or_else(|e| e.into_inner());
                    results.push(result);
                }
            });
        }
    });
    let mut evaluation = Evaluation {
        models: conditions.engine.scoring.models.clone(),
        ..Evaluation::default()
    };
    for (score, problems) in results.into_inner().unwrap_or_else(|e| e.into_inner()) {
        evaluation.captures.extend(score);
        evaluation.problems.extend(problems);
    }
    evaluation
        .captures
        .sort_by(|a, b| (&a.id, &a.source).cmp(&(&b.id, &b.source)));
    evaluation.problems.sort();
    evaluation
}

fn run(
    subject: &Subject,
    conditions: &Conditions,
    progress: &impl Progress,
) -> (Option<CaptureScore>, Vec<String>) {
    let mut labels = match Labels::read(&subject.packets, &subject.episodes) {
        Ok(labels) => labels,
        Err(problem) => return (None, vec![problem]),
    };
    let first_ns = match first_ns(&subject.capture) {
        Ok(first_ns) => first_ns,
        Err(problem) => return (None, vec![problem]),
    };
    let changed = Changed::new(subject.change, first_ns, &mut labels);
    let mut before = 0;
    let seen = |n_bytes: u64| {
        progress.add_bytes(n_bytes.saturating_sub(before));
        before = n_bytes;
    };
    let conditions = conditions.with_engine(Config {
        emit_scores: true,
        ..conditions.engine.clone()
    });
    match watch(
        &subject.capture,
        &conditions,
        Truth::new(labels),
        &changed,
        seen,
    ) {
        Ok(watched) => {
            let mut problems = watched.truth.problems(&subject.id);
            problems.extend(watched.problems.iter().cloned());
            (Some(CaptureScore::of(subject, &watched)), problems)
        }
        Err(problem) => (None, vec![problem]),
    }
}
