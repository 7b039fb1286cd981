//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers.

use super::{Frame, Packet, protocol};
use crate::counters::Outcome;
use crate::limits::MAX_IPV6_EXTENSIONS;
use crate::v4_mapped;

#[inline(always)]
pub(super) fn ipv4<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Result<(), Outcome> {
    let header = frame
        .header::<20>(packet.at()?)
        .ok_or(Outcome::Ipv4Truncated)?;
    let version_ihl = header[0];
    if version_ihl >> 4 != 4 {
        return Err(Outcome::Ipv4BadVersion);
    }
    let header_length = ((version_ihl & 0x0f) as usize) * 4;
    if header_length < 20 {
        return Err(Outcome::Ipv4BadHeaderLength);
    }
    let total_length = be16!(header, 2) as usize;
    // Zero is what segmentation offload leaves in packets above 64 KiB.
    if total_length != 0 && total_length < header_length {
        return Err(Outcome::Ipv4BadTotalLength);
    }
    let fragment = be16!(header, 6) & 0x3fff;
    packet.source = v4_mapped(wire32!(header, 12));
    packet.destination = v4_mapped(wire32!(header, 16));
    packet.ttl = header[8];
    packet.protocol = header[9];
    packet.is_fragment = (fragment != 0) as u8;
    packet.end = end(packet.offset, total_length);
    packet.offset += header_length as u32;
    packet.has_header = (fragment & 0x1fff == 0) as u8;
    Ok(())
}

#[inline(always)]
pub(super) fn ipv6<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Result<(), Outcome> {
    let header = frame
        .header::<40>(packet.at()?)
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

/// Walks the extension headers (RFC 8200 4; AH by RFC 4302), at most [`MAX_IPV6_EXTENSIONS`].
#[inline(always)]
fn extensions<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Result<(), Outcome> {
    let mut packet = packet;
    for _ in 0..MAX_IPV6_EXTENSIONS {
        packet = frame.settle(packet);
        if !is_extension(packet.protocol) || packet.has_header == 0 {
            return Ok(());
        }
        let header = frame
            .header::<4>(packet.at()?)
            .ok_or(Outcome::Ipv6ExtensionTruncated)?;
        let length = header[1] as u32;
        packet.offset += match packet.protocol {
            protocol::FRAGMENT => {
                packet.is_fragment = 1;
                packet.has_header = (be16!(header, 2) & 0xfff8 == 0) as u8;
                8
            }
            protocol::AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        packet.protocol = header[0];
    }
    if is_extension(packet.protocol) && packet.has_header != 0 {
        return Err(Outcome::Ipv6TooManyExtensions);
    }
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
