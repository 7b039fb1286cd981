//! The flow cache: a set-associative table of bidirectional flow records.
//!
//! A bucket holds [`FLOW_WAYS`] records of 192 bytes: a header line and a line for each direction,
//! so that a packet touches two cache lines. A new flow takes a free slot or evicts the older one,
//! whose record goes to the ring first: eviction loses nothing. Counters are small; a record that
//! nears the end of one is sent and begun anew ("rollover"), so that the sums stay exact. So is one
//! whose flow was silent for [`RESTART_NS`]: a reader may forget a record that old, nothing will
//! ever be added to it.
//!
//! # Consistent reads
//! User space maps the table and reads it while the kernel writes. Each CPU writes only its own
//! part, with bottom halves off, so a slot has one writer. The writer makes `sequence` odd before
//! and even after a change ([`Sequence`]); a reader takes a copy between two reads of an equal even
//! number ([`FlowRecord::is_stable`]). On x86-64 stores become visible in program order and a
//! compiler barrier is enough. Elsewhere (arm64) the writer uses atomic read-modify-write, which
//! BPF defines to be a full barrier.

use crate::limits::FLOW_WAYS;
use crate::packet::{Packet, tcp_flags};
use crate::{Address, is_v4, mix};

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

/// One flow: header line and two directions.
///
/// The endpoint with the lower address (then port) is `a`; direction 0 goes from `a` to `b`.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct FlowRecord {
    pub a: Address,
    pub b: Address,
    pub a_port: u16,
    pub b_port: u16,
    pub protocol: u8,
    /// 1 when the slot holds a flow.
    pub used: u8,
    pub vlan: u16,
    /// Odd while the writer is at work.
    pub sequence: u32,
    /// Direction of the first packet: 0 from `a`, 1 from `b`.
    pub initiator: u8,
    /// Why a record was sent, [`Sent`]; 0 in the cache.
    pub sent: u8,
    pub cpu: u16,
    /// Interface of the first packet.
    pub ifindex: u32,
    /// Increases by one with every record that this slot begins: a reader tells a slot that was
    /// re-used between two looks.
    pub generation: u32,
    /// Tunnels stepped through, fragments seen.
    pub n_tunnels: u8,
    pub has_fragments: u8,
    /// Packets of each direction that may be sampled ([`crate::event::depth`]).
    pub sample_depth: u16,
}

/// A record with its counters, as it lies in the cache and goes through the ring.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    pub head: FlowRecord,
    pub directions: [Direction; 2],
}

/// One bucket of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Bucket {
    pub heads: [FlowRecord; FLOW_WAYS],
    pub directions: [[Direction; 2]; FLOW_WAYS],
}

impl Bucket {
    pub const EMPTY: Self = Self {
        heads: [FlowRecord::EMPTY; FLOW_WAYS],
        directions: [[Direction::EMPTY; 2]; FLOW_WAYS],
    };
}

const _: () = assert!(size_of::<Direction>() == 64);
const _: () = assert!(size_of::<FlowRecord>() == 64);
// Writers on weakly ordered machines use eight bytes from here for a barrier.
const _: () = assert!(core::mem::offset_of!(FlowRecord, sequence) % 8 == 0);
const _: () = assert!(size_of::<Flow>() == 192);
const _: () = assert!(size_of::<Bucket>() == 192 * FLOW_WAYS);

// SAFETY: integers and arrays of integers; the size assertions rule padding out.
unsafe impl crate::Pod for Flow {}
// SAFETY: as above.
unsafe impl crate::Pod for FlowRecord {}
// SAFETY: as above.
unsafe impl crate::Pod for [Direction; 2] {}
// SAFETY: as above.
unsafe impl crate::Pod for Bucket {}

/// Why a record left the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sent {
    Evicted = 1,
    /// A counter was about to overflow, or the flow went on after a long silence.
    Rollover = 2,
}

