//! TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP (RFC 792), ICMPv6 (RFC 4443) and the
//! tunnels: IP in IP, GRE (RFC 2784, 2890), VXLAN (RFC 7348), Geneve (RFC 8926).

use super::link::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use super::{Decapsulate, Frame, Packet, Step, protocol};
use crate::counters::Outcome;

const ETHERTYPE_TRANSPARENT_ETHERNET: u16 = 0x6558;
const PORT_VXLAN: u16 = 4789;
const PORT_GENEVE: u16 = 6081;

/// True for destination ports of tunnels over UDP.
#[inline(always)]
pub(super) const fn is_tunnel_port(port: u16) -> bool {
    port == PORT_VXLAN || port == PORT_GENEVE
}

#[inline(always)]
pub(super) fn transport<F: Frame + ?Sized>(
    frame: &F,
    tunnels: Decapsulate,
    packet: &mut Packet,
) -> Result<Step, Outcome> {
    if packet.has_header == 0 {
        return Ok(Step::Done(Outcome::LaterFragment));
    }
    let at = packet.at()?;
    let outcome = match packet.protocol {
        protocol::TCP => tcp(frame, at, packet)?,
        protocol::UDP => return udp(frame, at, tunnels, packet),
        protocol::ICMP => icmp(
            frame,
            at,
            Echo {
                request: 8,
                reply: 0,
            },
            packet,
        )?,
        protocol::ICMPV6 => icmp(
            frame,
            at,
            Echo {
                request: 128,
                reply: 129,
            },
            packet,
        )?,
        protocol::SCTP => {
            ports(frame.header(at).ok_or(Outcome::SctpTruncated)?, packet);
            Outcome::Sctp
        }
        protocol::GRE if tunnels.has(Decapsulate::GRE) => return gre(frame, at, packet),
        protocol::GRE => Outcome::Gre,
        protocol::IPIP if tunnels.has(Decapsulate::IP) => {
            return Ok(inner(ETHERTYPE_IPV4, at, packet));
        }
        protocol::IPV6 if tunnels.has(Decapsulate::IP) => {
            return Ok(inner(ETHERTYPE_IPV6, at, packet));
        }
        _ => Outcome::OtherProtocol,
    };
    Ok(Step::Done(outcome))
}

#[inline(always)]
fn inner(ethertype: u16, at: usize, packet: &mut Packet) -> Step {
    packet.ethertype = ethertype;
    packet.offset = at as u32;
    Step::Inner
}

#[inline(always)]
fn inner_ethernet(at: usize, packet: &mut Packet) -> Step {
    packet.offset = at as u32;
    Step::InnerEthernet
}

#[inline(always)]
fn ports(header: &[u8; 4], packet: &mut Packet) {
    packet.source_port = be16!(header, 0);
    packet.destination_port = be16!(header, 2);
}

#[inline(always)]
fn tcp<F: Frame + ?Sized>(frame: &F, at: usize, packet: &mut Packet) -> Result<Outcome, Outcome> {
    let header = frame.header::<20>(at).ok_or(Outcome::TcpTruncated)?;
    packet.source_port = be16!(header, 0);
    packet.destination_port = be16!(header, 2);
    if header[12] >> 4 < 5 {
        return Err(Outcome::TcpBadDataOffset);
    }
    packet.tcp_flags = header[13];
    packet.tcp_window = be16!(header, 14);
    packet.offset = at as u32 + (header[12] >> 4) as u32 * 4;
    Ok(Outcome::Tcp)
}

#[inline(always)]
fn udp<F: Frame + ?Sized>(
    frame: &F,
    at: usize,
    tunnels: Decapsulate,
    packet: &mut Packet,
) -> Result<Step, Outcome> {
    let header = frame.header::<8>(at).ok_or(Outcome::UdpTruncated)?;
    packet.source_port = be16!(header, 0);
    packet.destination_port = be16!(header, 2);
    let length = be16!(header, 4);
    // Zero is a jumbogram (RFC 2675).
    if length != 0 && length < 8 {
        return Err(Outcome::UdpBadLength);
    }
    if packet.destination_port == PORT_VXLAN && tunnels.has(Decapsulate::VXLAN) {
        return Ok(inner_ethernet(at + 16, packet));
    }
    if packet.destination_port == PORT_GENEVE && tunnels.has(Decapsulate::GENEVE) {
        return geneve(frame, at + 8, packet);
    }
    packet.offset = at as u32 + 8;
    Ok(Step::Done(Outcome::Udp))
}

#[inline(always)]
fn geneve<F: Frame + ?Sized>(frame: &F, at: usize, packet: &mut Packet) -> Result<Step, Outcome> {
    let header = frame.header::<8>(at).ok_or(Outcome::TunnelTruncated)?;
    let words = (header[0] & 0x3f) as usize;
    let ethertype = be16!(header, 2);
    let payload = at + 8 + words * 4;
    if ethertype == ETHERTYPE_TRANSPARENT_ETHERNET {
        return Ok(inner_ethernet(payload, packet));
    }
    Ok(inner(ethertype, payload, packet))
}

#[inline(always)]
fn gre<F: Frame + ?Sized>(frame: &F, at: usize, packet: &mut Packet) -> Result<Step, Outcome> {
    let header = frame.header::<4>(at).ok_or(Outcome::TunnelTruncated)?;
    let (flags, ethertype) = (be16!(header, 0), be16!(header, 2));
    // Checksum, key and sequence number each add a word; routing (RFC 1701) and other versions
    // are not followed.
    if flags & 0x4007 != 0 {
        return Ok(Step::Done(Outcome::Gre));
    }
    let words = (flags >> 15 & 1) + (flags >> 13 & 1) + (flags >> 12 & 1);
    let payload = at + 4 + (words as usize) * 4;
    match ethertype {
        ETHERTYPE_TRANSPARENT_ETHERNET => Ok(inner_ethernet(payload, packet)),
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => Ok(inner(ethertype, payload, packet)),
        _ => Ok(Step::Done(Outcome::Gre)),
    }
}

struct Echo {
    request: u8,
    reply: u8,
}

/// ICMP has no ports: both take `type << 8 | code`, and an echo reply counts under its request, so
/// that the two directions of a ping are one flow.
#[inline(always)]
fn icmp<F: Frame + ?Sized>(
    frame: &F,
    at: usize,
    echo: Echo,
    packet: &mut Packet,
) -> Result<Outcome, Outcome> {
    let header = frame.header::<4>(at).ok_or(Outcome::IcmpTruncated)?;
    let (kind, code) = (header[0], header[1]);
    let kind = if kind == echo.reply {
        echo.request
    } else {
        kind
    };
    let port = (kind as u16) << 8 | code as u16;
    packet.source_port = port;
    packet.destination_port = port;
    Ok(Outcome::Icmp)
}
