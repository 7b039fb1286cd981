//! Networks that are installed: their files in the folder of state, under their hashes, and one file that says
//! which is in force. The command line writes it, the agent follows it; every change has a number, by which the
//! agent knows those that its audit log has.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use sensor_record::{Timestamp, json};
use sensor_respond::make_folder;
use serde::{Deserialize, Serialize};

use super::shadow::Shadow;
use super::{Checked, LEAST_PER_S, Loaded, load, name, read};

/// Bytes of a longer file that says what is in force.
const MAX_BYTES: u64 = 256 << 10;
/// Bytes of the longest comparison.
const MAX_COMPARISON: u64 = 4 << 20;
/// Changes that are kept for the agent, which may be down.
const MAX_CHANGES: usize = 64;

/// A network with when it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub sha256: String,
    /// Word of its manifest.
    pub network: String,
    pub since: Timestamp,
}

/// A change, for the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub number: u64,
    pub at: Timestamp,
    /// User who made it; none: the sensor itself.
    pub uid: Option<u32>,
    pub what: String,
}

/// Networks of a kind of sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slots {
    /// The one whose findings count.
    pub active: Option<Entry>,
    /// The one that scores beside it, without effect.
    pub candidate: Option<Entry>,
    /// The one that was in force before.
    pub previous: Option<Entry>,
}

impl Slots {
    fn all(&self) -> impl Iterator<Item = &Entry> {
        let all = [&self.active, &self.candidate, &self.previous];
        all.into_iter().flatten()
    }

    fn has(&self, sha256: &str) -> bool {
        self.all().any(|entry| entry.sha256 == sha256)
    }
}

/// Dates a network from now on.
fn renewed(entry: Entry) -> Entry {
    Entry {
        since: Timestamp::now(),
        ..entry
    }
}

/// Content of the file that says what is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Installed {
    /// By the kind's word.
    pub kinds: BTreeMap<String, Slots>,
    pub changes: Vec<Change>,
}

impl Installed {
    /// Number of the latest change.
    pub fn last_change(&self) -> u64 {
        self.changes.last().map_or(0, |change| change.number)
    }
}

/// Identity of the file's content: inode, length, time of the last change.
pub type Stamp = (u64, u64, i64, i64);

/// The folder.
#[derive(Clone, Debug)]
pub struct InstalledFolder(PathBuf);

impl InstalledFolder {
    /// The folder of an instance, by its folder of state.
    pub fn of_state(folder: &Path) -> Self {
        Self(folder.join("networks"))
    }

    fn list(&self) -> PathBuf {
        self.0.join("installed.json")
    }

    fn noted(&self) -> PathBuf {
        self.0.join("noted.json")
    }

    fn network(&self, sha256: &str) -> PathBuf {
        self.0.join(sha256).with_extension("onnx")
    }

    /// Stamp of the file that says what is in force; none while there is none.
    pub fn stamp(&self) -> Option<Stamp> {
        let data = fs::metadata(self.list()).ok()?;
        Some((data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
    }

    /// Reads what is in force.
    ///
    /// # Errors
    /// When the file can't be read or is none of ours.
    pub fn read(&self) -> Result<Installed> {
        let path = self.list();
        let named = || path.display().to_string();
        match fs::metadata(&path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Installed::default()),
            Err(cause) => return Err(cause).with_context(named),
            Ok(_) => {}
        }
        let bytes = read(&path, MAX_BYTES).map_err(|cause| anyhow!(cause));
        let installed: Installed = json::read(&bytes.with_context(named)?).with_context(named)?;
        let is_named = |slots: &Slots| slots.all().all(|entry| is_hash(&entry.sha256));
        if !installed.kinds.values().all(is_named) {
            bail!("{}: a network without a SHA-256", path.display());
        }
        Ok(installed)
    }

    /// Loads an installed network, without measuring it again.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn load(&self, entry: &Entry) -> Result<Loaded, String> {
        load(&self.network(&entry.sha256), None)
    }

    fn comparison(&self, kind: &str) -> PathBuf {
        self.0.join(format!("{kind}.compared.json"))
    }

    /// Reads the comparison of a kind, as the agent kept it; none while there is none.
    pub fn read_comparison(&self, kind: &str) -> Option<Shadow> {
        let bytes = read(&self.comparison(kind), MAX_COMPARISON).ok()?;
        json::read::<Shadow>(&bytes).ok().map(Shadow::restored)
    }

    /// Keeps the comparison of a kind.
    ///
    /// # Errors
    /// The system's.
    pub fn keep_comparison(&self, kind: &str, shadow: &Shadow) -> std::io::Result<()> {
        let text = json::line(&shadow.kept());
        replace(&self.comparison(kind), text.as_bytes())
    }

