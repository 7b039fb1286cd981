//! Figures by source: what was fitted to some sources is judged by the others.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Evaluation;
use super::number::{number, percent};
use super::score::{CaptureScore, Content, Truthful, ratio};
use super::table::Table;

/// Benign captures that are longer give so many quiet hours that the rest would not be seen beside
/// them, seconds.
const LONG_S: f64 = 24.0 * 3_600.0;

/// Captures of one folder or source, or all.
#[derive(Clone, Debug, Default)]
pub struct SourceSum {
    pub n_captures: u64,
    pub n_benign: u64,
    /// Benign captures with an incident above low, and with a decision to drop or limit.
    pub n_loud: u64,
    pub n_decided: u64,
    /// Incidents on benign captures.
    pub n_false: u64,
    pub hours: f64,
    pub n_flows: u64,
    /// False incidents without captures longer than a day.
    pub n_false_short: u64,
    pub hours_short: f64,
    pub n_attacks: u64,
    pub n_detected: u64,
}

impl SourceSum {
    fn of<'a>(captures: impl Iterator<Item = &'a CaptureScore>) -> Self {
        let mut sum = Self::default();
        for capture in captures {
            sum.n_captures += 1;
            sum.n_attacks += capture.events.len() as u64;
            let detected = capture.events.iter().filter(|e| e.detection.is_some());
            sum.n_detected += detected.count() as u64;
            if capture.content == Content::Benign {
                sum.add_benign(capture);
            }
        }
        sum
    }

    fn add_benign(&mut self, capture: &CaptureScore) {
        let (hours, n_false) = (
            capture.duration_ns as f64 / 3.6e12,
            capture.n_alarms(Truthful::False),
        );
        self.n_benign += 1;
        self.n_loud += u64::from(capture.is_loud());
        self.n_decided += u64::from(capture.n_decisions > 0);
        self.n_false += n_false;
        self.hours += hours;
        self.n_flows += capture.n_flows;
        if hours * 3_600.0 <= LONG_S {
            self.n_false_short += n_false;
            self.hours_short += hours;
        }
    }

    fn false_per_day_short(&self) -> f64 {
        24.0 * self.n_false_short as f64 / self.hours_short
    }

    fn benign_cells(&self, name: &str) -> Vec<String> {
        let (n, hours) = (self.n_benign, self.hours);
        let mut cells: Vec<String> = vec![name.to_owned()];
        cells.extend([n, self.n_loud, self.n_decided, self.n_false].map(|n| n.to_string()));
        cells.extend(
            [
                self.n_false as f64 / n as f64,
                hours,
                24.0 * self.n_false as f64 / hours,
                self.false_per_day_short(),
            ]
            .map(number),
        );
        cells.push(self.n_flows.to_string());
        cells.push(number(10_000.0 * self.n_false as f64 / self.n_flows as f64));
        cells
    }

    fn cells(&self, name: &str) -> Vec<String> {
        let mut cells: Vec<String> = vec![name.to_owned()];
        let [n, benign, loud, decided] =
            [self.n_captures, self.n_benign, self.n_loud, self.n_decided].map(|n| n.to_string());
        cells.extend([n, benign, loud, decided]);
        cells.extend([self.n_attacks, self.n_detected].map(|n| n.to_string()));
        cells.push(if self.n_attacks == 0 {
            String::new()
        } else {
            percent(ratio(self.n_detected, self.n_attacks))
        });
        cells
    }

    fn json(&self) -> Value {
        json!({
            "captures": self.n_captures,
            "benign": self.n_benign,
            "benign_above_low": self.n_loud,
            "benign_decided": self.n_decided,
            "false": self.n_false,
            "benign_hours": self.hours,
            "false_per_day_without_long": Some(self.false_per_day_short()).filter(|x| x.is_finite()),
            "flows": self.n_flows,
            "attacks": self.n_attacks,
            "detected": self.n_detected,
        })
    }
}

impl Evaluation {
    fn sums(&self, key: impl Fn(&CaptureScore) -> &str) -> BTreeMap<String, SourceSum> {
        let names: BTreeMap<&str, ()> = self.captures.iter().map(|c| (key(c), ())).collect();
        let sum = |name: &str| SourceSum::of(self.captures.iter().filter(|c| key(c) == name));
        let names = names.into_keys();
        names.map(|name| (name.to_owned(), sum(name))).collect()
    }

    /// Table of false incidents, by folder.
    pub fn benign_table(&self) -> Table {
        let mut table = Table::new(
            "Benign captures: false incidents",
            &[
                "folder",
                "captures",
                "with an incident above low",
                "with a decision",
                "false incidents",
                "per capture",
                "hours",
                "per day",
                "per day, captures up to a day",
                "flows",
                "per 10,000 flows",
            ],
        );
        let folders = self.sums(|capture| &capture.source.folder);
        for (name, sum) in folders.iter().filter(|(_, sum)| sum.n_benign > 0) {
            table.push(sum.benign_cells(name));
        }
        let all = SourceSum::of(self.captures.iter());
        if all.n_benign > 0 && folders.len() > 1 {
            table.push(all.benign_cells("all"));
        }
        table
    }

    /// Table of figures by data set, site or tool.
    pub fn source_table(&self) -> Table {
        let mut table = Table::new(
            "By source",
            &[
                "source",
                "captures",
                "benign",
                "with an incident above low",
                "with a decision",
                "attacks",
                "detected",
                "share",
            ],
        );
        for (name, sum) in self.sums(|capture| &capture.source.name) {
            table.push(sum.cells(&name));
        }
        table
    }

    pub(crate) fn sources_json(&self) -> Value {
        let map = |sums: BTreeMap<String, SourceSum>| -> serde_json::Map<String, Value> {
            sums.into_iter()
                .map(|(name, sum)| (name, sum.json()))
                .collect()
        };
        json!({
            "folders": map(self.sums(|capture| &capture.source.folder)),
            "sources": map(self.sums(|capture| &capture.source.name)),
        })
    }
}
