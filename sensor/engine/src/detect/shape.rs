//! Behaviour with a definite shape: one table of pairs and one of victims, and detectors that look
//! at the one that an update has just changed. Nothing is walked through.

mod attempts;
mod clients;
mod datagrams;
mod echoes;
mod passwords;
mod reflection;
mod strays;
mod web;

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::Detect;
use super::Detector;
use super::content::Seen;
use super::family::Family;
use super::finding::{Entity, Evidence, Finding, p_value, poisson_score};
use crate::address::to_ip;
use crate::config::{Config, SECOND_NS, ShapeConfig};
use crate::features::TableUse;
use crate::features::clients::{ClientsKey, Services};
use crate::features::pair::{Pair, PairKey, Pairs};
use crate::features::speech::{Speech, Speeches};
use crate::features::stray::Strays;
use crate::features::victim::{Kind, Victims};
use crate::flow::{FlowSummary, FlowUpdate, Progress};
use crate::slot_index::BATCH;

/// Time before which nobody can have answered a burst: the way there and back round the world, and a
/// little.
const ANSWERABLE_S: f64 = 0.4;
/// Event time between two walks for what may be forgotten.
const FORGET_NS: u64 = 10 * SECOND_NS;
/// Pairs watched for connections that are kept open.
const MAX_WATCHED: usize = 1_024;

#[derive(Debug)]
pub(crate) struct ShapeDetectors {
    config: ShapeConfig,
    auth_ports: Vec<u16>,
    pairs: Pairs,
    victims: Victims,
    strays: Strays,
    services: Services,
    speeches: Speeches,
    findings: Vec<Finding>,
    /// Pairs and services with many open connections: time alone makes them suspicious.
    watched: Vec<PairKey>,
    watched_services: Vec<ClientsKey>,
    forgot_ns: u64,
}

impl Detect for ShapeDetectors {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (auth_ports, hash_seed) = (&config.scan.auth_ports, config.hash_seed);
        let config = &config.shape;
        Self {
            config: config.clone(),
            auth_ports: auth_ports.clone(),
            pairs: Pairs::new(config.max_pairs, hash_seed),
            victims: Victims::new(config.max_victims, hash_seed),
            strays: Strays::new(config.max_victims, hash_seed),
            services: Services::new(config.max_victims, hash_seed),
            speeches: Speeches::new(hash_seed),
            findings: Vec::new(),
            watched: Vec::new(),
            watched_services: Vec::new(),
            forgot_ns: 0,
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.shape.clone();
        self.auth_ports.clone_from(&config.scan.auth_ports);
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        self.pairs.tables(out);
        self.victims.tables(out);
        self.strays.tables(out);
        self.services.tables(out);
        self.speeches.tables(out);
    }

    /// Hands out what was found since the last call.
    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        self.judge_watched(at_ns);
        self.judge_watched_services(at_ns);
        findings.append(&mut self.findings);
        if at_ns.saturating_sub(self.forgot_ns) >= FORGET_NS {
            self.forgot_ns = at_ns;
            self.pairs.forget(at_ns);
            self.victims.forget(at_ns);
            self.strays.forget(at_ns);
            self.services.forget(at_ns);
        }
    }
}

impl ShapeDetectors {
    /// Takes updates one after the other.
    pub(crate) fn take_all(&mut self, updates: &[FlowUpdate]) {
        for batch in updates.chunks(BATCH) {
            self.pairs.fetch(batch);
            self.victims.fetch(batch);
            for update in batch {
                self.take(update);
                self.take_use(update);
                self.take_stray(update);
            }
        }
    }

    fn take(&mut self, update: &FlowUpdate) {
        let config = &self.config;
        if is_followed(update) {
            let (key, pair) = self.pairs.take(update);
            let may_be_kept = key.protocol == protocol::TCP && !update.is_claimed;
            if may_be_kept && pair.n_open >= web::watched_from(config) && !pair.is_watched {
                pair.is_watched = self.watched.len() < MAX_WATCHED;
                if pair.is_watched {
                    self.watched.push(key);
                }
            }
            let is_vain = update.is_new && update.progress != Progress::Established;
            if is_due(pair.reported_ns, update.last_ns) {
                let is_stray = update.is_stray && update.progress == Progress::Refused;
                let finding = match key.protocol {
                    protocol::TCP if is_stray => attempts::judge_stray_of_one(config, &key, pair),
                    protocol::TCP if is_vain => attempts::judge(config, &key, pair),
                    protocol::TCP => web::judge_requests(config, &key, pair),
                    protocol::UDP if is_vain => datagrams::judge(config, &key, pair),
                    protocol::ICMP | protocol::ICMPV6 => echoes::judge(config, &key, pair),
                    _ => None,
                };
                note(&mut self.findings, finding, &mut pair.reported_ns);
            }
        }
        let Some((kind, victim)) = self.victims.take(update) else {
            return;
        };
        let Some(mut reported_ns) = victim.reported_ns.get(kind as usize).copied() else {
            return;
        };
        if !is_due(reported_ns, update.last_ns) {
            return;
        }
        let host = &update.destination;
        let finding = match kind {
            Kind::Attempt => attempts::judge_scattered(config, host, victim),
            Kind::Datagram => datagrams::judge_scattered(config, host, victim),
            Kind::Echo => echoes::judge_scattered(config, host, victim),
            Kind::Stray => attempts::judge_stray(config, host, victim),
            Kind::Reflected => reflection::judge(config, host, victim),
            Kind::Unasked => reflection::judge_unasked(config, host, victim),
        };
        note(&mut self.findings, finding, &mut reported_ns);
        if let Some(place) = victim.reported_ns.get_mut(kind as usize) {
            *place = reported_ns;
        }
    }

