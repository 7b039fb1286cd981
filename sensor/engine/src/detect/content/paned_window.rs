//! A window in two halves, of any content: what one half misses of a slow behaviour, both see.

use crate::config::SECOND_NS;

#[derive(Clone, Debug, Default)]
pub(crate) struct PanedWindow<T> {
    pub now: T,
    pub before: T,
    begun_ns: u64,
    /// First and last packet of the two halves.
    pub first_ns: u64,
    pub last_ns: u64,
    reported_ns: u64,
    has_grown: bool,
}

impl<T: Default> PanedWindow<T> {
    /// Begins a new half where the running one is over, then gives the running one for a packet.
    pub(crate) fn at(&mut self, at_ns: u64, half_ns: u64) -> &mut T {
        self.turn(at_ns, half_ns);
        if self.first_ns == 0 {
            self.first_ns = at_ns;
        }
        self.last_ns = self.last_ns.max(at_ns);
        self.has_grown = true;
        &mut self.now
    }

    fn turn(&mut self, at_ns: u64, half_ns: u64) {
        if self.begun_ns == 0 {
            self.begun_ns = at_ns;
        }
        let elapsed = at_ns.saturating_sub(self.begun_ns);
        if elapsed < half_ns {
            return;
        }
        let full = std::mem::take(&mut self.now);
        if elapsed < 2 * half_ns {
            self.before = full;
        } else {
            self.before = T::default();
            self.first_ns = 0;
        }
        self.begun_ns = at_ns;
    }

    /// True where there is something new to judge; at most once a second.
    pub(crate) fn is_due(&mut self, at_ns: u64, half_ns: u64) -> bool {
        self.turn(at_ns, half_ns);
        self.has_grown && at_ns.saturating_sub(self.reported_ns) >= SECOND_NS
    }

    pub(crate) fn judged(&mut self) {
        self.has_grown = false;
    }

    pub(crate) fn reported(&mut self, at_ns: u64) {
        self.reported_ns = at_ns;
        self.has_grown = false;
    }

    /// Reported, and to be judged again though nothing comes.
    pub(crate) fn waits(&mut self, at_ns: u64) {
        self.reported_ns = at_ns;
    }

    pub(crate) fn is_stale(&self, at_ns: u64, half_ns: u64) -> bool {
        at_ns.saturating_sub(self.begun_ns) >= 2 * half_ns
    }
}
