//! Scans and sweeps, from flow updates.
//!
//! Only the initiator is ever blamed, and for TCP an initiator is one who was seen to ask. Answers
//! (SYN-ACK, RST, ICMP errors) are attempts of nobody.

use std::collections::VecDeque;

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::Detect;
use super::Detector;
use super::content::Seen;
use super::family::Family;
use super::finding::{Entity, Evidence, Finding, p_value, poisson_score};
use super::grade::Grades;
use super::scan_walk::Walks;
use super::windows::{Window, Windows};
use crate::address::{from_ip, to_ip};
use crate::config::{Config, SECOND_NS, ScanConfig};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::flow::{FlowUpdate, Progress, is_never_answered};
use crate::slot_index::BATCH;

/// Key of a window, which counts the ports of a host or the hosts of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Group {
    Ports {
        source: Address,
        host: Address,
    },
    Hosts {
        source: Address,
        port: u16,
        protocol: u8,
    },
    /// IP protocols of a host, beside those that have ports or are ICMP.
    Protocols {
        source: Address,
        host: Address,
    },
}

impl Group {
    const fn source(&self) -> &Address {
        match self {
            Self::Ports { source, .. }
            | Self::Hosts { source, .. }
            | Self::Protocols { source, .. } => source,
        }
    }
}

#[derive(Debug)]
pub(crate) struct ScanDetector {
    config: ScanConfig,
    ports: Windows<Group>,
    hosts: Windows<Group>,
    /// Windows of half an hour to an hour, which count only attempts whose outcome is known.
    slow_ports: Windows<Group>,
    slow_hosts: Windows<Group>,
    /// Hosts that accept mail, and when they last did.
    mail_hosts: Bounded<Address, MailHost>,
    /// Clients of mail servers, and what became of their messages.
    mail_clients: Bounded<Address, MailClient>,
    walks: Walks,
    /// Host, source and time of the last scans found, the oldest first.
    last_scans: VecDeque<(Address, Address, u64)>,
}

/// Scans remembered, and for how long, to see who scans the same host at the same time; and the number of
/// such from which most of them are forged (nmap: decoys).
const MAX_LAST_SCANS: usize = 256;
const TOGETHER_NS: u64 = 30 * SECOND_NS;
const DECOYS: usize = 4;

#[derive(Clone, Copy, Debug, Default)]
struct MailHost {
    last_ns: u64,
}

