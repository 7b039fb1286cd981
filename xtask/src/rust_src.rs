//! The standard library's sources, from which cargo builds `core` for the BPF target.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::{
    proc::{self, Result},
    step::{Outcome, Step},
    toolchain::pinned_toolchain,
};

pub fn ensure(step: &Step) -> Result<Outcome> {
    let place = place()?;
    if is_complete(&place) {
        return Ok(Outcome::Present);
    }
    let toolchain = toolchain()?;
    let add = ["component", "add", "rust-src", "--toolchain", &toolchain];
    step.note(&format!("rustup {}", add.join(" ")));
    // A backtrace asked for in the tests would bury rustup's one line of reason.
    let mut rustup = proc::command("rustup");
    proc::capture(rustup.env_remove("RUST_BACKTRACE").args(add)).map_err(|error| {
        format!(
            "{error}\nput the machine online once and run `rustup {}`; a toolchain that is not \
             rustup's needs its package of the sources (Debian: rust-src), unpacked to {}",
            add.join(" "),
            place.display()
        )
    })?;
    if is_complete(&place) {
        return Ok(Outcome::Done("added by rustup".into()));
    }
    Err(format!(
        "rustup added rust-src to {toolchain}, but rustc looks in {}; put rustup's bin directory \
         (~/.cargo/bin) first in PATH",
        place.display()
    ))
}

/// Directory in which cargo's build-std looks for the sources.
fn place() -> Result<PathBuf> {
    Ok(sysroot()?.join("lib/rustlib/src/rust"))
}

/// Folder of the toolchain.
pub fn sysroot() -> Result<PathBuf> {
    let printed = proc::capture(proc::command("rustc").args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(printed.trim()))
}

/// cargo's build-std reads this lock file, and complains of nothing else when sources are missing.
fn is_complete(sources: &Path) -> bool {
    sources.join("library/Cargo.lock").is_file()
}

/// Name of the toolchain that the build will use: the one that cargo's rustup proxy chose.
fn toolchain() -> Result<String> {
    env::var("RUSTUP_TOOLCHAIN").or_else(|_| pinned_toolchain().map(str::to_owned))
}
