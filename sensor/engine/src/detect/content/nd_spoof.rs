//! Stations that speak for addresses of others by IPv6 neighbour discovery, and such that make
//! themselves routers (RFC 3756, RFC 6104).
//!
//! Claims of addresses, as of ARP:
//! - a station tells one host, unasked, that it has an address that another station lately held, and
//!   does so again. A new owner of an address tells everybody;
//! - an address changes hands between two stations again and again. Advertisements that don't
//!   override are left out: proxies and anycast servers send them (RFC 4861 7.2.7 and 7.2.8).
//!
//! Routers: more new ones than a link has, and a new one beside others that are known for long.

use std::net::IpAddr;

use sensor_common::{Address, hash_address};

use super::Seen;
use super::claim::Claim;
use super::draft::{Span, draft};
use super::paned_window::PanedWindow;
use crate::address::{Mac, to_ip};
use crate::config::{Config, NdSpoofConfig, SECOND_NS};
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Finding, MAX_SCORE, poisson_score};
use crate::detect::{Detect, Detector};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::sketch::Distinct;
use crate::l7::nd::{Message, NeighbourMessage};

/// Addresses that a station keeps.
const KEPT: usize = 16;
/// Score of a shape without a count.
const SURE: f64 = 12.0;
/// A second router is most often somebody's second router.
const NEW_ROUTER: f64 = 3.0;
/// One that wants to be asked before the others less so.
const PREFERRED_ROUTER: f64 = 6.0;
/// Times as many routers before the link is known.
const UNKNOWN: u32 = 2;
/// A router that was not heard for so long is forgotten.
const FORGET_NS: u64 = 7 * 86_400 * SECOND_NS;

/// Station with what it did within the window.
#[derive(Clone, Debug, Default)]
struct Station {
    first_ns: u64,
    last_ns: u64,
    /// Addresses of others that it claimed unasked.
    taken: Vec<Address>,
    /// Station that held the last address which it claimed.
    displaced: Option<Mac>,
    n_taken: u32,
    suspicion: Option<Suspicion>,
    reported_ns: u64,
}

impl Priority for Station {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

/// Evidence against a station.
#[derive(Clone, Debug)]
struct Suspicion {
    name: &'static str,
    observed: u32,
    addresses: Vec<Address>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked(u64);

impl Priority for Asked {
    fn priority(&self) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Router {
    since_ns: u64,
    last_ns: u64,
}

impl Priority for Router {
    fn priority(&self) -> u64 {
        self.last_ns.saturating_sub(self.since_ns)
    }
}

/// Routers: address, when it was first heard and last; and since when the link is watched.
pub(crate) type Learned = (Vec<(Address, u64, u64)>, u64);

#[derive(Debug)]
pub(crate) struct NdSpoofDetector {
    config: NdSpoofConfig,
    claims: Bounded<Address, Claim>,
    stations: Bounded<Mac, Station>,
    /// Asker and asked.
    questions: Bounded<(Address, Address), Asked>,
    routers: Bounded<Address, Router>,
    /// Routers that were new, within the window.
    new_routers: PanedWindow<Distinct>,
    began_ns: u64,
    findings: Vec<Finding>,
}

impl Detect for NdSpoofDetector {
    type Learned = Learned;

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.nd_spoof, config.hash_seed);
        let n = config.max_stations;
        Self {
            config: config.clone(),
            claims: Bounded::new("nd_claims", n, hash_seed),
            stations: Bounded::new("nd_stations", n, hash_seed),
            questions: Bounded::new("nd_questions", n, hash_seed),
            routers: Bounded::new("nd_routers", n, hash_seed),
            new_routers: PanedWindow::default(),
            began_ns: 0,
            findings: Vec::new(),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.nd_spoof.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.claims.usage());
        out.push(self.stations.usage());
        out.push(self.questions.usage());
        out.push(self.routers.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        self.judge_flood(at_ns, findings);
        findings.append(&mut self.findings);
        let config = &self.config;
        for (mac, station) in self.stations.iter_mut() {
            let is_due = at_ns.saturating_sub(station.reported_ns) >= SECOND_NS;
            if is_due && let Some(suspicion) = station.suspicion.take() {
                station.reported_ns = at_ns;
                findings.push(spoof(config, mac, station, &suspicion));
            }
        }
        self.stations
            .retain(|_, station| at_ns.saturating_sub(station.last_ns) < config.window_ns);
        self.claims
            .retain(|_, claim| at_ns.saturating_sub(claim.last_ns) < config.claim_ns);
        self.questions
            .retain(|_, asked| at_ns.saturating_sub(asked.0) <= config.answer_ns);
        self.routers
            .retain(|_, router| at_ns.saturating_sub(router.last_ns) < FORGET_NS);
    }

    fn learned(&self) -> Learned {
        let flat =
            |(address, router): (&Address, &Router)| (*address, router.since_ns, router.last_ns);
        (self.routers.iter().map(flat).collect(), self.began_ns)
    }

