//! One flow: the parts that slots of the kernel cache hold or held.
//!
//! A part is one direction of one slot life. Two are kept in place, one for each direction, which
//! is all that most flows need even if ingress and egress run on two CPUs; the rest is boxed.

use sensor_common::Address;
use sensor_common::flow::Direction;

use super::direction::speaks_first;
use super::mark;
use super::records::{Around, FlowKey, Tags};
use super::totals::{Delta, Tally, Totals};

/// Slot life that a part belongs to: CPU, generation (its low half) and time of its first packet tell
/// lives apart; two slots of a bucket may give the same generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    pub cpu: u16,
    pub generation: u16,
}

/// A part beyond the two kept in place.
#[derive(Clone, Copy, Debug)]
struct Part {
    life: Life,
    /// The record was sent: nothing more will come of this life.
    is_final: bool,
    counters: Direction,
}

/// Lives kept apart before the oldest is folded into the sum.
const MAX_PARTS: usize = 64;

/// State that few flows need.
#[derive(Default, Debug)]
struct Rest {
    /// Parts whose records were sent.
    folded: [Totals; 2],
    parts: [Vec<Part>; 2],
    /// Totals at the last export, and its time.
    exported: [Totals; 2],
    exported_ns: u64,
    /// Counts of the parts when the flow began in place of another, and that time.
    before: [Totals; 2],
    before_ns: u64,
    around: Option<Around>,
    /// Without VLANs, nothing.
    tags: Tags,
}

/// Three cache lines; the links are the table's.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Entry {
    directions: [Direction; 2],
    a: Address,
    b: Address,
    rest: Option<Box<Rest>>,
    pub next: u32,
    pub previous: u32,
    lives: [Life; 2],
    a_port: u16,
    b_port: u16,
    /// List that the entry is in, by [`LIST`]; the other bits are marks.
    list: u16,
    protocol: u8,
    /// The low byte of the marks.
    marks: u8,
}

/// Bits that number a list.
pub(super) const LIST: u16 = 0x03ff;

const _: () = assert!(size_of::<Entry>() == 192);

impl Entry {
    pub(super) fn new(key: &FlowKey) -> Self {
        let is_plain = key.around.is_none() && key.tags.vlans == 0;
        let rest = (!is_plain).then(|| {
            Box::new(Rest {
                around: key.around,
                tags: key.tags,
                ..Rest::default()
            })
        });
        Self {
            directions: [Direction::EMPTY; 2],
            a: key.a,
            b: key.b,
            rest,
            next: 0,
            previous: 0,
            lives: [Life {
                cpu: 0,
                generation: 0,
            }; 2],
            a_port: key.a_port,
            b_port: key.b_port,
            list: 0,
            protocol: key.protocol,
            // A part that isn't there is not waited for.
            marks: (mark::FINAL[0] | mark::FINAL[1]) as u8,
        }
    }

    /// The tunnel that the flow came in.
    pub(super) fn around(&self) -> Option<&Around> {
        self.rest.as_ref().and_then(|rest| rest.around.as_ref())
    }

    /// VLANs of the side that bears them.
    pub(super) fn vlans(&self) -> u32 {
        self.rest.as_ref().map_or(0, |rest| rest.tags.vlans)
    }

    fn tags(&self) -> Tags {
        match &self.rest {
            Some(rest) if rest.tags.vlans != 0 => rest.tags,
            _ => Tags {
                vlans: 0,
                is_from_b: speaks_first(&self.tallies(), self.marks()),
            },
        }
    }

    /// True where a record of that key is the other, tagged or untagged, part of this flow.
    pub(super) fn is_completed_by(&self, key: &FlowKey) -> bool {
        self.has_ends(key) && self.tags().complete(key.tags)
    }

    /// Takes the tags of a record that completes the flow.
    pub(super) fn complete(&mut self, key: &FlowKey) {
        if key.tags.vlans != 0 {
            self.rest.get_or_insert_default().tags = key.tags;
        }
    }

    /// Key of the flow, without who began it.
    pub(super) fn key(&self) -> FlowKey {
        FlowKey {
            a: self.a,
            b: self.b,
            a_port: self.a_port,
            b_port: self.b_port,
            protocol: self.protocol,
            around: self.around().copied(),
            tags: Tags {
                vlans: self.vlans(),
                is_from_b: false,
            },
        }
    }

    pub(super) fn is(&self, key: &FlowKey) -> bool {
        self.has_ends(key) && self.vlans() == key.tags.vlans
    }

    /// True for the key's endpoints, within the same tunnel.
    fn has_ends(&self, key: &FlowKey) -> bool {
        self.a_port == key.a_port
            && self.b_port == key.b_port
            && self.a == key.a
            && self.b == key.b
            && self.protocol == key.protocol
            && self.around() == key.around.as_ref()
    }

