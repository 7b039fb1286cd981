//! The block check: what a packet's source meets in the allow-list and the block-list.
//!
//! Both lists lie in array maps, which the kernel program looks up inline and the agent writes
//! through shared memory: no system call per entry, nothing for the kernel to free entry by entry.
//! A bitmap comes first ([`prefilter`]); behind it a hash table of exact sources and one of
//! prefixes ([`list`]), the latter asked once for each prefix length in use, longest first.

pub mod known;
pub mod list;
pub mod prefilter;

use crate::counters::Outcome;
use crate::event::BLOCK_HIT_MASK;
use crate::packet::Packet;
use known::{KnownFlows, spared};
use list::{Key, MAX_SHAPES, SHAPES_V6, SLOTS, ScopeSet, Shape, SourceBucket};
use prefilter::{ALLOW_PLANES, BLOCK_PLANES, Plane, Site};

/// Actions on packets that an entry covers. The values lie in map entries.
pub const ACTION_NONE: u8 = 0;
pub const ACTION_DROP: u8 = 1;
/// Flows that go both ways ([`known`]) pass; the rest does up to a rate.
pub const ACTION_RATE_LIMIT: u8 = 2;
/// Flows that go both ways pass; the rest is dropped.
pub const ACTION_QUARANTINE: u8 = 3;
/// As the limit, but beyond the rate a SYN is answered by a cookie ([`crate::shield`]); who acknowledges that
/// is connected, up to the rate as well. What else belongs to no connection is dropped.
pub const ACTION_CHALLENGE: u8 = 4;

/// One entry: a source (or prefix) with one scope.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct BlockEntry {
    /// Kernel monotonic time from which on the entry no longer holds.
    pub expires_ns: u64,
    /// Packets that were dropped, or would have been: counted in monitor mode, too.
    pub packets: u64,
    pub bytes: u64,
    /// Token bucket of [`ACTION_RATE_LIMIT`] and [`ACTION_CHALLENGE`]: time up to which the tokens were
    /// spent.
    pub spent_until_ns: u64,
    /// Nanoseconds that one packet costs (1e9 / packets per second).
    pub packet_cost_ns: u64,
    /// Token bucket of connections that a challenge let through: nobody who forges takes of them.
    pub met_until_ns: u64,
    /// Decision that made the entry; 0 by hand.
    pub origin: u64,
    /// [`ACTION_NONE`]: nothing for the source as a whole; it may have scopes.
    pub action: u8,
    /// 0: any protocol.
    pub protocol: u8,
    /// Local (destination) port, 0: any.
    pub port: u16,
    /// 1 + index of the set of further, narrower scopes of the same source; 0: none.
    pub scopes: u16,
    /// Prefix length as in IPv6, 128 for an exact source.
    pub length: u8,
    pub reserved: u8,
}

impl BlockEntry {
    /// Takes a packet out of the rate; false where it is spent.
    #[inline(always)]
    pub const fn affords(&mut self, now_ns: u64) -> bool {
        spends(&mut self.spent_until_ns, self.packet_cost_ns, now_ns)
    }

    /// Takes a connection that met the challenge out of the rate of those; false where it is spent.
    #[inline(always)]
    pub const fn affords_met(&mut self, now_ns: u64) -> bool {
        spends(&mut self.met_until_ns, self.packet_cost_ns, now_ns)
    }
}

/// Generic cell rate algorithm (ITU-T I.371): a token bucket in one number. As much may come at once as in a
/// second, of which one packet passes at no tokens. Two CPUs may race for it; the error is a packet, once.
#[inline(always)]
const fn spends(until_ns: &mut u64, cost_ns: u64, now_ns: u64) -> bool {
    const BURST_NS: u64 = 1_000_000_000;
    let start = if *until_ns > now_ns {
        *until_ns
    } else {
        now_ns
    };
    let has_room = start - now_ns + cost_ns <= BURST_NS;
    if has_room {
        *until_ns = start + cost_ns;
    }
    has_room
}

const _: () = assert!(size_of::<BlockEntry>() == 64);
// SAFETY: integers; the size assertion rules padding out.
unsafe impl crate::Pod for BlockEntry {}

