//! Finding a packet's flow in its bucket, admitting and evicting.

use super::held::Due;
use super::{
    Bucket, Direction, FlowSink, Head, Held, Outer, Outers, Sent, Sequence, is_plain, mark,
};
use crate::arrival::{Arrival, Way};
use crate::event::depth_packets;
use crate::packet::{Packet, Realm, tcp_flags};
use crate::{Address, mix};

/// Two words of an address; only equality matters.
#[inline(always)]
const fn words(address: &Address) -> (u64, u64) {
    (
        (address[1] as u64) << 32 | address[0] as u64,
        (address[3] as u64) << 32 | address[2] as u64,
    )
}

/// Hash of a packet's flow under the secret `seed`; both directions give the same. Bits 0 to 30
/// choose the bucket, bit 31 the slot looked at first, bits 32 to 63 are the tag.
///
/// VLANs and the tunnel tell flows apart. A mirror port may tag one direction of a conversation alone:
/// that is two records here, which readers put together.
#[inline(always)]
pub fn hash(packet: &Packet, seed: u64) -> u64 {
    let source = (&packet.source, packet.source_port);
    let destination = (&packet.destination, packet.destination_port);
    let ends = hash_ends(source, destination, packet.protocol, seed);
    let Realm(realm) = packet.realm;
    if realm == 0 {
        return ends;
    }
    mix(ends, realm as u64, seed)
}

/// [`hash`] of a packet within a tunnel: flows of other tunnels are other flows, whoever made up their
/// inner addresses.
#[inline(always)]
pub fn hash_inner(packet: &Packet, outer: &Outer, seed: u64) -> u64 {
    let ends = (&outer.source, 0);
    let tunnel = hash_ends(ends, (&outer.destination, 0), outer.kind, seed);
    mix(hash(packet, seed), tunnel ^ outer.id as u64, seed)
}

/// [`hash`] of a flow known by its endpoints, in either order.
#[inline(always)]
pub fn hash_ends(a: (&Address, u16), b: (&Address, u16), protocol: u8, seed: u64) -> u64 {
    let (from, to) = (words(a.0), words(b.0));
    let (mut x, mut y) = (from.1 ^ a.1 as u64, to.1 ^ b.1 as u64);
    // Zero in IPv4-mapped addresses, and then it says nothing.
    if from.0 | to.0 != 0 {
        x ^= mix(from.0, 0, seed);
        y ^= mix(to.0, 0, seed);
    }
    // A sum and a product keep what there is of a pair, but for its order. The product hides the
    // sum's collisions behind the seed.
    let product = (x ^ seed).wrapping_mul(y ^ seed);
    let sum = x.wrapping_add(y).wrapping_add((protocol as u64) << 24);
    mix(product, sum, seed)
}

#[inline(always)]
const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

/// Treatment of a packet by the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// Added to its flow.
    Hit,
    /// Added to its flow, and [`Taken::due`] is due in the row of the remote host.
    HitDue,
    /// Added after the full record was sent.
    RolledOver,
    /// The record is full and the ring, too: the packet is not in it.
    RolloverLost,
    /// Began a flow in a free slot.
    Started,
    /// Began a flow in place of one that was sent: to make room, or because it was closed and its ports
    /// are used again.
    Evicted,
    /// No flow, and the caller did not permit a new one.
    Refused,
    /// No flow, and the one in its place could not be sent.
    RingFull,
}

impl Cached {
    /// True where the packet began a flow.
    #[inline(always)]
    pub const fn began(self) -> bool {
        matches!(self, Self::Started | Self::Evicted)
    }
}

/// Outcome of a packet: its treatment and the age of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub cached: Cached,
    /// With [`Cached::HitDue`]. Beside it and never without a value: in the kernel the compiler would
    /// leave whatever pointer there where a variant has none, and the verifier refuses to see it moved.
    pub due: Due,
    /// Class of [`crate::event::depth`] of one of the first packets of its direction, which may be
    /// sampled; 0 for all others, and where the packet that begins the flow is of no class.
    pub depth: u8,
}

impl Taken {
    /// Outcome without a table.
    pub const NOWHERE: Self = Self::old(Cached::Hit);

    #[inline(always)]
    const fn old(cached: Cached) -> Self {
        Self {
            cached,
            due: Due::NONE,
            depth: 0,
        }
    }
}

/// Surroundings that the cache asks when a flow is new.
pub trait Admit {
    /// Asked only when the flow is not in the bucket.
    fn may_admit(&mut self) -> bool;
    /// Gets what an evicted flow still held for the row of `remote`, of packets of `head`'s
    /// protocol that came from there or went there.
    fn settle(&mut self, remote: &Address, protocol: u8, held: Held);
    /// As [`OuterTable::outers`] of the bucket at hand.
    fn outers(&mut self) -> Option<&mut Outers>;
}

