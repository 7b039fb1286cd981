//! The audit log: one JSON line for everything that was done to somebody's packets, or refused.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use sensor_record::{About, AuditLine, Network, Origin, Outcome, json};
use tracing::error;

use super::entry::{Listed, Request};
use super::saved::make_folder;

/// Size from which on a new file is begun, and files kept beside the present one.
pub const MAX_BYTES: u64 = 16 << 20;
pub const N_KEPT: u32 = 4;

/// An append-only file of bounded size.
pub struct Audit {
    path: PathBuf,
    file: File,
    n_bytes: u64,
    max_bytes: u64,
    /// Lines that could not be written.
    n_lost: u64,
    /// Cause of the last line that could not be written, if it was the last of all.
    error: Option<String>,
}

impl Audit {
    /// Opens the log for appending; makes its folder.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Self> {
        if let Some(folder) = path.parent() {
            make_folder(folder).with_context(|| folder.display().to_string())?;
        }
        let file = append(path).with_context(|| path.display().to_string())?;
        let n_bytes = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            n_bytes,
            max_bytes,
            n_lost: 0,
            error: None,
        })
    }

    /// Opens the file of that name anew: somebody has moved the one of before.
    ///
    /// # Errors
    /// The system's, with the path; the file of before is still written to then.
    pub fn reopen(&mut self) -> Result<()> {
        // The name may still lead to the file that is open: its lock is this sensor's own.
        self.file.unlock()?;
        let new = Self::open(&self.path, self.max_bytes).inspect_err(|_| {
            let _held_by_another = self.file.try_lock();
        })?;
        (self.file, self.n_bytes) = (new.file, new.n_bytes);
        Ok(())
    }

    /// Cause of the last line that could not be written, if it was the last of all.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Lines that could not be written.
    pub const fn n_lost(&self) -> u64 {
        self.n_lost
    }

    /// Writes one line. An error is logged and counted: the response doesn't wait for a full disk.
    pub fn note(&mut self, line: &AuditLine) {
        let text = json::line(line) + "\n";
        if let Err(cause) = self.write(&text) {
            self.n_lost += 1;
            self.error = Some(format!("{cause:#}"));
            error!(path = %self.path.display(), cause = format!("{cause:#}"), line = text,
                "audit line not written");
        } else {
            self.error = None;
        }
    }

    fn write(&mut self, text: &str) -> Result<()> {
        if self.n_bytes >= self.max_bytes {
            self.rotate().context("rotation")?;
        }
        // One call, so that lines stay whole; what a full disk took of one goes again. The length
        // is asked for: somebody may have cut the file.
        let before = self.file.metadata()?.len();
        if let Err(cause) = self.file.write_all(text.as_bytes()) {
            self.file.set_len(before)?;
            return Err(cause.into());
        }
        self.n_bytes += text.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        for n in (1..N_KEPT).rev() {
            let (from, to) = (self.kept(n), self.kept(n + 1));
            if from.exists() {
                fs::rename(from, to)?;
            }
        }
        fs::rename(&self.path, self.kept(1))?;
        self.file = append(&self.path)?;
        self.n_bytes = 0;
        Ok(())
    }

    fn kept(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }
}

/// Opens the log for its owner alone; one sensor writes it at a time.
fn append(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(path)?;
    if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        return Err(std::io::Error::other(
            "another sensor writes it: give this one another respond.instance or respond.audit_log",
        ));
    }
    Ok(file)
}

/// A request, with what became of it.
pub fn asked(request: &Request, outcome: Outcome) -> About {
    About {
        target: Some(Network(request.target)),
        protocol: Some(request.scope.protocol),
        local_port: Some(request.scope.local_port),
        measure: Some(request.measure),
        ttl_s: Some(request.ttl.as_secs()),
        origin: Some(request.origin.clone()),
        reason: Some(request.reason.to_string()),
        outcome: Some(outcome),
        grounds: request.grounds.clone().unwrap_or_default(),
        ..About::default()
    }
}

/// A network that somebody puts on the allow-list, or takes off.
pub fn listed(network: &IpNet, by: &Origin) -> About {
    About {
        target: Some(Network(*network)),
        origin: Some(by.clone()),
        ..About::default()
    }
}

/// An entry that ends.
pub fn ended(listed: &Listed, by: &Origin, why: &str) -> About {
    About {
        target: Some(Network(listed.target)),
        protocol: Some(listed.scope.protocol),
        local_port: Some(listed.scope.local_port),
        measure: Some(listed.measure),
        origin: Some(Origin::clone(&listed.origin)),
        packets: Some(listed.packets),
        bytes: Some(listed.bytes),
        ended_by: Some(by.clone()),
        reason: Some(why.to_owned()),
        ..About::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let name = format!("sensor-audit-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _absent = fs::remove_dir_all(&folder);
        folder
    }

    /// A line that is told apart by a number.
    fn line(n: u64) -> AuditLine {
        let about = About {
            n_added: Some(n),
            ..About::default()
        };
        AuditLine {
            about,
            ..sensor_record::example::audit()
        }
    }

    #[test]
    fn appends_whole_lines() {
        let folder = folder("append");
        let path = folder.join("deep/audit.jsonl");
        for n in 0..3 {
            let mut audit = Audit::open(&path, MAX_BYTES).unwrap();
            audit.note(&line(n));
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<AuditLine> = text
            .lines()
            .map(|line| json::read(line.as_bytes()).unwrap())
            .collect();
        assert_eq!(lines, [line(0), line(1), line(2)]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_full_audit_log_is_rotated_and_old_files_go() {
        let folder = folder("rotate");
        let path = folder.join("audit.jsonl");
        let mut audit = Audit::open(&path, 4_000).unwrap();
        for n in 0..1_000 {
            audit.note(&line(n));
        }
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len() as u32, N_KEPT + 1);
        for file in files {
            assert!(file.metadata().unwrap().len() < 4_400);
        }
        let last = fs::read_to_string(&path).unwrap();
        assert!(last.lines().last().unwrap().contains("\"n_added\":999"));
        assert_eq!(audit.n_lost(), 0);
        fs::remove_dir_all(folder).unwrap();
    }
}
