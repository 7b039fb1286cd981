//! Plays flow records: each becomes packets again, with the headers that its record tells of, spread
//! over its time, and those go through the software datapath as captured ones do. So flow records are
//! judged by the same code as packets, at the rates that they had.
//!
//! Records come late: a flow is exported when it is over, or after the exporter's active timeout.
//! They wait until event time, which runs `delay` behind, has come to their first packet. One that began
//! before is played from now on, over as much time as it took. One that was over by then is late, and so
//! may others of its exporter be: they are played later by as much, for what is moved to one moment would
//! look like a burst.
//!
//! Of what several exporters tell of one flow, the first is played; packets that were sampled are played
//! wherever they were.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::IpAddr;

use sensor_common::packet::{protocol, tcp_flags};
use sensor_common::service::is_service;
use sensor_engine::Input;
use sensor_netflow::{FlowRecord, Link, SampledPacket};

use crate::drive::Listener;
use crate::flow_claims::{Claims, Observer};
use crate::player::{Conditions, Player};

/// Records that wait: 30 MB.
const MAX_PENDING: usize = 1 << 17;
/// Time between the parts that a record is played in, that of a look at the hosts.
const STEP_NS: u64 = 100_000_000;
/// Packets of one arrival at most: counters of the cache have 16 bits.
const MAX_AT_ONCE: u64 = 60_000;
/// Most packets a second of a record: a line of 400 Gbit/s, in the smallest frames.
const MAX_PACKETS_PER_S: u64 = 600_000_000;
/// Longest time of a record.
const MAX_SPAN_NS: u64 = 86_400_000_000_000;
/// Records later than this are left out.
const MAX_LATE_NS: u64 = 3_600_000_000_000;
/// Time for which an exporter that was late is taken to be so, at least.
const LATE_PERIOD_NS: u64 = 300_000_000_000;
/// Time after which the listener is told again that packets are sampled.
const TELL_EVERY_NS: u64 = 60_000_000_000;
/// Frame bytes besides the IP packet.
const ETHERNET: usize = 14;
/// Bytes of a segment that opens or closes a connection, over IPv4 and IPv6, with the options that
/// systems send.
const BARE_V4: u64 = 60;
const BARE_V6: u64 = 80;

/// Counts of a player.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    pub n_records: u64,
    /// Records that came after event time had passed their end.
    pub n_late: u64,
    /// Those that were too late to be played.
    pub n_stale: u64,
    /// Records of more than a line carries, which were cut.
    pub n_absurd: u64,
    /// Records that found no room.
    pub n_shed: u64,
    /// Records of flows that another exporter, or the other way of the same, told of.
    pub n_repeated: u64,
    /// Records and packets that were sampled.
    pub n_sampled: u64,
}

/// Cuts a record to what there may be: else one that lies, or is damaged, would be played for ever.
fn plausible(record: &FlowRecord) -> FlowRecord {
    let first_ns = record
        .first_ns
        .max(record.last_ns.saturating_sub(MAX_SPAN_NS));
    let span_s = record.last_ns.saturating_sub(first_ns) / 1_000_000_000;
    let packets = record.packets.min(MAX_PACKETS_PER_S * (span_s + 1));
    FlowRecord {
        first_ns,
        packets,
        bytes: record.bytes.min(packets.saturating_mul(u16::MAX.into())),
        ..*record
    }
}

/// Lateness of an exporter's records: the most within the last minutes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lateness {
    /// Most of the running period, and of the one before.
    most_ns: [u64; 2],
    since_ns: u64,
}

impl Lateness {
    /// Takes in that a record was so late at event time `now_ns`; what is to be added to its times.
    fn shift(&mut self, now_ns: u64, late_ns: u64) -> u64 {
        if now_ns.saturating_sub(self.since_ns) >= LATE_PERIOD_NS {
            let is_next = now_ns.saturating_sub(self.since_ns) < 2 * LATE_PERIOD_NS;
            self.most_ns = [0, if is_next { self.most_ns[0] } else { 0 }];
            self.since_ns = now_ns;
        }
        self.most_ns[0] = self.most_ns[0].max(late_ns);
        self.most_ns[0].max(self.most_ns[1])
    }
}

