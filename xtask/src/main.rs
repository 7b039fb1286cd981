//! The workspace's chores: `cargo xtask help` lists them.

mod bench;
mod ci;
mod dist;
mod fuzz;
mod kernel;
mod proc;
mod range;
mod run;
mod rust_src;
mod setup;
mod step;
mod test;
mod tidy;
mod toolchain;

use std::{env, process::ExitCode};

use proc::Result;

const HELP: &str = "\
usage: cargo xtask COMMAND [ARGS]

  setup [--test-tools]   make this machine ready to build; quick when it is already
  run [-- ARGS]          build the sensor and run it, through sudo when not root
  test [-- ARGS]         all tests; ARGS go to the test programs, as in cargo test -- ARGS
  tidy                   house rules: files' sizes, walls between crates and stages, docs, lints
  ci                     formatting, tidy, cargo-deny, clippy and all tests
  fuzz [--seconds N] [TARGET...]
                         throw made-up packets and captures at the parsers, 60 s each
  fuzz api [--calls N]   throw a million random calls at the API of a sensor in network namespaces
  bench [-- ARGS]        ns/packet, throughput, memory; --help tells ARGS; results in
                         docs/benchmarks.md
  lab [--latency RUNS]   the demo: an attack, found and dropped, in network namespaces; or how
                         long it takes from an attack's start to its block
  drill [--rounds N]     attacks by real tools and forged packets against a guarded server: how
                         fast each is stopped, and that nobody else is; --help tells more
  range --out DIR        labelled captures of real programs in network namespaces; --help tells
                         more, docs/range.md all
  dist [--arch NAME] [--check]
                         packages: static programs, .deb, .rpm, container images, SBOM and
                         checksums in target/packages; --check installs and removes one for a trial
  help                   this text

examples:
  cargo xtask setup                   once after cloning
  cargo xtask run -- --help           the sensor's own arguments
  cargo xtask test -- --nocapture     show what the tests print
  sudo -E env PATH=$PATH cargo xtask test
                                      include the tests that need root
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let (name, rest) = match args.split_first() {
        Some((name, rest)) => (name.as_str(), without_separator(rest)),
        None => ("", &[][..]),
    };
    match dispatch(name, rest) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        None => {
            if !name.is_empty() {
                eprintln!("error: no command `{name}`");
            }
            eprint!("{HELP}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(name: &str, args: &[String]) -> Option<Result> {
    Some(match name {
        "setup" => setup::command(args),
        "run" => run::sensor(args),
        "test" => test::command(args),
        "ci" => ci::command(),
        "fuzz" => fuzz::command(args),
        "tidy" => tidy::check(),
        "lab" => run::tests_program(name, args),
        "drill" => bench::drill(args),
        "dist" => dist::command(args),
        "range" => range::command(args),
        "bench" => bench::command(args),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        _ => return None,
    })
}

/// `cargo xtask run -- ARGS` and `cargo xtask run ARGS` mean the same.
fn without_separator(args: &[String]) -> &[String] {
    match args.split_first() {
        Some((first, rest)) if first == "--" => rest,
        _ => args,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn one_separator_is_dropped() {
        assert_eq!(without_separator(&words("-- a -- b")), words("a -- b"));
        assert_eq!(without_separator(&words("a -- b")), words("a -- b"));
        assert_eq!(without_separator(&[]), words(""));
    }

    #[test]
    fn help_answers_while_a_build_holds_the_lock() {
        let folder = proc::target_dir().expect("cargo metadata").join("debug");
        std::fs::create_dir_all(&folder).expect("target/debug");
        let held = std::fs::File::create(folder.join(".cargo-lock")).expect("lock file");
        held.lock().expect("lock");
        let mut cargo = proc::command("timeout");
        cargo.args(["120", "cargo", "xtask", "--help"]);
        let text = proc::capture(&mut cargo).expect("no wait for the lock");
        assert_eq!(text, HELP);
    }

    #[test]
    fn unknown_commands_are_not_dispatched() {
        assert!(dispatch("no-such", &[]).is_none());
        assert!(dispatch("", &[]).is_none());
    }
}
