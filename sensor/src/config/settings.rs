//! The settings. A field is a key; its doc comment is the key's description, `range` its bounds, and
//! `x-restart` marks a key that a reload can't change.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use sensor_common::limits;
use sensor_common::packet::{Decapsulate, Ports};
use sensor_deliver::SinkSettings;
use sensor_engine::{Policy, SECOND_NS, Time, time_text};
use sensor_record::{Name, Size, Timestamp};
use serde::{Deserialize, Serialize};

use super::alert_input::{self, AlertInputSettings};
use super::detect::{DetectSettings, ExceptSettings};
use super::export::{self, ExportSettings};
use super::feed::FeedSettings;
use super::flow_input::{self, FlowInputSettings};
use super::networks::NetworkSettings;
use super::policy::{GroupSettings, PolicySettings, Preset, Seconds};
use super::schema::join;
use super::sinks;
use crate::print::Format;
use sensor_respond::{BALANCERS, Bounds, Group, MONITORING, Mode, Network};

/// Nanoseconds of one millisecond.
const MS_NS: u64 = 1_000_000;

/// Default path of the agent's socket.
pub const DEFAULT_SOCKET: &str = "/run/sensor/sensor.sock";

/// Instance of a machine that runs one sensor.
const DEFAULT_INSTANCE: &str = "main";

/// Configuration of the sensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Name and identifier in every record; rights of the process.
    #[schemars(extend("x-restart" = true))]
    pub sensor: SensorSettings,
    /// Interfaces, tunnels and table sizes of packet capture.
    #[schemars(extend("x-restart" = true))]
    pub capture: Capture,
    /// Intervals at which the engine reads the kernel's counters.
    pub tick: TickSettings,
    /// Detection thresholds.
    pub engine: sensor_engine::Config,
    /// Findings in general.
    pub detect: DetectSettings,
    /// Response to attackers.
    pub respond: RespondSettings,
    /// Records on standard output.
    pub output: OutputSettings,
    /// Prometheus metrics over HTTP, at `/metrics`.
    pub metrics: MetricsSettings,
    /// Socket on which the agent serves `sensor status` and the other commands.
    #[schemars(extend("x-restart" = true))]
    pub socket: SocketSettings,
    /// API over TCP, for browsers and programs elsewhere; always with a token (`sensor token`).
    #[schemars(extend("x-restart" = true))]
    pub http: HttpSettings,
    /// Store of what happened, in `respond.state_folder`: incidents, decisions, flows and rates.
    #[schemars(extend("x-restart" = true))]
    pub store: StoreSettings,
    /// Ring of packets, in `respond.state_folder`: what the kernel program samples of packets, with headers
    /// made anew, for the time before and during an incident.
    #[schemars(extend("x-restart" = true))]
    pub ring: RingSettings,
    /// Networks over sequences that are installed (`sensor model`). None comes with the sensor.
    #[schemars(extend("x-restart" = true))]
    pub networks: NetworkSettings,
    /// Log messages of the sensor itself, on standard error.
    pub log: LogSettings,
    /// Sinks: systems that incidents, decisions and states of the sensor are delivered to, each through
    /// a spool of its own in `respond.state_folder`. `sensor sinks kinds` lists the kinds with the keys
    /// that each takes.
    #[schemars(length(max = 64), extend("x-restart" = true))]
    pub sink: Vec<SinkSettings>,
    /// Collectors that flow records are exported to, by IPFIX or NetFlow version 9: each direction of a
    /// flow is a record, at its end and every `engine.flow.active_timeout`.
    #[schemars(length(max = 16), extend("x-restart" = true))]
    pub export: Vec<ExportSettings>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SensorSettings {
    /// Identifier of the sensor (`sensor.id`), at most 255 bytes; empty: derived from
    /// `/etc/machine-id`, else generated and kept in `respond.state_folder`, else derived from the
    /// host name.
    pub id: String,
    /// Host name (`host.name`), at most 255 bytes; empty: the kernel's.
    pub host_name: String,
    /// Give up, once the sensor has started, what only the start needed: capabilities, system calls that a
    /// sensor never makes, running programs, and writing outside of its own folders (`sensor doctor`).
    pub confine: bool,
}

