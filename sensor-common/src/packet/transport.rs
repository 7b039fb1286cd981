//! TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP (RFC 792) and ICMPv6 (RFC 4443).
//!
//! Of a header that is not there in full, what is there is read.

use super::ip::{FRAGMENT_OFFSET, MORE_FRAGMENTS};
use super::tunnel::{self, Tunnels};
use super::{Frame, Packet, protocol};
use crate::counters::Outcome;
use crate::limits::MIN_FRAGMENT_BYTES;

#[inline(always)]
pub(super) fn transport<F: Frame + ?Sized>(
    frame: &F,
    tunnels: &impl Tunnels,
    packet: &mut Packet,
) -> Result<Outcome, Outcome> {
    if packet.is_fragment != 0 {
        judge_fragment(packet);
    }
    let at = packet.at(Outcome::HeadersTooLong)?;
    if packet.has_header == 0 {
        later_fragment(frame, at, packet);
        return Ok(Outcome::LaterFragment);
    }
    match packet.protocol {
        protocol::TCP => tcp(frame, at, packet),
        protocol::UDP => udp(frame, at, tunnels, packet),
        protocol::ICMP => icmp(frame, at, (8, 0), packet),
        protocol::ICMPV6 => icmp(frame, at, (128, 129), packet),
        protocol::SCTP => {
            ports(frame, at, packet).ok_or(Outcome::SctpTruncated)?;
            Ok(Outcome::Sctp)
        }
        protocol::GRE => {
            tunnel::gre(frame, at, tunnels, packet);
            Ok(Outcome::Gre)
        }
        protocol::IPIP | protocol::IPV6 => {
            tunnel::ip(at, tunnels, packet);
            Ok(Outcome::OtherProtocol)
        }
        _ => Ok(Outcome::OtherProtocol),
    }
}

/// Notes what no stack sends: a first fragment that is smaller than any link asks for, one before the
/// last that is no multiple of eight bytes, one that ends beyond the longest packet (RFC 791), and the
/// second part of a TCP header (RFC 1858, RFC 3128). Those between may be of any size: a router divides
/// a fragment that is too long for its link, and a rest of eight bytes remains.
#[inline(always)]
fn judge_fragment(packet: &mut Packet) {
    let bytes = packet.fragment_bytes as u32;
    let begins = (packet.fragment & FRAGMENT_OFFSET) as u32 * 8;
    let has_more = packet.fragment & MORE_FRAGMENTS != 0;
    let is_small = begins == 0 && bytes < MIN_FRAGMENT_BYTES || bytes & 7 != 0;
    let longest = if crate::is_v4(&packet.source) {
        0xffff - 20
    } else {
        0xffff
    };
    let is_known = packet.end != 0;
    let divides_tcp = begins == 8 && packet.protocol == protocol::TCP;
    if is_known && (has_more && is_small || begins + bytes > longest) || divides_tcp {
        packet.set_fault(Outcome::BadFragment);
    }
}

/// A second fragment that begins eight bytes into a TCP header has its control bits.
#[inline(always)]
fn later_fragment<F: Frame + ?Sized>(frame: &F, at: usize, packet: &mut Packet) {
    let divides_tcp = packet.fragment & FRAGMENT_OFFSET == 1 && packet.protocol == protocol::TCP;
    if divides_tcp
        && packet.has_room(at, 6)
        && let Some(rest) = frame.header::<6>(at)
    {
        packet.tcp_flags = rest[5];
    }
}

/// The ports, where they are there.
#[inline(always)]
fn ports<F: Frame + ?Sized>(frame: &F, at: usize, packet: &mut Packet) -> Option<()> {
    if !packet.has_room(at, 4) {
        return None;
    }
    let header = frame.header::<4>(at)?;
    packet.source_port = be16!(header, 0);
    packet.destination_port = be16!(header, 2);
    Some(())
}

#[inline(always)]
fn tcp<F: Frame + ?Sized>(frame: &F, at: usize, packet: &mut Packet) -> Result<Outcome, Outcome> {
    ports(frame, at, packet).ok_or(Outcome::TcpTruncated)?;
    // As far as the control bits.
    if !packet.has_room(at, 14) {
        return Err(Outcome::TcpTruncated);
    }
    let header = frame.header::<14>(at).ok_or(Outcome::TcpTruncated)?;
    packet.tcp_flags = header[13];
    if !packet.has_room(at, 20) {
        return Err(Outcome::TcpTruncated);
    }
    let header = frame.header::<20>(at).ok_or(Outcome::TcpTruncated)?;
    packet.tcp_window = be16!(header, 14);
    if header[12] >> 4 < 5 {
        return Err(Outcome::TcpBadDataOffset);
    }
    packet.offset = at as u32 + (header[12] >> 4) as u32 * 4;
    Ok(Outcome::Tcp)
}

#[inline(always)]
fn udp<F: Frame + ?Sized>(
    frame: &F,
    at: usize,
    tunnels: &impl Tunnels,
    packet: &mut Packet,
) -> Result<Outcome, Outcome> {
    ports(frame, at, packet).ok_or(Outcome::UdpTruncated)?;
    if !packet.has_room(at, 8) {
        return Err(Outcome::UdpTruncated);
    }
    let header = frame.header::<8>(at).ok_or(Outcome::UdpTruncated)?;
    let length = be16!(header, 4);
    // Zero is a jumbogram (RFC 2675).
    if length != 0 && length < 8 {
        return Err(Outcome::UdpBadLength);
    }
    packet.offset = at as u32 + 8;
    tunnel::udp(frame, at + 8, tunnels, packet);
    Ok(Outcome::Udp)
}

/// ICMP has no ports: both take `type << 8 | code`, and an echo reply counts under its request, so
/// that the two directions of a ping are one flow.
#[inline(always)]
fn icmp<F: Frame + ?Sized>(
    frame: &F,
    at: usize,
    (request, reply): (u8, u8),
    packet: &mut Packet,
) -> Result<Outcome, Outcome> {
    if !packet.has_room(at, 4) {
        return Err(Outcome::IcmpTruncated);
    }
    let header = frame.header::<4>(at).ok_or(Outcome::IcmpTruncated)?;
    let (kind, code) = (header[0], header[1]);
    let kind = if kind == reply { request } else { kind };
    let port = (kind as u16) << 8 | code as u16;
    packet.source_port = port;
    packet.destination_port = port;
    Ok(Outcome::Icmp)
}
