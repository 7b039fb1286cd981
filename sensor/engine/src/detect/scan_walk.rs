//! Threshold random walk over first contacts (Jung, Paxson, Berger, Balakrishnan 2004): a source that
//! fails where others succeed is told from one with bad luck by the likelihood ratio of its outcomes,
//! however slowly they come.

use std::net::IpAddr;

use sensor_common::packet::protocol;
use sensor_common::service::is_service;
use sensor_common::{Address, hash_address, mix};

use super::Detector;
use super::family::Family;
use super::finding::{Entity, Evidence, Finding, p_value};
use crate::address::to_ip;
use crate::config::SECOND_NS;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::sketch::Distinct;
use crate::flow::{FlowUpdate, Progress};

/// Probabilities of a false alarm and of a miss, for one walk.
const ALPHA: f64 = 1e-6;
const BETA: f64 = 0.01;
/// Probability that a first contact of an honest source succeeds: at the ports of systems, and at those of
/// programs that look for their like. What the source's own contacts came to may lower it.
const USUAL: f64 = 0.8;
const USUAL_OF_PROGRAMS: f64 = 0.4;
const LEAST_USUAL: f64 = 0.3;
/// Times that of a scanner is lower.
const SCANNER: f64 = 4.0;
/// First port that is not given to services of the system; and ports of the web, at whose servers a client
/// fails one after the other when its uplink does.
const PROGRAMS: u16 = 1_024;
const WEB: [u16; 2] = [80, 443];
const SMTP: u16 = 25;
/// Contacts after which the older half of a source's habit is forgotten.
const HABIT: u32 = 256;
/// Time after which a contact that succeeded counts again: a host that keeps to what it knows succeeds.
const AGAIN_NS: u64 = 3_600 * SECOND_NS;
/// Silence after which a walk is forgotten.
const FORGET_NS: u64 = 12 * 3_600 * SECOND_NS;
/// Time for which a service that was up counts as one that is down, not as one that never was.
const UP_NS: u64 = 3_600 * SECOND_NS;
/// Failures that a walk has at least, whatever the priors: as many distinct hosts or ports.
const LEAST_FAILED: u32 = 8;
/// Addresses and ports named in a finding.
const NAMED: usize = 16;
/// Sources followed, 400 bytes each, and services that were seen to answer, 40 bytes each: 4 MB.
const MAX_SOURCES: usize = 8_192;
const MAX_SERVICES: usize = 16_384;

/// One bit for each of 512 hashes; what collides was there before.
#[derive(Clone, Debug, Default)]
struct Seen([u64; 8]);

impl Seen {
    /// Adds a value; true where it was not there.
    fn insert(&mut self, value: u64) -> bool {
        let hash = mix(value, 0, 0x7a1c);
        let Some(word) = self.0.get_mut((hash >> 61) as usize) else {
            return false;
        };
        let bit = 1 << (hash >> 55 & 63);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[derive(Clone, Debug, Default)]
struct Walk {
    /// Logarithm of the likelihood ratio, scanner against honest.
    ratio: f64,
    failed: Seen,
    succeeded: Seen,
    hour_ns: u64,
    hosts: Distinct,
    ports: Distinct,
    n_failed: u32,
    n_succeeded: u32,
    /// Of all contacts since long ago: those that succeeded, and all.
    habit: [u32; 2],
    named_hosts: Vec<Address>,
    named_ports: Vec<u16>,
    first_ns: u64,
    last_ns: u64,
}

impl Priority for Walk {
    fn priority(&self) -> u64 {
        u64::from(self.n_failed) << 20 | u64::from(self.n_succeeded.min(0xf_ffff))
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Up {
    last_ns: u64,
}

impl Priority for Up {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

/// Walks of all sources.
#[derive(Debug)]
pub(super) struct Walks {
    sources: Bounded<Address, Walk>,
    up: Bounded<(Address, u16), Up>,
    over: Vec<Address>,
    swept_ns: u64,
}

impl Walks {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            sources: Bounded::new("scan_walks", MAX_SOURCES, hash_seed),
            up: Bounded::new("scan_services_up", MAX_SERVICES, hash_seed),
            over: Vec::new(),
            swept_ns: 0,
        }
    }

    pub(super) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.sources.usage());
        out.push(self.up.usage());
    }

    /// Takes the outcome of an attempt to connect.
    pub(super) fn take(&mut self, at_ns: u64, update: &FlowUpdate) {
        // Programs that look for their like, at ports of their own, may fail at all of them, and a mail relay
        // at the servers of all whom it has mail for.
        if !is_service(update.destination_port) || update.destination_port == SMTP {
            return;
        }
        let service = (update.destination, update.destination_port);
        let has_succeeded = update.progress == Progress::Established;
        if has_succeeded {
            self.up.get_or_insert_with(service, Up::default).last_ns = at_ns;
        } else if self.is_up(at_ns, &service) {
            // It is down, or the way to it: what the source fails at besides is no choice of its own.
            self.restart(&update.source);
            return;
        }
        let walk = self
            .sources
            .get_or_insert_with(update.source, Walk::default);
        walk.take(at_ns, update, has_succeeded);
        if walk.is_over() {
            self.over.push(update.source);
        }
    }

    fn is_up(&self, at_ns: u64, service: &(Address, u16)) -> bool {
        let known = self.up.get(service);
        known.is_some_and(|up| at_ns.saturating_sub(up.last_ns) < UP_NS)
    }

    /// Hands out the walks that came to their end; they begin anew.
    pub(super) fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        for source in std::mem::take(&mut self.over) {
            if let Some(walk) = self.sources.get_mut(&source).filter(|walk| walk.is_over()) {
                findings.push(walk.finding(&source));
                walk.begin_anew();
            }
        }
        if at_ns.saturating_sub(self.swept_ns) >= AGAIN_NS {
            self.swept_ns = at_ns;
            self.sources
                .retain(|_, walk| at_ns.saturating_sub(walk.last_ns) < FORGET_NS);
            self.up
                .retain(|_, up| at_ns.saturating_sub(up.last_ns) < UP_NS);
        }
    }

