//! The block check in the kernel, frame by frame, with a clock that the frames bring.
//!
//! Needs root: without, each test says so and passes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use sensor_capture::drive::Tables as _;
use sensor_capture::kernel::LoadOptions;
use sensor_common::arrival::Way;
use sensor_common::counters::{Count, Event, Outcome};
use sensor_common::datapath::Verdict;
use sensor_common::event::Kind;
use sensor_common::limits::SCOPE_SETS;
use sensor_common::packet::protocol;
use sensor_engine::Scope;
use sensor_respond::{Allowlist, BlockError, Blocklist, Measure, Origin, Request, parse_network};
use sensor_tests::frames::ipv4::{self, SYN};
use sensor_tests::frames::{self, Dice, IPV6, ethernet, ipv6_between};
use sensor_tests::needs_root;
use sensor_tests::twin::{Case, Twin};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_000 * SECOND;
const ALL: Scope = Scope {
    protocol: 0,
    local_port: 0,
};

/// The program and the lists it looks at.
struct Lists {
    twin: Twin,
    blocks: Blocklist,
    allow: Allowlist,
}

/// Enforcing, empty.
fn lists() -> Lists {
    needs_root();
    let options = LoadOptions::fixed();
    let mut twin = Twin::new(&options).unwrap();
    let arrays = twin.kernel.block_arrays().unwrap();
    let (mut blocks, words) = Blocklist::new(arrays, options.seed);
    let allow = Allowlist::new(twin.kernel.ebpf.take_map("ALLOW"), words).unwrap();
    blocks.state().enforce = 1;
    blocks.open_gate();
    Lists {
        twin,
        blocks,
        allow,
    }
}

fn request(target: &str, scope: Scope, measure: Measure, ttl_s: u64) -> Request {
    Request {
        target: parse_network(target).unwrap(),
        scope,
        measure,
        ttl: Duration::from_secs(ttl_s),
        origin: Origin::Operator { uid: 0 },
        reason: Arc::from("test"),
        is_proven: true,
        grounds: None,
    }
}

/// As the sensor asks by itself.
fn automatic(target: &str, measure: Measure, ttl_s: u64) -> Request {
    Request {
        origin: Origin::Incident {
            incident_id: "000001-aa".to_owned(),
            decision_id: "d000001-bb".to_owned(),
        },
        reason: Arc::from("scan"),
        ..request(target, ALL, measure, ttl_s)
    }
}

const fn only(protocol: u8, local_port: u16) -> Scope {
    Scope {
        protocol,
        local_port,
    }
}

impl Lists {
    fn block(&mut self, target: &str) {
        self.add(&request(target, ALL, Measure::Drop, 60)).unwrap();
    }

    fn block_only(&mut self, target: &str, scope: Scope) -> Result<(), BlockError> {
        self.add(&request(target, scope, Measure::Drop, 60))
    }

    fn add(&mut self, request: &Request) -> Result<(), BlockError> {
        self.blocks.add(request, NOW)
    }

    fn allow(&mut self, network: &str) {
        self.allow.add(&parse_network(network).unwrap()).unwrap();
        let (n, planes) = (self.allow.len() as u32, self.allow.used());
        let state = self.blocks.state();
        (state.n_allowed, state.allow_planes) = (n, planes);
        self.blocks.open_gate();
    }

    fn sent(&mut self, source: &str, scope: Scope, at_ns: u64) -> Verdict {
        let source: IpAddr = source.parse().unwrap();
        let frame = frame(source, scope.protocol, scope.local_port);
        self.twin.run_ingress(&Case::ingress(at_ns, frame)).unwrap()
    }

    fn drops(&mut self, source: &str) -> bool {
        self.sent(source, only(protocol::TCP, 80), NOW) == Verdict::Drop
    }

    fn packets(&self, target: &str) -> u64 {
        let target = parse_network(target).unwrap();
        let mut of_target = self.blocks.list().filter(|listed| listed.target == target);
        of_target.next().unwrap().packets
    }
}

