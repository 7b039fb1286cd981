//! Flow records on their way to collectors: IPFIX and NetFlow version 9 over UDP.
//!
//! The engine's thread puts records into a bounded queue for each collector and waits for nobody; a
//! thread of the collector's own encodes and sends. What found the queue full, and what could not be
//! sent, is counted as lost.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use sensor_common::event::EventHead;
use sensor_common::packet::{Realm, protocol};
use sensor_engine::{FlowSummary, Totals, to_ip};
use sensor_netflow::{Exporter, FlowRecord, Way};
use tracing::{info, warn};

use crate::config::ExportSettings;
use crate::queue::{self, Drain, Gauge, Policy, Refusal, Sender};
use crate::stream::Health;

/// Records on their way to a collector: 12 MB.
const N_RECORDS: usize = 1 << 17;
/// Time that a record waits for others to share its message.
const GATHER: Duration = Duration::from_millis(500);
/// Time between two looks for the address of a collector that is not found.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Messages that go at once; more is spread over time.
const BURST: u32 = 8;
/// Bytes of an Ethernet header, and of a VLAN tag.
const ETHERNET: u64 = 14;
const TAG: u64 = 4;

/// The engine's side of one collector.
struct Port {
    queue: Sender<FlowRecord>,
    health: Arc<Health>,
    has_blocks: bool,
}

/// The engine's side of all collectors.
#[derive(Default)]
pub struct Exports {
    ports: Vec<Port>,
    /// Addresses of the host itself: what they send leaves by the interface.
    own: BTreeSet<IpNet>,
}

impl fmt::Debug for Exports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exports").field(&self.ports.len()).finish()
    }
}

/// A collector's thread, to be run.
pub struct Collector {
    settings: ExportSettings,
    queue: Drain<FlowRecord>,
    health: Arc<Health>,
}

impl Exports {
    /// Opens the queues, and hands out the threads that are to empty them.
    pub fn open(settings: &[ExportSettings]) -> (Self, Vec<Collector>) {
        let (mut ports, mut collectors) = (Vec::new(), Vec::new());
        for one in settings.iter().filter(|one| one.enabled) {
            let name = format!("export.{}", one.name);
            let (queue, drain) = queue::bounded(name.clone(), N_RECORDS, Policy::DropNewest);
            let health = Health::new(name);
            ports.push(Port {
                queue,
                health: Arc::clone(&health),
                has_blocks: one.blocks,
            });
            collectors.push(Collector {
                settings: one.clone(),
                queue: drain,
                health,
            });
        }
        let own = BTreeSet::new();
        (Self { ports, own }, collectors)
    }

    /// True where flows are wanted.
    pub const fn wants_flows(&self) -> bool {
        !self.ports.is_empty()
    }

    /// True where packets that were dropped are wanted.
    pub fn wants_blocks(&self) -> bool {
        self.ports.iter().any(|port| port.has_blocks)
    }

    pub fn gauges(&self) -> Vec<Gauge> {
        self.ports
            .iter()
            .map(|port| port.queue.gauge().clone())
            .collect()
    }

    pub fn healths(&self) -> Vec<Arc<Health>> {
        let healths = self.ports.iter().map(|port| Arc::clone(&port.health));
        healths.collect()
    }

    /// Takes the host's own addresses.
    pub fn set_own(&mut self, own: &BTreeSet<IpNet>) {
        self.own.clone_from(own);
    }

    /// Exports a flow, each direction as a record.
    pub fn take_flow(&self, flow: &FlowSummary) {
        for record in records(flow, &self.own) {
            self.put(record, |_| true);
        }
    }

    /// Exports a packet that was dropped.
    pub fn take_block(&self, head: &EventHead) {
        self.put(dropped(head), |port| port.has_blocks);
    }

    fn put(&self, record: FlowRecord, is_for: fn(&Port) -> bool) {
        for port in self.ports.iter().filter(|port| is_for(port)) {
            // A full queue has counted it.
            if port.queue.send(record) == Err(Refusal::Closed) {
                port.health.lose(1);
            }
        }
    }
}

