use proptest::prelude::*;

use super::*;
use crate::export::{Exporter, Protocol};
use crate::record::Way;

const NOW_NS: u64 = 1_800_000_000_000_000_000;

fn record(n: u8) -> FlowRecord {
    FlowRecord {
        source: [192, 0, 2, n].into(),
        destination: [198, 51, 100, n].into(),
        source_port: 50_000,
        destination_port: 443,
        protocol: 6,
        tcp_flags: 0x1b,
        packets: 10,
        bytes: 1_500,
        first_ns: NOW_NS - 2_500_000_000,
        last_ns: NOW_NS - 1_250_000_000,
        end_reason: 3,
        way: Way::Egress,
        ingress: 0,
        egress: 3,
        vlan: 9,
        is_denied: false,
    }
}

fn v6() -> FlowRecord {
    FlowRecord {
        source: "2001:db8::1".parse().unwrap(),
        destination: "2001:db8::2".parse().unwrap(),
        ..record(1)
    }
}

/// Flows of a datagram, with their factors.
fn flows(decoder: &mut Decoder, at_ns: u64, datagram: &[u8]) -> Vec<(FlowRecord, u32)> {
    let mut found = Vec::new();
    decoder.take(at_ns, datagram, &mut |seen| match seen {
        Seen::Flow { record, factor } => found.push((record, factor)),
        Seen::Packet(packet) => panic!("{packet:?}"),
    });
    found
}

fn message(protocol: Protocol, records: &[FlowRecord], has_templates: bool) -> Vec<u8> {
    let mut exporter = Exporter::new(protocol, 7, 1_400, NOW_NS);
    if has_templates {
        exporter.add_templates();
    }
    records.iter().for_each(|one| assert!(exporter.add(one)));
    exporter.finish(NOW_NS).unwrap()
}

fn count(decoder: &Decoder, counter: Counter) -> u64 {
    decoder.counts().get(counter)
}

/// Words, as the protocols have them.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn halves(halves: &[u16]) -> Vec<u8> {
    halves.iter().flat_map(|half| half.to_be_bytes()).collect()
}

/// A message of IPFIX with these sets, each an identifier and its contents.
fn ipfix(sequence: u32, sets: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (id, contents) in sets {
        body.extend(halves(&[*id, contents.len() as u16 + 4]));
        body.extend(contents);
    }
    let mut message = halves(&[10, body.len() as u16 + 16]);
    message.extend(words(&[(NOW_NS / 1_000_000_000) as u32, sequence, 7]));
    message.extend(body);
    message
}

#[test]
fn what_is_exported_is_read_back() {
    let dropped = FlowRecord {
        is_denied: true,
        ..record(3)
    };
    let sent = [record(1), v6(), dropped, record(4)];
    for protocol in [Protocol::Ipfix, Protocol::NetflowV9] {
        let mut decoder = Decoder::default();
        let found = flows(&mut decoder, NOW_NS, &message(protocol, &sent, true));
        assert_eq!(found, sent.map(|record| (record, 1)), "{protocol:?}");
        assert_eq!(count(&decoder, Counter::Records), 4);
        assert_eq!(decoder.n_templates(), 4);
    }
}

#[test]
fn times_are_by_the_clock_of_whoever_received() {
    let hour_ns = 3_600_000_000_000;
    for protocol in [Protocol::Ipfix, Protocol::NetflowV9] {
        let message = message(protocol, &[record(1)], true);
        for at_ns in [NOW_NS + hour_ns, NOW_NS - hour_ns] {
            let found = flows(&mut Decoder::default(), at_ns, &message);
            assert_eq!(found[0].0.last_ns, at_ns - 1_250_000_000);
            assert_eq!(found[0].0.first_ns, at_ns - 2_500_000_000);
        }
    }
}

#[test]
fn records_before_their_template_are_counted() {
    let mut decoder = Decoder::default();
    let early = message(Protocol::Ipfix, &[record(1)], false);
    assert!(flows(&mut decoder, NOW_NS, &early).is_empty());
    assert_eq!(count(&decoder, Counter::UnknownTemplate), 1);
    // How many there were can't be known, so nothing is missed after it.
    let found = flows(
        &mut decoder,
        NOW_NS,
        &message(Protocol::Ipfix, &[record(1)], true),
    );
    assert_eq!((found.len(), count(&decoder, Counter::Gaps)), (1, 0));
}

