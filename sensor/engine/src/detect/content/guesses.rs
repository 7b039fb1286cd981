//! Names that are tried one after the other from a list: pages of a web server, hosts of a zone. What tells
//! them is what came of it, again and again the answer that there is no such name.
//!
//! A client that asks for what is not there without guessing asks for the same name (a poll), for names of many places
//! (a search list, a mirror of packages), for names that are hashes (caches, reputation), or finds most.

use std::hash::{BuildHasher as _, Hasher as _};

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::Seen;
use super::draft::{Span, draft};
use super::paned_window::PanedWindow;
use crate::address::{Seeded, to_ip};
use crate::config::{Config, GuessesConfig};
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Finding, poisson_score};
use crate::detect::grade::Grades;
use crate::detect::{Detect, Detector};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::sketch::Distinct;
use crate::l7::dns::{self, NX_DOMAIN, SERVER_FAILURE};
use crate::l7::http::{not_found, requested};
use crate::l7::zone::{information, split};
use crate::note::Note;

/// Bytes of information of a name from which it is made, and was not chosen by somebody: half of an MD5.
const MADE_BYTES: f64 = 10.0;
/// Names to one place, at least: a list is tried in one folder, or below one zone.
const PER_PLACE: u32 = 4;
/// Share of names that are new among those asked for: a resolver asks again, and a tool by several types.
const DISTINCT: f64 = 0.4;
/// Names remembered of a client, 16 bytes each.
const LATELY: usize = 64;
/// Clients that ask for missing names of one zone at the same time: together they are a flood.
const MANY_CLIENTS: u32 = 3;
/// Times as many names that they must have asked for.
const TOGETHER: u32 = 3;

/// Names that were asked for, and what came of it.
#[derive(Clone, Debug, Default)]
struct Half {
    names: Distinct,
    /// Folders of a web server; clients of a zone.
    places: Distinct,
    n_names: u32,
    /// Names of several labels, or looked for in several zones.
    n_searched: u32,
    n_answers: u32,
    n_missing: u32,
    information: f64,
}

impl Half {
    fn ask(&mut self, name: u64, place: u64, information: f64) {
        self.names.insert(name);
        self.places.insert(place);
        self.n_names = self.n_names.saturating_add(1);
        self.information += information;
    }

    fn answer(&mut self, is_missing: bool) {
        self.n_answers = self.n_answers.saturating_add(1);
        self.n_missing = self.n_missing.saturating_add(u32::from(is_missing));
    }
}

/// One that asks, or one that is asked by all.
#[derive(Clone, Debug)]
struct Row {
    short: PanedWindow<Half>,
    long: PanedWindow<Half>,
    server: Address,
    port: u16,
    protocol: u8,
    /// Registered name; empty for a web server.
    zone: Box<[u8]>,
}

impl Row {
    fn new(server: Address, port: u16, protocol: u8, zone: &[u8]) -> Self {
        Self {
            short: PanedWindow::default(),
            long: PanedWindow::default(),
            server,
            port,
            protocol,
            zone: zone.into(),
        }
    }

    fn halves(&mut self, at_ns: u64, config: &GuessesConfig) -> [&mut Half; 2] {
        [
            self.short.at(at_ns, config.half_ns),
            self.long.at(at_ns, config.slow_half_ns),
        ]
    }

    /// Judgement of the first window that has enough, and that window's times.
    fn due(&mut self, at_ns: u64, config: &GuessesConfig, least: u32) -> Option<(Judged, Span)> {
        let windows = [
            (config.half_ns, 1, &mut self.short),
            (config.slow_half_ns, 3, &mut self.long),
        ];
        for (half_ns, times, window) in windows {
            if !window.is_due(at_ns, half_ns) {
                continue;
            }
            let limit = least.saturating_mul(times);
            let Some(judged) = judge(config, limit, &window.now, &window.before) else {
                window.judged();
                continue;
            };
            window.reported(at_ns);
            let span = Span {
                window_ns: 2 * half_ns,
                first_ns: window.first_ns,
                last_ns: window.last_ns,
            };
            return Some((judged, span));
        }
        None
    }
}

impl Priority for Row {
    fn priority(&self) -> u64 {
        u64::from(self.long.now.n_names) + u64::from(self.long.before.n_names)
    }
}

struct Judged {
    n_missing: u32,
    limit: u32,
    missing_share: f64,
    n_places: u32,
}

/// All that holds of a list that is tried, whether of pages or of hosts.
fn judge(config: &GuessesConfig, limit: u32, now: &Half, before: &Half) -> Option<Judged> {
    let sum = |of: fn(&Half) -> u32| of(now).saturating_add(of(before));
    let n_missing = sum(|half| half.n_missing);
    let (n_names, n_answers) = (sum(|half| half.n_names), sum(|half| half.n_answers));
    let missing_share = f64::from(n_missing) / f64::from(n_answers.max(1));
    if n_missing < limit || missing_share < config.missing_share {
        return None;
    }
    let n_searched = f64::from(sum(|half| half.n_searched));
    let n = f64::from(n_names);
    let n_distinct = now.names.union_len(&before.names);
    let is_list = n_distinct >= limit
        && f64::from(n_distinct) >= DISTINCT * n
        && n_searched <= (1.0 - config.missing_share) * n
        && now.information + before.information < MADE_BYTES * n;
    is_list.then(|| Judged {
        n_missing: n_missing.min(n_distinct),
        limit,
        missing_share,
        n_places: now.places.union_len(&before.places),
    })
}