    /// Reads of each cache line.
    #[inline]
    pub(super) fn touch(&self) -> u16 {
        let [a, b] = &self.directions;
        a.packets ^ b.packets ^ self.a_port
    }

    pub(super) const fn marks(&self) -> u16 {
        self.marks as u16 | self.list & !LIST
    }

    pub(super) const fn has(&self, marks: u16) -> bool {
        self.marks() & marks != 0
    }

    pub(super) const fn set(&mut self, marks: u16) {
        self.marks |= marks as u8;
        self.list |= marks & !LIST;
    }

    /// Takes away all marks but these.
    const fn keep(&mut self, marks: u16) {
        self.marks &= marks as u8;
        self.list &= marks | LIST;
    }

    pub(super) const fn unset(&mut self, marks: u16) {
        self.keep(!marks);
    }

    pub(super) const fn list(&self) -> u16 {
        self.list & LIST
    }

    pub(super) const fn set_list(&mut self, list: u16) {
        self.list = self.list & !LIST | list & LIST;
    }

    /// True where the record says nothing new.
    pub(super) fn is_unchanged(
        &self,
        life: Life,
        is_final: bool,
        directions: &[Direction; 2],
    ) -> bool {
        let [a, b] = &self.directions;
        let [now_a, now_b] = directions;
        let same = |side: usize, known: &Direction, now: &Direction| {
            now.packets == 0
                || (known.packets == now.packets
                    && known.first_ns == now.first_ns
                    && self.lives.get(side) == Some(&life))
        };
        !is_final && same(0, a, now_a) && same(1, b, now_b)
    }

    /// Takes in a record of a slot life; what it adds in each direction.
    pub(super) fn take(
        &mut self,
        life: Life,
        is_final: bool,
        directions: &[Direction; 2],
    ) -> [Delta; 2] {
        let [a, b] = directions;
        [
            self.take_one(0, life, is_final, a),
            self.take_one(1, life, is_final, b),
        ]
    }

    fn take_one(&mut self, side: usize, life: Life, is_final: bool, counters: &Direction) -> Delta {
        let (Some(known), Some(known_life), Some(final_mark)) = (
            self.directions.get_mut(side),
            self.lives.get_mut(side),
            mark::FINAL.get(side),
        ) else {
            return Delta::default();
        };
        if counters.packets == 0 {
            return Delta::default();
        }
        let was_final = self.marks & *final_mark as u8 != 0;
        let is_known = known.packets > 0;
        if is_known && *known_life == life && known.first_ns == counters.first_ns {
            // A live look taken before, and arriving after, the final record brings nothing.
            if was_final || counters.packets < known.packets {
                return Delta::default();
            }
            // The last of a part that began with another flow is that flow's.
            let before = self
                .rest
                .as_mut()
                .filter(|rest| counters.first_ns < rest.before_ns);
            if is_final && let Some(before) = before.and_then(|rest| rest.before.get_mut(side)) {
                (*known, *before) = (Direction::EMPTY, Totals::default());
                self.marks |= *final_mark as u8;
                return Delta::default();
            }
            let delta = Delta::between(known, counters);
            *known = *counters;
            self.marks |= if is_final { *final_mark as u8 } else { 0 };
            return delta;
        }
        let is_placed = !is_known;
        if !is_placed {
            let rest = self.rest.get_or_insert_default();
            let fresh = Part {
                life,
                is_final,
                counters: *counters,
            };
            if let Some(delta) = rest.refresh(side, &fresh) {
                return delta;
            }
            if !was_final {
                rest.add(side, fresh);
                return Delta::between(&Direction::EMPTY, counters);
            }
            rest.fold(side, known);
        }
        *known = *counters;
        *known_life = life;
        self.marks &= !(*final_mark as u8);
        self.marks |= if is_final { *final_mark as u8 } else { 0 };
        Delta::between(&Direction::EMPTY, counters)
    }

    /// Counts both directions since the beginning: what is asked all the time.
    pub(super) fn tallies(&self) -> [Tally; 2] {
        let [a, b] = &self.directions;
        if self.rest.is_none() {
            return [Tally::of(a), Tally::of(b)];
        }
        let [a, b] = self.totals();
        [Tally::of_totals(&a), Tally::of_totals(&b)]
    }

