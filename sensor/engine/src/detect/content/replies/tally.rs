//! Refusals and acceptances of one client at one service, and Wald's test over them.

use crate::config::RepliesConfig;
use crate::detect::content::paned_window::PanedWindow;
use crate::features::bounded::Priority;
use crate::features::decay::Spread;
use crate::l7::login::{Outcome, Secret, Service};

/// Share of its logins that a service refuses of an honest client, at most, and of a guesser.
const HONEST: f64 = 0.2;
const GUESSER: f64 = 0.95;
/// Probability that the test calls an honest client a guesser, and that it clears a guesser.
const FALSE_ALARM: f64 = 1e-6;
const MISS: f64 = 0.01;
/// Acceptances from which a client is one of the service's own.
const GOOD: u32 = 3;
/// Times as many refusals that the long window asks for.
const SLOW: u32 = 3;
/// Times of them that the long window asks for where it is worth no more than a look.
const ODD: u32 = 2;
/// Addresses of a network that were refused, and refusals of each on average, where a guesser goes
/// through its addresses.
const ADDRESSES: f64 = 4.0;
const EACH: f64 = 4.0;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Half {
    n_refused: u32,
    n_hidden: u32,
    n_accepted: u32,
    /// Secrets that were shown and refused.
    shown: Spread,
    /// Addresses that were refused.
    addresses: Spread,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    short: PanedWindow<Half>,
    long: PanedWindow<Half>,
    pub service: Option<Service>,
    /// Logarithm of the likelihood of a guesser over that of an honest client, between the bounds.
    ratio: f64,
    n_good: u32,
    /// Refusals since the last acceptance.
    n_run: u32,
    /// Refused guesses that an acceptance ended, until told.
    broken_in: Option<u32>,
    /// It was found before.
    is_found: bool,
}

impl Priority for Tally {
    fn priority(&self) -> u64 {
        u64::from(self.long.now.n_refused) + u64::from(self.long.before.n_refused)
    }
}

/// Guesses above what an honest client shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Guesses {
    pub n_refused: u32,
    pub limit: u32,
    pub n_hidden: u32,
    pub n_secrets: f64,
    pub n_addresses: f64,
    /// Refusals that an acceptance ended.
    pub broken_in: Option<u32>,
    /// A saved password that is not right any more explains it, too.
    pub is_weak: bool,
    pub window_ns: u64,
    pub first_ns: u64,
    pub last_ns: u64,
}

/// Whom a tally is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Client,
    Network,
}

impl Tally {
    /// Takes what came of `n` logins of an address.
    pub(super) fn take(
        &mut self,
        at_ns: u64,
        address: u64,
        (outcome, n): (Outcome, u32),
        config: &RepliesConfig,
    ) {
        let is_accepted = outcome == Outcome::Accepted;
        if is_accepted && self.n_good < GOOD && self.is_guessing(config) {
            self.broken_in = Some(self.n_run);
        }
        for (window, half_ns) in [
            (&mut self.short, config.half_ns),
            (&mut self.long, config.slow_half_ns),
        ] {
            let half = window.at(at_ns, half_ns);
            match outcome {
                Outcome::Accepted => half.n_accepted = half.n_accepted.saturating_add(n),
                Outcome::Refused(secret) => {
                    half.n_refused = half.n_refused.saturating_add(n);
                    half.addresses.insert(address);
                    match secret {
                        Secret::Hidden => half.n_hidden = half.n_hidden.saturating_add(n),
                        Secret::Shown(hash) => half.shown.insert(hash),
                    }
                }
            }
        }
        let (step, bounds) = (step(is_accepted), bounds());
        self.ratio = (self.ratio + step * f64::from(n)).clamp(bounds[0], bounds[1]);
        if is_accepted {
            // What a guesser hits upon makes it no good client.
            let is_good = self.n_run < config.refused;
            self.n_good = self.n_good.saturating_add(u32::from(is_good));
            self.n_run = 0;
        } else {
            self.n_run = self.n_run.saturating_add(n);
        }
    }