/// A frame from a source to a port of ours.
fn frame(source: IpAddr, protocol: u8, port: u16) -> Vec<u8> {
    let (ports, to6) = ((4_000, port), Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 1));
    let (transport, sum_at) = match protocol {
        protocol::UDP => (frames::udp(ports, &[0; 12]), 6),
        _ => (frames::tcp(ports, SYN, &[]), 16),
    };
    match source {
        IpAddr::V4(v4) => ipv4::packet(protocol, v4.octets(), [198, 51, 100, 1], &transport),
        IpAddr::V6(v6) => ethernet(IPV6, &ipv6_between(protocol, [v6, to6], transport, sum_at)),
    }
}

#[test]
fn drops_exact_sources_and_nobody_else() {
    let mut lists = lists();
    assert!(!lists.drops("192.0.2.7") && !lists.drops("2001:db8::7"));
    lists.block("192.0.2.7");
    lists.block("2001:db8::7");
    assert!(lists.drops("192.0.2.7") && lists.drops("2001:db8::7"));
    for near in ["192.0.2.8", "192.0.3.7", "2001:db8::8", "2001:db8:1::7"] {
        assert!(!lists.drops(near), "{near}");
    }
    assert_eq!(lists.packets("192.0.2.7"), 1);
    assert_eq!(lists.twin.kernel.event(Event::Dropped).packets, 2);
    lists
        .blocks
        .remove(&parse_network("192.0.2.7").unwrap(), ALL)
        .unwrap();
    assert!(!lists.drops("192.0.2.7") && lists.drops("2001:db8::7"));
}

/// Plain packets of a blocked source are dropped before they are parsed: nothing may be counted less
/// for that. Tagged ones go the long way.
#[test]
fn early_drop_counts_as_the_full_parse_does() {
    let mut lists = lists();
    lists.block("192.0.2.7");
    let plain = frame("192.0.2.7".parse().unwrap(), protocol::UDP, 53);
    let tagged = [&plain[..12], &[0x81, 0, 0, 7], &plain[12..]].concat();
    let mut bytes = 0;
    for n in 0..3_000u64 {
        let frame = if n % 3 == 2 { &tagged } else { &plain };
        bytes += frame.len() as u64;
        let case = Case::ingress(NOW + n, frame.clone());
        assert_eq!(lists.twin.run_ingress(&case).unwrap(), Verdict::Drop);
    }
    let kernel = &mut lists.twin.kernel;
    let whole = (3_000, bytes);
    let count = |count: Count| (count.packets, count.bytes);
    assert_eq!(count(kernel.event(Event::Dropped)), whole);
    assert_eq!(count(kernel.outcome(Way::Ingress, Outcome::Udp)), whole);
    let mut n_told = 0;
    kernel.drain_samples(|sample| n_told += u64::from(sample.head.kind == Kind::BlockHit as u8));
    assert_eq!(n_told, 3, "the first packet, and every 1,024th");
    let listed = lists.blocks.list().next().unwrap();
    assert_eq!((listed.packets, listed.bytes), whole);
}

