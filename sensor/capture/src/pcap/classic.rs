//! Classic pcap: one file header, then frames back to back.

use super::bytes::ByteOrder;
use super::link::LinkType;
use super::source::Source;
use super::{Data, Fault, MAX_FRAME_LEN, MAX_HELD_LEN, Record, Step};

const FILE_HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;
/// The modified variant adds interface, protocol and packet type to each record.
const MODIFIED_RECORD_HEADER_LEN: usize = 24;
const MAJOR_VERSION: u16 = 2;
const MAX_MINOR_VERSION: u16 = 4;
/// The upper bits of the link field tell of frame check sequences and are no part of the type.
const LINK_MASK: u32 = 0xffff;
const NS_PER_S: u64 = 1_000_000_000;
/// Longest frame on the wire that a header is believed to be one for, where there is a doubt.
const MAX_BELIEVED_LEN: u32 = 1 << 20;
/// Headers in a row that are believed to be where records begin.
const CHAIN: usize = 3;
/// Records of one part are stamped within so long of each other, where there is a doubt.
const NEAR_NS: u64 = 30 * 86_400 * NS_PER_S;

/// Variant of the format by a file's magic number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Variant {
    order: ByteOrder,
    /// Nanoseconds per unit of a stamp's fraction.
    unit_ns: u64,
    record_header_len: usize,
}

impl Variant {
    /// The variant with this magic number, read most significant byte first.
    pub(super) fn from_magic(magic: u32) -> Option<Self> {
        Self::from_ordered(magic, ByteOrder::Big)
            .or_else(|| Self::from_ordered(magic.swap_bytes(), ByteOrder::Little))
    }

    fn from_ordered(magic: u32, order: ByteOrder) -> Option<Self> {
        let (unit_ns, record_header_len) = match magic {
            0xa1b2_c3d4 => (1000, RECORD_HEADER_LEN),
            0xa1b2_3c4d => (1, RECORD_HEADER_LEN),
            0xa1b2_cd34 => (1000, MODIFIED_RECORD_HEADER_LEN),
            _ => return None,
        };
        Some(Self {
            order,
            unit_ns,
            record_header_len,
        })
    }
}

/// True for the first bytes of a file header; fewer than 8 are none.
pub(super) fn is_file_header(bytes: &[u8]) -> bool {
    let Some(variant) = Variant::from_magic(ByteOrder::Big.u32_at(bytes, 0)) else {
        return false;
    };
    let version = [4, 6].map(|at| variant.order.u16_at(bytes, at));
    version[0] == MAJOR_VERSION && version[1] <= MAX_MINOR_VERSION
}

/// Parser of a classic pcap file.
pub(super) struct Classic {
    variant: Variant,
    link_number: u32,
    link: Option<LinkType>,
    link_reported: bool,
    /// Stamp of the last record.
    last_ns: Option<u64>,
}

/// Header of a record.
struct Head {
    at_ns: u64,
    captured_len: u32,
    wire_len: u32,
    /// The stamp's fraction is less than a second.
    is_in_time: bool,
}

impl Classic {
    /// Reads the file header.
    pub(super) fn open(variant: Variant, source: &mut Source) -> Result<Self, Fault> {
        source.require(FILE_HEADER_LEN)?;
        let header = source.peek();
        if variant.order.u16_at(header, 4) != MAJOR_VERSION {
            return Err(Fault::Lost {
                offset: source.offset() + 4,
                what: "its pcap version is not 2",
            });
        }
        let link_number = variant.order.u32_at(header, 20) & LINK_MASK;
        source.take(0, FILE_HEADER_LEN);
        let link = LinkType::from_number(link_number);
        Ok(Self {
            variant,
            link_number,
            link,
            link_reported: false,
            last_ns: None,
        })
    }

    /// Reads one frame.
    #[inline]
    pub(super) fn step(&mut self, source: &mut Source) -> Result<Step, Fault> {
        let header_len = self.variant.record_header_len;
        if !source.ensure_record(header_len)? {
            return Ok(Step::End);
        }
        let header = source.peek();
        if super::begins_part(header) {
            return Ok(Step::Part);
        }
        let head = self.head(header);
        if !self.is_usual(&head) {
            return self.strange(source);
        }
        source.require(header_len + head.captured_len as usize)?;
        self.frame(&head, source)
    }

    #[inline]
    fn head(&self, header: &[u8]) -> Head {
        let Variant { order, unit_ns, .. } = self.variant;
        let seconds = u64::from(order.u32_at(header, 0));
        let fraction = u64::from(order.u32_at(header, 4));
        Head {
            // Both factors fit into 32 bits and the units into 10, so this cannot overflow.
            at_ns: seconds * NS_PER_S + fraction * unit_ns,
            captured_len: order.u32_at(header, 8),
            wire_len: order.u32_at(header, 12),
            is_in_time: fraction * unit_ns < NS_PER_S,
        }
    }

    /// A header that leaves no doubt.
    #[inline]
    fn is_usual(&self, head: &Head) -> bool {
        let last_ns = self.last_ns.unwrap_or(head.at_ns);
        head.is_in_time
            && head.captured_len <= MAX_FRAME_LEN
            && head.wire_len <= MAX_BELIEVED_LEN
            && head.at_ns != 0
            && head.at_ns.abs_diff(last_ns) <= NEAR_NS
    }