    /// Begins the source's walk anew: what is in it was told.
    pub(super) fn restart(&mut self, source: &Address) {
        if let Some(walk) = self.sources.get_mut(source) {
            walk.begin_anew();
        }
    }
}

impl Walk {
    fn take(&mut self, at_ns: u64, update: &FlowUpdate, has_succeeded: bool) {
        if at_ns.saturating_sub(self.hour_ns) >= AGAIN_NS {
            self.hour_ns = at_ns;
            self.succeeded = Seen::default();
        }
        let (host, port) = (update.destination, update.destination_port);
        let value = hash_address(&host, u64::from(port));
        let is_new = if has_succeeded {
            self.succeeded.insert(value)
        } else {
            self.failed.insert(value)
        };
        if !is_new {
            return;
        }
        if self.first_ns == 0 {
            self.first_ns = update.first_ns;
        }
        self.last_ns = self.last_ns.max(update.last_ns);
        let honest = self.usual(port);
        let scanner = honest / SCANNER;
        if has_succeeded {
            self.n_succeeded = self.n_succeeded.saturating_add(1);
            self.ratio += (scanner / honest).ln();
        } else {
            self.n_failed = self.n_failed.saturating_add(1);
            self.ratio += ((1.0 - scanner) / (1.0 - honest)).ln();
            self.note(host, port);
        }
        self.learn(has_succeeded);
        if self.ratio <= (BETA / (1.0 - ALPHA)).ln() {
            self.begin_anew();
        }
    }

    /// Probability that the source's next first contact succeeds, if it is honest.
    fn usual(&self, port: u16) -> f64 {
        let prior = if port >= PROGRAMS || WEB.contains(&port) {
            USUAL_OF_PROGRAMS
        } else {
            USUAL
        };
        let [succeeded, all] = self.habit.map(f64::from);
        // The prior weighs as much as ten contacts.
        let of_source = (succeeded + 10.0 * prior) / (all + 10.0);
        of_source.clamp(LEAST_USUAL, prior)
    }

    /// A walk that may yet end as a scan teaches nothing but its successes.
    fn learn(&mut self, has_succeeded: bool) {
        let [succeeded, all] = &mut self.habit;
        if has_succeeded || self.ratio <= 0.0 {
            *succeeded += u32::from(has_succeeded);
            *all += 1;
        }
        if *all >= HABIT {
            *succeeded /= 2;
            *all /= 2;
        }
    }

    fn note(&mut self, host: Address, port: u16) {
        self.hosts.insert(hash_address(&host, 0));
        self.ports.insert(u64::from(port));
        if self.named_hosts.len() < NAMED && !self.named_hosts.contains(&host) {
            self.named_hosts.push(host);
        }
        if self.named_ports.len() < NAMED && !self.named_ports.contains(&port) {
            self.named_ports.push(port);
        }
    }

    fn is_over(&self) -> bool {
        let most = self.hosts.len().max(self.ports.len());
        self.ratio >= ((1.0 - BETA) / ALPHA).ln() && most >= LEAST_FAILED
    }

    fn begin_anew(&mut self) {
        *self = Self {
            habit: self.habit,
            succeeded: std::mem::take(&mut self.succeeded),
            hour_ns: self.hour_ns,
            last_ns: self.last_ns,
            ..Self::default()
        };
    }

