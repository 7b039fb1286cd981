//! Findings: the output of detectors.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};
use sensor_common::Address;

use super::family::Family;
use super::grade::Grades;
use super::registry::Detector;
use crate::address::{Mac, to_ip};
use crate::note::Note;

/// Entity that a finding is about and that incidents are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entity {
    Victim(Address),
    Source(Address),
    /// A station on the link, where its IP address may be a lie.
    Station(Mac),
}

impl Entity {
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Victim(_) => "victim",
            Self::Source(_) => "source",
            Self::Station(_) => "station",
        }
    }

    /// Address of the entity; of a station the link-local one that belongs to its Ethernet address
    /// (RFC 4291 appendix A).
    pub const fn address(&self) -> Address {
        match self {
            Self::Victim(address) | Self::Source(address) => *address,
            Self::Station([a, b, c, d, e, f]) => [
                0xfe80_0000_u32.to_be(),
                0,
                u32::from_ne_bytes([*a ^ 2, *b, *c, 0xff]),
                u32::from_ne_bytes([0xfe, *d, *e, *f]),
            ],
        }
    }

    pub const fn station(&self) -> Option<Mac> {
        match self {
            Self::Station(mac) => Some(*mac),
            Self::Victim(_) | Self::Source(_) => None,
        }
    }
}

/// Number that speaks for a finding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    pub name: &'static str,
    pub observed: f64,
    pub expected: f64,
    /// Part of the score that it accounts for, 0 to 1.
    pub share: f64,
}

/// A score above its limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub detector: Detector,
    pub family: Family,
    pub entity: Entity,
    pub window_ns: u64,
    /// First and last packet of the behaviour in the window.
    pub first_ns: u64,
    pub last_ns: u64,
    /// `-log10(p_value)`.
    pub score: f64,
    pub p_value: f64,
    pub grades: Grades,
    pub features: Vec<Evidence>,
    pub notes: Vec<Note>,
    /// Sources that it is attributed to; empty where they are spoofed.
    pub sources: Vec<IpAddr>,
    pub n_sources: u64,
    pub is_spoofed: bool,
    /// Station that an address was taken from, where the behaviour is on the link.
    pub destination_mac: Option<Mac>,
    pub destinations: Vec<IpAddr>,
    pub n_destinations: u64,
    pub ports: Vec<u16>,
    pub n_ports: u64,
    pub protocol: u8,
}

impl Finding {
    /// Makes a finding without numbers, names and ports, at one point in time.
    pub(crate) const fn new(
        detector: Detector,
        family: Family,
        entity: Entity,
        at_ns: u64,
    ) -> Self {
        Self {
            detector,
            family,
            entity,
            window_ns: 0,
            first_ns: at_ns,
            last_ns: at_ns,
            score: 0.0,
            p_value: 1.0,
            grades: detector.grades(),
            features: Vec::new(),
            notes: Vec::new(),
            sources: Vec::new(),
            n_sources: 0,
            is_spoofed: false,
            destination_mac: None,
            destinations: Vec::new(),
            n_destinations: 0,
            ports: Vec::new(),
            n_ports: 0,
            protocol: 0,
        }
    }
}

/// Times the limit of a shape from which no honest client shows it: an order of magnitude.
const EXCESS: f64 = 10.0;
/// Limits over what is expected, in the detectors of shapes.
const LIMIT: f64 = 5.0;

/// Number of requests over connections that stay.
pub(crate) const REQUESTS: &str = "requests_in_kept_connections";
/// Mean number of sessions at the same time.
pub(crate) const SESSIONS_AT_ONCE: &str = "sessions_at_once";
/// Sessions at the same time from which a client does not wait for one answer before it asks for the next.
/// One that does is slowed down by the server itself.
pub(crate) const AT_ONCE: f64 = 1.5;
/// Packets in 5 s of a protocol that stays without an answer beyond which that is no report, mirror or
/// tunnel whose other half goes another way.
const SILENT: f64 = 50_000.0;

impl Finding {
    /// The network of 64 bits that its sources share, where it blames them as one.
    pub(crate) fn network(&self) -> Option<Ipv6Net> {
        let Entity::Source(address) = self.entity else {
            return None;
        };
        let IpAddr::V6(v6) = to_ip(&address) else {
            return None;
        };
        let network = Ipv6Net::new(v6, 64).ok()?;
        let is_shared = network.network() == v6
            && !self.sources.contains(&IpAddr::V6(v6))
            && self
                .sources
                .iter()
                .all(|source| IpNet::V6(network).contains(source));
        is_shared.then_some(network)
    }

    /// True where sources did together what each is blamed for alone otherwise: what one of them did is
    /// too little to act on it.
    pub(crate) fn is_collective(&self) -> bool {
        match self.entity {
            Entity::Victim(_) => !self.family.is_of_victim() && self.n_sources > 1,
            // The network that they share.
            Entity::Source(address) => {
                self.n_sources > 1 && !self.sources.contains(&to_ip(&address))
            }
            Entity::Station(_) => false,
        }
    }

    /// True where a client waits for one answer before it asks for the next.
    fn is_closed_loop(&self) -> bool {
        let mut features = self.features.iter();
        features.any(|e| e.name == SESSIONS_AT_ONCE && e.observed < AT_ONCE)
    }

    /// True where a flood's shape alone is beyond what any honest client does. Rates of host rows are
    /// far above by their limits.
    pub(crate) fn is_excess(&self) -> bool {
        let observed = |least: &dyn Fn(&Evidence) -> f64| {
            let strongest = self.features.first();
            strongest.is_some_and(|evidence| evidence.observed >= least(evidence))
        };
        let is_beyond = match self.detector {
            // Packets a second.
            Detector::HostRates if self.family.is_of_stray() => observed(&|_| SILENT / 5.0),
            Detector::HostRates => true,
            Detector::Strays => observed(&|_| SILENT),
            // A client that waits for each answer asks as often as the server lets it.
            Detector::Web if self.is_closed_loop() => false,
            // Of many clients together no number is beyond what they are for.
            Detector::Web if self.n_sources > 1 => false,
            // Proxies and programs ask as often, and are served.
            Detector::Web if self.features.first().is_some_and(|e| e.name == REQUESTS) => false,
            // Gateways publish for all whom they serve.
            Detector::Mqtt => false,
            // Pools keep connections by the hundred, too, which were answered once.
            _ if matches!(self.family, Family::SlowHttp | Family::ConnectionExhaustion) => false,
            _ => observed(&|evidence| EXCESS * LIMIT * evidence.expected),
        };
        self.family.is_of_victim() && is_beyond
    }
}

/// Highest score; more would say no more.
pub const MAX_SCORE: f64 = 300.0;

/// A score in a plain word.
pub const fn strength(score: f64) -> &'static str {
    match score {
        s if s >= 100.0 => "overwhelming",
        s if s >= 10.0 => "very strong",
        s if s >= 4.0 => "strong",
        s if s >= 2.0 => "moderate",
        _ => "weak",
    }
}

/// `-log10` of the Chernoff bound on a Poisson tail: `n` or more events where at most `expected`
/// are normal, P <= exp(-expected) (e expected / n)^n.
pub fn poisson_score(n: f64, expected: f64) -> f64 {
    let expected = expected.max(1e-9);
    if n <= expected || !n.is_finite() {
        return 0.0;
    }
    ((n * (n / expected).ln() - (n - expected)) / std::f64::consts::LN_10).min(MAX_SCORE)
}

/// Converts a score to its probability.
pub fn p_value(score: f64) -> f64 {
    10f64.powf(-score)
}
