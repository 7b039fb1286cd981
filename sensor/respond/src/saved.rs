//! Requests of operators, kept over restarts.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use sensor_engine::Scope;
use serde::{Deserialize, Serialize};

use super::entry::{Listed, Measure, Network, Origin, Request};
use sensor_capture::kernel::monotonic_ns;

const VERSION: u32 = 1;
const NAME: &str = "respond.json";

/// The file's content.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    version: u32,
    /// None: by a sensor that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Moment>,
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
    /// Time left when it was saved, which no wrong clock makes longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_s: Option<u64>,
    origin: Origin,
    reason: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SavedAllow {
    network: Network,
    origin: Origin,
}

/// A moment by each clock there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    unix_s: u64,
    /// The kernel's clock counts from this boot; empty where it has no name.
    boot_id: String,
    kernel_s: u64,
}

impl Moment {
    pub fn now() -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        Self {
            unix_s: unix_now().as_secs(),
            boot_id: boot_id.unwrap_or_default().trim().to_owned(),
            kernel_s: Duration::from_nanos(monotonic_ns()).as_secs(),
        }
    }

    /// Time since an earlier moment of the same boot.
    fn since(&self, earlier: &Self) -> Option<u64> {
        let is_same_boot = !self.boot_id.is_empty() && self.boot_id == earlier.boot_id;
        is_same_boot.then(|| self.kernel_s.saturating_sub(earlier.kernel_s))
    }
}

impl SavedBlock {
    fn new(listed: Listed, left: Duration, now: &Moment) -> Self {
        // Rounded up: a second more rather than less.
        let left_s = (left + Duration::from_millis(999)).as_secs();
        Self {
            target: Network(listed.target),
            protocol: listed.scope.protocol,
            local_port: listed.scope.local_port,
            measure: listed.measure,
            expires_unix_s: now.unix_s.saturating_add(left_s),
            left_s: Some(left_s),
            origin: Origin::clone(&listed.origin),
            reason: listed.reason.to_string(),
        }
    }

    /// Time that it has left at `now`; none where it is over. Within one boot the kernel's clock tells.
    /// After another boot the wall clock does, unless it stands before the time of saving, as it does
    /// where a machine begins in 1970: then all that was left when it was saved.
    fn left(&self, saved_at: Option<&Moment>, now: &Moment) -> Option<Duration> {
        let by_wall = self.expires_unix_s.checked_sub(now.unix_s);
        let (Some(at), Some(left_s)) = (saved_at, self.left_s) else {
            return by_wall.map(Duration::from_secs);
        };
        let left_s = match now.since(at) {
            Some(elapsed_s) => left_s.checked_sub(elapsed_s)?,
            None if now.unix_s < at.unix_s => left_s,
            None => by_wall?.min(left_s),
        };
        Some(Duration::from_secs(left_s))
    }
}

fn unix_now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
}

impl Saved {
    /// Selects the entries that are to be kept.
    pub fn of<'a>(
        blocks: impl Iterator<Item = Listed>,
        allowed: impl Iterator<Item = (&'a IpNet, &'a Origin)>,
    ) -> Self {
        let (now, kernel_ns) = (Moment::now(), monotonic_ns());
        let kept = blocks.filter(|listed| listed.origin.is_kept());
        let blocks = kept.map(|listed| {
            let left = Duration::from_nanos(listed.expires_ns.saturating_sub(kernel_ns));
            SavedBlock::new(listed, left, &now)
        });
        let blocks = blocks.collect();
        let allowed = allowed.filter(|(_, origin)| origin.is_kept());
        Self {
            version: VERSION,
            at: Some(now),
            blocks,
            allowed: allowed
                .map(|(network, origin)| SavedAllow {
                    network: Network(*network),
                    origin: origin.clone(),
                })
                .collect(),
        }
    }

    /// Adds blocks that are kept and not in force yet, with the time that they have left by now.
    pub fn add_blocks_of(&mut self, other: &Self) {
        let Some(now) = &self.at else { return };
        let waiting = other.blocks.iter().filter_map(|block| {
            let left = block.left(other.at.as_ref(), now)?;
            Some(SavedBlock {
                expires_unix_s: now.unix_s.saturating_add(left.as_secs()),
                left_s: Some(left.as_secs()),
                ..block.clone()
            })
        });
        self.blocks.extend(waiting);
    }

    /// True without blocks.
    pub fn has_no_blocks(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The blocks that still hold.
    pub fn requests(&self, now: &Moment) -> Vec<Request> {
        let request = |block: &SavedBlock| {
            let ttl = block.left(self.at.as_ref(), now)?;
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
                is_proven: true,
                grounds: None,
            })
        };
        self.blocks.iter().filter_map(request).collect()
    }

    /// The allow-list.
    pub fn allowed(&self) -> impl Iterator<Item = (IpNet, Origin)> + '_ {
        self.allowed.iter().map(|a| (a.network.0, a.origin.clone()))
    }
}

