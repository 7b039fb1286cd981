//! The command line: a file per subcommand.

mod ask;
mod audit;
mod client;
mod config;
mod consent;
mod detach;
mod doctor;
mod eval;
mod evidence;
mod explain;
mod export;
mod extcap;
mod feedback;
mod feeds;
mod help;
mod lists;
mod logs;
mod model;
mod out;
mod panic;
mod policy;
mod proposals;
mod query;
mod replay;
mod report;
mod run;
mod shield;
mod sinks;
mod site;
mod sources;
mod token;
mod train;
mod undo;

use std::{process::ExitCode, sync::LazyLock};

use clap::{CommandFactory as _, Parser, Subcommand};
use sensor_record::escape_lines;

use crate::config::Faults;
use out::{is_closed, note};

/// Exit codes, as documented in the README.
pub const EXIT_FAILED: u8 = 1;
pub const EXIT_USAGE: u8 = 2;
pub const EXIT_BAD_INPUT: u8 = 3;

/// Version of the program with the commit that it was built from, which packages are told.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let commit = option_env!("SENSOR_COMMIT").unwrap_or("development build");
        format!("{} ({commit})", env!("CARGO_PKG_VERSION"))
    });
    &VERSION
}

/// A network sensor: sees every packet, learns what is normal, drops attacks in the kernel.
#[derive(Parser)]
#[command(
    version = version(),
    about,
    after_help = "Exit codes: 0 success; 1 failure; 2 wrong usage or configuration; 3 finished, \
    but part of the input was invalid.\n\nExample: sensor replay capture.pcap.zst --json"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Monitor interfaces.
    Run(run::Run),
    /// Replay captures through the same detection, without privileges.
    Replay(replay::Replay),
    /// Evaluate detection on labelled captures.
    Eval(eval::Eval),
    /// Train the model that names families on labelled captures.
    Train(train::Train),
    /// Check networks that were trained on sequences.
    Model(model::Model),
    /// Show load, losses, incidents and block entries of the running agent.
    Status(ask::Status),
    /// List the active flows of the running agent.
    Flows(ask::Flows),
    /// Show the top talkers; updated continuously on a terminal.
    Top(ask::Top),
    /// List the incidents that the running agent remembers.
    Incidents(ask::Incidents),
    /// Search the store for incidents and flows.
    Query(query::Query),
    /// Report incidents, response and feedback of a span of time, for a person or as a page to print.
    Report(report::Report),
    /// Write flows, incidents, decisions or rates of the store to a table: CSV or Parquet.
    Export(export::Export),
    /// Explain an incident: evidence, confidence, decisions, next steps.
    Explain(explain::Explain),
    /// Collect the evidence of an incident in a folder, with hashes and chain of custody.
    Evidence(evidence::Evidence),
    /// Show Wireshark packet samples of the running agent.
    Extcap(extcap::Extcap),
    /// Mark an incident as benign or as an attack; the models take it into account.
    #[command(alias = "verdict")]
    Feedback(feedback::Feedback),
    /// Show and change the block-list.
    Block(lists::Block),
    /// Show and change the allow-list: addresses that are never blocked.
    Allow(lists::Allow),
    /// Shield addresses of this host from floods.
    Shield(shield::Shield),
    /// Take back what a decision did.
    Undo(undo::Undo),
    /// Check the audit log.
    Audit(audit::Audit),
    /// Show the policy, and what it did in an incident.
    Policy(policy::Policy),
    /// Stop the enforcement at once, with or without a running agent.
    Panic(panic::Panic),
    /// List and test the systems that records are delivered to.
    Sinks(sinks::Sinks),
    /// Make, list and remove the tokens of those who come over TCP.
    Token(token::Token),
    /// Check and show the configuration.
    Config(config::Config),
    /// Print a completion script for a shell.
    Completions(help::Completions),
    /// Print a manual page.
    Man(help::Man),
    /// Detach programs and remove blocks that a stopped or killed sensor left in the kernel.
    Detach(detach::Detach),
    /// Check the prerequisites on this machine and print remedies.
    Doctor(doctor::Doctor),
}

/// Parses the arguments, runs the command, reports its error.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The agent's logs are configured.
    if !matches!(cli.command, Command::Run(_)) {
        logs::start_plain();
    }
    let result = match cli.command {
        Command::Run(run) => run.execute(),
        Command::Replay(replay) => replay.execute(),
        Command::Eval(eval) => eval.execute(),
        Command::Train(train) => train.execute(),
        Command::Model(model) => model.execute(),
        Command::Status(status) => status.execute(),
        Command::Flows(flows) => flows.execute(),
        Command::Top(top) => top.execute(),
        Command::Incidents(incidents) => incidents.execute(),
        Command::Query(query) => query.execute(),
        Command::Report(report) => report.execute(),
        Command::Export(export) => export.execute(),
        Command::Explain(explain) => explain.execute(),
        Command::Evidence(evidence) => evidence.execute(),
        Command::Extcap(extcap) => extcap.execute(),
        Command::Feedback(feedback) => feedback.execute(),
        Command::Block(block) => block.execute(),
        Command::Allow(allow) => allow.execute(),
        Command::Shield(shield) => shield.execute(),
        Command::Undo(undo) => undo.execute(),
        Command::Audit(audit) => audit.execute(),
        Command::Policy(policy) => policy.execute(),
        Command::Panic(panic) => panic.execute(),
        Command::Sinks(sinks) => sinks.execute(),
        Command::Token(token) => token.execute(),
        Command::Config(config) => config.execute(),
        Command::Completions(completions) => completions.execute(Cli::command()),
        Command::Man(man) => man.execute(Cli::command()),
        Command::Detach(detach) => detach.execute(),
        Command::Doctor(doctor) => doctor.execute(),
    };
    match result {
        Ok(code) => code,
        Err(error) if is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<Faults>() {
            Some(faults) => {
                note!("{}", escape_lines(&faults.to_string()));
                ExitCode::from(EXIT_USAGE)
            }
            None => {
                note!("sensor: {}", escape_lines(&format!("{error:#}")));
                ExitCode::from(EXIT_FAILED)
            }
        },
    }
}
