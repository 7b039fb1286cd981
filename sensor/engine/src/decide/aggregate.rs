//! Offenders of one network: where most of its known sources are, and none was served, it is acted on as one.
//!
//! Only sources count that are proven real and acted on by proof at one service, so that forged ones make up no network.
//! Networks grow by steps: of IPv4 a /24 by its addresses, a /22 and a /20 by most of their parts; of IPv6 a /64, which is
//! one subscriber (RFC 6177), by its addresses, a /56 and a /48 by several parts.

use std::net::IpAddr;

use ipnet::IpNet;
use sensor_common::Address;

use super::action::{Action, Scope};
use crate::address::{from_ip, to_ip};
use crate::features::TableUse;
use crate::features::bounded::{Bounded, Priority};

/// Networks whose parts are counted.
const MAX_NETWORKS: usize = 4_096;
/// Parts of a network that are remembered; more than are asked for.
const MAX_PARTS: usize = 8;
/// Networks that are remembered as decided on.
const MAX_ASKED: usize = 256;

/// A step: length of the prefix, and parts that make a network of it. Three of four is most; of a subscriber's
/// many addresses or networks four are no chance.
type Step = (u8, usize);
const V4: [Step; 3] = [(24, 4), (22, 3), (20, 3)];
const V6: [Step; 3] = [(64, 4), (56, 4), (48, 4)];

/// Parts of a network that offended, each until its entry ends.
#[derive(Clone, Debug, Default)]
struct Parts(Vec<(Address, u64)>);

impl Priority for Parts {
    fn priority(&self) -> u64 {
        self.0.len() as u64
    }
}

impl Parts {
    /// Notes a part, and counts those that are in force.
    fn note(&mut self, part: Address, at_ns: u64, until_ns: u64) -> usize {
        self.0
            .retain(|(known, until)| *until > at_ns && *known != part);
        if self.0.len() < MAX_PARTS {
            self.0.push((part, until_ns));
        }
        self.0.len()
    }
}

#[derive(Debug)]
pub(super) struct Aggregates {
    parts: Bounded<(Address, u8, Scope), Parts>,
    asked: Vec<Asked>,
}

/// Network that was decided on.
#[derive(Clone, Copy, Debug)]
struct Asked {
    network: IpNet,
    scope: Scope,
    action: Action,
    until_ns: u64,
    /// The decision is carried out: a guard may refuse it.
    is_in_force: bool,
}

