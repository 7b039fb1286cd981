//! Least privilege: once everything is loaded and attached, the process gives up what only the start
//! needed. Whoever takes it over by a record, a client or a far side can then neither run a program,
//! nor write outside of the sensor's own folders, nor change the system.
//!
//! Capabilities and files are given up by the threads that are started afterwards and by the one that
//! calls, which are all that meet packets, clients and far sides; system calls by every thread.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus,
    path_beneath_rules,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use sensor_deliver::Kind;
use sensor_record::answer::Confined;
use tracing::warn;

use crate::config::Settings;

/// Capabilities that the running agent needs: programs and maps, interfaces, the sockets' groups, its
/// priority.
const KEPT: [Capability; 5] = [
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_CHOWN,
    Capability::CAP_SYS_NICE,
];

/// Kinds of access to files that were known when this was written; a kernel that knows fewer gives
/// those.
const FILES: ABI = ABI::V5;

/// System calls that a sensor never makes: other processes, the kernel's code, the machine, name
/// spaces, keys, and interfaces with a long history of faults.
const NEVER: &[libc::c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_mknodat,
    libc::SYS_vhangup,
];

/// System calls that start another program.
const PROGRAMS: &[libc::c_long] = &[libc::SYS_execve, libc::SYS_execveat];

/// Parts, each with what came of it.
pub type Confinement = BTreeMap<&'static str, Confined>;

/// Gives up what only the start needed.
pub fn after_start(settings: &Settings) -> Confinement {
    if !settings.sensor.confine {
        let off = || Confined::failed("sensor.confine is false");
        return BTreeMap::from(["capabilities", "files", "system_calls"].map(|part| (part, off())));
    }
    // A hook does what its author wants, with what the sensor has.
    let runs_programs = settings
        .sink
        .iter()
        .any(|sink| sink.enabled && sink.kind == Kind::Exec);
    let parts = [
        ("capabilities", capabilities(runs_programs)),
        ("files", files(settings, runs_programs)),
        ("system_calls", system_calls(runs_programs)),
    ];
    for (part, confined) in &parts {
        if !confined.done {
            warn!("{part} are not confined: {}", confined.how);
        }
    }
    BTreeMap::from(parts)
}

fn capabilities(runs_programs: bool) -> Confined {
    let told = |cause: caps::errors::CapsError| format!("capabilities: {cause}");
    let keep = || -> Result<CapsHashSet, String> {
        let has = caps::read(None, CapSet::Permitted).map_err(told)?;
        let kept: CapsHashSet = KEPT.into_iter().filter(|one| has.contains(one)).collect();
        if !runs_programs {
            // Not all that are bounded are known to every kernel.
            for one in caps::all() {
                if !kept.contains(&one) {
                    let _unknown = caps::drop(None, CapSet::Bounding, one);
                }
            }
        }
        caps::set(None, CapSet::Effective, &kept).map_err(told)?;
        caps::set(None, CapSet::Permitted, &kept).map_err(told)?;
        Ok(kept)
    };
    match keep() {
        Ok(kept) => {
            let mut names: Vec<String> = kept.iter().map(ToString::to_string).collect();
            names.sort_unstable();
            Confined::done(format!("kept {}", names.join(", ")))
        }
        Err(why) => Confined::failed(why),
    }
}

/// Folders that are written to.
fn written(settings: &Settings) -> Vec<PathBuf> {
    let respond = &settings.respond;
    let parent = |path: &Path| path.parent().map(Path::to_owned);
    let sinks = settings.sink.iter().filter(|sink| sink.enabled);
    let mut folders: Vec<PathBuf> = sinks
        .filter_map(|sink| parent(sink.path.as_deref()?))
        .collect();
    folders.extend(respond.state_of_instance());
    folders.extend(respond.audit_of_instance().as_deref().and_then(parent));
    folders.extend(parent(&settings.output.file));
    folders.extend(parent(&settings.socket.path));
    folders.push(respond.bpffs.clone());
    folders.retain(|folder| !folder.as_os_str().is_empty());
    // Standard output may be a terminal; shields change one setting of the kernel.
    folders.extend(["/dev", "/proc/self", "/proc/sys/net/ipv4"].map(PathBuf::from));
    folders
}

fn files(settings: &Settings, runs_programs: bool) -> Confined {
    if runs_programs {
        return Confined::failed("an exec sink may write where it wants to");
    }
    let folders = written(settings);
    let writing = AccessFs::from_write(FILES) | AccessFs::Execute;
    let allowed = AccessFs::from_write(FILES);
    let restrict = || -> Result<RulesetStatus, landlock::RulesetError> {
        let rules = path_beneath_rules(folders.iter().filter(|one| one.exists()), allowed);
        let status = Ruleset::default()
            .handle_access(writing)?
            .create()?
            .add_rules(rules)?
            .restrict_self()?;
        Ok(status.ruleset)
    };
    match restrict() {
        Ok(RulesetStatus::NotEnforced) => Confined::failed("this kernel has no Landlock"),
        Ok(_) => {
            let names = folders.iter().map(|folder| folder.display().to_string());
            let names = names.collect::<Vec<_>>().join(", ");
            Confined::done(format!("nothing is run; written only below {names}"))
        }
        Err(cause) => Confined::failed(format!("Landlock: {cause}")),
    }
}

fn system_calls(runs_programs: bool) -> Confined {
    let programs = if runs_programs { &[][..] } else { PROGRAMS };
    let refused = NEVER.iter().chain(programs);
    let rules: BTreeMap<i64, _> = refused.map(|call| (*call, Vec::new())).collect();
    let n_refused = rules.len();
    let apply = || -> Result<(), String> {
        let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|told| told.to_string())?;
        let refuse = SeccompAction::Errno(libc::EPERM as u32);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch);
        let filter = filter.map_err(|told| told.to_string())?;
        let program: BpfProgram = filter
            .try_into()
            .map_err(|told: seccompiler::BackendError| told.to_string())?;
        seccompiler::apply_filter_all_threads(&program).map_err(|told| told.to_string())
    };
    match apply() {
        Ok(()) => Confined::done(format!("{n_refused} are refused, in every thread")),
        Err(why) => Confined::failed(format!("seccomp: {why}")),
    }
}
