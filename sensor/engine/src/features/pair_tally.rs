//! Counts of one pair, source or host over a minute, in panes of 10 s.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::bounded::Priority;
use super::decay::Spread;
use crate::config::SECOND_NS;
use crate::flow::{FlowSummary, FlowUpdate, Progress};

/// Length of a pane, and panes of a window.
pub(crate) const PANE_NS: u64 = 10 * SECOND_NS;
pub(crate) const N_PANES: u64 = 6;
/// Flows that last no longer are young.
const YOUNG_NS: u64 = 2 * SECOND_NS;
/// Positions in the counts of flags.
const SYN: usize = 0;
const RST: usize = 2;
const PSH: usize = 3;

/// Positions in the counts.
pub(crate) mod n {
    pub const SENT: usize = 0;
    pub const GOT: usize = 1;
    pub const SENT_BYTES: usize = 2;
    pub const GOT_BYTES: usize = 3;
    pub const SENT_SQ: usize = 4;
    pub const GOT_SQ: usize = 5;
    pub const SENT_SMALL: usize = 6;
    pub const GOT_LARGE: usize = 7;
    pub const SENT_PUSH: usize = 8;
    pub const GOT_PUSH: usize = 9;
    pub const RESETS: usize = 10;
    /// Times between packets of the initiator: sum in µs, and squares.
    pub const GAP: usize = 11;
    pub const GAP_SQ: usize = 12;
    pub const FLOWS: usize = 13;
    pub const TCP_FLOWS: usize = 14;
    pub const SYN: usize = 15;
    pub const USED: usize = 16;
    pub const REFUSED: usize = 17;
    pub const UNANSWERED: usize = 18;
    /// Flows of which the initiator sent one packet; those that went on are taken off again.
    pub const ONE: usize = 19;
    pub const UDP: usize = 20;
    pub const ICMP: usize = 21;
    /// Times between beginnings of flows: number, sum in ms, squares.
    pub const STARTS: usize = 22;
    pub const START: usize = 23;
    pub const START_SQ: usize = 24;
    pub const ENDED: usize = 25;
    pub const YOUNG: usize = 26;
    /// Durations of flows that ended, ms.
    pub const DURATION: usize = 27;
    pub const DURATION_SQ: usize = 28;
    /// Bytes by flow that ended.
    pub const OUT: usize = 29;
    pub const OUT_SQ: usize = 30;
    pub const IN: usize = 31;
    pub const IN_SQ: usize = 32;
    pub const N: usize = 33;
}

/// Counts of a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    values: [f32; n::N],
    pub ports: Spread,
    pub peers: Spread,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            values: [0.0; n::N],
            ports: Spread::default(),
            peers: Spread::default(),
        }
    }
}

impl Counts {
    pub(crate) fn of(&self, place: usize) -> f32 {
        self.values.get(place).copied().unwrap_or(0.0)
    }

    fn add(&mut self, place: usize, value: f32) {
        if let Some(sum) = self.values.get_mut(place) {
            *sum += value;
        }
    }

    fn join(&mut self, other: &Self) {
        for (sum, value) in self.values.iter_mut().zip(other.values) {
            *sum += value;
        }
        self.ports = self.ports.union(other.ports);
        self.peers = self.peers.union(other.peers);
    }

    /// Rest of these counts without others that are part of them.
    pub(crate) fn without(&self, part: &Self) -> Self {
        let mut rest = *self;
        for (value, part) in rest.values.iter_mut().zip(part.values) {
            *value = (*value - part).max(0.0);
        }
        rest
    }

