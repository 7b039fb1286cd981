//! Events from the kernel to user space, besides flow records: one record for all kinds, a head and
//! the first bytes of the payload where a packet is sampled.
//!
//! Samples show what the counters can't: names, versions, reply codes, ARP claims. Which packets
//! are sampled follows from their flow: [`depth`] says how many packets of each direction are
//! candidates, so that the packets of a long flow pay one comparison. Each kind has a budget per
//! CPU and window, so that a flood of one neither costs much nor starves the others.

use crate::Address;
use crate::counters::Outcome;
use crate::packet::{Packet, protocol, tcp_flags};

macro_rules! kinds {
    ($($variant:ident = $number:literal, $label:literal, $budget:literal, $bytes:literal: $help:literal,)+) => {
        /// Why an event was sent. Zero is no event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind { $(#[doc = $help] $variant = $number,)+ }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Word used in metrics, logs and JSON.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
            /// Events that one CPU sends in one window of [`WINDOW_SHIFT`].
            #[inline(always)]
            pub const fn budget(self) -> u32 {
                match self { $(Self::$variant => $budget,)+ }
            }
            /// Payload bytes that go along at most.
            #[inline(always)]
            pub const fn max_bytes(self) -> u32 {
                match self { $(Self::$variant => $bytes,)+ }
            }
            /// The kind of a number on the wire.
            pub const fn of(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

kinds! {
    FlowStarted = 1, "flow_started", 4096, 0: "a flow was admitted to the cache",
    BlockHit = 2, "block_hit", 32, 0: "a block entry met a packet, dropped or, in monitor mode, not: its first, and every 1,024th",
    Arp = 3, "arp", 256, 28: "ARP packet",
    Dns = 4, "dns", 512, 576: "DNS message over UDP",
    Icmp = 5, "icmp", 64, 128: "ICMP or ICMPv6 echo, or first packet of another ICMP flow",
    Control = 6, "control", 256, 256: "payload of a protocol that commands or authenticates: FTP, MQTT, Modbus, DNP3, DNS over TCP",
    Tcp = 7, "tcp", 1024, 576: "payload from the first packets of a TCP flow",
    Udp = 8, "udp", 128, 96: "first packet of a UDP flow",
    Neighbour = 9, "neighbour", 128, 96: "IPv6 neighbour discovery: router and neighbour messages",
    Fragment = 10, "fragment", 256, 0: "IP fragment that gives no other sample",
    Proven = 11, "proven", 64, 0: "a source acknowledged a SYN cookie: it is real",
}

/// Budgets are counted in windows of 2^27 ns = 134 ms.
pub const WINDOW_SHIFT: u32 = 27;
/// Payload bytes of the largest sample; a multiple of [`STEP`].
pub const MAX_BYTES: usize = 576;
/// Bytes copied at a time.
pub const STEP: usize = 16;
/// [`EventHead::detail`] of a packet that began a flow.
pub const BEGAN: u64 = 1;
/// A block entry's packets whose number has none of these bits are told.
pub const BLOCK_HIT_MASK: u64 = 1023;

const _: () = assert!(MAX_BYTES.is_multiple_of(STEP));
const _: () = {
    let mut i = 0;
    while i < Kind::ALL.len() {
        assert!(Kind::ALL[i] as usize == i + 1);
        assert!(Kind::ALL[i].max_bytes() as usize <= MAX_BYTES);
        i += 1;
    }
};

/// Head of an event, as it goes through the ring; [`EventHead::n_bytes`] of payload follow.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct EventHead {
    pub at_ns: u64,
    /// Counts the events of this CPU, those that found the ring full included: a gap is a loss.
    pub sequence: u64,
    /// Block hit: the origin of the entry. Others: [`BEGAN`] where the packet began a flow.
    pub detail: u64,
    pub packet: Packet,
    /// Frame bytes on the wire.
    pub wire_bytes: u32,
    pub ifindex: u32,
    /// Payload bytes on the wire.
    pub payload_bytes: u32,
    /// Payload bytes that follow.
    pub n_bytes: u16,
    pub cpu: u16,
    /// [`Kind`].
    pub kind: u8,
    /// 0 ingress, 1 egress.
    pub way: u8,
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    pub reserved: [u8; 2],
    /// Of a packet within a tunnel: the addresses outside. Else zeros.
    pub outer_source: Address,
    pub outer_destination: Address,
}

const _: () = assert!(size_of::<EventHead>() == 168);
// SAFETY: integers and arrays of integers; the size assertion rules padding out.
unsafe impl crate::Pod for EventHead {}

impl EventHead {
    /// Takes the addresses that begin an Ethernet frame.
    #[inline(always)]
    pub fn set_macs(&mut self, frame: &[u8; 12]) {
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = *frame;
        self.destination_mac = [d0, d1, d2, d3, d4, d5];
        self.source_mac = [s0, s1, s2, s3, s4, s5];
    }
}

/// Room for the largest event.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EventRecord {
    pub head: EventHead,
    pub bytes: [u8; MAX_BYTES],
}

const _: () = assert!(size_of::<EventRecord>() == 168 + MAX_BYTES);
// SAFETY: as above.
unsafe impl crate::Pod for EventRecord {}

/// An event with what was kept of its payload.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    pub head: &'a EventHead,
    pub payload: &'a [u8],
}

