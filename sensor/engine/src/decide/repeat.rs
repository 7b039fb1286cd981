//! Repeaters: sources that come back once what was done to them is over.

use sensor_common::Address;

use super::policy::Escalation;
use crate::config::SECOND_NS;
use crate::features::TableUse;
use crate::features::bounded::{Bounded, Priority};

/// Offences of a source.
#[derive(Clone, Copy, Debug, Default)]
struct Offence {
    /// Doublings of the lifetime.
    level: u8,
    /// End of the last entry, unix ns.
    ends_ns: u64,
    /// Both, before the last offence.
    before: (u8, u64),
    decay_ns: u64,
}

impl Priority for Offence {
    fn priority(&self) -> u64 {
        u64::from(self.level)
    }
}

impl Offence {
    /// Doublings that are left at a time.
    fn left(&self, at_ns: u64) -> u8 {
        let idle_ns = at_ns.saturating_sub(self.ends_ns);
        let decayed = idle_ns.checked_div(self.decay_ns).unwrap_or(u64::MAX);
        self.level
            .saturating_sub(u8::try_from(decayed).unwrap_or(u8::MAX))
    }

    fn is_over(&self, at_ns: u64) -> bool {
        at_ns >= self.ends_ns.saturating_add(self.decay_ns) && self.left(at_ns) == 0
    }
}

/// Sources that were stopped, with how often.
#[derive(Debug)]
pub(super) struct Repeaters(Bounded<Address, Offence>);

impl Repeaters {
    pub(super) fn new(capacity: usize, hash_seed: u64) -> Self {
        Self(Bounded::new("repeaters", capacity, hash_seed))
    }

    pub(super) fn usage(&self) -> TableUse {
        self.0.usage()
    }

    /// Lifetime of an entry on a source, seconds: doubled for each time that the source came back after an
    /// entry had ended.
    pub(super) fn ttl_s(
        &mut self,
        at_ns: u64,
        source: Address,
        ttl_s: u32,
        by: &Escalation,
    ) -> u32 {
        let known = self.0.get_or_insert_with(source, Offence::default);
        known.before = (known.level, known.ends_ns);
        let is_back = known.ends_ns != 0 && at_ns >= known.ends_ns;
        if is_back {
            let is_fresh = at_ns.saturating_sub(known.ends_ns) < known.decay_ns;
            known.level = known
                .left(at_ns)
                .saturating_add(u8::from(is_fresh || known.left(at_ns) > 0));
        }
        let doubled = 1u64
            .checked_shl(known.level.into())
            .and_then(|times| times.checked_mul(ttl_s.into()));
        let longest = by.max_ttl_s.max(ttl_s);
        let ttl_s = doubled
            .and_then(|ttl_s| u32::try_from(ttl_s).ok())
            .map_or(longest, |ttl_s| ttl_s.min(longest));
        known.ends_ns = at_ns.saturating_add(u64::from(ttl_s).saturating_mul(SECOND_NS));
        known.decay_ns = u64::from(by.decay_s).saturating_mul(SECOND_NS);
        ttl_s
    }

    /// Takes the last offence back, of which nothing came.
    pub(super) fn take_back(&mut self, source: &Address) {
        if let Some(known) = self.0.get_mut(source) {
            (known.level, known.ends_ns) = known.before;
        }
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Address) -> bool) {
        self.0.retain(|source, _| keep(source));
    }

    pub(super) fn forget(&mut self, at_ns: u64) {
        self.0.retain(|_, known| !known.is_over(at_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{T0, ip};

    const BY: Escalation = Escalation {
        max_ttl_s: 1_000,
        decay_s: 10_000,
    };

    #[test]
    fn a_repeater_is_held_for_longer_each_time_up_to_a_cap_and_is_forgiven_with_time() {
        let mut repeaters = Repeaters::new(100, 1);
        let mut at_ns = T0;
        let mut seen = Vec::new();
        for _ in 0..6 {
            let ttl_s = repeaters.ttl_s(at_ns, ip(1), 100, &BY);
            seen.push(ttl_s);
            at_ns += u64::from(ttl_s) * SECOND_NS + 1;
        }
        assert_eq!(seen, [100, 200, 400, 800, 1_000, 1_000]);
        // Renewed while it holds: no offence of its own.
        assert_eq!(repeaters.ttl_s(at_ns, ip(2), 100, &BY), 100);
        assert_eq!(repeaters.ttl_s(at_ns + SECOND_NS, ip(2), 100, &BY), 100);
        // Four of five doublings are gone after as many times the decay.
        let later_ns = at_ns + 4 * 10_000 * SECOND_NS;
        assert_eq!(repeaters.ttl_s(later_ns, ip(1), 100, &BY), 400);
        let much_later_ns = later_ns + 20 * 10_000 * SECOND_NS;
        assert_eq!(repeaters.ttl_s(much_later_ns, ip(1), 100, &BY), 100);
    }

    #[test]
    fn what_decayed_is_forgotten() {
        let mut repeaters = Repeaters::new(100, 1);
        repeaters.ttl_s(T0, ip(1), 100, &BY);
        repeaters.forget(T0 + 9_000 * SECOND_NS);
        assert_eq!(repeaters.usage().n_entries, 1);
        repeaters.forget(T0 + 10_101 * SECOND_NS);
        assert_eq!(repeaters.usage().n_entries, 0);
    }

    #[test]
    fn a_level_beyond_any_shift_is_capped() {
        let mut repeaters = Repeaters::new(100, 1);
        let mut at_ns = T0;
        for n in 0..300 {
            let ttl_s = repeaters.ttl_s(at_ns, ip(1), 100, &BY);
            assert!(ttl_s == 1_000 || n < 4, "{n}: {ttl_s}");
            at_ns += u64::from(ttl_s) * SECOND_NS;
        }
    }
}
