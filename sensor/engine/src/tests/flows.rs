use super::*;
use crate::{EndReason, FlowSummary};
use sensor_common::packet::Realm;
use sensor_common::packet::protocol::{TCP, UDP};

fn ends(protocol: u8) -> Ends {
    Ends {
        a: (ip(1), 40_000),
        b: (ip(2), 80),
        protocol,
    }
}

fn ended(out: &[Output]) -> Vec<&FlowSummary> {
    out.iter()
        .filter_map(|output| match output {
            Output::FlowEnd(summary) => Some(summary),
            _ => None,
        })
        .collect()
}

#[test]
fn totals_are_sent_plus_live_over_two_cpus() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let none = Direction::EMPTY;
    let ends = ends(UDP);
    let up = |n, first| packets(n, T0 + first, T0 + first + 9, 0);
    let first = flow(&ends, 0, 7, [up(10, 0), none]);
    let grown = flow(&ends, 0, 7, [up(15, 0), none]);
    let other = flow(&ends, 1, 3, [none, up(4, 5)]);
    let third = flow(&ends, 2, 9, [up(6, 20), none]);
    let next = flow(&ends, 0, 8, [up(1, 30), none]);
    for live in [&first, &first, &other, &third] {
        engine.handle(T0, Input::FlowLive(live), &mut out);
    }
    engine.handle(T0, Input::FlowSent(&grown), &mut out);
    // Read before the record was sent, handed in after.
    engine.handle(T0, Input::FlowLive(&first), &mut out);
    engine.handle(T0, Input::FlowLive(&next), &mut out);
    engine.finish(T0 + MS, &mut out);
    let ended = ended(&out);
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].forward.packets, 15 + 6 + 1);
    assert_eq!(ended[0].forward.bytes, 22 * 60);
    assert_eq!(ended[0].backward.packets, 4);
    assert_eq!(ended[0].end_reason, EndReason::ForcedEnd);
}

#[test]
fn the_sender_of_a_syn_is_the_initiator_even_if_seen_late() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let answer = packets(1, T0, T0, 0x12);
    let syn = packets(1, T0 + 5, T0 + 5, 0x02);
    let record = flow(&ends(TCP), 0, 1, [answer, syn]);
    engine.handle(T0 + MS, Input::FlowLive(&record), &mut out);
    engine.finish(T0 + MS, &mut out);
    assert_eq!(ended(&out)[0].source_port, 80);
}

#[test]
fn a_slot_that_outlives_its_flow_is_not_counted_twice() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let none = Direction::EMPTY;
    let second = 1000 * MS;
    let record = flow(&ends(UDP), 0, 1, [packets(10, T0, T0, 0), none]);
    for i in 0..20 {
        engine.handle(T0 + i * second, Input::FlowLive(&record), &mut out);
        tick(&mut engine, T0 + i * second, &mut out);
    }
    assert_eq!(ended(&out).len(), 1);
    assert_eq!(ended(&out)[0].end_reason, EndReason::IdleTimeout);
    let now = T0 + 20 * second;
    let record = flow(&ends(UDP), 0, 1, [packets(12, T0, now, 0), none]);
    engine.handle(now, Input::FlowLive(&record), &mut out);
    engine.finish(now, &mut out);
    let packets: u64 = ended(&out).iter().map(|end| end.forward.packets).sum();
    assert_eq!(packets, 12);
}

#[test]
fn a_record_that_the_cache_has_left_behind_is_forgotten() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let second = 1000 * MS;
    let record = flow(&ends(UDP), 0, 1, [packets(10, T0, T0, 0), Direction::EMPTY]);
    engine.handle(T0, Input::FlowLive(&record), &mut out);
    for i in 0..30 {
        tick(&mut engine, T0 + i * second, &mut out);
    }
    let then = T0 + 30 * second;
    engine.handle(then, Input::FlowLive(&record), &mut out);
    engine.handle(then, Input::FlowSent(&record), &mut out);
    assert_eq!(engine.stats().n_flows, 0);
    // The flow goes on: a new life of the slot.
    let next = flow(
        &ends(UDP),
        0,
        2,
        [packets(1, then, then, 0), Direction::EMPTY],
    );
    engine.handle(then, Input::FlowLive(&next), &mut out);
    engine.finish(then, &mut out);
    let ended: Vec<u64> = ended(&out).iter().map(|end| end.forward.packets).collect();
    assert_eq!(ended, [10, 1]);
}

