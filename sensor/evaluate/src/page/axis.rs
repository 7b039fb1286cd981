//! Mapping of values to places, and the values that are written beside an axis.

use super::svg::{Anchor, Area, Svg};

/// Scale of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    Linear,
    Logarithmic,
}

/// Mapping of a range of values to a range of places.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    pub low: f64,
    pub high: f64,
    pub from: f64,
    pub to: f64,
    pub run: Run,
}

impl Axis {
    /// The place of a value, held within the axis.
    pub fn at(&self, value: f64) -> f64 {
        let share = match self.run {
            Run::Linear => (value - self.low) / (self.high - self.low),
            Run::Logarithmic => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        let share = if share.is_finite() { share } else { 0.0 };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round values: about `n` on a linear axis, the powers of ten on the other.
    pub fn ticks(&self, n: usize) -> Vec<f64> {
        match self.run {
            Run::Linear => linear_ticks(self.low, self.high, n),
            Run::Logarithmic => {
                let (first, last) = (self.low.log10().ceil(), self.high.log10().floor());
                let n_powers = (last - first).max(0.0) as usize;
                (0..=n_powers)
                    .map(|i| 10f64.powf(first + i as f64))
                    .collect()
            }
        }
    }
}

fn linear_ticks(low: f64, high: f64, n: usize) -> Vec<f64> {
    let span = high - low;
    if span <= 0.0 || !span.is_finite() {
        return vec![low];
    }
    let rough = span / n.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|k| k * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    let last = ((high / step) + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// The unit of a duration that gives numbers of a readable size: its name, and its seconds.
pub const fn time_unit(seconds: f64) -> (&'static str, f64) {
    if seconds < 0.5 {
        ("ms", 1e-3)
    } else if seconds < 300.0 {
        ("s", 1.0)
    } else if seconds < 3.0 * 3_600.0 {
        ("min", 60.0)
    } else {
        ("h", 3_600.0)
    }
}

/// Writes a value with as few digits as tell it apart.
pub fn tick_text(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" {
        "0"
    } else {
        text
    }
    .to_owned()
}

/// Grid, ticks and names of both axes.
pub fn draw(svg: &mut Svg, area: Area, x: (&Axis, &str), y: (&Axis, &str), n: (usize, usize)) {
    let ((x, x_name), (y, y_name)) = (x, y);
    svg.rect("frame", area, "");
    for value in x.ticks(n.0) {
        let place = x.at(value);
        svg.line("grid", (place, area.y), (place, area.bottom()));
        let at = (place, area.bottom() + 14.0);
        svg.text("tick", at, Anchor::Middle, &tick_text(value));
    }
    for value in y.ticks(n.1) {
        let place = y.at(value);
        svg.line("grid", (area.x, place), (area.right(), place));
        let at = (area.x - 5.0, place + 4.0);
        svg.text("tick", at, Anchor::End, &tick_text(value));
    }
    let middle = (area.x + area.width / 2.0, area.bottom() + 31.0);
    svg.text("name", middle, Anchor::Middle, x_name);
    let side = (area.x - 36.0, area.y + area.height / 2.0);
    svg.turned(side, -90.0, Anchor::Middle, y_name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(low: f64, high: f64, run: Run) -> Axis {
        let (from, to) = (0.0, 100.0);
        Axis {
            low,
            high,
            from,
            to,
            run,
        }
    }

    #[test]
    fn values_lie_on_the_axis_and_never_outside() {
        let linear = axis(0.0, 10.0, Run::Linear);
        assert!((linear.at(2.5) - 25.0).abs() < 1e-9);
        assert!((linear.at(99.0) - 100.0).abs() < 1e-9);
        let log = axis(0.1, 1000.0, Run::Logarithmic);
        assert!((log.at(10.0) - 50.0).abs() < 1e-9);
        assert!(log.at(0.0).abs() < 1e-9);
        assert!(axis(3.0, 3.0, Run::Linear).at(3.0).is_finite());
    }

    #[test]
    fn ticks_of_an_axis_are_round_numbers() {
        let texts = |axis: Axis| -> Vec<String> {
            axis.ticks(5)
                .iter()
                .map(|value| tick_text(*value))
                .collect()
        };
        let linear = texts(axis(0.0, 1.0, Run::Linear));
        assert_eq!(linear, ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        let log = texts(axis(0.05, 200.0, Run::Logarithmic));
        assert_eq!(log, ["0.1", "1", "10", "100"]);
        assert_eq!(
            texts(axis(0.0, 84.0, Run::Linear)),
            ["0", "20", "40", "60", "80"]
        );
    }
}