impl Priority for MailHost {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

/// Messages of a client, as servers answered: to be gone on with, or refused for now or for good (RFC 5321 4.2.1).
#[derive(Clone, Copy, Debug, Default)]
struct MailClient {
    n_taken: u32,
    n_refused: u32,
    last_ns: u64,
}

impl Priority for MailClient {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

/// Answers from which they say something of a client.
const LEAST_ANSWERS: u32 = 8;
/// A relay is refused now and then, for a full mailbox or a try again later; who sends what nobody asked for is refused
/// by one in three at least, since lists tell who he is and his recipients don't exist.
const REFUSED_OF_THREE: u32 = 1;
/// Times the limit where no answers are seen: they are encrypted, or the way to all servers is closed.
const UNSEEN_TIMES: u32 = 3;
/// Silence after which a client of mail servers is forgotten.
const FORGET_MAIL_NS: u64 = 3_600 * SECOND_NS;

impl MailClient {
    /// Times the limit of servers from which they are too many; `None` where they take what the client sends.
    const fn times(self) -> Option<u32> {
        let n = self.n_taken.saturating_add(self.n_refused);
        if n < LEAST_ANSWERS {
            Some(UNSEEN_TIMES)
        } else if self.n_refused.saturating_mul(3) >= n.saturating_mul(REFUSED_OF_THREE) {
            Some(1)
        } else {
            None
        }
    }
}

const HALF_NS: u64 = 30 * SECOND_NS;
const SLOW_HALF_NS: u64 = 1_800 * SECOND_NS;
/// Divisor of the capacity for the slow windows.
const SLOW_SHARE: usize = 4;
/// Number of failures in ten ports or hosts tried that a slow scan has at least.
const SLOW_FAILED_OF_TEN: u32 = 7;
const SMTP: u16 = 25;
/// Hosts remembered to accept mail.
const MAX_MAIL_HOSTS: usize = 4_096;
/// IP protocols of one host that a source tries in vain: a router speaks three or four to another (ESP,
/// GRE, OSPF, PIM), and is answered.
const FAILED_PROTOCOLS: u32 = 5;
/// The first of the ports that systems give to clients: what comes to those without being asked for is
/// mostly late, or answers somebody who forged the address. Linux begins here; RFC 6335 at 49,152.
const EPHEMERAL: u16 = 32_768;
/// Ports below are given to no client (RFC 6056 3.2).
const WELL_KNOWN: u16 = 1_024;
/// Ports that traceroute counts up.
const TRACEROUTE: std::ops::RangeInclusive<u16> = 33_434..=33_534;

impl Detect for ScanDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.scan, config.hash_seed);
        let n = config.max_windows;
        let table = |name| Windows::new(name, n, HALF_NS, hash_seed);
        let n_slow = n.div_ceil(SLOW_SHARE);
        let slow_table = |name| Windows::new(name, n_slow, SLOW_HALF_NS, hash_seed);
        Self {
            config: config.clone(),
            ports: table("scan_port_windows"),
            hosts: table("scan_host_windows"),
            slow_ports: slow_table("scan_slow_port_windows"),
            slow_hosts: slow_table("scan_slow_host_windows"),
            mail_hosts: Bounded::new("mail_hosts", MAX_MAIL_HOSTS, hash_seed),
            mail_clients: Bounded::new("mail_clients", MAX_MAIL_HOSTS, hash_seed),
            walks: Walks::new(hash_seed),
            last_scans: VecDeque::new(),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.scan.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.ports.usage());
        out.push(self.hosts.usage());
        out.push(self.slow_ports.usage());
        out.push(self.slow_hosts.usage());
        out.push(self.mail_hosts.usage());
        out.push(self.mail_clients.usage());
        self.walks.tables(out);
    }

    /// Judges every window that grew.
    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let n_before = findings.len();
        let config = &self.config;
        let mail = Mail {
            hosts: &self.mail_hosts,
            clients: &self.mail_clients,
        };
        let (mut of_ports_told, mut of_hosts_told) = (Vec::new(), Vec::new());
        self.ports.judge(at_ns, findings, |group, window| {
            let finding = ports_finding(config, group, window)?;
            of_ports_told.push(*group);
            Some(finding)
        });
        self.hosts.judge(at_ns, findings, |group, window| {
            let finding = hosts_finding(config, mail, group, window)?;
            of_hosts_told.push(*group);
            Some(finding)
        });
        // What was told is told, and doesn't count for an hour more.
        of_ports_told
            .iter()
            .for_each(|group| self.slow_ports.restart(group));
        of_hosts_told
            .iter()
            .for_each(|group| self.slow_hosts.restart(group));
        self.tick_slow(at_ns, findings);
        for finding in findings.get(n_before..).unwrap_or_default() {
            self.walks.restart(&finding.entity.address());
        }
        self.walks.tick(at_ns, findings);
        self.weigh_decoys(at_ns, findings.get_mut(n_before..).unwrap_or_default());
    }
}

impl ScanDetector {
    /// Memory held by capacity, without the sets in the windows.
    pub(crate) fn n_bytes(&self) -> usize {
        let slow = self.slow_ports.n_bytes() + self.slow_hosts.n_bytes();
        self.ports.n_bytes() + self.hosts.n_bytes() + slow
    }

