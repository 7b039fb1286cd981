//! Lengths on the wire that no packet can have had.

use super::Frame;
use super::bytes::ByteOrder;
use super::link::LinkType;

/// Longer claims are held against the packet's own header: above what any Ethernet carries, offload
/// hands over segments as one, and those have their length in the IP header, too.
pub(super) const CHECKED_LEN: u32 = 10_000;
/// Frames longer than their IP packet by more than headers, trailers and check sequences.
const MAX_AROUND: u32 = 2_048;
/// Longest packet whose header doesn't say how long it is (IPv4 and IPv6 of more than 64 KiB, which
/// offload hands over: `GRO_MAX_SIZE` of Linux).
const MAX_UNSAID: u32 = 1 << 20;

/// Believable length of a frame that claims an absurd one; none where its claim is believed.
#[cold]
pub(super) fn believable(frame: &Frame<'_>) -> Option<u32> {
    let captured = u32::try_from(frame.data.len()).unwrap_or(u32::MAX);
    match ip_end(frame.link, frame.data) {
        Some(end) => {
            let is_believed = frame.wire_len <= end.max(captured).saturating_add(MAX_AROUND);
            (!is_believed).then(|| end.max(captured))
        }
        None => (frame.wire_len > MAX_UNSAID).then_some(captured),
    }
}

/// Bytes up to the end of the outermost IP packet, by its own header; none where there is no such
/// packet, or it doesn't say.
fn ip_end(link: LinkType, data: &[u8]) -> Option<u32> {
    let start = network_offset(link, data)?;
    let packet = data.get(start..)?;
    let length_at = |at: usize| {
        let bytes = packet.get(at..at + 2)?;
        Some(u32::from(ByteOrder::Big.u16_at(bytes, 0))).filter(|length| *length > 0)
    };
    let length = match packet.first()? >> 4 {
        4 => length_at(2)?,
        6 => length_at(4)? + 40,
        _ => return None,
    };
    Some(u32::try_from(start).ok()? + length)
}

/// Offset of the IP header.
fn network_offset(link: LinkType, data: &[u8]) -> Option<usize> {
    match link {
        LinkType::RawIp => Some(0),
        LinkType::Loopback => Some(4),
        LinkType::LinuxCooked => Some(16),
        LinkType::LinuxCooked2 => Some(20),
        LinkType::Ethernet => {
            let mut at = 12;
            loop {
                let bytes = data.get(at..at + 2)?;
                at += 2;
                match ByteOrder::Big.u16_at(bytes, 0) {
                    0x0800 | 0x86dd => return Some(at),
                    0x8100 | 0x88a8 | 0x9100 if at < 12 + 4 * 4 => at += 2,
                    _ => return None,
                }
            }
        }
    }
}
