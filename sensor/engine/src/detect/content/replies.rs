//! Guessing of passwords, told by what came of each login: refusals that no honest client collects.
//!
//! Refusals are held against acceptances by Wald's sequential test, for each client and service, and for
//! each IPv6 network of 64 bits. A client that repeats one saved password is no guesser, so that guesses
//! are secrets that differ, or, where they are hidden, refusals faster than programs try again.

mod campaign;
mod network;
mod tally;

use sensor_common::Address;

use self::campaign::{Campaign, Shared};
use self::network::{Network, network_of};
use self::tally::{Guesses, Of, Tally};
use super::Seen;
use super::draft::{Number, Span, draft};
use super::paned_window::PanedWindow;
use crate::address::to_ip;
use crate::config::{Config, RepliesConfig};
use crate::detect::Detect;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Finding, MAX_SCORE, poisson_score};
use crate::detect::grade::Grades;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::ledger::ServiceKey;
use crate::flow::{EndReason, FlowSummary, FlowUpdate};
use crate::l7::login::{Ended, Message, Outcome, Secret, Service, Talk};
use crate::note::Note;

/// Position of PSH in the counts of flags.
const PSH: usize = 3;
/// Conversations followed, 160 bytes each.
const MAX_TALKS: usize = 16_384;
/// Services whose refusals of many sources are added up, up to 30 kB each.
const MAX_SERVICES: usize = 512;
/// Hosts whose own refusals are counted.
const MAX_HOSTS: usize = 4_096;
/// Clients whose news may hasten a look at flows; those of others wait for it.
const MAX_HEARD: usize = 256;

/// Refusals that a host gave.
#[derive(Clone, Debug, Default)]
struct Given(PanedWindow<u32>);

impl Priority for Given {
    fn priority(&self) -> u64 {
        u64::from(self.0.now) + u64::from(self.0.before)
    }
}

/// Ends of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    key: Key,
    port: u16,
}

/// Client, or its network, and the service that it logs in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: Address,
    service: ServiceKey,
}

#[derive(Clone, Copy, Debug)]
struct Following {
    talk: Talk,
    last_ns: u64,
}

impl Priority for Following {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

#[derive(Debug)]
pub(crate) struct RepliesDetector {
    config: RepliesConfig,
    talks: Bounded<Ends, Following>,
    clients: Bounded<Key, Tally>,
    networks: Bounded<Key, Network>,
    campaigns: Bounded<ServiceKey, Campaign>,
    /// Refusals that a host gave, as a service: who is in between repeats what its clients say.
    hosts: Bounded<Address, Given>,
    /// Clients, and whether they were accepted, since this was last taken.
    outcomes: Vec<(Address, bool)>,
    /// Clients with logins since the last tick.
    heard: Vec<Key>,
}

impl Detect for RepliesDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.replies, config.hash_seed);
        Self {
            config: config.clone(),
            talks: Bounded::new("login_talks", MAX_TALKS, hash_seed),
            clients: Bounded::new("login_pairs", config.max_pairs, hash_seed),
            networks: Bounded::new("login_networks", config.max_pairs / 4, hash_seed),
            campaigns: Bounded::new("login_services", MAX_SERVICES, hash_seed),
            hosts: Bounded::new("login_victims", MAX_HOSTS, hash_seed),
            outcomes: Vec::new(),
            heard: Vec::new(),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.replies.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.talks.usage());
        out.push(self.clients.usage());
        out.push(self.networks.usage());
        out.push(self.campaigns.usage());
        out.push(self.hosts.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let config = &self.config;
        self.heard.clear();
        for (key, campaign) in self.campaigns.iter_mut() {
            if let Some(shared) = campaign.judge(at_ns, config) {
                findings.push(of_many(key, campaign.service, &shared));
            }
        }
        let (campaigns, hosts) = (&self.campaigns, &self.hosts);
        for (key, tally) in self.clients.iter_mut() {
            if let Some(mut guesses) = tally.judge(at_ns, Of::Client, config) {
                let given = hosts.get(&key.client).map_or(0, |given| given.priority());
                // A proxy passes on what its clients guess, and the refusals.
                guesses.is_weak |= given.saturating_mul(2) >= u64::from(guesses.n_refused);
                let campaign = campaigns.get(&key.service);
                let is_shared = campaign.is_some_and(|one| one.is_on(at_ns, config));
                let entity = if is_shared {
                    Entity::Victim(key.service.host)
                } else {
                    Entity::Source(key.client)
                };
                findings.push(of_one(key, entity, tally.service, (&guesses, config)));
            }
        }
        for (key, network) in self.networks.iter_mut() {
            let tally = &mut network.tally;
            if let Some(guesses) = tally.judge(at_ns, Of::Network, config) {
                let entity = Entity::Source(key.client);
                findings.push(Finding {
                    sources: network.refused.iter().map(to_ip).collect(),
                    n_sources: guesses.n_addresses.round() as u64,
                    ..of_one(key, entity, tally.service, (&guesses, config))
                });
            }
        }
        self.clients.retain(|_, one| !one.is_stale(at_ns, config));
        self.networks
            .retain(|_, one| !one.tally.is_stale(at_ns, config));
        self.hosts
            .retain(|_, one| !one.0.is_stale(at_ns, config.slow_half_ns));
        self.campaigns.retain(|_, one| !one.is_stale(at_ns, config));
    }
}

