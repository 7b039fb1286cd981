//! The way of a packet within a tunnel, in functions that other objects could call, as
//! `sensor_search_blocks` is one. The verifier looks at each once, whatever led there, and each has a
//! stack of its own: all that call each other have 512 bytes together. Packets that are in no tunnel
//! pay nothing for them.

use sensor_common::arrival::{Arrival, Way};
use sensor_common::block::Level;
use sensor_common::datapath::{InnerShare, Verdict};
use sensor_common::flow::Outer;

use crate::blocklist::{sensor_note_sent, sensor_search_blocks};
use crate::maps::Scratch;
use crate::process::{
    DROPPED, IS_LOOKED_FOR, PASSES, TOLD, arrival, flags, keep, sensor_rule, way,
};
use crate::{globals, maps, tables};

/// Fate of the packet around it, and of it.
pub struct ByInner {
    pub verdict: Verdict,
    /// The event is in the scratch memory.
    pub is_told: bool,
}

/// Takes the packet within, where one was read, through its steps, once the packet around it went
/// through its own with that verdict. A packet that gave rise to an event already gives no second.
#[inline(always)]
pub fn inner(way: Way, arrival: &Arrival, verdict: Verdict, is_told: bool) -> ByInner {
    let flags = flags(way, arrival) | (u64::from(verdict == Verdict::Drop) * DROPPED);
    let (bytes, ifindex) = (arrival.bytes as u64, arrival.ifindex as u64);
    let mut result = sensor_begin_inner(arrival.now_ns, bytes, flags);
    if result & IS_LOOKED_FOR != 0 {
        let what = sensor_search_blocks(arrival.now_ns, bytes, Level::Inner as u64);
        result = sensor_rule(arrival.now_ns, bytes, what, Level::Inner as u64);
    }
    if result & PASSES != 0 {
        let share = sensor_record_inner(arrival.now_ns, bytes, ifindex, flags);
        sensor_count_inner(arrival.now_ns, bytes, share, flags);
        if way == Way::Egress {
            sensor_note_sent(arrival.now_ns, bytes, Level::Inner as u64);
        }
        result = if is_told {
            0
        } else {
            sensor_tell_inner(arrival.now_ns, bytes)
        };
    }
    ByInner {
        verdict: if result & DROPPED != 0 {
            Verdict::Drop
        } else {
            Verdict::Pass
        },
        is_told: result & TOLD != 0,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_begin_inner(now_ns: u64, bytes: u64, flags: u64) -> u64 {
    let Some(Scratch {
        packet,
        inner,
        outer,
        ..
    }) = maps::scratch()
    else {
        return flags & DROPPED;
    };
    let arrival = arrival(now_ns, bytes, 0, flags);
    let mut datapath = tables::datapath(arrival.cpu as u32);
    if !packet.carries_packet() {
        datapath.count_refused_tunnel(&arrival);
        return flags & DROPPED;
    }
    if flags & DROPPED != 0 {
        return DROPPED;
    }
    *outer = Outer::of(packet);
    if datapath.begin_inner(inner, packet, way(flags), &arrival) {
        PASSES | IS_LOOKED_FOR
    } else {
        PASSES
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_record_inner(now_ns: u64, bytes: u64, ifindex: u64, flags: u64) -> u64 {
    let Some(Scratch { inner, outer, .. }) = maps::scratch() else {
        return 0;
    };
    let arrival = arrival(now_ns, bytes, ifindex, flags);
    let mut datapath = tables::datapath(arrival.cpu as u32);
    let InnerShare(share) =
        datapath.record_inner::<globals::Announce>(inner, outer, way(flags), &arrival);
    share
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_count_inner(now_ns: u64, bytes: u64, share: u64, flags: u64) -> u64 {
    let Some(Scratch { inner, .. }) = maps::scratch() else {
        return 0;
    };
    let arrival = arrival(now_ns, bytes, 0, flags);
    let mut datapath = tables::datapath(arrival.cpu as u32);
    let share = InnerShare(share);
    datapath.count_inner::<globals::Announce>(inner, way(flags), &arrival, share);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_tell_inner(now_ns: u64, bytes: u64) -> u64 {
    let Some(Scratch { inner, notice, .. }) = maps::scratch() else {
        return 0;
    };
    let arrival = arrival(now_ns, bytes, 0, 0);
    let mut datapath = tables::datapath(tables::cpu());
    let event = datapath.notice(inner, &arrival);
    keep(notice, &event)
}
