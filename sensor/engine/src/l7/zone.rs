//! Split of a name into the registered part and the part below, with how much that can carry.

/// Labels below a country's own under which it registers names (`co.uk`, `com.br`). The public suffix
/// list has 10,000 rows; what matters here is that a registry is not taken for one owner's zone, nor
/// a short zone for a registry.
const SECOND_LEVEL: [&[u8]; 36] = [
    b"ac", b"asn", b"asso", b"co", b"com", b"ed", b"edu", b"firm", b"gen", b"go", b"gob", b"gouv",
    b"gov", b"gv", b"id", b"ind", b"info", b"k12", b"ltd", b"me", b"mil", b"ne", b"net", b"nhs",
    b"nic", b"nom", b"or", b"org", b"plc", b"pp", b"press", b"res", b"sch", b"tm", b"web", b"in",
];

/// A name split at its registered part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split<'a> {
    /// The registered name, e.g. `example.co.uk`.
    pub zone: &'a [u8],
    /// Labels below the registered name, without the dot; may be empty.
    pub below: &'a [u8],
}

/// Splits a name in lower case. `None`: reverse zones, and names of one label.
pub(crate) fn split(name: &[u8]) -> Option<Split<'_>> {
    let mut dots = name
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, b)| **b == b'.')
        .map(|(i, _)| i);
    let (first, second) = (dots.next()?, dots.next());
    let top = name.get(first + 1..)?;
    if top == b"arpa" {
        return None;
    }
    let Some(second) = second else {
        return Some(Split {
            zone: name,
            below: &[],
        });
    };
    let middle = name.get(second + 1..first)?;
    let is_registry = top.len() == 2 && SECOND_LEVEL.contains(&middle);
    let at = if is_registry {
        dots.next()
    } else {
        Some(second)
    };
    Some(match at {
        Some(at) => Split {
            zone: name.get(at + 1..)?,
            below: name.get(..at)?,
        },
        None => Split {
            zone: name,
            below: &[],
        },
    })
}

/// Bytes of information that the labels below a zone could carry at their entropy (order 0, of
/// their characters). Labels of one character or up to three digits carry an address, as in
/// block-list lookups (RFC 5782), not data.
pub(crate) fn information(below: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    let mut n = 0u32;
    for label in below.split(|b| *b == b'.') {
        let is_address =
            label.len() <= 1 || (label.len() <= 3 && label.iter().all(u8::is_ascii_digit));
        if is_address {
            continue;
        }
        for byte in label {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count += 1;
                n += 1;
            }
        }
    }
    let total = f64::from(n);
    let bits: f64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) * (total / f64::from(*count)).log2())
        .sum();
    bits / 8.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_at_the_registered_domain() {
        let cases = [
            ("www.example.org", "example.org", "www"),
            ("a.b.example.co.uk", "example.co.uk", "a.b"),
            ("shop.example.com.br", "example.com.br", "shop"),
            ("example.com", "example.com", ""),
            ("t.tunnel.tk", "tunnel.tk", "t"),
            ("data.t.io", "t.io", "data"),
            ("example.co.jp", "example.co.jp", ""),
        ];
        for (name, zone, below) in cases {
            let split = split(name.as_bytes()).unwrap();
            assert_eq!(split.zone, zone.as_bytes(), "{name}");
            assert_eq!(split.below, below.as_bytes(), "{name}");
        }
        assert_eq!(split(b"4.3.2.1.in-addr.arpa"), None);
        assert_eq!(split(b"localhost"), None);
        assert_eq!(split(b""), None);
    }

    #[test]
    fn addresses_in_names_carry_no_information_and_data_does() {
        assert!(information(b"4.3.2.1.zen") < 2.0);
        assert!(information(b"www") < 1.0);
        assert!(information(b"0a1b2c3d4e5f60718293a4b5c6d7e8f9") > 12.0);
    }
}
