use super::*;
use crate::config::SECOND_NS;
use crate::features::pair_schema::PAIR_FEATURES;
use crate::flow::{Delta, Progress};
use crate::tests::{T0, ip};

fn attempt(source: u16, host: u16, port: u16, at_s: u64, progress: Progress) -> FlowUpdate {
    let at_ns = T0 + at_s * SECOND_NS;
    let packets = |n: u64| Delta {
        packets: n,
        bytes: 60 * n,
        length_sumsq: 3_600 * n,
        ..Delta::default()
    };
    FlowUpdate {
        source: ip(source),
        destination: ip(host),
        source_port: 40_000,
        destination_port: port,
        protocol: sensor_common::packet::protocol::TCP,
        is_claimed: false,
        has_fragments: false,
        forward: packets(2),
        backward: packets(1),
        n_forward: 2,
        n_backward: 1,
        is_attempt: true,
        is_one_way: false,
        begins_to_close: false,
        n_flags: [1, 0, 0, 0, 0],
        is_stray: false,
        is_new: true,
        progress,
        has_progressed: true,
        has_closed: false,
        first_ns: at_ns,
        last_ns: at_ns,
    }
}

fn column(vector: &PairVector, name: &str) -> f32 {
    let place = PAIR_FEATURES
        .iter()
        .position(|feature| feature.name == name);
    vector.values[place.expect("a column")]
}

fn closed(windows: &mut PairWindows, at_s: u64) -> Vec<PairVector> {
    let mut all = Vec::new();
    windows.close(T0 + at_s * SECOND_NS, false, &mut |vector| all.push(vector));
    all
}

#[test]
fn a_window_says_what_came_of_a_pairs_attempts_and_what_goes_on_elsewhere() {
    let mut windows = PairWindows::new(0);
    for n in 0..8 {
        let refused = attempt(1, 2, 100 + n, 1 + u64::from(n), Progress::Refused);
        windows.take_all(T0 + (1 + u64::from(n)) * SECOND_NS, &[refused]);
    }
    let used = attempt(1, 3, 80, 9, Progress::Established);
    windows.take_all(T0 + 9 * SECOND_NS, &[used.clone(), used.clone()]);
    let other = attempt(4, 2, 80, 9, Progress::Established);
    windows.take_all(T0 + 9 * SECOND_NS, &[other]);
    assert!(closed(&mut windows, 9).is_empty(), "the pane is not over");
    let vectors = closed(&mut windows, 10);
    let of = |host: Option<u16>| {
        let host = host.map(ip);
        let mut all = vectors.iter();
        all.find(|v| v.source == ip(1) && v.host == host)
            .expect("a vector")
    };
    let scanned = of(Some(2));
    assert_eq!(column(scanned, "refused_share"), 1.0);
    assert_eq!(column(scanned, "ports_per_flow"), 1.0);
    assert_eq!(column(scanned, "elsewhere_refused_share"), 0.0);
    assert_eq!(column(scanned, "others_refused_share"), 0.0);
    assert_eq!(column(scanned, "share_of_source"), 0.8);
    assert_eq!(column(scanned, "start_gap_deviation"), 0.0);
    assert_eq!(column(of(Some(3)), "elsewhere_refused_share"), 1.0);
    assert_eq!(column(of(None), "refused_share"), 0.8);
    assert_eq!(column(of(None), "share_of_host"), ABSENT);
    // Two packets each: too few to judge.
    assert!(vectors.iter().all(|v| v.source != ip(4)));
    assert!(vectors.iter().all(|v| v.at_ns == T0 + 10 * SECOND_NS));
}

#[test]
fn a_window_forgets_what_is_older_than_a_minute_and_silent_pairs_give_none() {
    let mut windows = PairWindows::new(0);
    for at_s in [1, 2, 35, 68] {
        let update = attempt(1, 2, 80, at_s, Progress::Established);
        closed(&mut windows, at_s);
        windows.take_all(T0 + at_s * SECOND_NS, &[update.clone(), update]);
    }
    let vectors = closed(&mut windows, 70);
    let pair = vectors.iter().find(|v| v.host.is_some()).expect("a vector");
    // Of 8 updates those of the last minute: the pane from 10 s on.
    assert_eq!(column(pair, "flows"), 5f32.ln());
    assert!(closed(&mut windows, 80).is_empty());
    windows.close(T0 + 900 * SECOND_NS, false, &mut |_| {});
    let mut tables = Vec::new();
    windows.tables(&mut tables);
    assert!(tables.iter().all(|table| table.n_entries == 0));
}

#[test]
fn the_last_window_is_handed_out_before_it_is_over() {
    let mut windows = PairWindows::new(0);
    let update = attempt(1, 2, 80, 3, Progress::Established);
    windows.take_all(T0 + 3 * SECOND_NS, &[update.clone(), update]);
    let mut all = Vec::new();
    windows.close(T0 + 4 * SECOND_NS, true, &mut |vector| all.push(vector));
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].at_ns, T0 + 4 * SECOND_NS);
}

#[test]
fn a_crowd_beyond_the_limit_is_counted_and_the_busiest_are_kept() {
    let mut windows = PairWindows::new(0);
    for source in 0..3_000u16 {
        let mut update = attempt(1_000 + source, 2, 80, 1, Progress::Established);
        update.forward.packets = u64::from(source) + 4;
        windows.take_all(T0 + SECOND_NS, &[update]);
    }
    let vectors = closed(&mut windows, 10);
    assert_eq!(vectors.len(), 2 * MAX_VECTORS);
    assert_eq!(windows.n_skipped, 2 * (3_000 - MAX_VECTORS as u64));
    assert!(vectors.iter().all(|v| v.n_packets > 900));
}
