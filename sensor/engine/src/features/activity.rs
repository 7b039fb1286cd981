//! Activity of one subject: counters of the running window, damped statistics of its life, and the
//! vector made of both.

use sensor_common::mix;
use sensor_common::packet::protocol;
use serde::{Deserialize, Serialize};

use super::damped::Damped;
use super::schema::{Column, DAMPED_AT, DAMPED_S, N_DAMPED, N_FEATURES};
use crate::config::SECOND_NS;
use crate::flow::{Delta, FlowUpdate, Progress};

const BINS: usize = 16;
/// Positions in [`Delta::n_flags`].
const SYN: usize = 0;
const RST: usize = 2;
const PSH: usize = 3;

/// Distinct values by linear counting (Whang et al. 1990): good to 2,000, full at 3,200.
#[derive(Clone, Copy, Default, Debug)]
struct Bitmap([u64; 8]);

/// Distinct hashes, and how they spread over bins.
#[derive(Clone, Default, Debug)]
struct Bins {
    distinct: Bitmap,
    bins: [u32; BINS],
}

impl Bins {
    fn add(&mut self, hash: u64, n: u32) {
        self.distinct.insert(hash);
        if let Some(sum) = self.bins.get_mut((hash >> 60) as usize) {
            *sum = sum.saturating_add(n);
        }
    }
}

/// Distinct hashes of what comes with the flows of a window. Most subjects begin one flow or talk to one
/// peer: that needs no memory of its own.
#[derive(Clone, Default, Debug)]
enum Variety {
    /// Always the same hash, `n` times.
    One {
        hash: u64,
        n: u32,
    },
    Many(Box<Bins>),
    #[default]
    None,
}

impl Variety {
    fn insert(&mut self, hash: u64) {
        match self {
            Self::None => *self = Self::One { hash, n: 1 },
            Self::One { hash: known, n } if *known == hash => *n = n.saturating_add(1),
            Self::One { hash: known, n } => {
                let mut bins = Box::<Bins>::default();
                bins.add(*known, *n);
                bins.add(hash, 1);
                *self = Self::Many(bins);
            }
            Self::Many(bins) => bins.add(hash, 1),
        }
    }

    /// Number of distinct hashes, and their entropy over the bins.
    fn measure(&self) -> (f32, f32) {
        let of = |bins: &Bins| (bins.distinct.len(), entropy(&bins.bins));
        match self {
            Self::None => of(&Bins::default()),
            Self::One { hash, n } => {
                let mut bins = Bins::default();
                bins.add(*hash, *n);
                of(&bins)
            }
            Self::Many(bins) => of(bins),
        }
    }
}

impl Bitmap {
    const BITS: f32 = 512.0;

    fn insert(&mut self, hash: u64) {
        if let Some(word) = self.0.get_mut((hash >> 61) as usize) {
            *word |= 1 << ((hash >> 55) & 63);
        }
    }

    fn len(&self) -> f32 {
        let n_zero = self.0.iter().map(|word| word.count_zeros()).sum::<u32>() as f32;
        -Self::BITS * (n_zero.max(0.5) / Self::BITS).ln()
    }
}

/// One update as one of its subjects sees it.
pub(super) struct Role<'a> {
    pub update: &'a FlowUpdate,
    /// Packets that the subject sent and received.
    pub sent: &'a Delta,
    pub got: &'a Delta,
    /// Hashes of the other end and of the port that counts for this kind of subject.
    pub peer: u64,
    pub port: u64,
    /// Surprise of the destination port, bits.
    pub rarity: f32,
    pub is_new_pair: bool,
}

/// Counters of a window. Ten seconds of packets fit 32 bits at any rate there is; a sum that would
/// not stays at the end.
#[derive(Clone, Default, Debug)]
struct Window {
    first_ns: u64,
    last_ns: u64,
    /// Sent, received.
    packets: [u32; 2],
    bytes: [u64; 2],
    length_sumsq: [u64; 2],
    interarrival_ns: u64,
    interarrival_sumsq: u64,
    lengths: [u32; 5],
    n_gaps: u32,
    n_flags: [u32; 3],
    n_syn_ack: u32,
    n_udp: u32,
    n_icmp: u32,
    n_flows: u32,
    n_looks: u32,
    n_settled: u32,
    n_failed: u32,
    n_new_pairs: u32,
    rarity: f32,
    n_seconds: u32,
    peak_packets: u32,
    peers: Variety,
    ports: Variety,
}

