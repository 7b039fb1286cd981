//! Values of a record's fields, and the flows that they tell of.

use std::net::IpAddr;

use super::AGREE_NS;
use super::template::{Field, Of};
use crate::bytes::number;
use crate::element as e;
use crate::record::{FlowRecord, Way};

const MS_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// Seconds from 1900, which NTP counts from, to 1970.
const NTP_TO_UNIX_S: u64 = 2_208_988_800;
/// Bytes of a packet where a record counts bytes alone: those of a full Ethernet frame.
const FULL_PACKET: u64 = 1_500;
/// Control bits where a record has none: an acknowledged segment, which begins and ends nothing.
const NO_FLAGS: u8 = 0x10;

/// Time in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Unix time, ns.
    Unix(u64),
    /// Uptime of the exporter, ms.
    Uptime(u32),
    /// Before the message was sent, ns.
    Before(u64),
}

/// Clock of an exporter, as one message tells it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    received_ns: u64,
    exported_ns: u64,
    /// Unix time of uptime 0, ms; none: not known.
    zero_ms: Option<u64>,
    /// Uptime of the export, ms, where the message tells it.
    uptime_ms: Option<u32>,
}

impl Clock {
    /// The clock of a message that tells its uptime.
    pub const fn of_uptime(received_ns: u64, exported_ms: u64, uptime_ms: u32) -> Self {
        Self {
            received_ns,
            exported_ns: exported_ms.saturating_mul(MS_NS),
            zero_ms: exported_ms.checked_sub(uptime_ms as u64),
            uptime_ms: Some(uptime_ms),
        }
    }

    /// The clock of a message of IPFIX; `init_ms` is the time of the exporter's start, 0: not known.
    pub const fn of_init(received_ns: u64, exported_ms: u64, init_ms: u64) -> Self {
        Self {
            received_ns,
            exported_ns: exported_ms.saturating_mul(MS_NS),
            zero_ms: if init_ms > 0 { Some(init_ms) } else { None },
            uptime_ms: None,
        }
    }

    /// Time by the clock of whoever received the message: exporters' clocks may be wrong, their
    /// differences are right.
    fn unix_ns(&self, at: At) -> Option<u64> {
        let at_ns = match at {
            At::Unix(at_ns) => at_ns,
            At::Before(by_ns) => self.exported_ns.saturating_sub(by_ns),
            At::Uptime(ms) => self.of_uptime_ms(ms)?.saturating_mul(MS_NS),
        };
        let is_agreed = self.received_ns.abs_diff(self.exported_ns) <= AGREE_NS;
        Some(if is_agreed {
            at_ns
        } else if self.received_ns > self.exported_ns {
            at_ns.saturating_add(self.received_ns - self.exported_ns)
        } else {
            at_ns.saturating_sub(self.exported_ns - self.received_ns)
        })
    }

    /// Uptimes run round after 49 days: one later than the export is of the round before.
    fn of_uptime_ms(&self, ms: u32) -> Option<u64> {
        let zero_ms = self.zero_ms?;
        let at_ms = zero_ms.saturating_add(u64::from(ms));
        Some(match self.uptime_ms {
            Some(now) if ms.wrapping_sub(now) < u32::MAX / 2 && ms > now.saturating_add(60_000) => {
                at_ms.saturating_sub(1 << 32)
            }
            _ => at_ms,
        })
    }

    /// Times of a flow's first and last packet: in order, and none after the message itself.
    pub fn span(&self, first: Option<u64>, last: Option<u64>) -> (u64, u64) {
        let end_ns = last.or(first).unwrap_or(self.received_ns);
        let last_ns = end_ns.min(self.received_ns.saturating_add(AGREE_NS));
        (first.unwrap_or(last_ns).min(last_ns), last_ns)
    }

    /// Times by uptime.
    pub fn uptime_span(&self, first_ms: u32, last_ms: u32) -> (u64, u64) {
        let at = |ms| self.unix_ns(At::Uptime(ms));
        self.span(at(first_ms), at(last_ms))
    }
}

/// Fields of one record; none: it has no such.
#[derive(Clone, Copy, Debug, Default)]
pub struct Values {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    ports: [u16; 2],
    icmp: Option<u16>,
    protocol: u8,
    flags: [Option<u8>; 2],
    /// Forward and back.
    packets: [Option<u64>; 2],
    bytes: [Option<u64>; 2],
    first: Option<At>,
    last: Option<At>,
    end_reason: u8,
    is_egress: bool,
    interfaces: [u32; 2],
    vlan: u16,
    firewall_event: u8,
    forwarding_status: u8,
    /// Sampling: packets in which one is taken, and those left between.
    interval: Option<u64>,
    space: Option<u64>,
    pub sampler: Option<u64>,
    pub init_ms: Option<u64>,
}

