//! The benchmarks: builds the programs to compare with, and starts the measuring.

use std::path::{Path, PathBuf};

use crate::{
    kernel,
    proc::{self, Result},
    run,
    setup::{self, TestTools},
};

/// As for the sensor's own object: the linker writes BTF.
const RUSTFLAGS: &str = "-Cdebuginfo=2\x1f-Clink-arg=--btf";

pub fn command(args: &[String]) -> Result {
    setup::ensure(TestTools::No)?;
    let mut args = args.to_vec();
    if let Some(at) = args.iter().position(|arg| arg == "--against")
        && let Some(other) = args.get_mut(at + 1)
        && !Path::new(other.as_str()).exists()
    {
        *other = build_revision(other)?.display().to_string();
    }
    let object = build_object()?;
    run::tests_program_with("bench", &args, &[("SENSOR_BENCH_OBJECT", &object)])
}

/// The drill, whose floods one of the same programs sends.
pub fn drill(args: &[String]) -> Result {
    setup::ensure(TestTools::No)?;
    let object = build_object()?;
    run::tests_program_with("drill", args, &[("SENSOR_BENCH_OBJECT", &object)])
}

/// Builds the programs that are no part of the sensor.
fn build_object() -> Result<PathBuf> {
    let target = proc::target_dir()?.join("bench-ebpf");
    let mut cargo = kernel::cargo("build", &target);
    cargo
        .args(["--release", "--bin", "bench-ebpf", "--features", "bench"])
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS);
    proc::run(&mut cargo)?;
    Ok(target.join(kernel::TRIPLE).join("release/bench-ebpf"))
}

/// Builds the kernel program of a revision, from its own source.
fn build_revision(revision: &str) -> Result<PathBuf> {
    let mut git = proc::command("git");
    git.args(["rev-parse", "--verify", "--quiet"])
        .arg(format!("{revision}^{{commit}}"));
    let commit = proc::capture(&mut git)
        .map_err(|_| format!("--against {revision}: neither a file nor a revision"))?;
    let target = proc::target_dir()?.join("bench-ebpf");
    let source = target.join("source").join(commit.trim());
    std::fs::create_dir_all(&source).map_err(|error| format!("{}: {error}", source.display()))?;
    let archive = format!("git archive {} | tar -x -C \"$0\"", commit.trim());
    proc::run(proc::command("sh").args(["-c", &archive]).arg(&source))?;
    let target = target.join("other");
    let mut cargo = kernel::cargo("build", &target);
    cargo
        .args(["--release", "--bin", "sensor-ebpf"])
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS)
        .current_dir(source.join("sensor-ebpf"));
    proc::run(&mut cargo)?;
    Ok(target.join(kernel::TRIPLE).join("release/sensor-ebpf"))
}