/// A count of packets, at most as many as 32 bits hold.
fn clip(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn count(sum: &mut u32, n: u64) {
    *sum = sum.saturating_add(clip(n));
}

/// The running second, a sample of the damped statistics when it is over.
#[derive(Clone, Copy, Default, Debug)]
struct Second {
    /// Number since 1970; 0 before the first packet.
    number: u64,
    bytes: [u64; 2],
    packets: u32,
}

/// A subject's state.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(super) struct Activity {
    #[serde(skip)]
    window: Window,
    #[serde(skip)]
    second: Second,
    damped: [Damped; DAMPED_S.len()],
    damped_s: u64,
    starts: Damped,
    last_start_ns: u64,
    began_ns: u64,
}

impl Activity {
    pub(super) fn new(at_ns: u64) -> Self {
        Self {
            began_ns: at_ns,
            ..Self::default()
        }
    }

    pub(super) fn n_packets(&self) -> u64 {
        self.window.packets.iter().copied().map(u64::from).sum()
    }

    /// Reads here and there, so that all of it comes near.
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        let window = &self.window;
        window.first_ns
            ^ window.bytes[1]
            ^ u64::from(window.n_looks)
            ^ self.second.number
            ^ self.damped_s
    }

    pub(super) fn first_ns(&self) -> u64 {
        self.window.first_ns
    }

    pub(super) fn last_ns(&self) -> u64 {
        self.window.last_ns
    }

    /// Takes what happened; event time is that of the look.
    pub(super) fn take(&mut self, at_ns: u64, role: &Role<'_>) {
        let number = at_ns / SECOND_NS;
        if number != self.second.number {
            self.turn();
            self.second.number = number;
        }
        let (sent, got) = (role.sent, role.got);
        count(&mut self.second.packets, sent.packets + got.packets);
        self.second.bytes[0] += sent.bytes;
        self.second.bytes[1] += got.bytes;
        self.window.take(at_ns, role);
        if role.update.is_new {
            self.begin_flow(role);
        }
    }

    /// Ends the running second.
    fn turn(&mut self) {
        let second = std::mem::take(&mut self.second);
        if second.packets == 0 {
            return;
        }
        self.window.n_seconds = self.window.n_seconds.saturating_add(1);
        self.window.peak_packets = self.window.peak_packets.max(second.packets);
        let elapsed_s = second.number.saturating_sub(self.damped_s) as f32;
        self.damped_s = second.number;
        let sample = [
            (second.bytes[0] as f32).ln_1p(),
            (second.bytes[1] as f32).ln_1p(),
        ];
        for (damped, tau_s) in self.damped.iter_mut().zip(DAMPED_S) {
            damped.take((-elapsed_s / tau_s as f32).exp(), sample);
        }
    }

    fn begin_flow(&mut self, role: &Role<'_>) {
        let window = &mut self.window;
        window.n_flows = window.n_flows.saturating_add(1);
        window.n_new_pairs += u32::from(role.is_new_pair);
        window.rarity += role.rarity;
        window.peers.insert(role.peer);
        window.ports.insert(role.port);
        let start_ns = role.update.first_ns;
        if self.last_start_ns > 0 && start_ns >= self.last_start_ns {
            let gap_s = (start_ns - self.last_start_ns) as f32 / 1e9;
            self.starts.take((-gap_s / 600.0).exp(), [gap_s, 0.0]);
        }
        self.last_start_ns = self.last_start_ns.max(start_ns);
    }

    /// Ends the window and writes its vector.
    pub(super) fn close(&mut self, at_ns: u64, values: &mut [f32; N_FEATURES]) {
        self.turn();
        self.window.write(values);
        let mut set = |column: Column, value: f32| values[column as usize] = value;
        let [_, gap_s, deviation_s, ..] = self.starts.columns(1.0);
        set(Column::StartGapMean, (gap_s * 1e3).ln_1p());
        let variation = if gap_s > 0.0 {
            (deviation_s / gap_s).ln_1p()
        } else {
            0.0
        };
        set(Column::StartGapVariation, variation);
        let age_s = at_ns.saturating_sub(self.began_ns) as f32 / 1e9;
        set(Column::Age, age_s.ln_1p());
        let idle_s = (at_ns / SECOND_NS).saturating_sub(self.damped_s) as f32;
        let damped = self.damped.iter().zip(DAMPED_S);
        for (columns, (damped, tau_s)) in values[DAMPED_AT..].chunks_mut(N_DAMPED).zip(damped) {
            columns.copy_from_slice(&damped.columns((-idle_s / tau_s as f32).exp()));
        }
        self.window = Window::default();
    }
}

