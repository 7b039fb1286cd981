//! An evaluation summed up, as text, Markdown and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Evaluation;
use super::families::Group;
use super::roc::{Area, Ranking, names};
use super::score::{
    AlarmScore, CaptureScore, Content, Detection, EventScore, Truthful, Windows, ratio,
};
use super::table::Table;
use crate::output::timestamp;

/// Groups that targets are set for together; floods come first.
const FAST: [Group; 5] = [
    Group::Flood,
    Group::Reflection,
    Group::HttpFlood,
    Group::Scan,
    Group::BruteForce,
];
const QUIET: [Group; 4] = [
    Group::Tunnel,
    Group::Beacon,
    Group::SlowHttp,
    Group::ArpSpoof,
];

/// Attacks of one group, or all.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    pub n_events: u64,
    pub n_detected: u64,
    pub n_entity_right: u64,
    pub family_weight: f64,
    pub share_after: f64,
    pub delays_s: Vec<f64>,
}

impl Sum {
    fn of<'a>(events: impl Iterator<Item = &'a EventScore>) -> Self {
        let mut sum = Self::default();
        for event in events {
            sum.n_events += 1;
            if let Some(detection) = &event.detection {
                sum.add(detection);
            }
        }
        sum.delays_s.sort_by(f64::total_cmp);
        sum
    }

    fn add(&mut self, detection: &Detection) {
        self.n_detected += 1;
        self.n_entity_right += u64::from(detection.is_entity_right);
        self.family_weight += detection.family_weight;
        self.share_after += detection.share_after;
        self.delays_s.push(detection.delay_ns as f64 / 1e9);
    }

    pub fn detected(&self) -> f64 {
        ratio(self.n_detected, self.n_events)
    }
    pub fn entity_right(&self) -> f64 {
        ratio(self.n_entity_right, self.n_detected)
    }
    pub fn family_right(&self) -> f64 {
        self.family_weight / self.n_detected.max(1) as f64
    }
    pub fn mean_share_after(&self) -> f64 {
        self.share_after / self.n_detected.max(1) as f64
    }

    /// The lower one of two in the middle.
    pub fn quantile_delay_s(&self, q: f64) -> f64 {
        let index = (q * self.delays_s.len().saturating_sub(1) as f64) as usize;
        self.delays_s.get(index).copied().unwrap_or(f64::NAN)
    }

    fn cells(&self, name: &str) -> Vec<String> {
        vec![
            name.to_owned(),
            self.n_events.to_string(),
            self.n_detected.to_string(),
            percent(self.detected()),
            number(self.quantile_delay_s(0.5)),
            number(self.quantile_delay_s(0.9)),
            percent(self.mean_share_after()),
            percent(self.entity_right()),
            percent(self.family_right()),
        ]
    }

    fn json(&self) -> Value {
        let delay = |q| Some(self.quantile_delay_s(q)).filter(|s| s.is_finite());
        json!({
            "events": self.n_events,
            "detected": self.n_detected,
            "detected.ratio": self.detected(),
            "delay_s.p50": delay(0.5),
            "delay_s.p90": delay(0.9),
            "packets_after.ratio": self.mean_share_after(),
            "entity_right.ratio": self.entity_right(),
            "family_right.ratio": self.family_right(),
        })
    }
}

/// Alarms and the time and flows that they are held against.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlarmSum {
    pub n_true: u64,
    pub n_odd: u64,
    pub n_false: u64,
    pub hours: f64,
    pub n_flows: u64,
}

impl AlarmSum {
    fn of<'a>(captures: impl Iterator<Item = &'a CaptureScore>) -> Self {
        let mut sum = Self::default();
        for capture in captures {
            sum.n_true += capture.n_alarms(Truthful::True);
            sum.n_odd += capture.n_alarms(Truthful::Odd);
            sum.n_false += capture.n_alarms(Truthful::False);
            sum.hours += capture.benign_ns as f64 / 3.6e12;
            sum.n_flows += capture.n_flows;
        }
        sum
    }

    pub fn false_per_hour(&self) -> f64 {
        self.n_false as f64 / self.hours.max(1e-9)
    }
    pub fn false_per_10_000_flows(&self) -> f64 {
        self.n_false as f64 * 10_000.0 / self.n_flows.max(1) as f64
    }

    fn cells(&self, name: &str) -> Vec<String> {
        vec![
            name.to_owned(),
            self.n_true.to_string(),
            self.n_odd.to_string(),
            self.n_false.to_string(),
            number(self.hours),
            self.n_flows.to_string(),
            format!("{:.4}", self.false_per_hour()),
            format!("{:.3}", self.false_per_10_000_flows()),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "true": self.n_true, "odd": self.n_odd, "false": self.n_false,
            "benign_hours": self.hours, "flows": self.n_flows,
            "false_per_hour": self.false_per_hour(),
            "false_per_10_000_flows": self.false_per_10_000_flows(),
        })
    }
}

