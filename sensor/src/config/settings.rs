//! The settings themselves. A field is a key, its docs are the key's docs, `range` is checked, and
//! `x-restart` marks what a reload can't change.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use sensor_common::limits;
use sensor_common::packet::Decapsulate;
use sensor_engine::{Time, time_text};
use serde::{Deserialize, Serialize};

use crate::print::Format;
use crate::respond::{Mode, Network};

/// Nanoseconds of one millisecond.
const MS_NS: u64 = 1_000_000;

/// Where the agent is reached.
pub const DEFAULT_SOCKET: &str = "/run/sensor/sensor.sock";

/// Configuration of the sensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is watched, and the sizes of the kernel's tables.
    #[schemars(extend("x-restart" = true))]
    pub capture: Capture,
    /// How often the engine looks at what the kernel counted.
    pub tick: TickSettings,
    /// Thresholds of detection.
    pub engine: sensor_engine::Config,
    /// What may be done to attackers.
    pub respond: RespondSettings,
    /// What is written to standard output.
    pub output: OutputSettings,
    /// Prometheus metrics over HTTP, at `/metrics`.
    pub metrics: MetricsSettings,
    /// Where `sensor status` and the other commands reach the agent.
    #[schemars(extend("x-restart" = true))]
    pub socket: SocketSettings,
    /// Messages about the sensor itself, on standard error.
    pub log: LogSettings,
}

/// How the ingress program is attached.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum AttachChoice {
    /// In the driver, else in the stack.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the stack.
    Generic,
}

/// How the egress program is attached.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum EgressChoice {
    /// By TCX, else as a filter of clsact.
    #[default]
    Auto,
    /// By TCX (from kernel 6.6 on), or not at all.
    Tcx,
    /// As a filter of the clsact qdisc.
    Clsact,
}

/// A kind of tunnel that is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tunnel {
    /// IPv4 or IPv6 in either.
    Ip,
    Gre,
    Vxlan,
    Geneve,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// Interfaces to watch, by name or pattern (`veth*`); empty: the one of the default route.
    pub interfaces: Vec<String>,
    /// How the ingress program is attached.
    pub attach: AttachChoice,
    /// How the egress program is attached.
    pub egress: EgressChoice,
    /// Tunnels that are looked into: their inner packets are what is counted.
    pub tunnels: Vec<Tunnel>,
    /// Buckets of the flow cache per CPU, of two flows and 384 bytes each; rounded up to a power of
    /// two. 65,536 are 24 MiB a CPU.
    #[schemars(range(min = 64, max = 4_194_304))]
    pub flow_buckets_per_cpu: u32,
    /// New flows that one CPU admits to the cache in a second; the packets of others are counted per
    /// host only.
    #[schemars(range(min = 64))]
    pub admitted_flows_per_s: u32,
    /// Stamp packets with the precise clock instead of the coarse one, at some 20 ns a packet.
    pub precise_clock: bool,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            attach: AttachChoice::Auto,
            egress: EgressChoice::Auto,
            tunnels: vec![Tunnel::Ip, Tunnel::Gre, Tunnel::Vxlan, Tunnel::Geneve],
            flow_buckets_per_cpu: limits::FLOW_BUCKETS_PER_CPU,
            admitted_flows_per_s: limits::ADMIT_PER_SECOND,
            precise_clock: false,
        }
    }
}

impl Capture {
    /// The tunnels as the parser takes them.
    pub fn decapsulate(&self) -> Decapsulate {
        let bits = self.tunnels.iter().map(|tunnel| match tunnel {
            Tunnel::Ip => Decapsulate::IP,
            Tunnel::Gre => Decapsulate::GRE,
            Tunnel::Vxlan => Decapsulate::VXLAN,
            Tunnel::Geneve => Decapsulate::GENEVE,
        });
        Decapsulate(bits.fold(0, |all, bit| all | bit))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TickSettings {
    /// Interval between two reads of the host counters, which show floods. The thresholds were tuned
    /// with the default.
    #[serde(rename = "hosts_interval", with = "Time::<MS_NS>")]
    #[schemars(extend(
        "x-former" = "hosts_ms",
        "x-minimum" = "10ms",
        "x-maximum" = "1s"
    ))]
    pub hosts_ms: u64,
    /// Interval between two reads of the flows, a multiple of `hosts_interval`.
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
    /// `monitor` counts what would be dropped, `enforce` drops.
    pub mode: Mode,
    /// Addresses and networks that are never blocked, besides the host's own addresses, its
    /// gateways and its resolvers.
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<Network>,
    /// Folder where blocks and allow-list entries of operators, and what the models learned, are kept
    /// over restarts; empty: they are not.
    #[schemars(extend("x-restart" = true))]
    pub state_folder: PathBuf,
    /// File of the audit log; empty: none.
    #[schemars(extend("x-restart" = true))]
    pub audit_log: PathBuf,
    /// Mounted BPF file system where the programs' links and maps are pinned, so that blocks hold and
    /// expire even if the agent is killed, and the next start goes on; empty: they are not pinned.
    #[schemars(extend("x-restart" = true))]
    pub bpffs: PathBuf,
    /// Folder of the pins below `sensor` there: another for each sensor on a machine.
    #[schemars(extend("x-restart" = true))]
    pub instance: String,
    /// Leave the programs and their block-list at work when the agent stops; each block still ends
    /// in time.
    pub keep_on_stop: bool,
}

impl Default for RespondSettings {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            allow: Vec::new(),
            state_folder: PathBuf::from("/var/lib/sensor"),
            audit_log: PathBuf::from("/var/log/sensor/audit.jsonl"),
            bpffs: PathBuf::from("/sys/fs/bpf"),
            instance: "main".to_owned(),
            keep_on_stop: false,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutputSettings {
    /// Lines for a person, or one JSON object per line.
    pub format: Format,
    /// Put out every flow at its end.
    pub flows: bool,
    /// Put out every score above its limit.
    pub findings: bool,
    /// Put out the kernel's events: flows that began, and packets that met a block entry (the first
    /// of each entry and every 1,024th). Both have a budget per CPU.
    #[schemars(extend("x-restart" = true))]
    pub events: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// Serve them.
    pub enabled: bool,
    /// Address and port.
    pub listen: SocketAddr,
    /// Allow an address that others can reach: who can read the numbers learns about the network.
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
    /// Open the socket.
    pub enabled: bool,
    /// Its file, with rights 0660; the folder is made where it is missing.
    pub path: PathBuf,
    /// Group that may use it besides root; empty: the group of the agent.
    pub group: String,
    /// Clients served at once; others are told to come back.
    #[schemars(range(min = 1, max = 1_024))]
    pub max_clients: usize,
}

impl Default for SocketSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            path: PathBuf::from(DEFAULT_SOCKET),
            group: String::new(),
            max_clients: 16,
        }
    }
}

impl TickSettings {
    /// Looks at the host counters per look at the flows.
    pub const fn n_hosts_per_flows(&self) -> u64 {
        match self.flows_ms.checked_div(self.hosts_ms) {
            Some(n) if n > 0 => n,
            _ => 1,
        }
    }
}

/// How log lines are written.
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
    /// Least level, or directives such as `info,sensor::respond=debug`.
    pub filter: String,
    /// Lines for a person, or JSON.
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
    /// Reads the naming model that the settings name: key and message where it can't be used.
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

    /// What doesn't go together: key and message.
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
        if let Err(cause) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            add("log.filter", format!("{cause}; try \"info\""));
        }
        found
    }
}
