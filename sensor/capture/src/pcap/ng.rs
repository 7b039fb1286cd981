//! pcapng: sections of typed blocks, each section with its own byte order and interfaces.

use super::bytes::ByteOrder;
use super::link::LinkType;
use super::source::Source;
use super::{Data, Fault, MAX_FRAME_LEN, MAX_HELD_LEN, Record, Step};

/// Block type of a section header; reads the same in both byte orders.
pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const MAJOR_VERSION: u16 = 1;

const OPTION_END: u16 = 0;
const OPTION_TS_RESOLUTION: u16 = 9;
const OPTION_TS_OFFSET: u16 = 14;

/// Type and length in front of a block's body.
const BLOCK_HEADER_LEN: usize = 8;
/// The length again behind a block's body.
const BLOCK_TRAILER_LEN: usize = 4;
/// A block with an empty body.
const MIN_BLOCK_LEN: u32 = 12;
/// Longest block that has to be in memory as a whole: a longest frame with ample options. Of longer
/// ones the beginning is read.
const MAX_HELD_BLOCK_LEN: u32 = MAX_HELD_LEN as u32;
/// Types of blocks that programs write, besides section headers: up to this, and a few far above.
const LAST_LOW_TYPE: u32 = 10;
const CUSTOM_TYPES: [u32; 2] = [0x0000_0bad, 0x4000_0bad];
/// Most interfaces a section may describe; bounds memory and is all the obsolete block can name.
const MAX_INTERFACES: usize = 1 << 16;
const NS_PER_S: u64 = 1_000_000_000;

/// Parser of a pcapng file.
pub(super) struct Ng {
    order: ByteOrder,
    /// Interfaces of the current section, in the order in which frames refer to them.
    interfaces: Vec<Interface>,
    /// Time of the last frame that had one.
    last_ns: u64,
}

/// True for the first bytes of a section header; fewer than 12 are none.
pub(super) fn is_section_header(bytes: &[u8]) -> bool {
    let mark = ByteOrder::Big.u32_at(bytes, 8);
    ByteOrder::Big.u32_at(bytes, 0) == SECTION_HEADER
        && [mark, mark.swap_bytes()].contains(&BYTE_ORDER_MAGIC)
}

impl Ng {
    /// Reads a section header. A frame without a time of its own has that of the one before it:
    /// `last_ns` for the first.
    pub(super) fn open(source: &mut Source, last_ns: u64) -> Result<Self, Fault> {
        let mut ng = Self {
            order: ByteOrder::Little,
            interfaces: Vec::new(),
            last_ns,
        };
        ng.begin_section(source)?;
        Ok(ng)
    }

    /// Interfaces that the section describes so far.
    pub(super) const fn n_interfaces(&self) -> usize {
        self.interfaces.len()
    }

    /// Time of the last frame that had one, as the file states it.
    pub(super) const fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Reads blocks up to and including the next frame.
    pub(super) fn step(&mut self, source: &mut Source) -> Result<Step, Fault> {
        while source.ensure_record(BLOCK_HEADER_LEN)? {
            let header = source.peek();
            if header.len() < MIN_BLOCK_LEN as usize {
                source.ensure(MIN_BLOCK_LEN as usize)?;
            }
            let header = source.peek();
            if super::begins_part(header) {
                return Ok(Step::Part);
            }
            if header.iter().take(BLOCK_HEADER_LEN).all(|byte| *byte == 0) {
                return Err(lost(source, "there are zeros where a block should be"));
            }
            let kind = self.order.u32_at(header, 0);
            if kind == SECTION_HEADER {
                return Err(lost(source, NO_MARK));
            }
            let len = self.order.u32_at(header, 4);
            check_block_len(len, source)?;
            match Layout::of(kind) {
                Some(layout) => return self.frame(layout, len, source),
                None if kind == INTERFACE_DESCRIPTION => self.add_interface(len, source)?,
                None => self.pass_over(len, source)?,
            }
        }
        Ok(Step::End)
    }

