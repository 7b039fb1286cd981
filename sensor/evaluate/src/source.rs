//! Sources of captures, and figures by source: what was fitted to some sources is judged by the
//! others.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Evaluation;
use super::report::{number, percent};
use super::score::{CaptureScore, Content, Truthful, ratio};
use super::table::Table;

/// Benign captures that are longer give so many quiet hours that the rest would not be seen beside
/// them, seconds.
const LONG_S: f64 = 24.0 * 3_600.0;

/// Source of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Name of the folder that holds `pcap/`.
    pub folder: String,
    /// Data set, site or tool: `group` of its entry in `manifest.json`, else the repository of its
    /// first source, else the folder.
    pub name: String,
}

/// Looks sources up, a manifest once.
#[derive(Default)]
pub(crate) struct Sources(HashMap<PathBuf, BTreeMap<String, String>>);

impl Sources {
    /// The source of a capture; a manifest that is not there or can't be read names none.
    pub(crate) fn of(&mut self, id: &str, capture: &Path) -> Source {
        let beside = capture.parent().unwrap_or(Path::new("."));
        let folder = match beside.file_name() {
            Some(name) if name == "pcap" => beside.parent().unwrap_or(beside),
            _ => beside,
        };
        let names = self.0.entry(folder.to_owned());
        let names = names.or_insert_with(|| read(&folder.join("manifest.json")));
        let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        let name = real.file_name().unwrap_or_default().to_string_lossy();
        Source {
            name: names.get(id).cloned().unwrap_or_else(|| name.to_string()),
            folder: name.into_owned(),
        }
    }
}

/// Sources by capture.
fn read(manifest: &Path) -> BTreeMap<String, String> {
    let text = fs::read(manifest).unwrap_or_default();
    let value: Value = serde_json::from_slice(&text).unwrap_or_default();
    let captures = value["captures"].as_array().into_iter().flatten();
    captures
        .filter_map(|entry| {
            let name = entry["group"].as_str();
            let name = name.or_else(|| entry["sources"][0]["repo"].as_str())?;
            Some((entry["id"].as_str()?.to_owned(), name.to_owned()))
        })
        .collect()
}

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
            "Benign captures: what is said in vain",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_named_by_group_then_repository_then_folder() {
        let folder = std::env::temp_dir().join(format!("sensor-sources-{}", std::process::id()));
        fs::create_dir_all(folder.join("pcap")).unwrap();
        let manifest = json!({ "captures": [
            { "id": "a", "group": "hydra", "sources": [{ "repo": "x/y" }] },
            { "id": "b", "sources": [{ "repo": "x/y" }] },
        ] });
        fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
        let mut sources = Sources::default();
        let mut name = |id: &str| {
            let capture = folder.join(format!("pcap/{id}.pcap"));
            sources.of(id, &capture).name
        };
        let names = ["a", "b", "c"].map(&mut name);
        fs::remove_dir_all(&folder).unwrap();
        let own = folder.file_name().unwrap().to_str().unwrap();
        assert_eq!(names, ["hydra", "x/y", own]);
    }
}
