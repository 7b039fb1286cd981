//! Exfiltration: much more sent to one address outside than this host usually sends, and than this
//! address ever got.
//!
//! Uploads have no shape of their own: a backup looks the same. So a pair's own past excuses it, a
//! host's own past is what it is measured by, and before there is one only much counts, and little
//! is claimed.

use std::sync::Arc;

use sensor_common::Address;
use serde::{Deserialize, Serialize};

use super::Detect;
use super::Detector;
use super::family::Family;
use super::finding::{Entity, Evidence, Finding, MAX_SCORE, p_value};
use crate::address::to_ip;
use crate::config::{Config, ExfiltrationConfig, SECOND_NS};
use crate::features::baseline::Baseline;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::flow::FlowUpdate;
use crate::site::Site;

/// Time over which uploads are summed up.
const WINDOW_NS: u64 = 600 * SECOND_NS;
/// Windows with uploads after which a host has a past to be measured by.
const LEARNED: u32 = 12;
/// Times the learned level, and learned spreads above it.
const FACTOR: f64 = 8.0;
const SPREADS: f64 = 4.0;
/// A pair that sent a quarter of this before does as it does.
const HABIT: u64 = 4;
/// Score of a host without a past: one in a hundred does that on some day.
const UNLEARNED_SCORE: f64 = 2.0;
/// Uploads are remembered for longer than a week.
const FORGET_NS: u64 = 8 * 86_400 * SECOND_NS;

/// Upload of one host to one address.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Upload {
    window: u64,
    first_ns: u64,
    last_ns: u64,
    n_sent: u64,
    n_got: u64,
    /// The most that an earlier window had.
    most_before: u64,
    port: u16,
    is_reported: bool,
}

impl Priority for Upload {
    fn priority(&self) -> u64 {
        self.most_before.max(self.n_sent)
    }
}

/// Usual upload of one host to the address that it sends most.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Uploader {
    usual: Baseline,
    window: u64,
    most: u64,
    is_suspect: bool,
    last_ns: u64,
}

impl Priority for Uploader {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

/// State of [`ExfiltrationDetector`] that is kept over restarts: uploads by pair, habits by host.
pub(crate) type Learned = (Vec<((Address, Address), Upload)>, Vec<(Address, Uploader)>);

#[derive(Debug)]
pub(crate) struct ExfiltrationDetector {
    config: ExfiltrationConfig,
    uploads: Bounded<(Address, Address), Upload>,
    hosts: Bounded<Address, Uploader>,
    findings: Vec<Finding>,
    swept_ns: u64,
    site: Arc<Site>,
}

impl Detect for ExfiltrationDetector {
    type Learned = Learned;

    fn new(config: &Config) -> Self {
        let site = Arc::new(Site::of(&config.local_networks, None));
        let (config, hash_seed) = (&config.exfiltration, config.hash_seed);
        Self {
            site,
            config: config.clone(),
            uploads: Bounded::new("uploads", config.max_pairs, hash_seed),
            hosts: Bounded::new("uploaders", config.max_hosts, hash_seed),
            findings: Vec::new(),
            swept_ns: 0,
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.exfiltration.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.uploads.usage());
        out.push(self.hosts.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        findings.append(&mut self.findings);
        if at_ns.saturating_sub(self.swept_ns) >= WINDOW_NS {
            self.swept_ns = at_ns;
            self.uploads
                .retain(|_, upload| at_ns.saturating_sub(upload.last_ns) < FORGET_NS);
            self.hosts
                .retain(|_, host| at_ns.saturating_sub(host.last_ns) < FORGET_NS);
        }
    }

    /// Copies uploads and habits.
    fn learned(&self) -> Learned {
        let uploads = self.uploads.iter().map(|(key, upload)| (*key, *upload));
        let hosts = self.hosts.iter().map(|(key, host)| (*key, *host));
        (uploads.collect(), hosts.collect())
    }

    /// Takes in what another run learned.
    fn restore(&mut self, (uploads, hosts): Learned) {
        for (key, upload) in uploads {
            *self.uploads.get_or_insert_with(key, Upload::default) = upload;
        }
        for (key, host) in hosts {
            *self.hosts.get_or_insert_with(key, Uploader::default) = host;
        }
    }
}

impl ExfiltrationDetector {
    /// Takes who is inside.
    pub(crate) fn set_site(&mut self, site: &Arc<Site>) {
        self.site = Arc::clone(site);
    }

