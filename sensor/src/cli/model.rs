//! `sensor model`.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use sensor_engine::{SECOND_NS, SequenceKind};
use sensor_record::{Timestamp, Zone, json};
use serde::Serialize;

use super::out::say;
use crate::config::{self, Settings, Sources};
use crate::networks::{Checked, Entry, InstalledFolder, LEAST_PER_S, Shadow, Tally, check, name};

/// Networks over sequences, trained outside of the sensor.
#[derive(Args)]
#[command(
    after_help = "Installed networks are in respond.state_folder; a running agent takes changes within a second, \
    and its audit log says who made them.\n\nExample: sensor model add contacts.onnx"
)]
pub struct Model {
    #[command(subcommand)]
    what: What,
    /// Configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// List the installed networks.
    #[command(after_help = "Example: sensor model list --json")]
    List,
    /// Check that the sensor can evaluate a network: its manifest, layers, self-test and speed.
    #[command(
        after_help = "The manifest is the file beside it that ends in .json; both are written by \
        `python -m sensor_train`.\n\nExample: sensor model check contacts.onnx"
    )]
    Check {
        /// Network, as ONNX.
        file: PathBuf,
    },
    /// Check a network and install it. Where one over the same kind of sequences is in force, it becomes the
    /// candidate: it scores beside that one, without effect.
    #[command(after_help = "Example: sensor model add contacts.onnx")]
    Add {
        /// Network, as ONNX, with its manifest beside it.
        file: PathBuf,
        /// Make it the candidate where none is in force, too.
        #[arg(long)]
        candidate: bool,
    },
    /// Show what the candidate would have changed, by source and hour, over the last days.
    #[command(
        after_help = "Alarms of one source within an hour count once. One is confirmed where a detector found the \
        source in that hour or a person called it an attack (`sensor feedback`).\n\nExample: sensor model compare contacts"
    )]
    Compare {
        /// Kind of sequences.
        sequences: Sequences,
    },
    /// Put the candidate in force.
    #[command(after_help = "Example: sensor model promote contacts")]
    Promote {
        /// Kind of sequences.
        sequences: Sequences,
    },
    /// Put the network that was in force before back.
    #[command(after_help = "Example: sensor model rollback contacts")]
    Rollback {
        /// Kind of sequences.
        sequences: Sequences,
    },
    /// Remove all networks over a kind of sequences, or the candidate.
    #[command(after_help = "Example: sensor model remove contacts --candidate")]
    Remove {
        /// Kind of sequences.
        sequences: Sequences,
        /// Remove the candidate alone.
        #[arg(long)]
        candidate: bool,
    },
}

/// Kind of sequences.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sequences {
    Contacts,
    Packets,
    Minute,
}

impl Sequences {
    const fn label(self) -> &'static str {
        match self {
            Self::Contacts => SequenceKind::Contacts,
            Self::Packets => SequenceKind::Packets,
            Self::Minute => SequenceKind::Minute,
        }
        .label()
    }
}

/// A network that passed.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "model")]
struct Passed<'a> {
    file: String,
    sequences: &'a str,
    network: &'a str,
    sha256: &'a str,
    bytes: usize,
    threshold: f32,
    false_share: f64,
    sequences_per_s: u64,
}

/// An installed network as it is listed.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "installed_model")]
struct Listed<'a> {
    name: String,
    role: &'static str,
    sequences: &'a str,
    network: &'a str,
    sha256: &'a str,
    since: Timestamp,
}

/// A comparison as it is shown.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "model_comparison")]
struct Compared<'a> {
    sequences: &'a str,
    judged: u64,
    active_sums: Tally,
    candidate_sums: Tally,
    better: bool,
    reason: Option<String>,
    #[serde(flatten)]
    shadow: Shadow,
}

