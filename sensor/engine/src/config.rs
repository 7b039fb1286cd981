//! Every threshold of the engine, with its unit. The shell reads these types from the configuration:
//! a field is a key, its docs are the key's, `range` is checked, and `x-restart` marks what a running
//! engine can't change.

mod content;
mod shape;
mod words;

pub use self::content::{
    ArpSpoofConfig, ArpSweepConfig, ContentConfig, DgaConfig, DnsTunnelConfig, ExtensionsConfig,
    FieldbusConfig, IcmpTunnelConfig, InjectionConfig, MqttConfig, RepliesConfig,
};
pub use self::shape::ShapeConfig;
pub use self::words::{Size, Time, parse_size, parse_time, size_text, time_text};

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::detect::Namer;
use crate::models::ModelKind;

/// Nanoseconds of one second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Thresholds of detection. `Default` is what the detectors were tuned with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Secret of the tables' hashes; equal seeds give equal outputs.
    #[serde(skip)]
    pub hash_seed: u64,
    pub flow: FlowConfig,
    pub flood: FloodConfig,
    pub scan: ScanConfig,
    pub shape: ShapeConfig,
    pub content: ContentConfig,
    pub volume: VolumeConfig,
    pub exfiltration: ExfiltrationConfig,
    pub lateral: LateralConfig,
    /// Hand out every feature vector, for training and evaluation.
    #[serde(skip)]
    pub emit_vectors: bool,
    /// Count flows that ended, but don't hand them out: whoever doesn't want them is spared the
    /// memory of a million at once.
    #[serde(skip)]
    pub omit_flows: bool,
    pub vectors: VectorConfig,
    pub scoring: ScoringConfig,
    pub naming: NamingConfig,
    /// Hand out every score, for evaluation.
    #[serde(skip)]
    pub emit_scores: bool,
    /// Leave out what the behaviour detectors find, for evaluation: the models alone speak.
    #[serde(skip)]
    pub omit_detectors: bool,
    pub decide: DecideConfig,
}

/// Flow stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FlowConfig {
    /// A flow is exported at least this often (IPFIX flowActiveTimeout, RFC 5102 5.11.1).
    #[serde(rename = "active_timeout", with = "Time::<1>")]
    #[schemars(extend("x-former" = "active_timeout_ns", "x-minimum" = "1ns"))]
    pub active_timeout_ns: u64,
    /// A flow ends after this much silence (flowIdleTimeout, 5.11.2).
    #[serde(rename = "idle_timeout", with = "Time::<1>")]
    #[schemars(extend("x-former" = "idle_timeout_ns", "x-minimum" = "1ns"))]
    pub idle_timeout_ns: u64,
    /// A flow that FIN or RST closed is kept this long for stragglers.
    #[serde(rename = "linger", with = "Time::<1>")]
    #[schemars(extend("x-former" = "linger_ns"))]
    pub linger_ns: u64,
    /// Without an answer for this long, an attempt counts as unanswered. The first
    /// retransmission of a SYN comes after 1 s (RFC 6298).
    #[serde(rename = "unanswered_after", with = "Time::<1>")]
    #[schemars(extend("x-former" = "unanswered_ns"))]
    pub unanswered_ns: u64,
    /// Flows held; 192 bytes each and about 10 of index: 202 MB for the default.
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

/// Floods, from host rows. Rates are packets per second towards one local host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FloodConfig {
    /// SYN segments a second below which nothing is a flood.
    pub syn_pps: f64,
    /// ACK segments a second below which nothing is a flood.
    pub ack_pps: f64,
    /// UDP datagrams a second below which nothing is a flood.
    pub udp_pps: f64,
    /// ICMP messages a second below which nothing is a flood.
    pub icmp_pps: f64,
    /// Fragments a second below which nothing is a flood.
    pub fragment_pps: f64,
    /// The limit of a host is at least its learned level times this.
    pub level_factor: f64,
    /// The limit of a host is at least that many learned spreads above the level.
    pub spread_factor: f64,
    /// Looks in a row above the limit before a flood is called one.
    #[schemars(range(min = 1))]
    pub n_ticks: u32,
    /// Looks in a row for a flood of few flows, which might be a transfer: time for the flow
    /// stage, which looks once a second, to vouch for it.
    #[schemars(range(min = 1))]
    pub n_ticks_concentrated: u32,
    /// Share of the rate from which a source is blamed.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub heavy_share: f64,
    /// Local addresses followed, about 700 bytes each: 6 MB for the default.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_local: usize,
    /// Remote addresses followed, about 700 bytes each: 46 MB for the default.
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

