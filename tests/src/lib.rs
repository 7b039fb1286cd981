//! The harness: hosts in network namespaces, a running sensor, and waiting for what it says; frames
//! of every kind, and the kernel program beside its twin in user space.

pub mod browser;
pub mod calls;
pub mod day;
pub mod engine_load;
pub mod frames;
pub mod harness;
mod host;
pub mod pcap;
pub mod range;
mod sender;
mod sensor;
mod terminal;
pub mod twin;

pub use harness::{needs_program, needs_root, python, shared_data, skip};
pub use host::{Background, Network, run};
pub use sender::Sender;
pub use sensor::{Running, binary, resident_bytes};
pub use terminal::Terminal;

use std::time::{Duration, Instant};

/// Looks until `look` gives something, or `limit` has passed.
pub fn wait_until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
