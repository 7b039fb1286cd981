//! Contacts as regular as a clock: a program that calls home.
//!
//! Of the intervals between the latest contacts of a source with one service, those within a
//! quarter of their median are counted. Contacts at random (exponential intervals) lie there with
//! a probability of 0.18: many of few are no chance. Delays by jitter of up to a quarter, and a
//! missed contact now and then, do no harm.

use sensor_common::Address;

use super::{Detector, Entity, Evidence, Family, Finding, is_due};
use crate::address::{is_of_site, to_ip};
use crate::config::{SECOND_NS, ShapeConfig};
use crate::detect::finding::{MAX_SCORE, p_value};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::flow::FlowSummary;

/// Contacts kept.
const KEPT: usize = 24;
/// Contacts closer together are one: a program may open several connections at once.
const ONE_NS: u64 = SECOND_NS / 2;
/// Share of intervals that must lie near their median, and how near.
const REGULAR: f64 = 0.8;
const NEAR: f64 = 0.25;
/// Probability of an exponential interval to lie there: exp(-0.75 ln 2) - exp(-1.25 ln 2).
const BY_CHANCE: f64 = 0.174;
/// Deviation of the bytes sent over their mean, up to which contacts say the same each time.
const ALIKE: f64 = 0.5;
/// Shortest period; what comes more often is judged as a flood or as password guessing.
const LEAST_NS: u64 = 1_500_000_000;
/// Programs that poll keep a connection if they poll this often.
const OFTEN_NS: u64 = 20 * SECOND_NS;
const SELDOM_NS: u64 = 120 * SECOND_NS;
/// Time for which a source must be known before a new peer of it counts at longer periods.
const KNOWN_NS: u64 = 1_800 * SECOND_NS;
/// A pair is forgotten after so much silence.
const FORGET_NS: u64 = 6 * 3_600 * SECOND_NS;

/// A service as a source sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Service {
    source: Address,
    host: Address,
    port: u16,
}

#[derive(Clone, Debug, Default)]
struct Contacts {
    /// Times of the latest, oldest first.
    at_ns: Vec<u64>,
    n: u64,
    /// Bytes sent: sum and squares.
    bytes: f64,
    bytes_sq: f64,
    first_ns: u64,
    is_new: bool,
    reported_ns: u64,
}

impl Priority for Contacts {
    fn priority(&self) -> u64 {
        self.n
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    first_ns: u64,
    last_ns: u64,
}

impl Priority for Known {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

#[derive(Debug)]
pub(super) struct Beacons {
    services: Bounded<Service, Contacts>,
    sources: Bounded<Address, Known>,
}

impl Beacons {
    pub(super) fn new(capacity: usize, hash_seed: u64) -> Self {
        Self {
            services: Bounded::new("beacon_services", capacity, hash_seed),
            sources: Bounded::new("beacon_sources", capacity, hash_seed),
        }
    }

    pub(super) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.services.usage());
        out.push(self.sources.usage());
    }

    /// Takes an ended connection that was established.
    pub(super) fn take(
        &mut self,
        config: &ShapeConfig,
        flow: &FlowSummary,
        source: Address,
        host: Address,
    ) -> Option<Finding> {
        if is_of_site(&host) || flow.forward.n_flags[0] == 0 {
            return None;
        }
        let at_ns = flow.first_ns;
        let known = self.sources.get_or_insert_with(source, || Known {
            first_ns: at_ns,
            last_ns: at_ns,
        });
        known.last_ns = known.last_ns.max(at_ns);
        let is_new = at_ns.saturating_sub(known.first_ns) >= KNOWN_NS;
        let port = flow.destination_port;
        let service = Service { source, host, port };
        let contacts = self.services.get_or_insert_with(service, || Contacts {
            at_ns: Vec::with_capacity(KEPT),
            first_ns: at_ns,
            is_new,
            ..Contacts::default()
        });
        contacts.add(at_ns, flow.forward.bytes as f64);
        if !is_due(contacts.reported_ns, flow.last_ns) {
            return None;
        }
        let finding = contacts.judge(config, &service, flow.last_ns)?;
        contacts.reported_ns = flow.last_ns;
        Some(finding)
    }

    pub(super) fn forget(&mut self, at_ns: u64) {
        self.services.retain(|_, contacts| {
            let last_ns = contacts.at_ns.last().copied().unwrap_or(0);
            at_ns.saturating_sub(last_ns) < FORGET_NS
        });
    }
}

