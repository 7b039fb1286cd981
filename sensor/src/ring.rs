//! Ring of packets on disk: the samples that the kernel program hands out anyway, with their headers made
//! anew, in pcapng files of which the oldest give way. The engine's thread copies and goes on; a thread of
//! the ring waits for the disk.

mod files;
mod select;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use sensor_common::event::{Kind, Sample};
use sensor_common::packet::Packet;
use sensor_engine::to_ip;
use sensor_record::answer::RingState;
use sensor_record::sample_frame;
use sensor_store::{rank, share};

use crate::config::RingSettings;
use crate::queue::{self, Closed, Drain, Gauge, Policy, Sender};
use files::Files;

pub use select::{Selected, Wanted};

/// Packets on their way: some seconds of what the pace allows, 3 MB at most.
const N_PACKETS: usize = 8_192;
/// Between two writes.
const EVERY: Duration = Duration::from_secs(1);
const SECOND_NS: u64 = 1_000_000_000;

/// A packet on its way to the disk.
struct Kept {
    at_ns: u64,
    /// Length on the wire.
    bytes: u32,
    frame: Vec<u8>,
    comment: String,
}

/// The ring as those see it who ask.
#[derive(Debug)]
pub struct Ring {
    folder: PathBuf,
    state: Mutex<RingState>,
}

impl Ring {
    pub fn state(&self) -> RingState {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    fn change(&self, change: impl FnOnce(&mut RingState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Selects packets as pcapng.
    ///
    /// # Errors
    /// When files can't be read, or it takes too long.
    pub fn select(&self, wanted: &mut impl Wanted) -> Result<Selected> {
        select::select(&self.folder, wanted)
    }
}

/// The engine's end.
pub struct RingEnd {
    queue: Sender<Kept>,
    pace: Pace,
    payload_bytes: usize,
    ring: Arc<Ring>,
}

/// Packets of the running second, and those of them that no more than began a flow.
#[derive(Default)]
struct Pace {
    per_s: u32,
    second: u64,
    n: [u32; 2],
}

impl Pace {
    /// True where there is room. What begins flows may take half of it: a flood leaves room for the rest. Of
    /// a flood, the flows that the store picks as well have a part of that half to themselves.
    fn allows(&mut self, at_ns: u64, beginning: Option<u64>) -> bool {
        let second = at_ns / SECOND_NS;
        if second != self.second {
            (self.second, self.n) = (second, [0; 2]);
        }
        let [all, beginnings] = &mut self.n;
        let room = beginning.map(|rank| share(self.per_s.div_ceil(2), rank));
        if *all >= self.per_s || room.is_some_and(|room| *beginnings >= room) {
            return false;
        }
        *all += 1;
        *beginnings += u32::from(beginning.is_some());
        true
    }
}

/// Rank of a packet's flow.
fn rank_of(packet: &Packet) -> u64 {
    let source = (to_ip(&packet.source), packet.source_port);
    let destination = (to_ip(&packet.destination), packet.destination_port);
    rank(source, destination, packet.protocol)
}

impl RingEnd {
    /// Keeps a packet, or counts that it does not.
    pub fn see(&mut self, sample: &Sample<'_>, interface: Option<&str>) {
        let head = sample.head;
        let Some(kind) = Kind::of(head.kind).filter(|kind| *kind != Kind::Proven) else {
            return;
        };
        let beginning = (kind == Kind::FlowStarted).then(|| rank_of(&head.packet));
        if !self.pace.allows(head.at_ns, beginning) {
            self.ring.change(|state| state.thinned += 1);
            return;
        }
        let Some((frame, bytes)) = sample_frame(sample, self.payload_bytes) else {
            return;
        };
        let way = if head.way == 0 { "ingress" } else { "egress" };
        let on = interface.unwrap_or("unknown interface");
        let kept = Kept {
            at_ns: head.at_ns,
            bytes,
            frame,
            comment: format!("{}, {way} on {on}", kind.label()),
        };
        if self.queue.send(kept).is_err() {
            self.ring.change(|state| state.lost += 1);
        }
    }

    pub fn gauge(&self) -> Gauge {
        self.queue.gauge().clone()
    }

    pub fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring)
    }
}

/// The thread that writes.
pub struct RingKeeper {
    packets: Drain<Kept>,
    files: Files,
    ring: Arc<Ring>,
}

/// Opens the ring of a folder; what an earlier run left there stays until it is too old or too much.
///
/// # Errors
/// When the folder can't be made.
pub fn open(settings: &RingSettings, folder: &Path) -> Result<(RingKeeper, RingEnd)> {
    let files = Files::open(folder, settings.max_size, settings.max_age.0.into())?;
    let ring = Arc::new(Ring {
        folder: folder.to_owned(),
        state: Mutex::default(),
    });
    let (queue, packets) = queue::bounded("ring", N_PACKETS, Policy::DropNewest);
    let keeper = RingKeeper {
        packets,
        files,
        ring: Arc::clone(&ring),
    };
    let end = RingEnd {
        queue,
        pace: Pace {
            per_s: settings.packets_per_s,
            ..Pace::default()
        },
        payload_bytes: usize::try_from(settings.max_payload).unwrap_or(usize::MAX),
        ring,
    };
    Ok((keeper, end))
}

impl RingKeeper {
    /// Body of the thread: ends with the engine's side of the queue.
    ///
    /// # Errors
    /// None: what can't be written is counted.
    pub fn run(mut self, now_ns: impl Fn() -> u64) -> Result<()> {
        let mut due = Instant::now();
        loop {
            let next = self.packets.receive(EVERY);
            let is_over = matches!(next, Err(Closed));
            let first = next.ok().flatten();
            let waiting = std::iter::from_fn(|| self.packets.next_waiting());
            for packet in first.into_iter().chain(waiting) {
                self.files.put(&packet);
            }
            if is_over || Instant::now() >= due {
                due = Instant::now() + EVERY;
                self.files.tidy(now_ns());
                self.tell();
            }
            if is_over {
                return Ok(());
            }
        }
    }

    fn tell(&mut self) {
        let files = &mut self.files;
        self.ring.change(|state| {
            state.packets = files.n_written;
            state.lost += std::mem::take(&mut files.n_lost);
            state.bytes = files.n_bytes;
            state.since = files.since();
            state.error.clone_from(&files.error);
        });
    }
}

#[cfg(test)]
mod tests;
