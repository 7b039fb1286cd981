//! Snapshot that the engine thread publishes once a second: metrics, `status` and the live view
//! read it without asking the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use sensor_common::arrival::Way;
use sensor_common::counters::{Count, Event, Outcome};
use sensor_deliver::Deliveries;
use sensor_engine::{ExceptionUse, ServiceLoad, Stats, TableUse};
use sensor_record::answer::Outcomes;
use sensor_record::{Counts, Local, Sensor};

use super::alert_input::AlertInputs;
use super::feeds::Feeds;
use super::flow_state::FlowInputs;
use super::interfaces::Standing;
use super::kept::Kept;
use super::networks::NetworkStates;
use crate::config::Settings;
use crate::confine::Confinement;
use crate::queue::Gauge;
use crate::ring::Ring;
use crate::stream::Health;
use sensor_capture::kernel::Kernel;
use sensor_respond::{FileState, GuardState, Mode, RadiusState};

/// Facts that stay the same while the agent runs.
#[derive(Clone, Debug)]
pub struct About {
    /// Sensor that this is.
    pub sensor: Arc<Sensor>,
    /// Unix time of the start, event time.
    pub started_ns: u64,
    pub queues: Vec<Gauge>,
    /// Standard output, the log, a file of records.
    pub outputs: Vec<Arc<Health>>,
    /// Systems that records are delivered to.
    pub sinks: Arc<Deliveries>,
    /// The store, where there is one.
    pub store: Option<Arc<Kept>>,
    /// The ring of packets, where there is one.
    pub ring: Option<Arc<Ring>>,
    /// Lists of others that are followed.
    pub feeds: Arc<Feeds>,
    /// Flow records of other devices that are taken.
    pub alert_inputs: Arc<AlertInputs>,
    pub flow_inputs: Arc<FlowInputs>,
    /// Networks over sequences, where there is a place for them.
    pub networks: Option<Arc<NetworkStates>>,
    /// Rights that were given up after the start.
    pub confinement: Confinement,
}

#[cfg(test)]
impl About {
    /// Nothing but a sensor that was started at `started_ns`.
    pub fn only(sensor: Sensor, started_ns: u64) -> Self {
        Self {
            sensor: Arc::new(sensor),
            started_ns,
            queues: Vec::new(),
            outputs: Vec::new(),
            sinks: Arc::default(),
            store: None,
            ring: None,
            feeds: Arc::default(),
            alert_inputs: Arc::default(),
            flow_inputs: Arc::default(),
            networks: None,
            confinement: Confinement::default(),
        }
    }
}

/// The state as of a look at the flows.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub about: Arc<About>,
    /// Event time; 0 before the first look.
    pub at_ns: u64,
    /// Lead of event time over the wall clock after that was set back.
    pub clock_ahead_ns: u64,
    pub interfaces: Arc<[Standing]>,
    /// Local networks as the engine knows them; `None` before it was told.
    pub local: Option<Local>,
    pub mode: Mode,
    pub config_hash: u64,
    /// Parse outcomes in the order of [`Outcome::ALL`], ingress and egress.
    pub outcomes: Vec<[Count; 2]>,
    /// Events in the order of [`Event::ALL`], packets per CPU.
    pub events: Vec<Vec<u64>>,
    /// Events that never came, by CPU.
    pub n_missed: Vec<u64>,
    /// Packets and bytes a second, ingress and egress, since the snapshot before.
    pub rates: [Rate; 2],
    pub engine: Stats,
    /// Load of all traffic since the start, and of each service that is known.
    pub services: Vec<ServiceLoad>,
    /// Fill level of each table: the engine's, and the lists.
    pub tables: Vec<TableUse>,
    pub exceptions: Vec<ExceptionUse>,
    pub n_incidents: BTreeMap<&'static str, u64>,
    /// Number of incidents by family and severity.
    pub n_opened: BTreeMap<(&'static str, &'static str), u64>,
    /// Decisions, by what became of them.
    pub decided: Outcomes,
    pub n_blocks: usize,
    /// Files that are kept.
    pub files: Vec<FileState>,
    /// Lines of the audit log that could not be written.
    pub n_audit_lost: u64,
    pub guard: GuardState,
    pub radius: RadiusState,
    /// Copies of table rows that were given up.
    pub n_unstable: u64,
    pub ticks: Ticks,
}

/// Load of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    pub packets_per_s: f64,
    pub bytes_per_s: f64,
}

/// Durations of the looks, µs.
#[derive(Clone, Debug)]
pub struct Ticks {
    /// Every look at the host rows.
    pub hosts: Histogram<u64>,
    /// Durations of those that looked at flows as well.
    pub flows: Histogram<u64>,
    /// Looks that took longer than the time from one to the next.
    pub n_late: u64,
}

impl Ticks {
    /// Longer ones are recorded as this, µs.
    const LONGEST_US: u64 = 60_000_000;

    /// # Errors
    /// None with these bounds.
    pub fn new() -> Result<Self, hdrhistogram::CreationError> {
        // Two digits up to a minute: 16 kB.
        let hosts = Histogram::new_with_max(Self::LONGEST_US, 2)?;
        Ok(Self {
            flows: hosts.clone(),
            hosts,
            n_late: 0,
        })
    }

