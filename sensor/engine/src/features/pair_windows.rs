//! Windows of pairs and of sources: every 10 s a vector over the last minute, of flows that run and that
//! ended, with what the source does elsewhere and what the host gets from others.

use sensor_common::Address;

use super::bounded::{Bounded, TableUse};
use super::pair_schema::{ABSENT, N_PAIR_FEATURES, PairColumn as C};
use super::pair_tally::{Counts, Moments, N_PANES, PANE_NS, Tally, n};
use crate::address::from_ip;
use crate::flow::{FlowSummary, FlowUpdate};
use crate::slot_index::BATCH;

/// Pairs, sources and hosts followed; one pane takes 190 bytes, six 1.1 kB: 6 MB under a flood of
/// forged sources, 36 MB at most.
const MAX_PAIRS: usize = 16_384;
const MAX_ENDS: usize = 8_192;
/// Vectors of one kind at one time, the busiest first.
const MAX_VECTORS: usize = 2_048;
/// Packets in the minute from which there is a behaviour to judge.
const LEAST_PACKETS: f32 = 4.0;

/// Vector of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct PairVector {
    pub source: Address,
    /// `None`: of all that the source does.
    pub host: Option<Address>,
    /// End of the window, at most a minute after its beginning.
    pub at_ns: u64,
    pub n_packets: u64,
    /// In the order of [`super::PAIR_FEATURES`].
    pub values: [f32; N_PAIR_FEATURES],
}

#[derive(Debug)]
pub(crate) struct PairWindows {
    pairs: Bounded<(Address, Address), Tally>,
    sources: Bounded<Address, Tally>,
    hosts: Bounded<Address, Tally>,
    /// Pairs and sources with packets in the running pane, in the order of their first.
    active_pairs: Vec<(Address, Address)>,
    active_sources: Vec<Address>,
    /// Time of the latest input, which ends of flows come without.
    at_ns: u64,
    pane: u64,
    /// Vectors beyond the most of one time.
    pub n_skipped: u64,
}

impl PairWindows {
    pub(crate) fn new(hash_seed: u64) -> Self {
        Self {
            pairs: Bounded::new("window_pairs", MAX_PAIRS, hash_seed),
            sources: Bounded::new("window_sources", MAX_ENDS, hash_seed),
            hosts: Bounded::new("window_hosts", MAX_ENDS, hash_seed),
            active_pairs: Vec::new(),
            active_sources: Vec::new(),
            at_ns: 0,
            pane: 0,
            n_skipped: 0,
        }
    }

