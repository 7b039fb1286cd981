//! Bounded queues between the agent's threads, each with a policy and counters.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// Policy for an item that finds its queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Drops and counts it.
    DropNewest,
    /// The sender is told, and tells whoever asked.
    Refuse,
}

impl Policy {
    pub const fn label(self) -> &'static str {
        match self {
            Self::DropNewest => "drop_newest",
            Self::Refuse => "refuse",
        }
    }
}

/// A queue as metrics and `status` show it.
#[derive(Clone, Debug)]
pub struct Gauge {
    pub name: Cow<'static, str>,
    pub capacity: usize,
    pub policy: Policy,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    depth: AtomicU64,
    n_shed: AtomicU64,
}

impl Gauge {
    /// Items waiting.
    pub fn depth(&self) -> u64 {
        self.counts.depth.load(Ordering::Relaxed)
    }

    /// Items that found the queue full.
    pub fn n_shed(&self) -> u64 {
        self.counts.n_shed.load(Ordering::Relaxed)
    }
}

/// Builds a queue.
pub fn bounded<T>(
    name: impl Into<Cow<'static, str>>,
    capacity: usize,
    policy: Policy,
) -> (Sender<T>, Drain<T>) {
    let (sender, receiver) = mpsc::sync_channel(capacity);
    let gauge = Gauge {
        name: name.into(),
        capacity,
        policy,
        counts: Arc::default(),
    };
    let drain = Drain {
        receiver,
        counts: Arc::clone(&gauge.counts),
    };
    (Sender { sender, gauge }, drain)
}

/// The end that items are put in at.
pub struct Sender<T> {
    sender: SyncSender<T>,
    gauge: Gauge,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            gauge: self.gauge.clone(),
        }
    }
}

/// Why an item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The queue is full; that was counted.
    Full,
    /// Nobody reads the queue any more.
    Closed,
}

impl<T> Sender<T> {
    pub const fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    /// Puts an item in, without waiting.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn send(&self, item: T) -> Result<(), Refusal> {
        self.try_send(item).map_err(|(refusal, _)| {
            if refusal == Refusal::Full {
                self.count_shed();
            }
            refusal
        })
    }

    /// Sends as [`Self::send`] does, but leaves the last quarter of the queue to items that matter
    /// more.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn send_minor(&self, item: T) -> Result<(), Refusal> {
        if self.gauge.depth() >= (self.gauge.capacity / 4 * 3) as u64 {
            self.count_shed();
            return Err(Refusal::Full);
        }
        self.send(item)
    }

    /// Sends as [`Self::send`] does, but waits for room until `deadline`.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn send_until(&self, mut item: T, deadline: Instant) -> Result<(), Refusal> {
        loop {
            match self.try_send(item) {
                Err((Refusal::Full, back)) if Instant::now() < deadline => {
                    item = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((refusal, _)) => {
                    self.count_shed();
                    return Err(refusal);
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    fn try_send(&self, item: T) -> Result<(), (Refusal, T)> {
        // Counted before, so that the reader never takes the depth below zero.
        self.gauge.counts.depth.fetch_add(1, Ordering::Relaxed);
        self.sender.try_send(item).map_err(|error| {
            self.gauge.counts.depth.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(item) => (Refusal::Full, item),
                TrySendError::Disconnected(item) => (Refusal::Closed, item),
            }
        })
    }

    fn count_shed(&self) {
        self.gauge.counts.n_shed.fetch_add(1, Ordering::Relaxed);
    }
}

/// The end that items come out of.
pub struct Drain<T> {
    receiver: Receiver<T>,
    counts: Arc<Counts>,
}

impl<T> Drain<T> {
    /// Waits for an item. `Ok(None)`: none came in time.
    ///
    /// # Errors
    /// When every sender is gone and the queue is empty.
    pub fn receive(&self, limit: Duration) -> Result<Option<T>, Closed> {
        match self.receiver.recv_timeout(limit) {
            Ok(item) => {
                self.counts.depth.fetch_sub(1, Ordering::Relaxed);
                Ok(Some(item))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Closed),
        }
    }

    /// Takes an item without waiting, if there is one.
    pub fn next_waiting(&self) -> Option<T> {
        let item = self.receiver.try_recv().ok()?;
        self.counts.depth.fetch_sub(1, Ordering::Relaxed);
        Some(item)
    }
}

/// Every sender is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheds_what_finds_no_room_and_counts_it() {
        let (sender, drain) = bounded("test", 8, Policy::DropNewest);
        let taken = (0..10).filter(|n| sender.send(*n).is_ok()).count();
        assert_eq!((taken, sender.gauge().depth()), (8, 8));
        assert_eq!(sender.gauge().n_shed(), 2);
        assert_eq!(drain.next_waiting(), Some(0));
        assert_eq!(sender.gauge().depth(), 7);
    }

    #[test]
    fn leaves_the_last_quarter_to_what_matters_more() {
        let (sender, _drain) = bounded("test", 8, Policy::DropNewest);
        let taken = (0..10).filter(|n| sender.send_minor(*n).is_ok()).count();
        assert_eq!(taken, 6);
        assert_eq!(sender.send(10), Ok(()));
    }

    #[test]
    fn waits_until_the_deadline_only() {
        let (sender, drain) = bounded("test", 1, Policy::DropNewest);
        let soon = || Instant::now() + Duration::from_millis(20);
        assert_eq!(sender.send_until(1, soon()), Ok(()));
        assert_eq!(sender.send_until(2, soon()), Err(Refusal::Full));
        drop(drain);
        assert_eq!(sender.send_until(3, soon()), Err(Refusal::Closed));
    }

    #[test]
    fn ends_when_every_sender_is_gone() {
        let (sender, drain) = bounded("test", 2, Policy::Refuse);
        sender.send(1).unwrap();
        drop(sender);
        let limit = Duration::from_millis(1);
        assert_eq!(drain.receive(limit), Ok(Some(1)));
        assert_eq!(drain.receive(limit), Err(Closed));
    }
}