    fn finding(&self, source: &Address) -> Finding {
        let family = if self.ports.len() > self.hosts.len() {
            Family::PortScan
        } else {
            Family::HostSweep
        };
        // A walk ends a little beyond its bound, which says no more.
        let bound = ((1.0 - BETA) / ALPHA).ln();
        let score = self.ratio.min(bound) / std::f64::consts::LN_10;
        let (n_failed, n_succeeded) = (f64::from(self.n_failed), f64::from(self.n_succeeded));
        let all = n_failed + n_succeeded;
        let number = |name, observed, expected, share| Evidence {
            name,
            observed,
            expected,
            share,
        };
        let destinations: Vec<IpAddr> = self.named_hosts.iter().map(to_ip).collect();
        Finding {
            window_ns: self.last_ns.saturating_sub(self.first_ns),
            last_ns: self.last_ns,
            score,
            p_value: p_value(score),
            grades: Detector::ScanWalk.grades(),
            features: vec![
                number("first_contacts_failed", n_failed, (1.0 - USUAL) * all, 0.8),
                number("first_contacts_succeeded", n_succeeded, USUAL * all, 0.2),
            ],
            sources: vec![to_ip(source)],
            n_sources: 1,
            destinations,
            n_destinations: u64::from(self.hosts.len()),
            ports: self.named_ports.clone(),
            n_ports: u64::from(self.ports.len()),
            protocol: protocol::TCP,
            ..Finding::new(
                Detector::ScanWalk,
                family,
                Entity::Source(*source),
                self.first_ns,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Delta;
    use crate::tests::{T0, ip};

    const SOURCE: u16 = 1;
    const SSH: u16 = 22;
    const HOUR_NS: u64 = 3_600 * SECOND_NS;

    fn attempt(host: u16, port: u16, has_succeeded: bool, at_ns: u64) -> FlowUpdate {
        FlowUpdate {
            source: ip(SOURCE),
            destination: ip(host),
            source_port: 40_000,
            destination_port: port,
            protocol: protocol::TCP,
            is_claimed: false,
            has_fragments: false,
            forward: Delta::default(),
            backward: Delta::default(),
            n_forward: 1,
            n_backward: 1,
            n_flags: [1, 0, 0, 0, 0],
            is_attempt: true,
            is_one_way: false,
            begins_to_close: false,
            is_stray: false,
            is_new: true,
            progress: if has_succeeded {
                Progress::Established
            } else {
                Progress::Refused
            },
            has_progressed: true,
            has_closed: false,
            first_ns: at_ns,
            last_ns: at_ns,
        }
    }

    /// Walks attempts, given as host, port and outcome, `gap_ns` apart; the findings.
    fn walked(gap_ns: u64, attempts: impl IntoIterator<Item = (u16, u16, bool)>) -> Vec<Finding> {
        let (mut walks, mut findings) = (Walks::new(1), Vec::new());
        for (n, (host, port, has_succeeded)) in attempts.into_iter().enumerate() {
            let at_ns = T0 + n as u64 * gap_ns;
            walks.take(at_ns, &attempt(host, port, has_succeeded, at_ns));
            walks.tick(at_ns, &mut findings);
        }
        findings
    }

    #[test]
    fn ten_failures_in_a_row_end_a_walk_however_slowly_they_come() {
        for gap_ns in [SECOND_NS / 100, HOUR_NS] {
            let sweep = |n: u16| (100..100 + n).map(|host| (host, SSH, false));
            assert!(walked(gap_ns, sweep(9)).is_empty());
            let found = walked(gap_ns, sweep(10));
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].family, Family::HostSweep);
            assert!(found[0].score < 6.0, "nobody is blocked for it");
            let ports = (1..=10).map(|port| (100, port, false));
            assert_eq!(walked(gap_ns, ports)[0].family, Family::PortScan);
        }
    }

    #[test]
    fn successes_take_back_what_failures_say() {
        // A relay with a dead server in four, a monitor, a configuration management.
        let mixed = (0..400).map(|n| (100 + n, SSH, n % 4 != 0));
        assert!(walked(SECOND_NS, mixed).is_empty());
        // A swarm, all of whose peers are gone.
        let swarm = (0..400).map(|n| (100 + n, 6_881 + n, false));
        assert!(walked(SECOND_NS, swarm).is_empty());
        // One host that is asked again and again counts once.
        let again = (0..400).map(|_| (100, SSH, false));
        assert!(walked(SECOND_NS, again).is_empty());
    }

    #[test]
    fn an_outage_is_no_scan() {
        // Forty services that worked, and then none does.
        let worked = (0..40).map(|n| (100 + n, SSH, true));
        let fails = (0..40).map(|n| (100 + n, SSH, false));
        assert!(walked(SECOND_NS, worked.chain(fails)).is_empty());
    }

    #[test]
    fn walks_are_bounded_and_idle_ones_forgotten() {
        let mut walks = Walks::new(1);
        for source in 0..u16::MAX {
            let update = FlowUpdate {
                source: ip(source),
                ..attempt(9, SSH, false, T0)
            };
            walks.take(T0, &update);
        }
        let mut tables = Vec::new();
        walks.tables(&mut tables);
        assert_eq!(tables[0].n_entries, tables[0].capacity);
        walks.tick(T0 + FORGET_NS, &mut Vec::new());
        tables.clear();
        walks.tables(&mut tables);
        assert_eq!(tables[0].n_entries, 0);
    }
}
