//! ICMPv6 behind extension headers: chains that no stack sends, made to tie up or to slip past who
//! has to walk through them (RFC 8200 4, RFC 7045, RFC 9098).

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::Seen;
use super::draft::{Span, draft};
use super::paned_window::PanedWindow;
use crate::address::to_ip;
use crate::config::{Config, ExtensionsConfig};
use crate::detect::Detect;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Finding, poisson_score};
use crate::features::bounded::{Bounded, Priority, TableUse};

/// Bytes of extension headers that the stacks send: a router alert or padding (RFC 2711), or a
/// fragment header.
const USUAL_BYTES: u32 = 8;
const HEADER_BYTES: u32 = 40;
/// Number of such packets that are expected of a host in the window: tests by the site itself.
const BY_CHANCE: f64 = 0.5;

#[derive(Clone, Debug, Default)]
struct Half {
    n: u32,
    most_bytes: u32,
}

#[derive(Clone, Debug, Default)]
struct Sender(PanedWindow<Half>);

impl Priority for Sender {
    fn priority(&self) -> u64 {
        u64::from(self.0.now.n) + u64::from(self.0.before.n)
    }
}

#[derive(Debug)]
pub(crate) struct ExtensionsDetector {
    config: ExtensionsConfig,
    /// Windows by sender and receiver.
    senders: Bounded<(Address, Address), Sender>,
}

impl Detect for ExtensionsDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.extensions, config.hash_seed);
        Self {
            config: config.clone(),
            senders: Bounded::new("extension_senders", config.max_senders, hash_seed),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.extensions.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.senders.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let config = &self.config;
        for ((source, host), Sender(window)) in self.senders.iter_mut() {
            if !window.is_due(at_ns, config.half_ns) {
                continue;
            }
            let n = window.now.n.saturating_add(window.before.n);
            if n < config.packets {
                window.judged();
                continue;
            }
            window.reported(at_ns);
            let span = Span {
                window_ns: 2 * config.half_ns,
                first_ns: window.first_ns,
                last_ns: window.last_ns,
            };
            let most = window.now.most_bytes.max(window.before.most_bytes);
            let numbers = [
                (
                    "packets_with_extension_headers",
                    f64::from(n),
                    BY_CHANCE,
                    1.0,
                ),
                (
                    "extension_header_bytes",
                    f64::from(most),
                    f64::from(USUAL_BYTES),
                    0.0,
                ),
            ];
            let score = poisson_score(f64::from(n), BY_CHANCE);
            let entity = Entity::Source(*source);
            let family = Family::MalformedTraffic;
            findings.push(Finding {
                sources: vec![to_ip(source)],
                n_sources: 1,
                destinations: vec![to_ip(host)],
                n_destinations: 1,
                protocol: protocol::ICMPV6,
                ..draft(Detector::Extensions, family, entity, span, score, &numbers)
            });
        }
        let half_ns = config.half_ns;
        self.senders
            .retain(|_, sender| !sender.0.is_stale(at_ns, half_ns));
    }
}

impl ExtensionsDetector {
    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>) {
        let packet = &seen.sample.head.packet;
        let before = packet.network_offset() + HEADER_BYTES;
        let n_bytes = packet.payload_offset().saturating_sub(before);
        if packet.protocol != protocol::ICMPV6 || n_bytes <= USUAL_BYTES {
            return;
        }
        let key = (packet.source, packet.destination);
        let sender = self.senders.get_or_insert_with(key, Sender::default);
        let half = sender.0.at(seen.at_ns, self.config.half_ns);
        half.n = half.n.saturating_add(1);
        half.most_bytes = half.most_bytes.max(n_bytes);
    }
}
