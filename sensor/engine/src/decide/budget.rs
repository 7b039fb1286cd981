//! Budget of alarms: incidents above low severity in the last 24 hours, of every family.

use std::collections::BTreeMap;

use crate::config::SECOND_NS;
use crate::detect::Family;

const HOUR_NS: u64 = 3_600 * SECOND_NS;
const N_HOURS: usize = 24;

/// Counts by hour.
#[derive(Debug)]
pub(super) struct Budget {
    hours: [[u32; Family::ALL.len()]; N_HOURS],
    /// Hour of event time that runs, counted from the epoch.
    hour: u64,
}

impl Budget {
    pub(super) const fn new() -> Self {
        Self {
            hours: [[0; Family::ALL.len()]; N_HOURS],
            hour: 0,
        }
    }

    /// Begins the hours that came since.
    pub(super) fn pass(&mut self, at_ns: u64) {
        let hour = at_ns / HOUR_NS;
        let n_passed = hour.saturating_sub(self.hour).min(N_HOURS as u64);
        for passed in 0..n_passed {
            let at = (hour.saturating_sub(passed) % N_HOURS as u64) as usize;
            if let Some(counts) = self.hours.get_mut(at) {
                *counts = [0; Family::ALL.len()];
            }
        }
        self.hour = self.hour.max(hour);
    }

    /// Counts an incident.
    pub(super) fn note(&mut self, at_ns: u64, family: Family) {
        self.pass(at_ns);
        let hour = self.hours.get_mut((self.hour % N_HOURS as u64) as usize);
        if let Some(count) = hour.and_then(|counts| counts.get_mut(family as usize)) {
            *count = count.saturating_add(1);
        }
    }

    /// Incidents of the last 24 hours.
    pub(super) fn n_spent(&self) -> u64 {
        self.hours.iter().flatten().copied().map(u64::from).sum()
    }

    /// Incidents of the last 24 hours of each family that has any.
    pub(super) fn by_family(&self) -> BTreeMap<Family, u64> {
        let sum = |family: Family| {
            let of_family = self
                .hours
                .iter()
                .filter_map(|hour| hour.get(family as usize));
            of_family.copied().map(u64::from).sum::<u64>()
        };
        let all = Family::ALL.into_iter().map(|family| (family, sum(family)));
        all.filter(|(_, n)| *n > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::T0;

    #[test]
    fn alarms_count_for_a_day() {
        let mut budget = Budget::new();
        budget.note(T0, Family::PortScan);
        budget.note(T0 + HOUR_NS, Family::PortScan);
        budget.note(T0 + HOUR_NS, Family::Beacon);
        let both = BTreeMap::from([(Family::PortScan, 2), (Family::Beacon, 1)]);
        assert_eq!((budget.n_spent(), budget.by_family()), (3, both));
        budget.pass(T0 + 24 * HOUR_NS);
        assert_eq!(budget.n_spent(), 2);
        budget.pass(T0 + 25 * HOUR_NS);
        assert_eq!(budget.n_spent(), 0);
        budget.note(T0 + 500 * HOUR_NS, Family::Beacon);
        assert_eq!(budget.n_spent(), 1);
    }
}
