//! Cases by incident, in a file beside the spool.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sensor_record::Severity;
use serde::{Deserialize, Serialize};

/// Cases that are kept; the lowest identifier gives way, and is looked for when it is needed again.
const MAX_CASES: usize = 4_096;
const NAME: &str = "cases.json";

/// A case of SOAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    pub id: u64,
    /// Severity that it was given last.
    pub severity: Severity,
}

/// Cases that are open, by the incident.
#[derive(Default)]
pub struct Cases {
    known: BTreeMap<String, Case>,
    /// None where nothing is kept.
    path: Option<PathBuf>,
}

impl Cases {
    /// Reads those of before. What can't be read is done without: cases are looked for then.
    ///
    /// # Errors
    /// When the file can't be read for another reason than that it isn't there.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let path = folder.join(NAME);
        let known = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(cause) => return Err(format!("{}: {cause}", path.display())),
        };
        Ok(Self {
            known,
            path: Some(path),
        })
    }

    pub fn get(&self, incident: &str) -> Option<Case> {
        self.known.get(incident).copied()
    }

    /// Remembers a case.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn set(&mut self, incident: &str, case: Case) -> Result<(), String> {
        if self.known.insert(incident.to_owned(), case) == Some(case) {
            return Ok(());
        }
        while self.known.len() > MAX_CASES {
            self.known.pop_first();
        }
        self.write()
    }

    /// Forgets one.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn remove(&mut self, incident: &str) -> Result<(), String> {
        match self.known.remove(incident) {
            Some(_) => self.write(),
            None => Ok(()),
        }
    }

    /// Writes all, whole or not at all.
    fn write(&self) -> Result<(), String> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let new = path.with_extension("new");
        let bytes = serde_json::to_vec(&self.known).unwrap_or_default();
        fs::write(&new, bytes)
            .and_then(|()| fs::rename(&new, path))
            .map_err(|cause| format!("{}: {cause}", path.display()))
    }
}
