//! Decisions: the action against each source of a finding.

use std::net::IpAddr;

use ipnet::IpNet;
use sensor_common::packet::protocol;
use sensor_common::{Address, mix};

use super::explain::reason;
use super::incident::Incident;
use super::local::{HostNetworks, LocalBy, Locals};
use super::room::UNPROVEN_SHARE;
use super::withheld::{NotDecided, Withheld};
use crate::address::{from_ip, to_ip};
use crate::config::{DecideConfig, SECOND_NS};
use crate::detect::{Detector, Entity, Family, Finding, Grades, MaxResponse, Severity};
use crate::features::bounded::{Bounded, Priority};
use crate::features::ledger::ServiceKey;
use crate::features::{Ledger, TableUse};

/// Action on a source's packets, from the weakest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Flows that go both ways pass, and the rest up to a rate.
    RateLimit,
    /// Flows that go both ways pass, and nothing new.
    Quarantine,
    /// Nothing passes.
    Drop,
}

impl Action {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Quarantine => "quarantine",
            Self::RateLimit => "rate_limit",
        }
    }
}

/// Part of a source's traffic that an action applies to; 0 is any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    pub protocol: u8,
    pub local_port: u16,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub id: String,
    pub incident_id: String,
    pub action: Action,
    /// An address, or the network of 64 bits whose addresses take turns.
    pub target: IpNet,
    pub scope: Scope,
    pub ttl_s: u32,
    pub reason: String,
    /// The address is proven real: nobody can have made it up.
    pub is_proven: bool,
}

#[derive(Debug)]
pub(super) struct Decider {
    config: DecideConfig,
    /// Sources that were acted on, those proven real apart from the others.
    proven: Bounded<Address, Made>,
    unproven: Bounded<Address, Made>,
    /// Victims of floods from addresses that somebody made up, by protocol, and when that was last seen.
    spoofed: Bounded<(Address, u8), Seen>,
    locals: Locals,
    sequence: u64,
}

/// Action on a source, and its time.
#[derive(Clone, Copy, Debug)]
struct Made {
    at_ns: u64,
    action: Action,
}

impl Priority for Made {
    fn priority(&self) -> u64 {
        self.at_ns
    }
}

/// Time of something.
#[derive(Clone, Copy, Debug)]
struct Seen(u64);

impl Priority for Seen {
    fn priority(&self) -> u64 {
        self.0
    }
}

/// Victims of floods from made-up addresses that are remembered, and for how long: such a flood is told
/// once a second while it goes on.
const MAX_SPOOFED: usize = 1_024;
const SPOOFED_NS: u64 = 2 * SECOND_NS;

/// Decisions on the sources of a finding.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub decisions: Vec<Decision>,
    /// Sources that were not acted on, at most as many as the finding names.
    pub withheld: Vec<NotDecided>,
}

impl Decider {
    pub(super) fn new(config: &DecideConfig, local: &[IpNet], hash_seed: u64) -> Self {
        Self {
            config: config.clone(),
            proven: Bounded::new("acted_on_sources", config.max_decisions, hash_seed),
            unproven: Bounded::new(
                "acted_on_unproven_sources",
                config.max_decisions / UNPROVEN_SHARE,
                hash_seed,
            ),
            spoofed: Bounded::new("spoofed_victims", MAX_SPOOFED, hash_seed),
            locals: Locals::new(local, hash_seed),
            sequence: 0,
        }
    }

    /// Takes new thresholds and local networks; tables keep their capacity.
    pub(super) fn configure(&mut self, config: &DecideConfig, local: &[IpNet]) {
        self.config = config.clone();
        self.locals.configure(local);
    }

    /// Takes the addresses and networks of the host; `None` where they can't be read.
    pub(super) fn set_host(&mut self, host: Option<&HostNetworks>) {
        self.locals.set_host(host);
    }

    /// Remembers an address that packets left from.
    pub(super) fn note_seen(&mut self, at_ns: u64, address: Address) {
        self.locals.note_seen(at_ns, address);
    }

