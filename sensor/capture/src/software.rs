//! The kernel's tables in user space: replay runs the datapath of `sensor_common` on them, as one
//! CPU would.

use std::collections::HashSet;

use indexmap::IndexMap;
use sensor_common::arrival::{Arrival, Way};
use sensor_common::block::known::KnownFlows;
use sensor_common::block::list::{ScopeSet, Shape, SourceBucket};
use sensor_common::block::{self, Asked, BlockTable, Gate, Level, Packed};
use sensor_common::counters::{Count, EVENT_BASE, Event, N_COUNTERS, Outcome};
use sensor_common::datapath::{
    Admission, Counters, Datapath, FlowTable, HostTable, Settings, TunnelPeer, TunnelTable, Verdict,
};
use sensor_common::event::{Budgets, EventHead, MAX_BYTES, Notice, Sample};
use sensor_common::flow::{
    self, Bucket, Direction, Flow, FlowSink, Head, Outer, OuterTable, Outers, Sent, Unshared,
};
use sensor_common::host::HostRow;
use sensor_common::limits::{FLOW_WAYS, LOCAL_ROWS_PER_CPU, REMOTE_ROWS_PER_CPU};
use sensor_common::packet::{Decapsulate, Packet, parse, parse_inner};
use sensor_common::{Address, hash_address};

use crate::drive::Tables;
use crate::kernel::LoadOptions;

/// Places handed out at a time: all are brought near before the first is read.
const TOUCHED: usize = 16;

/// Slots that packets met since the last look, each once, in the order of the packets.
struct Touched {
    /// A bit for each place.
    marks: Vec<u64>,
    places: Vec<u32>,
}

impl Touched {
    fn new(n_places: u32) -> Self {
        Self {
            marks: vec![0; (n_places as usize).div_ceil(64)],
            places: Vec::new(),
        }
    }

    #[inline(always)]
    fn note(&mut self, place: usize) {
        let bit = 1u64 << (place & 63);
        if let Some(word) = self.marks.get_mut(place >> 6)
            && *word & bit == 0
        {
            *word |= bit;
            self.places.push(place as u32);
        }
    }

    /// Forgets all places but these, in their order.
    fn restart(&mut self, places: &[u32]) {
        for place in self.places.drain(..) {
            if let Some(word) = self.marks.get_mut(place as usize >> 6) {
                *word = 0;
            }
        }
        places.iter().for_each(|place| self.note(*place as usize));
    }

    /// Hands out the places, some at a time, and begins anew.
    fn take(&mut self, mut each: impl FnMut(&[u32])) {
        for places in self.places.chunks(TOUCHED) {
            for place in places {
                if let Some(word) = self.marks.get_mut(*place as usize >> 6) {
                    *word = 0;
                }
            }
            each(places);
        }
        self.places.clear();
    }
}

/// Values as they were at marks: each is kept before its first change after a mark. Nothing is, before the
/// first mark and once all are forgotten.
struct Past<T> {
    /// Number of the last mark; 0 for none.
    mark: u64,
    /// Mark at which each place was last kept.
    kept_at: Vec<u64>,
    kept: Vec<(u64, u32, T)>,
}

impl<T: Copy> Past<T> {
    const NONE: Self = Self {
        mark: 0,
        kept_at: Vec::new(),
        kept: Vec::new(),
    };

    fn set_mark(&mut self, mark: u64, n_places: usize) {
        self.kept_at.resize(n_places, 0);
        self.mark = mark;
    }

    fn forget(&mut self) {
        self.mark = 0;
        self.kept.clear();
    }

    #[inline(always)]
    fn keep(&mut self, place: usize, value: Option<&T>) {
        if self.mark != 0 {
            self.keep_now(place, value);
        }
    }

    #[inline(never)]
    fn keep_now(&mut self, place: usize, value: Option<&T>) {
        if let (Some(at), Some(value)) = (self.kept_at.get_mut(place), value)
            && *at != self.mark
        {
            *at = self.mark;
            self.kept.push((self.mark, place as u32, *value));
        }
    }

