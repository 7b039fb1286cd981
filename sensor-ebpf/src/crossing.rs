//! Packets that cross several watched interfaces ([`sensor_common::crossing`]).

use sensor_common::arrival::{Arrival, Way};
use sensor_common::crossing::{
    ABOVE, BELOW, COUNTED, LEFT, MANY, MARKS_PER_CPU, interface_slot, mark,
};
use sensor_common::packet::Packet;

use crate::{globals, maps, tables};

/// True while more than one interface is watched.
#[inline(always)]
pub fn is_possible() -> bool {
    flags(MANY) != 0
}

/// True where the packet was counted at another interface. `came_in` is the interface that it came in
/// by, of one that is sent; 0: the host's own.
#[inline(always)]
pub fn was_counted(packet: &Packet, way: Way, arrival: &Arrival, came_in: u32) -> bool {
    if !is_possible() {
        return false;
    }
    let here = flags(interface_slot(arrival.ifindex));
    let is_later = match way {
        Way::Ingress => here & ABOVE != 0,
        Way::Egress => {
            let is_forwarded = came_in != 0 && flags(interface_slot(came_in)) & COUNTED != 0;
            here & BELOW != 0 || is_forwarded
        }
    };
    if !is_later {
        return false;
    }
    let mark = mark(packet, globals::seed());
    let is_marked = place(mark, arrival).is_some_and(|place| *place == (mark >> 32) as u32);
    if is_marked && way as u32 == Way::Egress as u32 && here & LEFT == 0 {
        set_left(arrival.ifindex);
    }
    is_marked
}

/// Marks a packet that is counted here, where it may reach another interface.
#[inline(always)]
pub fn note(packet: &Packet, way: Way, arrival: &Arrival) {
    if !is_possible() {
        return;
    }
    let is_above = flags(interface_slot(arrival.ifindex)) & ABOVE != 0;
    let is_first = match way {
        Way::Ingress => !is_above,
        Way::Egress => is_above,
    };
    if !is_first {
        return;
    }
    let mark = mark(packet, globals::seed());
    if let Some(place) = place(mark, arrival) {
        *place = (mark >> 32) as u32;
    }
}

#[inline(always)]
fn flags(slot: u32) -> u32 {
    maps::INTERFACES.get(slot).copied().unwrap_or(0)
}

#[inline(always)]
fn set_left(ifindex: u32) {
    if let Some(flags) = maps::INTERFACES.get_ptr_mut(interface_slot(ifindex)) {
        // SAFETY: the kernel's own pointer to a map value; a flag that another CPU sets as well, or
        // that the agent writes over, is set again by the next packet.
        unsafe { *flags |= LEFT };
    }
}

#[inline(always)]
fn place<'a>(mark: u64, arrival: &Arrival) -> Option<&'a mut u32> {
    tables::own(&maps::CROSSED, arrival.cpu as u32, MARKS_PER_CPU, mark)
}
