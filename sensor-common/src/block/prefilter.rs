//! Bitmaps that say "nothing near": most packets never look further.
//!
//! A filter is a row of planes, one for each granularity of network. An entry sets its bit in the
//! finest plane of its family that is not finer than the entry; one that is shorter than the
//! coarsest sets all the bits it covers there, which is why that plane is not hashed.

use super::list::Key;
use crate::{Address, mix};

/// One granularity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    pub is_v4: bool,
    /// Prefix length of its networks, within the family.
    pub length: u8,
    /// Size in bits, as a power of two.
    pub log2_bits: u8,
    /// First word.
    pub base: u32,
}

/// Filter of the block-list: 2 MiB for IPv4 /24 networks; 512 KiB for /48, 128 KiB each for /32
/// and /20 networks of IPv6.
pub const BLOCK_PLANES: [Plane; 4] = planes([
    (true, 24, 24),
    (false, 48, 22),
    (false, 32, 20),
    (false, 20, 20),
]);
/// Filter of the allow-list, which is short: 8 KiB a plane.
pub const ALLOW_PLANES: [Plane; 5] = planes([
    (true, 24, 16),
    (true, 16, 16),
    (false, 48, 16),
    (false, 32, 16),
    (false, 16, 16),
]);

/// 64-bit words of a filter.
pub const BLOCK_WORDS: u32 = n_words(&BLOCK_PLANES);
pub const ALLOW_WORDS: u32 = n_words(&ALLOW_PLANES);

const fn planes<const N: usize>(sizes: [(bool, u8, u8); N]) -> [Plane; N] {
    let mut planes = [Plane {
        is_v4: true,
        length: 0,
        log2_bits: 0,
        base: 0,
    }; N];
    let (mut i, mut base) = (0, 0);
    while i < N {
        let (is_v4, length, log2_bits) = sizes[i];
        planes[i] = Plane {
            is_v4,
            length,
            log2_bits,
            base,
        };
        base += 1 << (log2_bits - 6);
        i += 1;
    }
    planes
}

const fn n_words(planes: &[Plane]) -> u32 {
    let last = planes[planes.len() - 1];
    last.base + (1 << (last.log2_bits - 6))
}

/// Source as the prefilter sees it: its family, and its first 64 bits, those of an IPv4 address in
/// the upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    pub is_v4: bool,
    pub top: u64,
}

impl Site {
    #[inline(always)]
    pub const fn of(key: Key) -> Self {
        let is_v4 = key.high == 0 && key.low >> 32 == 0xffff;
        let top = if is_v4 { key.low << 32 } else { key.high };
        Self { is_v4, top }
    }
}

/// The first 64 bits of an address, an IPv4 address in the upper half.
pub const fn top_bits(address: &Address) -> u64 {
    Site::of(Key::of(address)).top
}

impl Plane {
    /// True where every network has a bit of its own.
    #[inline(always)]
    pub const fn is_direct(&self) -> bool {
        self.length == self.log2_bits
    }

    /// Bit of the network that the address belongs to.
    #[inline(always)]
    pub const fn bit(&self, top: u64) -> u64 {
        let network = top >> (64 - self.length as u32);
        if self.is_direct() {
            return network;
        }
        // Who aims at another's bit gains that his packets are looked up: no secret is needed.
        mix(network, self.length as u64, 0x7f4a_7c15_9e37_79b9) & ((1 << self.log2_bits) - 1)
    }

    /// Word of the filter and bit within the word.
    #[inline(always)]
    pub const fn place(&self, bit: u64) -> (u32, u32) {
        (self.base + (bit >> 6) as u32, bit as u32 & 63)
    }
}
