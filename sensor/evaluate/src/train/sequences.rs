//! Labelled sequences: what captures give to train networks with.

use std::io::{self, Write};

use sensor_capture::player::Conditions;
use sensor_engine::{Config, LearnedConfig, Sequence, SequenceKind, SequenceKinds};
use serde_json::{Value, json};

use super::in_parallel;
use super::pairs::group;
use super::windows::{Kind, Labelling, Windows, collect_with};
use crate::score::Truthful;
use crate::sequences::{Meaning, write, write_head};
use crate::watch::Watched;
use crate::{Progress, Subject};

/// Sequences of one kind that a capture gives; of more, every nth.
const MAX_OF_KIND: usize = 4_000;

/// Captures with their labelled sequences.
#[derive(Debug)]
pub struct Collected {
    captures: Vec<Windows>,
    sequences: Vec<Vec<(Sequence, Meaning)>>,
    groups: Vec<u32>,
    pub problems: Vec<String>,
}

/// Runs captures through the pipeline. Groups are those of the windows' training: captures of one source, or that
/// share packets; compositions give nothing.
pub fn collect(
    subjects: &[Subject],
    conditions: &Conditions,
    progress: &impl Progress,
) -> Collected {
    let conditions = conditions.with_engine(Config {
        emit_sequences: SequenceKinds::ALL,
        emit_vectors: true,
        omit_flows: true,
        learned: LearnedConfig {
            enabled: false,
            ..LearnedConfig::default()
        },
        ..conditions.engine.clone()
    });
    let (mut captures, mut sequences, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    let found = in_parallel(subjects, |subject| {
        collect_with(subject, &conditions, progress, label)
    });
    for result in found {
        match result {
            Ok((mut capture, own)) => {
                problems.append(&mut capture.problems);
                captures.push(capture);
                sequences.push(own);
            }
            Err(problem) => problems.push(problem),
        }
    }
    let (groups, is_composed) = group(&mut captures);
    for (own, is_composed) in sequences.iter_mut().zip(is_composed) {
        if is_composed {
            own.clear();
        }
    }
    Collected {
        captures,
        sequences,
        groups,
        problems,
    }
}

fn label(watched: &mut Watched) -> Vec<(Sequence, Meaning)> {
    let sequences = std::mem::take(&mut watched.sequences);
    let labelling = Labelling::new(&watched.truth);
    let mut labelled = Vec::new();
    for kind in SequenceKind::ALL {
        let of_kind: Vec<&Sequence> = sequences.iter().filter(|s| s.kind == kind).collect();
        let n_kept = of_kind.len().min(MAX_OF_KIND);
        for i in 0..n_kept {
            let Some(sequence) = of_kind.get(i * of_kind.len() / n_kept) else {
                continue;
            };
            let meaning = match labelling.of_sequence(sequence) {
                Kind::Benign => Meaning::Benign,
                Kind::Attack(event) => Meaning::Attack(event as u32),
                Kind::Unclear => Meaning::Unclear,
            };
            labelled.push(((*sequence).clone(), meaning));
        }
    }
    labelled
}

impl Collected {
    pub fn len(&self) -> usize {
        self.sequences.iter().map(Vec::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes all of them, with what the detectors found in the same run.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let parts = self.captures.iter().zip(&self.groups);
        let about: Vec<Value> = parts
            .map(|(capture, group)| about(capture, *group))
            .collect();
        write_head(out, &about)?;
        for (number, own) in self.sequences.iter().enumerate() {
            for (sequence, meaning) in own {
                write(out, sequence, number as u32, *meaning)?;
            }
        }
        Ok(())
    }
}

fn about(capture: &Windows, group: u32) -> Value {
    let events = capture.score.events.iter().map(|event| {
        json!({
            "attack": event.attack,
            "found_as": event.detection.as_ref().map(|found| found.family),
        })
    });
    let alarms = capture.score.alarms.iter();
    let wrong = alarms.filter(|alarm| alarm.judgement == Truthful::False);
    json!({
        "id": capture.id,
        "sha256": capture.sha256,
        "source": capture.source,
        "group": group,
        "content": capture.score.content.label(),
        "benign_hours": capture.score.benign_ns as f64 / 3.6e12,
        "events": events.collect::<Vec<_>>(),
        "false_incidents": wrong.map(|alarm| alarm.incident.family.label()).collect::<Vec<_>>(),
    })
}
