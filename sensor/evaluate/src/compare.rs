//! Ablation of components and of alarm limits on the same captures: what each component is worth, and
//! whether the sensor keeps to the number of alarms that it was set to.

use sensor_capture::player::Conditions;
use sensor_engine::Detector;
use serde_json::{Value, json};

use super::ablation::Components;
use super::cost::{Cost, Speed};
use super::number::{number, percent};
use super::roc::{Area, FUSED, Ranked, Ranking};
use super::score::{CaptureScore, Content, Truthful, Windows};
use super::table::Table;
use super::{Evaluation, Progress, Subject, cost, evaluate};

/// Alarms a day that the curve is made of.
pub const SETTINGS: [f64; 7] = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];
/// The model that is shown beside what is published of its program.
const KITNET_ALONE: &str = "only kitnet";
/// Packet-level ROC-AUC of Kitsune's own program (Mirsky et al., NDSS 2018) on captures by name.
const KITSUNE: [(&str, f64); 3] = [
    ("comp_iot_home_24h_a", 0.63),
    ("comp_app_mix_attacks_a", 0.68),
    ("westermo_right_part1", 0.95),
];
/// False packets at which recall is compared.
const FALSE_PACKETS: f64 = 0.001;

/// Results of the captures with some of the components.
#[derive(Clone, Debug)]
pub struct Run {
    pub name: String,
    pub n_events: u64,
    pub n_detected: u64,
    /// False incidents on benign captures, and on mixed ones.
    pub n_false: [u64; 2],
    pub entity_windows: Windows,
    /// Areas of the fused score over all mixed captures.
    pub windows: Area,
    pub packets: Area,
    pub captures: Vec<MixedCapture>,
}

/// Figures of the fused score on one mixed capture.
#[derive(Clone, Debug)]
pub struct MixedCapture {
    pub id: String,
    pub windows: Area,
    pub packets: Area,
    /// Recall of packets, where one benign packet in a thousand is taken for an attack.
    pub recall: f64,
}

impl Run {
    pub fn of(name: &str, evaluation: &Evaluation) -> Self {
        let overall = evaluation.overall();
        let area = |over: fn(&Ranking) -> &Ranked| {
            let pooled = evaluation.pooled(over);
            pooled.map_or(Area::default(), |pooled| pooled.areas[FUSED])
        };
        let captures = evaluation.captures.iter().filter_map(|capture| {
            let ranking = capture.mixed_ranking()?;
            Some(MixedCapture {
                id: capture.id.clone(),
                windows: ranking.windows.areas[FUSED],
                packets: ranking.packets.areas[FUSED],
                recall: ranking.packets.recall_at(FUSED, FALSE_PACKETS),
            })
        });
        Self {
            name: name.to_owned(),
            n_events: overall.n_events,
            n_detected: overall.n_detected,
            n_false: [Content::Benign, Content::Mixed]
                .map(|content| evaluation.alarms(content).n_false),
            entity_windows: evaluation.windows(),
            windows: area(|ranking| &ranking.windows),
            packets: area(|ranking| &ranking.packets),
            captures: captures.collect(),
        }
    }

    fn capture(&self, id: &str) -> Option<&MixedCapture> {
        self.captures.iter().find(|one| one.id == id)
    }

    /// Mean over captures of the area over windows.
    fn mean_windows_roc(&self) -> f64 {
        let sum: f64 = self.captures.iter().map(|one| one.windows.roc).sum();
        sum / self.captures.len().max(1) as f64
    }

    fn cells(&self) -> Vec<String> {
        let [benign, mixed] = self.n_false;
        let mut cells = vec![
            self.name.clone(),
            format!("{} of {}", self.n_detected, self.n_events),
            benign.to_string(),
            mixed.to_string(),
        ];
        let areas = [
            self.entity_windows.f1(),
            self.windows.roc,
            self.windows.precision_recall,
            self.packets.roc,
            self.packets.precision_recall,
            self.mean_windows_roc(),
        ];
        cells.extend(areas.map(|area| format!("{area:.3}")));
        cells
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "events": self.n_events,
            "detected": self.n_detected,
            "false.benign": self.n_false[0],
            "false.mixed": self.n_false[1],
            "entity_windows.f1": self.entity_windows.f1(),
            "entity_windows": {"roc_auc": self.windows.roc, "pr_auc": self.windows.precision_recall},
            "packets": {"roc_auc": self.packets.roc, "pr_auc": self.packets.precision_recall},
            "entity_windows.roc_auc.mean": self.mean_windows_roc(),
        })
    }
}

/// Observations at one setting of the alarms a day.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub set_per_day: f64,
    /// Alarms of the models on benign captures a day; then false incidents of any kind.
    pub model_alarms_per_day: f64,
    pub false_per_day: f64,
    /// Attacks that were found in the other captures; then alarms of the models that were right.
    pub n_detected: u64,
    pub n_true_model_alarms: u64,
}

