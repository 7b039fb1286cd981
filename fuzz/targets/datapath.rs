//! The datapath in user space: flow cache, host rows, counters.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sensor_capture::invariants::check_datapath(data));
