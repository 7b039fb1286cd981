//! IP fragments that no stack makes: a TCP header divided or overwritten, a first fragment smaller than
//! any link asks for, fragments that overlap (RFC 1858, RFC 3128, RFC 5722).

use sensor_common::Address;
use sensor_common::counters::Outcome;
use sensor_common::packet::{Fragment, Packet, protocol};

use super::Seen;
use super::draft::{Number, Span, draft};
use super::paned_window::PanedWindow;
use crate::address::to_ip;
use crate::bounded::{Bounded, Priority, TableUse};
use crate::config::{Config, FragmentsConfig, SECOND_NS};
use crate::detect::Detect;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Finding, poisson_score};

/// Time for which the fragments of a datagram are remembered. A stack waits 15 to 60 s for them, but
/// at that age another datagram may bear the identification (RFC 4963).
const DATAGRAM_NS: u64 = 2 * SECOND_NS;
/// Fragments of one datagram that are compared: those of 64 KiB over the links in use.
const MAX_PIECES: usize = 64;
/// Bytes of a TCP header without options.
const TCP_HEADER: u32 = 20;
/// Hosts kept by name.
const NAMED: usize = 16;
/// Number of such datagrams that are expected of a sender in the window: broken devices.
const BY_CHANCE: f64 = 0.5;

/// Faults of a datagram's fragments, as bits and as places of their counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The TCP header is in more fragments than one, so that no filter sees ports and flags together.
    Divided,
    /// Smaller than any link asks for, or of lengths that the standards rule out.
    Odd,
    /// Two hold the same byte and are not one fragment twice.
    Overlapping,
}

impl Fault {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Divided, "divided_tcp_headers"),
        (Self::Odd, "tiny_or_odd_fragments"),
        (Self::Overlapping, "overlapping_fragments"),
    ];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Identity of a datagram that its fragments have in common, and where they are seen: a router on the way may
/// divide them further, and both sides of it may be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct DatagramKey {
    source: Address,
    destination: Address,
    identification: u32,
    vlans: u32,
    ifindex: u32,
    /// 0 for IPv6, where later fragments may name any.
    protocol: u8,
    way: u8,
}

/// Fragments of a datagram, as far as they were seen.
#[derive(Clone, Debug, Default)]
struct Datagram {
    first_ns: u64,
    /// Begin and end of each.
    pieces: Vec<(u32, u32)>,
    /// Length, once the last fragment is known.
    length: Option<u32>,
    /// Bytes of the pieces.
    n_bytes: u32,
    /// Bits of [`Fault`].
    faults: u8,
}

impl Priority for Datagram {
    fn priority(&self) -> u64 {
        self.first_ns
    }
}

impl Datagram {
    /// Takes a fragment in. False where it overlaps another without being the same.
    fn take(&mut self, fragment: Fragment) -> bool {
        let (begins, ends) = (fragment.begins, fragment.begins + fragment.bytes);
        if self.pieces.contains(&(begins, ends)) {
            return true;
        }
        let fits = self
            .pieces
            .iter()
            .all(|(from, to)| ends <= *from || begins >= *to);
        if self.pieces.len() < MAX_PIECES {
            self.pieces.push((begins, ends));
        }
        self.n_bytes = self.n_bytes.saturating_add(fragment.bytes);
        if !fragment.has_more {
            self.length = Some(ends);
        }
        fits
    }

    /// True where all of it was seen.
    fn is_whole(&self) -> bool {
        self.length.is_some_and(|length| self.n_bytes >= length)
    }
}

/// Counts of one sender.
#[derive(Clone, Debug, Default)]
struct Half {
    /// Datagrams in fragments, and those with a fault of any kind.
    n_seen: u32,
    n_faulty: u32,
    /// By [`Fault`].
    n: [u32; Fault::ALL.len()],
    hosts: Vec<Address>,
    /// IP protocol of the last with a fault.
    protocol: u8,
}

#[derive(Clone, Debug, Default)]
struct Sender(PanedWindow<Half>);

impl Priority for Sender {
    fn priority(&self) -> u64 {
        let Self(window) = self;
        u64::from(window.now.n_faulty) + u64::from(window.before.n_faulty)
    }
}

#[derive(Debug)]
pub(crate) struct FragmentsDetector {
    config: FragmentsConfig,
    datagrams: Bounded<DatagramKey, Datagram>,
    senders: Bounded<Address, Sender>,
}

impl Detect for FragmentsDetector {
    type Learned = ();

    fn new(config: &Config) -> Self {
        let (config, hash_seed) = (&config.content.fragments, config.hash_seed);
        Self {
            config: config.clone(),
            datagrams: Bounded::new("fragmented_datagrams", config.max_datagrams, hash_seed),
            senders: Bounded::new("fragment_senders", config.max_senders, hash_seed),
        }
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.content.fragments.clone();
    }

    fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.datagrams.usage());
        out.push(self.senders.usage());
    }

    fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        let config = &self.config;
        for (source, Sender(window)) in self.senders.iter_mut() {
            if !window.is_due(at_ns, config.half_ns) {
                continue;
            }
            match judge(config, source, window) {
                Some(finding) => {
                    findings.push(finding);
                    window.reported(at_ns);
                }
                None => window.judged(),
            }
        }
        let half_ns = config.half_ns;
        self.senders
            .retain(|_, sender| !sender.0.is_stale(at_ns, half_ns));
        self.datagrams
            .retain(|_, datagram| at_ns.saturating_sub(datagram.first_ns) < DATAGRAM_NS);
    }
}