    /// Takes packets of a connection, for all clients of its service.
    fn take_use(&mut self, update: &FlowUpdate) {
        if update.protocol != protocol::TCP || update.is_claimed {
            return;
        }
        let (config, findings) = (&self.config, &mut self.findings);
        let watched = &mut self.watched_services;
        self.services.take(update, &mut |key, clients| {
            let is_many = clients.sum.n_open >= clients::watched_from(config);
            if is_many && !clients.is_watched && watched.len() < MAX_WATCHED {
                clients.is_watched = true;
                watched.push(*key);
            }
            if is_due(clients.reported_ns, update.last_ns) {
                let finding = clients::judge_requests(config, key, clients);
                note(findings, finding, &mut clients.reported_ns);
            }
        });
    }

    /// Takes packets of no conversation.
    fn take_stray(&mut self, update: &FlowUpdate) {
        let Some((kind, pair, victim)) = self.strays.take(update) else {
            return;
        };
        let (config, findings) = (&self.config, &mut self.findings);
        let (source, host) = (&update.source, &update.destination);
        if is_due(pair.reported_ns, pair.last_ns) {
            let finding = strays::judge(config, (source, host), kind, pair);
            note(findings, finding, &mut pair.reported_ns);
        }
        if is_due(victim.reported_ns, victim.last_ns) {
            let finding = strays::judge_scattered(config, host, kind, victim);
            note(findings, finding, &mut victim.reported_ns);
        }
    }

    /// Takes the end of a flow that is none of a session, within a tunnel or not.
    pub(crate) fn take_over(&mut self, flow: &FlowSummary, source: Address, host: Address) {
        self.pairs.end(flow, source, host);
    }

    /// Takes the beginning of what a client asks of a service.
    pub(in crate::detect) fn take_sample(&mut self, seen: &Seen<'_>) {
        let packet = &seen.sample.head.packet;
        if !seen.is_answer {
            let service = (packet.destination, packet.destination_port);
            self.speeches.take(seen.at_ns, service, seen.sample.payload);
        }
    }

    /// Takes the end of a flow.
    pub(crate) fn take_end(&mut self, flow: &FlowSummary, source: Address, host: Address) {
        let config = &self.config;
        let ended = self.pairs.end(flow, source, host);
        if flow.protocol != protocol::TCP {
            return;
        }
        let port = flow.destination_port;
        let speech = self.speeches.of(host, port);
        let is_web = config.web_ports.contains(&port) || speech == Some(Speech::Web);
        let is_auth = self.auth_ports.contains(&port);
        // A handshake of TLS is work for a service whatever it is; one that authenticates is guessed at.
        let is_secured = speech == Some(Speech::Tls) && !is_auth;
        let findings = &mut self.findings;
        if let Some((key, pair)) = ended.filter(|(_, pair)| is_due(pair.reported_ns, flow.last_ns))
        {
            let times = if is_web || is_secured {
                1.0
            } else {
                web::ACTION_TIMES
            };
            let flood = web::judge_sessions(config, &key, pair, (is_web, times));
            // Both may be so: what becomes of the logins is told elsewhere.
            let is_guessable = !(is_web || is_secured && flood.is_some());
            let guessed = is_guessable
                .then(|| passwords::judge(config, &self.auth_ports, &key, pair))
                .flatten();
            note(findings, guessed, &mut pair.reported_ns);
            note(findings, flood, &mut pair.reported_ns);
        }
        self.services.end(flow, &source, host, &mut |key, clients| {
            let is_judged = (is_web || is_secured) && is_due(clients.reported_ns, flow.last_ns);
            if is_judged {
                let finding = clients::judge_sessions(config, key, clients, is_web);
                note(findings, finding, &mut clients.reported_ns);
            }
        });
    }
}

