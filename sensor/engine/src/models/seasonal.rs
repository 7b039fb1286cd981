//! A subject's own normal: robust level and spread of a few columns, with the hour of the day.

use serde::{Deserialize, Serialize};

use crate::features::{Column, N_FEATURES};

/// Columns that have a level.
pub const N_BASELINES: usize = 10;
pub const BASELINE_COLUMNS: [Column; N_BASELINES] = [
    Column::OutPackets,
    Column::InPackets,
    Column::OutBytes,
    Column::InBytes,
    Column::Flows,
    Column::Failed,
    Column::Peers,
    Column::Ports,
    Column::OutLengthMean,
    Column::NewPairs,
];
/// The first so many, volumes, follow the hours of the day.
const N_SEASONAL: usize = 4;

/// Level and spread follow by bounded steps (stochastic approximation of a quantile, Robbins and
/// Monro 1951): one value far out moves either by one step. What is flagged moves them a twentieth
/// as much, so that an attack doesn't teach itself in at once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seasonal {
    level: [f32; N_BASELINES],
    spread: [f32; N_BASELINES],
    n: u32,
    /// Difference of each hour (UTC) from the level, after a few hours of life.
    hours: Option<Box<[[f32; N_SEASONAL]; 24]>>,
}

/// Windows before the score counts.
const WARM_UP: u32 = 12;
/// Windows before hours are kept: six hours of them.
const HOURS_AFTER: u32 = 2_160;
/// Least spread; the columns are logarithms.
const MIN_SPREAD: f32 = 0.15;
const ANOMALOUS: f32 = 0.05;

impl Seasonal {
    fn season(&self, hour: usize, column: usize) -> f32 {
        let hours = self.hours.as_ref().and_then(|hours| hours.get(hour));
        hours
            .and_then(|offsets| offsets.get(column))
            .copied()
            .unwrap_or(0.0)
    }

    pub const fn is_ready(&self) -> bool {
        self.n >= WARM_UP
    }

    /// Expected value of a baseline column at this hour, and its spread.
    pub fn expected(&self, hour: usize, i: usize) -> (f32, f32) {
        let level = self.level.get(i).copied().unwrap_or_default();
        let spread = self.spread.get(i).copied().unwrap_or_default();
        (level + self.season(hour, i), spread.max(MIN_SPREAD))
    }

    /// Root mean square of the distances from the levels in spreads. Less than usual is half as
    /// odd as more.
    pub fn score(&self, hour: usize, values: &[f32; N_FEATURES]) -> f64 {
        let mut sum = 0.0;
        for (i, column) in BASELINE_COLUMNS.into_iter().enumerate() {
            let (level, spread) = self.expected(hour, i);
            let z = (values[column as usize] - level) / (1.4826 * spread);
            let z = if z < 0.0 { 0.5 * z } else { z };
            sum += (z * z).min(400.0);
        }
        f64::from((sum / N_BASELINES as f32).sqrt())
    }

    pub fn learn(&mut self, hour: usize, values: &[f32; N_FEATURES], is_flagged: bool) {
        if self.n == 0 {
            self.spread = [0.5; N_BASELINES];
            for (level, column) in self.level.iter_mut().zip(BASELINE_COLUMNS) {
                *level = values[column as usize];
            }
        }
        self.n = self.n.saturating_add(1);
        if self.n >= HOURS_AFTER && self.hours.is_none() {
            self.hours = Some(Box::new([[0.0; N_SEASONAL]; 24]));
        }
        let trust = if is_flagged { ANOMALOUS } else { 1.0 };
        let rate = (1.0 / self.n as f32).max(0.01) * trust;
        // With hours to follow, the level is that of the day.
        let level_rate = if self.hours.is_some() {
            0.02 * rate
        } else {
            rate
        };
        for (i, column) in BASELINE_COLUMNS.into_iter().enumerate() {
            let (expected, scale) = self.expected(hour, i);
            let d = (values[column as usize] - expected).clamp(-3.0 * scale, 3.0 * scale);
            self.level[i] += level_rate * d;
            self.spread[i] += rate * (d.abs() - self.spread[i]);
            let hours = self.hours.as_mut().and_then(|hours| hours.get_mut(hour));
            if let Some(offset) = hours.and_then(|offsets| offsets.get_mut(i)) {
                *offset += rate * d;
            }
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    fn values(packets: f32) -> [f32; N_FEATURES] {
        let mut values = [0.0; N_FEATURES];
        values[Column::OutPackets as usize] = packets;
        values
    }

    #[test]
    fn values_above_all_before_score_high_and_are_learned_slowly() {
        let mut own = Seasonal::default();
        for i in 0..100u32 {
            own.learn(0, &values(3.0 + 0.1 * (i % 5) as f32), false);
        }
        let usual = own.score(0, &values(3.2));
        let odd = own.score(0, &values(9.0));
        assert!(usual < 1.0 && odd > 5.0, "{usual} {odd}");
        let mut taught = own.clone();
        for _ in 0..100 {
            own.learn(0, &values(9.0), true);
            taught.learn(0, &values(9.0), false);
        }
        assert!(own.score(0, &values(9.0)) > 3.0);
        assert!(taught.score(0, &values(9.0)) < own.score(0, &values(9.0)) / 2.0);
    }

    #[test]
    fn the_hours_of_a_day_are_learned_apart() {
        let mut own = Seasonal::default();
        for window in 0..20 * 8_640u32 {
            let hour = (window / 360 % 24) as usize;
            let volume = if hour < 6 { 8.0 } else { 2.0 };
            own.learn(hour, &values(volume), false);
        }
        let (night, day) = (own.score(3, &values(8.0)), own.score(15, &values(8.0)));
        assert!(day > 2.0 * night, "{day} {night}");
    }
}