/// Client and server, or client and zone, or server and zone; zones by their hash.
type Key = (Address, Address, u64);

#[derive(Debug)]
pub(crate) struct GuessesDetector {
    config: GuessesConfig,
    pages: Bounded<Key, Row>,
    names: Bounded<Key, Row>,
    /// Names of one zone that one server was asked for, by whomever.
    zones: Bounded<Key, Row>,
    lately: Bounded<Address, Lately>,
    hash: Seeded,
}

/// Labels that a client looked for, each with the zone that it was looked for in last: the search list of a
/// resolver (RFC 1535) tries a host's name alone and in every domain that it knows.
#[derive(Clone, Debug)]
struct Lately {
    names: Box<[(u64, u64); LATELY]>,
    last_ns: u64,
}

impl Default for Lately {
    fn default() -> Self {
        Self {
            names: Box::new([(0, 0); LATELY]),
            last_ns: 0,
        }
    }
}

impl Priority for Lately {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

impl Lately {
    /// Notes a look-up; the other zone where the same label was looked for just before.
    fn take(&mut self, at_ns: u64, label: u64, zone: u64) -> Option<u64> {
        self.last_ns = at_ns;
        let at = label as usize % LATELY;
        let place = self.names.get_mut(at)?;
        let before = std::mem::replace(place, (label, zone));
        (before.0 == label && before.1 != zone).then_some(before.1)
    }
}

impl Detect for GuessesDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.guesses, config.hash_seed);
        let rows = config.max_rows;
        Self {
            config: config.clone(),
            pages: Bounded::new("guessed_pages", rows, hash_seed),
            names: Bounded::new("guessed_names", rows, hash_seed),
            zones: Bounded::new("guessed_zones", rows, hash_seed),
            lately: Bounded::new("guessing_clients", rows, hash_seed),
            hash: Seeded(hash_seed),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.guesses.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.pages.usage());
        out.push(self.names.usage());
        out.push(self.zones.usage());
        out.push(self.lately.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let config = &self.config;
        for ((client, ..), row) in self.pages.iter_mut() {
            let Some((judged, span)) = row.due(at_ns, config, config.pages) else {
                continue;
            };
            // A mirror asks for one file in each of many folders.
            if judged.n_places.saturating_mul(PER_PLACE) <= judged.n_missing {
                findings.push(of_client(Detector::WebGuesses, client, row, &judged, span));
            }
        }
        for (_, row) in self.zones.iter_mut() {
            let least = config.names.saturating_mul(TOGETHER);
            let Some((judged, span)) = row.due(at_ns, config, least) else {
                continue;
            };
            if judged.n_places >= MANY_CLIENTS {
                findings.push(of_server(row, &judged, span));
            }
        }
        for (key, row) in self.names.iter_mut() {
            let Some((judged, span)) = row.due(at_ns, config, config.names) else {
                continue;
            };
            if !is_told_otherwise(&self.zones, key, row) {
                findings.push(of_client(Detector::NameGuesses, &key.0, row, &judged, span));
            }
        }
        let slow_half_ns = config.slow_half_ns;
        for rows in [&mut self.pages, &mut self.names, &mut self.zones] {
            rows.retain(|_, row| !row.long.is_stale(at_ns, slow_half_ns));
        }
        let half_ns = config.half_ns;
        self.lately
            .retain(|_, one| at_ns.saturating_sub(one.last_ns) < half_ns);
    }
}

/// True where a client is one of many that ask at once, or a resolver that passes on what it is asked.
fn is_told_otherwise(zones: &Bounded<Key, Row>, key: &Key, row: &Row) -> bool {
    let clients = |server: Address| {
        let zone = zones.get(&(server, server, key.2))?;
        Some((
            zone.long.now.places.union_len(&zone.long.before.places),
            zone.priority(),
        ))
    };
    let is_of_many = clients(row.server).is_some_and(|(n, _)| n >= MANY_CLIENTS);
    let is_resolver = clients(key.0).is_some_and(|(_, n)| n.saturating_mul(2) >= row.priority());
    is_of_many || is_resolver
}

impl GuessesDetector {
    fn hash_of(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.hash.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }

