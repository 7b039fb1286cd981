//! The setting by which the stack accepts SYN cookies that it did not send itself, `net.ipv4.tcp_syncookies`:
//! 2, always. At 1 the kernel makes cookies only where the queue of a socket is full.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{error, info};

use crate::saved::make_folder;

const SETTING: &str = "/proc/sys/net/ipv4/tcp_syncookies";
const ALWAYS: &str = "2";

/// The setting, and what it was before.
pub struct Cookies {
    setting: PathBuf,
    /// File that keeps what it was, for the case that nobody is left to put it back.
    kept: Option<PathBuf>,
    before: Option<String>,
}

impl Cookies {
    /// Puts back what a run before left changed.
    pub fn new(kept: Option<PathBuf>) -> Self {
        Self::at(PathBuf::from(SETTING), kept)
    }

    fn at(setting: PathBuf, kept: Option<PathBuf>) -> Self {
        let left = kept
            .as_deref()
            .and_then(|kept| fs::read_to_string(kept).ok());
        let is_value = |text: &String| matches!(text.as_str(), "0" | "1");
        let mut cookies = Self {
            setting,
            kept,
            before: left.map(|text| text.trim().to_owned()).filter(is_value),
        };
        if cookies.before.is_some() {
            match cookies.put_back() {
                Ok(()) => info!("net.ipv4.tcp_syncookies put back after a run that was killed"),
                Err(cause) => error!(cause, "net.ipv4.tcp_syncookies not put back"),
            }
        }
        cookies
    }

    /// Sets it to always. Does nothing where it is.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn set_always(&mut self) -> Result<(), String> {
        let now = read(&self.setting)?;
        if now == ALWAYS {
            return Ok(());
        }
        if let Some(kept) = &self.kept {
            let folder = kept.parent().map_or(Ok(()), make_folder);
            told(kept, folder.and_then(|()| fs::write(kept, &now)))?;
        }
        told(&self.setting, fs::write(&self.setting, ALWAYS))?;
        info!(
            before = now,
            "net.ipv4.tcp_syncookies set to 2 for a shield"
        );
        self.before.get_or_insert(now);
        Ok(())
    }

    /// Makes it what it was before, unless somebody else has changed it since. Does nothing where it was not
    /// changed.
    ///
    /// # Errors
    /// The system's, with the path; it is tried again at the next call.
    pub fn put_back(&mut self) -> Result<(), String> {
        let Some(before) = &self.before else {
            return Ok(());
        };
        if read(&self.setting)? == ALWAYS {
            told(&self.setting, fs::write(&self.setting, before))?;
            info!(now = before, "net.ipv4.tcp_syncookies put back");
        }
        self.before = None;
        if let Some(kept) = &self.kept {
            told(kept, fs::remove_file(kept))?;
        }
        Ok(())
    }
}

impl Drop for Cookies {
    fn drop(&mut self) {
        if let Err(cause) = self.put_back() {
            error!(cause, "net.ipv4.tcp_syncookies not put back");
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    told(path, fs::read_to_string(path)).map(|text| text.trim().to_owned())
}

fn told<T>(path: &Path, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|cause| format!("{}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a setting.
    fn folder(name: &str, value: &str) -> PathBuf {
        let name = format!("sensor-cookies-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _absent = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("setting"), value).unwrap();
        folder
    }

    fn open(folder: &Path) -> Cookies {
        let kept = folder.join("state/kept");
        Cookies::at(folder.join("setting"), Some(kept))
    }

    fn value(folder: &Path) -> String {
        read(&folder.join("setting")).unwrap()
    }

    #[test]
    fn the_setting_is_put_back_as_it_was() {
        let folder = folder("back", "1\n");
        let mut cookies = open(&folder);
        cookies.put_back().unwrap();
        assert_eq!(value(&folder), "1");
        cookies.set_always().unwrap();
        cookies.set_always().unwrap();
        assert_eq!(value(&folder), "2");
        drop(cookies);
        assert_eq!(value(&folder), "1");
        assert!(!folder.join("state/kept").exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_a_killed_run_left_is_put_back_by_the_next() {
        let folder = folder("killed", "0\n");
        let mut cookies = open(&folder);
        cookies.set_always().unwrap();
        std::mem::forget(cookies);
        assert_eq!(value(&folder), "2");
        drop(open(&folder));
        assert_eq!(value(&folder), "0");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_others_set_stays() {
        let always = folder("always", "2\n");
        let mut cookies = open(&always);
        cookies.set_always().unwrap();
        drop(cookies);
        assert_eq!(value(&always), "2");
        fs::remove_dir_all(always).unwrap();
        let other = folder("other", "1\n");
        let mut cookies = open(&other);
        cookies.set_always().unwrap();
        fs::write(other.join("setting"), "0\n").unwrap();
        drop(cookies);
        assert_eq!(value(&other), "0");
        fs::remove_dir_all(other).unwrap();
    }

    #[test]
    fn a_setting_that_can_not_be_changed_is_told() {
        let folder = folder("missing", "1");
        fs::remove_file(folder.join("setting")).unwrap();
        let refused = open(&folder).set_always().unwrap_err();
        assert!(refused.contains("setting"), "{refused}");
        fs::remove_dir_all(folder).unwrap();
    }
}
