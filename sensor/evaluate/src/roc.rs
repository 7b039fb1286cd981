//! Quality of the order that scores give: ROC and precision-recall curves, and the areas under
//! them, of each model, of the models together and of the fused score.

use std::collections::{BTreeMap, HashMap};

use sensor_common::Address;
use sensor_engine::{ModelKind, SECOND_NS, Score, Subject};
use serde_json::{Value, json};

use super::truth::{Truth, WINDOW_NS, holds, ordered};

/// Every model, the models together, and those with the behaviour detectors.
pub const N_SCORES: usize = ModelKind::ALL.len() + 2;
/// Place of the models together.
pub const ENSEMBLE: usize = N_SCORES - 2;
/// Place of all together.
pub const FUSED: usize = N_SCORES - 1;

/// Name of the score at a place.
pub fn name(place: usize) -> &'static str {
    match ModelKind::ALL.get(place) {
        Some(model) => model.label(),
        None if place == ENSEMBLE => "models together",
        None => "fused",
    }
}

/// Places of the scores that there are when these models are on.
pub fn places(models: &[ModelKind]) -> Vec<usize> {
    let all = ModelKind::ALL.iter().enumerate();
    let on = all.filter(|(_, model)| models.contains(model));
    on.map(|(place, _)| place)
        .chain([ENSEMBLE, FUSED])
        .collect()
}

pub type Row = [f32; N_SCORES];

/// The greatest score of each address and of each pair of addresses, by window number.
#[derive(Debug, Default)]
pub struct Scores {
    addresses: HashMap<(Address, u64), Row>,
    pairs: HashMap<(Address, Address, u64), Row>,
}

impl Scores {
    pub fn take(&mut self, score: &Score) {
        // A window is closed by the first look after its end, within a second.
        let window = score.end_ns.saturating_sub(SECOND_NS) / WINDOW_NS;
        let mut row = [0.0; N_SCORES];
        let all = score.models.iter().chain([&score.ensemble, &score.fused]);
        for (to, from) in row.iter_mut().zip(all) {
            *to = *from;
        }
        let mut touch = |address: Address| {
            raise(self.addresses.entry((address, window)).or_default(), &row);
        };
        match score.subject {
            Subject::Source(address) | Subject::Host(address) | Subject::Service(address, ..) => {
                touch(address);
            }
            Subject::Pair(source, host) => {
                touch(source);
                touch(host);
                let (low, high) = ordered(source, host);
                raise(self.pairs.entry((low, high, window)).or_default(), &row);
            }
        }
    }

    /// The greatest scores of each window, whoever has them, by window number.
    pub fn over_time(&self) -> BTreeMap<u64, Row> {
        let mut windows = BTreeMap::new();
        for ((_, window), row) in &self.addresses {
            raise(windows.entry(*window).or_default(), row);
        }
        windows
    }
}

fn raise(to: &mut Row, from: &Row) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = to.max(*from);
    }
}

/// Areas under both curves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Area {
    pub roc: f64,
    pub precision_recall: f64,
}

/// One for each score.
pub type Areas = [Area; N_SCORES];

/// Scores, and how many benign and attacking things have them.
pub type Weighed = (Row, [u64; 2]);

/// One threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Share of the benign things at or above it.
    pub false_rate: f64,
    pub recall: f64,
    pub precision: f64,
}

/// Ranked scores of one kind, and the areas under their curves.
#[derive(Clone, Debug)]
pub struct Ranked {
    rows: Vec<Weighed>,
    pub areas: Areas,
}

impl Ranked {
    /// None where there is nothing to tell apart.
    fn new(rows: Vec<Weighed>) -> Option<Self> {
        let mut areas = Areas::default();
        for (place, to) in areas.iter_mut().enumerate() {
            *to = area(column(&rows, place))?;
        }
        Some(Self { rows, areas })
    }

    /// Several as if they were one.
    pub fn pooled<'a>(parts: impl Iterator<Item = &'a Self>) -> Option<Self> {
        Self::new(parts.flat_map(|part| part.rows.iter().copied()).collect())
    }

    pub fn curve(&self, place: usize) -> Vec<Point> {
        points(column(&self.rows, place))
    }

    /// The greatest recall with at most this share of false ones.
    pub fn recall_at(&self, place: usize, false_rate: f64) -> f64 {
        let curve = self.curve(place);
        let within = curve.iter().filter(|point| point.false_rate <= false_rate);
        within.map(|point| point.recall).fold(0.0, f64::max)
    }

    fn json(&self, places: &[usize]) -> serde_json::Map<String, Value> {
        let rows = places.iter().filter_map(|place| {
            let area = self.areas.get(*place)?;
            let value = json!({"roc_auc": area.roc, "pr_auc": area.precision_recall});
            Some((name(*place).to_owned(), value))
        });
        rows.collect()
    }
}

/// Areas of the scores of a capture.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// Windows of 10 s of an address: is there an attack packet of it?
    pub windows: Ranked,
    /// Packets, each with the score of its two addresses in its window.
    pub packets: Ranked,
}

