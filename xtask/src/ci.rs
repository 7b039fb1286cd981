//! Checks that a change has to pass.

use std::time::Instant;

use crate::{
    kernel,
    proc::{self, Result},
    setup::{self, TestTools},
    step, test, tidy,
};

pub fn command() -> Result {
    let started = Instant::now();
    setup::ensure(TestTools::IfPossible)?;
    stage("fmt", || {
        proc::run(proc::cargo().args(["fmt", "--all", "--check"]))
            .map_err(|error| format!("{error}; run `cargo fmt --all`"))
    })?;
    stage("tidy", tidy::check)?;
    stage("deny", deny)?;
    stage("clippy", clippy)?;
    stage("test", || test::run(&[]))?;
    println!("== ci passed ({})", step::elapsed(started));
    Ok(())
}

/// Licences, sources and banned crates, as deny.toml says.
fn deny() -> Result {
    setup::ensure_cargo_deny()?;
    let checks = ["licenses", "bans", "sources"];
    proc::run(proc::cargo().args(["deny", "check"]).args(checks))
}

fn clippy() -> Result {
    let strict = ["--", "-D", "warnings"];
    proc::run(proc::cargo().args(["clippy", "--all-targets"]).args(strict))?;
    let target = proc::target_dir()?.join("clippy-ebpf");
    proc::run(
        kernel::cargo("clippy", &target)
            .arg("--all-features")
            .args(strict),
    )
}

fn stage(name: &str, action: impl FnOnce() -> Result) -> Result {
    println!("== {name}");
    let started = Instant::now();
    action().map_err(|error| format!("{name}: {error}"))?;
    println!("== {name} passed ({})", step::elapsed(started));
    Ok(())
}
