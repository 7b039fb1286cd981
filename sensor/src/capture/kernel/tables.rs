//! The flow and host tables, read through shared memory while the kernel writes them.

use sensor_common::flow::{Bucket, Flow, FlowRecord, last_seen};
use sensor_common::host::HostRow;
use sensor_common::limits;

use super::load::Clock;
use super::shared::{SharedArray, Snapshot as _};

/// A view of the tables that doesn't need the [`super::Kernel`] that they belong to: whoever
/// answers questions reads here, and the engine never waits.
pub struct Tables {
    pub(super) flows: SharedArray<Bucket>,
    pub(super) local: SharedArray<HostRow>,
    pub(super) remote: SharedArray<HostRow>,
    pub(super) clock: Clock,
}

impl Tables {
    /// Hands out every flow that had a packet since then (event time), each a consistent copy.
    /// Returns how many were given up because the kernel kept tearing them.
    pub fn scan_flows(&self, since_ns: u64, take: impl FnMut(&Flow)) -> u64 {
        scan_flows(&self.flows, self.clock, since_ns, take)
    }

    /// Copies every used host row into `local` and `remote`; returns as [`Self::scan_flows`].
    pub fn read_hosts(&self, local: &mut Vec<HostRow>, remote: &mut Vec<HostRow>) -> u64 {
        read_rows(&self.local, self.clock, local) + read_rows(&self.remote, self.clock, remote)
    }
}

pub(super) fn scan_flows(
    flows: &SharedArray<Bucket>,
    clock: Clock,
    since_ns: u64,
    mut take: impl FnMut(&Flow),
) -> u64 {
    let mut n_unstable = 0;
    for index in 0..flows.len() {
        for way in 0..limits::FLOW_WAYS {
            let head = way * size_of::<FlowRecord>();
            let used = head + std::mem::offset_of!(FlowRecord, used);
            if flows.byte(index, used) != Some(1) {
                continue;
            }
            match read_slot(flows, index, way) {
                Some(mut flow) => {
                    clock.shift(&mut flow);
                    if last_seen(&flow.directions) >= since_ns {
                        take(&flow);
                    }
                }
                None => n_unstable += 1,
            }
        }
    }
    n_unstable
}

fn read_slot(flows: &SharedArray<Bucket>, index: usize, way: usize) -> Option<Flow> {
    // Head and counters lie apart in the bucket: one copy of the whole bucket under the sequence
    // of the slot that is wanted.
    let sequence = way * size_of::<FlowRecord>() + std::mem::offset_of!(FlowRecord, sequence);
    let bucket: Bucket = flows.read_stable(index, 0, sequence)?;
    Some(Flow {
        head: *bucket.heads.get(way)?,
        directions: *bucket.directions.get(way)?,
    })
}

pub(super) fn read_rows(
    array: &SharedArray<HostRow>,
    clock: Clock,
    rows: &mut Vec<HostRow>,
) -> u64 {
    let mut n_unstable = 0;
    rows.clear();
    for index in 0..array.len() {
        if array.byte(index, std::mem::offset_of!(HostRow, used)) != Some(1) {
            continue;
        }
        match array.read_stable::<HostRow>(index, 0, HostRow::SEQUENCE) {
            Some(mut row) => {
                row.last_ns = clock.to_unix(row.last_ns);
                rows.push(row);
            }
            None => n_unstable += 1,
        }
    }
    n_unstable
}