impl Model {
    pub fn execute(self) -> Result<ExitCode> {
        match &self.what {
            What::Check { file } => {
                let found = check(file, LEAST_PER_S).map_err(|cause| anyhow!(cause))?;
                self.passed(&file.display().to_string(), &found)?;
            }
            What::Add { file, candidate } => {
                let (found, is_candidate) = self.folder()?.add(file, *candidate, own_uid())?;
                self.passed(&name(found.kind.label(), &found.sha256), &found)?;
                if is_candidate && !self.json {
                    say!("it is the candidate: `sensor model compare` shows what it would change")?;
                }
            }
            What::Compare { sequences } => self.compare(sequences.label())?,
            What::Promote { sequences } => {
                self.folder()?.promote(sequences.label(), own_uid())?;
                self.done("the candidate is in force")?;
            }
            What::Rollback { sequences } => {
                self.folder()?.roll_back(sequences.label(), own_uid())?;
                self.done("the network of before is in force")?;
            }
            What::Remove {
                sequences,
                candidate,
            } => {
                let folder = self.folder()?;
                folder.remove(sequences.label(), *candidate, own_uid())?;
                self.done("removed")?;
            }
            What::List => self.list()?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn settings(&self) -> Result<Settings> {
        let sources = Sources::of_process(self.config.clone(), Vec::new());
        Ok(config::load(&sources)?.settings)
    }

    fn folder(&self) -> Result<InstalledFolder> {
        folder_of(&self.settings()?)
    }

    fn passed(&self, named: &str, found: &Checked) -> Result<()> {
        let passed = Passed {
            file: named.to_owned(),
            sequences: found.kind.label(),
            network: &found.network,
            sha256: &found.sha256,
            bytes: found.n_bytes,
            threshold: found.threshold,
            false_share: found.false_share,
            sequences_per_s: found.per_s as u64,
        };
        if self.json {
            return say!("{}", json::line(&passed));
        }
        say!(
            "{}: {} over {}, {} bytes, {} sequences/s by one thread",
            passed.file,
            passed.network,
            passed.sequences,
            passed.bytes,
            passed.sequences_per_s
        )
    }

    fn done(&self, what: &str) -> Result<()> {
        if self.json {
            return Ok(());
        }
        say!("{what}")
    }

    fn compare(&self, kind: &str) -> Result<()> {
        let settings = self.settings()?;
        let folder = folder_of(&settings)?;
        let shadow = folder.read_comparison(kind);
        let installed = folder.read()?;
        let slots = installed.kinds.get(kind).cloned().unwrap_or_default();
        let candidate = slots.candidate.with_context(|| {
            format!("no candidate over {kind} is installed: `sensor model add` makes one")
        })?;
        let active = slots.active.map_or_else(String::new, |entry| entry.sha256);
        let shadow = shadow.filter(|shadow| shadow.is_of(&active, &candidate.sha256));
        let shadow = shadow.unwrap_or_else(|| Shadow::of(&active, &candidate.sha256));
        let least_ns = u64::from(settings.networks.promote_after.0).saturating_mul(SECOND_NS);
        let verdict = shadow.verdict(least_ns);
        let shadow = shadow.as_of_now();
        let (judged, active_sums, candidate_sums) = shadow.sums();
        let compared = Compared {
            sequences: kind,
            judged,
            active_sums,
            candidate_sums,
            better: verdict.is_ok(),
            reason: verdict.err(),
            shadow,
        };
        if self.json {
            return say!("{}", json::line(&compared));
        }
        tell(&compared)
    }

    fn list(&self) -> Result<()> {
        let installed = self.folder()?.read()?;
        let mut entries: Vec<(&String, &'static str, &Entry)> = Vec::new();
        for (kind, slots) in &installed.kinds {
            for (role, entry) in [
                ("active", &slots.active),
                ("candidate", &slots.candidate),
                ("previous", &slots.previous),
            ] {
                entries.extend(entry.iter().map(|entry| (kind, role, entry)));
            }
        }
        if entries.is_empty() && !self.json {
            return say!("no network is installed");
        }
        for (kind, role, entry) in entries {
            let listed = Listed {
                name: name(kind, &entry.sha256),
                role,
                sequences: kind,
                network: &entry.network,
                sha256: &entry.sha256,
                since: entry.since,
            };
            if self.json {
                say!("{}", json::line(&listed))?;
            } else {
                let since = Zone::local().second(listed.since);
                say!("{} ({}) {role} since {since}", listed.name, listed.network)?;
            }
        }
        Ok(())
    }
}

fn folder_of(settings: &Settings) -> Result<InstalledFolder> {
    let folder = settings.respond.state_of_instance();
    let folder = folder.context("networks are kept in respond.state_folder: set it")?;
    Ok(InstalledFolder::of_state(&folder))
}

/// Tells a comparison in lines.
fn tell(compared: &Compared<'_>) -> Result<()> {
    say!("{} sequences were judged by the candidate", compared.judged)?;
    for (who, tally) in [
        ("in force", compared.active_sums),
        ("candidate", compared.candidate_sums),
    ] {
        say!(
            "{who}: {} alarms, {} confirmed, {} called benign",
            tally.alarms,
            tally.confirmed,
            tally.wrong
        )?;
    }
    for one in &compared.shadow.differing {
        let who = if one.by_candidate {
            "candidate"
        } else {
            "in force"
        };
        let confirmed = if one.confirmed { ", confirmed" } else { "" };
        say!(
            "{} {}: the {who} alone ({:.3} in force, {:.3} candidate){confirmed}",
            Zone::local().second(one.at),
            one.source,
            one.active,
            one.candidate
        )?;
    }
    match &compared.reason {
        None => say!(
            "the candidate is better at equal false alarms: `sensor model promote` puts it in force"
        ),
        Some(reason) => say!("the rule does not promote it: {reason}"),
    }
}

/// User of this process.
fn own_uid() -> Option<u32> {
    let own = std::fs::metadata("/proc/self").ok()?;
    Some(own.uid())
}
