//! Violations of the protocol in MQTT control packets of a client (OASIS MQTT 3.1.1 and 5.0).

use super::Reader;

/// Violation in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A type that is reserved, or that only a broker sends (2.2.1).
    Type,
    /// Flags of the fixed header (2.2.2), or a quality of service of 3 (3.3.1.2).
    Flags,
    /// Protocol name, level or flags of CONNECT (3.1.2).
    Connect,
    /// A topic to publish to that is empty, holds wildcards or NUL, is no UTF-8, or is the broker's
    /// own (4.7).
    Topic,
}

/// Looks at a segment that begins with a packet and ends with it; in others the packets can't be
/// told from their middles.
pub(crate) fn violation(payload: &[u8], payload_bytes: u32) -> Option<Violation> {
    let mut r = Reader(payload);
    let first = r.u8()?;
    let remaining = remaining_length(&mut r)?;
    let n_header = (payload.len() - r.0.len()) as u32;
    if n_header.checked_add(remaining)? != payload_bytes {
        return None;
    }
    let (kind, flags) = (first >> 4, first & 15);
    if matches!(kind, 0 | 2 | 9 | 11 | 13) {
        return Some(Violation::Type);
    }
    let expected = match kind {
        3 => flags,
        6 | 8 | 10 => 2,
        _ => 0,
    };
    if flags != expected || (kind == 3 && flags & 6 == 6) {
        return Some(Violation::Flags);
    }
    match kind {
        1 => connect(&mut r),
        3 => topic(&mut r),
        _ => None,
    }
}

/// Messages that a segment of a client publishes, by those that its sample shows. One that begins within a packet gives
/// none.
pub(crate) fn n_published(payload: &[u8], payload_bytes: u32) -> f64 {
    const PUBLISH: u8 = 3;
    let (mut r, mut n, mut n_seen) = (Reader(payload), 0u32, 0);
    while let Some(first) = r.u8() {
        let is_known = first >> 4 == PUBLISH || matches!(first, 0x40 | 0x62 | 0xc0);
        let (true, Some(remaining)) = (is_known, remaining_length(&mut r)) else {
            break;
        };
        n += u32::from(first >> 4 == PUBLISH);
        let is_whole = r.take(remaining as usize).is_some();
        n_seen = payload.len() - r.0.len();
        if !is_whole {
            // As long as it is, it is one.
            return f64::from(n);
        }
    }
    let whole = f64::from(payload_bytes.max(n_seen as u32));
    f64::from(n) * whole / (n_seen as f64).max(1.0)
}

fn remaining_length(r: &mut Reader<'_>) -> Option<u32> {
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = r.u8()?;
        length |= u32::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some(length);
        }
    }
    None
}

fn connect(r: &mut Reader<'_>) -> Option<Violation> {
    let length = usize::from(r.u16()?);
    let name = r.take(length);
    let (level, flags) = match name {
        Some(b"MQTT" | b"MQIsdp") => (r.u8()?, r.u8()?),
        _ => return Some(Violation::Connect),
    };
    let has_will = flags & 4 != 0;
    let is_bad = !matches!(level & 0x7f, 3..=5)
        || flags & 1 != 0
        || flags & 0x18 == 0x18
        || (!has_will && flags & 0x38 != 0)
        || (level < 5 && flags & 0xc0 == 0x40);
    is_bad.then_some(Violation::Connect)
}

fn topic(r: &mut Reader<'_>) -> Option<Violation> {
    let length = usize::from(r.u16()?);
    // A topic that the sample cuts is not judged; an alias of MQTT 5 leaves it empty.
    let topic = r.take(length)?;
    let is_bad = topic.iter().any(|b| matches!(b, b'#' | b'+' | 0))
        || std::str::from_utf8(topic).is_err()
        || topic == b"$"
        || topic.starts_with(b"$SYS");
    is_bad.then_some(Violation::Topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(packet: &[u8]) -> Option<Violation> {
        violation(packet, packet.len() as u32)
    }

    #[test]
    fn messages_are_counted_as_far_as_a_sample_goes() {
        let one = b"\x32\x09\x00\x03a/b\x00\x0142";
        let count = |payload: &[u8], bytes: usize| n_published(payload, bytes as u32);
        assert_eq!(count(one, 11), 1.0);
        assert_eq!(count(&one.repeat(5), 55), 5.0);
        assert_eq!(
            count(&one.repeat(5), 110),
            10.0,
            "twice as long as its sample"
        );
        assert_eq!(
            count(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", 14),
            0.0
        );
        assert_eq!(count(b"a long text", 11), 0.0);
        for n in 0..one.len() {
            assert!(count(&one[..n], n) <= 1.0);
        }
    }

    #[test]
    fn violations_are_told_from_valid_packets() {
        let connect = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00";
        assert_eq!(check(connect), None);
        assert_eq!(check(b"\x30\x07\x00\x03a/b42"), None);
        assert_eq!(check(b"\x30\x05\x00\x01$42"), Some(Violation::Topic));
        assert_eq!(check(b"\x30\x05\x00\x03a/#"), Some(Violation::Topic));
        assert_eq!(check(b"\x36\x05\x00\x03a/b"), Some(Violation::Flags));
        assert_eq!(check(b"\x80\x05\x00\x03a/b"), Some(Violation::Flags));
        assert_eq!(check(b"\x00\x00"), Some(Violation::Type));
        assert_eq!(check(b"\x10\x06\x00\x04HTTP"), Some(Violation::Connect));
        for n in 0..connect.len() {
            assert_eq!(check(&connect[..n]), None, "{n}");
        }
    }
}
