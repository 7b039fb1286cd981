//! The packet that nearly all packets are, read straight through: untagged, IPv4 without options or
//! IPv6 without extension headers, no fragment, whole TCP or UDP header, no tunnel. Reads exactly what
//! the full way reads, which takes everything else.

use super::ip::end;
use super::link::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use super::tunnel::{self, Tunnels};
use super::{Frame, Packet, protocol};
use crate::counters::Outcome;
use crate::v4_mapped;

/// The packet, if it is one of those. A value, not written to memory: where all that follows is inlined, it
/// stays in registers.
#[inline(always)]
pub fn read<F: Frame + ?Sized>(frame: &F, tunnels: &impl Tunnels) -> Option<Packet> {
    let header = frame.header::<34>(0)?;
    let ethertype = be16!(header, 12);
    if ethertype == ETHERTYPE_IPV4 {
        ipv4(frame, header, tunnels)
    } else if ethertype == ETHERTYPE_IPV6 {
        ipv6(frame, tunnels)
    } else {
        None
    }
}

/// [`read`] of IPv4 alone.
#[inline(always)]
pub fn read_ipv4<F: Frame + ?Sized>(frame: &F, tunnels: &impl Tunnels) -> Option<Packet> {
    let header = frame.header::<34>(0)?;
    if be16!(header, 12) != ETHERTYPE_IPV4 {
        return None;
    }
    ipv4(frame, header, tunnels)
}

/// Facts of the sender of a packet that [`read`] would read, were it no tunnel, and of its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek {
    pub source: Halves,
    /// [`Outcome::Tcp`] or [`Outcome::Udp`].
    pub outcome: u32,
}

/// The halves of an address, in host order: numbers that stay in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halves {
    pub high: u64,
    pub low: u64,
}

/// Looks at the sender alone. `Some` only where the packet is as [`read`] wants it, or a tunnel in such
/// a packet, and then with what the parser says of it. `is_wanted` is asked of the sender before
/// anything else is read.
#[inline(always)]
pub fn peek<F: Frame + ?Sized>(frame: &F, is_wanted: impl Fn(Halves) -> bool) -> Option<Peek> {
    let header = frame.header::<42>(0)?;
    let ethertype = be16!(header, 12);
    if ethertype == ETHERTYPE_IPV4 {
        let address = u32::from_be(wire32!(header, 26));
        let source = Halves {
            high: 0,
            low: 0xffff << 32 | address as u64,
        };
        if !is_wanted(source) {
            return None;
        }
        let is_whole = be16!(header, 20) & 0x3fff == 0;
        if header[14] != 0x45 || !is_whole {
            return None;
        }
        let length = be16!(header, 16);
        return peek_transport(frame, (34, length, 20), header[23], source);
    }
    let header = frame.header::<62>(0)?;
    if ethertype != ETHERTYPE_IPV6 || header[14] >> 4 != 6 {
        return None;
    }
    let half = |high: u32, low: u32| (u32::from_be(high) as u64) << 32 | u32::from_be(low) as u64;
    let source = Halves {
        high: half(wire32!(header, 22), wire32!(header, 26)),
        low: half(wire32!(header, 30), wire32!(header, 34)),
    };
    if !is_wanted(source) {
        return None;
    }
    let length = be16!(header, 18);
    peek_transport(frame, (54, length, 0), header[20], source)
}

/// True where a length field counts so many bytes; 0 says nothing.
#[inline(always)]
const fn holds(length: u16, n_bytes: u16) -> bool {
    length.wrapping_sub(1) >= n_bytes - 1
}

/// The transport header begins at `at`; `length` counts it, and `before` other bytes.
#[inline(always)]
fn peek_transport<F: Frame + ?Sized>(
    frame: &F,
    (at, length, before): (usize, u16, u16),
    carried: u8,
    source: Halves,
) -> Option<Peek> {
    if carried == protocol::TCP {
        let rest = frame.header::<8>(at + 12)?;
        if rest[0] < 0x50 || !holds(length, before + 20) {
            return None;
        }
        return Some(Peek {
            source,
            outcome: Outcome::Tcp as u32,
        });
    }
    let header = frame.header::<8>(at)?;
    let datagram = be16!(header, 4);
    let is_short = datagram != 0 && datagram < 8;
    if carried != protocol::UDP || is_short || !holds(length, before + 8) {
        return None;
    }
    Some(Peek {
        source,
        outcome: Outcome::Udp as u32,
    })
}

#[inline(always)]
fn ipv4<F: Frame + ?Sized>(frame: &F, header: &[u8; 34], tunnels: &impl Tunnels) -> Option<Packet> {
    let total_length = be16!(header, 16);
    let is_whole = be16!(header, 20) & 0x3fff == 0;
    if header[14] != 0x45 || !is_whole {
        return None;
    }
    let network = Packet {
        source: v4_mapped(wire32!(header, 26)),
        destination: v4_mapped(wire32!(header, 30)),
        ttl: header[22],
        protocol: header[23],
        ethertype: ETHERTYPE_IPV4,
        network_at: 14,
        offset: 34,
        end: end(14, total_length as usize),
        has_header: 1,
        tunnel_id: frame.zero(),
        identification: frame.zero(),
        ..Packet::default()
    };
    transport(frame, network, (total_length, 20), tunnels)
}

#[inline(always)]
fn ipv6<F: Frame + ?Sized>(frame: &F, tunnels: &impl Tunnels) -> Option<Packet> {
    let header = frame.header::<54>(0)?;
    if header[14] >> 4 != 6 {
        return None;
    }
    let length = be16!(header, 18);
    let network = Packet {
        source: [
            wire32!(header, 22),
            wire32!(header, 26),
            wire32!(header, 30),
            wire32!(header, 34),
        ],
        destination: [
            wire32!(header, 38),
            wire32!(header, 42),
            wire32!(header, 46),
            wire32!(header, 50),
        ],
        ttl: header[21],
        protocol: header[20],
        ethertype: ETHERTYPE_IPV6,
        network_at: 14,
        offset: 54,
        end: end(54, length as usize),
        has_header: 1,
        tunnel_id: frame.zero(),
        identification: frame.zero(),
        ..Packet::default()
    };
    transport(frame, network, (length, 0), tunnels)
}

/// `length` counts the transport header, and `before` other bytes.
#[inline(always)]
fn transport<F: Frame + ?Sized>(
    frame: &F,
    network: Packet,
    (length, before): (u16, u16),
    tunnels: &impl Tunnels,
) -> Option<Packet> {
    let at = network.offset as usize;
    if network.protocol == protocol::TCP {
        let header = frame.header::<20>(at)?;
        if header[12] < 0x50 || !holds(length, before + 20) {
            return None;
        }
        return Some(Packet {
            source_port: be16!(header, 0),
            destination_port: be16!(header, 2),
            tcp_flags: header[13],
            tcp_window: be16!(header, 14),
            offset: at as u32 + (header[12] >> 4) as u32 * 4,
            outcome: Outcome::Tcp as u32,
            ..network
        });
    }
    if network.protocol != protocol::UDP {
        return None;
    }
    let header = frame.header::<8>(at)?;
    let (port, datagram) = (be16!(header, 2), be16!(header, 4));
    let is_short = datagram != 0 && datagram < 8;
    if is_short || !holds(length, before + 8) || tunnel::is_port(tunnels, port) {
        return None;
    }
    Some(Packet {
        source_port: be16!(header, 0),
        destination_port: port,
        offset: at as u32 + 8,
        outcome: Outcome::Udp as u32,
        ..network
    })
}
