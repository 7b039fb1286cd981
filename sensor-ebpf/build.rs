//! Tells the linker, which generates the code, that loads need no alignment (the verifier accepts
//! them on x86-64 and arm64): headers behind a 14-byte Ethernet header have none.
//!
//! Not `alu32`: without the 32-bit jumps of the same instruction set (v3), which can't be asked
//! for here, LLVM 22 compares 32-bit values with sign-extended constants, and `x == 0xffff_0000`
//! is never true.

fn main() {
    println!("cargo:rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
    println!("cargo:rerun-if-changed=build.rs");
}
