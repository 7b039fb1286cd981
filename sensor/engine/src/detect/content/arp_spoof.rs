//! A station that speaks for addresses of others (ARP cache poisoning).
//!
//! Five shapes, each sound by itself:
//! - it answers for an address that another station lately held, unasked, and does so again;
//! - it asks who has an address that it just said it had itself;
//! - it answers unasked for one address again and again, or for many;
//! - an address changes hands between two stations again and again;
//! - it resolves the same two addresses again every few seconds. A host keeps what it resolved; a
//!   poisoner that stands between two hosts looks both up before each round. This is all that shows
//!   of it where its replies, which go to its victims alone, don't pass the sensor.

use std::net::{IpAddr, Ipv4Addr};

use super::Seen;
use super::claim::Claim;
use crate::address::Mac;
use crate::config::{ArpSpoofConfig, Config, SECOND_NS};
use crate::detect::Detect;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Evidence, Finding, MAX_SCORE, p_value};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::l7::arp::{Arp, Operation};

/// Entries that a station keeps of each kind.
const KEPT: usize = 16;
/// Two requests within this time belong to one round.
const ROUND_NS: u64 = SECOND_NS / 2;
/// Time between two rounds: above what a host waits before it repeats an unanswered request.
const BETWEEN_NS: std::ops::RangeInclusive<u64> = 3 * SECOND_NS / 2..=15 * SECOND_NS;
/// Score of a shape without a count.
const SURE: f64 = 12.0;

#[derive(Clone, Copy, Debug)]
struct Timed {
    address: Ipv4Addr,
    at_ns: u64,
    n: u32,
}

/// Rounds in which two addresses were asked for together.
#[derive(Clone, Copy, Debug)]
struct Pair {
    addresses: [Ipv4Addr; 2],
    at_ns: u64,
    n_rounds: u32,
}

#[derive(Clone, Debug, Default)]
struct Station {
    first_ns: u64,
    last_ns: u64,
    claimed: Vec<Timed>,
    unasked: Vec<Timed>,
    /// Unasked answers for an address that another station held.
    taken: Vec<Timed>,
    /// Station that held the last address which it claimed.
    displaced: Option<Mac>,
    requests: Vec<Timed>,
    pairs: Vec<Pair>,
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
    observed: f64,
    expected: f64,
    addresses: Vec<IpAddr>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked(u64);

impl Priority for Asked {
    fn priority(&self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
pub(crate) struct ArpSpoofDetector {
    config: ArpSpoofConfig,
    claims: Bounded<Ipv4Addr, Claim>,
    stations: Bounded<Mac, Station>,
    /// Asker and asked.
    questions: Bounded<(Ipv4Addr, Ipv4Addr), Asked>,
}

impl Detect for ArpSpoofDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.arp_spoof, config.hash_seed);
        let n = config.max_stations;
        Self {
            config: config.clone(),
            claims: Bounded::new("arp_claims", n, hash_seed),
            stations: Bounded::new("arp_stations", n, hash_seed),
            questions: Bounded::new("arp_questions", n, hash_seed),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.arp_spoof.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.claims.usage());
        out.push(self.stations.usage());
        out.push(self.questions.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        for (mac, station) in self.stations.iter_mut() {
            let is_due = at_ns.saturating_sub(station.reported_ns) >= SECOND_NS;
            if is_due && let Some(suspicion) = station.suspicion.take() {
                station.reported_ns = at_ns;
                findings.push(finding(&self.config, mac, station, suspicion));
            }
        }
        let config = &self.config;
        let window_ns = config.window_ns;
        self.stations
            .retain(|_, station| at_ns.saturating_sub(station.last_ns) < 2 * window_ns);
        self.claims
            .retain(|_, claim| at_ns.saturating_sub(claim.last_ns) < config.claim_ns);
        self.questions
            .retain(|_, asked| at_ns.saturating_sub(asked.0) <= config.answer_ns);
    }
}

impl ArpSpoofDetector {
    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>, arp: &Arp) {
        let at_ns = seen.at_ns;
        let is_unasked = self.is_unasked(seen, arp);
        let holder = self.claim(at_ns, arp);
        let config = &self.config;
        let station = self
            .stations
            .get_or_insert_with(arp.sender_mac, Station::default);
        if station.first_ns == 0 || at_ns.saturating_sub(station.last_ns) > config.window_ns {
            station.first_ns = at_ns;
        }
        station.last_ns = at_ns;
        if !arp.sender.is_unspecified() {
            note(&mut station.claimed, arp.sender, at_ns, config.window_ns);
        }
        if is_unasked {
            note(&mut station.unasked, arp.sender, at_ns, config.window_ns);
        }
        let is_taken = holder.is_some_and(|mac| mac != arp.sender_mac)
            || station.taken.iter().any(|t| t.address == arp.sender);
        if is_unasked && is_taken {
            note(&mut station.taken, arp.sender, at_ns, config.window_ns);
        }
        station.displaced = holder
            .filter(|mac| *mac != arp.sender_mac)
            .or(station.displaced);
        let n_changes = self
            .claims
            .get(&arp.sender)
            .map_or(0, |claim| claim.n_changes);
        let found = station.judge(config, arp, n_changes).or_else(|| {
            let is_live = |address: &Ipv4Addr| {
                self.claims.get(address).is_some_and(|claim| {
                    claim.holder != arp.sender_mac
                        && at_ns.saturating_sub(claim.last_ns) < config.claim_ns
                })
            };
            station.ask(config, at_ns, arp, &is_live)
        });
        if found.is_some() {
            station.suspicion = found;
        }
        if arp.operation == Operation::Request && !arp.is_gratuitous() {
            self.questions
                .get_or_insert_with((arp.sender, arp.target), Asked::default)
                .0 = at_ns;
        }
    }

