//! The packet parser, generic over "read N bytes at an offset", so that the BPF program and user
//! space run the very same code.

use crate::Address;
use crate::counters::Outcome;

/// Bytes of one frame, beginning with the Ethernet header.
pub trait Frame {
    /// The `N` bytes at `offset`; `None` where the frame ends before.
    fn header<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// Called between the layers. The kernel forgets here what it knows of `packet`: the verifier
    /// then follows the next layer once, and not for every way that led there.
    #[inline(always)]
    fn settle<'a>(&self, packet: &'a mut Packet) -> &'a mut Packet {
        packet
    }
}

impl Frame for [u8] {
    #[inline(always)]
    fn header<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.get(offset..)?.first_chunk()
    }
}

/// Two bytes in network order, at a place known when compiling.
macro_rules! be16 {
    ($bytes:expr, $at:literal) => {
        u16::from_be_bytes([$bytes[$at], $bytes[$at + 1]])
    };
}

/// Four bytes kept in wire order.
macro_rules! wire32 {
    ($bytes:expr, $at:literal) => {
        u32::from_ne_bytes([
            $bytes[$at],
            $bytes[$at + 1],
            $bytes[$at + 2],
            $bytes[$at + 3],
        ])
    };
}

mod ip;
mod link;
mod plain;
mod transport;

pub use plain::{Glimpse, Halves, glimpse};

/// TCP control bits (RFC 9293 3.1), as in octet 13 of the header.
pub mod tcp_flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

/// IANA protocol numbers that the parser knows.
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT: u8 = 59;
    pub const DESTINATION: u8 = 60;
    pub const SCTP: u8 = 132;
    pub const MOBILITY: u8 = 135;
}

/// Place of a packet in its flow.
pub(crate) struct Age;

impl Age {
    pub(crate) const OLD: u8 = 0;
    /// Packet that began the flow.
    pub(crate) const FIRST: u8 = 1;
    /// One of the first of its direction.
    pub(crate) const YOUNG: u8 = 2;
}

/// Packet as the parser read it. Addresses and ports are those of the innermost header that was
/// followed. `Default` is "nothing read". The kernel keeps it in a map value.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Packet {
    pub source: Address,
    pub destination: Address,
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    /// TCP control bits; 0 for other protocols.
    pub tcp_flags: u8,
    /// IPv4 TTL or IPv6 hop limit.
    pub ttl: u8,
    /// 1 for any fragment but an unfragmented packet's whole.
    pub is_fragment: u8,
    /// TCP window as on the wire, unscaled.
    pub tcp_window: u16,
    /// Outer VLAN identifier, 0 without a tag.
    pub vlan: u16,
    /// Tunnel headers that were stepped through (0 or 1).
    pub n_tunnels: u8,
    /// State of the parser: 0 in the fragments that have no transport header. Once the flow is
    /// known, its [`Age`].
    has_header: u8,
    /// EtherType of the next network header, while parsing; then [`HIT`], or nothing that matters.
    ethertype: u16,
    /// Offset of the next header; at the end of parsing, of the payload of TCP and UDP, else of the
    /// innermost header that was read.
    offset: u32,
    /// Offset behind the innermost IP packet, as its header says; 0: it doesn't.
    end: u32,
    /// Index of the [`Outcome`].
    pub outcome: u32,
}

const _: () = assert!(size_of::<Packet>() == 60);
// SAFETY: integers; the size assertion rules padding out.
unsafe impl crate::Pod for Packet {}

/// A block entry met the packet, which passes; that is to be told. No EtherType of a packet that
/// has a flow.
const HIT: u16 = 0xffff;

impl Packet {
    #[inline(always)]
    pub(crate) const fn set_hit(&mut self) {
        self.ethertype = HIT;
    }

    /// Tells by [`Self::age`] if the flow was known before.
    #[inline(always)]
    pub(crate) fn is_hit(&self) -> bool {
        // SAFETY: a field of a valid reference.
        unsafe { (&raw const self.ethertype).read_volatile() == HIT }
    }

    #[inline(always)]
    pub(crate) const fn set_age(&mut self, age: u8) {
        self.has_header = age;
    }

    /// The age last set, from memory: nobody may know it from before.
    #[inline(always)]
    pub(crate) fn age(&self) -> u8 {
        // SAFETY: a field of a valid reference.
        unsafe { (&raw const self.has_header).read_volatile() }
    }