#[test]
fn gaps_and_restarts_are_told_apart() {
    let mut exporter = Exporter::new(Protocol::Ipfix, 7, 1_400, NOW_NS);
    let mut next = |n: u8| {
        exporter.add_templates();
        (0..n).for_each(|n| assert!(exporter.add(&record(n))));
        exporter.finish(NOW_NS).unwrap()
    };
    let (first, lost, third) = (next(2), next(5), next(3));
    drop(lost);
    let mut decoder = Decoder::default();
    flows(&mut decoder, NOW_NS, &first);
    flows(&mut decoder, NOW_NS, &third);
    assert_eq!(count(&decoder, Counter::Gaps), 5);
    flows(&mut decoder, NOW_NS, &first);
    assert_eq!(count(&decoder, Counter::Gaps), 5);
    assert_eq!(count(&decoder, Counter::Restarts), 1);
}

/// Messages of so many records each, with their numbers.
fn numbered(protocol: Protocol, messages: &[(u32, u8)]) -> [u64; 3] {
    let mut exporter = Exporter::new(protocol, 7, 1_400, NOW_NS);
    let mut decoder = Decoder::default();
    for (number, n) in messages {
        exporter.add_templates();
        (0..*n).for_each(|n| assert!(exporter.add(&record(n))));
        let mut message = exporter.finish(NOW_NS).unwrap();
        let at = match protocol {
            Protocol::Ipfix => 8,
            Protocol::NetflowV9 => 12,
        };
        message[at..at + 4].copy_from_slice(&number.to_be_bytes());
        flows(&mut decoder, NOW_NS, &message);
    }
    use Counter::{Gaps, OtherSequence, Restarts};
    [Gaps, Restarts, OtherSequence].map(|counter| count(&decoder, counter))
}

#[test]
fn exporters_that_count_otherwise_are_followed_and_lose_nothing() {
    use Protocol::{Ipfix, NetflowV9};
    // Messages instead of records, and records instead of messages; then something is lost.
    assert_eq!(
        numbered(Ipfix, &[(5, 3), (6, 3), (7, 3), (8, 3)]),
        [0, 0, 1]
    );
    assert_eq!(
        numbered(Ipfix, &[(5, 3), (6, 3), (7, 3), (9, 3)]),
        [1, 0, 1]
    );
    assert_eq!(
        numbered(NetflowV9, &[(5, 3), (8, 3), (11, 3), (17, 3)]),
        [3, 0, 1]
    );
    // Records up to the message's own end, in messages of several lengths.
    let including = [(2, 2), (5, 3), (8, 3), (9, 1), (12, 3)];
    assert_eq!(numbered(Ipfix, &including), [0, 0, 1]);
    let lost = [(2, 2), (5, 3), (8, 3), (9, 1), (15, 3)];
    assert_eq!(numbered(Ipfix, &lost), [3, 0, 1]);
}

#[test]
fn records_of_options_are_not_among_those_that_softflowd_counts() {
    let options = (3, halves(&[300, 2, 1, 302, 4, 34, 4]));
    let template = (2, halves(&[400, 3, 8, 4, 12, 4, 2, 4]));
    let flow = words(&[0xc000_0201, 0xc000_0202, 3]);
    let flows_of = |n: usize| (400, flow.repeat(n));
    let told = (300, words(&[4, 1]));
    let mut decoder = Decoder::default();
    let mut number = 0;
    for (n, has_options) in [
        (2, true),
        (3, false),
        (3, false),
        (2, true),
        (3, false),
        (1, false),
    ] {
        number += n as u32;
        let mut sets = vec![flows_of(n)];
        if has_options {
            sets = vec![options.clone(), template.clone(), told.clone(), flows_of(n)];
        }
        flows(&mut decoder, NOW_NS, &ipfix(number, &sets));
    }
    use Counter::{Gaps, OtherSequence, Restarts};
    let told = [Gaps, Restarts, OtherSequence].map(|counter| count(&decoder, counter));
    assert_eq!(told, [0, 0, 1]);
}

