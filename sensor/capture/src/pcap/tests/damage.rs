//! Files that are damaged, padded, or put together from several: what can be read is read, and each
//! place is named.

use super::*;

const T: u32 = 1_700_000_000;

/// A classic file of frames a tenth of a second apart, from `first` on.
fn classic(big: bool, magic: u32, first: u32, n: u32) -> Writer {
    (0..n).fold(Writer::new(big).pcap_header(magic, 1), |w, i| {
        let unit = if magic == 0xa1b2_3c4d { 1_000 } else { 1 };
        let fraction = (first + i) % 10 * 100_000 * unit;
        w.record(T + (first + i) / 10, fraction, 60, &[i as u8; 60])
    })
}

fn ng(big: bool, first: u32, n: u32) -> Writer {
    let file = Writer::new(big).section().interface(1, 0, &[]);
    (0..n).fold(file, |w, i| {
        let us = u64::from(T) * 1_000_000 + u64::from(first + i) * 100_000;
        w.enhanced(0, us, 60, &[i as u8; 60])
    })
}

/// Seconds since `T` of each frame, and the messages.
fn read(file: &[u8]) -> (Vec<f64>, Vec<String>) {
    let (mut times, mut messages) = (Vec::new(), Vec::new());
    for outcome in read_all(file).unwrap() {
        match outcome {
            Ok((at_ns, ..)) => times.push(at_ns as f64 / 1e9 - f64::from(T)),
            Err(error) => messages.push(error.to_string()),
        }
    }
    (times, messages)
}

#[track_caller]
fn reads_all(file: &[u8], n: usize) {
    let (times, messages) = read(file);
    assert_eq!(messages, [] as [&str; 0]);
    assert_eq!(times.len(), n);
    assert!(times.is_sorted(), "{times:?}");
    assert!(
        times.iter().all(|time| (0.0..60.0).contains(time)),
        "{times:?}"
    );
}

#[track_caller]
fn names(messages: &[String], words: &[&str]) {
    assert_eq!(messages.len(), 1, "{messages:?}");
    for word in words {
        assert!(messages[0].contains(word), "{word} in {messages:?}");
    }
}

#[test]
fn files_one_after_another_are_read_whatever_their_kinds() {
    let micros = 0xa1b2_c3d4;
    let parts = [
        classic(false, micros, 0, 5).out,
        classic(true, micros, 5, 5).out,
        classic(false, 0xa1b2_3c4d, 10, 5).out,
        ng(false, 15, 5).out,
        ng(true, 20, 5).out,
        classic(true, 0xa1b2_3c4d, 25, 5).out,
    ];
    reads_all(&parts.concat(), 30);
}

#[test]
fn a_second_file_of_earlier_times_is_read_and_named() {
    let parts = [
        classic(false, 0xa1b2_c3d4, 100, 20).out,
        classic(false, 0xa1b2_c3d4, 0, 20).out,
    ];
    let (times, messages) = read(&parts.concat());
    assert_eq!(times.len(), 40);
    names(&messages, &["frame 21 is stamped 11.900 s before"]);
    assert!((times[39] - 13.8).abs() < 1e-3, "{times:?}");
}

#[test]
fn a_file_that_was_cut_and_written_on_is_read_in_both_parts() {
    let mut first = classic(false, 0xa1b2_c3d4, 0, 20).out;
    first.truncate(first.len() - 33);
    let file = [first, classic(false, 0xa1b2_c3d4, 20, 20).out].concat();
    let (times, messages) = read(&file);
    // What was cut swallowed the second header and no more.
    assert!(times.len() >= 38, "{times:?} {messages:?}");
    assert!(!messages.is_empty());
    assert!(
        times.iter().all(|time| (0.0..60.0).contains(time)),
        "{times:?}"
    );
    assert!((times.last().unwrap() - 3.9).abs() < 1e-3, "{times:?}");
}

#[test]
fn zeros_behind_the_last_frame_are_named_once() {
    for n_zeros in [1, 8, 15, 16, 17, 4_096, 600_000] {
        for good in [classic(false, 0xa1b2_c3d4, 0, 5), ng(false, 0, 5)] {
            let mut file = good.out;
            file.resize(file.len() + n_zeros, 0);
            let (times, messages) = read(&file);
            assert_eq!(times.len(), 5, "{n_zeros} zeros");
            assert_eq!(messages.len(), 1, "{n_zeros} zeros: {messages:?}");
        }
    }
}

#[test]
fn zeros_between_two_files_are_named_and_passed_over() {
    let first = classic(false, 0xa1b2_c3d4, 0, 5).out;
    let second = classic(true, 0xa1b2_c3d4, 5, 5).out;
    let file = [first, vec![0; 1_000], second].concat();
    let (times, messages) = read(&file);
    assert_eq!(times.len(), 10);
    names(&messages, &["frame 6", "zeros", "reading goes on at byte"]);
}

