//! Time of the frames of one interface: stamps that are out of line with those around them are told
//! from gaps, and clocks that were set back from frames out of order.

use std::collections::VecDeque;

use super::Record;
use super::error::TimeFault;

/// Frames are out of order by less than this; what deviates by more is held against those that follow.
pub(super) const MAX_DISORDER_NS: u64 = 1_000_000_000;
/// A gap is believed where so many frames in a row are behind it. Of a pipe, few are waited for.
const CONFIRMING: usize = 8;
const CONFIRMING_LIVE: usize = 2;
/// Stamps further from each other than this are believed only where others confirm it.
const FAR_NS: u64 = 30 * 86_400_000_000_000;

/// Frames of one interface that wait, and its clock.
#[derive(Default)]
pub(super) struct Lane {
    pub queue: VecDeque<(u64, Record)>,
    clock: Clock,
    /// Event time of the first that waits, once it is known, with what is wrong about its stamp.
    settled: Option<Settled>,
}

/// Event time of a frame, and what is wrong about its stamp.
pub(super) type Settled = (u64, Option<TimeFault>);

/// Reach of looking ahead at stamps.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// Nothing can be added to what waits.
    pub is_all: bool,
    pub is_live: bool,
}

impl Lane {
    /// A frame whose stamp is in line needs no look at those behind it.
    #[inline]
    pub(super) fn take_plain(&mut self, raw_ns: u64) -> Option<u64> {
        if self.queue.is_empty() && self.clock.is_plain(raw_ns) {
            Some(self.clock.take(raw_ns))
        } else {
            None
        }
    }

    /// Event time of the first frame that waits; none where those behind it are needed to tell, or
    /// where none waits.
    pub(super) fn settle(&mut self, ahead: Ahead) -> Option<Settled> {
        if self.settled.is_none() {
            let (_, first) = self.queue.front()?;
            let behind = self.queue.iter().skip(1).map(|(_, record)| record.at_ns);
            self.settled = self.clock.settle(first.at_ns, behind, ahead);
        }
        self.settled
    }

    /// Takes the first frame out, once it is settled.
    pub(super) fn pop(&mut self) -> Option<(u64, Record)> {
        self.settled.take()?;
        self.queue.pop_front()
    }
}

#[derive(Default)]
struct Clock {
    /// Latest stamp that was in line, as it was read.
    raw_ns: Option<u64>,
    /// Latest event time.
    last_ns: u64,
    /// Event time is the stamps' time and this: what set-backs took away.
    behind_ns: u64,
}

impl Clock {
    #[inline]
    fn is_plain(&self, at_ns: u64) -> bool {
        self.raw_ns
            .is_some_and(|raw_ns| raw_ns.abs_diff(at_ns) <= MAX_DISORDER_NS)
    }

    /// Event time of a stamp that is believed.
    #[inline]
    fn take(&mut self, at_ns: u64) -> u64 {
        self.raw_ns = Some(self.raw_ns.unwrap_or_default().max(at_ns));
        if at_ns >= self.last_ns {
            self.behind_ns = 0;
        }
        let event_ns = at_ns.saturating_add(self.behind_ns);
        self.last_ns = self.last_ns.max(event_ns);
        event_ns
    }

    fn settle(
        &mut self,
        at_ns: u64,
        behind: impl Iterator<Item = u64> + Clone,
        ahead: Ahead,
    ) -> Option<Settled> {
        let wanted = if ahead.is_live {
            CONFIRMING_LIVE
        } else {
            CONFIRMING
        };
        let behind = behind.take(wanted);
        let is_enough = ahead.is_all || behind.clone().count() == wanted;
        let Some(raw_ns) = self.raw_ns else {
            return is_enough.then(|| self.begin(at_ns, behind));
        };
        if self.is_plain(at_ns) {
            return Some((self.take(at_ns), None));
        }
        let least_ns = raw_ns.saturating_sub(MAX_DISORDER_NS);
        if at_ns > raw_ns {
            let is_back = |ns: u64| ns >= least_ns && ns.saturating_add(MAX_DISORDER_NS) < at_ns;
            let is_last = ahead.is_all && behind.clone().next().is_none();
            let is_far = at_ns - raw_ns > FAR_NS;
            if behind.clone().any(is_back) || (is_last && is_far) {
                let by_ns = at_ns - raw_ns;
                return Some((self.last_ns, Some(TimeFault::Ahead { by_ns })));
            }
            return is_enough.then(|| (self.take(at_ns), None));
        }
        let by_ns = raw_ns - at_ns;
        let is_back = |ns: u64| {
            (least_ns..=raw_ns.saturating_add(FAR_NS)).contains(&ns)
                && ns > at_ns.saturating_add(MAX_DISORDER_NS)
        };
        if behind.clone().any(is_back) {
            return Some((self.last_ns, Some(TimeFault::Behind { by_ns })));
        }
        is_enough.then(|| (self.set_back(at_ns), Some(TimeFault::SetBack { by_ns })))
    }

    /// The first stamp: it is the odd one where the next ones agree with each other only.
    fn begin(&mut self, at_ns: u64, mut behind: impl Iterator<Item = u64>) -> Settled {
        let (second, third) = (behind.next(), behind.next());
        let Some(second_ns) = second else {
            return (self.take(at_ns), None);
        };
        let agree = third.is_none_or(|ns| ns.saturating_add(MAX_DISORDER_NS) >= second_ns);
        let is_back = third.is_some_and(|ns| ns.saturating_add(MAX_DISORDER_NS) >= at_ns);
        if at_ns > second_ns.saturating_add(MAX_DISORDER_NS) && !is_back {
            let by_ns = at_ns - second_ns;
            return (second_ns, Some(TimeFault::Ahead { by_ns }));
        }
        if second_ns > at_ns.saturating_add(FAR_NS) && third.is_some() && agree {
            let by_ns = second_ns - at_ns;
            return (second_ns, Some(TimeFault::Behind { by_ns }));
        }
        (self.take(at_ns), None)
    }

    /// Event time goes on where it was, at the pace of stamps from `at_ns` on.
    fn set_back(&mut self, at_ns: u64) -> u64 {
        self.raw_ns = Some(at_ns);
        self.behind_ns = self.last_ns.saturating_sub(at_ns);
        self.last_ns
    }
}
