//! Answers of the far side, record by record.

use std::time::Duration;

/// Answer about one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The far side has it; what it said.
    Accepted(String),
    /// It may be taken later: the far side is busy or away, or does not let the sensor in.
    Later {
        why: String,
        /// Time that the far side asks to wait.
        after: Option<Duration>,
    },
    /// It will never be taken: what the far side said.
    Refused(String),
}

impl Answer {
    pub fn later(why: impl Into<String>) -> Self {
        Self::Later {
            why: why.into(),
            after: None,
        }
    }

    pub fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }

    /// Word of it.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Later { .. } => "later",
            Self::Refused(_) => "refused",
        }
    }

    /// Text of the far side, or of what went wrong on the way.
    pub fn text(&self) -> &str {
        match self {
            Self::Accepted(text) | Self::Refused(text) => text,
            Self::Later { why, .. } => why,
        }
    }
}
