//! Objects that outlive the agent, pinned in the BPF file system: the links, so that the programs
//! go on, and the maps, so that the next start goes on with what is in them.
//!
//! ```text
//! BPFFS/sensor/INSTANCE/IFACE-ingress, IFACE-egress    links
//! BPFFS/sensor/INSTANCE/lists-STAMP/                   block-list and allow-list
//! BPFFS/sensor/INSTANCE/counts-STAMP/                  flows, hosts, counters, rings
//! ```
//!
//! A stamp tells what the maps look like and mean. A start whose own stamps are others makes maps of
//! its own beside them, which the programs take over with the links: nothing is ever misread.

use std::ffi::CString;
use std::fs::{self, File};
use std::mem::offset_of;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aya::maps::MapData;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{SchedClassifier, Xdp};
use sensor_common::block::list::{ScopeSet, Shape, SourceBucket};
use sensor_common::block::{Gate, LAYOUT};
use tracing::warn;

use super::shared::SharedArray;

/// Maps of the lists. Their meaning has a version of its own ([`LAYOUT`]), so that blocks outlive an
/// upgrade.
const LISTS: [&str; 9] = [
    "GATE",
    "BLOCK_FILTER",
    "ALLOW_FILTER",
    "ALLOW",
    "BLOCK_SOURCES",
    "BLOCK_PREFIXES",
    "BLOCK_SCOPES",
    "BLOCK_SHAPES",
    "KNOWN_FLOWS",
];
/// Maps of all that is counted: for the very same program only.
const COUNTS: [&str; 9] = [
    "FLOWS",
    "FLOW_OUTERS",
    "HOSTS_LOCAL",
    "HOSTS_REMOTE",
    "FLOW_RING",
    "EVENT_RING",
    "COUNTERS",
    "ADMISSION",
    "BUDGETS",
];
/// Maps that hold nothing from one packet to the next, and those of the shields, which end with the agent.
const PASSING: [&str; 13] = [
    "SCRATCH",
    "EVENT_SCRATCH",
    "FOUND",
    "TUNNEL_PEERS",
    "INTERFACES",
    "CROSSED",
    "SHIELDS",
    "PEERS",
    "RETRIES",
    "CHALLENGE_RETRIES",
    "SHIELD",
    "SHIELD_FRAGS",
    "SHIELD_FRAME",
];

/// Hashes of the maps' layouts and capacities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamps {
    lists: u64,
    counts: u64,
}

impl Stamps {
    /// Stamps of a program with its maps' capacities.
    pub(super) fn of(object: &[u8], capacities: &[(&'static str, u32)]) -> Self {
        let of = |names: &[&str]| {
            let of_group = capacities.iter().filter(|(name, _)| names.contains(name));
            of_group.fold(Stamp::EMPTY, |stamp, (name, n)| {
                stamp.with(name.as_bytes()).with(&n.to_ne_bytes())
            })
        };
        let sizes = [
            size_of::<Gate>(),
            size_of::<SourceBucket>(),
            size_of::<ScopeSet>(),
            size_of::<Shape>(),
        ];
        let lists = sizes
            .iter()
            .fold(of(&LISTS), |stamp, size| stamp.with(&size.to_ne_bytes()));
        Self {
            lists: lists.with(&u32::from(LAYOUT).to_ne_bytes()).0,
            counts: of(&COUNTS).with(object).0,
        }
    }
}

/// FNV-1a (Fowler, Noll, Vo): the same from build to build.
#[derive(Clone, Copy)]
struct Stamp(u64);

impl Stamp {
    const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    fn with(self, bytes: &[u8]) -> Self {
        let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Self(bytes.iter().fold(self.0, step))
    }
}

/// Parts of the run before that go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Block-list and allow-list, with the secret of their hashes.
    pub lists: bool,
    /// Flows, hosts, counters and what waits in the rings.
    pub counts: bool,
}

/// The folder of an instance.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    /// Locked as long as this agent lives: the pins of one that lives are not for others.
    _lock: File,
    /// Folders of the maps, once they are chosen.
    maps: Option<[PathBuf; 2]>,
    /// Left in place when the value goes.
    is_kept: bool,
}

