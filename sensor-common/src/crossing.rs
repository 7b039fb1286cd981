//! Packets that cross several watched interfaces of one host: a router's, a bridge and its ports, the
//! veths of containers. Each is counted at the first of them.
//!
//! The first interface leaves a mark of the packet's ends and direction, in memory of its CPU. An
//! interface that a packet may reach after another looks for the mark. A translated packet (NAT) has
//! other ends, so that both its flows are counted.

use crate::flow::hash_ends;
use crate::mix;
use crate::packet::Packet;

/// Entries of the map of interfaces, taken by the low bits of their index. Two of one entry share
/// their flags: then a mark is looked for that is not there.
pub const INTERFACE_SLOTS: u32 = 1 << 10;
/// Entry that is not 0 while more than one interface is watched.
pub const MANY: u32 = INTERFACE_SLOTS;

/// Packets of the interface were counted: it is watched, or above one that is.
pub const COUNTED: u32 = 1;
/// It is watched, and above an interface that is: a bridge of a port, a VLAN of a link.
pub const ABOVE: u32 = 2;
/// It is watched, and below an interface that is.
pub const BELOW: u32 = 4;
/// Set by the program: a packet that left here had been counted before.
pub const LEFT: u32 = 8;

/// Marks of each CPU: a power of two, far more than packets are under way at a time.
pub const MARKS_PER_CPU: u32 = 1 << 14;

/// Entry of an interface.
#[inline(always)]
pub const fn interface_slot(ifindex: u32) -> u32 {
    ifindex & (INTERFACE_SLOTS - 1)
}

/// Mark of a packet: its low bits choose the place, the high ones are written there. VLANs are not in
/// it, since a packet may be tagged on one interface and not on the next.
#[inline(always)]
pub fn mark(packet: &Packet, seed: u64) -> u64 {
    let source = (&packet.source, packet.source_port);
    let destination = (&packet.destination, packet.destination_port);
    let ends = hash_ends(source, destination, packet.protocol, seed);
    let from = (packet.source[2] as u64) << 32 | packet.source[3] as u64;
    mix(ends, from ^ packet.source_port as u64, seed) | 1 << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: u32, destination: u32) -> Packet {
        let mut packet = Packet::default();
        packet.source = [0, 0, u32::MAX.to_be() << 16, source];
        packet.destination = [0, 0, u32::MAX.to_be() << 16, destination];
        (packet.source_port, packet.destination_port) = (40_000, 443);
        packet.protocol = 6;
        packet
    }

    #[test]
    fn a_mark_is_of_the_ends_and_the_direction() {
        let of = |packet: &Packet| mark(packet, 7);
        let there = packet(1, 2);
        let mut back = there;
        (back.source, back.destination) = (there.destination, there.source);
        (back.source_port, back.destination_port) = (there.destination_port, there.source_port);
        let translated = packet(3, 2);
        let marks = [there, back, translated].map(|packet| of(&packet));
        assert!(marks[0] != marks[1] && marks[0] != marks[2] && marks[1] != marks[2]);
        assert_eq!(of(&there), marks[0]);
        // Never the empty mark.
        assert!(marks.iter().all(|mark| mark >> 32 != 0));
    }
}
