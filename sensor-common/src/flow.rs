//! The flow cache: a set-associative table of bidirectional flow records.
//!
//! A bucket holds [`FLOW_WAYS`] records of 192 bytes: a header line and a line for each direction.
//! A packet of a known flow touches two cache lines, its header and its direction; the hash says
//! which way of the bucket to look at first, so that most packets find their flow there. A flow of
//! one direction never touches the line of the other. A new flow takes a free slot or evicts the
//! one used longest ago, whose record goes to the ring first: eviction loses nothing. Counters are
//! small; a record that could overflow one is sent in the same way and begins anew.
//!
//! In the cache a record is kept as its first packet went ([`Head`]); readers get it with its
//! endpoints in order ([`Flow`]).
//!
//! # Consistent reads
//! User space maps the table and reads it while the kernel writes. Each CPU writes only its own
//! part, with bottom halves off, so a slot has one writer. The writer makes `sequence` odd before
//! and even after a change ([`Sequence`]); a reader takes a copy between two reads of an equal even
//! number ([`is_stable`]). On x86-64 stores become visible in program order and a compiler barrier
//! is enough. Elsewhere (arm64) the writer uses atomic read-modify-write, which BPF defines to be a
//! full barrier.

use crate::Address;
use crate::arrival::Arrival;
use crate::limits::FLOW_WAYS;
use crate::packet::{Packet, Realm, tcp_flags};

mod cache;
mod held;

pub use cache::{
    Admit, Cached, Member, OuterTable, RESTART_NS, Taken, add_known, hash, hash_ends, hash_inner,
    update,
};
pub use held::{Due, Held, is_plain};

/// Counters of one direction: one cache line.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Direction {
    /// Time of the first and last packet, ns; 0 without a packet.
    pub first_ns: u64,
    pub last_ns: u64,
    /// Sum of squares of frame lengths, bytes².
    pub length_sumsq: u64,
    /// Sum of squares of inter-arrival times in units of (1,024 ns)², each clipped to 17 s. Their
    /// sum is `last_ns - first_ns`. The unit is a shift: a division costs more than the rest.
    pub interarrival_sumsq: u64,
    /// Frame bytes (IPFIX layer2OctetDeltaCount).
    pub bytes: u32,
    pub packets: u16,
    pub length_min: u16,
    pub length_max: u16,
    /// TCP window of the first packet, unscaled.
    pub tcp_window: u16,
    /// Union of TCP control bits.
    pub tcp_flags: u8,
    /// TTL or hop limit of the first packet.
    pub ttl: u8,
    /// Packets with SYN, FIN, RST, PSH, ACK.
    pub n_flags: [u16; 5],
    /// Packets of up to 80, 160, 320 and 1,000 bytes; the rest are longer.
    pub length_histogram: [u16; 4],
}

/// Upper edges of the bins of [`Direction::length_histogram`], bytes, inclusive.
pub const LENGTH_EDGES: [u16; 4] = [80, 160, 320, 1000];
/// Control bits in the order of [`Direction::n_flags`].
pub const COUNTED_FLAGS: [u8; 5] = [
    tcp_flags::SYN,
    tcp_flags::FIN,
    tcp_flags::RST,
    tcp_flags::PSH,
    tcp_flags::ACK,
];

/// Identity of a flow, as readers get it.
///
/// The endpoint with the lower address (then port) is `a`; direction 0 goes from `a` to `b`.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    pub a: Address,
    pub b: Address,
    pub a_port: u16,
    pub b_port: u16,
    pub protocol: u8,
    /// Direction of the first packet: 0 from `a`, 1 from `b`.
    pub initiator: u8,
    /// VLANs, and whether it is a flow within a tunnel.
    pub realm: Realm,
    /// Of a flow within a tunnel: the tunnel.
    pub tunnel: Tunnel,
    /// Why a record was sent, [`Sent`]; 0 in the cache.
    pub sent: u8,
    pub has_fragments: u8,
    pub cpu: u16,
    /// Interface of the first packet.
    pub ifindex: u32,
    /// Increases by one (modulo 2^16) with every record that this slot begins: a reader tells a
    /// slot that was re-used between two looks.
    pub generation: u32,
}

