//! Definitions that the kernel program and user space share: the packet parser, the flow cache,
//! per-host counters, the block check, the records that cross the boundary and every capacity.
//!
//! Nothing in here allocates, panics on input, or knows whether it runs in the kernel. Map values
//! are integers and byte arrays with explicit padding; enums only come out of a `match`.
#![cfg_attr(not(any(test, feature = "invariants")), no_std)]

pub mod arrival;
pub mod block;
pub mod counters;
pub mod crossing;
pub mod datapath;
pub mod event;
pub mod flow;
pub mod host;
pub mod limits;
pub mod packet;
pub mod service;
pub mod shield;

/// A type whose bytes may be read from, or written to, a BPF map or ring as they are.
///
/// # Safety
/// Implementors are `repr(C)`, contain only integers and arrays of integers, and have no padding.
pub unsafe trait Pod: Copy + 'static {}

// SAFETY: integers.
unsafe impl Pod for u8 {}
// SAFETY: as above.
unsafe impl Pod for u32 {}
// SAFETY: as above.
unsafe impl Pod for u64 {}

/// An IPv4 or IPv6 address as four 32-bit words that hold the bytes in wire order; an IPv4 address
/// is kept IPv4-mapped (`::ffff:a.b.c.d`, RFC 4291 2.5.5.2), so that one key serves both families.
pub type Address = [u32; 4];

/// The third word of every IPv4-mapped address, in wire order.
pub const V4_MAPPED_PREFIX: u32 = 0x0000_ffff_u32.to_be();

/// Builds the IPv4-mapped form of an IPv4 address whose bytes are in wire order.
#[inline(always)]
pub const fn v4_mapped(wire: u32) -> Address {
    [0, 0, V4_MAPPED_PREFIX, wire]
}

/// True for an IPv4-mapped address.
#[inline(always)]
pub const fn is_v4(address: &Address) -> bool {
    address[0] == 0 && address[1] == 0 && address[2] == V4_MAPPED_PREFIX
}

/// Mixes two words under a secret seed; multiply and fold, in the manner of wyhash (Wang Yi).
/// A keyed mixer, not a cryptographic hash: it keeps outsiders who don't know the seed from aiming
/// collisions, at the price of a few multiplications.
#[inline(always)]
pub const fn mix(a: u64, b: u64, seed: u64) -> u64 {
    let mut hash = (a ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 32;
    hash = (hash ^ b).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

/// 1 for zero, else 0, without a branch; `opaque` keeps the compiler from making one.
#[inline(always)]
pub(crate) fn is_zero(value: u64, opaque: impl Fn(u64) -> u64) -> u64 {
    let sign = opaque(value | value.wrapping_neg()) >> 63;
    opaque(sign ^ 1)
}

/// 1 where `a` is less than `b`, both below 2^63, else 0, without a branch.
#[inline(always)]
pub(crate) fn is_less(a: u64, b: u64, opaque: impl Fn(u64) -> u64) -> u64 {
    let difference = opaque(a.wrapping_sub(b));
    opaque(difference >> 63)
}

/// Mask of the places of a bucket where nothing differs, else 0, without a branch.
///
/// Not all ones: an AND with what is 0 or -1 the kernel's verifier takes for a choice (Linux 6.18), and follows
/// both ways of each.
#[inline(always)]
pub(crate) fn mask(differs: u64, opaque: impl Fn(u64) -> u64) -> u64 {
    const PLACES: u64 = 15;
    let is_same = is_zero(differs, &opaque);
    opaque(is_same * PLACES)
}

/// Hash of one address under a secret seed.
#[inline(always)]
pub fn hash_address(address: &Address, seed: u64) -> u64 {
    let high = (address[0] as u64) << 32 | address[1] as u64;
    let low = (address[2] as u64) << 32 | address[3] as u64;
    mix(high, low, seed)
}
