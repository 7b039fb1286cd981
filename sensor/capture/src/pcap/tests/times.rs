//! Stamps that are out of line, and frames of several interfaces.

use super::super::TimeFault;
use super::*;

const T: u32 = 1_700_000_000;
const S: u64 = 1_000_000_000;
const T_NS: u64 = T as u64 * S;

/// Frames of the file with these stamps (s since `T`, µs), as event times since `T` in ms, and the
/// faults with their frames.
fn read_stamps(stamps: &[(i64, u32)]) -> (Vec<i64>, Vec<(u64, TimeFault)>) {
    let file = stamps.iter().fold(
        Writer::new(false).pcap_header(0xa1b2_c3d4, 1),
        |w, stamp| {
            let seconds = u32::try_from(i64::from(T) + stamp.0).unwrap();
            w.record(seconds, stamp.1, 60, b"frame")
        },
    );
    times(&file.out)
}

fn times(file: &[u8]) -> (Vec<i64>, Vec<(u64, TimeFault)>) {
    let (mut at_ms, mut faults) = (Vec::new(), Vec::new());
    for outcome in read_all(file).unwrap() {
        match outcome {
            Ok((at_ns, ..)) => {
                at_ms.push((at_ns.cast_signed() - T_NS.cast_signed()) / 1_000_000);
            }
            Err(CaptureError::Time { frame, fault }) => faults.push((frame, fault)),
            Err(other) => panic!("{other}"),
        }
    }
    (at_ms, faults)
}

/// A frame every tenth of a second, as stamps.
fn steady(n: u32) -> Vec<(i64, u32)> {
    let stamp = |i: u32| (i64::from(i / 10), i % 10 * 100_000);
    (0..n).map(stamp).collect()
}

const YEAR_S: i64 = 365 * 86_400;

#[test]
fn one_stamp_in_the_future_is_named_and_leaves_the_rest_alone() {
    for at in [0, 1, 7, 20, 28, 29] {
        for ahead_s in [5, 3_600, 20 * YEAR_S] {
            let mut stamps = steady(30);
            stamps[at].0 += ahead_s;
            let (times, faults) = read_stamps(&stamps);
            // A gap before the last frame is one, unless it is absurd.
            if at == 29 && ahead_s < 10 * YEAR_S {
                assert_eq!(faults, []);
                continue;
            }
            assert_eq!(faults.len(), 1, "frame {at}, {ahead_s} s: {faults:?}");
            assert_eq!(faults[0].0, at as u64 + 1);
            assert!(matches!(faults[0].1, TimeFault::Ahead { .. }));
            let expected = |n: usize| (0..30).map(|i| i * 100).nth(n);
            for (n, time) in times.iter().enumerate().filter(|(n, _)| *n != at) {
                assert_eq!(Some(*time), expected(n), "frame {at}, {ahead_s} s");
            }
        }
    }
}

#[test]
fn stamps_of_zero_among_others_are_named_and_count_as_of_the_frame_before() {
    let mut stamps = steady(30);
    for at in [12, 13, 20] {
        stamps[at] = (-i64::from(T), 0);
    }
    // Out of order just behind it: by a tenth of a second.
    stamps.swap(14, 15);
    let (times, faults) = read_stamps(&stamps);
    let frames: Vec<u64> = faults.iter().map(|(frame, _)| *frame).collect();
    assert_eq!(frames, [13, 14, 21]);
    assert_eq!(times[12..17], [1_100, 1_100, 1_500, 1_400, 1_600]);
    assert_eq!(times[29], 2_900);
}

#[test]
fn a_file_of_zero_stamps_begins_in_1970() {
    let file = Writer::new(false)
        .pcap_header(0xa1b2_c3d4, 1)
        .record(0, 0, 5, b"a")
        .record(0, 0, 5, b"b")
        .record(0, 500_000, 5, b"c");
    let times: Vec<u64> = frames(&file.out).iter().map(|frame| frame.0).collect();
    assert_eq!(times, [0, 0, 500_000_000]);
}

#[test]
fn gaps_are_no_fault_however_long() {
    let mut stamps = steady(30);
    stamps.iter_mut().skip(10).for_each(|stamp| stamp.0 += 30);
    stamps
        .iter_mut()
        .skip(20)
        .for_each(|stamp| stamp.0 += 3 * YEAR_S);
    let (times, faults) = read_stamps(&stamps);
    assert_eq!(faults, []);
    assert_eq!(times[10], 31_000);
    assert_eq!(times[29], 32_900 + 3 * YEAR_S * 1_000);
}

#[test]
fn a_clock_that_is_set_back_is_made_up_for() {
    let mut stamps = steady(40);
    stamps
        .iter_mut()
        .skip(20)
        .for_each(|stamp| stamp.0 -= 3_600);
    let (times, faults) = read_stamps(&stamps);
    assert_eq!(faults.len(), 1);
    assert!(matches!(faults[0], (21, TimeFault::SetBack { .. })));
    // Time goes on at the packets' pace.
    assert_eq!(times[19..23], [1_900, 1_900, 2_000, 2_100]);
}