/// Place of the file: a folder that one sensor holds at a time.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    /// Locked as long as this sensor lives.
    _lock: Option<Arc<File>>,
}

impl Store {
    /// Locks the folder, which is made for its owner alone where it is missing. One that can't be
    /// made is tried again when there is something to save.
    ///
    /// # Errors
    /// When another sensor holds it.
    pub fn open(folder: &Path) -> Result<Self> {
        let lock = make_folder(folder).and_then(|()| File::open(folder));
        if let Ok(lock) = &lock
            && matches!(lock.try_lock(), Err(TryLockError::WouldBlock))
        {
            bail!(
                "{}: another sensor keeps its state there: stop that one, or give this one another \
                 respond.instance",
                folder.display()
            );
        }
        Ok(Self {
            folder: folder.to_owned(),
            _lock: lock.ok().map(Arc::new),
        })
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Path of another file in the folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Reads what was saved last. A file that can't be understood stays where it is.
    ///
    /// # Errors
    /// The cause, with the path.
    pub fn load(&self) -> Result<Saved> {
        let path = self.path();
        read(&path).with_context(|| path.display().to_string())
    }

    /// Gives the file another name, and tells it.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn set_aside(&self) -> Result<PathBuf> {
        let path = self.path();
        let name = format!("{NAME}.bad-{}", unix_now().as_secs());
        let aside = self.folder.join(name);
        fs::rename(&path, &aside).with_context(|| path.display().to_string())?;
        Ok(aside)
    }

    /// Replaces the file as a whole.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn save(&self, saved: &Saved) -> Result<()> {
        make_folder(&self.folder).with_context(|| self.folder.display().to_string())?;
        let (path, next) = (self.path(), self.folder.join(".respond.json.new"));
        let bytes = serde_json::to_vec(saved)?;
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let written = || -> std::io::Result<()> {
            let mut file = options.open(&next)?;
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

/// Makes a folder for its owner alone; one that exists stays as it is.
pub fn make_folder(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
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
        Store::open(&folder).unwrap()
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
    fn entries_of_operators_are_saved_and_loaded() {
        let store = store("keep");
        assert_eq!(store.load().unwrap(), Saved::default());
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
        let loaded = store.load().unwrap();
        assert_eq!(loaded, saved);
        let requests = loaded.requests(&Moment::now());
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].target.to_string(), "192.0.2.7/32");
        assert_eq!(requests[0].measure, Measure::RateLimit { packets_per_s: 5 });
        assert!((99..=101).contains(&requests[0].ttl.as_secs()));
        assert_eq!(loaded.allowed().collect::<Vec<_>>(), [(friend, by)]);
        fs::remove_dir_all(store.folder).unwrap();
    }

    /// Seconds left of a block of 600 s, saved at `saved` and asked for at `now`: unix time, boot,
    /// kernel's clock.
    fn left_s(saved: (u64, &str, u64), now: (u64, &str, u64)) -> Option<u64> {
        let moment = |(unix_s, boot_id, kernel_s): (u64, &str, u64)| Moment {
            unix_s,
            boot_id: boot_id.to_owned(),
            kernel_s,
        };
        let (at, now) = (moment(saved), moment(now));
        let by = Origin::Operator { uid: 0 };
        let left = Duration::from_secs(600);
        let block = SavedBlock::new(listed("192.0.2.7", by, 600), left, &at);
        let saved = Saved {
            at: Some(at),
            blocks: vec![block],
            ..Saved::default()
        };
        let requests = saved.requests(&now);
        requests.first().map(|request| request.ttl.as_secs())
    }

