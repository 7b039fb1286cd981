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
    pub nd_spoof: NdSpoofConfig,
    pub dns_tunnel: DnsTunnelConfig,
    pub dga: DgaConfig,
    pub replies: RepliesConfig,
    pub mqtt: MqttConfig,
    pub fieldbus: FieldbusConfig,
    pub icmp_tunnel: IcmpTunnelConfig,
    pub injection: InjectionConfig,
    pub extensions: ExtensionsConfig,
    pub fragments: FragmentsConfig,
    pub guesses: GuessesConfig,
    /// Maximum number of flows whose names, versions and reply codes are kept until they end, about
    /// 400 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_flows: usize,
}

impl Default for ContentConfig {
    fn default() -> Self {
        Self {
            arp_spoof: ArpSpoofConfig::default(),
            arp_sweep: ArpSweepConfig::default(),
            nd_spoof: NdSpoofConfig::default(),
            dns_tunnel: DnsTunnelConfig::default(),
            dga: DgaConfig::default(),
            replies: RepliesConfig::default(),
            mqtt: MqttConfig::default(),
            fieldbus: FieldbusConfig::default(),
            icmp_tunnel: IcmpTunnelConfig::default(),
            injection: InjectionConfig::default(),
            extensions: ExtensionsConfig::default(),
            fragments: FragmentsConfig::default(),
            guesses: GuessesConfig::default(),
            max_flows: 32_768,
        }
    }
}

/// ARP spoofing: stations that claim the addresses of others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ArpSpoofConfig {
    /// Window over which the behaviour of a station is counted.
    #[serde(rename = "window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "window_ns", "x-minimum" = "1s"))]
    pub window_ns: u64,
    /// Time that a claim is remembered after it was last made.
    #[serde(rename = "claim_timeout", with = "Time::<1>")]
    #[schemars(extend("x-former" = "claim_ns"))]
    pub claim_ns: u64,
    /// Maximum age of the request that makes a reply solicited.
    #[serde(rename = "answer_timeout", with = "Time::<1>")]
    #[schemars(extend("x-former" = "answer_ns"))]
    pub answer_ns: u64,
    /// Number of rounds in which a station asks for the same two addresses again.
    #[schemars(range(min = 2))]
    pub rounds: u32,
    /// Number of times that an address changes between stations within the window.
    #[schemars(range(min = 2))]
    pub changes: u32,
    /// Number of unsolicited replies from a station to one host within the window.
    #[schemars(range(min = 2))]
    pub unasked: u32,
    /// Number of addresses that one station claims in unsolicited replies within the window.
    #[schemars(range(min = 2))]
    pub claims: u32,
    /// Maximum number of stations and of addresses tracked, up to about 1 kB each.
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

/// IPv6 neighbour spoofing: stations that claim the addresses of others, and new routers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NdSpoofConfig {
    /// Time over which the messages of a station count together.
    #[serde(rename = "window", with = "Time::<1>")]
    #[schemars(extend("x-minimum" = "2ns"))]
    pub window_ns: u64,
    /// Time that a claim is remembered after it was last made.
    #[serde(rename = "claim_timeout", with = "Time::<1>")]
    pub claim_ns: u64,
    /// Maximum age of the solicitation that makes an advertisement solicited.
    #[serde(rename = "answer_timeout", with = "Time::<1>")]
    pub answer_ns: u64,
    /// Number of unsolicited advertisements to one host for addresses that another station held,
    /// within the window.
    #[schemars(range(min = 1))]
    pub taken_over: u32,
    /// Number of times that an address changes between stations within the window.
    #[schemars(range(min = 2))]
    pub changes: u32,
    /// Number of new routers within the window; eight times as many while the link is not known
    /// yet.
    #[schemars(range(min = 2))]
    pub routers: u32,
    /// Time after which a router counts as known, and the link as watched: the longest interval
    /// between advertisements (RFC 4861 6.2.1).
    #[serde(rename = "known_after", with = "Time::<1>")]
    pub known_ns: u64,
    /// Maximum number of stations, of addresses and of routers, about 200 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_stations: usize,
}

