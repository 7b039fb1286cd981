//! Outcome ledger: what came of attempts to talk, by source, by service and by pair of both.
//!
//! An attempt is a new flow whose initiator was seen to ask. It ends as *used* (data went both ways),
//! *dropped* (answered, and nothing came of it), *refused* (RST) or *silent*. Failures of a service that
//! never answered anybody since they began are the service's; successes speak for a client.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};
use sensor_common::Address;
use sensor_common::packet::protocol;

use super::bounded::{Bounded, Priority, TableUse};
use super::pair::{is_bare, is_established};
use super::served::Served;
use super::tries::AllTries;
use crate::address::to_ip;
use crate::config::SECOND_NS;
use crate::flow::{EndReason, FlowSummary, FlowUpdate, Progress};
use crate::slot_index::BATCH;

/// Services, sources and pairs remembered; 40 to 128 bytes each: 18 MB in all.
const MAX_SERVICES: usize = 16_384;
const MAX_SOURCES: usize = 65_536;
const MAX_PAIRS: usize = 65_536;
/// An entry is forgotten after so much silence.
const FORGET_NS: u64 = 3_600 * SECOND_NS;
/// Event time between two walks for what may be forgotten.
const WALK_NS: u64 = 60 * SECOND_NS;
/// Failures in a row, nobody served in between, from which a service counts as down. A live one misses
/// a SYN and its retries now and then, those of three attempts in a row hardly ever.
const DOWN_RUN: u32 = 3;
/// Times the longest run that an answer ended, from which a run is an outage: a service that serves
/// others in between refuses one client on purpose.
const UNUSUAL: u32 = 4;
/// A source that was served at least so long ago and so often is a peer of before: an attacker would
/// have had to come as a client first.
const PEER_NS: u64 = 600 * SECOND_NS;
const PEER_USED: u32 = 3;
/// A conversation with data both ways that lasts so long is no attempt.
const LONG_NS: u64 = 60 * SECOND_NS;
const LONG_SEGMENTS: u64 = 10;

/// Part of the bytes that each walk takes: most of what counts is of the last hour.
const FADE: u64 = FORGET_NS / WALK_NS;

/// Positions in the counts of flags.
const SYN: usize = 0;
const FIN: usize = 1;
const PSH: usize = 3;

/// Host, port and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServiceKey {
    pub host: Address,
    pub port: u16,
    pub protocol: u8,
}

impl ServiceKey {
    pub(crate) fn of(update: &FlowUpdate) -> Self {
        Self {
            host: update.destination,
            port: update.destination_port,
            protocol: update.protocol,
        }
    }
}

/// Results of attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub used: u32,
    pub dropped: u32,
    pub refused: u32,
    pub silent: u32,
    last_ns: u64,
}

impl Outcomes {
    fn total(&self) -> u32 {
        let failed = self.refused.saturating_add(self.silent);
        self.used
            .saturating_add(self.dropped)
            .saturating_add(failed)
    }
}

impl Priority for Outcomes {
    fn priority(&self) -> u64 {
        u64::from(self.total())
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Service {
    /// Attempts and failures since the service last answered one, and how many of those attempts no
    /// client makes: they have no TCP options.
    n_asked: u32,
    n_made: u32,
    n_failed: u32,
    /// The most failures in a row that an answer ended.
    longest: u32,
    /// It answered at least once.
    was_up: bool,
    last_ns: u64,
}

impl Priority for Service {
    fn priority(&self) -> u64 {
        u64::from(self.was_up) << 40 | u64::from(self.n_failed)
    }
}

impl Service {
    /// True where more failed in a row than ever before an answer, by a factor.
    fn is_down(&self) -> bool {
        let usual = self.longest.saturating_mul(UNUSUAL);
        self.n_failed >= DOWN_RUN.max(usual) && self.n_made <= self.n_asked / 2
    }
}

/// Standing of a source: what speaks for it.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    is_real: bool,
    is_long: bool,
    n_used: u32,
    first_used_ns: u64,
    last_ns: u64,
    /// Bytes of connections that served it, both ways, less a sixtieth each minute.
    n_bytes: u64,
    /// Connections that came about, and their bytes.
    served: Served,
}

impl Source {
    fn is_peer(&self, at_ns: u64) -> bool {
        let is_old =
            self.n_used >= PEER_USED && self.first_used_ns.saturating_add(PEER_NS) <= at_ns;
        self.is_long || is_old
    }
}

/// Services that a preview names.
const N_SERVICES: usize = 10;

/// Sources in a network, as they were within the last hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Sources that are remembered, those proven real, and those that are good peers.
    pub n_sources: u64,
    pub n_real: u64,
    pub n_peers: u64,
    /// TCP connections that came about, and the bytes of those, both ways.
    pub n_begun: u64,
    pub n_bytes: u64,
    /// Services that they tried most.
    pub services: Vec<PreviewedService>,
}