    /// Reads a section header, which sets the byte order.
    fn begin_section(&mut self, source: &mut Source) -> Result<(), Fault> {
        source.require(28)?;
        let header = source.peek();
        self.order = match ByteOrder::Big.u32_at(header, 8) {
            BYTE_ORDER_MAGIC => ByteOrder::Big,
            magic if magic.swap_bytes() == BYTE_ORDER_MAGIC => ByteOrder::Little,
            _ => return Err(lost(source, NO_MARK)),
        };
        if self.order.u16_at(header, 12) != MAJOR_VERSION {
            return Err(lost(source, "its pcapng version is not 1"));
        }
        let len = self.order.u32_at(header, 4);
        check_block_len(len, source)?;
        self.pass_over(len, source)
    }

    /// Reads an interface description.
    fn add_interface(&mut self, len: u32, source: &mut Source) -> Result<(), Fault> {
        // Leaving one interface out would shift the numbers of all that follow, so faults here
        // cannot be stepped over.
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(lost_to_next_section(
                source,
                "the section describes more than 65536 interfaces",
            ));
        }
        if len > MAX_HELD_BLOCK_LEN {
            return Err(lost_to_next_section(
                source,
                "the interface description is longer than 512 KiB",
            ));
        }
        if len < 20 {
            let what = "the interface description is too short";
            return Err(lost_to_next_section(source, what));
        }
        source.require(len as usize)?;
        let body_end = len as usize - BLOCK_TRAILER_LEN;
        let block = source.peek().get(..body_end).unwrap_or_default();
        self.interfaces.push(Interface::parse(self.order, block));
        self.pass_over(len, source)
    }

    /// Consumes a whole block without looking into it, checking that its two lengths agree.
    fn pass_over(&self, len: u32, source: &mut Source) -> Result<(), Fault> {
        let offset = source.offset();
        if len <= MAX_HELD_BLOCK_LEN {
            // Not consumed before it is known to be one.
            source.require(len as usize)?;
            let trailer = source.peek().get(len as usize - BLOCK_TRAILER_LEN..);
            if self.order.u32_at(trailer.unwrap_or_default(), 0) != len {
                return Err(lost(source, LENGTHS_DIFFER));
            }
            source.take(0, len as usize);
            return Ok(());
        }
        let body_len = u64::from(len) - BLOCK_TRAILER_LEN as u64;
        if !source.skip(body_len)? || !source.ensure(BLOCK_TRAILER_LEN)? {
            return Err(Fault::Truncated { offset });
        }
        if self.order.u32_at(source.peek(), 0) != len {
            return Err(Fault::Lost {
                offset,
                what: LENGTHS_DIFFER,
            });
        }
        source.take(0, BLOCK_TRAILER_LEN);
        Ok(())
    }

    /// Reads a block that holds a frame.
    fn frame(&mut self, layout: Layout, len: u32, source: &mut Source) -> Result<Step, Fault> {
        let offset = source.offset();
        let is_held = len <= MAX_HELD_BLOCK_LEN;
        let held_len = if is_held {
            len as usize
        } else {
            layout.data_at() + MAX_FRAME_LEN as usize
        };
        source.require(held_len)?;
        let block = source.peek().get(..held_len).unwrap_or_default();
        let trailer = block.get(held_len - BLOCK_TRAILER_LEN..);
        if is_held && self.order.u32_at(trailer.unwrap_or_default(), 0) != len {
            return Err(lost(source, LENGTHS_DIFFER));
        }
        let parsed = self.parse_frame(layout, len, block);
        let mut place = source.take(layout.data_at(), held_len);
        source.owe(u64::from(len) - held_len as u64);
        let head = match parsed {
            Ok(head) => head,
            Err(what) => return Err(Fault::BadFrame { offset, what }),
        };
        let Some(link) = head.link else {
            return self.unsupported(head.interface, offset);
        };
        self.last_ns = head.at_ns;
        let kept_len = head.captured_len.min(MAX_FRAME_LEN);
        place.end = place.end.min(place.start + u64::from(kept_len));
        Ok(Step::Frame(Record {
            at_ns: head.at_ns,
            interface: head.interface,
            link,
            captured_len: head.captured_len,
            wire_len: head.wire_len,
            data: Data::Place(place),
            is_fraction_odd: false,
        }))
    }

    /// Reads what a whole block says of its frame.
    fn parse_frame(
        &self,
        layout: Layout,
        len: u32,
        block: &[u8],
    ) -> Result<FrameHead, &'static str> {
        let room = len
            .checked_sub((layout.data_at() + BLOCK_TRAILER_LEN) as u32)
            .ok_or("the packet block is too short")?;
        let index = layout.interface(self.order, block);
        let interface = self
            .interfaces
            .get(index)
            .ok_or("it names an unknown interface")?;
        let wire_len = layout.wire_len(self.order, block);
        let captured_len = match layout {
            // A simple packet does not say how much of it was captured.
            Layout::Simple => wire_len.min(interface.snap_len).min(room),
            Layout::Enhanced | Layout::Obsolete => self.order.u32_at(block, 20),
        };
        if captured_len > room {
            return Err("the frame is longer than its block");
        }
        let at_ns = match layout {
            Layout::Simple => self.last_ns,
            Layout::Enhanced | Layout::Obsolete => interface.clock.unix_ns(self.ticks(block)),
        };
        Ok(FrameHead {
            interface: index,
            link: interface.link,
            at_ns,
            captured_len,
            wire_len,
        })
    }

    /// Tells if a block begins here, with its length before and behind it.
    pub(super) fn begins_block(&self, bytes: &[u8]) -> bool {
        let (kind, len) = (self.order.u32_at(bytes, 0), self.order.u32_at(bytes, 4));
        let is_known = (1..=LAST_LOW_TYPE).contains(&kind) || CUSTOM_TYPES.contains(&kind);
        let trailer = (len as usize)
            .checked_sub(BLOCK_TRAILER_LEN)
            .and_then(|at| bytes.get(at..));
        is_known
            && len >= MIN_BLOCK_LEN
            && len.is_multiple_of(4)
            && trailer.is_some_and(|trailer| self.order.u32_at(trailer, 0) == len)
    }

    /// The stamp of an enhanced or obsolete packet block.
    fn ticks(&self, block: &[u8]) -> u64 {
        u64::from(self.order.u32_at(block, 12)) << 32 | u64::from(self.order.u32_at(block, 16))
    }

    /// Skips a frame of an interface with an unsupported link type, reporting the first.
    fn unsupported(&mut self, index: usize, offset: u64) -> Result<Step, Fault> {
        match self.interfaces.get_mut(index) {
            Some(interface) if !interface.reported => {
                interface.reported = true;
                Err(Fault::UnsupportedLink {
                    link: interface.link_number,
                    offset,
                })
            }
            _ => Ok(Step::Skipped),
        }
    }
}

