//! Data in names: one client asks for ever new names of one zone that carry more than names do.
//!
//! What a name can carry is the entropy of its characters below the registered name. A tunnel needs
//! a new name for each piece of data, so nearly all of its questions differ; a directory, a block
//! list or a content network is asked for the same names, for short ones, or for addresses in
//! digits (RFC 5782).

use std::hash::{BuildHasher as _, Hasher as _};

use sensor_common::Address;

use super::Seen;
use super::paned_window::PanedWindow;
use crate::address::{Seeded, to_ip};
use crate::config::{Config, DnsTunnelConfig};
use crate::detect::Detect;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Evidence, Finding, p_value, poisson_score};
use crate::detect::grade::Grades;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::sketch::Distinct;
use crate::l7::dns::{self, record};
use crate::l7::zone::{information, split};
use crate::note::Note;

#[derive(Clone, Debug, Default)]
struct Half {
    names: Distinct,
    n_questions: u32,
    n_rare: u32,
    /// Of types that nobody looks up by a made-up name: neither addresses nor text.
    n_odd: u32,
    information: f64,
    name_bytes: u64,
    answer_bytes: u64,
    n_answers: u32,
    /// Answers that hold records, and their bytes beyond the question.
    n_found: u32,
    found_bytes: u64,
}

/// Bytes of information of the longest hash that is looked up as a name (SHA-256, by those who ask for
/// the reputation of files and addresses), and a little.
const HASH_BYTES: f64 = 34.0;
/// Bytes that such an answer has beyond its question: a few records, and where the zone is served.
const VERDICT_BYTES: f64 = 160.0;
/// Share of questions of odd types, from which they are no look-ups.
const ODD: f64 = 0.25;
/// Bytes of a message's header, and of a question beside its name.
const HEADER_BYTES: u64 = 12 + 6;

#[derive(Clone, Debug)]
struct Zone {
    short: PanedWindow<Half>,
    long: PanedWindow<Half>,
    zone: Box<[u8]>,
    /// The last name, for people.
    example: dns::Name,
    server: Address,
    protocol: u8,
}

impl Priority for Zone {
    fn priority(&self) -> u64 {
        u64::from(self.long.now.n_questions) + u64::from(self.long.before.n_questions)
    }
}

/// Client and zone, the latter by its hash.
type Key = (Address, u64);

#[derive(Debug)]
pub(crate) struct DnsTunnelDetector {
    config: DnsTunnelConfig,
    zones: Bounded<Key, Zone>,
    hash: Seeded,
}

impl Detect for DnsTunnelDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.dns_tunnel, config.hash_seed);
        Self {
            config: config.clone(),
            zones: Bounded::new("dns_tunnel_zones", config.max_zones, hash_seed),
            hash: Seeded(hash_seed),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.dns_tunnel.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.zones.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let config = &self.config;
        for (key, zone) in self.zones.iter_mut() {
            let windows = [
                (config.half_ns, 1, &mut zone.short),
                (config.slow_half_ns, 3, &mut zone.long),
            ];
            for (half_ns, times, window) in windows {
                if !window.is_due(at_ns, half_ns) {
                    continue;
                }
                let Some(judged) = judge(config, times, &window.now, &window.before) else {
                    window.judged();
                    continue;
                };
                window.reported(at_ns);
                let span = (2 * half_ns, window.first_ns, window.last_ns);
                findings.push(finding(&key.0, &zone.zone, &zone.example, &judged, span));
                if let Some(last) = findings.last_mut() {
                    last.destinations.push(to_ip(&zone.server));
                    last.protocol = zone.protocol;
                }
                break;
            }
        }
        let slow_half_ns = config.slow_half_ns;
        self.zones
            .retain(|_, zone| !zone.long.is_stale(at_ns, slow_half_ns));
    }
}

impl DnsTunnelDetector {
    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>, message: &dns::Message) {
        let Some(split) = split(message.name.as_bytes()) else {
            return;
        };
        let head = seen.sample.head;
        let zone_hash = hash(self.hash, split.zone);
        if message.is_response {
            let key = (head.packet.destination, zone_hash);
            if let Some(zone) = self.zones.get_mut(&key) {
                let bytes = u64::from(head.payload_bytes);
                let asked = HEADER_BYTES + message.name.as_bytes().len() as u64;
                let is_found = message.rcode == dns::NO_ERROR && message.n_answers > 0;
                for half in [&mut zone.short.now, &mut zone.long.now] {
                    half.answer_bytes += bytes;
                    half.n_answers = half.n_answers.saturating_add(1);
                    if is_found {
                        half.n_found = half.n_found.saturating_add(1);
                        half.found_bytes += bytes.saturating_sub(asked);
                    }
                }
            }
            return;
        }
        if split.below.is_empty() {
            return;
        }
        let zone = self
            .zones
            .get_or_insert_with((head.packet.source, zone_hash), || Zone {
                short: PanedWindow::default(),
                long: PanedWindow::default(),
                zone: split.zone.into(),
                example: message.name.clone(),
                server: head.packet.destination,
                protocol: head.packet.protocol,
            });
        zone.example = message.name.clone();
        let name = hash(self.hash, split.below);
        let information = information(split.below);
        let config = &self.config;
        for half in [
            zone.short.at(seen.at_ns, config.half_ns),
            zone.long.at(seen.at_ns, config.slow_half_ns),
        ] {
            half.names.insert(name);
            half.n_questions = half.n_questions.saturating_add(1);
            half.n_rare = half
                .n_rare
                .saturating_add(u32::from(is_rare(message.record)));
            let is_odd = is_rare(message.record) && message.record != record::TXT;
            half.n_odd = half.n_odd.saturating_add(u32::from(is_odd));
            half.information += information;
            half.name_bytes += split.below.len() as u64;
        }
    }
}

