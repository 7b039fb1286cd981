//! Frames of several interfaces in the order of their times: programs that capture on more than one
//! write what each saw in blocks.

use super::error::TimeFault;
use super::lane::{Ahead, Lane, MAX_DISORDER_NS};
use super::source::Source;
use super::{Data, Record};

/// Bytes of frames that wait for those of other interfaces.
const MAX_HELD: usize = 64 << 20;
/// Frames of a pipe wait this long, by their stamps.
const MAX_WAIT_LIVE_NS: u64 = 5_000_000_000;
/// Memory that a frame takes besides its bytes.
const FRAME_COST: usize = 128;
/// Interfaces of one section whose frames are put in order. Those of more are read as they come.
const MAX_MERGED: usize = 64;

/// A frame at its event time.
pub(super) struct Timed {
    pub number: u64,
    pub at_ns: u64,
    pub record: Record,
}

/// Frames that wait for their time to be known, or for their turn.
pub(super) struct Lanes {
    /// One for all interfaces, or one for each.
    lanes: Vec<Lane>,
    /// Bytes that wait in more than one lane.
    n_held: usize,
    output: Output,
    is_live: bool,
}

impl Lanes {
    pub(super) fn new(is_live: bool) -> Self {
        Self {
            lanes: vec![Lane::default()],
            n_held: 0,
            output: Output::default(),
            is_live,
        }
    }

    /// Begins anew with the interfaces of the next part of the file. Nothing waits.
    pub(super) fn begin_part(&mut self) {
        self.lanes = vec![Lane::default()];
        self.output.is_part_new = true;
    }

    pub(super) const fn is_merging(&self) -> bool {
        self.lanes.len() > 1
    }

    /// Offset of the first frame that waits in the source.
    pub(super) fn first_place(&self) -> Option<u64> {
        let (_, record) = self.lanes.first()?.queue.front()?;
        match &record.data {
            Data::Place(place) => Some(place.start),
            Data::Owned(_) => None,
        }
    }

    /// Number of the first frame that waits, where it waits for none of other interfaces.
    #[inline]
    pub(super) fn first_number(&self) -> Option<u64> {
        match self.lanes.as_slice() {
            [lane] => lane.queue.front().map(|(number, _)| *number),
            _ => None,
        }
    }

    /// Has a lane for each of so many interfaces; what waits moves out of the source.
    pub(super) fn widen(&mut self, n_interfaces: usize, source: &Source) {
        if n_interfaces <= self.lanes.len() || n_interfaces > MAX_MERGED {
            return;
        }
        if let [lane] = self.lanes.as_mut_slice() {
            for (_, record) in &mut lane.queue {
                record.own(source);
                self.n_held += record.cost();
            }
        }
        self.lanes.resize_with(n_interfaces, Lane::default);
    }

    /// Takes a frame whose stamp needs no second look, and that waits for no other.
    #[inline]
    pub(super) fn take_plain(&mut self, record: &Record) -> Option<u64> {
        match self.lanes.as_mut_slice() {
            [lane] if !self.output.is_shifted() => {
                let at_ns = lane.take_plain(record.at_ns)?;
                self.output.last_ns = self.output.last_ns.max(at_ns);
                Some(at_ns)
            }
            _ => None,
        }
    }

    pub(super) fn add(&mut self, number: u64, record: Record) {
        if self.is_merging() {
            self.n_held += record.cost();
        }
        // Of more interfaces than lanes, the last has those of the rest.
        let at = record.interface.min(self.lanes.len().saturating_sub(1));
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.queue.push_back((number, record));
        }
    }

    /// The next frame, with what is wrong about its stamp; none where more has to be read to know.
    pub(super) fn pop(&mut self, is_all: bool) -> Option<(Timed, [Option<TimeFault>; 2])> {
        let is_all = is_all || self.n_held >= MAX_HELD;
        let ahead = Ahead {
            is_all,
            is_live: self.is_live,
        };
        let waits_long = self.is_live && self.is_merging() && self.wait_ns() > MAX_WAIT_LIVE_NS;
        let mut least: Option<(usize, u64, Option<TimeFault>)> = None;
        for (n, lane) in self.lanes.iter_mut().enumerate() {
            match lane.settle(ahead) {
                Some((at_ns, fault)) if least.is_none_or(|(_, least_ns, _)| at_ns < least_ns) => {
                    least = Some((n, at_ns, fault));
                }
                Some(_) => {}
                None if is_all || waits_long => {}
                None => return None,
            }
        }
        let (n, at_ns, fault) = least?;
        let is_merging = self.is_merging();
        let (number, record) = self.lanes.get_mut(n)?.pop()?;
        if is_merging {
            self.n_held = self.n_held.saturating_sub(record.cost());
        }
        let (at_ns, placed) = self.output.place(at_ns, is_merging);
        let timed = Timed {
            number,
            at_ns,
            record,
        };
        Some((timed, [fault, placed]))
    }

    /// Time between the first frame that waits and the last.
    fn wait_ns(&self) -> u64 {
        let stamps = |(_, record): &(u64, Record)| record.at_ns;
        let first = self.lanes.iter().filter_map(|lane| lane.queue.front());
        let last = self.lanes.iter().filter_map(|lane| lane.queue.back());
        let (first, last) = (first.map(stamps).min(), last.map(stamps).max());
        last.unwrap_or_default()
            .saturating_sub(first.unwrap_or_default())
    }
}

impl Record {
    fn cost(&self) -> usize {
        match &self.data {
            Data::Place(_) => FRAME_COST,
            Data::Owned(bytes) => bytes.len() + FRAME_COST,
        }
    }

    /// Copies the bytes out of the source.
    pub(super) fn own(&mut self, source: &Source) {
        if let Data::Place(place) = &self.data {
            self.data = Data::Owned(source.lent(place).to_vec());
        }
    }
}

/// Event time over all parts of a file: it never runs back by more than frames are out of order.
#[derive(Default)]
struct Output {
    last_ns: u64,
    /// Event time is the lanes' time and this: part of a file are earlier than those before them.
    shift_ns: u64,
    is_part_new: bool,
}

impl Output {
    const fn is_shifted(&self) -> bool {
        self.shift_ns > 0 || self.is_part_new
    }

    fn place(&mut self, event_ns: u64, is_merging: bool) -> (u64, Option<TimeFault>) {
        let is_earlier = |ns: u64, last_ns: u64| ns.saturating_add(MAX_DISORDER_NS) < last_ns;
        let mut fault = None;
        if std::mem::take(&mut self.is_part_new) && is_earlier(event_ns, self.last_ns) {
            self.shift_ns = self.last_ns - event_ns;
            let by_ns = self.shift_ns;
            fault = Some(TimeFault::SetBack { by_ns });
        }
        if event_ns >= self.last_ns {
            self.shift_ns = 0;
        }
        let mut at_ns = event_ns.saturating_add(self.shift_ns);
        if is_merging && is_earlier(at_ns, self.last_ns) {
            let by_ns = self.last_ns - at_ns;
            fault = Some(TimeFault::Late { by_ns });
            at_ns = self.last_ns;
        }
        self.last_ns = self.last_ns.max(at_ns);
        (at_ns, fault)
    }
}
