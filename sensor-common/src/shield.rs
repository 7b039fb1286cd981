//! Shields of local addresses: what a flood from made-up addresses would reach is held at its victim, by
//! state, and nobody is blamed.
//!
//! A connection begins by a SYN cookie (RFC 4987 section 3.6) that the kernel program answers with in the
//! place of the stack; the stack takes the acknowledgement. Whatever else comes has to belong to something:
//! a flow that goes both ways ([`crate::block::known`]), or a socket of this host. What can't belong to
//! anything, as the first message of a stranger, shares a rate.

pub mod answer;
pub mod peers;
pub mod retries;

use crate::counters::Outcome;
use crate::packet::{Packet, protocol, tcp_flags};
use crate::service::is_service;
use crate::{Address, hash_address};

/// Measures of a shield, a bit each. The values lie in map entries.
pub mod measure {
    /// SYNs of strangers are answered by a cookie.
    pub const COOKIES: u8 = 1;
    /// TCP segments that belong to no connection are dropped.
    pub const STATE: u8 = 2;
    /// Datagrams of servers that nobody here asked are dropped.
    pub const REPLIES: u8 = 4;
    /// Datagrams, fragments and other packets of strangers share a rate.
    pub const RATE: u8 = 8;
    pub const ALL: u8 = COOKIES | STATE | REPLIES | RATE;
}

/// Shield of one local address, or of a service there.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Shield {
    pub address: Address,
    /// Kernel monotonic time from which on it no longer holds.
    pub expires_ns: u64,
    /// Nanoseconds that one packet of a stranger costs (1e9 / packets per second).
    pub packet_cost_ns: u64,
    /// Burst, as time: packets that may arrive at once x `packet_cost_ns`.
    pub burst_ns: u64,
    /// Local port; 0: any.
    pub port: u16,
    /// 0: any protocol.
    pub protocol: u8,
    /// Set of [`measure`]; 0: there is no shield here.
    pub measures: u8,
    /// Of the reflex: SYNs in a window ([`WINDOW_NS`]) beyond which it holds; 0: it holds.
    pub limit: u32,
    pub reserved: [u64; 2],
    /// Time up to which the rate of strangers was spent.
    pub spent_until_ns: u64,
    /// SYNs that were answered by a cookie.
    pub answered: u64,
    /// Acknowledgements of such cookies.
    pub completed: u64,
    /// Packets that were dropped; without enforcement, what would have been dropped or answered.
    pub held: u64,
    /// Time up to which the rate of SYNs that came again was spent.
    pub retried_until_ns: u64,
    /// Of the reflex: number of the window that runs, the most SYNs in one before, and those in this.
    pub window: u32,
    pub most: u32,
    pub n_begun: u64,
    /// Time of the last SYN beyond the limit; 0: there was none, and it does not hold.
    pub roused_ns: u64,
}

/// Window in which the reflex counts.
pub const WINDOW_NS: u64 = 100_000_000;

/// Shields of one bucket.
pub const SLOTS: usize = 4;
/// Slot of the shield of a whole address; the others, which are for services or protocols, are in front.
pub const WHOLE_SLOT: usize = SLOTS - 1;
/// Buckets: an address has one, which [`place`] tells.
pub const BUCKETS: u32 = 256;

/// Four shields.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ShieldBucket {
    pub shields: [Shield; SLOTS],
}

const _: () = assert!(size_of::<Shield>() == 128);
const _: () = assert!(size_of::<ShieldBucket>() == 512);
// SAFETY: integers; the size assertions rule padding out.
unsafe impl crate::Pod for Shield {}
// SAFETY: as above.
unsafe impl crate::Pod for ShieldBucket {}

/// Bucket of an address.
#[inline(always)]
pub fn place(address: &Address, seed: u64) -> u32 {
    hash_address(address, seed) as u32 & (BUCKETS - 1)
}

/// Bit of a bucket with shields that hold, in [`crate::block::Gate::shields`].
#[inline(always)]
pub const fn bit(place: u32) -> u64 {
    1 << (place & 31)
}

