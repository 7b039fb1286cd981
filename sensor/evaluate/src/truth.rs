//! Ground truth of each attack by labels and packets together: its time, its parties and its size.

use std::collections::{BTreeMap, HashMap, HashSet};

use sensor_common::Address;
use sensor_common::counters::Outcome;
use sensor_common::packet::{Decapsulate, Packet, parse, tcp_flags};
use sensor_engine::SECOND_NS;

use super::labels::{Label, Labels};

/// Length of an entity-window.
pub const WINDOW_NS: u64 = 10 * SECOND_NS;
/// Share of an attack's packets from which an address is a principal of it.
const PRINCIPAL: f64 = 0.1;
/// Packet times are kept to this grain, ns.
const GRAIN_NS: u64 = 1_000_000;

pub type Mac = [u8; 6];

/// Packets of one address in one attack.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    pub n_packets: u64,
    /// Set if it was seen to begin a conversation, or was asked.
    pub is_initiator: bool,
    pub is_responder: bool,
}

/// One labelled episode with the facts of its packets.
#[derive(Clone, Debug, Default)]
pub struct Event {
    pub attack: String,
    pub is_attack: bool,
    pub start_ns: u64,
    pub end_ns: u64,
    pub n_packets: u64,
    pub parties: BTreeMap<Address, Part>,
    /// Senders of its frames, where they carried ARP.
    pub macs: BTreeMap<Mac, u64>,
    /// Packets by millisecond since the start.
    times: BTreeMap<u64, u64>,
    /// Conversations by their initiator's view.
    asked: HashSet<(Address, Address, u16, u16)>,
}

impl Event {
    /// Share of its packets that came after a time.
    pub fn share_after(&self, at_ns: u64) -> f64 {
        if self.n_packets == 0 || at_ns < self.start_ns {
            return if self.n_packets == 0 { 0.0 } else { 1.0 };
        }
        let grain = (at_ns - self.start_ns) / GRAIN_NS;
        let after: u64 = self
            .times
            .range(grain.saturating_add(1)..)
            .map(|(_, n)| n)
            .sum();
        after as f64 / self.n_packets as f64
    }

    pub fn is_principal(&self, address: &Address) -> bool {
        self.parties
            .get(address)
            .is_some_and(|part| part.n_packets as f64 >= PRINCIPAL * self.n_packets as f64)
    }

    fn take(&mut self, at_ns: u64, facts: &Facts) {
        self.n_packets += 1;
        let grain = at_ns.saturating_sub(self.start_ns) / GRAIN_NS;
        *self.times.entry(grain).or_default() += 1;
        if let Some(mac) = facts.arp_sender {
            *self.macs.entry(mac).or_default() += 1;
        }
        let Some((source, destination)) = facts.ends else {
            return;
        };
        let is_forward = self.is_forward(facts, source, destination);
        for (address, is_source) in [(source, true), (destination, false)] {
            let part = self.parties.entry(address).or_default();
            part.n_packets += 1;
            part.is_initiator |= is_source == is_forward;
            part.is_responder |= is_source != is_forward;
        }
    }

    /// True where the sender began the conversation: by its SYN, else by its first packet.
    fn is_forward(&mut self, facts: &Facts, source: Address, destination: Address) -> bool {
        let (from, to) = facts.ports;
        let (there, back) = (
            (source, destination, from, to),
            (destination, source, to, from),
        );
        let is_forward = facts
            .is_question
            .unwrap_or_else(|| !self.asked.contains(&back));
        self.asked.insert(if is_forward { there } else { back });
        is_forward
    }
}

/// Facts read of one packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    pub ends: Option<(Address, Address)>,
    ports: (u16, u16),
    /// A SYN asks, a SYN-ACK answers; other packets don't say.
    is_question: Option<bool>,
    arp_sender: Option<Mac>,
}

impl Facts {
    /// Reads a frame that begins with an Ethernet header.
    pub fn of(frame: &[u8]) -> Self {
        let mut packet = Packet::default();
        parse(frame, &Decapsulate::NONE, &mut packet);
        if packet.is(Outcome::Arp) {
            return Self::of_arp(frame);
        }
        if packet.source == [0; 4] && packet.destination == [0; 4] {
            return Self::default();
        }
        let is_question = packet.is(Outcome::Tcp).then(|| {
            let flags = packet.tcp_flags & (tcp_flags::SYN | tcp_flags::ACK);
            match flags {
                tcp_flags::SYN => Some(true),
                f if f == tcp_flags::SYN | tcp_flags::ACK => Some(false),
                _ => None,
            }
        });
        Self {
            ends: Some((packet.source, packet.destination)),
            ports: (packet.source_port, packet.destination_port),
            is_question: is_question.flatten(),
            arp_sender: None,
        }
    }

