//! The kernel program and replay agree on every packet, field by field.
//!
//! Needs root: without, each test says so and passes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use sensor_capture::drive::Tables as _;
use sensor_capture::kernel::LoadOptions;
use sensor_capture::pcap::{CaptureReader, to_ethernet};
use sensor_common::arrival::Way;
use sensor_common::counters::{Event, Outcome};
use sensor_common::datapath::TunnelPeer;
use sensor_common::host::HostRow;
use sensor_common::packet::{Decapsulate, Packet, parse};
use sensor_engine::to_ip;
use sensor_tests::frames::ipv4::tcp;
use sensor_tests::frames::{Dice, mutate, random_frame, specimens};
use sensor_tests::twin::{Case, LEAST_BYTES, LINEAR_BYTES, Twin};
use sensor_tests::{needs_root, shared_data};

const START_NS: u64 = 1_700_000_000_000_000_000;

/// Both sides.
fn twin(options: &LoadOptions) -> Twin {
    needs_root();
    Twin::new(options).unwrap()
}

/// So few buckets that flows are evicted all the time.
fn crowded() -> LoadOptions {
    LoadOptions {
        flow_buckets_per_cpu: 64,
        ..LoadOptions::fixed()
    }
}

/// Feeds all and compares. A difference is traced to the fewest frames that show it.
fn check(options: &LoadOptions, cases: &[Case]) {
    let mut twin = twin(options);
    if let Err(cause) = run(&mut twin, cases) {
        drop(twin);
        let fewest = shrink(options, cases.to_vec());
        panic!("{cause}\nfewest frames that show a difference: {fewest:#?}");
    }
}

fn run(twin: &mut Twin, cases: &[Case]) -> anyhow::Result<()> {
    for case in cases {
        twin.feed(case)?;
    }
    twin.compare().map(|_| ())
}

/// Takes away what can be taken away (Zeller and Hildebrandt 2002, simplified).
fn shrink(options: &LoadOptions, mut cases: Vec<Case>) -> Vec<Case> {
    let differs =
        |cases: &[Case]| Twin::new(options).is_ok_and(|mut twin| run(&mut twin, cases).is_err());
    let mut n_away = cases.len().div_ceil(2);
    while n_away > 0 {
        let mut from = 0;
        while from < cases.len() {
            let to = (from + n_away).min(cases.len());
            let fewer = [&cases[..from], &cases[to..]].concat();
            if differs(&fewer) {
                cases = fewer;
            } else {
                from = to;
            }
        }
        n_away /= 2;
    }
    cases
}

/// Each specimen on both ways, with its neighbours a millisecond apart.
fn specimen_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, (_, frame)) in specimens().into_iter().enumerate() {
        let at_ns = START_NS + n as u64 * 1_000_000;
        cases.push(Case::ingress(at_ns, frame.clone()).outgoing(1 + n as u16 % 3));
        cases.push(Case::ingress(at_ns + 300_000, frame));
    }
    cases
}

#[test]
fn every_kind_of_frame_is_read_as_it_should() {
    let specimens = specimens();
    let covered: BTreeSet<u32> = specimens.iter().map(|(o, _)| *o as u32).collect();
    assert_eq!(
        covered.len(),
        Outcome::ALL.len(),
        "no specimen of some outcome"
    );
    for (n, (outcome, frame)) in specimens.iter().enumerate() {
        let mut packet = Packet::default();
        parse(frame.as_slice(), &Decapsulate::ALL, &mut packet);
        assert!(packet.is(*outcome), "specimen {n}, {outcome:?}: {packet:?}");
    }
    let mut twin = twin(&LoadOptions::fixed());
    for (n, (outcome, frame)) in specimens.iter().enumerate() {
        if !(LEAST_BYTES..=LINEAR_BYTES).contains(&frame.len()) {
            continue;
        }
        let before = twin.kernel.outcome(Way::Ingress, *outcome).packets;
        twin.feed(&Case::ingress(START_NS, frame.clone())).unwrap();
        let after = twin.kernel.outcome(Way::Ingress, *outcome).packets;
        assert_eq!(after, before + 1, "specimen {n}, {outcome:?}: {frame:02x?}");
        twin.compare().unwrap();
    }
}

#[test]
fn agree_on_every_kind_of_frame() {
    check(&crowded(), &specimen_cases());
}