/// Bit of a bucket with a shield of the reflex, which SYNs alone concern.
#[inline(always)]
pub const fn reflex_bit(place: u32) -> u64 {
    1 << (32 + (place & 31))
}

/// True where a packet concerns a shield of its destination, by the gate's bits.
#[inline(always)]
pub fn concerns(packet: &Packet, shields: u64, seed: u64) -> bool {
    if shields == 0 {
        return false;
    }
    let place = place(&packet.destination, seed);
    let is_begin = packet.protocol == protocol::TCP && packet.tcp_flags & BEGIN == tcp_flags::SYN;
    let asked = bit(place) | if is_begin { reflex_bit(place) } else { 0 };
    shields & asked != 0
}

/// Flags that tell whether a segment begins a connection: SYN alone of them.
const BEGIN: u8 = tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST | tcp_flags::FIN;

/// Treatment of a packet by the measures of a shield, as far as the packet itself tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// None of the measures is about it.
    Pass,
    /// The beginning of a connection: a stranger's is answered by a cookie.
    Begin,
    /// A segment of a connection, if there is one.
    Segment,
    /// The reply of a server, if it was asked.
    Reply,
    /// A stranger's shares the rate.
    Share,
}

impl Step {
    #[inline(always)]
    pub const fn of(packet: &Packet, measures: u8) -> Self {
        if packet.is(Outcome::Tcp) && packet.is_fragment == 0 {
            return Self::of_tcp(packet.tcp_flags, measures);
        }
        if measures & measure::REPLIES != 0 && is_reply(packet) {
            return Self::Reply;
        }
        if measures & measure::RATE != 0 {
            Self::Share
        } else {
            Self::Pass
        }
    }

    #[inline(always)]
    const fn of_tcp(flags: u8, measures: u8) -> Self {
        let (wanted, step) = if flags & BEGIN == tcp_flags::SYN {
            (measure::COOKIES, Self::Begin)
        } else {
            (measure::STATE, Self::Segment)
        };
        if measures & wanted != 0 {
            step
        } else {
            Self::Pass
        }
    }
}

/// True for a datagram from a service's port to one that is none: a reply, or a reflection.
#[inline(always)]
const fn is_reply(packet: &Packet) -> bool {
    packet.is(Outcome::Udp)
        && packet.is_fragment == 0
        && is_service(packet.source_port)
        && !is_service(packet.destination_port)
}

impl Shield {
    /// True where the shield holds now and covers the packet. A fragment without a transport header goes
    /// the way of its protocol.
    #[inline(always)]
    pub const fn covers(&self, packet: &Packet, now_ns: u64) -> bool {
        let to = &packet.destination;
        let differs = self.address[0] ^ to[0]
            | self.address[1] ^ to[1]
            | self.address[2] ^ to[2]
            | self.address[3] ^ to[3];
        let is_meant = differs == 0 && self.measures != 0 && now_ns < self.expires_ns;
        let is_of_protocol = self.protocol == 0 || self.protocol == packet.protocol;
        let is_of_port = self.port == 0
            || self.port == packet.destination_port
            || packet.is(Outcome::LaterFragment);
        is_meant && is_of_protocol && is_of_port
    }

    /// Counts a SYN for the reflex; true where it is beyond the limit, or one was since the agent looked. `add`
    /// adds to a counter that CPUs share; they may race for a new window, and some SYNs go uncounted.
    #[inline(always)]
    pub fn is_roused(&mut self, now_ns: u64, add: impl Fn(&mut u64, u64)) -> bool {
        let window = (now_ns / WINDOW_NS) as u32;
        if self.window != window {
            self.window = window;
            if self.n_begun > self.most as u64 {
                self.most = self.n_begun as u32;
            }
            self.n_begun = 0;
        }
        add(&mut self.n_begun, 1);
        if self.n_begun > self.limit as u64 {
            self.roused_ns = now_ns;
        }
        self.roused_ns != 0
    }

