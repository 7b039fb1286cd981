//! `cargo xtask bench`: what the sensor's program costs next to an empty one and next to a textbook
//! one, in one run; what the agent's parts do in a second.
//!
//! The kernel runs the programs (`BPF_PROG_TEST_RUN`), attached to nothing; each packet has another
//! source. All programs take turns in each round, the empty one among them, whose time is taken
//! off. Figures are medians over rounds. On a busy machine only ratios say something.
//!
//! Packets per second are measured on a veth pair, where one CPU receives.

mod against;
mod agent;
mod datapath;
mod drive;
mod scoring;
mod share;
mod store;
mod wire;

use std::process::ExitCode;

use against::Against;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

const HELP: &str = "\
usage: cargo xtask bench -- [--json] [--quick] [--only PART] [--against FILE|REV]

  --json     one JSON object instead of a table
  --quick    fewer rounds and no more than 100,000 flows
  --only     one part: share (of a core, of the running agent), datapath, blocks, wire, scoring, store or
             agent
  --against  beside the data path, that of another build: a revision, whose kernel program takes turns with
             this one; a file with that program (ELF); or the JSON of an earlier run, by ratios to the textbook

Needs root. Takes some minutes; nothing else should run meanwhile.
example: cargo xtask bench --json | jq '.datapath[] | select(.flows == 1000)'
";

/// Effort of the measurements.
#[derive(Clone, Copy)]
pub struct Effort {
    pub n_rounds: usize,
    pub flows: &'static [u32],
    /// Turns of each program in a measurement of the kernel program.
    pub n_pieces: u32,
    /// Flows in the agent while its share of a core is measured.
    pub shares: &'static [u32],
}

impl Effort {
    /// Pieces that fill the tables, and those that are measured.
    pub fn pieces_for(self, n_flows: u32) -> (u32, u32) {
        let n_before = n_flows.saturating_mul(4).div_ceil(drive::PIECE);
        (n_before.max(4), self.n_pieces)
    }
}

const WHOLE: Effort = Effort {
    n_rounds: 5,
    n_pieces: 60,
    flows: &[1, 1_000, 100_000, 1_000_000],
    shares: &[10_000, 100_000, 1_000_000],
};
const QUICK: Effort = Effort {
    n_rounds: 3,
    n_pieces: 24,
    flows: &[1, 1_000, 100_000],
    shares: &[100_000],
};

fn main() -> ExitCode {
    let mut is_json = false;
    let mut effort = WHOLE;
    let mut only = None;
    let mut against = Against::Nothing;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => is_json = true,
            "--quick" => effort = QUICK,
            "--only" => match arguments.next() {
                Some(part) if PARTS.contains(&part.as_str()) => only = Some(part),
                _ => {
                    eprintln!("error: --only takes one of {}\n{HELP}", PARTS.join(", "));
                    return ExitCode::from(2);
                }
            },
            "--against" => match arguments.next().as_deref().map(Against::read) {
                Some(Ok(other)) => against = other,
                Some(Err(error)) => {
                    eprintln!("error: --against: {error:#}");
                    return ExitCode::from(2);
                }
                None => {
                    eprintln!("error: --against takes a file or a revision\n{HELP}");
                    return ExitCode::from(2);
                }
            },
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
    match measure(effort, only.as_deref(), &against) {
        Ok(results) if is_json => println!("{results}"),
        Ok(results) => print(&results),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

const PARTS: [&str; 7] = [
    "share", "datapath", "blocks", "wire", "scoring", "store", "agent",
];

fn measure(effort: Effort, only: Option<&str>, against: &Against) -> Result<Value> {
    anyhow::ensure!(
        sensor_tests::harness::is_root(),
        "measuring needs root: sudo -E env PATH=$PATH cargo xtask bench"
    );
    let mut results = json!({ "machine": machine() });
    let is_wanted = |part: &str| only.is_none_or(|only| only == part);
    // The sensor that runs gets all CPUs.
    if is_wanted("share") {
        results["share"] = share::measure(effort.shares)?;
    }
    let cpus = drive::cpus()?;
    // Interrupts tend to come to the first.
    drive::pin(0, cpus.last().copied().unwrap_or(0))?;
    for part in PARTS.into_iter().filter(|part| is_wanted(part)) {
        results[part] = match part {
            "datapath" => datapath::measure(effort, against)?.into(),
            "blocks" => datapath::measure_blocks(effort)?,
            "wire" => wire::measure(&cpus, effort)?,
            "scoring" => scoring::measure()?,
            "store" => store::measure()?,
            "share" => continue,
            _ => agent::measure()?,
        };
    }
    Ok(results)
}

fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let fact = |name: &str| {
        let found = cpu.lines().find_map(|line| line.strip_prefix(name));
        found.map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']))
    };
    json!({
        "cpu": fact("model name"),
        "cpu_family_model_stepping": [fact("cpu family"), fact("model\t"), fact("stepping")],
        "clock_mhz": fact("cpu MHz").parse::<f64>().ok(),
        "cache": fact("cache size"),
        "n_cpus": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": read("/proc/loadavg").split(' ').next(),
    })
}

fn print(results: &Value) {
    println!("{}", results["machine"]);
    println!("\nns/packet, the empty program taken off; ratio to the textbook, and its quartiles");
    println!(
        "{:>8} {:>9} {:>9} {:>7} {:>6} {:>13} {:>10} {:>14}",
        "packets", "flows", "textbook", "sensor", "ratio", "", "evictions", "over the other"
    );
    for row in results["datapath"].as_array().into_iter().flatten() {
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let quartiles = &row["ratio_quartiles"];
        let against = row["over_the_other"].as_f64();
        println!(
            "{:>8} {:>9} {:>9.1} {:>7.1} {:>6.2} {:>6.2}-{:<6.2} {:>10.3} {:>14}",
            row["packets"].as_str().unwrap_or_default(),
            row["flows"].as_u64().unwrap_or_default(),
            number(&row["textbook_ns"]),
            number(&row["sensor_ns"]),
            number(&row["ratio"]),
            number(&quartiles[0]),
            number(&quartiles[1]),
            number(&row["evictions_per_packet"]),
            against.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        );
    }
    for part in ["blocks", "wire", "agent", "scoring", "store", "share"] {
        println!();
        print_part(&results[part], "");
    }
}

fn print_part(part: &Value, within: &str) {
    for (name, value) in part.as_object().into_iter().flatten() {
        let name = format!("{within}{name}");
        match value {
            Value::Object(_) => print_part(value, &format!("{name}.")),
            value => println!("{name:>58} {value}"),
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
