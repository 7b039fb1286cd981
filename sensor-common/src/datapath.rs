//! The way of one packet: parse, block check, flow cache, host counters. Generic over where the
//! tables live, so that the kernel and replay run the same steps in the same order.

use crate::arrival::{Arrival, Way};
use crate::block::list::Key;
use crate::block::{self, Asked, BlockTable, Level, Met, Packed, Ruling};
use crate::counters::{Event, Outcome};
use crate::event::{self, Budgets, Kind, Notice};
use crate::flow::{
    self, Admit, Bucket, Cached, Due, FlowSink, Held, Member, Outer, OuterTable, Outers, Sequence,
    Taken, is_plain,
};
use crate::host::{Contact, HostRow, Policy};
use crate::packet::{Age, Frame, Halves, Packet, Peek, peek};
use crate::{Address, hash_address, shield};
use core::marker::PhantomData;

/// Source of the kernel program's time.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Clock {
    /// The resolution of the timer tick, at half the price.
    #[default]
    Coarse = 0,
    Precise = 1,
    /// Time that comes with the frame, for tests: [`FrameMetadata`] in the metadata on ingress, the
    /// buffer's time stamp on egress.
    Frame = 2,
}

/// Metadata of a frame, by which a test makes the program comparable with replay: a captured frame
/// brings its own time, and may be shorter than it was on the wire.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FrameMetadata {
    pub now_ns: u64,
    pub bytes: u32,
    pub reserved: u32,
}

const _: () = assert!(size_of::<FrameMetadata>() == 16);
// SAFETY: integers; the size assertion rules padding out.
unsafe impl crate::Pod for FrameMetadata {}

/// Fixed at load.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Secret of the hashes.
    pub seed: u64,
    /// New flows that one CPU admits in one [`ADMIT_WINDOW_SHIFT`] window.
    pub admit_per_window: u32,
    pub events: Events,
}

/// Set of the events that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events(pub u32);

impl Events {
    pub const NONE: Self = Self(0);
    /// Samples and block hits.
    pub const SAMPLES: u32 = 1;
    pub const FLOW_STARTED: u32 = 2;
    pub const DEFAULT: Self = Self(Self::SAMPLES);

    #[inline(always)]
    const fn has(self, which: u32) -> bool {
        self.0 & which != 0
    }
}

/// Admission is counted in windows of 2^27 ns = 134 ms.
pub const ADMIT_WINDOW_SHIFT: u32 = 27;

/// Admission state of one CPU.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Admission {
    pub window: u64,
    pub n_admitted: u64,
}

// SAFETY: two u64, no padding.
unsafe impl crate::Pod for Admission {}

impl Admission {
    #[inline(always)]
    fn may_admit(&mut self, now_ns: u64, limit: u32) -> bool {
        let window = now_ns >> ADMIT_WINDOW_SHIFT;
        if self.window != window {
            self.window = window;
            self.n_admitted = 0;
        }
        self.n_admitted += 1;
        self.n_admitted <= limit as u64
    }
}

/// The flow table of this CPU.
pub trait FlowTable {
    /// Bucket of a hash; `None` only if the table is not there.
    fn bucket(&mut self, hash: u64) -> Option<&mut Bucket>;
}

/// The host tables of this CPU.
pub trait HostTable {
    fn local(&mut self, hash: u64) -> Option<&mut HostRow>;
    fn remote(&mut self, hash: u64) -> Option<&mut HostRow>;
    /// Begins to fetch the row that [`Self::remote`] will be asked for; changes nothing.
    #[inline(always)]
    fn fetch_remote(&mut self, _hash: u64) {}
}

/// Counters of this CPU.
pub trait Counters {
    fn outcome(&mut self, way: Way, outcome: u32, packets: u64, bytes: u64);
    fn event(&mut self, event: Event, packets: u64, bytes: u64);
    fn admission(&mut self) -> Option<&mut Admission>;
    fn budgets(&mut self) -> Option<&mut Budgets>;
}

/// A tunnel that is configured: the networks of its ends. Whoever sends between them may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TunnelPeer {
    pub local: Address,
    pub local_mask: Address,
    pub remote: Address,
    pub remote_mask: Address,
}