impl Ranking {
    /// None where the capture lacks attacks, or all but attacks.
    pub fn of(truth: &Truth, scores: &Scores) -> Option<Self> {
        let [n_benign, n_attack, _] = truth.n_by_label;
        if n_benign == 0 || n_attack == 0 {
            return None;
        }
        let none = Row::default();
        let windows = truth
            .windows
            .iter()
            .filter(|(_, bits)| **bits & holds::IGNORED == 0);
        let windows: Vec<Weighed> = windows
            .map(|(key, bits)| {
                let row = *scores.addresses.get(key).unwrap_or(&none);
                let is_attack = bits & holds::ATTACK != 0;
                (row, [u64::from(!is_attack), u64::from(is_attack)])
            })
            .collect();
        let packets: Vec<Weighed> = truth
            .pairs
            .iter()
            .map(|(key, [benign, attack, _])| {
                (*scores.pairs.get(key).unwrap_or(&none), [*benign, *attack])
            })
            .collect();
        Some(Self {
            windows: Ranked::new(windows)?,
            packets: Ranked::new(packets)?,
        })
    }

    pub fn json(&self, places: &[usize]) -> Value {
        json!({
            "entity_windows": self.windows.json(places),
            "packets": self.packets.json(places),
        })
    }
}

fn column(rows: &[Weighed], place: usize) -> Vec<(f32, [u64; 2])> {
    let one = |(row, n): &Weighed| Some((*row.get(place)?, *n));
    rows.iter().filter_map(one).collect()
}

/// Benign and attacking things in all.
fn total(rows: &[(f32, [u64; 2])]) -> [u64; 2] {
    rows.iter()
        .fold([0, 0], |[b, a], (_, n)| [b + n[0], a + n[1]])
}

/// Computes the areas: by the trapezoidal rule for ROC (ties count half), as average precision for
/// the other.
fn area(mut rows: Vec<(f32, [u64; 2])>) -> Option<Area> {
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let [n_benign, n_attack] = total(&rows);
    if n_benign == 0 || n_attack == 0 {
        return None;
    }
    let (mut above, mut roc, mut precision_recall) = ([0u64; 2], 0.0, 0.0);
    for tied in rows.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let [benign, attack] = total(tied);
        // Each attack against the benign below it.
        let below = (n_benign - above[0] - benign) as f64 + benign as f64 / 2.0;
        roc += attack as f64 * below;
        above = [above[0] + benign, above[1] + attack];
        let precision = above[1] as f64 / (above[0] + above[1]).max(1) as f64;
        precision_recall += attack as f64 * precision;
    }
    let n_attack = n_attack as f64;
    Some(Area {
        roc: roc / (n_attack * n_benign as f64),
        precision_recall: precision_recall / n_attack,
    })
}

/// One for each score that occurs, the greatest first.
fn points(mut rows: Vec<(f32, [u64; 2])>) -> Vec<Point> {
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let [n_benign, n_attack] = total(&rows).map(|n| n.max(1) as f64);
    let mut above = [0u64; 2];
    let tied = rows.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq());
    tied.map(|tied| {
        let [benign, attack] = total(tied);
        above = [above[0] + benign, above[1] + attack];
        Point {
            false_rate: above[0] as f64 / n_benign,
            recall: above[1] as f64 / n_attack,
            precision: above[1] as f64 / (above[0] + above[1]).max(1) as f64,
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_those_of_small_cases() {
        let perfect = area(vec![(2.0, [0, 3]), (1.0, [5, 0])]).unwrap();
        assert_eq!((perfect.roc, perfect.precision_recall), (1.0, 1.0));
        let tied = area(vec![(1.0, [5, 0]), (1.0, [0, 5])]).unwrap();
        assert_eq!((tied.roc, tied.precision_recall), (0.5, 0.5));
        let mixed = area(vec![(3.0, [0, 1]), (2.0, [1, 0]), (1.0, [0, 1])]).unwrap();
        assert!((mixed.roc - 0.5).abs() < 1e-12);
        assert!((mixed.precision_recall - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!(area(vec![(1.0, [5, 0])]), None);
    }

    #[test]
    fn curves_are_those_of_small_cases() {
        let rows = vec![(3.0, [0, 1]), (2.0, [1, 0]), (2.0, [0, 1]), (1.0, [3, 0])];
        let found: Vec<[f64; 3]> = points(rows)
            .iter()
            .map(|p| [p.false_rate, p.recall, p.precision])
            .collect();
        let expected = [
            [0.0, 0.5, 1.0],
            [0.25, 1.0, 2.0 / 3.0],
            [1.0, 1.0, 2.0 / 6.0],
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn recall_is_that_of_the_last_threshold_with_few_false_ones() {
        let row = |score: f32| [score; N_SCORES];
        let rows = vec![(row(3.0), [0, 1]), (row(2.0), [1, 1]), (row(1.0), [9, 2])];
        let ranked = Ranked::new(rows).unwrap();
        assert!((ranked.recall_at(FUSED, 0.05) - 0.25).abs() < 1e-12);
        assert!((ranked.recall_at(FUSED, 0.1) - 0.5).abs() < 1e-12);
    }
}
