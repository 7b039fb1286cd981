//! Contacts, packets and minutes as they come.

use sensor_common::event::{EventHead, Kind};
use sensor_common::packet::{protocol, tcp_flags};

use super::*;
use crate::config::SECOND_NS;
use crate::features::Counts;
use crate::flow::{Delta, Progress};

const SOURCE: Address = [0, 0, 0, 1];
const HOST: Address = [0, 0, 0, 2];

fn call(at_ns: u64, bytes: u64) -> FlowUpdate {
    let delta = |bytes: u64| Delta {
        packets: 5,
        bytes,
        ..Delta::default()
    };
    FlowUpdate {
        source: SOURCE,
        destination: HOST,
        source_port: 40_000,
        destination_port: 443,
        protocol: protocol::TCP,
        is_claimed: false,
        has_fragments: false,
        forward: delta(bytes),
        backward: delta(2 * bytes),
        n_forward: 5,
        n_backward: 5,
        n_flags: [1, 0, 0, 1, 4],
        is_attempt: true,
        is_one_way: false,
        is_stray: false,
        is_new: true,
        begins_to_close: false,
        has_closed: false,
        progress: Progress::Established,
        has_progressed: true,
        first_ns: at_ns,
        last_ns: at_ns + SECOND_NS / 2,
    }
}

fn column(kind: SequenceKind, name: &str) -> usize {
    let place = kind.columns().iter().position(|column| column.name == name);
    place.expect("a column of that name")
}

#[test]
fn contacts_are_told_from_the_sixth_on_with_their_gaps() {
    let mut sequences = Sequences::new(SequenceKinds::ALL, 7);
    for n in 0..=6u64 {
        assert_eq!(sequences.ready().count(), 0, "contact {n}");
        // Looks within a contact don't end it.
        for part in 0..3 {
            let mut update = call(n * 30 * SECOND_NS + SECOND_NS, 100);
            update.is_new = part == 0;
            update.last_ns += part * SECOND_NS / 2;
            sequences.take_flows(&[update]);
        }
    }
    let told: Vec<Sequence> = sequences.ready().collect();
    let [told] = told.as_slice() else {
        panic!("{} sequences", told.len());
    };
    assert_eq!((told.kind, told.n_steps()), (SequenceKind::Contacts, 6));
    assert_eq!((told.source, told.host), (SOURCE, Some(HOST)));
    let n = SequenceKind::Contacts.columns().len();
    let gap = column(SequenceKind::Contacts, "gap");
    let gaps: Vec<f32> = told.values.iter().skip(gap).step_by(n).copied().collect();
    assert_eq!(gaps[0], 0.0);
    assert!(gaps[1..].iter().all(|gap| *gap == 30_000f32.ln_1p()));
    let sent = column(SequenceKind::Contacts, "sent_bytes");
    assert_eq!(told.values[sent], 300f32.ln_1p());
    assert_eq!(told.values[column(SequenceKind::Contacts, "used")], 1.0);
    // The seventh runs, and is told when all ends.
    sequences.tick(1_000 * SECOND_NS, true);
    let last: Vec<usize> = sequences.ready().map(|s| s.n_steps()).collect();
    assert_eq!(last, [7]);
}

#[test]
fn the_latest_contacts_are_kept_and_one_that_never_pauses_is_cut() {
    let mut sequences = Sequences::new(SequenceKinds::ALL, 7);
    for n in 0..200u64 {
        sequences.take_flows(&[call(SECOND_NS + n * 5 * SECOND_NS, n)]);
    }
    let longest = sequences.ready().map(|s| s.n_steps()).max();
    assert_eq!(longest, Some(SequenceKind::Contacts.steps()));
    let mut busy = Sequences::new(SequenceKinds::ALL, 7);
    for n in 0..600u64 {
        busy.take_flows(&[call(SECOND_NS + n * SECOND_NS, n)]);
    }
    busy.tick(700 * SECOND_NS, true);
    assert_eq!(busy.ready().next_back().map(|s| s.n_steps()), Some(10));
}