    /// Offset of the payload within the frame: of TCP and UDP behind their headers, of ICMP, ARP and
    /// others at the header itself.
    #[inline(always)]
    pub const fn payload_offset(&self) -> u32 {
        self.offset
    }

    /// Payload bytes of a frame of that length on the wire; padding of short frames is none.
    #[inline(always)]
    pub const fn payload_bytes(&self, wire_bytes: u32) -> u32 {
        let end = if self.end == 0 || self.end > wire_bytes {
            wire_bytes
        } else {
            self.end
        };
        end.saturating_sub(self.offset)
    }

    /// True where parsing ended so.
    #[inline(always)]
    pub const fn is(&self, outcome: Outcome) -> bool {
        self.outcome == outcome as u32
    }
}

/// Set of the tunnels that the parser steps into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decapsulate(pub u32);

impl Decapsulate {
    pub const NONE: Self = Self(0);
    pub const IP: u32 = 1;
    pub const GRE: u32 = 2;
    pub const VXLAN: u32 = 4;
    pub const GENEVE: u32 = 8;
    pub const ALL: Self = Self(15);

    #[inline(always)]
    const fn has(self, kind: u32) -> bool {
        self.0 & kind != 0
    }
}

/// Step after a header: on to the next, or the end.
enum Step {
    Done(Outcome),
    /// A network header of [`Packet::ethertype`] at [`Packet::offset`].
    Inner,
    /// An Ethernet header at [`Packet::offset`].
    InnerEthernet,
}

/// Headers further into the frame are not followed: far above what real traffic nests.
const MAX_HEADER_OFFSET: u32 = 0x1fff;

impl Packet {
    /// Offset of the next header.
    #[inline(always)]
    fn at(&self) -> Result<usize, Outcome> {
        if self.offset > MAX_HEADER_OFFSET {
            return Err(Outcome::HeadersTooLong);
        }
        Ok(self.offset as usize)
    }
}

/// Parses a frame into `packet`, outcome included. Follows at most one tunnel.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F, tunnels: Decapsulate, packet: &mut Packet) {
    if !plain::read(frame, packet) {
        parse_any(frame, tunnels, packet);
    }
}

/// The full way: all that is followed, layer by layer.
#[inline(always)]
fn parse_any<F: Frame + ?Sized>(frame: &F, tunnels: Decapsulate, packet: &mut Packet) {
    *packet = Packet::default();
    let (Ok(outcome) | Err(outcome)) = headers(frame, tunnels, packet);
    packet.outcome = outcome as u32;
}

#[inline(always)]
fn headers<F: Frame + ?Sized>(
    frame: &F,
    tunnels: Decapsulate,
    packet: &mut Packet,
) -> Result<Outcome, Outcome> {
    link::ethernet(frame, packet)?;
    let packet = frame.settle(packet);
    match layers(frame, tunnels, packet)? {
        Step::Done(outcome) => return Ok(outcome),
        Step::Inner => {}
        Step::InnerEthernet => link::ethernet(frame, packet)?,
    }
    packet.n_tunnels = 1;
    packet.source_port = 0;
    packet.destination_port = 0;
    let packet = frame.settle(packet);
    match layers(frame, Decapsulate::NONE, packet)? {
        Step::Done(outcome) => Ok(outcome),
        // Without permission to decapsulate no step inwards is ever returned.
        Step::Inner | Step::InnerEthernet => Ok(Outcome::OtherProtocol),
    }
}

/// Network and transport layer.
#[inline(always)]
fn layers<F: Frame + ?Sized>(
    frame: &F,
    tunnels: Decapsulate,
    packet: &mut Packet,
) -> Result<Step, Outcome> {
    match packet.ethertype {
        link::ETHERTYPE_IPV4 => ip::ipv4(frame, packet)?,
        link::ETHERTYPE_IPV6 => ip::ipv6(frame, packet)?,
        link::ETHERTYPE_ARP => return link::arp(frame, packet).map(Step::Done),
        _ => return Ok(Step::Done(Outcome::NotIp)),
    }
    let packet = frame.settle(packet);
    transport::transport(frame, tunnels, packet)
}

#[cfg(any(test, feature = "invariants"))]
pub mod invariants;
#[cfg(test)]
mod tests;
