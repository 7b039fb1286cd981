//! Guessing that many sources share: what a service refuses of clients that it never took.

use std::collections::BTreeMap;

use sensor_common::Address;

use super::network::network_of;
use crate::config::{RepliesConfig, SECOND_NS};
use crate::detect::content::paned_window::PanedWindow;
use crate::features::bounded::Priority;
use crate::features::decay::Spread;
use crate::l7::login::{Outcome, Secret, Service};

/// Sources followed by name in half a window.
const NAMED: usize = 128;
/// Half of the short window.
const HALF_NS: u64 = 60 * SECOND_NS;
/// Times as many refusals that the long window asks for.
const SLOW: u32 = 2;
/// Guesses of a source from which it counts twice: a password mistyped once is nothing.
const REPEATED: u32 = 2;

#[derive(Clone, Copy, Debug)]
struct Member {
    source: Address,
    n_hidden: u32,
    shown: Spread,
    is_served: bool,
}

impl Member {
    /// Guesses: a saved password again and again is one.
    fn n(&self) -> u32 {
        self.n_hidden
            .saturating_add(self.shown.len().round() as u32)
    }
}

#[derive(Clone, Debug, Default)]
struct Crowd {
    members: Vec<Member>,
}

impl Crowd {
    fn member(&mut self, source: Address) -> Option<&mut Member> {
        let at = self.members.iter().position(|one| one.source == source);
        let at = match at {
            Some(at) => at,
            None if self.members.len() < NAMED => {
                self.members.push(Member {
                    source,
                    n_hidden: 0,
                    shown: Spread::default(),
                    is_served: false,
                });
                self.members.len() - 1
            }
            None => return None,
        };
        self.members.get_mut(at)
    }
}

/// Logins at one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Campaign {
    short: PanedWindow<Crowd>,
    long: PanedWindow<Crowd>,
    pub service: Option<Service>,
    /// Time at which it was last found.
    found_ns: Option<u64>,
}

impl Priority for Campaign {
    fn priority(&self) -> u64 {
        self.long.now.members.len() as u64 + self.long.before.members.len() as u64
    }
}

/// Guessers that share a service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shared {
    pub sources: Vec<Address>,
    pub n_refused: u32,
    pub limit: u32,
    pub window_ns: u64,
    pub first_ns: u64,
    pub last_ns: u64,
}

impl Campaign {
    /// Takes what came of `n` logins of a client.
    pub(super) fn take(
        &mut self,
        at_ns: u64,
        source: Address,
        (outcome, n): (Outcome, u32),
        config: &RepliesConfig,
    ) {
        for (window, half_ns) in [
            (&mut self.short, HALF_NS),
            (&mut self.long, config.slow_half_ns),
        ] {
            let Some(member) = window.at(at_ns, half_ns).member(source) else {
                continue;
            };
            match outcome {
                Outcome::Accepted => member.is_served = true,
                Outcome::Refused(Secret::Hidden) => {
                    member.n_hidden = member.n_hidden.saturating_add(n);
                }
                Outcome::Refused(Secret::Shown(hash)) => member.shown.insert(hash),
            }
        }
    }

    /// Takes back `n` refusals of a source whose login succeeded in the end.
    pub(super) fn take_back(&mut self, source: Address, n: u32) {
        for window in [&mut self.short, &mut self.long] {
            let mut left = n;
            for crowd in [&mut window.now, &mut window.before] {
                let member = crowd.members.iter_mut().find(|one| one.source == source);
                if let Some(member) = member {
                    let taken = left.min(member.n_hidden);
                    member.n_hidden -= taken;
                    left -= taken;
                }
            }
        }
    }

    /// True where it was found within the long window.
    pub(super) fn is_on(&self, at_ns: u64, config: &RepliesConfig) -> bool {
        let lasts_ns = config.slow_half_ns.saturating_mul(2);
        self.found_ns
            .is_some_and(|found_ns| at_ns.saturating_sub(found_ns) < lasts_ns)
    }

    /// Judges what is new, at most once a second.
    pub(super) fn judge(&mut self, at_ns: u64, config: &RepliesConfig) -> Option<Shared> {
        let windows = [
            (&mut self.short, HALF_NS, 1),
            (&mut self.long, config.slow_half_ns, SLOW),
        ];
        for (window, half_ns, times) in windows {
            if !window.is_due(at_ns, half_ns) {
                continue;
            }
            let limit = config.shared_refused.saturating_mul(times);
            let (sources, n_refused) = guessers(window, config);
            if sources.is_empty() || n_refused < limit {
                window.judged();
                continue;
            }
            window.reported(at_ns);
            self.found_ns = Some(at_ns);
            return Some(Shared {
                sources,
                n_refused,
                limit,
                window_ns: half_ns.saturating_mul(2),
                first_ns: window.first_ns,
                last_ns: window.last_ns,
            });
        }
        None
    }