/// Written by user space, read by every packet: one cache line.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Gate {
    /// Number of entries; 0 skips the check.
    pub n_allowed: u32,
    pub n_sources: u32,
    pub n_prefixes: u32,
    /// 1: drop; 0: count what would be dropped.
    pub enforce: u32,
    /// Prefix lengths in use.
    pub n_shapes_v4: u32,
    pub n_shapes_v6: u32,
    /// Bit i: plane i of the prefilter has a bit set.
    pub block_planes: u32,
    pub allow_planes: u32,
    /// Secret of the hashes, for a later agent that finds the lists.
    pub seed: u64,
    /// [`LAYOUT`] of who wrote the lists.
    pub layout: u16,
    /// Seconds without a sign of life after which entries by decisions hold nothing back; 0: they do until
    /// they expire.
    pub dead_after_s: u16,
    /// 1: a person stopped the enforcement, whatever an agent says (`sensor panic`).
    pub stopped: u32,
    /// Kernel monotonic time at which an agent last looked at the flows, for the same; its sign of life.
    pub looked_ns: u64,
    /// Bits of the buckets that hold a shield ([`crate::shield::bit`], [`crate::shield::reflex_bit`]); 0 skips
    /// them all.
    pub shields: u64,
}

impl Gate {
    /// True where packets are dropped: by mode, and by no person's stop.
    #[inline(always)]
    pub const fn enforces(&self) -> bool {
        self.enforce != 0 && self.stopped == 0
    }

    /// True where there was no sign of life for too long.
    #[inline(always)]
    pub const fn is_dead(&self, now_ns: u64) -> bool {
        let patience_ns = self.dead_after_s as u64 * 1_000_000_000;
        self.dead_after_s != 0 && now_ns > self.looked_ns.wrapping_add(patience_ns)
    }

    /// 1 where a packet that met an entry is held back, else 0.
    #[inline(always)]
    pub const fn enforces_on(&self, found: Packed, now_ns: u64) -> u32 {
        let is_left = found.is_by_decision() && self.is_dead(now_ns);
        (self.enforces() && !is_left) as u32
    }
}

/// Changes with the meaning of anything in the lists' maps.
pub const LAYOUT: u16 = 3;

const _: () = assert!(size_of::<Gate>() == 64);
// SAFETY: integers; the size assertion rules padding out.
unsafe impl crate::Pod for Gate {}

/// Ruling of the lists on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// No entry, or expired, out of scope, or within its rate.
    Pass,
    /// Source on the allow-list, near a block entry.
    Allowed,
    Drop,
    OverRate,
    /// Begins something, and its source is in quarantine.
    Quarantined,
    /// Over the rate of a source that is asked whether it is real: the program of the shields rules.
    Challenged,
}

/// Entry that a packet met, and the ruling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    pub ruling: Ruling,
    /// Origin of the entry, where this hit is one to be told.
    pub told: Option<u64>,
    /// [`Gate::enforces`].
    pub enforce: u32,
}

