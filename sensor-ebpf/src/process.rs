//! The steps of a packet that was read, in functions that other objects could call, as those of `inner` are: the
//! verifier looks at each once, and not once for each of the hundred ways in which a packet is read.

use sensor_common::arrival::{Arrival, Way};
use sensor_common::block::{BlockTable as _, Level, Packed};
use sensor_common::datapath::Verdict;
use sensor_common::event::Notice;

use crate::blocklist::{BlockMaps, sensor_note_sent, sensor_search_blocks};
use crate::maps::Scratch;
use crate::{crossing, globals, maps, tables};

/// Bits that go to such functions and come back from them.
pub const EGRESS: u64 = 1;
pub const DROPPED: u64 = 2;
/// There is an event, in the scratch memory.
pub const TOLD: u64 = 4;
/// The packet goes on.
pub const PASSES: u64 = 8;
/// Its sender is to be looked for in the lists first.
pub const IS_LOOKED_FOR: u64 = 16;
/// The packet was counted at another interface.
pub const ELSEWHERE: u64 = 32;
const SEGMENTS_SHIFT: u32 = 16;
const CPU_SHIFT: u32 = 32;

/// Part of an arrival that goes in bits.
#[inline(always)]
pub fn flags(way: Way, arrival: &Arrival) -> u64 {
    (u64::from(way == Way::Egress) * EGRESS)
        | u64::from(arrival.segments) << SEGMENTS_SHIFT
        | u64::from(arrival.cpu) << CPU_SHIFT
}

/// The arrival back from its parts.
#[inline(always)]
pub fn arrival(now_ns: u64, bytes: u64, ifindex: u64, flags: u64) -> Arrival {
    Arrival {
        now_ns,
        bytes: bytes as u32,
        segments: (flags >> SEGMENTS_SHIFT) as u16,
        ifindex: ifindex as u32,
        cpu: (flags >> CPU_SHIFT) as u16,
    }
}

#[inline(always)]
pub const fn way(flags: u64) -> Way {
    if flags & EGRESS == 0 {
        Way::Ingress
    } else {
        Way::Egress
    }
}

/// Takes the packet in the scratch memory through its steps: [`DROPPED`], [`TOLD`], [`ELSEWHERE`].
#[inline(always)]
pub fn process(way: Way, arrival: &Arrival) -> u64 {
    let (now_ns, bytes) = (arrival.now_ns, arrival.bytes as u64);
    let begun = sensor_begin(now_ns, bytes, arrival.ifindex as u64, flags(way, arrival));
    if begun & PASSES == 0 {
        return begun;
    }
    if begun & IS_LOOKED_FOR != 0 {
        let what = sensor_search_blocks(now_ns, bytes, Level::Outer as u64);
        let ruled = sensor_rule(now_ns, bytes, what, Level::Outer as u64);
        if ruled & DROPPED != 0 {
            return ruled;
        }
    }
    let told = record(way, arrival);
    if way == Way::Egress {
        sensor_note_sent(now_ns, bytes, Level::Outer as u64);
    }
    told
}

/// Takes the packet into its flow and the rows of its hosts; [`TOLD`] where there is an event.
#[inline(always)]
pub fn record(way: Way, arrival: &Arrival) -> u64 {
    let (bytes, ifindex) = (arrival.bytes as u64, arrival.ifindex as u64);
    sensor_record(arrival.now_ns, bytes, ifindex, flags(way, arrival))
}

/// Takes a plain packet that neither a list nor a shield concerns.
#[inline(always)]
pub fn pass_known(arrival: &Arrival) -> u64 {
    let (bytes, flags) = (arrival.bytes as u64, flags(Way::Ingress, arrival));
    let passed = sensor_pass_known(arrival.now_ns, bytes, flags);
    if passed & PASSES == 0 {
        return passed;
    }
    record(Way::Ingress, arrival)
}

/// Keeps the event; [`TOLD`] where there is one.
#[inline(always)]
pub fn keep(notice: &mut Notice, event: &Notice) -> u64 {
    if event.kind == 0 {
        return 0;
    }
    *notice = *event;
    TOLD
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_begin(now_ns: u64, bytes: u64, ifindex: u64, flags: u64) -> u64 {
    let Some(Scratch {
        packet,
        notice,
        came_in,
        ..
    }) = maps::scratch()
    else {
        return 0;
    };
    let (way, arrival) = (way(flags), arrival(now_ns, bytes, ifindex, flags));
    let mut datapath = tables::datapath(arrival.cpu as u32);
    if crossing::was_counted(packet, way, &arrival, *came_in as u32) {
        datapath.count_elsewhere(packet, way, &arrival);
        return ELSEWHERE;
    }
    crossing::note(packet, way, &arrival);
    let begun = datapath.begin::<globals::Announce>(packet, way, &arrival);
    if !begun.goes_on {
        return keep(notice, &begun.notice);
    }
    if begun.is_listed {
        PASSES | IS_LOOKED_FOR
    } else {
        PASSES
    }
}

/// Carries out what the lists say.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_rule(now_ns: u64, bytes: u64, what: u64, level: u64) -> u64 {
    let Some(Scratch {
        packet,
        inner,
        notice,
        ..
    }) = maps::scratch()
    else {
        return PASSES;
    };
    let packet = if level == Level::Outer as u64 {
        packet
    } else {
        inner
    };
    let arrival = arrival(now_ns, bytes, 0, 0);
    let found = Packed {
        what,
        origin: BlockMaps.told(),
    };
    let mut datapath = tables::datapath(arrival.cpu as u32);
    let (verdict, event) = datapath.rule(packet, found, &arrival);
    if verdict == Verdict::Pass {
        return PASSES;
    }
    DROPPED | keep(notice, &event)
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_record(now_ns: u64, bytes: u64, ifindex: u64, flags: u64) -> u64 {
    let Some(Scratch { packet, notice, .. }) = maps::scratch() else {
        return 0;
    };
    let (way, arrival) = (way(flags), arrival(now_ns, bytes, ifindex, flags));
    let mut datapath = tables::datapath(arrival.cpu as u32);
    datapath.record::<globals::Announce>(packet, way, &arrival);
    let event = datapath.notice(packet, &arrival);
    keep(notice, &event)
}

/// [`PASSES`] where the flow is not known, and the packet has still to be recorded.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_pass_known(now_ns: u64, bytes: u64, flags: u64) -> u64 {
    let Some(Scratch { packet, notice, .. }) = maps::scratch() else {
        return 0;
    };
    let arrival = arrival(now_ns, bytes, 0, flags);
    let mut datapath = tables::datapath(arrival.cpu as u32);
    datapath.count_outcome(packet, Way::Ingress, &arrival);
    match datapath.pass_known::<globals::Announce>(packet, &arrival) {
        Some(event) => keep(notice, &event),
        None => PASSES,
    }
}
