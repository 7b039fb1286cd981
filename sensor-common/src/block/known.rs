//! Flows that go both ways, which a limit, a challenge or a quarantine of their source leaves alone.
//!
//! What this host sends says which: data or the end of a connection (whoever forges an address never
//! gets so far: he does not see the number that he would have to acknowledge), a connection that it
//! begins itself, or many acknowledgements; of protocols without connections, a message, which lets a
//! number of messages from the other side pass. The table is shared by all CPUs, since the two
//! directions of a flow need not meet on one.
//!
//! A bucket is one cache line of eight words. Two of them, a quarter, are for what is not proven; there
//! as among the proven a new flow takes the place of the one heard of longest ago.

use crate::counters::Outcome;
use crate::limits::KNOWN_BUCKETS;
use crate::packet::{Packet, protocol, tcp_flags};
use crate::{Address, hash_address, is_less, is_zero, mask, mix};

/// Words of a bucket: bits 32 to 63 the tag, 16 to 31 the worth, 0 to 15 the time.
pub const WORDS: usize = 8;
/// Words of proven flows; they come first.
const PROVEN: usize = 6;

/// Time is told in units of 2^34 ns = 17.2 s.
const TIME_SHIFT: u32 = 34;
/// Time for which a connection is known after it was last heard of: a day. Idle sessions live as long.
const CONNECTION_AGE: u16 = 5_029;
/// Time for which a flow without connections is known: five minutes, the least that RFC 4787 recommends to
/// address translators for UDP.
const MESSAGE_AGE: u16 = 18;
/// Worth of a connection that is proven; below, the acknowledgements that this host sent. A blind
/// forger gets one of those in half a second at most (Linux limits them by RFC 5961 section 7).
const ENOUGH: u16 = 64;
/// Messages from the other side that one of this host lets pass, and the most that may pass without
/// another.
const PER_MESSAGE: u16 = 32;
const MOST_MESSAGES: u16 = 4_096;

/// Eight flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct KnownFlows {
    words: [u64; WORDS],
}

const _: () = assert!(size_of::<KnownFlows>() == 64);
const _: () = assert!(WORDS.is_power_of_two() && PROVEN == WORDS - WORDS / 4);
// SAFETY: an array of integers.
unsafe impl crate::Pod for KnownFlows {}

/// Evidence that a packet which this host sends gives of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Nothing,
    /// The beginning of a connection of this host's own.
    Ask,
    /// Data, or the end of a connection.
    Data,
    /// An acknowledgement without data.
    Acknowledgement,
    /// A message of a protocol without connections.
    Message,
}

impl Sign {
    #[inline(always)]
    const fn of(packet: &Packet, bytes: u32) -> Self {
        if packet.is(Outcome::Tcp) {
            return Self::of_tcp(packet, bytes);
        }
        // Which end asked and which replied is not kept of ICMP.
        let is_message = packet.is(Outcome::Udp) || packet.is(Outcome::Sctp);
        if is_message && packet.is_fragment == 0 {
            Self::Message
        } else {
            Self::Nothing
        }
    }

    #[inline(always)]
    const fn of_tcp(packet: &Packet, bytes: u32) -> Self {
        let flags = packet.tcp_flags;
        if flags & tcp_flags::RST != 0 {
            return Self::Nothing;
        }
        if flags & tcp_flags::SYN != 0 {
            return if flags & tcp_flags::ACK == 0 {
                Self::Ask
            } else {
                Self::Nothing
            };
        }
        if flags & tcp_flags::FIN != 0 || packet.payload_bytes(bytes) > 0 {
            Self::Data
        } else {
            Self::Acknowledgement
        }
    }
}

/// Set of the actions that leave a packet alone, a bit each at the number of the action.
pub mod spared {
    use crate::block::{ACTION_CHALLENGE, ACTION_QUARANTINE, ACTION_RATE_LIMIT};

    pub const NONE: u64 = 0;
    pub const BY_LIMIT: u64 = 1 << ACTION_RATE_LIMIT;
    pub const BY_QUARANTINE: u64 = 1 << ACTION_QUARANTINE;
    pub const BY_CHALLENGE: u64 = 1 << ACTION_CHALLENGE;
    pub const BY_ALL: u64 = BY_LIMIT | BY_CHALLENGE | BY_QUARANTINE;
}

/// Hash of the flow of a packet that this host sends. The two ends are not the same: what a router takes
/// from one side and passes to the other speaks for the flows of those that it passes it to.
///
/// VLANs don't count: a tag may be in the frame of one direction alone.
#[inline(always)]
pub fn hash_sent(packet: &Packet, seed: u64) -> u64 {
    let near = (&packet.source, packet.source_port);
    let far = (&packet.destination, packet.destination_port);
    hash(near, far, packet.protocol, seed)
}

