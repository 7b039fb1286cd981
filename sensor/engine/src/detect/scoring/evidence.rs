//! Alarms: evidence of odd windows, summed up over time and rationed by a budget.

use serde::{Deserialize, Serialize};

use crate::config::SECOND_NS;

/// A subject's oddness over its windows: a cumulative sum (Page 1954) of the surprises beyond what
/// happens now and then.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Evidence {
    sum: f32,
    n_windows: u32,
    /// True after an alarm: the same one goes on.
    is_alarm: bool,
    first_ns: u64,
    last_ns: u64,
}

/// Surprise of a window that neither adds nor takes: one in thirty.
const ALLOWANCE: f32 = 1.5;
/// One window adds at most this.
const STEP: f32 = 2.5;
/// Odd windows that a finding takes.
const LEAST_WINDOWS: u32 = 6;
/// Evidence this old is none.
const FORGET_NS: u64 = 600 * SECOND_NS;

impl Evidence {
    pub(crate) fn take(&mut self, at_ns: u64, surprise: f32) {
        if at_ns.saturating_sub(self.last_ns) > FORGET_NS {
            *self = Self::default();
        }
        let step = (surprise - ALLOWANCE).min(STEP);
        if self.sum <= 0.0 && step > 0.0 {
            self.first_ns = at_ns;
            self.n_windows = 0;
            self.is_alarm = false;
        }
        self.sum = (self.sum + step).max(0.0);
        self.n_windows += u32::from(step > 0.0);
        self.last_ns = at_ns;
    }

    pub(crate) const fn score(&self) -> f32 {
        self.sum
    }

    pub(crate) const fn first_ns(&self) -> u64 {
        self.first_ns
    }
}

/// The limit that evidence must exceed, moved so that alarms come at the rate that the operator can
/// bear (adaptive conformal inference, Gibbs and Candès 2021: each alarm raises the limit, time
/// lowers it; in the long run the rate is the one asked for, whatever the distribution).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Alarms {
    limit: f32,
    per_day: f32,
    at_ns: u64,
    n: u64,
}

/// The first limit, and the least, in units of evidence.
const FIRST_LIMIT: f32 = 24.0;
const LEAST_LIMIT: f32 = 8.0;
const MOST_LIMIT: f32 = 200.0;
/// Amount by which an alarm raises the limit.
const RAISE: f32 = 4.0;
const DAY_S: f32 = 86_400.0;

impl Alarms {
    pub(crate) const fn new(per_day: f64) -> Self {
        Self {
            limit: FIRST_LIMIT,
            per_day: per_day as f32,
            at_ns: 0,
            n: 0,
        }
    }

    pub(crate) const fn set_per_day(&mut self, per_day: f64) {
        self.per_day = per_day as f32;
    }

    /// True where a subject's evidence makes an alarm. While it lasts it makes no other.
    pub(crate) fn take(&mut self, at_ns: u64, evidence: &mut Evidence) -> bool {
        if self.at_ns > 0 {
            let elapsed_s = at_ns.saturating_sub(self.at_ns) as f32 / 1e9;
            let fall = RAISE * self.per_day * elapsed_s / DAY_S;
            self.limit = (self.limit - fall).max(LEAST_LIMIT);
        }
        self.at_ns = at_ns;
        if evidence.is_alarm || evidence.sum < self.limit || evidence.n_windows < LEAST_WINDOWS {
            return false;
        }
        evidence.is_alarm = true;
        self.limit = (self.limit + RAISE).min(MOST_LIMIT);
        self.n = self.n.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Rng;

    const WINDOW_NS: u64 = 10 * SECOND_NS;

    #[test]
    fn one_odd_window_makes_no_alarm_and_a_minute_of_them_does() {
        let mut alarms = Alarms::new(1.0);
        let mut evidence = Evidence::default();
        evidence.take(WINDOW_NS, 12.0);
        assert!(!alarms.take(WINDOW_NS, &mut evidence));
        let n = (2..60u64).find(|i| {
            evidence.take(i * WINDOW_NS, 4.5);
            alarms.take(i * WINDOW_NS, &mut evidence)
        });
        assert_eq!(n, Some(10));
        // It goes on: no second alarm.
        evidence.take(61 * WINDOW_NS, 4.5);
        assert!(!alarms.take(61 * WINDOW_NS, &mut evidence));
    }

    /// Surprises with a tail much heavier than calibrated ones have, in bursts.
    fn alarms_per_day(per_day: f64) -> f64 {
        let (mut alarms, mut rng) = (Alarms::new(per_day), Rng::new(4));
        let mut subjects = [Evidence::default(); 20];
        let mut moods = [0.0f32; 20];
        let days = 10;
        for window in 1..days * 8_640u64 {
            for (evidence, mood) in subjects.iter_mut().zip(&mut moods) {
                *mood = 0.95 * *mood + 0.18 * (2.0 * rng.unit() - 1.0).max(-0.3);
                let surprise = (-rng.unit().max(1e-6).log10()) * (1.0 + mood.max(0.0) * 2.0);
                evidence.take(window * WINDOW_NS, surprise);
                alarms.take(window * WINDOW_NS, evidence);
            }
        }
        alarms.n as f64 / days as f64
    }

    #[test]
    fn the_alarm_rate_stays_within_the_budget() {
        for per_day in [0.5, 1.0, 4.0] {
            let rate = alarms_per_day(per_day);
            assert!(rate <= 1.25 * per_day + 0.2, "{per_day}: {rate}");
        }
    }
}
