//! Loads the embedded object with its capacities, and reads what it counts.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use aya::{Ebpf, EbpfLoader, Pod as AyaPod};
use sensor_common::arrival::Way;
use sensor_common::block::Gate;
use sensor_common::block::list::{N_SHAPES, ScopeSet, Shape, SourceBucket};
use sensor_common::block::prefilter::{ALLOW_WORDS, BLOCK_WORDS};
use sensor_common::counters::{Count, EVENT_BASE, Event, N_COUNTERS, Outcome};
use sensor_common::crossing::MARKS_PER_CPU;
use sensor_common::datapath::{self, ADMIT_WINDOW_SHIFT, Events, TunnelPeer};
use sensor_common::event::{EventHead, Sample};
use sensor_common::flow::{Flow, SentFlow};
use sensor_common::host::HostRow;
use sensor_common::limits;
use sensor_common::packet::Decapsulate;
use sensor_common::shield::retries;

use super::clock::{Clock, ClockReading, ClockStep, monotonic_ns};
use super::crossing::InterfaceFlags;
use super::gaps::Gaps;
use super::links::Links;
use super::pin::{Adopted, Pins, Stamps};
use super::shared::SharedArray;
use super::shield::ShieldMaps;
use super::tables::{self, FlowArrays, Looked, Mapped, Sequences, TableReader};
use crate::drive;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sensor-ebpf"));

/// Settings that the program is loaded with.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Secret of the hashes.
    pub seed: u64,
    pub flow_buckets_per_cpu: u32,
    pub admit_per_second: u32,
    pub tunnels: Decapsulate,
    /// Tunnels whose inner addresses may be believed; at most [`limits::MAX_TUNNEL_PEERS`].
    pub tunnel_peers: Vec<TunnelPeer>,
    pub events: Events,
    pub clock: datapath::Clock,
    /// XDP action of packets that pass; benchmarks set XDP_DROP.
    pub pass_action: u32,
}

impl LoadOptions {
    /// Default capacities and a fresh secret.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn with_random_seed() -> Result<Self> {
        Ok(Self {
            seed: random()?,
            ..Self::fixed()
        })
    }

    /// Default capacities and a seed that everybody knows: for tests and replay.
    pub const fn fixed() -> Self {
        Self {
            seed: 0x243f_6a88_85a3_08d3,
            flow_buckets_per_cpu: limits::FLOW_BUCKETS_PER_CPU,
            admit_per_second: limits::ADMIT_PER_SECOND,
            tunnels: Decapsulate::ALL,
            tunnel_peers: Vec::new(),
            events: Events::DEFAULT,
            clock: datapath::Clock::Coarse,
            pass_action: aya_xdp_pass(),
        }
    }

    /// Entries that the outer headers of flows within tunnels take, of so many buckets.
    pub fn n_outers(&self, n_buckets: u32) -> u32 {
        if self.tunnels.is_none() { 0 } else { n_buckets }
    }

    /// Flows that one CPU admits in one window of the datapath.
    pub const fn admit_per_window(&self) -> u32 {
        let per_window = (self.admit_per_second as u64) << ADMIT_WINDOW_SHIFT;
        (per_window / 1_000_000_000) as u32
    }
}

