//! Calls of a source to one service, as they come: connections, datagrams, and exchanges within a connection that is
//! kept. What a timer makes is held against its surroundings.

use sensor_common::{Address, is_v4, packet::protocol};

use super::clues::PairClues;
use super::surroundings::Surroundings;
use super::timer::{Contact, Timer, timer};
use crate::address::to_ip;
use crate::config::SECOND_NS;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Evidence, Finding, p_value};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::flow::{Delta, FlowUpdate};
use crate::l7::call::Clues;

/// Position of PSH in the counts of flags.
const PSH: usize = 3;
/// Services as sources see them; 140 bytes each, and 16 for each contact.
const MAX_CALLS: usize = 16_384;
/// Contacts kept of one service.
const KEPT: usize = 128;
/// Silence that ends a contact.
const PAUSE_NS: u64 = 1_200_000_000;
/// A service is forgotten after so much silence.
const FORGET_NS: u64 = 6 * 3_600 * SECOND_NS;
/// Points from which a timer is reported: see [`Points`].
const LEAST_POINTS: i32 = 2;
/// Hosts that one source calls by a timer on one port, from which it is one that looks after many.
const MANY_TIMERS: f64 = 2.5;
/// Callers from which a host serves many, and sources from which it is one in ten who calls alone.
const MANY_CALLERS: f64 = 2.5;
const ENOUGH_SOURCES: u64 = 10;
/// Ports from here on are registered for nothing in particular (RFC 6335 section 6 gives the well-known
/// ones below).
const FIRST_UNPRIVILEGED: u16 = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Service {
    source: Address,
    host: Address,
    port: u16,
    protocol: u8,
}

impl Service {
    fn of(update: &FlowUpdate) -> Self {
        Self {
            source: update.source,
            host: update.destination,
            port: update.destination_port,
            protocol: update.protocol,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Calls {
    /// The latest, oldest first from `at`.
    kept: Vec<Contact>,
    at: usize,
    /// The one that runs.
    running: Contact,
    is_answered: bool,
    /// It is a connection that began, or something was said in it: a stack that looks whether the other side is still
    /// there (RFC 9293 3.8.4) says nothing.
    is_said: bool,
    last_ns: u64,
    first_ns: u64,
    n: u64,
}

impl Priority for Calls {
    fn priority(&self) -> u64 {
        self.n << 40 | self.last_ns >> 24
    }
}

impl Calls {
    /// Takes packets of a call. True where a contact was ended by the silence before them.
    fn take(&mut self, update: &FlowUpdate) -> bool {
        let begin_ns = if update.is_new {
            update.first_ns
        } else {
            update.last_ns
        };
        let has_ended = self.last_ns > 0 && begin_ns.saturating_sub(self.last_ns) >= PAUSE_NS;
        if has_ended {
            self.keep();
        }
        if has_ended || self.last_ns == 0 {
            self.running = Contact {
                at_ns: begin_ns,
                ..Contact::default()
            };
            self.first_ns = if self.first_ns == 0 {
                begin_ns
            } else {
                self.first_ns
            };
        }
        let bytes = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let contact = &mut self.running;
        let header = header(update);
        contact.sent = contact
            .sent
            .saturating_add(bytes(payload(&update.forward, header)));
        contact.got = contact
            .got
            .saturating_add(bytes(payload(&update.backward, header)));
        self.is_answered |= update.backward.packets > 0;
        let pushes = update.forward.n_flags[PSH] + update.backward.n_flags[PSH];
        self.is_said |= update.is_new || update.protocol != protocol::TCP || pushes > 0;
        self.last_ns = self.last_ns.max(update.last_ns);
        has_ended
    }

    /// Keeps the contact that ended, if something was said in it and it was answered.
    fn keep(&mut self) {
        let is_said = std::mem::take(&mut self.is_said);
        if !std::mem::take(&mut self.is_answered) || !is_said {
            return;
        }
        self.n = self.n.saturating_add(1);
        if self.kept.len() < KEPT {
            self.kept.push(self.running);
        } else if let Some(place) = self.kept.get_mut(self.at) {
            *place = self.running;
            self.at = (self.at + 1) % KEPT;
        }
    }

    fn in_order(&self) -> Vec<Contact> {
        let mut all = self.kept.clone();
        all.rotate_left(self.at.min(self.kept.len()));
        all
    }
}

/// Bytes of a frame before its data: with the time stamps of TCP (RFC 7323), which most stacks send. How many
/// bare acknowledgements there are is chance, and must not show in the sizes.
fn header(update: &FlowUpdate) -> u64 {
    let ip = if is_v4(&update.source) { 20 } else { 40 };
    let transport = if update.protocol == protocol::TCP {
        32
    } else {
        8
    };
    14 + ip + transport
}

fn payload(delta: &Delta, header: u64) -> u64 {
    delta
        .bytes
        .saturating_sub(delta.packets.saturating_mul(header))
}

#[derive(Debug)]
pub(super) struct Beacons {
    calls: Bounded<Service, Calls>,
}

impl Beacons {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            calls: Bounded::new("control_calls", MAX_CALLS, hash_seed),
        }
    }

    pub(super) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.calls.usage());
    }

    /// Prefetches the calls of updates.
    pub(super) fn fetch(&self, updates: &[FlowUpdate]) {
        self.calls.fetch(updates.iter().map(Service::of));
    }

    /// Takes packets of a call; a finding where they end a contact that a timer made, of which its
    /// surroundings speak.
    pub(super) fn take(
        &mut self,
        update: &FlowUpdate,
        around: &mut Surroundings,
        clues: &PairClues,
        least: usize,
    ) -> Option<Finding> {
        let service = Service::of(update);
        let calls = self.calls.get_or_insert_with(service, Calls::default);
        if !calls.take(update) || calls.kept.len() < least {
            return None;
        }
        // Judged every few contacts, and repeated as often.
        if !calls.n.is_multiple_of(4) {
            return None;
        }
        let found = timer(&calls.in_order(), least)?;
        let at_ns = update.last_ns;
        let n_timers = around.note_timer(at_ns, service.source, service.port, &service.host);
        let points = points(&service, calls, around, clues, n_timers, at_ns);
        if points.sum < LEAST_POINTS {
            return None;
        }
        Some(finding(&service, calls, &found, &points))
    }

    pub(super) fn forget(&mut self, at_ns: u64) {
        self.calls
            .retain(|_, calls| at_ns.saturating_sub(calls.last_ns) < FORGET_NS);
    }
}

