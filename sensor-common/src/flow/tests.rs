use super::*;
use crate::arrival::{Arrival, Way};
use crate::v4_mapped;

/// Records sent, and what evicted flows still held.
#[derive(Default)]
struct Records(Vec<(Sent, Flow)>);

impl FlowSink for Records {
    fn send(
        &mut self,
        head: &Head,
        directions: &[Direction; 2],
        outer: Option<&Outer>,
        why: Sent,
    ) -> bool {
        let outer = outer.copied().unwrap_or_default();
        let flow = Flow::of(head, directions, &outer, 0, why as u8);
        self.0.push((why, flow));
        true
    }
}

impl Records {
    fn packets(&self) -> Vec<(Sent, [u16; 2])> {
        let each = self.0.iter();
        each.map(|(why, flow)| (*why, flow.directions.map(|one| one.packets)))
            .collect()
    }
}

#[derive(Default)]
struct Everyone {
    settled: Vec<(Address, u8, Held)>,
    outers: Outers,
}

impl Admit for Everyone {
    fn may_admit(&mut self) -> bool {
        true
    }
    fn settle(&mut self, remote: &Address, protocol: u8, held: Held) {
        self.settled.push((*remote, protocol, held));
    }
    fn outers(&mut self) -> Option<&mut Outers> {
        Some(&mut self.outers)
    }
}

const SECOND_NS: u64 = 1_000_000_000;
const T0: u64 = 1_700_000_000 * SECOND_NS;

/// UDP between the hosts 1 and 2; ports tell flows apart.
fn packet(port: u16, is_forward: bool) -> Packet {
    let ends = [(v4_mapped(1), port), (v4_mapped(2), 53)];
    let [from, to] = if is_forward { ends } else { [ends[1], ends[0]] };
    let mut packet = Packet::default();
    (packet.source, packet.source_port) = from;
    (packet.destination, packet.destination_port) = to;
    packet.protocol = 17;
    packet.outcome = crate::counters::Outcome::Udp as u32;
    packet
}

struct Cache {
    bucket: Bucket,
    sink: Records,
    admit: Everyone,
    due: Due,
}

impl Cache {
    fn new() -> Self {
        Self {
            bucket: Bucket::EMPTY,
            sink: Records::default(),
            admit: Everyone::default(),
            due: Due::NONE,
        }
    }

    fn send(&mut self, packet: &Packet, now_ns: u64) -> Cached {
        let member = Member {
            packet,
            hash: hash(packet, 7),
            outer: None,
        };
        self.update(member, now_ns)
    }

    fn send_inner(&mut self, packet: &Packet, outer: &Outer, now_ns: u64) -> Cached {
        let member = Member {
            packet,
            hash: hash_inner(packet, outer, 7),
            outer: Some(outer),
        };
        self.update(member, now_ns)
    }

    fn update(&mut self, member: Member<'_>, now_ns: u64) -> Cached {
        let arrival = Arrival {
            now_ns,
            bytes: 100,
            segments: 1,
            ifindex: 0,
            cpu: 0,
        };
        let (sink, admit) = (&mut self.sink, &mut self.admit);
        let way = Way::Ingress;
        let taken =
            update::<Unshared, Records>(&mut self.bucket, member, way, &arrival, sink, admit);
        self.due = taken.due;
        taken.cached
    }
}

#[test]
fn a_flow_begins_anew_after_a_silence_of_both_ways() {
    let mut cache = Cache::new();
    assert_eq!(cache.send(&packet(9, true), T0), Cached::Started);
    // The answer comes late, the other way goes on: no silence.
    for (is_forward, after_s) in [(false, 10), (false, 20), (true, 30)] {
        let cached = cache.send(&packet(9, is_forward), T0 + after_s * SECOND_NS);
        assert!(matches!(cached, Cached::Hit | Cached::HitDue), "{cached:?}");
    }
    let last_ns = T0 + 30 * SECOND_NS;
    let cached = cache.send(&packet(9, false), last_ns + RESTART_NS);
    assert_eq!(cached, Cached::RolledOver);
    assert_eq!(cache.sink.packets(), [(Sent::Rollover, [2, 2])]);
    assert_eq!(cache.send(&packet(1, true), last_ns), Cached::Started);
    assert_eq!(cache.send(&packet(2, true), last_ns), Cached::Evicted);
    assert_eq!(cache.sink.packets()[1], (Sent::Evicted, [0, 1]));
}