impl Default for SensorSettings {
    fn default() -> Self {
        Self {
            id: String::new(),
            host_name: String::new(),
            confine: true,
        }
    }
}

/// Attach mode of the ingress program.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum AttachChoice {
    /// Driver (native XDP), else network stack.
    #[default]
    Auto,
    /// Driver only.
    Native,
    /// Network stack (generic XDP).
    Generic,
}

/// Attach mode of the egress program.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum EgressChoice {
    /// TCX, else a filter of the clsact qdisc.
    #[default]
    Auto,
    /// TCX only (kernel 6.6 or later).
    Tcx,
    /// Filter of the clsact qdisc.
    Clsact,
}

/// Tunnel protocol that is decapsulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tunnel {
    /// IPv4 or IPv6 in either.
    Ip,
    Gre,
    Vxlan,
    VxlanGpe,
    Geneve,
}

/// A tunnel of one's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TunnelPeerSettings {
    /// Address or network of the end on this side.
    #[schemars(with = "String", example = &"192.0.2.1")]
    pub local: Network,
    /// Address or network of the other end.
    #[schemars(with = "String", example = &"198.51.100.0/24")]
    pub remote: Network,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// Interfaces to monitor, by name or pattern (`veth*`); empty: the interface of the default
    /// route.
    pub interfaces: Vec<String>,
    /// Attach mode of the ingress program.
    pub attach: AttachChoice,
    /// Attach mode of the egress program.
    pub egress: EgressChoice,
    /// Tunnel protocols to decapsulate: inner packets make flows of their own.
    pub tunnels: Vec<Tunnel>,
    /// UDP ports of VXLAN.
    #[schemars(length(min = 1, max = 4), inner(range(min = 1)))]
    pub vxlan_ports: Vec<u16>,
    /// UDP ports of VXLAN-GPE.
    #[schemars(length(min = 1, max = 4), inner(range(min = 1)))]
    pub vxlan_gpe_ports: Vec<u16>,
    /// UDP ports of Geneve.
    #[schemars(length(min = 1, max = 4), inner(range(min = 1)))]
    pub geneve_ports: Vec<u16>,
    /// Tunnels whose inner addresses are trusted: their inner hosts are counted, found and blocked as
    /// those outside. In all other tunnels whoever sends the outer packet is held responsible.
    #[schemars(length(max = 32))]
    pub tunnel_peers: Vec<TunnelPeerSettings>,
    /// Number of flow cache buckets per CPU, rounded up to a power of two; a bucket holds two flows
    /// in 384 bytes, and 80 for their tunnels. The default takes 29 MiB per CPU.
    #[schemars(range(min = 64, max = 4_194_304))]
    pub flow_buckets_per_cpu: u32,
    /// Maximum number of new flows that one CPU admits to the cache per second; packets of further
    /// flows are counted per host only.
    #[schemars(range(min = 64))]
    pub admitted_flows_per_s: u32,
    /// Take time stamps from the precise clock instead of the coarse one, at a cost of about 20 ns
    /// per packet.
    pub precise_clock: bool,
    /// Flow records that other devices export to this sensor, by IPFIX, NetFlow versions 5 and 9 and sFlow
    /// version 5. Each input judges what it is told of by itself, and decides nothing.
    #[schemars(length(max = 4))]
    pub flow_input: Vec<FlowInputSettings>,
    /// Alerts of other systems, shown on incidents of the same addresses. They open no incident, and alone they
    /// are a reason for nothing; rows of the policy may ask for one (`said_by`).
    #[schemars(length(max = 16))]
    pub alert_input: Vec<AlertInputSettings>,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            attach: AttachChoice::Auto,
            egress: EgressChoice::Auto,
            tunnels: vec![
                Tunnel::Ip,
                Tunnel::Gre,
                Tunnel::Vxlan,
                Tunnel::VxlanGpe,
                Tunnel::Geneve,
            ],
            vxlan_ports: vec![4789, 8472],
            vxlan_gpe_ports: vec![4790],
            geneve_ports: vec![6081],
            tunnel_peers: Vec::new(),
            flow_buckets_per_cpu: limits::FLOW_BUCKETS_PER_CPU,
            admitted_flows_per_s: limits::ADMIT_PER_SECOND,
            precise_clock: false,
            flow_input: Vec::new(),
            alert_input: Vec::new(),
        }
    }
}

