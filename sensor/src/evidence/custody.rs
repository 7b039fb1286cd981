//! Chain of custody: who collected what from where, when, on which host and with which tool.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use sensor_record::{Timestamp, escape};
use serde::{Deserialize, Serialize};

use super::folder::{Item, hash_file};

/// Word of the kernel for a process of no login.
const NO_LOGIN: &str = "4294967295";

/// Person that collected the evidence, as far as the machine knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// Name that was given.
    pub examiner: Option<String>,
    pub user: String,
    pub uid: u32,
    /// User that had logged in, where the kernel knows.
    pub login_uid: Option<u32>,
    /// User that called sudo.
    pub sudo_user: Option<String>,
}

/// Program that did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub name: String,
    pub version: String,
    pub path: String,
    pub sha256: String,
    pub command: Vec<String>,
}

/// File that evidence was taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
    pub modified: Option<Timestamp>,
}

/// Statements about what was collected, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    pub incident_from: String,
    pub packets: String,
    pub n_packets: u64,
    /// Packets that belong to it beyond the greatest number.
    pub n_packets_left_out: u64,
    pub flows: String,
    pub n_flows: u64,
    pub n_flows_left_out: u64,
    pub timeline: String,
    pub configuration: String,
}

/// The chain as it begins; whoever hands it on adds to it outside of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custody {
    pub incident: String,
    pub case: Option<String>,
    pub number: Option<String>,
    pub note: Option<String>,
    pub who: Who,
    pub host: String,
    pub sensor_id: String,
    pub kernel: String,
    pub tool: Tool,
    pub began: Timestamp,
    pub ended: Timestamp,
    pub inputs: Vec<Input>,
    pub collected: Collected,
    pub items: Vec<Item>,
}

impl Who {
    /// Looks at the process and its user.
    pub fn now(examiner: Option<String>) -> Self {
        let uid = fs::metadata("/proc/self").map_or(u32::MAX, |about| about.uid());
        let login = fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
        let login = Some(login.trim()).filter(|login| *login != NO_LOGIN);
        Self {
            examiner,
            user: user_name(uid),
            uid,
            login_uid: login.and_then(|login| login.parse().ok()),
            sudo_user: std::env::var("SUDO_USER").ok(),
        }
    }
}

fn user_name(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name_of = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    };
    users.lines().find_map(name_of).unwrap_or_default()
}

impl Tool {
    /// Describes this program.
    ///
    /// # Errors
    /// When its file can't be read.
    pub fn this(version: &str) -> Result<Self> {
        let path = std::env::current_exe().context("the program's own path")?;
        // The file may have been replaced since: this is the one that runs.
        let (_, sha256) = hash_file(Path::new("/proc/self/exe")).context("/proc/self/exe")?;
        let words = std::env::args_os();
        Ok(Self {
            name: "sensor".to_owned(),
            version: version.to_owned(),
            path: path.display().to_string(),
            sha256,
            command: words
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
        })
    }
}

impl Input {
    /// Hashes an input.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn of(path: &Path) -> Result<Self> {
        let shown = || path.display().to_string();
        let (bytes, sha256) = hash_file(path).with_context(shown)?;
        let modified = fs::metadata(path).and_then(|about| about.modified());
        let modified = modified.ok().and_then(|at| {
            let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
            Some(Timestamp(u64::try_from(since.as_nanos()).ok()?))
        });
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Ok(Self {
            path: path.display().to_string(),
            bytes,
            sha256,
            modified,
        })
    }
}

impl Custody {
    /// Text for a person, to be printed and signed.
    pub fn text(&self) -> String {
        let mut text = "CHAIN OF CUSTODY\n\n".to_owned();
        let mut row = |name: &str, value: &str| {
            let _infallible = writeln!(text, "{name:<18}{}", escape(value));
        };
        let absent = || "(not given)".to_owned();
        row("incident", &self.incident);
        row("case", &self.case.clone().unwrap_or_else(absent));
        row("number", &self.number.clone().unwrap_or_else(absent));
        row(
            "examiner",
            &self.who.examiner.clone().unwrap_or_else(absent),
        );
        row("user", &format!("{} (uid {})", self.who.user, self.who.uid));
        if let Some(user) = &self.who.sudo_user {
            row("by sudo from", user);
        }
        if let Some(uid) = self.who.login_uid {
            row("logged in as", &format!("uid {uid}"));
        }
        row("host", &self.host);
        row("sensor", &self.sensor_id);
        row("kernel", &self.kernel);
        row("tool", &format!("{} {}", self.tool.name, self.tool.version));
        row("its file", &self.tool.path);
        row("its SHA-256", &self.tool.sha256);
        row("command", &self.tool.command.join(" "));
        row("began", &self.began.to_string());
        row("ended", &self.ended.to_string());
        row("note", &self.note.clone().unwrap_or_else(absent));
        text.push_str("\nTAKEN FROM\n\n");
        for input in &self.inputs {
            let _infallible = writeln!(
                text,
                "{}\n  {} bytes, SHA-256 {}",
                escape(&input.path),
                input.bytes,
                input.sha256
            );
        }
        text.push_str("\nWHAT IT HOLDS\n\n");
        let collected = &self.collected;
        for (name, told) in [
            ("incident", &collected.incident_from),
            ("packets", &collected.packets),
            ("flows", &collected.flows),
            ("timeline", &collected.timeline),
            ("configuration", &collected.configuration),
        ] {
            let _infallible = writeln!(text, "{name:<18}{}", escape(told));
        }
        text.push_str("\nFILES\n\n");
        for item in &self.items {
            let _infallible = writeln!(text, "{}  {:>12}  {}", item.sha256, item.bytes, item.file);
        }
        text.push_str("\nHANDED ON\n\n");
        for _ in 0..4 {
            text.push_str("date and time ____________  from ____________________  to ____________________  reason ____________\n\n");
        }
        text
    }
}