impl Evaluation {
    pub fn events(&self) -> impl Iterator<Item = &EventScore> {
        self.captures.iter().flat_map(|capture| &capture.events)
    }

    pub fn overall(&self) -> Sum {
        Sum::of(self.events())
    }

    pub fn of_groups(&self, groups: &[Group]) -> Sum {
        Sum::of(self.events().filter(|event| groups.contains(&event.group)))
    }

    pub fn by_group(&self) -> BTreeMap<Group, Sum> {
        let groups: Vec<Group> = self.events().map(|event| event.group).collect();
        groups
            .into_iter()
            .map(|group| (group, self.of_groups(&[group])))
            .collect()
    }

    /// Alarms on captures of one content.
    pub fn alarms(&self, content: Content) -> AlarmSum {
        AlarmSum::of(self.captures.iter().filter(|c| c.content == content))
    }

    pub fn windows(&self) -> Windows {
        let mut sum = Windows::default();
        let captures = self.captures.iter();
        // Captures of an attack alone have nothing benign to be wrong about.
        for capture in captures.filter(|c| c.content != Content::Attack) {
            sum.add(&capture.windows);
        }
        sum
    }

    /// Packets a second of one core, over everything.
    pub fn packets_per_s(&self) -> f64 {
        let n: u64 = self.captures.iter().map(|c| c.n_packets).sum();
        let busy_ns: u64 = self.captures.iter().map(|c| c.busy_ns).sum();
        n as f64 * 1e9 / busy_ns.max(1) as f64
    }

    pub fn tables(&self) -> Vec<Table> {
        vec![
            self.group_table(),
            self.alarm_table(),
            self.window_table(),
            self.ranking_table(),
            self.event_table(),
            self.capture_table(),
            self.false_table(),
        ]
    }

    fn group_table(&self) -> Table {
        let mut table = Table::new(
            "Attacks by kind",
            &[
                "kind",
                "events",
                "detected",
                "share",
                "delay s p50",
                "delay s p90",
                "packets after",
                "entity right",
                "family right",
            ],
        );
        for (group, sum) in self.by_group() {
            table.push(sum.cells(group.label()));
        }
        table.push(self.overall().cells("all"));
        table
    }

    fn alarm_table(&self) -> Table {
        let mut table = Table::new(
            "Incidents",
            &[
                "captures",
                "true",
                "odd",
                "false",
                "hours",
                "flows",
                "false per hour",
                "false per 10,000 flows",
            ],
        );
        for content in [Content::Benign, Content::Mixed] {
            table.push(self.alarms(content).cells(content.label()));
        }
        table
    }

    fn window_table(&self) -> Table {
        let mut table = Table::new(
            "Entity-windows of 10 s (benign and mixed captures)",
            &[
                "hit",
                "missed",
                "false",
                "quiet",
                "precision",
                "recall",
                "F1",
            ],
        );
        let w = self.windows();
        let mut cells: Vec<String> = [w.n_hit, w.n_missed, w.n_false, w.n_quiet]
            .iter()
            .map(u64::to_string)
            .collect();
        cells.extend([w.precision(), w.recall(), w.f1()].map(|x| format!("{x:.3}")));
        table.push(cells);
        table
    }

    fn ranking_table(&self) -> Table {
        let header: Vec<&str> = ["capture", "over", "area"]
            .into_iter()
            .chain(names())
            .collect();
        let mut table = Table::new(
            "Areas under the curves of the scores (mixed captures)",
            &header,
        );
        for capture in self.captures.iter().filter(|c| c.content == Content::Mixed) {
            let Some(ranking) = &capture.ranking else {
                continue;
            };
            for (over, areas) in [("windows", &ranking.windows), ("packets", &ranking.packets)] {
                let row = |kind: &str, value: fn(&Area) -> f64| {
                    let head = [capture.id.clone(), over.to_owned(), kind.to_owned()];
                    let cells = areas.iter().map(|area| format!("{:.3}", value(area)));
                    head.into_iter().chain(cells).collect::<Vec<String>>()
                };
                table.push(row("ROC", |area| area.roc));
                table.push(row("PR", |area| area.precision_recall));
            }
        }
        table
    }