impl Capture {
    /// Tunnels in the form that the parser takes.
    pub fn decapsulate(&self) -> Decapsulate {
        let mut tunnels = Decapsulate::NONE;
        for tunnel in &self.tunnels {
            match tunnel {
                Tunnel::Ip => tunnels.kinds |= Decapsulate::IP,
                Tunnel::Gre => tunnels.kinds |= Decapsulate::GRE,
                Tunnel::Vxlan => tunnels.vxlan = Ports::of(&self.vxlan_ports),
                Tunnel::VxlanGpe => tunnels.vxlan_gpe = Ports::of(&self.vxlan_gpe_ports),
                Tunnel::Geneve => tunnels.geneve = Ports::of(&self.geneve_ports),
            }
        }
        tunnels
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TickSettings {
    /// Interval between two reads of the host counters, by which floods are detected. The
    /// thresholds were tuned with the default.
    #[serde(rename = "hosts_interval", with = "Time::<MS_NS>")]
    #[schemars(extend(
        "x-former" = "hosts_ms",
        "x-minimum" = "10ms",
        "x-maximum" = "1s"
    ))]
    pub hosts_ms: u64,
    /// Interval between two reads of the flow cache, a multiple of `hosts_interval`.
    #[serde(rename = "flows_interval", with = "Time::<MS_NS>")]
    #[schemars(extend(
        "x-former" = "flows_ms",
        "x-minimum" = "100ms",
        "x-maximum" = "10s"
    ))]
    pub flows_ms: u64,
}

impl Default for TickSettings {
    fn default() -> Self {
        Self {
            hosts_ms: 100,
            flows_ms: 1_000,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RespondSettings {
    /// Response mode: `monitor` counts packets that would be dropped, `enforce` drops them.
    pub mode: Mode,
    /// Addresses and networks that are never blocked, besides those that the host itself needs
    /// (`sensor allow list`).
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<Network>,
    /// Load balancers and proxies, which carry the clients of others: never blocked, and the group
    /// `balancers` of the policy.
    #[schemars(with = "Vec<String>")]
    pub balancers: Vec<Network>,
    /// Hosts that look after this one and try its services: never blocked, and the group `monitoring` of
    /// the policy.
    #[schemars(with = "Vec<String>")]
    pub monitoring: Vec<Network>,
    /// Rows of the policy that come with the sensor, after those of `[[respond.policy]]`; `sensor policy
    /// list` shows them.
    pub preset: Preset,
    /// Time that a proposal waits for a person.
    #[schemars(with = "Time::<SECOND_NS>", extend("x-minimum" = "1s"))]
    pub proposal_ttl: Seconds,
    /// Shield services of this host from floods of SYNs by made-up addresses when they come (`sensor shield`).
    pub auto_shield: bool,
    /// Let the kernel program answer SYNs by cookies by itself, without waiting for the agent, from the SYN on
    /// that passes a limit which the agent learns from the usual: ten times the most in 100 ms.
    pub reflex: bool,
    /// Fallback of the kernel once the agent has shown no sign of life for `dead_after`: `open`, entries by
    /// decisions hold nothing back any more, or `hold`, they do until they expire. Entries of operators hold
    /// in any case.
    pub when_dead: WhenDead,
    /// Time without a sign of life, which the agent gives once a second.
    #[schemars(
        with = "Time::<SECOND_NS>",
        extend("x-minimum" = "2s", "x-maximum" = "12h")
    )]
    pub dead_after: Seconds,
    /// Bounds on entries that are set without a person's word; past one, nothing new is set.
    pub radius: RadiusSettings,
    /// Groups of hosts, for rows of the policy.
    #[schemars(length(max = 100))]
    pub group: Vec<GroupSettings>,
    /// Lists of others that are followed: fetched again and again, and put into the block-list by the
    /// difference. The guard and the allow-list hold for them as for everything; in monitor mode they only
    /// count.
    #[schemars(length(max = 16), extend("x-restart" = true))]
    pub feed: Vec<FeedSettings>,
    /// Policy: the first row whose conditions hold says what may be done to a source.
    #[schemars(length(max = 1_000))]
    pub policy: Vec<PolicySettings>,
    /// Directory that keeps operators' blocks and allow-list entries and the learned models over
    /// restarts, for its owner alone; an instance other than `main` uses the directory of its name in
    /// it. Empty: none.
    #[schemars(extend("x-restart" = true))]
    pub state_folder: PathBuf,
    /// Path of the audit log, which only its owner can read; an instance other than `main` writes a
    /// file of that name in the directory of its own name beside. SIGHUP reopens it. Empty: none.
    #[schemars(extend("x-restart" = true))]
    pub audit_log: PathBuf,
    /// Mounted BPF file system that programs, links and maps are pinned to, so that blocks stay in
    /// force and expire even if the agent is killed, and the next start adopts them; empty: nothing
    /// is pinned.
    #[schemars(extend("x-restart" = true))]
    pub bpffs: PathBuf,
    /// Name of this instance: the directory of its pins below `sensor`, and of its state and audit
    /// log. Each sensor on a machine needs its own.
    #[schemars(extend("x-restart" = true))]
    pub instance: String,
    /// Keep the programs and the block-list in force when the agent stops; blocks still expire.
    pub keep_on_stop: bool,
}

impl Default for RespondSettings {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            allow: Vec::new(),
            balancers: Vec::new(),
            monitoring: Vec::new(),
            preset: Preset::default(),
            proposal_ttl: Seconds(3_600),
            auto_shield: true,
            reflex: false,
            when_dead: WhenDead::default(),
            dead_after: Seconds(60),
            radius: RadiusSettings::default(),
            group: Vec::new(),
            feed: Vec::new(),
            policy: Vec::new(),
            state_folder: PathBuf::from("/var/lib/sensor"),
            audit_log: PathBuf::from("/var/log/sensor/audit.jsonl"),
            bpffs: PathBuf::from("/sys/fs/bpf"),
            instance: DEFAULT_INSTANCE.to_owned(),
            keep_on_stop: false,
        }
    }
}

