//! Bits of a prefilter: one for every entry, and no other.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;
use sensor_common::block::prefilter::{Plane, top_bits};
use sensor_engine::from_ip;

use sensor_capture::kernel::SharedArray;

/// A filter with what stands behind its bits.
pub struct Filter {
    words: SharedArray<u64>,
    shadow: Vec<u64>,
    planes: Vec<Bits>,
    /// Bulk changes are written at their end.
    is_held: bool,
}

/// Content of one plane.
struct Bits {
    plane: Plane,
    /// Entries of one bit.
    n_per_bit: HashMap<u64, u32>,
    /// Entries that cover a range: first bit, and number of bits as a power of two.
    ranges: BTreeSet<(u64, u8)>,
    /// Ranges of each size.
    n_per_size: [u32; 33],
}

/// Bits that an entry sets in its plane.
enum Extent {
    Bit(u64),
    Range(u64, u8),
}

impl Filter {
    /// An empty filter: what the memory held is cleared by [`Self::write_all`].
    pub fn new(words: SharedArray<u64>, planes: &[Plane]) -> Self {
        let plane = |plane: &Plane| Bits {
            plane: *plane,
            n_per_bit: HashMap::new(),
            ranges: BTreeSet::new(),
            n_per_size: [0; 33],
        };
        Self {
            shadow: vec![0; words.len()],
            words,
            planes: planes.iter().map(plane).collect(),
            is_held: false,
        }
    }

    /// Bit i: plane i is in use.
    pub fn used(&self) -> u32 {
        let used = self
            .planes
            .iter()
            .enumerate()
            .filter(|(_, bits)| !bits.n_per_bit.is_empty() || !bits.ranges.is_empty());
        used.fold(0, |used, (i, _)| used | 1 << i)
    }

    /// Until [`Self::write_all`], changes stay here.
    pub const fn hold(&mut self) {
        self.is_held = true;
    }

    /// Writes every word that differs.
    pub fn write_all(&mut self) {
        self.is_held = false;
        for (index, word) in self.shadow.iter().enumerate() {
            if self.words.copy::<u64>(index, 0) != Some(*word) {
                self.words.write(index, *word);
            }
        }
    }

    /// Sets the bits of a network.
    pub fn mark(&mut self, network: &IpNet) {
        let Some((index, extent)) = self.extent(network) else {
            return;
        };
        let Some(bits) = self.planes.get_mut(index) else {
            return;
        };
        let (first, n_bits) = match extent {
            Extent::Bit(bit) => {
                *bits.n_per_bit.entry(bit).or_default() += 1;
                (bit, 1)
            }
            Extent::Range(first, size) => {
                if bits.ranges.insert((first, size)) {
                    bits.n_per_size[usize::from(size)] += 1;
                }
                (first, 1 << size)
            }
        };
        self.set(index, first, n_bits);
    }

    /// Clears the bits of a network that no other entry needs.
    pub fn unmark(&mut self, network: &IpNet) {
        let Some((index, extent)) = self.extent(network) else {
            return;
        };
        let Some(bits) = self.planes.get_mut(index) else {
            return;
        };
        match extent {
            Extent::Bit(bit) => {
                bits.release(bit);
                self.renew(index, bit, 1);
            }
            Extent::Range(first, size) => {
                if bits.ranges.remove(&(first, size)) {
                    bits.n_per_size[usize::from(size)] -= 1;
                }
                self.renew(index, first, 1 << size);
            }
        }
    }

    /// The finest plane that is not finer than the network, else the coarsest as a range.
    fn extent(&self, network: &IpNet) -> Option<(usize, Extent)> {
        let is_v4 = matches!(network, IpNet::V4(_));
        let length = network.prefix_len();
        let top = top_bits(&from_ip(network.network()));
        let mut family = self
            .planes
            .iter()
            .enumerate()
            .filter(|(_, bits)| bits.plane.is_v4 == is_v4);
        if let Some((index, bits)) = family.clone().find(|(_, b)| b.plane.length <= length) {
            return Some((index, Extent::Bit(bits.plane.bit(top))));
        }
        let (index, bits) = family.rfind(|(_, bits)| bits.plane.is_direct())?;
        let size = bits.plane.length - length;
        Some((index, Extent::Range(bits.plane.bit(top), size)))
    }

    fn set(&mut self, index: usize, first: u64, n_bits: u64) {
        self.change(index, first, n_bits, |_, _| true);
    }

    fn renew(&mut self, index: usize, first: u64, n_bits: u64) {
        self.change(index, first, n_bits, Bits::is_needed);
    }

    /// Computes bits anew and writes the words that changed.
    fn change(&mut self, index: usize, first: u64, n_bits: u64, is_set: fn(&Bits, u64) -> bool) {
        let Some(bits) = self.planes.get(index) else {
            return;
        };
        let mut bit = first;
        while bit < first + n_bits {
            let (at, low) = bits.plane.place(bit);
            let n_here = u64::from(64 - low).min(first + n_bits - bit);
            let Some(word) = self.shadow.get_mut(at as usize) else {
                return;
            };
            let before = *word;
            for i in 0..n_here {
                let mask = 1 << (u64::from(low) + i);
                if is_set(bits, bit + i) {
                    *word |= mask;
                } else {
                    *word &= !mask;
                }
            }
            if *word != before && !self.is_held {
                self.words.write(at as usize, *word);
            }
            bit += n_here;
        }
    }
}

