//! The totals at the end.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::head::Head;
use crate::time::Timestamp;

/// Numbers by the label of what was counted.
pub type Counts = BTreeMap<Cow<'static, str>, u64>;

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Volume {
    /// Number of packets
    #[schemars(extend("x-unit" = "packets"))]
    pub packets: u64,
    /// Bytes from the Ethernet header on
    #[schemars(extend("x-unit" = "bytes"))]
    pub bytes: u64,
}

/// Totals of a replay or a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "summary")]
pub struct Summary {
    #[serde(flatten)]
    pub head: Head,
    /// Number of packets
    #[schemars(extend("x-unit" = "packets"))]
    pub packets: u64,
    /// Bytes from the Ethernet header on
    #[schemars(extend("x-unit" = "bytes"))]
    pub bytes: u64,
    /// Number of flow records exported
    pub flows: u64,
    /// Packets that could not be read, by reason
    #[serde(default)]
    #[schemars(extend("x-unit" = "packets"))]
    pub malformed: Counts,
    /// Frames that carry no IP packet that is read, by kind
    #[serde(default)]
    #[schemars(extend("x-unit" = "packets"))]
    pub not_ip: Counts,
    /// Number of incidents opened, by family
    #[serde(default)]
    pub incidents: Counts,
    /// Packets that found no room, by what had none
    #[serde(default)]
    #[schemars(extend("x-unit" = "packets"))]
    pub shed: Counts,
    /// Time that it took
    #[serde(default)]
    #[schemars(extend("x-unit" = "s"))]
    pub wall_time_s: f64,
    /// First packet of a replay, start of a run
    #[serde(
        rename = "event.start",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub start: Option<Timestamp>,
    /// Last packet of a replay, end of a run
    #[serde(rename = "event.end", default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// Packets stamped before the one before them; of a replay
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "packets"))]
    pub packets_back_in_time: Option<u64>,
    /// Incoming traffic; of a run
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Volume>,
    /// Outgoing traffic; of a run
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Volume>,
    /// Packets that the kernel program dropped, let through or shed, by event; of a run
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "packets"))]
    pub events: Option<Counts>,
    /// Copies of table rows that were given up; of a run
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unstable_reads: Option<u64>,
    /// Records that a slow reader cost; of a run
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines_shed: Option<u64>,
}

/// Sentence for a sensor that reads little of what it gets: more than half of the frames are not IP.
pub fn mostly_not_ip(packets: u64, not_ip: &Counts) -> Option<String> {
    let n = not_ip
        .values()
        .fold(0, |sum: u64, n| sum.saturating_add(*n));
    let most = not_ip.iter().max_by_key(|(_, n)| **n);
    let (kind, _) = most.filter(|_| n > packets / 2)?;
    Some(format!(
        "most frames carry no IP packet that is read: {n} of {packets}, most of them {kind}"
    ))
}
