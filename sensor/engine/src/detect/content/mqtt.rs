//! MQTT clients that break the protocol: fuzzing, and attacks on the parsers of brokers. And such that publish as fast as
//! they can.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::Seen;
use super::draft::{Span, draft};
use super::paned_window::PanedWindow;
use crate::address::to_ip;
use crate::config::{Config, MqttConfig, SECOND_NS};
use crate::detect::Detect;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Finding, poisson_score};
use crate::detect::grade::Grades;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::decay::Fading;
use crate::l7::mqtt::{Violation, n_published, violation};
use crate::note::Note;

/// Violations by kind, in the order of [`Violation`].
#[derive(Clone, Copy, Debug, Default)]
struct Half([u32; 4]);

#[derive(Clone, Debug, Default)]
struct Pair {
    window: PanedWindow<Half>,
    published: Fading<1>,
    /// Time at which it began to publish, and of the last word on that.
    since_ns: u64,
    told_ns: u64,
    published_ns: u64,
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
    findings: Vec<Finding>,
}

/// Time constant of the count of messages, s; messages of one client in that time that are many: a hundred a second, where
/// sensors send one in some seconds and a gateway some for each of them. Seconds for which they go on.
const FADE_S: f32 = 5.0;
const MESSAGES: f64 = 500.0;
const LASTS_NS: u64 = 3 * SECOND_NS;
/// Evidence of each kind.
const NAMES: [&str; 4] = ["bad_types", "bad_flags", "bad_connects", "bad_topics"];

impl Detect for MqttDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.mqtt, config.hash_seed);
        Self {
            config: config.clone(),
            pairs: Bounded::new("mqtt_pairs", config.max_pairs, hash_seed),
            findings: Vec::new(),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.mqtt.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.pairs.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        findings.append(&mut self.findings);
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
        self.pairs.retain(|_, pair| !pair.is_stale(at_ns, half_ns));
    }
}

impl MqttDetector {
    /// Takes a segment from a client to a broker.
    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>) {
        let head = seen.sample.head;
        let (payload, payload_bytes) = (seen.sample.payload, head.payload_bytes);
        let n_published = n_published(payload, payload_bytes);
        let violation = violation(payload, payload_bytes);
        if n_published <= 0.0 && violation.is_none() {
            return;
        }
        let key = (head.packet.source, head.packet.destination);
        let pair = self.pairs.get_or_insert_with(key, Pair::default);
        self.findings
            .extend(pair.publish(seen.at_ns, n_published, &key));
        let slot = match violation {
            Some(Violation::Type) => 0,
            Some(Violation::Flags) => 1,
            Some(Violation::Connect) => 2,
            Some(Violation::Topic) => 3,
            None => return,
        };
        let half = pair.window.at(seen.at_ns, self.config.half_ns);
        if let Some(n) = half.0.get_mut(slot) {
            *n = n.saturating_add(1);
        }
    }
}

impl Pair {
    fn is_stale(&self, at_ns: u64, half_ns: u64) -> bool {
        let is_silent = at_ns.saturating_sub(self.published_ns) >= 2 * half_ns;
        is_silent && self.window.is_stale(at_ns, half_ns)
    }

    /// Takes messages; a finding where they are many.
    fn publish(
        &mut self,
        at_ns: u64,
        n: f64,
        (client, broker): &(Address, Address),
    ) -> Option<Finding> {
        self.published.fade(at_ns, FADE_S);
        if self.published.get(0) < 1.0 {
            self.since_ns = at_ns;
        }
        self.published.add(0, n as f32);
        self.published_ns = at_ns;
        let count = self.published.get(0);
        let is_due = at_ns.saturating_sub(self.told_ns) >= SECOND_NS;
        if count < MESSAGES || at_ns.saturating_sub(self.since_ns) < LASTS_NS || !is_due {
            return None;
        }
        self.told_ns = at_ns;
        let expected = MESSAGES / 5.0;
        let score = poisson_score(count, expected);
        let span = Span {
            window_ns: 5 * SECOND_NS,
            first_ns: self.since_ns,
            last_ns: at_ns,
        };
        let numbers = [("mqtt_messages", count, expected, 1.0)];
        let (family, entity) = (Family::RequestFlood, Entity::Victim(*broker));
        Some(Finding {
            grades: Grades::SHAPE,
            sources: vec![to_ip(client)],
            n_sources: 1,
            destinations: vec![to_ip(broker)],
            n_destinations: 1,
            ports: vec![1883],
            n_ports: 1,
            protocol: protocol::TCP,
            ..draft(Detector::Mqtt, family, entity, span, score, &numbers)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{T0, ip};

    #[test]
    fn a_client_that_publishes_as_fast_as_it_can_is_told_and_sensors_are_not() {
        let told = |per_second: u64| {
            let (mut pair, ends) = (Pair::default(), (ip(1), ip(2)));
            let messages = (0..10 * per_second).map(|n| T0 + n * SECOND_NS / per_second);
            let findings = messages.filter_map(|at_ns| pair.publish(at_ns, 1.0, &ends));
            findings.collect::<Vec<Finding>>()
        };
        let found = told(200);
        assert!((3..=8).contains(&found.len()), "{}", found.len());
        assert!(
            found
                .iter()
                .all(|finding| !finding.grades.is_proof() && !finding.is_excess())
        );
        assert!(told(40).is_empty());
    }
}