/// Scans and password guessing, from flow updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScanConfig {
    /// Distinct ports that one source tried on one host within 1 s, most of them in vain.
    #[schemars(range(min = 1))]
    pub fast_ports: u32,
    /// The same where host rows are all there is: an estimate that errs by 13 %.
    #[schemars(range(min = 1))]
    pub fast_ports_rows: u32,
    /// Distinct TCP ports without success on one host within 30 to 60 s.
    #[schemars(range(min = 1))]
    pub failed_ports: u32,
    /// The same of UDP ports.
    #[schemars(range(min = 1))]
    pub failed_ports_udp: u32,
    /// Distinct hosts without success on one TCP port within 30 to 60 s.
    #[schemars(range(min = 1))]
    pub failed_hosts: u32,
    /// The same on a UDP port, where peer-to-peer programs knock on many closed doors.
    #[schemars(range(min = 1))]
    pub failed_hosts_udp: u32,
    /// Distinct hosts that did not answer an echo request within 30 to 60 s.
    #[schemars(range(min = 1))]
    pub failed_echoes: u32,
    /// Distinct TCP ports without success on one host within 30 to 60 min, seven tenths of those that
    /// were tried.
    #[schemars(range(min = 1))]
    pub slow_failed_ports: u32,
    /// The same of hosts on one of `slow_ports`.
    #[schemars(range(min = 1))]
    pub slow_failed_hosts: u32,
    /// Ports of services that are swept for. Not of the web: without a way out a client fails at
    /// many servers. Programs that talk to their like use others.
    pub slow_ports: Vec<u16>,
    /// Distinct mail servers that a host which is none itself talks to within 30 to 60 s.
    #[schemars(range(min = 1))]
    pub mail_hosts: u32,
    /// Ports of services that ask for a password.
    pub auth_ports: Vec<u16>,
    /// Windows held per table, up to about 1.2 kB each, mostly 150 bytes; in those of slow scans a
    /// quarter as many.
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

/// Volume towards a local host against its own past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VolumeConfig {
    /// Event time to learn before the first finding.
    #[serde(rename = "warm_up", with = "Time::<SECOND_NS>")]
    #[schemars(extend("x-former" = "warm_up_s"))]
    pub warm_up_s: u32,
    /// Median below which a host has no normal load to deviate from, packets a second.
    pub min_packets_per_s: f64,
    /// Median below which a host has no normal load to deviate from, bytes a second.
    pub min_bytes_per_s: f64,
    /// Distance from the median in units of spread (1.4826 MAD of the logarithm).
    pub z: f64,
    /// Ratio to the median.
    pub ratio: f64,
    /// Seconds in a row before it is a finding.
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

/// Uploads of a host to one address outside of the site, summed up over 10 minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExfiltrationConfig {
    /// Upload below which nothing is one.
    #[serde(rename = "min_upload", with = "Size")]
    #[schemars(extend("x-former" = "least_bytes"))]
    pub least_bytes: u64,
    /// The same while the host has no past to be measured by.
    #[serde(rename = "min_upload_unlearned", with = "Size")]
    #[schemars(extend("x-former" = "unlearned_bytes"))]
    pub unlearned_bytes: u64,
    /// Times what came back.
    pub ratio: f64,
    /// Pairs of host and address remembered, about 130 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_pairs: usize,
    /// Hosts remembered, about 90 bytes each.
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

