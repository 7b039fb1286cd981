//! ROC and precision-recall curves, delays, and alarms set against observed.

use super::axis::{self, Axis, Run};
use super::svg::{Anchor, Area, Svg};
use crate::Evaluation;
use crate::compare::Setting;
use crate::families::Group;
use crate::report::Sum;
use crate::roc::{FUSED, Point, Ranked, name};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 350.0;
/// The place of a square plot with its legend to the right.
const PLOT: Area = Area {
    x: 50.0,
    y: 12.0,
    width: 292.0,
    height: 292.0,
};
/// Closer points are one on paper.
const GRAIN: f64 = 1.0 / 400.0;

/// Class of the line of a score.
fn line_class(place: usize) -> String {
    format!("line s{place}")
}

/// A line and what it is, one under the other.
fn legend(svg: &mut Svg, at: (f64, f64), entries: &[(String, String)]) {
    for (i, (class, text)) in entries.iter().enumerate() {
        let y = at.1 + 17.0 * i as f64;
        svg.line(class, (at.0, y), (at.0 + 22.0, y));
        svg.text("key", (at.0 + 28.0, y + 4.0), Anchor::Start, text);
    }
}

const fn linear(low: f64, high: f64, from: f64, to: f64) -> Axis {
    let run = Run::Linear;
    Axis {
        low,
        high,
        from,
        to,
        run,
    }
}

/// Points that can be told apart; the first and the last stay.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let n = points.len();
    for (i, point) in points.into_iter().enumerate() {
        let is_far = kept.last().is_none_or(|last| {
            (point.0 - last.0).abs() > GRAIN || (point.1 - last.1).abs() > GRAIN
        });
        if is_far || i + 1 == n {
            kept.push(point);
        }
    }
    kept
}

/// Kind of curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    Roc,
    PrecisionRecall,
}

impl Curve {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Roc => ("false positive rate", "true positive rate (recall)"),
            Self::PrecisionRecall => ("recall", "precision"),
        }
    }

    fn points(self, curve: &[Point]) -> Vec<(f64, f64)> {
        match self {
            Self::Roc => std::iter::once((0.0, 0.0))
                .chain(curve.iter().map(|p| (p.false_rate, p.recall)))
                .collect(),
            Self::PrecisionRecall => {
                let first = curve.first().map_or(1.0, |p| p.precision);
                std::iter::once((0.0, first))
                    .chain(curve.iter().map(|p| (p.recall, p.precision)))
                    .collect()
            }
        }
    }

    fn area(self, ranked: &Ranked, place: usize) -> f64 {
        let area = ranked.areas.get(place).copied().unwrap_or_default();
        match self {
            Self::Roc => area.roc,
            Self::PrecisionRecall => area.precision_recall,
        }
    }

    /// All scores in one plot, the fused one on top.
    pub fn plot(self, ranked: &Ranked, places: &[usize], label: &str) -> String {
        let mut svg = Svg::new(WIDTH, HEIGHT, label);
        let x = linear(0.0, 1.0, PLOT.x, PLOT.right());
        let y = linear(0.0, 1.0, PLOT.bottom(), PLOT.y);
        let (x_name, y_name) = self.names();
        axis::draw(&mut svg, PLOT, (&x, x_name), (&y, y_name), (5, 5));
        if self == Self::Roc {
            let corners = [(PLOT.x, PLOT.bottom()), (PLOT.right(), PLOT.y)];
            svg.line("chance", corners[0], corners[1]);
        }
        let mut entries = Vec::new();
        for place in places {
            let points = thinned(self.points(&ranked.curve(*place)));
            let points: Vec<_> = points.iter().map(|(a, b)| (x.at(*a), y.at(*b))).collect();
            let text = format!("{} {:.3}", name(*place), self.area(ranked, *place));
            svg.path(&line_class(*place), &points, &text);
            entries.push((line_class(*place), text));
        }
        entries.reverse();
        let at = (PLOT.right() + 12.0, PLOT.y + 24.0);
        svg.text(
            "key",
            (at.0, PLOT.y + 8.0),
            Anchor::Start,
            "area under the curve",
        );
        legend(&mut svg, at, &entries);
        svg.finish()
    }
}

/// Groups that are drawn as one line.
const DELAYS: [(&str, &[Group]); 5] = [
    (
        "floods",
        &[Group::Flood, Group::Reflection, Group::HttpFlood],
    ),
    ("scans", &[Group::Scan]),
    ("guessed passwords", &[Group::BruteForce]),
    (
        "quiet ones",
        &[
            Group::Tunnel,
            Group::Beacon,
            Group::SlowHttp,
            Group::ArpSpoof,
        ],
    ),
    (
        "the rest",
        &[
            Group::Lateral,
            Group::Malware,
            Group::Malformed,
            Group::Other,
        ],
    ),
];

