//! Messages of one exporter, read: IPFIX (RFC 7011), NetFlow versions 5 and 9 (RFC 3954), sFlow
//! version 5. The version is told by the message.
//!
//! What is remembered of an exporter is bounded: domains, templates, their fields, samplers. What finds
//! no room is counted, and so is everything that can't be read.

mod counter;
mod fields;
mod sflow;
mod template;
mod v5;

use std::collections::BTreeMap;

use self::fields::{Clock, Values};
use self::template::{Template, Templates};
use crate::bytes::Bytes;
use crate::record::FlowRecord;

pub use self::counter::{Counter, Counts};

/// Domains, or sources, of one exporter that are followed.
const MAX_DOMAINS: usize = 64;
/// Samplers of one domain whose interval is remembered.
const MAX_SAMPLERS: usize = 64;
/// Greatest factor of sampling that is taken.
const MAX_FACTOR: u64 = 1 << 20;
/// Clocks that differ by no more agree: headers tell whole seconds, and messages take their time.
const AGREE_NS: u64 = 2_000_000_000;

/// Flow or packet that an exporter saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen<'a> {
    /// A flow record, its counters multiplied by the sampling factor.
    Flow { record: FlowRecord, factor: u32 },
    /// A packet that was sampled.
    Packet(SampledPacket<'a>),
}

/// The first bytes of one packet in `factor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampledPacket<'a> {
    pub at_ns: u64,
    pub link: Link,
    pub bytes: &'a [u8],
    /// Length on the wire.
    pub wire_bytes: u32,
    pub factor: u32,
}

/// Header that a sampled packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ethernet,
    Ipv4,
    Ipv6,
}

/// Reader of one exporter's messages.
#[derive(Debug, Default)]
pub struct Decoder {
    domains: BTreeMap<(Version, u32), Domain>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V5,
    V9,
    Ipfix,
    Sflow,
}

/// Memory of one observation domain.
#[derive(Debug, Default)]
struct Domain {
    /// Sequence number that the next message should have.
    next: Option<u32>,
    templates: Templates,
    /// Packets in which one was sampled, by sampler; 0: the whole domain.
    samplers: BTreeMap<u64, u32>,
    /// Time that system uptimes of IPFIX count from, ms.
    init_ms: u64,
}

/// A message that could not be read to its end.
#[derive(Debug)]
struct Malformed;

type Read = Result<(), Malformed>;

impl Decoder {
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Templates that are remembered.
    pub fn n_templates(&self) -> usize {
        let domains = self.domains.values();
        domains.map(|domain| domain.templates.len()).sum()
    }

    /// Reads a datagram that came at `received_ns`, unix time, and hands out what it tells.
    pub fn take<'a>(
        &mut self,
        received_ns: u64,
        datagram: &'a [u8],
        out: &mut impl FnMut(Seen<'a>),
    ) {
        let version = match datagram {
            [0, 0, 0, 5, ..] => Version::Sflow,
            [0, 5, ..] => Version::V5,
            [0, 9, ..] => Version::V9,
            [0, 10, ..] => Version::Ipfix,
            _ => return self.counts.add(Counter::OtherVersion, 1),
        };
        self.counts.add(Counter::Messages, 1);
        let mut bytes = Bytes(datagram);
        let read = match version {
            Version::V5 => self.v5(received_ns, &mut bytes, out),
            Version::V9 => self.v9(received_ns, &mut bytes, out),
            Version::Ipfix => self.ipfix(received_ns, &mut bytes, out),
            Version::Sflow => self.sflow(received_ns, &mut bytes, out),
        };
        if let Err(Malformed) = read {
            self.counts.add(Counter::Malformed, 1);
        }
    }

    fn v9<'a>(
        &mut self,
        received_ns: u64,
        bytes: &mut Bytes<'a>,
        out: &mut impl FnMut(Seen<'a>),
    ) -> Read {
        let [_, _] = bytes.array().ok_or(Malformed)?;
        let _n_records = bytes.u16().ok_or(Malformed)?;
        let uptime_ms = bytes.u32().ok_or(Malformed)?;
        let exported_s = bytes.u32().ok_or(Malformed)?;
        let sequence = bytes.u32().ok_or(Malformed)?;
        let id = bytes.u32().ok_or(Malformed)?;
        let clock = Clock::of_uptime(received_ns, u64::from(exported_s) * 1_000, uptime_ms);
        let Some(domain) = domain(&mut self.domains, &mut self.counts, Version::V9, id) else {
            return Ok(());
        };
        domain.follow(sequence, &mut self.counts);
        domain.next = Some(sequence.wrapping_add(1));
        let mut sets = Sets {
            version: Version::V9,
            clock,
            domain,
            counts: &mut self.counts,
            is_whole: true,
        };
        sets.read(bytes, out).map(|_n_records| ())
    }

    fn ipfix<'a>(
        &mut self,
        received_ns: u64,
        bytes: &mut Bytes<'a>,
        out: &mut impl FnMut(Seen<'a>),
    ) -> Read {
        let [_, _] = bytes.array().ok_or(Malformed)?;
        let length = bytes.u16().ok_or(Malformed)?;
        let exported_s = bytes.u32().ok_or(Malformed)?;
        let sequence = bytes.u32().ok_or(Malformed)?;
        let id = bytes.u32().ok_or(Malformed)?;
        let inner = usize::from(length).checked_sub(16).ok_or(Malformed)?;
        let mut inner = Bytes(bytes.take(inner).ok_or(Malformed)?);
        let Some(domain) = domain(&mut self.domains, &mut self.counts, Version::Ipfix, id) else {
            return Ok(());
        };
        let clock = Clock::of_init(received_ns, u64::from(exported_s) * 1_000, domain.init_ms);
        domain.follow(sequence, &mut self.counts);
        domain.next = None;
        let mut sets = Sets {
            version: Version::Ipfix,
            clock,
            domain,
            counts: &mut self.counts,
            is_whole: true,
        };
        let n_records = sets.read(&mut inner, out)?;
        // Records of unknown templates can't be counted: the next message sets the number anew.
        if sets.is_whole {
            domain.next = Some(sequence.wrapping_add(n_records));
        }
        Ok(())
    }
}

