//! The reader of pcap and pcapng, plain and compressed.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sensor_capture::invariants::check_capture(data));
