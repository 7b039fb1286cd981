//! TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP (RFC 792), ICMPv6 (RFC 4443) and the
//! tunnels: IP in IP, GRE (RFC 2784, 2890), VXLAN (RFC 7348), Geneve (RFC 8926).

use super::ip::Payload;
use super::link::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use super::{Decapsulate, Frame, Network, Packet, Step, protocol};
use crate::counters::Outcome;

const ETHERTYPE_TRANSPARENT_ETHERNET: u16 = 0x6558;
const PORT_VXLAN: u16 = 4789;
const PORT_GENEVE: u16 = 6081;

#[inline(always)]
pub(super) fn transport<F: Frame + ?Sized>(
    frame: &F,
    payload: Payload,
    tunnels: Decapsulate,
    packet: &mut Packet,
) -> Result<Step, Outcome> {
    if !payload.has_header {
        return Ok(Step::Done(Outcome::LaterFragment));
    }
    let at = payload.offset;
    let outcome = match payload.protocol {
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
            ports(frame, at, packet).ok_or(Outcome::SctpTruncated)?;
            Outcome::Sctp
        }
        protocol::GRE if tunnels.has(Decapsulate::GRE) => return gre(frame, at),
        protocol::GRE => Outcome::Gre,
        protocol::IPIP if tunnels.has(Decapsulate::IP) => return Ok(inner(ETHERTYPE_IPV4, at)),
        protocol::IPV6 if tunnels.has(Decapsulate::IP) => return Ok(inner(ETHERTYPE_IPV6, at)),
        _ => Outcome::OtherProtocol,
    };
    Ok(Step::Done(outcome))
}

#[inline(always)]
const fn inner(ethertype: u16, offset: usize) -> Step {
    Step::Inner(Network { ethertype, offset })
}

#[inline(always)]
fn ports<F: Frame + ?Sized>(frame: &F, at: usize, packet: &mut Packet) -> Option<()> {
    packet.destination_port = frame.u16(at + 2)?;
    packet.source_port = frame.u16(at)?;
    Some(())
}

#[inline(always)]
fn tcp<F: Frame + ?Sized>(frame: &F, at: usize, packet: &mut Packet) -> Result<Outcome, Outcome> {
    // The last field first: it proves the fixed header to be there.
    frame.u16(at + 18).ok_or(Outcome::TcpTruncated)?;
    ports(frame, at, packet).ok_or(Outcome::TcpTruncated)?;
    let data_offset = frame.u8(at + 12).ok_or(Outcome::TcpTruncated)? >> 4;
    if data_offset < 5 {
        return Err(Outcome::TcpBadDataOffset);
    }
    packet.tcp_flags = frame.u8(at + 13).ok_or(Outcome::TcpTruncated)?;
    packet.tcp_window = frame.u16(at + 14).ok_or(Outcome::TcpTruncated)?;
    Ok(Outcome::Tcp)
}

#[inline(always)]
fn udp<F: Frame + ?Sized>(
    frame: &F,
    at: usize,
    tunnels: Decapsulate,
    packet: &mut Packet,
) -> Result<Step, Outcome> {
    let length = frame.u16(at + 4).ok_or(Outcome::UdpTruncated)?;
    ports(frame, at, packet).ok_or(Outcome::UdpTruncated)?;
    // Zero is a jumbogram (RFC 2675).
    if length != 0 && length < 8 {
        return Err(Outcome::UdpBadLength);
    }
    if packet.destination_port == PORT_VXLAN && tunnels.has(Decapsulate::VXLAN) {
        return Ok(Step::InnerEthernet(at + 16));
    }
    if packet.destination_port == PORT_GENEVE && tunnels.has(Decapsulate::GENEVE) {
        return geneve(frame, at + 8);
    }
    Ok(Step::Done(Outcome::Udp))
}

#[inline(always)]
fn geneve<F: Frame + ?Sized>(frame: &F, at: usize) -> Result<Step, Outcome> {
    let words = (frame.u8(at).ok_or(Outcome::TunnelTruncated)? & 0x3f) as usize;
    let ethertype = frame.u16(at + 2).ok_or(Outcome::TunnelTruncated)?;
    let payload = at + 8 + words * 4;
    if ethertype == ETHERTYPE_TRANSPARENT_ETHERNET {
        return Ok(Step::InnerEthernet(payload));
    }
    Ok(inner(ethertype, payload))
}

#[inline(always)]
fn gre<F: Frame + ?Sized>(frame: &F, at: usize) -> Result<Step, Outcome> {
    let flags = frame.u16(at).ok_or(Outcome::TunnelTruncated)?;
    let ethertype = frame.u16(at + 2).ok_or(Outcome::TunnelTruncated)?;
    // Checksum, key and sequence number each add a word; routing (RFC 1701) and other versions
    // are not followed.
    if flags & 0x4007 != 0 {
        return Ok(Step::Done(Outcome::Gre));
    }
    let words = (flags >> 15 & 1) + (flags >> 13 & 1) + (flags >> 12 & 1);
    let payload = at + 4 + (words as usize) * 4;
    match ethertype {
        ETHERTYPE_TRANSPARENT_ETHERNET => Ok(Step::InnerEthernet(payload)),
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => Ok(inner(ethertype, payload)),
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
    frame.u16(at + 2).ok_or(Outcome::IcmpTruncated)?;
    let kind = frame.u8(at).ok_or(Outcome::IcmpTruncated)?;
    let code = frame.u8(at + 1).ok_or(Outcome::IcmpTruncated)?;
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
