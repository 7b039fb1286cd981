//! Text that people hand in, with its greatest length.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Characters of a reason, as JSON Schema counts them.
pub const MAX_REASON_CHARS: usize = 512;
/// Characters of a name or an identifier.
pub const MAX_NAME_CHARS: usize = 255;

/// Text above its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLong {
    what: &'static str,
    n_chars: usize,
    most: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            n_chars,
            most,
        } = self;
        write!(f, "a {what} of {n_chars} characters: shorten it to {most}")
    }
}

impl std::error::Error for TooLong {}

macro_rules! bounded {
    ($(#[$meta:meta])* $name:ident, $what:literal, $most:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", inline, extend("maxLength" = $most))]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = TooLong;
            fn try_from(text: String) -> Result<Self, TooLong> {
                let (what, n_chars, most) = ($what, text.chars().count(), $most);
                if n_chars > most {
                    return Err(TooLong { what, n_chars, most });
                }
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = TooLong;
            fn from_str(text: &str) -> Result<Self, TooLong> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    };
}

bounded! {
    /// Reason for a block, of at most [`MAX_REASON_CHARS`].
    Reason, "reason", MAX_REASON_CHARS
}

bounded! {
    /// Name or identifier of something, of at most [`MAX_NAME_CHARS`].
    Name, "name", MAX_NAME_CHARS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_text_is_refused_with_the_bound() {
        assert!("x".repeat(MAX_REASON_CHARS).parse::<Reason>().is_ok());
        let refused = "x".repeat(MAX_REASON_CHARS + 1).parse::<Reason>();
        let told = refused.unwrap_err().to_string();
        assert_eq!(told, "a reason of 513 characters: shorten it to 512");
        // Characters count, not bytes: the schema says so.
        assert!("ä".repeat(255).parse::<Name>().is_ok());
        assert!("ä".repeat(256).parse::<Name>().is_err());
        assert!(crate::json::read::<Name>(b"\"short\"").is_ok());
        let long = format!("\"{}\"", "x".repeat(256));
        let told = crate::json::read::<Name>(long.as_bytes()).unwrap_err();
        assert!(told.to_string().contains("shorten it to 255"), "{told}");
    }
}