    pub(super) fn is_stale(&self, at_ns: u64, config: &RepliesConfig) -> bool {
        self.long.is_stale(at_ns, config.slow_half_ns)
    }
}

/// Sources that the service took none of, and what it refused of them; none where they are few, or no
/// more than its clients.
fn guessers(window: &PanedWindow<Crowd>, config: &RepliesConfig) -> (Vec<Address>, u32) {
    let mut all = Crowd::default();
    for member in window.before.members.iter().chain(&window.now.members) {
        if let Some(known) = all.member(member.source) {
            known.n_hidden = known.n_hidden.saturating_add(member.n_hidden);
            known.shown = known.shown.union(member.shown);
            known.is_served |= member.is_served;
        }
    }
    let is_guesser = |member: &&Member| !member.is_served && member.n() > 0;
    let guessers = || all.members.iter().filter(is_guesser);
    let n_served = all.members.iter().filter(|one| one.is_served).count();
    // Who has a network of IPv6 has all of its addresses: they are one source.
    let mut networks: BTreeMap<Address, u32> = BTreeMap::new();
    for one in guessers() {
        let n = networks.entry(network_of(&one.source)).or_default();
        *n = n.saturating_add(one.n());
    }
    let n_all = networks.len();
    let n_repeated = networks.values().filter(|n| **n >= REPEATED).count();
    let least = usize::try_from(config.shared_sources).unwrap_or(usize::MAX);
    let is_crowd = n_repeated >= least || n_all >= least.saturating_mul(2);
    if !is_crowd || n_all <= n_served {
        return (Vec::new(), 0);
    }
    let n_refused = guessers().fold(0, |sum: u32, one| sum.saturating_add(one.n()));
    let mut sources: Vec<Address> = guessers().map(|one| one.source).collect();
    sources.sort_unstable();
    (sources, n_refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{T0, ip};

    const NO: Outcome = Outcome::Refused(Secret::Hidden);

    fn found(n_sources: u16, n_each: u64, n_served: u16, gap_s: u64) -> Option<Shared> {
        let config = RepliesConfig::default();
        let mut campaign = Campaign::default();
        let mut at_ns = T0;
        let mut found = None;
        for _ in 0..n_each {
            for source in 0..n_sources {
                at_ns += gap_s * SECOND_NS;
                campaign.take(at_ns, ip(source), (NO, 1), &config);
                if source < n_served {
                    campaign.take(at_ns, ip(1_000 + source), (Outcome::Accepted, 1), &config);
                }
                found = campaign.judge(at_ns, &config).or(found);
            }
        }
        found
    }

    #[test]
    fn many_sources_that_are_refused_a_few_times_each_are_found_together() {
        assert_eq!(
            found(20, 3, 0, 1).map(|shared| shared.sources.len()),
            Some(20)
        );
        assert!(found(20, 10, 2, 3).is_some());
        assert!(found(100, 1, 0, 5).is_some());
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        let config = RepliesConfig::default();
        let mut campaign = Campaign::default();
        for n in 0..100u64 {
            let mut source = [0x2001_0db8_u32.to_be(), 7, 0, 0];
            source[3] = n as u32;
            campaign.take(T0 + n, source, (NO, 1), &config);
        }
        assert_eq!(campaign.judge(T0 + SECOND_NS, &config), None);
    }

    #[test]
    fn few_sources_and_services_that_mostly_accept_are_none() {
        assert_eq!(found(3, 20, 0, 1), None);
        assert_eq!(found(20, 3, 20, 1), None);
    }

    #[test]
    fn who_is_accepted_in_the_end_is_no_guesser() {
        let config = RepliesConfig::default();
        let mut campaign = Campaign::default();
        for source in 0..30 {
            for outcome in [NO, NO, Outcome::Accepted] {
                campaign.take(T0 + u64::from(source), ip(source), (outcome, 1), &config);
            }
        }
        assert_eq!(campaign.judge(T0 + SECOND_NS, &config), None);
    }

    #[test]
    fn a_saved_password_counts_once() {
        let config = RepliesConfig::default();
        let mut campaign = Campaign::default();
        for n in 0..200u64 {
            let refused = Outcome::Refused(Secret::Shown(n % 7));
            campaign.take(T0 + n, ip((n % 7) as u16), (refused, 1), &config);
        }
        assert_eq!(campaign.judge(T0 + SECOND_NS, &config), None);
    }
}
