//! Thresholds of the detectors that read packet samples.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SECOND_NS, Time};

/// Detectors that read packet samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContentConfig {
    pub arp_spoof: ArpSpoofConfig,
    pub arp_sweep: ArpSweepConfig,
    pub dns_tunnel: DnsTunnelConfig,
    pub dga: DgaConfig,
    pub replies: RepliesConfig,
    pub mqtt: MqttConfig,
    pub fieldbus: FieldbusConfig,
    pub icmp_tunnel: IcmpTunnelConfig,
    pub injection: InjectionConfig,
    pub extensions: ExtensionsConfig,
    /// Flows whose names, versions and reply codes are kept until they end, about 400 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_flows: usize,
}

impl Default for ContentConfig {
    fn default() -> Self {
        Self {
            arp_spoof: ArpSpoofConfig::default(),
            arp_sweep: ArpSweepConfig::default(),
            dns_tunnel: DnsTunnelConfig::default(),
            dga: DgaConfig::default(),
            replies: RepliesConfig::default(),
            mqtt: MqttConfig::default(),
            fieldbus: FieldbusConfig::default(),
            icmp_tunnel: IcmpTunnelConfig::default(),
            injection: InjectionConfig::default(),
            extensions: ExtensionsConfig::default(),
            max_flows: 32_768,
        }
    }
}

/// Stations that speak for others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ArpSpoofConfig {
    /// What a station did within this time counts together.
    #[serde(rename = "window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "window_ns", "x-minimum" = "1ns"))]
    pub window_ns: u64,
    /// A claim is remembered this long after it was last made.
    #[serde(rename = "claim_timeout", with = "Time::<1>")]
    #[schemars(extend("x-former" = "claim_ns"))]
    pub claim_ns: u64,
    /// A reply is asked for if a request came at most this long before.
    #[serde(rename = "answer_timeout", with = "Time::<1>")]
    #[schemars(extend("x-former" = "answer_ns"))]
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
    /// Half a window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1ns"))]
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
    /// Half a short window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1ns"))]
    pub half_ns: u64,
    /// Half a long window, for slow tunnels, which needs three times as many names.
    #[serde(rename = "slow_half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "slow_half_ns", "x-minimum" = "1ns"))]
    pub slow_half_ns: u64,
    /// Distinct names of one zone that one client asks for in a window, by record types that
    /// programs hardly ever ask for.
    #[schemars(range(min = 1))]
    pub rare_names: u32,
    /// The same for addresses, which everybody asks for.
    #[schemars(range(min = 1))]
    pub names: u32,
    /// Bytes of information that a name carries below its zone on average, by rare record types.
    pub rare_name_bytes: f64,
    /// The same by other record types.
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
    /// Half a short window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1ns"))]
    pub half_ns: u64,
    /// Half a long window, which needs three times as many names.
    #[serde(rename = "slow_half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "slow_half_ns", "x-minimum" = "1ns"))]
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

/// Requests to web servers that carry programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InjectionConfig {
    /// Half a window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1ns"))]
    pub half_ns: u64,
    /// Such requests of one client to one server in a window.
    #[schemars(range(min = 1))]
    pub requests: u32,
    /// Pairs of client and server held, about 100 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_clients: usize,
}

impl Default for InjectionConfig {
    fn default() -> Self {
        Self {
            half_ns: 120 * SECOND_NS,
            requests: 3,
            max_clients: 4_096,
        }
    }
}

/// ICMPv6 behind extension headers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExtensionsConfig {
    /// Half a window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1ns"))]
    pub half_ns: u64,
    /// Sampled packets of one host to another with more than 8 bytes of extension headers in a
    /// window.
    #[schemars(range(min = 1))]
    pub packets: u32,
    /// Pairs of hosts held, about 100 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_senders: usize,
}

impl Default for ExtensionsConfig {
    fn default() -> Self {
        Self {
            half_ns: 30 * SECOND_NS,
            packets: 10,
            max_senders: 4_096,
        }
    }
}

/// Logins that a service refuses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RepliesConfig {
    /// Half a short window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1ns"))]
    pub half_ns: u64,
    /// Half a long window, which needs three times as many refusals.
    #[serde(rename = "slow_half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "slow_half_ns", "x-minimum" = "1ns"))]
    pub slow_half_ns: u64,
    /// Logins of one client that one service refuses in a window.
    #[schemars(range(min = 1))]
    pub refused: u32,
    /// The same for HTTP, where a browser is refused before it asks for the password.
    #[schemars(range(min = 1))]
    pub refused_http: u32,
    /// SSH connections of one client to one service in a short window. Whether a login worked is
    /// encrypted.
    #[schemars(range(min = 1))]
    pub ssh_banners: u32,
    /// Share of refusals in all logins.
    pub refused_share: f64,
    /// Clients and services held, 200 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_pairs: usize,
}

impl Default for RepliesConfig {
    fn default() -> Self {
        Self {
            half_ns: 30 * SECOND_NS,
            slow_half_ns: 600 * SECOND_NS,
            refused: 10,
            refused_http: 20,
            ssh_banners: 20,
            refused_share: 0.8,
            max_pairs: 16_384,
        }
    }
}

/// MQTT clients that break the protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MqttConfig {
    /// Half a window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1ns"))]
    pub half_ns: u64,
    /// Messages of one client to one broker that break the protocol, in a window.
    #[schemars(range(min = 1))]
    pub violations: u32,
    /// Clients and brokers held, 150 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_pairs: usize,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            half_ns: 60 * SECOND_NS,
            violations: 10,
            max_pairs: 8_192,
        }
    }
}

/// Modbus and DNP3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FieldbusConfig {
    /// Half a window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1ns"))]
    pub half_ns: u64,
    /// Requests of one master that one device refuses in a window.
    #[schemars(range(min = 1))]
    pub exceptions: u32,
    /// Share of refusals in all answers.
    pub exception_share: f64,
    /// A device is known, and its masters with it, after this long.
    #[serde(rename = "known_after", with = "Time::<1>")]
    #[schemars(extend("x-former" = "known_ns", "x-minimum" = "1ns"))]
    pub known_ns: u64,
    /// Masters and devices held, 150 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_pairs: usize,
}

impl Default for FieldbusConfig {
    fn default() -> Self {
        Self {
            half_ns: 30 * SECOND_NS,
            exceptions: 20,
            exception_share: 0.5,
            known_ns: 5 * SECOND_NS,
            max_pairs: 8_192,
        }
    }
}

/// Data in ICMP echoes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IcmpTunnelConfig {
    /// Half a window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1ns"))]
    pub half_ns: u64,
    /// Replies in a window whose data is not that of their request.
    #[schemars(range(min = 1))]
    pub changed_replies: u32,
    /// Share of such replies in those whose request was seen.
    pub changed_share: f64,
    /// Requests in a window whose data and length change, for where replies are not seen.
    #[schemars(range(min = 1))]
    pub changed_requests: u32,
    /// Pairs held, 500 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_pairs: usize,
}

impl Default for IcmpTunnelConfig {
    fn default() -> Self {
        Self {
            half_ns: 30 * SECOND_NS,
            changed_replies: 10,
            changed_share: 0.5,
            changed_requests: 40,
            max_pairs: 8_192,
        }
    }
}
