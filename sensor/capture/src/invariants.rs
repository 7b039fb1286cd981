//! Invariants of the datapath, of the capture reader and of flow records, which hold whatever the bytes.
//! Tests and the fuzzer call it; nothing else does.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::path::Path;

use sensor_common::arrival::{Arrival, Way};
use sensor_common::counters::{Event, Outcome};
use sensor_common::datapath::Verdict;
use sensor_common::flow::{Direction, Flow};
use sensor_common::packet::invariants;

use sensor_netflow::{Counter, Decoder, Seen};

use super::drive::Tables as _;
use super::flow_player;
use super::kernel::LoadOptions;
use super::pcap::{CaptureReader, MAX_FRAME_LEN, to_ethernet};
use super::software::Software;

/// More frames than this from one input are a compressed one's; the first will do.
const MOST_FRAMES: u64 = 10_000;

/// Feeds a series of frames to small tables: no packet may be lost from the sums.
///
/// Each frame is preceded by a byte for its way and the time since the last, one for the bytes
/// that were on the wire but not captured, one for its segments, and one for its length.
///
/// # Panics
/// Where a sum is wrong.
pub fn check_datapath(mut data: &[u8]) {
    let mut path = Software::new(&LoadOptions {
        flow_buckets_per_cpu: 2,
        admit_per_second: 100,
        ..LoadOptions::fixed()
    });
    let mut at_ns = 1 << 40;
    while let Some(([time, wire, segments, length], rest)) = data.split_first_chunk() {
        let (frame, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        data = rest;
        at_ns += 1 << ((time >> 1) % 40);
        let arrival = Arrival {
            now_ns: at_ns,
            bytes: frame.len() as u32 + (u32::from(*wire) << 10),
            segments: u16::from(*segments).max(1),
            ifindex: 1,
            cpu: 0,
        };
        let way = if time & 1 == 0 {
            Way::Ingress
        } else {
            Way::Egress
        };
        let verdict = path.process_as(frame, way, &arrival);
        assert_eq!(verdict, Verdict::Pass, "dropped without a block entry");
    }
    check_sums(&mut path);
}

/// Every packet with a flow is in one record, or counted as not admitted.
fn check_sums(path: &mut Software) {
    let mut packets = 0;
    let mut take = |flow: &Flow| {
        check_flow(flow);
        let [there, back] = &flow.directions;
        packets += u64::from(there.packets) + u64::from(back.packets);
    };
    path.drain_flows(&mut take);
    path.scan_flows(take);
    let ways = path.counts().chunks(Outcome::COUNT as usize).take(2);
    let counted: u64 = ways
        .flat_map(|way| (0_u32..).zip(way))
        .filter(|(outcome, _)| Outcome::has_flow(*outcome))
        .map(|(_, count)| count.packets)
        .sum();
    let within = path.event(Event::Decapsulated).packets;
    let refused = path.event(Event::NotAdmittedRate).packets;
    assert_eq!(packets + refused, counted + within, "packets in records");
}

fn check_flow(flow: &Flow) {
    let packets = flow.directions.map(|line| line.packets);
    assert_ne!(packets, [0, 0], "a flow without a packet: {flow:?}");
    for line in &flow.directions {
        check_line(line);
    }
}

fn check_line(line: &Direction) {
    if line.packets == 0 {
        assert_eq!(*line, Direction::EMPTY);
        return;
    }
    let binned: u32 = line.length_histogram.iter().map(|n| u32::from(*n)).sum();
    assert!(binned <= u32::from(line.packets), "{line:?}");
    assert!(line.length_min <= line.length_max, "{line:?}");
    assert!(line.first_ns <= line.last_ns, "{line:?}");
    let most = line.n_flags.into_iter().max();
    assert!(most <= Some(line.packets), "{line:?}");
    let mean = u64::from(line.bytes) / u64::from(line.packets);
    let is_clipped = line.length_max == u16::MAX;
    assert!(
        is_clipped || mean <= u64::from(line.length_max) + 1,
        "{line:?}"
    );
}

/// Reads the bytes as a capture file: it ends, and lends frames that fit their own claims.
///
/// # Panics
/// Where it doesn't.
pub fn check_capture(data: &[u8]) {
    let Some(file) = in_memory(data) else {
        return;
    };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let Ok(mut reader) = CaptureReader::open(Path::new(&path)) else {
        return;
    };
    let mut scratch = Vec::new();
    let (mut n_frames, mut n_errors) = (0, 0);
    while n_frames < MOST_FRAMES && n_errors < MOST_FRAMES {
        let frame = match reader.next_frame() {
            Ok(None) => {
                assert!(matches!(reader.next_frame(), Ok(None)), "an end that isn't");
                return;
            }
            Err(_) => {
                n_errors += 1;
                continue;
            }
            Ok(Some(frame)) => frame,
        };
        n_frames += 1;
        assert!(frame.data.len() <= MAX_FRAME_LEN as usize, "{frame:?}");
        assert!(frame.wire_len as usize >= frame.data.len(), "{frame:?}");
        let ethernet = to_ethernet(&frame, &mut scratch);
        if ethernet.data.len() < 512 {
            invariants::check(ethernet.data);
        }
    }
}

/// Reads datagrams of an exporter, each preceded by two bytes for its length, and writes the packets that
/// they tell of.
///
/// # Panics
/// If a record makes no sense, or its packets can't be read.
pub fn check_flow_records(mut data: &[u8]) {
    let at_ns = 1_800_000_000_000_000_000;
    let mut decoder = Decoder::default();
    let mut n_seen = 0;
    while let Some((head, rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*head)).min(rest.len());
        let (datagram, rest) = rest.split_at(length);
        data = rest;
        decoder.take(at_ns, datagram, &mut |seen| {
            n_seen += 1;
            match seen {
                Seen::Flow { record, factor } => {
                    assert!(record.packets > 0, "{record:?}");
                    assert!(record.first_ns <= record.last_ns, "{record:?}");
                    assert!((1..=1 << 20).contains(&factor), "{factor}");
                    flow_player::check(&record, factor);
                }
                Seen::Packet(packet) => {
                    assert!(packet.bytes.len() <= datagram.len(), "{packet:?}");
                    assert!((1..=1 << 20).contains(&packet.factor), "{packet:?}");
                }
            }
        });
    }
    let counts = decoder.counts();
    assert_eq!(
        counts.get(Counter::Records) + counts.get(Counter::Packets),
        n_seen
    );
    assert!(decoder.n_templates() <= 64 * 256);
}

