//! The audit log: one JSON line for everything that was done to somebody's packets, or refused. Each line
//! carries the hash of the one before, over all files, so that no line can be changed or taken out
//! without all that follow being written anew.

mod verify;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use sensor_record::{About, AuditLine, Network, Origin, Outcome, json};
use sha2::{Digest as _, Sha256};
use tracing::{error, warn};

use super::entry::{Listed, Request};
use super::saved::make_folder;

pub use verify::{AuditBreak, Verified, verify};

/// Size from which on a new file is begun, and files kept beside the present one.
pub const MAX_BYTES: u64 = 16 << 20;
pub const N_KEPT: u32 = 4;

/// An append-only file of bounded size.
pub struct Audit {
    path: PathBuf,
    file: File,
    n_bytes: u64,
    max_bytes: u64,
    /// Hash of the last line.
    last: String,
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
        let named = || path.display().to_string();
        let file = append(path).with_context(named)?;
        set_torn_aside(path, &file).with_context(named)?;
        let n_bytes = file.metadata()?.len();
        let last = match last_line(path).with_context(named)? {
            Some(line) => Some(line),
            // A new file goes on with the one before it.
            None => last_line(&kept(path, 1)).unwrap_or_default(),
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            n_bytes,
            max_bytes,
            last: last.map_or_else(|| FIRST.to_owned(), |line| hash(&line)),
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
        // What is new and empty goes on with what was written here, wherever that is now.
        if new.n_bytes > 0 {
            self.last = new.last;
        }
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
        let line = AuditLine {
            previous: Some(self.last.clone()),
            ..line.clone()
        };
        let mut text = json::line(&line);
        let last = hash(text.as_bytes());
        text.push('\n');
        if let Err(cause) = self.write(&text) {
            self.n_lost += 1;
            self.error = Some(format!("{cause:#}"));
            error!(path = %self.path.display(), cause = format!("{cause:#}"), line = text,
                "audit line not written");
        } else {
            self.last = last;
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
        kept(&self.path, n)
    }
}

/// Place of the hash of the line before in the first line of all.
const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Longer lines are none of this log.
const MAX_LINE: u64 = 1 << 20;

/// File of before beside a log.
fn kept(path: &Path, n: u32) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(format!(".{n}"));
    name.into()
}

