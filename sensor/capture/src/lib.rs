//! Sources of packets: the kernel program, or capture files through the same code, and the loop that
//! feeds the engine from captures.

pub mod batch;
pub mod kernel;
#[cfg(any(test, feature = "laws"))]
pub mod laws;
pub mod pcap;
pub mod player;
pub mod software;