/// Hash of the flow of a packet that comes in.
#[inline(always)]
pub fn hash_received(packet: &Packet, seed: u64) -> u64 {
    let near = (&packet.destination, packet.destination_port);
    let far = (&packet.source, packet.source_port);
    hash(near, far, packet.protocol, seed)
}

#[inline(always)]
fn hash(near: (&Address, u16), far: (&Address, u16), protocol: u8, seed: u64) -> u64 {
    let what = (protocol as u64) << 32 | (near.1 as u64) << 16 | far.1 as u64;
    mix(
        hash_address(near.0, seed) ^ what,
        hash_address(far.0, !seed),
        seed,
    )
}

/// Bucket of a hash.
#[inline(always)]
pub const fn bucket(hash: u64) -> u32 {
    hash as u32 & (KNOWN_BUCKETS - 1)
}

#[inline(always)]
const fn tag(hash: u64) -> u64 {
    hash >> 32 | 1
}

#[inline(always)]
const fn time(now_ns: u64) -> u16 {
    (now_ns >> TIME_SHIFT) as u16
}

#[inline(always)]
const fn word(tag: u64, worth: u16, time: u16) -> u64 {
    tag << 32 | (worth as u64) << 16 | time as u64
}

#[inline(always)]
const fn worth(word: u64) -> u16 {
    (word >> 16) as u16
}

#[inline(always)]
const fn age(word: u64, time: u16) -> u16 {
    time.wrapping_sub(word as u16)
}

#[inline(always)]
const fn least(a: u16, b: u16) -> u16 {
    if a < b { a } else { b }
}

/// Takes note of a packet of `bytes` on the wire that this host sends, in the bucket of its flow. True where
/// that proves the flow for the first time.
#[inline(always)]
pub fn note(
    flows: &mut KnownFlows,
    packet: &Packet,
    bytes: u32,
    now_ns: u64,
    hash: u64,
    opaque: impl Fn(u64) -> u64,
) -> bool {
    let sign = Sign::of(packet, bytes);
    if sign == Sign::Nothing {
        return false;
    }
    let (tag, now) = (tag(hash), time(now_ns));
    let at = flows.find(tag, &opaque);
    let before = if at < WORDS {
        worth(flows.words[at & (WORDS - 1)])
    } else {
        0
    };
    let after = match sign {
        Sign::Message => least(before.saturating_add(PER_MESSAGE), MOST_MESSAGES),
        Sign::Acknowledgement => least(before.saturating_add(1), ENOUGH),
        _ => ENOUGH,
    };
    // Whoever we asked has answered before we acknowledge.
    let is_proven = sign == Sign::Data || sign == Sign::Acknowledgement && before >= ENOUGH;
    let mut place = at;
    if at >= WORDS || is_proven && at >= PROVEN {
        if at < WORDS {
            flows.words[at & (WORDS - 1)] = 0;
        }
        place = flows.oldest(is_proven, now, &opaque);
    }
    let new = word(tag, after, now);
    let held = &mut flows.words[place & (WORDS - 1)];
    // Others read the line, too: it is written where something is new.
    if *held != new {
        *held = new;
    }
    is_proven && at >= PROVEN
}

/// The actions that leave a packet of a listed source alone, by its flow's bucket.
#[inline(always)]
pub fn spares(
    flows: &mut KnownFlows,
    packet: &Packet,
    now_ns: u64,
    hash: u64,
    opaque: impl Fn(u64) -> u64,
) -> u64 {
    if packet.protocol == protocol::ICMP || packet.protocol == protocol::ICMPV6 {
        return spares_icmp(packet);
    }
    let at = flows.find(tag(hash), &opaque);
    if at >= WORDS || packet.is_fragment != 0 {
        return spared::NONE;
    }
    let held = &mut flows.words[at & (WORDS - 1)];
    let (worth, age) = (worth(*held), age(*held, time(now_ns)));
    if packet.protocol == protocol::TCP {
        const SYN_ACK: u8 = tcp_flags::SYN | tcp_flags::ACK;
        let begins = packet.tcp_flags & SYN_ACK == tcp_flags::SYN;
        let is_known = !begins && worth >= ENOUGH && age <= CONNECTION_AGE;
        return if is_known {
            spared::BY_ALL
        } else {
            spared::NONE
        };
    }
    if worth == 0 || age > MESSAGE_AGE {
        return spared::NONE;
    }
    *held -= 1 << 16;
    spared::BY_ALL
}

