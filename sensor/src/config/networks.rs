//! Settings of networks over sequences.

use schemars::JsonSchema;
use sensor_engine::{SECOND_NS, Time};
use serde::{Deserialize, Serialize};

use super::policy::Seconds;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSettings {
    /// Have installed networks judge sequences, on a thread of their own; what they find are incidents of low
    /// severity, on which nothing is decided. While none is installed, no sequences are made.
    pub enabled: bool,
    /// Way a candidate, which scores beside the network in force, takes its place: by a person's word
    /// (`sensor model promote`), or by the rule as well, where it is better at equal false alarms
    /// (`sensor model compare`).
    pub promote: Promote,
    /// Time beside the network in force before the rule may promote a candidate.
    #[schemars(
        with = "Time::<SECOND_NS>",
        extend("x-minimum" = "1h", "x-maximum" = "365d")
    )]
    pub promote_after: Seconds,
}

/// Way a candidate takes the place of the network in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Promote {
    #[default]
    ByWord,
    ByRule,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            promote: Promote::ByWord,
            promote_after: Seconds(7 * 86_400),
        }
    }
}
