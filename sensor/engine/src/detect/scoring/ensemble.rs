//! All models of one kind of subject: a vector in, probabilities out.

use serde::{Deserialize, Serialize};

use super::tail::Tail;
use crate::features::N_FEATURES;
use crate::models::{Member, Model, ModelKind, Scale, Scaled};

/// Tail probabilities of one vector, as `-log10`, in the order of [`ModelKind::ALL`]; NaN from a
/// model that is off or not ready.
pub type Surprises = [f32; ModelKind::ALL.len()];

/// Scores of a vector.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assessment {
    /// The models' own scores, and what they mean.
    raw: Surprises,
    pub surprises: Surprises,
    /// The combination before its calibration, and after.
    pub combined: f32,
    pub fused: f32,
}

/// Score by the subject's own past.
#[derive(Clone, Copy, Debug)]
pub(super) enum Past {
    /// The baseline's score.
    Known(f64),
    /// No past; the value is the score of that.
    None(f32),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ensemble {
    scale: Scale,
    members: Vec<(ModelKind, Member)>,
    tails: Vec<Tail>,
    fused: Tail,
    /// Models whose surprises the combination was made of, as bits, and what chance begins with.
    speakers: u32,
    seed: u64,
    n_learned: u64,
    is_baseline_on: bool,
}

/// Number of vectors after which each model learns one of several.
const LEARN_ALL: u64 = 4_096;
const LEARN_ONE_OF: u64 = 4;

impl Ensemble {
    pub(super) fn new(models: &[ModelKind], seed: u64) -> Self {
        let mut members = Vec::new();
        for kind in ModelKind::ALL {
            if models.contains(&kind)
                && let Some(member) = Member::new(kind, seed ^ kind as u64)
            {
                members.push((kind, member));
            }
        }
        let tails = ModelKind::ALL
            .iter()
            .map(|kind| Tail::new(seed ^ *kind as u64));
        Self {
            scale: Scale::default(),
            members,
            tails: tails.collect(),
            fused: Tail::new(seed),
            speakers: 0,
            seed,
            n_learned: 0,
            is_baseline_on: models.contains(&ModelKind::Baseline),
        }
    }

    pub(super) const fn n_learned(&self) -> u64 {
        self.n_learned
    }

    pub(super) fn member(&self, kind: ModelKind) -> Option<&Member> {
        let mut members = self.members.iter();
        members.find(|(k, _)| *k == kind).map(|(_, member)| member)
    }

    /// Calibrates anew, soon.
    pub(super) fn hasten(&mut self) {
        self.tails.iter_mut().for_each(Tail::hasten);
        self.fused.hasten();
    }

    /// Scores a vector.
    pub(super) fn assess(&mut self, values: &[f32; N_FEATURES], past: Past) -> Assessment {
        let x = self.scale.apply(values);
        let raw = self.raw(&x, past);
        self.judge(raw, past)
    }

    fn raw(&mut self, x: &Scaled, past: Past) -> Surprises {
        let mut raw = [f32::NAN; ModelKind::ALL.len()];
        for (kind, member) in &mut self.members {
            if member.is_ready() {
                raw[*kind as usize] = member.score(x) as f32;
            }
        }
        if let (Past::Known(score), true) = (past, self.is_baseline_on) {
            raw[ModelKind::Baseline as usize] = score as f32;
        }
        raw
    }

    fn judge(&self, raw: Surprises, past: Past) -> Assessment {
        let mut surprises = raw;
        for (surprise, tail) in surprises.iter_mut().zip(&self.tails) {
            if !surprise.is_nan() {
                *surprise = if tail.is_ready() {
                    tail.surprise(*surprise)
                } else {
                    f32::NAN
                };
            }
        }
        if let (Past::None(surprise), true) = (past, self.is_baseline_on) {
            surprises[ModelKind::Baseline as usize] = surprise;
        }
        let combined = combine(&surprises);
        Assessment {
            raw,
            surprises,
            combined,
            fused: self.fused.surprise(combined),
        }
    }

    /// Takes a vector as normal.
    pub(super) fn learn(&mut self, values: &[f32; N_FEATURES], assessment: &Assessment) {
        let x = self.scale.apply(values);
        self.scale.learn(values);
        self.n_learned += 1;
        let n = self.n_learned;
        for (kind, member) in &mut self.members {
            // Not all models in the same vector: the cost is spread.
            if n <= LEARN_ALL || (n + *kind as u64).is_multiple_of(LEARN_ONE_OF) {
                member.learn(&x);
            }
        }
        for (tail, raw) in self.tails.iter_mut().zip(assessment.raw) {
            if !raw.is_nan() {
                tail.learn(raw);
            }
        }
        if assessment.surprises.iter().any(|s| !s.is_nan()) {
            self.learn_combination(assessment.combined);
        }
    }

    /// Learns the combined score. While the models become ready, one after the other, the
    /// combination is one of ever more of them: what was learned of that of fewer says nothing
    /// about it.
    fn learn_combination(&mut self, combined: f32) {
        let ready = self.tails.iter().enumerate().filter(|(_, t)| t.is_ready());
        let speakers = ready.fold(0, |bits, (place, _)| bits | 1 << place);
        if speakers == self.speakers {
            self.fused.learn(combined);
            return;
        }
        self.speakers = speakers;
        self.fused = Tail::new(self.seed);
    }

    /// Contribution of each column to the combination: the amount by which it falls with the expected value
    /// in the column's place. Odd pairs of columns share their part.
    pub(super) fn explain(&mut self, values: &[f32; N_FEATURES], past: Past) -> [f32; N_FEATURES] {
        let whole = self.assess(values, past).combined;
        let mut parts = [0.0; N_FEATURES];
        for (i, part) in parts.iter_mut().enumerate() {
            let mut changed = *values;
            changed[i] = self.scale.expected(i).0;
            *part = (whole - self.assess(&changed, past).combined).max(0.0);
        }
        parts
    }

    /// Expected value of a column, and its deviation.
    pub(super) fn expected(&self, column: usize) -> (f32, f32) {
        self.scale.expected(column)
    }
}

/// Mean of the surprises: Fisher's method (1925) up to a factor. The models see the same vector, so
/// their surprises are far from independent and their sum has no textbook distribution; the
/// calibration that follows learns it.
fn combine(surprises: &Surprises) -> f32 {
    let (mut sum, mut n) = (0.0, 0.0);
    for surprise in surprises.iter().filter(|s| !s.is_nan()) {
        sum += surprise;
        n += 1.0;
    }
    if n > 0.0 { sum / n } else { 0.0 }
}
