//! Preparation of a machine: all that building the workspace and running its tests need.
//!
//! Every step looks first, so setup is quick and needs no network once it has succeeded.

use std::{fs, process::Stdio};

use crate::{
    proc::{self, Result},
    rust_src,
    step::{Outcome, Step},
    toolchain::pinned_toolchain,
};

/// Links BPF programs; the version has to fit the LLVM of the pinned toolchain.
const BPF_LINKER: &str = "0.10.3";

/// Judges licences and sources of dependencies; only CI asks for it.
const CARGO_DENY: &str = "0.20.2";

const BPFFS: &str = "/sys/fs/bpf";

/// Programs the tests drive, with the Debian packages that have them.
const TEST_TOOLS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("ethtool", "ethtool"),
    ("nmap", "nmap"),
    ("hping3", "hping3"),
    ("iperf3", "iperf3"),
    ("dropbear", "dropbear-bin"),
    ("ssh", "openssh-client"),
    ("sshpass", "sshpass"),
    ("python3", "python3"),
    ("curl", "curl"),
    ("sshd", "openssh-server"),
    ("chronyd", "chrony"),
    ("openssl", "openssl"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("logrotate", "logrotate"),
];

/// Set-up of the programs that only tests use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TestTools {
    No,
    /// Tests that miss a tool skip themselves, so going on without is better than stopping.
    IfPossible,
    Required,
}

type Action = (String, fn(&Step) -> Result<Outcome>);

pub fn command(args: &[String]) -> Result {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => ensure(TestTools::No),
        ["--test-tools"] => ensure(TestTools::Required),
        _ => Err(format!(
            "setup takes only --test-tools, not `{}`",
            args.join(" ")
        )),
    }
}

pub fn ensure(test_tools: TestTools) -> Result {
    let mut steps: Vec<Action> = vec![
        (format!("toolchain {}", pinned_toolchain()?), toolchain),
        ("rust-src".into(), rust_src::ensure),
        (format!("bpf-linker {BPF_LINKER}"), bpf_linker),
        (format!("bpffs at {BPFFS}"), |_| Ok(bpffs())),
    ];
    match test_tools {
        TestTools::No => {}
        TestTools::IfPossible => steps.push(("test tools".into(), |step| {
            Ok(tools(step).unwrap_or_else(Outcome::Skipped))
        })),
        TestTools::Required => steps.push(("test tools".into(), tools)),
    }
    let total = steps.len();
    for (index, (name, action)) in steps.into_iter().enumerate() {
        let step = Step::start(index + 1, total, &name);
        let outcome = action(&step);
        step.finish(&outcome);
        outcome?;
    }
    Ok(())
}

fn toolchain(_: &Step) -> Result<Outcome> {
    let pin = pinned_toolchain()?;
    let printed = proc::capture(proc::command("rustc").arg("--version"))?;
    match version_in(&printed) {
        Some(version) if version == pin => Ok(Outcome::Present),
        _ => Err(format!(
            "rustc is `{}`, and the pin is {pin}; run `rustup toolchain install {pin}`, and unset \
             RUSTUP_TOOLCHAIN if it names another",
            printed.trim()
        )),
    }
}

fn bpf_linker(step: &Step) -> Result<Outcome> {
    cargo_install(step, "bpf-linker", BPF_LINKER, &[])
}

/// Installs the pinned cargo-deny where it is missing, with a line of progress.
pub fn ensure_cargo_deny() -> Result {
    let step = Step::start(1, 1, &format!("cargo-deny {CARGO_DENY}"));
    // Unoptimised it is built in half the time, and the check takes two seconds.
    let options = ["--debug", "--no-default-features"];
    let outcome = cargo_install(&step, "cargo-deny", CARGO_DENY, &options);
    step.finish(&outcome);
    outcome.map(drop)
}

fn cargo_install(step: &Step, name: &str, version: &str, options: &[&str]) -> Result<Outcome> {
    let installed = || proc::capture(proc::command(name).arg("--version"));
    let is_pinned = |printed: &String| version_in(printed) == Some(version);
    if installed().as_ref().is_ok_and(is_pinned) {
        return Ok(Outcome::Present);
    }
    step.note("cargo install, takes a minute or two");
    // --force replaces a binary that cargo has no record of.
    let pin = ["install", name, "--version", version, "--locked", "--force"];
    proc::capture(proc::cargo().args(pin).args(options)).map_err(|error| {
        format!("{error}\nit needs a C compiler (package gcc) and, this once, the crate registry")
    })?;
    match installed() {
        Ok(printed) if is_pinned(&printed) => Ok(Outcome::Done("installed".into())),
        _ => Err(format!(
            "{name} {version} is installed, but PATH leads to another or to none; put \
             cargo's bin directory (~/.cargo/bin) first in PATH"
        )),
    }
}