/// Neighbour discovery (RFC 4861; no router lets it pass: its hop limit is 255) keeps every flow of a
/// host on the link alive, and errors tell of packets that this host sent.
#[inline(always)]
const fn spares_icmp(packet: &Packet) -> u64 {
    let kind = packet.source_port >> 8;
    if packet.protocol == protocol::ICMPV6 {
        if packet.ttl == 255 && kind >= 133 && kind <= 137 {
            return spared::BY_ALL;
        }
        // RFC 4443: destination unreachable, packet too big, time exceeded, parameter problem.
        return if kind >= 1 && kind <= 4 {
            spared::BY_QUARANTINE
        } else {
            spared::NONE
        };
    }
    // RFC 792: destination unreachable, time exceeded, parameter problem.
    if kind == 3 || kind == 11 || kind == 12 {
        spared::BY_QUARANTINE
    } else {
        spared::NONE
    }
}

impl KnownFlows {
    /// Place of a tag; [`WORDS`] if it is not here. Computed without a branch.
    #[inline(always)]
    fn find(&self, tag: u64, opaque: &impl Fn(u64) -> u64) -> usize {
        let mut at = WORDS as u64;
        let mut i = 0;
        while i < WORDS {
            let differs = self.words[i] >> 32 ^ tag;
            at ^= (at ^ i as u64) & mask(differs, opaque);
            i += 1;
        }
        at as usize
    }