    /// A reply to one station that did not ask for it.
    fn is_unasked(&self, seen: &Seen<'_>, arp: &Arp) -> bool {
        let is_to_one = seen.sample.head.destination_mac[0] & 1 == 0;
        if arp.operation != Operation::Reply || arp.is_gratuitous() || !is_to_one {
            return false;
        }
        self.questions
            .get(&(arp.target, arp.sender))
            .is_none_or(|asked| seen.at_ns.saturating_sub(asked.0) > self.config.answer_ns)
    }

    /// Notes who holds the sender's address; who held it before, if that was lately.
    fn claim(&mut self, at_ns: u64, arp: &Arp) -> Option<Mac> {
        if arp.sender.is_unspecified() {
            return None;
        }
        let config = &self.config;
        let claim = self.claims.get_or_insert_with(arp.sender, Claim::default);
        claim.take(at_ns, arp.sender_mac, config.claim_ns, config.window_ns)
    }
}

/// Adds one to the count of an address, and forgets what is older than the window.
fn note(list: &mut Vec<Timed>, address: Ipv4Addr, at_ns: u64, window_ns: u64) {
    list.retain(|timed| at_ns.saturating_sub(timed.at_ns) < window_ns);
    if let Some(timed) = list.iter_mut().find(|timed| timed.address == address) {
        timed.at_ns = at_ns;
        timed.n = timed.n.saturating_add(1);
        return;
    }
    if list.len() >= KEPT {
        list.remove(0);
    }
    list.push(Timed {
        address,
        at_ns,
        n: 1,
    });
}

fn addresses(list: &[Timed]) -> Vec<IpAddr> {
    list.iter().map(|timed| IpAddr::V4(timed.address)).collect()
}