/// A record that is being played.
#[derive(Clone, Copy, Debug)]
struct Pending {
    record: FlowRecord,
    /// Packets that stand for one that was seen.
    factor: u64,
    /// Time of the first part.
    from_ns: u64,
    step: u64,
}

/// Order of parts: by time, then as they came.
type Due = Reverse<(u64, u64, usize)>;

/// Flow records in, ticks of event time out.
pub struct FlowPlayer<L> {
    player: Player<L>,
    delay_ns: u64,
    now_ns: u64,
    due: BinaryHeap<Due>,
    pending: Vec<Pending>,
    free: Vec<usize>,
    claims: Claims,
    n_taken: u64,
    counts: FlowCounts,
    /// Event time at which the listener was told last that packets are sampled.
    told_ns: Option<u64>,
    frame: Vec<u8>,
}

impl<L: Listener> FlowPlayer<L> {
    pub fn new(listener: L, conditions: &Conditions, delay_ns: u64) -> Self {
        Self {
            player: Player::new(listener, conditions),
            delay_ns,
            now_ns: 0,
            due: BinaryHeap::new(),
            pending: Vec::new(),
            free: Vec::new(),
            claims: Claims::default(),
            n_taken: 0,
            counts: FlowCounts::default(),
            told_ns: None,
            frame: Vec::new(),
        }
    }

    pub const fn player(&mut self) -> &mut Player<L> {
        &mut self.player
    }

    pub const fn counts(&self) -> FlowCounts {
        self.counts
    }

    /// Records that wait for their time.
    pub const fn n_pending(&self) -> usize {
        self.pending.len() - self.free.len()
    }

    /// Takes a record, one that was sampled with its factor.
    pub fn take_flow(
        &mut self,
        (observer, lateness): (Observer, &mut Lateness),
        record: &FlowRecord,
        factor: u32,
    ) {
        self.counts.n_records += 1;
        self.counts.n_sampled += u64::from(factor > 1);
        if !self.claims.takes(observer, record) {
            self.counts.n_repeated += 1;
            return;
        }
        let whole = record;
        let record = &plausible(whole);
        self.counts.n_absurd += u64::from(record != whole);
        let late_ns = self.now_ns.saturating_sub(record.last_ns);
        self.counts.n_late += u64::from(late_ns > 0);
        if late_ns > MAX_LATE_NS {
            self.counts.n_stale += 1;
            return;
        }
        let shift_ns = lateness.shift(self.now_ns, late_ns);
        let pending = Pending {
            record: *record,
            factor: u64::from(factor.max(1)),
            from_ns: record.first_ns.saturating_add(shift_ns).max(self.now_ns),
            step: 0,
        };
        let at = match self.free.pop() {
            Some(at) => at,
            None if self.pending.len() < MAX_PENDING => {
                self.pending.push(pending);
                self.pending.len() - 1
            }
            None => {
                self.counts.n_shed += 1;
                return;
            }
        };
        if let Some(place) = self.pending.get_mut(at) {
            *place = pending;
        }
        self.n_taken += 1;
        // The order of their first packets holds for late ones, too.
        let order = self.n_taken;
        self.due.push(Reverse((pending.from_ns, order, at)));
    }

