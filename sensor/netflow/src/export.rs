//! Messages of IPFIX and NetFlow version 9 from flow records.
//!
//! Four templates: IPv4 and IPv6, each for flows and for packets that were dropped. Records of a kind
//! that follow one another share a set. The sequence number counts data records with IPFIX (RFC 7011,
//! 3.1), messages with version 9 (RFC 3954, 5.1); whoever reads it can tell what was lost on the way.

use std::net::IpAddr;

use crate::element as e;
use crate::record::{FlowRecord, Way};

/// Version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// IPFIX, RFC 7011.
    Ipfix,
    /// NetFlow version 9, RFC 3954.
    NetflowV9,
}

/// Least and greatest bytes of a message: templates and a record fit; UDP over IPv4 carries no more.
pub const MIN_MESSAGE: usize = 512;
pub const MAX_MESSAGE: usize = 65_507;

/// Identifiers of the templates: the first, for IPv6 one more, for what was dropped two more.
const FIRST_TEMPLATE: u16 = 256;
const N_TEMPLATES: u16 = 4;
/// Bytes of a set's header.
const SET_HEADER: usize = 4;
/// Bytes of the longest record.
const LONGEST: usize = 96;
/// Age that version 9's clock begins with: times of flows are after its zero, and 32 bits of
/// milliseconds last.
const UPTIME_MS: u64 = 3_600_000;
/// Age at which that clock begins anew.
const MAX_UPTIME_MS: u64 = 1 << 31;

/// Field of a template: element and length.
type Field = (u16, u16);

/// Addresses, in front of the fields that all templates have.
const ADDRESSES_V4: [Field; 2] = [
    (e::SOURCE_IPV4_ADDRESS, 4),
    (e::DESTINATION_IPV4_ADDRESS, 4),
];
const ADDRESSES_V6: [Field; 2] = [
    (e::SOURCE_IPV6_ADDRESS, 16),
    (e::DESTINATION_IPV6_ADDRESS, 16),
];
const COMMON: [Field; 11] = [
    (e::SOURCE_TRANSPORT_PORT, 2),
    (e::DESTINATION_TRANSPORT_PORT, 2),
    (e::PROTOCOL_IDENTIFIER, 1),
    (e::TCP_CONTROL_BITS, 1),
    (e::FLOW_DIRECTION, 1),
    (e::FLOW_END_REASON, 1),
    (e::INGRESS_INTERFACE, 4),
    (e::EGRESS_INTERFACE, 4),
    (e::VLAN_ID, 2),
    (e::PACKET_DELTA_COUNT, 8),
    (e::OCTET_DELTA_COUNT, 8),
];
const TIMES_IPFIX: [Field; 2] = [
    (e::FLOW_START_MILLISECONDS, 8),
    (e::FLOW_END_MILLISECONDS, 8),
];
const TIMES_V9: [Field; 2] = [(e::FLOW_START_SYS_UP_TIME, 4), (e::FLOW_END_SYS_UP_TIME, 4)];
const DENIED: [Field; 2] = [(e::FIREWALL_EVENT, 1), (e::FORWARDING_STATUS, 1)];

/// `firewallEvent`: flow denied.
const EVENT_DENIED: u8 = 3;
/// `forwardingStatus`: dropped, by an access list.
const STATUS_DROPPED: u8 = 130;

/// Encodes one stream of messages.
#[derive(Debug)]
pub struct Exporter {
    protocol: Protocol,
    domain: u32,
    max_message: usize,
    /// Header and sets of the message that is filled.
    message: Vec<u8>,
    /// Begin of the set that is filled, and its template; none between sets.
    set: Option<(usize, u16)>,
    /// Data records in the message; templates, which version 9 counts with them.
    n_records: u16,
    n_templates: u16,
    sequence: u32,
    /// Unix time of the zero of version 9's clock, ms.
    zero_ms: u64,
}

impl Exporter {
    /// A stream whose messages hold at most `max_message` bytes, kept within [`MIN_MESSAGE`] and
    /// [`MAX_MESSAGE`]. `domain` is the observation domain, or source identifier.
    pub fn new(protocol: Protocol, domain: u32, max_message: usize, now_ns: u64) -> Self {
        let mut exporter = Self {
            protocol,
            domain,
            max_message: max_message.clamp(MIN_MESSAGE, MAX_MESSAGE),
            message: Vec::new(),
            set: None,
            n_records: 0,
            n_templates: 0,
            sequence: 0,
            zero_ms: 0,
        };
        exporter.set_clock(now_ns / 1_000_000);
        exporter.begin();
        exporter
    }

