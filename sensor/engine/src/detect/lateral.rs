//! A host of the site that logs in at others of the site where it never did before.
//!
//! Who administers a site does that, too, but mostly where he did before: so only first times count,
//! only after the sensor knows the site's habits for a while, and sooner for a host that was itself
//! just entered by somebody new.
//!
//! Where nothing is known yet every login is a first one, and its number says nothing. What still does is
//! their order: who enters a host and goes on from there to the next, and the next, within minutes. Hosts
//! that many enter (bastions, file servers) are left out as steps of such a chain.

use std::sync::Arc;

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::Detect;
use super::Detector;
use super::family::Family;
use super::finding::{Entity, Evidence, Finding, p_value, poisson_score};
use super::grade::Grades;
use crate::address::to_ip;
use crate::config::{Config, LateralConfig, SECOND_NS};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::decay::Spread;
use crate::flow::{FlowUpdate, Progress};
use crate::site::Site;

/// First times of a host within this time count together.
const WINDOW_NS: u64 = 600 * SECOND_NS;
/// A login by somebody new makes a host suspect for this long.
const ENTERED_NS: u64 = 1_800 * SECOND_NS;
/// First times in a window that the administration of a site brings.
const BY_CHANCE: f64 = 0.5;
/// Logins one after the other that are followed, each from the host that the one before entered.
const MOST_HOPS: usize = 8;
/// Powers of ten: one in so many hosts that somebody enters is left within minutes for another, and one in
/// so many of those ways is a first one after each tenfold of the warm-up, up to a hundredfold. Score from
/// which that is told: three hops at once, since by way of a bastion there are two, and two after some hours.
const SCORE_PER_HOP: f64 = 1.0;
const MOST_KNOWN: f64 = 2.0;
const LEAST_SCORE: f64 = 3.0;
/// Hosts that enter another, from which it is one that everybody does.
const MANY_DOORS: f64 = 2.5;
/// Sessions that share files, through which hosts are taken over; and the time after one of them in which a port that
/// refused before opens by it, if it does.
const SHARES: [u16; 2] = [139, 445];
const OPENS_NS: u64 = 600 * SECOND_NS;
/// Time after a refusal for which the port is one that nobody serves; and ports that are given to nobody.
const REFUSED_NS: u64 = 3_600 * SECOND_NS;
const FIRST_UNPRIVILEGED: u16 = 1_024;
/// Refused ports, services and sessions remembered, 56 bytes each.
const MAX_DOORS: usize = 8_192;
/// Score of a door that was opened: one pair in a thousand.
const OPENED: f64 = 3.0;
/// Services that the hosts of a domain use with each other by themselves; a login at the others gives a shell.
const AUTOMATIC: [u16; 3] = [135, 139, 445];
const FORGET_NS: u64 = 8 * 86_400 * SECOND_NS;
/// Targets kept by name.
const NAMED: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Way {
    source: Address,
    host: Address,
    port: u16,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen(u64);

impl Priority for Seen {
    fn priority(&self) -> u64 {
        self.0
    }
}

#[derive(Clone, Debug, Default)]
struct Mover {
    /// Hosts entered for the first time, and when.
    entered: Vec<(Address, u16, u64)>,
    /// Time at which a new peer last logged in to this host.
    was_entered_ns: u64,
    /// Host from which somebody got a shell here for the first time, and when; and all such hosts.
    by: Option<(Address, u64)>,
    doors: Spread,
    last_ns: u64,
    reported_ns: u64,
    chained_ns: u64,
}

impl Priority for Mover {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

/// Ports that refused somebody, services that were up, and sessions that share files.
#[derive(Debug)]
struct Doors {
    refused: Bounded<Way, Seen>,
    open: Bounded<(Address, u16), Seen>,
    shares: Bounded<(Address, Address), Seen>,
}

impl Doors {
    fn new(hash_seed: u64) -> Self {
        Self {
            refused: Bounded::new("login_refused", MAX_DOORS, hash_seed),
            open: Bounded::new("login_open", MAX_DOORS, hash_seed),
            shares: Bounded::new("login_shares", MAX_DOORS, hash_seed),
        }
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.refused.usage());
        out.push(self.open.usage());
        out.push(self.shares.usage());
    }

    /// Takes what came of an attempt; true where a port that refused the source is open to it right after a session
    /// that shares files, and was never seen to be open before.
    fn take(&mut self, at_ns: u64, way: Way, progress: Progress) -> bool {
        let (pair, service) = ((way.source, way.host), (way.host, way.port));
        let is_share = SHARES.contains(&way.port);
        match progress {
            Progress::Refused if way.port >= FIRST_UNPRIVILEGED => {
                self.refused.get_or_insert_with(way, Seen::default).0 = at_ns;
                false
            }
            Progress::Established if is_share => {
                self.shares.get_or_insert_with(pair, Seen::default).0 = at_ns;
                false
            }
            Progress::Established if way.port >= FIRST_UNPRIVILEGED => {
                let was_open = self.open.get(&service).is_some();
                self.open.get_or_insert_with(service, Seen::default).0 = at_ns;
                let refused = self.refused.take(&way);
                let (Some(refused), Some(shared)) = (refused, self.shares.get(&pair)) else {
                    return false;
                };
                !was_open
                    && shared.0 > refused.0
                    && at_ns.saturating_sub(shared.0) < OPENS_NS
                    && at_ns.saturating_sub(refused.0) < REFUSED_NS
            }
            _ => false,
        }
    }

    fn forget(&mut self, at_ns: u64) {
        let is_fresh = |seen: &Seen| at_ns.saturating_sub(seen.0) < REFUSED_NS;
        self.refused.retain(|_, seen| is_fresh(seen));
        self.open.retain(|_, seen| is_fresh(seen));
        self.shares.retain(|_, seen| is_fresh(seen));
    }
}

/// State of [`LateralDetector`] that is kept over restarts: source, host, port and time of each login,
/// and the time at which watching began.
pub(crate) type Learned = (Vec<(Address, Address, u16, u64)>, u64);

#[derive(Debug)]
pub(crate) struct LateralDetector {
    config: LateralConfig,
    ways: Bounded<Way, Seen>,
    movers: Bounded<Address, Mover>,
    doors: Doors,
    /// Time at which watching began.
    began_ns: u64,
    findings: Vec<Finding>,
    swept_ns: u64,
    site: Arc<Site>,
}

impl Detect for LateralDetector {
    type Learned = Learned;

    fn new(config: &Config) -> Self {
        let site = Arc::new(Site::of(&config.local_networks, None));
        let (config, hash_seed) = (&config.lateral, config.hash_seed);
        Self {
            site,
            config: config.clone(),
            ways: Bounded::new("login_ways", config.max_ways, hash_seed),
            movers: Bounded::new("login_hosts", config.max_hosts, hash_seed),
            doors: Doors::new(hash_seed),
            began_ns: 0,
            findings: Vec::new(),
            swept_ns: 0,
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.lateral.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.ways.usage());
        out.push(self.movers.usage());
        self.doors.tables(out);
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        findings.append(&mut self.findings);
        if at_ns.saturating_sub(self.swept_ns) >= WINDOW_NS {
            self.swept_ns = at_ns;
            self.ways
                .retain(|_, seen| at_ns.saturating_sub(seen.0) < FORGET_NS);
            self.movers
                .retain(|_, mover| at_ns.saturating_sub(mover.last_ns) < ENTERED_NS);
            self.doors.forget(at_ns);
        }
    }

    /// Copies the logins that were seen.
    fn learned(&self) -> Learned {
        let flat = |(way, seen): (&Way, &Seen)| (way.source, way.host, way.port, seen.0);
        (self.ways.iter().map(flat).collect(), self.began_ns)
    }

    /// Takes in what another run learned.
    fn restore(&mut self, (ways, began_ns): Learned) {
        self.began_ns = began_ns;
        for (source, host, port, at_ns) in ways {
            let way = Way { source, host, port };
            self.ways.get_or_insert_with(way, Seen::default).0 = at_ns;
        }
    }
}

impl LateralDetector {
    /// Takes who is inside.
    pub(crate) fn set_site(&mut self, site: &Arc<Site>) {
        self.site = Arc::clone(site);
    }

    /// Takes a connection of two hosts of the site that came about.
    pub(crate) fn take(&mut self, at_ns: u64, update: &FlowUpdate) {
        if self.began_ns == 0 {
            self.began_ns = at_ns;
        }
        let is_settled =
            update.protocol == protocol::TCP && update.has_progressed && update.is_attempt;
        let port = update.destination_port;
        let (source, host) = (update.source, update.destination);
        if !is_settled || !self.site.has_both(&source, &host) {
            return;
        }
        let way = Way { source, host, port };
        if self.doors.take(at_ns, way, update.progress) {
            self.findings.push(opened(at_ns, &way));
        }
        let is_connection = update.progress == Progress::Established;
        if !is_connection || !self.config.ports.contains(&port) {
            return;
        }
        let is_known = self.ways.get(&way).is_some();
        self.ways.get_or_insert_with(way, Seen::default).0 = at_ns;
        if is_known {
            return;
        }
        if !AUTOMATIC.contains(&port) {
            let chain = self.hops(at_ns, source, host);
            self.note_door(at_ns, source, host);
            let known = self.known(at_ns);
            if let Some(mover) = self.movers.get_mut(&source) {
                self.findings
                    .extend(mover.judge_chain(at_ns, &chain, port, known));
            }
        }
        if at_ns.saturating_sub(self.began_ns) < self.config.known_ns {
            return;
        }
        let entered = self.movers.get_or_insert_with(host, Mover::default);
        (entered.was_entered_ns, entered.last_ns) = (at_ns, at_ns);
        let mover = self.movers.get_or_insert_with(source, Mover::default);
        mover.enter(at_ns, host, port);
        let finding = mover.judge(&self.config, at_ns, &source);
        self.findings.extend(finding);
    }
}

impl LateralDetector {
    /// Notes that somebody gave himself a shell on the host for the first time.
    fn note_door(&mut self, at_ns: u64, source: Address, host: Address) {
        let entered = self.movers.get_or_insert_with(host, Mover::default);
        entered
            .doors
            .insert(sensor_common::hash_address(&source, 0));
        (entered.by, entered.last_ns) = (Some((source, at_ns)), at_ns);
    }

    /// Hosts from the first one that somebody left to the one that is entered now, where each was entered
    /// from the one before, shortly before it was left.
    fn hops(&self, at_ns: u64, source: Address, host: Address) -> Vec<Address> {
        let mut hosts = vec![host, source];
        let mut left_ns = at_ns;
        while hosts.len() <= MOST_HOPS {
            let mover = hosts.last().and_then(|last| self.movers.get(last));
            let Some((mover, (by, entered_ns))) = mover.and_then(|m| Some((m, m.by?))) else {
                break;
            };
            let is_step = entered_ns <= left_ns
                && left_ns.saturating_sub(entered_ns) < WINDOW_NS
                && mover.doors.len() < MANY_DOORS
                && !hosts.contains(&by);
            if !is_step {
                break;
            }
            hosts.push(by);
            left_ns = entered_ns;
        }
        hosts.reverse();
        hosts
    }

    /// Weight of a way's being a first one, by the time for which ways were watched.
    fn known(&self, at_ns: u64) -> f64 {
        let watched_ns = at_ns.saturating_sub(self.began_ns) as f64;
        (1.0 + watched_ns / self.config.known_ns.max(1) as f64)
            .log10()
            .min(MOST_KNOWN)
    }
}

/// Finding of a port that opened right after a session that shares files.
fn opened(at_ns: u64, way: &Way) -> Finding {
    Finding {
        window_ns: OPENS_NS,
        score: OPENED,
        p_value: p_value(OPENED),
        grades: Grades::SHAPE,
        features: vec![Evidence {
            name: "refused_port_open_after_smb",
            observed: 1.0,
            expected: 0.0,
            share: 1.0,
        }],
        sources: vec![to_ip(&way.source)],
        n_sources: 1,
        destinations: vec![to_ip(&way.host)],
        n_destinations: 1,
        ports: vec![way.port],
        n_ports: 1,
        protocol: protocol::TCP,
        ..Finding::new(
            Detector::Lateral,
            Family::LateralMovement,
            Entity::Source(way.source),
            at_ns,
        )
    }
}

impl Mover {
    /// Finding of a chain of hosts that ends with a login from this one.
    fn judge_chain(
        &mut self,
        at_ns: u64,
        hosts: &[Address],
        port: u16,
        known: f64,
    ) -> Option<Finding> {
        let (first, rest) = hosts.split_first()?;
        let n_hops = rest.len() as f64;
        let score = SCORE_PER_HOP * n_hops + known;
        let is_due = at_ns.saturating_sub(self.chained_ns) >= SECOND_NS;
        if n_hops < 2.0 || score < LEAST_SCORE || !is_due {
            return None;
        }
        self.chained_ns = at_ns;
        Some(Finding {
            window_ns: WINDOW_NS,
            score,
            p_value: p_value(score),
            grades: Grades::SHAPE,
            features: vec![Evidence {
                name: "hosts_entered_in_a_row",
                observed: n_hops,
                expected: 1.0,
                share: 1.0,
            }],
            sources: vec![to_ip(first)],
            n_sources: 1,
            destinations: rest.iter().map(to_ip).collect(),
            n_destinations: rest.len() as u64,
            ports: vec![port],
            n_ports: 1,
            protocol: protocol::TCP,
            ..Finding::new(
                Detector::Lateral,
                Family::LateralMovement,
                Entity::Source(*first),
                at_ns,
            )
        })
    }

    fn enter(&mut self, at_ns: u64, host: Address, port: u16) {
        self.last_ns = at_ns;
        self.entered
            .retain(|(_, _, then)| at_ns.saturating_sub(*then) < WINDOW_NS);
        let is_listed = self.entered.iter().any(|(known, ..)| *known == host);
        if !is_listed && self.entered.len() < NAMED {
            self.entered.push((host, port, at_ns));
        }
    }

    fn judge(&mut self, config: &LateralConfig, at_ns: u64, source: &Address) -> Option<Finding> {
        let was_entered = self.was_entered_ns > 0
            && at_ns.saturating_sub(self.was_entered_ns) < ENTERED_NS
            && self
                .entered
                .iter()
                .all(|(.., then)| *then >= self.was_entered_ns);
        let limit = if was_entered {
            config.hosts_after_entry
        } else {
            config.hosts
        };
        let n = self.entered.len() as u32;
        let is_due = at_ns.saturating_sub(self.reported_ns) >= SECOND_NS;
        if n < limit || !is_due {
            return None;
        }
        self.reported_ns = at_ns;
        let n = f64::from(n);
        let score = poisson_score(n, BY_CHANCE) + if was_entered { 1.0 } else { 0.0 };
        let evidence = |name, observed, expected, share| Evidence {
            name,
            observed,
            expected,
            share,
        };
        let mut ports: Vec<u16> = self.entered.iter().map(|(_, port, _)| *port).collect();
        ports.sort_unstable();
        ports.dedup();
        let first_ns = self.entered.first().map_or(at_ns, |(.., then)| *then);
        Some(Finding {
            detector: Detector::Lateral,
            family: Family::LateralMovement,
            entity: Entity::Source(*source),
            window_ns: WINDOW_NS,
            first_ns,
            last_ns: at_ns,
            score,
            p_value: p_value(score),
            grades: Detector::Lateral.grades(),
            features: vec![
                evidence("hosts_entered_first_time", n, BY_CHANCE, 1.0),
                evidence(
                    "was_entered_before",
                    f64::from(u8::from(was_entered)),
                    0.0,
                    0.0,
                ),
            ],
            notes: Vec::new(),
            sources: vec![to_ip(source)],
            n_sources: 1,
            is_spoofed: false,
            destination_mac: None,
            destinations: self.entered.iter().map(|(host, ..)| to_ip(host)).collect(),
            n_destinations: self.entered.len() as u64,
            n_ports: ports.len() as u64,
            ports,
            protocol: protocol::TCP,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{T0, ip};

    /// Positions of the attempts at a host, a second apart, that a door was opened for.
    fn opened(attempts: &[(u16, Progress)]) -> Vec<usize> {
        let mut doors = Doors::new(1);
        let take = |(n, (port, progress)): (usize, &(u16, Progress))| {
            let way = Way {
                source: ip(1),
                host: ip(2),
                port: *port,
            };
            doors
                .take(T0 + n as u64 * SECOND_NS, way, *progress)
                .then_some(n)
        };
        attempts.iter().enumerate().filter_map(take).collect()
    }

    #[test]
    fn a_refused_port_that_opens_after_a_session_of_shares_is_told_and_a_restart_is_not() {
        use Progress::{Established, Refused};
        let exploit = [(4_444, Refused), (445, Established), (4_444, Established)];
        assert_eq!(opened(&exploit), [2]);
        let without = [(4_444, Refused), (22, Established), (4_444, Established)];
        assert!(opened(&without).is_empty());
        let before = [(445, Established), (4_444, Refused), (4_444, Established)];
        assert!(opened(&before).is_empty());
        let restart = [
            (8_080, Established),
            (8_080, Refused),
            (445, Established),
            (8_080, Established),
        ];
        assert!(opened(&restart).is_empty());
    }
}
