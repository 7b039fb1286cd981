//! The thread that fills the store: it waits for the disk, and nobody waits for it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use sensor_engine::{FlowSummary, ServiceLoad};
use sensor_record::answer::StoreState;
use sensor_record::{Record, Timestamp, transport};
use sensor_store::{Bounds, Flow, Rate, RateOf, Writer, has_ports, top};
use tokio::sync::watch;

use super::kept::Kept;
use super::snapshot::Snapshot;
use crate::config::StoreSettings;
use crate::pipeline::FlowTap;
use crate::queue::{self, Closed, Drain, Gauge, Policy, Sender};

/// Flows on their way: a third of a second of what the engine puts out at most, 3 MB.
const N_FLOWS: usize = 32_768;
/// Between two looks at the queues, so that a busy engine does not wake the thread for each flow.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two looks at services, s.
const STEP_S: u64 = RateOf::Services.step_s();
/// Name of the rates of all interfaces together.
const ALL: &str = "all";

/// Snapshots, once there are some.
type Latest = Arc<OnceLock<watch::Receiver<Arc<Snapshot>>>>;

/// The store as the thread has it.
pub struct Keeper {
    writer: Writer,
    flows: Drain<Flow>,
    latest: Latest,
    kept: Arc<Kept>,
    /// Counters of each interface, and of all, at the last look.
    before: HashMap<String, [u64; 4]>,
    /// Load of services at the last step, and its time.
    services: HashMap<(u8, u16), ServiceLoad>,
    services_s: u64,
    committed_s: u64,
}

/// The agent's end of the store.
pub struct StoreEnd {
    flows: Sender<Flow>,
    kept: Arc<Kept>,
    latest: Latest,
}

impl StoreEnd {
    pub fn kept(&self) -> Arc<Kept> {
        Arc::clone(&self.kept)
    }

    pub fn gauge(&self) -> Gauge {
        self.flows.gauge().clone()
    }

    /// Takes rates from snapshots from now on; what is given back takes flows.
    pub fn follow(self, latest: &watch::Receiver<Arc<Snapshot>>) -> FlowTap {
        let _first = self.latest.set(latest.clone());
        self.tap()
    }

    /// Takes flows.
    pub fn tap(&self) -> FlowTap {
        let flows = self.flows.clone();
        Box::new(move |flow| {
            // A full queue has counted it.
            let _shed = flows.send(kept_of(flow));
        })
    }
}

/// Opens the store of a folder.
///
/// # Errors
/// When its files can't be made, or are of a newer version.
pub fn open(settings: &StoreSettings, folder: &Path) -> Result<(Keeper, StoreEnd)> {
    let bounds = Bounds {
        max_bytes: settings.max_size,
        max_age_s: settings.max_age.0.into(),
        flows_per_s: settings.flows_per_s,
    };
    let writer = Writer::open(folder, bounds)?;
    let (flows, drain) = queue::bounded("stored_flows", N_FLOWS, Policy::DropNewest);
    let (kept, latest) = (Arc::new(Kept::new(folder)), Latest::default());
    let keeper = Keeper {
        writer,
        flows: drain,
        latest: Arc::clone(&latest),
        kept: Arc::clone(&kept),
        before: HashMap::new(),
        services: HashMap::new(),
        services_s: 0,
        committed_s: 0,
    };
    let end = StoreEnd {
        flows,
        kept,
        latest,
    };
    Ok((keeper, end))
}

/// Takes what the store keeps of a flow.
fn kept_of(flow: &FlowSummary) -> Flow {
    let sides = [&flow.forward, &flow.backward];
    Flow {
        start_ns: flow.first_ns,
        end_ns: flow.last_ns,
        source: flow.source,
        source_port: flow.source_port,
        destination: flow.destination,
        destination_port: flow.destination_port,
        protocol: flow.protocol,
        packets: sides.map(|side| side.packets),
        bytes: sides.map(|side| side.bytes),
        end_reason: flow.end_reason.label(),
    }
}