/// The tables of the allow-list and the block-list.
pub trait BlockTable {
    fn gate(&self) -> Gate;
    /// Words of the prefilters; all ones if not there.
    fn block_filter(&self, word: u32) -> u64;
    fn allow_filter(&self, word: u32) -> u64;
    fn is_allowed(&self, source: &crate::Address) -> bool;
    /// Mask to take a bucket's index from a hash.
    fn bucket_mask(&self) -> u32;
    fn sources(&mut self, bucket: u32) -> Option<&mut SourceBucket>;
    fn prefixes(&mut self, bucket: u32) -> Option<&mut SourceBucket>;
    fn scopes(&mut self, index: u32) -> Option<&mut ScopeSet>;
    fn shape(&self, index: u32) -> Option<Shape>;
    /// Bucket of the flows that go both ways; `None` where they are not followed.
    fn known(&mut self, bucket: u32) -> Option<&mut KnownFlows>;
    /// [`note_sent`], in a way that suits the table.
    fn note_sent(&mut self, asked: &Asked<'_>);
    /// [`spares`], in a way that suits the table.
    fn spares(&mut self, asked: &Asked<'_>) -> u64;
    /// Adds to a counter that CPUs share.
    fn add(counter: &mut u64, amount: u64);
    /// The value, which the compiler does not know any more: what it does not know it can't turn
    /// into branches, each of which the verifier would follow.
    #[inline(always)]
    fn opaque(value: u64) -> u64 {
        value
    }
    /// The value, which the verifier does not know any more: one state goes on where each value
    /// would be followed.
    #[inline(always)]
    fn forget(&self, value: u64) -> u64 {
        value
    }
    /// [`search`], in a way that suits the table.
    fn search(&mut self, asked: &Asked<'_>) -> Packed;
    /// Origin of the hit that was last to be told, from memory.
    fn told(&self) -> u64;
}

/// [`Met`] in two words.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Packed {
    /// The ruling in the low byte; bit 8 where the hit is to be told, bit 9 where a decision made the
    /// entry; from bit 16 on the entry's place.
    pub what: u64,
    pub origin: u64,
}

// SAFETY: two u64, no padding.
unsafe impl crate::Pod for Packed {}

/// Table of an entry.
#[derive(Clone, Copy)]
enum Place {
    Sources,
    Prefixes,
    Scopes,
}

const RULING: u64 = 0xff;
const PASS: u64 = 0;
const ALLOWED: u64 = 1;
/// One more than the action's number.
const DROP: u64 = ACTION_DROP as u64 + 1;
const OVER_RATE: u64 = ACTION_RATE_LIMIT as u64 + 1;
const QUARANTINED: u64 = ACTION_QUARANTINE as u64 + 1;
const CHALLENGED: u64 = ACTION_CHALLENGE as u64 + 1;
/// Place of an entry: two bits for the table, then its position there.
const PLACE_SHIFT: u32 = 16;
const PLACE_BITS: u32 = 2;
const TELL: u64 = 0x100;
/// The entry was made by a decision: position of the bit.
const BY_DECISION: u64 = 9;

impl Packed {
    #[inline(always)]
    pub const fn new(what: u64) -> Self {
        Self { what, origin: 0 }
    }

    /// True where [`Self::origin`] is to be told.
    #[inline(always)]
    pub const fn tells(self) -> bool {
        self.what & TELL != 0
    }

    /// True where the program of the shields rules on the packet.
    #[inline(always)]
    pub const fn challenges(self) -> bool {
        self.what & RULING == CHALLENGED
    }

    /// The entry that a challenge comes from.
    #[inline(always)]
    pub fn entry<T: BlockTable>(self, table: &mut T) -> Option<&mut BlockEntry> {
        let at = self.what >> PLACE_SHIFT;
        let (slot, index) = (
            (at >> PLACE_BITS) as usize & (SLOTS - 1),
            (at >> PLACE_BITS >> SLOT_BITS) as u32,
        );
        let place = at & ((1 << PLACE_BITS) - 1);
        if place == Place::Scopes as u64 {
            return table.scopes(index).map(|set| &mut set.entries[slot]);
        }
        let bucket = if place == Place::Sources as u64 {
            table.sources(index)
        } else {
            table.prefixes(index)
        };
        bucket.map(|bucket| &mut bucket.entries[slot])
    }

    #[inline(always)]
    const fn at(self, place: Place, position: u64) -> Self {
        Self {
            what: self.what | (position << PLACE_BITS | place as u64) << PLACE_SHIFT,
            origin: self.origin,
        }
    }

    #[inline(always)]
    const fn is_by_decision(self) -> bool {
        self.what >> BY_DECISION & 1 != 0
    }

    #[inline(always)]
    const fn passes(self) -> bool {
        self.what & RULING == PASS
    }

    #[inline(always)]
    pub const fn unpack(self, enforce: u32) -> Met {
        Met {
            ruling: match self.what & RULING {
                ALLOWED => Ruling::Allowed,
                DROP => Ruling::Drop,
                OVER_RATE => Ruling::OverRate,
                QUARANTINED => Ruling::Quarantined,
                CHALLENGED => Ruling::Challenged,
                _ => Ruling::Pass,
            },
            told: if self.tells() {
                Some(self.origin)
            } else {
                None
            },
            enforce,
        }
    }
}

/// Packet of a frame: the outer one, or the one within a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    Outer = 0,
    /// Within a tunnel.
    Inner = 1,
}

/// A packet on its way through the lists.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub packet: &'a Packet,
    pub level: Level,
    pub now_ns: u64,
    pub bytes: u32,
    pub seed: u64,
}

/// Takes note of what a packet that this host sends says of its flow; where anybody may have written its
/// addresses, nothing. True where that proves the flow for the first time.
#[inline(always)]
pub fn note_sent<T: BlockTable>(table: &mut T, asked: &Asked<'_>) -> bool {
    if asked.packet.realm.is_untrusted() {
        return false;
    }
    let hash = known::hash_sent(asked.packet, asked.seed);
    match table.known(known::bucket(hash)) {
        Some(flows) => {
            let (packet, bytes, now_ns) = (asked.packet, asked.bytes, asked.now_ns);
            known::note(flows, packet, bytes, now_ns, hash, T::opaque)
        }
        None => false,
    }
}