    fn event_table(&self) -> Table {
        let mut table = Table::new(
            "Attacks",
            &[
                "capture",
                "attack",
                "packets",
                "seconds",
                "delay s",
                "packets after",
                "family",
                "family right",
                "entity",
                "incidents",
            ],
        );
        for capture in &self.captures {
            for event in &capture.events {
                table.push(event.cells(&capture.id));
            }
        }
        table
    }

    fn capture_table(&self) -> Table {
        let mut table = Table::new(
            "Captures",
            &[
                "capture", "content", "packets", "flows", "attacks", "detected", "true", "odd",
                "false",
            ],
        );
        for c in &self.captures {
            let n_detected = c.events.iter().filter(|e| e.detection.is_some()).count();
            table.push(vec![
                c.id.clone(),
                c.content.label().to_owned(),
                c.n_packets.to_string(),
                c.n_flows.to_string(),
                c.events.len().to_string(),
                n_detected.to_string(),
                c.n_alarms(Truthful::True).to_string(),
                c.n_alarms(Truthful::Odd).to_string(),
                c.n_alarms(Truthful::False).to_string(),
            ]);
        }
        table
    }

    fn false_table(&self) -> Table {
        let mut table = Table::new(
            "False and odd incidents",
            &["capture", "verdict", "time", "incident"],
        );
        for capture in &self.captures {
            for alarm in capture
                .alarms
                .iter()
                .filter(|a| a.verdict != Truthful::True)
            {
                table.push(alarm.cells(&capture.id));
            }
        }
        table
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for table in self.tables() {
            text.push_str(&table.text());
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "{:.2} million packets/s per core in the pipeline",
            self.packets_per_s() / 1e6
        );
        text
    }

    /// `docs/evaluation.md`.
    pub fn markdown(&self) -> String {
        let tables = self.tables();
        let parts: Vec<String> = tables.iter().map(Table::markdown).collect();
        include_str!("page.md")
            .replace("{targets}\n", &self.target_table().rows_markdown())
            .replace("{tables}\n", &parts.join("\n"))
    }

    fn target_table(&self) -> Table {
        let (all, fast) = (self.overall(), self.of_groups(&FAST));
        let (quiet, floods) = (self.of_groups(&QUIET), self.of_groups(&FAST[..3]));
        let benign = self.alarms(Content::Benign);
        let mut table = Table::new("Targets", &["what", "target", "observed", ""]);
        for (what, share, observed) in [
            ("attacks detected", 0.95, all.detected()),
            ("floods, scans, guessed passwords", 0.98, fast.detected()),
            (
                "tunnels, beacons, slow attacks, ARP spoofing",
                0.85,
                quiet.detected(),
            ),
            (
                "entity named right, of those detected",
                0.95,
                all.entity_right(),
            ),
            (
                "family named right, of those detected",
                0.85,
                all.family_right(),
            ),
        ] {
            let target = format!("at least {}", percent(share));
            table.push(target_row(
                what,
                target,
                percent(observed),
                observed >= share,
            ));
        }
        let (per_day, per_flows) = (
            24.0 * benign.false_per_hour(),
            2.0 * benign.false_per_10_000_flows(),
        );
        let false_ones = "false incidents, benign captures";
        for (what, unit, limit, observed) in [
            (
                "median delay of floods, scans, passwords",
                "s",
                2.0,
                fast.quantile_delay_s(0.5),
            ),
            (
                "median delay of floods",
                "s",
                1.0,
                floods.quantile_delay_s(0.5),
            ),
            (false_ones, "a day", 1.0, per_day),
            (false_ones, "in 20,000 flows", 1.0, per_flows),
        ] {
            let target = format!("at most {limit} {unit}");
            let text = format!("{observed:.2} {unit}");
            table.push(target_row(what, target, text, observed <= limit));
        }
        table
    }