    /// Data records that wait in the message.
    pub const fn n_waiting(&self) -> u16 {
        self.n_records
    }

    /// True where one more record may not fit: [`Self::finish`] comes first.
    pub const fn is_full(&self) -> bool {
        self.message.len() + SET_HEADER + LONGEST > self.max_message
    }

    /// Puts the templates in front of the next message. Only before its first record.
    pub fn add_templates(&mut self) {
        if self.n_records > 0 || self.n_templates > 0 {
            return;
        }
        let start = self.open_set(match self.protocol {
            Protocol::Ipfix => 2,
            Protocol::NetflowV9 => 0,
        });
        for id in FIRST_TEMPLATE..FIRST_TEMPLATE + N_TEMPLATES {
            let (is_v6, is_denied) = (id & 1 == 1, id & 2 == 2);
            let fields: Vec<Field> = fields(self.protocol, is_v6, is_denied).collect();
            self.put_u16(id);
            self.put_u16(fields.len() as u16);
            for (element, length) in fields {
                self.put_u16(element);
                self.put_u16(length);
            }
        }
        self.close_set(start);
        self.n_templates = N_TEMPLATES;
    }

    /// Adds a record to the message. `false`: it is full.
    pub fn add(&mut self, record: &FlowRecord) -> bool {
        if self.is_full() {
            return false;
        }
        let id = template(record);
        match self.set {
            Some((_, open)) if open == id => {}
            Some((start, _)) => {
                self.close_set(start);
                self.set = Some((self.open_set(id), id));
            }
            None => self.set = Some((self.open_set(id), id)),
        }
        self.put_record(record);
        self.n_records += 1;
        true
    }

    /// Ends the message and hands it out; none where it holds nothing. The next one is begun.
    pub fn finish(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        if self.n_records == 0 && self.n_templates == 0 {
            return None;
        }
        if let Some((start, _)) = self.set.take() {
            self.close_set(start);
        }
        // Whole seconds, so that both clocks of version 9 agree and the times of flows are exact.
        let now_s = now_ns.div_ceil(1_000_000_000);
        let length = self.message.len() as u16;
        let (n_records, domain, sequence) = (self.n_records, self.domain, self.sequence);
        let mut head = Vec::with_capacity(20);
        match self.protocol {
            Protocol::Ipfix => {
                head.extend(10u16.to_be_bytes());
                head.extend(length.to_be_bytes());
                head.extend((now_s as u32).to_be_bytes());
                self.sequence = sequence.wrapping_add(u32::from(n_records));
            }
            Protocol::NetflowV9 => {
                let uptime_ms = now_s.saturating_mul(1_000).saturating_sub(self.zero_ms);
                head.extend(9u16.to_be_bytes());
                head.extend((n_records + self.n_templates).to_be_bytes());
                head.extend((uptime_ms as u32).to_be_bytes());
                head.extend((now_s as u32).to_be_bytes());
                self.sequence = sequence.wrapping_add(1);
            }
        }
        head.extend(sequence.to_be_bytes());
        head.extend(domain.to_be_bytes());
        if let Some(place) = self.message.get_mut(..head.len()) {
            place.copy_from_slice(&head);
        }
        let message = std::mem::take(&mut self.message);
        let now_ms = now_ns / 1_000_000;
        if now_ms.saturating_sub(self.zero_ms) > MAX_UPTIME_MS {
            self.set_clock(now_ms);
        }
        self.begin();
        Some(message)
    }

    const fn set_clock(&mut self, now_ms: u64) {
        self.zero_ms = now_ms.saturating_sub(UPTIME_MS) / 1_000 * 1_000;
    }

    fn begin(&mut self) {
        let head = match self.protocol {
            Protocol::Ipfix => 16,
            Protocol::NetflowV9 => 20,
        };
        self.message = Vec::with_capacity(self.max_message);
        self.message.resize(head, 0);
        (self.set, self.n_records, self.n_templates) = (None, 0, 0);
    }

    fn open_set(&mut self, id: u16) -> usize {
        let start = self.message.len();
        self.put_u16(id);
        self.put_u16(0);
        start
    }

