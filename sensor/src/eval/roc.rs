//! How well scores order what they score: areas under the ROC and precision-recall curves, of each
//! model and of the fused score.

use std::collections::HashMap;

use sensor_common::Address;
use sensor_engine::{ModelKind, SECOND_NS, Score, Subject};
use serde_json::{Value, json};

use super::truth::{Truth, WINDOW_NS, holds};

/// Every model, then all together.
pub const N_SCORES: usize = ModelKind::ALL.len() + 1;

/// Names in the order of the scores.
pub fn names() -> impl Iterator<Item = &'static str> {
    let models = ModelKind::ALL.iter().map(|model| model.label());
    models.chain(["fused"])
}

type Row = [f32; N_SCORES];

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
        for (to, from) in row
            .iter_mut()
            .zip(score.models.iter().chain([&score.fused]))
        {
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
}

fn raise(to: &mut Row, from: &Row) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = to.max(*from);
    }
}

/// Two addresses, whichever way round.
pub fn ordered(a: Address, b: Address) -> (Address, Address) {
    if a < b { (a, b) } else { (b, a) }
}

/// Areas under both curves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    pub roc: f64,
    pub precision_recall: f64,
}

/// One for each score.
pub type Areas = [Area; N_SCORES];

/// What the scores of a capture are worth.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// Windows of 10 s of an address: is there an attack packet of it?
    pub windows: Areas,
    /// Packets, each with the score of its two addresses in its window.
    pub packets: Areas,
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
            windows: areas(&windows)?,
            packets: areas(&packets)?,
        })
    }

    pub fn json(&self) -> Value {
        let of = |areas: &Areas| -> serde_json::Map<String, Value> {
            let rows = names().zip(areas);
            rows.map(|(name, area)| {
                let value = json!({"roc_auc": area.roc, "pr_auc": area.precision_recall});
                (name.to_owned(), value)
            })
            .collect()
        };
        json!({"entity_windows": of(&self.windows), "packets": of(&self.packets)})
    }
}

/// Scores, and how many benign and attacking things have them.
type Weighed = (Row, [u64; 2]);

fn areas(rows: &[Weighed]) -> Option<Areas> {
    let mut areas = [Area {
        roc: 0.0,
        precision_recall: 0.0,
    }; N_SCORES];
    for (i, to) in areas.iter_mut().enumerate() {
        let one = |(row, n): &Weighed| Some((*row.get(i)?, *n));
        *to = area(rows.iter().filter_map(one).collect())?;
    }
    Some(areas)
}

/// By the trapezoidal rule for ROC (ties count half), as average precision for the other.
fn area(mut rows: Vec<(f32, [u64; 2])>) -> Option<Area> {
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let [n_benign, n_attack] = rows
        .iter()
        .fold([0, 0], |[b, a], (_, n)| [b + n[0], a + n[1]]);
    if n_benign == 0 || n_attack == 0 {
        return None;
    }
    let (mut above, mut roc, mut precision_recall) = ([0u64; 2], 0.0, 0.0);
    for tied in rows.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let [benign, attack] = tied
            .iter()
            .fold([0, 0], |[b, a], (_, n)| [b + n[0], a + n[1]]);
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
}
