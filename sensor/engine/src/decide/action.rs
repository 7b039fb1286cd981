//! Actions on the packets of a source.

/// New packets per second of a source that a limit or a challenge lets pass, and as many at once.
pub const LIMIT_PACKETS_PER_S: u32 = 100;

/// Action on a source's packets, from the weakest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Flows that go both ways pass, and the rest up to a rate.
    RateLimit,
    /// As the limit, but beyond the rate connections begin for who answers a question.
    Challenge,
    /// Flows that go both ways pass, and nothing new.
    Quarantine,
    /// Nothing passes.
    Drop,
}

impl Action {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Quarantine => "quarantine",
            Self::Challenge => "challenge",
            Self::RateLimit => "rate_limit",
        }
    }
}

/// Part of a source's traffic that an action applies to; 0 is any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    pub protocol: u8,
    pub local_port: u16,
}

impl Scope {
    /// Every scope that this one is part of, itself first.
    pub(super) fn around(self) -> [Self; 3] {
        let of_protocol = Self {
            local_port: 0,
            ..self
        };
        [self, of_protocol, Self::default()]
    }
}