/// An event that a packet gave rise to and that its budget allows. The default is none.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Notice {
    /// [`Kind`], 0: none.
    pub kind: u32,
    /// [`Kind::max_bytes`].
    pub max_bytes: u32,
    pub sequence: u64,
    pub detail: u64,
}

impl Notice {
    pub const NONE: Self = Self {
        kind: 0,
        max_bytes: 0,
        sequence: 0,
        detail: 0,
    };
}

/// Samples and events that one CPU spent in the running window.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Budgets {
    pub window: u64,
    pub sequence: u64,
    pub n_spent: [u32; 12],
}

const _: () = assert!(size_of::<Budgets>() == 64);
const _: () = assert!(Kind::ALL.len() < 12);
// SAFETY: integers; the size assertion rules padding out.
unsafe impl crate::Pod for Budgets {}

impl Budgets {
    /// Takes one event of the kind out of its budget; `None`: there is nothing left.
    #[inline(always)]
    pub fn spend(&mut self, kind: Kind, now_ns: u64) -> Option<u64> {
        let window = now_ns >> WINDOW_SHIFT;
        if self.window != window {
            self.window = window;
            self.n_spent = [0; 12];
        }
        let spent = &mut self.n_spent[kind as usize];
        if *spent >= kind.budget() {
            return None;
        }
        *spent += 1;
        self.sequence += 1;
        Some(self.sequence)
    }
}

/// Classes of [`depth`], in three bits: how many packets of each direction of a flow may be sampled.
pub(crate) mod depth_class {
    pub const NONE: u8 = 0;
    pub const FIRST: u8 = 1;
    /// 6.
    pub const FEW: u8 = 2;
    /// 16.
    pub const SOME: u8 = 3;
    /// 64.
    pub const MANY: u8 = 4;
    pub const ALL: u8 = 5;
}

/// Packets of each direction that a class allows. Numbers in the bytes of a word: in the kernel a table
/// would be a lookup.
#[inline(always)]
pub(crate) const fn depth_packets(class: u8) -> u16 {
    const PACKETS: u64 = 0xff40_1006_0100;
    let packets = (PACKETS >> (class as u32 * 8)) as u8;
    if packets == u8::MAX {
        u16::MAX
    } else {
        packets as u16
    }
}

/// Class of how many packets of each direction of a flow may be sampled, by its first packet. Of a
/// connection that was not seen to begin either port may be the service: the deeper class holds.
#[inline(always)]
pub(crate) const fn depth(packet: &Packet) -> u8 {
    if packet.carries_packet() {
        return depth_class::NONE;
    }
    let (from, to) = (packet.source_port, packet.destination_port);
    let (one, other) = if packet.is(Outcome::Tcp) {
        let (one, other) = match packet.tcp_flags & (tcp_flags::SYN | tcp_flags::ACK) {
            tcp_flags::SYN => (to, to),
            SYN_ACK => (from, from),
            _ => (from, to),
        };
        (tcp_depth(one), tcp_depth(other))
    } else if packet.is(Outcome::Udp) {
        (udp_depth(from), udp_depth(to))
    } else if packet.is(Outcome::Icmp) {
        let class = icmp_depth(packet);
        (class, class)
    } else {
        return depth_class::NONE;
    };
    if one > other { one } else { other }
}

const SYN_ACK: u8 = tcp_flags::SYN | tcp_flags::ACK;

#[inline(always)]
const fn tcp_depth(port: u16) -> u8 {
    match port {
        21 | 53 | 502 | 1883 | 20000 => depth_class::ALL,
        // What came of an SSH login shows by the sizes of some thirty packets of each side. A session of SMB
        // opens pipes and files after a dozen.
        22 | 222 | 445 | 2022 | 2222 | 22222 | 80 | 8000 | 8080 => depth_class::MANY,
        // A login comes after greetings, and its reply after that.
        23 | 25 | 110 | 143 | 389 | 513 | 587 | 1433 | 2323 | 2525 | 3306 | 5432 | 5900 | 5901
        | 6379 | 27017 => depth_class::SOME,
        // Dynamic ports: what is called by way of DCE/RPC's mapper binds an interface and proves itself first.
        49152.. => depth_class::SOME,
        _ => depth_class::FEW,
    }
}