impl Aggregates {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            parts: Bounded::new("offending_networks", MAX_NETWORKS, hash_seed),
            asked: Vec::new(),
        }
    }

    pub(super) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.parts.usage());
    }

    /// True where the source's network is acted on as strongly.
    pub(super) fn covers(
        &self,
        at_ns: u64,
        source: IpAddr,
        (scope, action): (Scope, Action),
    ) -> bool {
        self.asked.iter().any(|made| {
            made.is_in_force
                && made.until_ns > at_ns
                && made.scope == scope
                && made.action >= action
                && made.network.contains(&source)
        })
    }

    /// Notes an offender whose entry ends at a time: networks that its offence may complete, the widest first.
    pub(super) fn note(
        &mut self,
        at_ns: u64,
        (source, scope): (IpAddr, Scope),
        until_ns: u64,
    ) -> Vec<IpNet> {
        let steps = if source.is_ipv4() { V4 } else { V6 };
        let mut found = Vec::new();
        let mut part = source;
        for (n, (length, least)) in steps.into_iter().enumerate() {
            let Ok(network) = IpNet::new(source, length) else {
                break;
            };
            let key = (from_ip(network.network()), length, scope);
            let parts = self.parts.get_or_insert_with(key, Parts::default);
            let is_made = parts.note(from_ip(part), at_ns, until_ns) >= least;
            if is_made {
                found.insert(0, network.trunc());
            }
            // One address of a subscriber is the subscriber.
            let is_subscriber = source.is_ipv6() && n == 0;
            if !is_made && !is_subscriber {
                break;
            }
            part = network.network();
        }
        found
    }

    /// True where the network, or one around it, was decided on, whatever became of it.
    pub(super) fn was_asked(
        &self,
        at_ns: u64,
        network: &IpNet,
        (scope, action): (Scope, Action),
    ) -> bool {
        self.asked.iter().any(|made| {
            made.until_ns > at_ns
                && made.scope == scope
                && made.action >= action
                && made.network.contains(network)
        })
    }

    /// Notes that the decision on a network is carried out.
    pub(super) fn confirm(&mut self, network: &IpNet, scope: Scope) {
        for made in &mut self.asked {
            made.is_in_force |= made.network == *network && made.scope == scope;
        }
    }

    /// Notes a decision on a network.
    pub(super) fn ask(
        &mut self,
        at_ns: u64,
        network: IpNet,
        (scope, action): (Scope, Action),
        until_ns: u64,
    ) {
        self.asked.retain(|made| {
            let is_within = made.scope == scope && network.contains(&made.network);
            made.until_ns > at_ns && !is_within
        });
        if self.asked.len() >= MAX_ASKED {
            self.asked.remove(0);
        }
        self.asked.push(Asked {
            network,
            scope,
            action,
            until_ns,
            is_in_force: false,
        });
    }

    /// Takes an offender back that nothing is done about.
    pub(super) fn refuse(&mut self, source: IpAddr, scope: Scope) {
        let steps = if source.is_ipv4() { V4 } else { V6 };
        let Some((length, _)) = steps.first() else {
            return;
        };
        let Ok(network) = IpNet::new(source, *length) else {
            return;
        };
        let key = (from_ip(network.network()), *length, scope);
        if let Some(parts) = self.parts.get_mut(&key) {
            parts.0.retain(|(part, _)| *part != from_ip(source));
        }
    }

    /// Forgets what a person ended.
    pub(super) fn release(&mut self, network: &IpNet) {
        self.asked
            .retain(|made| !made.network.contains(network) && !network.contains(&made.network));
        self.parts.retain(|_, parts| {
            parts.0.retain(|(part, _)| !network.contains(&to_ip(part)));
            !parts.0.is_empty()
        });
    }

    pub(super) fn forget(&mut self, at_ns: u64) {
        self.asked.retain(|made| made.until_ns > at_ns);
        self.parts.retain(|_, parts| {
            parts.0.retain(|(_, until_ns)| *until_ns > at_ns);
            !parts.0.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widest(sources: &[String]) -> Option<String> {
        let mut aggregates = Aggregates::new(1);
        let mut found = Vec::new();
        for source in sources {
            let source = (source.parse().unwrap(), Scope::default());
            found = aggregates.note(1, source, 1_000);
        }
        found.first().map(ToString::to_string)
    }

    fn v4(thirds: std::ops::Range<u32>, n: u32) -> Vec<String> {
        thirds
            .flat_map(|third| (1..=n).map(move |last| format!("192.0.{third}.{last}")))
            .collect()
    }

    #[test]
    fn networks_of_ipv4_grow_with_their_offenders() {
        assert_eq!(widest(&v4(0..1, 3)), None);
        assert_eq!(widest(&v4(0..1, 4)).as_deref(), Some("192.0.0.0/24"));
        assert_eq!(widest(&v4(0..2, 4)).as_deref(), Some("192.0.1.0/24"));
        assert_eq!(widest(&v4(0..3, 4)).as_deref(), Some("192.0.0.0/22"));
        assert_eq!(widest(&v4(0..16, 4)).as_deref(), Some("192.0.0.0/20"));
        // One in each of many networks is a crowd, and no network.
        assert_eq!(widest(&v4(0..16, 1)), None);
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_part() {
        let within =
            |n: u32| -> Vec<String> { (1..=n).map(|last| format!("2001:db8::{last:x}")).collect() };
        assert_eq!(widest(&within(3)), None);
        assert_eq!(widest(&within(9)).as_deref(), Some("2001:db8::/64"));
        let subscribers: Vec<String> = (1..=4).map(|n| format!("2001:db8:0:{n}::1")).collect();
        assert_eq!(widest(&subscribers).as_deref(), Some("2001:db8::/56"));
    }

    #[test]
    fn what_ended_counts_no_more() {
        let mut aggregates = Aggregates::new(1);
        let scope = Scope::default();
        let mut note = |at_ns, source: &str| {
            let source = (source.parse().unwrap(), scope);
            aggregates.note(at_ns, source, at_ns + 10)
        };
        for n in 1..4 {
            assert!(note(1, &format!("192.0.2.{n}")).is_empty());
        }
        assert!(note(11, "192.0.2.9").is_empty());
    }

    #[test]
    fn sources_of_a_network_that_is_acted_on_are_covered_until_it_ends() {
        let mut aggregates = Aggregates::new(1);
        let source = "192.0.2.9".parse().unwrap();
        let scope = Scope {
            protocol: 6,
            local_port: 22,
        };
        let made = (scope, Action::Quarantine);
        let network = "192.0.2.0/24".parse().unwrap();
        aggregates.ask(10, network, made, 20);
        // A guard may have refused it.
        assert!(!aggregates.covers(19, source, made));
        assert!(aggregates.was_asked(19, &network, made));
        aggregates.confirm(&network, scope);
        assert!(aggregates.covers(19, source, made));
        assert!(!aggregates.covers(19, source, (scope, Action::Drop)));
        let elsewhere = (Scope::default(), Action::Quarantine);
        assert!(!aggregates.covers(19, source, elsewhere));
        assert!(!aggregates.covers(20, source, made));
        aggregates.release(&IpNet::from(source));
        assert!(!aggregates.covers(19, source, made));
    }
}
