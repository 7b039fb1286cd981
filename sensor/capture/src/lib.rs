//! Sources of packets: the kernel program, or capture files through the same code, and the loop that
//! feeds the engine from captures.

pub mod batch;
#[cfg(any(test, feature = "invariants"))]
pub mod invariants;
pub mod kernel;
pub mod netlink;
pub mod pcap;
pub mod player;
pub mod software;