    /// Values at a mark of the places that changed since, in the order of their first change; each with the
    /// last mark before that.
    fn since(&self, mark: u64) -> IndexMap<u32, (u64, &T)> {
        let mut values = IndexMap::new();
        for (kept_at, place, value) in self.kept.iter().filter(|kept| kept.0 >= mark) {
            values.entry(*place).or_insert((*kept_at, value));
        }
        values
    }
}

/// Flow table in plain memory.
pub struct FlowBuckets {
    buckets: Vec<Bucket>,
    mask: u64,
    touched: Touched,
    /// Sequence of each slot at the last look.
    looked: Vec<[u32; FLOW_WAYS]>,
    past: Past<Bucket>,
    /// Marks, with the number of places that were touched by then.
    marks: Vec<(u64, usize)>,
}

impl FlowTable for FlowBuckets {
    #[inline(always)]
    fn bucket(&mut self, hash: u64) -> Option<&mut Bucket> {
        // As in the kernel, the low 32 bits choose.
        let index = (hash & self.mask) as usize;
        self.past.keep(index, self.buckets.get(index));
        self.touched.note(index);
        self.buckets.get_mut(index)
    }
}

impl FlowBuckets {
    /// Reads of what a packet with this hash will most likely need.
    #[inline(always)]
    fn touch(&self, hash: u64) -> u32 {
        let Some(bucket) = self.buckets.get((hash & self.mask) as usize) else {
            return 0;
        };
        let [head, other] = &bucket.heads;
        let [first, second] = &bucket.directions[(hash >> 31 & 1) as usize];
        head.tag ^ other.tag ^ u32::from(first.packets ^ second.packets)
    }
}

/// Outer headers of flows within tunnels, and the tunnels that are configured.
pub struct Tunnels {
    outers: Vec<Outers>,
    mask: u64,
    peers: Vec<TunnelPeer>,
    past: Past<Outers>,
}

impl OuterTable for Tunnels {
    #[inline(always)]
    fn outers(&mut self, hash: u64) -> Option<&mut Outers> {
        let index = (hash & self.mask) as usize;
        self.past.keep(index, self.outers.get(index));
        self.outers.get_mut(index)
    }
}

impl TunnelTable for Tunnels {
    fn is_configured(&self, a: &Address, b: &Address) -> bool {
        self.peers.iter().any(|peer| peer.joins(a, b))
    }
}

/// Hands out the slots of a bucket that changed since they were last looked at.
fn hand_out(
    bucket: &Bucket,
    outers: Outers,
    looked: &mut [u32; FLOW_WAYS],
    take: &mut impl FnMut(&Flow),
) {
    let slots = bucket.heads.iter().zip(&bucket.directions).zip(looked);
    for (((head, directions), looked), outer) in slots.zip(&outers) {
        if head.sequence != *looked {
            *looked = head.sequence;
            take(&Flow::of(head, directions, outer, 0, 0));
        }
    }
}

/// Reads of the lines of a bucket.
#[inline(always)]
fn touch(bucket: &Bucket) -> u32 {
    let [head, other] = &bucket.heads;
    let lines = bucket.directions.as_flattened();
    let packets = lines.iter().fold(0, |sum, line| sum ^ line.packets);
    head.sequence ^ other.sequence ^ u32::from(packets)
}

/// Host rows of one side.
struct Rows {
    rows: Vec<HostRow>,
    mask: u64,
    touched: Touched,
    /// Sequence of each row at the last look.
    looked: Vec<u32>,
}

impl Rows {
    fn new(n_rows: u32) -> Self {
        Self {
            rows: vec![HostRow::EMPTY; n_rows as usize],
            mask: u64::from(n_rows - 1),
            touched: Touched::new(n_rows),
            looked: vec![0; n_rows as usize],
        }
    }

    #[inline(always)]
    fn row(&mut self, hash: u64) -> Option<&mut HostRow> {
        let index = (hash & self.mask) as usize;
        self.touched.note(index);
        self.rows.get_mut(index)
    }

    #[inline(always)]
    fn touch(&self, hash: u64) -> u64 {
        let row = self.rows.get((hash & self.mask) as usize);
        row.map_or(0, |row| row.last_ns ^ row.toward.packets ^ row.from.packets)
    }

