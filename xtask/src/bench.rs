//! The benchmarks: builds the programs to compare with, and starts the measuring.

use crate::{
    kernel,
    proc::{self, Result},
    run,
    setup::{self, TestTools},
};

pub fn command(args: &[String]) -> Result {
    setup::ensure(TestTools::No)?;
    let target = proc::target_dir()?.join("bench-ebpf");
    let mut cargo = kernel::cargo("build", &target);
    cargo
        .args(["--release", "--bin", "bench-ebpf", "--features", "bench"])
        // As for the sensor's own object: the linker writes BTF.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Cdebuginfo=2\x1f-Clink-arg=--btf",
        );
    proc::run(&mut cargo)?;
    let object = target.join(kernel::TRIPLE).join("release/bench-ebpf");
    run::tests_program_with("bench", args, &[("SENSOR_BENCH_OBJECT", &object)])
}
