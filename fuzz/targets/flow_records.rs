//! The readers of IPFIX, NetFlow and sFlow, and the packets that their records become.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sensor_capture::invariants::check_flow_records(data));
