//! Pairs: counts of what one initiator does to one host by one protocol, over seconds and over half a
//! minute.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::bounded::{Bounded, Priority, TableUse};
use super::decay::{Fading, Spread};
use crate::config::SECOND_NS;
use crate::flow::{EndReason, FlowSummary, FlowUpdate, Progress};

/// Time constants of the two sets of counts, s.
pub(crate) const FAST_S: f32 = 5.0;
pub(crate) const SLOW_S: f32 = 30.0;

/// Initiator, responder and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PairKey {
    pub source: Address,
    pub host: Address,
    pub protocol: u8,
}

impl PairKey {
    fn of(update: &FlowUpdate) -> Self {
        Self {
            source: update.source,
            host: update.destination,
            protocol: update.protocol,
        }
    }
}

/// Positions in the fast counts.
pub(crate) mod fast {
    pub const ATTEMPTS: usize = 0;
    pub const FAILED: usize = 1;
    pub const ESTABLISHED: usize = 2;
    /// Packets and bytes from the source.
    pub const PACKETS: usize = 3;
    pub const BYTES: usize = 4;
    /// Packets back.
    pub const ANSWERS: usize = 5;
    /// Connections that came and went within two seconds.
    pub const SESSIONS: usize = 6;
    /// First frames of attempts that carry no more than a header without options.
    pub const BARE: usize = 7;
    /// Segments with PSH from the source on connections: requests or messages, each the end of what a
    /// program wrote. Their bytes; and segments with PSH back.
    pub const REQUESTS: usize = 8;
    pub const REQUEST_BYTES: usize = 9;
    pub const REPLIES: usize = 10;
    /// Seconds that those short connections lasted, all together.
    pub const SESSION_S: usize = 11;
    /// Connections of which no beginning was seen, and which were reset.
    pub const STRAY: usize = 12;
    pub const N: usize = 13;
}

/// Positions in the slow counts: sessions that ended young, their packets and the squares.
pub(crate) mod slow {
    pub const SESSIONS: usize = 0;
    pub const PACKETS: usize = 1;
    pub const PACKETS_SQ: usize = 2;
    pub const BYTES: usize = 3;
    pub const N: usize = 4;
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Pair {
    pub fast: Fading<{ fast::N }>,
    pub slow: Fading<{ slow::N }>,
    /// Distinct ports asked for since the counts were last near zero.
    pub ports: Spread,
    /// Distinct ports that stray segments went to.
    pub stray_ports: Spread,
    /// The port that most attempts go to (majority vote, Boyer and Moore 1981).
    pub port: u16,
    votes: u32,
    /// Connections that are established and not over.
    pub n_open: u32,
    /// Of these, the ones that the source is closing: it does not keep them.
    n_closing: u32,
    /// Connections established in each of the last seconds, and the second of the newest.
    opened: [u16; KEPT_SECONDS],
    opened_s: u64,
    /// Bytes that the source sent and got on connections not over, roughly.
    pub open_sent: u64,
    pub open_got: u64,
    /// Segments with data that the source sent, and that came back on them, roughly.
    pub open_asks: u64,
    pub open_answers: u64,
    /// Time at which the present burst began.
    pub since_ns: u64,
    pub first_ns: u64,
    pub last_ns: u64,
    pub reported_ns: u64,
    /// Watched for connections that are kept open, and when that was last reported.
    pub is_watched: bool,
    pub kept_reported_ns: u64,
}

impl Priority for Pair {
    fn priority(&self) -> u64 {
        (self.fast.get(fast::ATTEMPTS) + self.slow.get(slow::SESSIONS)) as u64
            + u64::from(self.n_open)
    }
}

/// Seconds after which an open connection is one that is kept.
const KEPT_SECONDS: usize = 3;
/// Silence after which a new burst begins.
const PAUSE_NS: u64 = 15 * SECOND_NS;

impl Pair {
    pub(super) fn take(&mut self, update: &FlowUpdate) {
        let at_ns = update.last_ns;
        if at_ns.saturating_sub(self.last_ns) > PAUSE_NS {
            self.since_ns = update.first_ns.max(self.last_ns);
            self.ports.clear();
        }
        self.last_ns = self.last_ns.max(at_ns);
        if self.first_ns == 0 {
            self.first_ns = update.first_ns;
        }
        self.fast.fade(at_ns, FAST_S);
        self.fast.add(fast::PACKETS, update.forward.packets as f32);
        self.fast.add(fast::BYTES, update.forward.bytes as f32);
        self.fast.add(fast::ANSWERS, update.backward.packets as f32);
        let asks = update.protocol != protocol::TCP || update.n_flags[SYN] > 0;
        if update.is_new && update.is_attempt && asks {
            self.begin(update);
        }
        if update.has_progressed {
            match update.progress {
                Progress::Established => {
                    self.fast.add(fast::ESTABLISHED, 1.0);
                    self.open(at_ns);
                }
                Progress::Refused => {
                    self.fast.add(fast::FAILED, 1.0);
                    self.stray(update);
                }
                Progress::Unanswered => self.fast.add(fast::FAILED, 1.0),
                Progress::Pending => {}
            }
        }
        if update.begins_to_close {
            self.n_closing = self.n_closing.saturating_add(1).min(self.n_open);
        }
        if update.progress == Progress::Established {
            self.open_sent = self.open_sent.saturating_add(update.forward.bytes);
            self.open_got = self.open_got.saturating_add(update.backward.bytes);
            let (asks, answers) = (update.forward.n_flags[PSH], update.backward.n_flags[PSH]);
            self.open_asks = self.open_asks.saturating_add(asks);
            self.open_answers = self.open_answers.saturating_add(answers);
            self.fast.add(fast::REQUESTS, asks as f32);
            self.fast
                .add(fast::REQUEST_BYTES, update.forward.bytes as f32);
            self.fast.add(fast::REPLIES, answers as f32);
            if self.votes == 0 {
                // It was not seen to begin.
                self.port = update.destination_port;
            }
        }
    }