    /// Ends a set: with padding to four bytes where version 9 asks for it, which is shorter than any
    /// record.
    fn close_set(&mut self, start: usize) {
        if self.protocol == Protocol::NetflowV9 {
            let length = self.message.len() - start;
            self.message.resize(start + length.next_multiple_of(4), 0);
        }
        let length = (self.message.len() - start) as u16;
        if let Some(place) = self.message.get_mut(start + 2..start + SET_HEADER) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }

    fn put_u16(&mut self, value: u16) {
        self.message.extend(value.to_be_bytes());
    }

    fn put_record(&mut self, record: &FlowRecord) {
        let zero_ms = self.zero_ms;
        let out = &mut self.message;
        for address in [record.source, record.destination] {
            match address {
                IpAddr::V4(v4) => out.extend(v4.octets()),
                IpAddr::V6(v6) => out.extend(v6.octets()),
            }
        }
        out.extend(record.source_port.to_be_bytes());
        out.extend(record.destination_port.to_be_bytes());
        let way = match record.way {
            Way::Ingress => 0,
            Way::Egress => 1,
        };
        let reason = record.end_reason;
        out.extend([record.protocol, record.tcp_flags, way, reason]);
        out.extend(record.ingress.to_be_bytes());
        out.extend(record.egress.to_be_bytes());
        out.extend(record.vlan.to_be_bytes());
        out.extend(record.packets.to_be_bytes());
        out.extend(record.bytes.to_be_bytes());
        for at_ns in [record.first_ns, record.last_ns] {
            let at_ms = at_ns / 1_000_000;
            match self.protocol {
                Protocol::Ipfix => out.extend(at_ms.to_be_bytes()),
                Protocol::NetflowV9 => {
                    out.extend((at_ms.saturating_sub(zero_ms) as u32).to_be_bytes());
                }
            }
        }
        if record.is_denied {
            out.extend([EVENT_DENIED, STATUS_DROPPED]);
        }
    }
}

/// Template of a record.
fn template(record: &FlowRecord) -> u16 {
    let is_v6 = u16::from(is_v6(record));
    FIRST_TEMPLATE + is_v6 + 2 * u16::from(record.is_denied)
}

/// True for a record of IPv6 addresses.
const fn is_v6(record: &FlowRecord) -> bool {
    matches!(record.source, IpAddr::V6(_))
}