    /// Takes a packet that was sampled: it stands for `factor` alike, now.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn take_packet(&mut self, packet: &SampledPacket<'_>) -> io::Result<()> {
        let at_ns = packet.at_ns.saturating_sub(self.delay_ns);
        self.pass(packet.at_ns)?;
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        let (more, ethertype): (u32, [u8; 2]) = match packet.link {
            Link::Ethernet => (0, [0; 2]),
            Link::Ipv4 => (ETHERNET as u32, [0x08, 0x00]),
            Link::Ipv6 => (ETHERNET as u32, [0x86, 0xdd]),
        };
        if more > 0 {
            frame.extend([0; 12]);
            frame.extend(ethertype);
        }
        frame.extend(packet.bytes);
        let wire_bytes = u64::from(packet.wire_bytes.saturating_add(more));
        let packets = u64::from(packet.factor);
        let bytes = wire_bytes.saturating_mul(packets);
        let played = self.play(at_ns, &frame, packets, bytes);
        self.frame = frame;
        played?;
        if packet.factor > 1 {
            self.counts.n_sampled += 1;
            self.tell_sampled();
        }
        Ok(())
    }

    /// Moves time on: it is `at_ns` by the clock of whoever receives the records.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn pass(&mut self, at_ns: u64) -> io::Result<()> {
        self.play_until(at_ns.saturating_sub(self.delay_ns))
    }

    /// Plays what waits, then ends what is open.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn finish(&mut self) -> io::Result<()> {
        self.play_until(u64::MAX)?;
        self.player.finish()
    }

    fn play_until(&mut self, until_ns: u64) -> io::Result<()> {
        while let Some(Reverse((at_ns, order, at))) = self.due.peek().copied() {
            if at_ns > until_ns {
                break;
            }
            self.due.pop();
            self.now_ns = self.now_ns.max(at_ns);
            let Some(pending) = self.pending.get_mut(at) else {
                continue;
            };
            let part = pending.part();
            pending.step += 1;
            let (record, next) = (pending.record, pending.next_ns());
            let is_sampled = pending.factor > 1;
            match next {
                Some(next_ns) => self.due.push(Reverse((next_ns, order, at))),
                None => self.free.push(at),
            }
            let mut frame = std::mem::take(&mut self.frame);
            write_frame(&mut frame, &record, &part);
            let played = self.play(at_ns, &frame, part.packets, part.bytes);
            self.frame = frame;
            played?;
            if is_sampled {
                self.tell_sampled();
            }
        }
        if until_ns < u64::MAX {
            self.now_ns = self.now_ns.max(until_ns);
            self.player.pass(self.now_ns)?;
        }
        Ok(())
    }

    /// Tells the listener that what was just played was sampled, now and then.
    fn tell_sampled(&mut self) {
        let at_ns = self.player.played().last_ns;
        let is_known = |told_ns: u64| at_ns.saturating_sub(told_ns) < TELL_EVERY_NS;
        if !self.told_ns.is_some_and(is_known) {
            self.told_ns = Some(at_ns);
            self.player.listener.feed(at_ns, Input::RecordsSampled);
        }
    }

    /// Plays equal packets, as many at once as counters take.
    fn play(&mut self, at_ns: u64, frame: &[u8], packets: u64, bytes: u64) -> io::Result<()> {
        let (mut left, mut bytes_left) = (packets, bytes);
        while left > 0 {
            let each = bytes_left / left;
            let now = left
                .min(MAX_AT_ONCE)
                .min(u64::from(u32::MAX) / each.max(1))
                .max(1);
            let share = if now == left { bytes_left } else { each * now };
            self.player.take_counted(
                at_ns,
                frame,
                share.min(u64::from(u32::MAX)) as u32,
                now as u16,
            )?;
            left -= now;
            bytes_left = bytes_left.saturating_sub(share);
        }
        Ok(())
    }
}

/// Packets of a record that are played together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    packets: u64,
    /// Frame bytes of all.
    bytes: u64,
    tcp_flags: u8,
}

impl Pending {
    /// Packets that were seen.
    fn n_seen(&self) -> u64 {
        (self.record.packets / self.factor).max(1)
    }

    /// Time that the packets before the last take. When they came is not told; a pace of our own making
    /// would be the most regular of calls, so they come at once, as far as that is no burst.
    fn busy_ns(&self) -> u64 {
        let span_ns = self.record.last_ns.saturating_sub(self.record.first_ns);
        span_ns.min(self.n_seen().saturating_mul(STEP_NS))
    }

    /// Parts: the first packet, the last, and those between by their time.
    fn n_steps(&self) -> u64 {
        self.n_seen().min(3 + self.busy_ns() / STEP_NS)
    }

    /// Time of the next part; none when all were played.
    fn next_ns(&self) -> Option<u64> {
        let n_steps = self.n_steps();
        if self.step >= n_steps {
            return None;
        }
        let record = &self.record;
        let offset_ns = if self.step > 0 && self.step + 1 == n_steps {
            record.last_ns.saturating_sub(record.first_ns)
        } else {
            let parts = u128::from((n_steps - 1).max(1));
            (u128::from(self.busy_ns()) * u128::from(self.step) / parts) as u64
        };
        Some(self.from_ns.saturating_add(offset_ns))
    }

