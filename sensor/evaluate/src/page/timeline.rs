//! The score of a capture over its time, with what is labelled and what was said.

use super::axis::{Axis, Run, tick_text, time_unit};
use super::svg::{Anchor, Area, Svg};
use crate::score::{AlarmScore, CaptureScore, Moment, Truthful};
use crate::truth::WINDOW_NS;

const WIDTH: f64 = 960.0;
const PLOT: Area = Area {
    x: 46.0,
    y: 40.0,
    width: 900.0,
    height: 130.0,
};
/// A score is drawn in columns this wide; the greatest in it counts.
const COLUMN: f64 = 2.0;
/// End of the axis; greater scores are drawn there.
const MOST: f64 = 13.5;
/// Nothing is narrower than this.
const LEAST_WIDTH: f64 = 3.0;
const LANE: f64 = 9.0;
/// Incidents at the same time lie in lanes; beyond these they share the last.
const MAX_LANES: usize = 6;
/// Numbers of attacks closer than this go one above the other.
const NUMBER_WIDTH: f64 = 17.0;
const NUMBER_ROWS: usize = 3;

/// Seconds since the capture's beginning.
fn seconds(capture: &CaptureScore, at_ns: u64) -> f64 {
    at_ns.saturating_sub(capture.first_ns) as f64 / 1e9
}

pub fn plot(capture: &CaptureScore) -> String {
    let span_s = capture.duration_ns as f64 / 1e9;
    let (unit, unit_s) = time_unit(span_s);
    let x = Axis {
        low: 0.0,
        high: (span_s / unit_s).max(1e-6),
        from: PLOT.x,
        to: PLOT.right(),
        run: Run::Linear,
    };
    let y = Axis {
        low: 0.0,
        high: MOST,
        from: PLOT.bottom(),
        to: PLOT.y,
        run: Run::Linear,
    };
    let at = |at_ns: u64| x.at(seconds(capture, at_ns) / unit_s);
    let lanes = lanes(capture, &at);
    let n_lanes = lanes.iter().map(|(lane, ..)| lane + 1).max().unwrap_or(1);
    let axis_y = PLOT.bottom() + 18.0 + LANE * n_lanes as f64;
    let label = format!("scores of {} over time", capture.id);
    let mut svg = Svg::new(WIDTH, axis_y + 36.0, &label);
    shades(&mut svg, capture, &at);
    grid(&mut svg, &x, &y, axis_y);
    for (class, value) in [
        ("line models", (|m: &Moment| m.models) as fn(&Moment) -> f32),
        ("line fused", |m: &Moment| m.fused),
    ] {
        svg.path(class, &steps(capture, &at, &y, value), "");
    }
    for (lane, from, to, alarm) in &lanes {
        let area = Area {
            x: *from,
            y: PLOT.bottom() + 8.0 + LANE * *lane as f64,
            width: to - from,
            height: LANE - 2.0,
        };
        let class = format!("incident {}", alarm.judgement.label());
        let title = format!(
            "{}: {}",
            alarm.judgement.label(),
            alarm.incident.explanation
        );
        svg.rect(&class, area, &title);
    }
    let name = format!("time since the first packet, {unit}");
    let middle = (PLOT.x + PLOT.width / 2.0, axis_y + 31.0);
    svg.text("name", middle, Anchor::Middle, &name);
    svg.finish()
}

/// Labelled stretches behind everything, with their numbers above.
fn shades(svg: &mut Svg, capture: &CaptureScore, at: &impl Fn(u64) -> f64) {
    let area = |start_ns: u64, end_ns: u64| {
        let (from, to) = widened(at(start_ns), at(end_ns));
        Area {
            x: from,
            width: to - from,
            ..PLOT
        }
    };
    for odd in &capture.odd {
        let title = format!("odd, not judged: {}", odd.what);
        svg.rect("odd-shade", area(odd.start_ns, odd.end_ns), &title);
    }
    let mut ends = [f64::MIN; NUMBER_ROWS];
    for (i, event) in capture.events.iter().enumerate() {
        let place = area(event.start_ns, event.end_ns);
        let (class, word) = match event.detection {
            Some(_) => ("attack-shade", "detected"),
            None => ("attack-shade missed", "missed"),
        };
        svg.rect(class, place, &format!("{} {}: {word}", i + 1, event.attack));
        let middle = place.x + place.width / 2.0;
        let free = ends.iter().position(|end| middle - end >= NUMBER_WIDTH);
        if let Some(row) = free {
            ends[row] = middle;
            let at = (middle, PLOT.y - 4.0 - 11.0 * row as f64);
            svg.text("number", at, Anchor::Middle, &(i + 1).to_string());
        }
    }
}

