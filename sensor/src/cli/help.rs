//! `sensor completions` and `sensor man`: written from the definition of the command line.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Args)]
#[command(after_help = "Example: sensor completions bash > /etc/bash_completion.d/sensor")]
pub struct Completions {
    /// Shell that the script is for.
    shell: Shell,
}

impl Completions {
    pub fn execute(self, mut command: Command) -> Result<ExitCode> {
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        io::stdout().write_all(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
#[command(
    after_help = "Example: sensor man > /usr/local/share/man/man1/sensor.1\n\
    Example: sensor man block add | man -l -"
)]
pub struct Man {
    /// Command, or command of a command, whose page is printed instead of the whole program's.
    command: Vec<String>,
}

impl Man {
    pub fn execute(self, mut command: Command) -> Result<ExitCode> {
        command.build();
        for name in &self.command {
            let found = command.find_subcommand(name).cloned();
            let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            command = found.ok_or_else(|| match known.as_slice() {
                [] => anyhow::anyhow!("{} has no commands of its own", command.get_name()),
                known => anyhow::anyhow!("no command {name}; there are: {}", known.join(", ")),
            })?;
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        io::stdout().write_all(&page)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `docs/cli.md`.
#[cfg(test)]
fn reference(mut command: Command) -> String {
    command.build();
    let mut text = String::from(
        "# Command line\n\nWritten from the definition of the command line; \
         `sensor COMMAND --help` says the same.\n",
    );
    section(&mut command, "", &mut text);
    text
}

#[cfg(test)]
fn section(command: &mut Command, before: &str, text: &mut String) {
    use std::fmt::Write as _;
    let name = format!("{before}{}", command.get_name());
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _infallible = write!(
        text,
        "\n## `{name}`\n\n```text\n{}\n```\n",
        lines.join("\n")
    );
    let before = format!("{name} ");
    for inner in command.get_subcommands_mut() {
        if inner.get_name() != "help" {
            section(inner, &before, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &Command) {
            let name = command.get_name();
            let after = command.get_after_help().map(ToString::to_string);
            assert!(
                after.unwrap_or_default().contains("Example: sensor"),
                "{name}"
            );
            assert!(command.get_about().is_some(), "{name}");
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn the_reference_page_is_current() {
        let text = reference(Cli::command().term_width(100));
        crate::config::is_current("docs/cli.md", &text);
    }

    #[test]
    fn pages_and_scripts_are_written() {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .unwrap();
        assert!(String::from_utf8(page).unwrap().contains(".TH sensor 1"));
    }
}
