//! Addresses that are never blocked, whatever a detector says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;

use serde_json::Value;

/// Each protected address with the reason.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    protected: BTreeMap<IpAddr, &'static str>,
}

impl Guard {
    /// This host's own addresses, its gateways and its resolvers, and the allow-list.
    pub fn of_host(allow: &[IpAddr]) -> Self {
        let mut guard = Self::default();
        guard.add_all(own_addresses(), "own address");
        guard.add_all(gateways(), "gateway");
        guard.add_all(resolvers(), "resolver");
        guard.add_all(allow.iter().copied(), "allow-list");
        guard
    }

    fn add_all(&mut self, addresses: impl IntoIterator<Item = IpAddr>, why: &'static str) {
        for address in addresses {
            self.protected.entry(address).or_insert(why);
        }
    }

    /// Why the address must not be blocked, if so.
    pub fn refuses(&self, address: &IpAddr) -> Option<&'static str> {
        if address.is_loopback() || address.is_unspecified() {
            return Some("loopback");
        }
        if address.is_multicast() || *address == IpAddr::from([255, 255, 255, 255]) {
            return Some("multicast or broadcast");
        }
        self.protected.get(address).copied()
    }

    pub fn addresses(&self) -> impl Iterator<Item = &IpAddr> {
        self.protected.keys()
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
    let routes = families.iter().flat_map(|arguments| ip(arguments));
    routes
        .filter_map(|route| parse(&route["gateway"]))
        .collect()
}

fn resolvers() -> Vec<IpAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers
        .filter_map(|address| address.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_must_stay_reachable() {
        let friend: IpAddr = "192.0.2.7".parse().unwrap();
        let guard = Guard::of_host(&[friend]);
        assert_eq!(guard.refuses(&friend), Some("allow-list"));
        for address in ["127.0.0.1", "::1", "0.0.0.0"] {
            assert_eq!(guard.refuses(&address.parse().unwrap()), Some("loopback"));
        }
        assert!(guard.refuses(&"224.0.0.1".parse().unwrap()).is_some());
        assert_eq!(guard.refuses(&"198.51.100.1".parse().unwrap()), None);
    }
}
