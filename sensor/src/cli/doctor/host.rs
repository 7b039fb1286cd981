//! The machine as a whole.

use std::fs;
use std::path::Path;

use sensor_common::flow::{Bucket, Outers};
use sensor_common::host::HostRow;
use sensor_common::limits;

use super::Finding;
use sensor_capture::kernel::{Kernel, LoadOptions};

use sensor_respond::{Fact, Host, Source as _};

/// Oldest kernel that the program is written for.
const LEAST_KERNEL: (u32, u32) = (5, 15);
/// First kernel with TCX, the way onto egress that nothing else can push aside.
const TCX_KERNEL: (u32, u32) = (6, 6);

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

pub fn examine() -> Vec<Finding> {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let may_load = capabilities();
    let is_allowed = may_load.status != super::Status::Stops;
    let mut findings = vec![
        kernel(&release),
        may_load,
        jit(),
        btf(),
        bpffs(),
        memory_lock(version(&release)),
        memory(),
        unprivileged(),
        guard(),
    ];
    if is_allowed {
        findings.push(program());
    }
    findings
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn kernel(release: &str) -> Finding {
    const CHECK: &str = "kernel";
    let Some(version) = version(release) else {
        return Finding::degraded(
            CHECK,
            format!("`{release}` is not understood"),
            "5.15 or newer is needed",
        );
    };
    if version < LEAST_KERNEL {
        let remedy = "5.15 or newer is needed: upgrade the kernel";
        return Finding::stops(CHECK, release, remedy);
    }
    if version < TCX_KERNEL {
        return Finding::degraded(
            CHECK,
            format!("{release}: no TCX, outgoing packets are counted by a clsact filter"),
            "works; from 6.6 on the filter goes away with the sensor whatever happens",
        );
    }
    Finding::ok(CHECK, release)
}

/// Remedies for a process without the rights that it needs.
const RIGHTS: &str = "run as root, or as a service by deploy/sensor.service, or \
                      `setcap cap_bpf,cap_net_admin,cap_perfmon+ep` on the binary";

fn capabilities() -> Finding {
    const CHECK: &str = "capabilities";
    of_mask(effective()).unwrap_or_else(|missing| {
        Finding::stops(CHECK, format!("missing: {}", missing.join(", ")), RIGHTS)
    })
}

fn effective() -> u64 {
    let status = read("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default()
}

/// Checks the rights that attaching takes.
///
/// # Errors
/// Names those that are missing, with the remedies.
pub fn check_rights() -> anyhow::Result<()> {
    of_mask(effective())
        .map(|_| ())
        .map_err(|missing| anyhow::anyhow!("not allowed: {} missing; {RIGHTS}", missing.join(", ")))
}

fn of_mask(mask: u64) -> Result<Finding, Vec<&'static str>> {
    let has = |bit: u32| mask >> bit & 1 != 0;
    let wanted = [
        (CAP_BPF, "CAP_BPF"),
        (CAP_PERFMON, "CAP_PERFMON"),
        (CAP_NET_ADMIN, "CAP_NET_ADMIN"),
    ];
    let missing: Vec<_> = wanted
        .into_iter()
        // The old capability covers the two that were split from it.
        .filter(|(bit, _)| !has(*bit) && (*bit == CAP_NET_ADMIN || !has(CAP_SYS_ADMIN)))
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        Ok(Finding::ok("capabilities", "sufficient"))
    } else {
        Err(missing)
    }
}

fn jit() -> Finding {
    const CHECK: &str = "jit";
    match read("/proc/sys/net/core/bpf_jit_enable").as_deref() {
        Some("0") => Finding::degraded(
            CHECK,
            "off: every packet costs many times as much",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        Some(_) => Finding::ok(CHECK, "on"),
        // Readable by root alone.
        None => Finding::ok(CHECK, "not known without root"),
    }
}

fn btf() -> Finding {
    const CHECK: &str = "btf";
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Finding::ok(CHECK, "present")
    } else {
        Finding::degraded(
            CHECK,
            "the kernel has no type information: the sensor does without, `bpftool` shows less",
            "a kernel with CONFIG_DEBUG_INFO_BTF=y",
        )
    }
}

fn bpffs() -> Finding {
    const CHECK: &str = "bpffs";
    let mounts = read("/proc/mounts").unwrap_or_default();
    let at = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let place = fields.nth(1)?;
        (fields.next()? == "bpf").then(|| place.to_owned())
    });
    match at {
        Some(place) => Finding::ok(CHECK, format!("mounted at {place}")),
        None => Finding::degraded(
            CHECK,
            "not mounted: nothing can be kept over a restart",
            "mount -t bpf bpf /sys/fs/bpf",
        ),
    }
}

