//! Scans from host rows alone: what the flow cache refused still counts in its source's row.

use sensor_common::Address;

use super::Detect;
use super::Detector;
use super::family::Family;
use super::finding::{Entity, Evidence, Finding, p_value, poisson_score};
use crate::address::to_ip;
use crate::config::{Config, SECOND_NS, ScanConfig};
use crate::features::HostLook;
use crate::features::bounded::{Bounded, Priority, TableUse};

#[derive(Clone, Copy, Debug, Default)]
struct Source {
    began_ns: u64,
    ports_before: f64,
    n_ports: f64,
    n_syn: u64,
    n_ack: u64,
    n_not_admitted: u64,
    last_ns: u64,
}

impl Priority for Source {
    fn priority(&self) -> u64 {
        self.n_syn
    }
}

#[derive(Debug)]
pub(crate) struct RowScanDetector {
    config: ScanConfig,
    sources: Bounded<Address, Source>,
    swept_ns: u64,
}

/// A source that sent nothing for so long is forgotten.
const KEEP_NS: u64 = 60 * SECOND_NS;

impl Detect for RowScanDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.scan, config.hash_seed);
        Self {
            config: config.clone(),
            sources: Bounded::new("scan_row_sources", config.max_windows, hash_seed),
            swept_ns: 0,
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.scan.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.sources.usage());
    }
}

impl RowScanDetector {
    /// Takes the remote hosts of a look. Only sources that were refused flows are followed: the others are
    /// seen better elsewhere.
    pub(crate) fn look(&mut self, at_ns: u64, remotes: &[HostLook], findings: &mut Vec<Finding>) {
        for look in remotes {
            let is_known = self.sources.get(&look.address).is_some();
            if look.from.n_not_admitted == 0 && !is_known {
                continue;
            }
            let source = self.sources.get_or_insert_with(look.address, || Source {
                began_ns: at_ns,
                ..Source::default()
            });
            source.take(look);
            if at_ns.saturating_sub(source.began_ns) < SECOND_NS {
                continue;
            }
            if let Some(finding) = source.judge(look, f64::from(self.config.fast_ports_rows)) {
                findings.push(finding);
            }
            *source = Source {
                began_ns: at_ns,
                ports_before: source.n_ports,
                n_ports: source.n_ports,
                ..Source::default()
            };
        }
        if at_ns.saturating_sub(self.swept_ns) >= KEEP_NS {
            self.swept_ns = at_ns;
            self.sources
                .retain(|_, source| at_ns.saturating_sub(source.began_ns) < KEEP_NS);
        }
    }
}

impl Source {
    fn take(&mut self, look: &HostLook) {
        self.n_ports = self.n_ports.max(look.n_ports);
        self.n_syn = self.n_syn.saturating_add(look.from.n_syn);
        self.n_ack = self.n_ack.saturating_add(look.from.n_ack);
        self.n_not_admitted = self.n_not_admitted.saturating_add(look.from.n_not_admitted);
        self.last_ns = look.last_ns;
    }

    /// Growth of an estimate that errs by 13 %: three times that of what was there is noise.
    fn judge(&self, look: &HostLook, limit: f64) -> Option<Finding> {
        let grown = self.n_ports - self.ports_before * 1.4;
        let asks = self.n_syn as f64 >= limit && self.n_ack < self.n_syn;
        if grown < limit || !asks || self.n_not_admitted == 0 {
            return None;
        }
        let score = poisson_score(grown, limit / 10.0);
        Some(Finding {
            detector: Detector::ScanRows,
            family: Family::PortScan,
            entity: Entity::Source(look.address),
            window_ns: SECOND_NS,
            first_ns: self.began_ns.saturating_sub(SECOND_NS),
            last_ns: self.last_ns,
            score,
            p_value: p_value(score),
            grades: Detector::ScanRows.grades(),
            notes: Vec::new(),
            features: vec![Evidence {
                name: "ports_tried_per_s",
                observed: grown,
                expected: limit / 10.0,
                share: 1.0,
            }],
            sources: vec![to_ip(&look.address)],
            n_sources: 1,
            is_spoofed: false,
            destination_mac: None,
            destinations: Vec::new(),
            n_destinations: 0,
            ports: Vec::new(),
            n_ports: grown as u64,
            protocol: sensor_common::packet::protocol::TCP,
        })
    }
}
