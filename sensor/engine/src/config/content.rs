//! Thresholds of the detectors that read packet samples.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SECOND_NS;

/// Detectors that read packet samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContentConfig {
    pub arp_spoof: ArpSpoofConfig,
    pub arp_sweep: ArpSweepConfig,
    pub dns_tunnel: DnsTunnelConfig,
    pub dga: DgaConfig,
}

/// Stations that speak for others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ArpSpoofConfig {
    /// What a station did within this time counts together, ns.
    #[schemars(range(min = 1))]
    pub window_ns: u64,
    /// A claim is remembered this long after it was last made, ns.
    pub claim_ns: u64,
    /// A reply is asked for if a request came at most this long before, ns.
    pub answer_ns: u64,
    /// Rounds in which a station asks for the same two addresses again.
    #[schemars(range(min = 2))]
    pub rounds: u32,
    /// Times that an address changes hands within the window.
    #[schemars(range(min = 2))]
    pub changes: u32,
    /// Answers to one host that a station gives unasked within the window.
    #[schemars(range(min = 2))]
    pub unasked: u32,
    /// Addresses that one station claims unasked within the window.
    #[schemars(range(min = 2))]
    pub claims: u32,
    /// Stations and addresses held, each up to about 1 kB.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_stations: usize,
}

impl Default for ArpSpoofConfig {
    fn default() -> Self {
        Self {
            window_ns: 60 * SECOND_NS,
            claim_ns: 600 * SECOND_NS,
            answer_ns: 5 * SECOND_NS,
            rounds: 4,
            changes: 4,
            unasked: 12,
            claims: 8,
            max_stations: 16_384,
        }
    }
}

/// Stations that ask for many addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ArpSweepConfig {
    /// Half a window, ns.
    #[schemars(range(min = 1))]
    pub half_ns: u64,
    /// Distinct addresses asked for within a window, most of them in vain.
    #[schemars(range(min = 1))]
    pub addresses: u32,
    /// Stations held, up to about 1 kB each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_stations: usize,
}

impl Default for ArpSweepConfig {
    fn default() -> Self {
        Self {
            half_ns: 30 * SECOND_NS,
            addresses: 32,
            max_stations: 8_192,
        }
    }
}

/// Data in names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DnsTunnelConfig {
    /// Half a short window, ns, and half a long one for slow tunnels.
    #[schemars(range(min = 1))]
    pub half_ns: u64,
    #[schemars(range(min = 1))]
    pub slow_half_ns: u64,
    /// Distinct names of one zone that one client asks for in a window, by record types that
    /// programs hardly ever ask for.
    #[schemars(range(min = 1))]
    pub rare_names: u32,
    /// The same for addresses, which everybody asks for.
    #[schemars(range(min = 1))]
    pub names: u32,
    /// Bytes of information that a name carries below its zone on average, by rare types and others.
    pub rare_name_bytes: f64,
    pub name_bytes: f64,
    /// Share of distinct names in all questions for the zone.
    pub distinct_share: f64,
    /// Share of questions with an answer of any kind: without, nothing comes through.
    pub answered_share: f64,
    /// Clients' zones held, up to about 2 kB each, mostly 400 bytes.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_zones: usize,
}

impl Default for DnsTunnelConfig {
    fn default() -> Self {
        Self {
            half_ns: 60 * SECOND_NS,
            slow_half_ns: 900 * SECOND_NS,
            rare_names: 20,
            names: 60,
            rare_name_bytes: 3.0,
            name_bytes: 8.0,
            distinct_share: 0.5,
            answered_share: 0.2,
            max_zones: 16_384,
        }
    }
}

/// Generated names that don't exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DgaConfig {
    /// Half a short window, ns, and half a long one.
    #[schemars(range(min = 1))]
    pub half_ns: u64,
    #[schemars(range(min = 1))]
    pub slow_half_ns: u64,
    /// Distinct registered names that don't exist, asked for by one client in a window.
    #[schemars(range(min = 1))]
    pub names: u32,
    /// Their share in all registered names that the client got an answer about.
    pub missing_share: f64,
    /// Clients held, up to about 3 kB each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_clients: usize,
}

impl Default for DgaConfig {
    fn default() -> Self {
        Self {
            half_ns: 60 * SECOND_NS,
            slow_half_ns: 900 * SECOND_NS,
            names: 20,
            missing_share: 0.5,
            max_clients: 8_192,
        }
    }
}
