//! Addresses that are never blocked, whatever a detector or a person says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::entry::{BlockError, canonical};
use super::reason::{Reason, Why};

/// Networks that nobody can be in, or that reach many.
const NEVER: [(&str, Reason); 7] = [
    ("0.0.0.0/8", Reason::ThisNetwork),
    ("127.0.0.0/8", Reason::Loopback),
    ("224.0.0.0/4", Reason::Multicast),
    ("255.255.255.255/32", Reason::Broadcast),
    ("ff00::/8", Reason::Multicast),
    ("::/128", Reason::Unspecified),
    ("::1/128", Reason::Loopback),
];

/// Reasons kept for one network: a gateway may serve a thousand tables.
const MAX_REASONS: usize = 8;

/// Networks, each with the reasons why it is protected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protected(BTreeMap<IpNet, BTreeSet<Why>>);

impl Protected {
    /// Protects a network.
    pub fn add(&mut self, network: IpNet, reason: Reason, from: impl Into<String>) {
        let why = Why {
            reason,
            from: from.into(),
        };
        self.add_why(canonical(&network), why);
    }

    /// Protects one address.
    pub fn add_address(&mut self, address: IpAddr, reason: Reason, from: impl Into<String>) {
        self.add(IpNet::from(address), reason, from);
    }

    fn add_why(&mut self, network: IpNet, why: Why) {
        let reasons = self.0.entry(network).or_default();
        reasons.insert(why);
        if reasons.len() > MAX_REASONS {
            reasons.pop_last();
        }
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: &Self) {
        for (network, reasons) in &other.0 {
            for why in reasons {
                self.add_why(*network, why.clone());
            }
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every network with its reasons.
    pub fn iter(&self) -> impl Iterator<Item = (&IpNet, &BTreeSet<Why>)> {
        self.0.iter()
    }
}

/// Everything that is never blocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    protected: Protected,
    /// Networks that can't be a source address of another host: not for the kernel's allow-list.
    never: Vec<(IpNet, Reason)>,
}

impl Guard {
    /// Nothing but what holds everywhere.
    pub fn bare() -> Self {
        Self::of(Protected::default())
    }

    /// Makes a guard of what holds everywhere, and the networks given.
    pub fn of(protected: Protected) -> Self {
        let never = NEVER.iter().filter_map(|(network, reason)| {
            let network = network.parse().ok()?;
            Some((network, *reason))
        });
        Self {
            protected,
            never: never.collect(),
        }
    }

    /// Protects a network.
    pub fn add(&mut self, network: IpNet, reason: Reason, from: impl Into<String>) {
        self.protected.add(network, reason, from);
    }

    /// Refuses a target that is, lies in, or contains what must stay reachable.
    ///
    /// # Errors
    /// [`BlockError::Protected`].
    pub fn check(&self, target: &IpNet) -> Result<(), BlockError> {
        let target = canonical(target);
        let protected = self.protected.iter().filter_map(|(network, reasons)| {
            let why = reasons.first()?;
            Some((*network, why.reason))
        });
        let never = self.never.iter().copied();
        let meets =
            |(network, _): &(IpNet, Reason)| network.contains(&target) || target.contains(network);
        // Of several the weightiest is named.
        match protected
            .chain(never)
            .filter(meets)
            .min_by_key(|(_, reason)| *reason)
        {
            Some((address, reason)) => Err(BlockError::Protected {
                target,
                address,
                reason,
            }),
            None => Ok(()),
        }
    }

    /// Networks that the kernel's allow-list must hold, with the reasons.
    pub fn networks(&self) -> impl Iterator<Item = (&IpNet, &BTreeSet<Why>)> {
        self.protected.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(guard: &Guard, target: &str) -> Option<&'static str> {
        match guard.check(&crate::parse_network(target).unwrap()) {
            Err(BlockError::Protected { reason, .. }) => Some(reason.label()),
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        }
    }

    #[test]
    fn refuses_what_must_stay_reachable_and_what_contains_it() {
        let mut guard = Guard::bare();
        guard.add("192.0.2.7/32".parse().unwrap(), Reason::Gateway, "eth0");
        guard.add("2001:db8:1::/48".parse().unwrap(), Reason::Allowed, "");
        let expected = [
            ("192.0.2.7", Some("gateway")),
            ("192.0.2.0/24", Some("gateway")),
            ("192.0.0.0/8", Some("gateway")),
            ("::ffff:192.0.2.7", Some("gateway")),
            ("2001:db8:1::5", Some("allow-list")),
            ("2001:db8:1:2::/64", Some("allow-list")),
            ("2001:db8::/32", Some("allow-list")),
            ("127.0.0.1", Some("loopback")),
            ("::1", Some("loopback")),
            ("::", Some("unspecified")),
            ("0.0.0.0", Some("this network")),
            ("224.0.0.251", Some("multicast")),
            ("255.255.255.255", Some("broadcast")),
            ("ff02::1", Some("multicast")),
            ("192.0.2.8", None),
            ("192.0.3.0/24", None),
            ("2001:db8:2::/48", None),
        ];
        for (target, why) in expected {
            assert_eq!(refusal(&guard, target), why, "{target}");
        }
        assert!(refusal(&guard, "0.0.0.0/0").is_some());
        assert!(refusal(&guard, "::/0").is_some());
    }

    #[test]
    fn a_network_keeps_its_weightiest_reasons() {
        let mut protected = Protected::default();
        let network: IpNet = "192.0.2.1/32".parse().unwrap();
        protected.add(network, Reason::Resolver, "/etc/resolv.conf");
        for table in 0..100 {
            protected.add(network, Reason::Gateway, format!("table {table:03}"));
        }
        let (_, reasons) = protected.iter().next().unwrap();
        assert_eq!(reasons.len(), MAX_REASONS);
        assert_eq!(reasons.first().unwrap().to_string(), "gateway (table 000)");
        let guard = Guard::of(protected);
        assert_eq!(refusal(&guard, "192.0.2.1"), Some("gateway"));
    }
}