/// The memory of a domain; none where there are too many.
fn domain<'a>(
    domains: &'a mut BTreeMap<(Version, u32), Domain>,
    counts: &mut Counts,
    version: Version,
    id: u32,
) -> Option<&'a mut Domain> {
    let n_domains = domains.len();
    if n_domains >= MAX_DOMAINS && !domains.contains_key(&(version, id)) {
        counts.add(Counter::DomainsFull, 1);
        return None;
    }
    Some(domains.entry((version, id)).or_default())
}

impl Domain {
    /// Holds a sequence number against the one that was due.
    fn follow(&mut self, sequence: u32, counts: &mut Counts) {
        let Some(next) = self.next else { return };
        let ahead = sequence.wrapping_sub(next);
        if ahead > u32::MAX / 2 {
            counts.add(Counter::Restarts, 1);
        } else {
            counts.add(Counter::Gaps, u64::from(ahead));
        }
    }

    /// Remembers the interval of a sampler.
    fn note_sampler(&mut self, values: &Values) {
        let Some(interval) = values.interval() else {
            return;
        };
        let sampler = values.sampler.unwrap_or(0);
        if self.samplers.len() < MAX_SAMPLERS || self.samplers.contains_key(&sampler) {
            self.samplers.insert(sampler, factor(interval));
        }
    }

    /// Factor that a record's counters are multiplied by.
    fn factor_of(&self, values: &Values) -> u32 {
        if let Some(interval) = values.interval() {
            return factor(interval);
        }
        let of = |sampler: u64| self.samplers.get(&sampler).copied();
        let own = values.sampler.and_then(of);
        own.or_else(|| of(0)).unwrap_or(1)
    }
}

/// A factor within bounds.
fn factor(interval: u64) -> u32 {
    interval.clamp(1, MAX_FACTOR) as u32
}

/// Sets of a message of version 9 or IPFIX.
struct Sets<'d> {
    version: Version,
    clock: Clock,
    domain: &'d mut Domain,
    counts: &'d mut Counts,
    /// Every record was of a known template.
    is_whole: bool,
}

impl Sets<'_> {
    /// Reads them all; the number of data records, those of options included.
    fn read<'a>(
        &mut self,
        bytes: &mut Bytes<'a>,
        out: &mut impl FnMut(Seen<'a>),
    ) -> Result<u32, Malformed> {
        let [of_templates, of_options] = match self.version {
            Version::Ipfix => [2, 3],
            Version::V9 | Version::V5 | Version::Sflow => [0, 1],
        };
        let mut n_records = 0;
        // Less than a header is padding.
        while bytes.len() >= 4 {
            let id = bytes.u16().ok_or(Malformed)?;
            let length = usize::from(bytes.u16().ok_or(Malformed)?);
            let length = length.checked_sub(4).ok_or(Malformed)?;
            let mut set = Bytes(bytes.take(length).ok_or(Malformed)?);
            if id == of_templates || id == of_options {
                let is_ipfix = self.version == Version::Ipfix;
                let templates = &mut self.domain.templates;
                templates.read(&mut set, (id == of_options, is_ipfix), self.counts)?;
            } else if id >= 256 {
                n_records += self.records(id, set, out)?;
            }
        }
        Ok(n_records)
    }

    /// Reads the records of a set.
    fn records<'a>(
        &mut self,
        id: u16,
        mut set: Bytes<'a>,
        out: &mut impl FnMut(Seen<'a>),
    ) -> Result<u32, Malformed> {
        let Some(template) = self.domain.templates.get(id) else {
            self.counts.add(Counter::UnknownTemplate, 1);
            self.is_whole = false;
            return Ok(0);
        };
        let mut n_records = 0u32;
        while set.len() >= template.least_bytes() {
            let values = read_record(&template, &mut set)?;
            n_records = n_records.saturating_add(1);
            if template.is_options {
                self.domain.note_sampler(&values);
                if let Some(init_ms) = values.init_ms {
                    self.domain.init_ms = init_ms;
                }
                continue;
            }
            let factor = self.domain.factor_of(&values);
            let mut n_flows = 0;
            values.flows(&self.clock, factor, &mut |record| {
                n_flows += 1;
                out(Seen::Flow { record, factor });
            });
            let counter = if n_flows == 0 {
                Counter::Empty
            } else {
                Counter::Records
            };
            self.counts.add(counter, n_flows.max(1));
        }
        Ok(n_records)
    }
}

/// Reads the fields of one record.
fn read_record(template: &Template, set: &mut Bytes<'_>) -> Result<Values, Malformed> {
    let mut values = Values::default();
    for field in &template.fields {
        let length = match field.length {
            template::VARIABLE => match set.u8().ok_or(Malformed)? {
                255 => usize::from(set.u16().ok_or(Malformed)?),
                short => usize::from(short),
            },
            fixed => usize::from(fixed),
        };
        values.set(field, set.take(length).ok_or(Malformed)?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests;
