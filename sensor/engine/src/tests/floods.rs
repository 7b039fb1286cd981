use super::*;

/// Feeds `n` ticks of rows that grow by the given steps.
fn run(
    engine: &mut Engine,
    n: u32,
    local: (HostSide, HostSide),
    remotes: &[(Address, HostSide, HostSide)],
) -> Vec<Output> {
    let mut out = Vec::new();
    for i in 1..=n {
        let locals = [row(ip(1), times(local.0, i), times(local.1, i))];
        let remotes: Vec<HostRow> = remotes
            .iter()
            .map(|(address, toward, from)| row(*address, times(*toward, i), times(*from, i)))
            .collect();
        let input = Input::Hosts {
            local: &locals,
            remote: &remotes,
        };
        engine.handle(T0 + u64::from(i) * 100 * MS, input, &mut out);
        if i.is_multiple_of(10) {
            tick(engine, T0 + u64::from(i) * 100 * MS, &mut out);
        }
    }
    out
}

fn times(side: HostSide, n: u32) -> HostSide {
    HostSide {
        packets: side.packets * u64::from(n),
        bytes: side.bytes * u64::from(n),
        n_syn: side.n_syn * n,
        n_syn_ack: side.n_syn_ack * n,
        n_rst: side.n_rst * n,
        n_ack: side.n_ack * n,
        n_udp: side.n_udp * n,
        n_icmp: side.n_icmp * n,
        n_fragments: side.n_fragments * n,
        n_new_flows: side.n_new_flows * n,
        ..HostSide::EMPTY
    }
}

fn side(packets: u32, set: impl FnOnce(&mut HostSide)) -> HostSide {
    let mut side = HostSide {
        packets: u64::from(packets),
        bytes: u64::from(packets) * 100,
        ..HostSide::EMPTY
    };
    set(&mut side);
    side
}

fn syn_flood() -> (HostSide, HostSide) {
    let toward = side(1000, |s| (s.n_syn, s.n_new_flows) = (1000, 1000));
    (toward, side(1000, |s| s.n_syn_ack = 1000))
}

#[test]
fn a_spoofed_syn_flood_is_found_at_the_second_look_and_names_no_source() {
    let out = run(&mut engine(), 2, syn_flood(), &[]);
    let incidents = incidents(&out);
    assert_eq!(incidents.len(), 1);
    assert_eq!(incidents[0].family, Family::SynFlood);
    assert!(incidents[0].is_spoofed && incidents[0].sources.is_empty());
    assert!(!out.iter().any(|o| matches!(o, Output::Decision(_))));
}

#[test]
fn a_heavy_source_is_named_and_dropped_once() {
    let (toward, from) = syn_flood();
    let out = run(&mut engine(), 30, (toward, from), &[(ip(9), from, toward)]);
    assert_eq!(incidents(&out)[0].sources, [crate::to_ip(&ip(9))]);
    let decisions = out.iter().filter(|o| matches!(o, Output::Decision(_)));
    assert_eq!(decisions.count(), 1);
}

/// Registers of a sketch of so many ports.
fn ports(n: u16) -> [u8; sensor_common::host::REGISTERS] {
    let mut row = HostRow::EMPTY;
    for service_port in 1..=n {
        let contact = sensor_common::host::Contact {
            host: &ip(1),
            peer: &ip(8),
            service_port,
            is_toward: true,
        };
        row.count_flow::<sensor_common::flow::Unshared>(&contact, 1, true);
    }
    row.ports
}

/// Looks of 100 ms at a host that gets the SYNs of two others: `sent(look)` says how many of each
/// went before the look's end, and to how many ports.
fn two_senders(n: u32, sent: impl Fn(u32) -> ([u32; 2], u16)) -> Vec<Output> {
    let syns = |n: u32| side(n, |s| (s.n_syn, s.n_new_flows) = (n, n));
    let (mut engine, mut out) = (engine(), Vec::new());
    for i in 1..=n {
        let ([first, second], n_ports) = sent(i);
        let mut victim = row(ip(1), syns(first + second), HostSide::EMPTY);
        victim.ports = ports(n_ports);
        let of = |address, n| row(address, HostSide::EMPTY, syns(n));
        let at_ns = T0 + u64::from(i) * 100 * MS;
        victim.last_ns = at_ns;
        let remote = [of(ip(8), first), of(ip(9), second)];
        let local = [victim];
        let input = Input::Hosts {
            local: &local,
            remote: &remote,
        };
        engine.handle(at_ns, input, &mut out);
        if i.is_multiple_of(10) {
            tick(&mut engine, at_ns, &mut out);
        }
    }
    out
}

