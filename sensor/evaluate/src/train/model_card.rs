//! Report of a training: tables for a terminal, the model card.

use std::fmt::Write as _;

use sensor_engine::{Forest, SCHEMA_VERSION, schema_hash};

use super::class_metrics::{Judgement, NEVER};
use crate::table::Table;

fn percent(x: f32) -> String {
    format!("{:.1} %", 100.0 * x)
}

fn families(judgement: &Judgement) -> Table {
    let mut table = Table::new(
        "Families, on held-out captures",
        &[
            "class",
            "rows",
            "captures",
            "groups",
            "precision",
            "recall",
            "F1",
            "named from",
            "right of named",
            "named right",
        ],
    );
    let classes = judgement.classes.iter().enumerate();
    for ((place, class), metrics) in classes.zip(&judgement.class_metrics) {
        let least = judgement.thresholds.get(place).copied().unwrap_or(NEVER);
        let figure = |x: f32| {
            if judgement.is_judged(place) {
                percent(x)
            } else {
                "-".to_owned()
            }
        };
        let named = |x: f32| {
            if least < NEVER {
                percent(x)
            } else {
                "-".to_owned()
            }
        };
        table.push(vec![
            class.clone(),
            metrics.n_rows.to_string(),
            metrics.n_captures.to_string(),
            metrics.n_groups.to_string(),
            figure(metrics.precision),
            figure(metrics.recall),
            figure(metrics.f1),
            if least < NEVER {
                format!("{least:.2}")
            } else {
                "never".to_owned()
            },
            named(metrics.named_precision),
            named(metrics.named_recall),
        ]);
    }
    table
}

/// Captures of each class by what most trees call them; classes that nobody was taken for are left
/// out as columns.
fn confusion(judgement: &Judgement) -> String {
    let mut text = String::new();
    for (class, row) in judgement.classes.iter().zip(&judgement.confusion) {
        let mut cells: Vec<(f32, &String)> = row
            .iter()
            .copied()
            .zip(&judgement.classes)
            .filter(|(n, _)| *n >= 0.05)
            .collect();
        cells.sort_by(|a, b| b.0.total_cmp(&a.0));
        let cells: Vec<String> = cells.iter().map(|(n, to)| format!("{to} {n:.1}")).collect();
        let _infallible = writeln!(text, "| {class} | {} |", cells.join(", "));
    }
    text
}

fn headline(forest: &Forest, judgement: &Judgement) -> String {
    let about = &forest.about;
    format!(
        "Macro F1 {:.3} over the classes with two groups or more, {:.3} for calling everything \
         {} (the most frequent); of attacks {} get a name, {} of what is named is right. \
         {} rows of {} captures, {} folds.",
        about.macro_f1,
        about.baseline_macro_f1,
        judgement.baseline,
        percent(about.named_share),
        percent(about.named_precision),
        about.n_rows,
        about.captures.len(),
        about.n_folds,
    )
}

/// Writes the report for a terminal.
pub fn text(forest: &Forest, judgement: &Judgement) -> String {
    format!(
        "{}\n\nWhat held-out captures are called\n{}\n{}\n",
        families(judgement).text(),
        confusion(judgement).replace("| ", "  ").replace(" |", ""),
        headline(forest, judgement),
    )
}

/// `docs/models/naming.md`.
pub fn page(forest: &Forest, judgement: &Judgement, n_bytes: usize) -> String {
    let about = &forest.about;
    let mut figures = format!(
        "## Figures\n\nModel `{:016x}`, feature schema {SCHEMA_VERSION} (`{:016x}`), {} trees, {} \
         nodes, {} kB, seed {}.\n\n{}\n\n{}\n",
        forest.id(),
        schema_hash(),
        forest.n_trees(),
        forest.n_nodes(),
        n_bytes.div_ceil(1_000),
        about.seed,
        headline(forest, judgement),
        families(judgement).rows_markdown(),
    );
    figures.push_str(
        "*Groups* are captures that share no packets with those of other groups. *Named from* is the \
         threshold; *right of named* the precision above it; *named right* the share of the class \
         that gets its right name.\n\nWhat held-out captures are called, in captures:\n\n| class | \
         called |\n|---|---|\n",
    );
    figures.push_str(&confusion(judgement));
    figures.push_str("\nCaptures that it was trained on:\n\n| capture | rows | group | SHA-256 |\n|---|---:|---:|---|\n");
    for source in &about.captures {
        let _infallible = writeln!(
            figures,
            "| {} | {} | {} | `{}` |",
            source.id,
            source.n_rows,
            source.group,
            source.sha256.get(..16).unwrap_or_default()
        );
    }
    include_str!("model_card.md").replace("{figures}\n", &figures)
}

/// Builds the report as JSON.
pub fn json(forest: &Forest, judgement: &Judgement) -> serde_json::Value {
    let about = &forest.about;
    let classes: Vec<serde_json::Value> = judgement
        .classes
        .iter()
        .zip(&judgement.class_metrics)
        .zip(&judgement.thresholds)
        .map(|((class, metrics), least)| {
            serde_json::json!({
                "class": class, "rows": metrics.n_rows, "captures": metrics.n_captures,
                "groups": metrics.n_groups, "precision": metrics.precision, "recall": metrics.recall,
                "f1": metrics.f1, "threshold": (*least < NEVER).then_some(least),
                "named.precision": metrics.named_precision, "named.recall": metrics.named_recall,
            })
        })
        .collect();
    serde_json::json!({
        "kind": "training", "model": format!("{:016x}", forest.id()),
        "schema.hash": format!("{:016x}", schema_hash()), "seed": about.seed,
        "trees": forest.n_trees(), "nodes": forest.n_nodes(), "rows": about.n_rows,
        "folds": about.n_folds, "macro_f1": about.macro_f1,
        "baseline": judgement.baseline, "baseline.macro_f1": about.baseline_macro_f1,
        "named.precision": about.named_precision, "named.share": about.named_share,
        "classes": classes, "confusion": judgement.confusion,
    })
}