const _: () = assert!(size_of::<TunnelPeer>() == 64);
// SAFETY: arrays of integers; the size assertion rules padding out.
unsafe impl crate::Pod for TunnelPeer {}

impl TunnelPeer {
    /// True where the addresses are the tunnel's ends, in either order.
    #[inline(always)]
    pub const fn joins(&self, a: &Address, b: &Address) -> bool {
        let there =
            differs(a, &self.local, &self.local_mask) | differs(b, &self.remote, &self.remote_mask);
        let back =
            differs(b, &self.local, &self.local_mask) | differs(a, &self.remote, &self.remote_mask);
        there == 0 || back == 0
    }
}

/// Bits in which an address is not of a network.
#[inline(always)]
const fn differs(address: &Address, network: &Address, mask: &Address) -> u32 {
    ((address[0] ^ network[0]) & mask[0])
        | ((address[1] ^ network[1]) & mask[1])
        | ((address[2] ^ network[2]) & mask[2])
        | ((address[3] ^ network[3]) & mask[3])
}

/// Tunnels: those that are configured, and outer headers of flows.
pub trait TunnelTable: OuterTable {
    /// True where the addresses are the ends of a configured tunnel.
    fn is_configured(&self, a: &Address, b: &Address) -> bool;
}

/// Everything a packet meets.
pub struct Datapath<F, H, B, C, R, T> {
    pub flows: F,
    pub hosts: H,
    pub tunnels: T,
    pub blocks: B,
    pub counters: C,
    pub ring: R,
    pub settings: Settings,
}

/// Work that [`Datapath::begin`] leaves to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The packet has a flow.
    pub goes_on: bool,
    /// A list may have something about its source.
    pub is_listed: bool,
    /// The event of a packet that has no flow.
    pub notice: Notice,
}

/// Treatment of a packet: pass or drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Drop,
}

