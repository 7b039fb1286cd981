//! Victims: attempts and unsolicited answers from everybody that reach one host.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::bounded::{Bounded, Priority, TableUse};
use super::decay::{Fading, Spread};
use crate::config::SECOND_NS;
use crate::flow::{FlowUpdate, Progress};

/// Positions in the fast counts (time constant of 5 s).
pub(crate) mod fast {
    pub const ATTEMPTS: usize = 0;
    pub const ESTABLISHED: usize = 1;
    /// Packets and bytes from amplifiers that were not asked.
    pub const REFLECTED: usize = 2;
    pub const REFLECTED_BYTES: usize = 3;
    /// UDP flows and echo requests, the flows unanswered.
    pub const DATAGRAMS: usize = 4;
    pub const ECHOES: usize = 5;
    /// TCP flows without a beginning that came to nothing.
    pub const STRAY: usize = 6;
    pub const N: usize = 7;
}

/// Positions in the slow counts (60 s): flows of answers to handshakes that were never begun.
pub(crate) mod slow {
    pub const UNASKED: usize = 0;
    pub const N: usize = 1;
}

/// Positions in the counts of flags.
const SYN: usize = 0;
const FIN: usize = 1;

/// Source ports of UDP services that answer more than they are asked (US-CERT TA14-017A and its
/// updates): QOTD, chargen, DNS, TFTP, portmap, NTP, NetBIOS, SNMP, CLDAP, ISAKMP, RIP, MSSQL,
/// SSDP, WS-Discovery, NAT-T, SIP, CoAP, ARMS, Memcached, and others.
pub const AMPLIFIERS: [u16; 23] = [
    17, 19, 53, 69, 111, 123, 137, 161, 389, 427, 500, 520, 1434, 1900, 3283, 3478, 3702, 4500,
    5060, 5683, 10_001, 11_211, 37_810,
];

const FAST_S: f32 = 5.0;
const SLOW_S: f32 = 60.0;
#[derive(Clone, Debug, Default)]
pub(crate) struct Victim {
    pub fast: Fading<{ fast::N }>,
    pub slow: Fading<{ slow::N }>,
    pub sources: Spread,
    pub reflectors: Spread,
    pub unasked: Spread,
    pub datagram_sources: Spread,
    pub echo_sources: Spread,
    /// Service port that reflectors answer from.
    pub service: u16,
    /// Destination port of the latest attempts.
    pub port: u16,
    pub attempts_since_ns: u64,
    pub reflected_since_ns: u64,
    pub unasked_since_ns: u64,
    pub datagrams_since_ns: u64,
    pub echoes_since_ns: u64,
    pub stray_since_ns: u64,
    pub last_ns: u64,
    pub reported_ns: [u64; 6],
}

impl Priority for Victim {
    fn priority(&self) -> u64 {
        let recent: f64 = [
            fast::ATTEMPTS,
            fast::REFLECTED,
            fast::DATAGRAMS,
            fast::ECHOES,
            fast::STRAY,
        ]
        .iter()
        .map(|slot| self.fast.get(*slot))
        .sum();
        (recent + self.slow.get(slow::UNASKED)) as u64
    }
}

impl Victim {
    fn attempt(&mut self, update: &FlowUpdate) {
        if update.is_new {
            if self.fast.get(fast::ATTEMPTS) < 2.0 {
                self.attempts_since_ns = update.first_ns;
                self.sources.clear();
            }
            self.fast.add(fast::ATTEMPTS, 1.0);
            self.sources
                .insert(sensor_common::hash_address(&update.source, 1));
            self.port = update.destination_port;
        }
        if update.has_progressed && update.progress == Progress::Established {
            self.fast.add(fast::ESTABLISHED, 1.0);
        }
    }

    /// Seconds since a burst began.
    pub(crate) fn age_s(&self, since_ns: u64) -> f64 {
        self.last_ns.saturating_sub(since_ns) as f64 / 1e9
    }

    fn datagram(&mut self, update: &FlowUpdate) {
        if self.fast.get(fast::DATAGRAMS) < 2.0 {
            self.datagrams_since_ns = update.first_ns;
            self.datagram_sources.clear();
        }
        self.fast.add(fast::DATAGRAMS, 1.0);
        self.datagram_sources
            .insert(sensor_common::hash_address(&update.source, 1));
        self.port = update.destination_port;
    }

    fn echo(&mut self, update: &FlowUpdate) {
        if self.fast.get(fast::ECHOES) < 2.0 {
            self.echoes_since_ns = update.first_ns;
            self.echo_sources.clear();
        }
        self.fast.add(fast::ECHOES, update.forward.packets as f32);
        self.echo_sources
            .insert(sensor_common::hash_address(&update.source, 1));
    }

