//! Addresses and networks as people write them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

/// Networks as a list of texts: for `#[serde(with = "Networks")]`.
pub struct Networks;

impl Networks {
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(value.iter().map(IpNet::to_string))
    }

    /// # Errors
    /// When a text is neither an address nor a network.
    pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<IpNet>, D::Error> {
        let texts = Vec::<String>::deserialize(source)?;
        let networks = texts.iter().map(|text| parse_network(text));
        networks.collect::<Result<_, _>>().map_err(D::Error::custom)
    }
}

/// Reads an address or a network; bits after the prefix are cleared, IPv4-mapped ones become IPv4.
///
/// # Errors
/// Says what is wrong with the text.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let parsed = match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>(),
    };
    let network = parsed.map_err(|_| {
        format!("\"{text}\" is neither an address nor a network, as 192.0.2.7 or 2001:db8::/48")
    })?;
    Ok(canonical(&network))
}

/// The one form of a network.
pub fn canonical(network: &IpNet) -> IpNet {
    if let IpNet::V6(v6) = network
        && v6.prefix_len() >= 96
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Ok(mapped) = Ipv4Net::new(v4, v6.prefix_len() - 96)
    {
        return IpNet::V4(mapped.trunc());
    }
    network.trunc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_one_form() {
        let forms = [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("2001:db8::1/32", "2001:db8::/32"),
        ];
        for (text, form) in forms {
            assert_eq!(parse_network(text).unwrap().to_string(), form);
        }
        for text in ["", "a", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "::/129"] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}
