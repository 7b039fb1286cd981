//! Reasons why a network is never blocked.

use std::fmt;

/// Reason why a network is never blocked; the first ones matter most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    OwnAddress,
    /// A next hop of a route, or a link-local address of one.
    Gateway,
    /// A neighbour that said it routes.
    Router,
    /// The other end of a point-to-point link.
    LinkPeer,
    Resolver,
    TimeServer,
    /// The other end of an established SSH session of this host.
    SshSession,
    /// Load balancers and proxies that the configuration names.
    Balancer,
    /// Hosts that look after this one, named in the configuration.
    Monitoring,
    /// Named in the configuration or by an operator.
    Allowed,
    /// Entry of the kernel's list since a run before; replaced when the host has been read.
    Adopted,
    ThisNetwork,
    Loopback,
    Unspecified,
    Multicast,
    Broadcast,
}

impl Reason {
    pub const fn label(self) -> &'static str {
        match self {
            Self::OwnAddress => "own address",
            Self::Gateway => "gateway",
            Self::Router => "router",
            Self::LinkPeer => "point-to-point peer",
            Self::Resolver => "resolver",
            Self::TimeServer => "time server",
            Self::SshSession => "SSH session",
            Self::Balancer => "balancer",
            Self::Monitoring => "monitoring",
            Self::Allowed => "allow-list",
            Self::Adopted => "found in the maps of the run before",
            Self::ThisNetwork => "this network",
            Self::Loopback => "loopback",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
        }
    }
}

/// Reason with where it comes from, as an interface or a file; empty where the reason says it all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Why {
    pub reason: Reason,
    pub from: String,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.label())?;
        if self.from.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.from)
    }
}