impl Keeper {
    /// Body of the thread: ends with the engine's side of the queue of records.
    ///
    /// # Errors
    /// None: what can't be written is counted.
    pub fn run(mut self, records: &Drain<Arc<Record>>) -> Result<()> {
        loop {
            let next = records.receive(PAUSE);
            let is_over = next == Err(Closed);
            if let Ok(Some(record)) = next {
                self.writer.take(record);
                while let Some(record) = records.next_waiting() {
                    self.writer.take(record);
                }
                std::thread::sleep(PAUSE);
            }
            while let Some(flow) = self.flows.next_waiting() {
                self.writer.take_flow(flow);
            }
            let now_s = Timestamp::now().0 / sensor_engine::SECOND_NS;
            if is_over || now_s != self.committed_s {
                self.committed_s = now_s;
                self.take_rates(now_s);
                self.writer.commit(now_s);
                self.tell();
            }
            if is_over {
                return Ok(());
            }
        }
    }

    fn tell(&self) {
        let of = self.writer.state();
        let state = StoreState {
            flows: of.n_flows,
            flows_thinned: of.n_thinned,
            records: of.n_records,
            waiting: of.n_waiting,
            lost: of.n_lost,
            bytes: of.bytes,
            set_aside: of.set_aside.as_ref().map(|path| path.display().to_string()),
            error: of.error.clone(),
        };
        self.kept.set_state(state);
    }

    /// Takes what went through each interface since the last time, and through all that is watched.
    fn take_rates(&mut self, now_s: u64) {
        let Some(latest) = self.latest.get() else {
            return;
        };
        let now = Arc::clone(&latest.borrow());
        self.take_services(&now, now_s);
        let [ingress, egress] = [0, 1].map(|way| now.total(way));
        let all = [ingress.packets, ingress.bytes, egress.packets, egress.bytes];
        let named = now.interfaces.iter().filter_map(|standing| {
            let name = &standing.at.interface;
            Some((name.clone(), counters(name)?))
        });
        for (name, now) in named.chain([(ALL.to_owned(), all)]) {
            let Some(before) = self.before.insert(name.clone(), now) else {
                continue;
            };
            // A counter that begins anew says nothing of this second.
            let since = |n: usize| now[n].saturating_sub(before[n]);
            self.writer.take_rate(Rate {
                name,
                at_s: now_s,
                packets: [since(0), since(2)],
                bytes: [since(1), since(3)],
            });
        }
    }
}

impl Keeper {
    /// Takes what went to and from services, once a step.
    fn take_services(&mut self, now: &Snapshot, now_s: u64) {
        if now_s / STEP_S == self.services_s / STEP_S || now.services.is_empty() {
            return;
        }
        let is_first = self.services.is_empty();
        // Of the step that is over.
        let at_s = std::mem::replace(&mut self.services_s, now_s);
        let key = |load: &ServiceLoad| (load.protocol, load.port);
        let mut rates = now.services.iter().map(|load| {
            // A service that is new, or known again, counts from nothing.
            let before = self.services.get(&key(load)).copied();
            let before = before.filter(|before| before.bytes[0] <= load.bytes[0]);
            let before = before.unwrap_or_default();
            let since = |now: [u64; 2], then: [u64; 2]| {
                [
                    now[0].saturating_sub(then[0]),
                    now[1].saturating_sub(then[1]),
                ]
            };
            Rate {
                name: service_name(load),
                at_s,
                packets: since(load.packets, before.packets),
                bytes: since(load.bytes, before.bytes),
            }
        });
        // What is of all comes first.
        let all = rates.next();
        let services = rates.collect();
        self.services = now.services.iter().map(|load| (key(load), *load)).collect();
        if let Some(all) = all.filter(|_| !is_first) {
            for rate in top(services, all) {
                self.writer.take_rate(rate);
            }
        }
    }
}

/// Name of a service in the store, as `tcp/443`, or `icmp/` where there are no ports.
fn service_name(load: &ServiceLoad) -> String {
    let name = transport(load.protocol);
    if has_ports(load.protocol) {
        format!("{name}/{}", load.port)
    } else {
        format!("{name}/")
    }
}

/// Packets and bytes in and out of an interface, as the kernel counts them.
fn counters(interface: &str) -> Option<[u64; 4]> {
    let folder = Path::new("/sys/class/net")
        .join(interface)
        .join("statistics");
    let read = |name: &str| {
        fs::read_to_string(folder.join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    Some([
        read("rx_packets")?,
        read("rx_bytes")?,
        read("tx_packets")?,
        read("tx_bytes")?,
    ])
}