    /// Takes updates one after the other.
    pub(crate) fn take_all(&mut self, at_ns: u64, updates: &[FlowUpdate]) {
        for batch in updates.chunks(BATCH) {
            self.ports.fetch(batch.iter().map(ports_of));
            self.hosts.fetch(batch.iter().map(hosts_with));
            batch.iter().for_each(|update| self.take(at_ns, update));
        }
    }

    fn take(&mut self, at_ns: u64, update: &FlowUpdate) {
        if let Some((group, value)) = odd_probe(update) {
            let told = FlowUpdate {
                is_new: true,
                progress: Progress::Refused,
                ..*update
            };
            let port = update.destination_port;
            self.ports
                .take(group, |window| window.take(at_ns, &told, value, port));
            return;
        }
        let failed = update.has_progressed && update.progress.has_failed();
        let succeeded = update.has_progressed && update.progress == Progress::Established;
        if !(update.is_new || failed || succeeded) || !is_probe(update) {
            return;
        }
        let (host, port) = (update.destination, update.destination_port);
        if succeeded && port == SMTP && update.protocol == protocol::TCP {
            let mail_host = self.mail_hosts.get_or_insert_with(host, MailHost::default);
            mail_host.last_ns = at_ns;
        }
        let is_icmp = matches!(update.protocol, protocol::ICMP | protocol::ICMPV6);
        if !is_icmp {
            let value = u64::from(update.protocol) << 16 | u64::from(port);
            self.ports.take(ports_of(update), |window| {
                window.take(at_ns, update, value, port)
            });
        }
        let value = sensor_common::hash_address(&host, 0);
        self.hosts.take(hosts_with(update), |window| {
            let is_due = window.take(at_ns, update, value, port);
            window.note_host(host);
            is_due
        });
        if (failed || succeeded) && update.protocol == protocol::TCP {
            self.take_slow(at_ns, update);
            self.walks.take(at_ns, update);
        }
    }

    /// Takes the first line of a mail server's answer.
    pub(in crate::detect) fn take_mail(&mut self, seen: &Seen<'_>) {
        let (is_refused, is_taken) = match seen.sample.payload {
            [b'4' | b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..] => (true, false),
            [b'3', b'5', b'4', ..] => (false, true),
            _ => return,
        };
        let client = seen.sample.head.packet.destination;
        let client = self
            .mail_clients
            .get_or_insert_with(client, MailClient::default);
        if seen.at_ns.saturating_sub(client.last_ns) >= FORGET_MAIL_NS {
            *client = MailClient::default();
        }
        client.last_ns = seen.at_ns;
        client.n_refused = client.n_refused.saturating_add(u32::from(is_refused));
        client.n_taken = client.n_taken.saturating_add(u32::from(is_taken));
    }

    /// An attempt is tried when it is over: what is open says nothing yet.
    fn take_slow(&mut self, at_ns: u64, update: &FlowUpdate) {
        let host = update.destination;
        let port = update.destination_port;
        let settled = FlowUpdate {
            is_new: true,
            ..*update
        };
        self.slow_ports.take(ports_of(&settled), |window| {
            window.take(at_ns, &settled, u64::from(port), port)
        });
        if self.config.slow_ports.contains(&port) {
            let value = sensor_common::hash_address(&host, 0);
            self.slow_hosts.take(hosts_with(&settled), |window| {
                let is_due = window.take(at_ns, &settled, value, port);
                window.note_host(host);
                is_due
            });
        }
    }

