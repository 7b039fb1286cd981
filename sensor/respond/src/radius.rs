//! Blast radius: bounds on what is set by itself, so that no mistake and no forger makes it set much.

use std::collections::{BTreeMap, VecDeque};

use ipnet::IpNet;
use sensor_engine::{Good, SECOND_NS, Scope};

/// Bounds on entries that are set without a person's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Entries in force at a time.
    pub entries: u32,
    /// New entries within a minute.
    pub new_per_minute: u32,
    /// Percent of the good peers of the last hour, and of their bytes, that entries may be on.
    pub good_percent: u32,
    /// Entries within one network of 24 bits (IPv4) or 48 bits (IPv6).
    pub per_network: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            entries: 1_000,
            new_per_minute: 200,
            good_percent: 20,
            per_network: 32,
        }
    }
}

/// Bound that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Entries,
    NewPerMinute,
    GoodSources,
    GoodBytes,
    PerNetwork,
}

impl Bound {
    /// Words, with the key of the configuration.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Entries => "as many entries as respond.radius.entries allows",
            Self::NewPerMinute => {
                "as many new entries in a minute as respond.radius.new_per_minute allows"
            }
            Self::GoodSources => "more of the good peers than respond.radius.good_percent allows",
            Self::GoodBytes => {
                "peers with more of the good bytes than respond.radius.good_percent allows"
            }
            Self::PerNetwork => {
                "as many entries in its /24 or /48 as respond.radius.per_network allows"
            }
        }
    }
}

/// State, for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RadiusState {
    /// Bound that holds new entries back now.
    pub held: Option<Bound>,
    /// Entries that were held back so far.
    pub n_refused: u64,
    /// Entries in force that count.
    pub n_entries: u64,
}

/// End of the time after a refusal in which the bound counts as met.
const HELD_NS: u64 = 60 * SECOND_NS;
const MINUTE_NS: u64 = 60 * SECOND_NS;

type Name = (IpNet, Scope);

/// An entry that was let through.
#[derive(Clone, Copy, Debug)]
struct Entry {
    until_ns: u64,
    /// Share of a good peer, parts of a million of all good bytes.
    good_ppm: Option<u64>,
}

/// Entries that count, and what was held back.
#[derive(Debug, Default)]
pub struct Radius {
    entries: BTreeMap<Name, Entry>,
    made_ns: VecDeque<u64>,
    held: Option<(Bound, u64)>,
    n_refused: u64,
    /// Beginnings and ends of times in which a bound was met, for the caller to tell.
    news: Vec<Option<Bound>>,
}

impl Radius {
    /// Lets an entry be set until a time, or says which bound holds it back. What renews an entry that
    /// counts is let through.
    ///
    /// # Errors
    /// The bound.
    pub fn may(
        &mut self,
        bounds: &Bounds,
        name: Name,
        (now_ns, until_ns): (u64, u64),
        good: Option<&Good>,
    ) -> Result<(), Bound> {
        self.pass(now_ns);
        let good_ppm = good.map(Good::bytes_ppm);
        if let Some(known) = self.entries.get_mut(&name) {
            known.until_ns = known.until_ns.max(until_ns);
            return Ok(());
        }
        if let Some(bound) = self.met(bounds, &name, good) {
            self.n_refused = self.n_refused.saturating_add(1);
            if self.held.is_none() {
                self.news.push(Some(bound));
            }
            self.held = Some((bound, now_ns));
            return Err(bound);
        }
        self.made_ns.push_back(now_ns);
        self.entries.insert(name, Entry { until_ns, good_ppm });
        Ok(())
    }

    fn met(&self, bounds: &Bounds, name: &Name, good: Option<&Good>) -> Option<Bound> {
        let percent = u64::from(bounds.good_percent);
        let on_good = self.entries.values().filter_map(|entry| entry.good_ppm);
        let [n_good, ppm] = on_good.fold([0, 0], |[n, sum], ppm| [n + 1, sum + ppm]);
        let is_many = |good: &Good| {
            let most = u64::from(good.n_peers).saturating_mul(percent) / 100;
            n_good + 1 > most.max(1)
        };
        let is_much = |good: &Good| ppm.saturating_add(good.bytes_ppm()) > percent * 10_000;
        if self.entries.len() as u64 >= bounds.entries.into() {
            Some(Bound::Entries)
        } else if self.made_ns.len() as u64 >= bounds.new_per_minute.into() {
            Some(Bound::NewPerMinute)
        } else if self.n_near(&name.0) >= bounds.per_network.into() {
            Some(Bound::PerNetwork)
        } else if good.is_some_and(is_many) {
            Some(Bound::GoodSources)
        } else if good.is_some_and(is_much) {
            Some(Bound::GoodBytes)
        } else {
            None
        }
    }

    /// Entries within the network of 24 or 48 bits that a target lies in.
    fn n_near(&self, target: &IpNet) -> u64 {
        let length = match target {
            IpNet::V4(_) => 24,
            IpNet::V6(_) => 48,
        };
        let Ok(near) = IpNet::new(target.network(), length.min(target.prefix_len())) else {
            return 0;
        };
        let near = near.trunc();
        let within = self.entries.keys().filter(|(one, _)| near.contains(one));
        within.count() as u64
    }