/// The actions ([`spared`]) that leave a packet of a listed source alone.
#[inline(always)]
pub fn spares<T: BlockTable>(table: &mut T, asked: &Asked<'_>) -> u64 {
    let hash = known::hash_received(asked.packet, asked.seed);
    match table.known(known::bucket(hash)) {
        Some(flows) => known::spares(flows, asked.packet, asked.now_ns, hash, T::opaque),
        None => spared::NONE,
    }
}

/// True where the allow-list may hold the source.
#[inline(always)]
fn may_allow<T: BlockTable>(table: &T, gate: &Gate, key: Key) -> bool {
    let near = |word| table.allow_filter(word);
    gate.n_allowed != 0 && is_near(gate.allow_planes, &ALLOW_PLANES, Site::of(key), near)
}

/// True where the list may have something near the source, by the prefilter.
#[inline(always)]
pub fn may_list<T: BlockTable>(table: &T, gate: &Gate, key: Key) -> bool {
    is_near(gate.block_planes, &BLOCK_PLANES, Site::of(key), |word| {
        table.block_filter(word)
    })
}

/// The shortest way to a drop: true, and counted in the entry, where [`check`] would say the same of
/// every packet of this source. False says nothing: whatever takes more than the entry of the source
/// itself goes the long way, and so does a hit that is to be told.
#[inline(always)]
pub fn drops<T: BlockTable>(
    table: &mut T,
    gate: &Gate,
    key: Key,
    now_ns: u64,
    bytes: u32,
    seed: u64,
) -> bool {
    if may_allow(table, gate, key) {
        return false;
    }
    let (one, other) = key.buckets(seed, table.bucket_mask());
    match drops_in(table, one, key, now_ns, bytes) {
        Some(is_dropped) => is_dropped,
        None => drops_in(table, other, key, now_ns, bytes).unwrap_or(false),
    }
}

/// [`drops`] by one bucket; `None`: the source is not there.
#[inline(always)]
fn drops_in<T: BlockTable>(
    table: &mut T,
    index: u32,
    key: Key,
    now_ns: u64,
    bytes: u32,
) -> Option<bool> {
    let bucket = table.sources(index)?;
    let slot = bucket.find(key, T::opaque);
    if slot >= SLOTS {
        return None;
    }
    let entry = &mut bucket.entries[slot & (SLOTS - 1)];
    let is_for_all = entry.action == ACTION_DROP && entry.protocol == 0 && entry.port == 0;
    if !is_for_all || now_ns >= entry.expires_ns || entry.packets & BLOCK_HIT_MASK == 0 {
        return Some(false);
    }
    T::add(&mut entry.packets, 1);
    T::add(&mut entry.bytes, bytes as u64);
    Some(true)
}

/// Looks the source up in the lists: in the allow-list first, then the source itself, then prefixes
/// that contain it.
#[inline(always)]
pub fn search<T: BlockTable>(table: &mut T, asked: &Asked<'_>) -> Packed {
    let gate = table.gate();
    let source = &asked.packet.source;
    let key = Key::of(source);
    if may_allow(table, &gate, key) && table.is_allowed(source) {
        return Packed::new(ALLOWED);
    }
    let spared = table.spares(asked);
    if gate.n_sources != 0 {
        let found = look_at_source(table, asked, key, spared);
        if !found.passes() {
            return found;
        }
    }
    if gate.n_prefixes == 0 {
        return Packed::new(PASS);
    }
    let (first_shape, n_shapes) = if crate::is_v4(source) {
        (0, gate.n_shapes_v4)
    } else {
        (SHAPES_V6, gate.n_shapes_v6)
    };
    let search = Search {
        key,
        first_shape,
        n_shapes,
        spared,
    };
    look_at_prefixes(table, asked, search)
}

/// True where a plane of the source's family has the source's bit.
#[inline(always)]
fn is_near<const N: usize>(
    used: u32,
    planes: &[Plane; N],
    site: Site,
    word: impl Fn(u32) -> u64,
) -> bool {
    let mut i = 0;
    while i < N {
        let plane = &planes[i];
        if plane.is_v4 == site.is_v4 && used >> i & 1 != 0 {
            let (at, bit) = plane.place(plane.bit(site.top));
            if word(at) >> bit & 1 != 0 {
                return true;
            }
        }
        i += 1;
    }
    false
}