/// Fields of a template, in the order of [`Exporter::put_record`].
fn fields(protocol: Protocol, is_v6: bool, is_denied: bool) -> impl Iterator<Item = Field> {
    let addresses = if is_v6 { ADDRESSES_V6 } else { ADDRESSES_V4 };
    let times = match protocol {
        Protocol::Ipfix => TIMES_IPFIX,
        Protocol::NetflowV9 => TIMES_V9,
    };
    let denied: &[Field] = if is_denied { &DENIED } else { &[] };
    let all = addresses.into_iter().chain(COMMON).chain(times);
    all.chain(denied.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_NS: u64 = 1_800_000_000_250_000_000;

    fn record(n: u8) -> FlowRecord {
        FlowRecord {
            source: [192, 0, 2, n].into(),
            destination: [198, 51, 100, n].into(),
            source_port: 50_000,
            destination_port: 443,
            protocol: 6,
            tcp_flags: 0x1b,
            packets: 10,
            bytes: 1_500,
            first_ns: NOW_NS - 2_000_000_000,
            last_ns: NOW_NS - 1_000_000_000,
            end_reason: 3,
            ingress: 3,
            ..FlowRecord::default()
        }
    }

    fn word(message: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(message[at..at + 4].try_into().unwrap())
    }

    fn half(message: &[u8], at: usize) -> u16 {
        u16::from_be_bytes(message[at..at + 2].try_into().unwrap())
    }

    /// Identifiers and lengths of the sets of a message.
    fn sets(message: &[u8], mut at: usize) -> Vec<(u16, u16)> {
        let mut found = Vec::new();
        while at < message.len() {
            found.push((half(message, at), half(message, at + 2)));
            at += usize::from(half(message, at + 2));
        }
        assert_eq!(at, message.len());
        found
    }

    #[test]
    fn a_message_of_nothing_is_none() {
        let mut exporter = Exporter::new(Protocol::Ipfix, 1, 1_400, NOW_NS);
        assert_eq!(exporter.finish(NOW_NS), None);
    }

    #[test]
    fn records_of_a_kind_share_a_set() {
        let mut exporter = Exporter::new(Protocol::Ipfix, 7, 1_400, NOW_NS);
        exporter.add_templates();
        let v6 = FlowRecord {
            source: "2001:db8::1".parse().unwrap(),
            destination: "2001:db8::2".parse().unwrap(),
            ..record(1)
        };
        let dropped = FlowRecord {
            is_denied: true,
            ..record(1)
        };
        for one in [record(1), record(2), v6, dropped] {
            assert!(exporter.add(&one));
        }
        let message = exporter.finish(NOW_NS).unwrap();
        assert_eq!(half(&message, 0), 10);
        assert_eq!(usize::from(half(&message, 2)), message.len());
        assert_eq!(word(&message, 12), 7);
        let ids = sets(&message, 16);
        let [v4, v6, dropped] = [58, 82, 60];
        assert_eq!(
            ids[1..],
            [(256, 4 + 2 * v4), (257, 4 + v6), (258, 4 + dropped)]
        );
        assert_eq!(ids[0].0, 2);
    }

    #[test]
    fn ipfix_counts_records_and_version_9_messages() {
        for (protocol, numbers) in [
            (Protocol::Ipfix, [0, 3, 6]),
            (Protocol::NetflowV9, [0, 1, 2]),
        ] {
            let mut exporter = Exporter::new(protocol, 1, 1_400, NOW_NS);
            for number in numbers {
                exporter.add_templates();
                (1..=3).for_each(|n| assert!(exporter.add(&record(n))));
                let message = exporter.finish(NOW_NS).unwrap();
                let at = if protocol == Protocol::Ipfix { 8 } else { 12 };
                assert_eq!(word(&message, at), number, "{protocol:?}");
            }
        }
    }

    #[test]
    fn messages_keep_to_their_length() {
        for protocol in [Protocol::Ipfix, Protocol::NetflowV9] {
            let mut exporter = Exporter::new(protocol, 1, 600, NOW_NS);
            let mut n_sent = 0;
            for n in 0..200u8 {
                if !exporter.add(&record(n)) {
                    n_sent += exporter.n_waiting();
                    assert!(exporter.finish(NOW_NS).unwrap().len() <= 600);
                    assert!(exporter.add(&record(n)));
                }
            }
            n_sent += exporter.n_waiting();
            assert_eq!(n_sent, 200);
        }
    }

    #[test]
    fn the_longest_record_fits_its_bound() {
        for protocol in [Protocol::Ipfix, Protocol::NetflowV9] {
            let longest: u16 = fields(protocol, true, true).map(|(_, length)| length).sum();
            // With the padding of its set and of the one before.
            assert!(usize::from(longest) + 6 <= LONGEST);
            let mut exporter = Exporter::new(protocol, 1, MIN_MESSAGE, NOW_NS);
            exporter.add_templates();
            assert!(exporter.add(&record(1)));
        }
    }

    #[test]
    fn times_of_version_9_are_exact_by_both_of_its_clocks() {
        let mut exporter = Exporter::new(Protocol::NetflowV9, 1, 1_400, NOW_NS);
        assert!(exporter.add(&record(1)));
        let message = exporter.finish(NOW_NS).unwrap();
        let (uptime, seconds) = (word(&message, 4), word(&message, 8));
        let boot_ms = u64::from(seconds) * 1_000 - u64::from(uptime);
        let times = 20 + 4 + 8 + 34;
        let last_ms = boot_ms + u64::from(word(&message, times + 4));
        assert_eq!(last_ms, NOW_NS / 1_000_000 - 1_000);
        assert!(word(&message, times + 4) <= uptime);
        // A month later the clock was begun anew, and still agrees.
        let later_ns = NOW_NS + 40 * 86_400 * 1_000_000_000;
        assert!(exporter.add(&record(1)));
        assert!(exporter.finish(later_ns).is_some());
        assert!(exporter.add(&FlowRecord {
            last_ns: later_ns,
            ..record(1)
        }));
        let message = exporter.finish(later_ns).unwrap();
        assert!(u64::from(word(&message, 4)) < MAX_UPTIME_MS);
    }
}
