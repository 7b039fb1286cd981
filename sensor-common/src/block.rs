//! Block entries and the check of one packet against one entry.

use crate::counters::Outcome;
use crate::packet::Packet;

/// What to do with packets that an entry covers. The values lie in map entries.
pub const ACTION_DROP: u8 = 1;
pub const ACTION_RATE_LIMIT: u8 = 2;

/// One entry: value of the exact and of the prefix table.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct BlockEntry {
    /// Kernel monotonic time from which on the entry no longer holds; `u64::MAX` is never.
    pub expires_ns: u64,
    /// What was hit: counted in monitor mode, too.
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
    pub action: u8,
    /// 0: any protocol.
    pub protocol: u8,
    /// Local (destination) port, 0: any.
    pub port: u16,
    /// Order of insertion modulo 2^32.
    pub serial: u32,
}

/// Key of the prefix tables: longest prefix match over the IPv4-mapped form.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Prefix {
    /// 0 to 128; an IPv4 prefix has 96 more than its own.
    pub length: u32,
    pub address: crate::Address,
}

const _: () = assert!(size_of::<BlockEntry>() == 64);
const _: () = assert!(size_of::<Prefix>() == 20);

// SAFETY: integers; the size assertion rules padding out.
unsafe impl crate::Pod for BlockEntry {}
// SAFETY: as above.
unsafe impl crate::Pod for Prefix {}

/// Written by user space, read by every packet: one cache line.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Gate {
    /// Number of entries; 0 skips the check.
    pub n_allowed: u32,
    pub n_exact: u32,
    pub n_prefixes: u32,
    /// 1: drop; 0: count what would be dropped.
    pub enforce: u32,
    /// Prefixes that the prefilter can't hold (shorter than /8, or IPv6): always look.
    pub n_unfiltered: u32,
    pub reserved: [u32; 11],
}

const _: () = assert!(size_of::<Gate>() == 64);
// SAFETY: u32 fields only.
unsafe impl crate::Pod for Gate {}

/// What an entry says about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Expired, out of scope, or within its rate.
    Pass,
    Drop,
    OverRate,
}

/// Bit of the prefilter that an address belongs to: its /24, or a hash of its /48. Word index and
/// bit within the word.
#[inline(always)]
pub fn prefilter_bit(address: &crate::Address) -> (u32, u32) {
    let network = if crate::is_v4(address) {
        u32::from_be(address[3]) >> 8
    } else {
        let half = u32::from_be(address[1]) >> 16;
        (crate::mix(address[0] as u64, half as u64, 0x7f4a_7c15_9e37_79b9) & 0xff_ffff) as u32
    };
    (network >> 6, network & 63)
}

/// True where the entry holds now and covers the packet.
#[inline(always)]
fn covers(entry: &BlockEntry, packet: &Packet, now_ns: u64) -> bool {
    if now_ns >= entry.expires_ns {
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
pub fn rule(
    entry: &mut BlockEntry,
    packet: &Packet,
    now_ns: u64,
    bytes: u32,
    add: impl Fn(&mut u64, u64),
) -> Ruling {
    if !covers(entry, packet, now_ns) {
        return Ruling::Pass;
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
            return Ruling::Pass;
        }
    } else {
        Ruling::Drop
    };
    add(&mut entry.packets, 1);
    add(&mut entry.bytes, bytes as u64);
    ruling
}
