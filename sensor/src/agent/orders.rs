//! What a person orders over the socket: changes of the block-list and the allow-list, and looks at
//! them. Carried out on the engine's thread, which owns both.

use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sensor_engine::Scope;
use sensor_record::answer::{
    AllowAdded, AllowListed, BlockAdded, BlockFlushed, BlockListed, BlockRemoved, Done,
};
use sensor_record::{Allowed, Block, Head, Reason, transport};
use serde::{Deserialize, Serialize};

use super::socket::protocol::Answer;
use sensor_capture::kernel::monotonic_ns;
use sensor_respond::{
    BlockError, Guarded, KernelRespond, Listed, Measure, Network, Origin, Request, Respond as _,
};

/// Targets of one order: more come in several.
pub const MAX_TARGETS: usize = 1_000;
/// Entries of one answer.
pub const MAX_LISTED: usize = 10_000;

/// Sources to block, or to block for longer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockAdd {
    pub targets: Vec<Network>,
    pub ttl_s: u64,
    /// Lets through so many packets a second; without, none.
    #[serde(default)]
    pub rate_packets_per_s: Option<u32>,
    #[serde(default)]
    pub scope: OrderScope,
    #[serde(default)]
    pub reason: Reason,
}

/// What of a source's traffic is meant; 0 is any.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrderScope {
    pub protocol: u8,
    pub port: u16,
}

impl OrderScope {
    const fn scope(self) -> Scope {
        Scope {
            protocol: self.protocol,
            local_port: self.port,
        }
    }
}

/// A source to let go.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockDel {
    pub target: Network,
    /// Only this of it; without, all.
    #[serde(default)]
    pub scope: Option<OrderScope>,
}

/// Which entries are wanted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlockList {
    /// Those within this network.
    pub within: Option<Network>,
    pub limit: usize,
}

impl Default for BlockList {
    fn default() -> Self {
        Self {
            within: None,
            limit: 100,
        }
    }
}

/// An order.
#[derive(Clone, Debug)]
pub enum Order {
    BlockAdd(BlockAdd),
    BlockDel(BlockDel),
    BlockList(BlockList),
    BlockFlush,
    AllowAdd {
        network: Network,
        /// Also where there are doubts.
        force: bool,
    },
    AllowDel(Network),
    AllowList,
}

impl Order {
    /// Networks in which sources are free to be decided on again once the order is carried out.
    pub fn releases(&self) -> Vec<IpNet> {
        match self {
            Self::BlockDel(del) => vec![del.target.0],
            Self::AllowDel(network) => vec![network.0],
            Self::BlockFlush => vec![Ipv4Net::default().into(), Ipv6Net::default().into()],
            Self::BlockAdd(_) | Self::BlockList(_) | Self::AllowAdd { .. } | Self::AllowList => {
                Vec::new()
            }
        }
    }
}

/// Carries an order out.
///
/// # Errors
/// Why not, for the person who gave it.
pub fn carry_out(
    respond: &mut KernelRespond,
    order: Order,
    by: &Origin,
    head: &Head,
) -> Result<Answer, String> {
    let all = |entries: &[Listed]| entries.iter().map(|entry| block(head, entry)).collect();
    let told = |cause: BlockError| cause.to_string();
    match order {
        Order::BlockAdd(add) => block_add(respond, &add, by).map(Answer::BlockAdded),
        Order::BlockDel(del) => {
            let scope = del.scope.map(OrderScope::scope);
            let removed = respond.unblock(&del.target.0, scope, by).map_err(told)?;
            let removed = all(&removed);
            Ok(Answer::BlockRemoved(BlockRemoved { removed }))
        }
        Order::BlockList(which) => Ok(Answer::BlockListed(block_list(respond, &which, head))),
        Order::BlockFlush => {
            let n_removed = respond.flush(by) as u64;
            Ok(Answer::BlockFlushed(BlockFlushed { n_removed }))
        }
        Order::AllowAdd { network, force } => {
            if !force && let Some(doubts) = respond.doubts(&network.0) {
                return Err(format!("{doubts}; say --force if that is meant"));
            }
            let gone = respond.allow(&network.0, by.clone()).map_err(told)?;
            let unblocked = all(&gone);
            Ok(Answer::AllowAdded(AllowAdded { unblocked }))
        }
        Order::AllowDel(network) => {
            respond.disallow(&network.0, by).map_err(told)?;
            Ok(Answer::Done(Done {}))
        }
        Order::AllowList => Ok(Answer::AllowListed(allow_list(respond, head))),
    }
}

fn block_add(
    respond: &mut KernelRespond,
    add: &BlockAdd,
    by: &Origin,
) -> Result<BlockAdded, String> {
    if add.targets.len() > MAX_TARGETS {
        return Err(format!("at most {MAX_TARGETS} targets in one request"));
    }
    let reason: Arc<str> = match add.reason.as_str() {
        "" => Arc::from("by hand"),
        given => Arc::from(given),
    };
    let measure = match add.rate_packets_per_s {
        Some(packets_per_s) => Measure::RateLimit { packets_per_s },
        None => Measure::Drop,
    };
    let request = |target: &Network| Request {
        target: target.0,
        scope: add.scope.scope(),
        measure,
        ttl: Duration::from_secs(add.ttl_s),
        origin: by.clone(),
        reason: Arc::clone(&reason),
    };
    let requests: Vec<Request> = add.targets.iter().map(request).collect();
    let (n_added, refused) = respond.load_bulk(&requests);
    Ok(BlockAdded {
        n_added: n_added as u64,
        refused: refused.iter().map(ToString::to_string).collect(),
        mode: respond.mode().into(),
    })
}

fn block_list(respond: &KernelRespond, which: &BlockList, head: &Head) -> BlockListed {
    let within = |target: &IpNet| {
        let network = which.within.as_ref();
        network.is_none_or(|network| network.0.contains(target))
    };
    let limit = which.limit.clamp(1, MAX_LISTED);
    let entries = respond
        .blocks()
        .filter(|entry| within(&entry.target))
        .take(limit)
        .map(|entry| block(head, &entry));
    BlockListed {
        entries: entries.collect(),
        of: respond.n_entries() as u64,
        mode: respond.mode().into(),
    }
}

fn block(head: &Head, entry: &Listed) -> Block {
    let left_ns = entry.expires_ns.saturating_sub(monotonic_ns());
    let protocol = entry.scope.protocol;
    Block {
        head: head.clone(),
        target: Network(entry.target),
        action: entry.measure.action(),
        rate_packets_per_s: entry.measure.rate_packets_per_s(),
        protocol,
        transport: (protocol != 0).then(|| transport(protocol)),
        port: entry.scope.local_port,
        ttl_s: left_ns / 1_000_000_000,
        packets: entry.packets,
        bytes: entry.bytes,
        origin: Origin::clone(&entry.origin),
        reason: entry.reason.to_string(),
    }
}

fn allow_list(respond: &mut KernelRespond, head: &Head) -> AllowListed {
    respond.follow_host();
    let one = |guarded: Guarded<'_>| {
        let why: Vec<String> = guarded.reasons.iter().map(ToString::to_string).collect();
        let reasons = guarded.reasons.iter().map(|why| why.reason.label().into());
        Allowed {
            head: head.clone(),
            network: Network(*guarded.network),
            why: why.join("; ").into(),
            reasons: reasons.collect(),
            origin: guarded.by.cloned(),
        }
    };
    let entries = respond.allowed().take(MAX_LISTED).map(one).collect();
    AllowListed { entries }
}
