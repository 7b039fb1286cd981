//! A flow, at its end or while it goes on.

use std::borrow::Cow;
use std::net::IpAddr;

use schemars::JsonSchema;
use sensor_engine::{FlowSummary, Totals};
use serde::{Deserialize, Serialize};

use crate::head::Head;
use crate::notes::Notes;
use crate::time::Timestamp;
use crate::transport::transport;

/// Both directions of one conversation; the source began it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "flow")]
pub struct Flow {
    #[serde(flatten)]
    pub head: Head,
    /// Address of the initiator
    #[serde(rename = "source.ip")]
    pub source: IpAddr,
    /// Port of the initiator
    #[serde(rename = "source.port")]
    pub source_port: u16,
    /// Bytes that the source sent, from the Ethernet header on
    #[serde(rename = "source.bytes")]
    #[schemars(extend("x-unit" = "bytes"))]
    pub source_bytes: u64,
    /// Packets that the source sent
    #[serde(rename = "source.packets")]
    #[schemars(extend("x-unit" = "packets"))]
    pub source_packets: u64,
    /// Address of the other end
    #[serde(rename = "destination.ip")]
    pub destination: IpAddr,
    /// Port of the other end
    #[serde(rename = "destination.port")]
    pub destination_port: u16,
    /// Bytes that the destination sent
    #[serde(rename = "destination.bytes")]
    #[schemars(extend("x-unit" = "bytes"))]
    pub destination_bytes: u64,
    /// Packets that the destination sent
    #[serde(rename = "destination.packets")]
    #[schemars(extend("x-unit" = "packets"))]
    pub destination_packets: u64,
    /// Name of the IP protocol, else its number
    #[serde(rename = "network.transport")]
    pub transport: Cow<'static, str>,
    /// VLAN identifier of the outer tag, absent without one
    #[serde(
        rename = "network.vlan.id",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub vlan: Option<u16>,
    /// VLAN identifier of the inner tag (802.1ad), absent without one
    #[serde(
        rename = "network.inner.vlan.id",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub inner_vlan: Option<u16>,
    /// Tunnel that the flow came in, absent without one: `vxlan`, `vxlan_gpe`, `geneve`, `gre`, `ip`
    #[serde(
        rename = "tunnel.type",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub tunnel: Option<Cow<'static, str>>,
    /// Network identifier of the tunnel (VXLAN, Geneve) or its key (GRE)
    #[serde(rename = "tunnel.id", default, skip_serializing_if = "Option::is_none")]
    pub tunnel_id: Option<u32>,
    /// Outer address of what the source sent
    #[serde(
        rename = "tunnel.source.ip",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub tunnel_source: Option<IpAddr>,
    /// Outer address of what the destination sent
    #[serde(
        rename = "tunnel.destination.ip",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub tunnel_destination: Option<IpAddr>,
    /// True for a configured tunnel; in others anybody may make the flow's addresses up
    #[serde(
        rename = "tunnel.configured",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub is_tunnel_configured: Option<bool>,
    /// Community ID, version 1
    #[serde(rename = "network.community_id")]
    pub community_id: String,
    /// Reason of its end, as IPFIX names it (RFC 5102, 136); absent while it goes on
    #[serde(
        rename = "flow.end_reason",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub end_reason: Option<Cow<'static, str>>,
    /// First packet
    #[serde(rename = "event.start")]
    pub start: Timestamp,
    /// Last packet
    #[serde(rename = "event.end")]
    pub end: Timestamp,
    /// Counters of what the source sent
    pub forward: Side,
    /// Counters of what the destination sent
    pub backward: Side,
    #[serde(flatten)]
    pub notes: Notes,
}

/// Counters of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Side {
    /// Number of packets
    #[schemars(extend("x-unit" = "packets"))]
    pub packets: u64,
    /// Bytes from the Ethernet header on
    #[schemars(extend("x-unit" = "bytes"))]
    pub bytes: u64,
    /// Shortest packet
    #[serde(rename = "length.min")]
    #[schemars(extend("x-unit" = "bytes"))]
    pub length_min: u16,
    /// Longest packet
    #[serde(rename = "length.max")]
    #[schemars(extend("x-unit" = "bytes"))]
    pub length_max: u16,
    /// TCP flags that were seen, as bits
    #[serde(rename = "tcp.flags")]
    pub tcp_flags: u8,
    /// TTL or hop limit of the first packet
    pub ttl: u8,
    /// Packets of up to 80, 160, 320 and 1,000 bytes; the rest are longer
    #[serde(rename = "length.histogram")]
    #[schemars(extend("x-unit" = "packets"))]
    pub length_histogram: [u64; 4],
}

impl From<&Totals> for Side {
    fn from(totals: &Totals) -> Self {
        Self {
            packets: totals.packets,
            bytes: totals.bytes,
            length_min: totals.length_min,
            length_max: totals.length_max,
            tcp_flags: totals.tcp_flags,
            ttl: totals.ttl,
            length_histogram: totals.length_histogram,
        }
    }
}

/// A VLAN identifier; 0 is none.
const fn identifier(vlan: u16) -> Option<u16> {
    if vlan == 0 { None } else { Some(vlan) }
}

impl Flow {
    /// Builds the record of a flow that ended.
    pub fn ended(head: Head, flow: &FlowSummary) -> Self {
        Self {
            end_reason: Some(Cow::Borrowed(flow.end_reason.label())),
            ..Self::live(head, flow)
        }
    }

    /// Builds the record of a flow that goes on.
    pub fn live(head: Head, flow: &FlowSummary) -> Self {
        Self {
            head,
            source: flow.source,
            source_port: flow.source_port,
            source_bytes: flow.forward.bytes,
            source_packets: flow.forward.packets,
            destination: flow.destination,
            destination_port: flow.destination_port,
            destination_bytes: flow.backward.bytes,
            destination_packets: flow.backward.packets,
            transport: transport(flow.protocol),
            vlan: identifier(flow.realm.vlan()),
            inner_vlan: identifier(flow.realm.inner_vlan()),
            tunnel: flow.tunnel.map(|tunnel| Cow::Borrowed(tunnel.kind)),
            tunnel_id: flow.tunnel.map(|tunnel| tunnel.id),
            tunnel_source: flow.tunnel.map(|tunnel| tunnel.source),
            tunnel_destination: flow.tunnel.map(|tunnel| tunnel.destination),
            is_tunnel_configured: flow.tunnel.map(|tunnel| tunnel.is_configured),
            community_id: flow.community_id(),
            end_reason: None,
            start: Timestamp(flow.first_ns),
            end: Timestamp(flow.last_ns),
            forward: Side::from(&flow.forward),
            backward: Side::from(&flow.backward),
            notes: Notes::of(&flow.notes),
        }
    }
}