#[test]
fn a_long_flow_is_exported_in_periods() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let second = 1000 * MS;
    for i in 0..300u64 {
        let now = T0 + i * second;
        let both = [
            packets(2 * (i as u16 + 1), T0, now, 0),
            packets(1, T0, T0, 0),
        ];
        let record = flow(&ends(UDP), 0, 1, both);
        engine.handle(now, Input::FlowLive(&record), &mut out);
        tick(&mut engine, now, &mut out);
    }
    engine.finish(T0 + 300 * second, &mut out);
    let ended = ended(&out);
    let reasons: Vec<EndReason> = ended.iter().map(|end| end.end_reason).collect();
    let active = EndReason::ActiveTimeout;
    assert_eq!(reasons, [active, active, EndReason::ForcedEnd]);
    let packets: Vec<u64> = ended.iter().map(|end| end.forward.packets).collect();
    assert_eq!(packets, [242, 240, 118]);
    assert_eq!(ended[1].first_ns, T0 + 120 * second);
}

#[test]
fn flows_of_a_run_before_continue_without_an_update() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let second = 1000 * MS;
    let now = T0 + 40 * second;
    let looked_ns = now - 2 * second;
    let past = |engine: &mut Engine, flow: &Flow, is_final, out: &mut Vec<Output>| {
        let past = Input::FlowPast {
            flow,
            is_final,
            looked_ns,
        };
        engine.handle(now, past, out);
    };
    // Thousands of flows of before would be a scan, were they read as one second's.
    for port in 0..3000u16 {
        let mut ends = ends(TCP);
        ends.b.1 = port;
        let syn = packets(1, now - second, now - second, 0x02);
        past(
            &mut engine,
            &flow(&ends, 0, 1, [syn, Direction::EMPTY]),
            false,
            &mut out,
        );
    }
    let mut over = ends(UDP);
    over.a.1 = 1;
    let old = packets(7, T0, T0 + second, 0);
    past(
        &mut engine,
        &flow(&over, 0, 1, [old, Direction::EMPTY]),
        false,
        &mut out,
    );
    let mut sent = ends(UDP);
    sent.a.1 = 2;
    let ring = packets(9, now - 3 * second, now - second, 0);
    past(
        &mut engine,
        &flow(&sent, 0, 1, [ring, Direction::EMPTY]),
        true,
        &mut out,
    );
    let live = |n, last| packets(n, T0, last, 0);
    let known = flow(&ends(UDP), 0, 1, [live(5, now), live(5, now)]);
    past(&mut engine, &known, false, &mut out);
    assert_eq!(out, []);
    tick(&mut engine, now, &mut out);
    let next = flow(&ends(UDP), 0, 1, [live(8, now + second), live(5, now)]);
    engine.handle(now + second, Input::FlowLive(&next), &mut out);
    for i in 1..17 {
        tick(&mut engine, now + i * second, &mut out);
    }
    engine.finish(now + 17 * second, &mut out);
    assert!(
        out.iter().all(|o| matches!(o, Output::FlowEnd(_))),
        "{out:?}"
    );
    let udp = ended(&out).into_iter().filter(|end| end.protocol == UDP);
    let mut udp: Vec<(u16, u64)> = udp
        .map(|end| (end.source_port, end.forward.packets))
        .collect();
    udp.sort_unstable();
    // What had ended before was told of before; what waited in the ring, and what goes on, is told
    // of whole.
    assert_eq!(udp, [(2, 9), (40_000, 8)]);
    assert_eq!(ended(&out).len(), 3002);
}

#[test]
fn fin_both_ways_ends_a_flow() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let both = [packets(3, T0, T0, 0x11), packets(3, T0, T0, 0x11)];
    let record = flow(&ends(TCP), 0, 1, both);
    engine.handle(T0, Input::FlowSent(&record), &mut out);
    tick(&mut engine, T0 + 1000 * MS, &mut out);
    assert_eq!(ended(&out)[0].end_reason, EndReason::EndOfFlow);
    assert_eq!(engine.stats().n_flows, 0);
}

