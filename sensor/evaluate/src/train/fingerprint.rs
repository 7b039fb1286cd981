//! Packets recognised in other captures.

use sensor_common::mix;

/// A packet by what stays when it is laid into another capture: ports, sequence numbers and the
/// beginning of its payload; neither addresses nor time. None of what has no such thing.
pub fn fingerprint(frame: &[u8]) -> Option<u64> {
    let ethertype = frame.get(12..14)?;
    let (protocol, at) = match ethertype {
        [0x08, 0x00] => {
            let first = frame.get(14)?;
            (*frame.get(23)?, 14 + 4 * usize::from(first & 15))
        }
        [0x86, 0xdd] => (*frame.get(20)?, 54),
        _ => return None,
    };
    let part = match protocol {
        // Ports, sequence and acknowledgement numbers; flags.
        6 => [frame.get(at..at + 12)?, frame.get(at + 13..at + 14)?],
        17 => [frame.get(at..at + 6)?, frame.get(at + 8..at + 24)?],
        1 | 58 => [frame.get(at..at + 2)?, frame.get(at + 4..at + 32)?],
        _ => return None,
    };
    // Both ports equal: announcements that every network has.
    if protocol == 17 && frame.get(at..at + 2) == frame.get(at + 2..at + 4) {
        return None;
    }
    let bytes = part.iter().flat_map(|part| part.iter());
    Some(bytes.fold(u64::from(protocol), |hash, byte| {
        mix(hash, u64::from(*byte), 0)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_times_don_t_count() {
        let mut frame = vec![0; 60];
        frame[12] = 8;
        frame[14] = 0x45;
        frame[23] = 6;
        let before = fingerprint(&frame);
        assert!(before.is_some());
        frame[26] = 10;
        frame[0] = 7;
        assert_eq!(fingerprint(&frame), before);
        frame[38] = 1;
        assert_ne!(fingerprint(&frame), before);
        assert_eq!(fingerprint(&frame[..30]), None);
    }
}