    /// Forgets what is over.
    pub fn pass(&mut self, now_ns: u64) {
        self.entries.retain(|_, entry| entry.until_ns > now_ns);
        let is_old = |made_ns: &u64| now_ns.saturating_sub(*made_ns) >= MINUTE_NS;
        while self.made_ns.front().is_some_and(is_old) {
            self.made_ns.pop_front();
        }
        let is_over = |(_, at_ns): &(Bound, u64)| now_ns.saturating_sub(*at_ns) >= HELD_NS;
        if self.held.as_ref().is_some_and(is_over) {
            self.held = None;
            self.news.push(None);
        }
    }

    /// Forgets entries that are no longer listed.
    pub fn keep(&mut self, is_listed: impl Fn(&IpNet, Scope) -> bool) {
        self.entries
            .retain(|(target, scope), _| is_listed(target, *scope));
    }

    pub fn state(&self) -> RadiusState {
        RadiusState {
            held: self.held.map(|(bound, _)| bound),
            n_refused: self.n_refused,
            n_entries: self.entries.len() as u64,
        }
    }

    /// Beginnings (with the bound) and ends of times in which a bound was met, since the last call.
    pub fn take_news(&mut self) -> Vec<Option<Bound>> {
        std::mem::take(&mut self.news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        entries: 10,
        new_per_minute: 6,
        good_percent: 20,
        per_network: 3,
    };
    const LONG_NS: u64 = 1_000 * SECOND_NS;

    fn name(text: &str) -> Name {
        (text.parse().unwrap(), Scope::default())
    }

    fn ask(radius: &mut Radius, at_s: u64, target: &str, good: Option<&Good>) -> Result<(), Bound> {
        let at_ns = at_s * SECOND_NS;
        radius.may(&BOUNDS, name(target), (at_ns, at_ns + LONG_NS), good)
    }

    #[test]
    fn entries_are_bounded_at_a_time_in_a_minute_and_in_a_network() {
        let mut radius = Radius::default();
        for n in 0..3 {
            let target = format!("192.0.2.{n}/32");
            assert_eq!(ask(&mut radius, 0, &target, None), Ok(()));
        }
        let near = ask(&mut radius, 0, "192.0.2.9/32", None);
        assert_eq!(near, Err(Bound::PerNetwork));
        // What renews an entry is none.
        assert_eq!(ask(&mut radius, 1, "192.0.2.1/32", None), Ok(()));
        for n in 0..3 {
            let target = format!("2001:db8:0:{n}::/64");
            assert_eq!(ask(&mut radius, 1, &target, None), Ok(()));
        }
        let more = ask(&mut radius, 2, "198.51.100.1/32", None);
        assert_eq!(more, Err(Bound::NewPerMinute));
        for n in 0..4 {
            let target = format!("198.51.{n}.1/32");
            assert_eq!(ask(&mut radius, 61, &target, None), Ok(()));
        }
        let more = ask(&mut radius, 122, "203.0.113.1/32", None);
        assert_eq!(more, Err(Bound::Entries));
        assert_eq!(radius.state().n_refused, 3);
        // One goes by a person's word, the others in time.
        radius.keep(|target, _| target.addr() != name("198.51.0.1/32").0.addr());
        assert_eq!(ask(&mut radius, 123, "203.0.113.1/32", None), Ok(()));
        radius.pass(5_000 * SECOND_NS);
        assert_eq!(radius.state().n_entries, 0);
    }

    #[test]
    fn few_of_the_good_peers_and_little_of_their_bytes_are_touched() {
        let mut radius = Radius::default();
        let good = |n_peers, bytes| Good {
            n_peers,
            bytes,
            of_bytes: 1_000,
        };
        let carries_most = good(5, 900);
        let refused = ask(&mut radius, 0, "192.0.2.1/32", Some(&carries_most));
        assert_eq!(refused, Err(Bound::GoodBytes));
        assert_eq!(
            ask(&mut radius, 0, "192.0.2.2/32", Some(&good(5, 10))),
            Ok(())
        );
        let second = ask(&mut radius, 0, "192.0.2.3/32", Some(&good(5, 10)));
        assert_eq!(second, Err(Bound::GoodSources));
        assert_eq!(
            ask(&mut radius, 0, "192.0.2.3/32", Some(&good(10, 10))),
            Ok(())
        );
        assert_eq!(ask(&mut radius, 0, "192.0.2.4/32", None), Ok(()));
    }

    #[test]
    fn a_bound_that_is_met_is_told_once_and_its_end_too() {
        let mut radius = Radius::default();
        for n in 0..20 {
            let _held = ask(&mut radius, n, &format!("192.0.2.{n}/32"), None);
        }
        assert_eq!(radius.take_news(), [Some(Bound::PerNetwork)]);
        assert_eq!(radius.state().held, Some(Bound::PerNetwork));
        radius.pass(78 * SECOND_NS);
        assert!(radius.take_news().is_empty());
        radius.pass(79 * SECOND_NS);
        assert_eq!(radius.take_news(), [None]);
        assert_eq!(radius.state().held, None);
    }
}
