//! Actions of entries that a person asks for, by command or by configuration.

use schemars::JsonSchema;
use sensor_record::Measure;
use serde::{Deserialize, Serialize};

/// Action of an entry that a person asks for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum BlockAction {
    /// Drop everything.
    Drop,
    /// Drop what is new; flows that go both ways go on.
    Quarantine,
    /// Let --rate packets per second of what is new pass; flows that go both ways go on.
    Limit,
    /// As limit, but beyond the rate TCP connections begin for who answers a SYN cookie.
    Challenge,
}

impl BlockAction {
    /// The measure of an action and a rate.
    ///
    /// # Errors
    /// When they don't go together.
    pub fn measure(action: Option<Self>, rate: Option<u32>) -> Result<Measure, String> {
        let limit = |packets_per_s| Measure::RateLimit { packets_per_s };
        match (action, rate) {
            (None | Some(Self::Drop), None) => Ok(Measure::Drop),
            (Some(Self::Quarantine), None) => Ok(Measure::Quarantine),
            (None | Some(Self::Limit), Some(rate)) => Ok(limit(rate)),
            (Some(Self::Challenge), Some(packets_per_s)) => {
                Ok(Measure::Challenge { packets_per_s })
            }
            (Some(Self::Limit | Self::Challenge), None) => {
                Err("a limit or a challenge needs a rate: say --rate PACKETS_PER_S".to_owned())
            }
            (Some(Self::Drop | Self::Quarantine), Some(_)) => Err(
                "a rate goes with a limit or a challenge: leave it out, or say --action limit"
                    .to_owned(),
            ),
        }
    }
}
