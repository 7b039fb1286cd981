//! The block check: what a packet's source meets in the allow-list and the block-list.
//!
//! Both lists lie in array maps, which the kernel program looks up inline and the agent writes
//! through shared memory: no system call per entry, nothing for the kernel to free entry by entry.
//! A bitmap comes first ([`prefilter`]); behind it a hash table of exact sources and one of
//! prefixes ([`list`]), the latter asked once for each prefix length in use, longest first.

pub mod list;
pub mod prefilter;

use crate::counters::Outcome;
use crate::event::BLOCK_HIT_MASK;
use crate::packet::Packet;
use list::{Key, MAX_SHAPES, SHAPES_V6, SLOTS, ScopeSet, Shape, SourceBucket};
use prefilter::{ALLOW_PLANES, BLOCK_PLANES, Plane, top_bits};

/// What to do with packets that an entry covers. The values lie in map entries.
pub const ACTION_NONE: u8 = 0;
pub const ACTION_DROP: u8 = 1;
pub const ACTION_RATE_LIMIT: u8 = 2;

/// One entry: a source (or prefix) with one scope.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct BlockEntry {
    /// Kernel monotonic time from which on the entry no longer holds.
    pub expires_ns: u64,
    /// What was dropped, or would have been: counted in monitor mode, too.
    pub packets: u64,
    pub bytes: u64,
    /// Token bucket of [`ACTION_RATE_LIMIT`]: time up to which the tokens were spent.
    pub spent_until_ns: u64,
    /// Nanoseconds that one packet costs (1e9 / packets per second).
    pub packet_cost_ns: u64,
    /// Burst, as time: packets that may arrive at once x `packet_cost_ns`.
    pub burst_ns: u64,
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
    pub reserved: [u32; 8],
}

const _: () = assert!(size_of::<Gate>() == 64);
// SAFETY: u32 fields only.
unsafe impl crate::Pod for Gate {}

/// What the lists say about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// No entry, or expired, out of scope, or within its rate.
    Pass,
    /// On the allow-list, near a block entry.
    Allowed,
    Drop,
    OverRate,
}

/// What a packet met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    pub ruling: Ruling,
    /// Origin of the entry, where this hit is one to be told.
    pub told: Option<u64>,
    /// As in [`Gate`].
    pub enforce: u32,
}

impl Met {
    const NOTHING: Self = Self::plain(Ruling::Pass);

    const fn plain(ruling: Ruling) -> Self {
        Self {
            ruling,
            told: None,
            enforce: 0,
        }
    }
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
    /// Adds to a counter that CPUs share.
    fn add(counter: &mut u64, amount: u64);
}

/// A packet on its way through the lists.
struct Asked<'a> {
    packet: &'a Packet,
    now_ns: u64,
    bytes: u32,
    seed: u64,
}

/// Looks a packet's source up and rules on it.
#[inline(always)]
pub fn check<T: BlockTable>(
    table: &mut T,
    packet: &Packet,
    now_ns: u64,
    bytes: u32,
    seed: u64,
) -> Met {
    let gate = table.gate();
    Met {
        enforce: gate.enforce,
        ..check_behind(&gate, table, packet, now_ns, bytes, seed)
    }
}

#[inline(always)]
fn check_behind<T: BlockTable>(
    gate: &Gate,
    table: &mut T,
    packet: &Packet,
    now_ns: u64,
    bytes: u32,
    seed: u64,
) -> Met {
    if gate.n_sources == 0 && gate.n_prefixes == 0 {
        return Met::NOTHING;
    }
    let source = &packet.source;
    if !is_near(gate.block_planes, &BLOCK_PLANES, source, |word| {
        table.block_filter(word)
    }) {
        return Met::NOTHING;
    }
    if gate.n_allowed != 0
        && is_near(gate.allow_planes, &ALLOW_PLANES, source, |word| {
            table.allow_filter(word)
        })
        && table.is_allowed(source)
    {
        return Met::plain(Ruling::Allowed);
    }
    let asked = Asked {
        packet,
        now_ns,
        bytes,
        seed,
    };
    let key = Key::of(source);
    if gate.n_sources != 0 {
        let met = look(table, &asked, key, T::sources);
        if met.ruling != Ruling::Pass {
            return met;
        }
    }
    if gate.n_prefixes == 0 {
        return Met::NOTHING;
    }
    let (first, n_shapes) = if crate::is_v4(source) {
        (0, gate.n_shapes_v4)
    } else {
        (SHAPES_V6, gate.n_shapes_v6)
    };
    look_at_prefixes(table, &asked, key, first, n_shapes)
}