/// A packet with addresses meets the lists, whatever else is wrong with it and whatever is in it.
#[test]
fn no_odd_header_passes_a_blocked_source() {
    let mut lists = lists();
    lists.block("192.0.2.7");
    let plain = frame("192.0.2.7".parse().unwrap(), protocol::UDP, 53);
    let with = |changes: &[(usize, u8)]| {
        let mut frame = plain.clone();
        for (at, byte) in changes {
            frame[*at] = *byte;
        }
        frame
    };
    let behind = |header: &[u8]| [&plain[..12], header, &plain[12..]].concat();
    let [high, low] = 4789u16.to_be_bytes();
    let cases = [
        ("plain", plain.clone()),
        ("again", plain.clone()),
        ("UDP length below 8", with(&[(38, 0), (39, 7)])),
        ("junk on a tunnel's port", with(&[(36, high), (37, low)])),
        ("a later fragment", with(&[(21, 9)])),
        ("TCP offset 0", with(&[(23, 6), (46, 0)])),
        (
            "total length below the header's",
            with(&[(16, 0), (17, 19)]),
        ),
        ("header length below 20", with(&[(14, 0x44)])),
        ("junk in IP", with(&[(23, 4)])),
        ("junk in GRE", with(&[(23, 47)])),
        ("cut", plain[..36].to_vec()),
        (
            "three VLAN tags",
            behind(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3]),
        ),
        ("an old VLAN tag", behind(&[0x91, 0, 0, 1])),
        (
            "PPPoE",
            [
                &plain[..12],
                &[0x88, 0x64, 0x11, 0, 0, 1, 0, 42, 0, 0x21],
                &plain[14..],
            ]
            .concat(),
        ),
        (
            "MPLS",
            [&plain[..12], &[0x88, 0x47, 0, 1, 1, 64], &plain[14..]].concat(),
        ),
    ];
    for (what, frame) in cases {
        let verdict = lists.twin.run_ingress(&Case::ingress(NOW, frame)).unwrap();
        assert_eq!(verdict, Verdict::Drop, "{what}");
    }
    let version = lists
        .twin
        .run_ingress(&Case::ingress(NOW, with(&[(14, 0x55)])));
    assert_eq!(version.unwrap(), Verdict::Pass, "no IPv4 header at all");
}

#[test]
fn nine_extension_headers_pass_no_block() {
    let mut lists = lists();
    lists.block("2001:db8::7");
    let plain = frame("2001:db8::7".parse().unwrap(), protocol::TCP, 80);
    for n in [1, 6, 9, 12, 40] {
        let chain = (0..n).flat_map(|i| [if i + 1 == n { 6 } else { 60 }, 0, 0, 0, 0, 0, 0, 0]);
        let chain: Vec<u8> = chain.collect();
        let mut frame = [&plain[..54], &chain, &plain[54..]].concat();
        frame[20] = 60;
        let length = (chain.len() + 20) as u16;
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        let verdict = lists.twin.run_ingress(&Case::ingress(NOW, frame)).unwrap();
        assert_eq!(verdict, Verdict::Drop, "{n} extension headers");
    }
}