    fn read(&mut self, into: &mut Vec<HostRow>) {
        into.clear();
        let Self { rows, looked, .. } = self;
        self.touched.take(|places| {
            for place in places {
                let at = *place as usize;
                let (Some(row), Some(looked)) = (rows.get(at), looked.get_mut(at)) else {
                    continue;
                };
                // A packet of another host may have asked for the row in vain.
                if row.sequence != *looked {
                    *looked = row.sequence;
                    into.push(*row);
                    if let Some(copy) = into.last_mut() {
                        copy.place = *place;
                    }
                }
            }
        });
    }
}

pub struct HostRows {
    local: Rows,
    remote: Rows,
}

impl HostTable for HostRows {
    #[inline(always)]
    fn local(&mut self, hash: u64) -> Option<&mut HostRow> {
        self.local.row(hash)
    }
    #[inline(always)]
    fn remote(&mut self, hash: u64) -> Option<&mut HostRow> {
        self.remote.row(hash)
    }
}

/// Block-list in plain memory; empty as replay has it, where nothing can be blocked.
#[derive(Default)]
pub struct BlockSet {
    pub gate: Gate,
    pub block_filter: Vec<u64>,
    pub allow_filter: Vec<u64>,
    pub allowed: HashSet<Address>,
    /// A power of two of buckets.
    pub sources: Vec<SourceBucket>,
    pub prefixes: Vec<SourceBucket>,
    pub scopes: Vec<ScopeSet>,
    pub shapes: Vec<Shape>,
    /// Flows that go both ways; none where no list is in force, as in a replay.
    pub known: Vec<KnownFlows>,
    /// Origin of the hit that was last to be told.
    pub told: u64,
}

impl BlockTable for BlockSet {
    fn gate(&self) -> Gate {
        self.gate
    }
    fn block_filter(&self, word: u32) -> u64 {
        let word = self.block_filter.get(word as usize);
        word.copied().unwrap_or(u64::MAX)
    }
    fn allow_filter(&self, word: u32) -> u64 {
        let word = self.allow_filter.get(word as usize);
        word.copied().unwrap_or(u64::MAX)
    }
    fn is_allowed(&self, source: &Address) -> bool {
        self.allowed.contains(source)
    }
    fn bucket_mask(&self) -> u32 {
        (self.sources.len() as u32).wrapping_sub(1)
    }
    fn sources(&mut self, bucket: u32) -> Option<&mut SourceBucket> {
        self.sources.get_mut(bucket as usize)
    }
    fn prefixes(&mut self, bucket: u32) -> Option<&mut SourceBucket> {
        self.prefixes.get_mut(bucket as usize)
    }
    fn scopes(&mut self, index: u32) -> Option<&mut ScopeSet> {
        self.scopes.get_mut(index as usize)
    }
    fn shape(&self, index: u32) -> Option<Shape> {
        self.shapes.get(index as usize).copied()
    }
    fn known(&mut self, bucket: u32) -> Option<&mut KnownFlows> {
        self.known.get_mut(bucket as usize)
    }
    fn note_sent(&mut self, asked: &Asked<'_>) {
        if !self.known.is_empty() {
            block::note_sent(self, asked);
        }
    }
    fn spares(&mut self, asked: &Asked<'_>) -> u64 {
        block::spares(self, asked)
    }
    fn add(counter: &mut u64, amount: u64) {
        *counter += amount;
    }
    fn search(&mut self, asked: &Asked<'_>) -> Packed {
        let found = block::search(self, asked);
        if found.tells() {
            self.told = found.origin;
        }
        found
    }
    fn told(&self) -> u64 {
        self.told
    }
}

pub struct CounterRow {
    counts: Vec<Count>,
    admission: Admission,
    budgets: Budgets,
}

impl CounterRow {
    fn count(&mut self, index: u32, packets: u64, bytes: u64) {
        if let Some(count) = self.counts.get_mut(index as usize) {
            count.packets += packets;
            count.bytes += bytes;
        }
    }
}

