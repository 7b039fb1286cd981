//! Direction of a flow: which end began it, and is its source in every record and stage.
//!
//! In this order: a SYN without ACK is sent by the initiator; a SYN-ACK by the responder (RFC 9293
//! 3.5); what was decided before ([`super::memory`], [`Services`]) holds over silences; else who
//! spoke first, which in a flow of one direction is its only speaker.

use std::cmp::Ordering;

use sensor_common::Address;
use sensor_common::packet::protocol;
use sensor_common::service::is_service;

use super::mark;
use super::records::FlowKey;
use super::totals::{ACK, RST, SYN, Tally};
use crate::bounded::{Bounded, Priority, TableUse};

/// True where `b` began.
pub(super) fn is_from_b(tallies: &[Tally; 2], marks: u16) -> bool {
    let by_time = || speaks_first(tallies, marks);
    match by_handshake(tallies) {
        Handshake::From { is_from_b } => is_from_b,
        // Both opened at once (RFC 9293 figure 8).
        Handshake::FromBoth => by_time(),
        Handshake::Unseen if marks & mark::DECIDED != 0 => marks & mark::DECIDED_B != 0,
        Handshake::Unseen => by_time(),
    }
}

/// True where the first packet came from `b`.
pub(super) fn speaks_first([a, b]: &[Tally; 2], marks: u16) -> bool {
    match b.first_ns.cmp(&a.first_ns) {
        _ if a.packets == 0 || b.packets == 0 => a.packets == 0,
        Ordering::Less => true,
        Ordering::Equal => marks & mark::BEGUN_BY_B != 0,
        Ordering::Greater => false,
    }
}

/// Knowledge that segments give of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshake {
    From { is_from_b: bool },
    FromBoth,
    Unseen,
}

fn by_handshake([a, b]: &[Tally; 2]) -> Handshake {
    match (a.has_bare_syn(), b.has_bare_syn()) {
        (true, true) => return Handshake::FromBoth,
        (false, false) => {}
        (_, is_from_b) => return Handshake::From { is_from_b },
    }
    match (accepts(a, b), accepts(b, a)) {
        (true, false) => Handshake::From { is_from_b: true },
        (false, true) => Handshake::From { is_from_b: false },
        (true, true) | (false, false) => Handshake::Unseen,
    }
}

/// True where one side sent a SYN-ACK, and a connection came of it: the other said more than RST, or
/// it went on itself. A SYN-ACK that leads to nothing is a probe of its sender, or an answer to
/// somebody who borrowed the other's address.
fn accepts(one: &Tally, other: &Tally) -> bool {
    let is_syn_ack = one.n_flags[SYN] > 0 && one.n_flags[ACK] == one.packets;
    let went_on = one.packets > one.n_flags[SYN] + one.n_flags[RST];
    is_syn_ack && (went_on || other.packets > other.n_flags[RST])
}

/// Services that hosts were seen to offer, and what the ports of a flow say.
#[derive(Debug)]
pub(super) struct Services {
    offered: Bounded<(Address, u16, u8), Offered>,
}

#[derive(Clone, Copy, Debug)]
struct Offered {
    last_ns: u64,
}