    fn stray(&mut self, update: &FlowUpdate) {
        if self.fast.get(fast::STRAY) < 2.0 {
            self.stray_since_ns = update.first_ns;
            self.sources.clear();
        }
        self.fast.add(fast::STRAY, 1.0);
        self.sources
            .insert(sensor_common::hash_address(&update.source, 1));
        self.port = update.destination_port;
    }

    fn reflected(&mut self, update: &FlowUpdate) {
        if self.fast.get(fast::REFLECTED) < 2.0 {
            self.reflected_since_ns = update.first_ns;
            self.reflectors.clear();
        }
        self.fast
            .add(fast::REFLECTED, update.forward.packets as f32);
        self.fast
            .add(fast::REFLECTED_BYTES, update.forward.bytes as f32);
        self.reflectors
            .insert(sensor_common::hash_address(&update.source, 1));
        self.service = update.source_port;
    }

    fn unasked(&mut self, update: &FlowUpdate) {
        self.slow.fade(update.last_ns, SLOW_S);
        if self.slow.get(slow::UNASKED) < 1.0 {
            self.unasked_since_ns = update.first_ns;
            self.unasked.clear();
        }
        self.slow.add(slow::UNASKED, update.forward.packets as f32);
        self.unasked
            .insert(sensor_common::hash_address(&update.source, 1));
        self.service = update.source_port;
    }
}

/// Kind of an update, to the host that it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Attempt,
    Reflected,
    Unasked,
    Datagram,
    Echo,
    Stray,
}

impl Kind {
    pub(crate) fn of(update: &FlowUpdate) -> Option<Self> {
        match update.protocol {
            protocol::TCP if update.is_attempt => {
                // What begins without a SYN is a packet of no conversation (`features::stray`).
                (update.n_flags[SYN] > 0).then_some(Self::Attempt)
            }
            // Nothing but SYN-ACKs, with RSTs back at most.
            protocol::TCP => {
                let sent = &update.forward.n_flags;
                let is_syn_ack = update.forward.packets > 0
                    && sent[0] == update.forward.packets
                    && sent[4] == sent[0];
                if is_syn_ack {
                    return (update.progress != Progress::Established).then_some(Self::Unasked);
                }
                let is_fin = update.n_flags[FIN] == update.n_forward;
                let is_vain = update.has_progressed && update.progress.has_failed();
                let is_stray = is_vain && update.is_stray && !is_fin;
                is_stray.then_some(Self::Stray)
            }
            // Between a service and itself is how servers talk: NTP peers, DNS forwarders of old.
            protocol::UDP => {
                let from_amplifier = AMPLIFIERS.contains(&update.source_port)
                    && update.destination_port != update.source_port;
                let is_unasked = update.n_backward == 0 && update.forward.packets > 0;
                if from_amplifier && is_unasked {
                    return Some(Self::Reflected);
                }
                // Ports 0: later fragments.
                let has_ports = (update.source_port, update.destination_port) != (0, 0);
                let is_vain = update.has_progressed && update.progress.has_failed();
                (is_vain && has_ports && !update.is_one_way).then_some(Self::Datagram)
            }
            protocol::ICMP if update.source_port >> 8 == 8 => Some(Self::Echo),
            protocol::ICMPV6 if update.source_port >> 8 == 128 => Some(Self::Echo),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Victims {
    victims: Bounded<Address, Victim>,
}

impl Victims {
    pub(crate) fn new(capacity: usize, hash_seed: u64) -> Self {
        Self {
            victims: Bounded::new("shape_victims", capacity, hash_seed),
        }
    }

    pub(crate) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.victims.usage());
    }

    /// Prefetches the victims of updates.
    pub(crate) fn fetch(&self, updates: &[FlowUpdate]) {
        self.victims
            .fetch(updates.iter().map(|update| update.destination));
    }

    /// Takes an update; returns its kind, and the host after it.
    pub(crate) fn take(&mut self, update: &FlowUpdate) -> Option<(Kind, &mut Victim)> {
        let kind = Kind::of(update)?;
        let victim = self
            .victims
            .get_or_insert_with(update.destination, Victim::default);
        victim.fast.fade(update.last_ns, FAST_S);
        victim.last_ns = victim.last_ns.max(update.last_ns);
        match kind {
            Kind::Attempt => victim.attempt(update),
            Kind::Reflected => victim.reflected(update),
            Kind::Unasked => victim.unasked(update),
            Kind::Datagram => victim.datagram(update),
            Kind::Echo => victim.echo(update),
            Kind::Stray => victim.stray(update),
        }
        Some((kind, victim))
    }

    pub(crate) fn forget(&mut self, at_ns: u64) {
        self.victims
            .retain(|_, victim| at_ns.saturating_sub(victim.last_ns) < 120 * SECOND_NS);
    }
}
