//! Is a series of contacts a timer's? By the spread of the intervals and the sameness of the sizes.
//!
//! RITA (Active Countermeasures) scores the skew and the median absolute deviation of intervals and sizes, each from
//! 0 to 1. Here the same two are asked by counts near the median, whose chance under random contacts is known:
//! exponential intervals lie within a quarter of their median with a probability of 0.174, within 55 % of it
//! with 0.39. Chernoff's bound gives the score. At longer scales what is closer together counts as one contact, so
//! that several connections of one call, or its retries, are one.

use crate::config::SECOND_NS;
use crate::detect::finding::MAX_SCORE;

/// One contact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contact {
    pub at_ns: u64,
    pub sent: u32,
    pub got: u32,
}

/// Silence between two contacts at each scale, ns.
const SCALES: [u64; 3] = [0, 15 * SECOND_NS, 60 * SECOND_NS];
/// Distance from the median in parts of it, its chance, and the share that must lie there. Jitter of half
/// of the interval either way stays within the second.
const NEAR: [(f64, f64, f64); 2] = [(0.25, 0.174, 0.8), (0.55, 0.39, 0.9)];
/// Sizes are alike within this part of the median, or so many bytes (RITA's 32).
const ALIKE: f64 = 0.1;
const ALIKE_BYTES: f64 = 32.0;
/// Shares of alike sizes: what is sent is a question that stays, what is got may bring news.
const SENT_ALIKE: f64 = 0.7;
const GOT_ALIKE: f64 = 0.6;
/// Shortest period; what comes more often is judged as guessing or a flood.
const LEAST_NS: u64 = 1_500_000_000;

/// Series that a timer makes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Timer {
    pub period_ns: u64,
    pub n_contacts: usize,
    /// Share of intervals near the median, and the chance of that for one.
    pub regular: f64,
    pub by_chance: f64,
    pub sent_alike: f64,
    pub got_alike: f64,
    pub score: f64,
}

/// The best answer over the scales, of at least so many contacts, in order of time.
pub(super) fn timer(contacts: &[Contact], least: usize) -> Option<Timer> {
    let scales = SCALES
        .iter()
        .filter_map(|scale| at_scale(&merged(contacts, *scale), least));
    scales.max_by(|a, b| a.score.total_cmp(&b.score))
}

/// Contacts with what is nearer than `pause_ns` put together.
fn merged(contacts: &[Contact], pause_ns: u64) -> Vec<Contact> {
    let mut all: Vec<Contact> = Vec::with_capacity(contacts.len());
    let mut last_ns = 0;
    for contact in contacts {
        match all.last_mut() {
            Some(before) if contact.at_ns.saturating_sub(last_ns) < pause_ns => {
                before.sent = before.sent.saturating_add(contact.sent);
                before.got = before.got.saturating_add(contact.got);
            }
            _ => all.push(*contact),
        }
        last_ns = contact.at_ns;
    }
    all
}

fn at_scale(contacts: &[Contact], least: usize) -> Option<Timer> {
    if contacts.len() < least.max(3) {
        return None;
    }
    let gaps = contacts
        .windows(2)
        .map(|pair| pair[1].at_ns.saturating_sub(pair[0].at_ns) as f64);
    let mut gaps: Vec<f64> = gaps.collect();
    gaps.sort_unstable_by(f64::total_cmp);
    let period = median(&gaps);
    let sent_alike = alike(contacts.iter().map(|contact| contact.sent));
    let got_alike = alike(contacts.iter().map(|contact| contact.got));
    if period < LEAST_NS as f64 || sent_alike < SENT_ALIKE || got_alike < GOT_ALIKE {
        return None;
    }
    let n = gaps.len() as f64;
    let judged = NEAR.iter().filter_map(|(near, chance, least)| {
        let n_near = gaps
            .iter()
            .filter(|gap| (*gap - period).abs() <= near * period)
            .count();
        let share = n_near as f64 / n;
        (share >= *least).then(|| Timer {
            period_ns: period as u64,
            n_contacts: contacts.len(),
            regular: share,
            by_chance: *chance,
            sent_alike,
            got_alike,
            score: chernoff(n, share, *chance),
        })
    });
    judged.max_by(|a, b| a.score.total_cmp(&b.score))
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// Share of sizes near their median.
fn alike(sizes: impl Iterator<Item = u32>) -> f64 {
    let mut sizes: Vec<f64> = sizes.map(f64::from).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    let middle = median(&sizes);
    let near = (ALIKE * middle).max(ALIKE_BYTES);
    let n_near = sizes
        .iter()
        .filter(|size| (*size - middle).abs() <= near)
        .count();
    n_near as f64 / sizes.len().max(1) as f64
}

/// `-log10` of the bound on so great a share of `n` where each comes with a chance of `p`.
fn chernoff(n: f64, share: f64, p: f64) -> f64 {
    if share <= p {
        return 0.0;
    }
    let rest = if share < 1.0 {
        (1.0 - share) * ((1.0 - share) / (1.0 - p)).ln()
    } else {
        0.0
    };
    (n * (share * (share / p).ln() + rest) / std::f64::consts::LN_10).min(MAX_SCORE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Rng;

    fn contacts(
        n: usize,
        period_s: f32,
        jitter: f32,
        sizes: impl Fn(&mut Rng) -> u32,
    ) -> Vec<Contact> {
        let mut rng = Rng::new(7);
        let mut at_s = 100.0;
        let one = |_| {
            at_s += period_s * (1.0 + jitter * (2.0 * rng.unit() - 1.0));
            Contact {
                at_ns: (f64::from(at_s) * 1e9) as u64,
                sent: 400,
                got: sizes(&mut rng),
            }
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn timers_are_found_at_any_interval_with_up_to_half_of_it_as_jitter() {
        for period_s in [2.0, 30.0, 300.0] {
            for jitter in [0.0, 0.2, 0.5] {
                let timer = timer(&contacts(24, period_s, jitter, |_| 900), 20).expect("a timer");
                assert!(timer.score > 5.0, "{period_s} {jitter}: {timer:?}");
            }
        }
        assert_eq!(timer(&contacts(19, 5.0, 0.0, |_| 900), 20), None);
    }

    #[test]
    fn several_connections_of_one_call_are_one_contact() {
        let calls = contacts(24, 120.0, 0.1, |_| 900);
        let both = |call: &Contact| {
            let second = Contact {
                at_ns: call.at_ns + 4 * SECOND_NS,
                ..*call
            };
            [*call, second]
        };
        let twice: Vec<Contact> = calls.iter().flat_map(both).collect();
        let period_s = timer(&twice, 20).expect("a timer").period_ns / SECOND_NS;
        assert!((108..132).contains(&period_s), "{period_s}");
    }

    #[test]
    fn answers_of_many_sizes_and_random_intervals_are_no_timer() {
        let news = contacts(60, 30.0, 0.0, |rng| 500 + rng.below(40_000) as u32);
        assert_eq!(timer(&news, 20), None);
        let mut rng = Rng::new(3);
        let mut at_ns = 0;
        let random: Vec<Contact> = (0..60)
            .map(|_| {
                at_ns += (-(1.0 - rng.unit()).ln() * 2e10) as u64;
                Contact {
                    at_ns,
                    sent: 400,
                    got: 900,
                }
            })
            .collect();
        assert_eq!(timer(&random, 20), None);
    }
}