/// The records of a flow: one for each direction that had packets.
fn records(flow: &FlowSummary, own: &BTreeSet<IpNet>) -> impl Iterator<Item = FlowRecord> {
    let ends = [
        (flow.source, flow.source_port),
        (flow.destination, flow.destination_port),
    ];
    let [source, destination] = ends;
    let forward = half(flow, &flow.forward, [source, destination], own);
    let backward = half(flow, &flow.backward, [destination, source], own);
    let [forward, mut backward] = [forward, backward];
    if is_icmp(flow.protocol) {
        backward.destination_port = answer(flow.protocol, backward.destination_port);
    }
    let both = [forward, backward];
    both.into_iter().filter(|record| record.packets > 0)
}

const fn is_icmp(number: u8) -> bool {
    number == protocol::ICMP || number == protocol::ICMPV6
}

/// Type and code of the answer to an ICMP message: echo replies count under their requests.
const fn answer(number: u8, type_and_code: u16) -> u16 {
    match (number, type_and_code >> 8) {
        (protocol::ICMP, 8) => 0,
        (protocol::ICMPV6, 128) => 129 << 8,
        _ => type_and_code,
    }
}

fn half(
    flow: &FlowSummary,
    totals: &Totals,
    [from, to]: [(IpAddr, u16); 2],
    own: &BTreeSet<IpNet>,
) -> FlowRecord {
    let is_own = own.iter().any(|network| network.contains(&from.0));
    let tags =
        |realm: Realm| TAG * (u64::from(realm.vlan() > 0) + u64::from(realm.inner_vlan() > 0));
    let link_bytes = totals.packets.saturating_mul(ETHERNET + tags(flow.realm));
    let (way, ingress, egress) = if is_own {
        (Way::Egress, 0, flow.ifindex)
    } else {
        (Way::Ingress, flow.ifindex, 0)
    };
    FlowRecord {
        source: from.0,
        destination: to.0,
        source_port: if is_icmp(flow.protocol) { 0 } else { from.1 },
        destination_port: to.1,
        protocol: flow.protocol,
        tcp_flags: totals.tcp_flags,
        packets: totals.packets,
        bytes: totals.bytes.saturating_sub(link_bytes),
        first_ns: totals.first_ns,
        last_ns: totals.last_ns,
        end_reason: flow.end_reason.ipfix(),
        way,
        ingress,
        egress,
        vlan: flow.realm.vlan(),
        is_denied: false,
    }
}

/// The record of a packet that a block entry dropped.
fn dropped(head: &EventHead) -> FlowRecord {
    let packet = &head.packet;
    let is_ingress = head.way == 0;
    let ifindex = head.ifindex;
    FlowRecord {
        source: to_ip(&packet.source),
        destination: to_ip(&packet.destination),
        source_port: if is_icmp(packet.protocol) {
            0
        } else {
            packet.source_port
        },
        destination_port: packet.destination_port,
        protocol: packet.protocol,
        tcp_flags: packet.tcp_flags,
        packets: 1,
        bytes: u64::from(head.wire_bytes).saturating_sub(ETHERNET),
        first_ns: head.at_ns,
        last_ns: head.at_ns,
        end_reason: 0,
        way: if is_ingress {
            Way::Ingress
        } else {
            Way::Egress
        },
        ingress: if is_ingress { ifindex } else { 0 },
        egress: if is_ingress { 0 } else { ifindex },
        vlan: packet.realm.vlan(),
        is_denied: true,
    }
}

impl Collector {
    /// Name for its thread.
    pub fn name(&self) -> String {
        format!("export-{}", self.settings.name)
    }

