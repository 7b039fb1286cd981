use super::*;
use crate::v4_mapped;

#[derive(Default)]
struct Records(Vec<(Sent, [u16; 2])>);

impl FlowSink for Records {
    fn send(&mut self, _: &FlowRecord, directions: &[Direction; 2], why: Sent) -> bool {
        self.0.push((why, directions.map(|one| one.packets)));
        true
    }
}

const SECOND_NS: u64 = 1_000_000_000;

fn packet(is_forward: bool) -> Packet {
    let ends = [v4_mapped(1), v4_mapped(2)];
    let mut packet = Packet::default();
    [packet.source, packet.destination] = if is_forward { ends } else { [ends[1], ends[0]] };
    packet.protocol = 17;
    packet
}

fn send(bucket: &mut Bucket, is_forward: bool, now_ns: u64, sink: &mut Records) -> Cached {
    let packet = packet(is_forward);
    let arrival = Arrival {
        now_ns,
        bytes: 100,
        segments: 1,
        ifindex: 0,
        cpu: 0,
    };
    let key = Key::of(&packet);
    update::<Unshared, Records>(bucket, &key, &packet, &arrival, sink, || true)
}

#[test]
fn a_flow_begins_anew_after_a_silence_of_both_ways() {
    let (mut bucket, mut sink) = (Bucket::EMPTY, Records::default());
    let t0 = 1_700_000_000 * SECOND_NS;
    assert_eq!(send(&mut bucket, true, t0, &mut sink), Cached::Started);
    // The answer comes late, the other way goes on: no silence.
    for (is_forward, after_s) in [(false, 10), (false, 20), (true, 30)] {
        let cached = send(&mut bucket, is_forward, t0 + after_s * SECOND_NS, &mut sink);
        assert!(matches!(cached, Cached::Hit | Cached::Young), "{cached:?}");
    }
    let last_ns = t0 + 30 * SECOND_NS;
    assert_eq!(
        send(&mut bucket, false, last_ns + RESTART_NS, &mut sink),
        Cached::RolledOver
    );
    assert_eq!(sink.0, [(Sent::Rollover, [2, 2])]);
    let [first, _] = bucket.directions;
    assert_eq!(first.map(|one| one.packets), [0, 1]);
}