    /// Counts a segment with ACK that belongs to no connection. Those with FIN end something; silence is how a
    /// connection looks whose answers go another way.
    fn stray(&mut self, update: &FlowUpdate) {
        if !update.is_stray || update.n_flags[FIN] > 0 {
            return;
        }
        if self.fast.get(fast::STRAY) < 0.5 {
            self.stray_ports.clear();
        }
        self.fast.add(fast::STRAY, 1.0);
        self.stray_ports.insert(u64::from(update.destination_port));
        if self.votes == 0 {
            self.port = update.destination_port;
        }
    }

    fn open(&mut self, at_ns: u64) {
        self.n_open = self.n_open.saturating_add(1);
        self.pass_seconds(at_ns);
        if let Some(newest) = self.opened.first_mut() {
            *newest = newest.saturating_add(1);
        }
    }

    fn pass_seconds(&mut self, at_ns: u64) {
        let second = at_ns / SECOND_NS;
        let n_passed = second
            .saturating_sub(self.opened_s)
            .min(KEPT_SECONDS as u64) as usize;
        self.opened_s = self.opened_s.max(second);
        self.opened.rotate_right(n_passed);
        for count in self.opened.iter_mut().take(n_passed) {
            *count = 0;
        }
    }

    /// Connections that are open and have been for some seconds, and that the source did not begin to close: the end of
    /// the others was lost on the way here. A service that closed its side may be held all the same.
    pub(crate) fn n_kept(&mut self, at_ns: u64) -> u32 {
        self.pass_seconds(at_ns);
        let n_young: u32 = self.opened.iter().map(|n| u32::from(*n)).sum();
        self.n_open.saturating_sub(n_young.max(self.n_closing))
    }

    fn begin(&mut self, update: &FlowUpdate) {
        if self.fast.get(fast::ATTEMPTS) < 0.5 {
            self.since_ns = update.first_ns;
            self.ports.clear();
            self.votes = 0;
        }
        self.fast.add(fast::ATTEMPTS, 1.0);
        let port = update.destination_port;
        self.ports.insert(u64::from(port));
        if self.votes == 0 {
            self.port = port;
        }
        self.votes = if self.port == port {
            self.votes.saturating_add(1).min(1_000)
        } else {
            self.votes.saturating_sub(1)
        };
        if is_bare(update) {
            self.fast.add(fast::BARE, 1.0);
        }
    }

    pub(super) fn end(&mut self, flow: &FlowSummary, is_session: bool) {
        let at_ns = flow.last_ns;
        if flow.was_established && self.n_open > 0 {
            self.n_open -= 1;
            if flow.was_closing {
                self.n_closing = self.n_closing.saturating_sub(1);
            }
            // Of a connection that was exported in parts the last one alone is known.
            let (sent, got) = (&flow.forward, &flow.backward);
            self.open_sent = self.open_sent.saturating_sub(sent.bytes);
            self.open_got = self.open_got.saturating_sub(got.bytes);
            self.open_asks = self.open_asks.saturating_sub(sent.n_flags[PSH]);
            self.open_answers = self.open_answers.saturating_sub(got.n_flags[PSH]);
            if self.n_open == 0 {
                (self.open_sent, self.open_got) = (0, 0);
                (self.open_asks, self.open_answers) = (0, 0);
                self.n_closing = 0;
            }
        }
        if !is_session {
            return;
        }
        self.last_ns = self.last_ns.max(at_ns);
        self.fast.fade(at_ns, FAST_S);
        self.slow.fade(at_ns, SLOW_S);
        let packets = (flow.forward.packets + flow.backward.packets) as f32;
        let lasted_ns = flow.last_ns.saturating_sub(flow.first_ns);
        if lasted_ns < 2 * SECOND_NS {
            self.fast.add(fast::SESSIONS, 1.0);
            self.fast.add(fast::SESSION_S, lasted_ns as f32 / 1e9);
        }
        self.slow.add(slow::SESSIONS, 1.0);
        self.slow.add(slow::PACKETS, packets);
        self.slow.add(slow::PACKETS_SQ, packets * packets);
        let bytes = flow.forward.bytes + flow.backward.bytes;
        self.slow.add(slow::BYTES, bytes as f32);
    }

