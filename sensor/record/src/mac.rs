//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ethernet address, written as the Elastic Common Schema does: `00-00-5E-00-53-23` (RFC 7042).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String", inline)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}-{b:02X}-{c:02X}-{d:02X}-{e:02X}-{g:02X}")
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl FromStr for Mac {
    type Err = String;

    /// Takes colons for hyphens, and either case.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is no Ethernet address, as 00-00-5E-00-53-23");
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let is_byte =
                |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            let part = parts.next().filter(is_byte);
            *byte = part
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(bad)?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(bad()),
        }
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ethernet_address_is_written_in_one_style_and_read_in_two() {
        let mac = Mac([0, 0, 0x5e, 0, 0x53, 0x23]);
        assert_eq!(mac.to_string(), "00-00-5E-00-53-23");
        assert_eq!("00:00:5e:00:53:23".parse(), Ok(mac));
        for bad in [
            "",
            "00-00-5E-00-53",
            "00-00-5E-00-53-23-01",
            "0-0-5E-0-53-23",
            "+0-00-5E-00-53-23",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }
}
