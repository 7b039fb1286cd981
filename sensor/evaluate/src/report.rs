//! An evaluation summed up, as text, Markdown and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Evaluation;
use super::compare::Comparison;
use super::cost::Speed;
use super::families::Group;
use super::number::{number, percent};
use super::roc::{Area, Ranked, Ranking, name, places};
use super::score::{
    AlarmScore, CaptureScore, Content, Detection, EventScore, OddStretch, Truthful, Windows, ratio,
};
use super::table::Table;
use sensor_record::Timestamp;

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
        let mut tables = vec![
            self.group_table(),
            self.alarm_table(),
            self.benign_table(),
            self.source_table(),
            self.window_table(),
        ];
        if let Some(comparison) = &self.comparison {
            tables.extend(comparison.tables());
        }
        tables.extend([
            self.ranking_table(),
            self.event_table(),
            self.capture_table(),
            self.false_table(),
        ]);
        tables
    }

    pub fn group_table(&self) -> Table {
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

    pub fn alarm_table(&self) -> Table {
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

    pub fn window_table(&self) -> Table {
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

    /// Places of the scores that there are.
    pub fn places(&self) -> Vec<usize> {
        places(&self.models)
    }

    /// The scores of all mixed captures as if they were one.
    pub fn pooled(&self, over: fn(&Ranking) -> &Ranked) -> Option<Ranked> {
        let captures = self.captures.iter();
        Ranked::pooled(captures.filter_map(|c| c.mixed_ranking()).map(over))
    }

    pub fn ranking_table(&self) -> Table {
        let places = self.places();
        let header: Vec<&str> = ["capture", "over", "area"]
            .into_iter()
            .chain(places.iter().map(|place| name(*place)))
            .collect();
        let mut table = Table::new(
            "Areas under the curves of the scores (mixed captures)",
            &header,
        );
        let mut add = |id: &str, over: &str, ranked: &Ranked| {
            let row = |kind: &str, value: fn(&Area) -> f64| {
                let head = [id.to_owned(), over.to_owned(), kind.to_owned()];
                let areas = places.iter().filter_map(|place| ranked.areas.get(*place));
                let cells = areas.map(|area| format!("{:.3}", value(area)));
                head.into_iter().chain(cells).collect::<Vec<String>>()
            };
            table.push(row("ROC", |area| area.roc));
            table.push(row("PR", |area| area.precision_recall));
        };
        for capture in &self.captures {
            if let Some(ranking) = capture.mixed_ranking() {
                add(&capture.id, "windows", &ranking.windows);
                add(&capture.id, "packets", &ranking.packets);
            }
        }
        if let Some(pooled) = self.pooled(|ranking| &ranking.windows) {
            add("all of them", "windows", &pooled);
        }
        if let Some(pooled) = self.pooled(|ranking| &ranking.packets) {
            add("all of them", "packets", &pooled);
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
                "capture",
                "content",
                "packets",
                "flows",
                "attacks",
                "detected",
                "true",
                "odd",
                "false",
                "precision",
                "recall",
                "F1",
            ],
        );
        for c in &self.captures {
            let n_detected = c.events.iter().filter(|e| e.detection.is_some()).count();
            let mut cells = vec![
                c.id.clone(),
                c.content.label().to_owned(),
                c.n_packets.to_string(),
                c.n_flows.to_string(),
                c.events.len().to_string(),
                n_detected.to_string(),
                c.n_alarms(Truthful::True).to_string(),
                c.n_alarms(Truthful::Odd).to_string(),
                c.n_alarms(Truthful::False).to_string(),
            ];
            cells.extend(c.window_cells());
            table.push(cells);
        }
        table
    }

    pub fn false_table(&self) -> Table {
        let mut table = Table::new(
            "False and odd incidents",
            &["capture", "judgement", "why", "time", "incident"],
        );
        for capture in &self.captures {
            for alarm in capture
                .alarms
                .iter()
                .filter(|a| a.judgement != Truthful::True)
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
            "{:.2} million packets/s and {:.0} thousand flows/s per core in the pipeline",
            self.packets_per_s() / 1e6,
            self.flows_per_s() / 1e3
        );
        text
    }

    /// Flows a second of one core, over everything.
    pub fn flows_per_s(&self) -> f64 {
        let n: u64 = self.captures.iter().map(|c| c.n_flows).sum();
        let busy_ns: u64 = self.captures.iter().map(|c| c.busy_ns).sum();
        n as f64 * 1e9 / busy_ns.max(1) as f64
    }

    fn speed_text(&self) -> String {
        let speed = self.comparison.as_ref().and_then(|c| c.speed.as_ref());
        speed.map_or_else(String::new, Speed::text)
    }

    /// `docs/evaluation.md`.
    pub fn markdown(&self) -> String {
        let tables = self.tables();
        let parts: Vec<String> = tables.iter().map(Table::markdown).collect();
        include_str!("page.md")
            .replace("{targets}\n", &self.target_table().rows_markdown())
            .replace("{tables}\n", &parts.join("\n"))
            .replace("{speed}", &self.speed_text())
    }

    pub fn json(&self) -> Value {
        let groups: serde_json::Map<String, Value> = self
            .by_group()
            .into_iter()
            .map(|(group, sum)| (group.label().to_owned(), sum.json()))
            .collect();
        let w = self.windows();
        let places = self.places();
        let captures = self.captures.iter();
        let captures: Vec<Value> = captures.map(|c| capture_json(c, &places)).collect();
        let models: Vec<&str> = self.models.iter().map(|model| model.label()).collect();
        json!({
            "kind": "evaluation",
            "models": models,
            "overall": self.overall().json(),
            "groups": groups,
            "alarms": {
                "benign": self.alarms(Content::Benign).json(),
                "mixed": self.alarms(Content::Mixed).json(),
            },
            "by_source": self.sources_json(),
            "entity_windows": {
                "hit": w.n_hit, "missed": w.n_missed, "false": w.n_false, "quiet": w.n_quiet,
                "precision": w.precision(), "recall": w.recall(), "f1": w.f1(),
            },
            "packets_per_s": self.packets_per_s(),
            "flows_per_s": self.flows_per_s(),
            "comparison": self.comparison.as_ref().map(Comparison::json),
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
            "event.start": Timestamp(self.start_ns),
            "event.end": Timestamp(self.end_ns),
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

impl OddStretch {
    fn json(&self) -> Value {
        json!({
            "what": self.what,
            "event.start": Timestamp(self.start_ns),
            "event.end": Timestamp(self.end_ns),
            "packets": self.n_packets,
        })
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

impl CaptureScore {
    /// Precision, recall and F1 of its entity-windows; nothing where there is nothing to count.
    fn window_cells(&self) -> [String; 3] {
        let w = &self.windows;
        let cell = |value: f64, n: u64| {
            if n == 0 || self.content == Content::Attack {
                String::new()
            } else {
                format!("{value:.3}")
            }
        };
        let n_attack = w.n_hit + w.n_missed;
        [
            cell(w.precision(), w.n_hit + w.n_false),
            cell(w.recall(), n_attack),
            cell(w.f1(), n_attack),
        ]
    }
}

impl AlarmScore {
    /// Grounds of the judgement.
    pub const fn why(&self) -> &'static str {
        match self.judgement {
            Truthful::True => "time and a party of an attack",
            Truthful::Odd => "time and a party of what is odd",
            Truthful::False if self.is_during_attack => "time of an attack, not its parties",
            Truthful::False => "no attack at that time",
        }
    }

    fn cells(&self, capture: &str) -> Vec<String> {
        vec![
            capture.to_owned(),
            self.judgement.label().to_owned(),
            self.why().to_owned(),
            Timestamp(self.opened_ns)
                .to_string()
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
        let detectors = self.incident.detectors.iter();
        let labels: Vec<&str> = detectors.map(|detector| detector.label()).collect();
        json!({
            "@timestamp": Timestamp(self.opened_ns),
            "judgement": self.judgement.label(),
            "judgement.reason": self.why(),
            "incident.id": self.incident.id,
            "incident.family": self.incident.family.label(),
            "detectors": labels,
            "severity": self.incident.severity.label(),
            "source.ips": self.incident.sources,
            "destination.ips": self.incident.destinations,
            "score": self.incident.score,
            "explanation": self.incident.explanation,
        })
    }
}

fn capture_json(capture: &CaptureScore, places: &[usize]) -> Value {
    let w = &capture.windows;
    let events: Vec<Value> = capture.events.iter().map(EventScore::json).collect();
    let alarms: Vec<Value> = capture.alarms.iter().map(AlarmScore::json).collect();
    let odd: Vec<Value> = capture.odd.iter().map(OddStretch::json).collect();
    json!({
        "id": capture.id,
        "folder": capture.source.folder,
        "source": capture.source.name,
        "decisions": capture.n_decisions,
        "drops": capture.n_drops,
        "content": capture.content.label(),
        "packets": capture.n_packets,
        "flows": capture.n_flows,
        "duration_s": capture.duration_ns as f64 / 1e9,
        "entity_windows": {
            "hit": w.n_hit, "missed": w.n_missed, "false": w.n_false, "quiet": w.n_quiet,
        },
        "busy_s": capture.busy_ns as f64 / 1e9,
        "odd": odd,
        "ranking": capture.ranking.as_ref().map(|ranking| ranking.json(places)),
        "events": events,
        "alarms": alarms,
    })
}