fn reasons(out: &[Output]) -> Vec<(std::net::IpAddr, &str)> {
    let decided = out.iter().filter_map(|output| match output {
        Output::Decision(decision) => Some((decision.target.addr(), decision.reason.as_str())),
        _ => None,
    });
    decided.collect()
}

#[test]
fn a_flood_has_a_start_and_a_reason_of_its_own_and_not_those_of_a_scan_before() {
    for n_scanned in [600, 6_000] {
        // One host scans for two seconds; another floods from then on, without a pause.
        let out = two_senders(30, |i| {
            let scanned = n_scanned * i.min(20) / 20;
            ([scanned, 1_000 * i.saturating_sub(20)], scanned as u16)
        });
        let incidents = incidents(&out);
        assert_eq!(families(&out), [Family::SynFlood]);
        assert_eq!(incidents[0].sources, [crate::to_ip(&ip(9))]);
        let start = incidents[0].start_ns - T0;
        assert!((1_900 * MS..=2_200 * MS).contains(&start), "{start}");
        let decided = reasons(&out);
        assert_eq!(decided[0].0, crate::to_ip(&ip(9)));
        assert!(!decided[0].1.contains("10.0.0.8"), "{decided:?}");
    }
}

#[test]
fn a_host_that_goes_on_to_flood_after_its_scan_is_found_with_the_floods_start() {
    let out = two_senders(40, |i| {
        let (scanned, flood) = (50 * i.min(20), 1_000 * i.saturating_sub(20));
        ([scanned + flood, 0], scanned as u16)
    });
    assert_eq!(families(&out), [Family::SynFlood]);
    assert!(incidents(&out)[0].start_ns >= T0 + 2_000 * MS);
}

#[test]
fn floods_of_two_hosts_one_after_the_other_are_two_incidents() {
    // A flood of each, and five seconds of silence between them.
    let out = two_senders(90, |i| {
        ([1_000 * i.min(20), 2_000 * i.saturating_sub(70).min(20)], 1)
    });
    let opened: Vec<_> = incidents(&out)
        .into_iter()
        .filter(|i| i.state == crate::State::Opened)
        .collect();
    let sources = |i: usize| opened[i].sources.clone();
    assert_eq!(opened.len(), 2, "{:#?}", incidents(&out));
    assert_eq!(sources(0), [crate::to_ip(&ip(8))]);
    assert_eq!(sources(1), [crate::to_ip(&ip(9))]);
    assert!(opened[1].start_ns >= T0 + 6_900 * MS);
    let decided = reasons(&out);
    assert_eq!(decided.len(), 2);
    assert!(decided[1].1.contains("10.0.0.9 over"), "{decided:?}");
}

#[test]
fn floods_of_the_other_kinds_are_found() {
    let icmp = side(500, |s| (s.n_icmp, s.n_new_flows) = (500, 500));
    let udp = side(5000, |s| (s.n_udp, s.n_new_flows) = (5000, 5000));
    let ack = side(5000, |s| (s.n_ack, s.n_new_flows) = (5000, 5000));
    let fragment = side(900, |s| (s.n_fragments, s.n_new_flows) = (900, 900));
    let reset = side(5000, |s| s.n_rst = 5000);
    let nothing = HostSide::EMPTY;
    let cases = [
        (icmp, icmp, Family::IcmpFlood),
        (udp, nothing, Family::UdpFlood),
        (ack, reset, Family::AckFlood),
        (fragment, nothing, Family::FragmentFlood),
    ];
    for (toward, from, family) in cases {
        let out = run(&mut engine(), 3, (toward, from), &[]);
        assert_eq!(families(&out), [family]);
    }
}

#[test]
fn bulk_transfers_are_silent() {
    // 10 Gbit/s up: 80,000 segments a second, one ACK in eight.
    let data = side(8000, |s| s.n_ack = 8000);
    let acks = side(1000, |s| s.n_ack = 1000);
    let out = run(&mut engine(), 50, (data, acks), &[(ip(9), acks, data)]);
    assert_eq!(families(&out), []);
    let out = run(&mut engine(), 50, (acks, data), &[(ip(9), data, acks)]);
    assert_eq!(families(&out), []);
}

