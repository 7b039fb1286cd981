//! Host rows to rates: what each address received and sent since the last look.

use sensor_common::Address;
use sensor_common::host::{HostRow, HostSide, REGISTERS};

use super::bounded::{Bounded, Priority, TableUse};
use super::sketch::{estimate, merge};
use crate::config::SECOND_NS;
use crate::slot_index::BATCH;

/// Packets one way since the last look, or summed over a window.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Counts {
    pub packets: u64,
    pub bytes: u64,
    pub n_syn: u64,
    pub n_syn_ack: u64,
    pub n_rst: u64,
    pub n_ack: u64,
    pub n_udp: u64,
    pub n_icmp: u64,
    pub n_fragments: u64,
    pub n_bad_fragments: u64,
    pub n_new_flows: u64,
    pub n_not_admitted: u64,
}

impl Counts {
    fn between(before: &HostSide, now: &HostSide) -> Self {
        let d = |now: u32, before: u32| u64::from(now.wrapping_sub(before));
        Self {
            packets: now.packets.saturating_sub(before.packets),
            bytes: now.bytes.saturating_sub(before.bytes),
            n_syn: d(now.n_syn, before.n_syn),
            n_syn_ack: d(now.n_syn_ack, before.n_syn_ack),
            n_rst: d(now.n_rst, before.n_rst),
            n_ack: d(now.n_ack, before.n_ack),
            n_udp: d(now.n_udp, before.n_udp),
            n_icmp: d(now.n_icmp, before.n_icmp),
            n_fragments: d(now.n_fragments, before.n_fragments),
            n_bad_fragments: d(now.n_bad_fragments, before.n_bad_fragments),
            n_new_flows: d(now.n_new_flows, before.n_new_flows),
            n_not_admitted: d(now.n_not_admitted, before.n_not_admitted),
        }
    }

    /// Packets that have no count of their own.
    pub fn n_other(&self) -> u64 {
        let counted = [
            self.n_syn,
            self.n_syn_ack,
            self.n_rst,
            self.n_ack,
            self.n_udp,
            self.n_icmp,
            self.n_fragments,
        ];
        self.packets.saturating_sub(counted.iter().sum())
    }

    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.packets, other.packets),
            (&mut self.bytes, other.bytes),
            (&mut self.n_syn, other.n_syn),
            (&mut self.n_syn_ack, other.n_syn_ack),
            (&mut self.n_rst, other.n_rst),
            (&mut self.n_ack, other.n_ack),
            (&mut self.n_udp, other.n_udp),
            (&mut self.n_icmp, other.n_icmp),
            (&mut self.n_fragments, other.n_fragments),
            (&mut self.n_bad_fragments, other.n_bad_fragments),
            (&mut self.n_new_flows, other.n_new_flows),
            (&mut self.n_not_admitted, other.n_not_admitted),
        ];
        for (sum, n) in pairs {
            *sum = sum.saturating_add(n);
        }
    }
}

/// One address at one look.
#[derive(Clone, Copy, Debug)]
pub struct HostLook {
    pub address: Address,
    pub toward: Counts,
    pub from: Counts,
    pub elapsed_s: f64,
    /// Estimates over the life of the rows: only their growth says something about now.
    pub n_peers: f64,
    pub n_ports: f64,
    pub last_ns: u64,
}

/// One row as last read. It tells what the next look adds, for as long as its host keeps it.
#[derive(Clone, Copy, Debug)]
struct RowState {
    address: Address,
    generation: u32,
    toward: HostSide,
    from: HostSide,
}

impl RowState {
    const EMPTY: Self = Self {
        address: [0; 4],
        generation: 0,
        toward: HostSide::EMPTY,
        from: HostSide::EMPTY,
    };
}

/// One address: what its rows added in this look, and its sketches, merged over all of them.
#[derive(Debug)]
struct Track {
    /// The look that the counts are of, and the last one that told them.
    look: u64,
    told: u64,
    toward: Counts,
    from: Counts,
    peers: Sketch,
    ports: Sketch,
    last_ns: u64,
}

impl Priority for Track {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

/// Registers with the estimate that they give.
#[derive(Debug)]
struct Sketch {
    registers: [u8; REGISTERS],
    estimate: f64,
}

impl Sketch {
    const EMPTY: Self = Self {
        registers: [0; REGISTERS],
        estimate: 0.0,
    };

    fn merge(&mut self, registers: &[u8; REGISTERS]) {
        if merge(&mut self.registers, registers) {
            self.estimate = estimate(&self.registers);
        }
    }
}

/// Rows of one side (local or remote), by address.
#[derive(Debug)]
pub(crate) struct HostTracks {
    tracks: Bounded<Address, Track>,
    /// Rows by place.
    rows: Vec<RowState>,
    /// Slots of the addresses of this look; kept for its memory.
    order: Vec<u32>,
    look: u64,
    at_ns: u64,
    swept_ns: u64,
    n_misplaced: u64,
}

/// Silence after which an address is forgotten. Its rows are not: they may go on.
const FORGET_NS: u64 = 60 * SECOND_NS;
/// SlotIndex followed: the rows of 256 CPUs.
const MAX_PLACES: usize = 1 << 20;

impl HostTracks {
    pub(crate) fn new(name: &'static str, capacity: usize, hash_seed: u64) -> Self {
        Self {
            tracks: Bounded::new(name, capacity, hash_seed),
            rows: Vec::new(),
            order: Vec::new(),
            look: 0,
            at_ns: 0,
            swept_ns: 0,
            n_misplaced: 0,
        }
    }

