//! Answers of the running agent.

mod alert_input;
mod network;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::account::{Account, Decided};
use crate::decision::{Decision, Mode, Outcome};
use crate::feedback::Feedback;
use crate::flow::Flow;
use crate::lifecycle::{Attached, Local};
use crate::list::{Allowed, Block};
use crate::network::Network;
use crate::shield::Shield;
use crate::summary::Counts;
use crate::text::explain;
use crate::time::{Timestamp, Zone};
use crate::{head::Sensor, health::HealthCheck, incident::Incident};

pub use self::{alert_input::AlertInput, network::NetworkState};

/// Models and detectors: what is in force, and how they fare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "models")]
pub struct Models {
    /// Streaming models, and whether each of them scores
    pub models: BTreeMap<Cow<'static, str>, bool>,
    /// Number of vectors that were scored
    pub vectors: u64,
    /// Number of those that nothing was learned from
    pub vectors_withheld: u64,
    /// Number of changes of the traffic after which scores were recalibrated
    pub drifts: u64,
    /// Kinds of subjects whose scores are being recalibrated
    pub adapting: u64,
    /// Number of findings since the start
    pub findings: u64,
    /// Number of incidents above low severity opened in the last 24 hours, by family
    pub alarms_of_day: Counts,
    /// Budget of those of all families: above it, what rests on shape alone stays low
    pub alarm_budget: u64,
    /// Exceptions of the configuration, and muted incidents
    pub exceptions: Vec<Exception>,
    /// Thresholds in force: `engine` of the configuration
    pub settings: Box<sensor_engine::Config>,
}

/// The agent in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "status")]
pub struct Status {
    #[serde(flatten)]
    pub sensor: Arc<Sensor>,
    /// Version of the program
    #[serde(rename = "sensor.version")]
    pub version: String,
    /// Number of its process
    #[serde(rename = "process.pid")]
    pub pid: u32,
    /// Start of the agent
    #[serde(rename = "event.start")]
    pub start: Timestamp,
    /// Time since then
    #[schemars(extend("x-unit" = "s"))]
    pub uptime_s: f64,
    /// Mode of the response
    pub mode: Mode,
    /// Hash of the configuration in force
    #[serde(rename = "config.hash")]
    pub config_hash: String,
    /// Interfaces that are watched
    pub attach: Vec<Attached>,
    /// Incoming traffic
    pub ingress: Load,
    /// Outgoing traffic
    pub egress: Load,
    /// Number of flows that are followed
    pub flows: u64,
    /// Number of flow records exported
    pub flows_ended: u64,
    /// Number of changes of the traffic after which scores were recalibrated
    pub drifts: u64,
    /// Kinds of subjects whose scores are being recalibrated
    pub models_adapting: u64,
    /// Exceptions of the configuration, and muted incidents
    #[serde(default)]
    pub exceptions: Vec<Exception>,
    /// Number of incidents opened, by family
    pub incidents: Counts,
    /// Number of incidents that are open
    pub incidents_open: u64,
    /// Number of incidents above low severity opened in the last 24 hours, by family
    #[serde(default)]
    pub alarms_of_day: Counts,
    /// Budget of those of all families: above it, what rests on shape alone stays low
    #[serde(default)]
    pub alarm_budget: u64,
    /// Number of incidents that gave way to newer ones
    pub incidents_forgotten: u64,
    /// Number of block entries
    pub blocks: u64,
    /// State of the guard, which knows the addresses that must stay reachable
    #[serde(default)]
    pub guard: Guard,
    /// Bounds on what is set without a person's word
    #[serde(default)]
    pub radius: Radius,
    /// Number of decisions, by outcome
    pub decisions: Outcomes,
    /// Packets that the kernel program dropped, let through or shed, by event
    #[schemars(extend("x-unit" = "packets"))]
    pub events: Counts,
    /// Packets that could not be read, by reason
    #[schemars(extend("x-unit" = "packets"))]
    pub malformed: Counts,
    /// Frames that carry no IP packet that is read, by kind
    #[serde(default)]
    #[schemars(extend("x-unit" = "packets"))]
    pub not_ip: Counts,
    /// Queues between the agent's threads
    pub queues: BTreeMap<Cow<'static, str>, Queue>,
    /// Outputs: standard output, the log on standard error, a file
    #[serde(default)]
    pub outputs: BTreeMap<Cow<'static, str>, Output>,
    /// Sinks: systems that records are delivered to
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sinks: BTreeMap<String, Sink>,
    /// Store of what happened
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreState>,
    /// Ring of packets
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<RingState>,
    /// Lists of others that are followed
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub feeds: BTreeMap<String, Feed>,
    /// Inputs that take flow records of other devices
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flow_inputs: BTreeMap<String, FlowInput>,
    /// Inputs of alerts of other systems, by name
    #[serde(default)]
    pub alert_inputs: BTreeMap<String, AlertInput>,
    /// Networks over sequences that are installed
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkState>,
    /// Duration of the looks at the kernel's tables
    pub tick_ms: Ticks,
    /// Number of clients that found all places taken
    pub clients_refused: u64,
    /// Rights that the process gave up after the start: capabilities, files, system calls
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub confinement: BTreeMap<Cow<'static, str>, Confined>,
    /// Files that are kept: saved blocks and allow-list, audit log, learned state
    #[serde(default)]
    pub files: BTreeMap<Cow<'static, str>, KeptFile>,
    /// Services for clients: the control socket, the one for readers, the metrics
    #[serde(default)]
    pub services: BTreeMap<Cow<'static, str>, Served>,
    /// Addresses and networks that are local
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Local>,
    /// Health of each part: interfaces, guard, outputs, sinks, files, services
    #[serde(default)]
    pub health: Vec<HealthCheck>,
}

