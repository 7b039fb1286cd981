//! Distinct counts in bounded memory.

use sensor_common::mix;

/// Values counted exactly; more are estimated.
pub const MAX_COUNTED: usize = 64;
const EXACT: usize = MAX_COUNTED;
const REGISTERS: usize = 256;
/// Values come from the network, the estimate decides about their sender alone.
const SEED: u64 = 0x0dd5_0f5e_7c4e_5a1d;

/// A set of 64-bit values: exact to 64, then HyperLogLog with 256 registers (6.5 % standard
/// error). Most sets have a value or two, which need no memory of their own; at most 0.6 kB.
#[derive(Clone, Debug)]
pub(crate) enum Distinct {
    Few {
        n: u8,
        hashes: [u64; FEW],
    },
    /// Sorted.
    Exact(Vec<u64>),
    Registers(Box<[u8; REGISTERS]>),
}

/// Values kept in place.
const FEW: usize = 2;

impl Default for Distinct {
    fn default() -> Self {
        Self::Few {
            n: 0,
            hashes: [0; FEW],
        }
    }
}

impl Distinct {
    pub(crate) fn insert(&mut self, value: u64) {
        self.insert_hash(mix(value, 0, SEED).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }

    fn insert_hash(&mut self, hash: u64) {
        let known = match self {
            Self::Registers(registers) => return observe(registers, hash),
            Self::Few { n, hashes } => {
                let (known, free) = hashes.split_at_mut(usize::from(*n).min(FEW));
                if known.contains(&hash) {
                    return;
                }
                if let Some(place) = free.first_mut() {
                    *place = hash;
                    *n += 1;
                    return;
                }
                let mut known = known.to_vec();
                known.sort_unstable();
                known
            }
            Self::Exact(known) => std::mem::take(known),
        };
        *self = Self::with(known, hash);
    }

    /// Sorted hashes and one more.
    fn with(mut known: Vec<u64>, hash: u64) -> Self {
        let Err(place) = known.binary_search(&hash) else {
            return Self::Exact(known);
        };
        if known.len() < EXACT {
            known.insert(place, hash);
            return Self::Exact(known);
        }
        let mut registers = Box::new([0u8; REGISTERS]);
        for known in known {
            observe(&mut registers, known);
        }
        observe(&mut registers, hash);
        Self::Registers(registers)
    }

    /// The hashes, where all are known.
    fn exact(&self) -> Option<&[u64]> {
        match self {
            Self::Few { n, hashes } => hashes.get(..usize::from(*n)),
            Self::Exact(hashes) => Some(hashes),
            Self::Registers(_) => None,
        }
    }

    pub(crate) fn len(&self) -> u32 {
        match self {
            Self::Few { n, .. } => u32::from(*n),
            Self::Exact(hashes) => hashes.len() as u32,
            Self::Registers(registers) => estimate(registers.as_slice()) as u32,
        }
    }

    /// Size of the union with another set.
    pub(crate) fn union_len(&self, other: &Self) -> u32 {
        match (self.exact(), other.exact()) {
            (Some([]), _) => return other.len(),
            (_, Some([])) => return self.len(),
            (Some(ours), Some(theirs)) if ours.len() + theirs.len() <= EXACT => {
                let n_new = theirs.iter().filter(|hash| !ours.contains(hash)).count();
                return (ours.len() + n_new) as u32;
            }
            _ => {}
        }
        let (mut union, rest) = match (self, other) {
            (_, Self::Registers(_)) => (other.clone(), self),
            _ => (self.clone(), other),
        };
        match (&mut union, rest) {
            (Self::Registers(ours), Self::Registers(theirs)) => {
                merge(ours.as_mut_slice(), theirs.as_slice());
            }
            (union, rest) => {
                for hash in rest.exact().into_iter().flatten() {
                    union.insert_hash(*hash);
                }
            }
        }
        union.len()
    }
}

fn observe(registers: &mut [u8; REGISTERS], hash: u64) {
    let index = (hash >> 56) as usize;
    let rank = (hash << 8 | 0x80).leading_zeros() as u8 + 1;
    if let Some(register) = registers.get_mut(index) {
        *register = (*register).max(rank);
    }
}

/// Registers of a union: the greater ones. `true` where that changed any.
pub(crate) fn merge(into: &mut [u8], from: &[u8]) -> bool {
    let mut grown = 0;
    for (to, from) in into.iter_mut().zip(from) {
        grown |= u8::from(*from > *to);
        *to = (*to).max(*from);
    }
    grown != 0
}

/// HyperLogLog with linear counting for small sets (Flajolet et al. 2007, figure 3; hashes of 64
/// bits need no correction for large ones).
pub(crate) fn estimate(registers: &[u8]) -> f64 {
    let m = registers.len() as f64;
    if m == 0.0 {
        return 0.0;
    }
    let alpha = if registers.len() <= 64 {
        0.709
    } else {
        0.7213 / (1.0 + 1.079 / m)
    };
    let sum: f64 = registers
        .iter()
        // 2^-rank, put together bit by bit.
        .map(|rank| f64::from_bits((1023 - u64::from(*rank)) << 52))
        .sum();
    let raw = alpha * m * m / sum;
    let n_zero = registers.iter().filter(|rank| **rank == 0).count();
    if raw <= 2.5 * m && n_zero > 0 {
        m * (m / n_zero as f64).ln()
    } else {
        raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_within_three_standard_errors() {
        let mut set = Distinct::default();
        for value in 0..50u64 {
            set.insert(value);
            set.insert(value);
        }
        assert_eq!(set.len(), 50);
        for value in 0..10_000u64 {
            set.insert(value);
        }
        let n = set.len();
        assert!((8_000..12_000).contains(&n), "{n}");
        let mut other = Distinct::default();
        other.insert(3);
        assert_eq!(other.union_len(&set), n);
        assert_eq!(set.union_len(&other), n);
    }
}