impl Counters for CounterRow {
    #[inline(always)]
    fn outcome(&mut self, way: Way, outcome: u32, packets: u64, bytes: u64) {
        self.count(way as u32 * Outcome::COUNT + outcome, packets, bytes);
    }
    #[inline(always)]
    fn event(&mut self, event: Event, packets: u64, bytes: u64) {
        self.count(EVENT_BASE + event as u32, packets, bytes);
    }
    #[inline(always)]
    fn admission(&mut self) -> Option<&mut Admission> {
        Some(&mut self.admission)
    }
    #[inline(always)]
    fn budgets(&mut self) -> Option<&mut Budgets> {
        Some(&mut self.budgets)
    }
}

/// Records that left the cache since the last drain.
#[derive(Default)]
pub struct SentRecords(Vec<Flow>);

impl FlowSink for SentRecords {
    fn send(
        &mut self,
        head: &Head,
        directions: &[Direction; 2],
        outer: Option<&Outer>,
        why: Sent,
    ) -> bool {
        let outer = outer.copied().unwrap_or_default();
        let flow = Flow::of(head, directions, &outer, 0, why as u8);
        self.0.push(flow);
        true
    }
}

/// Events since the last drain. The budgets bound them.
#[derive(Default)]
struct SentEvents {
    heads: Vec<EventHead>,
    payloads: Vec<u8>,
}

impl SentEvents {
    fn push(&mut self, head: EventHead, frame: &[u8], max_bytes: u32) {
        let wanted = head.payload_bytes.min(max_bytes).min(MAX_BYTES as u32);
        let from = head.packet.payload_offset() as usize;
        let payload = frame.get(from..).unwrap_or_default();
        let payload = payload.get(..wanted as usize).unwrap_or(payload);
        self.payloads.extend_from_slice(payload);
        self.heads.push(EventHead {
            n_bytes: payload.len() as u16,
            ..head
        });
    }

    fn drain(&mut self, mut take: impl FnMut(&Sample<'_>)) {
        let mut rest = self.payloads.as_slice();
        for head in &self.heads {
            let (payload, behind) = rest
                .split_at_checked(usize::from(head.n_bytes))
                .unwrap_or_default();
            rest = behind;
            take(&Sample { head, payload });
        }
        self.heads.clear();
        self.payloads.clear();
    }
}

/// The datapath with its tables in memory.
pub struct Software {
    path: Datapath<FlowBuckets, HostRows, BlockSet, CounterRow, SentRecords, Tunnels>,
    decapsulate: Decapsulate,
    events: SentEvents,
}

impl Software {
    /// Tables of the sizes that one CPU has in the kernel.
    pub fn new(options: &LoadOptions) -> Self {
        let n_buckets = options.flow_buckets_per_cpu.next_power_of_two();
        let settings = Settings {
            seed: options.seed,
            admit_per_window: options.admit_per_window(),
            events: options.events,
        };
        let flows = FlowBuckets {
            buckets: vec![Bucket::EMPTY; n_buckets as usize],
            mask: u64::from(n_buckets - 1),
            touched: Touched::new(n_buckets),
            looked: vec![[0; FLOW_WAYS]; n_buckets as usize],
            past: Past::NONE,
            marks: Vec::new(),
        };
        let hosts = HostRows {
            local: Rows::new(LOCAL_ROWS_PER_CPU),
            remote: Rows::new(REMOTE_ROWS_PER_CPU),
        };
        let tunnels = Tunnels {
            outers: vec![Outers::default(); options.n_outers(n_buckets) as usize],
            mask: u64::from(n_buckets - 1),
            peers: options.tunnel_peers.clone(),
            past: Past::NONE,
        };
        let counters = CounterRow {
            counts: vec![Count::default(); N_COUNTERS as usize],
            admission: Admission::default(),
            budgets: Budgets::default(),
        };
        let (blocks, ring) = (BlockSet::default(), SentRecords::default());
        Self {
            path: Datapath {
                flows,
                hosts,
                tunnels,
                blocks,
                counters,
                ring,
                settings,
            },
            decapsulate: options.tunnels,
            events: SentEvents::default(),
        }
    }

    /// The lists, for a test to fill.
    pub const fn blocks(&mut self) -> &mut BlockSet {
        &mut self.path.blocks
    }

    /// Takes one frame. A capture doesn't say which side is local: every frame is ingress, as on
    /// a mirror port.
    pub fn process(&mut self, frame: &[u8], now_ns: u64, wire_bytes: u32) -> Verdict {
        let arrival = Arrival {
            now_ns,
            bytes: wire_bytes,
            segments: 1,
            ifindex: 0,
            cpu: 0,
        };
        self.process_as(frame, Way::Ingress, &arrival)
    }