impl RepliesDetector {
    /// Takes a segment or datagram of a client or of its service.
    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>) {
        let head = seen.sample.head;
        let message = Message {
            payload: seen.sample.payload,
            n_bytes: head.payload_bytes,
            is_answer: seen.is_answer,
            at_ns: seen.at_ns,
        };
        let ends = Ends::of(seen);
        let known = self.talks.get_mut(&ends);
        let (service, outcome) = if let Some(following) = known {
            following.last_ns = seen.at_ns;
            let talk = &mut following.talk;
            let (service, outcome) = (talk.service, talk.take(&message));
            if outcome == Some(Outcome::Accepted) {
                let n_told = talk.take_back();
                self.take_back(ends.key, n_told);
            } else if outcome.is_some() && service == Service::Ssh {
                // What it comes to in the end is told then.
                self.count(
                    seen.at_ns,
                    ends.key,
                    service,
                    (Outcome::Refused(Secret::Hidden), 1),
                );
                return;
            }
            (service, outcome)
        } else {
            let Some(service) = Service::of(&message, ends.key.service.port) else {
                return;
            };
            let mut talk = Talk::new(service);
            let outcome = talk.take(&message);
            if talk.is_open() {
                let last_ns = seen.at_ns;
                self.talks
                    .get_or_insert_with(ends, || Following { talk, last_ns });
            }
            (service, outcome)
        };
        if let Some(outcome) = outcome {
            self.note(seen.at_ns, ends.key, service, (outcome, 1));
        }
    }

    /// Takes a connection that both sides have closed: some services refuse by that.
    pub(in crate::detect) fn take_close(&mut self, update: &FlowUpdate) {
        let service = ServiceKey::of(update);
        let client = update.source;
        let key = Key { client, service };
        let port = update.source_port;
        let Some(following) = self.talks.get_mut(&Ends { key, port }) else {
            return;
        };
        let (service, n) = (following.talk.service, following.talk.close());
        if n > 0 {
            let refused = (Outcome::Refused(Secret::Hidden), n);
            self.count(update.last_ns, key, service, refused);
        }
    }

    /// True where a client is a guesser by what was heard since the last tick: it is told with the flows.
    pub(in crate::detect) fn has_news(&self) -> bool {
        let mut heard = self.heard.iter().filter_map(|key| self.clients.get(key));
        heard.any(|tally| tally.is_news(&self.config))
    }

    /// Takes back refusals of a connection whose login succeeded in the end.
    fn take_back(&mut self, key: Key, n: u32) {
        if n == 0 {
            return;
        }
        if let Some(tally) = self.clients.get_mut(&key) {
            tally.take_back(n);
        }
        let whole = Key {
            client: network_of(&key.client),
            ..key
        };
        if let Some(network) = self.networks.get_mut(&whole) {
            network.tally.take_back(n);
        }
        if let Some(given) = self.hosts.get_mut(&key.service.host) {
            let window = &mut given.0;
            let taken = n.min(window.now);
            window.now -= taken;
            window.before = window.before.saturating_sub(n - taken);
        }
        if let Some(campaign) = self.campaigns.get_mut(&key.service) {
            campaign.take_back(key.client, n);
        }
    }

    /// Takes the end of a connection: some services refuse by it.
    pub(in crate::detect) fn take_end(
        &mut self,
        flow: &FlowSummary,
        client: Address,
        server: Address,
    ) {
        if flow.end_reason == EndReason::ActiveTimeout {
            return;
        }
        let service = ServiceKey {
            host: server,
            port: flow.destination_port,
            protocol: flow.protocol,
        };
        let key = Key { client, service };
        let port = flow.source_port;
        let Some(mut following) = self.talks.take(&Ends { key, port }) else {
            return;
        };
        let ended = Ended {
            n_asked: flow.forward.n_flags[PSH],
            n_answered: flow.backward.n_flags[PSH],
        };
        let talk = &mut following.talk;
        if let Some((secret, n)) = talk.end(ended) {
            let service = talk.service;
            self.note(flow.last_ns, key, service, (Outcome::Refused(secret), n));
        }
    }

    /// Counts what came of logins, with the connection over.
    fn note(&mut self, at_ns: u64, key: Key, service: Service, outcome: (Outcome, u32)) {
        let is_accepted = outcome.0 == Outcome::Accepted;
        self.outcomes.push((key.client, is_accepted));
        if outcome.1 > 0 {
            self.count(at_ns, key, service, outcome);
        }
    }

    fn count(&mut self, at_ns: u64, key: Key, service: Service, outcome: (Outcome, u32)) {
        if self.heard.len() < MAX_HEARD && !self.heard.contains(&key) {
            self.heard.push(key);
        }
        let config = &self.config;
        let address = sensor_common::hash_address(&key.client, 1);
        let tally = self.clients.get_or_insert_with(key, Tally::default);
        tally.service = Some(service);
        tally.take(at_ns, address, outcome, config);
        if !sensor_common::is_v4(&key.client) {
            let whole = Key {
                client: network_of(&key.client),
                ..key
            };
            let network = self.networks.get_or_insert_with(whole, Network::default);
            network.tally.service = Some(service);
            network.tally.take(at_ns, address, outcome, config);
            network.take(key.client, outcome.0);
        }
        if outcome.0 != Outcome::Accepted {
            let host = key.service.host;
            let given = self.hosts.get_or_insert_with(host, Given::default);
            let n = given.0.at(at_ns, config.slow_half_ns);
            *n = n.saturating_add(outcome.1);
        }
        let campaign = self
            .campaigns
            .get_or_insert_with(key.service, Campaign::default);
        campaign.service = Some(service);
        campaign.take(at_ns, key.client, outcome, config);
    }

    /// Takes out what came of logins: clients, and whether they were accepted.
    pub(in crate::detect) fn outcomes(&mut self) -> std::vec::Drain<'_, (Address, bool)> {
        self.outcomes.drain(..)
    }

    /// True where the service is known to accept most of the client's logins.
    pub(in crate::detect) fn is_accepted(&self, client: Address, service: ServiceKey) -> bool {
        let tally = self.clients.get(&Key { client, service });
        tally.is_some_and(Tally::is_accepted)
    }
}

