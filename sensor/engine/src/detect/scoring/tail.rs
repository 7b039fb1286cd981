//! Scores of any scale to tail probabilities.

use serde::{Deserialize, Serialize};

use crate::models::Rng;

/// A sample of the scores of normal traffic: ranks in its body (conformal p-values, Vovk et al.
/// 2005), beyond its 95th percentile a generalised Pareto distribution (peaks over threshold,
/// Pickands 1975; streaming as in SPOT, Siffer et al. 2017), fitted by probability-weighted moments
/// (Hosking and Wallis 1987).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tail {
    sample: Vec<f32>,
    /// Sample as of the last fit.
    sorted: Vec<f32>,
    threshold: f32,
    shape: f32,
    scale: f32,
    n_learned: u64,
    n_fresh: u32,
    /// Values replaced in a full sample since the last fit, and their replacements: `sorted` is brought up
    /// to date by them. Not kept over restarts; then all is sorted.
    #[serde(skip)]
    replaced: Vec<f32>,
    #[serde(skip)]
    fresh: Vec<f32>,
    /// Scores that are all taken, since those before are out of date.
    n_hasty: u32,
    rng: Rng,
}

const SAMPLE: usize = 1_024;
/// Inverse of the probability with which a score replaces a random one of a full sample: the sample
/// spans that many times its size.
const ONE_OF: u64 = 8;
const PER_FIT: u32 = 64;
/// Scores before a probability means anything.
const LEAST: usize = 32;
const BODY: f32 = 0.95;
/// A bounded or exponential tail is never believed, nor one without a mean.
const SHAPES: (f32, f32) = (0.1, 0.8);
/// Greater scores say no more.
const MOST: f32 = 12.0;

impl Tail {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            sample: Vec::with_capacity(SAMPLE),
            sorted: Vec::new(),
            threshold: 0.0,
            shape: SHAPES.0,
            scale: 1.0,
            n_learned: 0,
            n_fresh: 0,
            replaced: Vec::new(),
            fresh: Vec::new(),
            n_hasty: 0,
            rng: Rng::new(seed),
        }
    }

    /// The traffic has changed: as many scores as the sample holds are all taken, so that most of it is
    /// of the new kind then.
    pub(crate) fn hasten(&mut self) {
        self.n_hasty = SAMPLE as u32;
    }

    /// Takes a score of normal traffic.
    pub(crate) fn learn(&mut self, score: f32) {
        self.n_learned += 1;
        if self.sample.len() < SAMPLE {
            self.sample.push(score);
        } else if self.n_hasty > 0 || self.n_learned.is_multiple_of(ONE_OF) {
            self.n_hasty = self.n_hasty.saturating_sub(1);
            let place = self.rng.below(SAMPLE);
            self.replaced.push(self.sample[place]);
            self.fresh.push(score);
            self.sample[place] = score;
        } else {
            return;
        }
        self.n_fresh += 1;
        let is_due = self.n_fresh >= PER_FIT || self.sample.len() < 4 * LEAST;
        if is_due && self.sample.len() >= LEAST {
            self.fit();
        }
    }

    /// Brings `sorted` up to date with the sample.
    fn sort(&mut self) {
        let is_known = self.fresh.len() == self.n_fresh as usize;
        if is_known && self.sorted.len() == self.sample.len() {
            self.replaced.sort_unstable_by(f32::total_cmp);
            self.fresh.sort_unstable_by(f32::total_cmp);
            self.sorted = exchanged(&self.sorted, &self.fresh, &self.replaced);
        } else {
            self.sorted.clone_from(&self.sample);
            self.sorted.sort_unstable_by(f32::total_cmp);
        }
        self.replaced.clear();
        self.fresh.clear();
        self.n_fresh = 0;
    }

    fn fit(&mut self) {
        self.sort();
        let n = self.sorted.len();
        let cut = ((n as f32 * BODY) as usize).min(n - 1);
        self.threshold = self.sorted[cut];
        let excesses = &self.sorted[cut..];
        let n = excesses.len() as f32;
        let (mut mean, mut weighted) = (0.0, 0.0);
        for (i, score) in excesses.iter().enumerate() {
            let excess = score - self.threshold;
            mean += excess / n;
            weighted += (1.0 - (i as f32 + 0.65) / n) * excess / n;
        }
        // Where the sample is all but constant, the scale is that of its body.
        let body = (self.threshold - self.sorted[cut / 2]).max(1e-4 * self.threshold.abs());
        let least = (0.1 * body).max(1e-6);
        let spread = mean - 2.0 * weighted;
        if mean <= least || spread <= 1e-9 {
            (self.shape, self.scale) = (SHAPES.0, mean.max(least));
            return;
        }
        self.shape = (2.0 - mean / spread).clamp(SHAPES.0, SHAPES.1);
        // With the shape held the mean decides the scale.
        self.scale = (mean * (1.0 - self.shape)).max(least);
    }

    pub(crate) fn is_ready(&self) -> bool {
        !self.sorted.is_empty()
    }

    /// `-log10` of the probability of at least this score.
    pub(crate) fn surprise(&self, score: f32) -> f32 {
        if self.sorted.is_empty() {
            return 0.0;
        }
        let n = self.sorted.len() as f32;
        if score <= self.threshold {
            let n_below = self.sorted.partition_point(|other| *other < score) as f32;
            return -((n - n_below + 1.0) / (n + 1.0)).min(1.0).log10();
        }
        let excess = (score - self.threshold) / self.scale;
        let beyond = (1.0 + self.shape * excess).log10() / self.shape;
        (-(1.0 - BODY).log10() + beyond).min(MOST)
    }
}

