//! Data in ICMP echoes.
//!
//! A reply returns the request's data (RFC 792, RFC 4443 4.2), and a program that pings sends the
//! same data again, but for a time stamp at its front. In a tunnel, replies carry data of their own,
//! and each request other data of another length. Where the far end's system answers as well, the tunnel's
//! replies are such that nobody asked for.

use sensor_common::{Address, mix};

use super::Seen;
use super::draft::{Span, draft};
use super::paned_window::PanedWindow;
use crate::address::to_ip;
use crate::config::{Config, IcmpTunnelConfig};
use crate::detect::Detect;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Finding, poisson_score};
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::l7::Reader;

/// Requests kept to hold replies against.
const PENDING: usize = 16;
/// Front of the data that a time stamp may fill.
const STAMP_BYTES: usize = 16;
/// Share of the replies that nobody asked for, where they are a tunnel's.
const UNASKED_SHARE: f64 = 0.25;
/// Distinct lengths that tell a tunnel from a program that pings, where replies are not seen.
const LENGTHS: u32 = 4;

/// One echo message, cut as the sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Echo {
    is_reply: bool,
    /// Identifier and sequence number.
    id: u32,
    /// Hashes of the data: all of it, and the part behind the time stamp.
    hash: u64,
    hash_behind: u64,
    bytes: u32,
}

impl Echo {
    fn read(payload: &[u8], payload_bytes: u32) -> Option<Self> {
        let mut r = Reader(payload);
        let (kind, code) = (r.u8()?, r.u8()?);
        let is_reply = match (kind, code) {
            (8 | 128, 0) => false,
            (0 | 129, 0) => true,
            _ => return None,
        };
        r.u16()?;
        let id = u32::from(r.u16()?) << 16 | u32::from(r.u16()?);
        let behind = r.0.get(STAMP_BYTES..).unwrap_or_default();
        Some(Self {
            is_reply,
            id,
            hash: hash(r.0),
            hash_behind: hash(behind),
            bytes: payload_bytes.saturating_sub(8),
        })
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let start = bytes.len() as u64;
    bytes.chunks(8).fold(start, |hash, chunk| {
        let word = chunk.iter().fold(0, |word, b| word << 8 | u64::from(*b));
        mix(hash, word, 0)
    })
}

#[derive(Clone, Copy, Debug, Default)]
struct Half {
    n_requests: u32,
    n_changed_requests: u32,
    n_matched: u32,
    n_changed_replies: u32,
    /// Replies to nothing, or to what was answered already, that carry other data each time.
    n_unasked: u32,
    /// A bit for each class of lengths.
    lengths: u64,
    bytes: u64,
}

#[derive(Clone, Debug, Default)]
struct Pair {
    window: PanedWindow<Half>,
    pending: Vec<Echo>,
    /// Requests that were answered, to know repeated answers of them.
    answered: Vec<Echo>,
    last_behind: u64,
    last_unasked: u64,
}

impl Priority for Pair {
    fn priority(&self) -> u64 {
        u64::from(self.window.now.n_requests)
    }
}

#[derive(Debug)]
pub(crate) struct IcmpTunnelDetector {
    config: IcmpTunnelConfig,
    /// Windows by requester and responder.
    pairs: Bounded<(Address, Address), Pair>,
}

impl Detect for IcmpTunnelDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.icmp_tunnel, config.hash_seed);
        Self {
            config: config.clone(),
            pairs: Bounded::new("icmp_tunnel_pairs", config.max_pairs, hash_seed),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.icmp_tunnel.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.pairs.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let config = &self.config;
        for ((client, server), pair) in self.pairs.iter_mut() {
            let window = &mut pair.window;
            if !window.is_due(at_ns, config.half_ns) {
                continue;
            }
            let Some((name, n, limit)) = judge(config, &window.now, &window.before) else {
                window.judged();
                continue;
            };
            window.reported(at_ns);
            let expected = f64::from(limit) / 10.0;
            let score = poisson_score(f64::from(n), expected);
            let bytes = window.now.bytes.saturating_add(window.before.bytes);
            let numbers = [
                (name, f64::from(n), expected, 0.9),
                ("echo_data_bytes", bytes as f64, 0.0, 0.1),
            ];
            let span = Span {
                window_ns: 2 * config.half_ns,
                first_ns: window.first_ns,
                last_ns: window.last_ns,
            };
            let entity = Entity::Source(*client);
            let family = Family::IcmpTunnel;
            findings.push(Finding {
                sources: vec![to_ip(client)],
                n_sources: 1,
                destinations: vec![to_ip(server)],
                n_destinations: 1,
                protocol: 1,
                ..draft(Detector::IcmpTunnel, family, entity, span, score, &numbers)
            });
        }
        let half_ns = config.half_ns;
        self.pairs
            .retain(|_, pair| !pair.window.is_stale(at_ns, half_ns));
    }
}

impl IcmpTunnelDetector {
    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>) {
        let head = seen.sample.head;
        let Some(echo) = Echo::read(seen.sample.payload, head.payload_bytes) else {
            return;
        };
        let (source, destination) = (head.packet.source, head.packet.destination);
        let half_ns = self.config.half_ns;
        if echo.is_reply {
            if let Some(pair) = self.pairs.get_mut(&(destination, source)) {
                pair.answer(seen.at_ns, half_ns, &echo);
            }
            return;
        }
        self.pairs
            .get_or_insert_with((source, destination), Pair::default)
            .ask(seen.at_ns, half_ns, &echo);
    }
}

