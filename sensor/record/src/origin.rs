//! Origin of an entry of a list, or of an order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Origin of an entry or an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Origin {
    /// A detection.
    Incident {
        incident_id: String,
        decision_id: String,
    },
    /// A person, by command; the user identifier is the socket peer's.
    Operator { uid: u32 },
    /// A person or a program over HTTP, by the name of its token.
    Token { token: String },
    /// A list of others, by its name here.
    Feed { feed: String },
    /// The configuration.
    Config,
    /// Found in pinned maps; the decision's number leads to the audit log.
    Adopted { number: u64 },
    /// The sensor itself.
    Sensor,
}

impl Origin {
    /// True for the sensor itself.
    pub const fn is_sensor(&self) -> bool {
        matches!(self, Self::Sensor)
    }

    /// Number that the kernel entry carries: the hash within a decision's id, 0 for anybody else.
    pub fn number(&self) -> u64 {
        match self {
            Self::Incident { decision_id, .. } => decision_id
                .rsplit('-')
                .next()
                .and_then(|hash| u64::from_str_radix(hash, 16).ok())
                .unwrap_or(0),
            Self::Adopted { number } => *number,
            Self::Operator { .. }
            | Self::Token { .. }
            | Self::Feed { .. }
            | Self::Config
            | Self::Sensor => 0,
        }
    }

    /// True where the entry is to survive a restart.
    pub const fn is_kept(&self) -> bool {
        matches!(self, Self::Operator { .. } | Self::Token { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_a_decision_by_the_low_bits_of_its_id() {
        let origin = Origin::Incident {
            incident_id: "000001-00000000000000aa".to_owned(),
            decision_id: "d000001-00000000000000ff".to_owned(),
        };
        assert_eq!(origin.number(), 255);
        assert_eq!(Origin::Operator { uid: 0 }.number(), 0);
    }
}