    /// Sender and target protocol addresses (RFC 826), with the sender of the frame.
    fn of_arp(frame: &[u8]) -> Self {
        let word = |at: usize| {
            let bytes = frame.get(at..at + 4)?.first_chunk::<4>()?;
            Some(sensor_common::v4_mapped(u32::from_ne_bytes(*bytes)))
        };
        // Untagged frames only; a tagged one is not named by address.
        let ends = word(28).zip(word(38));
        Self {
            ends,
            arp_sender: frame
                .get(6..12)
                .and_then(|mac| mac.first_chunk::<6>().copied()),
            ..Self::default()
        }
    }
}

/// Contents of an entity-window, as bits.
pub mod holds {
    pub const BENIGN: u8 = 1;
    pub const ATTACK: u8 = 2;
    pub const IGNORED: u8 = 4;
}

/// Labels laid over the packets of a capture, one after the other.
#[derive(Debug)]
pub struct Truth {
    labels: Labels,
    next_run: usize,
    /// Number of the latest packet.
    n_packets: u64,
    pub n_by_label: [u64; 3],
    pub events: Vec<Event>,
    /// Contents by address and window number.
    pub windows: HashMap<(Address, u64), u8>,
    /// Packets by label of each two addresses, by window number.
    pub pairs: HashMap<(Address, Address, u64), [u64; 3]>,
}

impl Truth {
    pub fn new(labels: Labels) -> Self {
        let events = labels
            .episodes
            .iter()
            .filter(|episode| episode.label != Label::Benign)
            .map(|episode| Event {
                attack: labels
                    .attacks
                    .get(episode.attack)
                    .cloned()
                    .unwrap_or_default(),
                is_attack: episode.label == Label::Attack,
                start_ns: episode.start_ns,
                end_ns: episode.end_ns,
                ..Event::default()
            })
            .collect();
        Self {
            labels,
            next_run: 0,
            n_packets: 0,
            n_by_label: [0; 3],
            events,
            windows: HashMap::new(),
            pairs: HashMap::new(),
        }
    }

    /// Notes that the capture has a packet, whether or not it is taken.
    pub fn pass(&mut self, number: u64) {
        self.n_packets = self.n_packets.max(number);
    }

    /// Takes the next packet of the capture, by its number in the file.
    pub fn take(&mut self, number: u64, at_ns: u64, frame: &[u8]) {
        self.pass(number);
        let (label, attack) = self.label(number);
        let facts = Facts::of(frame);
        if let Some(n) = self.n_by_label.get_mut(label as usize) {
            *n += 1;
        }
        if let Some((source, destination)) = facts.ends {
            let bit = match label {
                Label::Benign => holds::BENIGN,
                Label::Attack => holds::ATTACK,
                Label::Ignore => holds::IGNORED,
            };
            let (low, high) = ordered(source, destination);
            let pair = self.pairs.entry((low, high, at_ns / WINDOW_NS));
            if let Some(n) = pair.or_default().get_mut(label as usize) {
                *n += 1;
            }
            for address in [source, destination] {
                *self
                    .windows
                    .entry((address, at_ns / WINDOW_NS))
                    .or_default() |= bit;
            }
        }
        if label != Label::Benign
            && let Some(name) = self.labels.attacks.get(attack)
            && let Some(event) = nearest(&mut self.events, name, at_ns)
        {
            event.take(at_ns, &facts);
        }
    }

    /// Label of a packet; benign where no row covers it. Packets of several interfaces come in the
    /// order of their times, not of their numbers.
    fn label(&mut self, number: u64) -> (Label, usize) {
        let runs = &self.labels.runs;
        let is_here = |at: usize| {
            let run = runs.get(at);
            run.is_none_or(|run| number <= run.last)
                && (at == 0 || runs.get(at - 1).is_some_and(|before| before.last < number))
        };
        if !is_here(self.next_run) {
            self.next_run = if is_here(self.next_run + 1) {
                self.next_run + 1
            } else {
                runs.partition_point(|run| run.last < number)
            };
        }
        match runs.get(self.next_run) {
            Some(run) if number >= run.first => (run.label, run.attack),
            _ => (Label::Benign, usize::MAX),
        }
    }

    /// Bad rows of the label files, and rows that the capture has no packets for.
    pub fn problems(&self, id: &str) -> Vec<String> {
        let mut problems = self.labels.problems.clone();
        let last = self.labels.runs.last().map_or(0, |run| run.last);
        if last > self.n_packets {
            problems.push(format!(
                "{id}: labels reach to packet {last}, the capture holds {}",
                self.n_packets
            ));
        }
        problems
    }
}

/// The event of this attack that a time lies in, or nearest to.
fn nearest<'a>(events: &'a mut [Event], attack: &str, at_ns: u64) -> Option<&'a mut Event> {
    events
        .iter_mut()
        .filter(|event| event.attack == attack)
        .min_by_key(|event| {
            event.start_ns.saturating_sub(at_ns) + at_ns.saturating_sub(event.end_ns)
        })
}

/// Two addresses, whichever way round.
pub fn ordered(a: Address, b: Address) -> (Address, Address) {
    if a < b { (a, b) } else { (b, a) }
}