/// Outer headers of the flows of a bucket.
pub trait OuterTable {
    /// Those of the bucket that a hash chooses; `None` where there are none.
    fn outers(&mut self, hash: u64) -> Option<&mut Outers>;
}

/// A packet with what its flow is found by.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    pub packet: &'a Packet,
    /// [`hash`] or [`hash_inner`].
    pub hash: u64,
    /// Of a packet within a tunnel.
    pub outer: Option<&'a Outer>,
}

/// Adds a packet to its flow, in the bucket that its hash chose.
#[inline(always)]
pub fn update<S: Sequence, R: FlowSink>(
    bucket: &mut Bucket,
    member: Member<'_>,
    way: Way,
    arrival: &Arrival,
    sink: &mut R,
    admit: &mut impl Admit,
) -> Taken {
    let Member { packet, hash, .. } = member;
    let (first, slot, found) = bucket.find::<S>(packet, hash);
    let is_reused = opens(packet) && bucket.heads[slot].marks & mark::CLOSING != 0;
    let Some(direction) = found.filter(|_| !is_reused) else {
        let slot = if found.is_some() {
            slot
        } else {
            bucket.victim(first)
        };
        return begin::<S, R>(bucket, slot, member, arrival, sink, admit);
    };
    let slot = S::opaque(slot as u64) as usize & 1;
    bucket.set_latest(slot);
    let direction = S::opaque(direction as u64) as usize & 1;
    add::<S, R>(bucket, slot, direction, member, way, arrival, sink, admit)
}

/// Adds a packet that came in, in no tunnel, to its flow, where that is all there is to do: the direction is
/// known, the record goes on, no connection begins anew. `None`, and nothing has changed, for [`update`] to do.
#[inline(always)]
pub fn add_known<S: Sequence>(
    bucket: &mut Bucket,
    packet: &Packet,
    hash: u64,
    arrival: &Arrival,
) -> Option<Taken> {
    let (_, slot, found) = bucket.find::<S>(packet, hash);
    let direction = S::opaque(found? as u64) as usize & 1;
    let slot = S::opaque(slot as u64) as usize & 1;
    let head = &mut bucket.heads[slot];
    let line = &mut bucket.directions[slot][direction];
    let is_reused = opens(packet) && head.marks & mark::CLOSING != 0;
    if is_reused || line.is_full(arrival) || is_silent(head, line, direction, arrival.now_ns) {
        return None;
    }
    S::bump(&mut head.sequence);
    let may_wait = is_plain(packet);
    let (cached, due) = go_on(
        head,
        line,
        direction,
        packet,
        may_wait,
        Way::Ingress,
        arrival,
    );
    let depth = head.depth_at(line.packets);
    S::bump(&mut head.sequence);
    bucket.set_latest(slot);
    Some(Taken { cached, due, depth })
}

impl Bucket {
    /// The slot to look at first, and the one of the packet's flow with the packet's direction, if it is here;
    /// else the last that was looked at.
    #[inline(always)]
    fn find<S: Sequence>(&self, packet: &Packet, hash: u64) -> (usize, usize, Option<u8>) {
        let tag = tag(hash);
        let first = S::opaque(hash >> 31 & 1) as usize & 1;
        let mut slot = first;
        let mut found = self.heads[slot].direction_of(packet, tag);
        if found.is_none() {
            slot ^= 1;
            found = self.heads[slot].direction_of(packet, tag);
        }
        (first, slot, found)
    }

    /// Notes the slot used last. Rarely a write: the second slot's packets leave the first's line
    /// alone.
    #[inline(always)]
    fn set_latest(&mut self, slot: usize) {
        if self.latest() != slot {
            self.heads[0].marks ^= mark::SECOND_IS_LATEST;
        }
    }

    #[inline(always)]
    const fn latest(&self) -> usize {
        (self.heads[0].marks & mark::SECOND_IS_LATEST != 0) as usize
    }

    /// The slot for a new flow: a free one, `first` before the other, else the one used longer ago.
    #[inline(always)]
    fn victim(&self, first: usize) -> usize {
        let other = first ^ 1;
        if self.heads[first].tag == 0 {
            first
        } else if self.heads[other].tag == 0 {
            other
        } else {
            1 - self.latest()
        }
    }
}