    /// Lowers what is said of sources that scan one host together: whoever scans may have forged the
    /// others, and none of them can be told from it.
    fn weigh_decoys(&mut self, at_ns: u64, findings: &mut [Finding]) {
        let is_scan = |finding: &Finding| {
            finding.family == Family::PortScan && finding.destinations.len() == 1
        };
        let host_of = |finding: &Finding| finding.destinations.first().map(|host| from_ip(*host));
        self.last_scans
            .retain(|(.., last_ns)| at_ns.saturating_sub(*last_ns) < TOGETHER_NS);
        for finding in findings.iter().filter(|finding| is_scan(finding)) {
            let (Some(host), source) = (host_of(finding), finding.entity.address()) else {
                continue;
            };
            self.last_scans
                .retain(|(known, by, _)| (*known, *by) != (host, source));
            if self.last_scans.len() >= MAX_LAST_SCANS {
                self.last_scans.pop_front();
            }
            self.last_scans.push_back((host, source, at_ns));
        }
        for finding in findings.iter_mut().filter(|finding| is_scan(finding)) {
            let host = host_of(finding);
            let together = self.last_scans.iter();
            if together.filter(|(known, ..)| Some(*known) == host).count() >= DECOYS {
                finding.grades = Grades::SHAPE;
            }
        }
    }

    fn tick_slow(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let config = &self.config;
        let (mut of_ports_told, mut of_hosts_told) = (Vec::new(), Vec::new());
        self.slow_ports.judge(at_ns, findings, |group, window| {
            let evidence = judge_slow(config.slow_failed_ports, "ports_failed_in_an_hour", window)?;
            of_ports_told.push(*group);
            Some(of_ports(group, window, evidence))
        });
        self.slow_hosts.judge(at_ns, findings, |group, window| {
            let evidence = judge_slow(config.slow_failed_hosts, "hosts_failed_in_an_hour", window)?;
            of_hosts_told.push(*group);
            Some(of_hosts(group, window, evidence))
        });
        of_ports_told
            .iter()
            .for_each(|group| self.slow_ports.restart(group));
        of_hosts_told
            .iter()
            .for_each(|group| self.slow_hosts.restart(group));
    }
}

fn of_ports(group: &Group, window: &Window, evidence: Evidence) -> Finding {
    let source = group.source();
    let destinations = match group {
        Group::Ports { host, .. } | Group::Protocols { host, .. } => vec![to_ip(host)],
        Group::Hosts { .. } => Vec::new(),
    };
    if matches!(group, Group::Protocols { .. }) {
        return Finding {
            n_destinations: destinations.len() as u64,
            destinations,
            // Any: it is of none in particular.
            protocol: 0,
            ..finding(Family::PortScan, source, window, evidence)
        };
    }
    Finding {
        n_destinations: destinations.len() as u64,
        destinations,
        n_ports: u64::from(window.n_tried()),
        ports: window.ports().to_vec(),
        ..finding(Family::PortScan, source, window, evidence)
    }
}

fn of_hosts(group: &Group, window: &Window, evidence: Evidence) -> Finding {
    let source = group.source();
    let (ports, protocol) = match group {
        Group::Hosts { port, protocol, .. } => (vec![*port], *protocol),
        Group::Ports { .. } | Group::Protocols { .. } => (Vec::new(), protocol::TCP),
    };
    Finding {
        destinations: window.hosts().iter().map(to_ip).collect(),
        n_destinations: u64::from(window.n_tried()),
        n_ports: ports.len() as u64,
        ports,
        protocol,
        ..finding(Family::HostSweep, source, window, evidence)
    }
}

/// Over an hour a healthy client meets a closed port now and then, but hardly ever another one each
/// time, and it succeeds more often than not.
fn judge_slow(limit: u32, name: &'static str, window: &Window) -> Option<Evidence> {
    if window.n_failed_at_most() < limit || window.wants_no_answers() {
        return None;
    }
    let failed = window.n_failed();
    let mostly = failed.saturating_mul(10) >= window.n_tried().saturating_mul(SLOW_FAILED_OF_TEN);
    (failed >= limit && mostly).then(|| evidence(name, failed, limit))
}

fn ports_of(update: &FlowUpdate) -> Group {
    Group::Ports {
        source: update.source,
        host: update.destination,
    }
}

fn hosts_with(update: &FlowUpdate) -> Group {
    Group::Hosts {
        source: update.source,
        port: update.destination_port,
        protocol: update.protocol,
    }
}

