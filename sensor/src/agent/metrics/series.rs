//! Metrics as Prometheus' text format, version 0.0.4, writes them.

use std::fmt::Write as _;
use std::ops::Deref;
use std::sync::Arc;

use sensor_record::HealthCheck;

use crate::agent::service::Service;
use crate::agent::snapshot::Snapshot;

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Summary,
}

impl Kind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
        }
    }
}

/// State of the agent that metrics are taken from.
pub struct Sight<'a> {
    pub snapshot: &'a Snapshot,
    pub services: &'a [Arc<Service>],
    /// Incidents that the agent no longer remembers.
    pub n_forgotten: u64,
    pub health: &'a [HealthCheck],
}

impl Deref for Sight<'_> {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        self.snapshot
    }
}

/// Writer of the series of a metric.
pub type Write = fn(&Sight<'_>, &mut Series<'_>);

/// One metric with all its series.
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    /// Labels of each of its series.
    pub labels: &'static [&'static str],
    pub write: Write,
}

impl Family {
    pub const fn new(name: &'static str, kind: Kind, help: &'static str, write: Write) -> Self {
        Self {
            name,
            kind,
            help,
            labels: &[],
            write,
        }
    }

    /// Names the labels.
    pub const fn by(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    /// Appends its head and its series.
    pub fn render(&self, now: &Sight<'_>, text: &mut String) {
        let (name, kind) = (self.name, self.kind.label());
        let _infallible = write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n", self.help);
        let labels = self.labels;
        (self.write)(now, &mut Series { name, labels, text });
    }
}

/// Lines of one family.
pub struct Series<'a> {
    name: &'static str,
    /// Labels that the table tells of.
    labels: &'static [&'static str],
    text: &'a mut String,
}

impl Series<'_> {
    pub fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        self.add_part("", labels, value);
    }

    pub fn add_part(&mut self, part: &str, labels: &[(&str, &str)], value: f64) {
        // The sum and the number of a summary have no quantile.
        debug_assert!(
            labels.iter().map(|(label, _)| *label).eq(self
                .labels
                .iter()
                .copied()
                .filter(|label| part.is_empty() || *label != "quantile")),
            "labels of {}{part}",
            self.name
        );
        let _infallible = write!(self.text, "{}{part}", self.name);
        for (i, (label, of)) in labels.iter().enumerate() {
            let before = if i == 0 { '{' } else { ',' };
            let of = of
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _infallible = write!(self.text, "{before}{label}=\"{of}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _infallible = writeln!(self.text, "{end} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = String::new();
        let mut series = Series {
            name: "a",
            labels: &["b"],
            text: &mut text,
        };
        series.add(&[("b", "c\"d\\e\nf")], 1.0);
        assert_eq!(text, "a{b=\"c\\\"d\\\\e\\nf\"} 1\n");
    }
}
