//! Makes labelled captures of real programs in network namespaces; `docs/range.md` tells how.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use sensor_record::text::Table;
use sensor_tests::harness::is_root;
use sensor_tests::range::batch::{Batch, Outcome, chosen};
use sensor_tests::range::interrupt;
use sensor_tests::range::manifest::Folder;
use sensor_tests::range::packages;
use sensor_tests::range::recipe::Scenario;
use sensor_tests::range::recipes::QUICK;
use serde_json::{Value, json};

/// Runs recipes of ordinary traffic and of attacks, and writes captures with labels.
#[derive(Parser)]
#[command(name = "cargo xtask range")]
struct Arguments {
    /// Folder for `pcap/`, `labels/` and `manifest.json`; made where it is missing.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["list", "packages"])]
    out: Option<PathBuf>,
    /// Recipes, groups, or RECIPE.VARIANT; `*` at the end stands for the rest. Without it, all.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// Run only those that the tests run: a minute.
    #[arg(long, conflicts_with = "only")]
    quick: bool,
    /// Lists the recipes instead of running them.
    #[arg(long)]
    list: bool,
    /// Lists the Debian packages that they run, and installs nothing.
    #[arg(long)]
    packages: bool,
    /// Chooses address plan, addresses, delays, losses and words.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Scenarios at the same time.
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: usize,
    /// Leaves out what the folder holds already.
    #[arg(long)]
    missing: bool,
    /// One JSON object on standard output: the list, or what was made and what failed.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match execute(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let names = if arguments.quick {
        QUICK.iter().map(|&name| name.to_owned()).collect()
    } else {
        arguments.only.clone()
    };
    let scenarios = match chosen(&names) {
        Ok(scenarios) => scenarios,
        Err(unknown) => {
            eprintln!("error: no recipe {}; --list shows all", unknown.join(", "));
            return Ok(ExitCode::from(2));
        }
    };
    if arguments.list {
        list(&scenarios, arguments.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.packages {
        let names: std::collections::BTreeSet<_> =
            scenarios.iter().flat_map(packages::of).collect();
        for name in names {
            writeln!(std::io::stdout(), "{name}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Some(out) = &arguments.out else {
        bail!("--out DIR is missing");
    };
    if !is_root() {
        bail!("the range builds network namespaces: run it as root");
    }
    let folder = Folder::open(out)?;
    interrupt::watch();
    let batch = Batch {
        folder: &folder,
        seed: arguments.seed,
        is_for_missing: arguments.missing,
        n_jobs: arguments.jobs.max(1),
        progress: &|n, of, line| eprintln!("[{n}/{of}] {line}"),
    };
    let outcome = batch.run(&scenarios)?;
    report(&outcome, arguments.json)?;
    Ok(if outcome.failed.is_empty() && !interrupt::is_wanted() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn report(outcome: &Outcome, is_json: bool) -> Result<()> {
    let mut out = std::io::stdout();
    if is_json {
        let failed = outcome.failed.iter();
        let failed: Vec<Value> = failed
            .map(|(id, why)| json!({ "id": id, "error": why }))
            .collect();
        writeln!(
            out,
            "{}",
            json!({ "captures": outcome.made, "failed": failed })
        )?;
        return Ok(());
    }
    writeln!(
        out,
        "{} captures, {} failed",
        outcome.made.len(),
        outcome.failed.len()
    )?;
    for (id, _) in &outcome.failed {
        writeln!(out, "  failed: {id}")?;
    }
    Ok(())
}

fn list(scenarios: &[Scenario], is_json: bool) -> Result<()> {
    let mut out = std::io::stdout();
    if is_json {
        let rows: Vec<Value> = scenarios.iter().map(row).collect();
        writeln!(out, "{}", json!({ "recipes": rows }))?;
        return Ok(());
    }
    let mut table = Table::new(&["scenario", "kind", "group", "path", "state", "about"]);
    for scenario in scenarios {
        let recipe = scenario.recipe;
        let kind = if recipe.is_attack() {
            recipe.attack
        } else {
            "benign"
        };
        let (path, state) = (scenario.variant.path.name, scenario.variant.state.label());
        let cells = [
            &scenario.id(),
            kind,
            recipe.group,
            path,
            state,
            recipe.about,
        ];
        table.row(cells.map(str::to_owned).into());
    }
    writeln!(out, "{}", table.lines().join("\n"))?;
    let is_attack = |s: &&Scenario| s.recipe.is_attack();
    let n_attacks = scenarios.iter().filter(is_attack).count();
    writeln!(
        out,
        "{} scenarios: {} benign, {n_attacks} attacks",
        scenarios.len(),
        scenarios.len() - n_attacks
    )?;
    Ok(())
}

fn row(scenario: &Scenario) -> Value {
    let (recipe, variant) = (scenario.recipe, scenario.variant);
    json!({
        "id": scenario.id(),
        "recipe": recipe.name,
        "variant": variant.name,
        "attack": if recipe.is_attack() { json!(recipe.attack) } else { Value::Null },
        "group": recipe.group,
        "about": recipe.about,
        "path": variant.path.name,
        "service": variant.state.label(),
        "background": variant.has_background,
        "packages": packages::of(scenario),
    })
}
