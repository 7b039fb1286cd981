//! The command line: a file per subcommand.

mod eval;
mod replay;
mod run;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Exit codes, as documented in the README.
pub const EXIT_FAILED: u8 = 1;
pub const EXIT_BAD_INPUT: u8 = 3;

/// A network sensor: sees every packet, learns what is normal, drops attacks in the kernel.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 finished, \
    but some input was bad.\n\nExample: sensor replay capture.pcap.zst --json"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watch interfaces.
    Run(run::Run),
    /// Read captures through the same code, without privileges.
    Replay(replay::Replay),
    /// Run labelled captures and hold the incidents against the labels.
    Eval(eval::Eval),
}

/// Parses the arguments, runs the command, reports its error.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("SENSOR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let result = match cli.command {
        Command::Run(run) => run.execute(),
        Command::Replay(replay) => replay.execute(),
        Command::Eval(eval) => eval.execute(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sensor: {error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}
