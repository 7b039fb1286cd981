//! Tells the kernel program which interfaces a packet may cross one after another, so that it counts
//! each packet once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use sensor_capture::kernel::{Kernel, crossings};
use sensor_capture::netlink;
use tracing::warn;

use super::interfaces::Standing;

/// Time after which links are read again without news of those that are watched: one may have become
/// the port of a bridge.
const AGAIN: Duration = Duration::from_secs(10);

/// Watched interfaces as the program was told last.
#[derive(Default)]
pub struct Crossing {
    told: Option<(BTreeSet<u32>, Instant)>,
    has_failed: bool,
}

impl Crossing {
    /// Follows the interfaces.
    pub fn follow(&mut self, kernel: &mut Kernel, interfaces: &[Standing]) {
        let attached = interfaces.iter().filter(|one| one.is_attached());
        let watched: BTreeSet<u32> = attached.map(|one| one.at.ifindex).collect();
        let is_told = |(told, at): &(BTreeSet<u32>, Instant)| {
            *told == watched && (watched.len() < 2 || at.elapsed() < AGAIN)
        };
        if self.told.as_ref().is_some_and(is_told) {
            return;
        }
        let done = tell(kernel, &watched);
        if let Err(cause) = &done
            && !self.has_failed
        {
            let cause = format!("{cause:#}");
            warn!(
                cause,
                "packets that cross several interfaces may be counted more than once"
            );
        }
        self.has_failed = done.is_err();
        self.told = Some((watched, Instant::now()));
    }
}

fn tell(kernel: &mut Kernel, watched: &BTreeSet<u32>) -> Result<()> {
    let flags = if watched.len() < 2 {
        crossings(&[], watched)
    } else {
        crossings(&netlink::links()?, watched)
    };
    kernel.interfaces.set(&flags, watched.len())
}
