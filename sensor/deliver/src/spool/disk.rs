//! Files of a spool: a folder, or what a test puts in its place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Files by name. A write that fails may have left a part behind; a replacement is whole or none.
pub trait Disk {
    /// Names and lengths of all files.
    ///
    /// # Errors
    /// Those of the disk, as of all others.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Bytes from an offset on: as many as there are, `most` at most.
    fn read(&self, name: &str, offset: u64, most: usize) -> io::Result<Vec<u8>>;
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;
    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Writes what the kernel holds back of the file that was appended to.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder for its owner alone.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// File that was appended to last.
    open: Option<(String, File)>,
}

impl Folder {
    /// Creates the folder if it is missing.
    ///
    /// # Errors
    /// When it can't be created.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        Ok(Self {
            path: path.to_owned(),
            open: None,
        })
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true);
        options.mode(0o600).open(self.path.join(name))
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
                files.push((name, meta.len()));
            }
        }
        Ok(files)
    }

    fn read(&self, name: &str, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.path.join(name))?;
        let left = file.metadata()?.len().saturating_sub(offset);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(most);
        let mut bytes = vec![0; n];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let is_open = self.open.as_ref().is_some_and(|(open, _)| open == name);
        if !is_open {
            let mut options = OpenOptions::new();
            let options = options.append(true).create(true).mode(0o600);
            let file = options.open(self.path.join(name))?;
            self.open = Some((name.to_owned(), file));
        }
        match &mut self.open {
            Some((_, file)) => file.write_all(bytes),
            None => Ok(()),
        }
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path.join(name))?;
        file.set_len(length)
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = format!("{name}.new");
        self.create(&new)?.write_all(bytes)?;
        fs::rename(self.path.join(new), self.path.join(name))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|(open, _)| open == name) {
            self.open = None;
        }
        fs::remove_file(self.path.join(name))
    }

    fn sync(&mut self) -> io::Result<()> {
        match &self.open {
            Some((_, file)) => file.sync_data(),
            None => Ok(()),
        }
    }
}
