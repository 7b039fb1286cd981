//! The packet parser.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sensor_common::packet::invariants::check(data));
