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

    /// Zero. In the kernel one that the compiler doesn't know: what it knows to be cleared, it has cleared by a
    /// loop over bytes, for want of a `memset` there.
    #[inline(always)]
    fn zero(&self) -> u32 {
        0
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
pub mod plain;
mod transport;
pub mod tunnel;

pub use plain::{Halves, Peek, peek};
pub use tunnel::{Decapsulate, Ports, Tunnels};

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
    /// Bits of the above. The class of [`crate::event::depth`] follows.
    pub(crate) const MASK: u8 = 3;
    pub(crate) const DEPTH_SHIFT: u32 = 2;
}

/// Place of a fragment in its datagram (RFC 791 3.2, RFC 8200 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Offset of its first byte.
    pub begins: u32,
    pub bytes: u32,
    /// It is not the last.
    pub has_more: bool,
}

/// Address realm (RFC 2663 2.1) of a packet: what tells apart hosts with equal addresses. VLAN
/// identifiers of the outer two tags that have one in bits 0 to 23, then whether the packet came in a
/// tunnel and whether its ends are trusted. 0: untagged, no tunnel.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Realm(pub u32);

impl Realm {
    const VLAN_BITS: u32 = 12;
    const VLAN: u32 = (1 << Self::VLAN_BITS) - 1;
    const TUNNELLED: u32 = 1 << 24;
    const UNTRUSTED: u32 = 1 << 25;

    /// The realm of a VLAN, or of the inner of two; 0 for none.
    pub const fn of_vlans(outer: u16, inner: u16) -> Self {
        let (outer, inner) = (outer as u32 & Self::VLAN, inner as u32 & Self::VLAN);
        Self(outer | inner << Self::VLAN_BITS)
    }

    /// Identifier of the outermost tag that has one.
    pub const fn vlan(self) -> u16 {
        (self.0 & Self::VLAN) as u16
    }

    /// Identifier of the next one.
    pub const fn inner_vlan(self) -> u16 {
        (self.0 >> Self::VLAN_BITS & Self::VLAN) as u16
    }

    /// True for packets within a tunnel.
    #[inline(always)]
    pub const fn is_tunnelled(self) -> bool {
        self.0 & Self::TUNNELLED != 0
    }

    /// True where anybody may have sent the packet in a tunnel: its addresses prove nothing.
    #[inline(always)]
    pub const fn is_untrusted(self) -> bool {
        self.0 & Self::UNTRUSTED != 0
    }

    /// VLANs alone: one number for the outer and the inner identifier, 0 without a tag.
    #[inline(always)]
    pub const fn vlans(self) -> u32 {
        self.0 & (Self::VLAN | Self::VLAN << Self::VLAN_BITS)
    }

    #[inline(always)]
    pub(crate) const fn trust(&mut self) {
        self.0 &= !Self::UNTRUSTED;
    }

    /// Takes in the identifier of a further tag; 0 is a priority without a VLAN (802.1Q 9.6).
    #[inline(always)]
    const fn push(&mut self, vlan: u16) {
        let both = Self::VLAN | Self::VLAN << Self::VLAN_BITS;
        if self.0 & Self::VLAN == 0 {
            self.0 |= vlan as u32;
        } else if self.0 & both <= Self::VLAN {
            self.0 |= (vlan as u32) << Self::VLAN_BITS;
        }
    }
}

/// Facts that the parser read of one packet, outermost IP header and what it carries, or, of an inner
/// packet ([`parse_inner`]), of the header within the tunnel. `Default` is "nothing read". The kernel
/// keeps it in a map value.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Packet {
    pub source: Address,
    pub destination: Address,
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    /// TCP control bits; 0 for other protocols, and where they could not be read.
    pub tcp_flags: u8,
    /// IPv4 TTL or IPv6 hop limit.
    pub ttl: u8,
    /// 1 for any fragment but an unfragmented packet's whole.
    pub is_fragment: u8,
    /// TCP window as on the wire, unscaled.
    pub tcp_window: u16,
    /// EtherType of the next network header, while parsing; then [`HIT`], [`CHALLENGED`], both, or nothing
    /// that matters.
    ethertype: u16,
    pub realm: Realm,
    /// [`tunnel::kind`] of the tunnel that the packet came in, or, with [`Self::inner`], of the one it
    /// carries.
    pub tunnel: u8,
    /// While reading link headers, the number of VLAN tags; then 0 in the fragments that have no
    /// transport header; once the flow is known, its [`Age`].
    has_header: u8,
    /// Index of the first fault of a packet that was read all the same; 0: none.
    fault: u8,
    /// Of a tunnel: [`tunnel::inner`], what stands at [`Self::inner_at`]; 0: the packet carries none.
    inner: u8,
    /// Offset of the next header; at the end of parsing, of the payload of TCP and UDP, else of the
    /// innermost header that was read.
    offset: u32,
    /// Offset behind the IP packet, as its header says; 0: it doesn't.
    end: u32,
    /// Index of the [`Outcome`].
    pub outcome: u32,
    /// Offset of the header within the tunnel.
    inner_at: u16,
    /// Offset of the IP header.
    network_at: u16,
    /// VXLAN or Geneve network identifier, GRE key; 0 without.
    pub tunnel_id: u32,
    /// Of a fragment: what its datagram's fragments have in common.
    pub identification: u32,
    /// Of a fragment: its offset in units of eight bytes, and whether more follow ([`ip`]).
    fragment: u16,
    /// Of a fragment: bytes of its datagram in it.
    fragment_bytes: u16,
}