impl ShapeDetectors {
    fn judge_watched(&mut self, at_ns: u64) {
        let (config, pairs, findings) = (&self.config, &mut self.pairs, &mut self.findings);
        self.watched.retain(|key| {
            let Some(pair) = pairs.get_mut(key) else {
                return false;
            };
            if pair.n_open < web::watched_from(config) {
                pair.is_watched = false;
                return false;
            }
            if is_due(pair.kept_reported_ns, at_ns)
                && let Some(finding) = web::judge_open(config, at_ns, key, pair)
            {
                pair.kept_reported_ns = at_ns;
                findings.push(finding);
            }
            true
        });
    }
}

impl ShapeDetectors {
    fn judge_watched_services(&mut self, at_ns: u64) {
        let (config, findings) = (&self.config, &mut self.findings);
        let services = &mut self.services;
        self.watched_services.retain(|key| {
            let Some(clients) = services.get_mut(key) else {
                return false;
            };
            if clients.sum.n_open < clients::watched_from(config) {
                clients.is_watched = false;
                return false;
            }
            if is_due(clients.sum.kept_reported_ns, at_ns)
                && let Some(finding) = clients::judge_open(config, at_ns, key, clients)
            {
                clients.sum.kept_reported_ns = at_ns;
                findings.push(finding);
            }
            true
        });
    }
}

fn is_followed(update: &FlowUpdate) -> bool {
    match update.protocol {
        protocol::TCP => true,
        // Ports 0: later fragments.
        protocol::UDP => update.source_port != 0 || update.destination_port != 0,
        protocol::ICMP => update.source_port >> 8 == 8,
        protocol::ICMPV6 => update.source_port >> 8 == 128,
        _ => false,
    }
}

/// True where a finding may be repeated: once a second.
fn is_due(reported_ns: u64, at_ns: u64) -> bool {
    reported_ns == 0 || at_ns.saturating_sub(reported_ns) >= SECOND_NS
}

fn note(findings: &mut Vec<Finding>, finding: Option<Finding>, reported_ns: &mut u64) {
    if let Some(finding) = finding {
        *reported_ns = finding.last_ns;
        findings.push(finding);
    }
}

/// A number of things where `limit` would be many. A fifth of that is what a busy, healthy client
/// may show.
fn evidence(name: &'static str, observed: f64, limit: f64) -> Evidence {
    Evidence {
        name,
        observed,
        expected: limit / 5.0,
        share: 1.0,
    }
}

/// Makes the finding of what one source does to one host.
fn of_pair(
    detector: Detector,
    family: Family,
    key: &PairKey,
    pair: &Pair,
    features: Vec<Evidence>,
) -> Finding {
    let score = features
        .first()
        .map_or(0.0, |e| poisson_score(e.observed, e.expected));
    let entity = if family.is_of_victim() {
        Entity::Victim(key.host)
    } else {
        Entity::Source(key.source)
    };
    let has_port = matches!(key.protocol, protocol::TCP | protocol::UDP);
    Finding {
        detector,
        family,
        entity,
        window_ns: 5 * SECOND_NS,
        first_ns: pair.since_ns.max(pair.first_ns),
        last_ns: pair.last_ns,
        score,
        p_value: p_value(score),
        grades: detector.grades(),
        features,
        notes: Vec::new(),
        sources: vec![to_ip(&key.source)],
        n_sources: 1,
        is_spoofed: false,
        destination_mac: None,
        destinations: vec![to_ip(&key.host)],
        n_destinations: 1,
        ports: if has_port {
            vec![pair.port]
        } else {
            Vec::new()
        },
        n_ports: u64::from(has_port),
        protocol: key.protocol,
    }
}

/// Finding of what many sources do to one host.
struct Scattered<'a> {
    detector: Detector,
    family: Family,
    host: &'a Address,
    n_sources: f64,
    port: u16,
    protocol: u8,
    first_ns: u64,
    last_ns: u64,
}

impl Scattered<'_> {
    fn finding(self, features: Vec<Evidence>) -> Finding {
        let score = features
            .first()
            .map_or(0.0, |e| poisson_score(e.observed, e.expected));
        let has_port = matches!(self.protocol, protocol::TCP | protocol::UDP);
        Finding {
            detector: self.detector,
            family: self.family,
            entity: Entity::Victim(*self.host),
            window_ns: 5 * SECOND_NS,
            first_ns: self.first_ns,
            last_ns: self.last_ns,
            score,
            p_value: p_value(score),
            grades: self.detector.grades(),
            features,
            notes: Vec::new(),
            sources: Vec::new(),
            n_sources: self.n_sources as u64,
            is_spoofed: true,
            destination_mac: None,
            destinations: vec![to_ip(self.host)],
            n_destinations: 1,
            ports: if has_port {
                vec![self.port]
            } else {
                Vec::new()
            },
            n_ports: u64::from(has_port),
            protocol: self.protocol,
        }
    }
}
