//! Tokens of those who come over TCP: a file in the folder of state that holds their hashes, never
//! themselves. The command line writes it, the agent reads it again when it has changed.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sensor_record::{Timestamp, json};
use sensor_respond::make_folder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Tokens that there may be.
const MAX_TOKENS: usize = 100;
/// Bytes of a longer file that are read.
const MAX_FILE: u64 = 64 << 10;
/// Bytes of chance in a token: 256 bits can't be guessed, so that a plain hash protects them.
const N_RANDOM: usize = 32;
/// Beginning of every token, by which scanners for secrets know one.
const PREFIX: &str = "sensor_";

/// Rights of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Rights {
    /// Ask only.
    Read,
    /// Ask and order.
    Operate,
}

/// A token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub name: String,
    pub rights: Rights,
    pub created: Timestamp,
    /// SHA-256 of the token, hexadecimal.
    pub hash: String,
}

/// Identity of a file's content: inode, length, time of the last change.
pub type Stamp = (u64, u64, i64, i64);

/// The file.
#[derive(Clone, Debug)]
pub struct TokenFile(PathBuf);

impl TokenFile {
    /// The file of an instance, by its folder of state.
    pub fn in_folder(folder: &Path) -> Self {
        Self(folder.join("tokens.json"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Stamp of the file; none while there is no file.
    pub fn stamp(&self) -> Option<Stamp> {
        let data = fs::metadata(&self.0).ok()?;
        Some((data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
    }

    /// Reads all tokens.
    ///
    /// # Errors
    /// When the file can't be read or is none of ours.
    pub fn read(&self) -> Result<Vec<Token>> {
        let named = || self.0.display().to_string();
        let file = match fs::File::open(&self.0) {
            Ok(file) => file,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(cause).with_context(named),
        };
        let mut text = Vec::new();
        file.take(MAX_FILE)
            .read_to_end(&mut text)
            .with_context(named)?;
        json::read(&text).with_context(named)
    }

    /// Makes a token and keeps its hash; the token itself is told once, here.
    ///
    /// # Errors
    /// When one of that name exists, there are too many, or the file can't be written.
    pub fn add(&self, name: &str, rights: Rights) -> Result<String> {
        if name.is_empty() || name.len() > 64 || name.contains(char::is_whitespace) {
            bail!("a token's name has 1 to 64 bytes and no spaces");
        }
        let mut tokens = self.read()?;
        if tokens.iter().any(|token| token.name == name) {
            bail!("there is a token {name}: `sensor token remove {name}` first, or another name");
        }
        if tokens.len() >= MAX_TOKENS {
            bail!("there are {MAX_TOKENS} tokens: remove one first");
        }
        let secret = format!("{PREFIX}{}", random()?);
        tokens.push(Token {
            name: name.to_owned(),
            rights,
            created: Timestamp::now(),
            hash: hash(&secret),
        });
        self.write(&tokens)?;
        Ok(secret)
    }

    /// Removes a token: whoever holds it is out at once.
    ///
    /// # Errors
    /// When there is none of that name, or the file can't be written.
    pub fn remove(&self, name: &str) -> Result<()> {
        let mut tokens = self.read()?;
        let n_before = tokens.len();
        tokens.retain(|token| token.name != name);
        if tokens.len() == n_before {
            bail!("there is no token {name}: `sensor token list` shows them");
        }
        self.write(&tokens)
    }

    fn write(&self, tokens: &[Token]) -> Result<()> {
        let beside = self.0.with_extension("new");
        let write = || -> std::io::Result<()> {
            make_folder(self.0.parent().unwrap_or(Path::new(".")))?;
            let _left_over = fs::remove_file(&beside);
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(json::line(&tokens).as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &self.0)
        };
        write().with_context(|| format!("{}: run it as root", self.0.display()))
    }
}

/// SHA-256, hexadecimal.
pub fn hash(secret: &str) -> String {
    let digest = Sha256::digest(secret.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text that nobody can guess.
///
/// # Errors
/// When the system has no random numbers.
pub fn random() -> Result<String> {
    let mut bytes = [0; N_RANDOM];
    let mut source = fs::File::open("/dev/urandom").context("/dev/urandom")?;
    source.read_exact(&mut bytes).context("/dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_told_once_and_kept_as_a_hash() {
        let folder = std::env::temp_dir().join(format!("sensor-tokens-{}", std::process::id()));
        let file = TokenFile::in_folder(&folder);
        assert_eq!(file.read().unwrap(), []);
        assert_eq!(file.stamp(), None);
        let secret = file.add("ann", Rights::Operate).unwrap();
        assert_eq!(secret.len(), PREFIX.len() + 64);
        let before = file.stamp();
        assert_ne!(file.add("bob", Rights::Read).unwrap(), secret);
        assert_ne!(file.stamp(), before);
        let kept = fs::read_to_string(file.path()).unwrap();
        assert!(!kept.contains(&secret) && kept.contains(&hash(&secret)));
        assert!(file.add("ann", Rights::Read).is_err());
        assert!(file.add("a b", Rights::Read).is_err());
        file.remove("ann").unwrap();
        assert!(file.remove("ann").is_err());
        let left = file.read().unwrap();
        assert_eq!((left.len(), left[0].name.as_str()), (1, "bob"));
        assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o777, 0o600);
        fs::remove_dir_all(&folder).unwrap();
    }
}