    /// Mean number of short sessions that go on at the same time (Little 1961).
    pub(crate) fn sessions_at_once(&self) -> f64 {
        self.fast.get(fast::SESSION_S) / f64::from(FAST_S)
    }

    /// Seconds that the present burst lasts.
    pub(crate) fn age_s(&self) -> f64 {
        self.last_ns.saturating_sub(self.since_ns) as f64 / 1e9
    }

    /// Mean packets of young sessions, and their standard deviation over the mean.
    pub(crate) fn session_shape(&self) -> (f64, f64) {
        let n = self.slow.get(slow::SESSIONS).max(1e-6);
        let mean = self.slow.get(slow::PACKETS) / n;
        let variance = (self.slow.get(slow::PACKETS_SQ) / n - mean * mean).max(0.0);
        (mean, variance.sqrt() / mean.max(1.0))
    }
}

/// A TCP segment of nothing but a 20-byte header: no stack opens a connection without options, the
/// maximum segment size at least (RFC 9293 3.7.1). Frames are padded to 60 bytes.
pub(crate) fn is_bare(update: &FlowUpdate) -> bool {
    let limit = if sensor_common::is_v4(&update.source) {
        60
    } else {
        74
    };
    update.protocol == protocol::TCP
        && update.forward.packets > 0
        && update.forward.bytes <= limit * update.forward.packets
}

/// True where a connection came about, as the flow stage judges it: a completed handshake, or any answer.
pub(crate) fn is_established(flow: &FlowSummary) -> bool {
    let (sent, got) = (&flow.forward, &flow.backward);
    if flow.protocol != protocol::TCP {
        return got.packets > 0;
    }
    sent.n_flags[ACK] > sent.n_flags[RST] && got.n_flags[ACK] > got.n_flags[RST]
}

/// Positions in the counts of flags.
const SYN: usize = 0;
const FIN: usize = 1;
const RST: usize = 2;
const PSH: usize = 3;
const ACK: usize = 4;

/// True where a connection that ended was one in which something was said.
pub(super) fn is_session(flow: &FlowSummary) -> bool {
    let packets = flow.forward.packets + flow.backward.packets;
    packets >= MIN_SESSION_PACKETS
        && flow.backward.packets > 2
        && flow.end_reason == EndReason::EndOfFlow
}

/// Table of pairs.
#[derive(Debug)]
pub(crate) struct Pairs {
    pairs: Bounded<PairKey, Pair>,
}

/// A session has more packets than a handshake and its end.
const MIN_SESSION_PACKETS: u64 = 7;

impl Pairs {
    pub(crate) fn new(capacity: usize, hash_seed: u64) -> Self {
        Self {
            pairs: Bounded::new("shape_pairs", capacity, hash_seed),
        }
    }

    pub(crate) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.pairs.usage());
    }

    /// Prefetches the pairs of updates.
    pub(crate) fn fetch(&self, updates: &[FlowUpdate]) {
        self.pairs.fetch(updates.iter().map(PairKey::of));
    }

    /// Takes an update; the pair after it.
    pub(crate) fn take(&mut self, update: &FlowUpdate) -> (PairKey, &mut Pair) {
        let key = PairKey::of(update);
        let pair = self.pairs.get_or_insert_with(key, Pair::default);
        pair.take(update);
        (key, pair)
    }

    pub(crate) fn get_mut(&mut self, key: &PairKey) -> Option<&mut Pair> {
        self.pairs.get_mut(key)
    }

    /// Takes the end of a flow; the pair after it, if there is one.
    pub(crate) fn end(
        &mut self,
        flow: &FlowSummary,
        source: Address,
        host: Address,
    ) -> Option<(PairKey, &mut Pair)> {
        if flow.end_reason == EndReason::ActiveTimeout {
            return None;
        }
        let key = PairKey {
            source,
            host,
            protocol: flow.protocol,
        };
        let pair = self.pairs.get_mut(&key)?;
        pair.end(flow, is_session(flow));
        Some((key, pair))
    }

    /// Forgets pairs that were silent for long and hold nothing open.
    pub(crate) fn forget(&mut self, at_ns: u64) {
        self.pairs.retain(|_, pair| {
            let silence_ns = at_ns.saturating_sub(pair.last_ns);
            silence_ns < 60 * SECOND_NS || (pair.n_open > 0 && silence_ns < 600 * SECOND_NS)
        });
    }
}