/// Share of the attacks that were detected after so long; a line ends where the rest was missed.
pub fn delays(evaluation: &Evaluation) -> String {
    let mut svg = Svg::new(WIDTH, HEIGHT, "share of attacks detected, by delay");
    let all = evaluation.overall();
    let most = all.delays_s.last().copied().unwrap_or(1.0).max(1.0);
    let x = Axis {
        low: 0.05,
        high: 10f64.powf(most.log10().ceil()).max(10.0),
        from: PLOT.x,
        to: PLOT.right(),
        run: Run::Logarithmic,
    };
    let y = linear(0.0, 100.0, PLOT.bottom(), PLOT.y);
    let names = ("delay from the first packet, s", "attacks detected, %");
    axis::draw(&mut svg, PLOT, (&x, names.0), (&y, names.1), (5, 5));
    let mut entries = Vec::new();
    let lines = DELAYS.iter().enumerate();
    let sums = lines.map(|(i, (name, groups))| (i, *name, evaluation.of_groups(groups)));
    for (class, name, sum) in sums.chain([(FUSED, "all", all)]) {
        if sum.n_events == 0 {
            continue;
        }
        let text = format!("{name} ({} of {})", sum.n_detected, sum.n_events);
        svg.path(&line_class(class), &steps(&sum, &x, &y), &text);
        entries.push((line_class(class), text));
    }
    entries.reverse();
    legend(&mut svg, (PLOT.right() + 12.0, PLOT.y + 8.0), &entries);
    svg.finish()
}

fn steps(sum: &Sum, x: &Axis, y: &Axis) -> Vec<(f64, f64)> {
    let mut points = vec![(x.from, y.from)];
    for (i, delay_s) in sum.delays_s.iter().enumerate() {
        let before = points.last().map_or(y.from, |point| point.1);
        let share = 100.0 * (i + 1) as f64 / sum.n_events as f64;
        points.push((x.at(*delay_s), before));
        points.push((x.at(*delay_s), y.at(share)));
    }
    let last = points.last().map_or(y.from, |point| point.1);
    points.push((x.to, last));
    points
}

/// None at all lies on a line of its own below the logarithmic part.
const NONE_HEIGHT: f64 = 34.0;

/// Grid, ticks and names, with a place for none below; gives that place.
fn alarm_frame(svg: &mut Svg, plot: Area, x: &Axis, y: &Axis) -> Area {
    let names = (
        "alarms a day that were set",
        "observed a day on benign captures",
    );
    // Grid and ticks of the logarithmic part, names and ticks below around the whole.
    let none = Area {
        y: plot.bottom(),
        height: NONE_HEIGHT,
        ..plot
    };
    svg.rect("frame", none, "");
    svg.rect("frame", plot, "");
    for value in y.ticks(0) {
        svg.line("grid", (plot.x, y.at(value)), (plot.right(), y.at(value)));
        svg.text(
            "tick",
            (plot.x - 5.0, y.at(value) + 4.0),
            Anchor::End,
            &axis::tick_text(value),
        );
    }
    svg.text("tick", (plot.x - 5.0, none.y + 21.0), Anchor::End, "none");
    for value in x.ticks(0) {
        svg.line("grid", (x.at(value), plot.y), (x.at(value), none.bottom()));
        let at = (x.at(value), none.bottom() + 14.0);
        svg.text("tick", at, Anchor::Middle, &axis::tick_text(value));
    }
    let middle = plot.x + plot.width / 2.0;
    svg.text(
        "name",
        (middle, none.bottom() + 31.0),
        Anchor::Middle,
        names.0,
    );
    let side = (plot.x - 36.0, plot.y + PLOT.height / 2.0);
    svg.turned(side, -90.0, Anchor::Middle, names.1);
    svg.line("chance", (plot.x, plot.bottom()), (plot.right(), plot.y));
    none
}

/// The operator's one number against what came of it.
pub fn alarms(settings: &[Setting]) -> String {
    let mut svg = Svg::new(WIDTH, HEIGHT, "alarms a day: observed against set");
    let plot = Area {
        height: PLOT.height - NONE_HEIGHT,
        ..PLOT
    };
    let set = settings.iter().map(|setting| setting.set_per_day);
    let observed = settings
        .iter()
        .flat_map(|s| [s.model_alarms_per_day, s.false_per_day]);
    let low = set.clone().fold(0.1, f64::min);
    let high = set.chain(observed).fold(100.0, f64::max);
    let axis = |from, to| Axis {
        low: 10f64.powf(low.log10().floor()),
        high: 10f64.powf(high.log10().ceil()),
        from,
        to,
        run: Run::Logarithmic,
    };
    let (x, y) = (axis(PLOT.x, PLOT.right()), axis(plot.bottom(), plot.y));
    let none = alarm_frame(&mut svg, plot, &x, &y);
    let place = |value: f64| {
        if value > 0.0 {
            y.at(value)
        } else {
            none.y + NONE_HEIGHT / 2.0
        }
    };
    type Value = fn(&Setting) -> f64;
    let lines: [(usize, &str, Value); 2] = [
        (0, "false incidents of any kind", |s| s.false_per_day),
        (FUSED, "alarms of the models", |s| s.model_alarms_per_day),
    ];
    let mut entries = vec![("chance".to_owned(), "as set".to_owned())];
    for (class, name, value) in lines {
        let points: Vec<_> = settings
            .iter()
            .map(|s| (x.at(s.set_per_day), place(value(s))))
            .collect();
        svg.path(&line_class(class), &points, name);
        for (point, setting) in points.iter().zip(settings) {
            let title = format!("set {}: {:.2} a day", setting.set_per_day, value(setting));
            svg.circle(&format!("dot s{class}"), *point, 4.0, &title);
        }
        entries.push((line_class(class), name.to_owned()));
    }
    entries.reverse();
    legend(&mut svg, (PLOT.right() + 12.0, PLOT.y + 8.0), &entries);
    svg.finish()
}
