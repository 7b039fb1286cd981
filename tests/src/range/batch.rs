//! Runs many scenarios: those that need the machine one by one, the others some at a time.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

use super::interrupt;
use super::manifest::Folder;
use super::packages;
use super::recipe::{Lane, Scenario};
use super::recipes;
use super::scene;

/// Every variant of every recipe.
pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for recipe in recipes::all() {
        for variant in recipe.variants {
            all.push(Scenario { recipe, variant });
        }
    }
    all
}

/// Scenarios whose recipe, or recipe and variant, a name is; `*` at a name's end stands for the rest.
///
/// # Errors
/// With the names that fit nothing.
pub fn chosen(names: &[String]) -> Result<Vec<Scenario>, Vec<String>> {
    let all = scenarios();
    if names.is_empty() {
        return Ok(all);
    }
    let fits = |name: &String, scenario: &Scenario| {
        let id = scenario.id();
        match name.strip_suffix('*') {
            Some(start) => id.starts_with(start),
            None => *name == id || name == scenario.recipe.name || name == scenario.recipe.group,
        }
    };
    let unknown = |name: &&String| !all.iter().any(|scenario| fits(name, scenario));
    let unknown: Vec<String> = names.iter().filter(unknown).cloned().collect();
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let is_chosen = |scenario: &Scenario| names.iter().any(|name| fits(name, scenario));
    Ok(all.into_iter().filter(is_chosen).collect())
}

/// Outcome of a batch.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Entries of the manifest.
    pub made: Vec<Value>,
    /// Scenarios that failed, with the reason.
    pub failed: Vec<(String, String)>,
}

/// Settings of a batch.
pub struct Batch<'a> {
    pub folder: &'a Folder,
    pub seed: u64,
    /// Leaves out what the folder holds by then.
    pub is_for_missing: bool,
    /// Scenarios at the same time, of those that may be.
    pub n_jobs: usize,
    /// Told of each end: number of those that ended, of all, and a line.
    pub progress: &'a (dyn Fn(usize, usize, &str) + Sync),
}

impl Batch<'_> {
    /// Runs scenarios; one that fails doesn't stop the others.
    ///
    /// # Errors
    /// When the packages can't be had.
    pub fn run(&self, scenarios: &[Scenario]) -> Result<Outcome> {
        let names: BTreeSet<&str> = scenarios.iter().flat_map(packages::of).collect();
        packages::install(&names)?;
        let outcome = Mutex::new(Outcome::default());
        let n_ended = AtomicUsize::new(0);
        let one = |scenario: &Scenario| {
            if interrupt::is_wanted() || self.is_there(scenario) {
                n_ended.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let start = Instant::now();
            let made = self.one(scenario);
            let n = n_ended.fetch_add(1, Ordering::Relaxed) + 1;
            let seconds = start.elapsed().as_secs_f64();
            let id = scenario.id();
            let line = match &made {
                Ok(entry) => format!(
                    "{id}: {} packets, {} of the attack, {seconds:.0} s",
                    entry["packets"], entry["attack"]
                ),
                Err(error) => format!("{id}: FAILED after {seconds:.0} s: {error:#}"),
            };
            (self.progress)(n, scenarios.len(), &line);
            let mut outcome = outcome.lock().unwrap_or_else(|e| e.into_inner());
            match made {
                Ok(entry) => outcome.made.push(entry),
                Err(error) => outcome.failed.push((id, format!("{error:#}"))),
            }
        };
        let of = |lane: Lane| scenarios.iter().filter(move |s| s.recipe.lane == lane);
        of(Lane::Alone).for_each(&one);
        let beside: Vec<&Scenario> = of(Lane::Beside).collect();
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            let one = &one;
            for scenario in of(Lane::Waiting) {
                scope.spawn(move || one(scenario));
            }
            for _ in 0..self.n_jobs.min(beside.len()) {
                scope.spawn(|| {
                    while let Some(scenario) = beside.get(next.fetch_add(1, Ordering::Relaxed)) {
                        one(scenario);
                    }
                });
            }
        });
        Ok(outcome.into_inner().unwrap_or_else(|e| e.into_inner()))
    }

    /// Another run may have made it meanwhile.
    fn is_there(&self, scenario: &Scenario) -> bool {
        self.is_for_missing && self.folder.has(&scenario.id())
    }

    fn one(&self, scenario: &Scenario) -> Result<Value> {
        let sample = scene::run(scenario, self.seed)?;
        let programs = packages::versions(&packages::of(scenario))?;
        self.folder.add(scenario, self.seed, &sample, &programs)
    }
}