fn ports_finding(config: &ScanConfig, group: &Group, window: &Window) -> Option<Finding> {
    if matches!(group, Group::Protocols { .. }) {
        let failed = window.n_failed();
        let evidence = evidence("protocols_failed", failed, FAILED_PROTOCOLS);
        return (failed >= FAILED_PROTOCOLS).then(|| of_ports(group, window, evidence));
    }
    let Group::Ports { source, host } = group else {
        return None;
    };
    let evidence = judge_ports(config, window)?;
    if window.wants_no_answers() {
        return Some(flood(host, source, window, evidence));
    }
    Some(of_ports(group, window, evidence))
}

/// Those who accept mail, and those who send it.
#[derive(Clone, Copy)]
struct Mail<'a> {
    hosts: &'a Bounded<Address, MailHost>,
    clients: &'a Bounded<Address, MailClient>,
}

impl Mail<'_> {
    /// Servers that a source may send mail to; `None`: any number.
    fn limit(self, config: &ScanConfig, source: &Address) -> Option<u32> {
        let client = self.clients.get(source).copied().unwrap_or_default();
        let times = client.times()?;
        let is_host = self.hosts.get(source).is_some();
        (!is_host).then(|| config.mail_hosts.saturating_mul(times))
    }
}

fn hosts_finding(
    config: &ScanConfig,
    mail: Mail<'_>,
    group: &Group,
    window: &Window,
) -> Option<Finding> {
    let Group::Hosts { source, port, .. } = group else {
        return None;
    };
    let mail_limit = mail.limit(config, source);
    let evidence = judge_hosts(config, *port, window, mail_limit)?;
    Some(of_hosts(group, window, evidence))
}

/// True where the initiator asks for a service. A late answer whose question is forgotten looks
/// like a UDP flow from a service to a port that programs are given by the system.
fn is_probe(update: &FlowUpdate) -> bool {
    match update.protocol {
        protocol::TCP => update.is_attempt,
        protocol::UDP => {
            let (from, to) = (update.source_port, update.destination_port);
            // Ports 0: later fragments.
            (from, to) != (0, 0) && (from >= 1024 || to < 1024) && !TRACEROUTE.contains(&to)
        }
        protocol::ICMP => update.source_port >> 8 == 8,
        protocol::ICMPV6 => update.source_port >> 8 == 128,
        _ => false,
    }
}

/// A probe that is no attempt to connect, in vain: a segment of no connection, answered by RST or by
/// nothing (ACK, window, Maimon, RST and SYN-ACK scans); the first message of an SCTP association that
/// ends there; a packet of another IP protocol. What a busy host sends late, and what answers somebody who
/// forged the victim's address, comes from a service's port or goes to a client's.
fn odd_probe(update: &FlowUpdate) -> Option<(Group, u64)> {
    let (source, host) = (update.source, update.destination);
    let (from, to) = (update.source_port, update.destination_port);
    let value = u64::from(update.protocol) << 16 | u64::from(to);
    let in_vain = update.has_progressed && update.progress.has_failed();
    match update.protocol {
        protocol::TCP if !update.is_attempt => {
            let limit = if update.is_stray {
                EPHEMERAL
            } else {
                WELL_KNOWN
            };
            let is_probe = in_vain && update.n_forward <= 2 && update.n_backward <= 2;
            (is_probe && from >= WELL_KNOWN && to < limit)
                .then_some((Group::Ports { source, host }, value))
        }
        protocol::SCTP => {
            let is_over = update.has_progressed && update.progress != Progress::Pending;
            let is_probe = is_over && update.n_forward <= 2 && update.n_backward <= 1;
            is_probe.then_some((Group::Ports { source, host }, value))
        }
        protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6 => None,
        other => (in_vain && !is_never_answered(&host, 0))
            .then_some((Group::Protocols { source, host }, u64::from(other))),
    }
}