/// Prefixes of one source that are looked at: so many may have expired, or have another scope, and
/// not hide a shorter one.
const MAX_NESTED: u32 = 4;

/// Longest first, until an entry takes the packet.
#[inline(always)]
fn look_at_prefixes<T: BlockTable>(table: &mut T, asked: &Asked<'_>, search: Search) -> Packed {
    let mut next = 0;
    let mut n_seen = 0;
    while n_seen < MAX_NESTED {
        let at = find_prefix(table, asked.seed, &search, &mut next);
        let at = table.forget(at);
        next = table.forget(next.into()) as u32;
        if at == NOWHERE {
            break;
        }
        let found = match table.prefixes((at >> SLOT_BITS) as u32) {
            Some(bucket) => {
                let entry = &mut bucket.entries[at as usize & (SLOTS - 1)];
                let met = rule(entry, asked, search.spared, T::add).at(Place::Prefixes, at);
                let scopes = entry.scopes;
                look_at_scopes(table, asked, search.spared, (met, scopes))
            }
            None => break,
        };
        if !found.passes() {
            return found;
        }
        n_seen += 1;
    }
    Packed::new(PASS)
}

/// Source and scope looked for among the prefixes.
struct Search {
    key: Key,
    first_shape: u32,
    n_shapes: u32,
    spared: u64,
}

/// Position of a key that is in no bucket; else the bucket, and in the lowest bits the slot.
const NOWHERE: u64 = u64::MAX;
const SLOT_BITS: u32 = 2;
const _: () = assert!(SLOTS == 1 << SLOT_BITS);

/// The next length, from `next` on, at which the table has the key.
#[inline(always)]
fn find_prefix<T: BlockTable>(table: &mut T, seed: u64, search: &Search, next: &mut u32) -> u64 {
    let mask = table.bucket_mask();
    let mut n_tries = 0;
    while n_tries < MAX_SHAPES {
        if *next >= search.n_shapes {
            break;
        }
        let Some(shape) = table.shape(search.first_shape + *next) else {
            break;
        };
        *next += 1;
        let key = shape.cut(search.key);
        let (one, other) = key.buckets(seed, mask);
        let at = probe(table, one, key, T::prefixes);
        if at != NOWHERE {
            return at;
        }
        let at = probe(table, other, key, T::prefixes);
        if at != NOWHERE {
            return at;
        }
        n_tries += 1;
    }
    NOWHERE
}

#[inline(always)]
fn probe<T: BlockTable>(
    table: &mut T,
    index: u32,
    key: Key,
    bucket: impl for<'a> Fn(&'a mut T, u32) -> Option<&'a mut SourceBucket>,
) -> u64 {
    let Some(found) = bucket(table, index) else {
        return NOWHERE;
    };
    let slot = found.find(key, T::opaque);
    if slot < SLOTS {
        u64::from(index) << SLOT_BITS | slot as u64
    } else {
        NOWHERE
    }
}

/// The source itself. A key has two buckets (cuckoo hashing, Pagh and Rodler 2001, with buckets of
/// four).
#[inline(always)]
fn look_at_source<T: BlockTable>(
    table: &mut T,
    asked: &Asked<'_>,
    key: Key,
    spared: u64,
) -> Packed {
    let (one, other) = key.buckets(asked.seed, table.bucket_mask());
    let mut at = probe(table, one, key, T::sources);
    if at == NOWHERE {
        at = probe(table, other, key, T::sources);
    }
    let at = T::opaque(at);
    if at == NOWHERE {
        return Packed::new(PASS);
    }
    let Some(bucket) = table.sources((at >> SLOT_BITS) as u32) else {
        return Packed::new(PASS);
    };
    let entry = &mut bucket.entries[at as usize & (SLOTS - 1)];
    let met = rule(entry, asked, spared, T::add).at(Place::Sources, at);
    let scopes = entry.scopes;
    look_at_scopes(table, asked, spared, (met, scopes))
}

