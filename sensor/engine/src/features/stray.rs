//! Packets of no conversation, by what they are: resets and FINs outside connections, and packets of IP
//! protocols that their receiver does not answer.

use sensor_common::Address;
use sensor_common::packet::protocol;
use sensor_common::service::is_service;

use super::bounded::{Bounded, Priority, TableUse};
use super::decay::{Fading, Spread};
use crate::config::SECOND_NS;
use crate::flow::{FlowUpdate, Progress, is_group};

/// Kind of such a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StrayKind {
    /// A segment with RST.
    Reset,
    /// A segment with FIN, or without any of SYN, ACK and RST.
    Fin,
    Igmp,
    Gre,
    Esp,
    Sctp,
    /// Any other protocol besides TCP, UDP and ICMP.
    Other(u8),
}

/// Number of places in a table of kinds.
pub(super) const N_KINDS: usize = 7;

/// IANA protocol numbers that the parser does not tell apart.
const IGMP: u8 = 2;
const ESP: u8 = 50;

/// Positions in the counts of flags.
const SYN: usize = 0;
const FIN: usize = 1;
const RST: usize = 2;

/// Packets each way from which an SCTP association is set up (RFC 9260 5.1).
const ASSOCIATED: u64 = 2;

impl StrayKind {
    /// Kind of what an update's initiator sent; none where it is part of a conversation, is never
    /// answered by its nature, or has detectors of its own.
    pub(crate) fn of(update: &FlowUpdate) -> Option<Self> {
        let is_answered = update.n_backward > 0 && update.progress == Progress::Established;
        match update.protocol {
            protocol::TCP => Self::of_segments(update),
            protocol::UDP | protocol::ICMP | protocol::ICMPV6 => None,
            IGMP => (!is_answered).then_some(Self::Igmp),
            protocol::SCTP => {
                let is_associated =
                    update.n_forward >= ASSOCIATED && update.n_backward >= ASSOCIATED;
                (!is_associated).then_some(Self::Sctp)
            }
            _ if is_answered || is_group(&update.destination) => None,
            protocol::GRE => Some(Self::Gre),
            ESP => Some(Self::Esp),
            other => Some(Self::Other(other)),
        }
    }

    /// Of segments the outcome is known a second later. Resets of a service to its clients answer
    /// somebody who borrowed the victim's address, or come late.
    fn of_segments(update: &FlowUpdate) -> Option<Self> {
        // The later fragments of a segment have neither its ports nor its control bits.
        if !update.progress.has_failed() || update.has_fragments {
            return None;
        }
        let (sent, flags) = (update.n_forward, &update.n_flags);
        let is_backscatter = is_service(update.source_port) && !is_service(update.destination_port);
        if update.is_attempt {
            // One that begins without a SYN: FIN, Xmas or no flag at all.
            return (flags[SYN] == 0).then_some(Self::Fin);
        }
        if is_backscatter {
            return None;
        }
        if update.n_backward == 0 && flags[RST] == sent {
            return Some(Self::Reset);
        }
        (update.is_stray && flags[FIN] == sent).then_some(Self::Fin)
    }

    /// Packets that an update adds, and those of them that failed. Where each packet may be a flow of its
    /// own, they count when the outcome is known; a flow that goes on and on counts as it goes.
    pub(super) fn count(self, update: &FlowUpdate) -> [u64; 2] {
        let n = update.forward.packets;
        let is_over = update.progress != Progress::Pending;
        match (self.has_ports(), update.has_progressed) {
            (true, true) => [update.n_forward; 2],
            (true, false) if is_over => [n; 2],
            (true, false) => [0; 2],
            (false, true) if update.progress.has_failed() => [n, update.n_forward],
            (false, _) if update.progress.has_failed() => [n; 2],
            (false, _) => [n, 0],
        }
    }

    /// IP protocol.
    pub(crate) const fn protocol(self) -> u8 {
        match self {
            Self::Reset | Self::Fin => protocol::TCP,
            Self::Igmp => IGMP,
            Self::Gre => protocol::GRE,
            Self::Esp => ESP,
            Self::Sctp => protocol::SCTP,
            Self::Other(number) => number,
        }
    }