/// Fallback of the kernel where the agent is dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenDead {
    /// Entries by decisions hold nothing back.
    #[default]
    Open,
    /// Entries hold until they expire.
    Hold,
}

/// Bounds on what is set without a person's word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RadiusSettings {
    /// Entries in force at a time.
    pub entries: u32,
    /// New entries within a minute.
    pub new_per_minute: u32,
    /// Percent of the good peers of the last hour that entries may be on, and of the bytes of all good
    /// peers that those may carry. One peer may be in any case, unless it carries more.
    #[schemars(range(max = 100))]
    pub good_percent: u32,
    /// Entries within one /24 (IPv4) or /48 (IPv6).
    pub per_network: u32,
}

impl Default for RadiusSettings {
    fn default() -> Self {
        let Bounds {
            entries,
            new_per_minute,
            good_percent,
            per_network,
        } = Bounds::default();
        Self {
            entries,
            new_per_minute,
            good_percent,
            per_network,
        }
    }
}

impl RadiusSettings {
    /// Bounds in the form that the response takes.
    pub const fn bounds(&self) -> Bounds {
        Bounds {
            entries: self.entries,
            new_per_minute: self.new_per_minute,
            good_percent: self.good_percent,
            per_network: self.per_network,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutputSettings {
    /// Output format: text, or one JSON object per line.
    pub format: Format,
    /// File that the records are appended to as JSON lines, besides standard output; empty: none.
    /// SIGHUP reopens it.
    #[schemars(extend("x-restart" = true))]
    pub file: PathBuf,
    /// Print every flow when it ends.
    pub flows: bool,
    /// Print every score above its threshold.
    pub findings: bool,
    /// Print kernel events: new flows, and packets that match a block entry (the first of each
    /// entry and every 1,024th). Each kind has a budget per CPU.
    #[schemars(extend("x-restart" = true))]
    pub events: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// Serve metrics.
    pub enabled: bool,
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Permit an address that other hosts can reach; metrics reveal details of the network.
    pub allow_remote: bool,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 9469)),
            allow_remote: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SocketSettings {
    /// Serve the socket.
    pub enabled: bool,
    /// Path of the socket, created with mode 0660; a missing directory is created.
    pub path: PathBuf,
    /// Group that may ask and give orders besides root; empty: the agent's group.
    pub group: String,
    /// Group that may ask but give no orders, by a second socket with `-read` in its name; empty: no
    /// such socket.
    pub read_group: String,
    /// Maximum number of clients of a socket at the same time; one more takes the place of the one
    /// that has been idle for longest, or is told to retry.
    #[schemars(range(min = 1, max = 1_024))]
    pub max_clients: usize,
}

impl Default for SocketSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            path: PathBuf::from(DEFAULT_SOCKET),
            group: String::new(),
            read_group: String::new(),
            max_clients: 16,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Serve the API over TCP.
    pub enabled: bool,
    /// Address and port to listen on; one that other hosts can reach needs a certificate.
    pub listen: SocketAddr,
    /// Certificate for TLS in PEM, with those of its issuers; empty: no TLS.
    pub cert_file: PathBuf,
    /// Private key of that certificate, in PEM.
    pub key_file: PathBuf,
    /// Maximum number of connections at the same time; one more takes the place of the one that has been
    /// idle for longest.
    #[schemars(range(min = 1, max = 1_024))]
    pub max_clients: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: SocketAddr::from(([127, 0, 0, 1], 9_470)),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            max_clients: 32,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// Keep a store.
    pub enabled: bool,
    /// Bytes on disk: three quarters for flows, the rest for everything else; the oldest go first.
    #[serde(with = "Size")]
    #[schemars(extend("x-minimum" = "16MiB", "x-maximum" = "1TiB"))]
    pub max_size: u64,
    /// Age of what is kept.
    #[schemars(
        with = "Time::<SECOND_NS>",
        extend("x-minimum" = "1h", "x-maximum" = "3650d")
    )]
    pub max_age: Seconds,
    /// Flows kept a second; above it flows are left out and counted, those without an answer from half of
    /// it on. Which, a hash of both ends says. 0: no flows.
    pub flows_per_s: u32,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            max_size: 1 << 30,
            max_age: Seconds(30 * 86_400),
            flows_per_s: 1_000,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RingSettings {
    /// Keep a ring.
    pub enabled: bool,
    /// Bytes on disk; the oldest packets go first.
    #[serde(with = "Size")]
    #[schemars(extend("x-minimum" = "16MiB", "x-maximum" = "64GiB"))]
    pub max_size: u64,
    /// Age of what is kept.
    #[schemars(
        with = "Time::<SECOND_NS>",
        extend("x-minimum" = "1min", "x-maximum" = "30d")
    )]
    pub max_age: Seconds,
    /// First packets of flows as well, within a budget of 4,096 per CPU and 134 ms: of floods from many
    /// ports, and of scans, it is all that there is. The kernel program then tells of each new flow.
    pub first_packets: bool,
    /// Length of payload kept of each packet; 0: headers alone. Payloads hold what people send, passwords
    /// included; 74 make 128 bytes of a TCP packet.
    #[serde(with = "Size")]
    #[schemars(extend("x-minimum" = "0B", "x-maximum" = "576B"))]
    pub max_payload: u64,
    /// Packets kept a second; above it packets are left out and counted, those that begin a flow from a quarter
    /// of it on, and from half of it on also where the store picks the flow.
    pub packets_per_s: u32,
}