#[test]
fn drops_prefixes_of_any_length() {
    let mut lists = lists();
    let cases = [
        ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
        ("172.16.0.0/12", "172.31.0.9", "172.32.0.0"),
        ("192.168.0.0/16", "192.168.77.1", "192.169.0.1"),
        ("203.0.16.0/20", "203.0.31.255", "203.0.32.0"),
        ("198.51.7.0/24", "198.51.7.200", "198.51.8.0"),
        ("198.51.9.64/27", "198.51.9.95", "198.51.9.96"),
        ("198.51.9.2/31", "198.51.9.3", "198.51.9.4"),
        ("2a00::/12", "2a0f:1::1", "2a10::1"),
        ("2600:4000::/19", "2600:5fff::1", "2600:6000::1"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
        ("2001:67c:12::/48", "2001:67c:12:9::1", "2001:67c:13::1"),
        (
            "2001:67c:20:1::/64",
            "2001:67c:20:1:8::1",
            "2001:67c:20:2::1",
        ),
        ("2001:67c:30::2/127", "2001:67c:30::3", "2001:67c:30::4"),
    ];
    for (network, inside, outside) in cases {
        lists.block(network);
        assert!(lists.drops(inside), "{network} and {inside}");
        assert!(!lists.drops(outside), "{network} and {outside}");
    }
    for (network, inside, _) in cases {
        let network = parse_network(network).unwrap();
        lists.blocks.remove(&network, ALL).unwrap();
        assert!(!lists.drops(inside), "{network} was removed");
    }
}

#[test]
fn a_narrower_entry_that_passes_hides_no_wider_one() {
    let mut lists = lists();
    lists.block("10.1.0.0/16");
    lists
        .block_only("10.1.2.0/24", only(protocol::TCP, 22))
        .unwrap();
    lists
        .add(&request("10.1.2.3", ALL, Measure::Drop, 1))
        .unwrap();
    let web = only(protocol::TCP, 80);
    // The source's own entry is over, and the /24 is about another port.
    assert_eq!(lists.sent("10.1.2.3", web, NOW + 2 * SECOND), Verdict::Drop);
    lists
        .blocks
        .remove(&parse_network("10.1.0.0/16").unwrap(), ALL)
        .unwrap();
    assert_eq!(lists.sent("10.1.2.3", web, NOW + 2 * SECOND), Verdict::Pass);
    let shell = only(protocol::TCP, 22);
    assert_eq!(
        lists.sent("10.1.2.3", shell, NOW + 2 * SECOND),
        Verdict::Drop
    );
}

#[test]
fn scopes_limit_blocks_to_a_port_and_a_protocol() {
    let mut lists = lists();
    for source in ["192.0.2.7", "2001:db8::7"] {
        let (shell, names) = (only(protocol::TCP, 22), only(protocol::UDP, 53));
        lists.block_only(source, shell).unwrap();
        lists.block_only(source, names).unwrap();
        assert_eq!(lists.sent(source, shell, NOW), Verdict::Drop);
        assert_eq!(lists.sent(source, names, NOW), Verdict::Drop);
        for other in [
            only(protocol::TCP, 53),
            only(protocol::UDP, 22),
            only(protocol::TCP, 80),
        ] {
            assert_eq!(lists.sent(source, other, NOW), Verdict::Pass, "{other:?}");
        }
        lists
            .blocks
            .remove(&parse_network(source).unwrap(), shell)
            .unwrap();
        assert_eq!(lists.sent(source, shell, NOW), Verdict::Pass);
        assert_eq!(lists.sent(source, names, NOW), Verdict::Drop);
        // All UDP, whatever the port.
        lists.block_only(source, only(protocol::UDP, 0)).unwrap();
        assert_eq!(
            lists.sent(source, only(protocol::UDP, 999), NOW),
            Verdict::Drop
        );
        assert_eq!(
            lists.sent(source, only(protocol::TCP, 999), NOW),
            Verdict::Pass
        );
    }
}

#[test]
fn scopes_of_a_source_are_limited() {
    let mut lists = lists();
    for port in 1..=4 {
        lists
            .block_only("192.0.2.7", only(protocol::TCP, port))
            .unwrap();
    }
    let fifth = lists.block_only("192.0.2.7", only(protocol::TCP, 5));
    assert!(
        matches!(fifth, Err(BlockError::TooManyScopes { .. })),
        "{fifth:?}"
    );
    lists.block("192.0.2.7");
    assert_eq!(
        lists.sent("192.0.2.7", only(protocol::TCP, 5), NOW),
        Verdict::Drop
    );
}

#[test]
fn limits_the_rate_and_lets_a_second_through_at_once() {
    let mut lists = lists();
    let limit = Measure::RateLimit { packets_per_s: 10 };
    for (source, target) in [("192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::/48")] {
        lists.add(&request(target, ALL, limit, 60)).unwrap();
        let web = only(protocol::TCP, 80);
        let n_passed = |lists: &mut Lists, at_ns: u64, every_ns: u64, n: u64| {
            let sent = (0..n).map(|i| lists.sent(source, web, at_ns + i * every_ns));
            sent.filter(|verdict| *verdict == Verdict::Pass).count()
        };
        assert_eq!(n_passed(&mut lists, NOW, 0, 100), 10, "at once");
        let steadily = n_passed(&mut lists, NOW + 5 * SECOND, SECOND / 100, 500);
        assert!((59..=60).contains(&steadily), "{steadily} in five seconds");
        assert_eq!(lists.packets(target), 90 + 500 - steadily as u64);
    }
    assert!(lists.twin.kernel.event(Event::RateLimited).packets > 900);
    assert_eq!(lists.twin.kernel.event(Event::Dropped).packets, 0);
}

/// A segment or datagram between a client's port 4,000 and our port 80.
fn between(source: &str, is_ours: bool, protocol: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let ports = if is_ours { (80, 4_000) } else { (4_000, 80) };
    let (transport, sum_at) = match protocol {
        protocol::UDP => (frames::udp(ports, payload), 6),
        _ => (frames::tcp(ports, flags, payload), 16),
    };
    let ends = |ours: IpAddr| match (ours, source.parse().unwrap(), is_ours) {
        (ours, theirs, true) => (ours, theirs),
        (ours, theirs, false) => (theirs, ours),
    };
    if source.contains(':') {
        let ours = Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 1);
        let (IpAddr::V6(from), IpAddr::V6(to)) = ends(ours.into()) else {
            panic!("{source}")
        };
        return ethernet(IPV6, &ipv6_between(protocol, [from, to], transport, sum_at));
    }
    let (IpAddr::V4(from), IpAddr::V4(to)) = ends(IpAddr::from([198, 51, 100, 1])) else {
        panic!("{source}")
    };
    ipv4::packet(protocol, from.octets(), to.octets(), &transport)
}