    pub(crate) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.pairs.usage());
        out.push(self.sources.usage());
        out.push(self.hosts.usage());
    }

    /// Takes updates one after the other.
    pub(crate) fn take_all(&mut self, at_ns: u64, updates: &[FlowUpdate]) {
        self.at_ns = self.at_ns.max(at_ns);
        if self.pane == 0 {
            self.pane = at_ns / PANE_NS;
        }
        for batch in updates.chunks(BATCH) {
            let ends = |update: &FlowUpdate| (update.source, update.destination);
            self.pairs.fetch(batch.iter().map(ends));
            self.sources.fetch(batch.iter().map(|update| update.source));
            self.hosts
                .fetch(batch.iter().map(|update| update.destination));
            batch.iter().for_each(|update| self.take(update));
        }
    }

    fn take(&mut self, update: &FlowUpdate) {
        let (source, host, at_ns) = (update.source, update.destination, self.at_ns);
        let make = || Tally::new(at_ns);
        let pair = self.pairs.get_or_insert_with((source, host), make);
        pair.take(at_ns, update, &host);
        if pair.list(at_ns) {
            self.active_pairs.push((source, host));
        }
        let tally = self.sources.get_or_insert_with(source, make);
        tally.take(at_ns, update, &host);
        if tally.list(at_ns) {
            self.active_sources.push(source);
        }
        let tally = self.hosts.get_or_insert_with(host, make);
        tally.take(at_ns, update, &source);
    }

    /// Takes a flow that was exported for good.
    pub(crate) fn end(&mut self, flow: &FlowSummary) {
        let (source, host) = (from_ip(flow.source), from_ip(flow.destination));
        let at_ns = self.at_ns;
        if let Some(pair) = self.pairs.get_mut(&(source, host)) {
            pair.end(at_ns, flow);
        }
        if let Some(tally) = self.sources.get_mut(&source) {
            tally.end(at_ns, flow);
        }
        if let Some(tally) = self.hosts.get_mut(&host) {
            tally.end(at_ns, flow);
        }
    }

    /// Hands out the vectors of the pane that is over, if one is; `is_last`: or is cut short.
    pub(crate) fn close(&mut self, at_ns: u64, is_last: bool, take: &mut dyn FnMut(PairVector)) {
        self.at_ns = self.at_ns.max(at_ns);
        let now = self.at_ns / PANE_NS;
        if self.pane == 0 || (now <= self.pane && !is_last) {
            return;
        }
        let (last, end_ns) = (self.pane, self.at_ns.min((self.pane + 1) * PANE_NS));
        self.pane = now;
        let mut pairs = std::mem::take(&mut self.active_pairs);
        let mut sources = std::mem::take(&mut self.active_sources);
        self.n_skipped += busiest(&mut pairs, |pair| sent(self.pairs.get(pair), last));
        self.n_skipped += busiest(&mut sources, |source| sent(self.sources.get(source), last));
        for (source, host) in pairs.drain(..) {
            if let Some(vector) = self.vector(end_ns, last, source, Some(host)) {
                take(vector);
            }
        }
        for source in sources.drain(..) {
            if let Some(vector) = self.vector(end_ns, last, source, None) {
                take(vector);
            }
        }
        self.active_pairs = pairs;
        self.active_sources = sources;
        let stale = self.at_ns;
        self.pairs.retain(|_, tally| !tally.is_stale(stale));
        self.sources.retain(|_, tally| !tally.is_stale(stale));
        self.hosts.retain(|_, tally| !tally.is_stale(stale));
    }

    fn vector(
        &self,
        at_ns: u64,
        last: u64,
        source: Address,
        host: Option<Address>,
    ) -> Option<PairVector> {
        let of = |table: &Bounded<Address, Tally>, address: &Address| {
            let tally = table.get(address);
            tally.map_or_else(Counts::default, |tally| tally.window(last))
        };
        let tally = match host {
            Some(host) => self.pairs.get(&(source, host))?,
            None => self.sources.get(&source)?,
        };
        let own = tally.window(last);
        let packets = own.of(n::SENT) + own.of(n::GOT);
        if packets < LEAST_PACKETS {
            return None;
        }
        let mut values = Values([ABSENT; N_PAIR_FEATURES]);
        values.set(C::IsSource, f32::from(u8::from(host.is_none())));
        values.of_attempts(&own);
        values.of_packets(&own);
        values.of_flows(&own);
        values.of_rhythm(tally, last);
        let whole = of(&self.sources, &source);
        values.of_source(&whole, &own, &of(&self.hosts, &source));
        if let Some(host) = host {
            values.of_host(&of(&self.hosts, &host), &own, &of(&self.sources, &host));
        }
        Some(PairVector {
            source,
            host,
            at_ns,
            n_packets: packets as u64,
            values: values.0,
        })
    }
}

/// Packets of a window that the initiator sent.
fn sent(tally: Option<&Tally>, last: u64) -> u64 {
    tally.map_or(0, |tally| tally.window(last).of(n::SENT) as u64)
}

/// Keeps the busiest where there are too many; how many are left out.
fn busiest<K>(keys: &mut Vec<K>, weight: impl Fn(&K) -> u64) -> u64 {
    let n_beyond = keys.len().saturating_sub(MAX_VECTORS) as u64;
    if n_beyond > 0 {
        keys.sort_by_cached_key(|key| std::cmp::Reverse(weight(key)));
        keys.truncate(MAX_VECTORS);
    }
    n_beyond
}