/// Building goes on without it, so nothing here is a failure.
fn bpffs() -> Outcome {
    if is_bpffs_mounted() {
        return Outcome::Present;
    }
    let mount = format!("mount -t bpf bpf {BPFFS}");
    if !proc::is_root() {
        return Outcome::Skipped(format!("needs root; run `sudo {mount}`"));
    }
    match mount_bpffs(&mut proc::command("mount")) {
        Ok(()) => Outcome::Done("mounted".into()),
        Err(error) => Outcome::Skipped(format!(
            "{error}\n    the sensor cannot pin its maps; run `{mount}` where mounting is allowed"
        )),
    }
}

pub fn is_bpffs_mounted() -> bool {
    fs::read_to_string("/proc/mounts").is_ok_and(|mounts| has_bpffs(&mounts))
}

fn has_bpffs(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(BPFFS) && fields.next() == Some("bpf")
    })
}

/// Takes `mount`, or whatever runs it with the rights it needs.
pub fn mount_bpffs(mount: &mut std::process::Command) -> Result {
    proc::capture(mount.args(["-t", "bpf", "bpf", BPFFS])).map(drop)
}

fn tools(step: &Step) -> Result<Outcome> {
    let missing = missing_packages();
    if missing.is_empty() {
        return Ok(Outcome::Present);
    }
    let packages = missing.join(" ");
    let remedy = format!("run `sudo apt-get install {packages}`, or what your system has for it");
    if !proc::is_root() || proc::find_program("apt-get").is_none() {
        return Err(format!("missing: {packages}; {remedy}"));
    }
    step.note(&format!("apt-get install {packages}"));
    apt_get(&["update"])
        .and_then(|()| {
            apt_get(
                &[
                    &["install", "--yes", "--no-install-recommends"],
                    &missing[..],
                ]
                .concat(),
            )
        })
        .map_err(|error| format!("{error}\n{remedy}"))?;
    match missing_packages()[..] {
        [] => Ok(Outcome::Done(format!("installed {packages}"))),
        ref still => Err(format!(
            "installed, but still not found: {}",
            still.join(" ")
        )),
    }
}

fn missing_packages() -> Vec<&'static str> {
    TEST_TOOLS
        .iter()
        .filter(|(program, _)| proc::find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect()
}

fn apt_get(args: &[&str]) -> Result {
    let mut command = proc::command("apt-get");
    // Some of the packages ask questions when installed from a terminal.
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .arg("--quiet")
        .args(args);
    proc::capture(command.stdin(Stdio::null())).map(drop)
}

/// The first word that starts with a digit: `1.95.0` of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn version_in(printed: &str) -> Option<&str> {
    printed
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_what_programs_print() {
        assert_eq!(
            version_in("rustc 1.95.0 (59807616e 2026-04-14)\n"),
            Some("1.95.0")
        );
        assert_eq!(version_in("bpf-linker 0.10.3\n"), Some("0.10.3"));
        assert_eq!(version_in("command not found"), None);
        assert_eq!(version_in(""), None);
    }

    #[test]
    fn a_longer_version_is_not_the_pinned_one() {
        assert_ne!(version_in("bpf-linker 0.10.30"), Some("0.10.3"));
        assert_ne!(version_in("rustc 1.95.0-nightly (abc)"), Some("1.95.0"));
    }

    #[test]
    fn bpffs_counts_only_at_its_place() {
        assert!(has_bpffs(
            "sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw,relatime 0 0\n"
        ));
        assert!(!has_bpffs("bpf /mnt/bpf bpf rw 0 0\n"));
        assert!(!has_bpffs("none /sys/fs/bpf tmpfs rw 0 0\n"));
        assert!(!has_bpffs(""));
    }

    #[test]
    fn unknown_setup_arguments_are_named() {
        let error = command(&["--all".into()]).unwrap_err();
        assert!(error.contains("--all"), "{error}");
    }
}