    /// Takes one frame of either way.
    pub fn process_as(&mut self, frame: &[u8], way: Way, arrival: &Arrival) -> Verdict {
        let mut packet = self.parse(frame);
        self.process_parsed(frame, &mut packet, way, arrival)
    }

    /// Reads the outermost packet of a frame; changes nothing.
    pub fn parse(&self, frame: &[u8]) -> Packet {
        let mut packet = Packet::default();
        parse(frame, &self.decapsulate, &mut packet);
        packet
    }

    /// Has what packets will need brought near: all at once takes hardly longer than one.
    pub fn fetch(&self, packets: &[Packet]) {
        let seed = self.path.settings.seed;
        let mut sum = 0;
        for packet in packets {
            sum ^= self.path.flows.touch(flow::hash(packet, seed));
        }
        let mut rows = 0;
        for packet in packets {
            let HostRows { local, remote } = &self.path.hosts;
            rows ^= local.touch(hash_address(&packet.destination, seed));
            rows ^= remote.touch(hash_address(&packet.source, seed));
        }
        std::hint::black_box((sum, rows));
    }

    /// Takes a frame that [`Self::parse`] read.
    pub fn process_parsed(
        &mut self,
        frame: &[u8],
        packet: &mut Packet,
        way: Way,
        arrival: &Arrival,
    ) -> Verdict {
        if way == Way::Ingress && self.path.drops_at_once(frame, arrival) {
            return Verdict::Drop;
        }
        if packet.may_carry_packet() {
            return self.process_tunnel(frame, packet, way, arrival);
        }
        let (verdict, notice) = self.path.process::<Unshared>(packet, way, arrival);
        if notice.kind != 0 {
            self.note(frame, packet, None, way, arrival, &notice);
        }
        verdict
    }

    /// Takes the packet, then the one within it.
    fn process_tunnel(
        &mut self,
        frame: &[u8],
        packet: &mut Packet,
        way: Way,
        arrival: &Arrival,
    ) -> Verdict {
        let mut inner = Packet::default();
        parse_inner(frame, packet, &mut inner);
        let (verdict, notice) = self.path.process::<Unshared>(packet, way, arrival);
        let is_told = notice.kind != 0;
        if is_told {
            self.note(frame, packet, None, way, arrival, &notice);
        }
        if !packet.carries_packet() {
            self.path.count_refused_tunnel(arrival);
            return verdict;
        }
        if verdict == Verdict::Drop {
            return verdict;
        }
        let path = &mut self.path;
        let (mut verdict, mut notice) = (Verdict::Pass, Notice::NONE);
        if path.begin_inner(&mut inner, packet, way, arrival) {
            let found = path.look_up(&inner, Level::Inner, arrival);
            (verdict, notice) = path.rule(&mut inner, found, arrival);
        }
        if verdict == Verdict::Pass {
            let outer = Outer::of(packet);
            let share = path.record_inner::<Unshared>(&mut inner, &outer, way, arrival);
            path.count_inner::<Unshared>(&inner, way, arrival, share);
            path.note_sent(&inner, Level::Inner, way, arrival);
            if !is_told {
                notice = path.notice(&inner, arrival);
            }
        }
        if notice.kind != 0 {
            let outer = (&packet.source, &packet.destination);
            self.note(frame, &inner, Some(outer), way, arrival, &notice);
        }
        verdict
    }

    #[cold]
    fn note(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        outer: Option<(&Address, &Address)>,
        way: Way,
        arrival: &Arrival,
        notice: &Notice,
    ) {
        let (outer_source, outer_destination) = match outer {
            Some((source, destination)) => (*source, *destination),
            None => Default::default(),
        };
        let mut head = EventHead {
            at_ns: arrival.now_ns,
            sequence: notice.sequence,
            detail: notice.detail,
            packet: *packet,
            wire_bytes: arrival.bytes,
            ifindex: arrival.ifindex,
            payload_bytes: packet.payload_bytes(arrival.bytes),
            cpu: arrival.cpu,
            kind: notice.kind as u8,
            way: way as u8,
            outer_source,
            outer_destination,
            ..EventHead::default()
        };
        if let Some(macs) = frame.first_chunk() {
            head.set_macs(macs);
        }
        self.events.push(head, frame, notice.max_bytes);
    }

