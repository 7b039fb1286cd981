use aya::programs::{SchedClassifier, Xdp};
use sensor::capture::kernel::{Kernel, LoadOptions};
fn main() {
    let mut kernel = Kernel::load(&LoadOptions::fixed()).unwrap();
    for name in ["sensor_xdp", "sensor_xdp_frags"] {
        let p: &mut Xdp = kernel.ebpf.program_mut(name).unwrap().try_into().unwrap();
        let t = std::time::Instant::now();
        match p.load() {
            Ok(()) => println!(
                "{name} {:?} {:?}",
                p.info().unwrap().verified_instruction_count(),
                t.elapsed()
            ),
            Err(e) => {
                let s = format!("{e}");
                println!(
                    "{name} {} ... {}",
                    &s[..200.min(s.len())],
                    &s[s.len().saturating_sub(300)..]
                )
            }
        }
    }
    let p: &mut SchedClassifier = kernel
        .ebpf
        .program_mut("sensor_egress")
        .unwrap()
        .try_into()
        .unwrap();
    p.load().unwrap();
    println!(
        "egress {:?}",
        p.info().unwrap().verified_instruction_count()
    );
}