/// `sorted` with `more` and without `less`, each in order: what is in `less` is in one of them.
fn exchanged(sorted: &[f32], more: &[f32], less: &[f32]) -> Vec<f32> {
    let mut result = Vec::with_capacity(SAMPLE);
    let (mut more, mut less) = (more.iter().peekable(), less.iter().peekable());
    let mut take = |score: f32| {
        if less
            .next_if(|gone| gone.total_cmp(&score).is_eq())
            .is_none()
        {
            result.push(score);
        }
    };
    for score in sorted {
        while let Some(fresh) = more.next_if(|fresh| fresh.total_cmp(score).is_lt()) {
            take(*fresh);
        }
        take(*score);
    }
    more.for_each(|fresh| take(*fresh));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(rng: &mut Rng) -> f32 {
        -(1.0 - rng.unit()).ln()
    }

    #[test]
    fn probabilities_are_those_of_the_distribution() {
        let (mut tail, mut rng) = (Tail::new(1), Rng::new(2));
        for _ in 0..20_000 {
            tail.learn(exponential(&mut rng));
        }
        for (score, expected) in [(0.693, 0.301), (2.303, 1.0), (4.605, 2.0), (6.9, 3.0)] {
            let surprise = tail.surprise(score);
            let error = (surprise - expected).abs();
            assert!(
                error < 0.1 + 0.12 * expected,
                "{score}: {surprise} for {expected}"
            );
        }
    }

    #[test]
    fn the_share_above_a_limit_is_its_probability() {
        let (mut tail, mut rng) = (Tail::new(1), Rng::new(7));
        let heavy = |rng: &mut Rng| exponential(rng) / (1e-3 + rng.unit()).sqrt();
        for _ in 0..20_000 {
            tail.learn(heavy(&mut rng));
        }
        let n = 100_000;
        let over = |limit: f32, rng: &mut Rng| {
            (0..n)
                .filter(|_| tail.surprise(heavy(rng)) >= limit)
                .count() as f32
                / n as f32
        };
        for limit in [1.0, 2.0, 3.0] {
            let share = over(limit, &mut rng);
            let expected = 10f32.powf(-limit);
            assert!(
                share < 3.0 * expected && share > expected / 3.0,
                "{limit}: {share}"
            );
        }
    }

    #[test]
    fn replaced_values_leave_the_sample_sorted() {
        let (mut tail, mut rng) = (Tail::new(1), Rng::new(3));
        for n in 0..20_000 {
            // Many equal ones, and times when all are taken.
            tail.learn((8.0 * exponential(&mut rng)).floor());
            if n % 3_000 == 2_999 {
                tail.hasten();
            }
            if tail.n_fresh == 0
                && !tail.sorted.is_empty()
                && tail.sorted.len() == tail.sample.len()
            {
                let mut all = tail.sample.clone();
                all.sort_unstable_by(f32::total_cmp);
                assert_eq!(tail.sorted, all, "after {n}");
            }
        }
    }

    #[test]
    fn a_constant_score_gives_no_extreme_probability() {
        let mut tail = Tail::new(1);
        assert!(tail.surprise(9.0).abs() < 1e-6);
        for _ in 0..1_000 {
            tail.learn(1.0);
        }
        assert!(tail.surprise(1.0) < 0.01);
        assert!(tail.surprise(2.0).is_finite());
    }
}