impl Pair {
    fn ask(&mut self, at_ns: u64, half_ns: u64, echo: &Echo) {
        let half = self.window.at(at_ns, half_ns);
        half.n_requests = half.n_requests.saturating_add(1);
        half.bytes = half.bytes.saturating_add(u64::from(echo.bytes));
        half.lengths |= 1 << (echo.bytes / 16).min(63);
        let has_changed = self.last_behind != 0 && self.last_behind != echo.hash_behind;
        half.n_changed_requests = half
            .n_changed_requests
            .saturating_add(u32::from(has_changed));
        self.last_behind = echo.hash_behind;
        if self.pending.len() >= PENDING {
            self.pending.remove(0);
        }
        self.pending.push(*echo);
    }

    fn answer(&mut self, at_ns: u64, half_ns: u64, echo: &Echo) {
        let Some(place) = self.pending.iter().position(|asked| asked.id == echo.id) else {
            self.unasked(at_ns, half_ns, echo);
            return;
        };
        let asked = self.pending.remove(place);
        if self.answered.len() >= PENDING {
            self.answered.remove(0);
        }
        self.answered.push(asked);
        let half = self.window.at(at_ns, half_ns);
        let is_changed = asked.bytes != echo.bytes || asked.hash != echo.hash;
        half.n_matched = half.n_matched.saturating_add(1);
        half.n_changed_replies = half.n_changed_replies.saturating_add(u32::from(is_changed));
        half.bytes = half.bytes.saturating_add(u64::from(echo.bytes));
    }
}

impl Pair {
    /// A reply that answers no request that waits. Networks double packets, and a request may be none of those sampled:
    /// then the data is what was sent.
    fn unasked(&mut self, at_ns: u64, half_ns: u64, echo: &Echo) {
        let is_same = |asked: &Echo| asked.hash == echo.hash && asked.bytes == echo.bytes;
        let is_doubled = self.answered.iter().any(is_same);
        let is_usual =
            echo.hash_behind == self.last_behind || echo.hash_behind == self.last_unasked;
        if is_doubled || is_usual {
            return;
        }
        self.last_unasked = echo.hash_behind;
        let half = self.window.at(at_ns, half_ns);
        half.n_unasked = half.n_unasked.saturating_add(1);
        half.bytes = half.bytes.saturating_add(u64::from(echo.bytes));
    }
}

/// Name, number and limit of what is too much.
fn judge(config: &IcmpTunnelConfig, now: &Half, before: &Half) -> Option<(&'static str, u32, u32)> {
    let n_matched = now.n_matched.saturating_add(before.n_matched);
    let n_replies = now
        .n_changed_replies
        .saturating_add(before.n_changed_replies);
    let share = f64::from(n_replies) / f64::from(n_matched.max(1));
    if n_replies >= config.changed_replies && share >= config.changed_share {
        return Some(("changed_replies", n_replies, config.changed_replies));
    }
    let n_unasked = now.n_unasked.saturating_add(before.n_unasked);
    let n_all = n_matched.saturating_add(n_unasked);
    let share = f64::from(n_unasked) / f64::from(n_all.max(1));
    if n_unasked >= config.changed_replies && share >= UNASKED_SHARE {
        return Some(("unasked_replies", n_unasked, config.changed_replies));
    }
    let n_requests = now
        .n_changed_requests
        .saturating_add(before.n_changed_requests);
    let n_lengths = (now.lengths | before.lengths).count_ones();
    // Where replies are seen and return what was sent, it is a test of the path.
    let is_one_way = n_matched == 0;
    (is_one_way && n_requests >= config.changed_requests && n_lengths >= LENGTHS).then_some((
        "changed_requests",
        n_requests,
        config.changed_requests,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::T0;

    fn echo(is_reply: bool, sequence: u16, data: &[u8]) -> Echo {
        let [high, low] = sequence.to_be_bytes();
        let kind = if is_reply { 0 } else { 8 };
        let message = [&[kind, 0, 0, 0, 1, 2, high, low], data].concat();
        Echo::read(&message, message.len() as u32).unwrap()
    }

    /// Verdict on requests with data of 60 bytes, each answered by replies of the given data.
    fn told(replies: impl Fn(u16) -> Vec<Vec<u8>>) -> Option<&'static str> {
        let config = IcmpTunnelConfig::default();
        let mut pair = Pair::default();
        for n in 0..30 {
            pair.ask(T0, config.half_ns, &echo(false, n, &data(n, 60)));
            for reply in replies(n) {
                pair.answer(T0, config.half_ns, &echo(true, n, &reply));
            }
        }
        let judged = judge(&config, &pair.window.now, &pair.window.before);
        judged.map(|(name, ..)| name)
    }

    fn data(seed: u16, n: usize) -> Vec<u8> {
        let word = |i: usize| (mix(u64::from(seed), i as u64, 3)) as u8;
        (0..n).map(word).collect()
    }

    #[test]
    fn replies_of_a_tunnel_beside_those_of_the_system_are_told() {
        let beside = |n: u16| vec![data(n, 60), data(1_000 + n, 90)];
        assert_eq!(told(beside), Some("unasked_replies"));
        let instead = |n: u16| vec![data(1_000 + n, 90)];
        assert_eq!(told(instead), Some("changed_replies"));
    }

    #[test]
    fn answers_that_a_network_doubles_are_none_of_a_tunnel() {
        assert_eq!(told(|n| vec![data(n, 60), data(n, 60)]), None);
        assert_eq!(told(|n| vec![data(n, 60)]), None);
        assert_eq!(
            told(|_| vec![data(7, 60), data(7, 60)]),
            Some("changed_replies")
        );
    }
}
