//! All tests of the workspace.

use crate::{
    proc::{self, Result},
    setup::{self, TestTools},
};

pub fn command(args: &[String]) -> Result {
    setup::ensure(TestTools::IfPossible)?;
    run(args)
}

/// The default members are all but sensor-ebpf, which only builds for the BPF target.
pub fn run(args: &[String]) -> Result {
    // The tests of the whole run the sensor itself, which `cargo test` alone doesn't build.
    proc::run(proc::cargo().args(["build", "--package", "sensor"]))?;
    let result = proc::run(proc::cargo().arg("test").arg("--").args(args));
    if !proc::is_root() {
        println!(
            "not root: the tests that load the sensor into the kernel or make network namespaces \
             were left out; run them by `sudo -E env PATH=$PATH cargo xtask test`"
        );
    }
    result
}
