//! A window in two halves: what one half misses of a slow scan, both see.

use std::hash::Hash;

use sensor_common::Address;

use super::finding::Finding;
use crate::config::SECOND_NS;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::decay::Spread;
use crate::features::pair::is_bare;
use crate::features::sketch::Distinct;
use crate::flow::{FlowUpdate, Progress};

/// Ports and hosts kept by name.
const NAMED: usize = 16;

#[derive(Clone, Debug, Default)]
struct Half {
    tried: Distinct,
    failed: Distinct,
    n_tried: u32,
    n_succeeded: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    now: Half,
    before: Half,
    /// Values first tried in the running second, and the most of any second not yet judged.
    second: Distinct,
    second_ns: u64,
    /// Length of a half, and when the running one began.
    length_ns: u64,
    half_ns: u64,
    first_ns: u64,
    last_ns: u64,
    reported_ns: u64,
    has_grown: bool,
    ports: Vec<u16>,
    hosts: Vec<Address>,
    /// Ports that the attempts come from, and how many attempts had no TCP options.
    from: Spread,
    n_bare: u32,
    pub(crate) protocol: u8,
}

/// Time at which a window is to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Now,
    /// Later: it was reported a moment ago.
    Later,
    /// Never: nothing came since.
    Never,
}

/// Windows by group, and the slots of those that grew since they were judged.
#[derive(Debug)]
pub(crate) struct Windows<K> {
    table: Bounded<K, Window>,
    half_ns: u64,
    grown: Vec<u32>,
    swept_ns: u64,
}

impl<K: Hash + Eq> Windows<K> {
    pub(crate) fn new(name: &'static str, capacity: usize, half_ns: u64, hash_seed: u64) -> Self {
        Self {
            table: Bounded::new(name, capacity, hash_seed),
            half_ns,
            grown: Vec::new(),
            swept_ns: 0,
        }
    }

    pub(crate) fn usage(&self) -> TableUse {
        self.table.usage()
    }

    pub(crate) fn n_bytes(&self) -> usize {
        self.table.n_bytes()
    }

    /// Prefetches the windows of groups.
    pub(crate) fn fetch(&self, groups: impl Iterator<Item = K>) {
        self.table.fetch(groups);
    }

    /// Updates the group's window by `take`, which says whether it is to be judged anew.
    pub(crate) fn take(&mut self, group: K, take: impl FnOnce(&mut Window) -> bool) {
        let length_ns = self.half_ns;
        let slot = self.table.slot_or_insert_with(group, || Window {
            length_ns,
            ..Window::default()
        });
        if let Some((_, window)) = self.table.at_mut(slot)
            && take(window)
        {
            self.grown.push(slot);
        }
    }

    /// Begins the group's window anew: what is in it was told.
    pub(crate) fn restart(&mut self, group: &K) {
        if let Some(window) = self.table.get_mut(group) {
            window.restart();
        }
    }

    /// Judges every window that grew; one that was found guilty at most once a second.
    pub(crate) fn judge(
        &mut self,
        at_ns: u64,
        findings: &mut Vec<Finding>,
        mut judge: impl FnMut(&K, &Window) -> Option<Finding>,
    ) {
        let table = &mut self.table;
        self.grown.retain(|slot| {
            let Some((group, window)) = table.at_mut(*slot) else {
                return false;
            };
            window.turn(at_ns);
            let due = window.due(at_ns);
            if due == Due::Now {
                window.has_grown = false;
                if let Some(finding) = judge(group, window) {
                    findings.push(finding);
                    window.reported_ns = at_ns;
                }
            }
            due == Due::Later
        });
        if at_ns.saturating_sub(self.swept_ns) >= self.half_ns {
            self.swept_ns = at_ns;
            self.table.retain(|_, window| !window.is_stale(at_ns));
        }
    }
}

impl Priority for Window {
    fn priority(&self) -> u64 {
        u64::from(self.now.n_tried) + u64::from(self.before.n_tried)
    }
}

