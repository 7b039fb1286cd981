//! Field devices (Modbus/TCP, DNP3) that are explored, commanded by a stranger, or that begin to talk
//! to one another.
//!
//! A plant's network is what it was yesterday: masters poll their devices, devices answer. So what
//! is new is told at once, after the few seconds that it takes to see who polls whom: a device that
//! opens a connection to another device, a new master that writes. A master that gets refusals for
//! most of what it asks doesn't know the device: it is exploring it.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::Seen;
use super::draft::{Span, draft};
use super::paned_window::PanedWindow;
use crate::address::to_ip;
use crate::config::{Config, FieldbusConfig};
use crate::detect::Detect;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Finding, poisson_score};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::flow::FlowUpdate;
use crate::l7::fieldbus::Message;
use crate::note::Note;

/// S7, Modbus, IEC 60870-5-104, DNP3, EtherNet/IP.
const FIELDBUS_PORTS: [u16; 5] = [102, 502, 2404, 20_000, 44_818];
/// Score of something that is told by its kind, not by a count.
const SURE: f64 = 12.0;
/// Findings of new contacts kept until the next tick.
const MAX_FRESH: usize = 256;
/// A device is forgotten after this much silence, ns: a day.
const FORGET_NS: u64 = 86_400_000_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Half {
    n_exceptions: u32,
    n_answers: u32,
}

/// A master and one of its devices.
#[derive(Clone, Debug, Default)]
struct Pair {
    window: PanedWindow<Half>,
    last_ns: u64,
}

impl Priority for Pair {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    first_ns: u64,
    last_ns: u64,
}

impl Priority for Times {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

#[derive(Debug)]
pub(crate) struct FieldbusDetector {
    config: FieldbusConfig,
    /// Windows by master and device.
    pairs: Bounded<(Address, Address), Pair>,
    /// Devices, known by their answers.
    devices: Bounded<Address, Times>,
    /// Devices that have talked to one another, in order of address.
    contacts: Bounded<(Address, Address), Times>,
    fresh: Vec<Finding>,
}

impl Detect for FieldbusDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.fieldbus, config.hash_seed);
        let n = config.max_pairs;
        Self {
            config: config.clone(),
            pairs: Bounded::new("fieldbus_pairs", n, hash_seed),
            devices: Bounded::new("fieldbus_devices", n, hash_seed),
            contacts: Bounded::new("fieldbus_contacts", n, hash_seed),
            fresh: Vec::new(),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.fieldbus.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.pairs.usage());
        out.push(self.devices.usage());
        out.push(self.contacts.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        findings.append(&mut self.fresh);
        let config = &self.config;
        for ((master, device), pair) in self.pairs.iter_mut() {
            let window = &mut pair.window;
            if !window.is_due(at_ns, config.half_ns) {
                continue;
            }
            let n = window
                .now
                .n_exceptions
                .saturating_add(window.before.n_exceptions);
            let n_answers = window.now.n_answers.saturating_add(window.before.n_answers);
            let share = f64::from(n) / f64::from(n_answers.max(1));
            if n < config.exceptions || share < config.exception_share {
                window.judged();
                continue;
            }
            window.reported(at_ns);
            let expected = f64::from(config.exceptions) / 10.0;
            let score = poisson_score(f64::from(n), expected);
            let numbers = [
                ("refused_requests", f64::from(n), expected, 0.8),
                ("refused_share", share, 0.05, 0.2),
            ];
            let span = Span {
                window_ns: 2 * config.half_ns,
                first_ns: window.first_ns,
                last_ns: window.last_ns,
            };
            let entity = Entity::Source(*master);
            let family = Family::BehaviourAnomaly;
            findings.push(named(
                draft(Detector::Fieldbus, family, entity, span, score, &numbers),
                (master, device),
                502,
            ));
        }
        self.pairs
            .retain(|_, pair| at_ns.saturating_sub(pair.last_ns) < FORGET_NS);
        self.contacts
            .retain(|_, times| at_ns.saturating_sub(times.last_ns) < FORGET_NS);
        self.devices
            .retain(|_, times| at_ns.saturating_sub(times.last_ns) < FORGET_NS);
    }
}

