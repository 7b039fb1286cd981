//! Sources that were asked by a cookie whether they are real: what came again, and who answered.

use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use sensor_common::block::known;
use sensor_common::packet::Packet;
use sensor_common::shield::retries::Places;

use crate::{events, globals, maps, peers};

/// True where the very SYN came a moment ago; takes note of it.
#[inline(always)]
pub fn came_before(packet: &Packet, now_ns: u64) -> bool {
    let hash = known::hash_received(packet, globals::seed());
    let places = Places::of(hash, now_ns);
    let word = |place| maps::RETRIES.get(place).copied().unwrap_or_default();
    let (now, before) = (word(places.now), word(places.before));
    if let Some(place) = maps::RETRIES.get_ptr_mut(places.now) {
        // SAFETY: the kernel's own pointer to a map value. CPUs may race for it: a SYN is forgotten.
        unsafe { place.write_volatile(places.with(now)) };
    }
    places.is_known(now, before)
}

/// Takes note, here and for the agent, that the source of a packet acknowledged a cookie.
#[inline(always)]
pub fn note_met(ctx: &XdpContext, packet: &Packet, now_ns: u64) {
    peers::prove(&packet.source, now_ns);
    // SAFETY: the context is the kernel's own; the verifier rewrites the load.
    let (bytes, ifindex) = unsafe {
        (
            bpf_xdp_get_buff_len(ctx.ctx) as u32,
            (*ctx.ctx).ingress_ifindex,
        )
    };
    events::tell_proven(packet, now_ns, bytes, ifindex);
}
