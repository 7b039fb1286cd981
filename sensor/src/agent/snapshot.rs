//! What the engine thread publishes once a second: metrics, `status` and the live view read it
//! without asking the engine.

use sensor_engine::Stats;

use super::queue::Gauge;

/// The state as of a look at the flows.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Event time; 0 before the first look.
    pub at_ns: u64,
    pub engine: Stats,
    pub queues: Vec<Gauge>,
    pub n_blocks: usize,
}
