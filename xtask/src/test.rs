//! All tests of the workspace.

use std::{
    io::{BufRead, BufReader, IsTerminal, stdout},
    process::Stdio,
};

use crate::{
    proc::{self, Result},
    setup::{self, TestTools},
};

pub fn command(args: &[String]) -> Result {
    setup::ensure(TestTools::IfPossible)?;
    run(args)
}

/// The default members are all but sensor-ebpf, which only builds for the BPF target.
pub fn run(args: &[String]) -> Result {
    // The tests of the whole run the sensor itself, which `cargo test` alone doesn't build.
    proc::run(proc::cargo().args(["build", "--package", "sensor"]))?;
    let mut cargo = proc::cargo();
    // The programs see a pipe and would leave colours out.
    let color = if stdout().is_terminal() {
        "always"
    } else {
        "never"
    };
    cargo
        .args(["test", "--no-fail-fast", "--", "--color", color])
        .args(args);
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start cargo test: {error}"))?;
    let mut totals = Totals::default();
    for line in child
        .stdout
        .take()
        .map(BufReader::new)
        .into_iter()
        .flat_map(BufRead::lines)
    {
        let line = line.map_err(|error| format!("cannot read what cargo test prints: {error}"))?;
        println!("{line}");
        totals.add(&line);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    println!(
        "{} passed, {} failed, {} skipped",
        totals.passed, totals.failed, totals.skipped
    );
    if totals.skipped > 0 && !proc::is_root() {
        println!(
            "not root: tests that load the sensor into the kernel or make network namespaces were \
             skipped; run them by `sudo -E env PATH=$PATH cargo xtask test`"
        );
    }
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo test failed ({status})"))
    }
}

/// Sums of the lines with which test programs end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Totals {
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let words: Vec<&str> = result
            .split([' ', ';', '.'])
            .filter(|word| !word.is_empty())
            .collect();
        let number = |label| {
            let at = words.iter().position(|word| *word == label)?;
            words.get(at.checked_sub(1)?)?.parse::<u64>().ok()
        };
        self.passed += number("passed").unwrap_or(0);
        self.failed += number("failed").unwrap_or(0);
        self.skipped += number("ignored").unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_programs_are_summed() {
        let mut totals = Totals::default();
        for line in [
            "running 4 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: \u{1b}[31mFAILED\u{1b}[0m. 2 passed; 1 failed; 0 ignored; 0 measured; 9 filtered out",
        ] {
            totals.add(line);
        }
        let expected = Totals {
            passed: 5,
            failed: 1,
            skipped: 1,
        };
        assert_eq!(totals, expected);
    }
}