/// Host, port and protocol with attempts that served and that didn't.
type Counted = ((IpAddr, u16, u8), [u64; 2]);

/// A service with what came of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviewedService {
    pub host: IpAddr,
    pub port: u16,
    pub protocol: u8,
    /// Attempts that served, and those that didn't.
    pub used: u64,
    pub failed: u64,
}

/// Share of a good peer in all that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Good {
    /// Good peers of the last hour.
    pub n_peers: u32,
    /// Bytes of connections that served it, and those of all good peers.
    pub bytes: u64,
    pub of_bytes: u64,
}

impl Good {
    /// Share of the bytes, parts of a million.
    pub fn bytes_ppm(&self) -> u64 {
        let ppm = u128::from(self.bytes) * 1_000_000;
        let ppm = ppm.checked_div(self.of_bytes.into()).unwrap_or(0);
        u64::try_from(ppm).unwrap_or(u64::MAX)
    }
}

impl Priority for Source {
    fn priority(&self) -> u64 {
        u64::from(self.is_real) << 40 | u64::from(self.n_used)
    }
}

#[derive(Debug)]
pub(crate) struct Ledger {
    services: Bounded<ServiceKey, Service>,
    sources: Bounded<Address, Source>,
    pairs: Bounded<(Address, ServiceKey), Outcomes>,
    tries: AllTries,
    walked_ns: u64,
    /// Good peers, and their bytes, at the last walk.
    n_peers: u32,
    peer_bytes: u64,
    /// Connections of all sources that came about.
    served: Served,
    /// Time of the first flow.
    began_ns: u64,
}

/// Time after the first flow in which whoever is served is one of the usual: who came before is not known then.
const USUAL_NS: u64 = 60 * SECOND_NS;

impl Ledger {
    pub(crate) fn new(hash_seed: u64) -> Self {
        Self {
            services: Bounded::new("ledger_services", MAX_SERVICES, hash_seed),
            sources: Bounded::new("ledger_sources", MAX_SOURCES, hash_seed),
            pairs: Bounded::new("ledger_pairs", MAX_PAIRS, hash_seed),
            tries: AllTries::new(hash_seed),
            walked_ns: 0,
            n_peers: 0,
            peer_bytes: 0,
            served: Served::default(),
            began_ns: 0,
        }
    }

