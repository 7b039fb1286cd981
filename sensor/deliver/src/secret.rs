//! Secrets stay out of the configuration: it names the file or the credential that holds one.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Folder of the unit's credentials, set by systemd.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// No secret is longer.
const MOST: u64 = 64 << 10;

/// Place of a secret: `file:/PATH`, or `credential:NAME` for one of `LoadCredential=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline)]
pub enum Secret {
    File(PathBuf),
    Credential(String),
}

impl Secret {
    /// Reads it: each time that it is used, so that it can be changed while the sensor runs.
    ///
    /// # Errors
    /// Which file can't be read, and why; never what is in it.
    pub fn read(&self) -> Result<String, String> {
        let path = match self {
            Self::File(path) => path.clone(),
            Self::Credential(name) => {
                let folder = std::env::var_os(CREDENTIALS).ok_or_else(|| {
                    format!(
                        "credential:{name}: there are none here; add LoadCredential={name}:… to the unit"
                    )
                })?;
                PathBuf::from(folder).join(name)
            }
        };
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(MOST).read_to_string(&mut text));
        read.map_err(|cause| format!("{}: {cause}", path.display()))?;
        let text = text.trim();
        if text.is_empty() {
            return Err(format!("{}: is empty", path.display()));
        }
        Ok(text.to_owned())
    }

    fn of(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("file:") {
            return path.starts_with('/').then(|| Self::File(path.into()));
        }
        let name = text.strip_prefix("credential:")?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let is_name = !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain);
        is_name.then(|| Self::Credential(name.to_owned()))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.to_string()
    }
}

impl TryFrom<String> for Secret {
    type Error = String;

    /// Text that was written instead is not repeated: it may be the secret.
    fn try_from(text: String) -> Result<Self, String> {
        Self::of(&text).ok_or_else(|| {
            "a secret does not stand in the configuration: write \"file:/PATH\" or \"credential:NAME\""
                .to_owned()
        })
    }
}

/// Text that may hold a secret, as the address of a hook does: itself, or the place of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline)]
pub enum Text {
    Plain(String),
    Secret(Secret),
}

impl Text {
    /// # Errors
    /// As [`Secret::read`].
    pub fn read(&self) -> Result<String, String> {
        match self {
            Self::Plain(text) => Ok(text.clone()),
            Self::Secret(secret) => secret.read(),
        }
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        match text {
            Text::Plain(text) => text,
            Text::Secret(secret) => secret.to_string(),
        }
    }
}

impl TryFrom<String> for Text {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with("file:") || text.starts_with("credential:") {
            return Secret::try_from(text).map(Self::Secret);
        }
        Ok(Self::Plain(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_place_and_never_repeated() {
        let secret = |text: &str| Secret::try_from(text.to_owned());
        for text in ["file:/etc/sensor/key", "credential:pagerduty"] {
            assert_eq!(secret(text).unwrap().to_string(), text);
        }
        for text in [
            "hunter2",
            "file:key",
            "credential:../etc/shadow",
            "credential:",
        ] {
            let told = secret(text).unwrap_err();
            assert!(
                told.contains("file:/PATH") && !told.contains("hunter2"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_secret_is_read_without_its_line_end() {
        let path = std::env::temp_dir().join(format!("sensor-secret-{}", std::process::id()));
        std::fs::write(&path, "abc\n").unwrap();
        let secret = Secret::File(path.clone());
        assert_eq!(secret.read().unwrap(), "abc");
        std::fs::write(&path, "\n").unwrap();
        assert!(secret.read().unwrap_err().ends_with("is empty"));
        std::fs::remove_file(&path).unwrap();
        assert!(secret.read().is_err());
    }
}