impl Window {
    fn take(&mut self, at_ns: u64, role: &Role<'_>) {
        let (update, sent, got) = (role.update, role.sent, role.got);
        if self.first_ns == 0 {
            // Records say when a flow began, not when it went on: then it is the look's time.
            self.first_ns = if update.is_new {
                update.first_ns
            } else {
                at_ns
            };
        } else if update.is_new {
            self.first_ns = self.first_ns.min(update.first_ns);
        }
        self.last_ns = self.last_ns.max(update.last_ns);
        self.n_looks = self.n_looks.saturating_add(1);
        for (i, delta) in [sent, got].into_iter().enumerate() {
            count(&mut self.packets[i], delta.packets);
            self.bytes[i] += delta.bytes;
            self.length_sumsq[i] = self.length_sumsq[i].saturating_add(delta.length_sumsq);
            self.interarrival_ns = self.interarrival_ns.saturating_add(delta.interarrival_ns);
            self.interarrival_sumsq = self
                .interarrival_sumsq
                .saturating_add(delta.interarrival_sumsq);
            let is_first = update.is_new && delta.packets > 0;
            count(&mut self.n_gaps, delta.packets - u64::from(is_first));
            let mut n_long = delta.packets;
            for (sum, n) in self.lengths.iter_mut().zip(delta.length_histogram) {
                count(sum, n);
                n_long = n_long.saturating_sub(n);
            }
            count(&mut self.lengths[4], n_long);
            count(&mut self.n_flags[1], delta.n_flags[RST]);
            count(&mut self.n_flags[2], delta.n_flags[PSH]);
        }
        count(&mut self.n_flags[0], update.forward.n_flags[SYN]);
        count(&mut self.n_syn_ack, update.backward.n_flags[SYN]);
        let packets = sent.packets + got.packets;
        match update.protocol {
            protocol::UDP => count(&mut self.n_udp, packets),
            protocol::ICMP | protocol::ICMPV6 => count(&mut self.n_icmp, packets),
            _ => {}
        }
        if update.has_progressed && update.progress != Progress::Pending {
            self.n_settled = self.n_settled.saturating_add(1);
            self.n_failed += u32::from(update.progress.has_failed());
        }
    }