fn hash(line: &[u8]) -> String {
    let digest = Sha256::digest(line);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// End of a file, from so far back as a line may be long.
fn tail(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LINE)))?;
    let mut bytes = Vec::new();
    file.take(MAX_LINE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last whole line of a file, without its end.
fn last_line(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let bytes = tail(path)?;
    let Some((_, lines)) = bytes.split_last().filter(|(last, _)| **last == b'\n') else {
        return Ok(None);
    };
    Ok(lines
        .rsplit(|byte| *byte == b'\n')
        .next()
        .map(<[u8]>::to_vec))
}

/// Moves a last line that a crash cut into a file beside the log, and says so.
fn set_torn_aside(path: &Path, file: &File) -> std::io::Result<()> {
    let bytes = tail(path)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    let torn = bytes
        .get(end.map_or(0, |end| end + 1)..)
        .unwrap_or_default();
    if torn.is_empty() {
        return Ok(());
    }
    let mut aside = path.to_owned().into_os_string();
    aside.push(".torn");
    let aside = PathBuf::from(aside);
    let mut options = OpenOptions::new();
    let mut beside = options.append(true).create(true).mode(0o600).open(&aside)?;
    beside.write_all(torn)?;
    beside.write_all(b"\n")?;
    beside.sync_all()?;
    file.set_len(file.metadata()?.len().saturating_sub(torn.len() as u64))?;
    let (n_bytes, aside) = (torn.len(), aside.display());
    warn!(n_bytes, %aside, "the last line of the audit log was cut: set aside");
    Ok(())
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
    let is_set = matches!(outcome, Outcome::Applied | Outcome::Monitored);
    About {
        entry: is_set.then(|| format!("{:016x}", request.origin.number())),
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
            previous: None,
            ..sensor_record::example::audit()
        }
    }

    fn read(path: &Path) -> Vec<AuditLine> {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines();
        lines
            .map(|line| json::read(line.as_bytes()).unwrap())
            .collect()
    }

    #[test]
    fn a_chain_is_whole_over_restarts_and_files_and_a_change_is_found() {
        let folder = folder("chain");
        let path = folder.join("audit.jsonl");
        let mut n = 0;
        for _ in 0..5 {
            let mut audit = Audit::open(&path, 1_200).unwrap();
            for _ in 0..3 {
                audit.note(&line(n));
                n += 1;
            }
        }
        let verified = verify(&path).unwrap();
        assert_eq!(
            (verified.n_lines, verified.breaks.len()),
            (15, 0),
            "{verified:?}"
        );
        assert!(verified.files.len() > 1 && verified.is_from_the_first);
        let oldest = read(&verified.files[0]);
        assert_eq!(oldest[0].previous.as_deref(), Some(FIRST));
        // A number changed, a line taken out, two exchanged.
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() >= 3, "{}", lines.len());
        let changed = text.replacen("\"n_added\":12", "\"n_added\":99", 1);
        let without = [&lines[..1], &lines[2..]].concat().join("\n") + "\n";
        let mut exchanged = lines.clone();
        exchanged.swap(0, 1);
        let exchanged = exchanged.join("\n") + "\n";
        for bad in [changed, without, exchanged] {
            fs::write(&path, bad).unwrap();
            let verified = verify(&path).unwrap();
            assert!(!verified.breaks.is_empty(), "{verified:?}");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_that_a_crash_cut_anywhere_is_set_aside_and_the_chain_goes_on() {
        let folder = folder("torn");
        let path = folder.join("audit.jsonl");
        let mut audit = Audit::open(&path, MAX_BYTES).unwrap();
        audit.note(&line(1));
        audit.note(&line(2));
        drop(audit);
        let whole = fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for end in (first..whole.len())
            .step_by(97)
            .chain([whole.len() - 1, 0, 1])
        {
            fs::write(&path, &whole[..end]).unwrap();
            let torn = verify(&path).unwrap();
            assert!(torn.breaks.is_empty(), "{end}: {torn:?}");
            let mut audit = Audit::open(&path, MAX_BYTES).unwrap();
            audit.note(&line(3));
            let verified = verify(&path).unwrap();
            assert!(verified.breaks.is_empty(), "{end}: {verified:?}");
            assert_eq!(verified.n_torn_bytes, 0);
            let is_cut = end > first || end == 1;
            assert_eq!(torn.n_torn_bytes > 0, is_cut, "{end}");
            let n_before = u64::from(end >= first);
            assert_eq!(verified.n_lines, n_before + 1, "{end}");
        }
        let aside = fs::read_to_string(folder.join("audit.jsonl.torn")).unwrap();
        assert!(aside.lines().count() > 2);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_log_that_somebody_moved_away_is_continued() {
        let folder = folder("moved");
        let path = folder.join("audit.jsonl");
        let mut audit = Audit::open(&path, MAX_BYTES).unwrap();
        audit.note(&line(1));
        fs::rename(&path, folder.join("audit.jsonl.1")).unwrap();
        audit.reopen().unwrap();
        audit.note(&line(2));
        let verified = verify(&path).unwrap();
        assert_eq!((verified.n_lines, verified.breaks.len()), (2, 0));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn appends_whole_lines() {
        let folder = folder("append");
        let path = folder.join("deep/audit.jsonl");
        for n in 0..3 {
            let mut audit = Audit::open(&path, MAX_BYTES).unwrap();
            audit.note(&line(n));
        }
        let lines = read(&path).into_iter();
        let lines: Vec<AuditLine> = lines
            .map(|line| AuditLine {
                previous: None,
                ..line
            })
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
