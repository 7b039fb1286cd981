//! Actions on the packets of a source.

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
