//! A flow record, one direction of a conversation.

use std::net::{IpAddr, Ipv4Addr};

/// Way of the packets through the interface (element 61, flowDirection).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    #[default]
    Ingress,
    Egress,
}

/// Packets of one direction of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub source_port: u16,
    /// Of ICMP: `type << 8 | code`.
    pub destination_port: u16,
    pub protocol: u8,
    /// Union of the control bits.
    pub tcp_flags: u8,
    pub packets: u64,
    /// From the IP header on.
    pub bytes: u64,
    /// First and last packet, unix time, ns.
    pub first_ns: u64,
    pub last_ns: u64,
    /// Reason of its end as element 136, flowEndReason, numbers it; 0: not told.
    pub end_reason: u8,
    pub way: Way,
    /// Indexes of the interfaces by which the packets came and went; 0: not known.
    pub ingress: u32,
    pub egress: u32,
    /// VLAN identifier of the outer tag; 0: none.
    pub vlan: u16,
    /// The packets were dropped.
    pub is_denied: bool,
}

impl Default for FlowRecord {
    fn default() -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            source: nowhere,
            destination: nowhere,
            source_port: 0,
            destination_port: 0,
            protocol: 0,
            tcp_flags: 0,
            packets: 0,
            bytes: 0,
            first_ns: 0,
            last_ns: 0,
            end_reason: 0,
            way: Way::Ingress,
            ingress: 0,
            egress: 0,
            vlan: 0,
            is_denied: false,
        }
    }
}
