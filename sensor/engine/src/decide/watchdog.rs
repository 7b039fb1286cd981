//! Watch over good traffic: an action after which a source's own good traffic falls by more than the attack
//! explains is rolled back.
//!
//! Connections that were served are no part of an attack by packets, nor are those before one by connections
//! began. They are expected at the same rate after the action, and fewer by as much as those of all others
//! fell since. The count is
//! judged as one of Poisson's law (its lower tail, by summation).

use sensor_common::Address;

use super::decision::Decision;
use crate::address::from_ip;
use crate::config::SECOND_NS;
use crate::detect::Family;
use crate::features::Ledger;
use crate::features::served::Before;

/// Actions that are watched at a time; further ones are not.
const MAX_WATCHED: usize = 256;
/// Time after an action in which it is watched, and before which nothing is judged.
const WATCH_NS: u64 = 30 * SECOND_NS;
const FIRST_NS: u64 = 2 * SECOND_NS;
/// Flows are looked at once a second: what came about in the last one isn't known yet.
const LAG_NS: u64 = SECOND_NS;
/// Probability of so few connections by chance, below which they fell.
const BY_CHANCE: f64 = 1e-4;
/// Part of the expected from which on nothing fell.
const NO_FALL: f64 = 0.9;
/// Connections of others that tell how much less there is of all.
const ENOUGH_OTHERS: f64 = 20.0;
/// Part of a steady session's bytes below which it broke off, and the time that this takes.
const BROKEN: f64 = 0.1;
const BROKEN_NS: u64 = 6 * SECOND_NS;

/// An action whose source had good traffic before.
#[derive(Debug)]
struct Watched {
    decision: Decision,
    source: Address,
    since_ns: u64,
    before: Before,
    others_per_s: f64,
    /// Counts at the beginning.
    n_begun: u32,
    n_bytes: u64,
    n_all: u32,
}

/// An action to be taken back.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollback {
    pub decision: Decision,
    /// One sentence: what fell.
    pub reason: String,
}

#[derive(Debug, Default)]
pub(super) struct Watchdog {
    watched: Vec<Watched>,
}

impl Watchdog {
    /// Watches an action that is in force from now on, for an attack of a family that began at a time.
    pub(super) fn watch(
        &mut self,
        at_ns: u64,
        decision: &Decision,
        (family, began_ns): (Family, u64),
        ledger: &Ledger,
    ) {
        let source = from_ip(decision.target.addr());
        let is_one = decision.target.prefix_len() == decision.target.max_prefix_len();
        // The connections of an attack that is made of such are good traffic of a peer alone.
        let is_clear = !family.is_of_connections() || ledger.is_peer(began_ns, &source);
        if !is_one || !is_clear || self.watched.len() >= MAX_WATCHED {
            return;
        }
        let Some((now, all)) = ledger.served(&source) else {
            return;
        };
        // Those of any other attack, up to the action, are good traffic all along.
        let until_ns = if family.is_of_connections() {
            began_ns
        } else {
            at_ns
        };
        let (Some(before), Some(of_all)) =
            (now.before(at_ns, until_ns), all.before(at_ns, until_ns))
        else {
            return;
        };
        if before.begun_per_s <= 0.0 && !before.is_steady {
            return;
        }
        self.watched.retain(|other| other.source != source);
        self.watched.push(Watched {
            decision: decision.clone(),
            source,
            since_ns: at_ns,
            before,
            others_per_s: of_all.begun_per_s - before.begun_per_s,
            n_begun: now.n_begun,
            n_bytes: now.n_bytes,
            n_all: all.n_begun,
        });
    }

    /// Judges each action that is watched.
    pub(super) fn tick(&mut self, at_ns: u64, ledger: &Ledger) -> Vec<Rollback> {
        let mut found = Vec::new();
        self.watched.retain(|watched| {
            let age_ns = at_ns.saturating_sub(watched.since_ns);
            let fell = watched.fell(age_ns, ledger);
            if let Some(reason) = fell {
                let decision = watched.decision.clone();
                found.push(Rollback { decision, reason });
                return false;
            }
            age_ns < WATCH_NS
        });
        found
    }

    /// Ends the watch over what somebody took back.
    pub(super) fn release(&mut self, mut is_released: impl FnMut(&Address) -> bool) {
        self.watched.retain(|watched| !is_released(&watched.source));
    }
}

