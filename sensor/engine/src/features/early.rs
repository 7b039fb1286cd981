//! Early looks: the times at which flows are worth a look out of turn.
//!
//! Flows tell more than host rows, but to walk their cache costs too much to do it ten times a
//! second. So the rows, which are read that often, say when something begins that flows may explain:
//! many more new flows or echoes of one host than it usually has. So do packet samples where they show a
//! guesser, about whom flows tell if he is real. An allowance bounds what that costs.

use sensor_common::Address;

use super::bounded::{Bounded, Priority, TableUse};
use super::host::HostLook;
use crate::config::SECOND_NS;
use crate::features::baseline::Baseline;

/// New flows and echoes since the last look at flows, below which nothing is worth another.
const LEAST: f64 = 8.0;
/// Times what a host usually has in a second.
const TIMES_USUAL: f64 = 3.0;
/// Time that pays for a look out of turn: half as many as there are in turn. And what is saved up at
/// most, for looks in a row.
const PRICE_NS: u64 = 2 * SECOND_NS;
const MOST_NS: u64 = 4 * PRICE_NS;
/// All hosts together: a sweep shows at none of its victims.
const EVERYBODY: Address = [0; 4];

/// New flows and echoes of one host.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    usual: Baseline,
    /// Counts of the running second, and since the last look at flows.
    of_second: f64,
    since_look: f64,
    second_ns: u64,
    last_ns: u64,
}

impl Priority for News {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

#[derive(Debug)]
pub(crate) struct EarlyLooks {
    hosts: Bounded<Address, News>,
    allowance_ns: u64,
    at_ns: u64,
    /// Time at which the attempts of a burst are old enough to be called unanswered.
    settled_ns: Option<u64>,
    unanswered_ns: u64,
    is_wanted: bool,
    pub n_looks: u64,
}

impl EarlyLooks {
    pub(crate) fn new(capacity: usize, unanswered_ns: u64, hash_seed: u64) -> Self {
        Self {
            hosts: Bounded::new("early_hosts", capacity, hash_seed),
            allowance_ns: MOST_NS,
            at_ns: 0,
            settled_ns: None,
            unanswered_ns,
            is_wanted: false,
            n_looks: 0,
        }
    }

    pub(crate) fn usage(&self) -> TableUse {
        self.hosts.usage()
    }

    pub(crate) fn configure(&mut self, unanswered_ns: u64) {
        self.unanswered_ns = unanswered_ns;
    }

    /// True from the host rows that say so to the next look at flows.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Asks for a look at flows, where the allowance has one left.
    pub(crate) fn want(&mut self) {
        if self.allowance_ns >= PRICE_NS && !self.is_wanted {
            self.is_wanted = true;
            self.allowance_ns -= PRICE_NS;
            self.n_looks = self.n_looks.saturating_add(1);
        }
    }

    /// Takes the hosts of one look, local ones with all that they sent and got.
    pub(crate) fn take(&mut self, at_ns: u64, locals: &[HostLook], remotes: &[HostLook]) {
        // Silence changes nothing, so that looks at it may be left out.
        if locals.is_empty() && remotes.is_empty() {
            return;
        }
        let elapsed_ns = at_ns.saturating_sub(self.at_ns);
        self.at_ns = at_ns;
        self.allowance_ns = self.allowance_ns.saturating_add(elapsed_ns).min(MOST_NS);
        let mut has_burst = false;
        for look in locals {
            has_burst |= self.note(at_ns, look.address, news(look));
        }
        let asked: u64 = remotes.iter().map(|look| look.from.n_new_flows).sum();
        has_burst |= self.note(at_ns, EVERYBODY, asked as f64);
        let is_settled = self.settled_ns.is_some_and(|settled| at_ns >= settled);
        if (has_burst || is_settled) && self.allowance_ns >= PRICE_NS && !self.is_wanted {
            self.want();
            if is_settled {
                self.settled_ns = None;
            } else if self.settled_ns.is_none() {
                self.settled_ns = Some(at_ns.saturating_add(self.unanswered_ns));
            }
        }
    }

    fn note(&mut self, at_ns: u64, address: Address, n: f64) -> bool {
        let news = self.hosts.get_or_insert_with(address, || News {
            second_ns: at_ns,
            ..News::default()
        });
        news.last_ns = at_ns;
        news.since_look += n;
        news.of_second += n;
        let elapsed_ns = at_ns.saturating_sub(news.second_ns);
        let limit = LEAST.max(TIMES_USUAL * news.usual.level());
        if elapsed_ns >= SECOND_NS {
            let rate = news.of_second / (elapsed_ns as f64 / 1e9);
            news.usual.learn(rate, rate > limit);
            (news.of_second, news.second_ns) = (0.0, at_ns);
        }
        news.since_look >= limit
    }

    /// Notes that flows were looked at.
    pub(crate) fn look(&mut self) {
        self.is_wanted = false;
        for (_, news) in self.hosts.iter_mut() {
            news.since_look = 0.0;
        }
    }
}

/// New flows, and echoes, which are many packets of one flow.
fn news(look: &HostLook) -> f64 {
    let flows = look
        .toward
        .n_new_flows
        .saturating_add(look.from.n_new_flows);
    flows.saturating_add(look.toward.n_icmp) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Counts;
    use crate::tests::{MS, T0, ip};

    fn look(n_new_flows: u64) -> HostLook {
        HostLook {
            address: ip(1),
            toward: Counts {
                packets: n_new_flows,
                n_new_flows,
                ..Counts::default()
            },
            from: Counts::default(),
            elapsed_s: 0.1,
            n_peers: 0.0,
            n_ports: 0.0,
            last_ns: T0,
        }
    }

    /// Looks wanted in `n` ticks of 100 ms with so many new flows each; flows are looked at in turn
    /// once a second.
    fn wanted(early: &mut EarlyLooks, from_tick: u64, n: u64, n_new_flows: u64) -> u64 {
        let before = early.n_looks;
        for tick in from_tick..from_tick + n {
            early.take(T0 + tick * 100 * MS, &[look(n_new_flows)], &[]);
            if early.is_wanted() || tick.is_multiple_of(10) {
                early.look();
            }
        }
        early.n_looks - before
    }

    #[test]
    fn a_burst_asks_for_a_look_at_once_and_another_when_settled() {
        let mut early = EarlyLooks::new(16, SECOND_NS, 1);
        assert_eq!(wanted(&mut early, 1, 100, 0), 0);
        assert_eq!(wanted(&mut early, 101, 1, 20), 1);
        assert_eq!(wanted(&mut early, 102, 9, 0), 0);
        assert_eq!(wanted(&mut early, 111, 5, 0), 1);
    }

    #[test]
    fn a_steady_load_asks_for_no_early_look() {
        let mut early = EarlyLooks::new(16, SECOND_NS, 1);
        wanted(&mut early, 1, 600, 20);
        assert_eq!(wanted(&mut early, 601, 600, 20), 0);
        assert!(wanted(&mut early, 1201, 10, 200) >= 1);
    }

    #[test]
    fn early_looks_are_at_most_half_as_many_as_the_regular_ones() {
        let mut early = EarlyLooks::new(16, SECOND_NS, 1);
        let n = wanted(&mut early, 1, 100, 1_000);
        assert!(n <= 4 + 5, "{n}");
    }
}