#[test]
fn reading_goes_on_behind_a_record_that_is_damaged() {
    let good = classic(false, 0xa1b2_c3d4, 0, 40).out;
    let record = |n: usize| 24 + n * 76;
    for (at, damage) in [
        (8, [0xff; 4]),
        (8, [0, 0, 5, 0]),
        (4, [0xff; 4]),
        (8, [0xff, 0xff, 0xff, 0x7f]),
    ] {
        let mut file = good.clone();
        file[record(10) + at..record(10) + at + 4].copy_from_slice(&damage);
        let (times, messages) = read(&file);
        assert!(times.len() >= 39, "{damage:?}: {} frames", times.len());
        assert!(
            times.iter().all(|time| (0.0..60.0).contains(time)),
            "{times:?}"
        );
        assert!((times.last().unwrap() - 3.9).abs() < 1e-3, "{times:?}");
        names(&messages, &["frame 11 "]);
    }
}

#[test]
fn reading_goes_on_behind_a_block_that_is_damaged() {
    let good = ng(false, 0, 40).out;
    let block = |n: usize| 28 + 20 + n * 92;
    for at in [0, 4, 88] {
        let mut file = good.clone();
        file[block(10) + at] ^= 0x55;
        let (times, messages) = read(&file);
        // An unknown type is no fault.
        assert_eq!(times.len(), 39, "byte {at}");
        assert_eq!(
            messages.len(),
            usize::from(at > 0),
            "byte {at}: {messages:?}"
        );
    }
}

#[test]
fn a_frame_longer_than_the_limit_is_read_in_part_and_named() {
    let long = vec![7; MAX_FRAME_LEN as usize + 40_000];
    let n = u32::try_from(long.len()).unwrap();
    let us = |i: u64| u64::from(T) * 1_000_000 + i;
    let longer = vec![7; 3 << 20];
    let files = [
        classic(false, 0xa1b2_c3d4, 0, 5)
            .record(T + 1, 0, n, &long)
            .record(T + 2, 0, 60, &[1; 60])
            .out,
        ng(false, 0, 5)
            .enhanced(0, us(1_000_000), n, &long)
            .enhanced(0, us(2_000_000), 60, &[1; 60])
            .out,
        ng(false, 0, 5)
            .enhanced(0, us(1_000_000), 3 << 20, &longer)
            .enhanced(0, us(2_000_000), 60, &[1; 60])
            .out,
    ];
    for file in files {
        let outcomes = read_all(&file).unwrap();
        let (frames, errors): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(frames.len(), 7);
        let lengths: Vec<usize> = frames.iter().map(|f| f.as_ref().unwrap().2.len()).collect();
        assert_eq!(lengths[4..], [60, MAX_FRAME_LEN as usize, 60]);
        let messages: Vec<String> = errors
            .iter()
            .map(|e| e.as_ref().unwrap_err().to_string())
            .collect();
        assert!(
            messages
                .iter()
                .any(|m| m.contains("its first 256 KiB are read")),
            "{messages:?}"
        );
    }
}

#[test]
fn a_frame_too_long_to_hold_is_passed_over_and_the_rest_is_read() {
    let file = classic(false, 0xa1b2_c3d4, 0, 5)
        .record(T + 1, 0, 3 << 20, &vec![7; 3 << 20])
        .record(T + 2, 0, 60, &[1; 60])
        .record(T + 2, 0, 60, &[2; 60])
        .record(T + 2, 0, 60, &[3; 60]);
    let (times, messages) = read(&file.out);
    assert_eq!(times.len(), 8);
    names(
        &messages,
        &["frame 6", "longer than 256 KiB", "reading goes on"],
    );
}

/// An Ethernet frame with an IPv4 packet of 46 bytes.
fn packet(vlan: bool) -> Vec<u8> {
    let mut frame = vec![2; 12];
    if vlan {
        frame.extend([0x81, 0, 0, 5]);
    }
    frame.extend([8, 0, 0x45, 0, 0, 46]);
    frame.resize(if vlan { 64 } else { 60 }, 0);
    frame
}