/// Logins of hosts of the site at others of the site where they never did before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LateralConfig {
    /// Hosts entered for the first time within 10 minutes.
    #[schemars(range(min = 1))]
    pub hosts: u32,
    /// The same of a host that somebody new entered within the last 30 minutes.
    #[schemars(range(min = 1))]
    pub hosts_after_entry: u32,
    /// Event time to learn who administers what.
    #[serde(rename = "warm_up", with = "Time::<1>")]
    #[schemars(extend("x-former" = "known_ns"))]
    pub known_ns: u64,
    /// Ports by which hosts are entered.
    pub ports: Vec<u16>,
    /// Ways from host to host remembered, about 90 bytes each.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_ways: usize,
    /// Hosts followed, about 100 bytes each, up to 1.5 kB.
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
    /// Initiators of flows followed; a subject takes 900 bytes, 58 MB for all four defaults.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_sources: usize,
    /// Pairs of initiator and responder followed.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_pairs: usize,
    /// Responders' ports followed.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_services: usize,
    /// Responders followed.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_hosts: usize,
    /// Vectors of one kind made of one window, so that a flood of sources delays nothing.
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

/// Models, calibration, fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScoringConfig {
    /// Models that score every vector.
    #[schemars(extend("x-restart" = true))]
    pub models: Vec<ModelKind>,
    /// Alarms a day without a known shape (`behaviour_anomaly`) that the site can bear.
    #[schemars(range(min = 0.0))]
    pub alarms_per_day: f64,
    /// Vectors of one kind of subject learned before any of them can be an alarm.
    pub warm_up_vectors: u64,
    /// Windows of 10 s in a row that a subject must be odd, and nothing else, until it is learned
    /// from again.
    pub readmit_windows: u32,
    /// Subjects of each kind whose own past is remembered, 200 bytes each, 600 after six hours.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_subjects: usize,
    /// What the models' chance begins with.
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

/// Naming of what was found, by a forest trained on labelled captures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NamingConfig {
    /// Name what was found; detection is the same without.
    #[schemars(extend("x-restart" = true))]
    pub enabled: bool,
    /// A model that `sensor train` wrote; empty: the one that comes with the sensor.
    #[schemars(extend("x-restart" = true))]
    pub model_file: PathBuf,
    /// The model in that file, read by the shell.
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
    /// The model to name with: that of the file, else the one that comes with the sensor.
    pub fn namer(&self) -> Option<Arc<Namer>> {
        let shipped = || Namer::shipped().ok();
        self.enabled
            .then(|| self.namer.clone().or_else(shipped))
            .flatten()
    }
}

/// Incidents and decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DecideConfig {
    /// An incident closes after this much event time without findings.
    #[serde(rename = "close_after", with = "Time::<1>")]
    #[schemars(extend("x-former" = "close_ns"))]
    pub close_ns: u64,
    /// Least time between two updates.
    #[serde(rename = "update_interval", with = "Time::<1>")]
    #[schemars(extend("x-former" = "update_ns"))]
    pub update_ns: u64,
    /// Addresses and ports listed per incident.
    #[schemars(range(min = 1))]
    pub n_listed: usize,
    /// Open incidents.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_incidents: usize,
    /// Fused score (-log10 p) from which a source is acted on.
    pub min_score: f64,
    /// A block entry lasts this long.
    #[serde(rename = "ttl", with = "Time::<SECOND_NS>")]
    #[schemars(extend("x-former" = "ttl_s", "x-minimum" = "1ns"))]
    pub ttl_s: u32,
    /// Remembered decisions.
    #[schemars(range(min = 1), extend("x-restart" = true))]
    pub max_decisions: usize,
}

impl Default for DecideConfig {
    fn default() -> Self {
        Self {
            close_ns: 30 * SECOND_NS,
            update_ns: SECOND_NS,
            n_listed: 100,
            max_incidents: 4_096,
            min_score: 6.0,
            ttl_s: 300,
            max_decisions: 65_536,
        }
    }
}