    /// The part of this step. Opening and closing segments are told by the union of control bits.
    fn part(&self) -> Part {
        let record = &self.record;
        let (n_seen, n_steps) = (self.n_seen(), self.n_steps());
        let total = record.packets.max(self.factor);
        let is_tcp = record.protocol == protocol::TCP;
        if n_steps <= 1 {
            return self.of(
                total,
                record.bytes,
                if is_tcp { record.tcp_flags } else { 0 },
            );
        }
        let bare = if record.source.is_ipv4() {
            BARE_V4
        } else {
            BARE_V6
        };
        let each = record.bytes / total;
        let short = |is_short: bool| if is_short { each.min(bare) } else { each } * self.factor;
        let [opens, closes] = if is_tcp {
            [tcp_flags::SYN, tcp_flags::FIN | tcp_flags::RST]
                .map(|bits| record.tcp_flags & bits != 0)
        } else {
            [false; 2]
        };
        let (first, last) = (short(opens), short(closes));
        if self.step == 0 {
            return self.of(self.factor, first, opening(record));
        }
        let n_between = n_seen - 2;
        let left = record.bytes.saturating_sub(first);
        if self.step + 1 == n_steps {
            let rest = total - self.factor * (1 + n_between);
            let bytes = if n_between == 0 { left } else { last };
            return self.of(rest, bytes, closing(record));
        }
        // The part between, in equal shares whose sum is exact.
        let (n, of) = (self.step - 1, n_steps - 2);
        let share = |whole: u64| {
            let until = |n: u64| u128::from(whole) * u128::from(n) / u128::from(of);
            (until(n + 1) - until(n)) as u64
        };
        let bytes = share(left.saturating_sub(last));
        self.of(share(n_between) * self.factor, bytes, amid(record))
    }

    const fn of(&self, packets: u64, bytes: u64, tcp_flags: u8) -> Part {
        Part {
            packets,
            bytes: bytes.saturating_add(packets.saturating_mul(ETHERNET as u64)),
            tcp_flags,
        }
    }
}

/// Control bits of the first segment. A SYN with ACK in the union is the responder's own, or the
/// initiator's whose later segments acknowledge: ports tell.
fn opening(record: &FlowRecord) -> u8 {
    let flags = record.tcp_flags;
    if record.protocol != protocol::TCP {
        0
    } else if flags & tcp_flags::SYN == 0 {
        amid(record)
    } else if flags & tcp_flags::ACK != 0
        && is_service(record.source_port)
        && !is_service(record.destination_port)
    {
        tcp_flags::SYN | tcp_flags::ACK
    } else {
        tcp_flags::SYN
    }
}

/// Control bits of the segments between: what acknowledges, or, without any, all there are.
const fn amid(record: &FlowRecord) -> u8 {
    let flags = record.tcp_flags;
    if record.protocol != protocol::TCP {
        0
    } else if flags & tcp_flags::ACK != 0 {
        tcp_flags::ACK | flags & tcp_flags::PSH
    } else {
        flags
    }
}

/// Control bits of the last segment.
const fn closing(record: &FlowRecord) -> u8 {
    let flags = record.tcp_flags;
    let ends = flags & (tcp_flags::FIN | tcp_flags::RST);
    if record.protocol != protocol::TCP || ends == 0 {
        amid(record)
    } else if ends & tcp_flags::RST != 0 {
        tcp_flags::RST | flags & tcp_flags::ACK
    } else {
        ends | flags & tcp_flags::ACK
    }
}