const _: () = assert!(size_of::<Packet>() == 80);
// SAFETY: integers; the size assertion rules padding out.
unsafe impl crate::Pod for Packet {}

/// Mark of the block check in place of the EtherType: none of a packet that has a flow.
const MARK: u16 = 0xfff0;
/// A block entry met the packet, which passes; that is to be told.
const HIT: u16 = MARK | 1;
/// The source of the packet is challenged.
const CHALLENGED: u16 = MARK | 2;

impl Packet {
    /// `Default` of a zero ([`Frame::zero`]).
    #[inline(always)]
    const fn cleared(zero: u32) -> Self {
        let (short, byte) = (zero as u16, zero as u8);
        Self {
            source: [zero; 4],
            destination: [zero; 4],
            source_port: short,
            destination_port: short,
            protocol: byte,
            tcp_flags: byte,
            ttl: byte,
            is_fragment: byte,
            tcp_window: short,
            ethertype: short,
            realm: Realm(zero),
            tunnel: byte,
            has_header: byte,
            fault: byte,
            inner: byte,
            offset: zero,
            end: zero,
            outcome: zero,
            inner_at: short,
            network_at: short,
            tunnel_id: zero,
            identification: zero,
            fragment: short,
            fragment_bytes: short,
        }
    }

    #[inline(always)]
    pub(crate) const fn set_hit(&mut self) {
        self.ethertype = HIT;
    }

    /// Comes after [`Self::set_hit`].
    #[inline(always)]
    pub(crate) fn set_challenged(&mut self) {
        self.ethertype = CHALLENGED | self.is_hit() as u16;
    }

    /// True where the program of the shields asks whether the source is real.
    #[inline(always)]
    pub fn is_challenged(&self) -> bool {
        // SAFETY: a field of a valid reference.
        unsafe { (&raw const self.ethertype).read_volatile() & CHALLENGED == CHALLENGED }
    }

    /// Tells by [`Self::age`] if the flow was known before.
    #[inline(always)]
    pub(crate) fn is_hit(&self) -> bool {
        // SAFETY: a field of a valid reference.
        unsafe { (&raw const self.ethertype).read_volatile() & HIT == HIT }
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

    /// Offset of the IP header within the frame.
    pub const fn network_offset(&self) -> u32 {
        self.network_at as u32
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

    /// Place of a fragment in its datagram; `None` for an unfragmented packet, and where its length is
    /// not known.
    pub const fn fragment(&self) -> Option<Fragment> {
        if self.is_fragment == 0 || self.end == 0 {
            return None;
        }
        Some(Fragment {
            begins: (self.fragment & ip::FRAGMENT_OFFSET) as u32 * 8,
            bytes: self.fragment_bytes as u32,
            has_more: self.fragment & ip::MORE_FRAGMENTS != 0,
        })
    }

    /// True for a TCP segment or a UDP datagram that is whole and in no tunnel, and neither carries one.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        let is_known = self.is(Outcome::Tcp) || self.is(Outcome::Udp);
        is_known && self.is_fragment == 0 && !self.may_carry_packet()
    }

    /// True where parsing ended so.
    #[inline(always)]
    pub const fn is(&self, outcome: Outcome) -> bool {
        self.outcome == outcome as u32
    }
}

/// Headers further into the frame are not followed: far above what real traffic nests.
const MAX_HEADER_OFFSET: u32 = 0x1fff;

impl Packet {
    /// Offset of the next header; beyond what is followed, the outcome.
    #[inline(always)]
    fn at(&self, beyond: Outcome) -> Result<usize, Outcome> {
        if self.offset > MAX_HEADER_OFFSET {
            return Err(beyond);
        }
        Ok(self.offset as usize)
    }

    /// True where the packet reaches so far, by its own length. Behind it lies the padding of short
    /// frames.
    #[inline(always)]
    const fn has_room(&self, at: usize, n_bytes: u32) -> bool {
        self.end == 0 || at as u32 + n_bytes <= self.end
    }

    /// Notes what is wrong with a packet that is read on; the first fault stays.
    #[inline(always)]
    const fn set_fault(&mut self, outcome: Outcome) {
        if self.fault == 0 {
            self.fault = outcome as u8;
        }
    }

