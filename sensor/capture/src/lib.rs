//! Sources of packets: the kernel program, or capture files through the same code, and the loop that
//! feeds the engine from either.

pub mod apart;
mod batch;
pub mod drive;
mod flow_claims;
pub mod flow_input;
mod flow_player;
pub mod flow_reader;
#[cfg(any(test, feature = "invariants"))]
pub mod invariants;
pub mod kernel;
pub mod netlink;
pub mod pcap;
pub mod player;
pub mod software;