impl<F, H, B, C, R, T> Datapath<F, H, B, C, R, T>
where
    F: FlowTable,
    H: HostTable,
    B: BlockTable,
    C: Counters,
    R: FlowSink,
    T: TunnelTable,
{
    /// Before parsing: true where the packet is one of the plain many from a source that is blocked
    /// as a whole. It is dropped then, and counted as [`Self::process`] would have counted it.
    #[inline(always)]
    pub fn drops_at_once<P: Frame + ?Sized>(&mut self, frame: &P, arrival: &Arrival) -> bool {
        let blocks = &mut self.blocks;
        let gate = blocks.gate();
        if gate.n_sources == 0 || !gate.enforces() || gate.is_dead(arrival.now_ns) {
            return false;
        }
        let key = |Halves { high, low }| Key { high, low };
        let peek = peek(frame, |source| block::may_list(blocks, &gate, key(source)));
        let Some(Peek { source, outcome }) = peek else {
            return false;
        };
        let (now_ns, bytes) = (arrival.now_ns, arrival.bytes);
        let seed = self.settings.seed;
        if !block::drops(blocks, &gate, key(source), now_ns, bytes, seed) {
            return false;
        }
        let segments = arrival.segments as u64;
        self.counters
            .outcome(Way::Ingress, outcome, segments, bytes as u64);
        self.counters.event(Event::Dropped, 1, bytes as u64);
        true
    }

    /// Takes one parsed packet through every step. The notice is the caller's to send: it has the
    /// frame.
    ///
    /// Parsing is a call of its own ([`crate::packet::parse`]): the kernel keeps the packet in a
    /// map value in between, so that the verifier forgets which of a hundred ways it was read and
    /// follows what comes after once.
    #[inline(always)]
    pub fn process<S: Sequence>(
        &mut self,
        packet: &mut Packet,
        way: Way,
        arrival: &Arrival,
    ) -> (Verdict, Notice) {
        let begun = self.begin::<S>(packet, way, arrival);
        if !begun.goes_on {
            return (Verdict::Pass, begun.notice);
        }
        if begun.is_listed {
            let found = self.look_up(packet, Level::Outer, arrival);
            let (verdict, hit) = self.rule(packet, found, arrival);
            // A dropped packet costs as little as can be; its entry has counted it.
            if verdict == Verdict::Drop {
                return (verdict, hit);
            }
        }
        self.record::<S>(packet, way, arrival);
        self.note_sent(packet, Level::Outer, way, arrival);
        (Verdict::Pass, self.notice(packet, arrival))
    }

    /// First of the steps of [`Self::process`], each of which the kernel has in a function of its own: it has
    /// little stack, and the verifier looks at such a function once. [`Self::look_up`] and [`Self::rule`] follow
    /// where a list may have something about the source, then [`Self::record`], [`Self::note_sent`] and
    /// [`Self::notice`].
    #[inline(always)]
    pub fn begin<S: Sequence>(&mut self, packet: &Packet, way: Way, arrival: &Arrival) -> Begun {
        self.count_outcome(packet, way, arrival);
        if Outcome::has_flow(packet.outcome) {
            return Begun {
                goes_on: true,
                is_listed: way == Way::Ingress && self.may_be_listed(packet),
                notice: Notice::NONE,
            };
        }
        let mut notice = Notice::NONE;
        if packet.is(Outcome::Arp) {
            self.count_arp::<S>(packet, way, arrival);
            notice = self.afford(Some(Kind::Arp), 0, arrival);
        }
        Begun {
            goes_on: false,
            is_listed: false,
            notice,
        }
    }

    /// Counts what a packet was read as.
    #[inline(always)]
    pub fn count_outcome(&mut self, packet: &Packet, way: Way, arrival: &Arrival) {
        let (segments, bytes) = (arrival.segments as u64, arrival.bytes as u64);
        self.counters.outcome(way, packet.outcome, segments, bytes);
    }

    /// True where a list may have something about the source of a packet.
    #[inline(always)]
    fn may_be_listed(&self, packet: &Packet) -> bool {
        let gate = self.blocks.gate();
        let is_empty = gate.n_sources | gate.n_prefixes == 0;
        !is_empty && block::may_list(&self.blocks, &gate, Key::of(&packet.source))
    }

    /// True where a list may have something about the source of a packet that came in, or an armed shield about
    /// its destination.
    #[inline(always)]
    pub fn concerns(&self, packet: &Packet) -> bool {
        let shields = self.blocks.gate().shields;
        self.may_be_listed(packet) || shield::concerns(packet, shields, self.settings.seed)
    }

    /// Takes a plain packet ([`crate::packet::plain`]) of a known flow, after [`Self::count_outcome`], through all
    /// that [`Self::process`] would do with it, where no list and no shield has to do with it. `None`, and nothing
    /// has changed, where more is to be done: [`Self::record`] and [`Self::notice`] do it.
    ///
    /// Nearly all packets come this way. The packet is never written to memory, and what is rare is left to
    /// the long way, so that the values in use fit the registers.
    #[inline(always)]
    pub fn pass_known<S: Sequence>(
        &mut self,
        packet: &mut Packet,
        arrival: &Arrival,
    ) -> Option<Notice> {
        let seed = self.settings.seed;
        let (source, destination) = (&packet.source, &packet.destination);
        self.hosts.fetch_remote(hash_address(source, seed));
        let local = self.hosts.local(hash_address(destination, seed))?;
        if !local.holds(destination) {
            return None;
        }
        let hash = flow::hash(packet, seed);
        let bucket = self.flows.bucket(hash)?;
        let taken = flow::add_known::<S>(bucket, packet, hash, arrival)?;
        local.count::<S>(packet, arrival, true);
        let share = self.share(taken.cached, is_plain(packet), arrival);
        if share != Share::Later {
            let seen = Seen {
                packet,
                arrival,
                share,
                due: taken.due,
            };
            let contact = Contact {
                host: source,
                peer: destination,
                service_port: packet.destination_port,
                is_toward: false,
            };
            let row = self.hosts.remote(hash_address(source, seed));
            seen.count_remote::<S>(row, &contact);
        }
        if taken.depth == 0 {
            return Some(Notice::NONE);
        }
        packet.set_age(age(taken));
        let kind = event::kind(packet, taken.depth, arrival.bytes);
        Some(self.afford(kind, 0, arrival))
    }

    /// Takes a packet that was counted at another interface: the interface's own totals are all that it
    /// adds to.
    #[inline(always)]
    pub fn count_elsewhere(&mut self, packet: &Packet, way: Way, arrival: &Arrival) {
        self.count_outcome(packet, way, arrival);
        let (segments, bytes) = (arrival.segments as u64, arrival.bytes as u64);
        self.counters
            .event(Event::CountedElsewhere, segments, bytes);
    }

    /// Begins with a packet within a tunnel, after [`Self::process`] took `outer`, which carries it.
    /// True where the tunnel is configured and its sender is to be looked for in the lists
    /// ([`Self::look_up`], [`Self::rule`]). Else anybody wrote its addresses: they are neither looked for
    /// nor counted as hosts. [`Self::record_inner`], [`Self::count_inner`], [`Self::note_sent`] and
    /// [`Self::notice`] are last.
    #[inline(always)]
    pub fn begin_inner(
        &mut self,
        inner: &mut Packet,
        outer: &Packet,
        way: Way,
        arrival: &Arrival,
    ) -> bool {
        let (segments, bytes) = (arrival.segments as u64, arrival.bytes as u64);
        self.counters.event(Event::Decapsulated, segments, bytes);
        let is_trusted = self
            .tunnels
            .is_configured(&outer.source, &outer.destination);
        if is_trusted {
            inner.realm.trust();
        }
        is_trusted && way == Way::Ingress
    }

    /// Looks the sender of a packet up.
    #[inline(always)]
    pub fn look_up(&mut self, packet: &Packet, level: Level, arrival: &Arrival) -> Packed {
        self.blocks.search(&Asked {
            packet,
            level,
            now_ns: arrival.now_ns,
            bytes: arrival.bytes,
            seed: self.settings.seed,
        })
    }

    /// Carries out what the lists say of a packet.
    #[inline(always)]
    pub fn rule(
        &mut self,
        packet: &mut Packet,
        found: Packed,
        arrival: &Arrival,
    ) -> (Verdict, Notice) {
        let enforce = self.blocks.gate().enforces_on(found, arrival.now_ns);
        self.carry_out_met(packet, found.unpack(enforce), arrival)
    }

    /// Takes a packet within a tunnel, which passes, into a flow of its own.
    #[inline(always)]
    pub fn record_inner<S: Sequence>(
        &mut self,
        packet: &mut Packet,
        outer: &Outer,
        way: Way,
        arrival: &Arrival,
    ) -> InnerShare {
        let member = Member {
            packet,
            hash: flow::hash_inner(packet, outer, self.settings.seed),
            outer: Some(outer),
        };
        let Some(taken) = self.cache::<S>(member, way, arrival) else {
            packet.set_age(Age::OLD);
            return InnerShare::PACKET;
        };
        packet.set_age(age(taken));
        match self.share(taken.cached, false, arrival) {
            Share::Admitted => InnerShare::ADMITTED,
            Share::NotAdmitted => InnerShare::NOT_ADMITTED,
            Share::Later | Share::Due | Share::Packet => InnerShare::PACKET,
        }
    }

    /// Takes note of what this host sends, for its flow ([`block::known`]).
    #[inline(always)]
    pub fn note_sent(&mut self, packet: &Packet, level: Level, way: Way, arrival: &Arrival) {
        if way == Way::Egress {
            self.blocks.note_sent(&Asked {
                packet,
                level,
                now_ns: arrival.now_ns,
                bytes: arrival.bytes,
                seed: self.settings.seed,
            });
        }
    }

    /// Counts a packet within a configured tunnel in the rows of its hosts; of any other there are none.
    #[inline(always)]
    pub fn count_inner<S: Sequence>(
        &mut self,
        packet: &Packet,
        way: Way,
        arrival: &Arrival,
        share: InnerShare,
    ) {
        if packet.realm.is_untrusted() {
            return;
        }
        let share = match share {
            InnerShare::ADMITTED => Share::Admitted,
            InnerShare::NOT_ADMITTED => Share::NotAdmitted,
            _ => Share::Packet,
        };
        self.count_hosts::<S>(packet, way, arrival, (share, Due::NONE));
    }

    /// Counts a packet on the port, or of the protocol, of a tunnel, that carries none that is read.
    #[inline(always)]
    pub fn count_refused_tunnel(&mut self, arrival: &Arrival) {
        let (segments, bytes) = (arrival.segments as u64, arrival.bytes as u64);
        self.counters.event(Event::NotDecapsulated, segments, bytes);
    }

    /// The event that a packet gives rise to, where it gave none before.
    #[inline(always)]
    pub fn notice(&mut self, packet: &Packet, arrival: &Arrival) -> Notice {
        if packet.is_hit() {
            let origin = self.blocks.told();
            return self.afford(Some(Kind::BlockHit), origin, arrival);
        }
        let age = packet.age();
        // Nearly all are old, and of no further interest.
        if age == Age::OLD {
            return self.afford(event::late_kind(packet), 0, arrival);
        }
        let kind = event::kind(packet, age >> Age::DEPTH_SHIFT, arrival.bytes);
        if age & Age::MASK == Age::FIRST {
            return self.begun(packet, kind, arrival);
        }
        self.afford(kind, 0, arrival)
    }

    /// The first packet of a flow: a sample that says so, else the event of its start where that is
    /// wanted.
    #[inline(always)]
    fn begun(&mut self, packet: &Packet, kind: Option<Kind>, arrival: &Arrival) -> Notice {
        let sample = self.afford(kind, event::BEGAN, arrival);
        // The flow within a tunnel is told in the place of the flow around it.
        let is_wanted = self.settings.events.has(Events::FLOW_STARTED) && !packet.carries_packet();
        if sample.kind == 0 && is_wanted {
            return self.afford(Some(Kind::FlowStarted), event::BEGAN, arrival);
        }
        sample
    }

    /// Takes an event out of the budget of its kind.
    #[inline(always)]
    fn afford(&mut self, kind: Option<Kind>, detail: u64, arrival: &Arrival) -> Notice {
        let Some(kind) = kind else {
            return Notice::NONE;
        };
        if !self.settings.events.has(Events::SAMPLES) && kind != Kind::FlowStarted {
            return Notice::NONE;
        }
        let Some(budgets) = self.counters.budgets() else {
            return Notice::NONE;
        };
        let Some(sequence) = budgets.spend(kind, arrival.now_ns) else {
            let bytes = arrival.bytes as u64;
            self.counters.event(Event::SampleOverBudget, 1, bytes);
            return Notice::NONE;
        };
        Notice {
            kind: kind as u32,
            max_bytes: kind.max_bytes(),
            sequence,
            detail,
        }
    }

    /// Counts an ARP packet in the row of its sender.
    #[inline(always)]
    fn count_arp<S: Sequence>(&mut self, packet: &Packet, way: Way, arrival: &Arrival) {
        let sender = &packet.source;
        let hash = hash_address(sender, self.settings.seed);
        let (row, policy) = match way {
            Way::Ingress => (self.hosts.remote(hash), Policy::KeepHeavy),
            Way::Egress => (self.hosts.local(hash), Policy::KeepBusy),
        };
        if let Some(row) = row
            && row.claim::<S>(sender, arrival.now_ns, 1, policy)
        {
            row.count_arp::<S>(arrival.now_ns);
        }
    }

    #[inline(always)]
    fn carry_out_met(
        &mut self,
        packet: &mut Packet,
        met: Met,
        arrival: &Arrival,
    ) -> (Verdict, Notice) {
        if met.ruling == Ruling::Pass {
            return (Verdict::Pass, Notice::NONE);
        }
        let bytes = arrival.bytes;
        let verdict = self.carry_out(met.ruling, met.enforce, bytes);
        let notice = match (verdict, met.told) {
            (Verdict::Drop, Some(origin)) => self.afford(Some(Kind::BlockHit), origin, arrival),
            // Through memory: carried along, the verifier would follow the flow cache twice.
            (Verdict::Pass, Some(_)) => {
                packet.set_hit();
                Notice::NONE
            }
            (_, None) => Notice::NONE,
        };
        if met.ruling == Ruling::Challenged {
            packet.set_challenged();
        }
        (verdict, notice)
    }

    #[inline(always)]
    fn carry_out(&mut self, ruling: Ruling, enforce: u32, bytes: u32) -> Verdict {
        let event = match (ruling, enforce) {
            // A challenge counts where it is made.
            (Ruling::Pass | Ruling::Challenged, _) => return Verdict::Pass,
            (Ruling::Allowed, _) => {
                self.counters.event(Event::Allowed, 1, bytes as u64);
                return Verdict::Pass;
            }
            (Ruling::Drop | Ruling::OverRate | Ruling::Quarantined, 0) => Event::WouldDrop,
            (Ruling::Drop, _) => Event::Dropped,
            (Ruling::OverRate, _) => Event::RateLimited,
            (Ruling::Quarantined, _) => Event::Quarantined,
        };
        self.counters.event(event, 1, bytes as u64);
        if enforce == 0 {
            Verdict::Pass
        } else {
            Verdict::Drop
        }
    }

    /// Takes a packet into its flow and the rows of its hosts.
    #[inline(always)]
    pub fn record<S: Sequence>(&mut self, packet: &mut Packet, way: Way, arrival: &Arrival) {
        // Whether the row is needed is only known once the flow is there. With many flows neither is
        // in the cache: so the two are waited for at the same time.
        let remote = match way {
            Way::Ingress => &packet.source,
            Way::Egress => &packet.destination,
        };
        let seed = self.settings.seed;
        self.hosts.fetch_remote(hash_address(remote, seed));
        let member = Member {
            packet,
            hash: flow::hash(packet, seed),
            outer: None,
        };
        let Some(taken) = self.cache::<S>(member, way, arrival) else {
            packet.set_age(Age::OLD);
            return;
        };
        packet.set_age(age(taken));
        let share = self.share(taken.cached, is_plain(packet), arrival);
        self.count_hosts::<S>(packet, way, arrival, (share, taken.due));
    }

    /// Counts what the cache did; what of it the row of the remote host gets.
    #[inline(always)]
    fn share(&mut self, cached: Cached, may_wait: bool, arrival: &Arrival) -> Share {
        let (event, share) = match cached {
            Cached::Hit if may_wait => return Share::Later,
            Cached::Hit => return Share::Packet,
            Cached::HitDue => return Share::Due,
            Cached::RolledOver => (Event::FlowRollover, Share::Packet),
            Cached::RolloverLost => (Event::RolloverRingFull, Share::Packet),
            Cached::Started => (Event::FlowStarted, Share::Admitted),
            Cached::Evicted => (Event::FlowEvicted, Share::Admitted),
            Cached::Refused => (Event::NotAdmittedRate, Share::NotAdmitted),
            Cached::RingFull => (Event::NotAdmittedRing, Share::NotAdmitted),
        };
        self.counters
            .event(event, arrival.segments as u64, arrival.bytes as u64);
        share
    }

    #[inline(always)]
    fn cache<S: Sequence>(
        &mut self,
        member: Member<'_>,
        way: Way,
        arrival: &Arrival,
    ) -> Option<Taken> {
        let Self {
            flows,
            hosts,
            tunnels,
            counters,
            ring,
            settings,
            ..
        } = self;
        let bucket = flows.bucket(member.hash)?;
        let mut admit = NewFlow::<S, H, C, T> {
            hosts,
            tunnels,
            hash: member.hash,
            counters,
            settings,
            now_ns: arrival.now_ns,
            sequence: PhantomData,
        };
        Some(flow::update::<S, R>(
            bucket, member, way, arrival, ring, &mut admit,
        ))
    }

    #[inline(always)]
    fn count_hosts<S: Sequence>(
        &mut self,
        packet: &Packet,
        way: Way,
        arrival: &Arrival,
        (share, due): (Share, Due),
    ) {
        let (local, remote, is_toward) = match way {
            Way::Ingress => (&packet.destination, &packet.source, true),
            Way::Egress => (&packet.source, &packet.destination, false),
        };
        let seen = Seen {
            packet,
            arrival,
            share,
            due,
        };
        let seed = self.settings.seed;
        let contact = Contact {
            host: local,
            peer: remote,
            service_port: packet.destination_port,
            is_toward,
        };
        let row = self.hosts.local(hash_address(local, seed));
        if !seen.count_local::<S>(row, &contact) {
            self.counters.event(
                Event::HostNotAdmitted,
                arrival.segments as u64,
                arrival.bytes as u64,
            );
        }
        if share == Share::Later {
            return;
        }
        let contact = Contact {
            host: remote,
            peer: local,
            is_toward: !is_toward,
            ..contact
        };
        let row = self.hosts.remote(hash_address(remote, seed));
        seen.count_remote::<S>(row, &contact);
    }
}

