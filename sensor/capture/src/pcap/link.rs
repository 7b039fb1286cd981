//! Link types and their reduction to Ethernet.

use super::Frame;
use super::bytes::ByteOrder;

/// The supported link types in words, for error messages.
pub(super) const SUPPORTED: &str = "ethernet, raw ip, linux cooked or loopback";

const ETHERNET_HEADER_LEN: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Reserved by the registry, so that no decoder takes an unknown payload for something it knows.
const ETHERTYPE_UNKNOWN: u16 = 0xffff;
/// Smallest value of the type field that is a type; smaller ones are a length (IEEE 802.3).
const ETHERTYPE_MIN: u16 = 0x0600;
const ETHERNET_MAX_PAYLOAD: usize = 1500;

/// Header that a frame's bytes begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet,
    /// An IPv4 or IPv6 header.
    RawIp,
    /// The 16-byte header of a Linux "any" capture.
    LinuxCooked,
    /// The 20-byte second version of that header.
    LinuxCooked2,
    /// A four-byte address family ahead of the IP header (`DLT_NULL` and `DLT_LOOP`).
    Loopback,
}

impl LinkType {
    /// The link type with this number in the tcpdump.org registry, if it is supported.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Ethernet),
            // 12 and 14 are what the BSDs call raw IP, 228 and 229 are one version of it only.
            12 | 14 | 101 | 228 | 229 => Some(Self::RawIp),
            113 => Some(Self::LinuxCooked),
            276 => Some(Self::LinuxCooked2),
            0 | 108 => Some(Self::Loopback),
            _ => None,
        }
    }

    /// Number in that registry.
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Ethernet => 1,
            Self::RawIp => 101,
            Self::LinuxCooked => 113,
            Self::LinuxCooked2 => 276,
            Self::Loopback => 0,
        }
    }

    /// Length of the header that a synthesised Ethernet header replaces.
    fn own_header_len(self) -> usize {
        match self {
            Self::Ethernet => ETHERNET_HEADER_LEN,
            Self::RawIp => 0,
            Self::LinuxCooked => 16,
            Self::LinuxCooked2 => 20,
            Self::Loopback => 4,
        }
    }
}

/// A frame as bytes that begin with an Ethernet header.
#[derive(Clone, Copy, Debug)]
pub struct EthernetFrame<'a> {
    /// The frame; for Ethernet the captured bytes themselves, however short.
    pub data: &'a [u8],
    /// Length on the wire had the frame been sent with this header.
    pub wire_len: u32,
    /// Bytes by which the Ethernet header is longer than the one it replaces; negative for the
    /// Linux cooked headers, 0 for Ethernet.
    pub added: i32,
}

/// Gives the frame with an Ethernet header, whatever its link type.
///
/// Ethernet frames are passed through without copying. For others the header is made up in
/// `scratch`: addresses are zero but for the source address that Linux cooked captures record, and
/// the type follows from the frame's own header, or from the IP version for raw IP. A frame too
/// short for its own header, or of an unknown protocol, gets the reserved type `0xffff`.
pub fn to_ethernet<'a>(frame: &Frame<'a>, scratch: &'a mut Vec<u8>) -> EthernetFrame<'a> {
    if frame.link == LinkType::Ethernet {
        return EthernetFrame {
            data: frame.data,
            wire_len: frame.wire_len,
            added: 0,
        };
    }
    let own_len = frame.link.own_header_len();
    let payload = frame.data.get(own_len..).unwrap_or_default();
    let header = Header::of(frame.link, frame.data, payload);
    header.write(payload, scratch);

    let own_len = u32::try_from(own_len).unwrap_or(0);
    let new_len = u32::try_from(ETHERNET_HEADER_LEN).unwrap_or(0);
    EthernetFrame {
        data: scratch,
        wire_len: frame
            .wire_len
            .saturating_sub(own_len)
            .saturating_add(new_len),
        added: new_len.cast_signed() - own_len.cast_signed(),
    }
}

/// Known parts of the Ethernet header that a frame does not have.
struct Header {
    source: [u8; 6],
    ethertype: u16,
}

impl Header {
    fn of(link: LinkType, data: &[u8], payload: &[u8]) -> Self {
        let found = match link {
            LinkType::Ethernet => None,
            LinkType::RawIp => Some(Self::unaddressed(ip_ethertype(payload))),
            LinkType::LinuxCooked => Self::from_cooked(data, payload),
            LinkType::LinuxCooked2 => Self::from_cooked2(data, payload),
            LinkType::Loopback => Self::from_loopback(data),
        };
        found.unwrap_or(Self::unaddressed(ETHERTYPE_UNKNOWN))
    }

    fn unaddressed(ethertype: u16) -> Self {
        Self {
            source: [0; 6],
            ethertype,
        }
    }

    fn from_cooked(data: &[u8], payload: &[u8]) -> Option<Self> {
        let header = data.first_chunk::<16>()?;
        let protocol = ByteOrder::Big.u16_at(header, 14);
        Some(Self {
            source: known_source(ByteOrder::Big.u16_at(header, 4), header.get(6..12)),
            ethertype: cooked_ethertype(protocol, payload),
        })
    }

    fn from_cooked2(data: &[u8], payload: &[u8]) -> Option<Self> {
        let header = data.first_chunk::<20>()?;
        let &[
            protocol_high,
            protocol_low,
            ..,
            address_len,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
        ] = header;
        let protocol = u16::from_be_bytes([protocol_high, protocol_low]);
        Some(Self {
            source: known_source(u16::from(address_len), header.get(12..18)),
            ethertype: cooked_ethertype(protocol, payload),
        })
    }

    fn from_loopback(data: &[u8]) -> Option<Self> {
        let raw = *data.first_chunk::<4>()?;
        // DLT_NULL has the byte order of the capturing host, which need not be that of the file.
        // Families are small numbers, so the smaller reading is the right one.
        let family = u32::from_be_bytes(raw).min(u32::from_le_bytes(raw));
        let ethertype = match family {
            2 => ETHERTYPE_IPV4,
            // AF_INET6 is 10 on Linux, 24 on NetBSD and OpenBSD, 28 on FreeBSD, 30 on macOS.
            10 | 24 | 28 | 30 => ETHERTYPE_IPV6,
            _ => ETHERTYPE_UNKNOWN,
        };
        Some(Self::unaddressed(ethertype))
    }

    fn write(&self, payload: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.source);
        out.extend_from_slice(&self.ethertype.to_be_bytes());
        out.extend_from_slice(payload);
    }
}

/// The source address if it is an Ethernet one, else zeros.
fn known_source(address_len: u16, field: Option<&[u8]>) -> [u8; 6] {
    let address = field.and_then(|bytes| bytes.first_chunk::<6>());
    match address {
        Some(&address) if address_len == 6 => address,
        _ => [0; 6],
    }
}

/// The type field for a cooked header's protocol field.
fn cooked_ethertype(protocol: u16, payload: &[u8]) -> u16 {
    if protocol >= ETHERTYPE_MIN {
        return protocol;
    }
    // Linux marks 802.3 frames with small pseudo-protocols; on the wire such frames carried their
    // length in this place.
    let len = payload.len().min(ETHERNET_MAX_PAYLOAD);
    u16::try_from(len).unwrap_or(0)
}

fn ip_ethertype(packet: &[u8]) -> u16 {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => ETHERTYPE_IPV4,
        Some(6) => ETHERTYPE_IPV6,
        _ => ETHERTYPE_UNKNOWN,
    }
}