impl Contacts {
    fn add(&mut self, at_ns: u64, bytes: f64) {
        let place = self.at_ns.partition_point(|before| *before <= at_ns);
        let near = |index: Option<usize>| {
            index
                .and_then(|i| self.at_ns.get(i))
                .is_some_and(|other| other.abs_diff(at_ns) < ONE_NS)
        };
        if near(place.checked_sub(1)) || near(Some(place)) {
            return;
        }
        self.n = self.n.saturating_add(1);
        self.bytes += bytes;
        self.bytes_sq += bytes * bytes;
        if self.at_ns.len() >= KEPT {
            if place == 0 {
                return;
            }
            self.at_ns.remove(0);
            self.at_ns.insert(place - 1, at_ns);
        } else {
            self.at_ns.insert(place, at_ns);
        }
    }

    fn judge(&self, config: &ShapeConfig, service: &Service, last_ns: u64) -> Option<Finding> {
        let n_intervals = self.at_ns.len().saturating_sub(1);
        if (self.at_ns.len() as u64) < u64::from(config.beacon_contacts) {
            return None;
        }
        let mut intervals = [0u64; KEPT];
        for (interval, pair) in intervals.iter_mut().zip(self.at_ns.windows(2)) {
            *interval = pair[1].saturating_sub(pair[0]);
        }
        let intervals = intervals.get_mut(..n_intervals)?;
        intervals.sort_unstable();
        let period_ns = *intervals.get(n_intervals / 2)?;
        let is_near =
            |interval: &&u64| interval.abs_diff(period_ns) as f64 <= NEAR * period_ns as f64;
        let n_near = intervals.iter().filter(is_near).count();
        let regular = n_near as f64 / n_intervals.max(1) as f64;
        if regular < REGULAR || self.deviation() > ALIKE || !self.is_odd(config, period_ns) {
            return None;
        }
        Some(self.finding(service, period_ns, regular, n_intervals, last_ns))
    }

    /// Standard deviation of the bytes over their mean.
    fn deviation(&self) -> f64 {
        let n = self.n.max(1) as f64;
        let mean = self.bytes / n;
        (self.bytes_sq / n - mean * mean).max(0.0).sqrt() / mean.max(1.0)
    }

    /// Mail is fetched, weather asked for and updates looked for by the clock, too: at long
    /// periods only a peer that is new to its source, and more contacts, say something.
    fn is_odd(&self, config: &ShapeConfig, period_ns: u64) -> bool {
        let needed = u64::from(config.beacon_contacts);
        if period_ns < OFTEN_NS {
            return period_ns >= LEAST_NS;
        }
        let times = if period_ns < SELDOM_NS { 2 } else { 3 };
        self.is_new && self.n >= times * needed
    }

    fn finding(
        &self,
        service: &Service,
        period_ns: u64,
        regular: f64,
        n_intervals: usize,
        last_ns: u64,
    ) -> Finding {
        // Of n intervals at least so many near the median: bounded by Chernoff's theorem.
        let (p, n) = (BY_CHANCE, n_intervals as f64);
        let rest = if regular < 1.0 {
            (1.0 - regular) * ((1.0 - regular) / (1.0 - p)).ln()
        } else {
            0.0
        };
        let divergence = regular * (regular / p).ln() + rest;
        let score = (n * divergence / std::f64::consts::LN_10).min(MAX_SCORE);
        let evidence = |name, observed, expected, share| Evidence {
            name,
            observed,
            expected,
            share,
        };
        Finding {
            detector: Detector::Beacon,
            family: Family::Beacon,
            entity: Entity::Source(service.source),
            window_ns: period_ns.saturating_mul(n_intervals as u64),
            first_ns: self.first_ns,
            last_ns,
            score,
            p_value: p_value(score),
            grades: Detector::Beacon.grades(),
            features: vec![
                evidence("regular_share", regular, BY_CHANCE, 1.0),
                evidence("period_s", period_ns as f64 / 1e9, 0.0, 0.0),
                evidence("contacts", self.n as f64, 0.0, 0.0),
            ],
            notes: Vec::new(),
            sources: vec![to_ip(&service.source)],
            n_sources: 1,
            is_spoofed: false,
            destinations: vec![to_ip(&service.host)],
            n_destinations: 1,
            ports: vec![service.port],
            n_ports: 1,
            protocol: sensor_common::packet::protocol::TCP,
        }
    }
}