fn hash(seeded: Seeded, bytes: &[u8]) -> u64 {
    let mut hasher = seeded.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// Record types that programs on a client hardly ever ask for.
const fn is_rare(asked: u16) -> bool {
    !matches!(
        asked,
        record::A
            | record::AAAA
            | record::NS
            | record::SOA
            | record::PTR
            | record::SVCB
            | record::HTTPS
    )
}

struct Judged {
    n_names: u32,
    limit: u32,
    name_bytes: f64,
    information: f64,
    distinct_share: f64,
    rare_share: f64,
    answer_bytes: f64,
    /// Names or answers hold more than look-ups do.
    is_proven: bool,
}

/// A long window needs `times` as many names as a short one.
fn judge(config: &DnsTunnelConfig, times: u32, now: &Half, before: &Half) -> Option<Judged> {
    let n_questions = now.n_questions.saturating_add(before.n_questions);
    let n = f64::from(n_questions);
    let rare_share = f64::from(now.n_rare.saturating_add(before.n_rare)) / n;
    let (limit, least) = if rare_share >= 0.5 {
        (config.rare_names, config.rare_name_bytes)
    } else {
        (config.names, config.name_bytes)
    };
    let limit = limit.saturating_mul(times);
    let information = (now.information + before.information) / n;
    let answered = f64::from(now.n_answers.saturating_add(before.n_answers)) / n;
    if n_questions < limit || information < least || answered < config.answered_share {
        return None;
    }
    let n_names = now.names.union_len(&before.names);
    let distinct_share = f64::from(n_names) / n;
    if n_names < limit || distinct_share < config.distinct_share {
        return None;
    }
    let sum = |of: fn(&Half) -> f64| of(now) + of(before);
    let found = sum(|half| f64::from(half.n_found)).max(1.0);
    let is_proven = information > HASH_BYTES
        || sum(|half| half.found_bytes as f64) / found > VERDICT_BYTES
        || sum(|half| f64::from(half.n_odd)) >= ODD * n;
    Some(Judged {
        is_proven,
        n_names,
        limit,
        name_bytes: (now.name_bytes + before.name_bytes) as f64 / n,
        information,
        distinct_share: distinct_share.min(1.0),
        rare_share,
        answer_bytes: (now.answer_bytes + before.answer_bytes) as f64 / n,
    })
}

fn finding(
    client: &Address,
    zone: &[u8],
    example: &dns::Name,
    judged: &Judged,
    (window_ns, first_ns, last_ns): (u64, u64, u64),
) -> Finding {
    let expected = f64::from(judged.limit) / 10.0;
    let score = poisson_score(f64::from(judged.n_names), expected);
    let evidence = [
        ("distinct_names", f64::from(judged.n_names), expected, 0.4),
        ("information_bytes_per_name", judged.information, 2.0, 0.2),
        ("bytes_per_name", judged.name_bytes, 8.0, 0.1),
        ("distinct_share", judged.distinct_share, 0.1, 0.1),
        ("rare_type_share", judged.rare_share, 0.0, 0.1),
        ("answer_bytes_per_question", judged.answer_bytes, 100.0, 0.1),
    ];
    Finding {
        detector: Detector::DnsTunnel,
        family: Family::DnsTunnel,
        entity: Entity::Source(*client),
        window_ns,
        first_ns,
        last_ns,
        score,
        p_value: p_value(score),
        // Whoever looks up hashes shows the same shape.
        grades: if judged.is_proven {
            Detector::DnsTunnel.grades()
        } else {
            Grades::SHAPE
        },
        features: evidence
            .map(|(name, observed, expected, share)| Evidence {
                name,
                observed,
                expected,
                share,
            })
            .to_vec(),
        notes: vec![
            Note {
                name: "dns.question.registered_domain",
                value: dns::text(zone),
            },
            Note {
                name: "dns.question.name",
                value: example.text(),
            },
        ],
        sources: vec![to_ip(client)],
        n_sources: 1,
        is_spoofed: false,
        destination_mac: None,
        destinations: Vec::new(),
        n_destinations: 1,
        ports: vec![53],
        n_ports: 1,
        protocol: 0,
    }
}