    fn restore(&mut self, (routers, began_ns): Learned) {
        self.began_ns = began_ns;
        for (address, since_ns, last_ns) in routers {
            let router = Router { since_ns, last_ns };
            *self.routers.get_or_insert_with(address, Router::default) = router;
        }
    }
}

impl NdSpoofDetector {
    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>, heard: &NeighbourMessage) {
        let at_ns = seen.at_ns;
        if self.began_ns == 0 {
            self.began_ns = at_ns;
        }
        let head = seen.sample.head;
        let (source, destination) = (head.packet.source, head.packet.destination);
        let mac = heard.mac.unwrap_or(head.source_mac);
        match heard.message {
            Message::Solicitation { target } => {
                let asked = self
                    .questions
                    .get_or_insert_with((source, target), Asked::default);
                asked.0 = at_ns;
                // Who asks from no address checks whether somebody has it.
                if heard.mac.is_some() && source != [0; 4] {
                    self.claim(at_ns, source, mac);
                }
            }
            Message::Advertisement { target, overrides } if overrides => {
                let is_to_one = head.destination_mac[0] & 1 == 0;
                let is_asked = self
                    .questions
                    .get(&(destination, target))
                    .is_some_and(|asked| at_ns.saturating_sub(asked.0) <= self.config.answer_ns);
                let is_taken = self.claim(at_ns, target, mac);
                if is_taken && is_to_one && !is_asked {
                    self.take_over(at_ns, target, mac);
                }
            }
            Message::Advertisement { .. } => {}
            Message::Router {
                lifetime_s,
                is_preferred,
            } => {
                self.claim(at_ns, source, mac);
                if lifetime_s > 0 {
                    self.take_router(at_ns, source, mac, is_preferred);
                }
            }
        }
    }

    /// Notes who holds an address; `true` where another station held it a while ago.
    fn claim(&mut self, at_ns: u64, address: Address, mac: Mac) -> bool {
        let config = &self.config;
        let claim = self.claims.get_or_insert_with(address, Claim::default);
        let previous = claim.take(at_ns, mac, config.claim_ns, config.window_ns);
        let n_changes = claim.n_changes;
        let displaced = previous.filter(|holder| *holder != mac);
        let has_changed = displaced.is_some();
        let station = self.station(at_ns, mac);
        station.displaced = displaced.or(station.displaced);
        let was_taken = station.taken.contains(&address);
        if has_changed && n_changes >= self.config.changes {
            self.suspect(mac, "changes_of_holder", n_changes, vec![address]);
        }
        has_changed || was_taken
    }

    fn take_over(&mut self, at_ns: u64, address: Address, mac: Mac) {
        let station = self.station(at_ns, mac);
        station.n_taken = station.n_taken.saturating_add(1);
        if station.taken.len() < KEPT && !station.taken.contains(&address) {
            station.taken.push(address);
        }
        let (n, addresses) = (station.n_taken, station.taken.clone());
        if n >= self.config.taken_over {
            self.suspect(mac, "claims_taken_over", n, addresses);
        }
    }

    /// The station, begun anew after a silence.
    fn station(&mut self, at_ns: u64, mac: Mac) -> &mut Station {
        let window_ns = self.config.window_ns;
        let station = self.stations.get_or_insert_with(mac, Station::default);
        if station.first_ns == 0 || at_ns.saturating_sub(station.last_ns) > window_ns {
            *station = Station {
                first_ns: at_ns,
                ..Station::default()
            };
        }
        station.last_ns = at_ns;
        station
    }

    fn suspect(&mut self, mac: Mac, name: &'static str, observed: u32, addresses: Vec<Address>) {
        if let Some(station) = self.stations.get_mut(&mac) {
            station.suspicion = Some(Suspicion {
                name,
                observed,
                addresses,
            });
        }
    }

    fn take_router(&mut self, at_ns: u64, address: Address, mac: Mac, is_preferred: bool) {
        let known_ns = self.config.known_ns;
        if let Some(router) = self.routers.get_mut(&address) {
            router.last_ns = at_ns;
            return;
        }
        let is_other_known = self.routers.iter().any(|(_, router)| {
            at_ns.saturating_sub(router.since_ns) >= known_ns
                && at_ns.saturating_sub(router.last_ns) < known_ns
        });
        let half = self.new_routers.at(at_ns, self.config.window_ns / 2);
        half.insert(hash_address(&address, 0));
        let n_new = half.len();
        self.routers.get_or_insert_with(address, || Router {
            since_ns: at_ns,
            last_ns: at_ns,
        });
        // A flood of routers is one finding.
        if is_other_known && n_new <= 2 {
            let score = if is_preferred {
                PREFERRED_ROUTER
            } else {
                NEW_ROUTER
            };
            self.findings
                .push(new_router(at_ns, address, mac, (score, is_preferred)));
        }
    }

