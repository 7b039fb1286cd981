//! The flow and host tables, read through shared memory while the kernel writes them.

use std::sync::Arc;

use sensor_common::flow::{Bucket, Direction, Flow, Head, Outer, Outers, last_seen};
use sensor_common::host::HostRow;
use sensor_common::limits;

use super::clock::{Clock, Offsets};
use super::shared::SharedArray;

/// A view of the tables that doesn't need the [`super::Kernel`] that they belong to: whoever
/// answers questions reads here, and the engine never waits.
pub struct TableReader {
    pub(super) tables: Arc<Mapped>,
    pub(super) clock: Clock,
}

/// The tables, mapped once for all who read them: pages of a map count for each mapping.
pub(super) struct Mapped {
    pub flows: FlowArrays,
    pub local: SharedArray<HostRow>,
    pub remote: SharedArray<HostRow>,
}

/// The flow cache.
pub(super) struct FlowArrays {
    pub buckets: SharedArray<Bucket>,
    /// Bucket by bucket; shorter where no tunnel is looked into.
    pub outers: SharedArray<Outers>,
    pub buckets_per_cpu: usize,
}

impl TableReader {
    /// Hands out every flow that had a packet since then (event time), each a consistent copy.
    /// Returns how many were given up because the kernel kept tearing them.
    pub fn scan_flows(&self, since_ns: u64, mut take: impl FnMut(&Flow)) -> u64 {
        scan_flows(&self.tables.flows, &self.clock.offsets(), None, |flow| {
            if last_seen(&flow.directions) >= since_ns {
                take(flow);
            }
        })
    }

    /// Copies every used host row into `local` and `remote`; returns as [`Self::scan_flows`].
    pub fn read_hosts(&self, local: &mut Vec<HostRow>, remote: &mut Vec<HostRow>) -> u64 {
        let clock = self.clock.offsets();
        let Mapped {
            local: locals,
            remote: remotes,
            ..
        } = &*self.tables;
        read_rows(locals, &clock, None, local) + read_rows(remotes, &clock, None, remote)
    }
}

/// Sequences at the last look: an entry whose sequence is still the same is skipped, at the price
/// of a cache line.
pub(super) struct Looked {
    pub flows: Sequences,
    pub local: Sequences,
    pub remote: Sequences,
}

pub(super) struct Sequences(Vec<u32>);

impl Sequences {
    pub(super) fn new(n: usize) -> Self {
        Self(vec![0; n])
    }
}

/// Tells if an entry is to be read: it was written to since it was last read, or ever.
fn is_wanted(looked: Option<&Sequences>, place: usize, sequence: Option<u32>) -> bool {
    let known = match looked {
        Some(Sequences(known)) => known.get(place).copied(),
        None => Some(0),
    };
    sequence != known
}

fn note(looked: &mut Option<&mut Sequences>, place: usize, sequence: u32) {
    if let Some(Sequences(known)) = looked
        && let Some(known) = known.get_mut(place)
    {
        *known = sequence;
    }
}

/// Hands out the slots that changed since `looked`, or all that are in use.
pub(super) fn scan_flows(
    flows: &FlowArrays,
    clock: &Offsets,
    mut looked: Option<&mut Sequences>,
    mut take: impl FnMut(&Flow),
) -> u64 {
    let mut n_unstable = 0;
    for index in 0..flows.buckets.len() {
        for way in 0..limits::FLOW_WAYS {
            let place = index * limits::FLOW_WAYS + way;
            let head = way * size_of::<Head>();
            let sequence = head + std::mem::offset_of!(Head, sequence);
            let now = flows.buckets.copy(index, sequence);
            if !is_wanted(looked.as_deref(), place, now) {
                continue;
            }
            match read_slot(flows, index, way, sequence) {
                Some((head, lines, outer)) => {
                    note(&mut looked, place, head.sequence);
                    let cpu = index / flows.buckets_per_cpu;
                    let mut flow = Flow::of(&head, &lines, &outer, cpu as u16, 0);
                    clock.shift(&mut flow);
                    take(&flow);
                }
                None => n_unstable += 1,
            }
        }
    }
    n_unstable
}

/// Head, counters and outer header lie apart: all are read under the sequence of the slot.
fn read_slot(
    flows: &FlowArrays,
    index: usize,
    way: usize,
    sequence: usize,
) -> Option<(Head, [Direction; 2], Outer)> {
    let head = way * size_of::<Head>();
    let lines = std::mem::offset_of!(Bucket, directions) + way * size_of::<[Direction; 2]>();
    flows.buckets.read_stable(index, sequence, |buckets| {
        let head: Head = buckets.copy(index, head)?;
        let directions = buckets.copy(index, lines)?;
        let outers: Option<Outers> = if head.realm.is_tunnelled() {
            flows.outers.copy(index, 0)
        } else {
            None
        };
        let outer = outers.and_then(|outers| outers.get(way).copied());
        Some((head, directions, outer.unwrap_or_default()))
    })
}

/// Copies the rows that changed since `looked`, or all that are in use.
pub(super) fn read_rows(
    array: &SharedArray<HostRow>,
    clock: &Offsets,
    mut looked: Option<&mut Sequences>,
    rows: &mut Vec<HostRow>,
) -> u64 {
    let sequence = std::mem::offset_of!(HostRow, sequence);
    let mut n_unstable = 0;
    rows.clear();
    for index in 0..array.len() {
        if !is_wanted(looked.as_deref(), index, array.copy(index, sequence)) {
            continue;
        }
        match array.read_stable(index, sequence, |array| array.copy::<HostRow>(index, 0)) {
            Some(mut row) => {
                note(&mut looked, index, row.sequence);
                row.last_ns = clock.unix_ns(row.last_ns);
                row.place = index as u32;
                rows.push(row);
            }
            None => n_unstable += 1,
        }
    }
    n_unstable
}