/// Tunnel that a flow came in, as readers get it. `Default` is no tunnel.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Outer addresses of what `a` and `b` of the flow sent.
    pub a: Address,
    pub b: Address,
    /// VXLAN or Geneve network identifier, GRE key; 0 without.
    pub id: u32,
    /// [`crate::packet::tunnel::kind`].
    pub kind: u8,
}

/// A record with its counters, as readers get it.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Flow {
    pub head: FlowRecord,
    pub directions: [Direction; 2],
}

/// Header line of a slot. The source is the endpoint that sent the first packet.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Head {
    pub source: Address,
    pub destination: Address,
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    /// Bits of [`mark`].
    pub marks: u8,
    pub generation: u16,
    /// Odd while the writer is at work.
    pub sequence: u32,
    /// Part of the hash that did not choose the bucket; 0: the slot is free.
    pub tag: u32,
    pub ifindex: u32,
    /// Counts of each direction that the row of its remote host has not got yet.
    pub held: [Held; 2],
    pub realm: Realm,
}

/// Bits of [`Head::marks`].
pub mod mark {
    /// The direction of the first packet has counters; shifted by one, the other direction. A line
    /// without its mark holds what an earlier flow left there.
    pub const SEEN: u8 = 1;
    pub const FRAGMENTS: u8 = 4;
    /// A FIN or RST was seen: a SYN begins another connection.
    pub const CLOSING: u8 = 8;
    /// Flag of a bucket, kept in its first slot and written at any time: the second was used last.
    pub const SECOND_IS_LATEST: u8 = 16;
    /// Shift of [`crate::event::depth`]: packets of each direction that may be sampled.
    pub const DEPTH_SHIFT: u32 = 5;
}

/// Outer header of the packets of a flow within a tunnel, as the first of them had it. It lies beside
/// the cache, at the place of the flow's slot: other flows don't need it.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Outer {
    pub source: Address,
    pub destination: Address,
    /// As in [`Tunnel`].
    pub id: u32,
    pub kind: u8,
    pub reserved: [u8; 3],
}

impl Outer {
    /// The tunnel that `outer` carries.
    #[inline(always)]
    pub const fn of(outer: &Packet) -> Self {
        Self {
            source: outer.source,
            destination: outer.destination,
            id: outer.tunnel_id,
            kind: outer.tunnel,
            reserved: [0; 3],
        }
    }
}

/// Outer headers of a bucket's slots.
pub type Outers = [Outer; FLOW_WAYS];

/// One bucket of the cache: header lines side by side, then the lines of each slot.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Bucket {
    pub heads: [Head; FLOW_WAYS],
    pub directions: [[Direction; 2]; FLOW_WAYS],
}

/// A record as it goes through the ring. Lines without their mark hold no counters.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SentFlow {
    pub head: Head,
    pub directions: [Direction; 2],
    /// Holds nothing where the flow was in no tunnel.
    pub outer: Outer,
    pub cpu: u16,
    /// [`Sent`].
    pub sent: u8,
    pub reserved: [u8; 5],
}

impl Bucket {
    pub const EMPTY: Self = Self {
        heads: [Head::EMPTY; FLOW_WAYS],
        directions: [[Direction::EMPTY; 2]; FLOW_WAYS],
    };
}

const _: () = assert!(size_of::<Direction>() == 64);
const _: () = assert!(size_of::<Head>() == 64);
// Writers on weakly ordered machines use eight bytes from here for a barrier.
const _: () = assert!(core::mem::offset_of!(Head, sequence) % 8 == 0);
const _: () = assert!(size_of::<Bucket>() == 192 * FLOW_WAYS);
const _: () = assert!(size_of::<SentFlow>() == 240);
const _: () = assert!(size_of::<Outer>() == 40);
const _: () = assert!(FLOW_WAYS == 2);

// SAFETY: integers and arrays of integers; the size assertions rule padding out.
unsafe impl crate::Pod for Head {}
// SAFETY: as above.
unsafe impl crate::Pod for [Direction; 2] {}
// SAFETY: as above.
unsafe impl crate::Pod for Bucket {}
// SAFETY: as above.
unsafe impl crate::Pod for SentFlow {}
// SAFETY: as above.
unsafe impl crate::Pod for Outers {}

