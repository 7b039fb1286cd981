//! Addresses for people, and tables whose order is a function of what was put in.

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use indexmap::IndexMap;
use sensor_common::{Address, is_v4, mix};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The address as the standard library writes it; IPv4-mapped ones as IPv4.
pub fn to_ip(address: &Address) -> IpAddr {
    if is_v4(address) {
        return IpAddr::V4(Ipv4Addr::from(address[3].to_ne_bytes()));
    }
    let mut bytes = [0u8; 16];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(address) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    IpAddr::V6(Ipv6Addr::from(bytes))
}

/// The inverse of [`to_ip`].
pub fn from_ip(ip: IpAddr) -> Address {
    let bytes = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let mut address = [0u32; 4];
    for (word, chunk) in address.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    }
    address
}

/// An insertion-ordered table under a seed that the shell hands in: equal inputs give an equal
/// order, and outsiders who don't know the seed can't aim collisions.
pub(crate) type Table<K, V> = IndexMap<K, V, Seeded>;

/// Builds [`Mixer`]s of one seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeded(pub u64);

impl BuildHasher for Seeded {
    type Hasher = Mixer;
    fn build_hasher(&self) -> Mixer {
        Mixer {
            state: 0,
            seed: self.0,
        }
    }
}

/// Folds what it is given with [`mix`].
pub(crate) struct Mixer {
    state: u64,
    seed: u64,
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0u8; 8];
            for (to, from) in word.iter_mut().zip(rest) {
                *to = *from;
            }
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }
    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }
    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.state = mix(self.state, value, self.seed);
    }
    fn write_usize(&mut self, value: usize) {
        // Lengths and variants, which come before what they are about.
        self.state = self.state.rotate_left(8) ^ value as u64;
    }
    fn finish(&self) -> u64 {
        // Tables take a place from the low bits and a tag from the top ones: have all of either
        // depend on all of the state (the finaliser of MurmurHash3, Appleby).
        let mut hash = self.state;
        hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ hash >> 33
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;

    #[test]
    fn low_and_top_bits_of_neighbours_differ() {
        for seed in [0, 1, 0x5eed_5eed_5eed_5eed] {
            let hash = |n: u32| {
                let ip = Ipv4Addr::from(0x0a00_0000 | n);
                Seeded(seed).hash_one(from_ip(IpAddr::V4(ip)))
            };
            let n = 4_096;
            for shift in [0, 52] {
                let mut places: Vec<u64> = (0..n).map(|i| hash(i) >> shift & 0xfff).collect();
                places.sort_unstable();
                places.dedup();
                // Of so many places, a share of 1 - 1/e is hit by as many random throws.
                assert!(places.len() > 2_450, "{} at {shift}", places.len());
            }
        }
    }
}