impl Priority for Offered {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

/// Services remembered; the one unused for longest gives way.
const MAX_SERVICES: usize = 16_384;

impl Services {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            offered: Bounded::new("flow_services", MAX_SERVICES, hash_seed),
        }
    }

    pub(super) fn usage(&self) -> TableUse {
        self.offered.usage()
    }

    /// Remembers that a connection to the service came about.
    pub(super) fn note(&mut self, at_ns: u64, host: &Address, port: u16, protocol_number: u8) {
        let key = (*host, port, protocol_number);
        let offered = self
            .offered
            .get_or_insert_with(key, || Offered { last_ns: at_ns });
        offered.last_ns = offered.last_ns.max(at_ns);
    }

    /// Decides by ports, where the packets of both directions don't tell: true where `a` offers the
    /// service, so that `b` began.
    pub(super) fn decide(&self, key: &FlowKey, tallies: &[Tally; 2]) -> Option<bool> {
        let [a, b] = tallies;
        let has_ports = matches!(key.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        if !has_ports || a.packets == 0 || b.packets == 0 {
            return None;
        }
        if by_handshake(tallies) != Handshake::Unseen {
            return None;
        }
        let offers = |host: Address, port| self.offered.get(&(host, port, key.protocol)).is_some();
        match (offers(key.a, key.a_port), offers(key.b, key.b_port)) {
            (true, false) => return Some(true),
            (false, true) => return Some(false),
            (true, true) | (false, false) => {}
        }
        match (is_service(key.a_port), is_service(key.b_port)) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            (true, true) | (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: [u8; 4] = [0x02, 0x12, 0x10, 0x04];

    fn side(first_ns: u64, flags: &[u8]) -> Tally {
        let count = |bit: u8| flags.iter().filter(|flags| **flags & bit != 0).count() as u64;
        Tally {
            first_ns,
            last_ns: first_ns + 1,
            packets: flags.len() as u64,
            n_flags: [count(2), count(1), count(4), count(8), count(16)],
        }
    }

    #[test]
    fn a_syn_is_sent_by_the_initiator_and_a_syn_ack_by_the_responder() {
        let [syn, syn_ack, ack, rst] = TCP;
        let rst_ack = rst | ack;
        for (a, b, is_b) in [
            (side(2, &[syn_ack, ack]), side(5, &[syn]), true),
            (side(2, &[syn, ack]), side(1, &[syn_ack]), false),
            (side(1, &[syn_ack]), side(2, &[ack, ack]), true),
            (side(1, &[syn_ack, syn_ack]), side(2, &[ack]), true),
            // One direction alone: a SYN-ACK with what follows, and one that leads to nothing.
            (side(1, &[syn_ack, ack, ack]), side(0, &[]), true),
            (side(1, &[syn_ack, syn_ack]), side(0, &[]), false),
            (side(1, &[syn_ack]), side(2, &[rst]), false),
            // Opened at once.
            (side(1, &[syn, syn_ack]), side(2, &[syn, syn_ack]), false),
            (side(2, &[syn, syn_ack]), side(1, &[syn, syn_ack]), true),
            // A client that resets: its RST has ACK, its SYN has not.
            (side(1, &[syn, rst_ack]), side(2, &[syn_ack]), false),
            (side(1, &[syn, rst_ack]), side(2, &[rst_ack]), false),
            (side(2, &[rst_ack]), side(1, &[syn]), true),
        ] {
            assert_eq!(is_from_b(&[a, b], 0), is_b, "{a:?} {b:?}");
        }
    }

    #[test]
    fn what_was_decided_holds_where_no_handshake_tells() {
        let [syn, _, ack, _] = TCP;
        let late = [side(1, &[ack]), side(2, &[ack])];
        assert!(!is_from_b(&late, 0));
        assert!(is_from_b(&late, mark::DECIDED | mark::DECIDED_B));
        let opened = [side(1, &[syn]), side(2, &[ack])];
        assert!(!is_from_b(&opened, mark::DECIDED | mark::DECIDED_B));
        // The first that is heard after a silence is the server.
        let pushed = [side(1, &[ack]), side(0, &[])];
        assert!(is_from_b(&pushed, mark::DECIDED | mark::DECIDED_B));
    }

    #[test]
    fn learned_services_go_before_known_ports() {
        let key = |a_port, b_port| FlowKey {
            a_port,
            b_port,
            protocol: protocol::UDP,
            ..FlowKey::of(&sensor_common::flow::FlowRecord::default())
        };
        let both = [side(1, &[0]), side(2, &[0])];
        let mut services = Services::new(1);
        assert_eq!(services.decide(&key(53, 40_000), &both), Some(true));
        assert_eq!(services.decide(&key(40_000, 53), &both), Some(false));
        assert_eq!(services.decide(&key(123, 123), &both), None);
        assert_eq!(services.decide(&key(40_000, 50_000), &both), None);
        let one_way = [side(1, &[0]), side(0, &[])];
        assert_eq!(services.decide(&key(53, 40_000), &one_way), None);
        services.note(1, &[0; 4], 50_000, protocol::UDP);
        assert_eq!(services.decide(&key(40_000, 50_000), &both), Some(false));
        assert_eq!(services.decide(&key(53, 50_000), &both), Some(false));
    }
}