impl Head {
    /// Direction of the packet if it is of this flow: 0 as the first packet went, 1 against it.
    #[inline(always)]
    fn direction_of(&self, packet: &Packet, tag: u32) -> Option<u8> {
        if self.tag != tag || self.protocol != packet.protocol {
            return None;
        }
        let (source, destination) = (words(&packet.source), words(&packet.destination));
        let (from, to) = (words(&self.source), words(&self.destination));
        let apart = (packet.realm.0 ^ self.realm.0) as u64;
        let along = apart
            | (source.0 ^ from.0)
            | (source.1 ^ from.1)
            | (destination.0 ^ to.0)
            | (destination.1 ^ to.1)
            | (packet.source_port ^ self.source_port) as u64
            | (packet.destination_port ^ self.destination_port) as u64;
        if along == 0 {
            return Some(0);
        }
        let against = apart
            | (source.0 ^ to.0)
            | (source.1 ^ to.1)
            | (destination.0 ^ from.0)
            | (destination.1 ^ from.1)
            | (packet.source_port ^ self.destination_port) as u64
            | (packet.destination_port ^ self.source_port) as u64;
        if against == 0 { Some(1) } else { None }
    }

    /// Overwrites the head with a new flow; the latest mark is the bucket's, and stays.
    #[inline(always)]
    fn begin(&mut self, tag: u32, packet: &Packet, arrival: &Arrival) {
        self.source = packet.source;
        self.destination = packet.destination;
        self.source_port = packet.source_port;
        self.destination_port = packet.destination_port;
        self.protocol = packet.protocol;
        self.marks &= mark::SECOND_IS_LATEST;
        let depth = crate::event::depth(packet) << mark::DEPTH_SHIFT;
        self.marks |= mark::SEEN | depth | marks(packet);
        self.realm = packet.realm;
        self.tag = tag;
        self.ifindex = arrival.ifindex;
        self.held = [Held::NONE; 2];
        self.generation = self.generation.wrapping_add(1);
    }

    /// Class of the flow, if its packet of that number in its direction may be sampled; else 0.
    #[inline(always)]
    const fn depth_at(&self, number: u16) -> u8 {
        let class = self.marks >> mark::DEPTH_SHIFT;
        if number <= depth_packets(class) {
            class
        } else {
            0
        }
    }

    /// Sends the record with what else belongs to it.
    #[inline(always)]
    fn send<R: FlowSink>(
        &self,
        lines: &[Direction; 2],
        slot: usize,
        sink: &mut R,
        admit: &mut impl Admit,
        why: Sent,
    ) -> bool {
        let outer = if self.realm.is_tunnelled() {
            admit.outers().map(|outers| &outers[slot & 1])
        } else {
            None
        };
        sink.send(self, lines, outer, why)
    }
}

/// Begins a flow in the slot, in place of the one that is there.
#[inline(always)]
fn begin<S: Sequence, R: FlowSink>(
    bucket: &mut Bucket,
    slot: usize,
    member: Member<'_>,
    arrival: &Arrival,
    sink: &mut R,
    admit: &mut impl Admit,
) -> Taken {
    if !admit.may_admit() {
        return Taken::old(Cached::Refused);
    }
    let Member {
        packet,
        hash,
        outer,
    } = member;
    let slot = S::opaque(slot as u64) as usize & 1;
    let head = &mut bucket.heads[slot];
    let lines = &mut bucket.directions[slot];
    let evicts = head.tag != 0;
    if evicts {
        if !head.send(lines, slot, sink, admit, Sent::Evicted) {
            return Taken::old(Cached::RingFull);
        }
        let [along, against] = head.held;
        settle(&head.source, &head.destination, head.protocol, along, admit);
        settle(
            &head.destination,
            &head.source,
            head.protocol,
            against,
            admit,
        );
    }
    S::bump(&mut head.sequence);
    head.begin(tag(hash), packet, arrival);
    lines[0].begin(packet, arrival);
    if let Some(outer) = outer
        && let Some(outers) = admit.outers()
    {
        outers[slot] = *outer;
    }
    let depth = head.marks >> mark::DEPTH_SHIFT;
    S::bump(&mut head.sequence);
    bucket.set_latest(slot);
    let cached = if evicts {
        Cached::Evicted
    } else {
        Cached::Started
    };
    Taken {
        cached,
        due: Due::NONE,
        depth,
    }
}

/// Hands on what packets from `from` to `to` held.
#[inline(always)]
fn settle(from: &Address, to: &Address, protocol: u8, held: Held, admit: &mut impl Admit) {
    if held.is_none() {
        return;
    }
    let remote = if held.went_out() { to } else { from };
    admit.settle(remote, protocol, held);
}

