//! Host rows to rates: what each address received and sent since the last look.

use sensor_common::Address;
use sensor_common::host::{HostRow, HostSide, REGISTERS};

use super::bounded::{Bounded, Worth};
use super::sketch::{estimate, merge};

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
            n_new_flows: d(now.n_new_flows, before.n_new_flows),
            n_not_admitted: d(now.n_not_admitted, before.n_not_admitted),
        }
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

/// One row of the kernel as last read.
#[derive(Clone, Copy, Debug)]
struct RowState {
    generation: u32,
    look: u32,
    toward: HostSide,
    from: HostSide,
}

#[derive(Debug)]
struct Track {
    rows: Vec<RowState>,
    look: u32,
    toward: Counts,
    from: Counts,
    peers: [u8; REGISTERS],
    ports: [u8; REGISTERS],
    last_ns: u64,
}

impl Worth for Track {
    fn worth(&self) -> u64 {
        self.last_ns
    }
}

/// Rows of one side (local or remote), by address.
#[derive(Debug)]
pub(crate) struct HostTracks {
    tracks: Bounded<Address, Track>,
    look: u32,
    at_ns: u64,
}

/// Looks that a row may miss (the writer was at work whenever it was read) and still be known.
const MISSED: u32 = 100;
/// Looks before an address without rows is forgotten: a minute of them.
const FORGET: u32 = 600;

impl HostTracks {
    pub(crate) fn new(capacity: usize, hash_seed: u64) -> Self {
        Self {
            tracks: Bounded::new(capacity, hash_seed),
            look: 0,
            at_ns: 0,
        }
    }

    pub(crate) fn n_shed(&self) -> u64 {
        self.tracks.n_shed
    }

    /// Takes the rows of one look; what every address in them did since the last.
    pub(crate) fn look(&mut self, at_ns: u64, rows: &[HostRow]) -> Vec<HostLook> {
        let elapsed_s = self.elapsed_s(at_ns);
        self.at_ns = at_ns;
        self.look = self.look.wrapping_add(1);
        let look = self.look;
        let mut order = Vec::new();
        for row in rows.iter().filter(|row| row.used != 0) {
            let track = self.tracks.get_or_insert_with(row.address, Track::default);
            if track.look != look {
                track.begin(look);
                order.push(row.address);
            }
            track.take(row);
        }
        if look.is_multiple_of(FORGET) {
            self.tracks
                .retain(|_, track| look.wrapping_sub(track.look) < FORGET);
        }
        let tracks = &self.tracks;
        order
            .iter()
            .filter_map(|address| tracks.get(address).map(|track| (address, track)))
            .filter(|(_, track)| track.toward.packets > 0 || track.from.packets > 0)
            .map(|(address, track)| track.as_look(address, elapsed_s))
            .collect()
    }

    /// 100 ms where nothing is known yet; never so short that a rate means nothing.
    fn elapsed_s(&self, at_ns: u64) -> f64 {
        if self.at_ns == 0 {
            return 0.1;
        }
        (at_ns.saturating_sub(self.at_ns) as f64 / 1e9).max(0.02)
    }
}

impl Default for Track {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            look: 0,
            toward: Counts::default(),
            from: Counts::default(),
            peers: [0; REGISTERS],
            ports: [0; REGISTERS],
            last_ns: 0,
        }
    }
}

impl Track {
    fn begin(&mut self, look: u32) {
        self.look = look;
        self.toward = Counts::default();
        self.from = Counts::default();
        self.peers = [0; REGISTERS];
        self.ports = [0; REGISTERS];
        self.rows
            .retain(|row| look.wrapping_sub(row.look) <= MISSED);
    }

    fn take(&mut self, row: &HostRow) {
        let look = self.look;
        merge(&mut self.peers, &row.peers);
        merge(&mut self.ports, &row.ports);
        self.last_ns = self.last_ns.max(row.last_ns);
        // Rows don't name their CPU. They come in the same order each time, and a row goes on from
        // where it was: the first unmatched of its generation that it may have been is the one.
        let before = self.rows.iter_mut().find(|before| {
            before.look != look
                && before.generation == row.generation
                && before.toward.packets <= row.toward.packets
                && before.from.packets <= row.from.packets
        });
        let state = RowState {
            generation: row.generation,
            look,
            toward: row.toward,
            from: row.from,
        };
        let Some(before) = before else {
            self.toward
                .add(&Counts::between(&HostSide::EMPTY, &row.toward));
            self.from.add(&Counts::between(&HostSide::EMPTY, &row.from));
            self.rows.push(state);
            return;
        };
        self.toward
            .add(&Counts::between(&before.toward, &row.toward));
        self.from.add(&Counts::between(&before.from, &row.from));
        *before = state;
    }

    fn as_look(&self, address: &Address, elapsed_s: f64) -> HostLook {
        HostLook {
            address: *address,
            toward: self.toward,
            from: self.from,
            elapsed_s,
            n_peers: estimate(&self.peers),
            n_ports: estimate(&self.ports),
            last_ns: self.last_ns,
        }
    }
}
