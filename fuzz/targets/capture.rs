//! The reader of pcap and pcapng, plain and compressed.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sensor_capture::laws::check_capture(data));
