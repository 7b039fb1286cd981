//! Decisions: the action against each source of a finding.

use std::net::IpAddr;

use ipnet::IpNet;
use sensor_common::packet::protocol;
use sensor_common::{Address, mix};

use super::DecideEvent;
use super::explain::reason;
use super::incident::Incident;
use crate::address::{Seeded, Table, from_ip, to_ip};
use crate::config::{DecideConfig, SECOND_NS};
use crate::detect::{Finding, MaxResponse, Severity};
use crate::features::{Ledger, TableUse};

/// Action on a source's packets, from the weakest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    RateLimit,
    Drop,
}

impl Action {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Drop => "drop",
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
    pub target: IpAddr,
    pub scope: Scope,
    pub ttl_s: u32,
    pub reason: String,
}

#[derive(Debug)]
pub(super) struct Decider {
    config: DecideConfig,
    /// Source, when it was last acted on, and how.
    made: Table<Address, (u64, Action)>,
    local: Table<Address, u64>,
    /// Sources and local addresses that found no room or gave way.
    n_shed: [u64; 2],
    /// Last time a local address found no room.
    local_shed_ns: Option<u64>,
    sequence: u64,
}

/// Local addresses remembered, and for how long after their last packet out.
const MAX_LOCAL: usize = 16_384;
const LOCAL_NS: u64 = 3_600 * SECOND_NS;

impl Decider {
    pub(super) fn new(config: &DecideConfig, hash_seed: u64) -> Self {
        Self {
            config: config.clone(),
            made: Table::with_hasher(Seeded(hash_seed)),
            local: Table::with_hasher(Seeded(hash_seed)),
            n_shed: [0; 2],
            local_shed_ns: None,
            sequence: 0,
        }
    }

    /// Takes new thresholds; tables keep their capacity.
    pub(super) fn configure(&mut self, config: &DecideConfig) {
        self.config = config.clone();
    }

    pub(super) fn note_local(&mut self, at_ns: u64, address: Address) {
        if self.local.len() < MAX_LOCAL || self.local.contains_key(&address) {
            self.local.insert(address, at_ns);
        } else {
            self.n_shed[1] = self.n_shed[1].saturating_add(1);
            self.local_shed_ns = Some(at_ns);
        }
    }

    /// True while each address that sent packets out within the last hour is remembered. Without that,
    /// an address that is not in the table may be local all the same, and nothing is decided on any.
    fn knows_all_local(&self, at_ns: u64) -> bool {
        self.local_shed_ns
            .is_none_or(|shed_ns| at_ns.saturating_sub(shed_ns) >= LOCAL_NS)
    }