    pub(super) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.proven.usage());
        out.push(self.unproven.usage());
        out.push(self.spoofed.usage());
        out.push(self.locals.usage());
    }

    /// True where the address is known to be local.
    pub(super) fn is_local(&self, at_ns: u64, address: &Address) -> bool {
        let by = self.locals.of(at_ns, address);
        by.is_some_and(|by| by != LocalBy::Unknown)
    }

    /// Remembers the victim of a flood from addresses that somebody made up.
    pub(super) fn note_spoofed(&mut self, at_ns: u64, finding: &Finding) {
        if finding.is_spoofed
            && let Entity::Victim(victim) = finding.entity
        {
            let key = (victim, finding.protocol);
            self.spoofed.get_or_insert_with(key, || Seen(at_ns)).0 = at_ns;
        }
    }

    /// True for what one source does to a victim that is flooded from made-up addresses: his may be one
    /// of them. What stands out of the whole by its share is seen by the rates of hosts.
    fn is_of_spoofed_flood(&self, at_ns: u64, finding: &Finding) -> bool {
        let Entity::Victim(victim) = finding.entity else {
            return false;
        };
        let seen = self.spoofed.get(&(victim, finding.protocol));
        finding.detector != Detector::HostRates
            && seen.is_some_and(|seen| at_ns.saturating_sub(seen.0) < SPOOFED_NS)
    }

    /// Decides on the sources that a finding names, each with a decision or the reason for none. The
    /// action is no stronger than the proof.
    pub(super) fn decide(
        &mut self,
        at_ns: u64,
        incident: &Incident,
        finding: &Finding,
        ledger: &Ledger,
    ) -> Decided {
        let mut decided = Decided::default();
        if let Some(reason) = self.withheld(incident, finding, ledger) {
            let source = None;
            decided.withheld.push(NotDecided { source, reason });
            return decided;
        }
        if finding.is_collective() {
            match self.decide_network(at_ns, (incident, finding), ledger) {
                Ok(made) => decided.decisions.push(made),
                Err(reason) => decided.withheld.push(NotDecided {
                    source: finding.network().map(|whole| IpAddr::V6(whole.network())),
                    reason,
                }),
            }
            return decided;
        }
        for source in &finding.sources {
            let address = from_ip(*source);
            let is_proven = ledger.is_real(&address);
            let may_stop = is_proven && !ledger.is_peer(finding.first_ns, &address);
            let action = if may_stop {
                strongest(incident, finding)
            } else {
                Action::RateLimit
            };
            let may_act = if !is_proven && self.is_of_spoofed_flood(at_ns, finding) {
                Err(Withheld::Spoofed)
            } else {
                self.may_act(at_ns, source, is_proven, action)
            };
            match may_act {
                Ok(()) => {
                    let target = (IpNet::from(*source), *source);
                    let made = self.make(incident, finding, action, (target, is_proven));
                    decided.decisions.push(made);
                }
                Err(reason) => decided.withheld.push(NotDecided {
                    source: Some(*source),
                    reason,
                }),
            }
        }
        decided
    }

    /// Reason for no decision on any source: they are spoofed, the family is reported only, the service is
    /// down for everybody, or it is only worth a look.
    fn withheld(
        &self,
        incident: &Incident,
        finding: &Finding,
        ledger: &Ledger,
    ) -> Option<Withheld> {
        if finding.family == Family::ServiceDown || is_down(finding, ledger) {
            Some(Withheld::ServiceDown)
        } else if finding.family.max_response() == MaxResponse::None {
            Some(Withheld::ReportOnly)
        } else if finding.is_spoofed {
            Some(Withheld::Spoofed)
        } else if finding.sources.is_empty() {
            Some(Withheld::NoSource)
        } else if finding.score < self.config.min_score || incident.severity == Severity::Low {
            Some(Withheld::NotProven)
        } else {
            None
        }
    }

    /// Decides on a network whose addresses take turns: only with proof, where those that were named are
    /// real, most that are known of it take part, and none of it is a peer or may be a host of ours.
    fn decide_network(
        &mut self,
        at_ns: u64,
        (incident, finding): (&Incident, &Finding),
        ledger: &Ledger,
    ) -> Result<Decision, Withheld> {
        let (Some(network), Some(named)) = (finding.network(), finding.sources.last()) else {
            return Err(Withheld::NotProven);
        };
        let (target, whole) = (IpNet::V6(network), IpAddr::V6(network.network()));
        let are_real = finding
            .sources
            .iter()
            .all(|source| ledger.is_real(&from_ip(*source)));
        let (n_known, has_peer) = ledger.within(finding.first_ns, &network);
        let has_others = has_peer || n_known > finding.n_sources.saturating_mul(2);
        let action = strongest(incident, finding);
        if action == Action::RateLimit || !are_real || has_others {
            return Err(Withheld::NotProven);
        }
        if let Some(by) = self.locals.within(at_ns, &target) {
            return Err(Withheld::Local(by));
        }
        self.may_act(at_ns, &whole, true, action)?;
        Ok(self.make(incident, finding, action, ((target, *named), true)))
    }

    /// Lets a source be acted on that is not yet, or not as strongly.
    fn may_act(
        &mut self,
        at_ns: u64,
        source: &IpAddr,
        is_proven: bool,
        action: Action,
    ) -> Result<(), Withheld> {
        let address = from_ip(*source);
        let is_broadcast = matches!(source, IpAddr::V4(v4) if v4.is_broadcast());
        let is_never = source.is_unspecified() || source.is_loopback() || source.is_multicast();
        if is_broadcast || is_never {
            return Err(Withheld::SpecialAddress);
        }
        if let Some(by) = self.locals.of(at_ns, &address) {
            return Err(Withheld::Local(by));
        }
        let again_ns = u64::from(self.config.ttl_s).saturating_mul(SECOND_NS / 2);
        let is_made =
            |made: &Made| at_ns.saturating_sub(made.at_ns) < again_ns && made.action >= action;
        let before = [self.proven.get(&address), self.unproven.get(&address)];
        if before.into_iter().flatten().any(is_made) {
            return Err(Withheld::InForce);
        }
        let table = if is_proven {
            &mut self.proven
        } else {
            &mut self.unproven
        };
        *table.get_or_insert_with(address, || Made { at_ns, action }) = Made { at_ns, action };
        Ok(())
    }

    fn make(
        &mut self,
        incident: &Incident,
        finding: &Finding,
        action: Action,
        ((target, source), is_proven): ((IpNet, IpAddr), bool),
    ) -> Decision {
        self.sequence = self.sequence.wrapping_add(1);
        let hash = mix(finding.first_ns, self.sequence, 1);
        Decision {
            id: format!("d{:06}-{hash:016x}", self.sequence),
            incident_id: incident.id.clone(),
            action,
            target,
            scope: service_of(finding),
            ttl_s: self.config.ttl_s,
            reason: format!("{}: {}", finding.family.label(), reason(finding, source)),
            is_proven,
        }
    }

    /// Forgets what was decided on sources within a network: what a person ended is no longer in force.
    pub(super) fn release(&mut self, network: &IpNet) {
        for table in [&mut self.proven, &mut self.unproven] {
            table.retain(|address, _| !network.contains(&to_ip(address)));
        }
    }

    pub(super) fn forget(&mut self, at_ns: u64) {
        let ttl_ns = u64::from(self.config.ttl_s).saturating_mul(SECOND_NS);
        for table in [&mut self.proven, &mut self.unproven] {
            table.retain(|_, made| at_ns.saturating_sub(made.at_ns) < ttl_ns);
        }
        self.spoofed
            .retain(|_, seen| at_ns.saturating_sub(seen.0) < SPOOFED_NS);
        self.locals.forget(at_ns);
    }
}