impl Values {
    /// Takes the value of a field.
    pub fn set(&mut self, field: &Field, bytes: &[u8]) {
        let value = number(bytes);
        let side = match field.of {
            Of::Forward => 0,
            Of::Reverse => 1,
            Of::Other => return,
        };
        match field.element {
            e::PACKET_DELTA_COUNT | e::PACKET_TOTAL_COUNT | e::INITIATOR_PACKETS => {
                self.packets[side] = Some(value);
            }
            e::OCTET_DELTA_COUNT | e::OCTET_TOTAL_COUNT | e::INITIATOR_OCTETS => {
                self.bytes[side] = Some(value);
            }
            e::RESPONDER_PACKETS => self.packets[1] = Some(value),
            e::RESPONDER_OCTETS => self.bytes[1] = Some(value),
            e::POST_PACKET_DELTA_COUNT => self.packets[side] = self.packets[side].or(Some(value)),
            e::POST_OCTET_DELTA_COUNT => self.bytes[side] = self.bytes[side].or(Some(value)),
            e::TCP_CONTROL_BITS => self.flags[side] = Some(value as u8),
            // The rest is the same for both ways.
            _ if side == 1 => {}
            element => self.set_plain(element, value, bytes),
        }
    }

    fn set_plain(&mut self, element: u16, value: u64, bytes: &[u8]) {
        match element {
            e::SOURCE_IPV4_ADDRESS | e::SOURCE_IPV6_ADDRESS => {
                self.source = address(bytes).or(self.source);
            }
            e::DESTINATION_IPV4_ADDRESS | e::DESTINATION_IPV6_ADDRESS => {
                self.destination = address(bytes).or(self.destination);
            }
            e::SOURCE_TRANSPORT_PORT => self.ports[0] = value as u16,
            e::DESTINATION_TRANSPORT_PORT => self.ports[1] = value as u16,
            e::ICMP_TYPE_CODE_IPV4 | e::ICMP_TYPE_CODE_IPV6 if value > 0 => {
                self.icmp = Some(value as u16);
            }
            e::PROTOCOL_IDENTIFIER => self.protocol = value as u8,
            e::FLOW_END_REASON => self.end_reason = value as u8,
            e::FLOW_DIRECTION => self.is_egress = value == 1,
            e::INGRESS_INTERFACE => self.interfaces[0] = value as u32,
            e::EGRESS_INTERFACE => self.interfaces[1] = value as u32,
            e::VLAN_ID | e::DOT1Q_VLAN_ID => self.vlan = value as u16 & 0x0fff,
            e::FIREWALL_EVENT => self.firewall_event = value as u8,
            // Four bytes in older exporters, the status first.
            e::FORWARDING_STATUS => {
                self.forwarding_status = bytes.first().copied().unwrap_or_default();
            }
            e::SAMPLING_INTERVAL | e::SAMPLER_RANDOM_INTERVAL | e::SAMPLING_PACKET_INTERVAL
                if value > 0 =>
            {
                self.interval = Some(value);
            }
            e::SAMPLING_PACKET_SPACE => self.space = Some(value),
            e::SAMPLER_ID | e::SELECTOR_ID => self.sampler = Some(value),
            e::SYSTEM_INIT_TIME_MILLISECONDS => self.init_ms = Some(value),
            _ => self.set_time(element, value, bytes),
        }
    }

    fn set_time(&mut self, element: u16, value: u64, bytes: &[u8]) {
        let ntp = || ntp_ns(bytes).map(At::Unix);
        let (place, at) = match element {
            e::FLOW_START_SYS_UP_TIME => (&mut self.first, Some(At::Uptime(value as u32))),
            e::FLOW_END_SYS_UP_TIME => (&mut self.last, Some(At::Uptime(value as u32))),
            e::FLOW_START_SECONDS => (&mut self.first, unix(value, SECOND_NS)),
            e::FLOW_END_SECONDS => (&mut self.last, unix(value, SECOND_NS)),
            e::FLOW_START_MILLISECONDS => (&mut self.first, unix(value, MS_NS)),
            e::FLOW_END_MILLISECONDS | e::OBSERVATION_TIME_MILLISECONDS => {
                (&mut self.last, unix(value, MS_NS))
            }
            e::FLOW_START_MICROSECONDS | e::FLOW_START_NANOSECONDS => (&mut self.first, ntp()),
            e::FLOW_END_MICROSECONDS | e::FLOW_END_NANOSECONDS => (&mut self.last, ntp()),
            e::FLOW_START_DELTA_MICROSECONDS => (&mut self.first, before(value)),
            e::FLOW_END_DELTA_MICROSECONDS => (&mut self.last, before(value)),
            _ => return,
        };
        *place = at.or(*place);
    }