#[test]
fn both_directions_and_both_orders_hash_alike() {
    let mut v6 = packet(9, true);
    (v6.source, v6.destination) = ([1, 2, 3, 4], [5, 6, 7, 8]);
    let mut turned = v6;
    std::mem::swap(&mut turned.source, &mut turned.destination);
    std::mem::swap(&mut turned.source_port, &mut turned.destination_port);
    assert_eq!(hash(&v6, 7), hash(&turned, 7));
    assert_eq!(hash(&packet(9, true), 7), hash(&packet(9, false), 7));
    let hashes: std::collections::HashSet<u64> = (0..=u16::MAX)
        .map(|port| hash(&packet(port, true), 7))
        .collect();
    assert_eq!(hashes.len(), 1 << 16);
    let buckets: std::collections::HashSet<u64> = hashes.iter().map(|h| h & 0xffff).collect();
    // Of 65,536 balls into as many bins, 1 - 1/e of the bins get one.
    assert!(
        (40_000..43_000).contains(&buckets.len()),
        "{}",
        buckets.len()
    );
}

/// Equal addresses in two VLANs, or in two tunnels, are other hosts.
#[test]
fn tunnels_tell_flows_apart() {
    let plain = packet(9, true);
    let outer = |source: u32, id: u32| Outer {
        source: v4_mapped(source),
        destination: v4_mapped(99),
        id,
        kind: 3,
        reserved: [0; 3],
    };
    let mut tunnelled = plain;
    tunnelled.realm = Realm(1 << 24);
    let back = Outer {
        source: v4_mapped(99),
        destination: v4_mapped(98),
        ..outer(98, 1)
    };
    assert_eq!(
        hash_inner(&tunnelled, &outer(98, 1), 7),
        hash_inner(&tunnelled, &back, 7)
    );
    let hashes = [
        hash(&plain, 7),
        hash_inner(&tunnelled, &outer(98, 1), 7),
        hash_inner(&tunnelled, &outer(98, 2), 7),
        hash_inner(&tunnelled, &outer(97, 1), 7),
    ];
    let distinct: std::collections::HashSet<u64> = hashes.into_iter().collect();
    assert_eq!(distinct.len(), hashes.len());
}

/// A record that is sent brings the outer header of its own slot.
#[test]
fn the_outer_header_goes_with_its_flow() {
    let mut inner = packet(9, false);
    inner.realm = Realm(1 << 24);
    let outer = Outer {
        source: v4_mapped(50),
        destination: v4_mapped(40),
        id: 7,
        kind: 3,
        reserved: [0; 3],
    };
    let mut cache = Cache::new();
    assert_eq!(cache.send(&packet(1, true), T0), Cached::Started);
    assert_eq!(cache.send_inner(&inner, &outer, T0), Cached::Started);
    assert_eq!(cache.send(&packet(1, true), T0 + 1), Cached::HitDue);
    assert_eq!((cache.due.packets, cache.due.bytes), (1, 100));
    // The flow within the tunnel is the one used longest ago.
    assert_eq!(cache.send(&packet(2, true), T0 + 2), Cached::Evicted);
    let (_, flow) = cache.sink.0[0];
    // The flow's first packet came from its `b`: so does the outer source stand there.
    assert_eq!(flow.head.initiator, 1);
    let tunnel = Tunnel {
        a: v4_mapped(40),
        b: v4_mapped(50),
        id: 7,
        kind: 3,
    };
    assert_eq!(flow.head.tunnel, tunnel);
    assert_eq!(cache.send(&packet(3, true), T0 + 3), Cached::Evicted);
    assert_eq!(cache.sink.0[1].1.head.tunnel, Tunnel::default());
}

#[test]
fn the_slot_used_longest_ago_goes_and_its_lines_are_not_mixed_up() {
    let mut cache = Cache::new();
    for (port, is_forward) in [(1, true), (1, false), (2, false), (1, true)] {
        cache.send(&packet(port, is_forward), T0);
    }
    assert_eq!(cache.send(&packet(3, true), T0), Cached::Evicted);
    let (_, flow) = cache.sink.0[0];
    assert_eq!((flow.head.a_port, flow.head.initiator), (2, 1));
    assert_eq!(flow.directions.map(|one| one.packets), [0, 1]);
    // The slot's other line still has nothing, whatever was there before.
    assert_eq!(cache.send(&packet(1, true), T0), Cached::Hit);
    assert_eq!(cache.send(&packet(4, true), T0), Cached::Evicted);
    let (_, flow) = cache.sink.0[1];
    assert_eq!(
        (flow.head.a_port, flow.directions[1]),
        (3, Direction::EMPTY)
    );
}