/// The strongest action that the evidence carries against a source that is proven real. A shape is what
/// busy clients show, too, and what takes no connection may have been sent in its name. Two kinds of
/// proof that don't hang on each other, an outcome and a content, carry a drop.
fn strongest(incident: &Incident, finding: &Finding) -> Action {
    let takes_connections =
        finding.family.max_response() == MaxResponse::Drop && finding.protocol == protocol::TCP;
    if !takes_connections || !finding.grades.is_proof() {
        return Action::RateLimit;
    }
    if incident.grades.has(Grades::OUTCOME.with(Grades::CONTENT)) {
        Action::Drop
    } else {
        Action::Quarantine
    }
}

/// True where the service that a finding is about answers nobody: whoever tries it again and again does
/// what clients do. Datagrams far beyond what any client sends are a flood all the same; connections
/// are not, as the clients of a balancer or a pool try again at any rate.
fn is_down(finding: &Finding, ledger: &Ledger) -> bool {
    if finding.protocol != protocol::TCP && finding.is_excess() {
        return false;
    }
    let ([host], [port]) = (finding.destinations.as_slice(), finding.ports.as_slice()) else {
        return false;
    };
    ledger.is_down(&ServiceKey {
        host: from_ip(*host),
        port: *port,
        protocol: finding.protocol,
    })
}