    fn write(&self, values: &mut [f32; N_FEATURES]) {
        let mut set = |column: Column, value: f32| values[column as usize] = value;
        let ln = |n: u32| (n as f32).ln_1p();
        let [out, back] = self.packets;
        let [out_bytes, back_bytes] = self.bytes;
        let packets = (u64::from(out) + u64::from(back)).max(1) as f32;
        set(Column::OutPackets, ln(out));
        set(Column::InPackets, ln(back));
        set(Column::OutBytes, (out_bytes as f32).ln_1p());
        set(Column::InBytes, (back_bytes as f32).ln_1p());
        set(Column::Flows, ln(self.n_flows));
        set(Column::Syn, ln(self.n_flags[0]));
        set(Column::PeakPackets, ln(self.peak_packets));
        set(Column::ActiveSeconds, self.n_seconds as f32);
        let (mean, deviation) = self.lengths(0);
        set(Column::OutLengthMean, mean.ln_1p());
        set(Column::OutLengthDeviation, deviation.ln_1p());
        let (mean, deviation) = self.lengths(1);
        set(Column::InLengthMean, mean.ln_1p());
        set(Column::InLengthDeviation, deviation.ln_1p());
        set(Column::LengthEntropy, entropy(&self.lengths));
        let (mean, variation) = self.interarrival();
        set(Column::InterarrivalMean, mean.ln_1p());
        set(Column::InterarrivalVariation, variation.ln_1p());
        set(Column::InRatio, back as f32 / packets);
        let bytes = (out_bytes + back_bytes).max(1) as f32;
        set(Column::OutByteRatio, out_bytes as f32 / bytes);
        let n_settled = self.n_settled.max(1) as f32;
        set(Column::FailedRatio, self.n_failed as f32 / n_settled);
        set(Column::Failed, ln(self.n_failed));
        let unanswered = ln(self.n_flags[0]) - ln(self.n_syn_ack);
        set(Column::SynUnanswered, unanswered);
        set(Column::ResetRatio, self.n_flags[1] as f32 / packets);
        set(Column::PushRatio, self.n_flags[2] as f32 / packets);
        let n_looks = self.n_looks.max(1);
        let n_running = n_looks.div_ceil(self.n_seconds.max(1)).max(self.n_flows);
        set(Column::FlowBytes, (bytes / n_running as f32).ln_1p());
        set(Column::UdpRatio, self.n_udp as f32 / packets);
        set(Column::IcmpRatio, self.n_icmp as f32 / packets);
        let (peers, peer_entropy) = self.peers.measure();
        let (ports, port_entropy) = self.ports.measure();
        set(Column::Peers, peers.ln_1p());
        set(Column::Ports, ports.ln_1p());
        set(Column::PortEntropy, port_entropy);
        set(Column::PeerEntropy, peer_entropy);
        let n_flows = self.n_flows.max(1) as f32;
        set(Column::PortRarity, self.rarity / n_flows);
        set(Column::NewPairs, ln(self.n_new_pairs));
        set(Column::FlowsOpen, ln(n_looks));
    }

    /// Mean and standard deviation of the frame lengths one way, bytes.
    fn lengths(&self, side: usize) -> (f32, f32) {
        let n = self.packets[side] as f64;
        if n == 0.0 {
            return (0.0, 0.0);
        }
        let mean = self.bytes[side] as f64 / n;
        let variance = self.length_sumsq[side] as f64 / n - mean * mean;
        (mean as f32, variance.max(0.0).sqrt() as f32)
    }

    /// Mean of the times between packets, us, and deviation over mean.
    fn interarrival(&self) -> (f32, f32) {
        if self.n_gaps == 0 {
            return (0.0, 0.0);
        }
        let n = self.n_gaps as f64;
        let mean = self.interarrival_ns as f64 / n / 1e3;
        let square = self.interarrival_sumsq as f64 * 1.024 * 1.024 / n;
        let deviation = (square - mean * mean).max(0.0).sqrt();
        let variation = if mean > 0.0 { deviation / mean } else { 0.0 };
        (mean as f32, variation as f32)
    }
}

/// Shannon entropy, bits.
fn entropy(bins: &[u32]) -> f32 {
    let total = bins.iter().copied().map(u64::from).sum::<u64>() as f32;
    bins.iter()
        .filter(|n| **n > 0)
        .map(|n| *n as f32 / total)
        .map(|p| -p * p.log2())
        .sum()
}

/// A hash whose top bits are good.
pub(super) fn spread(value: u64) -> u64 {
    mix(value, 0, 0x5eed_0f5e_7c4e_5a1d).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmap_counts_within_a_tenth() {
        let mut bitmap = Bitmap::default();
        for value in 0..1000u64 {
            bitmap.insert(spread(value));
            bitmap.insert(spread(value));
        }
        assert!((900.0..1100.0).contains(&bitmap.len()), "{}", bitmap.len());
        let mut one = Bitmap::default();
        one.insert(spread(7));
        assert!((one.len() - 1.0).abs() < 0.01);
    }

    #[test]
    fn entropy_of_two_equal_bins_is_one_bit() {
        assert!((entropy(&[5, 5, 0]) - 1.0).abs() < 1e-6);
        assert!(entropy(&[5, 0]).abs() < 1e-6);
        assert!(entropy(&[0, 0]).abs() < 1e-6);
    }
}
