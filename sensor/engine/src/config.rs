//! Thresholds of the engine. The shell reads these types from the configuration: a field is a key; its
//! doc comment is the key's description, `range` its bounds, and `x-restart` marks a key that a running
//! engine can't change.

mod content;
mod networks;
mod shape;
mod words;

pub use self::content::{
    ArpSpoofConfig, ArpSweepConfig, ContentConfig, DgaConfig, DnsTunnelConfig, ExtensionsConfig,
    FieldbusConfig, FragmentsConfig, GuessesConfig, IcmpTunnelConfig, InjectionConfig, MqttConfig,
    NdSpoofConfig, RepliesConfig,
};
pub use self::networks::{Networks, canonical, parse_network};
pub use self::shape::ShapeConfig;
pub use self::words::{Size, Time, parse_size, parse_time, size_text, time_text};

use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decide::{Exception, PolicyRow, Preset};
use crate::detect::Namer;
use crate::features::SequenceKinds;
use crate::models::{Boosted, ModelKind};

/// Nanoseconds in one second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Detection thresholds. `Default` holds the values that the detectors were tuned with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seed of the hash tables; equal seeds give equal outputs.
    #[serde(skip)]
    pub hash_seed: u64,
    /// Networks of the site: whose hosts are never acted on, beside the addresses of the host itself,
    /// and who is inside for the detectors. Empty: those that the host forwards for, as its addresses
    /// and routes tell, in a replay none; inside are private addresses, too.
    #[serde(with = "Networks")]
    #[schemars(with = "Vec<String>")]
    pub local_networks: Vec<IpNet>,
    pub flow: FlowConfig,
    pub flood: FloodConfig,
    pub scan: ScanConfig,
    pub shape: ShapeConfig,
    pub content: ContentConfig,
    pub volume: VolumeConfig,
    pub exfiltration: ExfiltrationConfig,
    pub lateral: LateralConfig,
    /// Emit every feature vector, for training and evaluation.
    #[serde(skip)]
    pub emit_vectors: bool,
    /// Kinds of sequences to emit, for training and for networks.
    #[serde(skip)]
    pub emit_sequences: SequenceKinds,
    /// Count flows that ended without emitting them, which saves the memory of a million flows at
    /// once.
    #[serde(skip)]
    pub omit_flows: bool,
    pub vectors: VectorConfig,
    pub scoring: ScoringConfig,
    pub naming: NamingConfig,
    pub learned: LearnedConfig,
    /// Flows are those of records that others exported: single packets, their order and their lengths are
    /// not known, and confidence is lower.
    #[serde(skip)]
    pub from_records: bool,
    /// Emit every score, for evaluation.
    #[serde(skip)]
    pub emit_scores: bool,
    /// Discard the findings of the behaviour detectors, for evaluating the models alone.
    #[serde(skip)]
    pub omit_detectors: bool,
    pub decide: DecideConfig,
    /// Findings that are not made into incidents.
    #[serde(skip)]
    pub exceptions: Vec<Exception>,
    /// Rows of the policy; the first that holds wins.
    #[serde(skip)]
    pub policy: Policy,
}

/// Rows of the policy, those of the site before those of a preset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy(pub Vec<PolicyRow>);

impl Default for Policy {
    fn default() -> Self {
        Self(Preset::default().rows())
    }
}

/// Flow metering.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FlowConfig {
    /// Active timeout: interval after which a long-lived flow is exported (IPFIX flowActiveTimeout,
    /// RFC 5102 section 5.11.1).
    #[serde(rename = "active_timeout", with = "Time::<1>")]
    #[schemars(extend("x-former" = "active_timeout_ns", "x-minimum" = "1ms"))]
    pub active_timeout_ns: u64,
    /// Idle timeout: silence after which a flow ends (IPFIX flowIdleTimeout, RFC 5102 section
    /// 5.11.2).
    #[serde(rename = "idle_timeout", with = "Time::<1>")]
    #[schemars(extend("x-former" = "idle_timeout_ns", "x-minimum" = "1ms"))]
    pub idle_timeout_ns: u64,
    /// Time that a flow closed by FIN or RST is kept for late segments.
    #[serde(rename = "linger", with = "Time::<1>")]
    #[schemars(extend("x-former" = "linger_ns"))]
    pub linger_ns: u64,
    /// Time without a response after which a connection attempt counts as unanswered. The first
    /// retransmission of a SYN follows after 1 s (RFC 6298).
    #[serde(rename = "unanswered_after", with = "Time::<1>")]
    #[schemars(extend("x-former" = "unanswered_ns"))]
    pub unanswered_ns: u64,
    /// Maximum number of flows; each takes 192 bytes and about 14 bytes beside them: 206 MB for
    /// the default.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_flows: usize,
}

