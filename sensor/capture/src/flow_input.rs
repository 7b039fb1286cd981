//! Datagrams of exporters, each with its templates and sequence numbers, played as the packets that they
//! tell of.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::net::sockopt;
use sensor_common::Address;
use sensor_netflow::{Counter, Counts, Decoder, Seen};

use crate::drive::Listener;
use crate::flow_claims::Observer;
pub use crate::flow_player::FlowCounts;
use crate::flow_player::{FlowPlayer, Lateness};
use crate::player::{Conditions, Player};

/// Exporters that are followed.
const MAX_EXPORTERS: usize = 256;
/// Silence after which an exporter gives way to another where there is no room: templates are sent at
/// least twice as often.
const SILENT_NS: u64 = 3_600_000_000_000;

/// Bytes that a socket holds while the engine is at work: a second of 20,000 records.
const SOCKET_BYTES: usize = 4 << 20;

/// Opens a socket for datagrams of exporters, on which a wait ends after `patience`.
///
/// # Errors
/// When the address is taken, or none of this host.
pub fn udp_socket(listen: SocketAddr, patience: Duration) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(listen)?;
    socket.set_read_timeout(Some(patience))?;
    // Beyond net.core.rmem_max it takes a right that the sensor may have given up; gaps are counted.
    if sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BYTES).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BYTES)?;
    }
    Ok(socket)
}

/// One exporter.
#[derive(Debug)]
struct Exporter {
    number: u32,
    decoder: Decoder,
    lateness: Lateness,
    last_ns: u64,
}

/// State of an exporter.
#[derive(Clone, Copy, Debug)]
pub struct ExporterState {
    pub address: Address,
    pub counts: Counts,
    pub n_templates: usize,
    /// Time of its last datagram.
    pub last_ns: u64,
}

/// Datagrams in, ticks of event time out.
pub struct FlowInput<L> {
    player: FlowPlayer<L>,
    exporters: BTreeMap<Address, Exporter>,
    n_exporters: u32,
    /// Counts of exporters that gave way.
    past: Counts,
    n_refused: u64,
}

impl<L: Listener> FlowInput<L> {
    /// Event time runs `delay_ns` behind that of the datagrams.
    pub fn new(listener: L, conditions: &Conditions, delay_ns: u64) -> Self {
        Self {
            player: FlowPlayer::new(listener, conditions, delay_ns),
            exporters: BTreeMap::new(),
            n_exporters: 0,
            past: Counts::default(),
            n_refused: 0,
        }
    }

    pub const fn player(&mut self) -> &mut Player<L> {
        self.player.player()
    }

    pub const fn counts(&self) -> FlowCounts {
        self.player.counts()
    }

    /// Records that wait for their time.
    pub fn n_pending(&self) -> usize {
        self.player.n_pending()
    }

    /// Sum of a counter over all exporters.
    pub fn count(&self, counter: Counter) -> u64 {
        let counts = self.exporters.values().map(|one| one.decoder.counts());
        let of = |counts: &Counts| counts.get(counter);
        counts
            .chain([&self.past])
            .map(of)
            .fold(0, u64::saturating_add)
    }

    /// Datagrams of exporters that found no room.
    pub const fn n_refused(&self) -> u64 {
        self.n_refused
    }

    /// Exporters, by address.
    pub fn exporters(&self) -> impl Iterator<Item = ExporterState> {
        self.exporters.iter().map(|(address, one)| ExporterState {
            address: *address,
            counts: *one.decoder.counts(),
            n_templates: one.decoder.n_templates(),
            last_ns: one.last_ns,
        })
    }

    /// Takes a datagram of an exporter that came at `at_ns`.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn take(&mut self, at_ns: u64, from: &Address, datagram: &[u8]) -> io::Result<()> {
        self.player.pass(at_ns)?;
        if !self.exporters.contains_key(from) && !self.admit(at_ns, from) {
            self.n_refused = self.n_refused.saturating_add(1);
            return Ok(());
        }
        let Some(exporter) = self.exporters.get_mut(from) else {
            return Ok(());
        };
        exporter.last_ns = at_ns;
        let (number, player) = (exporter.number, &mut self.player);
        let lateness = &mut exporter.lateness;
        let mut taken = Ok(());
        exporter
            .decoder
            .take(at_ns, datagram, &mut |seen| match seen {
                Seen::Flow { record, factor } => {
                    let observer = Observer {
                        exporter: number,
                        way: record.way,
                    };
                    player.take_flow((observer, lateness), &record, factor);
                }
                Seen::Packet(packet) => {
                    if taken.is_ok() {
                        taken = player.take_packet(&packet);
                    }
                }
            });
        taken
    }

    /// Makes room for an exporter, in place of one that is silent where there is none.
    fn admit(&mut self, at_ns: u64, from: &Address) -> bool {
        if self.exporters.len() >= MAX_EXPORTERS {
            let oldest = self.exporters.iter().min_by_key(|(_, one)| one.last_ns);
            let silent = oldest.filter(|(_, one)| at_ns.saturating_sub(one.last_ns) >= SILENT_NS);
            let Some(address) = silent.map(|(address, _)| *address) else {
                return false;
            };
            if let Some(gone) = self.exporters.remove(&address) {
                self.past.add_all(gone.decoder.counts());
            }
        }
        let exporter = Exporter {
            number: self.n_exporters,
            decoder: Decoder::default(),
            lateness: Lateness::default(),
            last_ns: at_ns,
        };
        self.n_exporters = self.n_exporters.wrapping_add(1);
        self.exporters.insert(*from, exporter);
        true
    }

    /// Moves time on: it is `at_ns` by the clock of whoever receives the datagrams.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn pass(&mut self, at_ns: u64) -> io::Result<()> {
        self.player.pass(at_ns)
    }

    /// Plays what waits, then ends what is open.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn finish(&mut self) -> io::Result<()> {
        self.player.finish()
    }
}
