//! What operators asked for, kept over restarts.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use sensor_engine::Scope;
use serde::{Deserialize, Serialize};
use tracing::error;

use super::entry::{Listed, Measure, Network, Origin, Request};
use sensor_capture::kernel::monotonic_ns;

const VERSION: u32 = 1;
const NAME: &str = "respond.json";

/// The file's content.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    version: u32,
    blocks: Vec<SavedBlock>,
    allowed: Vec<SavedAllow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SavedBlock {
    target: Network,
    protocol: u8,
    local_port: u16,
    #[serde(flatten)]
    measure: Measure,
    /// Wall clock: the kernel's begins anew with the machine.
    expires_unix_s: u64,
    origin: Origin,
    reason: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SavedAllow {
    network: Network,
    origin: Origin,
}

fn unix_now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
}

impl Saved {
    /// Of the entries given those that are to be kept.
    pub fn of<'a>(
        blocks: impl Iterator<Item = Listed>,
        allowed: impl Iterator<Item = (&'a IpNet, &'a Origin)>,
    ) -> Self {
        let (unix, monotonic) = (unix_now(), monotonic_ns());
        let blocks = blocks
            .filter(|listed| listed.origin.is_kept())
            .map(|listed| {
                let left = Duration::from_nanos(listed.expires_ns.saturating_sub(monotonic));
                SavedBlock {
                    target: Network(listed.target),
                    protocol: listed.scope.protocol,
                    local_port: listed.scope.local_port,
                    measure: listed.measure,
                    // Rounded up: a second more rather than less.
                    expires_unix_s: (unix + left + Duration::from_millis(999)).as_secs(),
                    origin: Origin::clone(&listed.origin),
                    reason: listed.reason.to_string(),
                }
            });
        let allowed = allowed.filter(|(_, origin)| origin.is_kept());
        Self {
            version: VERSION,
            blocks: blocks.collect(),
            allowed: allowed
                .map(|(network, origin)| SavedAllow {
                    network: Network(*network),
                    origin: origin.clone(),
                })
                .collect(),
        }
    }

    /// Adds blocks that are kept and not in force yet.
    pub fn add_blocks_of(&mut self, other: &Self) {
        self.blocks.extend(other.blocks.iter().cloned());
    }

    /// True without blocks.
    pub fn has_no_blocks(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The blocks that still hold.
    pub fn requests(&self) -> Vec<Request> {
        let now = unix_now();
        let request = |block: &SavedBlock| {
            let ttl = Duration::from_secs(block.expires_unix_s).checked_sub(now)?;
            Some(Request {
                target: block.target.0,
                scope: Scope {
                    protocol: block.protocol,
                    local_port: block.local_port,
                },
                measure: block.measure,
                ttl,
                origin: block.origin.clone(),
                reason: Arc::from(block.reason.as_str()),
            })
        };
        self.blocks.iter().filter_map(request).collect()
    }

    /// The allow-list.
    pub fn allowed(&self) -> impl Iterator<Item = (IpNet, Origin)> + '_ {
        self.allowed.iter().map(|a| (a.network.0, a.origin.clone()))
    }
}

/// Where the file lies.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// What was saved last. A file that can't be understood is set aside, loudly: the sensor must
    /// run, and nobody's list must be overwritten.
    pub fn load(&self) -> Saved {
        let path = self.folder.join(NAME);
        match read(&path) {
            Ok(saved) => saved,
            Err(cause) => {
                let aside = self
                    .folder
                    .join(format!("{NAME}.bad-{}", unix_now().as_secs()));
                let moved = fs::rename(&path, &aside);
                error!(
                    path = %path.display(), cause = format!("{cause:#}"),
                    set_aside = %aside.display(), is_moved = moved.is_ok(),
                    "blocks and allow-list of before are not in force: repair the file, move it back, restart"
                );
                Saved::default()
            }
        }
    }

    /// Replaces the file as a whole.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn save(&self, saved: &Saved) -> Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        let (path, next) = (
            self.folder.join(NAME),
            self.folder.join(".respond.json.new"),
        );
        let bytes = serde_json::to_vec(saved)?;
        let written = || -> std::io::Result<()> {
            let mut file = File::create(&next)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&next, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        written()
            .inspect_err(|_| {
                // The old file stays as it is; half a new one would only take room.
                let _absent = fs::remove_file(&next);
            })
            .with_context(|| path.display().to_string())
    }
}

fn read(path: &Path) -> Result<Saved> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Saved::default()),
        Err(cause) => return Err(cause.into()),
    };
    let saved: Saved = serde_json::from_slice(&text)?;
    if saved.version != VERSION {
        bail!("version {} is not {VERSION}", saved.version);
    }
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str) -> Store {
        let name = format!("sensor-saved-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _absent = fs::remove_dir_all(&folder);
        Store::new(&folder)
    }

    fn listed(target: &str, origin: Origin, ttl_s: u64) -> Listed {
        Listed {
            target: crate::parse_network(target).unwrap(),
            scope: Scope {
                protocol: 6,
                local_port: 22,
            },
            measure: Measure::RateLimit { packets_per_s: 5 },
            origin: Arc::new(origin),
            reason: Arc::from("because"),
            expires_ns: monotonic_ns() + ttl_s * 1_000_000_000,
            packets: 1,
            bytes: 2,
        }
    }

    #[test]
    fn keeps_what_operators_asked_for() {
        let store = store("keep");
        assert_eq!(store.load(), Saved::default());
        let by = Origin::Operator { uid: 1000 };
        let decision = Origin::Incident {
            incident_id: String::new(),
            decision_id: String::new(),
        };
        let blocks = [
            listed("192.0.2.7", by.clone(), 100),
            listed("192.0.2.8", decision, 100),
        ];
        let friend = "2001:db8::/48".parse().unwrap();
        let saved = Saved::of(blocks.into_iter(), [(&friend, &by)].into_iter());
        store.save(&saved).unwrap();
        let loaded = store.load();
        assert_eq!(loaded, saved);
        let requests = loaded.requests();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].target.to_string(), "192.0.2.7/32");
        assert_eq!(requests[0].measure, Measure::RateLimit { packets_per_s: 5 });
        assert!((99..=101).contains(&requests[0].ttl.as_secs()));
        assert_eq!(loaded.allowed().collect::<Vec<_>>(), [(friend, by)]);
        fs::remove_dir_all(store.folder).unwrap();
    }

    #[test]
    fn sets_aside_what_it_cannot_read() {
        let store = store("bad");
        fs::create_dir_all(&store.folder).unwrap();
        for text in [
            "{\"version\":1,\"blo",
            "{\"version\":9,\"blocks\":[],\"allowed\":[]}",
        ] {
            fs::write(store.folder.join(NAME), text).unwrap();
            assert_eq!(store.load(), Saved::default());
            let files = fs::read_dir(&store.folder).unwrap().map(Result::unwrap);
            let names: Vec<_> = files
                .map(|f| f.file_name().into_string().unwrap())
                .collect();
            assert!(
                names
                    .iter()
                    .all(|name| name.starts_with("respond.json.bad-")),
                "{names:?}"
            );
        }
        fs::remove_dir_all(store.folder).unwrap();
    }
}