/// The narrower scopes, where the entry for the source as a whole let the packet pass.
#[inline(always)]
fn look_at_scopes<T: BlockTable>(
    table: &mut T,
    asked: &Asked<'_>,
    spared: u64,
    (met, scopes): (Packed, u16),
) -> Packed {
    if !met.passes() || scopes == 0 {
        return met;
    }
    let Some(set) = table.scopes(u32::from(scopes) - 1) else {
        return Packed::new(PASS);
    };
    let mut i = 0;
    while i < set.entries.len() {
        let met = rule(&mut set.entries[i], asked, spared, T::add);
        if !met.passes() {
            let index = u64::from(scopes) - 1;
            return met.at(Place::Scopes, index << SLOT_BITS | i as u64);
        }
        i += 1;
    }
    Packed::new(PASS)
}

/// True where the entry holds now and covers the packet.
#[inline(always)]
fn covers(entry: &BlockEntry, packet: &Packet, now_ns: u64) -> bool {
    if entry.action == ACTION_NONE || now_ns >= entry.expires_ns {
        return false;
    }
    if entry.protocol != 0 && entry.protocol != packet.protocol {
        return false;
    }
    // A later fragment has no port: it goes the way of its protocol.
    entry.port == 0 || entry.port == packet.destination_port || packet.is(Outcome::LaterFragment)
}

/// 1 for the origin of a decision, else 0, without a branch: the sign of the number or of its negative.
#[inline(always)]
const fn is_by_decision(origin: u64) -> u64 {
    (origin | origin.wrapping_neg()) >> 63
}

/// Rules on a packet and counts it in the entry. The counters are shared between CPUs: `add` is
/// the caller's way to add to one.
#[inline(always)]
fn rule(
    entry: &mut BlockEntry,
    asked: &Asked<'_>,
    spared: u64,
    add: impl Fn(&mut u64, u64),
) -> Packed {
    let now_ns = asked.now_ns;
    if !covers(entry, asked.packet, now_ns) {
        return Packed::new(PASS);
    }
    // No branch for each action: the verifier would follow all that comes after once for each.
    let action = entry.action as u64;
    if spared >> (action & 63) & 1 != 0 {
        return Packed::new(PASS);
    }
    let has_rate = entry.action == ACTION_RATE_LIMIT || entry.action == ACTION_CHALLENGE;
    if has_rate && entry.affords(now_ns) {
        return Packed::new(PASS);
    }
    // The first, and then every so many.
    let tell = if entry.packets & BLOCK_HIT_MASK == 0 {
        TELL
    } else {
        0
    };
    let ruling = if entry.action == ACTION_CHALLENGE {
        challenge(asked)
    } else {
        action + 1
    };
    // What is asked may well pass: who asks counts.
    if ruling != CHALLENGED {
        add(&mut entry.packets, 1);
        add(&mut entry.bytes, asked.bytes as u64);
    }
    Packed {
        what: ruling | tell | is_by_decision(entry.origin) << BY_DECISION,
        origin: entry.origin,
    }
}

/// Ruling on a packet over the rate of a source that is challenged: a segment can be asked about; anything
/// else, and what comes in a tunnel, is over the rate.
#[inline(always)]
fn challenge(asked: &Asked<'_>) -> u64 {
    let packet = asked.packet;
    let is_segment = packet.is(Outcome::Tcp) && packet.is_fragment == 0;
    if is_segment && asked.level == Level::Outer {
        CHALLENGED
    } else {
        OVER_RATE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_sign_of_life_decisions_hold_nothing_back_and_operators_entries_do() {
        let gate = Gate {
            enforce: 1,
            looked_ns: 1_000,
            dead_after_s: 2,
            ..Gate::default()
        };
        let by_hand = Packed::new(DROP);
        let decided = Packed::new(DROP | is_by_decision(7) << BY_DECISION);
        assert_eq!(decided.unpack(1).ruling, Ruling::Drop);
        for (now_ns, held) in [(900, 1), (2_000_001_000, 1), (2_000_001_001, 0)] {
            assert_eq!(gate.enforces_on(decided, now_ns), held, "{now_ns}");
            assert_eq!(gate.enforces_on(by_hand, now_ns), 1);
        }
        let holds = Gate {
            dead_after_s: 0,
            ..gate
        };
        assert_eq!(holds.enforces_on(decided, u64::MAX), 1);
        let monitors = Gate { enforce: 0, ..gate };
        assert_eq!(monitors.enforces_on(by_hand, 900), 0);
        assert_eq!([0, 1, u64::MAX].map(is_by_decision), [0, 1, 1]);
    }
}
