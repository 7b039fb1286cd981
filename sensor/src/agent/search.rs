//! Searching the flow table a slice at a time, so that looks at the kernel's tables stay in time.

use std::cmp::Reverse;

use schemars::JsonSchema;
use sensor_engine::{Engine, FlowSummary};
use serde::{Deserialize, Serialize};

use sensor_respond::Network;

/// Places of the table that are looked at in one go: some milliseconds.
const SLICE: usize = 16_384;
/// Flows that an answer holds at most.
pub const MAX_FLOWS: usize = 10_000;

/// Order of flows, the greatest first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum FlowOrder {
    #[default]
    Bytes,
    Packets,
    /// Time of the last packet, the latest first.
    Last,
    Duration,
}

/// Query for flows; every condition given has to hold.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FlowQuery {
    /// An end of the flow lies in this network.
    pub network: Option<Network>,
    /// An end of the flow has this port.
    pub port: Option<u16>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    pub min_bytes: u64,
    pub sort: FlowOrder,
    pub limit: usize,
}

impl Default for FlowQuery {
    fn default() -> Self {
        Self {
            network: None,
            port: None,
            protocol: None,
            min_bytes: 0,
            sort: FlowOrder::Bytes,
            limit: 20,
        }
    }
}

impl FlowQuery {
    fn matches(&self, flow: &FlowSummary) -> bool {
        let inside =
            |net: &Network| net.0.contains(&flow.source) || net.0.contains(&flow.destination);
        let has_port = |port: u16| flow.source_port == port || flow.destination_port == port;
        self.network.as_ref().is_none_or(inside)
            && self.port.is_none_or(has_port)
            && self.protocol.is_none_or(|number| number == flow.protocol)
            && bytes(flow) >= self.min_bytes
    }

    fn rank(&self, flow: &FlowSummary) -> u64 {
        match self.sort {
            FlowOrder::Bytes => bytes(flow),
            FlowOrder::Packets => flow.forward.packets.saturating_add(flow.backward.packets),
            FlowOrder::Last => flow.last_ns,
            FlowOrder::Duration => flow.last_ns.saturating_sub(flow.first_ns),
        }
    }
}

const fn bytes(flow: &FlowSummary) -> u64 {
    flow.forward.bytes.saturating_add(flow.backward.bytes)
}

/// The answer.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub flows: Vec<FlowSummary>,
    /// Flows that matched, also those that were left out.
    pub n_matched: u64,
    /// Flows in the table.
    pub n_flows: u64,
}

/// A search under way.
#[derive(Debug)]
pub struct Search {
    query: FlowQuery,
    limit: usize,
    at: usize,
    found: Found,
}

impl Search {
    pub fn new(query: FlowQuery) -> Self {
        Self {
            limit: query.limit.clamp(1, MAX_FLOWS),
            query,
            at: 0,
            found: Found::default(),
        }
    }

    /// Looks at one slice more; true when the table is through.
    pub fn go_on(&mut self, engine: &Engine) -> bool {
        let n_flows = engine.stats().n_flows;
        for flow in engine.flows(self.at, SLICE) {
            if self.query.matches(&flow) {
                self.found.n_matched += 1;
                self.found.flows.push(flow);
            }
        }
        if self.found.flows.len() > 2 * self.limit {
            self.shorten();
        }
        self.at += SLICE;
        self.found.n_flows = n_flows;
        self.at >= engine.n_flow_slots()
    }

    /// The best, in order.
    pub fn finish(mut self) -> Found {
        self.shorten();
        self.found
    }

    fn shorten(&mut self) {
        let query = &self.query;
        self.found
            .flows
            .sort_by_key(|flow| Reverse(query.rank(flow)));
        self.found.flows.truncate(self.limit);
    }
}
