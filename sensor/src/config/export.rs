//! Settings of collectors that flow records are exported to: one table of `[[export]]`.

use schemars::JsonSchema;
use sensor_engine::{SECOND_NS, Time};
use sensor_netflow::{MAX_MESSAGE, MIN_MESSAGE, Protocol};
use serde::{Deserialize, Serialize};

use super::policy::Seconds;

/// Protocol of flow export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ExportProtocol {
    /// IPFIX (RFC 7011).
    #[default]
    Ipfix,
    /// NetFlow version 9 (RFC 3954).
    NetflowV9,
}

impl From<ExportProtocol> for Protocol {
    fn from(protocol: ExportProtocol) -> Self {
        match protocol {
            ExportProtocol::Ipfix => Self::Ipfix,
            ExportProtocol::NetflowV9 => Self::NetflowV9,
        }
    }
}

/// One collector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportSettings {
    /// Name of the collector, for metrics and the log: letters, digits, - and _.
    #[schemars(example = &"nta")]
    pub name: String,
    /// Address of the collector, `HOST:PORT`, over UDP.
    #[schemars(example = &"collector.example.org:2055")]
    pub address: String,
    /// Protocol to export by.
    #[serde(default)]
    #[schemars(example = &"ipfix")]
    pub protocol: ExportProtocol,
    /// Export to it.
    #[serde(default = "yes")]
    #[schemars(example = true)]
    pub enabled: bool,
    /// Export packets that block entries dropped as well: the first of each entry and every 1,024th,
    /// within the kernel's budgets.
    #[serde(default = "yes")]
    #[schemars(example = true)]
    pub blocks: bool,
    /// Observation domain (IPFIX), source identifier (NetFlow version 9).
    #[serde(default = "domain")]
    #[schemars(example = 1)]
    pub domain: u32,
    /// Time after which the templates are sent again: a collector that starts later can read nothing
    /// before.
    #[serde(default = "template_interval")]
    #[schemars(with = "Time::<SECOND_NS>", extend("x-minimum" = "1s", "x-maximum" = "1h"), example = &"30s")]
    pub template_interval: Seconds,
    /// Bytes of a message at most, UDP payload; more than the path's MTU less headers is sent in
    /// fragments.
    #[serde(default = "max_message")]
    #[schemars(range(min = MIN_MESSAGE, max = MAX_MESSAGE), example = 1400)]
    pub max_message: u32,
    /// Greatest number of records a second; what comes at once is spread over time, so that a
    /// collector's socket buffer holds it.
    #[serde(default = "max_records_per_s")]
    #[schemars(range(min = 100, max = 10_000_000), example = 100_000)]
    pub max_records_per_s: u32,
}

const fn yes() -> bool {
    true
}

const fn domain() -> u32 {
    1
}

const fn template_interval() -> Seconds {
    Seconds(30)
}

const fn max_message() -> u32 {
    1_400
}

const fn max_records_per_s() -> u32 {
    100_000
}

/// Contradictions of the collectors, by themselves and with each other: key and message.
pub(super) fn conflicts(exports: &[ExportSettings]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (i, export) in exports.iter().enumerate() {
        let mut add = |key: &str, message| found.push((format!("export[{i}].{key}"), message));
        let ExportSettings { name, address, .. } = export;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if name.is_empty() || !name.chars().all(is_plain) {
            let message = format!("\"{name}\" is no name: write letters, digits, - and _, as nta");
            add("name", message);
        }
        let mut before = exports.iter().take(i);
        if before.any(|before| before.name == *name) {
            let message = format!("\"{name}\" is the name of a collector above, too");
            add("name", message);
        }
        let port = address
            .rsplit_once(':')
            .map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            let message = format!("\"{address}\" has no port; write HOST:PORT");
            add("address", message);
        }
    }
    found
}
