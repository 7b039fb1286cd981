//! The contract that every sink is held to, and the far sides that stand in for the real ones.

mod contract;
mod email;
mod fake;
mod far;
mod kafka;
mod nats;
mod sharing;
mod syslog;
mod transport;
mod vendors;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sensor_record::{Record, State, example};

/// A folder of a test, removed with the value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sensor-deliver-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until something holds.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An incident of its own.
pub fn incident(id: &str, state: State) -> Record {
    let mut incident = example::incident();
    incident.id = id.to_owned();
    incident.state = state;
    incident.into()
}