impl Station {
    fn judge(&self, config: &ArpSpoofConfig, arp: &Arp, n_changes: u32) -> Option<Suspicion> {
        let n_taken: u32 = self.taken.iter().map(|timed| timed.n).sum();
        let suspicion = |name, observed, expected, addresses| Suspicion {
            name,
            observed: f64::from(observed),
            expected,
            addresses,
        };
        if n_taken >= 2 {
            return Some(suspicion(
                "claims_taken_over",
                n_taken,
                0.1,
                addresses(&self.taken),
            ));
        }
        let is_question = arp.operation == Operation::Request && !arp.sender.is_unspecified();
        if is_question
            && !arp.is_gratuitous()
            && self.claimed.iter().any(|c| c.address == arp.target)
        {
            let address = vec![IpAddr::V4(arp.target)];
            return Some(suspicion("asks_for_own_claim", 1, 0.01, address));
        }
        let n_unasked: u32 = self.unasked.iter().map(|timed| timed.n).sum();
        if n_unasked >= config.unasked {
            let addresses = addresses(&self.unasked);
            return Some(suspicion("unasked_answers", n_unasked, 1.0, addresses));
        }
        let n_claims = self.unasked.len() as u32;
        if n_claims >= config.claims {
            let addresses = addresses(&self.unasked);
            return Some(suspicion("unasked_claims", n_claims, 1.0, addresses));
        }
        if n_changes >= config.changes {
            let address = vec![IpAddr::V4(arp.sender)];
            return Some(suspicion("changes_of_holder", n_changes, 0.1, address));
        }
        None
    }

    /// Counts rounds of requests for two addresses together, one of which another station holds.
    fn ask(
        &mut self,
        config: &ArpSpoofConfig,
        at_ns: u64,
        arp: &Arp,
        is_live: &dyn Fn(&Ipv4Addr) -> bool,
    ) -> Option<Suspicion> {
        if arp.operation != Operation::Request || arp.is_gratuitous() {
            return None;
        }
        note(&mut self.requests, arp.target, at_ns, ROUND_NS);
        let mut found = None;
        for other in &self.requests {
            if other.address == arp.target {
                continue;
            }
            let addresses = [arp.target.min(other.address), arp.target.max(other.address)];
            let n_rounds = round(&mut self.pairs, addresses, at_ns);
            if n_rounds >= config.rounds && addresses.iter().any(is_live) {
                found = Some(Suspicion {
                    name: "resolution_rounds",
                    observed: f64::from(n_rounds),
                    expected: 1.0,
                    addresses: addresses.map(IpAddr::V4).to_vec(),
                });
            }
        }
        found
    }
}

/// Counts a request for a pair; rounds in a row so far.
fn round(pairs: &mut Vec<Pair>, addresses: [Ipv4Addr; 2], at_ns: u64) -> u32 {
    if let Some(pair) = pairs.iter_mut().find(|pair| pair.addresses == addresses) {
        let elapsed_ns = at_ns.saturating_sub(pair.at_ns);
        if elapsed_ns > ROUND_NS {
            let goes_on = BETWEEN_NS.contains(&elapsed_ns);
            pair.n_rounds = if goes_on {
                pair.n_rounds.saturating_add(1)
            } else {
                1
            };
            pair.at_ns = at_ns;
        }
        return pair.n_rounds;
    }
    pairs.retain(|pair| at_ns.saturating_sub(pair.at_ns) <= *BETWEEN_NS.end());
    if pairs.len() < KEPT {
        pairs.push(Pair {
            addresses,
            at_ns,
            n_rounds: 1,
        });
    }
    1
}

fn finding(config: &ArpSpoofConfig, mac: &Mac, station: &Station, suspicion: Suspicion) -> Finding {
    let score = SURE.max(suspicion.observed).min(MAX_SCORE);
    Finding {
        detector: Detector::ArpSpoof,
        family: Family::ArpSpoof,
        entity: Entity::Station(*mac),
        window_ns: config.window_ns,
        first_ns: station.first_ns,
        last_ns: station.last_ns,
        score,
        p_value: p_value(score),
        grades: Detector::ArpSpoof.grades(),
        features: vec![Evidence {
            name: suspicion.name,
            observed: suspicion.observed,
            expected: suspicion.expected,
            share: 1.0,
        }],
        notes: Vec::new(),
        // Its address is what it lies about: to block an impersonated gateway would help nobody.
        sources: Vec::new(),
        n_sources: 1,
        is_spoofed: true,
        destination_mac: station.displaced,
        n_destinations: suspicion.addresses.len() as u64,
        destinations: suspicion.addresses,
        ports: Vec::new(),
        n_ports: 0,
        protocol: 0,
    }
}
