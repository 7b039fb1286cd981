//! Incidents that are over, for as long as what is found next may go on with one of them.

use super::incident::Case;
use crate::address::{Seeded, Table};
use crate::config::SECOND_NS;
use crate::detect::{Entity, Family, Finding};

/// Time since the last finding within which the next one of the same kind reopens an incident.
const REOPEN_NS: u64 = 3_600 * SECOND_NS;
/// Time since its opening within which a pair gets no other incident of the family, unless the behaviour
/// grew by an order of magnitude.
const DAY_NS: u64 = 86_400 * SECOND_NS;
const GROWN: f64 = 10.0;
/// Incidents kept of one family and entity: of different sources, one after the other.
const PER_ENTITY: usize = 16;

type Key = (Family, Entity);

/// Bounded; the entity that ended first gives way.
#[derive(Debug)]
pub(super) struct Ended {
    cases: Table<Key, Vec<Case>>,
    n_cases: usize,
    capacity: usize,
    pub n_shed: u64,
}

impl Ended {
    pub(super) fn new(capacity: usize, hash_seed: u64) -> Self {
        Self {
            cases: Table::with_hasher(Seeded(hash_seed)),
            n_cases: 0,
            capacity: capacity.max(1),
            n_shed: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.n_cases
    }

    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn keep(&mut self, key: Key, case: Case) {
        if self.n_cases >= self.capacity
            && let Some((_, given_up)) = self.cases.shift_remove_index(0)
        {
            self.shed(given_up.len());
        }
        let of_entity = self.cases.entry(key).or_default();
        let is_full = of_entity.len() >= PER_ENTITY;
        if is_full {
            of_entity.remove(0);
        }
        of_entity.push(case);
        self.n_cases = self.n_cases.saturating_add(1);
        if is_full {
            self.shed(1);
        }
    }

    const fn shed(&mut self, n: usize) {
        self.n_cases = self.n_cases.saturating_sub(n);
        self.n_shed = self.n_shed.saturating_add(n as u64);
    }

    /// Hands over the latest incident that the finding goes on with.
    pub(super) fn take(&mut self, at_ns: u64, key: &Key, finding: &Finding) -> Option<Case> {
        let of_entity = self.cases.get_mut(key)?;
        let goes_on = |case: &Case| goes_on(at_ns, case, finding);
        let at = of_entity.iter().rposition(goes_on)?;
        let case = of_entity.remove(at);
        if of_entity.is_empty() {
            self.cases.shift_remove(key);
        }
        self.n_cases = self.n_cases.saturating_sub(1);
        Some(case)
    }

    /// Forgets what nothing goes on with any more.
    pub(super) fn forget(&mut self, at_ns: u64) {
        self.cases.retain(|_, of_entity| {
            of_entity.retain(|case| is_recent(at_ns, case) || is_of_day(at_ns, case));
            !of_entity.is_empty()
        });
        self.n_cases = self.cases.values().map(Vec::len).sum();
    }
}

fn is_recent(at_ns: u64, case: &Case) -> bool {
    at_ns.saturating_sub(case.found_ns()) < REOPEN_NS
}

fn is_of_day(at_ns: u64, case: &Case) -> bool {
    at_ns.saturating_sub(case.opened_ns()) < DAY_NS
}

fn goes_on(at_ns: u64, case: &Case, finding: &Finding) -> bool {
    !case.is_of_others(finding)
        && (is_recent(at_ns, case) || is_of_day(at_ns, case) && !has_grown(case, finding))
}

/// True where the strongest number of the finding is an order of magnitude above that of the incident.
fn has_grown(case: &Case, finding: &Finding) -> bool {
    let before = case.incident().features.first();
    let now = finding.features.first();
    before.zip(now).is_some_and(|(before, now)| {
        before.name == now.name && now.observed >= GROWN * before.observed
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::to_ip;
    use crate::decide::Confidence;
    use crate::detect::{Detector, Evidence};
    use crate::tests::{T0, ip};

    const KEY: Key = (Family::SynFlood, Entity::Victim([1; 4]));

    fn finding(at_ns: u64, source: u16, observed: f64) -> Finding {
        Finding {
            sources: vec![to_ip(&ip(source))],
            n_sources: 1,
            features: vec![Evidence {
                name: "attempts",
                observed,
                expected: 1.0,
                share: 1.0,
            }],
            ..Finding::new(Detector::Attempts, KEY.0, KEY.1, at_ns)
        }
    }

    fn case(at_ns: u64, source: u16) -> Case {
        let finding = finding(at_ns, source, 100.0);
        let mut case = Case::new(String::new(), &finding, None);
        case.take(at_ns, &finding, Confidence::FULL, 10);
        case
    }

    /// True where a finding `after_s` later, of so much, goes on with the incident of source 1.
    fn goes_on_after(after_s: u64, source: u16, observed: f64) -> bool {
        let mut ended = Ended::new(10, 1);
        ended.keep(KEY, case(T0, 1));
        let at_ns = T0 + after_s * SECOND_NS;
        ended.forget(at_ns);
        let taken = ended.take(at_ns, &KEY, &finding(at_ns, source, observed));
        taken.is_some()
    }

    #[test]
    fn an_incident_goes_on_for_an_hour_and_for_a_day_unless_it_grew() {
        assert!(goes_on_after(600, 1, 100.0) && goes_on_after(600, 1, 1_000.0));
        assert!(goes_on_after(7_200, 1, 900.0));
        assert!(!goes_on_after(7_200, 1, 1_000.0));
        assert!(!goes_on_after(86_400, 1, 100.0));
        // What others do is an incident of their own.
        assert!(!goes_on_after(600, 2, 100.0));
    }

    #[test]
    fn those_of_several_sources_are_told_apart_and_bounded() {
        let mut ended = Ended::new(20, 1);
        for source in 0..40 {
            ended.keep(KEY, case(T0, source));
            assert!(ended.len() <= PER_ENTITY);
        }
        let at_ns = T0 + SECOND_NS;
        assert!(ended.take(at_ns, &KEY, &finding(at_ns, 3, 1.0)).is_none());
        assert!(ended.take(at_ns, &KEY, &finding(at_ns, 30, 1.0)).is_some());
        for n in 0..40u32 {
            ended.keep((KEY.0, Entity::Victim([n; 4])), case(T0, 1));
            assert!(ended.len() <= 20);
        }
        assert!(ended.n_shed > 24);
    }
}