impl Ends {
    fn of(seen: &Seen<'_>) -> Self {
        let packet = &seen.sample.head.packet;
        let (from, to) = (
            (packet.source, packet.source_port),
            (packet.destination, packet.destination_port),
        );
        let ((client, port), (host, service_port)) = if seen.is_answer {
            (to, from)
        } else {
            (from, to)
        };
        let service = ServiceKey {
            host,
            port: service_port,
            protocol: packet.protocol,
        };
        Self {
            key: Key { client, service },
            port,
        }
    }
}

/// Finding of what one client, or one network, guesses.
fn of_one(
    key: &Key,
    entity: Entity,
    service: Option<Service>,
    (guesses, config): (&Guesses, &RepliesConfig),
) -> Finding {
    // A tenth of the limit is what an honest client may show.
    let expected = f64::from(guesses.limit) / 10.0;
    let n_refused = f64::from(guesses.n_refused);
    let mut numbers = vec![("refused_logins", n_refused, expected, 1.0)];
    let of_secrets = poisson_score(guesses.n_secrets, f64::from(config.secrets) / 10.0);
    let mut score = poisson_score(f64::from(guesses.n_hidden), expected).max(of_secrets);
    if let Some(n_before) = guesses.broken_in {
        // Nothing is left to doubt: what guessing is for was reached.
        numbers.insert(0, ("login_after_refusals", f64::from(n_before), 0.0, 1.0));
        score = MAX_SCORE;
    }
    if guesses.n_secrets > 0.0 {
        numbers.push(("distinct_secrets", guesses.n_secrets.round(), 1.0, 0.0));
    }
    let span = Span {
        window_ns: guesses.window_ns,
        first_ns: guesses.first_ns,
        last_ns: guesses.last_ns,
    };
    let grades = if guesses.is_weak {
        Grades::SHAPE
    } else {
        grades_of(service)
    };
    Finding {
        sources: vec![to_ip(&key.client)],
        n_sources: 1,
        grades,
        ..at_service(&key.service, entity, service, (span, score), &numbers)
    }
}