impl Default for RingSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            max_size: 128 << 20,
            max_age: Seconds(2 * 3_600),
            first_packets: false,
            max_payload: 0,
            packets_per_s: 2_000,
        }
    }
}

impl HttpSettings {
    /// Settings that contradict each other: key and message.
    fn conflicts(&self) -> Vec<(String, String)> {
        let [cert, key] =
            [&self.cert_file, &self.key_file].map(|path| !path.as_os_str().is_empty());
        let mut found = Vec::new();
        if cert != key {
            let message =
                "a certificate and its key go together: set http.cert_file and http.key_file";
            found.push(("http.cert_file".to_owned(), message.to_owned()));
        }
        if self.enabled && !self.listen.ip().is_loopback() && !cert {
            let message = format!(
                "{} can be reached by others; listen on 127.0.0.1, or set http.cert_file and http.key_file",
                self.listen
            );
            found.push(("http.listen".to_owned(), message));
        }
        found
    }
}

impl RespondSettings {
    /// Time without a sign of life after which entries by decisions hold nothing back, seconds; 0: none.
    pub fn dead_after_s(&self) -> u16 {
        match self.when_dead {
            WhenDead::Open => u16::try_from(self.dead_after.0).unwrap_or(u16::MAX),
            WhenDead::Hold => 0,
        }
    }

