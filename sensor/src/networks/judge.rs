//! A network at work: sequences in, what it says of them out. Nothing is allocated per sequence.

use std::sync::Arc;

use sensor_engine::{Judgement, Sequence, SequenceKind, SequenceKinds};
use sensor_networks::Plan;

use super::{BATCH, Judging, Loaded};

/// Facts of a sequence that waits for its batch.
#[derive(Clone, Copy, Debug)]
struct Head {
    source: sensor_common::Address,
    host: Option<sensor_common::Address>,
    first_ns: u64,
    at_ns: u64,
}

/// One network with its memory.
pub struct Judge {
    kind: SequenceKind,
    name: Arc<str>,
    threshold: f32,
    false_share: f64,
    plan: Plan,
    /// Rows of the batch, one behind the other.
    rows: Vec<f32>,
    heads: Vec<Head>,
}

impl Judge {
    /// Makes the memory for a network that passed.
    ///
    /// # Errors
    /// Why it can't be planned.
    pub fn new(loaded: &Loaded) -> Result<Self, String> {
        let plan = Plan::new(&loaded.network, BATCH).map_err(|cause| cause.to_string())?;
        Ok(Self {
            kind: loaded.about.kind,
            name: loaded.name().into(),
            threshold: loaded.about.threshold,
            false_share: loaded.about.false_share,
            rows: Vec::with_capacity(BATCH * plan.row_len()),
            heads: Vec::with_capacity(BATCH),
            plan,
        })
    }

    pub const fn kind(&self) -> SequenceKind {
        self.kind
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes a sequence of its kind; others are left alone. A full batch is judged.
    pub fn take(&mut self, sequence: &Sequence, out: &mut Vec<Judgement>) {
        if sequence.kind != self.kind {
            return;
        }
        let row = self.plan.row_len();
        let n_left_out = sequence.values.len().saturating_sub(row);
        let values = sequence.values.get(n_left_out..).unwrap_or(&[]);
        // Steps that are missing are in front, as in training.
        let n_missing = row.saturating_sub(values.len());
        self.rows.extend(std::iter::repeat_n(0.0, n_missing));
        self.rows.extend_from_slice(values);
        self.heads.push(Head {
            source: sequence.source,
            host: sequence.host,
            first_ns: sequence.first_ns,
            at_ns: sequence.at_ns,
        });
        if self.heads.len() >= BATCH {
            self.flush(out);
        }
    }

    /// Judges what waits.
    pub fn flush(&mut self, out: &mut Vec<Judgement>) {
        if self.heads.is_empty() {
            return;
        }
        let answers = self.plan.run(&self.rows);
        for (head, score) in self.heads.iter().zip(answers) {
            out.push(Judgement {
                kind: self.kind,
                source: head.source,
                host: head.host,
                first_ns: head.first_ns,
                last_ns: head.at_ns,
                score: *score,
                threshold: self.threshold,
                false_share: self.false_share,
                network: Arc::clone(&self.name),
            });
        }
        self.heads.clear();
        self.rows.clear();
    }
}

/// Networks that judge at once, within the loop: for replays, which are the same every time.
pub struct Here {
    judges: Vec<Judge>,
    judged: Vec<Judgement>,
}

impl Here {
    /// Takes networks, one of a kind.
    ///
    /// # Errors
    /// When two are of the same kind.
    pub fn new(judges: Vec<Judge>) -> Result<Self, String> {
        for (i, judge) in judges.iter().enumerate() {
            let mut others = judges.iter().skip(i + 1);
            if let Some(other) = others.find(|other| other.kind == judge.kind) {
                return Err(format!(
                    "{} and {} are over the same sequences; name one",
                    judge.name, other.name
                ));
            }
        }
        Ok(Self {
            judges,
            judged: Vec::new(),
        })
    }
}

impl Judging for Here {
    fn kinds(&self) -> SequenceKinds {
        let kinds = self.judges.iter().map(Judge::kind);
        kinds.fold(SequenceKinds::NONE, SequenceKinds::with)
    }

    fn take(&mut self, sequence: &Sequence) {
        for judge in &mut self.judges {
            judge.take(sequence, &mut self.judged);
        }
    }

    fn judged(&mut self, out: &mut Vec<Judgement>) -> u64 {
        for judge in &mut self.judges {
            judge.flush(&mut self.judged);
        }
        out.append(&mut self.judged);
        0
    }
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::super::tests::in_folder;
    use super::*;

    fn sequence(n_steps: usize, value: f32) -> Sequence {
        Sequence {
            kind: SequenceKind::Contacts,
            source: [0, 0, 0, 1],
            host: Some([0, 0, 0, 2]),
            at_ns: 9,
            first_ns: 5,
            values: vec![value; n_steps * SequenceKind::Contacts.columns().len()],
        }
    }

    #[test]
    fn answers_do_not_depend_on_the_batch() {
        let loaded = in_folder(|path| load(path, None)).expect("a network");
        let mut judge = Judge::new(&loaded).expect("planned");
        let (mut alone, mut together) = (Vec::new(), Vec::new());
        for n in 1..=2 * BATCH + 3 {
            // Longer ones are cut, shorter ones filled up.
            let one = sequence(n % 80, n as f32 / 100.0);
            judge.take(&one, &mut alone);
            judge.flush(&mut alone);
        }
        for n in 1..=2 * BATCH + 3 {
            judge.take(&sequence(n % 80, n as f32 / 100.0), &mut together);
        }
        assert_eq!(together.len(), 2 * BATCH);
        judge.flush(&mut together);
        assert_eq!(alone, together);
        assert!(alone.iter().all(|one| (0.0..=1.0).contains(&one.score)));
    }

    #[test]
    fn sequences_of_other_kinds_are_left_alone() {
        let loaded = in_folder(|path| load(path, None)).expect("a network");
        let mut here = Here::new(vec![Judge::new(&loaded).expect("planned")]).expect("one");
        let other = Sequence {
            kind: SequenceKind::Minute,
            ..sequence(8, 1.0)
        };
        here.take(&other);
        here.take(&sequence(8, 1.0));
        let mut out = Vec::new();
        assert_eq!((here.judged(&mut out), out.len()), (0, 1));
        assert!(
            here.kinds().has(SequenceKind::Contacts) && !here.kinds().has(SequenceKind::Minute)
        );
        let twice = [(); 2].map(|()| Judge::new(&loaded).expect("planned"));
        assert!(Here::new(twice.into()).is_err());
    }
}
