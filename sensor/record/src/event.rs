//! Event of a single packet, told by the kernel.

use std::borrow::Cow;
use std::net::IpAddr;

use schemars::JsonSchema;
use sensor_common::event::{BEGAN, Kind, Sample};
use serde::{Deserialize, Serialize};

use crate::decision::Mode;
use crate::head::Head;
use crate::transport::transport;

/// Kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum EventAction {
    FlowStarted,
    BlockHit,
}

impl EventAction {
    pub const fn label(self) -> &'static str {
        match self {
            Self::FlowStarted => Kind::FlowStarted.label(),
            Self::BlockHit => Kind::BlockHit.label(),
        }
    }
}

/// Way of a packet through an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Direction {
    Ingress,
    Egress,
}

/// A flow that began, or a packet that met a block entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "event")]
pub struct Event {
    #[serde(flatten)]
    pub head: Head,
    /// Action
    #[serde(rename = "event.action")]
    pub action: EventAction,
    /// Number among the events of this CPU; a gap is a loss
    #[serde(rename = "event.sequence")]
    pub sequence: u64,
    /// Number of the CPU
    pub cpu: u16,
    /// Way through the interface
    #[serde(rename = "network.direction")]
    pub direction: Direction,
    /// Sender of the packet
    #[serde(rename = "source.ip")]
    pub source: IpAddr,
    /// Port of the sender
    #[serde(rename = "source.port")]
    pub source_port: u16,
    /// Receiver of the packet
    #[serde(rename = "destination.ip")]
    pub destination: IpAddr,
    /// Port of the receiver
    #[serde(rename = "destination.port")]
    pub destination_port: u16,
    /// Name of the IP protocol, else its number
    #[serde(rename = "network.transport")]
    pub transport: Cow<'static, str>,
    /// Length of the packet on the wire
    #[serde(rename = "network.bytes")]
    #[schemars(extend("x-unit" = "bytes"))]
    pub bytes: u32,
    /// Interface, where it is one that is watched
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Mode of the response; of block hits
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Origin of the entry: the hash in a decision's identifier, 0 by hand; of block hits
    #[serde(
        rename = "block.origin",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub block_origin: Option<String>,
}

impl Event {
    /// Builds the record of a sample; `None` for samples of payload.
    pub fn new(
        head: Head,
        sample: &Sample<'_>,
        interface: Option<&str>,
        mode: Mode,
    ) -> Option<Self> {
        let action = action(sample)?;
        let is_hit = action == EventAction::BlockHit;
        let packet = &sample.head.packet;
        Some(Self {
            head,
            action,
            sequence: sample.head.sequence,
            cpu: sample.head.cpu,
            direction: if sample.head.way == 0 {
                Direction::Ingress
            } else {
                Direction::Egress
            },
            source: sensor_engine::to_ip(&packet.source),
            source_port: packet.source_port,
            destination: sensor_engine::to_ip(&packet.destination),
            destination_port: packet.destination_port,
            transport: transport(packet.protocol),
            bytes: sample.head.wire_bytes,
            interface: interface.map(str::to_owned),
            mode: is_hit.then_some(mode),
            block_origin: is_hit.then(|| format!("{:016x}", sample.head.detail)),
        })
    }
}

fn action(sample: &Sample<'_>) -> Option<EventAction> {
    let head = sample.head;
    if head.kind == Kind::BlockHit as u8 {
        Some(EventAction::BlockHit)
    } else if head.kind == Kind::FlowStarted as u8 || head.detail == BEGAN {
        Some(EventAction::FlowStarted)
    } else {
        None
    }
}
