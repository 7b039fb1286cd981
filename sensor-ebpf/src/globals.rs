//! Values that the agent sets before loading. They are read-only to the program, so the verifier
//! takes them for constants and removes what they switch off.

use core::arch::asm;
use core::ptr::read_volatile;

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use sensor_common::datapath::Clock;
use sensor_common::flow::Sequence;
use sensor_common::packet::Ports;

#[unsafe(no_mangle)]
static SEED: u64 = 0;
#[unsafe(no_mangle)]
static FLOW_BUCKETS: u32 = 1;
#[unsafe(no_mangle)]
static LOCAL_ROWS: u32 = 1;
#[unsafe(no_mangle)]
static REMOTE_ROWS: u32 = 1;
/// Tunnels that are looked into (`sensor_common::packet::Decapsulate`).
#[unsafe(no_mangle)]
static TUNNELS: u32 = 0;
#[unsafe(no_mangle)]
static VXLAN_PORTS: u64 = 0;
#[unsafe(no_mangle)]
static VXLAN_GPE_PORTS: u64 = 0;
#[unsafe(no_mangle)]
static GENEVE_PORTS: u64 = 0;
/// Tunnels that are configured: entries of `TUNNEL_PEERS`.
#[unsafe(no_mangle)]
static N_TUNNEL_PEERS: u32 = 0;
#[unsafe(no_mangle)]
static ADMIT_PER_WINDOW: u32 = 0;
/// Set of the events that are sent, `sensor_common::datapath::Events`.
#[unsafe(no_mangle)]
static EVENTS: u32 = 0;
/// `sensor_common::datapath::Clock`, as a number.
#[unsafe(no_mangle)]
static CLOCK: u32 = Clock::Coarse as u32;
/// 1: the machine reorders stores; sequence numbers need full barriers.
#[unsafe(no_mangle)]
static WEAK_ORDER: u32 = 0;
/// XDP action of packets that pass: XDP_PASS, but for benchmarks.
#[unsafe(no_mangle)]
static PASS_ACTION: u32 = 2;

macro_rules! global {
    ($name:ident, $symbol:ident, $type:ty) => {
        #[inline(always)]
        pub fn $name() -> $type {
            // SAFETY: a static; volatile keeps the compiler from using the value before loading.
            unsafe { read_volatile(&raw const $symbol) }
        }
    };
}

global!(seed, SEED, u64);
global!(flow_buckets, FLOW_BUCKETS, u32);
global!(local_rows, LOCAL_ROWS, u32);
global!(remote_rows, REMOTE_ROWS, u32);
global!(n_tunnel_peers, N_TUNNEL_PEERS, u32);
global!(admit_per_window, ADMIT_PER_WINDOW, u32);
global!(events, EVENTS, u32);
global!(pass_action, PASS_ACTION, u32);
global!(clock, CLOCK, u32);
global!(weak_order, WEAK_ORDER, u32);

/// True where the frame itself says when it arrived: never but in tests, so that the verifier
/// removes what it guards.
#[inline(always)]
pub fn frames_tell_time() -> bool {
    clock() == Clock::Frame as u32
}

/// Tunnels as the agent set them.
pub struct Tunnels;

global!(tunnel_kinds, TUNNELS, u32);
global!(vxlan_ports, VXLAN_PORTS, u64);
global!(vxlan_gpe_ports, VXLAN_GPE_PORTS, u64);
global!(geneve_ports, GENEVE_PORTS, u64);

impl sensor_common::packet::Tunnels for Tunnels {
    #[inline(always)]
    fn kinds(&self) -> u32 {
        tunnel_kinds()
    }
    #[inline(always)]
    fn vxlan(&self) -> Ports {
        Ports(vxlan_ports())
    }
    #[inline(always)]
    fn vxlan_gpe(&self) -> Ports {
        Ports(vxlan_gpe_ports())
    }
    #[inline(always)]
    fn geneve(&self) -> Ports {
        Ports(geneve_ports())
    }
}

/// The coarse clock as this CPU read it last.
#[repr(C)]
pub struct Tick {
    jiffies: u64,
    now_ns: u64,
}

/// Kernel monotonic time. The coarse clock only moves with the timer tick, so it is asked once in a
/// tick: reading the tick itself takes no call.
#[inline(always)]
pub fn now_ns(tick: &mut Tick) -> u64 {
    if clock() == Clock::Precise as u32 {
        // SAFETY: a helper without arguments.
        return unsafe { bpf_ktime_get_ns() };
    }
    // SAFETY: as above.
    let jiffies = unsafe { bpf_jiffies64() };
    if tick.jiffies != jiffies {
        tick.jiffies = jiffies;
        // SAFETY: as above.
        tick.now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    }
    tick.now_ns
}

/// Sequence numbers for readers on other CPUs.
pub struct Announce;

impl Sequence for Announce {
    #[inline(always)]
    fn bump(sequence: &mut u32) {
        let at = order(sequence);
        // SAFETY: a valid reference. Volatile: a reader on another CPU must see each store.
        unsafe { at.write_volatile((*at).wrapping_add(1)) };
        order(at);
    }

    #[inline(always)]
    fn opaque(value: u64) -> u64 {
        let mut value = value;
        // SAFETY: a register is copied onto itself.
        unsafe { asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }
}

/// Orders the memory accesses before against those after, as other CPUs see them.
#[inline(always)]
fn order(sequence: *mut u32) -> *mut u32 {
    if weak_order() != 0 {
        // SAFETY: sequence numbers lie at multiples of eight bytes (asserted where they are
        // declared), in a value that only this CPU writes; adding nothing changes nothing. The
        // fetching form is a full barrier in BPF's memory model.
        unsafe {
            asm!(
                "{none} = atomic_fetch_add((u64 *)({at} + 0), {none})",
                at = in(reg) sequence,
                none = inout(reg) 0u64 => _,
            );
        }
    }
    barrier(sequence)
}

/// Hands `value` back such that the compiler neither moves memory accesses across nor knows the
/// value any more. `compiler_fence` has no lowering for this target. A move and not nothing: two
/// debug lines must not fall on one instruction, or the kernel refuses the line table.
#[inline(always)]
pub fn barrier<T>(value: *mut T) -> *mut T {
    let mut value = value;
    // SAFETY: a register is copied onto itself.
    unsafe { asm!("{0} = {0}", inout(reg) value) };
    value
}