/// Writes the headers of a packet of a record; of what they carry only the length is there.
fn write_frame(frame: &mut Vec<u8>, record: &FlowRecord, part: &Part) {
    const TTL: u8 = 64;
    frame.clear();
    frame.extend([0; 12]);
    let transport = transport_header(record, part.tcp_flags);
    let each = (part.bytes / part.packets.max(1)) as usize;
    let inside = each.saturating_sub(ETHERNET);
    match (record.source, record.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = inside.clamp(20 + transport.len(), usize::from(u16::MAX)) as u16;
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([0, 0, 0, 0, TTL, record.protocol, 0, 0]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        (from, to) => {
            let [from, to] = [from, to].map(|end| match end {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            });
            let least = transport.len();
            let length = inside
                .saturating_sub(40)
                .clamp(least, usize::from(u16::MAX)) as u16;
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([record.protocol, TTL]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
    }
    frame.extend(transport);
}

/// Header of the transport, as long as it takes to be read.
fn transport_header(record: &FlowRecord, tcp_flags: u8) -> Vec<u8> {
    const WINDOW: u16 = 0xfaf0;
    let ports = [record.source_port, record.destination_port].map(u16::to_be_bytes);
    let mut header = match record.protocol {
        protocol::ICMP | protocol::ICMPV6 => {
            let mut header = ports[1].to_vec();
            header.extend([0; 6]);
            return header;
        }
        _ => ports.concat(),
    };
    match record.protocol {
        protocol::TCP => {
            header.extend([0; 8]);
            header.extend([0x50, tcp_flags]);
            header.extend(WINDOW.to_be_bytes());
            header.extend([0; 4]);
        }
        protocol::UDP => header.extend([0; 4]),
        _ => header.extend([0; 8]),
    }
    header
}

/// Writes the first packets of a record, and reads them again.
///
/// # Panics
/// If they are not of the record's protocol and addresses.
#[cfg(any(test, feature = "invariants"))]
pub fn check(record: &FlowRecord, factor: u32) {
    use sensor_common::Address;
    use sensor_common::packet::{Decapsulate, Packet, parse};

    let record = &plausible(record);
    let mut pending = Pending {
        record: *record,
        factor: u64::from(factor),
        from_ns: record.first_ns,
        step: 0,
    };
    let source: Address = sensor_engine::from_ip(record.source);
    let mut frame = Vec::new();
    while let Some(at_ns) = pending.next_ns()
        && pending.step < 5
    {
        assert!(
            at_ns >= record.first_ns && at_ns <= record.last_ns,
            "{record:?}"
        );
        let part = pending.part();
        assert!(part.packets > 0, "{record:?} {part:?}");
        write_frame(&mut frame, record, &part);
        let mut packet = Packet::default();
        parse(frame.as_slice(), &Decapsulate::NONE, &mut packet);
        if matches!(record.protocol, protocol::TCP | protocol::UDP) {
            assert_eq!(packet.source, source, "{record:?}");
            assert_eq!(packet.source_port, record.source_port, "{record:?}");
            assert_eq!(packet.protocol, record.protocol, "{record:?}");
        }
        pending.step += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const T0: u64 = 1_800_000_000 * SECOND_NS;

    fn record(packets: u64, bytes: u64, span_ns: u64, flags: u8) -> FlowRecord {
        FlowRecord {
            source: [192, 0, 2, 1].into(),
            destination: [198, 51, 100, 2].into(),
            source_port: 50_000,
            destination_port: 443,
            protocol: protocol::TCP,
            tcp_flags: flags,
            packets,
            bytes,
            first_ns: T0,
            last_ns: T0 + span_ns,
            ..FlowRecord::default()
        }
    }

    /// Times and parts of a record, as they are played.
    fn parts(record: FlowRecord, factor: u64) -> Vec<(u64, Part)> {
        let mut pending = Pending {
            record,
            factor,
            from_ns: record.first_ns,
            step: 0,
        };
        let mut found = Vec::new();
        while let Some(at_ns) = pending.next_ns() {
            found.push((at_ns - T0, pending.part()));
            pending.step += 1;
        }
        found
    }

    #[test]
    fn packets_and_bytes_of_a_record_are_all_played() {
        for (packets, bytes, span_ns, factor) in [
            (1, 40, 0, 1),
            (2, 100, 5, 1),
            (3, 1_000, SECOND_NS, 1),
            (50_001, 60_000_017, 60 * SECOND_NS, 1),
            (7_000, 700_000, 10 * SECOND_NS, 1_000),
            (100, 1, 0, 100),
            (5, 0, 0, 1),
        ] {
            for flags in [0x02, 0x1b, 0x12, 0x14, 0x00] {
                let played = parts(record(packets, bytes, span_ns, flags), factor);
                let sum: u64 = played.iter().map(|(_, part)| part.packets).sum();
                assert_eq!(sum, packets, "{packets} {bytes} {flags}");
                let sum: u64 = played.iter().map(|(_, part)| part.bytes).sum();
                assert_eq!(sum, bytes + 14 * packets, "{packets} {bytes} {flags}");
                assert!(played.is_sorted_by_key(|(at_ns, _)| *at_ns));
                assert!(played.iter().all(|(at_ns, _)| *at_ns <= span_ns));
            }
        }
    }

    #[test]
    fn a_connection_is_opened_and_closed_once() {
        let flags = |packets, union| -> Vec<u8> {
            let played = parts(record(packets, packets * 100, 0, union), 1);
            played.iter().map(|(_, part)| part.tcp_flags).collect()
        };
        assert_eq!(flags(9, 0x1b), [0x02, 0x18, 0x11]);
        assert_eq!(flags(2, 0x06), [0x02, 0x04]);
        assert_eq!(flags(1, 0x02), [0x02]);
        assert_eq!(flags(4, 0x02), [0x02, 0x02, 0x02]);
        assert_eq!(flags(3, 0x29), [0x29, 0x29, 0x01]);
        let answer = FlowRecord {
            source_port: 443,
            destination_port: 50_000,
            ..record(5, 500, 0, 0x1b)
        };
        assert_eq!(parts(answer, 1)[0].1.tcp_flags, 0x12);
    }

    #[test]
    fn an_exporter_that_was_late_is_taken_to_be_so_for_some_minutes() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.shift(T0, 0), 0);
        assert_eq!(
            lateness.shift(T0 + SECOND_NS, 90 * SECOND_NS),
            90 * SECOND_NS
        );
        assert_eq!(lateness.shift(T0 + 2 * SECOND_NS, 0), 90 * SECOND_NS);
        assert_eq!(lateness.shift(T0 + LATE_PERIOD_NS, 0), 90 * SECOND_NS);
        assert_eq!(lateness.shift(T0 + 2 * LATE_PERIOD_NS, 0), 0);
        assert_eq!(lateness.shift(T0 + 9 * LATE_PERIOD_NS, 7), 7);
        assert_eq!(lateness.shift(T0 + 99 * LATE_PERIOD_NS, 0), 0);
    }

    #[test]
    fn a_record_that_lies_is_cut_to_what_a_line_carries() {
        let lie = record(u64::MAX, u64::MAX, 10 * SECOND_NS, 0x02);
        let cut = plausible(&lie);
        assert_eq!(cut.packets, 11 * MAX_PACKETS_PER_S);
        let played = parts(cut, 1 << 20);
        let sum: u64 = played.iter().map(|(_, part)| part.packets).sum();
        assert_eq!(sum, cut.packets);
        let old = FlowRecord {
            first_ns: 0,
            ..record(5, 500, 0, 0)
        };
        assert_eq!(plausible(&old).first_ns, T0 - MAX_SPAN_NS);
        let plain = record(60_000, 60_000_000, 60 * SECOND_NS, 0x10);
        assert_eq!(plausible(&plain), plain);
    }

    #[test]
    fn a_slow_record_is_no_regular_one() {
        let played = parts(record(21, 2_100, 168 * SECOND_NS, 0x18), 1);
        let (last, others) = played.split_last().unwrap();
        assert_eq!(last.0, 168 * SECOND_NS);
        assert!(others.iter().all(|(at_ns, _)| *at_ns <= 3 * SECOND_NS));
    }

    #[test]
    fn a_long_record_keeps_its_rate() {
        let played = parts(record(60_000, 60_000_000, 60 * SECOND_NS, 0x10), 1);
        assert!(played.len() > 600);
        let most = played.iter().map(|(_, part)| part.packets).max();
        assert!(most <= Some(101), "{most:?}");
    }
}
