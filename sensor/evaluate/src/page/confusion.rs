//! Families that attacks of each kind were given.

use std::collections::{BTreeMap, BTreeSet};

use super::svg::{Anchor, Area, Svg};
use crate::Evaluation;
use crate::families::Group;
use crate::score::Truthful;

const CELL: f64 = 34.0;
const LEFT: f64 = 190.0;
const TOP: f64 = 124.0;
const MISSED: &str = "missed";
const ODD: &str = "odd, no attack (incidents)";

/// Attacks of one kind under one family.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    n: u64,
    /// Sum of how right the family is.
    weight: f64,
    /// Set for a row that is neither an attack nor nothing.
    is_odd: bool,
}

/// Rows by name, in order, with their cells by family.
type Matrix = Vec<(String, BTreeMap<&'static str, Cell>)>;

fn matrix(evaluation: &Evaluation) -> Matrix {
    let mut rows: BTreeMap<Group, BTreeMap<&'static str, Cell>> = BTreeMap::new();
    for event in evaluation.events() {
        let (family, weight) = event
            .detection
            .as_ref()
            .map_or((MISSED, 0.0), |d| (d.family, d.family_weight));
        let cell = rows
            .entry(event.group)
            .or_default()
            .entry(family)
            .or_default();
        cell.n += 1;
        cell.weight += weight;
    }
    let mut matrix: Matrix = rows
        .into_iter()
        .map(|(group, cells)| (group.label().to_owned(), cells))
        .collect();
    for (judgement, name) in [
        (Truthful::Odd, ODD),
        (Truthful::False, "nothing (false incidents)"),
    ] {
        let mut cells: BTreeMap<&'static str, Cell> = BTreeMap::new();
        let captures = evaluation.captures.iter();
        for alarm in captures
            .flat_map(|c| &c.alarms)
            .filter(|a| a.judgement == judgement)
        {
            cells.entry(alarm.incident.family.label()).or_default().n += 1;
        }
        matrix.push((name.to_owned(), cells));
    }
    matrix
}

/// Kinds of attacks against the families that were named.
pub fn plot(evaluation: &Evaluation) -> String {
    let matrix = matrix(evaluation);
    let named: BTreeSet<&str> = matrix
        .iter()
        .flat_map(|(_, cells)| cells.keys().copied())
        .filter(|family| *family != MISSED)
        .collect();
    let columns: Vec<&str> = named.into_iter().chain([MISSED]).collect();
    let width = LEFT + CELL * columns.len() as f64 + 70.0;
    let height = TOP + CELL * matrix.len() as f64 + 44.0;
    let mut svg = Svg::new(
        width,
        height,
        "attacks by kind and by the family that was named",
    );
    for (i, family) in columns.iter().enumerate() {
        let at = (LEFT + CELL * (i as f64 + 0.6), TOP - 8.0);
        svg.turned(at, -45.0, Anchor::Start, family);
    }
    for (j, (name, cells)) in matrix.iter().enumerate() {
        let y = TOP + CELL * j as f64;
        let at = (LEFT - 8.0, y + CELL / 2.0 + 4.0);
        svg.text("key", at, Anchor::End, name);
        let n_row: u64 = cells.values().map(|cell| cell.n).sum();
        for (i, family) in columns.iter().enumerate() {
            let area = Area {
                x: LEFT + CELL * i as f64,
                y,
                width: CELL,
                height: CELL,
            };
            let mut cell = cells.get(family).copied().unwrap_or_default();
            cell.is_odd = name.as_str() == ODD;
            draw(&mut svg, area, cell, n_row, &format!("{name} as {family}"));
        }
    }
    let y = TOP + CELL * matrix.len() as f64 + 16.0;
    let mut x = LEFT;
    for (class, text) in [
        ("cell right f4", "family right"),
        ("cell half f4", "partly"),
        ("cell wrong f4", "wrong or missed"),
    ] {
        let area = Area {
            x,
            y,
            width: 16.0,
            height: 16.0,
        };
        svg.rect(class, area, "");
        svg.text("key", (x + 22.0, y + 12.0), Anchor::Start, text);
        x += 110.0;
    }
    svg.finish()
}

fn draw(svg: &mut Svg, area: Area, cell: Cell, n_row: u64, what: &str) {
    if cell.n == 0 {
        svg.rect("cell", area, "");
        return;
    }
    let mean = cell.weight / cell.n as f64;
    let class = if cell.is_odd {
        "unjudged"
    } else if mean > 0.75 {
        "right"
    } else if mean > 0.25 {
        "half"
    } else {
        "wrong"
    };
    // Five depths of shade by the share of the row.
    let depth = 1 + 4 * cell.n.saturating_sub(1) / n_row.max(1);
    svg.rect(
        &format!("cell {class} f{depth}"),
        area,
        &format!("{what}: {}", cell.n),
    );
    let middle = (area.x + area.width / 2.0, area.y + area.height / 2.0 + 4.0);
    svg.text("count", middle, Anchor::Middle, &cell.n.to_string());
}