fn judge_ports(config: &ScanConfig, window: &Window) -> Option<Evidence> {
    let fast = window.n_second();
    if fast >= config.fast_ports && window.n_succeeded().saturating_mul(2) < window.n_tried() {
        return Some(evidence("ports_tried_per_s", fast, config.fast_ports));
    }
    let limit = if window.protocol == protocol::UDP {
        config.failed_ports_udp
    } else {
        config.failed_ports
    };
    if window.n_failed_at_most() < limit {
        return None;
    }
    let failed = window.n_failed();
    let mostly = failed.saturating_mul(2) >= window.n_tried();
    (failed >= limit && mostly).then(|| evidence("ports_failed", failed, limit))
}

fn judge_hosts(
    config: &ScanConfig,
    port: u16,
    window: &Window,
    mail_limit: Option<u32>,
) -> Option<Evidence> {
    let (tried, failed) = (window.n_tried(), window.n_failed());
    if window.protocol == protocol::TCP && port == SMTP && tried >= config.mail_hosts {
        let limit = mail_limit.filter(|limit| tried >= *limit)?;
        return Some(evidence("mail_servers", tried, limit));
    }
    let (limit, least_of_ten) = match window.protocol {
        protocol::ICMP | protocol::ICMPV6 => (config.failed_echoes, 3),
        // Programs that talk to their like knock on many closed doors at a port of their own, but
        // some open; a sweep for a service of the system may well find it on every other host.
        protocol::UDP => (config.failed_hosts_udp, 8),
        _ if port < 1024 => (config.failed_hosts, 5),
        _ => (config.failed_hosts, 8),
    };
    let mostly = failed.saturating_mul(10) >= tried.saturating_mul(least_of_ten);
    (failed >= limit && mostly).then(|| evidence("hosts_failed", failed, limit))
}

/// A tenth of the limit is what a busy, healthy client may show.
fn evidence(name: &'static str, observed: u32, limit: u32) -> Evidence {
    Evidence {
        name,
        observed: f64::from(observed),
        expected: f64::from(limit) / 10.0,
        share: 1.0,
    }
}

/// Makes the finding of a flood: what looks like a scan but wants no answers.
fn flood(host: &Address, source: &Address, window: &Window, evidence: Evidence) -> Finding {
    Finding {
        entity: Entity::Victim(*host),
        destinations: vec![to_ip(host)],
        n_destinations: 1,
        n_ports: u64::from(window.n_tried()),
        ports: window.ports().to_vec(),
        ..finding(Family::SynFlood, source, window, evidence)
    }
}

fn finding(family: Family, source: &Address, window: &Window, evidence: Evidence) -> Finding {
    let score = poisson_score(evidence.observed, evidence.expected);
    Finding {
        detector: Detector::Scan,
        family,
        entity: Entity::Source(*source),
        window_ns: if evidence.name == "ports_tried_per_s" {
            SECOND_NS
        } else {
            window.window_ns()
        },
        first_ns: window.first_ns(),
        last_ns: window.last_ns(),
        score,
        p_value: p_value(score),
        // Mail that is accepted is no failure.
        grades: if evidence.name == "mail_servers" {
            Grades::SHAPE
        } else {
            Detector::Scan.grades()
        },
        notes: Vec::new(),
        features: vec![evidence],
        sources: vec![to_ip(source)],
        n_sources: 1,
        is_spoofed: false,
        destination_mac: None,
        destinations: Vec::new(),
        n_destinations: 0,
        ports: Vec::new(),
        n_ports: 0,
        protocol: protocol::TCP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_may_speak_to_any_number_of_servers_that_take_its_mail() {
        let client = |n_taken, n_refused| MailClient {
            n_taken,
            n_refused,
            last_ns: 1,
        };
        assert_eq!(client(40, 4).times(), None);
        assert_eq!(client(40, 40).times(), Some(1), "refused by every other");
        assert_eq!(client(0, 8).times(), Some(1));
        assert_eq!(client(0, 3).times(), Some(UNSEEN_TIMES), "too few to say");
    }
}