#[test]
fn web_server_and_backscatter_are_silent() {
    let toward = side(5000, |s| (s.n_syn, s.n_ack) = (500, 4000));
    let from = side(5000, |s| (s.n_syn_ack, s.n_ack) = (500, 4000));
    assert_eq!(families(&run(&mut engine(), 50, (toward, from), &[])), []);
    let backscatter = side(5000, |s| (s.n_syn_ack, s.n_rst) = (4000, 1000));
    let nothing = HostSide::EMPTY;
    let out = run(&mut engine(), 50, (backscatter, nothing), &[]);
    assert_eq!(families(&out), []);
}

#[test]
fn a_row_that_restarts_is_no_flood() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let big = side(1_000_000, |s| s.n_syn = 0);
    for i in 1..20u32 {
        let mut second = row(ip(1), times(big, 1), HostSide::EMPTY);
        second.toward.n_syn = 1_000_000;
        second.place = 4_096;
        let mut first = row(ip(1), side(i, |s| s.n_syn = i), HostSide::EMPTY);
        first.generation = 1 + i / 10;
        let locals = [first, second];
        let input = Input::Hosts {
            local: &locals,
            remote: &[],
        };
        engine.handle(T0 + u64::from(i) * 100 * MS, input, &mut out);
    }
    assert_eq!(families(&out), []);
}

#[test]
fn incidents_close_and_equal_inputs_give_equal_outputs() {
    let once = || {
        let mut engine = engine();
        let mut out = run(&mut engine, 20, syn_flood(), &[]);
        tick(&mut engine, T0 + 60_000 * MS, &mut out);
        out
    };
    let out = once();
    let last = incidents(&out).last().map(|i| i.state.label());
    assert_eq!(last, Some("closed"));
    assert_eq!(out, once());
}

/// One second of event time goes by before flows are looked at: the first pass vouches as any other.
#[test]
fn a_fast_transfer_is_no_flood_from_the_first_second() {
    let mut engine = engine();
    let mut out = Vec::new();
    let ends = Ends {
        a: (ip(7), 40_000),
        b: (ip(1), 5_201),
        protocol: sensor_common::packet::protocol::TCP,
    };
    let toward = side(3_000, |s| s.n_ack = 3_000);
    let from = side(15, |s| s.n_ack = 15);
    for i in 1..=21u32 {
        let at_ns = T0 + u64::from(i) * 100 * MS;
        let local = [row(ip(1), times(toward, i), times(from, i))];
        let remote = [row(ip(7), times(from, i), times(toward, i))];
        let input = Input::Hosts {
            local: &local,
            remote: &remote,
        };
        engine.handle(at_ns, input, &mut out);
        if i.is_multiple_of(10) {
            let both = [
                packets((3_000 * i) as u16, T0, at_ns, 0x10),
                packets((15 * i) as u16, T0, at_ns, 0x10),
            ];
            let record = flow(&ends, 0, 1, both);
            engine.handle(at_ns, Input::FlowLive(&record), &mut out);
            tick(&mut engine, at_ns, &mut out);
        }
    }
    let findings = |output: &&Output| matches!(output, Output::Finding(_));
    assert_eq!(out.iter().filter(findings).count(), 0, "{out:?}");
}

#[test]
fn datagrams_that_nobody_answers_do_not_become_usual_however_slowly_they_grow() {
    let (mut engine, mut out) = (engine(), Vec::new());
    // Half an hour from nothing to 15,000/s, all in one flow.
    let (mut sum, n_looks) = (0u32, 18_000u32);
    for look in 1..=n_looks {
        let at_ns = T0 + u64::from(look) * 100 * MS;
        sum += 1_500 * look / n_looks;
        let toward = side(sum, |s| (s.n_udp, s.n_new_flows) = (sum, 1));
        let locals = [row(ip(1), toward, side(look, |s| s.n_ack = look))];
        let input = Input::Hosts {
            local: &locals,
            remote: &[],
        };
        engine.handle(at_ns, input, &mut out);
        if look % 10 == 0 {
            tick(&mut engine, at_ns, &mut out);
        }
    }
    assert_eq!(families(&out), [Family::UdpFlood]);
}
