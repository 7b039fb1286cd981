//! The benchmarks: builds the programs to compare with, and starts the measuring.

use crate::{
    proc::{self, Result},
    run,
    setup::{self, TestTools},
};

pub fn command(args: &[String]) -> Result {
    setup::ensure(TestTools::No)?;
    let target = proc::target_dir()?.join("bench-ebpf");
    let triple = if cfg!(target_endian = "big") {
        "bpfeb-unknown-none"
    } else {
        "bpfel-unknown-none"
    };
    let mut cargo = proc::cargo();
    cargo
        .args(["build", "--release", "--package", "sensor-ebpf"])
        .args(["--bin", "bench-ebpf", "--features", "bench"])
        .args(["--target", triple, "-Z", "build-std=core", "--target-dir"])
        .arg(&target)
        // As for the sensor's own object: core is built from source, the linker writes BTF.
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Cdebuginfo=2\x1f-Clink-arg=--btf",
        )
        .current_dir(proc::workspace_root().join("sensor-ebpf"));
    proc::run(&mut cargo)?;
    let object = target.join(triple).join("release/bench-ebpf");
    run::tests_program_with("bench", args, &[("SENSOR_BENCH_OBJECT", &object)])
}