/// True where a plane of the source's family has the source's bit.
#[inline(always)]
fn is_near<const N: usize>(
    used: u32,
    planes: &[Plane; N],
    source: &crate::Address,
    word: impl Fn(u32) -> u64,
) -> bool {
    let is_v4 = crate::is_v4(source);
    let top = top_bits(source);
    let mut i = 0;
    while i < N {
        let plane = &planes[i];
        if plane.is_v4 == is_v4 && used >> i & 1 != 0 {
            let (at, bit) = plane.place(plane.bit(top));
            if word(at) >> bit & 1 != 0 {
                return true;
            }
        }
        i += 1;
    }
    false
}

/// Every length in use, longest first, until an entry takes the packet: one that has expired or
/// has another scope hides no shorter prefix.
#[inline(always)]
fn look_at_prefixes<T: BlockTable>(
    table: &mut T,
    asked: &Asked<'_>,
    key: Key,
    first: u32,
    n_shapes: u32,
) -> Met {
    let mut i = 0;
    while i < MAX_SHAPES {
        if i >= n_shapes {
            break;
        }
        let Some(shape) = table.shape(first + i) else {
            break;
        };
        let met = look(table, asked, shape.cut(key), T::prefixes);
        if met.ruling != Ruling::Pass {
            return met;
        }
        i += 1;
    }
    Met::NOTHING
}

/// A key has two buckets (cuckoo hashing, Pagh and Rodler 2001, with buckets of four).
#[inline(always)]
fn look<T: BlockTable>(
    table: &mut T,
    asked: &Asked<'_>,
    key: Key,
    bucket: impl for<'a> Fn(&'a mut T, u32) -> Option<&'a mut SourceBucket>,
) -> Met {
    let mut buckets = key.buckets(asked.seed, table.bucket_mask());
    let mut tries = 0;
    while tries < 2 {
        if let Some(found) = bucket(table, buckets.0) {
            let slot = found.find(key);
            if slot < SLOTS {
                // The mask says again what the comparison said, to the verifier.
                let entry = &mut found.entries[slot & (SLOTS - 1)];
                let met = rule(entry, asked, T::add);
                let scopes = entry.scopes;
                if met.ruling != Ruling::Pass || scopes == 0 {
                    return met;
                }
                return look_at_scopes(table, asked, scopes);
            }
        }
        buckets.0 = buckets.1;
        tries += 1;
    }
    Met::NOTHING
}

#[inline(always)]
fn look_at_scopes<T: BlockTable>(table: &mut T, asked: &Asked<'_>, scopes: u16) -> Met {
    let Some(set) = table.scopes(u32::from(scopes) - 1) else {
        return Met::NOTHING;
    };
    let mut i = 0;
    while i < set.entries.len() {
        let met = rule(&mut set.entries[i], asked, T::add);
        if met.ruling != Ruling::Pass {
            return met;
        }
        i += 1;
    }
    Met::NOTHING
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

/// Rules on a packet and counts it in the entry. The counters are shared between CPUs: `add` is
/// the caller's way to add to one.
#[inline(always)]
fn rule(entry: &mut BlockEntry, asked: &Asked<'_>, add: impl Fn(&mut u64, u64)) -> Met {
    let now_ns = asked.now_ns;
    if !covers(entry, asked.packet, now_ns) {
        return Met::NOTHING;
    }
    let ruling = if entry.action == ACTION_RATE_LIMIT {
        // Generic cell rate algorithm (ITU-T I.371): a token bucket in one number. Two CPUs may
        // race for it; the error is a packet, once.
        let start = if entry.spent_until_ns > now_ns {
            entry.spent_until_ns
        } else {
            now_ns
        };
        if start - now_ns > entry.burst_ns {
            Ruling::OverRate
        } else {
            entry.spent_until_ns = start + entry.packet_cost_ns;
            return Met::NOTHING;
        }
    } else {
        Ruling::Drop
    };
    let told = (entry.packets & BLOCK_HIT_MASK == 0).then_some(entry.origin);
    add(&mut entry.packets, 1);
    add(&mut entry.bytes, asked.bytes as u64);
    Met {
        told,
        ..Met::plain(ruling)
    }
}