impl FragmentsDetector {
    /// Takes a packet that may be a fragment.
    pub(in crate::detect) fn take(&mut self, seen: &Seen<'_>) {
        let packet = &seen.sample.head.packet;
        let Some(fragment) = packet.fragment() else {
            return;
        };
        // An atomic fragment is its whole datagram (RFC 6946).
        if fragment.begins == 0 && !fragment.has_more {
            return;
        }
        let key = key_of(seen);
        let fresh = || Datagram {
            first_ns: seen.at_ns,
            ..Datagram::default()
        };
        let datagram = self.datagrams.get_or_insert_with(key, fresh);
        if seen.at_ns.saturating_sub(datagram.first_ns) >= DATAGRAM_NS {
            *datagram = fresh();
        }
        let is_new = datagram.pieces.is_empty();
        let had = datagram.faults;
        if !datagram.take(fragment) {
            datagram.faults |= Fault::Overlapping.bit();
        }
        datagram.faults |= fault_of(packet, fragment).map_or(0, Fault::bit);
        let (faults, is_whole) = (datagram.faults, datagram.is_whole());
        if is_whole {
            self.datagrams.take(&key);
        }
        if is_new || faults != had {
            self.count(seen, is_new, had, faults);
        }
    }

    /// Counts a datagram for its sender: when it is first seen, and each fault of it once.
    fn count(&mut self, seen: &Seen<'_>, is_new: bool, had: u8, faults: u8) {
        let packet = &seen.sample.head.packet;
        let sender = self
            .senders
            .get_or_insert_with(packet.source, Sender::default);
        let half = sender.0.at(seen.at_ns, self.config.half_ns);
        half.n_seen = half.n_seen.saturating_add(u32::from(is_new));
        if faults == had {
            return;
        }
        half.n_faulty = half.n_faulty.saturating_add(u32::from(had == 0));
        for ((fault, _), n) in Fault::ALL.into_iter().zip(&mut half.n) {
            *n = n.saturating_add(u32::from(faults & !had & fault.bit() != 0));
        }
        half.protocol = packet.protocol;
        if half.hosts.len() < NAMED && !half.hosts.contains(&packet.destination) {
            half.hosts.push(packet.destination);
        }
    }
}

fn key_of(seen: &Seen<'_>) -> DatagramKey {
    let head = seen.sample.head;
    let packet = &head.packet;
    DatagramKey {
        source: packet.source,
        destination: packet.destination,
        identification: packet.identification,
        vlans: packet.realm.vlans(),
        ifindex: head.ifindex,
        protocol: if sensor_common::is_v4(&packet.source) {
            packet.protocol
        } else {
            0
        },
        way: head.way,
    }
}

/// Fault that a fragment shows by itself.
fn fault_of(packet: &Packet, fragment: Fragment) -> Option<Fault> {
    let Fragment { begins, bytes, .. } = fragment;
    let is_short = begins == 0 && bytes < TCP_HEADER;
    let is_within = begins > 0 && begins < TCP_HEADER;
    if packet.protocol == protocol::TCP && (is_short || is_within) {
        return Some(Fault::Divided);
    }
    packet.is(Outcome::BadFragment).then_some(Fault::Odd)
}

fn judge(
    config: &FragmentsConfig,
    source: &Address,
    window: &PanedWindow<Half>,
) -> Option<Finding> {
    let (now, before) = (&window.now, &window.before);
    let sum = |of: fn(&Half) -> u32| of(now).saturating_add(of(before));
    let n_faulty = sum(|half| half.n_faulty);
    // Where datagrams are so many that some bear the identification of one whose fragments were lost,
    // those overlap by chance.
    let is_chance = n_faulty.saturating_mul(10) < sum(|half| half.n_seen);
    if n_faulty < config.datagrams || is_chance {
        return None;
    }
    let mut numbers: Vec<Number> = vec![("crafted_datagrams", f64::from(n_faulty), BY_CHANCE, 1.0)];
    for (place, (_, name)) in Fault::ALL.into_iter().enumerate() {
        let of = |half: &Half| half.n.get(place).copied().unwrap_or_default();
        let n = of(now).saturating_add(of(before));
        if n > 0 {
            numbers.push((name, f64::from(n), 0.0, 0.0));
        }
    }
    let mut hosts = before.hosts.clone();
    hosts.extend(now.hosts.iter().filter(|host| !before.hosts.contains(host)));
    hosts.truncate(NAMED);
    let span = Span {
        window_ns: 2 * config.half_ns,
        first_ns: window.first_ns,
        last_ns: window.last_ns,
    };
    let score = poisson_score(f64::from(n_faulty), BY_CHANCE);
    let entity = Entity::Source(*source);
    Some(Finding {
        sources: vec![to_ip(source)],
        n_sources: 1,
        destinations: hosts.iter().map(to_ip).collect(),
        n_destinations: hosts.len() as u64,
        protocol: if now.protocol == 0 {
            before.protocol
        } else {
            now.protocol
        },
        ..draft(
            Detector::Fragments,
            Family::CraftedFragments,
            entity,
            span,
            score,
            &numbers,
        )
    })
}
