//! The table of figures, and a line of JSON for each round.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::cases::{Case, Family};
use crate::innocent::Figures;
use crate::round::Outcome;

/// Longest pause of a session that nobody feels: a retransmission or two on a busy machine, s.
const PAUSE_S: f64 = 3.0;
/// Of connections that were tried, those that must come about meanwhile and once it is over.
const SERVED: f64 = 0.95;

pub struct Report {
    out: Option<File>,
    /// By case, family and mode.
    rows: BTreeMap<(usize, String), Vec<Outcome>>,
    names: Vec<&'static str>,
    left_out: Vec<String>,
}

impl Report {
    pub fn new(out: Option<&Path>) -> Result<Self> {
        let create = |path: &Path| File::create(path).with_context(|| path.display().to_string());
        Ok(Self {
            out: out.map(create).transpose()?,
            rows: BTreeMap::new(),
            names: Vec::new(),
            left_out: Vec::new(),
        })
    }

    pub fn left_out(&mut self, case: &Case, program: &str) {
        self.left_out.push(format!("{}: no {program}", case.name));
    }

    pub fn add(&mut self, case: &Case, family: Family, mode: &str, outcome: Outcome) -> Result<()> {
        if let Some(out) = &mut self.out {
            let Outcome { client, .. } = &outcome;
            let figures = |f: &Figures| json!([f.n_begun, f.n_answered, f.blocks_per_s]);
            let line = json!({
                "case": case.name, "family": family.label(), "mode": mode,
                "to_incident_s": outcome.to_incident_s, "to_decision_s": outcome.to_decision_s,
                "to_drop_s": outcome.to_drop_s, "families": outcome.families,
                "action": outcome.action, "on_innocents": outcome.on_innocents,
                "dropped": outcome.n_dropped, "longest_pause_s": client.longest_pause_s,
                "session_ended": client.has_ended, "before": figures(&client.before),
                "during": figures(&client.during), "after": figures(&client.after),
            });
            writeln!(out, "{line}")?;
        }
        if !self.names.contains(&case.name) {
            self.names.push(case.name);
        }
        let index = self.names.len() - 1;
        let key = (index, format!("{} {mode}", family.label()));
        self.rows.entry(key).or_default().push(outcome);
        Ok(())
    }

    /// Rounds in which somebody innocent was harmed: more than limited or challenged, a session that ended or
    /// paused for long, connections that fail meanwhile or once it is over.
    pub fn harm(&self) -> usize {
        self.rows.values().flatten().filter(|o| is_harm(o)).count()
    }

    pub fn print(&self) {
        println!(
            "{:<22} {:<13} {:>4}  {:<21} {:<21} {:<21} {:<11} {:>8}  {:<20} harm",
            "case",
            "",
            "runs",
            "to incident, ms",
            "to decision, ms",
            "to first drop, ms",
            "action",
            "dropped",
            "client's connections"
        );
        println!(
            "{:41}  {:<21} {:<21} {:<21}",
            "", "p50, p99", "p50, p99", "p50, p99"
        );
        for ((index, what), outcomes) in &self.rows {
            let times = |of: fn(&Outcome) -> Option<f64>| quantiles(outcomes.iter().map(of));
            let actions: Vec<&str> = outcomes
                .iter()
                .filter_map(|o| o.action.as_deref())
                .collect();
            let dropped = outcomes.iter().map(|o| o.n_dropped).sum::<u64>() / outcomes.len() as u64;
            println!(
                "{:<22} {what:<13} {:>4}  {:<21} {:<21} {:<21} {:<11} {dropped:>8}  {:<20} {}",
                self.names.get(*index).copied().unwrap_or_default(),
                outcomes.len(),
                times(|o| o.to_incident_s),
                times(|o| o.to_decision_s),
                times(|o| o.to_drop_s),
                actions.first().copied().unwrap_or("none"),
                connections(outcomes),
                harm(outcomes),
            );
        }
        for left_out in &self.left_out {
            println!("left out: {left_out}");
        }
    }
}

fn is_harm(outcome: &Outcome) -> bool {
    let client = &outcome.client;
    let stopped = outcome.on_innocents.iter().any(|told| {
        !["limit ", "challenge ", "shield "]
            .iter()
            .any(|mild| told.starts_with(mild))
    });
    let is_refused = |figures| share(figures) < SERVED;
    let are_refused = is_refused(client.during) || is_refused(client.after);
    stopped || client.has_ended || client.longest_pause_s > PAUSE_S || are_refused
}

fn share(figures: Figures) -> f64 {
    if figures.n_begun == 0 {
        return 0.0;
    }
    f64::from(figures.n_answered) / f64::from(figures.n_begun)
}

/// Shares of connections that came about before, during and after.
fn connections(outcomes: &[Outcome]) -> String {
    let mean = |of: fn(&Outcome) -> Figures| {
        let sum: f64 = outcomes.iter().map(|o| share(of(o))).sum();
        100.0 * sum / outcomes.len() as f64
    };
    format!(
        "{:.0} % {:.0} % {:.0} %",
        mean(|o| o.client.before),
        mean(|o| o.client.during),
        mean(|o| o.client.after)
    )
}

fn harm(outcomes: &[Outcome]) -> String {
    let harmed: Vec<&Outcome> = outcomes.iter().filter(|o| is_harm(o)).collect();
    let Some(first) = harmed.first() else {
        return "none".to_owned();
    };
    let client = &first.client;
    format!(
        "{} of {}: {}, longest pause {:.1} s",
        harmed.len(),
        outcomes.len(),
        first
            .on_innocents
            .first()
            .map_or("nobody acted on", String::as_str),
        client.longest_pause_s
    )
}

/// Median and 99th percentile in milliseconds, with how many had a time.
fn quantiles(times: impl Iterator<Item = Option<f64>>) -> String {
    let times: Vec<Option<f64>> = times.collect();
    let mut known: Vec<f64> = times.iter().filter_map(|time| *time).collect();
    known.sort_by(f64::total_cmp);
    if known.is_empty() {
        return "-".to_owned();
    }
    let at = |percent: usize| {
        let rank = (known.len() * percent).div_ceil(100).max(1) - 1;
        known.get(rank).copied().unwrap_or_default() * 1e3
    };
    let missing = times.len() - known.len();
    let of = if missing > 0 {
        format!(" ({missing} never)")
    } else {
        String::new()
    };
    format!("{:.0}, {:.0}{of}", at(50), at(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_say_how_many_have_none() {
        let times = [Some(0.1), Some(0.3), None, Some(0.2)];
        assert_eq!(quantiles(times.into_iter()), "200, 300 (1 never)");
        assert_eq!(quantiles([None].into_iter()), "-");
    }

    #[test]
    fn a_limit_is_no_harm_and_a_drop_or_a_refusal_is() {
        let mut outcome = Outcome::default();
        let served = Figures {
            n_begun: 20,
            n_answered: 20,
            blocks_per_s: 20.0,
        };
        (outcome.client.during, outcome.client.after) = (served, served);
        outcome.on_innocents = vec!["limit 10.99.1.2".to_owned()];
        assert!(!is_harm(&outcome));
        outcome.on_innocents.push("drop 10.99.1.2".to_owned());
        assert!(is_harm(&outcome));
        outcome.on_innocents.pop();
        outcome.client.during.n_answered = 16;
        assert!(is_harm(&outcome), "a fifth is refused");
    }
}