    /// Takes a packet of a stranger out of the shared rate; false where it is spent.
    #[inline(always)]
    pub const fn affords(&mut self, now_ns: u64) -> bool {
        let (cost_ns, burst_ns) = (self.packet_cost_ns, self.burst_ns);
        spends(&mut self.spent_until_ns, (cost_ns, burst_ns), now_ns)
    }

    /// Takes a SYN that came again out of the rate of those; false where it is spent.
    #[inline(always)]
    pub const fn affords_retry(&mut self, now_ns: u64) -> bool {
        let rate = (retries::PACKET_COST_NS, retries::BURST_NS);
        spends(&mut self.retried_until_ns, rate, now_ns)
    }
}

/// Generic cell rate algorithm, as for a limited source ([`crate::block`]): cost of a packet and burst as
/// time. CPUs may race; the error is a packet.
#[inline(always)]
pub const fn spends(until_ns: &mut u64, (cost_ns, burst_ns): (u64, u64), now_ns: u64) -> bool {
    let start = if *until_ns > now_ns {
        *until_ns
    } else {
        now_ns
    };
    let has_room = start - now_ns <= burst_ns;
    if has_room {
        *until_ns = start + cost_ns;
    }
    has_room
}

impl ShieldBucket {
    /// Slot of the shield that covers a packet; [`SLOTS`] where none does. The narrower ones are in front.
    #[inline(always)]
    pub fn find(&self, packet: &Packet, now_ns: u64) -> usize {
        let mut i = 0;
        while i < SLOTS {
            if self.shields[i].covers(packet, now_ns) {
                return i;
            }
            i += 1;
        }
        SLOTS
    }
}