    pub fn json(&self) -> Value {
        let groups: serde_json::Map<String, Value> = self
            .by_group()
            .into_iter()
            .map(|(group, sum)| (group.label().to_owned(), sum.json()))
            .collect();
        let w = self.windows();
        let captures: Vec<Value> = self.captures.iter().map(capture_json).collect();
        json!({
            "kind": "evaluation",
            "overall": self.overall().json(),
            "groups": groups,
            "alarms": {
                "benign": self.alarms(Content::Benign).json(),
                "mixed": self.alarms(Content::Mixed).json(),
            },
            "entity_windows": {
                "hit": w.n_hit, "missed": w.n_missed, "false": w.n_false, "quiet": w.n_quiet,
                "precision": w.precision(), "recall": w.recall(), "f1": w.f1(),
            },
            "packets_per_s": self.packets_per_s(),
            "captures": captures,
            "problems": self.problems,
        })
    }
}

impl EventScore {
    fn cells(&self, capture: &str) -> Vec<String> {
        let seconds = self.end_ns.saturating_sub(self.start_ns) as f64 / 1e9;
        let mut cells = vec![
            capture.to_owned(),
            self.attack.clone(),
            self.n_packets.to_string(),
            number(seconds),
        ];
        match &self.detection {
            Some(d) => cells.extend([
                number(d.delay_ns as f64 / 1e9),
                percent(d.share_after),
                d.family.to_owned(),
                format!("{:.1}", d.family_weight),
                if d.is_entity_right { "right" } else { "wrong" }.to_owned(),
                d.n_incidents.to_string(),
            ]),
            None => cells.extend(["missed", "", "", "", "", "0"].map(str::to_owned)),
        }
        cells
    }

    fn json(&self) -> Value {
        let mut value = json!({
            "attack": self.attack,
            "kind": self.group.label(),
            "event.start": timestamp(self.start_ns),
            "event.end": timestamp(self.end_ns),
            "packets": self.n_packets,
            "detected": self.detection.is_some(),
        });
        if let Some(d) = &self.detection {
            value["delay_s"] = json!(d.delay_ns as f64 / 1e9);
            value["packets_after.ratio"] = json!(d.share_after);
            value["incident.family"] = json!(d.family);
            value["family_right"] = json!(d.family_weight);
            value["entity_right"] = json!(d.is_entity_right);
            value["incidents"] = json!(d.n_incidents);
        }
        value
    }
}

impl Truthful {
    pub const fn label(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::Odd => "odd",
            Self::False => "false",
        }
    }
}

impl AlarmScore {
    fn cells(&self, capture: &str) -> Vec<String> {
        vec![
            capture.to_owned(),
            self.verdict.label().to_owned(),
            timestamp(self.opened_ns)
                .get(..19)
                .unwrap_or_default()
                .to_owned(),
            format!(
                "{}: {}",
                self.incident.family.label(),
                self.incident.explanation
            ),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "@timestamp": timestamp(self.opened_ns),
            "verdict": self.verdict.label(),
            "incident.id": self.incident.id,
            "incident.family": self.incident.family.label(),
            "source.ips": self.incident.sources,
            "destination.ips": self.incident.destinations,
            "score": self.incident.score,
            "explanation": self.incident.explanation,
        })
    }
}

fn capture_json(capture: &CaptureScore) -> Value {
    let w = &capture.windows;
    let events: Vec<Value> = capture.events.iter().map(EventScore::json).collect();
    let alarms: Vec<Value> = capture.alarms.iter().map(AlarmScore::json).collect();
    json!({
        "id": capture.id,
        "content": capture.content.label(),
        "packets": capture.n_packets,
        "flows": capture.n_flows,
        "duration_s": capture.duration_ns as f64 / 1e9,
        "entity_windows": {
            "hit": w.n_hit, "missed": w.n_missed, "false": w.n_false, "quiet": w.n_quiet,
        },
        "ranking": capture.ranking.as_ref().map(Ranking::json),
        "events": events,
        "alarms": alarms,
    })
}

fn target_row(what: &str, target: String, observed: String, is_reached: bool) -> Vec<String> {
    let word = if is_reached { "reached" } else { "not reached" };
    vec![what.to_owned(), target, observed, word.to_owned()]
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn number(value: f64) -> String {
    if !value.is_finite() {
        "-".to_owned()
    } else if value < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}