/// Use of a configured exception.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Exception {
    /// Reason given in the configuration
    pub reason: String,
    /// Number of findings excepted
    pub findings: u64,
    /// Time of the last of them
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// End of the exception
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// True after its end: findings are made into incidents again
    pub expired: bool,
    /// Incident that a person muted by it; of the configuration without
    #[serde(
        rename = "incident.id",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub incident_id: Option<String>,
}

impl Exception {
    /// Takes the engine's counts as of event time `at_ns`.
    pub fn new(used: &sensor_engine::ExceptionUse, at_ns: u64) -> Self {
        Self {
            reason: used.exception.reason.clone(),
            findings: used.n_findings,
            last: (used.last_ns > 0).then_some(Timestamp(used.last_ns)),
            until: used.exception.until_ns.map(Timestamp),
            expired: used.exception.is_expired(at_ns),
            incident_id: used.incident.clone(),
        }
    }
}

/// Load of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Load {
    /// Number of packets
    #[schemars(extend("x-unit" = "packets"))]
    pub packets: u64,
    /// Bytes from the Ethernet header on
    #[schemars(extend("x-unit" = "bytes"))]
    pub bytes: u64,
    /// Packets in the last second
    #[schemars(extend("x-unit" = "packets/s"))]
    pub packets_per_s: f64,
    /// Bytes in the last second
    #[schemars(extend("x-unit" = "bytes/s"))]
    pub bytes_per_s: f64,
}

/// A file that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct KeptFile {
    /// Path
    pub path: String,
    /// Number of lines that could not be written
    pub lost: u64,
    /// Cause that keeps it from being read or written
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Result of importing a list of others, or its parts so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockImported {
    pub n_added: u64,
    pub n_renewed: u64,
    pub n_removed: u64,
    pub n_refused: u64,
    /// Entries of the list that are in force now; known at its end
    #[serde(default)]
    pub n_held: u64,
    /// The first of those that were refused
    pub refused: Vec<String>,
    pub mode: Mode,
}

/// A service that an entry would touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewedService {
    pub host: IpAddr,
    pub port: u16,
    pub protocol: u8,
    /// Attempts of the last hour that served, and those that didn't
    pub used: u64,
    pub failed: u64,
}

/// Preview of an entry: sources that it would have hit within the last hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "block_preview")]
pub struct BlockPreview {
    pub target: Network,
    /// Refusal of the guard, if it would refuse
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Sources that are remembered
    pub sources: u64,
    /// Those that are proven real
    pub sources_real: u64,
    /// Those that are good peers
    pub sources_good: u64,
    /// TCP connections of theirs that came about
    pub connections: u64,
    /// Bytes of those, both ways
    pub bytes: u64,
    /// Flows that are there now
    pub flows: u64,
    /// Incidents of the last hour that name a source of it
    pub incidents: u64,
    /// Services that they tried most
    pub services: Vec<PreviewedService>,
}

/// Decisions that a person judged, with what became of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    pub decisions: Vec<Decision>,
}

/// A decision that waits for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    #[serde(flatten)]
    pub decision: Decision,
    /// Time until it lapses
    #[serde(rename = "proposal.expires_in_s")]
    pub expires_in_s: u64,
}

/// Decisions that wait, the oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Proposals {
    pub proposals: Vec<Proposal>,
}

/// Loss of a saved allow-list that a person accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LossAccepted {
    /// Path that the damaged file has now
    pub set_aside: String,
}

