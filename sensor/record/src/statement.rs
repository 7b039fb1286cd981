//! Statements of other systems about the sources of an incident.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Word of another system about a source. It is no proof: it opened no incident, and nothing was done for it
/// alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Statement {
    /// Name of the input that it came by
    pub by: String,
    /// Product that says it
    pub product: String,
    /// Name of what it says
    pub what: String,
    /// Source that is blamed
    pub about: IpAddr,
    /// Address that it was done to
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<IpAddr>,
    /// Weight that the product gives it, 0 to 100
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u8>,
    /// Certainty of the product, 0 to 100
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certainty: Option<u8>,
    /// Says that it stopped it
    pub blocked: bool,
    /// Time at which it came first
    pub first: Timestamp,
    /// Time at which it came last
    pub last: Timestamp,
    /// Number of times that it came
    pub count: u64,
}

impl From<&sensor_engine::Said> for Statement {
    fn from(said: &sensor_engine::Said) -> Self {
        let of = &said.statement;
        Self {
            by: of.by.to_string(),
            product: of.product.clone(),
            what: of.what.clone(),
            about: of.about,
            against: of.against,
            weight: of.weight,
            certainty: of.certainty,
            blocked: of.is_blocked,
            first: Timestamp(said.first_ns),
            last: Timestamp(said.last_ns),
            count: said.n,
        }
    }
}