    /// Body of the thread: ends with the engine's side of the queue. `now_ns` is the unix time.
    pub fn run(self, now_ns: fn() -> u64) {
        let ExportSettings {
            protocol,
            domain,
            max_message,
            template_interval,
            ..
        } = &self.settings;
        let mut exporter =
            Exporter::new((*protocol).into(), *domain, *max_message as usize, now_ns());
        let mut wire = Wire::new(&self.settings, Arc::clone(&self.health));
        let every = Duration::from_secs(u64::from(template_interval.0));
        let mut templates_at = Instant::now();
        let mut since: Option<Instant> = None;
        loop {
            if Instant::now() >= templates_at {
                wire.send(&mut exporter, now_ns());
                since = None;
                exporter.add_templates();
                wire.send(&mut exporter, now_ns());
                templates_at = Instant::now() + every;
            }
            let due = since.map_or(templates_at, |since| templates_at.min(since + GATHER));
            let next = self
                .queue
                .receive(due.saturating_duration_since(Instant::now()));
            let Ok(mut next) = next else { break };
            while let Some(record) = next {
                since = since.or_else(|| Some(Instant::now()));
                if !exporter.add(&record) {
                    wire.send(&mut exporter, now_ns());
                    since = Some(Instant::now());
                    exporter.add(&record);
                }
                next = self.queue.next_waiting();
            }
            if since.is_some_and(|since| since.elapsed() >= GATHER) {
                wire.send(&mut exporter, now_ns());
                since = None;
            }
        }
        wire.send(&mut exporter, now_ns());
    }
}

/// Socket to a collector, with the pace that it is sent at.
struct Wire {
    address: String,
    socket: Option<UdpSocket>,
    look_again: Instant,
    max_records_per_s: u32,
    /// Time at which all that was sent would have gone at the pace.
    paced: Instant,
    health: Arc<Health>,
    is_failing: bool,
}

impl Wire {
    fn new(settings: &ExportSettings, health: Arc<Health>) -> Self {
        let now = Instant::now();
        Self {
            address: settings.address.clone(),
            socket: None,
            look_again: now,
            max_records_per_s: settings.max_records_per_s.max(1),
            paced: now,
            health,
            is_failing: false,
        }
    }

    /// Sends the message that the exporter has gathered, if any.
    fn send(&mut self, exporter: &mut Exporter, now_ns: u64) {
        let n_records = exporter.n_waiting();
        let Some(message) = exporter.finish(now_ns) else {
            return;
        };
        self.keep_pace(n_records);
        match self.put(&message) {
            Ok(()) => {
                self.health.hand_on_all(u64::from(n_records));
                self.set_error(None);
            }
            Err(cause) => {
                self.health.lose(u64::from(n_records));
                self.set_error(Some(cause.to_string()));
            }
        }
    }

    fn put(&mut self, message: &[u8]) -> io::Result<()> {
        if self.socket.is_none() {
            let now = Instant::now();
            if now < self.look_again {
                return Err(io::Error::other("waiting to look for the collector again"));
            }
            self.look_again = now + LOOK_AGAIN;
            self.socket = Some(connect(&self.address)?);
        }
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        match socket.send(message) {
            // Tells of the message before: its port was closed. This one is sent again.
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
                socket.send(message)?;
                Err(cause)
            }
            Err(cause) => {
                // The way may be another by now.
                self.socket = None;
                Err(cause)
            }
            Ok(_) => Ok(()),
        }
    }

    /// Waits where records go faster than they may.
    fn keep_pace(&mut self, n_records: u16) {
        let now = Instant::now();
        let cost = Duration::from_secs(1) * u32::from(n_records) / self.max_records_per_s;
        self.paced = self.paced.max(now) + cost;
        let ahead = self.paced - now;
        if ahead > cost * BURST {
            std::thread::sleep(ahead);
        }
    }

    fn set_error(&mut self, cause: Option<String>) {
        let output = &*self.health.name;
        match (&cause, self.is_failing) {
            (Some(cause), false) => {
                warn!(
                    output,
                    cause, "flow records can't be exported: they are lost and counted"
                );
            }
            (None, true) => info!(output, "flow records are exported again"),
            _ => {}
        }
        self.is_failing = cause.is_some();
        // The wait for the next look hides no cause.
        if cause.is_none() || self.health.error().is_none() || self.socket.is_some() {
            self.health.set_error(cause);
        }
    }
}

fn connect(address: &str) -> io::Result<UdpSocket> {
    let at = address.to_socket_addrs()?.next();
    let at = at.ok_or_else(|| io::Error::other("the name has no address"))?;
    let any: IpAddr = match at {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(at)?;
    Ok(socket)
}