/// A vector in the making.
struct Values([f32; N_PAIR_FEATURES]);

impl Values {
    fn set(&mut self, column: C, value: f32) {
        if let Some(place) = self.0.get_mut(column as usize) {
            *place = value;
        }
    }

    /// Sets a share where there is a whole.
    fn share(&mut self, column: C, part: f32, whole: f32) {
        if whole > 0.0 {
            self.set(column, (part / whole).clamp(0.0, 1.0));
        }
    }

    /// Sets the logarithm of a mean where there is a number.
    fn mean(&mut self, column: C, sum: f32, n: f32) {
        if n > 0.0 {
            self.set(column, (sum / n).max(0.0).ln_1p());
        }
    }

    fn deviation(&mut self, column: C, moments: Moments) {
        if let Some(deviation) = moments.deviation() {
            self.set(column, deviation);
        }
    }

    fn of_attempts(&mut self, own: &Counts) {
        let flows = own.of(n::FLOWS);
        let settled = settled(own);
        self.set(C::Flows, flows.ln_1p());
        self.share(C::UsedShare, own.of(n::USED), settled);
        self.share(C::RefusedShare, own.of(n::REFUSED), settled);
        self.share(C::UnansweredShare, own.of(n::UNANSWERED), settled);
        self.share(C::OnePacketShare, own.of(n::ONE).max(0.0), flows);
        self.share(C::YoungShare, own.of(n::YOUNG), own.of(n::ENDED));
        self.mean(C::SynPerFlow, own.of(n::SYN), own.of(n::TCP_FLOWS));
        if flows > 0.0 {
            let ports = own.ports.len() as f32;
            self.set(C::Ports, ports.ln_1p());
            self.set(C::PortsPerFlow, (ports / flows).min(1.0));
        }
    }

    fn of_packets(&mut self, own: &Counts) {
        let (sent, got) = (own.of(n::SENT), own.of(n::GOT));
        let (out, back) = (own.of(n::SENT_BYTES), own.of(n::GOT_BYTES));
        let all = sent + got;
        self.set(C::SentPackets, sent.ln_1p());
        self.set(C::GotPackets, got.ln_1p());
        self.share(C::ResetShare, own.of(n::RESETS), all);
        self.mean(C::SentBytesPerPacket, out, sent);
        self.mean(C::GotBytesPerPacket, back, got);
        self.share(C::SentByteShare, out, out + back);
        self.share(C::SentPacketShare, sent, all);
        let lengths = |places| Moments::of(own, places);
        self.deviation(
            C::SentLengthDeviation,
            lengths([n::SENT, n::SENT_BYTES, n::SENT_SQ]),
        );
        self.deviation(
            C::GotLengthDeviation,
            lengths([n::GOT, n::GOT_BYTES, n::GOT_SQ]),
        );
        self.share(C::SentSmallShare, own.of(n::SENT_SMALL), sent);
        self.share(C::GotLargeShare, own.of(n::GOT_LARGE), got);
        self.share(C::SentPushShare, own.of(n::SENT_PUSH), sent);
        self.share(C::GotPushShare, own.of(n::GOT_PUSH), got);
        self.mean(C::PacketGapMean, own.of(n::GAP), sent);
        self.deviation(C::PacketGapDeviation, lengths([n::SENT, n::GAP, n::GAP_SQ]));
        self.share(C::UdpShare, own.of(n::UDP), all);
        self.share(C::IcmpShare, own.of(n::ICMP), all);
    }