const fn aya_xdp_pass() -> u32 {
    2
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct CountValue(Count);
// SAFETY: two u64, valid for any bytes.
unsafe impl AyaPod for CountValue {}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct PeerValue(TunnelPeer);
// SAFETY: four addresses, valid for any bytes.
unsafe impl AyaPod for PeerValue {}

/// The loaded program with its maps. Nothing is attached yet.
pub struct Kernel {
    pub ebpf: Ebpf,
    /// Reader of the program's log lines.
    #[cfg(feature = "kernel-log")]
    told: aya_log::EbpfLogger<&'static dyn log::Log>,
    tables: Arc<Mapped>,
    /// Secret of the hashes.
    pub seed: u64,
    ring: RingBuf<MapData>,
    events: RingBuf<MapData>,
    counters: PerCpuArray<MapData, CountValue>,
    clock: Clock,
    looked: Looked,
    /// Links by index of their interface.
    pub(super) links: HashMap<u32, Links>,
    /// Pins of links and maps, if they are pinned.
    pub pins: Option<Pins>,
    /// Flags of the interfaces that packets cross.
    pub interfaces: InterfaceFlags,
    /// Parts of a run before that go on.
    pub adopted: Adopted,
    /// Copies that the kernel kept tearing, and were given up.
    pub n_unstable: u64,
    /// Events that never came.
    pub gaps: Gaps,
}

/// Maps of the block check, for one owner.
pub struct BlockMaps {
    pub arrays: BlockArrays,
    /// Networks that no entry meets.
    pub allow: Map,
    /// Secret of the hashes.
    pub seed: u64,
    /// True if a run before left them, in force.
    pub is_adopted: bool,
    pub shields: ShieldMaps,
}

/// The arrays that steer the block check, seen through shared memory.
pub struct BlockArrays {
    pub gate: SharedArray<Gate>,
    pub block_filter: SharedArray<u64>,
    pub allow_filter: SharedArray<u64>,
    pub sources: SharedArray<SourceBucket>,
    pub prefixes: SharedArray<SourceBucket>,
    pub scopes: SharedArray<ScopeSet>,
    pub shapes: SharedArray<Shape>,
}

impl BlockArrays {
    fn of(ebpf: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            gate: shared(ebpf, "GATE", 1, true)?,
            block_filter: shared(ebpf, "BLOCK_FILTER", BLOCK_WORDS, true)?,
            allow_filter: shared(ebpf, "ALLOW_FILTER", ALLOW_WORDS, true)?,
            sources: shared(ebpf, "BLOCK_SOURCES", limits::BLOCK_BUCKETS, true)?,
            prefixes: shared(ebpf, "BLOCK_PREFIXES", limits::BLOCK_BUCKETS, true)?,
            scopes: shared(ebpf, "BLOCK_SCOPES", limits::SCOPE_SETS, true)?,
            shapes: shared(ebpf, "BLOCK_SHAPES", N_SHAPES, true)?,
        })
    }

    /// Arrays of the same sizes that no kernel program sees.
    ///
    /// # Errors
    /// Without memory.
    pub fn unshared() -> Result<Self> {
        Ok(Self {
            gate: SharedArray::unshared(1)?,
            block_filter: SharedArray::unshared(BLOCK_WORDS)?,
            allow_filter: SharedArray::unshared(ALLOW_WORDS)?,
            sources: SharedArray::unshared(limits::BLOCK_BUCKETS)?,
            prefixes: SharedArray::unshared(limits::BLOCK_BUCKETS)?,
            scopes: SharedArray::unshared(limits::SCOPE_SETS)?,
            shapes: SharedArray::unshared(N_SHAPES)?,
        })
    }
}

impl Kernel {
    /// Loads the object.
    ///
    /// # Errors
    /// The kernel's, with the verifier's log; `doctor` tells what is missing.
    pub fn load(options: &LoadOptions) -> Result<Self> {
        Self::load_with(options, None)
    }

    /// Loads the object with its maps pinned, and goes on with those that a run before left, where
    /// they are of the same layout.
    ///
    /// # Errors
    /// As [`Self::load`]; what is in force then stays.
    pub fn load_pinned(options: &LoadOptions, pins: Pins) -> Result<Self> {
        Self::load_with(options, Some(pins))
    }

    fn load_with(options: &LoadOptions, mut pins: Option<Pins>) -> Result<Self> {
        let n_cpus = n_cpus()?;
        let n_buckets = options.flow_buckets_per_cpu.next_power_of_two();
        let n_outers = (n_cpus * options.n_outers(n_buckets)).max(1);
        let capacities = capacities(n_cpus, n_buckets, n_outers);
        let mut options = options.clone();
        let mut adopted = Adopted::default();
        if let Some(pins) = &mut pins {
            let found = pins.adopt(Stamps::of(OBJECT, &capacities))?;
            adopted = found.0;
            options.seed = found.1.unwrap_or(options.seed);
        }
        let mut ebpf = open(&options, n_buckets, &capacities, pins.as_ref())?;
        set_tunnel_peers(&mut ebpf, &options.tunnel_peers)?;
        let flows = FlowArrays {
            buckets: shared(&mut ebpf, "FLOWS", n_cpus * n_buckets, false)?,
            outers: shared(&mut ebpf, "FLOW_OUTERS", n_outers, false)?,
            buckets_per_cpu: n_buckets as usize,
        };
        let n_local = n_cpus * limits::LOCAL_ROWS_PER_CPU;
        let n_remote = n_cpus * limits::REMOTE_ROWS_PER_CPU;
        let tables = Arc::new(Mapped {
            flows,
            local: shared(&mut ebpf, "HOSTS_LOCAL", n_local, false)?,
            remote: shared(&mut ebpf, "HOSTS_REMOTE", n_remote, false)?,
        });
        #[cfg(feature = "kernel-log")]
        let told =
            aya_log::EbpfLogger::init(&mut ebpf).context("the program's log can't be read")?;
        let ring = take_ring(&mut ebpf, "FLOW_RING")?;
        let events = take_ring(&mut ebpf, "EVENT_RING")?;
        let counters =
            PerCpuArray::try_from(ebpf.take_map("COUNTERS").context("map COUNTERS missing")?)?;
        let clock = Clock::of(options.clock);
        let looked = Looked {
            flows: Sequences::new(tables.flows.buckets.len() * limits::FLOW_WAYS),
            local: Sequences::new(tables.local.len()),
            remote: Sequences::new(tables.remote.len()),
        };
        let interfaces = InterfaceFlags::take(&mut ebpf)?;
        Ok(Self {
            interfaces,
            ebpf,
            #[cfg(feature = "kernel-log")]
            told,
            tables,
            seed: options.seed,
            ring,
            events,
            counters,
            clock,
            looked,
            links: HashMap::new(),
            pins,
            adopted,
            gaps: Gaps::new(n_cpus as usize),
            n_unstable: 0,
        })
    }

