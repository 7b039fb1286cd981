//! NetFlow version 5: records of one fixed form.

use super::fields::Clock;
use super::{Decoder, Malformed, Read, Seen, Version, domain};
use crate::bytes::Bytes;
use crate::decode::counter::Counter;
use crate::record::FlowRecord;

/// Bytes of a record.
const RECORD: usize = 48;
/// Bits of the sampling field that are its interval; the others are its mode.
const INTERVAL: u16 = 0x3fff;

impl Decoder {
    pub(super) fn v5<'a>(
        &mut self,
        received_ns: u64,
        bytes: &mut Bytes<'a>,
        out: &mut impl FnMut(Seen<'a>),
    ) -> Read {
        let [_, _] = bytes.array().ok_or(Malformed)?;
        let n_records = bytes.u16().ok_or(Malformed)?;
        let uptime_ms = bytes.u32().ok_or(Malformed)?;
        let seconds = bytes.u32().ok_or(Malformed)?;
        let ns = bytes.u32().ok_or(Malformed)?;
        let sequence = bytes.u32().ok_or(Malformed)?;
        let engine = bytes.u16().ok_or(Malformed)?;
        let interval = bytes.u16().ok_or(Malformed)? & INTERVAL;
        let exported_ms = u64::from(seconds) * 1_000 + u64::from(ns) / 1_000_000;
        let clock = Clock::of_uptime(received_ns, exported_ms, uptime_ms);
        let id = u32::from(engine);
        let Some(domain) = domain(&mut self.domains, &mut self.counts, Version::V5, id) else {
            return Ok(());
        };
        domain.follow(sequence, &mut self.counts);
        domain.next = Some(sequence.wrapping_add(u32::from(n_records)));
        let factor = u32::from(interval.max(1));
        for _ in 0..n_records {
            let mut record = Bytes(bytes.take(RECORD).ok_or(Malformed)?);
            let record = record_of(&mut record, &clock).ok_or(Malformed)?;
            if record.packets == 0 {
                self.counts.add(Counter::Empty, 1);
                continue;
            }
            self.counts.add(Counter::Records, 1);
            let times = |count: u64| count.saturating_mul(u64::from(factor));
            let record = FlowRecord {
                packets: times(record.packets),
                bytes: times(record.bytes),
                ..record
            };
            out(Seen::Flow { record, factor });
        }
        Ok(())
    }
}

/// Reads one record.
fn record_of(bytes: &mut Bytes<'_>, clock: &Clock) -> Option<FlowRecord> {
    let source = bytes.array::<4>()?;
    let destination = bytes.array::<4>()?;
    let _next_hop = bytes.u32()?;
    let [ingress, egress] = [bytes.u16()?, bytes.u16()?];
    let [packets, octets] = [bytes.u32()?, bytes.u32()?];
    let [first_ms, last_ms] = [bytes.u32()?, bytes.u32()?];
    let [source_port, destination_port] = [bytes.u16()?, bytes.u16()?];
    let [_padding, tcp_flags, protocol] = bytes.array()?;
    let (first_ns, last_ns) = clock.uptime_span(first_ms, last_ms);
    Some(FlowRecord {
        source: source.into(),
        destination: destination.into(),
        source_port,
        destination_port,
        protocol,
        tcp_flags,
        packets: packets.into(),
        bytes: octets.into(),
        first_ns,
        last_ns,
        ingress: ingress.into(),
        egress: egress.into(),
        ..FlowRecord::default()
    })
}
