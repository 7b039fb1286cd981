//! Good traffic of a source over the last half minute: connections that came about, and bytes of those.

use crate::config::SECOND_NS;

/// Length of a slot, and how many are kept.
const SLOT_NS: u64 = 5 * SECOND_NS;
const N_SLOTS: usize = 8;

/// Counts in slots of five seconds, the oldest of which give way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    /// Number of the latest slot.
    slot: u64,
    begun: [u16; N_SLOTS],
    bytes: [u32; N_SLOTS],
    /// Counts of all time.
    pub n_begun: u32,
    pub n_bytes: u64,
}

/// Mean rates before a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Before {
    pub begun_per_s: f64,
    pub bytes_per_s: f64,
    /// There were bytes in every slot: a session that goes on and on.
    pub is_steady: bool,
}

impl Served {
    fn move_on(&mut self, at_ns: u64) -> usize {
        let slot = at_ns / SLOT_NS;
        let n_new = slot.saturating_sub(self.slot).min(N_SLOTS as u64);
        for n in 0..n_new {
            let at = place(slot - n);
            (self.begun[at], self.bytes[at]) = (0, 0);
        }
        self.slot = self.slot.max(slot);
        place(self.slot)
    }

    /// Adds connections and bytes.
    pub(crate) fn add(&mut self, at_ns: u64, n_begun: u16, n_bytes: u64) {
        let at = self.move_on(at_ns);
        self.begun[at] = self.begun[at].saturating_add(n_begun);
        let bytes = u32::try_from(n_bytes).unwrap_or(u32::MAX);
        self.bytes[at] = self.bytes[at].saturating_add(bytes);
        self.n_begun = self.n_begun.saturating_add(n_begun.into());
        self.n_bytes = self.n_bytes.saturating_add(n_bytes);
    }

    /// Rates in the slots that are known at `at_ns` and were over by `before_ns`; `None` where none is.
    pub(crate) fn before(&self, at_ns: u64, before_ns: u64) -> Option<Before> {
        let mut known = *self;
        known.move_on(at_ns);
        let first = known.slot.saturating_sub(N_SLOTS as u64 - 1);
        let slots = first..(before_ns / SLOT_NS).min(known.slot);
        let n = slots.clone().count();
        if n == 0 {
            return None;
        }
        let seconds = n as f64 * (SLOT_NS / SECOND_NS) as f64;
        let (mut begun, mut bytes, mut is_steady) = (0.0, 0.0, n > N_SLOTS / 2);
        for slot in slots {
            let at = place(slot);
            begun += f64::from(known.begun[at]);
            bytes += f64::from(known.bytes[at]);
            is_steady &= known.bytes[at] > 0;
        }
        Some(Before {
            begun_per_s: begun / seconds,
            bytes_per_s: bytes / seconds,
            is_steady,
        })
    }
}

const fn place(slot: u64) -> usize {
    (slot % N_SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: u64 = 1_000 * SECOND_NS;

    #[test]
    fn rates_are_of_whole_slots_before_a_time() {
        let mut served = Served::default();
        for s in 0..30 {
            served.add(T0 + s * SECOND_NS, 2, 1_000);
        }
        let at_ns = T0 + 30 * SECOND_NS;
        let before = |s: u64| served.before(at_ns, T0 + s * SECOND_NS);
        let of = |s| before(s).map(|b| (b.begun_per_s, b.bytes_per_s, b.is_steady));
        // Eight slots of five seconds, of which those before T0 saw nothing.
        assert_eq!(of(4), Some((0.0, 0.0, false)));
        assert_eq!(of(10), Some((20.0 / 15.0, 10_000.0 / 15.0, false)));
        assert_eq!(before(0).map(|b| b.begun_per_s), Some(0.0));
        assert_eq!(served.before(at_ns + 300 * SECOND_NS, at_ns), None);
        assert_eq!((served.n_begun, served.n_bytes), (60, 30_000));
    }

    #[test]
    fn a_session_that_goes_on_is_steady() {
        let mut served = Served::default();
        for s in 0..60 {
            served.add(T0 + s * SECOND_NS, 0, 100);
        }
        let at_ns = T0 + 60 * SECOND_NS;
        let before = served.before(at_ns, at_ns).unwrap();
        assert!(before.is_steady);
        assert_eq!(before.bytes_per_s, 100.0);
    }

    #[test]
    fn time_that_goes_back_counts_for_the_latest_slot() {
        let mut served = Served::default();
        served.add(T0, 1, 0);
        served.add(T0 - 60 * SECOND_NS, 1, 0);
        let before = served.before(T0 + 5 * SECOND_NS, T0 + 5 * SECOND_NS);
        assert!(before.is_some_and(|b| b.begun_per_s > 0.0));
    }
}