    /// Hands over the maps of the block check, once.
    ///
    /// # Errors
    /// The kernel's, or that they were handed over before.
    pub fn block_maps(&mut self) -> Result<BlockMaps> {
        Ok(BlockMaps {
            arrays: self.block_arrays()?,
            allow: self.ebpf.take_map("ALLOW").context("map ALLOW missing")?,
            seed: self.seed,
            is_adopted: self.adopted.lists,
            shields: self.shield_maps()?,
        })
    }

    /// Maps the arrays that steer the block check. They are for one owner.
    ///
    /// # Errors
    /// The kernel's.
    pub fn block_arrays(&mut self) -> Result<BlockArrays> {
        BlockArrays::of(&mut self.ebpf)
    }

    /// Event time of now.
    pub fn now_ns(&self) -> u64 {
        self.clock.offsets().unix_ns(monotonic_ns())
    }

    /// Event time of a moment of the kernel's monotonic clock; 0 stays 0.
    pub fn event_time(&self, monotonic_ns: u64) -> u64 {
        match monotonic_ns {
            0 => 0,
            ns => self.clock.offsets().unix_ns(ns),
        }
    }

    /// Goes by the wall clock as it stands; tells where it was set since the last call.
    pub fn follow_clock(&self) -> Option<ClockStep> {
        self.clock.follow(ClockReading::now()?)
    }

    /// Lead of event time over the wall clock after that was set back, nanoseconds.
    pub fn clock_ahead_ns(&self) -> u64 {
        self.clock.ahead_ns()
    }

    /// The flow and host tables, for somebody who reads at a pace of his own.
    pub fn table_reader(&self) -> TableReader {
        TableReader {
            tables: Arc::clone(&self.tables),
            clock: self.clock.clone(),
        }
    }

    /// Values of an event on each CPU, in packets.
    pub fn event_per_cpu(&self, event: Event) -> Vec<u64> {
        let values = self.counters.get(&(EVENT_BASE + event as u32), 0);
        values.map_or_else(
            |_| Vec::new(),
            |values| {
                values
                    .iter()
                    .map(|CountValue(count)| count.packets)
                    .collect()
            },
        )
    }

    /// Sums a counter over CPUs.
    fn counter(&self, index: u32) -> Count {
        let mut sum = Count::default();
        if let Ok(values) = self.counters.get(&index, 0) {
            for CountValue(count) in values.iter() {
                sum.packets += count.packets;
                sum.bytes += count.bytes;
            }
        }
        sum
    }

    pub fn outcome(&self, way: Way, outcome: Outcome) -> Count {
        self.counter(way as u32 * Outcome::COUNT + outcome as u32)
    }

    /// Packets and bytes of one way, whatever they were.
    pub fn total(&self, way: Way) -> Count {
        Outcome::ALL.iter().fold(Count::default(), |sum, outcome| {
            let count = self.outcome(way, *outcome);
            Count {
                packets: sum.packets + count.packets,
                bytes: sum.bytes + count.bytes,
            }
        })
    }
}

impl drive::Tables for Kernel {
    fn drain_flows(&mut self, mut take: impl FnMut(&Flow)) {
        let clock = self.clock.offsets();
        while let Some(item) = self.ring.next() {
            if item.len() < size_of::<SentFlow>() {
                continue;
            }
            // SAFETY: as many bytes as a `SentFlow` has, and it is valid for any bytes (`Pod`).
            let sent: SentFlow = unsafe { item.as_ptr().cast::<SentFlow>().read_unaligned() };
            let mut flow = Flow::from(&sent);
            clock.shift(&mut flow);
            take(&flow);
        }
    }

