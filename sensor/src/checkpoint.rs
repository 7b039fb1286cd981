//! Checkpoint: what the engine learned, kept over restarts in one file of the state folder.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tracing::{error, info, warn};

use sensor_engine::CheckpointError;
use sensor_respond::{FileState, make_folder};

const NAME: &str = "learned.ckpt";
/// Larger files are none of ours.
const MAX_BYTES: u64 = 256 << 20;

/// The file.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// Cause that keeps it from being written.
    error: Arc<Mutex<Option<String>>>,
}

impl Checkpoint {
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            path: folder.join(NAME),
            error: Arc::default(),
        }
    }

    /// State of the file.
    pub fn state(&self) -> FileState {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        FileState {
            name: "learned",
            path: self.path.clone(),
            error: error.clone(),
            n_lost: 0,
        }
    }

    /// Hands the file's content to `restore`. A file that can't be used is set aside, said, and the
    /// sensor begins to learn anew.
    pub fn load(&self, restore: impl FnOnce(&[u8]) -> Result<(), CheckpointError>) {
        let shown = self.path.display();
        let bytes = match self.read() {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return,
            Err(cause) => {
                error!("{shown}: {cause:#}; learned state is not restored");
                return;
            }
        };
        match restore(&bytes) {
            Ok(()) => info!("{shown}: learned state restored"),
            Err(cause) => {
                let aside = self.path.with_extension("ckpt.bad");
                error!("{shown}: {cause}; set aside as {}", aside.display());
                if let Err(cause) = fs::rename(&self.path, &aside) {
                    warn!("{shown}: can't be moved aside: {cause}");
                }
            }
        }
    }

    fn read(&self) -> Result<Option<Vec<u8>>> {
        match fs::metadata(&self.path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause.into()),
            Ok(meta) if meta.len() > MAX_BYTES => {
                anyhow::bail!("{} bytes, at most {MAX_BYTES} are read", meta.len());
            }
            Ok(_) => {}
        }
        Ok(Some(fs::read(&self.path)?))
    }

    /// Writes all or nothing: a new file beside, on the disk before it takes the old one's place.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn store(&self, bytes: &[u8]) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let beside = self.path.with_extension("ckpt.new");
        let write = || -> Result<()> {
            make_folder(folder)?;
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &self.path)?;
            // The new name is on the disk when the folder is.
            File::open(folder)?.sync_all()?;
            Ok(())
        };
        let written = write();
        let error = written.as_ref().err().map(|cause| format!("{cause:#}"));
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
        written
            .inspect_err(|_| {
                // The old file stays as it is; half a new one would only take room.
                let _absent = fs::remove_file(&beside);
            })
            .with_context(|| format!("{}: can't be written", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_back_and_a_bad_one_set_aside() {
        let folder = std::env::temp_dir().join(format!("sensor-ckpt-{}", std::process::id()));
        let checkpoint = Checkpoint::in_folder(&folder);
        checkpoint.load(|_| panic!("there is none"));
        checkpoint.store(b"learned").unwrap();
        let mut found = Vec::new();
        checkpoint.load(|bytes| {
            found = bytes.to_vec();
            Ok(())
        });
        assert_eq!(found, b"learned");
        checkpoint.load(|_| Err(CheckpointError::Damaged));
        assert!(folder.join("learned.ckpt.bad").is_file());
        assert!(!folder.join(NAME).exists());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn an_engine_of_another_schema_begins_anew_and_keeps_the_file() {
        use sensor_engine::{Config, Engine};
        let folder = std::env::temp_dir().join(format!("sensor-schema-{}", std::process::id()));
        let checkpoint = Checkpoint::in_folder(&folder);
        let fresh = Engine::new(Config::default()).save();
        // Bytes 16 to 23 are the hash of the schema, the last is of the body.
        for (at, words) in [
            (16, ["checkpoint of feature schema", "learned again"]),
            (8, ["checkpoint format", "learned again"]),
            (fresh.len() - 1, ["damaged", "checkpoint"]),
        ] {
            let mut bytes = fresh.clone();
            bytes[at] ^= 0x10;
            checkpoint.store(&bytes).unwrap();
            let mut engine = Engine::new(Config::default());
            let mut cause = String::new();
            checkpoint.load(|bytes| {
                engine
                    .restore(bytes)
                    .inspect_err(|error| cause = error.to_string())
            });
            assert!(words.iter().all(|word| cause.contains(word)), "{cause}");
            assert_eq!(fs::read(folder.join("learned.ckpt.bad")).unwrap(), bytes);
            assert!(!folder.join(NAME).exists());
            assert_eq!(engine.save(), fresh);
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn an_engine_is_restored_from_its_checkpoint() {
        use sensor_engine::{Config, Engine};
        let bytes = Engine::new(Config::default()).save();
        let mut engine = Engine::new(Config::default());
        assert_eq!(engine.restore(&bytes), Ok(()));
        assert_eq!(engine.save(), bytes);
        let cut = bytes.get(..bytes.len() / 2).unwrap();
        assert_eq!(engine.restore(cut), Err(CheckpointError::Damaged));
    }
}