    /// Sums up both directions since the beginning.
    pub(super) fn totals(&self) -> [Totals; 2] {
        let mut totals = match &self.rest {
            Some(rest) => rest.folded,
            None => [Totals::default(); 2],
        };
        for (side, total) in totals.iter_mut().enumerate() {
            if let Some(part) = self.directions.get(side) {
                total.add(part);
            }
            let others = self.rest.as_ref().and_then(|rest| rest.parts.get(side));
            for part in others.into_iter().flatten() {
                total.add(&part.counters);
            }
            if let Some(rest) = self.rest.as_ref().filter(|rest| rest.before_ns > 0)
                && let Some(before) = rest.before.get(side)
            {
                *total = total.since(before, rest.before_ns);
            }
        }
        totals
    }

    /// Sums up both directions since the last export.
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

    /// Goes on after an export that ended the flow; `exported` is what it had by then.
    pub(super) fn revive(&mut self, exported: [Totals; 2], at_ns: u64) {
        let rest = self.rest.get_or_insert_default();
        rest.exported = exported;
        rest.exported_ns = at_ns;
        self.keep(mark::LASTING);
    }

    /// Begins another flow of the same endpoints, at `at_ns`. Parts that may still be read go on, and
    /// count from here.
    pub(super) fn restart(&mut self, at_ns: u64) {
        for (side, final_mark) in mark::FINAL.into_iter().enumerate() {
            if self.has(final_mark)
                && let Some(part) = self.directions.get_mut(side)
            {
                *part = Direction::EMPTY;
            }
        }
        if let Some(rest) = &mut self.rest {
            rest.restart();
        }
        let kept = self.totals();
        if kept.iter().any(|side| side.packets > 0) {
            let rest = self.rest.get_or_insert_default();
            (rest.before, rest.before_ns) = (kept, at_ns);
        }
        self.keep(mark::FINAL[0] | mark::FINAL[1]);
    }

    /// True where no slot holds a part any more.
    pub(super) fn is_final(&self) -> bool {
        let both = mark::FINAL[0] | mark::FINAL[1];
        let mut rest = self
            .rest
            .iter()
            .flat_map(|rest| rest.parts.iter().flatten());
        self.marks() & both == both && rest.all(|part| part.is_final)
    }

    pub(super) fn last_ns(&self) -> u64 {
        let [a, b] = self.tallies();
        a.last_ns.max(b.last_ns)
    }

    /// Beginning of the current export period.
    pub(super) fn period_ns(&self) -> u64 {
        match &self.rest {
            Some(rest) if rest.exported_ns > 0 => rest.exported_ns,
            _ => earliest(&self.tallies()),
        }
    }

    /// Bytes held outside of the entry itself.
    pub(super) fn n_boxed_bytes(&self) -> usize {
        let Some(rest) = &self.rest else { return 0 };
        let parts: usize = rest.parts.iter().map(Vec::capacity).sum();
        size_of::<Rest>().saturating_add(parts.saturating_mul(size_of::<Part>()))
    }
}

impl Rest {
    /// Forgets what is over: exports, and parts of which nothing more comes.
    fn restart(&mut self) {
        let parts = self.parts.iter_mut();
        parts.for_each(|side| side.retain(|part| !part.is_final));
        self.folded = [Totals::default(); 2];
        (self.exported, self.exported_ns) = ([Totals::default(); 2], 0);
        (self.before, self.before_ns) = ([Totals::default(); 2], 0);
    }

    /// A later look at a part that is known: what it adds.
    fn refresh(&mut self, side: usize, now: &Part) -> Option<Delta> {
        let parts = self.parts.get_mut(side)?;
        let known = parts.iter_mut().find(|part| {
            part.life == now.life && part.counters.first_ns == now.counters.first_ns
        })?;
        if known.is_final || now.counters.packets < known.counters.packets {
            return Some(Delta::default());
        }
        let delta = Delta::between(&known.counters, &now.counters);
        *known = *now;
        Some(delta)
    }

    /// Keeps a new part, in place of one that was sent if there is one.
    fn add(&mut self, side: usize, fresh: Part) {
        let (Some(parts), Some(folded)) = (self.parts.get_mut(side), self.folded.get_mut(side))
        else {
            return;
        };
        if let Some(other) = parts.iter_mut().find(|other| other.is_final) {
            folded.add(&other.counters);
            *other = fresh;
            return;
        }
        if parts.len() >= MAX_PARTS {
            folded.add(&parts.remove(0).counters);
        }
        parts.push(fresh);
    }

    fn fold(&mut self, side: usize, counters: &Direction) {
        if let Some(folded) = self.folded.get_mut(side) {
            folded.add(counters);
        }
    }
}

/// First packet of either direction.
pub(super) fn earliest(tallies: &[Tally; 2]) -> u64 {
    let [a, b] = tallies;
    match (a.packets, b.packets) {
        (0, 0) => 0,
        (0, _) => b.first_ns,
        (_, 0) => a.first_ns,
        _ => a.first_ns.min(b.first_ns),
    }
}