    /// Packets in which one was taken. With a space between (PSAMP, RFC 5477), the interval is that of
    /// packets taken in a row.
    pub fn interval(&self) -> Option<u64> {
        let interval = self.interval?;
        Some(match self.space {
            Some(space) => (interval.saturating_add(space)).div_ceil(interval.max(1)),
            None => interval,
        })
    }

    /// Hands out the flows: forward and back, those that had packets.
    pub fn flows(&self, clock: &Clock, factor: u32, out: &mut impl FnMut(FlowRecord)) {
        let (Some(source), Some(destination)) = (self.source, self.destination) else {
            return;
        };
        if source.is_ipv4() != destination.is_ipv4() {
            return;
        }
        // A firewall tells of a connection's begin as well, and counts its packets later.
        let is_denied = self.firewall_event == 3 || self.forwarding_status >> 6 == 2;
        let at = |at: Option<At>| at.and_then(|at| clock.unix_ns(at));
        let (first_ns, last_ns) = clock.span(at(self.first), at(self.last));
        let forward = FlowRecord {
            source,
            destination,
            source_port: self.ports[0],
            destination_port: self.ports[1],
            protocol: self.protocol,
            first_ns,
            last_ns,
            end_reason: self.end_reason,
            way: if self.is_egress {
                Way::Egress
            } else {
                Way::Ingress
            },
            ingress: self.interfaces[0],
            egress: self.interfaces[1],
            vlan: self.vlan,
            is_denied,
            ..FlowRecord::default()
        };
        let forward = match self.icmp {
            Some(icmp) if matches!(self.protocol, 1 | 58) => FlowRecord {
                source_port: 0,
                destination_port: icmp,
                ..forward
            },
            _ => forward,
        };
        let back = FlowRecord {
            source: forward.destination,
            destination: forward.source,
            source_port: forward.destination_port,
            destination_port: forward.source_port,
            ..forward
        };
        for (side, record) in [forward, back].into_iter().enumerate() {
            let least = u64::from(is_denied && side == 0);
            if let Some(record) = self.counted(side, record, factor, least) {
                out(record);
            }
        }
    }

    /// The record with the counters of its side; none without packets.
    fn counted(&self, side: usize, of: FlowRecord, factor: u32, least: u64) -> Option<FlowRecord> {
        let bytes = self.bytes[side].unwrap_or(0);
        let packets = self.packets[side].unwrap_or_else(|| bytes.div_ceil(FULL_PACKET));
        let packets = packets.max(least);
        let factor = u64::from(factor);
        (packets > 0).then(|| FlowRecord {
            packets: packets.saturating_mul(factor),
            bytes: bytes.saturating_mul(factor),
            tcp_flags: match self.flags[side] {
                Some(flags) => flags,
                None if of.protocol == 6 => NO_FLAGS,
                None => 0,
            },
            ..of
        })
    }
}

const fn unix(value: u64, unit_ns: u64) -> Option<At> {
    if value == 0 {
        return None;
    }
    Some(At::Unix(value.saturating_mul(unit_ns)))
}

const fn before(microseconds: u64) -> Option<At> {
    Some(At::Before(microseconds.saturating_mul(1_000)))
}

/// Unix time of a time stamp of NTP: seconds since 1900, and their fraction.
fn ntp_ns(bytes: &[u8]) -> Option<u64> {
    let [s0, s1, s2, s3, fraction @ ..] = bytes else {
        return None;
    };
    let seconds = u64::from(u32::from_be_bytes([*s0, *s1, *s2, *s3]));
    let seconds = seconds.checked_sub(NTP_TO_UNIX_S)?;
    let fraction = number(fraction.get(..4)?);
    Some(seconds * SECOND_NS + ((fraction * SECOND_NS) >> 32))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let address: IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        16 => <[u8; 16]>::try_from(bytes).ok()?.into(),
        _ => return None,
    };
    // A template for both families fills one with zeros.
    (!address.is_unspecified()).then_some(address)
}
