//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers.

use super::{Frame, Packet, protocol};
use crate::counters::Outcome;
use crate::limits::MAX_IPV6_EXTENSIONS;
use crate::v4_mapped;

/// What an IP header says about its payload.
#[derive(Clone, Copy)]
pub(super) struct Payload {
    pub offset: usize,
    pub protocol: u8,
    /// False in every fragment but the first: there is no transport header to read.
    pub has_header: bool,
}

#[inline(always)]
pub(super) fn ipv4<F: Frame + ?Sized>(
    frame: &F,
    offset: usize,
    packet: &mut Packet,
) -> Result<Payload, Outcome> {
    // The last word first: it proves the whole header to be there.
    let destination = frame.word(offset + 16).ok_or(Outcome::Ipv4Truncated)?;
    let source = frame.word(offset + 12).ok_or(Outcome::Ipv4Truncated)?;
    let version_ihl = frame.u8(offset).ok_or(Outcome::Ipv4Truncated)?;
    if version_ihl >> 4 != 4 {
        return Err(Outcome::Ipv4BadVersion);
    }
    let header_length = ((version_ihl & 0x0f) as usize) * 4;
    if header_length < 20 {
        return Err(Outcome::Ipv4BadHeaderLength);
    }
    let total_length = frame.u16(offset + 2).ok_or(Outcome::Ipv4Truncated)? as usize;
    // Zero is what segmentation offload leaves in packets above 64 KiB.
    if total_length != 0 && total_length < header_length {
        return Err(Outcome::Ipv4BadTotalLength);
    }
    let fragment = frame.u16(offset + 6).ok_or(Outcome::Ipv4Truncated)? & 0x3fff;
    packet.source = v4_mapped(source);
    packet.destination = v4_mapped(destination);
    packet.ttl = frame.u8(offset + 8).ok_or(Outcome::Ipv4Truncated)?;
    packet.protocol = frame.u8(offset + 9).ok_or(Outcome::Ipv4Truncated)?;
    packet.is_fragment = (fragment != 0) as u8;
    Ok(Payload {
        offset: offset + header_length,
        protocol: packet.protocol,
        has_header: fragment & 0x1fff == 0,
    })
}

#[inline(always)]
pub(super) fn ipv6<F: Frame + ?Sized>(
    frame: &F,
    offset: usize,
    packet: &mut Packet,
) -> Result<Payload, Outcome> {
    packet.destination = address(frame, offset + 24)?;
    packet.source = address(frame, offset + 8)?;
    if frame.u8(offset).ok_or(Outcome::Ipv6Truncated)? >> 4 != 6 {
        return Err(Outcome::Ipv6BadVersion);
    }
    packet.ttl = frame.u8(offset + 7).ok_or(Outcome::Ipv6Truncated)?;
    let next = frame.u8(offset + 6).ok_or(Outcome::Ipv6Truncated)?;
    let payload = extensions(frame, offset + 40, next, packet)?;
    packet.protocol = payload.protocol;
    Ok(payload)
}

#[inline(always)]
fn address<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<[u32; 4], Outcome> {
    let last = frame.word(offset + 12).ok_or(Outcome::Ipv6Truncated)?;
    let first = frame.word(offset).ok_or(Outcome::Ipv6Truncated)?;
    let second = frame.word(offset + 4).ok_or(Outcome::Ipv6Truncated)?;
    let third = frame.word(offset + 8).ok_or(Outcome::Ipv6Truncated)?;
    Ok([first, second, third, last])
}

/// Walks the extension headers (RFC 8200 4; AH by RFC 4302), at most [`MAX_IPV6_EXTENSIONS`].
#[inline(always)]
fn extensions<F: Frame + ?Sized>(
    frame: &F,
    offset: usize,
    next: u8,
    packet: &mut Packet,
) -> Result<Payload, Outcome> {
    let mut payload = Payload {
        offset,
        protocol: next,
        has_header: true,
    };
    for _ in 0..MAX_IPV6_EXTENSIONS {
        if !is_extension(payload.protocol) || !payload.has_header {
            return Ok(payload);
        }
        let next = frame
            .u8(payload.offset)
            .ok_or(Outcome::Ipv6ExtensionTruncated)?;
        let length = frame
            .u8(payload.offset + 1)
            .ok_or(Outcome::Ipv6ExtensionTruncated)? as usize;
        let step = match payload.protocol {
            protocol::FRAGMENT => {
                let at = frame
                    .u16(payload.offset + 2)
                    .ok_or(Outcome::Ipv6ExtensionTruncated)?;
                packet.is_fragment = 1;
                payload.has_header = at & 0xfff8 == 0;
                8
            }
            protocol::AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        payload.protocol = next;
        payload.offset += step;
    }
    if is_extension(payload.protocol) && payload.has_header {
        return Err(Outcome::Ipv6TooManyExtensions);
    }
    Ok(payload)
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
