//! Services of the agent: the control socket, the one for readers, the metrics. Each has a bounded
//! number of places, which clients that only sit there can't keep from others.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// State of a service, as `status` and the metrics show it.
#[derive(Debug)]
pub struct Service {
    /// Name of the service: socket, read_socket, metrics.
    pub name: &'static str,
    is_open: AtomicBool,
    error: Mutex<Option<String>>,
    taken: Mutex<Vec<Arc<Taken>>>,
    n_refused: AtomicU64,
    n_dropped: AtomicU64,
}

#[derive(Debug)]
struct Taken {
    /// None while something is being done for the client.
    idle_since: Mutex<Option<Instant>>,
    leave: Notify,
}

impl Taken {
    fn idle(&self) -> MutexGuard<'_, Option<Instant>> {
        self.idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place; free again with the value.
#[derive(Debug)]
pub struct Seat {
    service: Arc<Service>,
    taken: Arc<Taken>,
}

impl Service {
    pub fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            is_open: AtomicBool::new(false),
            error: Mutex::default(),
            taken: Mutex::default(),
            n_refused: AtomicU64::new(0),
            n_dropped: AtomicU64::new(0),
        })
    }

    /// It is served from now on, or no longer, or it can't be.
    pub fn set_open(&self, is_open: bool, error: Option<String>) {
        self.is_open.store(is_open, Ordering::Relaxed);
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Cause that keeps it closed.
    pub fn error(&self) -> Option<String> {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.clone()
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Arc<Taken>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one of `n_seats` places. When all are taken, the client that has been idle for longest
    /// gives way; `None` while something is being done for each of them.
    pub fn take(self: &Arc<Self>, n_seats: usize) -> Option<Seat> {
        let mut taken = self.taken();
        if taken.len() >= n_seats {
            let idle = taken.iter().enumerate();
            let idle = idle.filter_map(|(n, one)| Some(((*one.idle())?, n)));
            let Some((_, longest)) = idle.min() else {
                self.n_refused.fetch_add(1, Ordering::Relaxed);
                return None;
            };
            taken.remove(longest).leave.notify_one();
            self.n_dropped.fetch_add(1, Ordering::Relaxed);
        }
        let one = Arc::new(Taken {
            idle_since: Mutex::new(Some(Instant::now())),
            leave: Notify::new(),
        });
        taken.push(Arc::clone(&one));
        Some(Seat {
            service: Arc::clone(self),
            taken: one,
        })
    }

    /// Clients at this moment.
    pub fn n_clients(&self) -> usize {
        self.taken().len()
    }

    /// Clients that found all places taken by clients at work.
    pub fn n_refused(&self) -> u64 {
        self.n_refused.load(Ordering::Relaxed)
    }

    /// Idle clients whose place went to another.
    pub fn n_dropped(&self) -> u64 {
        self.n_dropped.load(Ordering::Relaxed)
    }
}

impl Seat {
    /// Tells whether something is being done for the client from now on.
    pub fn set_idle(&self, is_idle: bool) {
        *self.taken.idle() = is_idle.then(Instant::now);
    }

    /// Waits until the place goes to another.
    pub async fn given_up(&self) {
        self.taken.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.service
            .taken()
            .retain(|one| !Arc::ptr_eq(one, &self.taken));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_client_gives_way() {
        let service = Service::new("socket");
        let first = service.take(2).unwrap();
        let second = service.take(2).unwrap();
        first.set_idle(false);
        let _third = service.take(2).unwrap();
        let has_place = |seat: &Seat| {
            service
                .taken()
                .iter()
                .any(|one| Arc::ptr_eq(one, &seat.taken))
        };
        assert!(has_place(&first) && !has_place(&second));
        assert_eq!((service.n_clients(), service.n_dropped()), (2, 1));
    }

    #[test]
    fn a_client_that_is_served_keeps_its_place() {
        let service = Service::new("socket");
        let first = service.take(1).unwrap();
        first.set_idle(false);
        assert!(service.take(1).is_none());
        first.set_idle(true);
        let second = service.take(1).unwrap();
        drop(first);
        assert_eq!(service.n_clients(), 1);
        drop(second);
        assert_eq!((service.n_clients(), service.n_refused()), (0, 1));
    }
}