impl Window {
    /// `true`: the window has to be judged now, and had not before.
    pub(crate) fn take(&mut self, at_ns: u64, update: &FlowUpdate, value: u64, port: u16) -> bool {
        let had_grown = self.has_grown;
        self.turn(at_ns);
        self.touch(update.first_ns, update.last_ns);
        if update.is_new {
            self.now.n_tried = self.now.n_tried.saturating_add(1);
            self.now.tried.insert(value);
            self.from.insert(u64::from(update.source_port));
            self.n_bare = self.n_bare.saturating_add(u32::from(is_bare(update)));
            self.protocol = update.protocol;
            // By packet time: records of a long past may arrive at once.
            if update.first_ns.abs_diff(self.second_ns) >= SECOND_NS {
                self.second = Distinct::default();
                self.second_ns = update.first_ns;
            }
            self.second.insert(value);
        }
        if update.has_progressed && update.progress.has_failed() {
            self.now.failed.insert(value);
            self.note_port(port);
        }
        if update.has_progressed && update.progress == Progress::Established {
            self.now.n_succeeded = self.now.n_succeeded.saturating_add(1);
        }
        !had_grown
    }

    fn restart(&mut self) {
        *self = Self {
            length_ns: self.length_ns,
            reported_ns: self.reported_ns,
            has_grown: self.has_grown,
            ..Self::default()
        };
    }

    fn touch(&mut self, first_ns: u64, last_ns: u64) {
        if self.first_ns == 0 || first_ns < self.first_ns {
            self.first_ns = first_ns;
        }
        self.last_ns = self.last_ns.max(last_ns);
        self.has_grown = true;
    }

    fn note_port(&mut self, port: u16) {
        if self.ports.len() < NAMED && !self.ports.contains(&port) {
            self.ports.push(port);
        }
    }

    pub(crate) fn note_host(&mut self, host: Address) {
        if self.hosts.len() < NAMED && !self.hosts.contains(&host) {
            self.hosts.push(host);
        }
    }

    /// Begins a new half where the running one is over.
    fn turn(&mut self, at_ns: u64) {
        if self.half_ns == 0 {
            self.half_ns = at_ns;
        }
        let elapsed = at_ns.saturating_sub(self.half_ns);
        if elapsed < self.length_ns {
            return;
        }
        let full = std::mem::take(&mut self.now);
        self.before = if elapsed < 2 * self.length_ns {
            full
        } else {
            Half::default()
        };
        self.half_ns = at_ns;
        if self.before.n_tried == 0 {
            self.first_ns = 0;
            self.ports.clear();
            self.hosts.clear();
            self.from.clear();
            self.n_bare = 0;
        }
    }

    /// Decides when to judge a window that grew.
    fn due(&self, at_ns: u64) -> Due {
        if !self.has_grown {
            Due::Never
        } else if at_ns.saturating_sub(self.reported_ns) < SECOND_NS {
            Due::Later
        } else {
            Due::Now
        }
    }

    fn is_stale(&self, at_ns: u64) -> bool {
        at_ns.saturating_sub(self.half_ns) >= 2 * self.length_ns
    }

    /// Length of both halves, ns.
    pub(crate) fn window_ns(&self) -> u64 {
        2 * self.length_ns
    }

    pub(crate) fn n_second(&self) -> u32 {
        self.second.len()
    }
    /// Attempts without TCP options, each from another port. A scanner that makes its own packets
    /// keeps to a port or two, by which it knows the answers; who doesn't wants none.
    pub(crate) fn wants_no_answers(&self) -> bool {
        self.from.len() >= 200.0 && self.n_bare.saturating_mul(2) >= self.n_attempts()
    }
    fn n_attempts(&self) -> u32 {
        self.now.n_tried.saturating_add(self.before.n_tried)
    }
    pub(crate) fn n_tried(&self) -> u32 {
        self.now.tried.union_len(&self.before.tried)
    }
    /// Upper bound of [`Self::n_failed`], at little cost.
    pub(crate) fn n_failed_at_most(&self) -> u32 {
        let (now, before) = (self.now.failed.len(), self.before.failed.len());
        now.saturating_add(before)
    }
    pub(crate) fn n_failed(&self) -> u32 {
        self.now.failed.union_len(&self.before.failed)
    }
    pub(crate) fn n_succeeded(&self) -> u32 {
        self.now.n_succeeded.saturating_add(self.before.n_succeeded)
    }
    pub(crate) fn first_ns(&self) -> u64 {
        self.first_ns
    }
    pub(crate) fn last_ns(&self) -> u64 {
        self.last_ns
    }
    pub(crate) fn ports(&self) -> &[u16] {
        &self.ports
    }
    pub(crate) fn hosts(&self) -> &[Address] {
        &self.hosts
    }
}