#[test]
fn two_clocks_in_turn_are_named_ten_times_and_counted() {
    let mut stamps = steady(60);
    stamps
        .iter_mut()
        .skip(1)
        .step_by(2)
        .for_each(|stamp| stamp.0 += 3_600);
    let file = stamps.iter().fold(
        Writer::new(false).pcap_header(0xa1b2_c3d4, 1),
        |w, stamp| {
            let seconds = u32::try_from(i64::from(T) + stamp.0).unwrap();
            w.record(seconds, stamp.1, 60, b"frame")
        },
    );
    let outcomes = read_all(&file.out).unwrap();
    let errors: Vec<&CaptureError> = outcomes.iter().filter_map(|o| o.as_ref().err()).collect();
    assert_eq!(errors.len(), 11, "{errors:?}");
    let rest = errors[10].to_string();
    assert!(rest.ends_with("more stamps out of line"), "{rest}");
    assert_eq!(outcomes.len(), 60 + 11);
}

#[test]
fn nanoseconds_in_a_file_of_microseconds_are_taken_for_what_they_are() {
    let file = (0..30).fold(Writer::new(false).pcap_header(0xa1b2_c3d4, 1), |w, i| {
        w.record(T, 20_000_000 * (i + 1), 60, b"frame")
    });
    let (times, faults) = times(&file.out);
    assert_eq!(times[..3], [20, 40, 60]);
    assert_eq!(times[29], 600);
    assert_eq!(faults, [(1, TimeFault::Fraction)]);
}

/// Blocks of a second, ten frames each, of each interface in turn; the interfaces' clocks tick in
/// these units.
fn blocks(n_interfaces: u32, n_blocks: u64, big: bool) -> Vec<u8> {
    let section = (0..n_interfaces).fold(Writer::new(big).section(), |w, n| {
        // Each has a resolution of its own: 10^-6 s, 10^-9 s, 2^-20 s.
        w.interface(1, 0, &[(9, &[[6, 9, 0x94][n as usize % 3]])])
    });
    let ticks = |interface: u32, ms: u64| match interface % 3 {
        0 => (T_NS + ms * 1_000_000) / 1_000,
        1 => T_NS + ms * 1_000_000,
        _ => (((u128::from(T_NS) + u128::from(ms) * 1_000_000) << 20) / u128::from(S)) as u64,
    };
    let file = (0..n_blocks).fold(section, |w, block| {
        (0..n_interfaces).fold(w, |w, interface| {
            (0..10).fold(w, |w, i| {
                let ms = block * 1_000 + i * 100 + u64::from(interface);
                w.enhanced(interface, ticks(interface, ms), 60, b"frame")
            })
        })
    });
    file.out
}

#[test]
fn frames_of_interfaces_in_blocks_are_put_in_order() {
    for (n_interfaces, big) in [(2, false), (3, true), (5, false)] {
        let (times, faults) = times(&blocks(n_interfaces, 9, big));
        assert_eq!(faults, []);
        assert_eq!(times.len(), 90 * n_interfaces as usize);
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(times.first(), Some(&0));
        assert!((8_890..8_910).contains(times.last().unwrap()));
    }
}

#[test]
fn numbers_stay_those_of_the_file_where_frames_change_places() {
    let file = TempFile::new(&blocks(2, 2, false));
    let mut reader = CaptureReader::open(&file.0).unwrap();
    let mut numbers = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        numbers.push(frame.number);
    }
    assert_eq!(numbers[..4], [1, 11, 2, 12]);
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=40).collect::<Vec<u64>>());
}

#[test]
fn an_interface_that_is_described_late_is_named_and_does_not_move_the_clock() {
    let us = |ms: u64| (T_NS + ms * 1_000_000) / 1_000;
    let file = Writer::new(false).section().interface(1, 0, &[]);
    let file = (0..30).fold(file, |w, i| w.enhanced(0, us(i * 100), 60, b"a"));
    let file = file.interface(1, 0, &[]);
    let file = (0..60).fold(file, |w, i| w.enhanced(1, us(i * 100), 60, b"b"));
    let file = (30..60).fold(file, |w, i| w.enhanced(0, us(i * 100), 60, b"a"));
    let outcomes = read_all(&file.out).unwrap();
    let times: Vec<u64> = outcomes
        .iter()
        .filter_map(|o| Some(o.as_ref().ok()?.0))
        .collect();
    assert_eq!(times.len(), 120);
    assert_eq!(times.last(), Some(&(T_NS + 5_900_000_000)));
    let first = outcomes.iter().find_map(|o| o.as_ref().err());
    let is_late = |e: &CaptureError| {
        let fault = TimeFault::Late {
            by_ns: 2_900_000_000,
        };
        matches!(e, CaptureError::Time { frame: 31, fault: f } if *f == fault)
    };
    assert!(first.is_some_and(is_late), "{first:?}");
}

#[test]
fn a_glitch_of_one_interface_does_not_hold_up_the_others() {
    let us = |ms: u64| (T_NS + ms * 1_000_000) / 1_000;
    let file = Writer::new(false).section();
    let file = file.interface(1, 0, &[]).interface(1, 0, &[]);
    let file = (0..50).fold(file, |w, i| {
        let odd = if i == 20 { 7 * 86_400_000 } else { 0 };
        let w = w.enhanced(0, us(i * 100 + odd), 60, b"a");
        w.enhanced(1, us(i * 100 + 50), 60, b"b")
    });
    let (times, faults) = times(&file.out);
    assert_eq!(faults.len(), 1);
    assert!(matches!(faults[0], (41, TimeFault::Ahead { .. })));
    assert!(times.is_sorted());
    assert_eq!(times.last(), Some(&4_950));
}
