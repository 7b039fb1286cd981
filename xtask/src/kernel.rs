//! cargo for the kernel program, which only builds for the BPF target.

use std::{path::Path, process::Command};

use crate::proc;

pub const TRIPLE: &str = if cfg!(target_endian = "big") {
    "bpfeb-unknown-none"
} else {
    "bpfel-unknown-none"
};

/// A cargo command on sensor-ebpf, with `core` built from source. Its target directory is its own:
/// build scripts that watch `RUSTC_BOOTSTRAP` would run anew at each change between the two.
pub fn cargo(verb: &str, target_dir: &Path) -> Command {
    let mut cargo = proc::cargo();
    cargo
        .args([verb, "--package", "sensor-ebpf", "--target", TRIPLE])
        .args(["-Z", "build-std=core", "--target-dir"])
        .arg(target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(proc::workspace_root().join("sensor-ebpf"));
    cargo
}