/// Live sessions of an address that somebody else forges go on; nothing new comes in from it.
#[test]
fn flows_that_go_both_ways_pass_a_limit_and_a_quarantine() {
    const ACK: u8 = 0x10;
    let mut lists = lists();
    let limit = Measure::RateLimit { packets_per_s: 1 };
    let both = [protocol::TCP, protocol::UDP];
    for (source, measure) in [
        ("192.0.2.7", Measure::Quarantine),
        ("192.0.2.8", limit),
        ("2001:db8::7", Measure::Quarantine),
        ("2001:db8::8", limit),
    ] {
        let arrives = |lists: &mut Lists, protocol, flags| {
            let frame = between(source, false, protocol, flags, &[1; 8]);
            lists.twin.run_ingress(&Case::ingress(NOW, frame)).unwrap()
        };
        let leaves = |lists: &mut Lists, protocol, flags, payload: &[u8]| {
            let frame = between(source, true, protocol, flags, payload);
            let case = Case::ingress(NOW, frame).outgoing(1);
            lists.twin.run_egress(&case).unwrap();
        };
        lists.add(&request(source, ALL, measure, 60)).unwrap();
        if measure == limit {
            assert_eq!(arrives(&mut lists, protocol::TCP, SYN), Verdict::Pass);
        }
        for protocol in both {
            assert_eq!(arrives(&mut lists, protocol, ACK), Verdict::Drop);
        }
        // A handshake that somebody forges brings no more than this about.
        leaves(&mut lists, protocol::TCP, SYN | ACK, &[]);
        leaves(&mut lists, protocol::TCP, ACK, &[]);
        assert_eq!(arrives(&mut lists, protocol::TCP, ACK), Verdict::Drop);
        for protocol in both {
            leaves(&mut lists, protocol, ACK, b"answer");
        }
        for protocol in both {
            for _ in 0..30 {
                assert_eq!(
                    arrives(&mut lists, protocol, ACK),
                    Verdict::Pass,
                    "{source}"
                );
            }
        }
        assert_eq!(arrives(&mut lists, protocol::TCP, SYN), Verdict::Drop);
    }
    let events = [Event::Quarantined, Event::RateLimited];
    let counts = events.map(|event| lists.twin.kernel.event(event).packets);
    assert_eq!(counts, [8, 8]);
    assert_eq!(lists.packets("192.0.2.7"), 4);
    // And a monitor says what it would do.
    lists.blocks.state().enforce = 0;
    lists.blocks.open_gate();
    assert_eq!(
        lists.sent("192.0.2.7", only(protocol::TCP, 80), NOW),
        Verdict::Pass
    );
    assert_eq!(lists.twin.kernel.event(Event::WouldDrop).packets, 1);
    assert_eq!(lists.packets("192.0.2.7"), 5);
}