impl Pins {
    /// Makes the folder below a mounted BPF file system.
    ///
    /// # Errors
    /// Says why nothing can be pinned there.
    pub fn open(bpffs: &Path, instance: &str) -> Result<Self> {
        if !is_bpffs(bpffs)? {
            bail!(
                "{0} is no BPF file system: `mount -t bpf bpf {0}`",
                bpffs.display()
            );
        }
        let folder = folder(bpffs, instance);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let lock = File::open(&folder)?;
        if lock.try_lock().is_err() {
            bail!(
                "a sensor runs as instance \"{instance}\": stop it, or give this one another \
                 respond.instance"
            );
        }
        Ok(Self {
            folder,
            _lock: lock,
            maps: None,
            is_kept: false,
        })
    }

    /// Keeps the pins when the value is dropped.
    pub const fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Chooses the folders of the maps. Those of a run before are taken where a program still works
    /// with them and their stamps are ours; what is in force then stays until [`Self::settle`],
    /// whatever fails before. Also gives the secret of the adopted lists.
    ///
    /// # Errors
    /// When a folder can't be made.
    pub(super) fn adopt(&mut self, stamps: Stamps) -> Result<(Adopted, Option<u64>)> {
        let lists = self.folder.join(format!("lists-{:016x}", stamps.lists));
        let counts = self.folder.join(format!("counts-{:016x}", stamps.counts));
        let is_left = !self.links().is_empty();
        self.is_kept |= is_left;
        let seed = (is_left && has_all(&lists, &LISTS))
            .then(|| seed_of(&lists))
            .flatten();
        let adopted = Adopted {
            lists: seed.is_some(),
            counts: seed.is_some() && has_all(&counts, &COUNTS),
        };
        if is_left && !adopted.lists {
            warn!("lists of the previous run have another layout: its blocks end");
        }
        if is_left && !adopted.counts {
            warn!(
                "the previous run had another program or other table sizes: flows and counters start \
                 from zero"
            );
        }
        for (folder, is_adopted) in [(&lists, adopted.lists), (&counts, adopted.counts)] {
            if !is_adopted {
                remove_folder(folder);
            }
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        self.maps = Some([lists, counts]);
        Ok((adopted, seed))
    }

    /// Paths at which the maps are pinned, by name.
    pub(super) fn map_paths(&self) -> Vec<(&'static str, PathBuf)> {
        let Some([lists, counts]) = &self.maps else {
            return Vec::new();
        };
        let lists = LISTS.map(|name| (name, lists.join(name)));
        let counts = COUNTS.map(|name| (name, counts.join(name)));
        lists.into_iter().chain(counts).collect()
    }

    /// All is attached: what the run before left and nobody took over goes. From now on the pins end
    /// with the value.
    pub fn settle(&mut self, interfaces: &[String]) {
        for (path, interface, _) in self.links() {
            if !interfaces.contains(&interface) {
                remove_file(&path);
            }
        }
        for path in self.entries().into_iter().filter(|path| path.is_dir()) {
            let is_ours = self.maps.iter().flatten().any(|ours| *ours == path);
            if !is_ours {
                remove_folder(&path);
            }
        }
        self.is_kept = false;
    }

    fn path(&self, interface: &str, way: &str) -> PathBuf {
        self.folder.join(format!("{}-{way}", encoded(interface)))
    }

    /// Pins the link of an ingress program in place of `id`; gives it back with its new number.
    ///
    /// # Errors
    /// The kernel's; the program is detached then.
    pub(super) fn pin_ingress(
        &self,
        interface: &str,
        program: &mut Xdp,
        id: aya::programs::xdp::XdpLinkId,
    ) -> Result<aya::programs::xdp::XdpLinkId> {
        let link = FdLink::try_from(program.take_link(id)?)?;
        let pinned = link.pin(self.path(interface, "ingress"))?;
        Ok(program.attach_to_link(FdLink::from(pinned).try_into()?)?)
    }

    /// Pins the egress link, as [`Self::pin_ingress`] does for ingress.
    pub(super) fn pin_egress(
        &self,
        interface: &str,
        program: &mut SchedClassifier,
        id: aya::programs::tc::SchedClassifierLinkId,
    ) -> Result<aya::programs::tc::SchedClassifierLinkId> {
        let link = FdLink::try_from(program.take_link(id)?)?;
        let pinned = link.pin(self.path(interface, "egress"))?;
        Ok(program.attach_to_link(FdLink::from(pinned).try_into()?)?)
    }

    /// The pinned link of one way of an interface. One that hangs on another interface by now, or on
    /// none, is let go.
    pub(super) fn link(&self, interface: &str, ifindex: u32, way: &str) -> Option<FdLink> {
        let path = self.path(interface, way);
        let link = FdLink::from(PinnedLink::from_pin(&path).ok()?);
        if interface_of(&link) == Some(ifindex) {
            return Some(link);
        }
        remove_file(&path);
        None
    }

    /// Removes the link of one way of an interface; none is no error.
    pub(super) fn remove_link(&self, interface: &str, way: &str) {
        let _absent = fs::remove_file(self.path(interface, way));
    }

    /// Follows an interface to its new name.
    pub(super) fn rename(&self, before: &str, now: &str) -> Result<()> {
        for way in ["ingress", "egress"] {
            let (from, to) = (self.path(before, way), self.path(now, way));
            // There is none where egress is a filter.
            if from.exists() {
                fs::rename(&from, &to).with_context(|| from.display().to_string())?;
            }
        }
        Ok(())
    }

    /// Removes the links of an interface.
    pub(super) fn remove(&self, interface: &str) {
        for way in ["ingress", "egress"] {
            // There is none where egress is a filter.
            self.remove_link(interface, way);
        }
    }

    /// Pinned links, with interface and way.
    pub fn links(&self) -> Vec<(PathBuf, String, &'static str)> {
        let of = |path: PathBuf| {
            let name = path.file_name()?.to_str()?.to_owned();
            let mut ways = ["ingress", "egress"].into_iter();
            let (interface, way) = ways.find_map(|way| {
                let interface = name.strip_suffix(way)?.strip_suffix('-')?;
                Some((decoded(interface), way))
            })?;
            Some((path, interface, way))
        };
        self.entries().into_iter().filter_map(of).collect()
    }

    fn entries(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }

    fn remove_all(&self) {
        for path in self.entries() {
            if path.is_dir() {
                remove_folder(&path);
            } else {
                remove_file(&path);
            }
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if !self.is_kept {
            self.remove_all();
            // Others may have instances of their own beside ours.
            let _others = fs::remove_dir(&self.folder);
            let _others = self.folder.parent().map(fs::remove_dir);
        }
    }
}

/// Tells if anything is pinned for an instance, by this sensor or another.
pub fn is_pinned(bpffs: &Path, instance: &str) -> bool {
    fs::read_dir(folder(bpffs, instance)).is_ok_and(|mut entries| entries.next().is_some())
}

/// Stops the enforcement of what is pinned for an instance, or lets it go on, without its agent; how
/// many lists that were.
///
/// # Errors
/// Where nothing is pinned, or the kernel refuses.
pub fn set_stopped(bpffs: &Path, instance: &str, is_stopped: bool) -> Result<usize> {
    let folder = folder(bpffs, instance);
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut n = 0;
    for entry in entries.flatten() {
        let path = entry.path().join("GATE");
        if !path.exists() {
            continue;
        }
        let map = MapData::from_pin(&path).with_context(|| path.display().to_string())?;
        let mut gate = SharedArray::<Gate>::new(&map, 1, true)?;
        gate.put(0, offset_of!(Gate, stopped), u32::from(is_stopped));
        n += 1;
    }
    if n == 0 {
        bail!("no lists are pinned below {}", folder.display());
    }
    Ok(n)
}

/// Names of a program's maps that this module does not know, and so would not be pinned.
pub fn unknown_maps<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let is_known = |name: &str| {
        // Sections of the object, which are written when it is loaded.
        name.starts_with('.')
            || LISTS.contains(&name)
            || COUNTS.contains(&name)
            || PASSING.contains(&name)
    };
    names
        .filter(|name| !is_known(name))
        .map(str::to_owned)
        .collect()
}

fn folder(bpffs: &Path, instance: &str) -> PathBuf {
    bpffs.join("sensor").join(instance)
}

fn is_bpffs(path: &Path) -> Result<bool> {
    let mut status = std::mem::MaybeUninit::<libc::statfs>::uninit();
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a terminated path, and a place for the answer.
    let result = unsafe { libc::statfs(path.as_ptr(), status.as_mut_ptr()) };
    if result != 0 {
        return Ok(false);
    }
    // SAFETY: filled in by the call above, which went well.
    let kind = unsafe { status.assume_init() }.f_type;
    // Signed in one C library, unsigned in another.
    Ok(i128::from(kind) == i128::from(libc::BPF_FS_MAGIC))
}

/// Interface names have no slash; dots are not taken in this file system.
fn encoded(interface: &str) -> String {
    interface.replace('%', "%25").replace('.', "%2E")
}

fn decoded(name: &str) -> String {
    name.replace("%2E", ".").replace("%25", "%")
}

fn has_all(folder: &Path, names: &[&str]) -> bool {
    names.iter().all(|name| folder.join(name).exists())
}

/// The secret of pinned lists, if they were written by somebody of our layout.
fn seed_of(lists: &Path) -> Option<u64> {
    let map = MapData::from_pin(lists.join("GATE")).ok()?;
    let gate: Gate = SharedArray::<Gate>::new(&map, 1, false).ok()?.copy(0, 0)?;
    (gate.layout == LAYOUT).then_some(gate.seed)
}

fn remove_folder(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.for_each(|entry| remove_file(&entry.path()));
    let _absent = fs::remove_dir(folder);
}

fn remove_file(path: &Path) {
    if let Err(cause) = fs::remove_file(path) {
        warn!(path = %path.display(), %cause, "pin not removed");
    }
}

/// The interface that a link hangs on, as the kernel tells of each open one.
fn interface_of(link: &FdLink) -> Option<u32> {
    let id = link.info().ok()?.id().to_string();
    let open = fs::read_dir("/proc/self/fdinfo").ok()?.flatten();
    let mut facts = open.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let of_link = facts.find(|facts| fact(facts, "link_id") == Some(&id))?;
    fact(&of_link, "ifindex")?.parse().ok()
}

fn fact<'a>(facts: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = facts.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(key, _)| *key == name)?;
    Some(value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_interfaces_come_back() {
        for name in ["eth0", "eth0.100", "eth0_100", "a%2Eb", "a-ingress"] {
            assert!(!encoded(name).contains('.'), "{name}");
            assert_eq!(decoded(&encoded(name)), name);
        }
    }

    #[test]
    fn a_stamp_changes_with_program_and_table_sizes() {
        let sizes = [("FLOWS", 1024), ("BLOCK_SOURCES", 64)];
        let stamps = Stamps::of(b"program", &sizes);
        assert_eq!(stamps, Stamps::of(b"program", &sizes));
        let upgraded = Stamps::of(b"Program", &sizes);
        assert_eq!(upgraded.lists, stamps.lists);
        assert_ne!(upgraded.counts, stamps.counts);
        let larger = Stamps::of(b"program", &[("FLOWS", 2048), ("BLOCK_SOURCES", 64)]);
        assert_eq!(larger.lists, stamps.lists);
        assert_ne!(larger.counts, stamps.counts);
        let longer = Stamps::of(b"program", &[("FLOWS", 1024), ("BLOCK_SOURCES", 128)]);
        assert_ne!(longer.lists, stamps.lists);
    }
}