    fn take(&mut self, update: &FlowUpdate, peer: u64) {
        let (sent, got) = (&update.forward, &update.backward);
        let large = |delta: &crate::flow::Delta| {
            let smaller: u64 = delta.length_histogram.iter().sum();
            delta.packets.saturating_sub(smaller) as f32
        };
        let flag = |delta: &crate::flow::Delta, at: usize| {
            delta.n_flags.get(at).copied().unwrap_or(0) as f32
        };
        self.add(n::SENT, sent.packets as f32);
        self.add(n::GOT, got.packets as f32);
        self.add(n::SENT_BYTES, sent.bytes as f32);
        self.add(n::GOT_BYTES, got.bytes as f32);
        self.add(n::SENT_SQ, sent.length_sumsq as f32);
        self.add(n::GOT_SQ, got.length_sumsq as f32);
        self.add(n::SENT_SMALL, sent.length_histogram[0] as f32);
        self.add(n::GOT_LARGE, large(got));
        self.add(n::GAP, sent.interarrival_ns as f32 / 1e3);
        // Units of 1,024 ns, squared.
        self.add(n::GAP_SQ, sent.interarrival_sumsq as f32 * 1.048_576);
        let packets = (sent.packets + got.packets) as f32;
        match update.protocol {
            protocol::TCP => {
                self.add(n::SENT_PUSH, flag(sent, PSH));
                self.add(n::GOT_PUSH, flag(got, PSH));
                self.add(n::RESETS, flag(sent, RST) + flag(got, RST));
                self.add(n::SYN, flag(sent, SYN));
            }
            protocol::UDP => self.add(n::UDP, packets),
            protocol::ICMP | protocol::ICMPV6 => self.add(n::ICMP, packets),
            _ => {}
        }
        if update.is_attempt && update.is_new {
            self.add(n::FLOWS, 1.0);
            self.add(
                n::TCP_FLOWS,
                f32::from(u8::from(update.protocol == protocol::TCP)),
            );
            self.ports.insert(u64::from(update.destination_port));
            self.peers.insert(peer);
        }
        self.add(n::ONE, ones(update));
        if update.has_progressed && update.is_attempt && !update.is_one_way {
            match update.progress {
                Progress::Established => self.add(n::USED, 1.0),
                Progress::Refused => self.add(n::REFUSED, 1.0),
                Progress::Unanswered => self.add(n::UNANSWERED, 1.0),
                Progress::Pending => {}
            }
        }
    }

    fn end(&mut self, flow: &FlowSummary) {
        let duration_ns = flow.last_ns.saturating_sub(flow.first_ns);
        let duration = duration_ns as f32 / 1e6;
        let (out, back) = (flow.forward.bytes as f32, flow.backward.bytes as f32);
        self.add(n::ENDED, 1.0);
        self.add(n::YOUNG, f32::from(u8::from(duration_ns < YOUNG_NS)));
        self.add(n::DURATION, duration);
        self.add(n::DURATION_SQ, duration * duration);
        self.add(n::OUT, out);
        self.add(n::OUT_SQ, out * out);
        self.add(n::IN, back);
        self.add(n::IN_SQ, back * back);
    }
}