/// Finding of what many clients guess together: all are named, and nothing is done for it to any.
fn of_many(key: &ServiceKey, service: Option<Service>, shared: &Shared) -> Finding {
    let expected = f64::from(shared.limit) / 10.0;
    let n_refused = f64::from(shared.n_refused);
    let numbers = [
        ("refused_logins", n_refused, expected, 1.0),
        ("refused_clients", shared.sources.len() as f64, 1.0, 0.0),
    ];
    let span = Span {
        window_ns: shared.window_ns,
        first_ns: shared.first_ns,
        last_ns: shared.last_ns,
    };
    let score = poisson_score(n_refused, expected);
    let entity = Entity::Victim(key.host);
    Finding {
        sources: shared.sources.iter().map(to_ip).collect(),
        n_sources: shared.sources.len() as u64,
        grades: grades_of(service),
        ..at_service(key, entity, service, (span, score), &numbers)
    }
}

/// An encrypted reply is told by its size: its content is not known.
fn grades_of(service: Option<Service>) -> Grades {
    match service {
        Some(Service::Ssh) => Grades::SHAPE.with(Grades::OUTCOME),
        _ => Detector::Replies.grades(),
    }
}

fn at_service(
    key: &ServiceKey,
    entity: Entity,
    service: Option<Service>,
    (span, score): (Span, f64),
    numbers: &[Number],
) -> Finding {
    let label = service.map_or("unknown", Service::label);
    Finding {
        destinations: vec![to_ip(&key.host)],
        n_destinations: 1,
        ports: vec![key.port],
        n_ports: 1,
        protocol: key.protocol,
        notes: vec![Note {
            name: "network.protocol",
            value: label.to_owned(),
        }],
        ..draft(
            Detector::Replies,
            Family::BruteForce,
            entity,
            span,
            score,
            numbers,
        )
    }
}