    /// Place in a table of kinds.
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Reset => 0,
            Self::Fin => 1,
            Self::Igmp => 2,
            Self::Gre => 3,
            Self::Esp => 4,
            Self::Sctp => 5,
            Self::Other(_) => 6,
        }
    }

    pub(crate) const fn has_ports(self) -> bool {
        matches!(self, Self::Reset | Self::Fin | Self::Sctp)
    }
}

/// Positions in the counts (time constant of 5 s).
pub(crate) mod count {
    pub const PACKETS: usize = 0;
    /// Those that were refused, or stayed without an answer for as long as one may take.
    pub const FAILED: usize = 1;
    pub const N: usize = 2;
}

pub(crate) const FADE_S: f32 = 5.0;
/// Silence after which an entry is forgotten.
const FORGET_NS: u64 = 60 * SECOND_NS;

/// Packets of one kind that reach one host, from one source or from everybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stray {
    pub counts: Fading<{ count::N }>,
    pub sources: Spread,
    pub ports: Spread,
    pub port: u16,
    pub since_ns: u64,
    pub last_ns: u64,
    pub reported_ns: u64,
}

impl Priority for Stray {
    fn priority(&self) -> u64 {
        self.counts.get(count::PACKETS) as u64
    }
}

impl Stray {
    fn take(&mut self, update: &FlowUpdate, [n_sent, n_failed]: [u64; 2]) {
        self.counts.fade(update.last_ns, FADE_S);
        if self.counts.get(count::PACKETS) < 2.0 {
            self.since_ns = update.first_ns.max(self.last_ns);
            self.sources.clear();
            self.ports.clear();
        }
        self.last_ns = self.last_ns.max(update.last_ns);
        self.counts.add(count::PACKETS, n_sent as f32);
        self.counts.add(count::FAILED, n_failed as f32);
        self.sources
            .insert(sensor_common::hash_address(&update.source, 1));
        self.ports.insert(u64::from(update.destination_port));
        self.port = update.destination_port;
    }

    /// Seconds that the present burst lasts.
    pub(crate) fn age_s(&self) -> f64 {
        self.last_ns.saturating_sub(self.since_ns) as f64 / 1e9
    }
}

/// Source, host and kind.
pub(crate) type StrayPair = (Address, Address, StrayKind);
/// Host and kind.
pub(crate) type StrayVictim = (Address, StrayKind);

#[derive(Debug)]
pub(crate) struct Strays {
    pairs: Bounded<StrayPair, Stray>,
    victims: Bounded<StrayVictim, Stray>,
}

impl Strays {
    pub(crate) fn new(capacity: usize, hash_seed: u64) -> Self {
        Self {
            pairs: Bounded::new("stray_pairs", capacity, hash_seed),
            victims: Bounded::new("stray_victims", capacity, hash_seed),
        }
    }

    pub(crate) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.pairs.usage());
        out.push(self.victims.usage());
    }

    /// Takes an update; its pair and its host, after it, where it is of no conversation.
    pub(crate) fn take(
        &mut self,
        update: &FlowUpdate,
    ) -> Option<(StrayKind, &mut Stray, &mut Stray)> {
        let kind = StrayKind::of(update)?;
        let counts = kind.count(update);
        if counts == [0; 2] {
            return None;
        }
        let pair = self
            .pairs
            .get_or_insert_with((update.source, update.destination, kind), Stray::default);
        pair.take(update, counts);
        let victim = self
            .victims
            .get_or_insert_with((update.destination, kind), Stray::default);
        victim.take(update, counts);
        Some((kind, pair, victim))
    }

    pub(crate) fn forget(&mut self, at_ns: u64) {
        let is_young = |stray: &Stray| at_ns.saturating_sub(stray.last_ns) < FORGET_NS;
        self.pairs.retain(|_, stray| is_young(stray));
        self.victims.retain(|_, stray| is_young(stray));
    }
}