    /// Takes the fields of a fragment whose datagram's bytes begin at the present offset.
    #[inline(always)]
    const fn set_fragment(&mut self, fragment: u16) {
        self.fragment = fragment;
        self.is_fragment = 1;
        self.has_header = (fragment & ip::FRAGMENT_OFFSET == 0) as u8;
        self.fragment_bytes = self.end.saturating_sub(self.offset) as u16;
    }

    /// Sets the outcome: the fault goes before what a packet is, if it has addresses.
    #[inline(always)]
    const fn set_outcome(&mut self, outcome: Outcome) {
        self.outcome = if self.fault != 0 && Outcome::has_flow(outcome as u32) {
            self.fault as u32
        } else {
            outcome as u32
        };
    }

    /// True for a packet on the port, or of the protocol, of a tunnel that is looked into.
    #[inline(always)]
    pub const fn may_carry_packet(&self) -> bool {
        self.inner != tunnel::inner::NONE
    }

    /// True where [`parse_inner`] read a packet within.
    #[inline(always)]
    pub const fn carries_packet(&self) -> bool {
        self.inner == tunnel::inner::READ
    }
}

/// Parses a frame into `packet`, outcome included: the outermost IP packet. What is in a tunnel is
/// for [`parse_inner`].
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F, tunnels: &impl Tunnels, packet: &mut Packet) {
    match plain::read(frame, tunnels) {
        Some(read) => *packet = read,
        None => parse_any(frame, tunnels, packet),
    }
}

/// [`parse`] by the full way: all that is followed, layer by layer.
#[inline(always)]
pub fn parse_any<F: Frame + ?Sized>(frame: &F, tunnels: &impl Tunnels, packet: &mut Packet) {
    *packet = Packet::cleared(frame.zero());
    let (Ok(outcome) | Err(outcome)) = headers(frame, tunnels, packet);
    packet.set_outcome(outcome);
}

#[inline(always)]
fn headers<F: Frame + ?Sized>(
    frame: &F,
    tunnels: &impl Tunnels,
    packet: &mut Packet,
) -> Result<Outcome, Outcome> {
    link::ethernet(frame, packet)?;
    layers(frame, tunnels, packet)
}

/// Network and transport layer.
#[inline(always)]
fn layers<F: Frame + ?Sized>(
    frame: &F,
    tunnels: &impl Tunnels,
    packet: &mut Packet,
) -> Result<Outcome, Outcome> {
    let packet = frame.settle(packet);
    match packet.ethertype {
        link::ETHERTYPE_IPV4 => ip::ipv4(frame, packet)?,
        link::ETHERTYPE_IPV6 => ip::ipv6(frame, packet)?,
        link::ETHERTYPE_ARP => return link::arp(frame, packet),
        _ => return Ok(Outcome::NotIp),
    }
    let packet = frame.settle(packet);
    transport::transport(frame, tunnels, packet)
}

/// Parses what a tunnel carries into `inner`, where `outer`, which [`parse`] read, may carry a packet;
/// [`Packet::carries_packet`] of `outer` says whether that is an IP packet. One level is followed, and
/// nothing is taken for an inner packet that reaches beyond the outer.
#[inline(always)]
pub fn parse_inner<F: Frame + ?Sized>(frame: &F, outer: &mut Packet, inner: &mut Packet) {
    *inner = Packet {
        offset: outer.inner_at as u32,
        tunnel: outer.tunnel,
        tunnel_id: outer.tunnel_id,
        realm: Realm(Realm::TUNNELLED | Realm::UNTRUSTED),
        ..Packet::cleared(frame.zero())
    };
    let (Ok(outcome) | Err(outcome)) = inner_headers(frame, outer.inner, inner);
    inner.set_outcome(outcome);
    let is_within = outer.end == 0 || inner.end <= outer.end;
    let has_lengths =
        !inner.is(Outcome::Ipv4BadHeaderLength) && !inner.is(Outcome::Ipv4BadTotalLength);
    outer.inner = if Outcome::has_flow(inner.outcome) && is_within && has_lengths {
        tunnel::inner::READ
    } else {
        tunnel::inner::REFUSED
    };
}

#[inline(always)]
fn inner_headers<F: Frame + ?Sized>(
    frame: &F,
    kind: u8,
    inner: &mut Packet,
) -> Result<Outcome, Outcome> {
    match kind {
        tunnel::inner::ETHERNET => link::ethernet(frame, inner)?,
        tunnel::inner::IPV4 => inner.ethertype = link::ETHERTYPE_IPV4,
        tunnel::inner::IPV6 => inner.ethertype = link::ETHERTYPE_IPV6,
        _ => return Err(Outcome::NotIp),
    }
    layers(frame, &Decapsulate::NONE, inner)
}

#[cfg(any(test, feature = "invariants"))]
pub mod invariants;
#[cfg(test)]
mod tests;
