//! Where packets come from: the kernel program, or capture files through the same code.

pub mod batch;
pub mod kernel;
#[cfg(any(test, feature = "laws"))]
pub mod laws;
pub mod pcap;
pub mod software;