impl Watched {
    /// Tells what fell by more than the attack explains.
    fn fell(&self, age_ns: u64, ledger: &Ledger) -> Option<String> {
        let (now, all) = ledger.served(&self.source)?;
        if age_ns < FIRST_NS {
            return None;
        }
        let seconds = age_ns.saturating_sub(LAG_NS) as f64 / SECOND_NS as f64;
        let n_begun = now.n_begun.saturating_sub(self.n_begun);
        let n_others = all
            .n_begun
            .saturating_sub(self.n_all)
            .saturating_sub(n_begun);
        let expected_others = self.others_per_s * seconds;
        let of_all = if expected_others < ENOUGH_OTHERS {
            1.0
        } else {
            (f64::from(n_others) / expected_others).min(1.0)
        };
        let expected = self.before.begun_per_s * seconds * of_all;
        let n = f64::from(n_begun);
        if n < expected * NO_FALL && at_most(n_begun, expected) < BY_CHANCE {
            return Some(format!(
                "it began {n:.0} connections in {seconds:.0} s where its traffic before says \
                 {expected:.0}"
            ));
        }
        let n_bytes = now.n_bytes.saturating_sub(self.n_bytes) as f64;
        let bytes = self.before.bytes_per_s * seconds * of_all;
        if self.before.is_steady && age_ns >= BROKEN_NS && n_bytes < bytes * BROKEN {
            return Some(format!(
                "its connections carried {n_bytes:.0} bytes in {seconds:.0} s where its traffic before says \
                 {bytes:.0}"
            ));
        }
        None
    }
}

/// Probability that Poisson's law with a mean gives at most `n`.
fn at_most(n: u32, mean: f64) -> f64 {
    let mut term = (-mean).exp();
    let mut sum = term;
    for i in 1..=n {
        term *= mean / f64::from(i);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{T0, ip};
    use crate::{Action, to_ip};

    const BEGAN_NS: u64 = T0 + 40 * SECOND_NS;
    const ACTED_NS: u64 = T0 + 42 * SECOND_NS;

    fn decision(source: u16) -> Decision {
        Decision {
            target: to_ip(&ip(source)).into(),
            ..Decision::example(Action::RateLimit)
        }
    }

    /// Connections a second of each source, before the action and after.
    fn rolled_back(family: Family, rates: &[(u16, u16, u16)]) -> Option<u64> {
        let mut ledger = Ledger::new(1);
        let mut watchdog = Watchdog::default();
        for s in 0..60 {
            let at_ns = T0 + s * SECOND_NS;
            if at_ns == ACTED_NS {
                watchdog.watch(at_ns, &decision(1), (family, BEGAN_NS), &ledger);
            }
            for (source, before, after) in rates {
                let n = if at_ns < ACTED_NS { *before } else { *after };
                ledger.note_served(ip(*source), at_ns, n, u64::from(n) * 500);
            }
            let found = watchdog.tick(at_ns, &ledger);
            if !found.is_empty() {
                assert_eq!(found[0].decision, decision(1));
                return Some(at_ns.saturating_sub(ACTED_NS) / SECOND_NS);
            }
        }
        None
    }

    #[test]
    fn an_action_after_which_good_traffic_breaks_off_is_rolled_back_within_ten_seconds() {
        for (before, after) in [(100, 0), (20, 0), (20, 2), (3, 0), (2, 0)] {
            let took = rolled_back(Family::PortScan, &[(1, before, after)]);
            assert!(took.is_some_and(|s| s <= 10), "{before} {after}: {took:?}");
        }
    }

    #[test]
    fn what_goes_on_or_is_less_for_everybody_is_left_alone() {
        let rolled = |rates| rolled_back(Family::PortScan, rates);
        assert_eq!(rolled(&[(1, 20, 20)]), None);
        assert_eq!(rolled(&[(1, 20, 15)]), None);
        // An attacker who was no client before.
        assert_eq!(rolled(&[(1, 0, 0), (2, 50, 50)]), None);
        // The service fails, or everybody goes home.
        assert_eq!(rolled(&[(1, 20, 0), (2, 50, 0)]), None);
        assert_eq!(rolled(&[(1, 20, 3), (2, 50, 6)]), None);
        let alone = rolled(&[(1, 20, 0), (2, 50, 50)]);
        assert!(alone.is_some_and(|s| s <= 10), "{alone:?}");
    }

    #[test]
    fn connections_of_an_attack_made_of_them_are_no_good_traffic() {
        assert_eq!(rolled_back(Family::BruteForce, &[(1, 20, 0)]), None);
        assert_eq!(rolled_back(Family::HttpFlood, &[(1, 20, 0)]), None);
    }

    #[test]
    fn a_steady_session_that_breaks_off_is_noticed() {
        let mut ledger = Ledger::new(1);
        let mut watchdog = Watchdog::default();
        let family = (Family::SynFlood, BEGAN_NS);
        for s in 0..42 {
            ledger.note_served(ip(1), T0 + s * SECOND_NS, 0, 1_000);
        }
        watchdog.watch(ACTED_NS, &decision(1), family, &ledger);
        assert!(watchdog.tick(ACTED_NS + 5 * SECOND_NS, &ledger).is_empty());
        let found = watchdog.tick(ACTED_NS + 6 * SECOND_NS, &ledger);
        assert!(found[0].reason.contains("carried 0 bytes"), "{found:?}");
    }
}
