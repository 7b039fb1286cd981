//! sFlow version 5 (sflow.org, 2004): packets' headers, sampled. Interface counters are passed over.

use super::counter::Counter;
use super::{
    Count, Decoder, Link, MAX_FACTOR, Malformed, Read, SampledPacket, Seen, Version, domain,
};
use crate::bytes::Bytes;

/// Formats of samples: of flows, plain and with wide interface numbers.
const FLOW_SAMPLE: u32 = 1;
const EXPANDED_FLOW_SAMPLE: u32 = 3;
/// Format of a flow record: the raw header of a packet.
const RAW_HEADER: u32 = 1;
/// Bytes before the records of a sample, behind its sequence number and source: rate, pool, drops,
/// interfaces.
const BEFORE_RECORDS: [(u32, usize); 2] = [(FLOW_SAMPLE, 16), (EXPANDED_FLOW_SAMPLE, 24)];

impl Decoder {
    pub(super) fn sflow<'a>(
        &mut self,
        received_ns: u64,
        bytes: &mut Bytes<'a>,
        out: &mut impl FnMut(Seen<'a>),
    ) -> Read {
        let _version = bytes.u32().ok_or(Malformed)?;
        let address = match bytes.u32().ok_or(Malformed)? {
            1 => 4,
            2 => 16,
            _ => return Err(Malformed),
        };
        bytes.take(address).ok_or(Malformed)?;
        let sub_agent = bytes.u32().ok_or(Malformed)?;
        let sequence = bytes.u32().ok_or(Malformed)?;
        let _uptime_ms = bytes.u32().ok_or(Malformed)?;
        let n_samples = bytes.u32().ok_or(Malformed)?;
        let version = Version::Sflow;
        let Some(domain) = domain(&mut self.domains, &mut self.counts, version, sub_agent) else {
            return Ok(());
        };
        domain.follow(Count::Messages, sequence, [None; 2], &mut self.counts);
        for _ in 0..n_samples {
            let format = bytes.u32().ok_or(Malformed)?;
            let length = bytes.u32().ok_or(Malformed)?;
            let mut sample = Bytes(bytes.take(length as usize).ok_or(Malformed)?);
            if let Some((_, before)) = BEFORE_RECORDS.iter().find(|(of, _)| *of == format) {
                self.sample(received_ns, *before, &mut sample, out)?;
            }
        }
        Ok(())
    }

    fn sample<'a>(
        &mut self,
        at_ns: u64,
        before: usize,
        sample: &mut Bytes<'a>,
        out: &mut impl FnMut(Seen<'a>),
    ) -> Read {
        let _sequence = sample.u32().ok_or(Malformed)?;
        // The source: one word, or two.
        sample
            .take(if before > 16 { 8 } else { 4 })
            .ok_or(Malformed)?;
        let rate = sample.u32().ok_or(Malformed)?;
        sample.take(before).ok_or(Malformed)?;
        let n_records = sample.u32().ok_or(Malformed)?;
        for _ in 0..n_records {
            let format = sample.u32().ok_or(Malformed)?;
            let length = sample.u32().ok_or(Malformed)?;
            let mut record = Bytes(sample.take(length as usize).ok_or(Malformed)?);
            if format != RAW_HEADER {
                continue;
            }
            let packet = raw_header(at_ns, rate, &mut record).ok_or(Malformed)?;
            match packet {
                Some(packet) => {
                    self.counts.add(Counter::Packets, 1);
                    out(Seen::Packet(packet));
                }
                None => self.counts.add(Counter::NotFlows, 1),
            }
        }
        Ok(())
    }
}

/// Reads a packet's header; the inner none is one of a link that is not read.
fn raw_header<'a>(
    at_ns: u64,
    rate: u32,
    record: &mut Bytes<'a>,
) -> Option<Option<SampledPacket<'a>>> {
    let protocol = record.u32()?;
    let frame_bytes = record.u32()?;
    let stripped = record.u32()?;
    let n_bytes = record.u32()?;
    let bytes = record.take(n_bytes as usize)?;
    let link = match protocol {
        1 => Link::Ethernet,
        11 => Link::Ipv4,
        12 => Link::Ipv6,
        _ => return Some(None),
    };
    Some(Some(SampledPacket {
        at_ns,
        link,
        bytes,
        // The frame check sequence counts in sFlow, and among what was stripped.
        wire_bytes: frame_bytes.saturating_sub(stripped),
        factor: u64::from(rate).clamp(1, MAX_FACTOR) as u32,
    }))
}