impl Bits {
    fn release(&mut self, bit: u64) {
        if let Some(n) = self.n_per_bit.get_mut(&bit) {
            *n -= 1;
            if *n == 0 {
                self.n_per_bit.remove(&bit);
            }
        }
    }

    fn is_needed(&self, bit: u64) -> bool {
        if self.n_per_bit.contains_key(&bit) {
            return true;
        }
        let mut sizes = (0..33u8).filter(|size| self.n_per_size[usize::from(*size)] > 0);
        sizes.any(|size| self.ranges.contains(&(bit >> size << size, size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_common::Address;
    use sensor_common::block::prefilter::{ALLOW_PLANES, BLOCK_PLANES, BLOCK_WORDS};

    fn is_near(filter: &Filter, address: &Address) -> bool {
        let is_v4 = sensor_common::is_v4(address);
        filter.planes.iter().any(|bits| {
            let (word, bit) = bits.plane.place(bits.plane.bit(top_bits(address)));
            let word: u64 = filter.words.copy(word as usize, 0).unwrap();
            bits.plane.is_v4 == is_v4 && word >> bit & 1 != 0
        })
    }

    /// A generator of our own: the test is the same each time (xorshift, Marsaglia 2003).
    struct Random(u64);

    impl Random {
        fn next(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n
        }

        /// Networks close to each other, so that they share bits and cover one another.
        fn network(&mut self) -> IpNet {
            let text = if self.next(2) == 0 {
                let length = 8 + self.next(25);
                format!(
                    "10.{}.{}.{}/{length}",
                    self.next(4),
                    self.next(4),
                    self.next(3)
                )
            } else {
                let length = 12 + self.next(117);
                format!(
                    "2001:{:x}:{:x}::{:x}/{length}",
                    self.next(3),
                    self.next(3),
                    self.next(3)
                )
            };
            text.parse::<IpNet>().unwrap().trunc()
        }
    }

    /// After any sequence of additions and removals every entry has its bit; none when empty.
    fn keeps_its_promise(planes: &[Plane], n_words: u32, seed: u64) {
        let mut random = Random(seed);
        let mut filter = Filter::new(SharedArray::unshared(n_words).unwrap(), planes);
        let mut live: BTreeSet<IpNet> = BTreeSet::new();
        for _ in 0..400 {
            let network = random.network();
            if live.remove(&network) {
                filter.unmark(&network);
            } else if random.next(3) > 0 {
                live.insert(network);
                filter.mark(&network);
            } else if let Some(gone) = live.pop_first() {
                filter.unmark(&gone);
            }
            for network in &live {
                assert!(is_near(&filter, &from_ip(network.network())), "{network}");
                assert!(is_near(&filter, &from_ip(network.broadcast())), "{network}");
            }
        }
        for network in &live {
            filter.unmark(network);
        }
        assert!(filter.shadow.iter().all(|word| *word == 0));
        assert!((0..filter.words.len()).all(|i| filter.words.copy(i, 0) == Some(0u64)));
        assert_eq!(filter.used(), 0);
    }

    #[test]
    fn every_entry_has_its_bit_and_nobody_none() {
        for seed in 1..4 {
            keeps_its_promise(&BLOCK_PLANES, BLOCK_WORDS, seed);
            let n_words = sensor_common::block::prefilter::ALLOW_WORDS;
            keeps_its_promise(&ALLOW_PLANES, n_words, seed + 10);
        }
    }

    #[test]
    fn addresses_of_other_networks_pass_the_filter() {
        let words = SharedArray::unshared(BLOCK_WORDS).unwrap();
        let mut filter = Filter::new(words, &BLOCK_PLANES);
        for network in ["10.1.0.0/16", "192.0.2.7/32", "2001:db8::/32", "2a00::/12"] {
            filter.mark(&network.parse().unwrap());
        }
        let near = |ip: &str| is_near(&filter, &from_ip(ip.parse().unwrap()));
        assert!(
            near("10.1.255.9") && near("192.0.2.9") && near("2001:db8:1::1") && near("2a0f::1")
        );
        assert!(
            !near("10.2.0.1") && !near("192.0.3.7") && !near("2001:db9::1") && !near("2b00::1")
        );
    }

    #[test]
    fn held_back_writes_of_the_filter_are_made_at_the_end() {
        let words = SharedArray::unshared(BLOCK_WORDS).unwrap();
        let mut filter = Filter::new(words, &BLOCK_PLANES);
        let source = from_ip("192.0.2.7".parse().unwrap());
        filter.hold();
        filter.mark(&"192.0.2.0/24".parse().unwrap());
        assert!(!is_near(&filter, &source));
        filter.write_all();
        assert!(is_near(&filter, &source));
    }
}