/// A file that is nowhere but in memory.
fn in_memory(data: &[u8]) -> Option<File> {
    // SAFETY: a name that ends in zero; nothing else is read.
    let fd = unsafe { libc::memfd_create(c"capture".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return None;
    }
    // SAFETY: a descriptor of our own, just made.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(data).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_hold_over_frames_that_evict_each_other() {
        let mut data = Vec::new();
        for n in 0..2_000_u32 {
            let mut frame = vec![0; 12];
            frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0]);
            frame.extend([n as u8 % 23, 192, 0, 2, 1, 0, n as u8 % 7, 0, 80]);
            frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, n as u8, 0, 0, 0, 0, 0, 0]);
            data.extend([(n % 101) as u8, (n % 60) as u8, (n % 5) as u8, 54]);
            data.extend(&frame);
        }
        check_datapath(&data);
    }

    #[test]
    fn packets_that_contradict_themselves_are_in_the_sums() {
        // A header of 16 bytes, one that is longer than the packet, a TCP header without room, IPv4 in IPv4.
        let mut data = Vec::new();
        for (version, carried) in [(0x44, 6), (0x4f, 77), (0x45, 6), (0x45, 4)] {
            let mut frame = vec![2; 12];
            frame.extend([8, 0, version, 0, 0, 34, 0, 1, 0, 0, 64, carried, 0, 0]);
            frame.extend([192, 0, 2, 1, 198, 51, 100, 2]);
            frame.extend([0x45, 0, 0, 14, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0]);
            data.extend([2, 0, 1, frame.len() as u8]);
            data.extend(frame);
        }
        check_datapath(&data);
    }

    #[test]
    fn reads_what_is_no_capture() {
        check_capture(b"");
        check_capture(b"no capture at all");
        check_capture(&[0xd4, 0xc3, 0xb2, 0xa1]);
    }

    #[test]
    fn damaged_flow_records_do_no_harm() {
        let wholes = sensor_netflow::example::messages();
        let mut state = 1_u64;
        let mut roll = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % below
        };
        for _ in 0..5_000 {
            let mut data = Vec::new();
            for whole in &wholes {
                let mut one = whole.clone();
                for _ in 0..roll(4) {
                    let at = roll(one.len());
                    one[at] = roll(256) as u8;
                }
                one.truncate(one.len() - roll(2) * roll(one.len()));
                data.extend((one.len() as u16).to_be_bytes());
                data.extend(one);
            }
            check_flow_records(&data);
        }
    }
}