    /// Takes a frame that is buffered as a whole.
    #[inline]
    fn frame(&mut self, head: &Head, source: &mut Source) -> Result<Step, Fault> {
        let header_len = self.variant.record_header_len;
        let record_len = header_len + head.captured_len as usize;
        self.last_ns = Some(head.at_ns);
        let Some(link) = self.link else {
            return self.pass_over(source, record_len);
        };
        let mut place = source.take(header_len, record_len);
        place.end = place.end.min(place.start + u64::from(MAX_FRAME_LEN));
        Ok(Step::Frame(Record {
            at_ns: head.at_ns,
            interface: 0,
            link,
            captured_len: head.captured_len,
            wire_len: head.wire_len,
            data: Data::Place(place),
            is_fraction_odd: false,
        }))
    }

    /// Takes a record whose header is not as usual, if what is behind it looks like one.
    #[cold]
    fn strange(&mut self, source: &mut Source) -> Result<Step, Fault> {
        let header_len = self.variant.record_header_len;
        let mut head = self.head(source.peek());
        let offset = source.offset();
        let lost = |what| Err(Fault::Lost { offset, what });
        let header = source.peek().get(..header_len).unwrap_or_default();
        if header.iter().all(|byte| *byte == 0) {
            return lost("there are zeros where a frame should be");
        }
        let record_len = header_len + head.captured_len as usize;
        let is_held = record_len <= MAX_HELD_LEN;
        if head.captured_len <= MAX_FRAME_LEN {
            source.require(record_len)?;
        }
        let is_whole = is_held && source.ensure(record_len)?;
        let is_framed = is_whole && {
            source.ensure(record_len + header_len)?;
            let behind = source.peek().get(record_len..).unwrap_or_default();
            behind.len() < header_len || super::begins_part(behind) || self.is_formed(behind)
        };
        if !is_framed {
            return lost(if head.captured_len > MAX_FRAME_LEN {
                "the frame claims to be longer than 256 KiB"
            } else {
                "no frame ends where it says"
            });
        }
        if !head.is_in_time {
            head.at_ns = self.other_unit(source.peek());
        }
        let mut step = self.frame(&head, source)?;
        if let Step::Frame(record) = &mut step {
            record.is_fraction_odd = !head.is_in_time;
        }
        Ok(step)
    }

    /// Stamp of a record whose fraction is more than a second: nanoseconds, as some programs write
    /// them into files of microseconds.
    fn other_unit(&mut self, header: &[u8]) -> u64 {
        let order = self.variant.order;
        let seconds = u64::from(order.u32_at(header, 0));
        let fraction = u64::from(order.u32_at(header, 4));
        if fraction < NS_PER_S {
            self.variant.unit_ns = 1;
        }
        seconds * NS_PER_S + fraction.min(NS_PER_S - 1)
    }

    /// Tells if a header could be one, however strange; garbage hardly ever could.
    fn is_formed(&self, header: &[u8]) -> bool {
        let header = header.get(..self.variant.record_header_len);
        let Some(header) = header.filter(|header| header.iter().any(|byte| *byte != 0)) else {
            return false;
        };
        let head = self.head(header);
        u64::from(self.variant.order.u32_at(header, 4)) < NS_PER_S
            && head.captured_len <= MAX_FRAME_LEN
            && head.captured_len <= head.wire_len
    }

    /// Tells if a header is one that a program would write.
    fn is_believed(&self, header: &[u8], near_ns: Option<u64>) -> bool {
        if header.len() < self.variant.record_header_len {
            return false;
        }
        let head = self.head(header);
        let is_near = near_ns.is_none_or(|near_ns| head.at_ns.abs_diff(near_ns) <= NEAR_NS);
        let fraction = self.variant.order.u32_at(header, 4);
        u64::from(fraction) < NS_PER_S
            && (1..=MAX_FRAME_LEN).contains(&head.captured_len)
            && (head.captured_len..=MAX_BELIEVED_LEN).contains(&head.wire_len)
            && is_near
    }

    /// Tells if records begin here: several in a row, or up to the end of the file.
    pub(super) fn begins_records(&self, mut bytes: &[u8], is_all: bool) -> bool {
        for n in 0..CHAIN {
            if n > 0 && (super::begins_part(bytes) || (bytes.is_empty() && is_all)) {
                return true;
            }
            let record_len = self.variant.record_header_len as u64
                + u64::from(self.variant.order.u32_at(bytes, 8));
            if !self.is_believed(bytes, self.last_ns) {
                // What is not buffered can't be held against those before it.
                return n > 0 && !is_all && bytes.len() < self.variant.record_header_len;
            }
            let rest = usize::try_from(record_len).ok();
            match rest.and_then(|len| bytes.get(len..)) {
                Some(rest) => bytes = rest,
                None => return !is_all || n > 0,
            }
        }
        true
    }

    /// Skips a frame of an unsupported link type, reporting the first.
    #[cold]
    fn pass_over(&mut self, source: &mut Source, record_len: usize) -> Result<Step, Fault> {
        let offset = source.offset();
        source.take(0, record_len);
        if self.link_reported {
            return Ok(Step::Skipped);
        }
        self.link_reported = true;
        Err(Fault::UnsupportedLink {
            link: self.link_number,
            offset,
        })
    }
}
