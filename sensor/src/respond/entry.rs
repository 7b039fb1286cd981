//! What is asked of the lists, and what they say.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use sensor_engine::Scope;
use serde::{Deserialize, Serialize};

/// What is done to packets that an entry covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Measure {
    Drop,
    /// Lets through so many packets a second, and as many at once.
    RateLimit {
        packets_per_s: u32,
    },
}

impl Measure {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::RateLimit { .. } => "rate_limit",
        }
    }
}

/// Who wants something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Origin {
    /// A detection.
    Incident {
        incident_id: String,
        decision_id: String,
    },
    /// A person, by command; the user identifier is the socket peer's.
    Operator { uid: u32 },
    /// The configuration.
    Config,
    /// Found in pinned maps; the decision's number leads to the audit log.
    Adopted { number: u64 },
    /// The sensor itself.
    Sensor,
}

impl Origin {
    /// Number that the kernel entry carries: the hash within a decision's id, 0 for anybody else.
    pub fn number(&self) -> u64 {
        match self {
            Self::Incident { decision_id, .. } => decision_id
                .rsplit('-')
                .next()
                .and_then(|hash| u64::from_str_radix(hash, 16).ok())
                .unwrap_or(0),
            Self::Adopted { number } => *number,
            Self::Operator { .. } | Self::Config | Self::Sensor => 0,
        }
    }

    /// True where the entry is to survive a restart.
    pub const fn is_kept(&self) -> bool {
        matches!(self, Self::Operator { .. })
    }
}

/// A block that somebody asks for.
#[derive(Clone, Debug)]
pub struct Request {
    pub target: IpNet,
    /// All of the source's traffic, or a local port or protocol.
    pub scope: Scope,
    pub measure: Measure,
    pub ttl: Duration,
    pub origin: Origin,
    pub reason: Arc<str>,
}

/// An entry of the block-list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub target: IpNet,
    pub scope: Scope,
    pub measure: Measure,
    pub origin: Arc<Origin>,
    pub reason: Arc<str>,
    /// Kernel monotonic time.
    pub expires_ns: u64,
    /// Dropped, or, when monitoring, what would have been.
    pub packets: u64,
    pub bytes: u64,
}

/// Longest life of an entry: nothing is blocked for ever and forgotten.
pub const MAX_TTL: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Why an entry was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// The target is, or contains, an address that must stay reachable.
    Protected {
        target: IpNet,
        address: IpNet,
        why: &'static str,
    },
    /// The block-list or allow-list is full.
    Full { target: IpNet, limit: usize },
    /// One source has all the scopes it can have.
    TooManyScopes { target: IpNet, limit: usize },
    /// A family uses all the prefix lengths it can use.
    TooManyLengths { target: IpNet, limit: usize },
    /// There is no such entry.
    NotListed { target: IpNet },
    /// No time, or more than [`MAX_TTL`].
    BadTtl { ttl: Duration },
    /// A rate of nothing, or of more than a packet per nanosecond.
    BadRate { packets_per_s: u32 },
    /// The kernel refused.
    Kernel { target: IpNet, cause: String },
}

impl std::error::Error for BlockError {}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protected {
                target,
                address,
                why,
            } => {
                let (target, address) = (Shown(target), Shown(address));
                if target.0 == address.0 {
                    write!(f, "{target} must stay reachable ({why})")
                } else {
                    write!(
                        f,
                        "{target} contains {address}, which must stay reachable ({why})"
                    )
                }
            }
            Self::Full { target, limit } => write!(
                f,
                "{}: the list is full ({limit} entries); remove some, or block a wider prefix",
                Shown(target)
            ),
            Self::TooManyScopes { target, limit } => write!(
                f,
                "{}: no room for another port or protocol ({limit} a source); block all of it",
                Shown(target)
            ),
            Self::TooManyLengths { target, limit } => write!(
                f,
                "{target}: {limit} different prefix lengths are in use; use one of those"
            ),
            Self::NotListed { target } => write!(f, "{} is not on the list", Shown(target)),
            Self::BadTtl { ttl } => write!(
                f,
                "{} s is no time to live; give 1 s to {} days",
                ttl.as_secs(),
                MAX_TTL.as_secs() / 86_400
            ),
            Self::BadRate { packets_per_s } => write!(
                f,
                "{packets_per_s} packets/s is no rate; give 1 to 1000000000"
            ),
            Self::Kernel { target, cause } => write!(f, "{}: {cause}", Shown(target)),
        }
    }
}

/// A network as people write it: a single address without its length.
pub struct Shown<'a>(pub &'a IpNet);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
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

/// A network in a configuration file: an address alone is one, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(pub IpNet);

impl TryFrom<String> for Network {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        parse_network(&text).map(Self)
    }
}

impl std::str::FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse_network(text).map(Self)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        Shown(&network.0).to_string()
    }
}

/// The one form of a network.
pub fn canonical(network: &IpNet) -> IpNet {
    if let IpNet::V6(v6) = network
        && v6.prefix_len() >= 96
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Ok(mapped) = ipnet::Ipv4Net::new(v4, v6.prefix_len() - 96)
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

    #[test]
    fn a_decision_has_a_number() {
        let origin = Origin::Incident {
            incident_id: "000001-00000000000000aa".to_owned(),
            decision_id: "d000001-00000000000000ff".to_owned(),
        };
        assert_eq!(origin.number(), 255);
        assert_eq!(Origin::Operator { uid: 0 }.number(), 0);
    }
}