/// How the writer announces a change. Chosen by the caller, who knows the machine.
pub trait Sequence {
    /// Adds one to `sequence` such that no earlier store moves after and no later store before.
    fn bump(sequence: &mut u32);
}

/// For tables with one thread, as in replay.
pub struct Unshared;

impl Sequence for Unshared {
    #[inline(always)]
    fn bump(sequence: &mut u32) {
        *sequence = sequence.wrapping_add(1);
    }
}

/// Where records of evicted and full flows go. `false`: there was no room.
pub trait FlowSink {
    fn send(&mut self, head: &FlowRecord, directions: &[Direction; 2], why: Sent) -> bool;
}

/// What a packet brings besides its headers.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub now_ns: u64,
    /// Frame bytes on the wire, of all segments.
    pub bytes: u32,
    /// Segments that this buffer will become (segmentation offload), at least 1.
    pub segments: u16,
    pub ifindex: u32,
    pub cpu: u16,
}

/// The key of a packet's flow, with its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub a: Address,
    pub b: Address,
    pub a_port: u16,
    pub b_port: u16,
    pub protocol: u8,
    /// 0 when the packet goes from `a` to `b`.
    pub direction: u8,
}

#[inline(always)]
fn words(address: &Address) -> (u64, u64) {
    (
        (address[0] as u64) << 32 | address[1] as u64,
        (address[2] as u64) << 32 | address[3] as u64,
    )
}

impl Key {
    /// Orders the endpoints. Any total order does, as long as both directions agree.
    #[inline(always)]
    pub fn of(packet: &Packet) -> Self {
        let (source, destination) = (words(&packet.source), words(&packet.destination));
        let forward = if source.1 != destination.1 {
            source.1 < destination.1
        } else if source.0 != destination.0 {
            source.0 < destination.0
        } else {
            packet.source_port <= packet.destination_port
        };
        let p = packet;
        let (a, b, a_port, b_port) = if forward {
            (p.source, p.destination, p.source_port, p.destination_port)
        } else {
            (p.destination, p.source, p.destination_port, p.source_port)
        };
        Self {
            a,
            b,
            a_port,
            b_port,
            protocol: p.protocol,
            direction: !forward as u8,
        }
    }

    /// Hash under the secret `seed`; both directions of a flow give the same.
    #[inline(always)]
    pub fn hash(&self, seed: u64) -> u64 {
        let (a, b) = (words(&self.a), words(&self.b));
        let ports = (self.a_port as u64) << 24 | (self.b_port as u64) << 8 | self.protocol as u64;
        let hash = if is_v4(&self.a) && is_v4(&self.b) {
            mix((self.a[3] as u64) << 32 | self.b[3] as u64, ports, seed)
        } else {
            mix(mix(a.0, a.1, seed), mix(b.0, b.1 ^ ports, seed), seed)
        };
        hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
    }

    #[inline(always)]
    fn is(&self, head: &FlowRecord) -> bool {
        // Cheapest to tell apart first; no early-out per word, so that there are few branches.
        let last = (self.a[3] ^ head.a[3]) | (self.b[3] ^ head.b[3]);
        let ports = (self.a_port ^ head.a_port) | (self.b_port ^ head.b_port);
        if last != 0 || ports != 0 || self.protocol != head.protocol || head.used == 0 {
            return false;
        }
        let rest = (self.a[0] ^ head.a[0]) | (self.a[1] ^ head.a[1]) | (self.a[2] ^ head.a[2]);
        let other = (self.b[0] ^ head.b[0]) | (self.b[1] ^ head.b[1]) | (self.b[2] ^ head.b[2]);
        rest | other == 0
    }
}

