//! What each source did in windows of 10 s, as vectors for the models.

use sensor_common::packet::protocol;
use sensor_common::{Address, mix};

use super::bounded::{Bounded, Worth};
use super::sketch::Distinct;
use crate::flow::FlowUpdate;
use crate::flow::Progress;

use super::subjects::WINDOW_NS;

pub(crate) const N_SOURCE_FEATURES: usize = 12;
pub(crate) const SOURCE_NAMES: [&str; N_SOURCE_FEATURES] = [
    "packets_log",
    "bytes_log",
    "flows_log",
    "length_mean",
    "answer_ratio",
    "failed_ratio",
    "peers_log",
    "ports_log",
    "port_entropy",
    "udp_ratio",
    "icmp_ratio",
    "syn_ratio",
];
const BINS: usize = 16;

/// A source's vector; columns as in [`SOURCE_NAMES`].
#[derive(Clone, Debug)]
pub(crate) struct SourceVector {
    pub source: Address,
    pub first_ns: u64,
    pub last_ns: u64,
    pub values: [f64; N_SOURCE_FEATURES],
}

#[derive(Clone, Debug, Default)]
struct Window {
    first_ns: u64,
    last_ns: u64,
    sent: u64,
    sent_bytes: u64,
    received: u64,
    n_flows: u64,
    n_settled: u64,
    n_failed: u64,
    n_udp: u64,
    n_icmp: u64,
    n_syn: u64,
    peers: Distinct,
    ports: Distinct,
    port_bins: [u32; BINS],
}

impl Worth for Window {
    fn worth(&self) -> u64 {
        self.sent
    }
}

#[derive(Debug)]
pub(crate) struct SourceWindows {
    windows: Bounded<Address, Window>,
    began_ns: u64,
    seed: u64,
    capacity: usize,
    n_shed: u64,
}

impl SourceWindows {
    pub(crate) fn new(capacity: usize, hash_seed: u64) -> Self {
        Self {
            windows: Bounded::new(capacity, hash_seed),
            began_ns: 0,
            seed: hash_seed,
            capacity,
            n_shed: 0,
        }
    }

    pub(crate) fn n_shed(&self) -> u64 {
        self.n_shed.saturating_add(self.windows.n_shed)
    }

    pub(crate) fn take(&mut self, update: &FlowUpdate) {
        let window = self
            .windows
            .get_or_insert_with(update.source, Window::default);
        window.take(update);
    }

    /// The vectors of a window that is over, else none.
    pub(crate) fn tick(&mut self, at_ns: u64) -> Vec<SourceVector> {
        if self.began_ns == 0 || at_ns < self.began_ns {
            self.began_ns = at_ns;
        }
        if at_ns.saturating_sub(self.began_ns) < WINDOW_NS {
            return Vec::new();
        }
        self.began_ns = at_ns;
        self.n_shed = self.n_shed();
        let full = std::mem::replace(&mut self.windows, Bounded::new(self.capacity, self.seed));
        full.iter()
            // Too few packets have no behaviour.
            .filter(|(_, window)| window.sent >= 5)
            .map(|(source, window)| window.vector(source))
            .collect()
    }
}

impl Window {
    fn take(&mut self, update: &FlowUpdate) {
        if self.first_ns == 0 || update.first_ns < self.first_ns {
            self.first_ns = update.first_ns;
        }
        self.last_ns = self.last_ns.max(update.last_ns);
        self.sent = self.sent.saturating_add(update.forward.packets);
        self.sent_bytes = self.sent_bytes.saturating_add(update.forward.bytes);
        self.received = self.received.saturating_add(update.backward.packets);
        self.n_syn = self.n_syn.saturating_add(update.forward.n_flags[0]);
        match update.protocol {
            protocol::UDP => self.n_udp = self.n_udp.saturating_add(update.forward.packets),
            protocol::ICMP | protocol::ICMPV6 => {
                self.n_icmp = self.n_icmp.saturating_add(update.forward.packets);
            }
            _ => {}
        }
        if update.has_progressed && update.progress != Progress::Pending {
            self.n_settled = self.n_settled.saturating_add(1);
            self.n_failed = self
                .n_failed
                .saturating_add(u64::from(update.progress.has_failed()));
        }
        if update.is_new {
            self.begin_flow(update);
        }
    }

    fn begin_flow(&mut self, update: &FlowUpdate) {
        self.n_flows = self.n_flows.saturating_add(1);
        self.peers
            .insert(sensor_common::hash_address(&update.destination, 0));
        let port = u64::from(update.destination_port);
        self.ports.insert(port);
        let bin = (mix(port, 0, 0) >> 60) as usize;
        if let Some(n) = self.port_bins.get_mut(bin) {
            *n = n.saturating_add(1);
        }
    }

    fn vector(&self, source: &Address) -> SourceVector {
        let sent = self.sent.max(1) as f64;
        let log = |n: u64| (n as f64).ln_1p();
        let ratio = |part: u64, whole: f64| {
            if whole > 0.0 {
                part as f64 / whole
            } else {
                0.0
            }
        };
        SourceVector {
            source: *source,
            first_ns: self.first_ns,
            last_ns: self.last_ns,
            values: [
                log(self.sent),
                log(self.sent_bytes),
                log(self.n_flows),
                self.sent_bytes as f64 / sent / 1000.0,
                ratio(self.received, sent + self.received as f64),
                ratio(self.n_failed, self.n_settled as f64),
                log(u64::from(self.peers.len())),
                log(u64::from(self.ports.len())),
                entropy(&self.port_bins),
                ratio(self.n_udp, sent),
                ratio(self.n_icmp, sent),
                ratio(self.n_syn, sent),
            ],
        }
    }
}

/// Shannon entropy in bits.
fn entropy(bins: &[u32; BINS]) -> f64 {
    let total: f64 = bins.iter().map(|n| f64::from(*n)).sum();
    bins.iter()
        .filter(|n| **n > 0)
        .map(|n| f64::from(*n) / total)
        .map(|p| -p * p.log2())
        .sum()
}