/// Words of the surroundings, in points of a decimal power each: reasoned, not fitted.
struct Points {
    sum: i32,
    reasons: Vec<&'static str>,
}

impl Points {
    fn add(&mut self, is_so: bool, points: i32, reason: &'static str) {
        if is_so {
            self.sum += points;
            self.reasons.push(reason);
        }
    }
}

fn points(
    service: &Service,
    calls: &Calls,
    around: &Surroundings,
    clues: &PairClues,
    n_timers: f64,
    at_ns: u64,
) -> Points {
    let Service { source, host, .. } = service;
    let said = clues.of(source, host);
    let is_outside = !around.is_inside(host, source);
    let is_named = said.has(Clues::NAMED);
    let n_callers = around.n_callers(host);
    let is_lonely = n_callers < 1.5 && around.n_sources() >= ENOUGH_SOURCES;
    let is_odd_port = service.port >= FIRST_UNPRIVILEGED
        && around.n_offering(service.port, service.protocol) < 1.5;
    let is_bare = !is_named && (said.has(Clues::BARE_TLS) || said.has(Clues::BARE_HTTP));
    let mut points = Points {
        sum: 0,
        reasons: Vec::new(),
    };
    points.add(is_outside, 1, "outside");
    points.add(is_outside && is_bare, 1, "no name in the call");
    points.add(
        !is_named && around.is_nameless(calls.first_ns, at_ns, host),
        1,
        "no name asked for",
    );
    points.add(is_odd_port, 1, "port that nobody else offers");
    points.add(is_outside && is_lonely, 1, "no other caller");
    points.add(around.is_new_peer(source, calls.first_ns), 1, "new peer");
    points.add(is_named, -1, "named");
    points.add(n_callers > MANY_CALLERS, -2, "many callers");
    points.add(n_timers > MANY_TIMERS, -2, "looks after many");
    points.add(said.has(Clues::CHAT), 1, "irc");
    points.add(said.has(Clues::TIME), -4, "ntp");
    points
}

fn finding(service: &Service, calls: &Calls, timer: &Timer, points: &Points) -> Finding {
    let evidence = |name, observed, expected, share| Evidence {
        name,
        observed,
        expected,
        share,
    };
    let ports = match service.protocol {
        protocol::TCP | protocol::UDP => vec![service.port],
        _ => Vec::new(),
    };
    Finding {
        window_ns: timer.period_ns.saturating_mul(timer.n_contacts as u64),
        first_ns: calls.first_ns,
        score: timer.score,
        p_value: p_value(timer.score),
        features: vec![
            evidence("regular_share", timer.regular, timer.by_chance, 1.0),
            evidence("period_s", timer.period_ns as f64 / 1e9, 0.0, 0.0),
            evidence("contacts", calls.n as f64, 0.0, 0.0),
            evidence("sent_alike", timer.sent_alike, 0.0, 0.0),
            evidence("got_alike", timer.got_alike, 0.0, 0.0),
        ],
        notes: vec![crate::note::Note {
            name: "beacon.surroundings",
            value: points.reasons.join(", "),
        }],
        sources: vec![to_ip(&service.source)],
        n_sources: 1,
        destinations: vec![to_ip(&service.host)],
        n_destinations: 1,
        n_ports: ports.len() as u64,
        ports,
        protocol: service.protocol,
        ..Finding::new(
            Detector::Beacon,
            Family::Beacon,
            Entity::Source(service.source),
            calls.last_ns,
        )
    }
}