impl FieldbusDetector {
    /// Takes a segment from or to a device's port.
    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>, port: u16) {
        let head = seen.sample.head;
        let packet = &head.packet;
        let Some(message) = Message::read(seen.sample.payload, head.payload_bytes, port) else {
            return;
        };
        let at_ns = seen.at_ns;
        if seen.is_answer {
            let device = self
                .devices
                .get_or_insert_with(packet.source, Times::default);
            if device.first_ns == 0 {
                device.first_ns = at_ns;
            }
            device.last_ns = at_ns;
            let key = (packet.destination, packet.source);
            let pair = self.pairs.get_or_insert_with(key, Pair::default);
            pair.last_ns = at_ns;
            let half = pair.window.at(at_ns, self.config.half_ns);
            half.n_answers = half.n_answers.saturating_add(1);
            half.n_exceptions = half
                .n_exceptions
                .saturating_add(u32::from(message.is_exception));
            return;
        }
        let key = (packet.source, packet.destination);
        let is_known = self.pairs.get(&key).is_some();
        if !is_known && message.is_write(port) && self.is_settled(at_ns, &packet.destination) {
            self.tell(at_ns, key, port, "writes_of_new_master");
        }
        // From now on it is one of the device's masters.
        self.pairs.get_or_insert_with(key, Pair::default).last_ns = at_ns;
    }

    /// Known as a device for long enough.
    fn is_settled(&self, at_ns: u64, address: &Address) -> bool {
        self.devices
            .get(address)
            .is_some_and(|device| at_ns.saturating_sub(device.first_ns) >= self.config.known_ns)
    }

    /// Takes what happened to a flow.
    pub(in crate::detect) fn take_flow(&mut self, at_ns: u64, update: &FlowUpdate) {
        let (source, destination) = (update.source, update.destination);
        let is_between_devices = update.is_new
            && update.protocol == protocol::TCP
            && self.devices.get(&source).is_some()
            && self.devices.get(&destination).is_some();
        if !is_between_devices {
            return;
        }
        let key = (source.min(destination), source.max(destination));
        let is_known = self.contacts.get(&key).is_some();
        self.contacts
            .get_or_insert_with(key, Times::default)
            .last_ns = at_ns;
        let are_settled = self.is_settled(at_ns, &source) && self.is_settled(at_ns, &destination);
        let port = update.destination_port;
        // A session from before, in something else than what devices speak, is as strange.
        let is_foreign =
            !FIELDBUS_PORTS.contains(&port) && !FIELDBUS_PORTS.contains(&update.source_port);
        if !is_known && are_settled && (update.is_attempt || is_foreign) {
            self.tell(
                at_ns,
                (source, destination),
                port,
                "connections_between_devices",
            );
        }
    }

    fn tell(
        &mut self,
        at_ns: u64,
        (source, destination): (Address, Address),
        port: u16,
        what: &'static str,
    ) {
        if self.fresh.len() >= MAX_FRESH {
            return;
        }
        let span = Span {
            window_ns: self.config.known_ns,
            first_ns: at_ns,
            last_ns: at_ns,
        };
        let entity = Entity::Source(source);
        let numbers = [(what, 1.0, 0.0, 1.0)];
        let family = Family::LateralMovement;
        self.fresh.push(named(
            draft(Detector::Fieldbus, family, entity, span, SURE, &numbers),
            (&source, &destination),
            port,
        ));
    }
}

fn named(finding: Finding, (source, destination): (&Address, &Address), port: u16) -> Finding {
    let value = if port == 20_000 { "dnp3" } else { "modbus" };
    Finding {
        sources: vec![to_ip(source)],
        n_sources: 1,
        destinations: vec![to_ip(destination)],
        n_destinations: 1,
        ports: vec![port],
        n_ports: 1,
        protocol: protocol::TCP,
        notes: vec![Note {
            name: "network.protocol",
            value: value.to_owned(),
        }],
        ..finding
    }
}