    /// Reports more new routers than a link has.
    fn judge_flood(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let half_ns = self.config.window_ns / 2;
        let is_known = at_ns.saturating_sub(self.began_ns) >= self.config.known_ns;
        let limit = self.config.routers * if is_known { 1 } else { UNKNOWN };
        let window = &mut self.new_routers;
        if !window.is_due(at_ns, half_ns) {
            return;
        }
        let n = window.now.union_len(&window.before);
        if n < limit {
            window.judged();
            return;
        }
        window.reported(at_ns);
        let span = Span {
            window_ns: 2 * half_ns,
            first_ns: window.first_ns,
            last_ns: window.last_ns,
        };
        let expected = f64::from(limit) / 10.0;
        let numbers = [("new_routers", f64::from(n), expected, 1.0)];
        let score = poisson_score(f64::from(n), expected).max(SURE);
        let (family, entity) = (Family::RogueRouter, Entity::Victim(ALL_NODES));
        findings.push(Finding {
            n_sources: u64::from(n),
            is_spoofed: true,
            destinations: vec![to_ip(&ALL_NODES)],
            n_destinations: 1,
            protocol: sensor_common::packet::protocol::ICMPV6,
            ..draft(Detector::NdSpoof, family, entity, span, score, &numbers)
        });
    }
}

/// `ff02::1`, whom router advertisements are for.
const ALL_NODES: Address = [0xff02_0000_u32.to_be(), 0, 0, 1_u32.to_be()];

fn addresses(list: &[Address]) -> Vec<IpAddr> {
    list.iter().map(to_ip).collect()
}

fn new_router(
    at_ns: u64,
    address: Address,
    mac: Mac,
    (score, is_preferred): (f64, bool),
) -> Finding {
    let span = Span {
        window_ns: SECOND_NS,
        first_ns: at_ns,
        last_ns: at_ns,
    };
    let numbers = [
        ("new_router_beside_known", 1.0, 0.0, 1.0),
        (
            "prefers_itself",
            f64::from(u8::from(is_preferred)),
            0.0,
            0.0,
        ),
    ];
    let (family, entity) = (Family::RogueRouter, Entity::Station(mac));
    Finding {
        sources: vec![to_ip(&address)],
        n_sources: 1,
        destinations: vec![to_ip(&ALL_NODES)],
        n_destinations: 1,
        protocol: sensor_common::packet::protocol::ICMPV6,
        ..draft(Detector::NdSpoof, family, entity, span, score, &numbers)
    }
}

fn spoof(config: &NdSpoofConfig, mac: &Mac, station: &Station, suspicion: &Suspicion) -> Finding {
    let span = Span {
        window_ns: config.window_ns,
        first_ns: station.first_ns,
        last_ns: station.last_ns,
    };
    let observed = f64::from(suspicion.observed);
    let numbers = [(suspicion.name, observed, 0.1, 1.0)];
    let score = SURE.max(observed).min(MAX_SCORE);
    let (family, entity) = (Family::NdSpoof, Entity::Station(*mac));
    Finding {
        // Its address is what it lies about.
        n_sources: 1,
        is_spoofed: true,
        destination_mac: station.displaced,
        n_destinations: suspicion.addresses.len() as u64,
        destinations: addresses(&suspicion.addresses),
        protocol: sensor_common::packet::protocol::ICMPV6,
        ..draft(Detector::NdSpoof, family, entity, span, score, &numbers)
    }
}

#[cfg(test)]
mod tests {
    use sensor_common::event::{EventHead, Sample};

    use super::*;
    use crate::tests::{T0, ip};

    fn hear_router(detector: &mut NdSpoofDetector, at_ns: u64, n: u16) -> Vec<Finding> {
        let mut head = EventHead::default();
        (head.at_ns, head.source_mac) = (at_ns, [2, 0, 0, 0, 0, n as u8]);
        head.packet.source = ip(n);
        let sample = &Sample {
            head: &head,
            payload: &[],
        };
        let message = Message::Router {
            lifetime_s: 1_800,
            is_preferred: false,
        };
        let heard = NeighbourMessage { message, mac: None };
        let seen = Seen {
            at_ns,
            sample,
            is_answer: false,
        };
        detector.take(&seen, &heard);
        let mut findings = Vec::new();
        detector.tick(at_ns, &mut findings);
        findings
    }

    #[test]
    fn routers_that_are_known_stay_known_over_a_restart() {
        let config = Config::default();
        let known_ns = config.content.nd_spoof.known_ns;
        let mut before = NdSpoofDetector::new(&config);
        assert_eq!(hear_router(&mut before, T0, 1), []);
        let mut after = NdSpoofDetector::new(&config);
        after.restore(before.learned());
        assert_eq!(hear_router(&mut after, T0 + known_ns - SECOND_NS, 1), []);
        let found = hear_router(&mut after, T0 + known_ns + SECOND_NS, 2);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].family, Family::RogueRouter);
        // One that learned nothing knows of no other.
        let mut cold = NdSpoofDetector::new(&config);
        assert_eq!(hear_router(&mut cold, T0 + known_ns + SECOND_NS, 2), []);
    }
}
