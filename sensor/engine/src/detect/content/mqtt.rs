//! MQTT clients that break the protocol: fuzzing, and attacks on the parsers of brokers.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::Seen;
use super::draft::{Span, draft};
use super::paned_window::PanedWindow;
use crate::address::to_ip;
use crate::config::{Config, MqttConfig};
use crate::detect::Detect;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Finding, poisson_score};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::l7::mqtt::{Violation, violation};
use crate::note::Note;

/// Violations by kind, in the order of [`Violation`].
#[derive(Clone, Copy, Debug, Default)]
struct Half([u32; 4]);

#[derive(Clone, Debug, Default)]
struct Pair {
    window: PanedWindow<Half>,
}

impl Priority for Pair {
    fn priority(&self) -> u64 {
        self.window.now.0.iter().map(|n| u64::from(*n)).sum()
    }
}

#[derive(Debug)]
pub(crate) struct MqttDetector {
    config: MqttConfig,
    pairs: Bounded<(Address, Address), Pair>,
}

/// Evidence of each kind.
const NAMES: [&str; 4] = ["bad_types", "bad_flags", "bad_connects", "bad_topics"];

impl Detect for MqttDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.mqtt, config.hash_seed);
        Self {
            config: config.clone(),
            pairs: Bounded::new("mqtt_pairs", config.max_pairs, hash_seed),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.mqtt.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.pairs.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let config = &self.config;
        for ((client, broker), pair) in self.pairs.iter_mut() {
            let window = &mut pair.window;
            if !window.is_due(at_ns, config.half_ns) {
                continue;
            }
            let kinds = window.now.0.iter().zip(&window.before.0);
            let counts: Vec<u32> = kinds.map(|(a, b)| a.saturating_add(*b)).collect();
            let n: u32 = counts.iter().fold(0, |sum, n| sum.saturating_add(*n));
            if n < config.violations {
                window.judged();
                continue;
            }
            window.reported(at_ns);
            let expected = f64::from(config.violations) / 10.0;
            let mut numbers = vec![("violations", f64::from(n), expected, 0.0)];
            for (name, count) in NAMES.iter().zip(&counts) {
                if *count > 0 {
                    let share = f64::from(*count) / f64::from(n);
                    numbers.push((name, f64::from(*count), 0.0, share));
                }
            }
            let span = Span {
                window_ns: 2 * config.half_ns,
                first_ns: window.first_ns,
                last_ns: window.last_ns,
            };
            let score = poisson_score(f64::from(n), expected);
            let entity = Entity::Source(*client);
            let family = Family::MalformedTraffic;
            findings.push(Finding {
                sources: vec![to_ip(client)],
                n_sources: 1,
                destinations: vec![to_ip(broker)],
                n_destinations: 1,
                ports: vec![1883],
                n_ports: 1,
                protocol: protocol::TCP,
                notes: vec![Note {
                    name: "network.protocol",
                    value: "mqtt".to_owned(),
                }],
                ..draft(Detector::Mqtt, family, entity, span, score, &numbers)
            });
        }
        let half_ns = config.half_ns;
        self.pairs
            .retain(|_, pair| !pair.window.is_stale(at_ns, half_ns));
    }
}

impl MqttDetector {
    /// Takes a segment from a client to a broker.
    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>) {
        let head = seen.sample.head;
        let Some(violation) = violation(seen.sample.payload, head.payload_bytes) else {
            return;
        };
        let slot = match violation {
            Violation::Type => 0,
            Violation::Flags => 1,
            Violation::Connect => 2,
            Violation::Topic => 3,
        };
        let key = (head.packet.source, head.packet.destination);
        let pair = self.pairs.get_or_insert_with(key, Pair::default);
        let half = pair.window.at(seen.at_ns, self.config.half_ns);
        if let Some(n) = half.0.get_mut(slot) {
            *n = n.saturating_add(1);
        }
    }
}