/// A service for clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Served {
    /// True while it is served
    pub open: bool,
    /// Number of clients now
    pub clients: u64,
    /// Number of clients that found all places taken
    pub refused: u64,
    /// Number of idle clients whose place went to another
    pub dropped: u64,
    /// Cause that keeps it from being served
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// State of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct StoreState {
    /// Number of flows written
    pub flows: u64,
    /// Number of flows left out because there were too many a second
    pub flows_thinned: u64,
    /// Number of incidents, decisions and rates written
    pub records: u64,
    /// Number of those that wait for a disk that takes none
    #[serde(default)]
    pub waiting: u64,
    /// Number of those, and of flows, that could not be written
    pub lost: u64,
    /// Size on disk
    #[schemars(extend("x-unit" = "bytes"))]
    pub bytes: u64,
    /// Damaged file that was set aside last
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<String>,
    /// Cause of the last try to write, where it failed
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// State of the ring of packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct RingState {
    /// Number of packets written
    pub packets: u64,
    /// Number of packets left out because there were too many a second
    pub thinned: u64,
    /// Number of packets that could not be written
    pub lost: u64,
    /// Size on disk
    #[schemars(extend("x-unit" = "bytes"))]
    pub bytes: u64,
    /// Time from which on there are packets
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Cause of the last try to write, where it failed
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Output {
    /// Number of lines written
    pub written: u64,
    /// Number of lines lost
    pub lost: u64,
    /// Time that its reader has kept a write waiting
    #[schemars(extend("x-unit" = "s"))]
    pub stalled_s: f64,
    /// Cause of the last write, where it failed
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A sink: a system that records are delivered to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Sink {
    /// Kind of the sink
    pub kind: Cow<'static, str>,
    /// Number of records that were accepted
    pub sent: u64,
    /// Number of tries that have to be repeated
    pub retried: u64,
    /// Number of records that were refused for ever, and set aside with the answer
    pub refused: u64,
    /// Number of records that never reach it, by reason: full (spool), disk, damaged, age, unkept
    pub dropped: Counts,
    /// Number of records that wait in the spool
    pub waiting: u64,
    /// Bytes of those on disk
    #[schemars(extend("x-unit" = "bytes"))]
    pub spool_bytes: u64,
    /// Time that the oldest of them has waited
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "s"))]
    pub oldest_s: Option<f64>,
    /// Time of the last success
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// Time of the last failure
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Timestamp>,
    /// Cause of the last try, where it failed
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A list of others that is followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Feed {
    /// Kind of the list: list, crowdsec
    pub kind: Cow<'static, str>,
    /// Number of networks that it names
    pub listed: u64,
    /// Number of its entries in force, as of the last change; an allow-list, the guard or another's entry
    /// keeps the others out
    pub held: u64,
    /// Number of networks refused at the last change
    pub refused: u64,
    /// Number of its lines or decisions that are not followed
    pub ignored: u64,
    /// Number of entries added, and removed, since the start
    pub added: u64,
    /// Number of entries removed since the start
    pub removed: u64,
    /// Number of fetches that succeeded
    pub fetched: u64,
    /// Number of fetches that failed
    pub failures: u64,
    /// Time of the last success
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// Cause of the last fetch, where it failed
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An input that takes flow records of other devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct FlowInput {
    /// Address and port that it listens at
    pub listen: String,
    /// Number of what came, by what became of it
    pub counts: Counts,
    /// Number of exporters
    pub exporters_count: u64,
    /// Exporters, 64 at most
    pub exporters: Vec<FlowExporter>,
    /// Number of records that wait until event time has come to them
    pub waiting: u64,
    /// Number of flows that have not ended
    pub flows: u64,
    /// Number of incidents opened since the start
    pub incidents: u64,
    /// Time of the last datagram
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Cause why nothing is taken
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A device that exports flow records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct FlowExporter {
    /// Address
    pub ip: IpAddr,
    /// Number of its records
    pub records: u64,
    /// Number of records or messages that never came
    pub gaps: u64,
    /// Number of its templates
    pub templates: u64,
    /// Time of its last datagram
    pub last: Timestamp,
}

/// A kind of rights that the process gives up after the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Confined {
    /// True if it was given up
    pub done: bool,
    /// Rights that are left, or cause why it was not given up
    pub how: String,
}

impl Confined {
    pub fn done(how: impl Into<String>) -> Self {
        let how = how.into();
        Self { done: true, how }
    }

    pub fn failed(how: impl Into<String>) -> Self {
        let how = how.into();
        Self { done: false, how }
    }
}

/// Numbers of decisions by [`Outcome`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Outcomes {
    /// Number in force
    #[serde(default)]
    pub applied: u64,
    /// Counted only
    #[serde(default)]
    pub monitored: u64,
    /// Waiting for a yes
    #[serde(default)]
    pub proposed: u64,
    /// Refused by a rule
    pub refused: u64,
    /// Could not be carried out
    pub failed: u64,
    /// Applied, monitored and proposed ones together, until version 2
    pub allowed: u64,
}

