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

/// Things that sequence numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// Records before the message (RFC 7011, NetFlow version 5).
    Before,
    /// Records of flows up to the message's end, those of options left out, as softflowd has it in IPFIX.
    Including,
    /// Messages (RFC 3954, sFlow).
    Messages,
}

impl Count {
    const ALL: [Self; 3] = [Self::Before, Self::Including, Self::Messages];
}

/// A counter with what is added to it.
type Fault = (Counter, u64);

/// Memory of one observation domain.
#[derive(Debug, Default)]
struct Domain {
    /// Sequence number of the last message, and its records where all were read.
    last: Option<(u32, Option<u32>)>,
    /// Count of the exporter, where that is not what its protocol says.
    count: Option<Count>,
    /// A message fitted another count alone: that, and what is counted if no other message does.
    doubt: Option<(Count, Fault)>,
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
            Version::Sflow => self.sflow(received_ns, &mut bytes, out),
            numbered => self.numbered(numbered, received_ns, &mut bytes, out),
        };
        if let Err(Malformed) = read {
            self.counts.add(Counter::Malformed, 1);
        }
    }

    /// Reads a message of version 5, 9 or IPFIX: their heads have the same fields, but for a few.
    fn numbered<'a>(
        &mut self,
        version: Version,
        received_ns: u64,
        bytes: &mut Bytes<'a>,
        out: &mut impl FnMut(Seen<'a>),
    ) -> Read {
        let head = Head::read(version, bytes).ok_or(Malformed)?;
        let Head { sequence, .. } = head;
        let counts = &mut self.counts;
        let Some(domain) = domain(&mut self.domains, counts, version, head.id) else {
            return Ok(());
        };
        let clock = match version {
            Version::Ipfix => Clock::of_init(received_ns, head.exported_ms, domain.init_ms),
            _ => Clock::of_uptime(received_ns, head.exported_ms, head.uptime_ms),
        };
        if version == Version::V5 {
            let n_told = Some(u32::from(head.n_records));
            domain.follow(Count::Before, sequence, [n_told; 2], counts);
            return v5::records(&head, &clock, bytes, (counts, out));
        }
        let mut sets = Sets {
            version,
            clock,
            domain,
            counts,
            is_whole: true,
            n_options: 0,
        };
        let read = sets.read(bytes, out);
        // Records of unknown templates can't be counted, nor those behind a fault.
        let n_records = read.as_ref().ok().copied().filter(|_| sets.is_whole);
        let n_flows = n_records.map(|n| n.saturating_sub(sets.n_options));
        let count = match version {
            Version::Ipfix => Count::Before,
            Version::V5 | Version::V9 | Version::Sflow => Count::Messages,
        };
        domain.follow(count, sequence, [n_records, n_flows], counts);
        read.map(|_n_records| ())
    }
}

/// Head of a message.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// Records that it says to hold; IPFIX tells its bytes instead.
    n_records: u16,
    /// Time since the exporter began, where it tells that.
    uptime_ms: u32,
    exported_ms: u64,
    sequence: u32,
    /// Domain, or source.
    id: u32,
    /// Sampling of version 5.
    sampling: u16,
}

impl Head {
    /// Reads it, and leaves what belongs to the message.
    fn read(version: Version, bytes: &mut Bytes<'_>) -> Option<Self> {
        const IPFIX_HEAD: usize = 16;
        let [_, _] = bytes.array()?;
        let count = bytes.u16()?;
        let is_ipfix = version == Version::Ipfix;
        let uptime_ms = if is_ipfix { 0 } else { bytes.u32()? };
        let mut exported_ms = u64::from(bytes.u32()?) * 1_000;
        let is_v5 = version == Version::V5;
        if is_v5 {
            exported_ms += u64::from(bytes.u32()?) / 1_000_000;
        }
        let sequence = bytes.u32()?;
        let (id, sampling) = if is_v5 {
            (bytes.u16()?.into(), bytes.u16()?)
        } else {
            (bytes.u32()?, 0)
        };
        if is_ipfix {
            let length = usize::from(count).checked_sub(IPFIX_HEAD)?;
            *bytes = Bytes(bytes.take(length)?);
        }
        Some(Self {
            n_records: if is_ipfix { 0 } else { count },
            uptime_ms,
            exported_ms,
            sequence,
            id,
            sampling,
        })
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
    /// Holds a sequence number against the one that was due. Exporters differ in what they count: two messages that
    /// fit one other count alone, with none between that doesn't fit it, tell them.
    fn follow(
        &mut self,
        own: Count,
        sequence: u32,
        [n, n_flows]: [Option<u32>; 2],
        counts: &mut Counts,
    ) {
        let doubt = self.doubt.take();
        let mut settle = |doubt: Option<(Count, Fault)>| {
            if let Some((_, (counter, n))) = doubt {
                counts.add(counter, n);
            }
        };
        let Some((last, n_last)) = self.last.replace((sequence, n)) else {
            return settle(doubt);
        };
        let fits = |count: Count| {
            let more = match count {
                Count::Before => n_last,
                Count::Including => n_flows,
                Count::Messages => Some(1),
            };
            more.map(|more| sequence.wrapping_sub(last.wrapping_add(more)))
        };
        let count = self.count.unwrap_or(own);
        let Some(ahead) = fits(count) else {
            return settle(doubt);
        };
        let is_doubted = |one: Count| doubt.is_some_and(|(doubted, _)| doubted == one);
        if ahead == 0 {
            let fits_doubt = |(doubted, _): &(Count, Fault)| fits(*doubted) == Some(0);
            match doubt.filter(fits_doubt) {
                None => settle(doubt),
                still => self.doubt = still,
            }
            return;
        }
        let fault = if ahead > u32::MAX / 2 {
            (Counter::Restarts, 1)
        } else {
            (Counter::Gaps, u64::from(ahead))
        };
        let mut others = Count::ALL.into_iter().filter(|one| *one != count);
        match others.find(|one| fits(*one) == Some(0)) {
            Some(other) if is_doubted(other) => {
                self.count = Some(other);
                counts.add(Counter::OtherSequence, 1);
            }
            other => {
                settle(doubt);
                self.doubt = other.map(|other| (other, fault));
                if other.is_none() {
                    counts.add(fault.0, fault.1);
                }
            }
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
    /// Records of options among them.
    n_options: u32,
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
                self.n_options = self.n_options.saturating_add(1);
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