#[test]
fn the_allow_list_comes_first() {
    let mut lists = lists();
    let sources = ["192.0.2.7", "10.1.2.3", "2001:db8::7", "2a00:1::1"];
    for network in ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32", "2a00:1::1"] {
        lists.block(network);
    }
    assert!(sources.iter().all(|source| lists.drops(source)));
    for network in ["192.0.0.0/16", "10.1.2.3", "2001:db8::7", "2a00::/16"] {
        lists.allow(network);
    }
    assert!(sources.iter().all(|source| !lists.drops(source)));
    assert!(lists.drops("10.1.2.4") && lists.drops("2001:db8::8"));
    assert_eq!(lists.twin.kernel.event(Event::Allowed).packets, 4);
    lists
        .allow
        .remove(&parse_network("192.0.0.0/16").unwrap())
        .unwrap();
    assert!(lists.drops("192.0.2.7"));
}

#[test]
fn monitoring_counts_each_entry_and_drops_nothing() {
    let mut lists = lists();
    lists.blocks.state().enforce = 0;
    lists.block("192.0.2.7");
    lists.block("2001:db8::/32");
    for _ in 0..5 {
        assert!(!lists.drops("192.0.2.7") && !lists.drops("2001:db8:5::1"));
    }
    assert_eq!(lists.packets("192.0.2.7"), 5);
    assert_eq!(lists.packets("2001:db8::/32"), 5);
    assert_eq!(lists.twin.kernel.event(Event::WouldDrop).packets, 10);
    assert_eq!(lists.twin.kernel.event(Event::Dropped).packets, 0);
}

#[test]
fn the_kernel_ends_a_block_in_time() {
    let mut lists = lists();
    let web = only(protocol::TCP, 80);
    for (source, target) in [("192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::/48")] {
        lists.block(target);
        let end = NOW + 60 * SECOND;
        assert_eq!(lists.sent(source, web, end - 1), Verdict::Drop);
        assert_eq!(lists.sent(source, web, end), Verdict::Pass);
    }
    assert_eq!(lists.blocks.expire(NOW + 59 * SECOND).len(), 0);
    assert_eq!(lists.blocks.expire(NOW + 60 * SECOND).len(), 2);
    assert!(lists.blocks.is_empty());
    let gate = *lists.blocks.state();
    assert_eq!((gate.n_sources, gate.n_prefixes), (0, 0));
    assert_eq!(
        (gate.n_shapes_v4, gate.n_shapes_v6, gate.block_planes),
        (0, 0, 0)
    );
}

/// Networks close to each other, by chance.
fn network(dice: &mut Dice) -> String {
    let mut below = |n: usize| dice.below(n);
    if below(2) == 0 {
        let length = 12 + below(21);
        format!("10.{}.{}.{}/{length}", below(3), below(3), below(3))
    } else {
        let length = 16 + below(113);
        format!(
            "2001:{:x}:{:x}::{:x}/{length}",
            below(3),
            below(3),
            below(3)
        )
    }
}

