//! Log line for each packet, for debugging the program. Compiled in by the feature `kernel-log`
//! alone.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::debug;
use sensor_common::arrival::Way;
use sensor_common::datapath::Verdict;

use crate::maps;
use crate::maps::Scratch;

/// One line about a packet that went all the way. `outcome` is a number of
/// [`sensor_common::counters::Outcome`].
#[inline(always)]
pub fn packet<C: EbpfContext>(ctx: &C, way: Way, verdict: Verdict) {
    let Some(Scratch { packet, .. }) = maps::scratch() else {
        return;
    };
    debug!(
        ctx,
        "egress {} outcome {} protocol {} ports {} to {} dropped {}",
        way as u32,
        packet.outcome,
        packet.protocol,
        packet.source_port,
        packet.destination_port,
        u32::from(verdict == Verdict::Drop)
    );
}

/// One line about a packet that was dropped unread, its source being blocked.
#[inline(always)]
pub fn dropped_at_once<C: EbpfContext>(ctx: &C) {
    debug!(ctx, "dropped by its source");
}