/// The row of the remote host gets every packet once, and never lags far.
#[test]
fn what_a_flow_holds_back_is_bounded_and_never_lost() {
    let mut cache = Cache::new();
    let mut n_due = 0;
    for n in 1..=1_000u32 {
        // Windows are 134 ms: so close that none ends.
        let cached = cache.send(&packet(1, true), T0 + u64::from(n));
        n_due += match cached {
            Cached::Started => 1,
            Cached::HitDue => {
                assert_eq!(cache.due.bytes, cache.due.packets * 100);
                cache.due.packets
            }
            Cached::Hit => 0,
            other => panic!("{other:?}"),
        };
        let n_late = n - n_due;
        assert!(n_late < 16 && n_late * 2 <= n, "{n}: {n_due}");
    }
    let held = n_due;
    for port in [2, 3] {
        cache.send(&packet(port, true), T0 + 2_000);
    }
    let [(remote, 17, held_back)] = cache.admit.settled[..] else {
        panic!("{:?}", cache.admit.settled);
    };
    assert_eq!(remote, v4_mapped(1));
    assert_eq!(held + held_back.due().packets, 1_000);
}

fn in_vlan(is_forward: bool, vlan: u16, inner_vlan: u16) -> Packet {
    let mut packet = packet(9, is_forward);
    packet.realm = Realm::of_vlans(vlan, inner_vlan);
    packet
}

#[test]
fn equal_addresses_in_two_vlans_are_two_flows() {
    for (one, other) in [((1, 0), (2, 0)), ((1, 0), (1, 2)), ((0, 0), (1, 0))] {
        let mut cache = Cache::new();
        let send = |cache: &mut Cache, is_forward, vlans: (u16, u16)| {
            cache.send(&in_vlan(is_forward, vlans.0, vlans.1), T0)
        };
        assert_eq!(send(&mut cache, true, one), Cached::Started);
        assert_eq!(send(&mut cache, true, other), Cached::Started);
        for is_forward in [false, true, false] {
            assert!(!send(&mut cache, is_forward, one).began());
            assert!(!send(&mut cache, is_forward, other).began());
        }
        let packets = |slot: usize| cache.bucket.directions[slot].map(|one| one.packets);
        assert_eq!([packets(0), packets(1)], [[2, 2]; 2]);
    }
}

fn segment(is_forward: bool, flags: u8) -> Packet {
    let mut packet = packet(9, is_forward);
    packet.protocol = 6;
    packet.outcome = crate::counters::Outcome::Tcp as u32;
    packet.tcp_flags = flags;
    packet
}

#[test]
fn a_syn_after_fin_or_rst_begins_another_record() {
    use crate::packet::tcp_flags::{ACK, FIN, RST, SYN};
    for (is_forward, end) in [(true, FIN | ACK), (false, RST), (false, RST | ACK)] {
        let mut cache = Cache::new();
        assert_eq!(cache.send(&segment(true, SYN), T0), Cached::Started);
        cache.send(&segment(false, SYN | ACK), T0 + 1);
        // Sent again: the same connection.
        assert!(!cache.send(&segment(true, SYN), T0 + 2).began());
        cache.send(&segment(is_forward, end), T0 + 3);
        // Late: of the old one.
        assert!(!cache.send(&segment(!is_forward, ACK), T0 + 4).began());
        assert!(!cache.send(&segment(false, SYN | ACK), T0 + 5).began());
        // By either end.
        let again = cache.send(&segment(false, SYN), T0 + SECOND_NS);
        assert_eq!(again, Cached::Evicted);
        let (why, flow) = cache.sink.0[0];
        let n_packets: u16 = flow.directions.iter().map(|one| one.packets).sum();
        assert_eq!((why, n_packets), (Sent::Evicted, 6));
        let slot = usize::from(cache.bucket.heads[0].tag == 0);
        assert_eq!(cache.bucket.directions[slot][0].first_ns, T0 + SECOND_NS);
        assert_eq!(cache.bucket.heads[slot].source, v4_mapped(2));
        // The new one is open.
        assert!(!cache.send(&segment(false, SYN), T0 + 2 * SECOND_NS).began());
        assert!(
            !cache
                .send(&segment(true, SYN | ACK), T0 + 2 * SECOND_NS)
                .began()
        );
    }
}