    /// Groups of hosts, with those that are never blocked.
    pub fn groups(&self) -> Vec<Group> {
        let group = |name: &str, networks: &[Network]| Group {
            name: name.to_owned(),
            networks: networks.iter().map(|network| network.0).collect(),
        };
        let known = [
            group(BALANCERS, &self.balancers),
            group(MONITORING, &self.monitoring),
        ];
        let given = self.group.iter().map(|g| group(&g.name, &g.networks));
        known.into_iter().chain(given).collect()
    }

    /// Rows of the policy: those of the configuration, then those of the preset.
    pub fn rows(&self) -> Policy {
        let groups = self.groups();
        let given = self.policy.iter().map(|row| row.row(&groups));
        let preset = sensor_engine::Preset::from(self.preset).rows();
        Policy(given.chain(preset).collect())
    }

    /// Groups and rows that contradict each other: key and message.
    fn conflicts(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let groups = self.groups();
        for (i, one) in self.group.iter().enumerate() {
            let n = groups.iter().filter(|group| group.name == one.name).count();
            let is_word = ["any", "local", "remote"].contains(&one.name.as_str());
            if n > 1 || is_word || one.name.trim().is_empty() {
                let message = format!("\"{}\" is taken or no name; give another", one.name);
                found.push((format!("respond.group[{i}].name"), message));
            }
        }
        for (i, feed) in self.feed.iter().enumerate() {
            let at = |key: &str| join(&format!("respond.feed[{i}]"), key);
            if let Some((key, message)) = feed.conflict() {
                found.push((at(key), message));
            }
            if self
                .feed
                .iter()
                .take(i)
                .any(|before| before.name == feed.name)
            {
                let message = format!("\"{}\" is the name of a list above, too", feed.name);
                found.push((at("name"), message));
            }
        }
        for (i, row) in self.policy.iter().enumerate() {
            if let Some((key, message)) = row.conflict(&groups) {
                found.push((join(&format!("respond.policy[{i}]"), key), message));
            }
        }
        found
    }

    /// Folder of this instance's state; none where nothing is kept.
    pub fn state_of_instance(&self) -> Option<PathBuf> {
        let is_set = !self.state_folder.as_os_str().is_empty();
        is_set.then(|| self.of_instance(&self.state_folder))
    }

    /// Audit log of this instance; none where there is none.
    pub fn audit_of_instance(&self) -> Option<PathBuf> {
        let name = self.audit_log.file_name()?;
        let folder = self.audit_log.parent().unwrap_or(Path::new(""));
        Some(self.of_instance(folder).join(name))
    }

    fn of_instance(&self, folder: &Path) -> PathBuf {
        if self.instance == DEFAULT_INSTANCE {
            folder.to_owned()
        } else {
            folder.join(&self.instance)
        }
    }
}

impl TickSettings {
    /// Reads of the host counters per read of the flow cache.
    pub const fn n_hosts_per_flows(&self) -> u64 {
        match self.flows_ms.checked_div(self.hosts_ms) {
            Some(n) if n > 0 => n,
            _ => 1,
        }
    }
}