#[test]
fn agree_without_tunnels() {
    let options = LoadOptions {
        tunnels: Decapsulate::NONE,
        ..crowded()
    };
    check(&options, &specimen_cases());
}

/// Networks as words.
fn peer(local: [u8; 16], remote: [u8; 16], mask: [u8; 16]) -> TunnelPeer {
    let words = |bytes: [u8; 16]| {
        let (words, _) = bytes.as_chunks();
        let mut words = words.iter().map(|word| u32::from_ne_bytes(*word));
        std::array::from_fn(|_| words.next().unwrap())
    };
    TunnelPeer {
        local: words(local),
        local_mask: words(mask),
        remote: words(remote),
        remote_mask: words(mask),
    }
}

/// With a configured tunnel, inner hosts have rows and are looked for in the lists.
#[test]
fn agree_in_tunnels_that_are_configured() {
    let v4 = |last: [u8; 4]| {
        let mut bytes = [0; 16];
        bytes[10..12].fill(0xff);
        bytes[12..].copy_from_slice(&last);
        bytes
    };
    let mut mask = [0xff; 16];
    mask[15] = 0;
    let options = LoadOptions {
        tunnel_peers: vec![
            peer(v4([203, 0, 113, 1]), v4([203, 0, 113, 2]), [0xff; 16]),
            peer(v4([10, 0, 0, 0]), v4([10, 0, 1, 0]), mask),
            peer(v4([192, 0, 2, 0]), v4([198, 51, 100, 0]), mask),
        ],
        ..crowded()
    };
    check(&options, &specimen_cases());
    check(&options, &random_cases(5, 40_000));
    let mut twin = twin(&options);
    for case in specimen_cases() {
        twin.feed(&case).unwrap();
    }
    let (mut local, mut remote) = (Vec::new(), Vec::new());
    twin.kernel.read_hosts(&mut local, &mut remote);
    let is_inner = |row: &HostRow| to_ip(&row.address).to_string() == "10.1.0.1";
    assert!(remote.iter().any(is_inner), "no row of an inner host");
}

#[test]
fn agree_on_every_cut_of_every_kind_of_frame() {
    let mut cases = Vec::new();
    for (_, frame) in specimens() {
        for length in 0..frame.len().min(200) {
            let at_ns = START_NS + cases.len() as u64 * 10_000;
            let mut case = Case::ingress(at_ns, frame[..length].to_vec());
            case.wire_bytes = frame.len() as u32;
            cases.push(case);
        }
    }
    check(&crowded(), &cases);
}

/// Frames of random flows, seconds or nanoseconds apart, sometimes back in time.
fn random_cases(seed: u64, n: usize) -> Vec<Case> {
    let mut dice = Dice(seed);
    let specimens = specimens();
    let mut at_ns = START_NS;
    let mut case = || {
        let frame = if dice.below(4) == 0 {
            let mut frame = dice.pick(&specimens).1.clone();
            mutate(&mut frame, &mut dice);
            frame
        } else {
            random_frame(&mut dice)
        };
        at_ns += dice.below(*dice.clone().pick(&[10, 5_000, 1_000_000, 3_000_000_000])) as u64;
        at_ns -= dice.below(2) as u64 * dice.below(2_000_000) as u64;
        let mut case = Case::ingress(at_ns, frame);
        case.wire_bytes += *dice.pick(&[0, 0, 0, 100, 20_000]);
        if dice.below(3) == 0 {
            case = case.outgoing(*dice.pick(&[0, 1, 1, 2, 40]));
        }
        case
    };
    (0..n).map(|_| case()).collect()
}

#[test]
fn agree_on_generated_packets() {
    for seed in 0..4 {
        check(&crowded(), &random_cases(seed, 40_000));
    }
}

/// Few connections with any control bits: each ends, and its ports are used again, many times.
#[test]
fn agree_on_ports_that_are_used_again() {
    let mut dice = Dice(7);
    let mut at_ns = START_NS;
    let mut case = || {
        let ends = [
            ([10, 0, 0, 1], 5_000 + dice.below(20) as u16),
            ([10, 0, 0, 2], 80),
        ];
        let way = dice.below(2);
        let flags = *dice.pick(&[0x02, 0x12, 0x10, 0x18, 0x11, 0x04]);
        at_ns += dice.below(2_000_000) as u64;
        Case::ingress(at_ns, tcp(ends[way], ends[1 - way], flags, &[]))
    };
    let cases: Vec<Case> = (0..20_000).map(|_| case()).collect();
    let mut twin = twin(&LoadOptions::fixed());
    run(&mut twin, &cases).unwrap();
    assert!(twin.kernel.event(Event::FlowEvicted).packets > 1_000);
}