    fn of_flows(&mut self, own: &Counts) {
        let flows = own.of(n::FLOWS).max(1.0);
        let moments = |places| Moments::of(own, places);
        self.deviation(C::SentSizeDeviation, moments([n::ENDED, n::OUT, n::OUT_SQ]));
        self.deviation(C::GotSizeDeviation, moments([n::ENDED, n::IN, n::IN_SQ]));
        let durations = moments([n::ENDED, n::DURATION, n::DURATION_SQ]);
        self.deviation(C::DurationDeviation, durations);
        self.mean(C::DurationMean, durations.sum, durations.n);
        let starts = moments([n::STARTS, n::START, n::START_SQ]);
        self.deviation(C::StartGapDeviation, starts);
        self.mean(C::StartGapMean, starts.sum, starts.n);
        self.mean(C::PacketsPerFlow, own.of(n::SENT) + own.of(n::GOT), flows);
        self.mean(C::SentBytesPerFlow, own.of(n::SENT_BYTES), flows);
        self.mean(C::GotBytesPerFlow, own.of(n::GOT_BYTES), flows);
    }

    fn of_rhythm(&mut self, tally: &Tally, last: u64) {
        let (share, sent, got) = tally.rhythm(last);
        self.set(C::ActiveShare, share);
        self.deviation(C::SentPaneDeviation, sent);
        self.deviation(C::GotPaneDeviation, got);
    }

    /// Adds what the source does elsewhere, and what is asked of it.
    fn of_source(&mut self, whole: &Counts, own: &Counts, asked: &Counts) {
        let elsewhere = whole.without(own);
        let flows = whole.of(n::FLOWS);
        self.share(C::ShareOfSource, own.of(n::FLOWS), flows);
        let tried = settled(&elsewhere);
        self.share(C::ElsewhereRefused, elsewhere.of(n::REFUSED), tried);
        self.share(C::ElsewhereUnanswered, elsewhere.of(n::UNANSWERED), tried);
        self.mean(
            C::ElsewhereBytesPerFlow,
            bytes(&elsewhere),
            elsewhere.of(n::FLOWS),
        );
        if flows > 0.0 {
            let (peers, ports) = (whole.peers.len() as f32, whole.ports.len() as f32);
            self.set(C::SourcePeers, peers.ln_1p());
            self.set(C::SourcePeersPerFlow, (peers / flows).min(1.0));
            self.set(C::SourcePortsPerFlow, (ports / flows).min(1.0));
        }
        let served = asked.of(n::FLOWS);
        self.share(C::SourceServes, served, served + flows);
    }

    /// Adds what the host gets from others, and what it asks itself.
    fn of_host(&mut self, whole: &Counts, own: &Counts, asks: &Counts) {
        let others = whole.without(own);
        let flows = whole.of(n::FLOWS);
        self.share(C::ShareOfHost, own.of(n::FLOWS), flows);
        let tried = settled(&others);
        self.share(C::OthersRefused, others.of(n::REFUSED), tried);
        self.share(C::OthersUnanswered, others.of(n::UNANSWERED), tried);
        self.set(C::HostSources, (whole.peers.len() as f32).ln_1p());
        self.share(C::HostAsks, asks.of(n::FLOWS), asks.of(n::FLOWS) + flows);
        let by_flow = |counts: &Counts, bytes: usize| {
            let flows = counts.of(n::FLOWS);
            (flows > 0.0).then(|| (counts.of(bytes) / flows).ln_1p())
        };
        for (column, bytes) in [
            (C::SentAgainstOthers, n::SENT_BYTES),
            (C::GotAgainstOthers, n::GOT_BYTES),
        ] {
            if let (Some(here), Some(there)) = (by_flow(own, bytes), by_flow(&others, bytes)) {
                self.set(column, here - there);
            }
        }
    }
}

fn settled(counts: &Counts) -> f32 {
    counts.of(n::USED) + counts.of(n::REFUSED) + counts.of(n::UNANSWERED)
}

fn bytes(counts: &Counts) -> f32 {
    counts.of(n::SENT_BYTES) + counts.of(n::GOT_BYTES)
}

const _: () = assert!(N_PANES * PANE_NS == 60_000_000_000);

#[cfg(test)]
mod tests;