/// Format of log lines.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Minimum level, or directives such as `info,sensor::respond=debug`.
    pub filter: String,
    /// Format of log lines: text or JSON.
    #[schemars(extend("x-restart" = true))]
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl Settings {
    /// Hands on what one section says to another.
    pub(super) fn complete(&mut self) {
        let exceptions = self.detect.except.iter();
        self.engine.exceptions = exceptions.map(ExceptSettings::exception).collect();
        self.engine.policy = self.respond.rows();
    }

    /// Settings that have no effect any more: key and message.
    pub(super) fn warnings(&self, now: Timestamp) -> Vec<(String, String)> {
        let exceptions = self.detect.except.iter().enumerate();
        exceptions
            .filter_map(|(i, except)| {
                Some((format!("detect.except[{i}].until"), except.expiry(now)?))
            })
            .collect()
    }

    /// Reads the model file of `engine.naming`.
    ///
    /// # Errors
    /// Key and message.
    pub(super) fn read_naming(&mut self) -> Result<(), (String, String)> {
        let naming = &mut self.engine.naming;
        let file = &naming.model_file;
        if !naming.enabled || file.as_os_str().is_empty() {
            return Ok(());
        }
        let read = crate::naming::read(file);
        let namer = read.map_err(|message| ("engine.naming.model_file".to_owned(), message))?;
        naming.namer = Some(namer);
        Ok(())
    }

    /// Reads the model file of `engine.learned`.
    ///
    /// # Errors
    /// Key and message.
    pub(super) fn read_windows(&mut self) -> Result<(), (String, String)> {
        let learned = &mut self.engine.learned;
        let file = &learned.model_file;
        if !learned.enabled || file.as_os_str().is_empty() {
            return Ok(());
        }
        let read = crate::windows::read(file);
        let model = read.map_err(|message| ("engine.learned.model_file".to_owned(), message))?;
        learned.model = Some(model);
        Ok(())
    }

    /// Contradictions of what comes in from others and goes out to them.
    fn conflicts_of_ways(&self) -> Vec<(String, String)> {
        let alerts = &self.capture.alert_input;
        let rows = self.respond.policy.iter().map(|row| &row.said_by[..]);
        let has_spool = self.respond.state_of_instance().is_some();
        [
            sinks::conflicts(&self.sink, has_spool),
            export::conflicts(&self.export),
            flow_input::conflicts(&self.capture.flow_input),
            alert_input::conflicts(alerts),
            alert_input::unknown_names(alerts, rows),
        ]
        .concat()
    }

    /// Settings that contradict each other: key and message.
    pub(super) fn conflicts(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut add = |path: &str, message: String| found.push((path.to_owned(), message));
        let TickSettings { hosts_ms, flows_ms } = self.tick;
        if !flows_ms.is_multiple_of(hosts_ms) {
            let [flows, hosts] = [flows_ms, hosts_ms].map(|ms| time_text(ms.saturating_mul(MS_NS)));
            add(
                "tick.flows_interval",
                format!("{flows} is not a multiple of tick.hosts_interval = {hosts}"),
            );
        }
        if self.capture.interfaces.iter().any(String::is_empty) {
            let message = "an interface has no name; `ip link` lists them".to_owned();
            add("capture.interfaces", message);
        }
        let metrics = &self.metrics;
        let instance = &self.respond.instance;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if instance.starts_with('.') || !instance.chars().all(is_plain) || instance.is_empty() {
            let message = format!(
                "\"{instance}\" is no name of a directory: write letters, digits, - and _, as dmz"
            );
            add("respond.instance", message);
        }
        if metrics.enabled && !metrics.listen.ip().is_loopback() && !metrics.allow_remote {
            let message = format!(
                "{} can be reached by others; listen on 127.0.0.1, or set metrics.allow_remote = true",
                metrics.listen
            );
            add("metrics.listen", message);
        }
        let flow = &self.engine.flow;
        if flow.unanswered_ns >= flow.idle_timeout_ns {
            let [unanswered, idle] = [flow.unanswered_ns, flow.idle_timeout_ns].map(time_text);
            let message = format!(
                "{unanswered} is not below engine.flow.idle_timeout = {idle}: no attempt would ever \
                 count as unanswered",
            );
            add("engine.flow.unanswered_after", message);
        }
        let names = [
            ("sensor.id", &self.sensor.id),
            ("sensor.host_name", &self.sensor.host_name),
            ("respond.instance", &self.respond.instance),
            ("socket.group", &self.socket.group),
        ];
        for (key, name) in names {
            if let Err(cause) = name.parse::<Name>() {
                add(key, cause.to_string());
            }
        }
        for (i, except) in self.detect.except.iter().enumerate() {
            if let Some((key, message)) = except.conflict() {
                add(&join(&format!("detect.except[{i}]"), key), message);
            }
        }
        for (key, message) in self.conflicts_of_ways() {
            add(&key, message);
        }
        if let Err(cause) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            add("log.filter", format!("{cause}; try \"info\""));
        }
        found.extend(self.http.conflicts());
        found.extend(self.respond.conflicts());
        found
    }
}
