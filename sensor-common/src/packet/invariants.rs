//! Invariants of the parser, which hold whatever the bytes. Tests and the fuzzer call it; nothing
//! else does.

use std::cell::Cell;

use super::{Decapsulate, Frame, Glimpse, Halves, Packet, glimpse, parse, plain};
use crate::block::list::Key;
use crate::counters::Outcome;
use crate::flow;

/// No header is longer than 40 bytes, and so few are followed: two Ethernet headers with their
/// tags, two network headers with their extensions, a tunnel and a transport header.
const MOST_HEADERS: u32 = 24;

/// Bytes that remember what of them was asked for.
struct Watched<'a> {
    bytes: &'a [u8],
    n_reads: Cell<u32>,
    /// End of the last header that was there.
    read_to: Cell<usize>,
}

impl Frame for Watched<'_> {
    fn header<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.n_reads.set(self.n_reads.get() + 1);
        let header = self.bytes.header(offset)?;
        self.read_to.set(self.read_to.get().max(offset + N));
        Some(header)
    }
}

fn read(frame: &[u8], tunnels: Decapsulate) -> Packet {
    let mut packet = Packet::default();
    parse(frame, tunnels, &mut packet);
    packet
}

fn outcome(packet: &Packet) -> Outcome {
    Outcome::ALL[packet.outcome as usize]
}

/// True where more bytes might have made another packet of it.
fn is_cut_short(outcome: Outcome) -> bool {
    outcome.label().ends_with("_truncated")
}

/// Checks every law on one frame.
///
/// # Panics
/// Where one is broken.
pub fn check(frame: &[u8]) {
    let watched = Watched {
        bytes: frame,
        n_reads: Cell::new(0),
        read_to: Cell::new(0),
    };
    let mut packet = Packet::default();
    parse(&watched, Decapsulate::ALL, &mut packet);
    assert_eq!(packet, read(frame, Decapsulate::ALL), "read twice");
    assert!(watched.n_reads.get() <= MOST_HEADERS, "unbounded reading");
    assert!(watched.read_to.get() <= frame.len(), "read beyond the end");
    let plain = read(frame, Decapsulate::NONE);
    assert_eq!(plain.n_tunnels, 0, "entered a tunnel that was closed");
    assert!(packet.n_tunnels <= 1, "entered a second tunnel");
    for packet in [packet, plain] {
        check_packet(frame, &packet);
    }
    check_lengths(frame, &packet, watched.read_to.get());
    check_direction(&packet);
    check_glimpse(frame, &packet);
}

/// Checks that the packet's offsets and lengths fit its frame.
fn check_packet(frame: &[u8], packet: &Packet) {
    let outcome = outcome(packet);
    let wire_bytes = frame.len() as u32;
    assert!(packet.payload_bytes(wire_bytes) <= wire_bytes, "payload");
    if outcome != Outcome::Tcp && !outcome.is_malformed() {
        assert_eq!(packet.tcp_flags, 0, "flags of {outcome:?}");
    }
    if outcome == Outcome::LaterFragment {
        let ports = (packet.source_port, packet.destination_port);
        assert_eq!((ports, packet.is_fragment), ((0, 0), 1), "fragment");
    }
}

/// Bytes after the headers change nothing, and fewer bytes give the same or "truncated".
fn check_lengths(frame: &[u8], packet: &Packet, read_to: usize) {
    if !is_cut_short(outcome(packet)) {
        let longer = [frame, &[0xa5; 96]].concat();
        assert_eq!(*packet, read(&longer, Decapsulate::ALL), "bytes after it");
        let headers = &frame[..read_to];
        assert_eq!(*packet, read(headers, Decapsulate::ALL), "headers alone");
    }
    for length in 0..read_to {
        let shorter = read(&frame[..length], Decapsulate::ALL);
        assert!(
            shorter == *packet || is_cut_short(outcome(&shorter)),
            "{length} bytes of {read_to} read as {:?}",
            outcome(&shorter)
        );
    }
}

/// Both directions are one flow.
fn check_direction(packet: &Packet) {
    let back = Packet {
        source: packet.destination,
        destination: packet.source,
        source_port: packet.destination_port,
        destination_port: packet.source_port,
        ..*packet
    };
    assert_eq!(flow::hash(packet, 1), flow::hash(&back, 1), "the way back");
}

/// The look at the sender alone is there for plain packets, all of them and no others, and agrees
/// with the whole reading.
fn check_glimpse(frame: &[u8], packet: &Packet) {
    let is_plain = plain::read(frame, &mut Packet::default());
    let glimpse = glimpse(frame, |_| true);
    assert_eq!(glimpse.is_some(), is_plain, "glimpsed what is not plain");
    assert_eq!(super::glimpse(frame, |_| false), None, "not wanted");
    if let Some(Glimpse { source, outcome }) = glimpse {
        assert_eq!(outcome, packet.outcome, "glimpsed outcome");
        let Key { high, low } = Key::of(&packet.source);
        assert_eq!(source, Halves { high, low }, "glimpsed source");
    }
}