    pub(crate) fn usage(&self) -> TableUse {
        self.tracks.usage()
    }

    pub(crate) fn n_shed(&self) -> u64 {
        self.tracks.n_shed.saturating_add(self.n_misplaced)
    }

    pub(crate) fn n_bytes(&self) -> usize {
        self.tracks.n_bytes() + self.rows.capacity() * size_of::<RowState>()
    }

    /// Takes the rows that changed since the last look; what every address in them did since, into
    /// `looks`.
    pub(crate) fn look(&mut self, at_ns: u64, rows: &[HostRow], looks: &mut Vec<HostLook>) {
        let elapsed_s = self.elapsed_s(at_ns);
        self.at_ns = at_ns;
        self.look = self.look.wrapping_add(1);
        self.order.clear();
        for batch in rows.chunks(BATCH) {
            self.tracks.fetch(batch.iter().map(|row| row.address));
            let used = batch.iter().filter(|row| row.used != 0);
            used.for_each(|row| self.take(row));
        }
        looks.clear();
        for slot in &self.order {
            // A slot that was shed and taken again within this look is listed twice.
            if let Some((address, track)) = self.tracks.at_mut(*slot)
                && track.look == self.look
                && track.told != self.look
                && (track.toward.packets > 0 || track.from.packets > 0)
            {
                track.told = self.look;
                looks.push(track.as_look(address, elapsed_s));
            }
        }
        self.sweep(at_ns);
    }

    /// Counts of an address in this look: towards it, and from it.
    pub(crate) fn now(&self, address: &Address) -> Option<(&Counts, &Counts)> {
        let track = self.tracks.get(address)?;
        (track.look == self.look).then_some((&track.toward, &track.from))
    }

    fn take(&mut self, row: &HostRow) {
        let Some(before) = place(&mut self.rows, row.place as usize) else {
            self.n_misplaced = self.n_misplaced.saturating_add(1);
            return;
        };
        // Another host's row, or one begun anew: all of it is new.
        if before.generation != row.generation || before.address != row.address {
            *before = RowState::EMPTY;
        }
        let toward = Counts::between(&before.toward, &row.toward);
        let from = Counts::between(&before.from, &row.from);
        *before = RowState {
            address: row.address,
            generation: row.generation,
            toward: row.toward,
            from: row.from,
        };
        let slot = self.tracks.slot_or_insert_with(row.address, Track::default);
        let Some((_, track)) = self.tracks.at_mut(slot) else {
            return;
        };
        if track.look != self.look {
            track.look = self.look;
            (track.toward, track.from) = (Counts::default(), Counts::default());
            self.order.push(slot);
        }
        track.toward.add(&toward);
        track.from.add(&from);
        track.peers.merge(&row.peers);
        track.ports.merge(&row.ports);
        track.last_ns = track.last_ns.max(row.last_ns);
    }

    fn sweep(&mut self, at_ns: u64) {
        if at_ns.saturating_sub(self.swept_ns) < FORGET_NS {
            return;
        }
        self.swept_ns = at_ns;
        self.tracks
            .retain(|_, track| at_ns.saturating_sub(track.last_ns) < FORGET_NS);
    }

    /// 100 ms where nothing is known yet; never so short that a rate means nothing.
    fn elapsed_s(&self, at_ns: u64) -> f64 {
        if self.at_ns == 0 {
            return 0.1;
        }
        (at_ns.saturating_sub(self.at_ns) as f64 / 1e9).max(0.02)
    }
}

/// The state of a place, made where it is missing.
fn place(rows: &mut Vec<RowState>, place: usize) -> Option<&mut RowState> {
    if place >= rows.len() && place < MAX_PLACES {
        rows.resize(place + 1, RowState::EMPTY);
    }
    rows.get_mut(place)
}

impl Default for Track {
    fn default() -> Self {
        Self {
            look: 0,
            told: 0,
            toward: Counts::default(),
            from: Counts::default(),
            peers: Sketch::EMPTY,
            ports: Sketch::EMPTY,
            last_ns: 0,
        }
    }
}

impl Track {
    fn as_look(&self, address: &Address, elapsed_s: f64) -> HostLook {
        HostLook {
            address: *address,
            toward: self.toward,
            from: self.from,
            elapsed_s,
            n_peers: self.peers.estimate,
            n_ports: self.ports.estimate,
            last_ns: self.last_ns,
        }
    }
}
