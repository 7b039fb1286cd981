//! The folder: files that are written once, with their lengths and SHA-256.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Name of the list of hashes, in the form that `sha256sum -c` reads.
pub const SUMS: &str = "SHA256SUMS";

/// One file of the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub file: String,
    pub bytes: u64,
    pub sha256: String,
}

/// A folder of evidence that is being filled, for its owner alone.
pub struct Folder {
    path: PathBuf,
    items: Vec<Item>,
}

impl Folder {
    /// Makes the folder; one that is there is left alone.
    ///
    /// # Errors
    /// When it exists, or can't be made.
    pub fn create(path: &Path) -> Result<Self> {
        let made = DirBuilder::new().mode(0o700).create(path);
        made.with_context(|| format!("{}: name a folder that is not there yet", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            items: Vec::new(),
        })
    }

    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Writes a file.
    ///
    /// # Errors
    /// Which file can't be written.
    pub fn write(&mut self, name: &str, text: &str) -> Result<()> {
        self.fill(name, |to| to.write_all(text.as_bytes()))
    }

    /// Writes a file piece by piece.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn fill<T>(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<T>,
    ) -> Result<T> {
        let path = self.path.join(name);
        let shown = || path.display().to_string();
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let mut hashing = Hashing {
            to: BufWriter::new(file.with_context(shown)?),
            hash: Sha256::new(),
            n_bytes: 0,
        };
        let filled = fill(&mut hashing).with_context(shown)?;
        hashing.flush().with_context(shown)?;
        let file = hashing.to.get_ref();
        file.sync_all().with_context(shown)?;
        file.set_permissions(Permissions::from_mode(0o400))
            .with_context(shown)?;
        self.items.push(Item {
            file: name.to_owned(),
            bytes: hashing.n_bytes,
            sha256: hex(&hashing.hash.finalize()),
        });
        Ok(filled)
    }

    /// Writes the list of hashes of all files; its own hash is what vouches for the whole.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn seal(mut self) -> Result<String> {
        let mut text = String::new();
        for item in &self.items {
            let _infallible = writeln!(text, "{}  {}", item.sha256, item.file);
        }
        self.write(SUMS, &text)?;
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .with_context(|| self.path.display().to_string())?;
        let sums = self.items.pop().map(|item| item.sha256);
        Ok(sums.unwrap_or_default())
    }
}

struct Hashing {
    to: BufWriter<File>,
    hash: Sha256,
    n_bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write_all(bytes)?;
        self.hash.update(bytes);
        self.n_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Length and SHA-256 of a file.
///
/// # Errors
/// When it can't be read.
pub fn hash_file(path: &Path) -> io::Result<(u64, String)> {
    let mut file = fs::File::open(path)?;
    let (mut hash, mut n_bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((n_bytes, hex(&hash.finalize())));
        }
        hash.update(buffer.get(..n).unwrap_or_default());
        n_bytes += n as u64;
    }
}
