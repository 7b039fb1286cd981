//! `sensor audit`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use sensor_record::{escape, json};
use sensor_respond::{AuditBreak, Verified, verify_audit};
use serde::Serialize;

use super::out::say;
use crate::config::{self, Sources};

#[derive(Args)]
#[command(after_help = "Example: sensor audit verify")]
pub struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check that no line of the audit log was changed or taken out.
    #[command(
        after_help = "Each line carries the SHA-256 of the one before, over all files that are kept. Whoever \
        may write the files can write all of them anew: keep the hash of the last line, which this command \
        prints, on another machine.\n\nExample: sensor audit verify --json"
    )]
    Verify {
        /// Audit log. Default: respond.audit_log of the configuration.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Configuration file.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// A break as a record.
#[derive(Serialize)]
struct Break<'a> {
    file: String,
    line: u64,
    what: &'a str,
}

/// Result as a record.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "audit_verified")]
struct Report<'a> {
    whole: bool,
    lines: u64,
    files: Vec<String>,
    unchained: u64,
    from_the_first: bool,
    n_breaks: u64,
    breaks: Vec<Break<'a>>,
    torn_bytes: u64,
    last: Option<&'a str>,
}

impl Audit {
    pub fn execute(self) -> Result<ExitCode> {
        let Command::Verify { file, config, json } = self.command;
        let path = match file {
            Some(file) => file,
            None => config::load(&Sources::of_process(config, Vec::new()))?
                .settings
                .respond
                .audit_of_instance()
                .context("respond.audit_log is empty: name the log with --file")?,
        };
        let verified = verify_audit(&path)?;
        if json {
            say!("{}", json::line(&report(&verified)))?;
        } else {
            tell(&verified)?;
        }
        Ok(if verified.n_breaks == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn report<'a>(verified: &'a Verified) -> Report<'a> {
    let one = |found: &'a AuditBreak| Break {
        file: found.file.display().to_string(),
        line: found.line,
        what: found.what,
    };
    let files = verified.files.iter();
    Report {
        whole: verified.n_breaks == 0,
        lines: verified.n_lines,
        files: files.map(|file| file.display().to_string()).collect(),
        unchained: verified.n_unchained,
        from_the_first: verified.is_from_the_first,
        n_breaks: verified.n_breaks,
        breaks: verified.breaks.iter().map(one).collect(),
        torn_bytes: verified.n_torn_bytes,
        last: verified.last.as_deref(),
    }
}

fn tell(verified: &Verified) -> Result<()> {
    for found in &verified.breaks {
        let file = found.file.display().to_string();
        say!("{}:{}: {}", escape(&file), found.line, found.what)?;
    }
    if verified.n_torn_bytes > 0 {
        let n = verified.n_torn_bytes;
        say!("the last line was cut after {n} bytes; the next start sets it aside")?;
    }
    if verified.n_unchained > 0 {
        say!(
            "{} lines have no hash: an older version wrote them",
            verified.n_unchained
        )?;
    }
    let begins = if verified.is_from_the_first {
        "from the first line on"
    } else {
        "from the oldest file that is kept on"
    };
    let (n, files) = (verified.n_lines, verified.files.len());
    let is_whole = match verified.n_breaks {
        0 => "whole".to_owned(),
        n => format!("broken in {n} places"),
    };
    say!("{n} lines in {files} files, {begins}: {is_whole}")?;
    if let Some(last) = &verified.last {
        say!("hash of the last line: {last}")?;
    }
    Ok(())
}
