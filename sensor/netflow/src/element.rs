//! Information elements by their numbers in IANA's registry of IPFIX; below 128 they are the field
//! types of NetFlow version 9 as well (RFC 7012).

pub const OCTET_DELTA_COUNT: u16 = 1;
pub const PACKET_DELTA_COUNT: u16 = 2;
pub const PROTOCOL_IDENTIFIER: u16 = 4;
pub const TCP_CONTROL_BITS: u16 = 6;
pub const SOURCE_TRANSPORT_PORT: u16 = 7;
pub const SOURCE_IPV4_ADDRESS: u16 = 8;
pub const INGRESS_INTERFACE: u16 = 10;
pub const DESTINATION_TRANSPORT_PORT: u16 = 11;
pub const DESTINATION_IPV4_ADDRESS: u16 = 12;
pub const EGRESS_INTERFACE: u16 = 14;
pub const FLOW_END_SYS_UP_TIME: u16 = 21;
pub const FLOW_START_SYS_UP_TIME: u16 = 22;
pub const SOURCE_IPV6_ADDRESS: u16 = 27;
pub const DESTINATION_IPV6_ADDRESS: u16 = 28;
pub const VLAN_ID: u16 = 58;
pub const FLOW_DIRECTION: u16 = 61;
pub const FORWARDING_STATUS: u16 = 89;
pub const FLOW_END_REASON: u16 = 136;
pub const FLOW_START_MILLISECONDS: u16 = 152;
pub const FLOW_END_MILLISECONDS: u16 = 153;
pub const FIREWALL_EVENT: u16 = 233;
