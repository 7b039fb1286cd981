//! A client whose requests to a web server carry programs, again and again.

use sensor_common::Address;

use super::Seen;
use super::draft::{Span, draft};
use super::paned_window::PanedWindow;
use crate::address::to_ip;
use crate::config::{Config, InjectionConfig};
use crate::detect::Detect;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Finding, poisson_score};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::l7::injection::{self, Injection};
use crate::note::Note;

/// Number of such requests that are expected of a client in the window: links that quote them.
const BY_CHANCE: f64 = 0.05;

#[derive(Clone, Debug, Default)]
struct Half {
    n: u32,
}

#[derive(Clone, Debug, Default)]
struct Client {
    window: PanedWindow<Half>,
    latest: Option<Injection>,
    port: u16,
}

impl Priority for Client {
    fn priority(&self) -> u64 {
        u64::from(self.window.now.n) + u64::from(self.window.before.n)
    }
}

#[derive(Debug)]
pub(crate) struct InjectionDetector {
    config: InjectionConfig,
    /// Windows by client and server.
    clients: Bounded<(Address, Address), Client>,
}

impl Detect for InjectionDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.injection, config.hash_seed);
        Self {
            config: config.clone(),
            clients: Bounded::new("injection_clients", config.max_clients, hash_seed),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.injection.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.clients.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let config = &self.config;
        for ((source, host), client) in self.clients.iter_mut() {
            let window = &mut client.window;
            if !window.is_due(at_ns, config.half_ns) {
                continue;
            }
            let n = window.now.n.saturating_add(window.before.n);
            if n < config.requests {
                window.judged();
                continue;
            }
            window.reported(at_ns);
            let span = Span {
                window_ns: 2 * config.half_ns,
                first_ns: window.first_ns,
                last_ns: window.last_ns,
            };
            let score = poisson_score(f64::from(n), BY_CHANCE);
            let entity = Entity::Source(*source);
            let numbers = [("requests_with_programs", f64::from(n), BY_CHANCE, 1.0)];
            let family = Family::BehaviourAnomaly;
            let latest = client.latest.map_or("", Injection::label);
            findings.push(Finding {
                notes: vec![Note {
                    name: "injection.kind",
                    value: latest.to_owned(),
                }],
                sources: vec![to_ip(source)],
                n_sources: 1,
                destinations: vec![to_ip(host)],
                n_destinations: 1,
                ports: vec![client.port],
                n_ports: 1,
                protocol: sensor_common::packet::protocol::TCP,
                ..draft(Detector::Injection, family, entity, span, score, &numbers)
            });
        }
        let half_ns = config.half_ns;
        self.clients
            .retain(|_, client| !client.window.is_stale(at_ns, half_ns));
    }
}

impl InjectionDetector {
    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>) {
        let Some(found) = injection::read(seen.sample.payload) else {
            return;
        };
        let packet = &seen.sample.head.packet;
        let key = (packet.source, packet.destination);
        let client = self.clients.get_or_insert_with(key, Client::default);
        let half = client.window.at(seen.at_ns, self.config.half_ns);
        half.n = half.n.saturating_add(1);
        client.latest = Some(found);
        client.port = packet.destination_port;
    }
}
