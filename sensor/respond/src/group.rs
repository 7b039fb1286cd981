//! Groups of hosts that the configuration names.

use ipnet::IpNet;

use super::reason::Reason;

/// Name of the group of load balancers and proxies.
pub const BALANCERS: &str = "balancers";
/// Name of the group of hosts that look after this one.
pub const MONITORING: &str = "monitoring";

/// Hosts under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub networks: Vec<IpNet>,
}

impl Group {
    /// Reason to never block its hosts, if there is one.
    pub(crate) fn protection(&self) -> Option<Reason> {
        match self.name.as_str() {
            BALANCERS => Some(Reason::Balancer),
            MONITORING => Some(Reason::Monitoring),
            _ => None,
        }
    }
}