#[test]
fn a_loss_that_fits_another_count_once_is_a_loss() {
    use Protocol::{Ipfix, NetflowV9};
    assert_eq!(numbered(Ipfix, &[(5, 3), (8, 3), (11, 3)]), [0, 0, 0]);
    assert_eq!(
        numbered(NetflowV9, &[(5, 3), (6, 3), (9, 3), (10, 3)]),
        [2, 0, 0]
    );
    assert_eq!(numbered(Ipfix, &[(5, 3), (6, 3), (9, 3)]), [0, 1, 0]);
    assert_eq!(numbered(Ipfix, &[(5, 1), (8, 3), (11, 2)]), [2, 0, 0]);
}

#[test]
fn options_tell_the_sampling_interval() {
    // Options template 300 with the sampler as its scope; then sampler 4 takes one packet in 100.
    let options = halves(&[300, 2, 1, 302, 4, 34, 4]);
    let interval = words(&[4, 100]);
    let template = halves(&[400, 6, 8, 4, 12, 4, 4, 1, 302, 4, 2, 4, 1, 4]);
    let flow = |sampler: u32| {
        let mut flow = words(&[0xc000_0201, 0xc000_0202]);
        flow.push(17);
        flow.extend(words(&[sampler, 3, 300]));
        flow
    };
    let sets = [
        (3, options),
        (300, interval),
        (2, template),
        (400, [flow(4), flow(5)].concat()),
    ];
    let mut decoder = Decoder::default();
    let found = flows(&mut decoder, NOW_NS, &ipfix(0, &sets));
    let told = |at: usize| {
        let (record, factor) = &found[at];
        (*factor, record.packets, record.bytes)
    };
    assert_eq!((told(0), told(1)), ((100, 300, 30_000), (1, 3, 300)));
    // The options' record counts in the sequence as the others.
    flows(&mut decoder, NOW_NS, &ipfix(3, &[]));
    assert_eq!(count(&decoder, Counter::Gaps), 0);
}

#[test]
fn one_record_may_tell_of_both_ways() {
    let template = [
        halves(&[400, 7, 8, 4, 12, 4, 7, 2, 11, 2, 4, 1, 2, 4, 0x8002, 4]),
        words(&[29_305]),
    ];
    let mut flow = words(&[0xc000_0201, 0xc000_0202]);
    flow.extend(halves(&[50_000, 53]));
    flow.push(17);
    flow.extend(words(&[2, 1]));
    let sets = [(2, template.concat()), (400, flow)];
    let found = flows(&mut Decoder::default(), NOW_NS, &ipfix(0, &sets));
    let told: Vec<_> = found
        .iter()
        .map(|(record, _)| (record.source_port, record.destination_port, record.packets))
        .collect();
    assert_eq!(told, [(50_000, 53, 2), (53, 50_000, 1)]);
    // Without a count of bytes and without times: now.
    assert_eq!(found[0].0.last_ns, NOW_NS);
}

#[test]
fn fields_of_variable_length_and_of_others_are_passed_over() {
    let template = [
        halves(&[400, 5, 0x8001, 0xffff]),
        words(&[9]),
        halves(&[8, 4, 12, 4, 82, 0xffff, 2, 4]),
    ];
    let mut flow = vec![3, 1, 2, 3];
    flow.extend(words(&[0xc000_0201, 0xc000_0202]));
    flow.extend([255, 0, 2, 7, 7]);
    flow.extend(words(&[9]));
    let sets = [(2, template.concat()), (400, flow)];
    let found = flows(&mut Decoder::default(), NOW_NS, &ipfix(0, &sets));
    assert_eq!(found[0].0.packets, 9);
}

#[test]
fn version_5_is_read_with_its_sampling() {
    let seconds = (NOW_NS / 1_000_000_000) as u32;
    let mut datagram = halves(&[5, 1]);
    datagram.extend(words(&[600_000, seconds, 0, 17]));
    datagram.extend(halves(&[0, 0x4000 | 64]));
    datagram.extend(words(&[0xc000_0201, 0xc000_0202, 0]));
    datagram.extend(halves(&[1, 2]));
    datagram.extend(words(&[5, 500, 590_000, 599_000]));
    datagram.extend(halves(&[1_024, 80]));
    datagram.extend([0, 0x12, 6, 0]);
    datagram.extend(words(&[0, 0]));
    let mut decoder = Decoder::default();
    let (found, factor) = flows(&mut decoder, NOW_NS, &datagram)[0];
    assert_eq!((factor, found.packets, found.bytes), (64, 320, 32_000));
    assert_eq!((found.ingress, found.egress, found.tcp_flags), (1, 2, 0x12));
    assert_eq!(NOW_NS - found.first_ns, 10_000_000_000);
    assert_eq!(NOW_NS - found.last_ns, 1_000_000_000);
    // One record more than it has: the first is taken, the rest is a fault.
    datagram[3] = 2;
    datagram[19] = 18;
    assert_eq!(flows(&mut decoder, NOW_NS, &datagram).len(), 1);
    assert_eq!(count(&decoder, Counter::Malformed), 1);
}

