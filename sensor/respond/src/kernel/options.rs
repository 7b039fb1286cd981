//! Options of the response, and those of them that a reload changes.

use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use sensor_record::Sensor;

use crate::Mode;
use crate::group::Group;
use crate::radius::Bounds;
use crate::saved::Store;

/// Options of the response.
#[derive(Clone, Debug)]
pub struct Options {
    pub mode: Mode,
    /// Networks of the configuration that are never blocked.
    pub allow: Vec<IpNet>,
    /// Groups of the configuration.
    pub groups: Vec<Group>,
    /// Time that a proposal waits, seconds.
    pub proposal_ttl_s: u32,
    /// Services are shielded from floods by made-up addresses when they come.
    pub auto_shield: bool,
    /// The kernel shields addresses from floods of SYNs by itself.
    pub reflex: bool,
    /// Bounds on what is set without a person's word.
    pub bounds: Bounds,
    /// Time without a sign of life of the agent after which decisions hold nothing back, seconds; 0: they
    /// do until they expire.
    pub dead_after_s: u16,
    /// Packets a second that a rate-limited source may send; a burst is at most as many.
    pub rate_limit_packets_per_s: u32,
    /// Place where operators' entries are kept over restarts; without, they are not.
    pub store: Option<Store>,
    /// File of the audit log; without, there is none.
    pub audit_log: Option<PathBuf>,
    /// Sensor that writes it.
    pub sensor: Arc<Sensor>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            allow: Vec::new(),
            groups: Vec::new(),
            proposal_ttl_s: 3_600,
            auto_shield: true,
            reflex: false,
            bounds: Bounds::default(),
            dead_after_s: 0,
            rate_limit_packets_per_s: sensor_engine::LIMIT_PACKETS_PER_S,
            store: None,
            audit_log: None,
            sensor: Arc::default(),
        }
    }
}

/// Parts of the configuration that a reload changes.
#[derive(Clone, Debug)]
pub struct Followed {
    pub mode: Mode,
    pub allow: Vec<IpNet>,
    pub groups: Vec<Group>,
    pub proposal_ttl_s: u32,
    pub auto_shield: bool,
    pub reflex: bool,
    pub bounds: Bounds,
    pub dead_after_s: u16,
}