/// Place of a packet in its flow, and the flow's class of sampling. To be kept in memory: the verifier
/// must not follow the host counters once for each age.
#[inline(always)]
const fn age(taken: Taken) -> u8 {
    let age = match (taken.cached.began(), taken.depth) {
        (true, _) => Age::FIRST,
        (false, 0) => Age::OLD,
        (false, _) => Age::YOUNG,
    };
    age | taken.depth << Age::DEPTH_SHIFT
}

/// Answers to the flow cache when a flow is new.
struct NewFlow<'a, S, H, C, T> {
    hosts: &'a mut H,
    tunnels: &'a mut T,
    /// Chose the bucket.
    hash: u64,
    counters: &'a mut C,
    settings: &'a Settings,
    now_ns: u64,
    sequence: PhantomData<S>,
}

impl<S: Sequence, H: HostTable, C: Counters, T: OuterTable> Admit for NewFlow<'_, S, H, C, T> {
    #[inline(always)]
    fn may_admit(&mut self) -> bool {
        let limit = self.settings.admit_per_window;
        self.counters
            .admission()
            .is_some_and(|state| state.may_admit(self.now_ns, limit))
    }

    #[inline(always)]
    fn outers(&mut self) -> Option<&mut Outers> {
        self.tunnels.outers(self.hash)
    }

    /// Late packets don't contend for a row: they count if their host still has it.
    #[inline(always)]
    fn settle(&mut self, remote: &Address, protocol: u8, held: Held) {
        let row = self.hosts.remote(hash_address(remote, self.settings.seed));
        if let Some(row) = row
            && row.holds(remote)
        {
            row.count_due::<S>(held.due(), protocol, held.went_out());
        }
    }
}

