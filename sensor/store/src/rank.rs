//! Choice of the flows that are kept while there are too many: those of the lowest ranks. The store of flows
//! and the ring of packets rank alike, so that what one keeps of a flood the other has as well (a coordinated
//! sample: E. Cohen, H. Kaplan, "Summarizing Data using Bottom-k Sketches", PODC 2007).

use std::net::IpAddr;

use sensor_common::flow::hash_ends;
use sensor_engine::from_ip;

/// Protocols with ports: TCP, UDP, DCCP, SCTP, UDP-Lite (IANA).
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// True of a protocol whose packets have ports.
#[must_use]
pub fn has_ports(protocol: u8) -> bool {
    WITH_PORTS.contains(&protocol)
}

/// Rank of a flow, the same for both directions. No secret: whoever chooses the ranks of his own flows no
/// more than takes the room that he would take by their number.
#[must_use]
pub fn rank(one: (IpAddr, u16), other: (IpAddr, u16), protocol: u8) -> u64 {
    let port = |port: u16| if has_ports(protocol) { port } else { 0 };
    let (a, b) = (from_ip(one.0), from_ip(other.0));
    hash_ends((&a, port(one.1)), (&b, port(other.1)), protocol, 0)
}

/// Part of a room that a rank may fill, where what is taken can't be given back: half of it is open to
/// all, half of the rest to one in sixteen, and so on. What is left to low ranks lasts eight times the pace
/// with every step.
#[must_use]
pub const fn share(room: u32, rank: u64) -> u32 {
    match rank.leading_zeros() / 4 {
        0 => room - room / 2,
        1 => room - room / 4,
        2 => room - room / 8,
        _ => room,
    }
}
