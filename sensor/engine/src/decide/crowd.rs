//! Many scanners of one victim, none of which was ever proven real: addresses that one made up. They are
//! one incident of the victim, and nobody is blamed.

use sensor_common::{Address, hash_address};

use super::{Entity, Family};
use crate::config::SECOND_NS;
use crate::detect::Finding;
use crate::features::Ledger;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::sketch::Distinct;

/// Victims with such scanners.
const MAX_VICTIMS: usize = 1_024;
/// Scanners of one victim that have incidents of their own. A scan with decoys may name a few.
const FEW: u32 = 16;
/// Silence after which counting begins anew.
const QUIET_NS: u64 = 30 * SECOND_NS;
/// Times the usual number of the crowd from which a scanner stands out of it: he sends a multiple of what
/// those do that he would hide among.
const STANDS_OUT: f64 = 4.0;

#[derive(Clone, Debug, Default)]
struct Crowd {
    sources: Distinct,
    /// Findings, and the sum of their strongest numbers.
    n: f64,
    sum: f64,
    last_ns: u64,
}

impl Priority for Crowd {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

#[derive(Debug)]
pub(super) struct Crowds {
    victims: Bounded<Address, Crowd>,
}

impl Crowds {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            victims: Bounded::new("scanned_victims", MAX_VICTIMS, hash_seed),
        }
    }

    pub(super) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.victims.usage());
    }

    /// The finding of the crowd that a scanner belongs to; `None` where he is one of few, stands out, or
    /// is real.
    pub(super) fn join(
        &mut self,
        at_ns: u64,
        finding: &Finding,
        ledger: &Ledger,
    ) -> Option<Finding> {
        let Entity::Source(source) = finding.entity else {
            return None;
        };
        let [victim] = finding.destinations.as_slice() else {
            return None;
        };
        if finding.family != Family::PortScan || ledger.is_real(&source) {
            return None;
        }
        let victim = crate::address::from_ip(*victim);
        let crowd = self.victims.get_or_insert_with(victim, Crowd::default);
        if at_ns.saturating_sub(crowd.last_ns) >= QUIET_NS {
            *crowd = Crowd::default();
        }
        crowd.last_ns = at_ns;
        let observed = finding.features.first().map_or(0.0, |e| e.observed);
        let usual = crowd.sum / crowd.n.max(1.0);
        let n_before = crowd.sources.len();
        crowd.sources.insert(hash_address(&source, 0));
        crowd.n += 1.0;
        crowd.sum += observed;
        if n_before < FEW || observed >= STANDS_OUT * usual {
            return None;
        }
        Some(Finding {
            entity: Entity::Victim(victim),
            sources: Vec::new(),
            n_sources: u64::from(crowd.sources.len()),
            is_spoofed: true,
            ..finding.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Detector, Evidence};
    use crate::tests::{T0, ip};

    fn scan(source: u16, n_ports: f64) -> Finding {
        Finding {
            features: vec![Evidence {
                name: "ports_failed",
                observed: n_ports,
                expected: 1.0,
                share: 1.0,
            }],
            destinations: vec![crate::to_ip(&ip(1))],
            n_destinations: 1,
            ..Finding::new(
                Detector::Scan,
                Family::PortScan,
                Entity::Source(ip(source)),
                T0,
            )
        }
    }

    #[test]
    fn many_scanners_that_nobody_proved_are_one_and_a_loud_or_real_one_is_not() {
        let (mut crowds, stranger) = (Crowds::new(1), Ledger::new(0));
        let real = Ledger::knowing(&[ip(9_000)], T0, false);
        for source in 100..100 + FEW as u16 {
            assert!(crowds.join(T0, &scan(source, 20.0), &stranger).is_none());
        }
        for source in 200..2_200 {
            let joined = crowds.join(T0, &scan(source, 20.0), &stranger).unwrap();
            assert_eq!(joined.entity, Entity::Victim(ip(1)));
            assert!(joined.is_spoofed && joined.sources.is_empty());
        }
        assert!(crowds.join(T0, &scan(8_000, 1_000.0), &stranger).is_none());
        assert!(crowds.join(T0, &scan(9_000, 20.0), &real).is_none());
        let joined = crowds.join(T0, &scan(9_001, 20.0), &real).unwrap();
        assert!(
            (1_700..=2_400).contains(&joined.n_sources),
            "{}",
            joined.n_sources
        );
        // Another day.
        let later_ns = T0 + 2 * QUIET_NS;
        assert!(
            crowds
                .join(later_ns, &scan(9_002, 20.0), &stranger)
                .is_none()
        );
    }
}