#[test]
fn packets_of_a_flow_carry_their_direction() {
    let mut sequences = Sequences::new(SequenceKinds::ALL, 7);
    let take = |sequences: &mut Sequences, n: u64, is_answer: bool, flags: u8| {
        let mut head = EventHead {
            at_ns: SECOND_NS + n * 1_000_000,
            wire_bytes: 100,
            payload_bytes: 34,
            kind: Kind::Tcp as u8,
            ..EventHead::default()
        };
        let packet = &mut head.packet;
        (packet.protocol, packet.tcp_flags) = (protocol::TCP, flags);
        let (from, to) = ((SOURCE, 40_000), (HOST, 443));
        let (from, to) = if is_answer { (to, from) } else { (from, to) };
        (packet.source, packet.source_port) = from;
        (packet.destination, packet.destination_port) = to;
        let sample = Sample {
            head: &head,
            payload: &[],
        };
        sequences.take_sample(&sample, is_answer);
    };
    take(&mut sequences, 0, false, tcp_flags::SYN);
    take(&mut sequences, 2, true, tcp_flags::SYN | tcp_flags::ACK);
    sequences.tick(2 * SECOND_NS, false);
    assert_eq!(sequences.ready().count(), 0);
    take(&mut sequences, 3, false, tcp_flags::ACK | tcp_flags::PSH);
    sequences.tick(3 * SECOND_NS, false);
    assert_eq!(sequences.ready().count(), 0, "it may go on");
    sequences.tick(7 * SECOND_NS, false);
    let told: Vec<Sequence> = sequences.ready().collect();
    assert_eq!(told.len(), 1);
    let (told, ln) = (&told[0], 100f32.ln_1p());
    assert_eq!(
        (told.source, told.host, told.n_steps()),
        (SOURCE, Some(HOST), 3)
    );
    let lengths: Vec<f32> = told.values.iter().step_by(8).copied().collect();
    assert_eq!(lengths, [ln, -ln, ln]);
    let gap = column(SequenceKind::Packets, "gap");
    assert_eq!(told.values[8 + gap], 2_000f32.ln_1p());
    let n = SequenceKind::Packets.steps() as u64;
    (0..=n).for_each(|i| take(&mut sequences, 60_000 + i, false, tcp_flags::ACK));
    let told: Vec<usize> = sequences.ready().map(|s| s.n_steps()).collect();
    assert_eq!(told, [SequenceKind::Packets.steps()]);
}

#[test]
fn a_minute_holds_a_host_by_tenths_of_a_second() {
    let mut sequences = Sequences::new(SequenceKinds::ALL, 7);
    let look = |packets: u64| HostLook {
        address: HOST,
        toward: Counts {
            packets,
            n_syn: 1,
            ..Counts::default()
        },
        from: Counts::default(),
        elapsed_s: 0.1,
        n_peers: 0.0,
        n_ports: 0.0,
        last_ns: 0,
    };
    let minute = 60 * SECOND_NS;
    for n in 1..=20 {
        sequences.take_host(minute + n * SECOND_NS / 10, &look(n));
    }
    sequences.tick(minute + 30 * SECOND_NS, false);
    assert_eq!(sequences.ready().count(), 0);
    sequences.tick(2 * minute + SECOND_NS, false);
    let told: Vec<Sequence> = sequences.ready().collect();
    assert_eq!(
        (told.len(), told[0].n_steps(), told[0].host),
        (1, 600, None)
    );
    let packets: Vec<f32> = told[0].values.iter().step_by(8).copied().collect();
    let wanted = |n: usize| {
        if n < 20 {
            (n as f32 + 1.0).ln_1p()
        } else {
            0.0
        }
    };
    assert!(packets.iter().enumerate().all(|(n, x)| *x == wanted(n)));
    // Of a host with fewer bins nothing is told.
    sequences.take_host(3 * minute, &look(1));
    sequences.tick(5 * minute, true);
    assert_eq!(sequences.ready().count(), 0);
}
