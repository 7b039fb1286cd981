//! Classic pcap: one file header, then frames back to back.

use super::bytes::ByteOrder;
use super::link::LinkType;
use super::source::Source;
use super::{Fault, MAX_FRAME_LEN, Record, Step};

const FILE_HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;
/// The modified variant adds interface, protocol and packet type to each record.
const MODIFIED_RECORD_HEADER_LEN: usize = 24;
const MAJOR_VERSION: u16 = 2;
/// The upper bits of the link field tell of frame check sequences and are no part of the type.
const LINK_MASK: u32 = 0xffff;
const NS_PER_S: u64 = 1_000_000_000;

/// What the magic number tells of a file.
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

/// Parser of a classic pcap file.
pub(super) struct Classic {
    variant: Variant,
    link_number: u32,
    link: Option<LinkType>,
    link_reported: bool,
}

impl Classic {
    /// Reads the file header.
    pub(super) fn open(variant: Variant, source: &mut Source) -> Result<Self, Fault> {
        source.require(FILE_HEADER_LEN)?;
        let header = source.peek();
        if variant.order.u16_at(header, 4) != MAJOR_VERSION {
            return Err(Fault::Lost {
                offset: 4,
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
        })
    }

    /// Reads one frame.
    #[inline]
    pub(super) fn step(&mut self, source: &mut Source) -> Result<Step, Fault> {
        let Variant {
            order,
            unit_ns,
            record_header_len,
        } = self.variant;
        if !source.ensure_record(record_header_len)? {
            return Ok(Step::End);
        }
        let header = source.peek();
        let seconds = u64::from(order.u32_at(header, 0));
        let fraction = u64::from(order.u32_at(header, 4));
        let captured_len = order.u32_at(header, 8);
        let wire_len = order.u32_at(header, 12);
        if captured_len > MAX_FRAME_LEN {
            return Err(too_long(source.offset()));
        }
        let record_len = record_header_len + captured_len as usize;
        source.require(record_len)?;
        let Some(link) = self.link else {
            return self.pass_over(source, record_len);
        };
        Ok(Step::Frame(Record {
            // Both factors fit into 32 bits and the units into 10, so this cannot overflow.
            at_ns: seconds * NS_PER_S + fraction * unit_ns,
            link,
            wire_len,
            place: source.take(record_header_len, record_len),
        }))
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

#[cold]
fn too_long(offset: u64) -> Fault {
    // Without a believable length there is no telling where the next frame begins.
    Fault::Lost {
        offset,
        what: "the frame claims to be longer than 256 KiB",
    }
}