#[test]
fn lengths_on_the_wire_that_cannot_be_are_named_and_not_believed() {
    let long = {
        // A packet of 40,000 bytes, of which 60 were captured.
        let mut frame = packet(false);
        frame[16..18].copy_from_slice(&40_000_u16.to_be_bytes());
        frame
    };
    let cases: [(u32, Vec<u8>, u32); 8] = [
        (u32::MAX, packet(false), 60),
        (0x7fff_ffff, packet(true), 64),
        (200_000, packet(false), 60),
        (20_000, packet(false), 60),
        (1_514, packet(false), 1_514),
        (40_014, long.clone(), 40_014),
        (u32::MAX, long, 40_014),
        (u32::MAX, vec![0xff; 60], 60),
    ];
    for (claimed, data, expected) in cases {
        let us = u64::from(T) * 1_000_000;
        for file in [
            Writer::new(false)
                .pcap_header(0xa1b2_c3d4, 1)
                .record(T, 0, claimed, &data),
            Writer::new(false)
                .section()
                .interface(1, 0, &[])
                .enhanced(0, us, claimed, &data),
        ] {
            let outcomes = read_all(&file.out).unwrap();
            let frame = outcomes[0].as_ref().unwrap();
            assert_eq!(frame.3, expected, "{claimed}");
            let is_named = matches!(
                outcomes.get(1),
                Some(Err(CaptureError::WireLength { frame: 1, claimed: c, taken: t }))
                    if *c == claimed && *t == expected
            );
            assert_eq!(is_named, claimed != expected, "{claimed}: {outcomes:?}");
        }
    }
}

#[test]
fn padding_behind_compressed_data_is_no_fault() {
    let plain = classic(false, 0xa1b2_c3d4, 0, 20).out;
    let half = plain.len() / 2;
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let zeros = |n: usize| vec![0; n];
    let files = [
        [gzip(&plain), zeros(1)].concat(),
        [gzip(&plain), zeros(512)].concat(),
        [gzip(&plain), zeros(1 << 20)].concat(),
        [zstd(&plain), zeros(3)].concat(),
        [zstd(&plain), zeros(300_000)].concat(),
        [gzip(&plain[..half]), gzip(&plain[half..])].concat(),
        [
            gzip(&plain[..half]),
            zeros(100),
            gzip(&plain[half..]),
            zeros(9),
        ]
        .concat(),
        [
            zstd(&plain[..half]),
            skippable.clone(),
            zstd(&plain[half..]),
        ]
        .concat(),
        [
            skippable,
            zstd(&plain[..half]),
            zeros(77),
            zstd(&plain[half..]),
        ]
        .concat(),
        [gzip(&plain[..half]), zstd(&plain[half..])].concat(),
    ];
    for (number, file) in files.iter().enumerate() {
        let (times, messages) = read(file);
        assert_eq!(messages, [] as [&str; 0], "case {number}");
        assert_eq!(times.len(), 20, "case {number}");
    }
}

#[test]
fn anything_else_behind_compressed_data_is_named() {
    let plain = classic(false, 0xa1b2_c3d4, 0, 20).out;
    let (times, messages) = read(&[gzip(&plain), b"something else".to_vec()].concat());
    assert_eq!(times.len(), 20);
    names(&messages, &["followed by something else"]);
}

#[test]
fn compressed_files_one_after_another_are_read() {
    let files = [
        gzip(&classic(false, 0xa1b2_c3d4, 0, 10).out),
        gzip(&ng(true, 10, 10).out),
        gzip(&classic(true, 0xa1b2_3c4d, 20, 10).out),
    ];
    reads_all(&files.concat(), 30);
}

#[test]
fn frames_are_whole_whatever_snapshot_length_the_header_states() {
    for snap_len in [0_u32, 1, 40, u32::MAX] {
        let mut file = classic(false, 0xa1b2_c3d4, 0, 5).out;
        file[16..20].copy_from_slice(&snap_len.to_le_bytes());
        reads_all(&file, 5);
        assert!(frames(&file).iter().all(|frame| frame.2.len() == 60));
    }
}

#[test]
fn a_pipe_is_read_as_it_comes() {
    use std::os::fd::AsRawFd as _;
    use std::sync::mpsc;
    let (reader, mut writer) = std::io::pipe().unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
    let (frames_out, frames_in) = mpsc::channel();
    let whole = classic(false, 0xa1b2_c3d4, 0, 10).out;
    writer.write_all(&whole[..24]).unwrap();
    let thread = std::thread::spawn(move || {
        let _kept_open = reader;
        let mut capture = CaptureReader::open(&path).unwrap();
        loop {
            let frames = capture.next_frames().unwrap();
            if frames.len() == 0 {
                return;
            }
            frames.for_each(|frame| frames_out.send(frame.number).unwrap());
        }
    });
    // The first waits for two behind it, the others for none.
    for n in 0..10 {
        writer
            .write_all(&whole[24 + n * 76..24 + (n + 1) * 76])
            .unwrap();
        if n >= 2 {
            let limit = std::time::Duration::from_secs(20);
            let expected = if n == 2 {
                vec![1, 2, 3]
            } else {
                vec![n as u64 + 1]
            };
            for number in expected {
                assert_eq!(frames_in.recv_timeout(limit), Ok(number));
            }
        }
    }
    drop(writer);
    thread.join().unwrap();
}