    /// Takes back `n` refusals of hidden secrets that were told before the login succeeded.
    pub(super) fn take_back(&mut self, n: u32) {
        for window in [&mut self.short, &mut self.long] {
            let mut left = n;
            for half in [&mut window.now, &mut window.before] {
                let taken = left.min(half.n_hidden).min(half.n_refused);
                half.n_hidden -= taken;
                half.n_refused -= taken;
                left -= taken;
            }
        }
        let [least, most] = bounds();
        self.ratio = (self.ratio - step(false) * f64::from(n)).clamp(least, most);
        self.n_run = self.n_run.saturating_sub(n);
    }

    /// True where there is a finding that was not told before.
    pub(super) fn is_news(&self, config: &RepliesConfig) -> bool {
        !self.is_found && self.is_guessing(config) || self.broken_in.is_some()
    }

    /// True where the test has decided for a guesser.
    fn is_decided(&self) -> bool {
        self.ratio >= bounds()[1]
    }

    fn is_guessing(&self, config: &RepliesConfig) -> bool {
        let windows = [(&self.short, 1), (&self.long, SLOW)];
        self.is_decided()
            && windows
                .into_iter()
                .any(|(window, times)| share(window, times, config) >= 1.0)
    }

    /// True where the service takes most of what the client says.
    pub(super) fn is_accepted(&self) -> bool {
        let (now, before) = (&self.long.now, &self.long.before);
        let n_refused = now.n_refused.saturating_add(before.n_refused);
        now.n_accepted.saturating_add(before.n_accepted) > n_refused
    }