/// True where the kernel's tables may tell whom a packet belongs to: it came as it was sent, untagged and
/// outside of any tunnel, whole, with the headers that every stack sends.
#[inline(always)]
pub fn is_plain_tcp(packet: &Packet) -> bool {
    const ETHERNET: u32 = 14;
    packet.protocol == protocol::TCP
        && packet.is_fragment == 0
        && packet.realm.0 == 0
        && packet.network_offset() == ETHERNET
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v4_mapped;

    fn packet(outcome: Outcome, flags: u8, ports: (u16, u16)) -> Packet {
        let mut packet = Packet::default();
        (packet.source, packet.destination) = (v4_mapped(2), v4_mapped(1));
        (packet.source_port, packet.destination_port) = ports;
        packet.protocol = match outcome {
            Outcome::Tcp => protocol::TCP,
            Outcome::Udp => protocol::UDP,
            _ => protocol::ICMP,
        };
        (packet.tcp_flags, packet.outcome) = (flags, outcome as u32);
        packet
    }

    const SYN: u8 = tcp_flags::SYN;
    const ACK: u8 = tcp_flags::ACK;

    #[test]
    fn the_step_follows_from_the_packet_and_the_measures() {
        let tcp = |flags| packet(Outcome::Tcp, flags, (4_000, 80));
        let udp = |ports| packet(Outcome::Udp, 0, ports);
        let icmp = packet(Outcome::Icmp, 0, (8 << 8, 0));
        let mut fragment = tcp(SYN);
        fragment.is_fragment = 1;
        for (packet, measures, step) in [
            (tcp(SYN), measure::ALL, Step::Begin),
            (tcp(SYN | 0xc0), measure::ALL, Step::Begin),
            (tcp(SYN), measure::STATE, Step::Pass),
            (tcp(SYN | ACK), measure::ALL, Step::Segment),
            (tcp(SYN | tcp_flags::FIN), measure::ALL, Step::Segment),
            (tcp(ACK), measure::ALL, Step::Segment),
            (tcp(0), measure::ALL, Step::Segment),
            (tcp(ACK), measure::COOKIES, Step::Pass),
            (udp((53, 40_000)), measure::ALL, Step::Reply),
            (udp((53, 40_000)), measure::RATE, Step::Share),
            (udp((123, 123)), measure::ALL, Step::Share),
            (udp((40_000, 53)), measure::ALL, Step::Share),
            (udp((40_000, 53)), measure::REPLIES, Step::Pass),
            (icmp, measure::ALL, Step::Share),
            (icmp, measure::STATE, Step::Pass),
            (fragment, measure::ALL, Step::Share),
            (fragment, measure::STATE, Step::Pass),
        ] {
            assert_eq!(Step::of(&packet, measures), step, "{packet:?} {measures}");
        }
    }

    #[test]
    fn a_shield_covers_its_address_port_and_protocol_until_it_expires() {
        let shield = Shield {
            address: v4_mapped(1),
            expires_ns: 100,
            port: 80,
            protocol: protocol::TCP,
            measures: measure::ALL,
            ..Shield::default()
        };
        let tcp = |port| packet(Outcome::Tcp, SYN, (4_000, port));
        assert!(shield.covers(&tcp(80), 99));
        assert!(!shield.covers(&tcp(80), 100) && !shield.covers(&tcp(81), 99));
        assert!(!shield.covers(&packet(Outcome::Udp, 0, (4_000, 80)), 99));
        let mut elsewhere = tcp(80);
        elsewhere.destination = v4_mapped(3);
        assert!(!shield.covers(&elsewhere, 99));
        let whole = Shield {
            port: 0,
            protocol: 0,
            ..shield
        };
        assert!(whole.covers(&packet(Outcome::Icmp, 0, (0, 0)), 99));
        let unused = Shield {
            measures: 0,
            ..whole
        };
        assert!(!unused.covers(&tcp(80), 99));
        let mut bucket = ShieldBucket::default();
        bucket.shields[2] = shield;
        assert_eq!(bucket.find(&tcp(80), 99), 2);
        assert_eq!(bucket.find(&tcp(81), 99), SLOTS);
    }

    #[test]
    fn the_reflex_holds_from_the_syn_on_that_passes_the_limit() {
        let mut shield = Shield {
            limit: 10,
            ..Shield::default()
        };
        let add = |counter: &mut u64, n| *counter += n;
        let mut roused = |at_ns: u64| shield.is_roused(at_ns, add);
        for window in 1..20 {
            assert!((0..10).all(|n| !roused(window * WINDOW_NS + n)), "{window}");
        }
        assert!(!(0..10).any(|n| roused(30 * WINDOW_NS + n)));
        assert!(roused(30 * WINDOW_NS + 10));
        assert!(roused(99 * WINDOW_NS), "until the agent says otherwise");
        assert_eq!(shield.most, 11);
        shield.roused_ns = 0;
        assert!(!shield.is_roused(100 * WINDOW_NS, add));
    }

    #[test]
    fn all_packets_concern_a_shield_that_holds_and_syns_one_of_the_reflex() {
        let syn = packet(Outcome::Tcp, SYN, (4_000, 80));
        let ack = packet(Outcome::Tcp, ACK, (4_000, 80));
        let udp = packet(Outcome::Udp, 0, (4_000, 80));
        let place = place(&syn.destination, 7);
        let by = |shields| [&syn, &ack, &udp].map(|packet| concerns(packet, shields, 7));
        assert_eq!(by(0), [false; 3]);
        assert_eq!(by(bit(place)), [true; 3]);
        assert_eq!(by(reflex_bit(place)), [true, false, false]);
        assert_eq!(by(!(bit(place) | reflex_bit(place))), [false; 3]);
    }

    #[test]
    fn strangers_share_one_rate() {
        let mut shield = Shield {
            packet_cost_ns: 10_000_000,
            burst_ns: 990_000_000,
            ..Shield::default()
        };
        let passed =
            |shield: &mut Shield, now_ns| (0..1_000).filter(|_| shield.affords(now_ns)).count();
        assert_eq!(passed(&mut shield, 5_000_000_000), 100);
        assert_eq!(passed(&mut shield, 5_000_000_000), 0);
        assert_eq!(passed(&mut shield, 5_500_000_000), 50);
    }
}
