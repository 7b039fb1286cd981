//! Tells the linker, which generates the code, what it may use: 32-bit registers (kernel 5.1) and
//! loads without alignment (the verifier accepts them on x86-64 and arm64), which headers behind a
//! 14-byte Ethernet header need.

fn main() {
    println!("cargo:rustc-link-arg-bins=--cpu-features=+alu32,+allows-misaligned-mem-access");
    println!("cargo:rerun-if-changed=build.rs");
}
