//! The drill: attacks by real tools and forged packets against a server that a sensor guards, with an
//! innocent client beside; how fast each is stopped, and that nobody else is.

mod cases;
mod flood;
mod innocent;
mod report;
mod round;
mod services;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser;
use sensor_tests::harness::is_root;

use cases::{CASES, Case, Family};

/// Attacks and forgeries against a guarded server in network namespaces, with an innocent client beside.
#[derive(Parser)]
#[command(name = "cargo xtask drill")]
struct Options {
    /// Rounds of each case, each with a fresh sensor.
    #[arg(long, alias = "runs", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Only cases whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Modes of the sensor; `none`: there is no sensor, and the stack defends itself.
    #[arg(long, value_delimiter = ',', default_values_t = ["enforce".to_owned(), "monitor".to_owned()])]
    modes: Vec<String>,
    /// File for the figures of each round, as JSON lines.
    #[arg(long)]
    out: Option<PathBuf>,
    /// List the cases and end.
    #[arg(long)]
    list: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let chosen: Vec<&Case> = CASES
        .iter()
        .filter(|case| case.name.contains(&options.only))
        .collect();
    if options.list {
        for case in chosen {
            println!("{:<22} {}", case.name, case.about);
        }
        return Ok(());
    }
    if !is_root() {
        bail!("the drill builds network namespaces: run it as root");
    }
    if chosen.is_empty() {
        bail!(
            "no case is called like `{}`; --list names them",
            options.only
        );
    }
    let mut report = report::Report::new(options.out.as_deref())?;
    for case in chosen {
        if let Some(program) = case.missing() {
            report.left_out(case, program);
            continue;
        }
        for (family, mode) in pairs(case, &options.modes) {
            for run in 1..=options.rounds {
                eprintln!(
                    "{} {} {mode}, {run} of {}",
                    case.name,
                    family.label(),
                    options.rounds
                );
                report.add(case, family, mode, round::run(case, family, mode)?)?;
            }
        }
    }
    report.print();
    match report.harm() {
        0 => Ok(()),
        n => bail!("innocents were harmed in {n} rounds"),
    }
}

fn pairs<'a>(case: &'a Case, modes: &'a [String]) -> impl Iterator<Item = (Family, &'a str)> {
    let families = [Family::V4, Family::V6];
    let families = families.into_iter().filter(|family| case.has(*family));
    families.flat_map(|family| modes.iter().map(move |mode| (family, mode.as_str())))
}
