//! Names of IP protocols.

use std::borrow::Cow;

/// Each protocol that has a name here, with its number (IANA).
const NAMED: [(u8, &str); 5] = [
    (1, "icmp"),
    (6, "tcp"),
    (17, "udp"),
    (58, "ipv6-icmp"),
    (132, "sctp"),
];

/// Name of an IP protocol, else its number.
pub fn transport(protocol: u8) -> Cow<'static, str> {
    let named = NAMED.iter().find(|(number, _)| *number == protocol);
    named.map_or_else(
        || Cow::Owned(protocol.to_string()),
        |(_, name)| Cow::Borrowed(*name),
    )
}

/// Number of an IP protocol.
///
/// # Errors
/// Which words are known.
pub fn protocol(text: &str) -> Result<u8, String> {
    let text = text.to_ascii_lowercase();
    let wanted = if text == "icmpv6" { "ipv6-icmp" } else { &text };
    let named = NAMED.iter().find(|(_, name)| *name == wanted);
    named.map_or_else(
        || {
            let names = NAMED.map(|(_, name)| name).join(", ");
            text.parse()
                .map_err(|_| format!("write {names} or a number to 255"))
        },
        |(number, _)| Ok(*number),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_belong_together() {
        for number in 0..=u8::MAX {
            assert_eq!(protocol(&transport(number)), Ok(number));
        }
        assert_eq!(protocol("ICMPv6"), Ok(58));
        assert!(protocol("quic").unwrap_err().contains("sctp or a number"));
    }
}
