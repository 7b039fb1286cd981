//! The audit log: one JSON line for everything that was done to somebody's packets, or refused.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tracing::error;

use super::entry::{Listed, Origin, Request, Shown};

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
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Block,
    Refuse,
    Remove,
    Expire,
    Flush,
    BulkLoad,
    Allow,
    Disallow,
    ModeChange,
    Restore,
    Adopt,
    Opinion,
}

impl Event {
    const fn label(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Refuse => "refuse",
            Self::Remove => "remove",
            Self::Expire => "expire",
            Self::Flush => "flush",
            Self::BulkLoad => "bulk_load",
            Self::Allow => "allow",
            Self::Disallow => "disallow",
            Self::ModeChange => "mode_change",
            Self::Restore => "restore",
            Self::Adopt => "adopt",
            Self::Opinion => "opinion",
        }
    }
}

impl Audit {
    /// Opens the log for appending; makes its folder.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let file = append(path).with_context(|| path.display().to_string())?;
        let n_bytes = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            n_bytes,
            max_bytes,
            n_lost: 0,
        })
    }

    /// Lines that could not be written.
    pub const fn n_lost(&self) -> u64 {
        self.n_lost
    }

    /// Writes one line: the time, the event and `fields`. An error is logged and counted: the
    /// response doesn't wait for a full disk.
    pub fn note(&mut self, event: Event, fields: Value) {
        let mut line = json!({"@timestamp": now(), "event.action": event.label()});
        if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
            line.extend(fields);
        }
        if let Err(cause) = self.write(&line) {
            self.n_lost += 1;
            error!(path = %self.path.display(), cause = format!("{cause:#}"), %line,
                "audit line not written");
        }
    }

    fn write(&mut self, line: &Value) -> Result<()> {
        if self.n_bytes >= self.max_bytes {
            self.rotate().context("rotation")?;
        }
        let text = format!("{line}\n");
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

fn append(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).open(path)
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    crate::output::timestamp(since.unwrap_or(Duration::ZERO).as_nanos() as u64)
}

/// Fields of a request.
pub fn asked(request: &Request, guard: &str) -> Value {
    json!({
        "target": Shown(&request.target).to_string(),
        "protocol": request.scope.protocol,
        "local_port": request.scope.local_port,
        "measure": request.measure,
        "ttl_s": request.ttl.as_secs(),
        "origin": request.origin,
        "reason": request.reason.as_ref(),
        "guard": guard,
    })
}

/// Fields of a network that the configuration puts on the allow-list, or takes off.
pub fn by_config(network: &ipnet::IpNet) -> Value {
    json!({"target": Shown(network).to_string(), "origin": Origin::Config})
}

/// Fields of an entry that ends.
pub fn ended(listed: &Listed, by: &Origin, why: &str) -> Value {
    json!({
        "target": Shown(&listed.target).to_string(),
        "protocol": listed.scope.protocol,
        "local_port": listed.scope.local_port,
        "measure": listed.measure,
        "origin": listed.origin.as_ref(),
        "packets": listed.packets,
        "bytes": listed.bytes,
        "ended_by": by,
        "reason": why,
    })
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

    #[test]
    fn appends_whole_lines() {
        let folder = folder("append");
        let path = folder.join("deep/audit.jsonl");
        for n in 0..3 {
            let mut audit = Audit::open(&path, MAX_BYTES).unwrap();
            audit.note(Event::Block, json!({"n": n}));
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2]["n"], 2);
        assert_eq!(lines[0]["event.action"], "block");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn its_size_is_bounded() {
        let folder = folder("rotate");
        let path = folder.join("audit.jsonl");
        let mut audit = Audit::open(&path, 2_000).unwrap();
        for n in 0..1_000 {
            audit.note(Event::Expire, json!({"n": n}));
        }
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len() as u32, N_KEPT + 1);
        for file in files {
            assert!(file.metadata().unwrap().len() < 2_200);
        }
        let last = fs::read_to_string(&path).unwrap();
        assert!(last.lines().last().unwrap().contains("\"n\":999"));
        assert_eq!(audit.n_lost(), 0);
        fs::remove_dir_all(folder).unwrap();
    }
}
