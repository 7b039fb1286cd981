//! Every map of the program. Capacities here are the least that load; the agent sets the real
//! ones (`sensor_common::limits`) before loading.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::LpmTrie;
use aya_ebpf::maps::{Array, PerCpuArray, ProgramArray, RingBuf};
use sensor_common::Address;
use sensor_common::block::known::KnownFlows;
use sensor_common::block::list::{ScopeSet, Shape, SourceBucket};
use sensor_common::block::{Gate, Packed};
use sensor_common::counters::{Count, N_COUNTERS};
use sensor_common::crossing::INTERFACE_SLOTS;
use sensor_common::datapath::{Admission, TunnelPeer};
use sensor_common::event::{Budgets, EventRecord, Notice};
use sensor_common::flow::{Bucket, Outer, Outers};
use sensor_common::host::HostRow;
use sensor_common::packet::Packet;
use sensor_common::shield::answer::FrameHead;
use sensor_common::shield::peers::Peers;
use sensor_common::shield::{BUCKETS, ShieldBucket};

use crate::globals::Tick;

/// Flow cache: a run of buckets for each CPU.
#[map]
pub static FLOWS: Array<Bucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Outer headers of flows within tunnels, bucket by bucket as in `FLOWS`.
#[map]
pub static FLOW_OUTERS: Array<Outers> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Tunnels that are configured.
#[map]
pub static TUNNEL_PEERS: Array<TunnelPeer> = Array::with_max_entries(1, 0);
/// Flags of interfaces ([`sensor_common::crossing`]), written by the agent.
#[map]
pub static INTERFACES: Array<u32> = Array::with_max_entries(INTERFACE_SLOTS + 1, 0);
/// Marks of packets that may cross another interface: a run for each CPU.
#[map]
pub static CROSSED: Array<u32> = Array::with_max_entries(1, 0);
/// Rows of local addresses, then of remote ones: a run for each CPU.
#[map]
pub static HOSTS_LOCAL: Array<HostRow> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static HOSTS_REMOTE: Array<HostRow> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Records of evicted and full flows.
#[map]
pub static FLOW_RING: RingBuf = RingBuf::with_byte_size(1 << 16, 0);
/// Events and samples.
#[map]
pub static EVENT_RING: RingBuf = RingBuf::with_byte_size(1 << 16, 0);
/// The event at hand, and what this CPU spent on events.
#[map]
pub static EVENT_SCRATCH: PerCpuArray<EventRecord> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static BUDGETS: PerCpuArray<Budgets> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static COUNTERS: PerCpuArray<Count> = PerCpuArray::with_max_entries(N_COUNTERS, 0);
#[map]
pub static ADMISSION: PerCpuArray<Admission> = PerCpuArray::with_max_entries(1, 0);
/// Working memory of this CPU for one packet.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
/// Ruling of the lists on the packet at hand.
#[map]
pub static FOUND: PerCpuArray<Packed> = PerCpuArray::with_max_entries(1, 0);
/// Written by the agent, read by every packet.
#[map]
pub static GATE: Array<Gate> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Bitmaps over networks that have an entry in the block-list, or in the allow-list.
#[map]
pub static BLOCK_FILTER: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static ALLOW_FILTER: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static ALLOW: LpmTrie<Address, u32> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub static BLOCK_SOURCES: Array<SourceBucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static BLOCK_PREFIXES: Array<SourceBucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static BLOCK_SCOPES: Array<ScopeSet> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Prefix lengths in use.
#[map]
pub static BLOCK_SHAPES: Array<Shape> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Flows that go both ways.
#[map]
pub static KNOWN_FLOWS: Array<KnownFlows> = Array::with_max_entries(1, 0);

/// Shields of local addresses, written by the agent.
#[map]
pub static SHIELDS: Array<ShieldBucket> = Array::with_max_entries(BUCKETS, BPF_F_MMAPABLE);
/// Sources that are proven real.
#[map]
pub static PEERS: Array<Peers> = Array::with_max_entries(1, 0);
/// Rate of SYNs of challenged sources that came again.
#[map]
pub static CHALLENGE_RETRIES: Array<u64> = Array::with_max_entries(1, 0);
/// SYNs that were answered a moment ago.
#[map]
pub static RETRIES: Array<u64> = Array::with_max_entries(1, 0);
/// The program of the shields, if it is loaded: for frames that fit one buffer, and for others.
#[map]
pub static SHIELD: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
pub static SHIELD_FRAGS: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// Head of the frame at hand, for the stack's helpers and the answer.
#[map]
pub static SHIELD_FRAME: PerCpuArray<FrameHead> = PerCpuArray::with_max_entries(1, 0);

/// Memory of one CPU.
#[repr(C)]
pub struct Scratch {
    /// The packet at hand, between parsing and all else.
    pub packet: Packet,
    /// The packet within it.
    pub inner: Packet,
    /// The tunnel that it came in.
    pub outer: Outer,
    /// The event that it gives rise to.
    pub notice: Notice,
    pub tick: Tick,
    /// Time of the packet at hand, for the shields.
    pub now_ns: u64,
    /// Interface that a packet on its way out came in by; 0: this host's own.
    pub came_in: u64,
}

/// Memory of this CPU.
#[inline(always)]
pub fn scratch<'a>() -> Option<&'a mut Scratch> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the kernel's own pointer to this CPU's value; runs don't nest with bottom halves off.
    Some(unsafe { &mut *scratch })
}