impl Default for NdSpoofConfig {
    fn default() -> Self {
        Self {
            window_ns: 60 * SECOND_NS,
            claim_ns: 600 * SECOND_NS,
            answer_ns: 5 * SECOND_NS,
            taken_over: 2,
            changes: 4,
            routers: 16,
            known_ns: 1_800 * SECOND_NS,
            max_stations: 16_384,
        }
    }
}

/// ARP sweeps: stations that ask for many addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ArpSweepConfig {
    /// Half of the detection window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1s"))]
    pub half_ns: u64,
    /// Number of distinct addresses requested within a window, most of them without a reply.
    #[schemars(range(min = 1))]
    pub addresses: u32,
    /// Maximum number of stations tracked, up to about 1 kB each.
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

/// DNS tunnels: data encoded in names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DnsTunnelConfig {
    /// Half of the short detection window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1s"))]
    pub half_ns: u64,
    /// Half of the long detection window, for slow tunnels; it requires three times as many names.
    #[serde(rename = "slow_half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "slow_half_ns", "x-minimum" = "1s"))]
    pub slow_half_ns: u64,
    /// Number of distinct names of one zone that one client queries within a window, with record
    /// types that ordinary programs rarely use.
    #[schemars(range(min = 1))]
    pub rare_names: u32,
    /// Number of distinct names of one zone that one client queries within a window, with ordinary
    /// record types.
    #[schemars(range(min = 1))]
    pub names: u32,
    /// Minimum mean information content of a name below its zone, in bytes, for the rare record
    /// types.
    pub rare_name_bytes: f64,
    /// Minimum mean information content of a name below its zone, in bytes, for ordinary record
    /// types.
    pub name_bytes: f64,
    /// Minimum share of distinct names among all queries for the zone.
    pub distinct_share: f64,
    /// Minimum share of queries that got a response; without responses nothing gets through.
    pub answered_share: f64,
    /// Maximum number of pairs of client and zone tracked, mostly 400 bytes and at most about 2 kB
    /// each.
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

/// Domain generation algorithms: queries for generated names that don't exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DgaConfig {
    /// Half of the short detection window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1s"))]
    pub half_ns: u64,
    /// Half of the long detection window; it requires three times as many names.
    #[serde(rename = "slow_half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "slow_half_ns", "x-minimum" = "1s"))]
    pub slow_half_ns: u64,
    /// Number of distinct nonexistent registered domains that one client queries within a window.
    #[schemars(range(min = 1))]
    pub names: u32,
    /// Minimum share of them among all registered domains that the client got a response for.
    pub missing_share: f64,
    /// Maximum number of clients tracked, up to about 3 kB each.
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

/// Names tried from a list: pages of a web server, hosts of a zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuessesConfig {
    /// Half of the short detection window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-minimum" = "1s"))]
    pub half_ns: u64,
    /// Half of the long detection window; it requires three times as many names.
    #[serde(rename = "slow_half_window", with = "Time::<1>")]
    #[schemars(extend("x-minimum" = "1s"))]
    pub slow_half_ns: u64,
    /// Number of distinct pages that one client asks one server for within a window, and that don't exist.
    #[schemars(range(min = 1))]
    pub pages: u32,
    /// Number of distinct names below one registered domain that one client asks for within a window, and
    /// that don't exist.
    #[schemars(range(min = 1))]
    pub names: u32,
    /// Minimum share of them among what was answered.
    pub missing_share: f64,
    /// Maximum number of clients and servers, clients and zones, and servers and zones tracked, up to about 5 kB
    /// each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_rows: usize,
}

impl Default for GuessesConfig {
    fn default() -> Self {
        Self {
            half_ns: 60 * SECOND_NS,
            slow_half_ns: 900 * SECOND_NS,
            pages: 30,
            names: 60,
            missing_share: 0.8,
            max_rows: 4_096,
        }
    }
}

/// Code injection: web requests that carry commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InjectionConfig {
    /// Half of the detection window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1s"))]
    pub half_ns: u64,
    /// Number of such requests from one client to one server within a window.
    #[schemars(range(min = 1))]
    pub requests: u32,
    /// Maximum number of pairs of client and server tracked, about 100 bytes each.
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

/// Evasion with IPv6 extension headers: ICMPv6 behind long header chains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExtensionsConfig {
    /// Half of the detection window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1s"))]
    pub half_ns: u64,
    /// Number of sampled packets with more than 8 bytes of extension headers from one host to
    /// another within a window.
    #[schemars(range(min = 1))]
    pub packets: u32,
    /// Maximum number of pairs of hosts tracked, about 100 bytes each.
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