impl Flow {
    /// A slot as readers want it; `outer` is read where the flow is within a tunnel. `cpu` and `sent`
    /// are not kept in the slot.
    pub fn of(head: &Head, directions: &[Direction; 2], outer: &Outer, cpu: u16, sent: u8) -> Self {
        let seen = |which: u8, line: &Direction| {
            if head.marks & mark::SEEN << which == 0 {
                Direction::EMPTY
            } else {
                *line
            }
        };
        let [first, second] = directions;
        let (first, second) = (seen(0, first), seen(1, second));
        let is_reversed = is_reversed(
            (&head.source, head.source_port),
            (&head.destination, head.destination_port),
        );
        let mut record = FlowRecord {
            a: head.source,
            b: head.destination,
            a_port: head.source_port,
            b_port: head.destination_port,
            protocol: head.protocol,
            initiator: u8::from(is_reversed),
            realm: head.realm,
            tunnel: Tunnel::of(head, outer),
            sent,
            has_fragments: u8::from(head.marks & mark::FRAGMENTS != 0),
            cpu,
            ifindex: head.ifindex,
            generation: u32::from(head.generation),
        };
        let directions = if is_reversed {
            core::mem::swap(&mut record.a, &mut record.b);
            core::mem::swap(&mut record.a_port, &mut record.b_port);
            core::mem::swap(&mut record.tunnel.a, &mut record.tunnel.b);
            [second, first]
        } else {
            [first, second]
        };
        Self {
            head: record,
            directions,
        }
    }
}

impl Tunnel {
    /// Ends as the flow's first packet had them.
    fn of(head: &Head, outer: &Outer) -> Self {
        if !head.realm.is_tunnelled() {
            return Self::default();
        }
        Self {
            a: outer.source,
            b: outer.destination,
            id: outer.id,
            kind: outer.kind,
        }
    }
}

impl From<&SentFlow> for Flow {
    fn from(sent: &SentFlow) -> Self {
        let SentFlow {
            head,
            directions,
            outer,
            cpu,
            sent,
            ..
        } = sent;
        Self::of(head, directions, outer, *cpu, *sent)
    }
}

/// True where a packet's source is the endpoint `b` of its flow's record.
pub fn is_reversed(source: (&Address, u16), destination: (&Address, u16)) -> bool {
    (order(source.0), source.1) > (order(destination.0), destination.1)
}

/// Address words in an order that both directions agree on.
const fn order(address: &Address) -> (u64, u64) {
    (
        (address[2] as u64) << 32 | address[3] as u64,
        (address[0] as u64) << 32 | address[1] as u64,
    )
}

/// True where a copy that was taken between two reads of a sequence number is whole.
pub const fn is_stable(before: u32, after: u32) -> bool {
    before == after && before & 1 == 0
}

/// Why a record left the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sent {
    Evicted = 1,
    /// A counter was about to overflow, or the flow went on after a long silence.
    Rollover = 2,
}

/// Announcement of a change to readers. Chosen by the caller, who knows the machine.
pub trait Sequence {
    /// Adds one to `sequence` such that no earlier store moves after and no later store before.
    fn bump(sequence: &mut u32);

    /// Returns the value, but hides it from the compiler: keeps it from making a branch, or a copy
    /// of all that follows, of a number.
    #[inline(always)]
    fn opaque(value: u64) -> u64 {
        value
    }
}

/// Sequence of tables with one thread, as in replay.
pub struct Unshared;

impl Sequence for Unshared {
    #[inline(always)]
    fn bump(sequence: &mut u32) {
        *sequence = sequence.wrapping_add(1);
    }
}

/// Destination of the records of evicted and full flows. `false`: there was no room.
pub trait FlowSink {
    /// `outer` is there for flows within a tunnel.
    fn send(
        &mut self,
        head: &Head,
        directions: &[Direction; 2],
        outer: Option<&Outer>,
        why: Sent,
    ) -> bool;
}

