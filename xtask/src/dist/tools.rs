//! Programs that make packages, pinned, in a folder of their own.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::{
    proc::{self, Result},
    rust_src,
    step::{Outcome, Step},
};

/// From the crate registry.
const CRATES: &[(&str, &str)] = &[
    ("cargo-deb", "3.8.0"),
    ("cargo-generate-rpm", "0.21.1"),
    ("cargo-cyclonedx", "0.5.9"),
];

/// From PyPI: a C compiler and linker that bring musl for every architecture, and cargo's way to them.
const WHEELS: &[(&str, &str)] = &[("ziglang", "0.17.1"), ("cargo-zigbuild", "0.24.1")];

/// Folder that the programs are in.
pub struct Tools(PathBuf);

impl Tools {
    /// The search path with them in front.
    pub fn path(&self) -> Result<OsString> {
        let own = [self.0.join("bin"), self.0.join("venv/bin")];
        let path = env::var_os("PATH").unwrap_or_default();
        env::join_paths(own.into_iter().chain(env::split_paths(&path)))
            .map_err(|error| format!("PATH: {error}"))
    }
}

type Action = fn(&Step, &Path) -> Result<Outcome>;

pub fn ensure() -> Result<Tools> {
    let folder = proc::target_dir()?.join("dist-tools");
    let steps: [(&str, Action); 3] = [
        ("Rust for musl", musl),
        ("zig, cargo-zigbuild", wheels),
        ("cargo-deb, cargo-generate-rpm, cargo-cyclonedx", crates),
    ];
    let total = steps.len();
    for (index, (name, action)) in steps.into_iter().enumerate() {
        let step = Step::start(index + 1, total, name);
        let outcome = action(&step, &folder);
        step.finish(&outcome);
        outcome?;
    }
    Ok(Tools(folder))
}

fn musl(step: &Step, _: &Path) -> Result<Outcome> {
    let sysroot = rust_src::sysroot()?;
    let mut missing = super::ARCHITECTURES
        .iter()
        .map(|architecture| architecture.triple)
        .filter(|triple| !sysroot.join("lib/rustlib").join(triple).is_dir())
        .peekable();
    if missing.peek().is_none() {
        return Ok(Outcome::Present);
    }
    step.note("rustup target add");
    proc::capture(
        proc::command("rustup")
            .args(["target", "add"])
            .args(missing),
    )?;
    Ok(Outcome::Done("installed".into()))
}

fn wheels(step: &Step, folder: &Path) -> Result<Outcome> {
    let venv = folder.join("venv");
    let pins: Vec<String> = WHEELS
        .iter()
        .map(|(name, version)| format!("{name}=={version}"))
        .collect();
    let freeze = proc::capture(proc::command(venv.join("bin/pip")).arg("freeze"));
    if freeze.is_ok_and(|printed| {
        pins.iter()
            .all(|pin| printed.lines().any(|line| line == pin))
    }) {
        return Ok(Outcome::Present);
    }
    step.note("pip install, takes a minute");
    proc::capture(proc::command("python3").args(["-m", "venv"]).arg(&venv)).map_err(|error| {
        format!("{error}\nit needs Python with venv (packages python3 and python3-venv)")
    })?;
    proc::capture(
        proc::command(venv.join("bin/pip"))
            .arg("install")
            .args(pins),
    )?;
    Ok(Outcome::Done("installed".into()))
}

fn crates(step: &Step, folder: &Path) -> Result<Outcome> {
    let mut outcome = Outcome::Present;
    for (name, version) in CRATES {
        let list = proc::capture(
            proc::cargo()
                .args(["install", "--list", "--root"])
                .arg(folder),
        )?;
        if list.contains(&format!("{name} v{version}:")) {
            continue;
        }
        step.note(&format!("cargo install {name}, takes a minute or two"));
        let mut install = proc::cargo();
        // Unoptimised they are built in half the time.
        install
            .args(["install", name, "--version", version])
            .args(["--locked", "--debug", "--root"])
            .arg(folder);
        proc::capture(&mut install)?;
        outcome = Outcome::Done("installed".into());
    }
    Ok(outcome)
}
