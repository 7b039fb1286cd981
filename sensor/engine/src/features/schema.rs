//! The features by name: one table gives header, values and the hash that models are tied to.

use sensor_common::mix;

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub unit: &'static str,
    pub help: &'static str,
}

const fn feature(name: &'static str, unit: &'static str, help: &'static str) -> Feature {
    Feature { name, unit, help }
}

/// Increases when a column changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;
pub const N_SOURCE_FEATURES: usize = 12;

/// Columns of a source's 10 s vector. Logarithms are `ln(1 + x)`.
pub const SOURCE_FEATURES: [Feature; N_SOURCE_FEATURES] = [
    feature("packets_log", "ln", "packets sent"),
    feature("bytes_log", "ln", "bytes sent"),
    feature("flows_log", "ln", "flows begun"),
    feature("length_mean", "kB", "mean length of packets sent"),
    feature("answer_ratio", "1", "packets received of all packets"),
    feature("failed_ratio", "1", "attempts refused or unanswered"),
    feature("peers_log", "ln", "distinct hosts talked to"),
    feature("ports_log", "ln", "distinct destination ports"),
    feature(
        "port_entropy",
        "bit",
        "entropy of destination ports, hashed to 16 bins",
    ),
    feature("udp_ratio", "1", "share of UDP in packets sent"),
    feature("icmp_ratio", "1", "share of ICMP in packets sent"),
    feature("syn_ratio", "1", "SYNs per packet sent"),
];

/// Stable hash of version, names and units.
pub fn schema_hash() -> u64 {
    let mut hash = u64::from(SCHEMA_VERSION);
    for feature in &SOURCE_FEATURES {
        for byte in feature.name.bytes().chain([0]).chain(feature.unit.bytes()) {
            hash = mix(hash, u64::from(byte), 0);
        }
    }
    hash
}
