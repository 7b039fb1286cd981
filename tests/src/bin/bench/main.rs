//! `cargo xtask bench`: what the sensor's program costs next to an empty one and next to a textbook
//! one, in one run; what the agent's parts do in a second.
//!
//! The kernel runs the programs (`BPF_PROG_TEST_RUN`), attached to nothing; each packet has another
//! source. All programs take turns in each round, the empty one among them, whose time is taken
//! off. Figures are medians over rounds. On a busy machine only ratios say something.

mod agent;
mod datapath;
mod drive;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

const HELP: &str = "\
usage: cargo xtask bench [--json] [--quick]

  --json    one JSON object instead of a table
  --quick   fewer rounds and no more than 100,000 flows

Needs root. Takes some minutes; nothing else should run meanwhile.
example: cargo xtask bench --json | jq '.datapath[] | select(.flows == 1000)'
";

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Effort {
    pub n_rounds: usize,
    pub n_packets: u32,
    pub flows: &'static [u32],
}

const WHOLE: Effort = Effort {
    n_rounds: 5,
    n_packets: 200_000,
    flows: &[1, 1_000, 100_000, 1_000_000],
};
const QUICK: Effort = Effort {
    n_rounds: 3,
    n_packets: 100_000,
    flows: &[1, 1_000, 100_000],
};

fn main() -> ExitCode {
    let mut is_json = false;
    let mut effort = WHOLE;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => is_json = true,
            "--quick" => effort = QUICK,
            "--help" | "-h" => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            other => {
                eprintln!("error: bench takes no `{other}`\n{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    match measure(effort) {
        Ok(results) if is_json => println!("{results}"),
        Ok(results) => print(&results),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(effort: Effort) -> Result<Value> {
    anyhow::ensure!(
        sensor_tests::is_root(),
        "measuring needs root: sudo -E env PATH=$PATH cargo xtask bench"
    );
    let machine = machine();
    drive::stay_on_one_cpu()?;
    Ok(json!({
        "machine": machine,
        "datapath": datapath::measure(effort)?,
        "blocks": datapath::measure_blocks(effort)?,
        "agent": agent::measure()?,
    }))
}

fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    json!({
        "cpu": model,
        "n_cpus": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": read("/proc/loadavg").split(' ').next(),
    })
}

fn print(results: &Value) {
    println!("{}", results["machine"]);
    println!("\nns/packet, the empty program taken off");
    println!(
        "{:>10} {:>10} {:>9} {:>9} {:>6}",
        "packets", "flows", "textbook", "sensor", "ratio"
    );
    for row in results["datapath"].as_array().into_iter().flatten() {
        println!(
            "{:>10} {:>10} {:>9.1} {:>9.1} {:>6.2}",
            row["packets"].as_str().unwrap_or_default(),
            row["flows"].as_u64().unwrap_or_default(),
            row["textbook_ns"].as_f64().unwrap_or_default(),
            row["sensor_ns"].as_f64().unwrap_or_default(),
            row["ratio"].as_f64().unwrap_or_default(),
        );
    }
    for part in ["blocks", "agent"] {
        println!();
        for (name, value) in results[part].as_object().into_iter().flatten() {
            println!("{name:>45} {value}");
        }
    }
}

/// The object with the programs to compare with.
///
/// # Errors
/// Without the path in the environment, which `cargo xtask bench` sets.
pub fn object_path() -> Result<std::path::PathBuf> {
    std::env::var_os("SENSOR_BENCH_OBJECT")
        .map(Into::into)
        .context("SENSOR_BENCH_OBJECT is not set: start this by `cargo xtask bench`")
}