    pub(crate) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.services.usage());
        out.push(self.sources.usage());
        out.push(self.pairs.usage());
        out.push(self.tries.usage());
    }

    pub(crate) fn n_shed(&self) -> u64 {
        let shed = [
            self.services.usage().n_shed,
            self.sources.usage().n_shed,
            self.pairs.usage().n_shed,
            self.tries.usage().n_shed,
        ];
        shed.into_iter().sum()
    }

    /// True where the source completed a handshake and was served, or answered a question: whoever
    /// forges an address sees neither the server's number nor the question.
    pub(crate) fn is_real(&self, source: &Address) -> bool {
        self.sources.get(source).is_some_and(|known| known.is_real)
    }

    /// True where the source was served well before `at_ns`, or talks at length.
    pub(crate) fn is_peer(&self, at_ns: u64, source: &Address) -> bool {
        let known = self.sources.get(source);
        known.is_some_and(|known| known.is_peer(at_ns))
    }

    /// True for a peer of before `at_ns`, and for a source that was served in the first minute of what is seen.
    pub(crate) fn is_usual(&self, at_ns: u64, source: &Address) -> bool {
        let until_ns = self.began_ns.saturating_add(USUAL_NS);
        let known = self.sources.get(source);
        let is_first =
            known.is_some_and(|known| known.n_used > 0 && known.first_used_ns < until_ns);
        is_first || self.is_peer(at_ns, source)
    }

    /// True where most connections of the source with a service were used: data went both ways.
    pub(crate) fn is_used(&self, source: &Address, service: &ServiceKey) -> bool {
        let known = self.pairs.get(&(*source, *service));
        known.is_some_and(|known| known.used > known.total() / 2)
    }

    /// True where the source is served by enough of the services that it tries: who looks for services is not.
    pub(crate) fn is_served(&self, source: &Address) -> bool {
        self.tries.is_served(source)
    }

    /// The most attempts of a source that began in one second of the last minutes.
    pub(crate) fn most_per_s(&self, source: &Address) -> u32 {
        self.tries.most_per_s(source)
    }

    /// Share of a source in what good peers are and carry; `None` where it is none.
    pub(crate) fn good(&self, at_ns: u64, source: &Address) -> Option<Good> {
        let known = self.sources.get(source)?;
        known.is_peer(at_ns).then(|| Good {
            n_peers: self.n_peers.max(1),
            bytes: known.n_bytes,
            of_bytes: self.peer_bytes.max(known.n_bytes),
        })
    }

    /// Number of known sources in a network, and whether one of them is a peer of before.
    pub(crate) fn within(&self, at_ns: u64, network: &Ipv6Net) -> (u64, bool) {
        let network = IpNet::V6(*network);
        let all = self.sources.iter().map(|(source, _)| source);
        all.filter(|source| network.contains(&to_ip(source)))
            .fold((0, false), |(n, has_peer), source| {
                (n + 1, has_peer || self.is_peer(at_ns, source))
            })
    }

    /// Number of known sources in a network, and whether one of them is good: a peer of before, or, of those that are
    /// no offenders, one that was served.
    pub(crate) fn neighbours(
        &self,
        at_ns: u64,
        network: &IpNet,
        is_offender: impl Fn(&Address) -> bool,
    ) -> (u64, bool) {
        let all = self.sources.iter();
        all.filter(|(source, _)| network.contains(&to_ip(source)))
            .fold((0, false), |(n, has_good), (source, known)| {
                let is_served = known.is_real && known.n_used > 0 && !is_offender(source);
                (n + 1, has_good || is_served || known.is_peer(at_ns))
            })
    }

    /// Tells what is known of the sources in a network, from the last hour, and of the services they used
    /// most.
    pub(crate) fn preview(&self, at_ns: u64, network: &IpNet) -> Preview {
        let is_within = |address: &Address| network.contains(&to_ip(address));
        let mut found = Preview::default();
        for (_, known) in self.sources.iter().filter(|(source, _)| is_within(source)) {
            found.n_sources += 1;
            found.n_real += u64::from(known.is_real);
            found.n_peers += u64::from(known.is_peer(at_ns));
            found.n_begun += u64::from(known.served.n_begun);
            found.n_bytes = found.n_bytes.saturating_add(known.served.n_bytes);
        }
        let mut services = BTreeMap::<(IpAddr, u16, u8), [u64; 2]>::new();
        for ((source, service), known) in self.pairs.iter() {
            if is_within(source) {
                let name = (to_ip(&service.host), service.port, service.protocol);
                let counts = services.entry(name).or_default();
                counts[0] += u64::from(known.used);
                counts[1] += u64::from(known.total().saturating_sub(known.used));
            }
        }
        let mut services: Vec<Counted> = services.into_iter().collect();
        services.sort_by_key(|(name, counts)| (Reverse(counts.iter().sum::<u64>()), *name));
        services.truncate(N_SERVICES);
        let service = |((host, port, protocol), [used, failed]): Counted| PreviewedService {
            host,
            port,
            protocol,
            used,
            failed,
        };
        found.services = services.into_iter().map(service).collect();
        found
    }

    /// True where clients failed in a row and the service answered nobody since: it is down, or never
    /// was up. Attempts that no client makes don't count, and must not be the greater part.
    pub(crate) fn is_down(&self, service: &ServiceKey) -> bool {
        self.services.get(service).is_some_and(Service::is_down)
    }

    /// Results of a source's attempts with a service.
    #[cfg(test)]
    pub(crate) fn outcomes(&self, source: &Address, service: &ServiceKey) -> Outcomes {
        let known = self.pairs.get(&(*source, *service));
        known.copied().unwrap_or_default()
    }

    /// A ledger that knows addresses for real, and for peers of before if they were served.
    #[cfg(test)]
    pub(crate) fn knowing(addresses: &[Address], at_ns: u64, are_served: bool) -> Self {
        let mut ledger = Self::new(0);
        for address in addresses {
            ledger.note_real(*address, at_ns);
            for _ in 0..if are_served { PEER_USED } else { 0 } {
                ledger.note_used(*address, at_ns, at_ns, false);
            }
        }
        ledger
    }

    /// A ledger of one source and a TCP service, so many of whose connections were used, and so many not.
    #[cfg(test)]
    pub(crate) fn used(source: Address, host: Address, port: u16, counts: [u32; 2]) -> Self {
        let mut ledger = Self::new(0);
        let protocol = protocol::TCP;
        let service = ServiceKey {
            host,
            port,
            protocol,
        };
        let outcomes = Outcomes {
            used: counts[0],
            dropped: counts[1],
            ..Outcomes::default()
        };
        let pairs = &mut ledger.pairs;
        pairs.get_or_insert_with((source, service), || outcomes);
        ledger
    }

    /// A ledger of one source, of whose attempts in one second so many were served and so many refused, each by another
    /// service.
    #[cfg(test)]
    pub(crate) fn of_attempts(source: Address, at_ns: u64, [served, failed]: [u16; 2]) -> Self {
        use crate::flow::Delta;
        let mut ledger = Self::new(0);
        for n in 0..served + failed {
            let progress = if n < served {
                Progress::Established
            } else {
                Progress::Refused
            };
            ledger.take(&FlowUpdate {
                source,
                destination: crate::tests::ip(20_000 + n),
                source_port: 40_000,
                destination_port: 22,
                protocol: protocol::TCP,
                has_fragments: false,
                forward: Delta::default(),
                backward: Delta::default(),
                n_forward: 1,
                n_backward: 1,
                is_attempt: true,
                is_claimed: false,
                is_one_way: false,
                begins_to_close: false,
                n_flags: [1, 0, 0, 0, 0],
                is_stray: false,
                is_new: true,
                progress,
                has_progressed: true,
                has_closed: false,
                first_ns: at_ns,
                last_ns: at_ns,
            });
        }
        ledger
    }

    /// Notes that a service refused a login: the connection served nothing, and makes no peer.
    pub(crate) fn note_refused_login(&mut self, source: Address, at_ns: u64) {
        let known = self.sources.get_or_insert_with(source, Source::default);
        known.n_used = known.n_used.saturating_sub(1);
        known.is_long = false;
        known.last_ns = known.last_ns.max(at_ns);
    }

    /// Takes updates one after the other.
    pub(crate) fn take_all(&mut self, updates: &[FlowUpdate]) {
        for batch in updates.chunks(BATCH) {
            self.services.fetch(batch.iter().map(ServiceKey::of));
            self.sources.fetch(batch.iter().map(|update| update.source));
            if let Some(first) = batch.first().filter(|_| self.began_ns == 0) {
                self.began_ns = first.first_ns;
            }
            batch.iter().for_each(|update| self.take(update));
        }
    }

    fn take(&mut self, update: &FlowUpdate) {
        let got = &update.backward.n_flags;
        let is_tcp = update.protocol == protocol::TCP;
        if is_tcp && got[SYN] > 0 {
            self.note_up(update);
        }
        // Segments with data or FIN come from a server that took the connection; a blind forger
        // gets resets.
        if is_tcp && update.progress == Progress::Established && got[PSH] + got[FIN] > 0 {
            self.note_real(update.source, update.last_ns);
        }
        if is_tcp && update.progress == Progress::Established {
            // With data from the server: to connect alone is what scanners do, too.
            let is_begun = update.is_attempt && update.has_progressed && got[PSH] > 0;
            let bytes = update.forward.bytes.saturating_add(update.backward.bytes);
            self.note_served(update.source, update.last_ns, u16::from(is_begun), bytes);
        }
        self.tries.take(update);
        if is_tcp && !update.is_attempt {
            return;
        }
        if update.is_new {
            let service = self.service(update);
            service.n_asked = service.n_asked.saturating_add(1);
            service.n_made = service.n_made.saturating_add(u32::from(is_bare(update)));
        }
        if !update.has_progressed {
            return;
        }
        match update.progress {
            Progress::Established => {
                // Who answers our question is there; who asks may be forged.
                self.note_real(update.destination, update.last_ns);
                self.note_up(update);
                if !is_tcp {
                    self.count(update, |outcomes| &mut outcomes.used);
                    self.note_used(update.source, update.first_ns, update.last_ns, false);
                }
            }
            Progress::Refused => {
                self.note_failure(update);
                self.count(update, |outcomes| &mut outcomes.refused);
            }
            Progress::Unanswered => {
                self.note_failure(update);
                self.count(update, |outcomes| &mut outcomes.silent);
            }
            Progress::Pending => {}
        }
    }

    /// Takes a flow that ended: whether it was used shows then.
    pub(crate) fn take_end(&mut self, flow: &FlowSummary, source: Address, host: Address) {
        if flow.protocol != protocol::TCP || !is_established(flow) {
            return;
        }
        let (sent, got) = (flow.forward.n_flags[PSH], flow.backward.n_flags[PSH]);
        let is_used = sent > 0 && got > 0;
        let lasted_ns = flow.last_ns.saturating_sub(flow.first_ns);
        let is_long = lasted_ns >= LONG_NS && sent.min(got) >= LONG_SEGMENTS;
        if is_used {
            self.note_used(source, flow.first_ns, flow.last_ns, is_long);
            let bytes = flow.forward.bytes.saturating_add(flow.backward.bytes);
            if let Some(known) = self.sources.get_mut(&source) {
                known.n_bytes = known.n_bytes.saturating_add(bytes);
            }
        }
        if flow.end_reason == EndReason::ActiveTimeout {
            return;
        }
        let service = ServiceKey {
            host,
            port: flow.destination_port,
            protocol: flow.protocol,
        };
        let pair = self
            .pairs
            .get_or_insert_with((source, service), Outcomes::default);
        let count = if is_used {
            &mut pair.used
        } else {
            &mut pair.dropped
        };
        *count = count.saturating_add(1);
        pair.last_ns = pair.last_ns.max(flow.last_ns);
    }

    /// Forgets what was silent for long.
    pub(crate) fn tick(&mut self, at_ns: u64) {
        if at_ns.saturating_sub(self.walked_ns) < WALK_NS {
            return;
        }
        self.walked_ns = at_ns;
        let is_young = |last_ns: u64| at_ns.saturating_sub(last_ns) < FORGET_NS;
        self.services.retain(|_, known| is_young(known.last_ns));
        (self.n_peers, self.peer_bytes) = (0, 0);
        self.sources.retain(|_, known| {
            known.n_bytes -= known.n_bytes / FADE;
            if known.is_peer(at_ns) && is_young(known.last_ns) {
                self.n_peers = self.n_peers.saturating_add(1);
                self.peer_bytes = self.peer_bytes.saturating_add(known.n_bytes);
            }
            is_young(known.last_ns)
        });
        self.pairs.retain(|_, known| is_young(known.last_ns));
        self.tries.forget(at_ns);
    }

    fn service(&mut self, update: &FlowUpdate) -> &mut Service {
        let key = ServiceKey::of(update);
        let service = self.services.get_or_insert_with(key, Service::default);
        service.last_ns = service.last_ns.max(update.last_ns);
        service
    }

    fn note_up(&mut self, update: &FlowUpdate) {
        let service = self.service(update);
        service.was_up = true;
        service.longest = service.longest.max(service.n_failed);
        (service.n_asked, service.n_made, service.n_failed) = (0, 0, 0);
    }

    fn note_failure(&mut self, update: &FlowUpdate) {
        let service = self.service(update);
        service.n_failed = service.n_failed.saturating_add(1);
    }

    fn count(&mut self, update: &FlowUpdate, of: impl FnOnce(&mut Outcomes) -> &mut u32) {
        let key = (update.source, ServiceKey::of(update));
        let pair = self.pairs.get_or_insert_with(key, Outcomes::default);
        pair.last_ns = pair.last_ns.max(update.last_ns);
        let count = of(pair);
        *count = count.saturating_add(1);
    }

    /// Adds connections that came about, and bytes of such.
    pub(crate) fn note_served(&mut self, source: Address, at_ns: u64, n_begun: u16, n_bytes: u64) {
        let known = self.sources.get_or_insert_with(source, Source::default);
        known.last_ns = known.last_ns.max(at_ns);
        known.served.add(at_ns, n_begun, n_bytes);
        self.served.add(at_ns, n_begun, n_bytes);
    }

    /// Good traffic of a source, and of all.
    pub(crate) fn served(&self, source: &Address) -> Option<(&Served, &Served)> {
        let known = self.sources.get(source)?;
        Some((&known.served, &self.served))
    }

    /// Takes note that an address is proven real.
    pub(crate) fn note_real(&mut self, source: Address, at_ns: u64) {
        let known = self.sources.get_or_insert_with(source, Source::default);
        known.is_real = true;
        known.last_ns = known.last_ns.max(at_ns);
    }

    fn note_used(&mut self, source: Address, first_ns: u64, last_ns: u64, is_long: bool) {
        let known = self.sources.get_or_insert_with(source, Source::default);
        if known.n_used == 0 {
            known.first_used_ns = first_ns;
        }
        known.n_used = known.n_used.saturating_add(1);
        known.is_long |= is_long;
        known.last_ns = known.last_ns.max(last_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Delta;
    use crate::tests::{T0, ip};

    const WEB: u16 = 80;

    fn service(host: u16) -> ServiceKey {
        ServiceKey {
            host: ip(host),
            port: WEB,
            protocol: protocol::TCP,
        }
    }

    /// An attempt by a SYN of `length` bytes that came to `progress`.
    fn attempt(source: u16, host: u16, length: u64, progress: Progress) -> FlowUpdate {
        let mut forward = Delta {
            packets: 1,
            bytes: length,
            ..Delta::default()
        };
        forward.n_flags[SYN] = 1;
        FlowUpdate {
            source: ip(source),
            destination: ip(host),
            source_port: 40_000,
            destination_port: WEB,
            protocol: protocol::TCP,
            has_fragments: false,
            forward,
            backward: Delta::default(),
            n_forward: 1,
            n_backward: 0,
            is_attempt: true,
            is_claimed: false,
            is_one_way: false,
            begins_to_close: false,
            n_flags: [1, 0, 0, 0, 0],
            is_stray: false,
            is_new: true,
            progress,
            has_progressed: true,
            has_closed: false,
            first_ns: T0,
            last_ns: T0,
        }
    }

    fn answered(source: u16, host: u16) -> FlowUpdate {
        let mut update = attempt(source, host, 74, Progress::Established);
        update.backward.n_flags = [1, 0, 0, 1, 2];
        update
    }

    #[test]
    fn a_preview_tells_of_the_sources_in_a_network_and_their_services() {
        let mut ledger = Ledger::new(1);
        for source in [1, 2] {
            ledger.take(&answered(source, 9));
        }
        ledger.take(&attempt(2, 8, 74, Progress::Refused));
        let one = ledger.preview(T0, &IpNet::from(to_ip(&ip(1))));
        assert_eq!((one.n_sources, one.n_real, one.n_begun), (1, 1, 1));
        let all = ledger.preview(T0, &"0.0.0.0/0".parse().unwrap());
        assert!(all.n_sources >= 2 && all.n_peers == 0, "{all:?}");
        let refused = all.services.iter().find(|s| s.host == to_ip(&ip(8)));
        assert_eq!(
            refused.map(|s| (s.port, s.used, s.failed)),
            Some((WEB, 0, 1))
        );
        let nobody = ledger.preview(T0, &"203.0.113.0/24".parse().unwrap());
        assert_eq!(nobody, Preview::default());
    }

    #[test]
    fn failures_in_a_row_are_the_services_until_it_answers_somebody() {
        let mut ledger = Ledger::new(1);
        let refused = |source| attempt(source, 9, 74, Progress::Refused);
        ledger.take_all(&[refused(1), refused(2)]);
        assert!(!ledger.is_down(&service(9)));
        ledger.take_all(&[refused(1)]);
        assert!(ledger.is_down(&service(9)));
        ledger.take_all(&[answered(3, 9)]);
        assert!(!ledger.is_down(&service(9)));
        assert_eq!(ledger.outcomes(&ip(1), &service(9)).refused, 2);
    }

    #[test]
    fn segments_that_no_client_makes_prove_no_outage() {
        let mut ledger = Ledger::new(1);
        let made = attempt(1, 9, 60, Progress::Unanswered);
        ledger.take_all(&vec![made; 20]);
        assert!(!ledger.is_down(&service(9)));
        let asked = attempt(2, 9, 74, Progress::Unanswered);
        ledger.take_all(&vec![asked; 10]);
        assert!(!ledger.is_down(&service(9)));
    }

    #[test]
    fn a_source_is_real_once_it_was_served_and_not_before() {
        let mut ledger = Ledger::new(1);
        let mut half_open = attempt(1, 9, 74, Progress::Pending);
        half_open.backward.n_flags[SYN] = 1;
        ledger.take_all(&[half_open, attempt(2, 9, 74, Progress::Refused)]);
        assert!(!ledger.is_real(&ip(1)) && !ledger.is_real(&ip(2)));
        ledger.take_all(&[answered(1, 9)]);
        assert!(ledger.is_real(&ip(1)) && ledger.is_real(&ip(9)));
    }

    #[test]
    fn a_peer_was_served_well_before() {
        let mut ledger = Ledger::new(1);
        for _ in 0..PEER_USED {
            ledger.note_used(ip(1), T0, T0, false);
        }
        assert!(!ledger.is_peer(T0 + SECOND_NS, &ip(1)));
        assert!(ledger.is_peer(T0 + PEER_NS, &ip(1)));
        ledger.note_used(ip(2), T0, T0 + LONG_NS, true);
        assert!(ledger.is_peer(T0 + LONG_NS, &ip(2)));
    }

    #[test]
    fn who_is_served_in_the_first_minute_is_usual() {
        let mut ledger = Ledger::new(1);
        ledger.take_all(&[attempt(9, 9, 74, Progress::Refused)]);
        let begun_ns = ledger.began_ns;
        ledger.note_used(ip(1), begun_ns + SECOND_NS, begun_ns + SECOND_NS, false);
        let late_ns = begun_ns + USUAL_NS;
        ledger.note_used(ip(2), late_ns, late_ns, false);
        assert!(ledger.is_usual(late_ns, &ip(1)));
        assert!(!ledger.is_usual(late_ns, &ip(2)));
        assert!(!ledger.is_usual(late_ns, &ip(9)));
    }

    #[test]
    fn refused_logins_make_no_peer() {
        let mut ledger = Ledger::new(1);
        for n in 0..20 {
            ledger.note_used(ip(1), T0 + n, T0 + n, n == 9);
            ledger.note_refused_login(ip(1), T0 + n);
        }
        assert!(!ledger.is_peer(T0 + PEER_NS, &ip(1)));
    }

    #[test]
    fn tables_are_bounded_and_idle_entries_forgotten() {
        let mut ledger = Ledger::new(1);
        for source in 0..u16::MAX {
            ledger.take_all(&[attempt(source, source, 74, Progress::Refused)]);
        }
        let mut tables = Vec::new();
        ledger.tables(&mut tables);
        assert!(tables.iter().all(|table| table.n_entries <= table.capacity));
        assert!(ledger.n_shed() > 0);
        ledger.tick(T0 + FORGET_NS);
        tables.clear();
        ledger.tables(&mut tables);
        assert!(tables.iter().all(|table| table.n_entries == 0));
    }
}