/// Time of the last packet of either direction.
#[inline(always)]
pub fn last_seen(directions: &[Direction; 2]) -> u64 {
    let (a, b) = (directions[0].last_ns, directions[1].last_ns);
    if a > b { a } else { b }
}

impl Head {
    pub const EMPTY: Self = Self {
        source: [0; 4],
        destination: [0; 4],
        source_port: 0,
        destination_port: 0,
        protocol: 0,
        marks: 0,
        generation: 0,
        sequence: 0,
        tag: 0,
        ifindex: 0,
        held: [Held::NONE; 2],
        realm: Realm(0),
    };
}

impl Direction {
    pub const EMPTY: Self = Self {
        first_ns: 0,
        last_ns: 0,
        length_sumsq: 0,
        interarrival_sumsq: 0,
        bytes: 0,
        packets: 0,
        length_min: 0,
        length_max: 0,
        tcp_window: 0,
        tcp_flags: 0,
        ttl: 0,
        n_flags: [0; 5],
        length_histogram: [0; 4],
    };

    /// True where adding the packet could overflow a counter.
    #[inline(always)]
    fn is_full(&self, arrival: &Arrival) -> bool {
        self.packets as u64 + arrival.segments as u64 > u16::MAX as u64
            || self.bytes as u64 + arrival.bytes as u64 > u32::MAX as u64
    }

    /// Overwrites the line with its first packet.
    #[inline(always)]
    fn begin(&mut self, packet: &Packet, arrival: &Arrival) {
        let (segments, length) = (arrival.segments, arrival.length());
        *self = Self {
            first_ns: arrival.now_ns,
            last_ns: arrival.now_ns,
            length_sumsq: length as u64 * length as u64 * segments as u64,
            bytes: arrival.bytes,
            packets: segments,
            length_min: length,
            length_max: length,
            tcp_window: packet.tcp_window,
            ttl: packet.ttl,
            ..Self::EMPTY
        };
        self.count_length(length, segments);
        self.count_flags(packet.tcp_flags, segments);
    }

    #[inline(always)]
    fn add(&mut self, packet: &Packet, arrival: &Arrival) {
        let (segments, length) = (arrival.segments, arrival.length());
        let gap = arrival.now_ns.saturating_sub(self.last_ns) >> 10;
        let gap = if gap > MAX_GAP { MAX_GAP } else { gap };
        self.interarrival_sumsq = self.interarrival_sumsq.wrapping_add(gap * gap);
        if length < self.length_min {
            self.length_min = length;
        }
        if length > self.length_max {
            self.length_max = length;
        }
        self.last_ns = arrival.now_ns;
        self.packets += segments;
        self.bytes += arrival.bytes;
        self.length_sumsq += length as u64 * length as u64 * segments as u64;
        self.count_length(length, segments);
        self.count_flags(packet.tcp_flags, segments);
    }

    #[inline(always)]
    fn count_length(&mut self, length: u16, segments: u16) {
        let [edge0, edge1, edge2, edge3] = LENGTH_EDGES;
        if length <= edge0 {
            self.length_histogram[0] += segments;
        } else if length <= edge1 {
            self.length_histogram[1] += segments;
        } else if length <= edge2 {
            self.length_histogram[2] += segments;
        } else if length <= edge3 {
            self.length_histogram[3] += segments;
        }
    }

    /// Most packets have none, or only ACK.
    #[inline(always)]
    fn count_flags(&mut self, flags: u8, segments: u16) {
        if flags == 0 {
            return;
        }
        self.tcp_flags |= flags;
        self.n_flags[4] += (flags >> 4 & 1) as u16 * segments;
        if flags & !tcp_flags::ACK != 0 {
            self.n_flags[0] += (flags >> 1 & 1) as u16 * segments;
            self.n_flags[1] += (flags & 1) as u16 * segments;
            self.n_flags[2] += (flags >> 2 & 1) as u16 * segments;
            self.n_flags[3] += (flags >> 3 & 1) as u16 * segments;
        }
    }
}

/// Longest gap that counts, so that 65,535 squares of it fit 64 bits.
const MAX_GAP: u64 = (1 << 24) - 1;

#[cfg(test)]
mod tests;