    pub(super) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(TableUse {
            table: "acted_on_sources",
            n_entries: self.made.len() as u64,
            capacity: self.config.max_decisions as u64,
            n_shed: self.n_shed[0],
        });
        out.push(TableUse {
            table: "local_addresses",
            n_entries: self.local.len() as u64,
            capacity: MAX_LOCAL as u64,
            n_shed: self.n_shed[1],
        });
    }

    /// Decides on the sources that a finding names; on none where they are spoofed, and for nothing
    /// that is only worth a look. The action is no stronger than the proof.
    pub(super) fn decide(
        &mut self,
        at_ns: u64,
        incident: &Incident,
        finding: &Finding,
        ledger: &Ledger,
        out: &mut Vec<DecideEvent>,
    ) {
        let is_slight = finding.score < self.config.min_score || incident.severity == Severity::Low;
        let most = finding.family.max_response();
        if finding.is_spoofed || is_slight || most == MaxResponse::None {
            return;
        }
        for source in &finding.sources {
            let address = from_ip(*source);
            // A shape is what busy clients show, too; who was never proven real may be somebody
            // else's address; and a good peer of before is not cut off.
            let may_drop = finding.grades.is_proof()
                && ledger.is_real(&address)
                && !ledger.is_peer(finding.first_ns, &address);
            let (action, scope) = match most {
                MaxResponse::Drop if may_drop => (Action::Drop, Scope::default()),
                MaxResponse::DropToService if may_drop => (Action::Drop, service_of(finding)),
                _ => (Action::RateLimit, service_of(finding)),
            };
            if self.may_act(at_ns, &address, source, action) {
                out.push(DecideEvent::Decision(self.make(
                    incident,
                    finding,
                    (action, scope),
                    *source,
                )));
            }
        }
    }

    /// True where the source is not acted on already, or not as strongly.
    fn may_act(&mut self, at_ns: u64, address: &Address, source: &IpAddr, action: Action) -> bool {
        let is_broadcast = matches!(source, IpAddr::V4(v4) if v4.is_broadcast());
        let is_never = source.is_unspecified() || source.is_loopback() || source.is_multicast();
        let may_be_local = self.local.contains_key(address) || !self.knows_all_local(at_ns);
        if is_broadcast || is_never || may_be_local {
            return false;
        }
        let again_ns = u64::from(self.config.ttl_s).saturating_mul(SECOND_NS / 2);
        if let Some((last_ns, made)) = self.made.get(address)
            && at_ns.saturating_sub(*last_ns) < again_ns
            && *made >= action
        {
            return false;
        }
        if self.made.len() >= self.config.max_decisions {
            self.made.swap_remove_index(0);
            self.n_shed[0] = self.n_shed[0].saturating_add(1);
        }
        self.made.insert(*address, (at_ns, action));
        true
    }

    fn make(
        &mut self,
        incident: &Incident,
        finding: &Finding,
        (action, scope): (Action, Scope),
        target: IpAddr,
    ) -> Decision {
        self.sequence = self.sequence.wrapping_add(1);
        let hash = mix(finding.first_ns, self.sequence, 1);
        Decision {
            id: format!("d{:06}-{hash:016x}", self.sequence),
            incident_id: incident.id.clone(),
            action,
            target,
            scope,
            ttl_s: self.config.ttl_s,
            reason: format!("{}: {}", finding.family.label(), reason(finding, target)),
        }
    }

    /// Forgets what was decided on sources within a network: what a person ended is no longer in force.
    pub(super) fn release(&mut self, network: &IpNet) {
        self.made
            .retain(|address, _| !network.contains(&to_ip(address)));
    }

    pub(super) fn forget(&mut self, at_ns: u64) {
        let ttl_ns = u64::from(self.config.ttl_s).saturating_mul(SECOND_NS);
        self.made
            .retain(|_, (last_ns, _)| at_ns.saturating_sub(*last_ns) < ttl_ns);
        self.local
            .retain(|_, last| at_ns.saturating_sub(*last) < LOCAL_NS);
    }
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
    use crate::detect::{Detector, Entity, Evidence, Family, Grades};
    use crate::tests::{T0, ip};

    #[test]
    fn a_source_that_was_released_is_acted_on_at_once() {
        let mut decider = Decider::new(&DecideConfig::default(), 0);
        let (one, other) = (
            [0, 0, u32::MAX.to_be() << 16, 1],
            [0, 0, u32::MAX.to_be() << 16, 2],
        );
        let acts = |decider: &mut Decider, address| {
            decider.may_act(1_000 * SECOND_NS, &address, &to_ip(&address), Action::Drop)
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

    #[test]
    fn a_full_table_of_local_addresses_widens_no_decision() {
        let mut decider = Decider::new(&DecideConfig::default(), 0);
        let address = |n: u32| [0, 0, u32::MAX.to_be() << 16, n];
        let (stranger, last_local) = (address(1), address(2));
        let begin_ns = 1_000 * SECOND_NS;
        for n in 0..MAX_LOCAL as u32 {
            decider.note_local(begin_ns, address(1_000 + n));
        }
        assert!(decider.may_act(begin_ns, &stranger, &to_ip(&stranger), Action::Drop));
        decider.note_local(begin_ns, last_local);
        assert!(!decider.may_act(begin_ns, &last_local, &to_ip(&last_local), Action::Drop));
        // Nobody can be told from a local address until all of them are known again.
        let other = address(3);
        assert!(!decider.may_act(begin_ns, &other, &to_ip(&other), Action::Drop));
        let later_ns = begin_ns + LOCAL_NS;
        decider.forget(later_ns);
        decider.note_local(later_ns, last_local);
        assert!(decider.may_act(later_ns, &other, &to_ip(&other), Action::Drop));
        assert!(!decider.may_act(later_ns, &last_local, &to_ip(&last_local), Action::Drop));
    }

    /// The action that a finding of a shape and of `grades` leads to.
    fn decided(ledger: &Ledger, family: Family, grades: Grades) -> Option<(Action, Scope)> {
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
        let mut decider = Decider::new(&DecideConfig::default(), 0);
        let mut out = Vec::new();
        decider.decide(T0, case.incident(), &finding, ledger, &mut out);
        out.into_iter().find_map(|event| match event {
            DecideEvent::Decision(made) => Some((made.action, made.scope)),
            DecideEvent::Incident(_) => None,
        })
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
        let dropped = Some((Action::Drop, Scope::default()));
        assert_eq!(decided(&real, flood, proof), dropped);
        assert_eq!(decided(&peer, flood, proof), limited);
        let guessing = Family::BruteForce;
        let dropped = Some((Action::Drop, service));
        assert_eq!(decided(&real, guessing, proof), dropped);
        // What is only worth a look, and what is the service's own failure.
        assert_eq!(decided(&real, guessing, Grades::SHAPE), None);
        assert_eq!(decided(&real, Family::ServiceDown, Grades::OUTCOME), None);
    }

    #[test]
    fn a_stronger_proof_leads_to_a_stronger_action_at_once() {
        let mut decider = Decider::new(&DecideConfig::default(), 0);
        let (address, source) = (ip(1), to_ip(&ip(1)));
        assert!(decider.may_act(T0, &address, &source, Action::RateLimit));
        assert!(!decider.may_act(T0 + 1, &address, &source, Action::RateLimit));
        assert!(decider.may_act(T0 + 2, &address, &source, Action::Drop));
        assert!(!decider.may_act(T0 + 3, &address, &source, Action::RateLimit));
    }
}