impl Default for FlowConfig {
    fn default() -> Self {
        Self {
            active_timeout_ns: 120 * SECOND_NS,
            idle_timeout_ns: 15 * SECOND_NS,
            linger_ns: SECOND_NS,
            unanswered_ns: SECOND_NS,
            max_flows: 1_000_000,
        }
    }
}

/// Flood detection from host counters. Rates are packets per second towards one local host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FloodConfig {
    /// Minimum rate of a SYN flood, segments per second.
    pub syn_pps: f64,
    /// Minimum rate of an ACK flood, segments per second.
    pub ack_pps: f64,
    /// Minimum rate of a UDP flood, datagrams per second.
    pub udp_pps: f64,
    /// Minimum rate of an ICMP flood, messages per second.
    pub icmp_pps: f64,
    /// Minimum rate of a fragment flood, fragments per second.
    pub fragment_pps: f64,
    /// Minimum threshold of a host as a multiple of its learned level.
    pub level_factor: f64,
    /// Minimum distance of a host's threshold from its learned level, in learned spreads.
    pub spread_factor: f64,
    /// Number of consecutive readings above the threshold that make a flood.
    #[schemars(range(min = 1))]
    pub n_ticks: u32,
    /// Number of consecutive readings above the threshold that make a flood of few flows, which may
    /// be a bulk transfer: time for the flow stage, which runs once a second, to confirm one.
    #[schemars(range(min = 1))]
    pub n_ticks_concentrated: u32,
    /// Minimum share of the rate from which a source is attributed.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub heavy_share: f64,
    /// Maximum number of local addresses tracked, about 700 bytes each: 6 MB for the default.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_local: usize,
    /// Maximum number of remote addresses tracked, about 700 bytes each: 46 MB for the default.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_remote: usize,
}

impl Default for FloodConfig {
    fn default() -> Self {
        Self {
            syn_pps: 150.0,
            ack_pps: 5_000.0,
            udp_pps: 5_000.0,
            icmp_pps: 1_000.0,
            fragment_pps: 2_000.0,
            level_factor: 3.0,
            spread_factor: 8.0,
            n_ticks: 2,
            n_ticks_concentrated: 15,
            heavy_share: 0.05,
            max_local: 8_192,
            max_remote: 65_536,
        }
    }
}

/// Detection of scans and password guessing from flow updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScanConfig {
    /// Number of distinct ports that one source tries on one host within 1 s, most of them
    /// unsuccessfully.
    #[schemars(range(min = 1))]
    pub fast_ports: u32,
    /// Number of distinct ports that one source tries on one host within 1 s when only host
    /// counters are available, an estimate with a standard error of 13 %.
    #[schemars(range(min = 1))]
    pub fast_ports_rows: u32,
    /// Number of distinct TCP ports that one source fails on at one host within 30 to 60 s.
    #[schemars(range(min = 1))]
    pub failed_ports: u32,
    /// Number of distinct UDP ports that one source fails on at one host within 30 to 60 s.
    #[schemars(range(min = 1))]
    pub failed_ports_udp: u32,
    /// Number of distinct hosts that one source fails on at one TCP port within 30 to 60 s.
    #[schemars(range(min = 1))]
    pub failed_hosts: u32,
    /// Number of distinct hosts that one source fails on at one UDP port within 30 to 60 s.
    /// Peer-to-peer software contacts many absent peers.
    #[schemars(range(min = 1))]
    pub failed_hosts_udp: u32,
    /// Number of distinct hosts that leave a source's echo requests unanswered within 30 to 60 s.
    #[schemars(range(min = 1))]
    pub failed_echoes: u32,
    /// Number of distinct TCP ports that one source fails on at one host within 30 to 60 min, where
    /// they are at least 70 % of those tried.
    #[schemars(range(min = 1))]
    pub slow_failed_ports: u32,
    /// Number of distinct hosts that one source fails on at one of `slow_ports` within 30 to 60
    /// min.
    #[schemars(range(min = 1))]
    pub slow_failed_hosts: u32,
    /// Ports monitored for slow sweeps. Web ports are left out: a client without an uplink fails at
    /// many web servers, and peer-to-peer software uses other ports.
    pub slow_ports: Vec<u16>,
    /// Number of distinct mail servers contacted within 30 to 60 s by a host that is not a mail
    /// server.
    #[schemars(range(min = 1))]
    pub mail_hosts: u32,
    /// Ports of services that authenticate with a password.
    pub auth_ports: Vec<u16>,
    /// Maximum number of windows per table, mostly 150 bytes and at most about 1.2 kB each; tables
    /// of slow scans hold a quarter as many.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_windows: usize,
}

