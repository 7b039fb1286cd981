//! Where packets come from: the kernel program, or capture files through the same code.

pub mod kernel;
pub mod pcap;
pub mod software;