#[expect(
    clippy::too_many_arguments,
    reason = "inlined: a structure of references would be taken apart again"
)]
#[inline(always)]
fn add<S: Sequence, R: FlowSink>(
    bucket: &mut Bucket,
    slot: usize,
    direction: usize,
    member: Member<'_>,
    way: Way,
    arrival: &Arrival,
    sink: &mut R,
    admit: &mut impl Admit,
) -> Taken {
    let packet = member.packet;
    let head = &mut bucket.heads[slot];
    let lines = &mut bucket.directions[slot];
    let seen = mark::SEEN << direction;
    let is_full = head.marks & seen != 0 && lines[direction].is_full(arrival);
    if is_full || is_over(head, lines, direction, arrival.now_ns) {
        if !head.send(lines, slot, sink, admit, Sent::Rollover) {
            return Taken::old(Cached::RolloverLost);
        }
        S::bump(&mut head.sequence);
        head.generation = head.generation.wrapping_add(1);
        head.marks &= !(mark::SEEN | mark::SEEN << 1);
        start(head, &mut lines[direction], seen, packet, arrival);
        S::bump(&mut head.sequence);
        // What is sampled whole is so after a silence, too.
        return Taken {
            cached: Cached::RolledOver,
            due: Due::NONE,
            depth: head.depth_at(u16::MAX),
        };
    }
    let line = &mut lines[direction];
    let (mut cached, mut due) = (Cached::Hit, Due::NONE);
    // What an inner packet counts in rows, it counts there at once.
    let may_wait = member.outer.is_none() && is_plain(packet);
    S::bump(&mut head.sequence);
    if head.marks & seen == 0 {
        start(head, line, seen, packet, arrival);
        if may_wait {
            cached = Cached::HitDue;
            due = Due {
                packets: arrival.segments as u32,
                bytes: arrival.bytes,
            };
        }
    } else {
        (cached, due) = go_on(head, line, direction, packet, may_wait, way, arrival);
    }
    let depth = head.depth_at(line.packets);
    S::bump(&mut head.sequence);
    Taken { cached, due, depth }
}

/// A further packet of a direction.
#[inline(always)]
fn go_on(
    head: &mut Head,
    line: &mut Direction,
    direction: usize,
    packet: &Packet,
    may_wait: bool,
    way: Way,
    arrival: &Arrival,
) -> (Cached, Due) {
    let (mut cached, mut due) = (Cached::Hit, Due::NONE);
    if may_wait
        && let Some(taken) = head.held[direction].take(way, arrival, line.packets, line.last_ns)
    {
        cached = Cached::HitDue;
        due = taken;
    }
    head.marks |= marks(packet);
    line.add(packet, arrival);
    (cached, due)
}

/// Silence after which a record takes no more packets: 17.2 s, a power of two for a cheap test.
pub const RESTART_NS: u64 = 1 << RESTART_SHIFT;
const RESTART_SHIFT: u32 = 34;

/// True where the flow was silent for [`RESTART_NS`]. Looks at the other direction's line only
/// where its own is silent.
#[inline(always)]
fn is_over(head: &Head, lines: &[Direction; 2], direction: usize, now_ns: u64) -> bool {
    let other = direction ^ 1;
    is_silent(head, &lines[direction], direction, now_ns)
        && is_silent(head, &lines[other], other, now_ns)
}

#[inline(always)]
fn is_silent(head: &Head, line: &Direction, direction: usize, now_ns: u64) -> bool {
    head.marks & mark::SEEN << direction == 0
        || now_ns.saturating_sub(line.last_ns) >> RESTART_SHIFT != 0
}

/// Marks that a packet leaves, without a branch.
#[inline(always)]
const fn marks(packet: &Packet) -> u8 {
    let flags = packet.tcp_flags;
    let closes = (flags | flags >> RST_TO_FIN) & tcp_flags::FIN;
    ((packet.is_fragment & 1) * mark::FRAGMENTS) | (closes * mark::CLOSING)
}

const RST_TO_FIN: u32 = 2;
const _: () = assert!(tcp_flags::FIN == 1 && tcp_flags::RST >> RST_TO_FIN == tcp_flags::FIN);

/// True for a SYN without ACK: a connection begins (RFC 9293 3.5).
#[inline(always)]
const fn opens(packet: &Packet) -> bool {
    const CONTROL: u8 = tcp_flags::SYN | tcp_flags::ACK | tcp_flags::FIN | tcp_flags::RST;
    packet.tcp_flags & CONTROL == tcp_flags::SYN
}

/// The first packet of a direction.
#[inline(always)]
fn start(head: &mut Head, line: &mut Direction, seen: u8, packet: &Packet, arrival: &Arrival) {
    head.marks |= seen | marks(packet);
    line.begin(packet, arrival);
}
