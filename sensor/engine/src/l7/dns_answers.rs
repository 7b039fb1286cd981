//! Addresses in the answers of a DNS response (RFC 1035 4.1.3, RFC 3596).

use sensor_common::{Address, v4_mapped};

use super::Reader;
use super::dns::record;

/// Records read of one message.
const MAX_RECORDS: usize = 24;

/// Addresses that a response gives, as far as the sample reaches.
pub(crate) fn addresses(payload: &[u8]) -> Vec<Address> {
    let mut found = Vec::new();
    // What can't be read ends the message.
    let _read = read(payload, &mut found);
    found
}

fn read(payload: &[u8], found: &mut Vec<Address>) -> Option<()> {
    let mut r = Reader(payload);
    r.u16()?;
    let flags = r.u16()?;
    let (n_questions, n_answers) = (r.u16()?, r.u16()?);
    r.take(4)?;
    if flags >> 15 == 0 || n_questions > 4 {
        return None;
    }
    for _ in 0..n_questions {
        skip_name(&mut r)?;
        r.take(4)?;
    }
    for _ in 0..usize::from(n_answers).min(MAX_RECORDS) {
        skip_name(&mut r)?;
        let kind = r.u16()?;
        r.take(6)?;
        let length = usize::from(r.u16()?);
        let data = r.take(length)?;
        match (kind, data) {
            (record::A, [a, b, c, d]) => {
                found.push(v4_mapped(u32::from_ne_bytes([*a, *b, *c, *d])))
            }
            (record::AAAA, data) => {
                let bytes: [u8; 16] = data.try_into().ok()?;
                found.push(crate::address::from_ip(std::net::IpAddr::from(bytes)));
            }
            _ => {}
        }
    }
    Some(())
}

/// Skips labels up to their end or to a pointer, which ends a name.
fn skip_name(r: &mut Reader<'_>) -> Option<()> {
    loop {
        match r.u8()? {
            0 => return Some(()),
            length @ 1..=63 => r.take(usize::from(length))?,
            0xc0..=0xff => {
                r.u8()?;
                return Some(());
            }
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::to_ip;
    use crate::l7::dns::tests::message;

    #[test]
    fn addresses_are_read_behind_an_alias_and_damage_ends_the_message() {
        let mut bytes = message("www.example.org", record::A, 0x8180);
        bytes[7] = 3;
        bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 16]);
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
        bytes.extend([0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16]);
        bytes.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let texts: Vec<String> = addresses(&bytes)
            .iter()
            .map(|a| to_ip(a).to_string())
            .collect();
        assert_eq!(texts, ["192.0.2.7", "2001:db8::1"]);
        for n in 0..bytes.len() {
            assert!(addresses(&bytes[..n]).len() < 2, "{n}");
        }
        assert!(addresses(&message("a.example", record::A, 0x0100)).is_empty());
    }
}
