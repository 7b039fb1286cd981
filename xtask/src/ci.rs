//! What has to pass before a change goes in.

use std::{process::Command, time::Instant};

use crate::{
    proc::{self, Result},
    setup::{self, TestTools},
    test, tidy,
};

pub fn command() -> Result {
    let started = Instant::now();
    setup::ensure(TestTools::IfPossible)?;
    stage("fmt", || {
        proc::run(proc::cargo().args(["fmt", "--all", "--check"]))
            .map_err(|error| format!("{error}; run `cargo fmt --all`"))
    })?;
    stage("tidy", tidy::check)?;
    stage("clippy", || proc::run(&mut clippy()))?;
    stage("test", || test::run(&[]))?;
    println!("== ci passed ({})", setup::elapsed(started));
    Ok(())
}

fn clippy() -> Command {
    let mut command = proc::cargo();
    command.args(["clippy", "--all-targets", "--", "-D", "warnings"]);
    command
}

fn stage(name: &str, action: impl FnOnce() -> Result) -> Result {
    println!("== {name}");
    let started = Instant::now();
    action().map_err(|error| format!("{name}: {error}"))?;
    println!("== {name} passed ({})", setup::elapsed(started));
    Ok(())
}