impl Setting {
    fn of(set_per_day: f64, evaluation: &Evaluation) -> Self {
        let benign = evaluation.alarms(Content::Benign);
        let days = (benign.hours / 24.0).max(1e-9);
        let of_models = |is_benign: bool, judgement: Truthful| -> u64 {
            let captures = evaluation.captures.iter();
            let alarms = captures
                .filter(|capture| (capture.content == Content::Benign) == is_benign)
                .flat_map(|capture| &capture.alarms);
            let of_models = alarms.filter(|alarm| {
                alarm.judgement == judgement && alarm.incident.detectors.contains(&Detector::Models)
            });
            of_models.count() as u64
        };
        Self {
            set_per_day,
            model_alarms_per_day: of_models(true, Truthful::False) as f64 / days,
            false_per_day: benign.n_false as f64 / days,
            n_detected: evaluation.overall().n_detected,
            n_true_model_alarms: of_models(false, Truthful::True),
        }
    }

    fn json(&self) -> Value {
        json!({
            "set_per_day": self.set_per_day,
            "model_alarms_per_day": self.model_alarms_per_day,
            "false_per_day": self.false_per_day,
            "detected": self.n_detected,
            "true_model_alarms": self.n_true_model_alarms,
        })
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// The first is that of all components.
    pub runs: Vec<Run>,
    pub settings: Vec<Setting>,
    /// Speed on the capture with the most flows.
    pub speed: Option<Speed>,
    pub costs: Vec<Cost>,
}

/// Passes over the captures that a comparison takes, beside the first.
pub fn n_passes(components: &Components) -> usize {
    components.variants().len() + SETTINGS.len()
}

/// Runs the captures again, as often as it takes.
pub fn compare(
    subjects: &[Subject],
    components: &Components,
    conditions: &Conditions,
    whole: &Evaluation,
    progress: &impl Progress,
) -> Result<Comparison, String> {
    let mut comparison = Comparison {
        runs: vec![Run::of("all together", whole)],
        ..Comparison::default()
    };
    for (name, variant) in components.variants() {
        let evaluation = evaluate(subjects, &variant.conditions(conditions), progress);
        comparison.runs.push(Run::of(&name, &evaluation));
    }
    for set_per_day in SETTINGS {
        let mut conditions = components.conditions(conditions);
        conditions.engine.scoring.alarms_per_day = set_per_day;
        let evaluation = evaluate(subjects, &conditions, progress);
        let setting = Setting::of(set_per_day, &evaluation);
        comparison.settings.push(setting);
    }
    let richest = whole.captures.iter().max_by_key(|capture| capture.n_flows);
    if let Some(subject) = subjects
        .iter()
        .find(|s| Some(&s.id) == richest.map(|c| &c.id))
    {
        let (speed, costs) = cost::measure(subject, components, conditions)?;
        (comparison.speed, comparison.costs) = (Some(speed), costs);
    }
    Ok(comparison)
}

impl Comparison {
    pub fn tables(&self) -> Vec<Table> {
        let mut tables = vec![self.run_table()];
        tables.extend(self.kitsune_table());
        tables.push(self.setting_table());
        tables.push(cost::table(&self.costs));
        tables
    }

    pub fn run_table(&self) -> Table {
        let mut table = Table::new(
            "Ablation",
            &[
                "components",
                "attacks detected",
                "false, benign",
                "false, mixed",
                "F1",
                "windows ROC",
                "windows PR",
                "packets ROC",
                "packets PR",
                "windows ROC, mean of captures",
            ],
        );
        for run in &self.runs {
            table.push(run.cells());
        }
        table
    }

    /// None where the captures are not among those that figures are known for.
    pub fn kitsune_table(&self) -> Option<Table> {
        let mut table = Table::new(
            "Packets: beside Kitsune's own program",
            &[
                "capture",
                "Kitsune ROC",
                "KitNET alone ROC",
                "all together ROC",
                "recall at 0.1 % false packets",
            ],
        );
        let together = self.runs.first()?;
        let alone = self.runs.iter().find(|run| run.name == KITNET_ALONE);
        for (id, published) in KITSUNE {
            let Some(whole) = together.capture(id) else {
                continue;
            };
            let alone = alone.and_then(|run| run.capture(id));
            let roc = |one: &MixedCapture| format!("{:.3}", one.packets.roc);
            table.push(vec![
                id.to_owned(),
                format!("{published:.2}"),
                alone.map_or("-".to_owned(), roc),
                roc(whole),
                percent(whole.recall),
            ]);
        }
        (!table.is_empty()).then_some(table)
    }

    pub fn setting_table(&self) -> Table {
        let mut table = Table::new(
            "Alarms a day: set and observed",
            &[
                "set",
                "observed on benign captures",
                "all false incidents",
                "attacks detected",
                "true alarms of the models",
            ],
        );
        for setting in &self.settings {
            table.push(vec![
                format!("{}", setting.set_per_day),
                number(setting.model_alarms_per_day),
                number(setting.false_per_day),
                setting.n_detected.to_string(),
                setting.n_true_model_alarms.to_string(),
            ]);
        }
        table
    }

    pub fn json(&self) -> Value {
        let runs: Vec<Value> = self.runs.iter().map(Run::json).collect();
        let settings: Vec<Value> = self.settings.iter().map(Setting::json).collect();
        let costs: Vec<Value> = self.costs.iter().map(Cost::json).collect();
        let speed = self.speed.as_ref().map(Speed::json);
        json!({"runs": runs, "alarms_per_day": settings, "speed": speed, "costs": costs})
    }
}

impl CaptureScore {
    /// Ranking of a capture that has both benign traffic and attacks.
    pub fn mixed_ranking(&self) -> Option<&Ranking> {
        let ranking = self.ranking.as_ref()?;
        (self.content == Content::Mixed).then_some(ranking)
    }
}
