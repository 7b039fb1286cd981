//! Builds the eBPF object, which the agent embeds.

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sensor-ebpf");
    println!("cargo:rerun-if-changed=../../sensor-common/src");
    // SAFETY: a build script has one thread here. The eBPF target needs core built from source,
    // which a stable toolchain only does when told so; nothing else in the build is.
    unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "1") };
    // What the inner build says of its progress would be shown as warnings of this one; its own
    // warnings and errors still are.
    // SAFETY: as above.
    unsafe { std::env::set_var("CARGO_TERM_QUIET", "true") };
    let features: &[&str] = match std::env::var_os("CARGO_FEATURE_KERNEL_LOG") {
        Some(_) => &["kernel-log"],
        None => &[],
    };
    let package = aya_build::Package {
        name: "sensor-ebpf",
        root_dir: root,
        features,
        ..Default::default()
    };
    // The toolchain that runs this build: rustup names it, be it the pin or an override.
    let toolchain = std::env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "1.95.0".to_owned());
    aya_build::build_ebpf([package], aya_build::Toolchain::Custom(&toolchain))
        .context("build of the eBPF object failed: run `cargo xtask setup`, which installs the pinned bpf-linker and rust-src")
}
