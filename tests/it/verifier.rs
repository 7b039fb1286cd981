//! Room that the programs leave in the verifier's limits. Needs root.

use sensor_capture::kernel::{Kernel, LoadOptions};
use sensor_tests::needs_root;

/// The verifier gives up after a million instructions; older kernels, which know fewer states to be
/// equal, look at more than this one.
const MOST_VERIFIED: u32 = 800_000;

#[test]
fn the_verifier_has_room_to_spare() {
    needs_root();
    let mut kernel = Kernel::load(&LoadOptions::fixed()).unwrap();
    kernel.load_programs().unwrap();
    let shields = kernel.shield_maps().unwrap();
    assert_eq!(shields.programs.map(|ways| ways.len()), Ok(2));
    for (name, program) in kernel.ebpf.programs() {
        let info = program.info().unwrap();
        let n = info.verified_instruction_count();
        let size = info.size_translated();
        eprintln!("{name}: {n:?} instructions verified, {size:?} bytes");
        // Kernels before 5.16 don't say.
        assert!(n.is_none_or(|n| n < MOST_VERIFIED), "{name}: {n:?}");
    }
}
