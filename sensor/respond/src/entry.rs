//! Requests to the lists, and their answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use sensor_engine::Scope;
use sensor_record::Grounds;

use super::reason::Reason;

pub use sensor_record::{Measure, Network, Origin, Shown, canonical, parse_network};

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
    /// The source is proven real, or a person or a list names it: nobody made the address up.
    pub is_proven: bool,
    /// Row of the policy and proof, of a decision.
    pub grounds: Option<Grounds>,
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
        reason: Reason,
    },
    /// Facts of the host were never read, so it is not known what must stay reachable.
    GuardUnknown { target: IpNet, missing: Arc<str> },
    /// The block-list or allow-list is full.
    Full { target: IpNet, limit: usize },
    /// One source has all the scopes it can have.
    TooManyScopes { target: IpNet, limit: usize },
    /// A family uses all the prefix lengths it can use.
    TooManyLengths { target: IpNet, limit: usize },
    /// No such entry.
    NotListed { target: IpNet },
    /// No time, or more than [`MAX_TTL`].
    BadTtl { ttl: Duration },
    /// A rate of nothing, or of more than a packet per nanosecond.
    BadRate { packets_per_s: u32 },
    /// The kernel refused.
    Kernel { target: IpNet, cause: String },
}

impl std::error::Error for BlockError {}

impl BlockError {
    /// True where there is no room.
    pub const fn is_full(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::TooManyScopes { .. } | Self::TooManyLengths { .. }
        )
    }
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protected {
                target,
                address,
                reason,
            } => {
                let why = reason.label();
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
            Self::GuardUnknown { target, missing } => write!(
                f,
                "{}: nothing is blocked until it is known what must stay reachable ({missing})",
                Shown(target)
            ),
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
