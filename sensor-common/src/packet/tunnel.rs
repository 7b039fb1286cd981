//! Tunnels: IP in IP (RFC 2003, RFC 4213), GRE (RFC 2784, RFC 2890), VXLAN (RFC 7348), VXLAN-GPE
//! (draft-ietf-nvo3-vxlan-gpe-12) and Geneve (RFC 8926).
//!
//! A tunnel is one only if its header says so in every bit that its standard fixes: anybody may send
//! anything to its port. Whatever it holds, the packet itself remains a packet of its outer
//! addresses; what was found goes into [`Packet::inner_at`] and its neighbours.

use super::link::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use super::{Frame, Packet, protocol};

const ETHERTYPE_TRANSPARENT_ETHERNET: u16 = 0x6558;

/// Kinds of tunnels, as in map values and events.
pub mod kind {
    /// No tunnel.
    pub const NONE: u8 = 0;
    pub const IP: u8 = 1;
    pub const GRE: u8 = 2;
    pub const VXLAN: u8 = 3;
    pub const GENEVE: u8 = 4;
    pub const VXLAN_GPE: u8 = 5;
}

/// Word for a tunnel [`kind`], as in output.
pub const fn label(kind: u8) -> Option<&'static str> {
    match kind {
        kind::IP => Some("ip"),
        kind::GRE => Some("gre"),
        kind::VXLAN => Some("vxlan"),
        kind::GENEVE => Some("geneve"),
        kind::VXLAN_GPE => Some("vxlan_gpe"),
        _ => None,
    }
}

/// Header at [`Packet::inner_at`], in [`Packet::inner`].
pub(super) mod inner {
    /// Neither the port of a tunnel nor its protocol.
    pub const NONE: u8 = 0;
    /// Nothing that is followed.
    pub const REFUSED: u8 = 1;
    pub const ETHERNET: u8 = 2;
    pub const IPV4: u8 = 3;
    pub const IPV6: u8 = 4;
    /// An IP packet was read.
    pub const READ: u8 = 5;
}

/// Up to four UDP ports as sixteen-bit lanes of a word; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Ports(pub u64);

impl Ports {
    pub const CAPACITY: usize = 4;

    /// The first [`Self::CAPACITY`] ports of a list.
    pub fn of(ports: &[u16]) -> Self {
        let lanes = ports.iter().take(Self::CAPACITY);
        Self(lanes.fold(0, |word, port| word << 16 | u64::from(*port)))
    }

    /// True where one of the lanes is the port (Warren, Hacker's Delight 6-1).
    #[inline(always)]
    pub const fn has(self, port: u16) -> bool {
        const ONES: u64 = 0x0001_0001_0001_0001;
        let differs = self.0 ^ (port as u64).wrapping_mul(ONES);
        differs.wrapping_sub(ONES) & !differs & (ONES << 15) != 0
    }
}

/// Tunnels that are looked into. Asked one by one: in the kernel each answer is a load.
pub trait Tunnels {
    /// Bits of [`Decapsulate`].
    fn kinds(&self) -> u32;
    fn vxlan(&self) -> Ports;
    fn vxlan_gpe(&self) -> Ports;
    fn geneve(&self) -> Ports;
}

/// Tunnels by setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decapsulate {
    /// [`Self::IP`] and [`Self::GRE`].
    pub kinds: u32,
    pub vxlan: Ports,
    pub vxlan_gpe: Ports,
    pub geneve: Ports,
}

impl Decapsulate {
    pub const IP: u32 = 1;
    pub const GRE: u32 = 2;

    pub const NONE: Self = Self {
        kinds: 0,
        vxlan: Ports(0),
        vxlan_gpe: Ports(0),
        geneve: Ports(0),
    };

    /// All that are known, on the ports that IANA assigned; VXLAN on Linux' former default, too.
    pub const ALL: Self = Self {
        kinds: Self::IP | Self::GRE,
        vxlan: Ports((4789 << 16) | 8472),
        vxlan_gpe: Ports(4790),
        geneve: Ports(6081),
    };