    /// Judges what is new, at most once a second.
    pub(super) fn judge(&mut self, at_ns: u64, of: Of, config: &RepliesConfig) -> Option<Guesses> {
        let (is_decided, n_good) = (self.is_decided(), self.n_good);
        let broken_in = self.broken_in;
        let windows = [
            (&mut self.short, config.half_ns, 1),
            (&mut self.long, config.slow_half_ns, SLOW),
        ];
        for (window, half_ns, times) in windows {
            if !window.is_due(at_ns, half_ns) {
                continue;
            }
            let (now, before) = (window.now, window.before);
            let n_addresses = union(now.addresses, before.addresses);
            let n_refused = now.n_refused.saturating_add(before.n_refused);
            let n_accepted = now.n_accepted.saturating_add(before.n_accepted);
            let is_spread = n_addresses >= ADDRESSES
                && f64::from(n_refused) <= EACH * n_addresses
                && n_accepted == 0;
            let is_much = is_decided && share(window, times, config) >= 1.0;
            // As many as a program with a saved password may have, or twice as many over a long time, in which a
            // phone or a mail program tries again and again: worth a look.
            let is_odd =
                is_decided && of == Of::Client && share(window, times.min(ODD), config) >= 1.0;
            let is_guilty = is_odd || is_much && (of == Of::Client || is_spread);
            if !is_guilty && broken_in.is_none() {
                window.judged();
                continue;
            }
            window.reported(at_ns);
            (self.broken_in, self.is_found) = (None, true);
            let n_secrets = union(now.shown, before.shown);
            return Some(Guesses {
                n_refused,
                limit: config.refused.saturating_mul(times),
                n_hidden: now.n_hidden.saturating_add(before.n_hidden),
                n_secrets,
                n_addresses,
                broken_in,
                is_weak: broken_in.is_none()
                    && (!is_much || n_good >= GOOD && n_secrets < f64::from(config.secrets)),
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

fn union(a: Spread, b: Spread) -> f64 {
    a.union(b).len()
}

/// Guesses in a window over what is too much. Secrets that differ are counted as such; hidden ones only
/// where they come faster than programs try a saved one again.
fn share(window: &PanedWindow<Half>, times: u32, config: &RepliesConfig) -> f64 {
    let (now, before) = (&window.now, &window.before);
    let n_hidden = now.n_hidden.saturating_add(before.n_hidden);
    let limit = config.refused.saturating_mul(times);
    union(now.shown, before.shown) / f64::from(config.secrets.max(1))
        + f64::from(n_hidden) / f64::from(limit.max(1))
}

/// Addition of one login to the logarithm of the likelihood ratio.
fn step(is_accepted: bool) -> f64 {
    if is_accepted {
        ((1.0 - GUESSER) / (1.0 - HONEST)).ln()
    } else {
        (GUESSER / HONEST).ln()
    }
}

/// Bounds at which the test decides for an honest client and for a guesser.
fn bounds() -> [f64; 2] {
    [
        (MISS / (1.0 - FALSE_ALARM)).ln(),
        ((1.0 - MISS) / FALSE_ALARM).ln(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SECOND_NS;
    use crate::tests::T0;

    /// Verdicts on logins `gap_s` apart: `None` is an acceptance, `Some(0)` a refusal of a hidden secret,
    /// others of a shown one.
    fn judged(gap_s: f64, logins: &[Option<u64>]) -> Vec<Guesses> {
        let config = RepliesConfig::default();
        let mut tally = Tally::default();
        let mut found = Vec::new();
        for (n, login) in logins.iter().enumerate() {
            let at_ns = T0 + (n as f64 * gap_s * SECOND_NS as f64) as u64;
            let outcome = match login {
                None => Outcome::Accepted,
                Some(0) => Outcome::Refused(Secret::Hidden),
                Some(secret) => Outcome::Refused(Secret::Shown(*secret)),
            };
            tally.take(at_ns, 1, (outcome, 1), &config);
            found.extend(tally.judge(at_ns + 1, Of::Client, &config));
        }
        found
    }

    fn differing(n: u64) -> Vec<Option<u64>> {
        (1..=n).map(|n| Some(n * 7_919)).collect()
    }

    #[test]
    fn nine_refusals_without_an_acceptance_decide_for_a_guesser() {
        let n = (bounds()[1] / step(false)).ceil();
        assert_eq!(n, 9.0);
    }

    #[test]
    fn secrets_that_differ_are_guesses_at_any_speed() {
        for gap_s in [0.1, 5.0, 60.0] {
            assert!(!judged(gap_s, &differing(20)).is_empty(), "{gap_s}");
            assert!(judged(gap_s, &differing(6)).is_empty(), "{gap_s}");
        }
    }

    #[test]
    fn one_saved_password_is_no_guess_at_any_speed() {
        for gap_s in [0.1, 5.0, 60.0] {
            assert!(judged(gap_s, &[Some(7_919); 100]).is_empty(), "{gap_s}");
        }
    }

    #[test]
    fn hidden_secrets_are_guesses_where_they_come_faster_than_programs_retry() {
        assert!(!judged(1.0, &[Some(0); 20]).is_empty());
        assert!(!judged(15.0, &[Some(0); 60]).is_empty());
        let found = judged(60.0, &[Some(0); 100]);
        assert!(found.iter().all(|guesses| guesses.is_weak));
    }

    #[test]
    fn acceptances_speak_for_a_client() {
        let mixed: Vec<Option<u64>> = (0..200).map(|n| (n % 2 == 0).then_some(0)).collect();
        assert!(judged(0.5, &mixed).is_empty());
        // A good client of before whose password was changed is worth a look.
        let mut changed = vec![None; 5];
        changed.extend([Some(0); 30]);
        let found = judged(0.5, &changed);
        assert!(!found.is_empty() && found.iter().all(|guesses| guesses.is_weak));
    }

    #[test]
    fn refusals_that_are_taken_back_leave_nothing() {
        let config = RepliesConfig::default();
        let refused = (Outcome::Refused(Secret::Hidden), 1);
        let judged = |n_taken_back| {
            let mut tally = Tally::default();
            for n in 0..12 {
                tally.take(T0 + n, 1, refused, &config);
            }
            let was_news = tally.is_news(&config);
            tally.take_back(n_taken_back);
            (was_news, tally.judge(T0 + SECOND_NS, Of::Client, &config))
        };
        assert!(matches!(judged(0), (true, Some(_))));
        assert_eq!(judged(12), (true, None));
        assert_eq!(judged(3), (true, None));
    }

    #[test]
    fn an_acceptance_after_guesses_is_told() {
        let mut logins = differing(20);
        logins.push(None);
        let found = judged(1.0, &logins);
        assert_eq!(found.last().and_then(|guesses| guesses.broken_in), Some(20));
    }

    #[test]
    fn a_network_is_judged_where_its_addresses_take_turns() {
        let config = RepliesConfig::default();
        let judged = |n_addresses: u64| {
            let mut tally = Tally::default();
            for n in 0..30 {
                let refused = (Outcome::Refused(Secret::Hidden), 1);
                tally.take(T0 + n * SECOND_NS, n % n_addresses, refused, &config);
            }
            tally.judge(T0 + 31 * SECOND_NS, Of::Network, &config)
        };
        assert!(judged(30).is_some());
        assert_eq!(judged(2), None);
    }
}
