//! Report of a training of windows: table for a terminal, the model card.

use std::fmt::Write as _;

use sensor_engine::{PAIR_SCHEMA_VERSION, pair_schema_hash};

use super::pairs::{GroupFigures, Trained};
use crate::table::Table;

fn table(figures: &[GroupFigures]) -> Table {
    let columns = [
        "group",
        "captures",
        "attacks",
        "detectors",
        "model",
        "beyond",
        "false",
        "benign hours",
    ];
    let mut table = Table::new(
        "By group, by trees and thresholds that it was kept out of",
        &columns,
    );
    for figure in figures.iter().chain([&total(figures)]) {
        table.push(vec![
            figure.name.clone(),
            figure.n_captures.to_string(),
            figure.n_events.to_string(),
            figure.by_detectors.to_string(),
            figure.by_model.to_string(),
            figure.beyond.to_string(),
            figure.n_false.to_string(),
            format!("{:.2}", figure.benign_hours),
        ]);
    }
    table
}

fn total(figures: &[GroupFigures]) -> GroupFigures {
    let mut sum = GroupFigures {
        name: "all".to_owned(),
        ..GroupFigures::default()
    };
    for figure in figures {
        sum.n_captures += figure.n_captures;
        sum.n_events += figure.n_events;
        sum.by_detectors += figure.by_detectors;
        sum.by_model += figure.by_model;
        sum.beyond += figure.beyond;
        sum.n_false += figure.n_false;
        sum.benign_hours += figure.benign_hours;
    }
    sum
}

fn headline(trained: &Trained) -> String {
    let sum = total(&trained.figures);
    let percent = |n: usize| 100.0 * n as f64 / sum.n_events.max(1) as f64;
    let about = &trained.model.about;
    format!(
        "Of {} attacks the detectors find {} ({:.1} %), the model alone {} ({:.1} %), and beyond the detectors \
         {} ({:.1} %), with {} false incidents in {:.1} benign hours ({:.2} a day). {} windows of {} captures in {} \
         groups, {} folds.",
        sum.n_events,
        sum.by_detectors,
        percent(sum.by_detectors),
        sum.by_model,
        percent(sum.by_model),
        sum.beyond,
        percent(sum.beyond),
        sum.n_false,
        sum.benign_hours,
        24.0 * sum.n_false as f64 / sum.benign_hours.max(1e-9),
        about.n_rows,
        about.n_captures,
        about.n_groups,
        about.n_folds,
    )
}

fn model(trained: &Trained, n_bytes: usize) -> String {
    let model = &trained.model;
    format!(
        "Model `{:016x}`, schema {PAIR_SCHEMA_VERSION} (`{:016x}`), {} trees, {} nodes, {} kB, seed {}. A pair is \
         reported from a strength of {:.2}, a source from {:.2}; below a sum of {:.2} a window is ordinary.",
        model.id(),
        pair_schema_hash(),
        model.n_trees(),
        model.n_nodes(),
        n_bytes.div_ceil(1_000),
        model.about.seed,
        model.scale.alarm[0],
        model.scale.alarm[1],
        model.scale.ordinary,
    )
}

fn lists(figures: &[GroupFigures]) -> [(&'static str, Vec<&String>); 2] {
    let found = figures.iter().flat_map(|figure| &figure.found).collect();
    let wrong = figures.iter().flat_map(|figure| &figure.wrong).collect();
    [
        ("Found by the model and by no detector", found),
        ("False incidents by capture", wrong),
    ]
}

/// Writes the report for a terminal.
pub fn text(trained: &Trained, n_bytes: usize) -> String {
    let mut text = table(&trained.figures).text();
    for (title, list) in lists(&trained.figures) {
        let _infallible = writeln!(text, "\n{title}:");
        for item in list {
            let _infallible = writeln!(text, "  {item}");
        }
    }
    let _infallible = writeln!(text, "\n{}\n{}", headline(trained), model(trained, n_bytes));
    text
}

/// Writes `docs/models/pair_windows.md`.
pub fn page(trained: &Trained, n_bytes: usize) -> String {
    let mut figures = format!(
        "## Figures\n\n{}\n\n{}\n\n{}\n",
        model(trained, n_bytes),
        headline(trained),
        table(&trained.figures).rows_markdown()
    );
    for (title, list) in lists(&trained.figures) {
        let _infallible = writeln!(figures, "{title}:\n");
        for item in list {
            let _infallible = writeln!(figures, "- {item}");
        }
        figures.push('\n');
    }
    include_str!("pairs_card.md").replace("{figures}\n", &figures)
}

/// Builds the report as JSON.
pub fn json(trained: &Trained) -> serde_json::Value {
    let group = |figure: &GroupFigures| {
        serde_json::json!({
            "group": figure.name, "captures": figure.n_captures, "attacks": figure.n_events,
            "by_detectors": figure.by_detectors, "by_model": figure.by_model, "beyond": figure.beyond,
            "false": figure.n_false, "benign_hours": figure.benign_hours,
        })
    };
    serde_json::json!({
        "kind": "training", "model": format!("{:016x}", trained.model.id()),
        "schema.hash": format!("{:016x}", pair_schema_hash()), "seed": trained.model.about.seed,
        "trees": trained.model.n_trees(), "nodes": trained.model.n_nodes(),
        "rows": trained.model.about.n_rows, "folds": trained.model.about.n_folds,
        "all": group(&total(&trained.figures)),
        "groups": trained.figures.iter().map(group).collect::<Vec<_>>(),
    })
}