    /// True where no tunnel is looked into.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

impl Tunnels for Decapsulate {
    #[inline(always)]
    fn kinds(&self) -> u32 {
        self.kinds
    }
    #[inline(always)]
    fn vxlan(&self) -> Ports {
        self.vxlan
    }
    #[inline(always)]
    fn vxlan_gpe(&self) -> Ports {
        self.vxlan_gpe
    }
    #[inline(always)]
    fn geneve(&self) -> Ports {
        self.geneve
    }
}

/// True for destination ports of tunnels over UDP.
#[inline(always)]
pub(super) fn is_port(tunnels: &impl Tunnels, port: u16) -> bool {
    tunnels.vxlan().has(port) || tunnels.vxlan_gpe().has(port) || tunnels.geneve().has(port)
}

/// Place of an inner header.
struct Inner {
    at: usize,
    kind: u8,
    id: u32,
}

impl Packet {
    /// Notes what is within; `None`: nothing that is followed.
    #[inline(always)]
    fn set_inner(&mut self, tunnel: u8, inner: Option<Inner>) {
        self.inner = inner::REFUSED;
        if let Some(Inner { at, kind, id }) = inner {
            self.inner = kind;
            self.inner_at = at as u16;
            self.tunnel = tunnel;
            self.tunnel_id = id;
        }
    }
}

/// IPv4 or IPv6 at `at`, by [`Packet::protocol`].
#[inline(always)]
pub(super) fn ip(at: usize, tunnels: &impl Tunnels, packet: &mut Packet) {
    if tunnels.kinds() & Decapsulate::IP == 0 {
        return;
    }
    let kind = if packet.protocol == protocol::IPV6 {
        inner::IPV6
    } else {
        inner::IPV4
    };
    packet.set_inner(kind::IP, Some(Inner { at, kind, id: 0 }));
}

/// A GRE header at `at`.
#[inline(always)]
pub(super) fn gre<F: Frame + ?Sized>(
    frame: &F,
    at: usize,
    tunnels: &impl Tunnels,
    packet: &mut Packet,
) {
    if tunnels.kinds() & Decapsulate::GRE != 0 {
        packet.set_inner(kind::GRE, read_gre(frame, at));
    }
}

/// Checksum, key and sequence number each add a word. All other flags and the version are zero: the
/// routing of RFC 1701 and version 1 (PPTP, RFC 2637) are not followed.
#[inline(always)]
fn read_gre<F: Frame + ?Sized>(frame: &F, at: usize) -> Option<Inner> {
    let header = frame.header::<4>(at)?;
    let flags = be16!(header, 0);
    if flags & !0xb000 != 0 {
        return None;
    }
    let has_key = flags >> 13 & 1;
    let before_key = at + 4 + (flags >> 15) as usize * 4;
    let id = if has_key == 0 {
        0
    } else {
        u32::from_be(wire32!(frame.header::<4>(before_key)?, 0))
    };
    Some(Inner {
        at: before_key + (has_key + (flags >> 12 & 1)) as usize * 4,
        kind: kind_of(be16!(header, 2))?,
        id,
    })
}

/// A datagram with its payload at `at`.
#[inline(always)]
pub(super) fn udp<F: Frame + ?Sized>(
    frame: &F,
    at: usize,
    tunnels: &impl Tunnels,
    packet: &mut Packet,
) {
    let port = packet.destination_port;
    // Where a kind has no port, its lanes are 0.
    if port == 0 {
        return;
    }
    if tunnels.vxlan().has(port) {
        packet.set_inner(kind::VXLAN, read_vxlan(frame, at));
    } else if tunnels.geneve().has(port) {
        packet.set_inner(kind::GENEVE, read_geneve(frame, at));
    } else if tunnels.vxlan_gpe().has(port) {
        packet.set_inner(kind::VXLAN_GPE, read_vxlan_gpe(frame, at));
    }
}

/// Flag I alone, and nothing in the reserved fields.
#[inline(always)]
fn read_vxlan<F: Frame + ?Sized>(frame: &F, at: usize) -> Option<Inner> {
    let header = frame.header::<8>(at)?;
    let [flags, reserved @ .., last] = *header;
    let [r0, r1, r2, n0, n1, n2] = reserved;
    if flags != 0x08 || r0 | r1 | r2 | last != 0 {
        return None;
    }
    Some(Inner {
        at: at + 8,
        kind: inner::ETHERNET,
        id: u32::from_be_bytes([0, n0, n1, n2]),
    })
}

/// Version 0 with flag I, and P where there is a next protocol; no OAM packet.
#[inline(always)]
fn read_vxlan_gpe<F: Frame + ?Sized>(frame: &F, at: usize) -> Option<Inner> {
    let header = frame.header::<8>(at)?;
    let [flags, r0, r1, next, n0, n1, n2, last] = *header;
    // B (broadcast, unknown, multicast) is the only flag that may be so or so.
    if flags & 0xf9 != 0x08 || r0 | r1 | last != 0 {
        return None;
    }
    let kind = match (flags & 0x04 != 0, next) {
        (false, 0) | (true, 3) => inner::ETHERNET,
        (true, 1) => inner::IPV4,
        (true, 2) => inner::IPV6,
        _ => return None,
    };
    Some(Inner {
        at: at + 8,
        kind,
        id: u32::from_be_bytes([0, n0, n1, n2]),
    })
}

/// Version 0, no control packet (flag O), reserved bits zero.
#[inline(always)]
fn read_geneve<F: Frame + ?Sized>(frame: &F, at: usize) -> Option<Inner> {
    let header = frame.header::<8>(at)?;
    let [first, flags, _, _, n0, n1, n2, last] = *header;
    if first >> 6 != 0 || flags & 0xbf != 0 || last != 0 {
        return None;
    }
    Some(Inner {
        at: at + 8 + (first & 0x3f) as usize * 4,
        kind: kind_of(be16!(header, 2))?,
        id: u32::from_be_bytes([0, n0, n1, n2]),
    })
}

/// Kind of the next header, by EtherType.
#[inline(always)]
const fn kind_of(ethertype: u16) -> Option<u8> {
    match ethertype {
        ETHERTYPE_TRANSPARENT_ETHERNET => Some(inner::ETHERNET),
        ETHERTYPE_IPV4 => Some(inner::IPV4),
        ETHERTYPE_IPV6 => Some(inner::IPV6),
        _ => None,
    }
}