impl Outcomes {
    pub const fn count(&mut self, outcome: &Outcome) {
        let number = match outcome {
            Outcome::Applied => &mut self.applied,
            Outcome::Monitored => &mut self.monitored,
            Outcome::Proposed => &mut self.proposed,
            Outcome::Refused { .. } => &mut self.refused,
            Outcome::Failed { .. } => &mut self.failed,
        };
        *number += 1;
        self.allowed = self.applied + self.monitored + self.proposed;
    }

    /// Each with the word of its outcome.
    pub const fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("applied", self.applied),
            ("monitored", self.monitored),
            ("proposed", self.proposed),
            ("refused", self.refused),
            ("failed", self.failed),
        ]
    }
}

/// State of the blast radius: bounds on entries that are set without a person's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Radius {
    /// Entries that count
    pub entries: u64,
    /// Entries that were held back
    pub refused: u64,
    /// Bound that holds new entries back now
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

/// State of the guard, which knows the addresses that must stay reachable: nothing is blocked until all of it was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Guard {
    /// Every fact was read at least once
    pub known: bool,
    /// Facts that never were, each with the cause
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// Number of networks that are never blocked
    pub networks: u64,
    /// Number of those that find no room on the kernel's allow-list
    pub networks_unlisted: u64,
    /// Facts of the host, by kind
    pub facts: BTreeMap<Cow<'static, str>, GuardFact>,
    /// Number of failures to receive notifications of host changes
    pub change_errors: u64,
    /// Cause, while no notifications of host changes are received
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_error: Option<String>,
}

/// A kind of facts of the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct GuardFact {
    /// Read at least once
    pub known: bool,
    /// Number of networks that it protects
    pub networks: u64,
    /// Number of looks that failed
    pub errors: u64,
    /// Cause why the last look failed, if it did; what was known before stays in force
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Time since it was read
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-unit" = "s"))]
    pub age_s: Option<f64>,
}

/// A bounded queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Queue {
    /// Items that wait
    pub depth: u64,
    /// Items that fit
    pub capacity: u64,
    /// Treatment of one that finds no room
    pub policy: Cow<'static, str>,
    /// Items that found no room
    pub shed: u64,
}

/// Duration of the looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Ticks {
    /// Looks at host rows, median
    #[serde(rename = "hosts.p50")]
    #[schemars(extend("x-unit" = "ms"))]
    pub hosts_p50: f64,
    /// Looks at host rows, 99th percentile
    #[serde(rename = "hosts.p99")]
    #[schemars(extend("x-unit" = "ms"))]
    pub hosts_p99: f64,
    /// Looks at flows, median
    #[serde(rename = "flows.p50")]
    #[schemars(extend("x-unit" = "ms"))]
    pub flows_p50: f64,
    /// Looks at flows, 99th percentile
    #[serde(rename = "flows.p99")]
    #[schemars(extend("x-unit" = "ms"))]
    pub flows_p99: f64,
    /// Number of looks that took longer than the time from one to the next
    pub late: u64,
}

pub use crate::sample::PacketSample;

/// Packet samples that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Samples {
    /// Number to ask for next
    pub next: u64,
    /// Samples since the number asked for that are no longer kept
    pub missed: u64,
    /// Samples, the oldest first
    pub samples: Vec<PacketSample>,
}

/// Live flows that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Flows {
    /// The greatest of those that match
    pub flows: Vec<Flow>,
    /// Number of flows that match
    pub matched: u64,
    /// Number of flows in the table
    pub of: u64,
}

/// Hosts, or flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum TopWhat {
    #[default]
    Hosts,
    Flows,
}

/// Top talkers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Top {
    /// Kind of the rows
    pub what: TopWhat,
    /// Time that the rates are over
    #[schemars(extend("x-unit" = "s"))]
    pub window_s: f64,
    /// The greatest first
    pub rows: TopRows,
}

/// Rows of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TopRows {
    Hosts(Vec<TopHost>),
    Flows(Vec<TopFlow>),
}

impl Default for TopRows {
    fn default() -> Self {
        Self::Hosts(Vec::new())
    }
}