#[test]
fn agree_when_admission_runs_out() {
    let options = LoadOptions {
        admit_per_second: 2_000,
        ..crowded()
    };
    check(&options, &random_cases(99, 20_000));
}

#[test]
fn agree_when_counters_roll_over() {
    let specimens = specimens();
    let frame = &specimens[0].1;
    let mut case = Case::ingress(START_NS, frame.clone());
    let cases: Vec<Case> = (0..140_000)
        .map(|n| {
            case.at_ns += 1_000;
            case.wire_bytes = 60 + n % 1_400;
            // The other counter: bytes overflow long before packets do.
            if n > 100_000 {
                case.wire_bytes = 60_000 + n % 5_000;
            }
            case.clone()
        })
        .collect();
    let mut twin = twin(&LoadOptions::fixed());
    run(&mut twin, &cases).unwrap();
    assert!(twin.kernel.event(Event::FlowRollover).packets >= 2);
}

fn files_below(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, into);
        } else {
            into.push(path);
        }
    }
    into.sort();
}

/// Feeds a capture, a third of it as if outgoing; gives how many frames.
fn feed_capture(twin: &mut Twin, path: &Path) -> anyhow::Result<u64> {
    let mut n_frames = 0;
    // Names of bad files are for the reader's own tests.
    let Ok(mut reader) = CaptureReader::open(path) else {
        return Ok(0);
    };
    let mut scratch = Vec::new();
    let mut dice = Dice(1);
    loop {
        let frame = match reader.next_frame() {
            Ok(None) => return Ok(n_frames),
            Ok(Some(frame)) => frame,
            Err(_) => continue,
        };
        let ethernet = to_ethernet(&frame, &mut scratch);
        let mut case = Case::ingress(frame.at_ns, ethernet.data.to_vec());
        case.wire_bytes = ethernet.wire_len.max(case.wire_bytes);
        if dice.below(3) == 0 {
            case = case.outgoing(1);
        }
        twin.feed(&case)?;
        n_frames += 1;
    }
}

/// All captures one after the other through the same tables: time jumps, flows meet again.
fn agree_on_captures(options: &LoadOptions, files: &[PathBuf]) -> u64 {
    let mut twin = twin(options);
    let (mut n_frames, mut n_records) = (0, 0);
    for path in files {
        let fed = feed_capture(&mut twin, path).and_then(|n| Ok((n, twin.compare()?)));
        let (frames, records) = fed.unwrap_or_else(|e| panic!("{}: {e:#}", path.display()));
        n_frames += frames;
        n_records += records;
    }
    eprintln!(
        "{} captures, {n_frames} frames, {n_records} flow records compared, \
         {} events, {} frames too short for the kernel left out",
        files.len(),
        twin.n_events,
        twin.n_left_out
    );
    n_frames
}

#[test]
fn agree_on_the_shared_captures() {
    let folder = shared_data("pcap");
    let mut files = Vec::new();
    files_below(&folder, &mut files);
    let n_frames = agree_on_captures(&LoadOptions::fixed(), &files);
    assert!(n_frames > 1_000_000, "{n_frames} frames");
}

#[test]
fn agree_on_the_odd_captures() {
    let folder = shared_data("odd");
    let unpacked = std::env::temp_dir().join(format!("sensor-odd-{}", std::process::id()));
    std::fs::create_dir_all(&unpacked).unwrap();
    let tar = Command::new("tar")
        .arg("--zstd")
        .arg("-xf")
        .arg(folder.join("odd.tar.zst"))
        .arg("-C")
        .arg(&unpacked)
        .status();
    let mut files = Vec::new();
    files_below(&unpacked, &mut files);
    let n_frames = agree_on_captures(&crowded(), &files);
    std::fs::remove_dir_all(&unpacked).unwrap();
    assert!(tar.is_ok_and(|status| status.success()), "tar and zstd");
    assert!(n_frames > 1_000, "{n_frames} frames");
}