/// Evasion with IP fragments: TCP headers divided, tiny and overlapping fragments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FragmentsConfig {
    /// Half of the detection window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-minimum" = "1s"))]
    pub half_ns: u64,
    /// Number of sampled datagrams of one sender in fragments that no stack makes, within a window.
    #[schemars(range(min = 1))]
    pub datagrams: u32,
    /// Maximum number of senders tracked, up to 1 kB each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_senders: usize,
    /// Maximum number of datagrams whose fragments are remembered for 2 s, up to 700 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_datagrams: usize,
}

impl Default for FragmentsConfig {
    fn default() -> Self {
        Self {
            half_ns: 30 * SECOND_NS,
            datagrams: 10,
            max_senders: 4_096,
            max_datagrams: 4_096,
        }
    }
}

/// Password guessing by what comes of logins: refusals are held against acceptances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RepliesConfig {
    /// Half of the short detection window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1s"))]
    pub half_ns: u64,
    /// Half of the long detection window; it requires three times as many refusals of hidden secrets.
    #[serde(rename = "slow_half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "slow_half_ns", "x-minimum" = "1s"))]
    pub slow_half_ns: u64,
    /// Number of logins of one client with hidden secrets that one service refuses within a window. A
    /// program with a saved password that is not right any more tries again once in half a minute.
    #[schemars(range(min = 1))]
    pub refused: u32,
    /// Number of distinct secrets of one client that one service refuses within a window, where the
    /// protocol shows them. A person gives up earlier.
    #[schemars(range(min = 1))]
    pub secrets: u32,
    /// Number of clients that are refused more than once by one service which never accepts them, and
    /// guess together.
    #[schemars(range(min = 2))]
    pub shared_sources: u32,
    /// Number of refusals of all of them within two minutes; twice as many in the long window.
    #[schemars(range(min = 2))]
    pub shared_refused: u32,
    /// Maximum number of pairs of client and service tracked, 300 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_pairs: usize,
}

impl Default for RepliesConfig {
    fn default() -> Self {
        Self {
            half_ns: 30 * SECOND_NS,
            slow_half_ns: 600 * SECOND_NS,
            refused: 10,
            secrets: 8,
            shared_sources: 5,
            shared_refused: 20,
            max_pairs: 16_384,
        }
    }
}

/// MQTT clients that violate the protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MqttConfig {
    /// Half of the detection window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1s"))]
    pub half_ns: u64,
    /// Number of invalid messages from one client to one broker within a window.
    #[schemars(range(min = 1))]
    pub violations: u32,
    /// Maximum number of pairs of client and broker tracked, 150 bytes each.
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

/// Reconnaissance of field devices by Modbus and DNP3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FieldbusConfig {
    /// Half of the detection window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1s"))]
    pub half_ns: u64,
    /// Number of requests of one master that one device rejects within a window.
    #[schemars(range(min = 1))]
    pub exceptions: u32,
    /// Minimum share of rejections among all responses.
    pub exception_share: f64,
    /// Learning time of a device, after which its masters are known.
    #[serde(rename = "known_after", with = "Time::<1>")]
    #[schemars(extend("x-former" = "known_ns", "x-minimum" = "1ms"))]
    pub known_ns: u64,
    /// Maximum number of pairs of master and device tracked, 150 bytes each.
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

/// ICMP tunnels: data in echo messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IcmpTunnelConfig {
    /// Half of the detection window.
    #[serde(rename = "half_window", with = "Time::<1>")]
    #[schemars(extend("x-former" = "half_ns", "x-minimum" = "1s"))]
    pub half_ns: u64,
    /// Number of echo replies within a window whose data differs from their request's.
    #[schemars(range(min = 1))]
    pub changed_replies: u32,
    /// Minimum share of such replies among those whose request was seen.
    pub changed_share: f64,
    /// Number of echo requests within a window whose data and length vary, for links where replies
    /// are not seen.
    #[schemars(range(min = 1))]
    pub changed_requests: u32,
    /// Maximum number of pairs of hosts tracked, 500 bytes each.
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