    /// Remembers the flows as they are now, under a number above all before it, until
    /// [`Self::forget_marks`].
    pub fn mark(&mut self, mark: u64) {
        let (flows, tunnels) = (&mut self.path.flows, &mut self.path.tunnels);
        flows.past.set_mark(mark, flows.buckets.len());
        flows.marks.push((mark, flows.touched.places.len()));
        tunnels.past.set_mark(mark, tunnels.outers.len());
    }

    /// Forgets what was remembered.
    pub fn forget_marks(&mut self) {
        let (flows, tunnels) = (&mut self.path.flows, &mut self.path.tunnels);
        flows.past.forget();
        flows.marks.clear();
        tunnels.past.forget();
    }

    /// Number of buckets that are remembered.
    pub const fn n_remembered(&self) -> usize {
        self.path.flows.past.kept.len()
    }

    /// Hands out what [`Tables::scan_flows`] would have at a mark, which makes it the last look: all later
    /// ones, also at later marks, go by it.
    pub fn scan_flows_at(&mut self, mark: u64, mut take: impl FnMut(&Flow)) {
        let FlowBuckets {
            buckets,
            touched,
            looked,
            past,
            marks,
            ..
        } = &mut self.path.flows;
        let Some((_, n_places)) = marks.iter().find(|known| known.0 == mark).copied() else {
            return;
        };
        let (then, outers_then) = (past.since(mark), self.path.tunnels.past.since(mark));
        for place in touched.places.iter().take(n_places) {
            let at = *place as usize;
            let (Some(now), Some(looked)) = (buckets.get(at), looked.get_mut(at)) else {
                continue;
            };
            let bucket = then.get(place).map_or(now, |(_, bucket)| *bucket);
            let outers = match outers_then.get(place) {
                Some((_, outers)) => Some(**outers),
                None => self.path.tunnels.outers.get(at).copied(),
            };
            hand_out(bucket, outers.unwrap_or_default(), looked, &mut take);
        }
        let later: Vec<u32> = then.keys().copied().collect();
        touched.restart(&later);
        marks.retain(|known| known.0 > mark);
        for (other, n_places) in marks {
            *n_places = then.values().take_while(|(kept, _)| *kept < *other).count();
        }
    }

    pub fn outcome(&self, outcome: Outcome) -> Count {
        self.path.counters.counts[outcome as usize]
    }

    /// The whole counter map, in its order.
    pub fn counts(&self) -> &[Count] {
        &self.path.counters.counts
    }
}

impl Tables for Software {
    fn drain_samples(&mut self, take: impl FnMut(&Sample<'_>)) {
        self.events.drain(take);
    }

    fn drain_flows(&mut self, mut take: impl FnMut(&Flow)) {
        self.path.ring.0.drain(..).for_each(|flow| take(&flow));
    }

    fn scan_flows(&mut self, mut take: impl FnMut(&Flow)) {
        let FlowBuckets {
            buckets,
            touched,
            looked,
            ..
        } = &mut self.path.flows;
        let outers = &self.path.tunnels.outers;
        touched.take(|places| {
            let near = places
                .iter()
                .filter_map(|place| buckets.get(*place as usize));
            std::hint::black_box(near.map(touch).fold(0, |sum, part| sum ^ part));
            for place in places.iter().map(|place| *place as usize) {
                let (Some(bucket), Some(looked)) = (buckets.get(place), looked.get_mut(place))
                else {
                    continue;
                };
                let outers = outers.get(place).copied().unwrap_or_default();
                hand_out(bucket, outers, looked, &mut take);
            }
        });
    }

    fn read_hosts(&mut self, local: &mut Vec<HostRow>, remote: &mut Vec<HostRow>) {
        self.path.hosts.local.read(local);
        self.path.hosts.remote.read(remote);
    }

    fn event(&self, event: Event) -> Count {
        self.path.counters.counts[(EVENT_BASE + event as u32) as usize]
    }
}
