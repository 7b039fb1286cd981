//! Orders that a person gives over the socket: changes of the block-list and the allow-list, and
//! looks at them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use sensor_engine::Scope;
use sensor_record::{Name, Reason};
use serde::{Deserialize, Serialize};

use sensor_respond::{BlockAction, FeedPart, Measure, Network, STRANGERS_PER_S};

/// Targets of one order: more come in several.
pub const MAX_TARGETS: usize = 1_000;

/// Targets of one part of a list: as many as a request has room for.
pub const MAX_OF_FEED: usize = 16_384;

/// Sources to block, or to block for longer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockAdd {
    pub targets: Vec<Network>,
    pub ttl_s: u64,
    /// Action; without, a limit where there is a rate, else a drop.
    #[serde(default)]
    pub action: Option<BlockAction>,
    /// New packets a second that a limit lets pass.
    #[serde(default)]
    pub rate_packets_per_s: Option<u32>,
    #[serde(default)]
    pub scope: OrderScope,
    #[serde(default)]
    pub reason: Reason,
}

impl BlockAdd {
    /// The measure that is asked for.
    ///
    /// # Errors
    /// When the action and the rate don't go together.
    pub fn measure(&self) -> Result<Measure, String> {
        BlockAction::measure(self.action, self.rate_packets_per_s)
    }
}

/// Part of a source's traffic that is meant; 0 is any.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct OrderScope {
    pub protocol: u8,
    pub port: u16,
}

/// Protocols with ports: TCP, UDP, DCCP, SCTP, UDP-Lite (IANA).
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

impl OrderScope {
    /// # Errors
    /// When a port is given with a protocol that has none.
    pub fn check(self) -> Result<(), String> {
        let has_ports = self.protocol == 0 || WITH_PORTS.contains(&self.protocol);
        if self.port != 0 && !has_ports {
            let name = sensor_record::transport(self.protocol);
            return Err(format!(
                "{name} has no ports: leave the port out, or the protocol"
            ));
        }
        Ok(())
    }

    pub const fn scope(self) -> Scope {
        Scope {
            protocol: self.protocol,
            local_port: self.port,
        }
    }
}

/// A source to let go.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockDel {
    pub target: Network,
    /// Part of its traffic; without, all.
    #[serde(default)]
    pub scope: Option<OrderScope>,
}

/// Part of a list of others.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockImport {
    /// Name of the list.
    pub feed: Name,
    /// Number that the parts of one load share.
    pub generation: u64,
    pub targets: Vec<Network>,
    pub ttl_s: u64,
    #[serde(default)]
    pub action: Option<BlockAction>,
    #[serde(default)]
    pub rate_packets_per_s: Option<u32>,
    /// Last part: what the list had before and has no longer goes.
    #[serde(default)]
    pub is_last: bool,
}

/// Selection of entries.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BlockList {
    /// Network that the entries are within.
    pub within: Option<Network>,
    /// Entries that are passed over first.
    pub skip: usize,
    pub limit: usize,
}

impl Default for BlockList {
    fn default() -> Self {
        Self {
            within: None,
            skip: 0,
            limit: 100,
        }
    }
}

/// A local address to shield, or to shield for longer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShieldOn {
    pub address: IpAddr,
    pub ttl_s: u64,
    #[serde(default)]
    pub scope: OrderScope,
    /// Packets a second that strangers share.
    #[serde(default = "strangers_per_s")]
    pub rate_packets_per_s: u32,
    #[serde(default)]
    pub reason: Reason,
}

const fn strangers_per_s() -> u32 {
    STRANGERS_PER_S
}

/// Shields to end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShieldOff {
    pub address: IpAddr,
    /// Scope of the one that is meant; without, all of the address.
    #[serde(default)]
    pub scope: Option<OrderScope>,
}

/// An order.
#[derive(Clone, Debug)]
pub enum Order {
    BlockAdd(BlockAdd),
    BlockDel(BlockDel),
    BlockImport(BlockImport),
    /// Takes part of a list that the sensor follows by itself.
    Load(Box<FeedPart>),
    BlockList(BlockList),
    BlockFlush,
    /// Takes back what a decision did, by its identifier.
    Undo(Name),
    /// Carries out what waits for a person, or refuses it: of an incident, or by a decision's identifier.
    Judge {
        id: String,
        is_approved: bool,
    },
    /// Lists what waits for a person.
    Proposals,
    AllowAdd {
        network: Network,
        /// Also where there are doubts.
        force: bool,
    },
    AllowDel(Network),
    AllowAcceptLoss,
    AllowList,
    ShieldOn(ShieldOn),
    ShieldOff(ShieldOff),
    ShieldList,
}

impl Order {
    /// Networks in which sources are free to be decided on again once the order is carried out.
    pub fn releases(&self) -> Vec<IpNet> {
        match self {
            Self::BlockDel(del) => vec![del.target.0],
            Self::AllowDel(network) => vec![network.0],
            Self::BlockFlush => vec![Ipv4Net::default().into(), Ipv6Net::default().into()],
            // Whoever it was about may be decided on again, if it goes on.
            Self::Undo(_)
            | Self::Judge { .. }
            | Self::Proposals
            | Self::BlockAdd(_)
            | Self::BlockImport(_)
            | Self::Load(_)
            | Self::BlockList(_)
            | Self::AllowAdd { .. }
            | Self::AllowAcceptLoss
            | Self::AllowList
            | Self::ShieldOn(_)
            | Self::ShieldOff(_)
            | Self::ShieldList => Vec::new(),
        }
    }
}
