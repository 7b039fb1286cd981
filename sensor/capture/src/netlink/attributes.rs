//! Attributes of netlink messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, anyhow, bail};
use netlink_packet_core::{NLA_HEADER_SIZE, NlasIterator};

/// Attributes from `at` on: kind without its flag bits, and value.
///
/// # Errors
/// Where the message is shorter than `at`; each item where an attribute is cut.
pub fn attributes(message: &[u8], at: usize) -> Result<impl Iterator<Item = Result<(u16, &[u8])>>> {
    let bytes = message
        .get(at..)
        .with_context(|| format!("message of {} bytes is cut", message.len()))?;
    Ok(nested(bytes))
}

/// Attributes inside the value of another.
pub fn nested(value: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8])>> {
    NlasIterator::new(value).map(|attribute| {
        let attribute = attribute.map_err(|cause| anyhow!("attribute is cut: {cause}"))?;
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        // `NlaBuffer::value` borrows from the buffer that is dropped here.
        let value = attribute.into_inner().get(NLA_HEADER_SIZE..length);
        Ok((kind, value.context("attribute is cut")?))
    })
}

/// An integer of the host's byte order.
pub trait Number: Sized {
    fn of(bytes: &[u8]) -> Option<Self>;
}

macro_rules! numbers {
    ($($kind:ty),*) => {
        $(impl Number for $kind {
            fn of(bytes: &[u8]) -> Option<Self> {
                bytes.first_chunk().map(|bytes| Self::from_ne_bytes(*bytes))
            }
        })*
    };
}
numbers!(u8, u16, u32, u64, i32);

/// The integer that begins at an offset.
///
/// # Errors
/// Where the bytes end before.
pub fn number_at<N: Number>(bytes: &[u8], at: usize) -> Result<N> {
    let found = bytes.get(at..).and_then(N::of);
    found.with_context(|| format!("message of {} bytes is cut", bytes.len()))
}

/// The integer that a value begins with.
///
/// # Errors
/// Where the value is shorter.
pub fn number<N: Number>(value: &[u8]) -> Result<N> {
    number_at(value, 0)
}

/// An IP address of either family.
///
/// # Errors
/// Where the value is of another length.
pub fn ip(value: &[u8]) -> Result<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Ok(Ipv4Addr::from(octets).into());
    }
    if let Ok(octets) = <[u8; 16]>::try_from(value) {
        return Ok(Ipv6Addr::from(octets).into());
    }
    bail!("address of {} bytes", value.len())
}

/// A name, up to its terminating zero.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    let text = value.get(..end.unwrap_or(value.len()));
    String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn attributes_come_in_order_without_padding_and_flags() {
        let bytes = [attribute(1, &[9]), attribute(0x8002, &[7, 8])].concat();
        let found: Vec<_> = nested(&bytes).map(Result::unwrap).collect();
        assert_eq!(found, [(1, &[9][..]), (2, &[7, 8][..])]);
    }

    #[test]
    fn cut_attributes_are_errors() {
        let whole = attribute(1, &[1, 2, 3, 4]);
        for length in 1..whole.len() {
            assert!(
                nested(&whole[..length]).any(|item| item.is_err()),
                "{length}"
            );
        }
        assert!(nested(&[0, 0, 0, 0]).any(|item| item.is_err()));
        assert!(attributes(&whole, 9).is_err());
    }

    #[test]
    fn values_are_read_whole_or_not_at_all() {
        assert_eq!(number::<u32>(&7u32.to_ne_bytes()).unwrap(), 7);
        assert!(number::<u32>(&[1, 2, 3]).is_err());
        assert!(number_at::<u16>(&[1, 2, 3], 9).is_err());
        assert_eq!(ip(&[192, 0, 2, 1]).unwrap().to_string(), "192.0.2.1");
        assert!(ip(&[1, 2, 3]).is_err());
        assert_eq!(text(b"eth0\0\0"), "eth0");
        assert_eq!(text(b"eth0"), "eth0");
        assert_eq!(text(b""), "");
    }
}
