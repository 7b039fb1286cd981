//! Invariants of the parser, which hold whatever the bytes. Tests and the fuzzer call it; nothing
//! else does.

use std::cell::Cell;

use super::{
    Decapsulate, Frame, Halves, Packet, Peek, parse, parse_any, parse_inner, peek, plain, protocol,
};
use crate::block::list::Key;
use crate::counters::Outcome;
use crate::flow;

/// No header is longer than 40 bytes, and so few are read: an Ethernet header with others behind it,
/// each looked at twice, a network header with its extensions, a tunnel and a transport header in
/// parts.
const MOST_HEADERS: u32 = 40;

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
    parse(frame, &tunnels, &mut packet);
    packet
}

/// The packet within, if there is one.
fn read_inner<F: Frame + ?Sized>(frame: &F, packet: &Packet) -> Option<Packet> {
    let (mut outer, mut inner) = (*packet, Packet::default());
    parse_inner(frame, &mut outer, &mut inner);
    outer.carries_packet().then_some(inner)
}

fn outcome(packet: &Packet) -> Outcome {
    Outcome::ALL[packet.outcome as usize]
}

/// True where more bytes might have made another packet of it. Of one that has another fault the
/// outcome doesn't say so.
fn may_grow(packet: &Packet) -> bool {
    let outcome = outcome(packet);
    // A frame without a type of its own shows behind it what it is.
    let is_guessed = matches!(outcome, Outcome::Llc | Outcome::NotIp);
    packet.fault != 0 || is_guessed || outcome.label().ends_with("_truncated")
}

/// Checks every invariant on one frame.
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
    parse(&watched, &Decapsulate::ALL, &mut packet);
    assert_eq!(packet, read(frame, Decapsulate::ALL), "read twice");
    let read_to = watched.read_to.get();
    assert!(watched.n_reads.get() <= MOST_HEADERS, "unbounded reading");
    assert!(read_to <= frame.len(), "read beyond the end");
    check_packet(frame, &packet);
    check_lengths(frame, &packet, read_to);
    check_direction(&packet);
    check_plain(frame, &packet);
    check_peek(frame, &packet);
    check_tunnel(frame, &packet, &watched);
}

/// A tunnel changes nothing of its packet, and holds one itself.
fn check_tunnel(frame: &[u8], packet: &Packet, watched: &Watched<'_>) {
    let plain = read(frame, Decapsulate::NONE);
    assert!(!plain.may_carry_packet(), "entered a tunnel that is closed");
    let without = Packet {
        inner: plain.inner,
        inner_at: plain.inner_at,
        tunnel: plain.tunnel,
        tunnel_id: plain.tunnel_id,
        ..*packet
    };
    assert_eq!(without, plain, "a tunnel changed the packet around it");
    assert!(!packet.realm.is_tunnelled(), "an outer packet in a tunnel");
    if !packet.may_carry_packet() {
        return;
    }
    watched.n_reads.set(0);
    let inner = read_inner(watched, packet);
    assert_eq!(inner, read_inner(frame, packet), "read twice");
    assert!(watched.n_reads.get() <= MOST_HEADERS, "unbounded reading");
    let Some(inner) = inner else { return };
    assert!(Outcome::has_flow(inner.outcome), "no addresses within");
    assert!(inner.realm.is_tunnelled() && inner.realm.is_untrusted());
    assert!(!inner.may_carry_packet(), "entered a second tunnel");
    check_packet(frame, &inner);
    check_direction(&inner);
}

/// Checks that the packet's offsets and lengths fit its frame.
fn check_packet(frame: &[u8], packet: &Packet) {
    let outcome = outcome(packet);
    let wire_bytes = frame.len() as u32;
    assert!(packet.payload_bytes(wire_bytes) <= wire_bytes, "payload");
    if packet.protocol != protocol::TCP {
        assert_eq!(packet.tcp_flags, 0, "flags of {outcome:?}");
    }
    if outcome == Outcome::LaterFragment {
        let ports = (packet.source_port, packet.destination_port);
        assert_eq!((ports, packet.is_fragment), ((0, 0), 1), "fragment");
    }
    let is_malformed = outcome.is_malformed();
    if Outcome::has_flow(packet.outcome) {
        assert!(!outcome.is_not_ip(), "{outcome:?}");
        assert_eq!(is_malformed, packet.outcome >= Outcome::VlanTooDeep as u32);
    } else {
        let ends = [packet.source, packet.destination];
        let has_none = ends == [[0; 4]; 2] || outcome == Outcome::Arp;
        assert!(has_none, "addresses, and no flow: {outcome:?}");
    }
}

/// Bytes after the headers change nothing, and fewer bytes give the same or "truncated".
fn check_lengths(frame: &[u8], packet: &Packet, read_to: usize) {
    let packet = without_tunnel(packet);
    let read = |frame: &[u8]| without_tunnel(&read(frame, Decapsulate::ALL));
    if !may_grow(&packet) {
        let longer = [frame, &[0xa5; 96]].concat();
        assert_eq!(packet, read(&longer), "bytes after it");
        let headers = &frame[..read_to];
        assert_eq!(packet, read(headers), "headers alone");
    }
    for length in 0..read_to {
        let shorter = read(&frame[..length]);
        assert!(
            shorter == packet || may_grow(&shorter),
            "{length} bytes of {read_to} read as {:?}",
            outcome(&shorter)
        );
    }
}

/// A tunnel shows behind the packet's own headers.
fn without_tunnel(packet: &Packet) -> Packet {
    Packet {
        inner: 0,
        inner_at: 0,
        tunnel: 0,
        tunnel_id: 0,
        ..*packet
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

/// The straight way reads what the full way reads.
fn check_plain(frame: &[u8], packet: &Packet) {
    let tunnels = Decapsulate::ALL;
    let Some(plain) = plain::read(frame, &tunnels) else {
        assert_eq!(plain::read_ipv4(frame, &tunnels), None, "plain for one");
        return;
    };
    assert_eq!(plain, *packet, "the straight way");
    let mut full = Packet::default();
    parse_any(frame, &tunnels, &mut full);
    assert_eq!(full, *packet, "the full way");
    let of_ipv4 = (frame[12..14] == [8, 0]).then_some(plain);
    assert_eq!(plain::read_ipv4(frame, &tunnels), of_ipv4, "of IPv4 alone");
}

/// The look at the sender alone is there for all plain packets, and agrees with the whole reading. What
/// goes to the port of a tunnel is plain from outside, whether it carries a packet or junk.
fn check_peek(frame: &[u8], packet: &Packet) {
    let is_plain_to = |tunnels| plain::read(frame, &tunnels).is_some();
    let is_plain = is_plain_to(Decapsulate::ALL);
    let peek = peek(frame, |_| true);
    assert!(peek.is_some() || !is_plain, "plain, and no peek");
    assert_eq!(super::peek(frame, |_| false), None, "not wanted");
    if let Some(Peek { source, outcome }) = peek {
        // Lanes without a port are 0, so that datagrams to port 0 go the long way; no tunnel is looked for there.
        let is_plain = is_plain_to(Decapsulate::NONE) || packet.destination_port == 0;
        assert!(is_plain, "a peek at what is odd");
        assert_eq!(outcome, packet.outcome, "outcome of the peek");
        let Key { high, low } = Key::of(&packet.source);
        assert_eq!(source, Halves { high, low }, "source of the peek");
    }
}