    /// Takes what a host of the site sent to an address outside on connections that it began.
    pub(crate) fn take(&mut self, update: &FlowUpdate) {
        let (source, peer) = (update.source, update.destination);
        if update.forward.bytes == 0 || !self.site.has(&source) || self.site.has(&peer) {
            return;
        }
        let window = update.last_ns / WINDOW_NS;
        let upload = self
            .uploads
            .get_or_insert_with((source, peer), Upload::default);
        upload.take(window, update);
        let host = self.hosts.get_or_insert_with(source, Uploader::default);
        host.turn(window);
        host.last_ns = host.last_ns.max(update.last_ns);
        host.most = host.most.max(upload.n_sent);
        if upload.is_reported || upload.n_sent < self.config.least_bytes {
            return;
        }
        if let Some((limit, score)) = judge(&self.config, upload, host) {
            upload.is_reported = true;
            host.is_suspect = true;
            self.findings
                .push(finding(&source, &peer, upload, limit, score));
        }
    }
}

impl Upload {
    fn take(&mut self, window: u64, update: &FlowUpdate) {
        if window > self.window {
            *self = Self {
                window,
                first_ns: update.last_ns,
                most_before: self.most_before.max(self.n_sent),
                last_ns: self.last_ns,
                ..Self::default()
            };
        }
        self.n_sent = self.n_sent.saturating_add(update.forward.bytes);
        self.n_got = self.n_got.saturating_add(update.backward.bytes);
        self.last_ns = self.last_ns.max(update.last_ns);
        self.port = update.destination_port;
    }
}

impl Uploader {
    fn turn(&mut self, window: u64) {
        if window <= self.window {
            return;
        }
        if self.most > 0 {
            self.usual.learn(self.most as f64, self.is_suspect);
        }
        (self.window, self.most, self.is_suspect) = (window, 0, false);
    }
}

/// Judges an upload: the usual amount and the score, where it is too much.
fn judge(config: &ExfiltrationConfig, upload: &Upload, host: &Uploader) -> Option<(f64, f64)> {
    let sent = upload.n_sent as f64;
    let is_one_way = sent >= config.ratio * upload.n_got as f64;
    let is_habit = upload.most_before >= upload.n_sent / HABIT;
    if !is_one_way || is_habit {
        return None;
    }
    if host.usual.n() < LEARNED {
        let limit = config.unlearned_bytes as f64;
        return (sent >= limit).then_some((limit / FACTOR, UNLEARNED_SCORE));
    }
    let limit = host.usual.limit(FACTOR, SPREADS);
    if sent < limit {
        return None;
    }
    // As for volumes: the tail of a Laplace distribution.
    let z = host.usual.z(sent);
    let score = z * std::f64::consts::SQRT_2 / std::f64::consts::LN_10;
    let score = (score + std::f64::consts::LOG10_2).min(MAX_SCORE);
    Some((host.usual.level(), score))
}

fn finding(
    source: &Address,
    peer: &Address,
    upload: &Upload,
    expected: f64,
    score: f64,
) -> Finding {
    let evidence = |name, observed, expected, share| Evidence {
        name,
        observed,
        expected,
        share,
    };
    Finding {
        detector: Detector::Exfiltration,
        family: Family::Exfiltration,
        entity: Entity::Source(*source),
        window_ns: WINDOW_NS,
        first_ns: upload.first_ns.min(upload.last_ns),
        last_ns: upload.last_ns,
        score,
        p_value: p_value(score),
        grades: Detector::Exfiltration.grades(),
        features: vec![
            evidence("bytes_sent", upload.n_sent as f64, expected, 0.8),
            evidence(
                "bytes_sent_before",
                upload.most_before as f64,
                upload.n_sent as f64 / HABIT as f64,
                0.2,
            ),
            evidence("bytes_got", upload.n_got as f64, upload.n_sent as f64, 0.0),
        ],
        notes: Vec::new(),
        sources: vec![to_ip(source)],
        n_sources: 1,
        is_spoofed: false,
        destination_mac: None,
        destinations: vec![to_ip(peer)],
        n_destinations: 1,
        ports: vec![upload.port],
        n_ports: 1,
        protocol: sensor_common::packet::protocol::TCP,
    }
}
