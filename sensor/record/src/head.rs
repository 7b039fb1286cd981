//! Head of every record: time, sensor and version of the contract.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Version of the contract. It grows when a field goes or changes its meaning; new fields leave it.
pub const SCHEMA_VERSION: u32 = 1;

/// The sensor that a record is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sensor {
    /// Version of these records; it grows when a field goes or changes its meaning
    #[serde(rename = "schema.version")]
    pub schema_version: u32,
    /// Name of the host that the sensor runs on: of the configuration, else of the kernel
    #[serde(rename = "host.name")]
    pub host_name: String,
    /// Identifier of the sensor, the same over restarts
    #[serde(rename = "sensor.id")]
    pub id: String,
}

impl Sensor {
    /// Describes a sensor of this version of the contract.
    pub fn new(host_name: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            host_name: host_name.into(),
            id: id.into(),
        }
    }

    /// Head of a record of this sensor.
    pub fn head(self: &Arc<Self>, at_ns: u64) -> Head {
        Head {
            at: Timestamp(at_ns),
            sensor: Arc::clone(self),
        }
    }
}

/// Head of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// Event time: the packets', not the clock's on the wall
    #[serde(rename = "@timestamp")]
    pub at: Timestamp,
    #[serde(flatten)]
    pub sensor: Arc<Sensor>,
}
