//! Decisions: the action against each source of a finding.

use std::net::IpAddr;

use ipnet::IpNet;
use sensor_common::{Address, mix};

use super::DecideEvent;
use super::incident::{Incident, reason};
use crate::address::{Seeded, Table, from_ip, to_ip};
use crate::config::{DecideConfig, SECOND_NS};
use crate::detect::{Finding, MaxResponse};
use crate::features::TableUse;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Drop,
    RateLimit,
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
    /// Source and when it was last acted on.
    made: Table<Address, u64>,
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

    /// Decides on the sources that a finding names; on none where they are spoofed.
    pub(super) fn decide(
        &mut self,
        at_ns: u64,
        incident: &Incident,
        finding: &Finding,
        out: &mut Vec<DecideEvent>,
    ) {
        if finding.is_spoofed || finding.score < self.config.min_score {
            return;
        }
        let (action, scope) = match finding.family.max_response() {
            MaxResponse::None => return,
            MaxResponse::RateLimit => (Action::RateLimit, Scope::default()),
            MaxResponse::DropToService => (Action::Drop, service_of(finding)),
            MaxResponse::Drop => (Action::Drop, Scope::default()),
        };
        for source in &finding.sources {
            let address = from_ip(*source);
            if self.may_act(at_ns, &address, source) {
                out.push(DecideEvent::Decision(self.make(
                    incident,
                    finding,
                    (action, scope),
                    *source,
                )));
            }
        }
    }

    fn may_act(&mut self, at_ns: u64, address: &Address, source: &IpAddr) -> bool {
        let is_broadcast = matches!(source, IpAddr::V4(v4) if v4.is_broadcast());
        let is_never = source.is_unspecified() || source.is_loopback() || source.is_multicast();
        let may_be_local = self.local.contains_key(address) || !self.knows_all_local(at_ns);
        if is_broadcast || is_never || may_be_local {
            return false;
        }
        let again_ns = u64::from(self.config.ttl_s).saturating_mul(SECOND_NS / 2);
        if let Some(last) = self.made.get(address)
            && at_ns.saturating_sub(*last) < again_ns
        {
            return false;
        }
        if self.made.len() >= self.config.max_decisions {
            self.made.swap_remove_index(0);
            self.n_shed[0] = self.n_shed[0].saturating_add(1);
        }
        self.made.insert(*address, at_ns);
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
            .retain(|_, last| at_ns.saturating_sub(*last) < ttl_ns);
        self.local
            .retain(|_, last| at_ns.saturating_sub(*last) < LOCAL_NS);
    }
}

/// The port that a finding names; any where it names none.
fn service_of(finding: &Finding) -> Scope {
    match finding.ports.first() {
        Some(port) if *port != 0 => Scope {
            protocol: finding.protocol,
            local_port: *port,
        },
        _ => Scope::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_was_released_is_acted_on_at_once() {
        let mut decider = Decider::new(&DecideConfig::default(), 0);
        let (one, other) = (
            [0, 0, u32::MAX.to_be() << 16, 1],
            [0, 0, u32::MAX.to_be() << 16, 2],
        );
        let acts = |decider: &mut Decider, address| {
            decider.may_act(1_000 * SECOND_NS, &address, &to_ip(&address))
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
        assert!(decider.may_act(begin_ns, &stranger, &to_ip(&stranger)));
        decider.note_local(begin_ns, last_local);
        assert!(!decider.may_act(begin_ns, &last_local, &to_ip(&last_local)));
        // Nobody can be told from a local address until all of them are known again.
        let other = address(3);
        assert!(!decider.may_act(begin_ns, &other, &to_ip(&other)));
        let later_ns = begin_ns + LOCAL_NS;
        decider.forget(later_ns);
        decider.note_local(later_ns, last_local);
        assert!(decider.may_act(later_ns, &other, &to_ip(&other)));
        assert!(!decider.may_act(later_ns, &last_local, &to_ip(&last_local)));
    }
}