    /// The place to take: free, or heard of longest ago.
    #[inline(always)]
    fn oldest(&self, is_proven: bool, now: u16, opaque: &impl Fn(u64) -> u64) -> usize {
        let (mut i, end) = if is_proven {
            (0, PROVEN)
        } else {
            (PROVEN, WORDS)
        };
        let mut oldest = 0u64;
        while i < end {
            let word = self.words[i];
            let is_free = is_zero(word, opaque);
            let rank = opaque(is_free << 16 | age(word, now) as u64) << 3 | i as u64;
            // The greater of two, without a branch.
            let is_more = is_less(oldest, rank, opaque).wrapping_neg();
            oldest ^= (oldest ^ rank) & is_more;
            i += 1;
        }
        (oldest & 7) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v4_mapped;

    const MINUTE: u64 = 60_000_000_000;
    const NOW: u64 = 1_000 * MINUTE;

    fn plain(value: u64) -> u64 {
        value
    }

    /// A packet between host 1, which is ours, and host 2.
    fn packet(is_ours: bool, protocol: u8, tcp_flags: u8, client_port: u16) -> Packet {
        let outcome = match protocol {
            protocol::TCP => Outcome::Tcp,
            protocol::UDP => Outcome::Udp,
            _ => Outcome::Icmp,
        };
        let mut packet = Packet::default();
        (packet.source, packet.destination) = (v4_mapped(1), v4_mapped(2));
        (packet.source_port, packet.destination_port) = (80, client_port);
        (packet.protocol, packet.tcp_flags) = (protocol, tcp_flags);
        packet.outcome = outcome as u32;
        if !is_ours {
            core::mem::swap(&mut packet.source, &mut packet.destination);
            core::mem::swap(&mut packet.source_port, &mut packet.destination_port);
        }
        packet
    }

    /// The bucket of one flow.
    #[derive(Default)]
    struct Flows(KnownFlows);

    impl Flows {
        fn sends(&mut self, protocol: u8, flags: u8, bytes: u32, now_ns: u64) {
            let packet = packet(true, protocol, flags, 4_000);
            let hash = hash_sent(&packet, 7);
            note(&mut self.0, &packet, bytes, now_ns, hash, plain);
        }

        fn spares(&mut self, protocol: u8, flags: u8, now_ns: u64) -> bool {
            let packet = packet(false, protocol, flags, 4_000);
            let hash = hash_received(&packet, 7);
            spares(&mut self.0, &packet, now_ns, hash, plain) == spared::BY_ALL
        }
    }

    const ACK: u8 = tcp_flags::ACK;
    const SYN: u8 = tcp_flags::SYN;
    const TCP: u8 = protocol::TCP;
    const UDP: u8 = protocol::UDP;

    #[test]
    fn a_connection_is_known_once_this_host_sent_data_or_ended_it() {
        for (flags, bytes) in [(ACK | tcp_flags::PSH, 100), (ACK | tcp_flags::FIN, 0)] {
            let mut flows = Flows::default();
            flows.sends(TCP, SYN | ACK, 0, NOW);
            flows.sends(TCP, ACK | tcp_flags::RST, 0, NOW);
            assert!(!flows.spares(TCP, ACK, NOW));
            flows.sends(TCP, flags, bytes, NOW);
            assert!(flows.spares(TCP, ACK, NOW) && flows.spares(TCP, tcp_flags::RST, NOW));
            assert!(!flows.spares(TCP, SYN, NOW), "a SYN begins another");
        }
    }

    #[test]
    fn few_acknowledgements_prove_nothing_and_many_do() {
        let mut flows = Flows::default();
        for _ in 0..ENOUGH - 1 {
            flows.sends(TCP, ACK, 0, NOW);
        }
        assert!(!flows.spares(TCP, ACK, NOW));
        flows.sends(TCP, ACK, 0, NOW);
        assert!(flows.spares(TCP, ACK, NOW));
    }

    #[test]
    fn what_a_router_passes_on_speaks_for_nobody_that_it_came_from() {
        let mut flows = KnownFlows::default();
        let passed_on = packet(false, TCP, ACK, 4_000);
        let hash = hash_sent(&passed_on, 7);
        note(&mut flows, &passed_on, 100, NOW, hash, plain);
        let hash = hash_received(&passed_on, 7);
        let spared = spares(&mut flows, &passed_on, NOW, hash, plain);
        assert_eq!(spared, spared::NONE);
    }

    #[test]
    fn who_this_host_asks_may_answer() {
        let mut flows = Flows::default();
        flows.sends(TCP, SYN, 0, NOW);
        assert!(flows.spares(TCP, SYN | ACK, NOW));
    }

    #[test]
    fn each_message_lets_some_pass_and_no_more() {
        let mut flows = Flows::default();
        assert!(!flows.spares(UDP, 0, NOW));
        flows.sends(UDP, 0, 100, NOW);
        let n = (0..1_000).filter(|_| flows.spares(UDP, 0, NOW)).count();
        assert_eq!(n, usize::from(PER_MESSAGE));
        for _ in 0..1_000 {
            flows.sends(UDP, 0, 100, NOW);
        }
        let n = (0..10_000).filter(|_| flows.spares(UDP, 0, NOW)).count();
        assert_eq!(n, usize::from(MOST_MESSAGES));
    }

    #[test]
    fn what_was_not_heard_of_for_long_is_forgotten() {
        let mut flows = Flows::default();
        flows.sends(TCP, ACK, 100, NOW);
        assert!(flows.spares(TCP, ACK, NOW + 23 * 60 * MINUTE));
        assert!(!flows.spares(TCP, ACK, NOW + 25 * 60 * MINUTE));
        let mut flows = Flows::default();
        flows.sends(UDP, 0, 100, NOW);
        assert!(flows.spares(UDP, 0, NOW + 4 * MINUTE));
        assert!(!flows.spares(UDP, 0, NOW + 6 * MINUTE));
    }

    #[test]
    fn what_is_not_proven_takes_no_place_of_what_is() {
        let mut flows = KnownFlows::default();
        let proven = |n: u16| packet(true, TCP, ACK, n);
        let sends = |flows: &mut KnownFlows, packet: Packet, bytes, now_ns| {
            note(flows, &packet, bytes, now_ns, hash_sent(&packet, 7), plain);
        };
        let spared = |flows: &KnownFlows, n, now_ns| {
            let comes = packet(false, TCP, ACK, n);
            spares(
                &mut flows.clone(),
                &comes,
                now_ns,
                hash_received(&comes, 7),
                plain,
            )
        };
        for n in 0..PROVEN as u16 {
            sends(&mut flows, proven(n), 100, NOW);
        }
        for n in 100..1_000 {
            sends(&mut flows, packet(true, UDP, 0, n), 100, NOW + MINUTE);
            sends(&mut flows, packet(true, TCP, ACK, n), 0, NOW + MINUTE);
        }
        for n in 0..PROVEN as u16 {
            assert_eq!(spared(&flows, n, NOW), spared::BY_ALL, "{n}");
        }
        // Of proven ones the oldest gives way.
        for n in 0..PROVEN as u16 - 1 {
            sends(&mut flows, proven(n), 100, NOW + MINUTE);
        }
        sends(&mut flows, proven(50), 100, NOW + MINUTE);
        let known = |n: u16| spared(&flows, n, NOW + MINUTE) != spared::NONE;
        assert!(known(50) && known(0) && !known(PROVEN as u16 - 1));
    }

    #[test]
    fn a_quarantine_leaves_errors_and_neighbour_discovery_alone() {
        let icmp = |protocol, kind: u16, ttl| {
            let mut packet = packet(false, protocol, 0, kind << 8);
            (packet.source_port, packet.ttl) = (kind << 8, ttl);
            packet
        };
        let cases = [
            (protocol::ICMP, 8, 64, spared::NONE),
            (protocol::ICMP, 3, 64, spared::BY_QUARANTINE),
            (protocol::ICMPV6, 128, 64, spared::NONE),
            (protocol::ICMPV6, 2, 64, spared::BY_QUARANTINE),
            (protocol::ICMPV6, 135, 255, spared::BY_ALL),
            (protocol::ICMPV6, 135, 254, spared::NONE),
        ];
        for (protocol, kind, ttl, expected) in cases {
            let packet = icmp(protocol, kind, ttl);
            let got = spares(&mut KnownFlows::default(), &packet, NOW, 1, plain);
            assert_eq!(got, expected, "{kind}");
        }
    }
}