impl Default for ScanConfig {
    fn default() -> Self {
        Self {
            fast_ports: 100,
            fast_ports_rows: 1_000,
            failed_ports: 15,
            failed_ports_udp: 30,
            failed_hosts: 30,
            failed_hosts_udp: 64,
            failed_echoes: 6,
            slow_failed_ports: 20,
            slow_failed_hosts: 40,
            slow_ports: vec![
                21, 22, 23, 135, 139, 389, 445, 502, 1433, 1883, 2375, 3306, 3389, 5432, 5555,
                5900, 5985, 6379, 9200, 11_211, 20_000, 27_017,
            ],
            mail_hosts: 20,
            auth_ports: vec![
                21, 22, 23, 25, 110, 143, 389, 445, 1433, 1883, 3306, 3389, 5432, 5900, 6379,
            ],
            max_windows: 32_768,
        }
    }
}

/// Detection of unusual volume towards a local host, against the host's own history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VolumeConfig {
    /// Learning time before the first finding, in event time.
    #[serde(rename = "warm_up", with = "Time::<SECOND_NS>")]
    #[schemars(extend("x-former" = "warm_up_s"))]
    pub warm_up_s: u32,
    /// Minimum median load for a host to be judged, packets per second.
    pub min_packets_per_s: f64,
    /// Minimum median load for a host to be judged, bytes per second.
    pub min_bytes_per_s: f64,
    /// Minimum distance from the median in units of spread (1.4826 MAD of the logarithm).
    pub z: f64,
    /// Minimum ratio to the median.
    pub ratio: f64,
    /// Number of consecutive seconds above both limits that make a finding.
    #[schemars(range(min = 1))]
    pub n_seconds: u32,
}

impl Default for VolumeConfig {
    fn default() -> Self {
        Self {
            warm_up_s: 60,
            min_packets_per_s: 100.0,
            min_bytes_per_s: 20_000.0,
            z: 10.0,
            ratio: 5.0,
            n_seconds: 3,
        }
    }
}

/// Detection of uploads from a host to one external address, summed over 10 minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExfiltrationConfig {
    /// Minimum size of an upload.
    #[serde(rename = "min_upload", with = "Size")]
    #[schemars(extend("x-former" = "least_bytes"))]
    pub least_bytes: u64,
    /// Minimum size of an upload from a host without history.
    #[serde(rename = "min_upload_unlearned", with = "Size")]
    #[schemars(extend("x-former" = "unlearned_bytes"))]
    pub unlearned_bytes: u64,
    /// Minimum ratio of bytes sent to bytes received.
    pub ratio: f64,
    /// Maximum number of pairs of host and address remembered, about 130 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_pairs: usize,
    /// Maximum number of hosts remembered, about 90 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_hosts: usize,
}

impl Default for ExfiltrationConfig {
    fn default() -> Self {
        Self {
            least_bytes: 20_000_000,
            unlearned_bytes: 50_000_000,
            ratio: 20.0,
            max_pairs: 16_384,
            max_hosts: 8_192,
        }
    }
}

/// Detection of lateral movement: first logins from host to host within the site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LateralConfig {
    /// Number of hosts that one host logs in to for the first time within 10 minutes.
    #[schemars(range(min = 1))]
    pub hosts: u32,
    /// Number of hosts that one host logs in to for the first time within 10 minutes, after it
    /// received a first login itself within the last 30 minutes.
    #[schemars(range(min = 1))]
    pub hosts_after_entry: u32,
    /// Learning time before the first finding, in event time: which host administers which.
    #[serde(rename = "warm_up", with = "Time::<1>")]
    #[schemars(extend("x-former" = "known_ns"))]
    pub known_ns: u64,
    /// Ports of remote login and administration services.
    pub ports: Vec<u16>,
    /// Maximum number of pairs of hosts remembered, about 90 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_ways: usize,
    /// Maximum number of hosts tracked, 100 bytes to 1.5 kB each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_hosts: usize,
}

impl Default for LateralConfig {
    fn default() -> Self {
        Self {
            hosts: 5,
            hosts_after_entry: 3,
            known_ns: 1_800 * SECOND_NS,
            ports: vec![22, 23, 135, 445, 512, 513, 514, 3389, 5900, 5985, 5986],
            max_ways: 32_768,
            max_hosts: 8_192,
        }
    }
}

/// Feature vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VectorConfig {
    /// Maximum number of flow initiators tracked; a subject takes 900 bytes: 58 MB for the defaults
    /// of all four kinds.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_sources: usize,
    /// Maximum number of pairs of initiator and responder tracked.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_pairs: usize,
    /// Maximum number of responder ports tracked.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_services: usize,
    /// Maximum number of responders tracked.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_hosts: usize,
    /// Maximum number of vectors of one kind computed per window, which bounds the delay that a
    /// flood of sources causes.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_vectors: usize,
}

impl Default for VectorConfig {
    fn default() -> Self {
        Self {
            max_sources: 16_384,
            max_pairs: 32_768,
            max_services: 8_192,
            max_hosts: 8_192,
            max_vectors: 4_096,
        }
    }
}

