//! The range: builds the program of the tests' package that makes labelled captures, and runs it.

use crate::proc::{self, Result};

/// `cargo xtask range`: it installs what the chosen recipes run by itself.
pub fn command(args: &[String]) -> Result {
    let build = [
        "build",
        "--quiet",
        "--release",
        "-p",
        "sensor-tests",
        "--bin",
        "range",
    ];
    proc::run(proc::cargo().args(build))?;
    let program = proc::target_dir()?.join("release/range");
    let mut command = proc::command(program);
    // A folder is named from where the command was given.
    if let Ok(here) = std::env::current_dir() {
        command.current_dir(here);
    }
    proc::exec(command.args(args))
}
