//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers.

use super::{Frame, Packet, protocol};
use crate::counters::Outcome;
use crate::limits::{MAX_IPV6_EXTENSIONS, MAX_IPV6_EXTENSIONS_FOLLOWED};
use crate::v4_mapped;

/// "More fragments" in [`Packet::fragment`].
pub(super) const MORE_FRAGMENTS: u16 = 0x2000;
/// Offset of a fragment there, in units of eight bytes.
pub(super) const FRAGMENT_OFFSET: u16 = 0x1fff;

#[inline(always)]
pub(super) fn ipv4<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Result<(), Outcome> {
    let header = frame
        .header::<20>(packet.at(Outcome::LinkTooDeep)?)
        .ok_or(Outcome::Ipv4Truncated)?;
    let version_ihl = header[0];
    if version_ihl >> 4 != 4 {
        return Err(Outcome::Ipv4BadVersion);
    }
    let total_length = be16!(header, 2) as usize;
    packet.source = v4_mapped(wire32!(header, 12));
    packet.destination = v4_mapped(wire32!(header, 16));
    packet.ttl = header[8];
    packet.protocol = header[9];
    packet.network_at = packet.offset as u16;
    packet.end = end(packet.offset, total_length);
    let header_length = ((version_ihl & 0x0f) as usize) * 4;
    if header_length < 20 {
        return Err(Outcome::Ipv4BadHeaderLength);
    }
    // Zero is what segmentation offload leaves in packets above 64 KiB.
    if total_length != 0 && total_length < header_length {
        packet.set_fault(Outcome::Ipv4BadTotalLength);
        // The length says nothing: what the frame holds is read.
        packet.end = 0;
    }
    packet.offset += header_length as u32;
    packet.has_header = 1;
    let fragment = be16!(header, 6) & (MORE_FRAGMENTS | FRAGMENT_OFFSET);
    if fragment != 0 {
        packet.identification = be16!(header, 4) as u32;
        packet.set_fragment(fragment);
    }
    Ok(())
}

#[inline(always)]
pub(super) fn ipv6<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Result<(), Outcome> {
    let header = frame
        .header::<40>(packet.at(Outcome::LinkTooDeep)?)
        .ok_or(Outcome::Ipv6Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(Outcome::Ipv6BadVersion);
    }
    packet.source = [
        wire32!(header, 8),
        wire32!(header, 12),
        wire32!(header, 16),
        wire32!(header, 20),
    ];
    packet.destination = [
        wire32!(header, 24),
        wire32!(header, 28),
        wire32!(header, 32),
        wire32!(header, 36),
    ];
    packet.ttl = header[7];
    packet.protocol = header[6];
    packet.network_at = packet.offset as u16;
    packet.offset += 40;
    packet.end = end(packet.offset, be16!(header, 4) as usize);
    packet.has_header = 1;
    if is_extension(packet.protocol) {
        return extensions(frame, packet);
    }
    Ok(())
}

/// Offset behind a packet of that length. Zero is what segmentation offload and jumbograms (RFC
/// 2675) write.
#[inline(always)]
pub(super) const fn end(offset: u32, length: usize) -> u32 {
    if length == 0 {
        0
    } else {
        offset + length as u32
    }
}

/// Walks the extension headers (RFC 8200 4; AH by RFC 4302): beyond [`MAX_IPV6_EXTENSIONS`] the
/// packet is malformed, beyond [`MAX_IPV6_EXTENSIONS_FOLLOWED`] nobody looks for its transport header.
#[inline(always)]
fn extensions<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Result<(), Outcome> {
    let mut packet = packet;
    for n in 0..MAX_IPV6_EXTENSIONS_FOLLOWED {
        packet = frame.settle(packet);
        if !is_extension(packet.protocol) || packet.has_header == 0 {
            return Ok(());
        }
        if n >= MAX_IPV6_EXTENSIONS {
            packet.set_fault(Outcome::Ipv6TooManyExtensions);
        }
        extension(frame, packet)?;
    }
    packet = frame.settle(packet);
    if is_extension(packet.protocol) && packet.has_header != 0 {
        return Err(Outcome::Ipv6TooManyExtensions);
    }
    Ok(())
}

#[inline(always)]
fn extension<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Result<(), Outcome> {
    let at = packet.at(Outcome::HeadersTooLong)?;
    // The shortest has eight bytes.
    if !packet.has_room(at, 8) {
        return Err(Outcome::Ipv6ExtensionTruncated);
    }
    let header = frame
        .header::<8>(at)
        .ok_or(Outcome::Ipv6ExtensionTruncated)?;
    let length = header[1] as u32;
    let is_fragment = packet.protocol == protocol::FRAGMENT;
    packet.offset += match packet.protocol {
        protocol::FRAGMENT => 8,
        protocol::AUTHENTICATION => (length + 2) * 4,
        _ => (length + 1) * 8,
    };
    if is_fragment {
        let place = be16!(header, 2);
        packet.identification = wire32!(header, 4);
        // Also an atomic one (RFC 6946), which is its whole datagram.
        packet.set_fragment((place >> 3) | ((place & 1) * MORE_FRAGMENTS));
    }
    packet.protocol = header[0];
    Ok(())
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION
            | protocol::MOBILITY
    )
}