#[inline(always)]
const fn udp_depth(port: u16) -> u8 {
    match port {
        53 => depth_class::ALL,
        5353 | 5355 => depth_class::SOME,
        // Communities and registrations that are tried from one port.
        161 | 5060 => depth_class::MANY,
        _ => depth_class::FIRST,
    }
}

/// Both ports of ICMP are its type and code.
#[inline(always)]
const fn icmp_depth(packet: &Packet) -> u8 {
    match packet.source_port {
        // Echo of ICMP and ICMPv6, code 0; both directions are one flow.
        0x0800 | 0x8000 => depth_class::ALL,
        _ if is_neighbour(packet) => depth_class::ALL,
        _ => depth_class::FIRST,
    }
}

/// True for router and neighbour advertisements and what asks for them (RFC 4861).
#[inline(always)]
const fn is_neighbour(packet: &Packet) -> bool {
    let icmp_type = packet.source_port >> 8;
    packet.protocol == protocol::ICMPV6 && icmp_type >= 133 && icmp_type <= 136
}

/// Kind of sample of a packet whose number in its flow is beyond [`depth`]: what is wrong with fragments
/// shows in all of a datagram's.
#[inline(always)]
pub const fn late_kind(packet: &Packet) -> Option<Kind> {
    if packet.is_fragment == 0 {
        None
    } else {
        Some(Kind::Fragment)
    }
}

/// Kind of sample of a packet whose number in its flow is within the flow's [`depth`].
#[inline(always)]
pub(crate) const fn kind(packet: &Packet, depth: u8, wire_bytes: u32) -> Option<Kind> {
    if packet.carries_packet() {
        return late_kind(packet);
    }
    if packet.is(Outcome::Tcp) {
        if packet.payload_bytes(wire_bytes) == 0 {
            return late_kind(packet);
        }
        return Some(match depth {
            depth_class::ALL => Kind::Control,
            _ => Kind::Tcp,
        });
    }
    if packet.is(Outcome::Icmp) {
        if is_neighbour(packet) {
            return Some(Kind::Neighbour);
        }
        return Some(Kind::Icmp);
    }
    if !packet.is(Outcome::Udp) {
        return late_kind(packet);
    }
    Some(match depth {
        depth_class::ALL | depth_class::SOME => Kind::Dns,
        _ => Kind::Udp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_per_kind_and_window() {
        let mut budgets = Budgets::default();
        let n = (0..10_000)
            .filter(|_| budgets.spend(Kind::Arp, 1).is_some())
            .count();
        assert_eq!(n as u32, Kind::Arp.budget());
        assert!(budgets.spend(Kind::Dns, 1).is_some());
        assert!(budgets.spend(Kind::Arp, 1 << WINDOW_SHIFT).is_some());
        assert_eq!(budgets.sequence, u64::from(Kind::Arp.budget()) + 2);
    }

    fn tcp(from: u16, to: u16, flags: u8) -> Packet {
        let mut packet = Packet::default();
        (packet.source_port, packet.destination_port) = (from, to);
        packet.tcp_flags = flags;
        packet.outcome = Outcome::Tcp as u32;
        packet
    }

    /// A client may have any port, also one that is a service elsewhere, below its server's or above.
    #[test]
    fn the_service_is_told_by_the_handshake_and_else_either_port_is_one() {
        let [syn, syn_ack, ack] = [0x02, 0x12, 0x10];
        for client in [1_500, 5_000, 8_000, 20_000, 50_000] {
            assert_eq!(depth(&tcp(client, 8_080, syn)), depth_class::MANY);
            assert_eq!(depth(&tcp(8_080, client, syn_ack)), depth_class::MANY);
            assert_eq!(depth(&tcp(client, 4_444, syn)), depth_class::FEW);
            assert_eq!(depth(&tcp(client, 1_883, syn)), depth_class::ALL);
            let (there, back) = (tcp(client, 8_080, ack), tcp(8_080, client, ack));
            assert_eq!(depth(&there), depth(&back));
            assert!(depth(&there) >= depth_class::MANY);
        }
        let control = kind(&tcp(5_000, 1_883, ack), depth_class::ALL, 100);
        assert_eq!(control, Some(Kind::Control));
        let other = kind(&tcp(1_883, 8_080, ack), depth_class::MANY, 100);
        assert_eq!(other, Some(Kind::Tcp));
    }
}