    /// Puts the candidate of a kind in force; the one before can be had back.
    ///
    /// # Errors
    /// When there is no candidate, or the folder can't be written.
    pub fn promote(&self, kind: &str, uid: Option<u32>) -> Result<()> {
        self.change(uid, |installed| {
            let slots = installed.kinds.entry(kind.to_owned()).or_default();
            let Some(candidate) = slots.candidate.take() else {
                bail!("no candidate over {kind} is installed: `sensor model list` shows them");
            };
            let what = format!("{} promoted", name(kind, &candidate.sha256));
            slots.previous = slots.active.replace(renewed(candidate));
            Ok(what)
        })
    }

    /// Puts the network that was in force before back; both change places.
    ///
    /// # Errors
    /// When there is none, or the folder can't be written.
    pub fn roll_back(&self, kind: &str, uid: Option<u32>) -> Result<()> {
        self.change(uid, |installed| {
            let slots = installed.kinds.entry(kind.to_owned()).or_default();
            let Some(previous) = slots.previous.take() else {
                bail!("no other network over {kind} was in force before");
            };
            let what = format!("rolled back to {}", name(kind, &previous.sha256));
            slots.previous = slots.active.replace(renewed(previous));
            Ok(what)
        })
    }

    /// Checks a network and installs it: in force where none of its kind is, else, or with `as_candidate`, as the
    /// candidate beside that. True: as the candidate.
    ///
    /// # Errors
    /// Why it is refused, or that the folder can't be written.
    pub fn add(
        &self,
        path: &Path,
        as_candidate: bool,
        uid: Option<u32>,
    ) -> Result<(Checked, bool)> {
        let loaded = load(path, Some(LEAST_PER_S)).map_err(|cause| anyhow!(cause))?;
        let mut is_candidate = as_candidate;
        self.change(uid, |installed| {
            let about = &loaded.about;
            let slots = installed.kinds.entry(about.kind.label().to_owned());
            let slots = slots.or_default();
            if slots.has(&about.sha256) {
                bail!("{} is installed already", loaded.name());
            }
            let to = self.network(&about.sha256);
            replace(&to, &loaded.file)?;
            replace(&to.with_extension("json"), &loaded.manifest)?;
            is_candidate |= slots.active.is_some();
            let entry = Some(Entry {
                sha256: about.sha256.clone(),
                network: about.network.clone(),
                since: Timestamp::now(),
            });
            if is_candidate {
                slots.candidate = entry;
                return Ok(format!("{} a candidate", loaded.name()));
            }
            slots.active = entry;
            Ok(format!("{} in force", loaded.name()))
        })?;
        Ok((loaded.about, is_candidate))
    }

    /// Removes the candidate of a kind, or the network in force with all of its kind; their files go as well.
    ///
    /// # Errors
    /// When there is none, or the folder can't be written.
    pub fn remove(&self, kind: &str, is_candidate: bool, uid: Option<u32>) -> Result<()> {
        self.change(uid, |installed| {
            let slots = installed.kinds.entry(kind.to_owned()).or_default();
            let entry = if is_candidate {
                slots.candidate.take()
            } else {
                let known = std::mem::take(slots);
                known.active.or(known.candidate)
            };
            installed
                .kinds
                .retain(|_, slots| slots.all().next().is_some());
            let Some(entry) = entry else {
                bail!("no such network over {kind} is installed: `sensor model list` shows them");
            };
            Ok(format!("{} removed", name(kind, &entry.sha256)))
        })
    }

    /// Changes what is in force, alone, and removes the files that nothing needs any more.
    fn change(
        &self,
        uid: Option<u32>,
        change: impl FnOnce(&mut Installed) -> Result<String>,
    ) -> Result<()> {
        let failed = || format!("{}: run it as root", self.0.display());
        make_folder(&self.0).with_context(failed)?;
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = lock.open(self.0.join("lock")).with_context(failed)?;
        lock.lock().with_context(failed)?;
        let mut installed = self.read()?;
        let what = change(&mut installed)?;
        let number = installed.last_change().saturating_add(1);
        installed.changes.push(Change {
            number,
            at: Timestamp::now(),
            uid,
            what,
        });
        let n_old = installed.changes.len().saturating_sub(MAX_CHANGES);
        installed.changes.drain(..n_old);
        replace(&self.list(), json::line(&installed).as_bytes()).with_context(failed)?;
        self.tidy(&installed);
        Ok(())
    }

    /// Removes files of networks that are in no slot.
    fn tidy(&self, installed: &Installed) {
        let Ok(files) = fs::read_dir(&self.0) else {
            return;
        };
        for path in files.filter_map(|file| file.ok().map(|file| file.path())) {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let Some(stem) = stem.filter(|stem| is_hash(stem)) else {
                continue;
            };
            if !installed.kinds.values().any(|slots| slots.has(stem)) {
                // What stays takes room, and nothing else.
                let _left_over = fs::remove_file(&path);
            }
        }
    }