/// Anomaly models, calibration and fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScoringConfig {
    /// Models that score every vector.
    #[schemars(extend("x-restart" = true))]
    pub models: Vec<ModelKind>,
    /// Budget of model alarms per day (`behaviour_anomaly`).
    #[schemars(range(min = 0.0))]
    pub alarms_per_day: f64,
    /// Number of vectors per kind of subject learned before one of them can raise an alarm.
    pub warm_up_vectors: u64,
    /// Number of consecutive anomalous windows of 10 s, without any other finding, after which a
    /// subject is learned from again.
    pub readmit_windows: u32,
    /// Maximum number of subjects of each kind with a history of their own, 200 bytes each, 600
    /// bytes after six hours.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_subjects: usize,
    /// Seed of the models' random numbers.
    #[schemars(extend("x-restart" = true))]
    pub seed: u64,
}

impl Default for ScoringConfig {
    fn default() -> Self {
        Self {
            // All but the robust cut forest, which costs more than the others together.
            models: ModelKind::ALL
                .into_iter()
                .filter(|model| *model != ModelKind::RobustCutForest)
                .collect(),
            alarms_per_day: 1.0,
            warm_up_vectors: 500,
            readmit_windows: 360,
            max_subjects: 16_384,
            seed: 1,
        }
    }
}

/// Classification of incidents by a forest trained on labelled captures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NamingConfig {
    /// Add the predicted family to incidents; detection is the same without it.
    #[schemars(extend("x-restart" = true))]
    pub enabled: bool,
    /// Model file written by `sensor train`; empty: the built-in model.
    #[schemars(extend("x-restart" = true))]
    pub model_file: PathBuf,
    /// Model read from that file by the shell.
    #[serde(skip)]
    pub namer: Option<Arc<Namer>>,
}

impl Default for NamingConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            model_file: PathBuf::new(),
            namer: None,
        }
    }
}

impl NamingConfig {
    /// Model in use: that of the file, else the built-in one.
    pub fn namer(&self) -> Option<Arc<Namer>> {
        let shipped = || Namer::shipped().ok();
        self.enabled
            .then(|| self.namer.clone().or_else(shipped))
            .flatten()
    }
}

/// Learned windows of pairs and sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LearnedConfig {
    /// Open low incidents where a minute of a pair or a source is like an attack, and lower the confidence
    /// of what detectors find where it is like ordinary traffic.
    #[schemars(extend("x-restart" = true))]
    pub enabled: bool,
    /// Model file written by `sensor train --windows`; empty: the built-in model.
    #[schemars(extend("x-restart" = true))]
    pub model_file: PathBuf,
    /// Model read from that file by the shell.
    #[serde(skip)]
    pub model: Option<Arc<Boosted>>,
}

impl Default for LearnedConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            model_file: PathBuf::new(),
            model: None,
        }
    }
}

impl LearnedConfig {
    /// Model in use: that of the file, else the built-in one.
    pub fn model(&self) -> Option<Arc<Boosted>> {
        let shipped = || Boosted::shipped().ok();
        self.enabled
            .then(|| self.model.clone().or_else(shipped))
            .flatten()
    }
}

/// Incidents and decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DecideConfig {
    /// Time without findings after which an incident closes, in event time.
    #[serde(rename = "close_after", with = "Time::<1>")]
    #[schemars(extend("x-former" = "close_ns"))]
    pub close_ns: u64,
    /// Minimum interval between two updates of an incident.
    #[serde(rename = "update_interval", with = "Time::<1>")]
    #[schemars(extend("x-former" = "update_ns"))]
    pub update_ns: u64,
    /// Budget of alarms of all families: incidents above low severity in 24 hours. Above it, an
    /// incident that rests on the shape of traffic alone stays low.
    pub alarms_per_day: u32,
    /// Maximum number of addresses and ports listed per incident.
    #[schemars(range(min = 1))]
    pub n_listed: usize,
    /// Maximum number of open incidents.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_incidents: usize,
    /// Minimum score (-log10 p) of a finding for a response to its sources.
    pub min_score: f64,
    /// Lifetime of a block entry.
    #[serde(rename = "ttl", with = "Time::<SECOND_NS>")]
    #[schemars(extend("x-former" = "ttl_s", "x-minimum" = "1s"))]
    pub ttl_s: u32,
    /// Maximum number of decisions remembered.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_decisions: usize,
}

impl Default for DecideConfig {
    fn default() -> Self {
        Self {
            close_ns: 30 * SECOND_NS,
            update_ns: SECOND_NS,
            alarms_per_day: 20,
            n_listed: 100,
            max_incidents: 4_096,
            min_score: 6.0,
            ttl_s: 300,
            max_decisions: 65_536,
        }
    }
}