const LENGTHS_DIFFER: &str = "the lengths before and behind a block differ";

const NO_MARK: &str = "the section header has no byte-order mark";

fn lost(source: &Source, what: &'static str) -> Fault {
    Fault::Lost {
        offset: source.offset(),
        what,
    }
}

/// Fault as of [`lost`], where blocks that follow can't be understood either.
fn lost_to_next_section(source: &Source, what: &'static str) -> Fault {
    Fault::LostSection {
        offset: source.offset(),
        what,
    }
}

#[inline]
fn check_block_len(len: u32, source: &Source) -> Result<(), Fault> {
    if len < MIN_BLOCK_LEN || !len.is_multiple_of(4) {
        return Err(lost(source, "the block length is impossible"));
    }
    Ok(())
}

/// Head of a packet block: interface, time and lengths of its frame.
struct FrameHead {
    interface: usize,
    link: Option<LinkType>,
    at_ns: u64,
    captured_len: u32,
    wire_len: u32,
}

/// Kind of the packet block that a frame is in.
#[derive(Clone, Copy)]
enum Layout {
    Enhanced,
    Simple,
    Obsolete,
}

impl Layout {
    fn of(kind: u32) -> Option<Self> {
        match kind {
            ENHANCED_PACKET => Some(Self::Enhanced),
            SIMPLE_PACKET => Some(Self::Simple),
            OBSOLETE_PACKET => Some(Self::Obsolete),
            _ => None,
        }
    }