/// What the cache did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// Added to its flow.
    Hit,
    /// Added to its flow, as one of the first packets of its direction, which may be sampled.
    Young,
    /// Added after the full record was sent.
    RolledOver,
    /// The record is full and the ring, too: the packet is not in it.
    RolloverLost,
    /// Began a flow in a free slot.
    Started,
    /// Began a flow in place of one that was sent.
    Evicted,
    /// No flow, and the caller did not permit a new one.
    Refused,
    /// No flow, and the one in its place could not be sent.
    RingFull,
}

/// Adds a packet to its flow. `may_admit` is asked only when the flow is not in the bucket.
#[inline(always)]
pub fn update<S: Sequence, R: FlowSink>(
    bucket: &mut Bucket,
    key: &Key,
    packet: &Packet,
    arrival: &Arrival,
    sink: &mut R,
    may_admit: impl FnOnce() -> bool,
) -> Cached {
    let Bucket {
        heads: [head0, head1],
        directions: [lines0, lines1],
    } = bucket;
    if key.is(head0) {
        return add::<S, R>(head0, lines0, key, packet, arrival, sink);
    }
    if key.is(head1) {
        return add::<S, R>(head1, lines1, key, packet, arrival, sink);
    }
    if !may_admit() {
        return Cached::Refused;
    }
    let first = head0.used == 0 || (head1.used != 0 && last_seen(lines0) <= last_seen(lines1));
    if first {
        admit::<S, R>(head0, lines0, key, packet, arrival, sink)
    } else {
        admit::<S, R>(head1, lines1, key, packet, arrival, sink)
    }
}

/// Time of the last packet of either direction.
#[inline(always)]
pub fn last_seen(directions: &[Direction; 2]) -> u64 {
    let (a, b) = (directions[0].last_ns, directions[1].last_ns);
    if a > b { a } else { b }
}

#[inline(always)]
fn admit<S: Sequence, R: FlowSink>(
    head: &mut FlowRecord,
    directions: &mut [Direction; 2],
    key: &Key,
    packet: &Packet,
    arrival: &Arrival,
    sink: &mut R,
) -> Cached {
    let evicts = head.used != 0;
    if evicts && !sink.send(head, directions, Sent::Evicted) {
        return Cached::RingFull;
    }
    S::bump(&mut head.sequence);
    head.begin(key, packet, arrival);
    *directions = [Direction::EMPTY; 2];
    line(directions, key).add(packet, arrival);
    S::bump(&mut head.sequence);
    if evicts {
        Cached::Evicted
    } else {
        Cached::Started
    }
}

#[inline(always)]
fn add<S: Sequence, R: FlowSink>(
    head: &mut FlowRecord,
    directions: &mut [Direction; 2],
    key: &Key,
    packet: &Packet,
    arrival: &Arrival,
    sink: &mut R,
) -> Cached {
    let full = line(directions, key).is_full(arrival) || is_over(directions, key, arrival.now_ns);
    if full && !sink.send(head, directions, Sent::Rollover) {
        return Cached::RolloverLost;
    }
    S::bump(&mut head.sequence);
    if full {
        head.generation = head.generation.wrapping_add(1);
        *directions = [Direction::EMPTY; 2];
    }
    head.has_fragments |= packet.is_fragment;
    let line = line(directions, key);
    line.add(packet, arrival);
    let is_young = line.packets <= head.sample_depth;
    S::bump(&mut head.sequence);
    if full {
        Cached::RolledOver
    } else if is_young {
        Cached::Young
    } else {
        Cached::Hit
    }
}

/// Silence after which a record takes no more packets: 17.2 s, a power of two for a cheap test.
pub const RESTART_NS: u64 = 1 << RESTART_SHIFT;
const RESTART_SHIFT: u32 = 34;

/// True where the flow was silent for [`RESTART_NS`]. Looks at the other direction's line only
/// where its own is silent.
#[inline(always)]
fn is_over(directions: &[Direction; 2], key: &Key, now_ns: u64) -> bool {
    let [forward, backward] = directions;
    let own = if key.direction == 0 {
        forward
    } else {
        backward
    };
    now_ns.saturating_sub(own.last_ns) >> RESTART_SHIFT != 0
        && now_ns.saturating_sub(last_seen(directions)) >> RESTART_SHIFT != 0
}