    /// Changes that the audit log does not have yet.
    pub fn not_noted(&self, installed: &Installed) -> Vec<Change> {
        let known = read(&self.noted(), MAX_BYTES).ok();
        let known: u64 = known.and_then(|bytes| json::read(&bytes).ok()).unwrap_or(0);
        let changes = installed.changes.iter();
        changes
            .filter(|change| change.number > known)
            .cloned()
            .collect()
    }

    /// Remembers that the audit log has the changes up to this number.
    ///
    /// # Errors
    /// The system's.
    pub fn set_noted(&self, number: u64) -> std::io::Result<()> {
        replace(&self.noted(), json::line(&number).as_bytes())
    }
}

/// True for a SHA-256 in hexadecimal, which is no path.
fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Writes all or nothing: a new file beside takes the old one's place.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let _left_over = fs::remove_file(&beside);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::super::tests::in_folder;
    use super::*;

    fn folder(name: &str) -> (InstalledFolder, PathBuf) {
        let state =
            std::env::temp_dir().join(format!("sensor-installed-{name}-{}", std::process::id()));
        (InstalledFolder::of_state(&state), state)
    }

    #[test]
    fn a_network_is_installed_once_and_its_files_go_with_it() {
        let (folder, state) = folder("add");
        assert_eq!(folder.read().expect("nothing yet"), Installed::default());
        let added = in_folder(|path| {
            let (added, is_candidate) = folder.add(path, false, Some(7)).expect("installed");
            assert!(!is_candidate);
            let again = folder.add(path, false, Some(7)).expect_err("a second time");
            assert!(again.to_string().contains("installed already"), "{again}");
            added
        });
        let installed = folder.read().expect("what is in force");
        let entry = installed.kinds["contacts"].active.as_ref().expect("one");
        assert_eq!(entry.sha256, added.sha256);
        assert!(folder.load(entry).is_ok());
        let changes = folder.not_noted(&installed);
        assert_eq!((changes.len(), changes[0].uid), (1, Some(7)));
        folder.set_noted(installed.last_change()).expect("noted");
        assert_eq!(folder.not_noted(&installed), []);
        assert!(folder.remove("minute", false, None).is_err());
        assert!(folder.remove("contacts", true, None).is_err());
        folder.remove("contacts", false, None).expect("removed");
        assert!(!folder.network(&added.sha256).exists());
        let installed = folder.read().expect("what is in force");
        assert_eq!(folder.not_noted(&installed).len(), 1);
        fs::remove_dir_all(&state).expect("cleaning up");
    }

    #[test]
    fn a_candidate_is_promoted_and_rolled_back_with_its_files() {
        let (folder, state) = folder("promote");
        let entry = |n: u8| Entry {
            sha256: format!("{n:064x}"),
            network: "cnn".to_owned(),
            since: Timestamp(5),
        };
        let slots = || folder.read().expect("what is in force").kinds["contacts"].clone();
        let sha256 = |entry: Option<Entry>| entry.map(|entry| entry.sha256);
        let put = |installed: &mut Installed| {
            let slots = installed.kinds.entry("contacts".to_owned()).or_default();
            (slots.active, slots.candidate) = (Some(entry(1)), Some(entry(2)));
            Ok("both".to_owned())
        };
        assert!(folder.promote("contacts", None).is_err());
        folder.change(None, put).expect("installed");
        for n in [1, 2, 3] {
            fs::write(folder.network(&entry(n).sha256), "a network").expect("a file");
        }
        assert!(folder.roll_back("contacts", None).is_err());
        folder.promote("contacts", None).expect("promoted");
        let now = slots();
        assert_eq!(sha256(now.active), Some(entry(2).sha256));
        assert_eq!(
            (now.candidate, sha256(now.previous)),
            (None, Some(entry(1).sha256))
        );
        // What is in no slot has gone, what can be had back has not.
        let is_there = |n: u8| folder.network(&entry(n).sha256).exists();
        assert_eq!([is_there(1), is_there(2), is_there(3)], [true, true, false]);
        folder.roll_back("contacts", None).expect("rolled back");
        let now = slots();
        assert_eq!(sha256(now.active), Some(entry(1).sha256));
        assert_eq!(sha256(now.previous), Some(entry(2).sha256));
        let shadow = Shadow::of("a", "c");
        folder.keep_comparison("contacts", &shadow).expect("kept");
        assert_eq!(folder.read_comparison("contacts"), Some(shadow));
        fs::remove_dir_all(&state).expect("cleaning up");
    }

    #[test]
    fn a_list_that_leads_elsewhere_is_refused() {
        let (folder, state) = folder("bad");
        make_folder(&folder.0).expect("a folder");
        for bad in [
            "no list",
            r#"{"kinds":{"contacts":{"active":{"sha256":"../x","network":"","since":"2026-01-01T00:00:00Z"}}}}"#,
        ] {
            fs::write(folder.list(), bad).expect("written");
            assert!(folder.read().is_err(), "{bad}");
        }
        fs::remove_dir_all(&state).expect("cleaning up");
    }
}
