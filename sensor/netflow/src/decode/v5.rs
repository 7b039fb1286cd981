//! NetFlow version 5: records of one fixed form.

use super::fields::Clock;
use super::{Counter, Counts, Head, Malformed, Read, Seen};
use crate::bytes::Bytes;
use crate::record::FlowRecord;

/// Bytes of a record.
const RECORD: usize = 48;
/// Bits of the sampling field that are its interval; the others are its mode.
const INTERVAL: u16 = 0x3fff;

/// Reads the records of a message.
pub fn records<'a>(
    head: &Head,
    clock: &Clock,
    bytes: &mut Bytes<'a>,
    (counts, out): (&mut Counts, &mut impl FnMut(Seen<'a>)),
) -> Read {
    let factor = u32::from((head.sampling & INTERVAL).max(1));
    for _ in 0..head.n_records {
        let mut record = Bytes(bytes.take(RECORD).ok_or(Malformed)?);
        let record = record_of(&mut record, clock).ok_or(Malformed)?;
        if record.packets == 0 {
            counts.add(Counter::Empty, 1);
            continue;
        }
        counts.add(Counter::Records, 1);
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