/// Checks the limit of locked memory. From Linux 5.11 on the memory of maps counts against the
/// control group, not against this limit.
fn memory_lock(version: Option<(u32, u32)>) -> Finding {
    const CHECK: &str = "memory_lock";
    if version.is_none_or(|version| version >= (5, 11)) {
        return Finding::ok(CHECK, "maps are not locked memory on this kernel");
    }
    let limits = read("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    match soft {
        Some("unlimited") => Finding::ok(CHECK, "unlimited"),
        other => Finding::stops(
            CHECK,
            format!("{} bytes", other.unwrap_or("unknown")),
            "ulimit -l unlimited, or LimitMEMLOCK=infinity in the service",
        ),
    }
}

/// Memory of the maps with default capacities (`sensor_common::limits`).
fn map_bytes(n_cpus: u64) -> u64 {
    let bucket = size_of::<Bucket>() + size_of::<Outers>();
    let flows = u64::from(limits::FLOW_BUCKETS_PER_CPU) * bucket as u64;
    let rows = u64::from(limits::LOCAL_ROWS_PER_CPU + limits::REMOTE_ROWS_PER_CPU);
    let hosts = rows * size_of::<HostRow>() as u64;
    n_cpus * (flows + hosts) + u64::from(limits::FLOW_RING_BYTES)
}

fn memory() -> Finding {
    const CHECK: &str = "memory";
    let n_cpus = aya::util::nr_cpus().unwrap_or(1) as u64;
    let needed = map_bytes(n_cpus) >> 20;
    let available = read("/proc/meminfo")
        .and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("MemAvailable:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        })
        .map(|kib| kib >> 10);
    match available {
        Some(available) if available < 2 * needed => Finding::degraded(
            CHECK,
            format!("the tables take {needed} MiB, {available} MiB are free"),
            "lower capture.flow_buckets_per_cpu",
        ),
        _ => Finding::ok(
            CHECK,
            format!("the tables take {needed} MiB for {n_cpus} CPUs"),
        ),
    }
}

fn unprivileged() -> Finding {
    const CHECK: &str = "unprivileged_bpf";
    match read("/proc/sys/kernel/unprivileged_bpf_disabled").as_deref() {
        Some("0") => Finding::degraded(
            CHECK,
            "every user of this machine may load BPF programs",
            "sysctl -w kernel.unprivileged_bpf_disabled=2",
        ),
        _ => Finding::ok(CHECK, "disabled"),
    }
}

/// Checks the facts that the guard protects by: enforcement waits for all of them.
fn guard() -> Finding {
    const CHECK: &str = "guard";
    let mut host = Host::default();
    let (mut n_networks, mut faults) = (0, Vec::new());
    for fact in Fact::ALL {
        match host.read(fact) {
            Ok(protected) => n_networks += protected.len(),
            Err(cause) => faults.push(format!("{}: {cause:#}", fact.label())),
        }
    }
    if faults.is_empty() {
        return Finding::ok(
            CHECK,
            format!("known: {n_networks} networks are never blocked"),
        );
    }
    Finding::degraded(
        CHECK,
        faults.join("; "),
        "nothing is blocked until that can be read: run the sensor with the rights that it names",
    )
}

/// The proof: the kernel takes the program, into the smallest tables.
fn program() -> Finding {
    const CHECK: &str = "program";
    let options = LoadOptions {
        flow_buckets_per_cpu: 1,
        ..LoadOptions::fixed()
    };
    match Kernel::load(&options).and_then(|mut kernel| kernel.load_programs()) {
        Ok(()) => Finding::ok(CHECK, "the kernel takes it"),
        Err(cause) => Finding::stops(
            CHECK,
            format!("{cause:#}"),
            "report this with the kernel's version, unless a finding above explains it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Status;

    #[test]
    fn kernels_are_told_apart() {
        let status = |release| kernel(release).status;
        assert_eq!(status("6.18.44-fc-v657"), Status::Ok);
        assert_eq!(status("6.1.0-18-amd64"), Status::Degraded);
        assert_eq!(status("5.15.0"), Status::Degraded);
        assert_eq!(status("5.14.21-default"), Status::Stops);
        assert_eq!(status("a kernel"), Status::Degraded);
    }

    #[test]
    fn missing_capabilities_are_named() {
        let all = 1 << CAP_BPF | 1 << CAP_PERFMON | 1 << CAP_NET_ADMIN;
        assert!(of_mask(all).is_ok());
        assert!(of_mask(1 << CAP_SYS_ADMIN | 1 << CAP_NET_ADMIN).is_ok());
        assert_eq!(
            of_mask(1 << CAP_SYS_ADMIN).err(),
            Some(vec!["CAP_NET_ADMIN"])
        );
        let missing = of_mask(0).err().map(|names| names.len());
        assert_eq!(missing, Some(3));
    }

    #[test]
    fn old_kernels_lock_map_memory() {
        assert_eq!(memory_lock(Some((5, 15))).status, Status::Ok);
        assert_eq!(memory_lock(None).status, Status::Ok);
    }
}