#[test]
fn the_table_is_bounded() {
    let mut config = Config::default();
    config.flow.max_flows = 100;
    let (mut engine, mut out) = (Engine::new(config), Vec::new());
    for i in 0..1000u16 {
        let mut ends = ends(UDP);
        ends.a.1 = i;
        let one = packets(1, T0, T0 + u64::from(i), 0);
        let record = flow(&ends, 0, 1, [one, Direction::EMPTY]);
        engine.handle(T0 + 1000, Input::FlowLive(&record), &mut out);
    }
    assert_eq!(engine.stats().n_flows, 100);
    assert_eq!(engine.stats().losses.of(crate::Loss::Flows), 900);
    assert_eq!(ended(&out).len(), 900);
}

/// Prints what a record costs: `cargo test --release throughput -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn throughput() {
    let (mut engine, mut out) = (engine(), Vec::new());
    let n = 1_000_000u32;
    for (pass, count) in [("new", 1u16), ("unchanged", 1), ("changed", 2)] {
        let begin = std::time::Instant::now();
        for i in 0..n {
            let ends = Ends {
                a: (v4_mapped(i), 40_000),
                b: (ip(2), 443),
                protocol: TCP,
            };
            let both = [packets(count, T0, T0, 0x02), packets(count, T0, T0, 0x12)];
            let record = flow(&ends, 0, 1, both);
            engine.handle(T0, Input::FlowLive(&record), &mut out);
        }
        let records = begin.elapsed();
        let begin = std::time::Instant::now();
        tick(&mut engine, T0 + 1, &mut out);
        println!(
            "{pass}: {:.2} M records/s, tick {:?}",
            f64::from(n) / records.as_secs_f64() / 1e6,
            begin.elapsed()
        );
    }
}

#[test]
fn of_two_packets_with_equal_times_the_first_seen_began_the_flow() {
    for (initiator, source) in [(0, ip(1)), (1, ip(2))] {
        let ends = Ends {
            a: (ip(1), 0),
            b: (ip(2), 0),
            protocol: 1,
        };
        let mut flow = flow(&ends, 0, 1, [packets(3, T0, T0, 0), packets(3, T0, T0, 0)]);
        flow.head.initiator = initiator;
        let mut out = Vec::new();
        let mut engine = engine();
        engine.handle(T0, Input::FlowLive(&flow), &mut out);
        let live: Vec<_> = engine.flows(0, 10).collect();
        assert_eq!(live.len(), 1);
        assert_eq!(
            live[0].source,
            crate::to_ip(&source),
            "initiator {initiator}"
        );
        assert_eq!(engine.flows(1, 10).count(), 0);
    }
}

/// A record whose first packet came from `a`, or from `b`, in a VLAN or in none.
fn in_vlan(vlan: u16, is_from_b: bool) -> Flow {
    let (none, up) = (Direction::EMPTY, packets(1, T0, T0, 0));
    let directions = if is_from_b { [none, up] } else { [up, none] };
    let mut flow = flow(&ends(UDP), 0, 1 + u32::from(vlan), directions);
    flow.head.realm = Realm::of_vlans(vlan, 0);
    flow.head.initiator = u8::from(is_from_b);
    flow
}

#[test]
fn vlans_tell_flows_apart_but_for_a_tag_on_one_side_alone() {
    for (one, other, n_flows) in [
        ((100, false), (0, true), 1),
        ((0, false), (100, true), 1),
        ((0, true), (100, false), 1),
        ((100, false), (200, true), 2),
        ((100, false), (200, false), 2),
        ((0, false), (100, false), 2),
        ((100, false), (100, true), 1),
    ] {
        let (mut engine, mut out) = (engine(), Vec::new());
        for (vlan, is_from_b) in [one, other, one] {
            let record = in_vlan(vlan, is_from_b);
            engine.handle(T0, Input::FlowLive(&record), &mut out);
        }
        engine.finish(T0 + MS, &mut out);
        let ended = ended(&out);
        assert_eq!(ended.len(), n_flows, "{one:?} {other:?}");
        if n_flows == 1 {
            assert_eq!(ended[0].realm.vlan(), 100, "{one:?} {other:?}");
            assert_eq!(
                (ended[0].forward.packets, ended[0].backward.packets),
                (1, 1)
            );
        }
    }
}