    /// Offset in the block at which the frame's bytes begin.
    fn data_at(self) -> usize {
        match self {
            Self::Enhanced | Self::Obsolete => 28,
            Self::Simple => 12,
        }
    }

    fn interface(self, order: ByteOrder, block: &[u8]) -> usize {
        match self {
            Self::Enhanced => order.u32_at(block, 8) as usize,
            Self::Obsolete => usize::from(order.u16_at(block, 8)),
            // Simple packets always belong to the section's first interface.
            Self::Simple => 0,
        }
    }

    fn wire_len(self, order: ByteOrder, block: &[u8]) -> u32 {
        match self {
            Self::Enhanced | Self::Obsolete => order.u32_at(block, 24),
            Self::Simple => order.u32_at(block, 8),
        }
    }
}

/// One interface of a section.
struct Interface {
    link_number: u32,
    link: Option<LinkType>,
    /// Most bytes captured of a frame; the largest number when there is no limit.
    snap_len: u32,
    clock: Clock,
    /// Set once its unsupported link type has been reported.
    reported: bool,
}

impl Interface {
    /// Reads a description block, given without its trailer.
    fn parse(order: ByteOrder, block: &[u8]) -> Self {
        let link_number = u32::from(order.u16_at(block, 8));
        let snap_len = match order.u32_at(block, 12) {
            0 => u32::MAX,
            limit => limit,
        };
        let options = block.get(16..).unwrap_or_default();
        Self {
            link_number,
            link: LinkType::from_number(link_number),
            snap_len,
            clock: Clock::from_options(order, options),
            reported: false,
        }
    }
}

/// Translation of an interface's stamps to Unix time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Clock {
    tick: Tick,
    offset_ns: i64,
}

/// Length of one tick of a clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tick {
    /// Number of nanoseconds to a unit.
    Times(u64),
    /// One nanosecond divided by this.
    Per(u64),
    /// One second divided by 2 to this power.
    Binary(u32),
}

impl Clock {
    /// Looks the clock up in an interface's options; microseconds unless they say otherwise.
    fn from_options(order: ByteOrder, mut options: &[u8]) -> Self {
        let mut clock = Self {
            tick: Tick::Times(1000),
            offset_ns: 0,
        };
        while let Some((head, rest)) = options.split_at_checked(4) {
            let code = order.u16_at(head, 0);
            let len = usize::from(order.u16_at(head, 2));
            let (Some(value), true) = (rest.get(..len), code != OPTION_END) else {
                break;
            };
            match (code, value) {
                (OPTION_TS_RESOLUTION, &[resolution]) => clock.tick = Tick::new(resolution),
                (OPTION_TS_OFFSET, &[_, _, _, _, _, _, _, _]) => {
                    let seconds = order.i64_at(value, 0);
                    clock.offset_ns = seconds.saturating_mul(NS_PER_S.cast_signed());
                }
                _ => {}
            }
            options = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        clock
    }

    /// Unix time in nanoseconds of a stamp, held at the ends of what 64 bits can say.
    #[inline]
    fn unix_ns(self, ticks: u64) -> u64 {
        let since_offset = match self.tick {
            Tick::Times(ns) => ticks.saturating_mul(ns),
            Tick::Per(parts) => ticks / parts.max(1),
            Tick::Binary(power) => {
                let ns = (u128::from(ticks) * u128::from(NS_PER_S)) >> power.min(127);
                u64::try_from(ns).unwrap_or(u64::MAX)
            }
        };
        since_offset.saturating_add_signed(self.offset_ns)
    }
}

impl Tick {
    /// Reads an `if_tsresol` value: a negative power of 2 if the top bit is set, else of 10.
    fn new(resolution: u8) -> Self {
        let power = u32::from(resolution & 0x7f);
        if resolution & 0x80 != 0 {
            return Self::Binary(power);
        }
        match power.checked_sub(9) {
            Some(0) => Self::Times(1),
            // Ticks too short for 64 bits to tell apart all count as no time at all.
            Some(finer) => Self::Per(10_u64.checked_pow(finer).unwrap_or(u64::MAX)),
            None => Self::Times(10_u64.saturating_pow(9 - power)),
        }
    }
}
