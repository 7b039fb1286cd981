//! A client that asks for many registered names that don't exist, and for little else: the search of
//! malware for the name of the day that its author registered (domain generation, Antonakakis et al.
//! 2012).

use std::hash::{BuildHasher as _, Hasher as _};

use sensor_common::Address;

use super::Seen;
use super::paned_window::PanedWindow;
use crate::address::{Seeded, to_ip};
use crate::config::{Config, DgaConfig};
use crate::detect::Detect;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Evidence, Finding, p_value, poisson_score};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::sketch::Distinct;
use crate::l7::dns::{self, NO_ERROR, NX_DOMAIN};
use crate::l7::zone::split;
use crate::note::Note;

#[derive(Clone, Debug, Default)]
struct Half {
    missing: Distinct,
    found: Distinct,
    n_missing: u32,
    searched: Labels,
}

/// Labels that were looked for alone or under another name: the search list of a resolver (RFC 1535)
/// tries a host's name in every domain that it knows. One bit for each of 1,024 hashes.
#[derive(Clone, Debug, Default)]
struct Labels([u64; 16]);

impl Labels {
    const fn place(hash: u64) -> (usize, u64) {
        ((hash >> 60) as usize, 1 << (hash >> 54 & 63))
    }

    fn insert(&mut self, hash: u64) {
        let (at, bit) = Self::place(hash);
        if let Some(word) = self.0.get_mut(at) {
            *word |= bit;
        }
    }

    fn has(&self, hash: u64) -> bool {
        let (at, bit) = Self::place(hash);
        self.0.get(at).is_some_and(|word| word & bit != 0)
    }
}

#[derive(Clone, Debug)]
struct Client {
    short: PanedWindow<Half>,
    long: PanedWindow<Half>,
    example: dns::Name,
    server: Address,
}

impl Priority for Client {
    fn priority(&self) -> u64 {
        u64::from(self.long.now.n_missing) + u64::from(self.long.before.n_missing)
    }
}

#[derive(Debug)]
pub(crate) struct DgaDetector {
    config: DgaConfig,
    clients: Bounded<Address, Client>,
    hash: Seeded,
}

impl Detect for DgaDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.dga, config.hash_seed);
        Self {
            config: config.clone(),
            clients: Bounded::new("dga_clients", config.max_clients, hash_seed),
            hash: Seeded(hash_seed),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.dga.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.clients.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let config = &self.config;
        for (address, client) in self.clients.iter_mut() {
            let windows = [
                (config.half_ns, 1, &mut client.short),
                (config.slow_half_ns, 3, &mut client.long),
            ];
            for (half_ns, times, window) in windows {
                if !window.is_due(at_ns, half_ns) {
                    continue;
                }
                let limit = config.names.saturating_mul(times);
                let Some((n_missing, share)) = judge(config, limit, &window.now, &window.before)
                else {
                    window.judged();
                    continue;
                };
                window.reported(at_ns);
                let expected = f64::from(limit) / 10.0;
                let score = poisson_score(f64::from(n_missing), expected);
                let evidence = [
                    ("missing_names", f64::from(n_missing), expected, 0.7),
                    ("missing_share", share, 0.05, 0.3),
                ];
                findings.push(Finding {
                    detector: Detector::Dga,
                    family: Family::BehaviourAnomaly,
                    entity: Entity::Source(*address),
                    window_ns: 2 * half_ns,
                    first_ns: window.first_ns,
                    last_ns: window.last_ns,
                    score,
                    p_value: p_value(score),
                    grades: Detector::Dga.grades(),
                    features: evidence
                        .map(|(name, observed, expected, share)| Evidence {
                            name,
                            observed,
                            expected,
                            share,
                        })
                        .to_vec(),
                    notes: vec![Note {
                        name: "dns.question.name",
                        value: client.example.text(),
                    }],
                    sources: vec![to_ip(address)],
                    n_sources: 1,
                    is_spoofed: false,
                    destination_mac: None,
                    destinations: vec![to_ip(&client.server)],
                    n_destinations: 1,
                    ports: vec![53],
                    n_ports: 1,
                    protocol: 17,
                });
                break;
            }
        }
        let slow_half_ns = config.slow_half_ns;
        self.clients
            .retain(|_, client| !client.long.is_stale(at_ns, slow_half_ns));
    }
}

impl DgaDetector {
    fn hash_of(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.hash.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }

    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>, message: &dns::Message) {
        let is_missing = message.rcode == NX_DOMAIN;
        if !message.is_response || !(is_missing || message.rcode == NO_ERROR) {
            return;
        }
        // Reverse lookups of addresses without a name say nothing.
        let name = message.name.as_bytes();
        let split = split(name);
        let zone = split.map(|split| self.hash_of(split.zone));
        // A host's name alone, or in a domain.
        let host = split.map_or(name, |split| split.below);
        let host = (!host.is_empty() && !host.contains(&b'.')).then(|| self.hash_of(host));
        let owned = split.and_then(|split| split.zone.split(|byte| *byte == b'.').next());
        let owned = owned.map(|label| self.hash_of(label));
        if zone.is_none() && host.is_none() {
            return;
        }
        let packet = &seen.sample.head.packet;
        let client = self
            .clients
            .get_or_insert_with(packet.destination, || Client {
                short: PanedWindow::default(),
                long: PanedWindow::default(),
                example: message.name.clone(),
                server: packet.source,
            });
        if is_missing {
            client.example = message.name.clone();
            client.server = packet.source;
        }
        let config = &self.config;
        for half in [
            client.short.at(seen.at_ns, config.half_ns),
            client.long.at(seen.at_ns, config.slow_half_ns),
        ] {
            if let Some(host) = host.filter(|_| is_missing) {
                half.searched.insert(host);
            }
            let Some(zone) = zone else { continue };
            let is_searched = owned.is_some_and(|label| half.searched.has(label));
            if !is_missing {
                half.found.insert(zone);
            } else if !is_searched {
                half.missing.insert(zone);
                half.n_missing = half.n_missing.saturating_add(1);
            }
        }
    }
}

fn judge(config: &DgaConfig, limit: u32, now: &Half, before: &Half) -> Option<(u32, f64)> {
    if now.n_missing.saturating_add(before.n_missing) < limit {
        return None;
    }
    let n_missing = now.missing.union_len(&before.missing);
    let n_found = now.found.union_len(&before.found);
    let share = f64::from(n_missing) / f64::from(n_missing.saturating_add(n_found).max(1));
    (n_missing >= limit && share >= config.missing_share).then_some((n_missing, share))
}
