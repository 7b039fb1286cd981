//! The table of sources that are proven real.

use sensor_common::Address;
use sensor_common::block::Asked;
use sensor_common::counters::Outcome;
use sensor_common::flow::Sequence as _;
use sensor_common::shield::peers;

use crate::{globals, maps};

/// Takes note that the peer of a connection that this host carries is real. What a router passes on tells
/// nothing of the kind.
#[inline(always)]
pub fn note_proven(asked: &Asked<'_>) {
    let is_own = maps::scratch().is_some_and(|scratch| scratch.came_in == 0);
    if is_own && asked.packet.is(Outcome::Tcp) {
        prove(&asked.packet.destination, asked.now_ns);
    }
}

/// Takes note of a proof for a source.
#[inline(always)]
pub fn prove(source: &Address, now_ns: u64) {
    let hash = peers::hash(source, globals::seed());
    if let Some(peers) = maps::PEERS.get_ptr_mut(peers::bucket(hash)) {
        // SAFETY: the kernel's own pointer to a map value. CPUs may race for it: a proof is lost.
        unsafe { (*peers).prove(hash, now_ns, globals::Announce::opaque) };
    }
}

/// Takes one connection from what a source has left; false where it has none.
#[inline(always)]
pub fn spend(source: &Address, now_ns: u64) -> bool {
    let hash = peers::hash(source, globals::seed());
    match maps::PEERS.get_ptr_mut(peers::bucket(hash)) {
        // SAFETY: as above.
        Some(peers) => unsafe { (*peers).spend(hash, now_ns, globals::Announce::opaque) },
        None => false,
    }
}