    #[test]
    fn time_left_survives_restarts_boots_and_wrong_clocks() {
        const THEN: u64 = 1_700_000_000;
        let saved = (THEN, "one", 50);
        // The same boot: the kernel's clock tells, wherever the wall clock was set to.
        for unix_s in [0, THEN + 100, THEN + 1_000_000] {
            assert_eq!(left_s(saved, (unix_s, "one", 150)), Some(500));
        }
        assert_eq!(left_s(saved, (THEN, "one", 651)), None);
        // Another boot.
        assert_eq!(left_s(saved, (THEN + 100, "two", 5)), Some(500));
        assert_eq!(left_s(saved, (THEN + 601, "two", 5)), None);
        assert_eq!(left_s(saved, (30, "two", 30)), Some(600), "in 1970");
        // Saved while the clock was in 1970, read when it is right: over, and never for longer.
        assert_eq!(left_s((40, "one", 40), (THEN, "two", 5)), None);
        // Without a name of the boot the wall clock tells.
        assert_eq!(left_s((THEN, "", 50), (THEN + 100, "", 5)), Some(500));
    }

    #[test]
    fn blocks_that_wait_lose_no_time_and_gain_none() {
        let by = Origin::Operator { uid: 0 };
        let mut at = Moment::now();
        at.kernel_s = at.kernel_s.saturating_sub(100);
        let left = Duration::from_secs(600);
        let waiting = Saved {
            blocks: vec![SavedBlock::new(listed("192.0.2.7", by, 600), left, &at)],
            at: Some(at),
            ..Saved::default()
        };
        let mut saved = Saved::of(std::iter::empty(), std::iter::empty());
        saved.add_blocks_of(&waiting);
        let requests = saved.requests(&Moment::now());
        assert!((499..=501).contains(&requests[0].ttl.as_secs()));
    }

    #[test]
    fn files_of_earlier_versions_go_by_the_wall_clock() {
        let by = Origin::Operator { uid: 0 };
        let block = listed("192.0.2.7", by, 300);
        let saved = Saved::of(std::iter::once(block), std::iter::empty());
        let mut file = serde_json::to_value(&saved).unwrap();
        file.as_object_mut().unwrap().remove("at").unwrap();
        let block = file["blocks"][0].as_object_mut().unwrap();
        block.remove("left_s").unwrap();
        let saved: Saved = serde_json::from_value(file).unwrap();
        let requests = saved.requests(&Moment::now());
        assert!((299..=301).contains(&requests[0].ttl.as_secs()));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays_until_it_is_set_aside() {
        let store = store("bad");
        for text in [
            "{\"version\":1,\"blo",
            "{\"version\":9,\"blocks\":[],\"allowed\":[]}",
        ] {
            fs::write(store.path(), text).unwrap();
            let told = format!("{:#}", store.load().unwrap_err());
            assert!(told.contains("respond.json"), "{told}");
            assert_eq!(fs::read_to_string(store.path()).unwrap(), text);
            let aside = store.set_aside().unwrap();
            assert_eq!(fs::read_to_string(aside).unwrap(), text);
            assert_eq!(store.load().unwrap(), Saved::default());
        }
        fs::remove_dir_all(store.folder).unwrap();
    }

    #[test]
    fn one_sensor_holds_a_folder_and_nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let first = store("lock");
        let folder = first.folder.clone();
        let told = Store::open(&folder).unwrap_err().to_string();
        assert!(told.contains("stop that one"), "{told}");
        first.save(&Saved::default()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&first.path())), (0o700, 0o600));
        drop(first);
        assert!(Store::open(&folder).is_ok());
        fs::remove_dir_all(folder).unwrap();
    }
}
