//! The first packets of a flow, as far as the kernel program samples them.

use std::cmp::Ordering;

use sensor_common::Address;
use sensor_common::event::Sample;
use sensor_common::packet::{protocol, tcp_flags};

use super::{Sequence, flag, ln};
use crate::config::SECOND_NS;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::sequence_schema::SequenceKind;

/// Flows followed; 100 bytes each, and 24 for each packet: 7 MB at most.
const MAX_FLOWS: usize = 8_192;
/// Silence after which nothing more is sampled of a flow, or too late to be of its beginning.
const PAUSE_NS: u64 = 5 * SECOND_NS;
/// Packets from which there is an order.
const LEAST: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    ends: [(Address, u16); 2],
    protocol: u8,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    at_ns: u64,
    wire: u32,
    payload: u32,
    flags: u8,
    is_answer: bool,
}

#[derive(Clone, Debug, Default)]
struct Flow {
    packets: Vec<Packet>,
    last_ns: u64,
    source: Address,
    host: Address,
    /// Its sequence was handed out.
    is_told: bool,
}

impl Priority for Flow {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

impl Flow {
    fn sequence(&mut self) -> Option<Sequence> {
        let packets = std::mem::take(&mut self.packets);
        let (first, last) = (packets.first()?, packets.last()?);
        let mut before_ns = first.at_ns;
        let mut values = Vec::new();
        for packet in &packets {
            let length = ln(u64::from(packet.wire));
            let gap_ns = packet.at_ns.saturating_sub(before_ns);
            before_ns = before_ns.max(packet.at_ns);
            let has = |bit: u8| flag(packet.flags & bit != 0);
            values.extend([
                if packet.is_answer { -length } else { length },
                ln(gap_ns / 1_000),
                has(tcp_flags::SYN),
                has(tcp_flags::ACK),
                has(tcp_flags::PSH),
                has(tcp_flags::FIN),
                has(tcp_flags::RST),
                ln(u64::from(packet.payload)),
            ]);
        }
        Some(Sequence {
            kind: SequenceKind::Packets,
            source: self.source,
            host: Some(self.host),
            at_ns: last.at_ns,
            first_ns: first.at_ns,
            values,
        })
    }
}

#[derive(Debug)]
pub(super) struct Packets {
    flows: Bounded<Key, Flow>,
}

impl Packets {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            flows: Bounded::new("sequence_flows", MAX_FLOWS, hash_seed),
        }
    }

    pub(super) fn usage(&self) -> TableUse {
        self.flows.usage()
    }

    pub(super) fn take(&mut self, sample: &Sample<'_>, is_answer: bool) -> Option<Sequence> {
        let head = sample.head;
        let packet = &head.packet;
        if !matches!(packet.protocol, protocol::TCP | protocol::UDP) {
            return None;
        }
        let from = (packet.source, packet.source_port);
        let to = (packet.destination, packet.destination_port);
        let ends = if from.cmp(&to) == Ordering::Greater {
            [to, from]
        } else {
            [from, to]
        };
        let key = Key {
            ends,
            protocol: packet.protocol,
        };
        let flow = self.flows.get_or_insert_with(key, Flow::default);
        // The tuple is used again.
        let is_another = head.at_ns.saturating_sub(flow.last_ns) >= PAUSE_NS;
        if flow.last_ns == 0 || is_another {
            let (source, host) = if is_answer { (to, from) } else { (from, to) };
            *flow = Flow {
                source: source.0,
                host: host.0,
                ..Flow::default()
            };
        }
        flow.last_ns = head.at_ns;
        if flow.is_told {
            return None;
        }
        flow.packets.push(Packet {
            at_ns: head.at_ns,
            wire: head.wire_bytes,
            payload: head.payload_bytes,
            flags: if packet.protocol == protocol::TCP {
                packet.tcp_flags
            } else {
                0
            },
            is_answer,
        });
        if flow.packets.len() < SequenceKind::Packets.steps() {
            return None;
        }
        flow.is_told = true;
        flow.sequence()
    }

    pub(super) fn tick(&mut self, at_ns: u64, is_last: bool, keep: &mut dyn FnMut(Sequence)) {
        self.flows.retain(|_, flow| {
            if !is_last && at_ns.saturating_sub(flow.last_ns) < PAUSE_NS {
                return true;
            }
            if flow.packets.len() >= LEAST {
                flow.sequence().into_iter().for_each(&mut *keep);
            }
            false
        });
    }
}
