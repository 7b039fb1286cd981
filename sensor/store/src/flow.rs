//! A flow as it is kept.

use std::borrow::Cow;
use std::net::IpAddr;

use schemars::JsonSchema;
use sensor_record::{Timestamp, transport};
use serde::{Deserialize, Serialize};

use crate::rank;

/// A flow that ended, or one part of a long one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub start_ns: u64,
    pub end_ns: u64,
    pub source: IpAddr,
    pub source_port: u16,
    pub destination: IpAddr,
    pub destination_port: u16,
    pub protocol: u8,
    /// Packets and bytes by source and destination.
    pub packets: [u64; 2],
    pub bytes: [u64; 2],
    pub end_reason: &'static str,
}

impl Flow {
    /// Rank of it, by which some are kept where all are too many.
    pub fn rank(&self) -> u64 {
        let source = (self.source, self.source_port);
        let destination = (self.destination, self.destination_port);
        rank::rank(source, destination, self.protocol)
    }

    /// True where both ends sent something.
    pub const fn is_answered(&self) -> bool {
        self.packets[0] > 0 && self.packets[1] > 0
    }
}

/// A flow that is found again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "stored_flow")]
pub struct StoredFlow {
    /// First packet
    #[serde(rename = "event.start")]
    pub start: Timestamp,
    /// Last packet
    #[serde(rename = "event.end")]
    pub end: Timestamp,
    /// Address of the initiator
    #[serde(rename = "source.ip")]
    pub source: IpAddr,
    /// Port of the initiator
    #[serde(rename = "source.port")]
    pub source_port: u16,
    /// Packets that the source sent
    #[serde(rename = "source.packets")]
    pub source_packets: u64,
    /// Bytes that the source sent
    #[serde(rename = "source.bytes")]
    pub source_bytes: u64,
    /// Address of the other end
    #[serde(rename = "destination.ip")]
    pub destination: IpAddr,
    /// Port of the other end
    #[serde(rename = "destination.port")]
    pub destination_port: u16,
    /// Packets that the destination sent
    #[serde(rename = "destination.packets")]
    pub destination_packets: u64,
    /// Bytes that the destination sent
    #[serde(rename = "destination.bytes")]
    pub destination_bytes: u64,
    /// Name of the IP protocol, else its number
    #[serde(rename = "network.transport")]
    pub transport: Cow<'static, str>,
    /// Reason of its end, as IPFIX names it
    #[serde(rename = "flow.end_reason")]
    pub end_reason: String,
}

impl StoredFlow {
    /// Name of a protocol number.
    pub fn transport_of(protocol: u8) -> Cow<'static, str> {
        transport(protocol)
    }
}
