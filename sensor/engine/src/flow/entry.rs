//! One flow: the parts that slots of the kernel cache hold or held.
//!
//! A part is one direction of one slot life. Two are kept in place, one for each direction, which
//! is all that most flows need even if ingress and egress run on two CPUs; the rest is boxed.

use sensor_common::flow::Direction;

use super::totals::{Delta, Totals};

/// One direction of one slot life, known by CPU, generation and time of its first packet (two slots
/// of a bucket may give the same generation).
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    cpu: u16,
    /// The record was sent: nothing more will come of this life.
    is_final: bool,
    generation: u32,
    counters: Direction,
}

impl Part {
    pub(super) const EMPTY: Self = Self {
        cpu: 0,
        is_final: true,
        generation: 0,
        counters: Direction::EMPTY,
    };

    fn is(&self, life: &Life, first_ns: u64) -> bool {
        self.counters.packets > 0
            && self.cpu == life.cpu
            && self.generation == life.generation
            && self.counters.first_ns == first_ns
    }

    /// Takes a later look at the same part. A live look that was taken before, and arrives after,
    /// the final record brings nothing.
    fn refresh(&mut self, life: &Life, counters: &Direction) -> Delta {
        if self.is_final || counters.packets < self.counters.packets {
            return Delta::default();
        }
        let delta = Delta::between(&self.counters, counters);
        self.counters = *counters;
        self.is_final = life.is_final;
        delta
    }
}

/// Which slot life a record belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub cpu: u16,
    pub generation: u32,
    pub is_final: bool,
}

/// Lives kept apart before the oldest is folded into the sum.
const MAX_PARTS: usize = 64;

/// What few flows need.
#[derive(Default, Debug)]
struct Rest {
    /// Parts whose records were sent.
    folded: [Totals; 2],
    parts: [Vec<Part>; 2],
    /// Totals at the last export, and its time.
    exported: [Totals; 2],
    exported_ns: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    parts: [Part; 2],
    rest: Option<Box<Rest>>,
    /// Pass in which a live record was last read.
    pub pass: u32,
    pub marks: u8,
}

/// Bits of [`Entry::marks`]: what has been reported.
pub(super) mod mark {
    pub const STARTED: u8 = 1;
    pub const ESTABLISHED: u8 = 2;
    pub const FAILED: u8 = 4;
    /// Exported; kept because its slot may live on.
    pub const DORMANT: u8 = 8;
    pub const FRAGMENTS: u8 = 16;
    /// The first packets of both directions bear the same time, and the kernel saw the one of `b`
    /// first: its coarse clock stands still for some milliseconds.
    pub const BEGUN_BY_B: u8 = 32;
}

impl Entry {
    pub(super) const fn new(pass: u32) -> Self {
        Self {
            parts: [Part::EMPTY; 2],
            rest: None,
            pass,
            marks: 0,
        }
    }

    /// Takes in a record of a slot life; what it adds in each direction.
    pub(super) fn take(&mut self, life: &Life, directions: &[Direction; 2]) -> [Delta; 2] {
        let [a, b] = directions;
        [self.take_one(0, life, a), self.take_one(1, life, b)]
    }

    fn take_one(&mut self, side: usize, life: &Life, counters: &Direction) -> Delta {
        if counters.packets == 0 {
            return Delta::default();
        }
        let Some(part) = self.parts.get_mut(side) else {
            return Delta::default();
        };
        if part.is(life, counters.first_ns) {
            return part.refresh(life, counters);
        }
        let fresh = Part {
            cpu: life.cpu,
            is_final: life.is_final,
            generation: life.generation,
            counters: *counters,
        };
        let delta = Delta::between(&Direction::EMPTY, counters);
        if part.counters.packets == 0 {
            *part = fresh;
            return delta;
        }
        let rest = self.rest.get_or_insert_default();
        let (Some(others), Some(folded)) = (rest.parts.get_mut(side), rest.folded.get_mut(side))
        else {
            return delta;
        };
        if let Some(other) = others
            .iter_mut()
            .find(|other| other.is(life, counters.first_ns))
        {
            return other.refresh(life, counters);
        }
        if part.is_final {
            folded.add(&part.counters);
            *part = fresh;
            return delta;
        }
        if let Some(other) = others.iter_mut().find(|other| other.is_final) {
            folded.add(&other.counters);
            *other = fresh;
            return delta;
        }
        if others.len() >= MAX_PARTS {
            let oldest = others.remove(0);
            folded.add(&oldest.counters);
        }
        others.push(fresh);
        delta
    }

    /// Both directions since the beginning.
    pub(super) fn totals(&self) -> [Totals; 2] {
        let mut totals = match &self.rest {
            Some(rest) => rest.folded,
            None => [Totals::default(); 2],
        };
        for (side, total) in totals.iter_mut().enumerate() {
            if let Some(part) = self.parts.get(side) {
                total.add(&part.counters);
            }
            let others = self.rest.as_ref().and_then(|rest| rest.parts.get(side));
            for part in others.into_iter().flatten() {
                total.add(&part.counters);
            }
        }
        totals
    }

    /// Both directions since the last export.
    pub(super) fn unexported(&self) -> [Totals; 2] {
        let [a, b] = self.totals();
        match &self.rest {
            Some(rest) => [
                a.since(&rest.exported[0], rest.exported_ns),
                b.since(&rest.exported[1], rest.exported_ns),
            ],
            None => [a, b],
        }
    }

    /// Begins a new export period.
    pub(super) fn mark_exported(&mut self, at_ns: u64) {
        let totals = self.totals();
        let rest = self.rest.get_or_insert_default();
        rest.exported = totals;
        rest.exported_ns = at_ns;
    }

    /// True where no slot holds a part any more.
    pub(super) fn is_final(&self) -> bool {
        let rest = self
            .rest
            .iter()
            .flat_map(|rest| rest.parts.iter().flatten());
        self.parts.iter().chain(rest).all(|part| part.is_final)
    }

    pub(super) fn last_ns(&self) -> u64 {
        let here = self.parts.iter().map(|part| part.counters.last_ns);
        let rest = self.rest.iter().flat_map(|rest| {
            let parts = rest.parts.iter().flatten();
            parts
                .map(|part| part.counters.last_ns)
                .chain(rest.folded.iter().map(|total| total.last_ns))
        });
        here.chain(rest).max().unwrap_or(0)
    }

    /// First packet of the current export period.
    pub(super) fn first_ns(&self) -> u64 {
        if let Some(rest) = &self.rest
            && rest.exported_ns > 0
        {
            return rest.exported_ns;
        }
        let here = self.parts.iter();
        let others = self
            .rest
            .iter()
            .flat_map(|rest| rest.parts.iter().flatten());
        let parts = here.chain(others).map(|part| &part.counters);
        let parts = parts.filter(|part| part.packets > 0);
        let folded = self.rest.iter().flat_map(|rest| &rest.folded);
        let folded = folded.filter(|total| total.packets > 0);
        parts
            .map(|part| part.first_ns)
            .chain(folded.map(|total| total.first_ns))
            .min()
            .unwrap_or(0)
    }
}

/// First packet of either direction.
pub(super) fn earliest(totals: &[Totals; 2]) -> u64 {
    totals
        .iter()
        .filter(|total| total.packets > 0)
        .map(|total| total.first_ns)
        .min()
        .unwrap_or(0)
}

const _: () = assert!(size_of::<Entry>() <= 168);