#[inline(always)]
fn line<'a>(directions: &'a mut [Direction; 2], key: &Key) -> &'a mut Direction {
    let [forward, backward] = directions;
    if key.direction == 0 {
        forward
    } else {
        backward
    }
}

impl FlowRecord {
    const EMPTY: Self = Self {
        a: [0; 4],
        b: [0; 4],
        a_port: 0,
        b_port: 0,
        protocol: 0,
        used: 0,
        vlan: 0,
        sequence: 0,
        initiator: 0,
        sent: 0,
        cpu: 0,
        ifindex: 0,
        generation: 0,
        n_tunnels: 0,
        has_fragments: 0,
        sample_depth: 0,
    };

    #[inline(always)]
    fn begin(&mut self, key: &Key, packet: &Packet, arrival: &Arrival) {
        self.a = key.a;
        self.b = key.b;
        self.a_port = key.a_port;
        self.b_port = key.b_port;
        self.protocol = key.protocol;
        self.used = 1;
        self.vlan = packet.vlan;
        self.initiator = key.direction;
        self.cpu = arrival.cpu;
        self.ifindex = arrival.ifindex;
        self.generation = self.generation.wrapping_add(1);
        self.n_tunnels = packet.n_tunnels;
        self.has_fragments = packet.is_fragment;
        self.sample_depth = crate::event::depth(packet);
    }

    /// True where a copy with this `sequence`, taken between two reads that gave `before` and
    /// `after`, is whole.
    pub const fn is_stable(before: u32, after: u32) -> bool {
        before == after && before & 1 == 0
    }
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
        self.packets as u32 + arrival.segments as u32 > u16::MAX as u32
            || self.bytes.checked_add(arrival.bytes).is_none()
    }

    #[inline(always)]
    fn add(&mut self, packet: &Packet, arrival: &Arrival) {
        let segments = arrival.segments;
        let length = if segments <= 1 {
            arrival.bytes
        } else {
            arrival.bytes / segments as u32
        };
        let length = if length > u16::MAX as u32 {
            u16::MAX
        } else {
            length as u16
        };
        if self.packets == 0 {
            self.first_ns = arrival.now_ns;
            self.ttl = packet.ttl;
            self.tcp_window = packet.tcp_window;
            self.length_min = length;
            self.length_max = length;
        } else {
            let gap = arrival.now_ns.saturating_sub(self.last_ns) >> 10;
            let gap = if gap > MAX_GAP { MAX_GAP } else { gap };
            self.interarrival_sumsq = self.interarrival_sumsq.wrapping_add(gap * gap);
            if length < self.length_min {
                self.length_min = length;
            }
            if length > self.length_max {
                self.length_max = length;
            }
        }
        self.last_ns = arrival.now_ns;
        self.packets += segments;
        self.bytes += arrival.bytes;
        self.length_sumsq += length as u64 * length as u64 * segments as u64;
        self.count_length(length, segments);
        if packet.tcp_flags != 0 {
            self.count_flags(packet.tcp_flags, segments);
        }
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

    #[inline(always)]
    fn count_flags(&mut self, flags: u8, segments: u16) {
        self.tcp_flags |= flags;
        self.n_flags[0] += (flags >> 1 & 1) as u16 * segments;
        self.n_flags[1] += (flags & 1) as u16 * segments;
        self.n_flags[2] += (flags >> 2 & 1) as u16 * segments;
        self.n_flags[3] += (flags >> 3 & 1) as u16 * segments;
        self.n_flags[4] += (flags >> 4 & 1) as u16 * segments;
    }
}

/// Longest gap that counts, so that 65,535 squares of it fit 64 bits.
const MAX_GAP: u64 = (1 << 24) - 1;

#[cfg(test)]
mod tests;
