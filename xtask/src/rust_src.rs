//! The standard library's sources, from which cargo builds `core` for the BPF target.

use std::{
    env, fs,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
};

use crate::{
    apt::{self, PrivateApt},
    proc::{self, Result},
    setup::{Outcome, Step, pinned_toolchain},
};

/// The Debian suite that has a source package for each recent Rust release.
const SUITE: &str = "trixie-backports";

pub fn ensure(step: &Step) -> Result<Outcome> {
    let place = place()?;
    if is_complete(&place) {
        return Ok(Outcome::Present);
    }
    let cached = cache_dir()?.join(format!("rust-src-{}", pinned_toolchain()?));
    if !is_complete(&cached) {
        let rustup = match add_component(step) {
            Ok(()) if is_complete(&place) => return Ok(Outcome::Done("added by rustup".into())),
            // rustc may come before rustup's in PATH, and then has sources of its own to get.
            Ok(()) => format!("added rust-src, but not to {}", place.display()),
            Err(error) => error,
        };
        fetch_from_debian(step, &cached).map_err(|debian| both_failed(&rustup, &debian))?;
    }
    link(&cached, &place)?;
    Ok(Outcome::Done(format!("linked to {}", cached.display())))
}

fn place() -> Result<PathBuf> {
    let sysroot = proc::capture(proc::command("rustc").args(["--print", "sysroot"]))?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib/src/rust"))
}

/// cargo's build-std reads this lock file, and complains of nothing else when sources are missing.
fn is_complete(sources: &Path) -> bool {
    sources.join("library/Cargo.lock").is_file()
}

fn toolchain() -> Result<String> {
    // cargo's rustup proxy says which toolchain it chose; that is the one the build will use.
    env::var("RUSTUP_TOOLCHAIN").or_else(|_| pinned_toolchain().map(str::to_owned))
}

fn add_component(step: &Step) -> Result {
    step.note("rustup component add rust-src");
    let toolchain = toolchain()?;
    proc::capture(
        // A backtrace asked for in the tests would bury rustup's one line of reason.
        proc::command("rustup").env_remove("RUST_BACKTRACE").args([
            "component",
            "add",
            "rust-src",
            "--toolchain",
            &toolchain,
        ]),
    )
    .map(drop)
}

fn fetch_from_debian(step: &Step, cached: &Path) -> Result {
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        proc::find_program(program)
            .ok_or_else(|| format!("no {program}: not a Debian-like machine"))?;
    }
    let archives = apt::machine_archives();
    let mut errors = Vec::new();
    for archive in &archives {
        step.note(&format!("rust-src from {SUITE}"));
        let scratch = Scratch::new()?;
        let downloaded = PrivateApt::open(&scratch.0, archive, SUITE)
            .and_then(|apt| apt.download("rust-src", pinned_toolchain()?));
        match downloaded {
            Ok(package) => return unpack(&package, cached),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        errors.push("the apt sources in /etc/apt name no archive with a main component".into());
    }
    Err(errors.join("\n"))
}

/// Unpacks beside the final place and renames, so that an interrupted run leaves nothing half done.
fn unpack(package: &Path, cached: &Path) -> Result {
    let staging = cached.with_extension("unpacking");
    remove_tree(&staging)?;
    fs::create_dir_all(&staging)
        .map_err(|error| format!("cannot create {}: {error}", staging.display()))?;
    proc::capture(
        proc::command("dpkg-deb")
            .arg("-x")
            .arg(package)
            .arg(&staging),
    )?;
    let sources = staging.join(format!("usr/src/rustc-{}", pinned_toolchain()?));
    if !is_complete(&sources) {
        return Err("the rust-src package has no library/Cargo.lock where it should be".into());
    }
    remove_tree(cached)?;
    // The package also has the compiler's sources, several times as large and of no use here.
    fs::create_dir_all(cached)
        .and_then(|()| fs::rename(sources.join("library"), cached.join("library")))
        .map_err(|error| format!("cannot fill {}: {error}", cached.display()))?;
    remove_tree(&staging)
}

fn link(cached: &Path, place: &Path) -> Result {
    let explain = |error| {
        format!(
            "cannot link {} to {}: {error}; remove it by hand, or run setup as the user who owns \
             the toolchain",
            place.display(),
            cached.display()
        )
    };
    if place.is_symlink() {
        fs::remove_file(place).map_err(explain)?;
    }
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).map_err(explain)?;
    }
    symlink(cached, place).map_err(explain)
}

fn cache_dir() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .ok_or("neither HOME nor XDG_CACHE_HOME is set; set one, downloads are kept below it")?;
    Ok(base.join("sensor-xtask"))
}

fn remove_tree(path: &Path) -> Result {
    match fs::remove_dir_all(path) {
        Err(error) if path.exists() => Err(format!("cannot remove {}: {error}", path.display())),
        _ => Ok(()),
    }
}

fn both_failed(rustup: &str, debian: &str) -> String {
    let toolchain = toolchain().unwrap_or_default();
    format!(
        "no rust-src\n  rustup: {rustup}\n  debian: {debian}\n\
         put the machine online and run `rustup component add rust-src --toolchain {toolchain}`"
    )
}

/// A directory under the system's temporary one, where apt's unprivileged downloader can reach it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let dir = env::temp_dir().join(format!("sensor-xtask-{}", std::process::id()));
        // create fails if anything is there: nobody can prepare the directory for us.
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&dir)
            .map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
