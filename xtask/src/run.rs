//! Building the sensor and its tools in release form, and running them.

use std::{env, path::Path, process::Command};

use crate::{
    proc::{self, Result},
    setup::{self, TestTools},
};

/// `cargo xtask run`: the sensor in the foreground, with the rights it needs.
pub fn sensor(args: &[String]) -> Result {
    setup::ensure(TestTools::No)?;
    build_sensor()?;
    let binary = proc::target_dir()?.join("release/sensor");
    let mut command = if proc::is_root() {
        proc::command(&binary)
    } else {
        let mut sudo = sudo(&binary.display().to_string())?;
        if !setup::is_bpffs_mounted() {
            setup::mount_bpffs(sudo.arg("mount"))?;
        }
        let mut command = proc::command("sudo");
        command.arg("env").args(passed_on()).arg(&binary);
        command
    };
    proc::exec(command.arg("run").args(args))
}

/// `cargo xtask lab`: a program of the tests' package.
pub fn tests_program(name: &str, args: &[String]) -> Result {
    tests_program_with(name, args, &[])
}

/// A program of the tests' package, with files named in its environment.
pub fn tests_program_with(name: &str, args: &[String], files: &[(&str, &Path)]) -> Result {
    setup::ensure(TestTools::IfPossible)?;
    // These programs start the sensor that is there; it should be the one of this source.
    build_sensor()?;
    proc::exec(
        proc::cargo()
            .args([
                "run",
                "--quiet",
                "--release",
                "-p",
                "sensor-tests",
                "--bin",
                name,
                "--",
            ])
            .args(args)
            .envs(files.iter().copied()),
    )
}

fn build_sensor() -> Result {
    proc::run(proc::cargo().args(["build", "--release", "-p", "sensor"]))
}

fn sudo(binary: &str) -> Result<Command> {
    if proc::find_program("sudo").is_none() {
        return Err(format!(
            "the sensor needs root, and there is no sudo here; as root, run `{binary} run`"
        ));
    }
    println!("not root: going on through sudo");
    Ok(proc::command("sudo"))
}

/// The settings a user gives by environment, which sudo would drop.
fn passed_on() -> Vec<String> {
    env::vars()
        .filter(|(key, _)| key.starts_with("SENSOR_") || key == "RUST_LOG")
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}