/// The kernel agrees with a list of networks, whatever was added, removed and over.
#[test]
fn the_kernel_agrees_with_a_plain_list() {
    let mut lists = lists();
    let mut dice = Dice(7);
    let mut plain: BTreeMap<_, u64> = BTreeMap::new();
    let web = only(protocol::TCP, 80);
    for round in 0..400u64 {
        let now_ns = NOW + round * SECOND;
        let target = parse_network(&network(&mut dice)).unwrap();
        let ttl_s = 1 + dice.below(200) as u64;
        if plain.contains_key(&target) && dice.below(2) == 0 {
            lists.blocks.remove(&target, ALL).unwrap();
            plain.remove(&target);
        } else {
            let ask = request(&target.to_string(), ALL, Measure::Drop, ttl_s);
            match lists.blocks.add(&ask, now_ns) {
                Ok(()) => {
                    plain.insert(target, now_ns + ttl_s * SECOND);
                }
                Err(BlockError::TooManyLengths { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        // At times the agent is late.
        if dice.below(3) == 0 {
            lists.blocks.expire(now_ns);
            plain.retain(|_, end| *end > now_ns);
            assert_eq!(lists.blocks.len(), plain.len());
        }
        for _ in 0..8 {
            let source = parse_network(&network(&mut dice)).unwrap().addr();
            let expected = plain
                .iter()
                .any(|(net, end)| net.contains(&source) && *end > now_ns);
            // More nested entries than are looked at may be over: see the limit in the block check.
            let n_over = plain
                .iter()
                .filter(|(net, end)| net.contains(&source) && **end <= now_ns)
                .count();
            if n_over >= 4 {
                continue;
            }
            let verdict = lists.sent(&source.to_string(), web, now_ns);
            assert_eq!(
                verdict == Verdict::Drop,
                expected,
                "{source} in round {round}"
            );
        }
    }
    assert!(plain.len() > 20);
}

/// Lists in the maps of the run before are found unchanged.
#[test]
fn lists_are_found_again_in_the_maps() {
    let mut lists = lists();
    let targets = ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32", "2001:db8::7"];
    for target in targets {
        lists.block(target);
        lists.block_only(target, only(protocol::TCP, 22)).unwrap();
    }
    assert!(lists.drops("10.1.1.1"));
    let before: Vec<_> = lists.blocks.list().collect();
    let Lists { mut twin, .. } = lists;
    let (found, _) = Blocklist::new(
        twin.kernel.block_arrays().unwrap(),
        LoadOptions::fixed().seed,
    );
    let after: Vec<_> = found.list().collect();
    assert_eq!(before.len(), 8);
    assert_eq!(after.len(), before.len());
    for (one, other) in before.iter().zip(&after) {
        assert_eq!(
            (one.target, one.scope, one.measure),
            (other.target, other.scope, other.measure)
        );
        assert_eq!(
            (one.expires_ns, one.packets),
            (other.expires_ns, other.packets)
        );
    }
}

#[test]
fn a_hundred_thousand_sources_and_prefixes_are_held() {
    let mut lists = lists();
    let measure = Measure::Drop;
    let host = |i: u32| {
        request(
            &std::net::Ipv4Addr::from(0x0b00_0000 + i * 37).to_string(),
            ALL,
            measure,
            60,
        )
    };
    let prefix = |i: u32| {
        request(
            &format!("2a0{:x}:{:x}::/48", i % 16, i / 16),
            ALL,
            measure,
            60,
        )
    };
    let hosts: Vec<Request> = (0..100_000).map(host).collect();
    let prefixes: Vec<Request> = (0..100_000).map(prefix).collect();
    let mut refused = Vec::new();
    for requests in [&hosts, &prefixes] {
        let n = lists
            .blocks
            .load_bulk(requests, NOW, |_, cause| refused.push(cause));
        assert_eq!((n, refused.len()), (100_000, 0));
    }
    for i in (0..100_000).step_by(997) {
        let source = hosts[i].target.addr().to_string();
        assert!(lists.drops(&source), "{source}");
        let source = prefixes[i].target.broadcast().to_string();
        assert!(lists.drops(&source), "{source}");
    }
    assert!(!lists.drops("11.0.0.1") && !lists.drops("192.0.2.1"));
    // No system call and nothing for the kernel to free: no CPU is held up by it.
    let start = std::time::Instant::now();
    assert_eq!(lists.blocks.flush(|_, _| true).len(), 200_000);
    println!("200,000 entries deleted in {:?}", start.elapsed());
    assert!(!lists.drops(&hosts[5].target.addr().to_string()));
}

#[test]
fn an_operators_block_is_neither_shortened_nor_renamed_by_an_automatic_one() {
    let mut lists = lists();
    let slow = Measure::RateLimit { packets_per_s: 5 };
    let listed = |lists: &Lists| lists.blocks.list().next().unwrap();
    lists.add(&request("198.51.100.7", ALL, slow, 600)).unwrap();
    lists
        .add(&automatic("198.51.100.7", Measure::Drop, 60))
        .unwrap();
    let kept = listed(&lists);
    assert_eq!(kept.expires_ns, NOW + 600 * SECOND);
    assert_eq!((&*kept.reason, kept.measure), ("test", slow));
    assert_eq!(*kept.origin, Origin::Operator { uid: 0 });
    // The later expiry holds.
    lists
        .add(&automatic("198.51.100.7", Measure::Drop, 900))
        .unwrap();
    let kept = listed(&lists);
    assert_eq!(
        (kept.expires_ns, &*kept.reason),
        (NOW + 900 * SECOND, "test")
    );
    // What an operator asked for, an operator may shorten.
    lists.add(&request("198.51.100.7", ALL, slow, 30)).unwrap();
    assert_eq!(listed(&lists).expires_ns, NOW + 30 * SECOND);

    // The other way round the operator takes the entry over, at its time.
    lists.blocks.flush(|_, _| true);
    lists.add(&automatic("198.51.100.8", slow, 300)).unwrap();
    lists
        .add(&request("198.51.100.8", ALL, Measure::Drop, 60))
        .unwrap();
    let taken = listed(&lists);
    assert_eq!(
        (taken.expires_ns, taken.measure),
        (NOW + 300 * SECOND, Measure::Drop)
    );
    assert_eq!(*taken.origin, Origin::Operator { uid: 0 });
    // Nor does an automatic one shorten another.
    lists.add(&automatic("198.51.100.9", slow, 300)).unwrap();
    lists.add(&automatic("198.51.100.9", slow, 20)).unwrap();
    let mut all = lists.blocks.list();
    let last = all.find(|listed| listed.target.to_string().starts_with("198.51.100.9"));
    assert_eq!(last.unwrap().expires_ns, NOW + 300 * SECOND);
}

/// A forger has a quarter of the room for scopes, and takes none of the others'.
#[test]
fn entries_about_sources_never_proven_give_way_among_themselves() {
    let mut lists = lists();
    let limit = Measure::RateLimit { packets_per_s: 100 };
    let web = only(protocol::TCP, 80);
    let share = SCOPE_SETS / 4;
    let asked = |n: u32, is_proven| Request {
        scope: web,
        is_proven,
        grounds: None,
        target: IpAddr::V4(std::net::Ipv4Addr::from(0x0a00_0000 + n)).into(),
        ..automatic("192.0.2.1", limit, 300 + u64::from(n) / 100)
    };
    for n in 0..100 {
        lists.add(&asked(1_000_000 + n, true)).unwrap();
    }
    for n in 0..5 * share {
        lists.add(&asked(n, false)).unwrap();
    }
    assert_eq!(lists.blocks.len() as u32, 100 + share);
    let n_evicted = lists.blocks.take_evicted().len() as u32;
    assert_eq!(n_evicted, 4 * share);
    let real = lists.blocks.list().filter(|listed| {
        let first: IpAddr = "10.15.66.64".parse().unwrap();
        listed.target.addr() >= first
    });
    assert_eq!(real.count(), 100, "those proven real");
    // A full table takes what is proven all the same, and an operator's word.
    for n in 0..SCOPE_SETS {
        lists.add(&asked(2_000_000 + n, true)).unwrap();
    }
    lists.block_only("192.0.2.99", web).unwrap();
    assert_eq!(lists.sent("192.0.2.99", web, NOW), Verdict::Drop);
    assert!(lists.blocks.len() as u32 <= SCOPE_SETS);
}