    fn drain_samples(&mut self, mut take: impl FnMut(&Sample<'_>)) {
        #[cfg(feature = "kernel-log")]
        self.told.flush();
        let clock = self.clock.offsets();
        while let Some(item) = self.events.next() {
            let Some((head, payload)) = item.split_at_checked(size_of::<EventHead>()) else {
                continue;
            };
            // SAFETY: as many bytes as an `EventHead` has, which is valid for any bytes.
            let mut head: EventHead = unsafe { head.as_ptr().cast::<EventHead>().read_unaligned() };
            self.gaps.take(head.cpu, head.sequence);
            head.at_ns = clock.unix_ns(head.at_ns);
            take(&Sample {
                head: &head,
                payload,
            });
        }
    }

    /// Each flow is a consistent copy.
    fn scan_flows(&mut self, take: impl FnMut(&Flow)) {
        let looked = Some(&mut self.looked.flows);
        let clock = self.clock.offsets();
        self.n_unstable += tables::scan_flows(&self.tables.flows, &clock, looked, take);
    }

    fn read_hosts(&mut self, local: &mut Vec<HostRow>, remote: &mut Vec<HostRow>) {
        let Looked {
            local: looked_local,
            remote: looked_remote,
            ..
        } = &mut self.looked;
        let sides = [
            (&self.tables.local, looked_local, local),
            (&self.tables.remote, looked_remote, remote),
        ];
        let clock = self.clock.offsets();
        for (array, looked, rows) in sides {
            self.n_unstable += tables::read_rows(array, &clock, Some(looked), rows);
        }
    }

    fn event(&self, event: Event) -> Count {
        self.counter(EVENT_BASE + event as u32)
    }
}

/// Entries of each map, or bytes of a ring. Those not named here have one.
fn capacities(n_cpus: u32, n_buckets: u32, n_outers: u32) -> [(&'static str, u32); 19] {
    [
        ("FLOWS", n_cpus * n_buckets),
        ("FLOW_OUTERS", n_outers),
        ("TUNNEL_PEERS", limits::MAX_TUNNEL_PEERS),
        ("CROSSED", n_cpus * MARKS_PER_CPU),
        ("HOSTS_LOCAL", n_cpus * limits::LOCAL_ROWS_PER_CPU),
        ("HOSTS_REMOTE", n_cpus * limits::REMOTE_ROWS_PER_CPU),
        ("FLOW_RING", limits::FLOW_RING_BYTES),
        ("EVENT_RING", event_ring_bytes(n_cpus)),
        ("COUNTERS", N_COUNTERS),
        ("BLOCK_FILTER", BLOCK_WORDS),
        ("ALLOW_FILTER", ALLOW_WORDS),
        ("ALLOW", limits::ALLOW_ENTRIES),
        ("BLOCK_SOURCES", limits::BLOCK_BUCKETS),
        ("BLOCK_PREFIXES", limits::BLOCK_BUCKETS),
        ("BLOCK_SCOPES", limits::SCOPE_SETS),
        ("BLOCK_SHAPES", N_SHAPES),
        ("KNOWN_FLOWS", limits::KNOWN_BUCKETS),
        ("PEERS", limits::PEER_BUCKETS),
        ("RETRIES", retries::N_WORDS),
    ]
}

/// Opens the object of another build beside this one's, for benchmarks: with the same capacities, without pins.
/// Its programs are not loaded yet.
///
/// # Errors
/// The kernel's.
pub fn open_object(object: &[u8], options: &LoadOptions) -> Result<Ebpf> {
    let n_cpus = n_cpus()?;
    let n_buckets = options.flow_buckets_per_cpu.next_power_of_two();
    let n_outers = (n_cpus * options.n_outers(n_buckets)).max(1);
    let capacities = capacities(n_cpus, n_buckets, n_outers);
    loader(options, n_buckets, &capacities, false, |loader| {
        loader.load(object).context("the kernel refused the object")
    })
}

fn n_cpus() -> Result<u32> {
    let n = aya::util::nr_cpus().map_err(|(what, error)| {
        anyhow::anyhow!("number of possible CPUs unknown ({what}): {error}")
    })?;
    Ok(n as u32)
}

fn open(
    options: &LoadOptions,
    n_buckets: u32,
    capacities: &[(&'static str, u32)],
    pins: Option<&Pins>,
) -> Result<Ebpf> {
    loader(options, n_buckets, capacities, true, |loader| {
        for (name, path) in pins.map(Pins::map_paths).unwrap_or_default() {
            loader.map_pin_path(name, path);
        }
        let loaded = loader.load(OBJECT);
        loaded.context("the kernel refused the object; `sensor doctor` names what is missing")
    })
}

/// A loader with the settings and capacities; `must_exist`: the object knows all of them.
fn loader<T>(
    options: &LoadOptions,
    n_buckets: u32,
    capacities: &[(&'static str, u32)],
    must_exist: bool,
    load: impl FnOnce(&mut EbpfLoader<'_>) -> Result<T>,
) -> Result<T> {
    let weak_order = u32::from(!cfg!(target_arch = "x86_64"));
    let admit = options.admit_per_window();
    let clock = options.clock as u32;
    let n_peers = options.tunnel_peers.len() as u32;
    let mut loader = EbpfLoader::new();
    loader
        .override_global("SEED", &options.seed, must_exist)
        .override_global("FLOW_BUCKETS", &n_buckets, must_exist)
        .override_global("LOCAL_ROWS", &limits::LOCAL_ROWS_PER_CPU, must_exist)
        .override_global("REMOTE_ROWS", &limits::REMOTE_ROWS_PER_CPU, must_exist)
        .override_global("TUNNELS", &options.tunnels.kinds, must_exist)
        .override_global("VXLAN_PORTS", &options.tunnels.vxlan.0, must_exist)
        .override_global("VXLAN_GPE_PORTS", &options.tunnels.vxlan_gpe.0, must_exist)
        .override_global("GENEVE_PORTS", &options.tunnels.geneve.0, must_exist)
        .override_global("N_TUNNEL_PEERS", &n_peers, must_exist)
        .override_global("ADMIT_PER_WINDOW", &admit, must_exist)
        .override_global("EVENTS", &options.events.0, must_exist)
        .override_global("CLOCK", &clock, must_exist)
        .override_global("WEAK_ORDER", &weak_order, must_exist)
        .override_global("PASS_ACTION", &options.pass_action, must_exist);
    for (name, n_entries) in capacities {
        loader.map_max_entries(name, *n_entries);
    }
    load(&mut loader)
}

/// Writes down which tunnels are configured, before anything is attached.
fn set_tunnel_peers(ebpf: &mut Ebpf, peers: &[TunnelPeer]) -> Result<()> {
    let most = limits::MAX_TUNNEL_PEERS;
    anyhow::ensure!(
        peers.len() <= most as usize,
        "{} tunnels are configured, at most {most} can be: name wider networks",
        peers.len()
    );
    let map = ebpf.map_mut("TUNNEL_PEERS");
    let map = map.context("map TUNNEL_PEERS missing")?;
    let mut array: aya::maps::Array<_, PeerValue> = map.try_into()?;
    for (index, peer) in peers.iter().enumerate() {
        array.set(index as u32, PeerValue(*peer), 0)?;
    }
    Ok(())
}

const fn event_ring_bytes(n_cpus: u32) -> u32 {
    let n = n_cpus.next_power_of_two();
    let n = if n > 16 { 16 } else { n };
    n * limits::EVENT_RING_BYTES_PER_CPU
}

fn take_ring(ebpf: &mut Ebpf, name: &str) -> Result<RingBuf<MapData>> {
    let map = ebpf
        .take_map(name)
        .with_context(|| format!("map {name} missing"))?;
    Ok(RingBuf::try_from(map)?)
}

pub(super) fn shared<T: sensor_common::Pod>(
    ebpf: &mut Ebpf,
    name: &str,
    n_entries: u32,
    writable: bool,
) -> Result<SharedArray<T>> {
    let map = ebpf
        .map(name)
        .with_context(|| format!("map {name} missing"))?;
    let Map::Array(data) = map else {
        anyhow::bail!("map {name} is not an array");
    };
    SharedArray::new(data, n_entries, writable).with_context(|| format!("map {name}"))
}

/// A secret number from the kernel.
///
/// # Errors
/// When it gives no random bytes.
pub fn random() -> Result<u64> {
    let mut bytes = [0u8; 8];
    // SAFETY: a buffer of the length told.
    let n = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if n != 8 {
        return Err(std::io::Error::last_os_error()).context("no random bytes for a hash seed");
    }
    Ok(u64::from_ne_bytes(bytes))
}
