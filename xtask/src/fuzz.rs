//! Coverage-guided fuzzing by libFuzzer, on the pinned stable toolchain: what instruments the code
//! are options of LLVM that need no nightly compiler.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{
    proc::{self, Result},
    run,
    setup::{self, TestTools},
};

/// The targets, with the longest input of each.
const TARGETS: &[(&str, u32)] = &[
    ("packet", 400),
    ("datapath", 2_048),
    ("capture", 4_096),
    ("network", 4_096),
    ("flow_records", 1_024),
    ("alert", 2_048),
];
const DEFAULT_SECONDS: u32 = 60;

const INSTRUMENTATION: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // One unit of code a crate: otherwise the tables of counters and of places don't match.
    "-Ccodegen-units=1",
];

struct Plan {
    seconds: u32,
    targets: Vec<(&'static str, u32)>,
}

/// `cargo xtask fuzz [--seconds N] [TARGET...]`, and `cargo xtask fuzz api [ARGS]`, which needs a running sensor and
/// makes one.
pub fn command(args: &[String]) -> Result {
    if let Some((first, rest)) = args.split_first()
        && first == "api"
    {
        return run::tests_program("calls", rest);
    }
    let plan = parse(args)?;
    setup::ensure(TestTools::No)?;
    let binaries = build()?;
    let corpus = proc::target_dir()?.join("fuzz/corpus");
    let seeds = [
        "run",
        "--quiet",
        "-p",
        "sensor-tests",
        "--bin",
        "seeds",
        "--",
    ];
    proc::run(proc::cargo().args(seeds).arg(&corpus))?;
    for (name, max_len) in &plan.targets {
        run_target(&binaries, &corpus, name, *max_len, plan.seconds)?;
    }
    Ok(())
}

fn parse(args: &[String]) -> Result<Plan> {
    let mut plan = Plan {
        seconds: DEFAULT_SECONDS,
        targets: Vec::new(),
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--seconds" {
            let value = args.next().map(String::as_str).unwrap_or_default();
            plan.seconds = value
                .parse()
                .map_err(|_| format!("--seconds: `{value}` is not a number of seconds"))?;
            continue;
        }
        let known = TARGETS.iter().find(|(name, _)| name == arg);
        let names = TARGETS
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ");
        plan.targets
            .push(*known.ok_or_else(|| format!("no fuzz target `{arg}`; there are: {names}"))?);
    }
    if plan.targets.is_empty() {
        plan.targets = TARGETS.to_vec();
    }
    Ok(plan)
}

/// Builds the targets and gives their folder.
fn build() -> Result<PathBuf> {
    let target_dir = proc::target_dir()?.join("fuzz");
    let triple = host_triple()?;
    // The variable of the triple, and not RUSTFLAGS: build scripts stay as they are, and so does
    // the kernel program that one of them builds.
    let variable = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        triple.to_uppercase().replace('-', "_")
    );
    proc::run(
        proc::cargo()
            .args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml"])
            .args(["--target", &triple])
            .arg("--target-dir")
            .arg(&target_dir)
            .env(variable, INSTRUMENTATION.join(" ")),
    )?;
    Ok(target_dir.join(triple).join("release"))
}

fn host_triple() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = proc::capture(proc::command(rustc).arg("-vV"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "rustc -vV names no host".into())
}

fn run_target(binaries: &Path, corpus: &Path, name: &str, max_len: u32, seconds: u32) -> Result {
    let artifacts = corpus.with_file_name("artifacts").join(name);
    fs::create_dir_all(&artifacts).map_err(|error| format!("{}: {error}", artifacts.display()))?;
    println!("== fuzz {name}, {seconds} s");
    let result = proc::run(
        proc::command(binaries.join(name))
            .arg(corpus.join(name))
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={max_len}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-print_final_stats=1", "-timeout=5", "-rss_limit_mb=2048"])
            .args(["-verbosity=0", "-use_value_profile=1"]),
    );
    result.map_err(|error| {
        format!(
            "{name}: {error}\nthe input is in {}; run the target on it again: {} FILE",
            artifacts.display(),
            binaries.join(name).display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn all_targets_unless_named() {
        let plan = parse(&[]).expect("no arguments");
        assert_eq!((plan.seconds, plan.targets.len()), (60, TARGETS.len()));
        let plan = parse(&words("--seconds 5 capture")).expect("one target");
        assert_eq!((plan.seconds, plan.targets[0].0), (5, "capture"));
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text| parse(&words(text)).err().expect("an error");
        assert!(error("pcap").contains("packet, datapath, capture"));
        assert!(error("--seconds soon").contains("`soon`"));
    }
}
