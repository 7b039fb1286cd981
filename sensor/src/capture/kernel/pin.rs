//! Links pinned in the BPF file system outlive the agent: if it is killed, the program goes on and
//! with it the blocks, each until its time is over. The next start finds them.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aya::maps::{MapData, MapInfo};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{ProgramInfo, SchedClassifier, Xdp};
use sensor_common::block::{Gate, LAYOUT};
use tracing::warn;

use super::{BlockArrays, SharedArray};

/// The folder of an instance, with a file for each link.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    /// Locked as long as this agent lives: the links of one that lives are not for others.
    _lock: File,
    /// Left in place when the value goes.
    is_kept: bool,
}

/// What a program of the run before still enforces.
pub struct LeftOver {
    pub arrays: BlockArrays,
    pub seed: u64,
}

impl Pins {
    /// Makes the folder below a mounted BPF file system.
    ///
    /// # Errors
    /// Says why nothing can be pinned there.
    pub fn open(bpffs: &Path, instance: &str) -> Result<Self> {
        let mut status = std::mem::MaybeUninit::<libc::statfs>::uninit();
        let path = CString::new(bpffs.as_os_str().as_bytes())?;
        // SAFETY: a terminated path, and a place for the answer.
        let result = unsafe { libc::statfs(path.as_ptr(), status.as_mut_ptr()) };
        // SAFETY: filled in by the call above, if that went well.
        let is_bpffs = result == 0 && unsafe { status.assume_init() }.f_type == libc::BPF_FS_MAGIC;
        if !is_bpffs {
            bail!(
                "{0} is no BPF file system: `mount -t bpf bpf {0}`",
                bpffs.display()
            );
        }
        let folder = bpffs.join("sensor").join(instance);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let lock = File::open(&folder)?;
        if lock.try_lock().is_err() {
            bail!(
                "another sensor runs as instance \"{instance}\": give this one another \
                 respond.instance"
            );
        }
        Ok(Self {
            folder,
            _lock: lock,
            is_kept: false,
        })
    }

    /// From now on the links stay when the value goes.
    pub const fn keep(&mut self) {
        self.is_kept = true;
    }

    fn path(&self, interface: &str, way: &str) -> PathBuf {
        // Interface names have no slash; dots are not taken in this file system.
        self.folder
            .join(format!("{}-{way}", interface.replace('.', "_")))
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

    /// As [`Self::pin_ingress`].
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

    /// The block-list that a program of the run before enforces, if there is one.
    pub fn left_over(&self) -> Option<LeftOver> {
        let files = self.files();
        let mut ingress = files
            .iter()
            .filter(|path| path.to_string_lossy().ends_with("-ingress"));
        let found = read(ingress.next()?);
        found
            .inspect_err(|cause| {
                let cause = format!("{cause:#}");
                warn!(cause, "the block-list of the run before is lost");
                self.release();
            })
            .ok()
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.sort();
        files
    }

    /// Removes the links of an interface.
    pub(super) fn remove(&self, interface: &str) {
        for way in ["ingress", "egress"] {
            // There is none where egress is a filter.
            let _absent = fs::remove_file(self.path(interface, way));
        }
    }

    /// Lets go of what the run before left.
    pub fn release(&self) {
        self.remove_all();
    }

    fn remove_all(&self) {
        for path in self.files() {
            if let Err(cause) = fs::remove_file(&path) {
                warn!(path = %path.display(), %cause, "a pinned link could not be removed");
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

fn read(path: &Path) -> Result<LeftOver> {
    let link = FdLink::from(PinnedLink::from_pin(path)?);
    let program = program_of(link.info()?.program_id())?;
    let ids = program.map_ids()?.context("the kernel names no maps")?;
    let maps = ids
        .iter()
        .map(|id| MapInfo::from_id(*id))
        .collect::<Result<Vec<_>, _>>()?;
    let array = |name: &str| {
        // The kernel keeps 15 letters of a name.
        let short = &name[..name.len().min(15)];
        let found = maps.iter().find(|map| map.name_as_str() == Some(short));
        found.with_context(|| format!("there is no map {name}"))
    };
    let arrays = BlockArrays::found(array)?;
    let gate: Gate = arrays.gate.copy(0, 0).unwrap_or_default();
    if gate.layout != LAYOUT {
        bail!("its layout has version {}, not {LAYOUT}", gate.layout);
    }
    let seed = gate.seed;
    Ok(LeftOver { arrays, seed })
}

fn program_of(id: u32) -> Result<ProgramInfo> {
    let all = aya::programs::loaded_programs();
    let mut of_id = all.flatten().filter(|program| program.id() == id);
    of_id
        .next()
        .with_context(|| format!("program {id} is gone"))
}

/// Maps an array that was found, if it has the size that it should.
pub(super) fn shared<T: sensor_common::Pod>(
    info: &MapInfo,
    n_entries: u32,
) -> Result<SharedArray<T>> {
    let size = size_of::<T>() as u32;
    if info.value_size() != size || info.max_entries() != n_entries {
        bail!(
            "map {:?} has {} entries of {} bytes, not {n_entries} of {size}",
            info.name_as_str(),
            info.max_entries(),
            info.value_size()
        );
    }
    SharedArray::new(&MapData::from_id(info.id())?, n_entries, true)
}