fn grid(svg: &mut Svg, x: &Axis, y: &Axis, axis_y: f64) {
    svg.rect("frame", PLOT, "");
    for value in y.ticks(4) {
        let place = y.at(value);
        svg.line("grid", (PLOT.x, place), (PLOT.right(), place));
        let at = (PLOT.x - 5.0, place + 4.0);
        svg.text("tick", at, Anchor::End, &tick_text(value));
    }
    for value in x.ticks(10) {
        let place = x.at(value);
        svg.line("grid", (place, PLOT.y), (place, axis_y));
        let at = (place, axis_y + 14.0);
        svg.text("tick", at, Anchor::Middle, &tick_text(value));
    }
    svg.line("frame", (PLOT.x, axis_y), (PLOT.right(), axis_y));
    let side = (PLOT.x - 32.0, PLOT.y + PLOT.height / 2.0);
    svg.turned(side, -90.0, Anchor::Middle, "score, −log₁₀ p");
}

/// The greatest score of each column, as steps.
fn steps(
    capture: &CaptureScore,
    at: &impl Fn(u64) -> f64,
    y: &Axis,
    value: fn(&Moment) -> f32,
) -> Vec<(f64, f64)> {
    let n_columns = (PLOT.width / COLUMN) as usize;
    let mut columns = vec![0.0f32; n_columns];
    let place = |x: f64| (((x - PLOT.x) / COLUMN) as usize).min(n_columns - 1);
    for moment in &capture.moments {
        let end_ns = moment.start_ns.saturating_add(WINDOW_NS - 1);
        if end_ns < capture.first_ns {
            continue;
        }
        let range = place(at(moment.start_ns))..=place(at(end_ns));
        for column in columns.get_mut(range).into_iter().flatten() {
            *column = column.max(value(moment));
        }
    }
    let mut points = vec![(PLOT.x, y.from); 2];
    for (i, score) in columns.iter().enumerate() {
        let (from, level) = (PLOT.x + COLUMN * i as f64, y.at(f64::from(*score)));
        match points.last_mut() {
            // One step goes on.
            Some(last) if (last.1 - level).abs() < 0.05 => last.0 = from + COLUMN,
            _ => {
                let before = points.last().map_or(y.from, |last| last.1);
                points.extend([(from, before), (from, level), (from + COLUMN, level)]);
            }
        }
    }
    points
}

fn widened(from: f64, to: f64) -> (f64, f64) {
    let middle = (from + to) / 2.0;
    if to - from >= LEAST_WIDTH {
        return (from, to);
    }
    // Near an end it must not stick out.
    let from = (middle - LEAST_WIDTH / 2.0).clamp(PLOT.x, PLOT.right() - LEAST_WIDTH);
    (from, from + LEAST_WIDTH)
}

/// Each incident with a lane where nothing else is at the time, and its ends.
fn lanes<'a>(
    capture: &'a CaptureScore,
    at: &impl Fn(u64) -> f64,
) -> Vec<(usize, f64, f64, &'a AlarmScore)> {
    let mut alarms: Vec<&AlarmScore> = capture.alarms.iter().collect();
    alarms.sort_by_key(|alarm| alarm.opened_ns);
    let mut ends: Vec<f64> = Vec::new();
    let placed = alarms.into_iter().map(|alarm| {
        let (from, to) = widened(
            at(alarm.opened_ns),
            at(alarm.incident.end_ns.max(alarm.opened_ns)),
        );
        let free = ends.iter().position(|end| from >= end + 1.0);
        let lane = match free {
            Some(lane) => lane,
            None if ends.len() < MAX_LANES => {
                ends.push(0.0);
                ends.len() - 1
            }
            None => MAX_LANES - 1,
        };
        if let Some(end) = ends.get_mut(lane) {
            *end = end.max(to);
        }
        (lane, from, to, alarm)
    });
    placed.collect()
}

impl Truthful {
    /// Name of the sign for people.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::True => "✓",
            Self::Odd => "~",
            Self::False => "✗",
        }
    }
}
