//! Debian packages that recipes need: which, whether they are there, in which versions.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::recipe::{Scenario, State};
use super::recipes::background;

/// Packages of the programs that the frame itself and the shell of the recipes run.
const ALWAYS: [&str; 5] = ["iproute2", "ethtool", "coreutils", "util-linux", "procps"];

/// Packages of one scenario.
pub fn of(scenario: &Scenario) -> BTreeSet<&'static str> {
    let recipe = scenario.recipe;
    let services = recipe.services.iter();
    let mut all: BTreeSet<&str> = ALWAYS
        .into_iter()
        .chain(recipe.packages.iter().copied())
        .collect();
    all.extend(services.flat_map(|service| service.program.packages));
    if recipe.has_nat || scenario.variant.state == State::Silent {
        all.insert("nftables");
    }
    if scenario.variant.has_background {
        let services = background::SERVICES.iter();
        all.extend(services.flat_map(|service| service.program.packages));
        all.extend(background::PACKAGES);
    }
    all
}

/// Versions of those that are installed.
///
/// # Errors
/// Without `dpkg-query`: the range runs Debian's programs.
pub fn versions(names: &BTreeSet<&'static str>) -> Result<BTreeMap<&'static str, String>> {
    let output = Command::new("dpkg-query")
        .args([
            "--show",
            "--showformat=${Package} ${db:Status-Status} ${Version}\n",
        ])
        .args(names)
        .stderr(Stdio::null())
        .output()
        .context("dpkg-query could not be started: the range runs programs from Debian")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut versions = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(name), Some("installed"), Some(version)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        if let Some(name) = names.get(name) {
            versions.insert(*name, version.to_owned());
        }
    }
    Ok(versions)
}

/// Installs what is missing, told on standard error; their services are not started.
///
/// # Errors
/// When it can't be installed; the message names the packages.
pub fn install(names: &BTreeSet<&'static str>) -> Result<()> {
    let there = versions(names)?;
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !there.contains_key(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!(
        "installing {} Debian packages that the chosen recipes run: {}",
        missing.len(),
        missing.join(" ")
    );
    let _silencer = Silencer::new()?;
    apt_get(&["update"])?;
    apt_get(
        &[
            &["install", "--yes", "--no-install-recommends"],
            &missing[..],
        ]
        .concat(),
    )?;
    let there = versions(names)?;
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !there.contains_key(name))
        .collect();
    if !missing.is_empty() {
        bail!("not installed after apt-get install: {}", missing.join(" "));
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .arg("--quiet")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("apt-get could not be started; install the packages by hand")?;
    if !output.status.success() {
        bail!(
            "apt-get {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Keeps packages from starting their services while it lives (`policy-rc.d`, Debian Policy 9.3.3).
struct Silencer {
    is_ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl Silencer {
    fn new() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let is_ours = !std::path::Path::new(POLICY).exists();
        if is_ours {
            std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").context(POLICY)?;
            std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { is_ours })
    }
}

impl Drop for Silencer {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = std::fs::remove_file(POLICY);
        }
    }
}