/// Load of a host.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TopHost {
    /// Address
    #[serde(rename = "host.ip")]
    pub ip: IpAddr,
    /// Packets towards it
    #[serde(rename = "in.packets_per_s")]
    #[schemars(extend("x-unit" = "packets/s"))]
    pub in_packets_per_s: f64,
    /// Bytes towards it
    #[serde(rename = "in.bytes_per_s")]
    #[schemars(extend("x-unit" = "bytes/s"))]
    pub in_bytes_per_s: f64,
    /// Packets from it
    #[serde(rename = "out.packets_per_s")]
    #[schemars(extend("x-unit" = "packets/s"))]
    pub out_packets_per_s: f64,
    /// Bytes from it
    #[serde(rename = "out.bytes_per_s")]
    #[schemars(extend("x-unit" = "bytes/s"))]
    pub out_bytes_per_s: f64,
}

/// Load of a flow; `a` is the end with the lower address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TopFlow {
    /// Address of one end
    #[serde(rename = "a.ip")]
    pub a_ip: IpAddr,
    /// Port of it
    #[serde(rename = "a.port")]
    pub a_port: u16,
    /// Address of the other end
    #[serde(rename = "b.ip")]
    pub b_ip: IpAddr,
    /// Port of it
    #[serde(rename = "b.port")]
    pub b_port: u16,
    /// Name of the IP protocol, else its number
    #[serde(rename = "network.transport")]
    pub transport: Cow<'static, str>,
    /// Packets from `a` to `b`
    #[serde(rename = "a.packets_per_s")]
    #[schemars(extend("x-unit" = "packets/s"))]
    pub a_packets_per_s: f64,
    /// Bytes from `a` to `b`
    #[serde(rename = "a.bytes_per_s")]
    #[schemars(extend("x-unit" = "bytes/s"))]
    pub a_bytes_per_s: f64,
    /// Packets from `b` to `a`
    #[serde(rename = "b.packets_per_s")]
    #[schemars(extend("x-unit" = "packets/s"))]
    pub b_packets_per_s: f64,
    /// Bytes from `b` to `a`
    #[serde(rename = "b.bytes_per_s")]
    #[schemars(extend("x-unit" = "bytes/s"))]
    pub b_bytes_per_s: f64,
}

/// An incident with all that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "explanation")]
pub struct Explanation {
    #[serde(flatten)]
    pub sensor: Arc<Sensor>,
    /// Latest state of the incident
    pub incident: Incident,
    /// The first few decisions
    pub decisions: Vec<Decision>,
    /// Number of decisions
    #[serde(rename = "decisions.count")]
    pub n_decisions: u64,
    /// Latest feedback of a person
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
    /// Explanation in words; times are UTC
    pub sentences: Vec<String>,
}

impl From<Account> for Explanation {
    fn from(account: Account) -> Self {
        let sentences = explain::sentences(&account, &Zone::utc());
        Self {
            sensor: Arc::clone(&account.incident.head.sensor),
            incident: account.incident,
            decisions: account.decided.decisions,
            n_decisions: account.decided.n_decisions,
            feedback: account.feedback,
            sentences,
        }
    }
}

impl From<Explanation> for Account {
    fn from(explanation: Explanation) -> Self {
        Self {
            incident: explanation.incident,
            decided: Decided {
                decisions: explanation.decisions,
                n_decisions: explanation.n_decisions,
            },
            feedback: explanation.feedback,
        }
    }
}

/// Outcome of a request to block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockAdded {
    /// Number of entries made
    pub n_added: u64,
    /// Why others were not made
    pub refused: Vec<String>,
    /// Mode of the response
    pub mode: Mode,
}

/// Entries that were taken off the block-list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockRemoved {
    /// Entries as they were
    pub removed: Vec<Block>,
}

/// The block-list, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockListed {
    /// Entries, by address
    pub entries: Vec<Block>,
    /// Number of entries on the list
    pub of: u64,
    /// Mode of the response
    pub mode: Mode,
}

/// Number of entries that a flush removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockFlushed {
    /// Number of entries removed
    pub n_removed: u64,
}

/// Blocks that went when something was allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AllowAdded {
    /// Entries as they were
    pub unblocked: Vec<Block>,
}

/// The allow-list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AllowListed {
    /// Entries, by address
    pub entries: Vec<Allowed>,
}

/// Shields that are armed, or that were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shields {
    /// Shields, by address
    pub shields: Vec<Shield>,
    /// Mode of the response
    pub mode: Mode,
}

/// Done, and nothing to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {}