    /// Takes a segment of a client or of a web server.
    pub(in crate::detect) fn take_stream(&mut self, seen: &Seen<'_>) {
        let packet = &seen.sample.head.packet;
        let payload = seen.sample.payload;
        if seen.is_answer {
            let Some(is_missing) = not_found(payload) else {
                return;
            };
            let key = (packet.destination, packet.source, 0);
            if let Some(row) = self.pages.get_mut(&key) {
                for half in row.halves(seen.at_ns, &self.config) {
                    half.answer(is_missing);
                }
            }
            return;
        }
        let Some(path) = requested(payload) else {
            return;
        };
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let at = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let (folder, page) = path.split_at_checked(at).unwrap_or_default();
        let (name, place) = (self.hash_of(path), self.hash_of(folder));
        let information = information(page);
        let key = (packet.source, packet.destination, 0);
        let (server, port) = (packet.destination, packet.destination_port);
        let row = self
            .pages
            .get_or_insert_with(key, || Row::new(server, port, protocol::TCP, &[]));
        for half in row.halves(seen.at_ns, &self.config) {
            half.ask(name, place, information);
        }
    }

    /// Takes a DNS message; only answers say what came of it.
    pub(in crate::detect) fn take_dns(&mut self, seen: &Seen<'_>, message: &dns::Message) {
        if !message.is_response {
            return;
        }
        let packet = &seen.sample.head.packet;
        let ends = (packet.destination, packet.source);
        let name = message.name.as_bytes();
        let Some(split) = split(name).filter(|split| !split.below.is_empty()) else {
            // A host's name alone.
            if !name.is_empty() && !name.contains(&b'.') {
                self.search(seen.at_ns, ends, self.hash_of(name), 0);
            }
            return;
        };
        let zone = self.hash_of(split.zone);
        // Block lists ask for addresses, search lists for whole names.
        let is_deep = split.below.contains(&b'.');
        let label = self.hash_of(split.below);
        let is_searched = is_deep || self.search(seen.at_ns, ends, label, zone);
        let is_missing = matches!(message.rcode, NX_DOMAIN | SERVER_FAILURE);
        let information = information(split.below);
        let (client, server) = ends;
        let place = self.hash_of(&client.map(u32::to_le_bytes).concat());
        let new = || Row::new(server, 53, packet.protocol, split.zone);
        for (rows, key) in tables(&mut self.names, &mut self.zones, ends, zone) {
            let row = rows.get_or_insert_with(key, new);
            for half in row.halves(seen.at_ns, &self.config) {
                // A name is asked for by several types at once.
                half.ask(label ^ u64::from(message.record), place, information);
                half.answer(is_missing);
                half.n_searched = half.n_searched.saturating_add(u32::from(is_searched));
            }
        }
    }

    /// Notes a label that a client looked for; true where it was looked for in another zone just before, where it
    /// was no guess either.
    fn search(&mut self, at_ns: u64, ends: (Address, Address), label: u64, zone: u64) -> bool {
        let lately = self.lately.get_or_insert_with(ends.0, Lately::default);
        let Some(other) = lately.take(at_ns, label, zone) else {
            return false;
        };
        for (rows, key) in tables(&mut self.names, &mut self.zones, ends, other) {
            if let Some(row) = rows.get_mut(&key) {
                for half in row.halves(at_ns, &self.config) {
                    half.n_searched = half.n_searched.saturating_add(1);
                }
            }
        }
        true
    }
}

/// Rows of a client and of its server, with their keys for a zone.
fn tables<'a>(
    names: &'a mut Bounded<Key, Row>,
    zones: &'a mut Bounded<Key, Row>,
    (client, server): (Address, Address),
    zone: u64,
) -> [(&'a mut Bounded<Key, Row>, Key); 2] {
    [
        (names, (client, client, zone)),
        (zones, (server, server, zone)),
    ]
}

fn finding(
    detector: Detector,
    family: Family,
    entity: Entity,
    row: &Row,
    judged: &Judged,
    span: Span,
) -> Finding {
    let expected = f64::from(judged.limit) / 10.0;
    let score = poisson_score(f64::from(judged.n_missing), expected);
    let numbers = [
        ("missing_names", f64::from(judged.n_missing), expected, 0.7),
        ("missing_share", judged.missing_share, 0.05, 0.3),
    ];
    let zone = (!row.zone.is_empty()).then(|| Note {
        name: "dns.question.registered_domain",
        value: dns::text(&row.zone),
    });
    Finding {
        notes: zone.into_iter().collect(),
        destinations: vec![to_ip(&row.server)],
        n_destinations: 1,
        ports: vec![row.port],
        n_ports: 1,
        protocol: row.protocol,
        ..draft(detector, family, entity, span, score, &numbers)
    }
}

fn of_client(
    detector: Detector,
    client: &Address,
    row: &Row,
    judged: &Judged,
    span: Span,
) -> Finding {
    let family = if row.zone.is_empty() {
        Family::PathGuessing
    } else {
        Family::NameGuessing
    };
    Finding {
        sources: vec![to_ip(client)],
        n_sources: 1,
        ..finding(detector, family, Entity::Source(*client), row, judged, span)
    }
}

/// Many clients at once: what for is to exhaust who is asked in the end, here or behind it. Who of them is
/// honest does not show.
fn of_server(row: &Row, judged: &Judged, span: Span) -> Finding {
    let entity = Entity::Victim(row.server);
    Finding {
        n_sources: u64::from(judged.n_places),
        grades: Grades::SHAPE,
        ..finding(
            Detector::NameGuesses,
            Family::RequestFlood,
            entity,
            row,
            judged,
            span,
        )
    }
}
