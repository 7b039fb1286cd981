//! Volume towards a local host against its own past, once a second.

use sensor_common::Address;

use super::Detect;
use super::Detector;
use super::family::Family;
use super::finding::{Entity, Evidence, Finding, MAX_SCORE, p_value};
use crate::address::to_ip;
use crate::config::{Config, SECOND_NS, VolumeConfig};
use crate::features::HostLook;
use crate::features::baseline::Baseline;
use crate::features::bounded::{Bounded, Priority, TableUse};

#[derive(Clone, Copy, Debug, Default)]
struct Gauge {
    normal: Baseline,
    sum: f64,
    n_high: u32,
}

#[derive(Clone, Debug, Default)]
struct Host {
    gauges: [Gauge; 2],
    second_ns: u64,
    last_ns: u64,
}

impl Priority for Host {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

/// State of [`VolumeDetector`] that is kept over restarts: baselines by host.
pub(crate) type Learned = Vec<(Address, [Baseline; 2])>;

const NAMES: [&str; 2] = ["packets_per_s", "bytes_per_s"];

#[derive(Debug)]
pub(crate) struct VolumeDetector {
    config: VolumeConfig,
    hosts: Bounded<Address, Host>,
}

impl Detect for VolumeDetector {
    type Learned = Learned;

    fn new(config: &Config) -> Self {
        let (capacity, hash_seed) = (config.flood.max_local, config.hash_seed);
        Self {
            config: config.volume.clone(),
            hosts: Bounded::new("volume_hosts", capacity, hash_seed),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.volume.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.hosts.usage());
    }

    /// Copies the baselines of each host.
    fn learned(&self) -> Learned {
        let normals = |host: &Host| host.gauges.map(|gauge| gauge.normal);
        let hosts = self.hosts.iter();
        hosts.map(|(key, host)| (*key, normals(host))).collect()
    }

    /// Takes in what another run learned.
    fn restore(&mut self, learned: Learned) {
        for (address, normals) in learned {
            let host = self.hosts.get_or_insert_with(address, Host::default);
            for (gauge, normal) in host.gauges.iter_mut().zip(normals) {
                gauge.normal = normal;
            }
        }
    }
}

impl VolumeDetector {
    pub(crate) fn look(&mut self, at_ns: u64, look: &HostLook, findings: &mut Vec<Finding>) {
        let host = self.hosts.get_or_insert_with(look.address, || Host {
            second_ns: at_ns,
            ..Host::default()
        });
        if host.second_ns == 0 {
            host.second_ns = at_ns;
        }
        host.last_ns = at_ns;
        let values = [look.toward.packets as f64, look.toward.bytes as f64];
        for (gauge, value) in host.gauges.iter_mut().zip(values) {
            gauge.sum += value;
        }
        let elapsed = at_ns.saturating_sub(host.second_ns);
        if elapsed < SECOND_NS {
            return;
        }
        host.second_ns = at_ns;
        let config = &self.config;
        let floors = [config.min_packets_per_s, config.min_bytes_per_s];
        let mut features = Vec::new();
        let mut z_max: f64 = 0.0;
        for ((gauge, name), floor) in host.gauges.iter_mut().zip(NAMES).zip(floors) {
            let rate = gauge.sum / (elapsed as f64 / 1e9);
            gauge.sum = 0.0;
            let z = gauge.normal.z(rate);
            let level = gauge.normal.level();
            let is_high = gauge.normal.n() >= config.warm_up_s
                && level >= floor
                && z >= config.z
                && rate >= config.ratio * level;
            gauge.normal.learn(rate, is_high);
            gauge.n_high = if is_high {
                gauge.n_high.saturating_add(1)
            } else {
                0
            };
            if gauge.n_high >= config.n_seconds {
                z_max = z_max.max(z);
                features.push(Evidence {
                    name,
                    observed: rate,
                    expected: level,
                    share: 0.5,
                });
            }
        }
        if !features.is_empty() {
            findings.push(finding(look, features, z_max, elapsed, config.n_seconds));
        }
    }
}

/// The tail is taken to be a Laplace distribution's, heavier than a normal one's; each further
/// second above the limit is no news, so the seconds are not multiplied.
fn finding(
    look: &HostLook,
    features: Vec<Evidence>,
    z: f64,
    elapsed_ns: u64,
    n_seconds: u32,
) -> Finding {
    let score = (z * std::f64::consts::SQRT_2 / std::f64::consts::LN_10
        + std::f64::consts::LOG10_2)
        .min(MAX_SCORE);
    Finding {
        detector: Detector::Volume,
        family: Family::VolumeAnomaly,
        entity: Entity::Victim(look.address),
        window_ns: elapsed_ns,
        first_ns: look
            .last_ns
            .saturating_sub(u64::from(n_seconds).saturating_mul(SECOND_NS)),
        last_ns: look.last_ns,
        score,
        p_value: p_value(score),
        grades: Detector::Volume.grades(),
        notes: Vec::new(),
        features,
        sources: Vec::new(),
        n_sources: 0,
        is_spoofed: false,
        destination_mac: None,
        destinations: vec![to_ip(&look.address)],
        n_destinations: 1,
        ports: Vec::new(),
        n_ports: 0,
        protocol: 0,
    }
}
