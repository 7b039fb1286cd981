//! The table of figures, and a line of JSON for each round.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::cases::{Case, Family};
use crate::innocent::{Account, Figures};
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
                "arrived": outcome.n_arrived, "lasted_s": outcome.lasted_s, "dropped": outcome.n_dropped, "longest_pause_s": client.longest_pause_s,
                "session_ended": client.has_ended, "before": figures(&client.before),
                "during": figures(&client.during), "after": figures(&client.after),
                "questions": client.questions.each_ref().map(figures),
                "blocked": is_blocked(&outcome), "refused": is_refused(&outcome),
                "interrupted": is_interrupted(&outcome),
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

    /// Rounds in which somebody innocent was harmed: acted on by more than a limit, challenge or shield, refused, or
    /// interrupted.
    pub fn harm(&self) -> usize {
        self.rows.values().flatten().filter(|o| is_harm(o)).count()
    }

    /// Prints the table, as Markdown.
    pub fn print(&self) {
        let head = [
            "case",
            "over, mode",
            "rounds",
            "incident",
            "decision",
            "first packet held",
            "action",
            "packets",
            "a second",
            "reached",
            "connections before, during, after",
            "own questions during",
            "goodput during, after",
            "pause",
            "blocked, refused, interrupted",
        ];
        println!("| {} |", head.join(" | "));
        println!("|{}", "---|".repeat(head.len()));
        for ((index, what), outcomes) in &self.rows {
            let name = self.names.get(*index).copied().unwrap_or_default();
            println!("| {} |", row(name, what, outcomes).join(" | "));
        }
        for left_out in &self.left_out {
            println!("left out: {left_out}");
        }
    }
}

/// Cells of a row: times are median and 99th percentile in ms, packets the mean of rounds.
fn row(name: &str, what: &str, outcomes: &[Outcome]) -> Vec<String> {
    let times = |of: fn(&Outcome) -> Option<f64>| quantiles(outcomes.iter().map(of));
    let mean = |of: &dyn Fn(&Outcome) -> u64| {
        outcomes.iter().map(of).sum::<u64>() / (outcomes.len() as u64).max(1)
    };
    let count = |is_so: fn(&Outcome) -> bool| outcomes.iter().filter(|o| is_so(o)).count();
    let longest_s = outcomes.iter().map(|o| o.client.longest_pause_s);
    vec![
        name.to_owned(),
        what.to_owned(),
        outcomes.len().to_string(),
        times(|o| o.to_incident_s),
        times(|o| o.to_decision_s),
        times(|o| o.to_drop_s),
        action(outcomes),
        mean(&|o| o.n_arrived).to_string(),
        mean(&|o| (o.n_arrived as f64 / o.lasted_s.max(0.001)) as u64).to_string(),
        mean(&|o| o.n_arrived.saturating_sub(o.n_dropped)).to_string(),
        [
            served(outcomes, |o| o.client.before),
            served(outcomes, |o| o.client.during),
            served(outcomes, |o| o.client.after),
        ]
        .join(", "),
        served(outcomes, |o| o.client.questions[1]),
        format!(
            "{}, {}",
            goodput(outcomes, |client| client.during),
            goodput(outcomes, |client| client.after)
        ),
        format!("{:.1}", longest_s.fold(0.0, f64::max)),
        format!(
            "{}, {}, {}",
            count(is_blocked),
            count(is_refused),
            count(is_interrupted)
        ),
    ]
}

/// The strongest action on the attacker, or on others where there is none on him.
fn action(outcomes: &[Outcome]) -> String {
    let on_attacker = outcomes.iter().find_map(|o| o.action.clone());
    on_attacker.unwrap_or_else(|| {
        let mut told: Vec<&str> = outcomes
            .iter()
            .flat_map(|o| &o.on_innocents)
            .filter_map(|told| told.split(' ').next())
            .collect();
        told.sort_unstable();
        told.dedup();
        if told.is_empty() {
            "none".to_owned()
        } else {
            format!("on innocents: {}", told.join(", "))
        }
    })
}

fn is_harm(outcome: &Outcome) -> bool {
    is_blocked(outcome) || is_refused(outcome) || is_interrupted(outcome)
}

/// Actions that no innocent loses anything by.
const MILD: [&str; 3] = ["limit ", "challenge ", "shield "];

fn is_blocked(outcome: &Outcome) -> bool {
    let mut told = outcome.on_innocents.iter();
    told.any(|told| !MILD.iter().any(|mild| told.starts_with(mild)))
}

fn is_refused(outcome: &Outcome) -> bool {
    let client = &outcome.client;
    let [_, asked, asked_after] = client.questions;
    let are_unheard = [asked, asked_after]
        .iter()
        .any(|figures| figures.n_begun > 0 && share(*figures) < SERVED);
    share(client.during) < SERVED || share(client.after) < SERVED || are_unheard
}

fn is_interrupted(outcome: &Outcome) -> bool {
    outcome.client.has_ended || outcome.client.longest_pause_s > PAUSE_S
}

fn share(figures: Figures) -> f64 {
    if figures.n_begun == 0 {
        return 0.0;
    }
    f64::from(figures.n_answered) / f64::from(figures.n_begun)
}

/// Connections or questions that came about of those that were begun, in all rounds.
fn served(outcomes: &[Outcome], of: fn(&Outcome) -> Figures) -> String {
    let sum = |part: fn(&Figures) -> u32| -> u32 { outcomes.iter().map(|o| part(&of(o))).sum() };
    match sum(|f| f.n_begun) {
        0 => "-".to_owned(),
        n_begun => format!("{} of {n_begun}", sum(|f| f.n_answered)),
    }
}

/// Blocks that the open session moved a second, in per cent of those before.
fn goodput(outcomes: &[Outcome], of: fn(&Account) -> Figures) -> String {
    let sum = |of: fn(&Account) -> Figures| -> f64 {
        outcomes.iter().map(|o| of(&o.client).blocks_per_s).sum()
    };
    let before = sum(|client| client.before).max(0.001);
    format!("{:.0} %", 100.0 * sum(of) / before)
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