/// A datagram of sFlow with one header of each form of sample.
fn sflow() -> Vec<u8> {
    let raw = |bytes: &[u8]| {
        let record = [words(&[1, 1_518, 4, bytes.len() as u32]), bytes.to_vec()].concat();
        [words(&[1, record.len() as u32]), record].concat()
    };
    let plain = [words(&[1, 2, 256, 0, 0, 3, 4, 1]), raw(&[0xaa; 16])].concat();
    let wide = [
        words(&[1, 0, 2, 512, 0, 0, 0, 3, 0, 4, 1]),
        raw(&[0xbb; 20]),
    ]
    .concat();
    let counters = words(&[1, 2, 0]);
    let mut datagram = words(&[5, 1, 0xc000_0201, 0, 1, 1_000, 3]);
    for (format, sample) in [(1, plain), (2, counters), (3, wide)] {
        datagram.extend(words(&[format, sample.len() as u32]));
        datagram.extend(sample);
    }
    datagram
}

#[test]
fn sflow_gives_headers_with_their_factor() {
    let mut decoder = Decoder::default();
    let datagram = sflow();
    let mut found = Vec::new();
    decoder.take(NOW_NS, &datagram, &mut |seen| match seen {
        Seen::Packet(packet) => {
            found.push((packet.bytes.len(), packet.wire_bytes, packet.factor));
        }
        Seen::Flow { record, .. } => panic!("{record:?}"),
    });
    assert_eq!(found, [(16, 1_514, 256), (20, 1_514, 512)]);
    assert_eq!(count(&decoder, Counter::Packets), 2);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut decoder = Decoder::default();
    for id in 256..2_000u16 {
        let template = halves(&[id, 1, 2, 4]);
        flows(&mut decoder, NOW_NS, &ipfix(0, &[(2, template)]));
    }
    assert_eq!(decoder.n_templates(), 256);
    assert_eq!(count(&decoder, Counter::TemplatesFull), 1_744 - 256);
    for domain in 0..1_000u32 {
        let mut message = ipfix(0, &[]);
        message[12..16].copy_from_slice(&domain.to_be_bytes());
        flows(&mut decoder, NOW_NS, &message);
    }
    assert_eq!(decoder.domains.len(), MAX_DOMAINS);
    assert!(count(&decoder, Counter::DomainsFull) > 900);
    // A template whose records take no bytes would be read for ever.
    flows(
        &mut decoder,
        NOW_NS,
        &ipfix(0, &[(2, halves(&[300, 1, 2, 0]))]),
    );
    assert_eq!(count(&decoder, Counter::BadTemplate), 1);
}

/// Messages to spoil.
fn specimens() -> Vec<Vec<u8>> {
    let sent = [record(1), v6()];
    vec![
        message(Protocol::Ipfix, &sent, true),
        message(Protocol::NetflowV9, &sent, true),
        sflow(),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail(
        version in prop::sample::select(vec![[0, 5], [0, 9], [0, 10], [0, 0]]),
        rest in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let datagram = [version.as_slice(), &rest].concat();
        let mut decoder = Decoder::default();
        for _ in 0..2 {
            decoder.take(NOW_NS, &datagram, &mut |_| {});
        }
    }

    #[test]
    fn no_spoilt_message_makes_it_fail(
        which in 0..3usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        end in any::<prop::sample::Index>(),
    ) {
        let mut datagram = specimens().remove(which);
        let mut decoder = Decoder::default();
        for (at, byte) in changes {
            let at = at.index(datagram.len());
            datagram[at] = byte;
            decoder.take(NOW_NS, &datagram, &mut |seen| {
                if let Seen::Flow { record, .. } = seen {
                    assert!(record.first_ns <= record.last_ns);
                    assert!(record.last_ns <= NOW_NS + AGREE_NS);
                }
            });
        }
        datagram.truncate(end.index(datagram.len()));
        decoder.take(NOW_NS, &datagram, &mut |_| {});
    }
}