/// Part of a packet within a tunnel that host rows get, on its way from one function of the kernel to the
/// next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerShare(pub u64);

impl InnerShare {
    pub const PACKET: Self = Self(0);
    pub const ADMITTED: Self = Self(1);
    pub const NOT_ADMITTED: Self = Self(2);
}

/// Part of a packet that the row of the remote host gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    /// Nothing: the flow holds it back.
    Later,
    /// The packet, and others that were held back: [`Seen::due`].
    Due,
    /// The packet alone.
    Packet,
    /// The packet, which began a flow.
    Admitted,
    /// The packet, which was refused a flow.
    NotAdmitted,
}

/// A packet on its way into host rows.
struct Seen<'a> {
    packet: &'a Packet,
    arrival: &'a Arrival,
    share: Share,
    due: Due,
}

impl Seen<'_> {
    /// Counts the packet in the row, if the host gets it.
    #[inline(always)]
    fn count_local<S: Sequence>(&self, row: Option<&mut HostRow>, contact: &Contact<'_>) -> bool {
        let Some(row) = row else { return false };
        let n = self.arrival.segments as u32;
        if !row.claim::<S>(contact.host, self.arrival.now_ns, n, Policy::KeepBusy) {
            return false;
        }
        row.count::<S>(self.packet, self.arrival, contact.is_toward);
        self.count_flow::<S>(row, contact);
        true
    }

    /// Counts what is due in the row, if the host gets it.
    #[inline(always)]
    fn count_remote<S: Sequence>(&self, row: Option<&mut HostRow>, contact: &Contact<'_>) {
        let Some(row) = row else { return };
        let now_ns = self.arrival.now_ns;
        let n = match self.share {
            Share::Due => self.due.packets,
            _ => self.arrival.segments as u32,
        };
        if !row.claim::<S>(contact.host, now_ns, n, Policy::KeepHeavy) {
            return;
        }
        if self.share == Share::Due {
            row.last_ns = now_ns;
            row.count_due::<S>(self.due, self.packet.protocol, contact.is_toward);
            return;
        }
        row.count::<S>(self.packet, self.arrival, contact.is_toward);
        self.count_flow::<S>(row, contact);
    }

    #[inline(always)]
    fn count_flow<S: Sequence>(&self, row: &mut HostRow, contact: &Contact<'_>) {
        let admitted = match self.share {
            Share::Admitted => true,
            Share::NotAdmitted => false,
            _ => return,
        };
        row.count_flow::<S>(contact, self.arrival.segments, admitted);
    }
}