    pub fn record(&mut self, took: Duration, has_flows: bool, limit: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if has_flows {
            self.flows.saturating_record(us);
        } else {
            self.hosts.saturating_record(us);
        }
        self.n_late += u64::from(took > limit);
    }
}

impl Snapshot {
    /// Makes an empty snapshot, to be shared.
    ///
    /// # Errors
    /// As [`Ticks::new`].
    pub fn before_the_first(
        about: &Arc<About>,
        settings: &Settings,
        guard: GuardState,
        interfaces: &Arc<[Standing]>,
    ) -> Result<Arc<Self>, hdrhistogram::CreationError> {
        let mut first = Self::empty(Arc::clone(about), Ticks::new()?);
        first.mode = settings.respond.mode;
        first.config_hash = settings.hash();
        first.guard = guard;
        first.interfaces = Arc::clone(interfaces);
        Ok(Arc::new(first))
    }

    /// Before the first look.
    pub fn empty(about: Arc<About>, ticks: Ticks) -> Self {
        Self {
            about,
            at_ns: 0,
            clock_ahead_ns: 0,
            interfaces: Arc::new([]),
            local: None,
            mode: Mode::default(),
            config_hash: 0,
            outcomes: vec![[Count::default(); 2]; Outcome::ALL.len()],
            events: vec![Vec::new(); Event::ALL.len()],
            n_missed: Vec::new(),
            rates: [Rate::default(); 2],
            engine: Stats::default(),
            services: Vec::new(),
            tables: Vec::new(),
            exceptions: Vec::new(),
            n_incidents: BTreeMap::new(),
            n_opened: BTreeMap::new(),
            decided: Outcomes::default(),
            n_blocks: 0,
            files: Vec::new(),
            n_audit_lost: 0,
            guard: GuardState::default(),
            radius: RadiusState::default(),
            n_unstable: 0,
            ticks,
        }
    }

    /// Reads the kernel's counters, and the load from how far they are past those of `before`.
    pub fn read_counters(&mut self, kernel: &Kernel, before: &Self) {
        let both = |outcome: &Outcome| {
            [Way::Ingress, Way::Egress].map(|way| kernel.outcome(way, *outcome))
        };
        self.outcomes = Outcome::ALL.iter().map(both).collect();
        self.events = Event::ALL
            .iter()
            .map(|event| kernel.event_per_cpu(*event))
            .collect();
        self.n_unstable = kernel.n_unstable;
        self.n_missed = kernel.gaps.n_missed().to_vec();
        let elapsed_s = self.at_ns.saturating_sub(before.at_ns) as f64 / 1e9;
        if before.at_ns == 0 || elapsed_s <= 0.0 {
            return;
        }
        for way in 0..2 {
            let (now, then) = (self.total(way), before.total(way));
            self.rates[way] = Rate {
                packets_per_s: now.packets.saturating_sub(then.packets) as f64 / elapsed_s,
                bytes_per_s: now.bytes.saturating_sub(then.bytes) as f64 / elapsed_s,
            };
        }
    }

    /// Packets and bytes of one way (0 ingress, 1 egress), whatever they were.
    pub fn total(&self, way: usize) -> Count {
        let mut sum = Count::default();
        for both in &self.outcomes {
            let count = both.get(way).copied().unwrap_or_default();
            sum.packets += count.packets;
            sum.bytes += count.bytes;
        }
        sum
    }

    /// Packets of an event, all CPUs.
    pub fn event(&self, event: Event) -> u64 {
        let per_cpu = self.events.get(event as usize);
        per_cpu.map_or(0, |per_cpu| per_cpu.iter().sum())
    }

    /// Packets of each event, by its label.
    pub fn all_events(&self) -> Counts {
        let count = |event: &Event| (event.label().into(), self.event(*event));
        Event::ALL.iter().map(count).collect()
    }

    /// Packets that could not be read, by reason.
    pub fn malformed(&self) -> Counts {
        self.outcomes(Outcome::is_malformed)
    }

    /// Frames that carry no IP packet that is read, by kind.
    pub fn not_ip(&self) -> Counts {
        self.outcomes(Outcome::is_not_ip)
    }

    fn outcomes(&self, is_wanted: fn(Outcome) -> bool) -> Counts {
        let all = Outcome::ALL.iter().zip(&self.outcomes);
        all.filter(|(outcome, _)| is_wanted(**outcome))
            .map(|(outcome, both)| (outcome.label(), both[0].packets + both[1].packets))
            .filter(|(_, packets)| *packets > 0)
            .map(|(label, packets)| (label.into(), packets))
            .collect()
    }

    /// Incidents opened, by family.
    pub fn incidents(&self) -> Counts {
        let all = self.n_incidents.iter();
        all.map(|(family, n)| ((*family).into(), *n)).collect()
    }

    /// Packets that could not be read, both ways.
    pub fn n_malformed(&self) -> u64 {
        let malformed = Outcome::ALL.iter().zip(&self.outcomes);
        malformed
            .filter(|(outcome, _)| outcome.is_malformed())
            .flat_map(|(_, both)| both)
            .map(|count| count.packets)
            .sum()
    }
}