/// The protocol of the abuse, and its port where it is of one.
fn service_of(finding: &Finding) -> Scope {
    let has_ports = matches!(finding.protocol, protocol::TCP | protocol::UDP);
    Scope {
        protocol: finding.protocol,
        local_port: match finding.ports.as_slice() {
            [port] if has_ports && finding.n_ports <= 1 => *port,
            _ => 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::incident::Case;
    use super::*;
    use crate::decide::Confidence;
    use crate::detect::Evidence;
    use crate::tests::{T0, ip};

    #[test]
    fn a_source_that_was_released_is_acted_on_at_once() {
        let mut decider = Decider::new(&DecideConfig::default(), &[], 0);
        let (one, other) = (
            [0, 0, u32::MAX.to_be() << 16, 1],
            [0, 0, u32::MAX.to_be() << 16, 2],
        );
        let acts = |decider: &mut Decider, address| {
            let source = to_ip(&address);
            let acted = decider.may_act(1_000 * SECOND_NS, &source, true, Action::Drop);
            acted.is_ok()
        };
        assert!(acts(&mut decider, one) && acts(&mut decider, other));
        assert!(!acts(&mut decider, one));
        decider.release(&IpNet::from(to_ip(&one)));
        assert!(acts(&mut decider, one) && !acts(&mut decider, other));
        for network in ["0.0.0.0/0", "::/0"] {
            decider.release(&network.parse().unwrap());
        }
        assert!(acts(&mut decider, other));
    }

    /// A finding of a shape and of `grades`, with the incident that it makes.
    fn found(family: Family, grades: Grades) -> (Finding, Case) {
        let finding = Finding {
            score: 40.0,
            grades,
            sources: vec![to_ip(&ip(1))],
            n_sources: 1,
            destinations: vec![to_ip(&ip(9))],
            n_destinations: 1,
            ports: vec![80],
            n_ports: 1,
            protocol: protocol::TCP,
            features: vec![Evidence {
                name: "attempts",
                observed: 1e6,
                expected: 1.0,
                share: 1.0,
            }],
            ..Finding::new(Detector::Attempts, family, Entity::Victim(ip(9)), T0)
        };
        let mut case = Case::new(String::new(), &finding, None);
        case.take(T0, &finding, Confidence::FULL, 10);
        (finding, case)
    }

    /// The action that a finding of a shape and of `grades` leads to.
    fn decided(ledger: &Ledger, family: Family, grades: Grades) -> Option<(Action, Scope)> {
        let (finding, case) = found(family, grades);
        let mut decider = Decider::new(&DecideConfig::default(), &[], 0);
        let decided = decider.decide(T0, case.incident(), &finding, ledger);
        let made = decided.decisions.first();
        assert_ne!(made.is_some(), !decided.withheld.is_empty());
        made.map(|made| (made.action, made.scope))
    }

    #[test]
    fn every_decision_that_is_not_made_has_its_reason() {
        let proof = Grades::SHAPE.with(Grades::OUTCOME);
        let source = to_ip(&ip(1));
        let why = |family, grades, change: &dyn Fn(&mut Finding, &mut Decider)| {
            let (mut finding, case) = found(family, grades);
            let mut decider = Decider::new(&DecideConfig::default(), &[], 0);
            change(&mut finding, &mut decider);
            let decided = decider.decide(T0, case.incident(), &finding, &Ledger::new(0));
            let withheld: Vec<_> = decided
                .withheld
                .iter()
                .map(|one| (one.source, one.reason))
                .collect();
            match withheld.as_slice() {
                [one] if decided.decisions.is_empty() => Some(*one),
                [] if decided.decisions.len() == 1 => None,
                other => panic!("{other:?}"),
            }
        };
        let flood = Family::SynFlood;
        assert_eq!(why(flood, proof, &|_, _| ()), None);
        let all = |reason| Some((None, reason));
        let one = |reason| Some((Some(source), reason));
        let spoofed = why(flood, proof, &|finding, _| finding.is_spoofed = true);
        assert_eq!(spoofed, all(Withheld::Spoofed));
        let nobody = why(flood, proof, &|finding, _| finding.sources.clear());
        assert_eq!(nobody, all(Withheld::NoSource));
        let slight = why(flood, proof, &|finding, _| finding.score = 5.9);
        assert_eq!(slight, all(Withheld::NotProven));
        let low = why(Family::BruteForce, Grades::SHAPE, &|_, _| ());
        assert_eq!(low, all(Withheld::NotProven));
        let told = why(Family::Beacon, proof, &|_, _| ());
        assert_eq!(told, all(Withheld::ReportOnly));
        let down = why(Family::ServiceDown, proof, &|_, _| ());
        assert_eq!(down, all(Withheld::ServiceDown));
        let network: IpNet = IpNet::from(source);
        let local = why(flood, proof, &|_, decider| {
            decider.configure(&DecideConfig::default(), &[network]);
        });
        let by = LocalBy::Network(network);
        assert_eq!(local, one(Withheld::Local(by)));
        let unknown = why(flood, proof, &|_, decider| decider.set_host(None));
        assert_eq!(unknown, one(Withheld::Local(LocalBy::Unknown)));
        let again = why(flood, proof, &|_, decider| {
            assert_eq!(decider.may_act(T0, &source, true, Action::Drop), Ok(()));
        });
        assert_eq!(again, one(Withheld::InForce));
        let nobodys = "255.255.255.255".parse().unwrap();
        let special = why(flood, proof, &|finding, _| finding.sources = vec![nobodys]);
        assert_eq!(special, Some((Some(nobodys), Withheld::SpecialAddress)));
    }

    #[test]
    fn an_action_is_no_stronger_than_its_proof() {
        let proof = Grades::SHAPE.with(Grades::OUTCOME);
        let service = Scope {
            protocol: protocol::TCP,
            local_port: 80,
        };
        let limited = Some((Action::RateLimit, service));
        let flood = Family::SynFlood;
        let (stranger, real) = (Ledger::new(0), Ledger::knowing(&[ip(1)], T0, false));
        let peer = Ledger::knowing(&[ip(1)], T0 - 3_600 * SECOND_NS, true);
        assert_eq!(decided(&stranger, flood, Grades::SHAPE), limited);
        assert_eq!(decided(&real, flood, Grades::SHAPE), limited);
        assert_eq!(decided(&stranger, flood, proof), limited);
        // A flood's packets may be sent in the name of somebody real.
        let twice = proof.with(Grades::CONTENT);
        assert_eq!(decided(&real, flood, twice), limited);
        assert_eq!(decided(&peer, flood, proof), limited);
        let guessing = Family::BruteForce;
        let stopped = Some((Action::Quarantine, service));
        assert_eq!(decided(&real, guessing, proof), stopped);
        let dropped = Some((Action::Drop, service));
        assert_eq!(decided(&real, guessing, twice), dropped);
        assert_eq!(decided(&stranger, guessing, twice), limited);
        assert_eq!(decided(&peer, guessing, twice), limited);
        assert_eq!(decided(&real, Family::HttpFlood, twice), limited);
        // What is only worth a look, and what is the service's own failure.
        assert_eq!(decided(&real, guessing, Grades::SHAPE), None);
        assert_eq!(decided(&real, Family::ServiceDown, Grades::OUTCOME), None);
    }

    #[test]
    fn a_stronger_proof_leads_to_a_stronger_action_at_once() {
        let mut decider = Decider::new(&DecideConfig::default(), &[], 0);
        let source = to_ip(&ip(1));
        assert_eq!(
            decider.may_act(T0, &source, false, Action::RateLimit),
            Ok(())
        );
        assert_eq!(
            decider.may_act(T0 + 1, &source, false, Action::RateLimit),
            Err(Withheld::InForce)
        );
        assert_eq!(
            decider.may_act(T0 + 2, &source, false, Action::Drop),
            Ok(())
        );
        assert_eq!(
            decider.may_act(T0 + 3, &source, false, Action::RateLimit),
            Err(Withheld::InForce)
        );
    }
}
