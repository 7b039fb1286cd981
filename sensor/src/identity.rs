//! Name and identifier of this sensor, which every record carries.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use sensor_record::Sensor;
use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

use crate::config::Settings;
use sensor_capture::kernel::random;
use sensor_respond::make_folder;

/// Random identifiers of machines (machine-id(5)), and the file of ours where there is none.
const MACHINE_ID: &str = "/etc/machine-id";
const NAME: &str = "sensor-id";
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// Digits of an identifier.
const N_DIGITS: usize = 32;

/// Identifies an agent, which may keep an identifier in its state folder.
pub fn of_agent(settings: &Settings) -> Arc<Sensor> {
    sensor(settings, kept)
}

/// Identifies a replay, which changes nothing.
pub fn of_replay(settings: &Settings) -> Arc<Sensor> {
    sensor(settings, |folder| read(&folder.join(NAME)))
}

fn sensor(settings: &Settings, kept: impl FnOnce(&Path) -> Option<String>) -> Arc<Sensor> {
    let wanted = &settings.sensor;
    let host_name = match wanted.host_name.as_str() {
        "" => host_name(),
        name => name.to_owned(),
    };
    let instance = &settings.respond.instance;
    let id = match wanted.id.as_str() {
        "" => read(Path::new(MACHINE_ID))
            .map(|machine| derived("machine", &machine, instance))
            .or_else(|| kept(&settings.respond.state_of_instance()?))
            .unwrap_or_else(|| derived("host", &host_name, instance)),
        id => id.to_owned(),
    };
    Arc::new(Sensor::new(host_name, id))
}

/// An identifier that tells nothing of what it is derived from: a machine's is not for others to see
/// (machine-id(5)).
fn derived(what: &str, of: &str, instance: &str) -> String {
    let hash = Sha256::digest(format!("sensor.id\n{what}\n{of}\n{instance}"));
    let digits = hash.iter().map(|byte| format!("{byte:02x}"));
    digits.take(N_DIGITS / 2).collect()
}

/// An identifier in a file; none where there is something else.
fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let id = text.trim();
    let is_one = id.len() == N_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| id.to_ascii_lowercase())
}

/// The identifier in the state folder, made where there is none yet. Without such a folder there is
/// none, which is said and does no harm.
fn kept(folder: &Path) -> Option<String> {
    if folder.as_os_str().is_empty() {
        return None;
    }
    let path = folder.join(NAME);
    if let Some(id) = read(&path) {
        return Some(id);
    }
    match make(folder, &path) {
        Ok(id) => {
            info!(id, path = %path.display(), "no machine-id: generated an identifier");
            Some(id)
        }
        Err(cause) => {
            warn!(
                cause = format!("{cause:#}"),
                "no machine-id and no place for an identifier: sensor.id is derived from the host's \
                 name; set sensor.id where names are not unique"
            );
            None
        }
    }
}

fn make(folder: &Path, path: &Path) -> Result<String> {
    let id = format!("{:016x}{:016x}", random()?, random()?);
    let named = || path.display().to_string();
    make_folder(folder).with_context(|| folder.display().to_string())?;
    let beside = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside).with_context(named)?;
    writeln!(file, "{id}").with_context(named)?;
    file.sync_all().with_context(named)?;
    fs::rename(&beside, path).with_context(named)?;
    Ok(id)
}

fn host_name() -> String {
    let read = fs::read_to_string(HOST_NAME).unwrap_or_default();
    match read.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_name_and_identifier_win() {
        let mut settings = Settings::default();
        settings.sensor.id = "dmz-7".to_owned();
        settings.sensor.host_name = "edge".to_owned();
        let found = sensor(&settings, |_| panic!("nothing else is asked"));
        assert_eq!(
            (found.id.as_str(), found.host_name.as_str()),
            ("dmz-7", "edge")
        );
    }

    #[test]
    fn an_identifier_is_stable_and_tells_instances_apart() {
        let of = |instance: &str| {
            let mut settings = Settings::default();
            settings.respond.instance = instance.to_owned();
            sensor(&settings, |_| None).id.clone()
        };
        assert_eq!(of("main"), of("main"));
        assert_eq!(of("main").len(), N_DIGITS);
        // A derived one; where there is no machine-id, of the host's name.
        assert_ne!(of("main"), of("dmz"));
    }

    #[test]
    fn an_identifier_that_was_made_stays() {
        let name = format!("sensor-identity-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _absent = fs::remove_dir_all(&folder);
        let made = kept(&folder).unwrap();
        assert_eq!(made.len(), N_DIGITS);
        assert_eq!(kept(&folder), Some(made.clone()));
        fs::write(folder.join(NAME), "torn").unwrap();
        assert_ne!(kept(&folder), Some(made));
        // No folder can be made below a file.
        assert_eq!(kept(&folder.join(NAME).join("deeper")), None);
        assert_eq!(kept(Path::new("")), None);
        fs::remove_dir_all(folder).unwrap();
    }
}
