//! A bounded set of files of a folder, named after the time of their beginning: the oldest go when all
//! together are too large, or when all that they hold is too old.

use std::fs;
use std::path::{Path, PathBuf};

use crate::file::{beside, bytes_on_disk};

/// Files of one kind. Times are in the unit that the names have.
#[derive(Clone, Debug)]
pub struct FileSet {
    pub folder: PathBuf,
    /// Name before the time, and after it.
    pub prefix: &'static str,
    pub suffix: &'static str,
    /// Digits of the time in a name.
    pub digits: usize,
    /// Time that a file spans at most.
    pub longest: u64,
}

impl FileSet {
    /// Path of the file that begins at a time.
    #[must_use]
    pub fn path(&self, began: u64) -> PathBuf {
        let (prefix, suffix, digits) = (self.prefix, self.suffix, self.digits);
        self.folder
            .join(format!("{prefix}{began:0digits$}{suffix}"))
    }

    /// Lists the files with the times of their beginnings, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<(u64, PathBuf)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut found: Vec<(u64, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.path();
                let name = path.file_name()?.to_str()?;
                let began = name.strip_prefix(self.prefix)?.strip_suffix(self.suffix)?;
                Some((began.parse().ok()?, path.clone()))
            })
            .collect();
        found.sort();
        found
    }

    /// Bytes on disk of all of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let files = self.list();
        files.iter().map(|(_, path)| bytes_on_disk(path)).sum()
    }

    /// Deletes files that ended longer than `age` ago, and the oldest while all together have more than
    /// `max_bytes`; the bytes that are left. The one that is written to stays.
    pub fn shed(&self, now: u64, age: u64, max_bytes: u64, current: Option<&Path>) -> u64 {
        let mut total = self.bytes();
        for (began, path) in self.list() {
            let is_old = began.saturating_add(self.longest).saturating_add(age) < now;
            if (!is_old && total <= max_bytes) || current == Some(&path) {
                continue;
            }
            let size = bytes_on_disk(&path);
            for side in ["-wal", "-shm"] {
                let _absent = fs::remove_file(beside(&path, side));
            }
            if fs::remove_file(&path).is_ok() {
                total = total.saturating_sub(size);
            }
        }
        total
    }
}
