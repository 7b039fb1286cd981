//! What a person orders over the socket: changes of the block-list and the allow-list, and looks at
//! them. Carried out on the engine's thread, which owns both.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use sensor_engine::Scope;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::output::transport;
use crate::respond::{KernelRespond, Listed, Measure, Network, Origin, Request, Shown};
use sensor_capture::kernel::monotonic_ns;

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
    pub reason: String,
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
    AllowAdd(Network),
    AllowDel(Network),
    AllowList,
}

/// Carries an order out.
///
/// # Errors
/// Why not, for the person who gave it.
pub fn carry_out(respond: &mut KernelRespond, order: Order, by: &Origin) -> Result<Value, String> {
    match order {
        Order::BlockAdd(add) => block_add(respond, &add, by),
        Order::BlockDel(del) => {
            let scope = del.scope.map(OrderScope::scope);
            let removed = respond.unblock(&del.target.0, scope, by);
            let removed = removed.map_err(|cause| cause.to_string())?;
            Ok(json!({"removed": removed.iter().map(listed).collect::<Vec<_>>()}))
        }
        Order::BlockList(which) => Ok(block_list(respond, &which)),
        Order::BlockFlush => Ok(json!({"n_removed": respond.flush(by)})),
        Order::AllowAdd(network) => {
            let gone = respond.allow(&network.0, by.clone());
            let gone = gone.map_err(|cause| cause.to_string())?;
            Ok(json!({"unblocked": gone.iter().map(listed).collect::<Vec<_>>()}))
        }
        Order::AllowDel(network) => {
            let done = respond.disallow(&network.0, by);
            done.map_err(|cause| cause.to_string())?;
            Ok(json!({}))
        }
        Order::AllowList => Ok(allow_list(respond)),
    }
}

fn block_add(respond: &mut KernelRespond, add: &BlockAdd, by: &Origin) -> Result<Value, String> {
    if add.targets.len() > MAX_TARGETS {
        return Err(format!("at most {MAX_TARGETS} targets in one request"));
    }
    let reason: Arc<str> = if add.reason.is_empty() {
        Arc::from("by hand")
    } else {
        Arc::from(add.reason.as_str())
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
    let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
    Ok(json!({"n_added": n_added, "refused": refused, "mode": respond.mode()}))
}

fn block_list(respond: &KernelRespond, which: &BlockList) -> Value {
    let within = |target: &IpNet| {
        let network = which.within.as_ref();
        network.is_none_or(|network| network.0.contains(target))
    };
    let limit = which.limit.clamp(1, MAX_LISTED);
    let entries: Vec<Value> = respond
        .blocks()
        .filter(|entry| within(&entry.target))
        .take(limit)
        .map(|entry| listed(&entry))
        .collect();
    json!({"entries": entries, "of": respond.n_entries(), "mode": respond.mode()})
}

fn listed(entry: &Listed) -> Value {
    let left_ns = entry.expires_ns.saturating_sub(monotonic_ns());
    let mut value = json!({
        "kind": "block",
        "target": Shown(&entry.target).to_string(),
        "action": entry.measure.label(),
        "protocol": entry.scope.protocol,
        "port": entry.scope.local_port,
        "ttl_s": left_ns / 1_000_000_000,
        "packets": entry.packets,
        "bytes": entry.bytes,
        "origin": &*entry.origin,
        "reason": &*entry.reason,
    });
    if entry.scope.protocol != 0 {
        value["network.transport"] = json!(transport(entry.scope.protocol));
    }
    if let Measure::RateLimit { packets_per_s } = entry.measure {
        value["rate_packets_per_s"] = json!(packets_per_s);
    }
    value
}

fn allow_list(respond: &KernelRespond) -> Value {
    let one = |(network, why, by): (&IpNet, &'static str, Option<&Origin>)| json!({"kind": "allow", "network": Shown(network).to_string(), "why": why, "origin": by});
    let entries: Vec<Value> = respond.allowed().take(MAX_LISTED).map(one).collect();
    json!({"entries": entries})
}
