//! Addresses that are never blocked, whatever a detector or a person says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;

use ipnet::IpNet;
use serde_json::Value;

use super::entry::{BlockError, canonical};

/// Networks that nobody can be in, or that reach many.
const NEVER: [(&str, &str); 5] = [
    ("0.0.0.0/8", "this network"),
    ("127.0.0.0/8", "loopback"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("ff00::/8", "multicast"),
];

/// Each protected network with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    protected: BTreeMap<IpNet, &'static str>,
    /// What can't be in a source address of anybody else: not for the kernel's allow-list.
    never: Vec<(IpNet, &'static str)>,
}

/// Why an address of the allow-list is protected.
pub const ALLOWED: &str = "allow-list";

impl Guard {
    /// This host's own addresses, its gateways and its resolvers, as they are now.
    pub fn of_host() -> Self {
        let mut guard = Self::bare();
        guard.add_all(own_addresses(), "own address");
        guard.add_all(gateways(), "gateway");
        guard.add_all(resolvers(), "resolver");
        guard
    }

    /// Nothing but what holds everywhere.
    pub fn bare() -> Self {
        let never = NEVER.iter().filter_map(|(network, why)| {
            let network = network.parse().ok()?;
            Some((network, *why))
        });
        let mut never: Vec<(IpNet, &'static str)> = never.collect();
        for special in ["::", "::1"] {
            let address = special.parse::<IpAddr>();
            never.extend(address.map(|address| (IpNet::from(address), "loopback or unspecified")));
        }
        Self {
            protected: BTreeMap::new(),
            never,
        }
    }

    fn add_all(&mut self, addresses: impl IntoIterator<Item = IpAddr>, why: &'static str) {
        for address in addresses {
            self.add(IpNet::from(address), why);
        }
    }

    /// Protects a network.
    pub fn add(&mut self, network: IpNet, why: &'static str) {
        self.protected.entry(canonical(&network)).or_insert(why);
    }

    /// Refuses a target that is, lies in, or contains what must stay reachable.
    ///
    /// # Errors
    /// [`BlockError::Protected`].
    pub fn check(&self, target: &IpNet) -> Result<(), BlockError> {
        let target = canonical(target);
        let never = self.never.iter().map(|(network, why)| (network, *why));
        let protected = self.protected.iter().map(|(network, why)| (network, *why));
        let meets =
            |(network, _): &(&IpNet, &str)| network.contains(&target) || target.contains(*network);
        match protected.chain(never).find(meets) {
            Some((address, why)) => Err(BlockError::Protected {
                target,
                address: *address,
                why,
            }),
            None => Ok(()),
        }
    }

    /// What the kernel's allow-list must hold.
    pub fn networks(&self) -> impl Iterator<Item = (&IpNet, &'static str)> {
        self.protected.iter().map(|(network, why)| (network, *why))
    }
}

/// What `ip -json` says; nothing if it can't be run.
fn ip(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new("ip").arg("-json").args(arguments).output();
    let bytes = output.map(|output| output.stdout).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn parse(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

fn own_addresses() -> Vec<IpAddr> {
    let links = ip(&["address", "show"]);
    let infos = links
        .iter()
        .filter_map(|link| link["addr_info"].as_array())
        .flatten();
    infos.filter_map(|info| parse(&info["local"])).collect()
}

fn gateways() -> Vec<IpAddr> {
    let families = [["-4", "route"], ["-6", "route"]];
    let routes: Vec<Value> = families
        .iter()
        .flat_map(|arguments| ip(arguments))
        .collect();
    // A route may have several next hops.
    let hops = routes
        .iter()
        .filter_map(|route| route["nexthops"].as_array());
    let hops = hops.flatten().chain(&routes);
    hops.filter_map(|hop| parse(&hop["gateway"]).or_else(|| parse(&hop["via"]["host"])))
        .collect()
}

fn resolvers() -> Vec<IpAddr> {
    // systemd-resolved puts itself in the first and those it asks in the second.
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let texts = files.map(|path| std::fs::read_to_string(path).unwrap_or_default());
    texts.iter().flat_map(|text| nameservers(text)).collect()
}

fn nameservers(text: &str) -> Vec<IpAddr> {
    let servers = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    // An address of a link has the interface behind a percent sign.
    let servers = servers.filter_map(|server| server.trim().split('%').next());
    servers.filter_map(|address| address.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(guard: &Guard, target: &str) -> Option<&'static str> {
        match guard.check(&super::super::parse_network(target).unwrap()) {
            Err(BlockError::Protected { why, .. }) => Some(why),
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        }
    }

    #[test]
    fn refuses_what_must_stay_reachable_and_what_contains_it() {
        let mut guard = Guard::bare();
        guard.add("192.0.2.7/32".parse().unwrap(), "gateway");
        guard.add("2001:db8:1::/48".parse().unwrap(), ALLOWED);
        let expected = [
            ("192.0.2.7", Some("gateway")),
            ("192.0.2.0/24", Some("gateway")),
            ("192.0.0.0/8", Some("gateway")),
            ("::ffff:192.0.2.7", Some("gateway")),
            ("2001:db8:1::5", Some(ALLOWED)),
            ("2001:db8:1:2::/64", Some(ALLOWED)),
            ("2001:db8::/32", Some(ALLOWED)),
            ("127.0.0.1", Some("loopback")),
            ("::1", Some("loopback or unspecified")),
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
    fn reads_resolvers() {
        let text = "# a comment\nnameserver 192.0.2.53\n nameserver fe80::1%eth0\nsearch x\n";
        let found: Vec<String> = nameservers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.53", "fe80::1"]);
    }

    #[test]
    fn knows_this_host() {
        let guard = Guard::of_host();
        let ip = Command::new("ip").arg("-V").output();
        if ip.is_ok() {
            assert!(guard.networks().any(|(_, why)| why == "own address"));
        }
    }
}
