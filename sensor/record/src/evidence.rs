//! Numbers that speak for a finding.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One number beside what was expected of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Evidence {
    /// Name of a column of the feature schema, or of a detector's own number
    pub name: Cow<'static, str>,
    /// Value that was seen
    pub observed: f64,
    /// Highest value that would be usual
    pub expected: f64,
    /// Part of the score that it accounts for, 0 to 1
    pub share: f64,
}

impl Evidence {
    pub fn of(features: &[sensor_engine::Evidence]) -> Vec<Self> {
        let one = |e: &sensor_engine::Evidence| Self {
            name: Cow::Borrowed(e.name),
            observed: finite(e.observed),
            expected: finite(e.expected),
            share: finite(e.share),
        };
        features.iter().map(one).collect()
    }
}

/// JSON has no infinity.
pub fn finite(x: f64) -> f64 {
    if x.is_nan() {
        0.0
    } else {
        x.clamp(f64::MIN, f64::MAX)
    }
}