/// Change of the number of flows of one packet.
fn ones(update: &FlowUpdate) -> f32 {
    let before = update.n_forward.saturating_sub(update.forward.packets);
    match (update.is_new, update.n_forward) {
        _ if !update.is_attempt => 0.0,
        (true, 1) => 1.0,
        (false, 2..) if before == 1 => -1.0,
        _ => 0.0,
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Pane {
    number: u64,
    counts: Counts,
}

/// The last minute of a pair, a source or a host. Most of a flood's have one pane, which is all that they
/// hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    panes: Vec<Pane>,
    /// Pane of the first packet ever.
    first_pane: u64,
    /// Beginning of the latest flow.
    started_ns: u64,
    /// Pane that it is listed for, so that it is once.
    listed_pane: u64,
}

impl Priority for Tally {
    fn priority(&self) -> u64 {
        self.panes.last().map_or(0, |pane| {
            (pane.number << 24) | pane.counts.of(n::SENT).min(16e6) as u64
        })
    }
}

impl Tally {
    pub(crate) fn new(at_ns: u64) -> Self {
        Self {
            panes: Vec::with_capacity(1),
            first_pane: at_ns / PANE_NS,
            ..Self::default()
        }
    }

    /// Counts of the running pane.
    fn now(&mut self, at_ns: u64) -> &mut Counts {
        let number = at_ns / PANE_NS;
        if self.panes.last().is_none_or(|pane| pane.number < number) {
            self.panes.retain(|pane| pane.number + N_PANES > number);
            self.panes.push(Pane {
                number,
                ..Pane::default()
            });
        }
        match self.panes.last_mut() {
            Some(pane) => &mut pane.counts,
            None => unreachable!("a pane was pushed"),
        }
    }

    pub(crate) fn take(&mut self, at_ns: u64, update: &FlowUpdate, peer: &Address) {
        let peer = sensor_common::hash_address(peer, 0);
        let is_start = update.is_new && update.is_attempt;
        let before_ns = self.started_ns;
        if is_start {
            self.started_ns = before_ns.max(update.first_ns);
        }
        let counts = self.now(at_ns);
        counts.take(update, peer);
        if is_start && before_ns > 0 {
            let gap = update.first_ns.abs_diff(before_ns) as f32 / 1e6;
            counts.add(n::STARTS, 1.0);
            counts.add(n::START, gap);
            counts.add(n::START_SQ, gap * gap);
        }
    }

    /// True once a pane.
    pub(crate) fn list(&mut self, at_ns: u64) -> bool {
        let pane = at_ns / PANE_NS;
        std::mem::replace(&mut self.listed_pane, pane) != pane
    }

    pub(crate) fn end(&mut self, at_ns: u64, flow: &FlowSummary) {
        self.now(at_ns).end(flow);
    }

    /// Sum over the panes of the window that ends with pane `last`.
    pub(crate) fn window(&self, last: u64) -> Counts {
        let mut sum = Counts::default();
        for pane in self.of_window(last) {
            sum.join(&pane.counts);
        }
        sum
    }

    fn of_window(&self, last: u64) -> impl Iterator<Item = &Pane> {
        let panes = self.panes.iter();
        panes.filter(move |pane| pane.number <= last && pane.number + N_PANES > last)
    }

    /// Share of the panes since the first that had packets, and deviations of the bytes by pane, sent and got.
    pub(crate) fn rhythm(&self, last: u64) -> (f32, Moments, Moments) {
        let begin = self.first_pane.max((last + 1).saturating_sub(N_PANES));
        let n = (last + 1).saturating_sub(begin).max(1) as f32;
        let (mut sent, mut got) = (Moments::default(), Moments::default());
        for pane in self.of_window(last) {
            sent.add(pane.counts.of(n::SENT_BYTES));
            got.add(pane.counts.of(n::GOT_BYTES));
        }
        ((sent.n / n).min(1.0), sent, got)
    }

    pub(crate) fn is_stale(&self, at_ns: u64) -> bool {
        let last = self.panes.last().map_or(0, |pane| pane.number);
        last + 3 * N_PANES < at_ns / PANE_NS
    }
}

/// Number, sum and squares.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    pub n: f32,
    pub sum: f32,
    pub sq: f32,
}

impl Moments {
    fn add(&mut self, value: f32) {
        self.n += 1.0;
        self.sum += value;
        self.sq += value * value;
    }

    pub(crate) fn of(counts: &Counts, [n, sum, sq]: [usize; 3]) -> Self {
        Self {
            n: counts.of(n),
            sum: counts.of(sum),
            sq: counts.of(sq),
        }
    }

    /// Standard deviation over the mean, at most 5; `None` of fewer than two.
    pub(crate) fn deviation(self) -> Option<f32> {
        if self.n < 2.0 || self.sum <= 0.0 {
            return None;
        }
        let mean = f64::from(self.sum) / f64::from(self.n);
        let variance = (f64::from(self.sq) / f64::from(self.n) - mean * mean).max(0.0);
        Some((variance.sqrt() / mean).min(5.0) as f32)
    }
}
