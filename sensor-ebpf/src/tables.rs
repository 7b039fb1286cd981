//! The maps as the tables of `sensor_common::datapath`. A CPU's part of an array is a run of
//! entries of its own: nobody else writes there.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use aya_ebpf::maps::Array;
use sensor_common::Address;
use sensor_common::arrival::Way;
use sensor_common::counters::{Count, EVENT_BASE, Event, Outcome};
use sensor_common::datapath::{
    Admission, Counters, Datapath, Events, FlowTable, HostTable, Settings, TunnelTable,
};
use sensor_common::event::Budgets;
use sensor_common::flow::{
    Bucket, Direction, FlowSink, Head, Outer, OuterTable, Outers, Sent, SentFlow, mark,
};
use sensor_common::host::HostRow;
use sensor_common::limits::MAX_TUNNEL_PEERS;

use sensor_common::block::BlockTable as _;

use crate::blocklist::BlockMaps;
use crate::{globals, maps};

/// Submits without waking the reader: it looks by its own clock.
pub const BPF_RB_NO_WAKEUP: u64 = 1;

#[inline(always)]
pub fn cpu() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_smp_processor_id() }
}

pub type KernelDatapath = Datapath<FlowMap, HostMaps, BlockMaps, CounterMaps, Ring, TunnelMaps>;

#[inline(always)]
pub fn datapath(cpu: u32) -> KernelDatapath {
    Datapath {
        flows: FlowMap { cpu },
        hosts: HostMaps { cpu },
        tunnels: TunnelMaps { cpu },
        blocks: BlockMaps,
        counters: CounterMaps,
        ring: Ring { cpu },
        settings: Settings {
            seed: globals::seed(),
            admit_per_window: globals::admit_per_window(),
            events: Events(globals::events()),
        },
    }
}

/// Entry of a CPU's run; `rows` is a power of two.
#[expect(
    clippy::mut_from_ref,
    reason = "the entry is the kernel's memory, not part of the handle `map`"
)]
#[inline(always)]
pub fn own<T>(map: &Array<T>, cpu: u32, rows: u32, hash: u64) -> Option<&mut T> {
    let index = cpu * rows + (hash as u32 & (rows - 1));
    let entry = map.get_ptr_mut(index)?;
    // SAFETY: the kernel's own pointer to a map value. This CPU is its only writer, with bottom
    // halves off; user space only reads.
    Some(unsafe { &mut *entry })
}

pub struct FlowMap {
    cpu: u32,
}

impl FlowTable for FlowMap {
    #[inline(always)]
    fn bucket(&mut self, hash: u64) -> Option<&mut Bucket> {
        own(&maps::FLOWS, self.cpu, globals::flow_buckets(), hash)
    }
}

pub struct TunnelMaps {
    cpu: u32,
}

impl OuterTable for TunnelMaps {
    #[inline(always)]
    fn outers(&mut self, hash: u64) -> Option<&mut Outers> {
        own(&maps::FLOW_OUTERS, self.cpu, globals::flow_buckets(), hash)
    }
}

impl TunnelTable for TunnelMaps {
    #[inline(always)]
    fn is_configured(&self, a: &Address, b: &Address) -> bool {
        let mut found = 0;
        for index in 0..MAX_TUNNEL_PEERS {
            let Some(peer) = maps::TUNNEL_PEERS.get(index) else {
                break;
            };
            if index >= globals::n_tunnel_peers() {
                break;
            }
            found |= u64::from(peer.joins(a, b));
        }
        // The verifier goes on once, and not for each number of peers.
        BlockMaps.forget(found) != 0
    }
}

pub struct HostMaps {
    cpu: u32,
}

impl HostTable for HostMaps {
    #[inline(always)]
    fn local(&mut self, hash: u64) -> Option<&mut HostRow> {
        own(&maps::HOSTS_LOCAL, self.cpu, globals::local_rows(), hash)
    }
    #[inline(always)]
    fn remote(&mut self, hash: u64) -> Option<&mut HostRow> {
        own(&maps::HOSTS_REMOTE, self.cpu, globals::remote_rows(), hash)
    }
    /// Loads in place of a prefetch, for which there is no instruction: nobody waits for a load
    /// whose result isn't used.
    #[inline(always)]
    fn fetch_remote(&mut self, hash: u64) {
        if let Some(row) = self.remote(hash) {
            // SAFETY: a load of eight bytes from a valid reference, into a register that is
            // given up. Assembly, because the compiler would leave it out.
            unsafe {
                asm!(
                    "{value} = *(u64 *)({at} + 0)",
                    at = in(reg) row,
                    value = out(reg) _,
                    options(nostack, readonly, preserves_flags),
                );
            }
        }
    }
}

pub struct CounterMaps;

#[inline(always)]
fn count(index: u32, packets: u64, bytes: u64) {
    if let Some(counter) = maps::COUNTERS.get_ptr_mut(index) {
        let counter: *mut Count = counter;
        // SAFETY: the kernel's own pointer to this CPU's value.
        unsafe {
            (*counter).packets += packets;
            (*counter).bytes += bytes;
        }
    }
}

impl Counters for CounterMaps {
    #[inline(always)]
    fn outcome(&mut self, way: Way, outcome: u32, packets: u64, bytes: u64) {
        count(way as u32 * Outcome::COUNT + outcome, packets, bytes);
    }
    #[inline(always)]
    fn event(&mut self, event: Event, packets: u64, bytes: u64) {
        count(EVENT_BASE + event as u32, packets, bytes);
    }
    #[inline(always)]
    fn admission(&mut self) -> Option<&mut Admission> {
        let state = maps::ADMISSION.get_ptr_mut(0)?;
        // SAFETY: the kernel's own pointer to this CPU's value.
        Some(unsafe { &mut *state })
    }
    #[inline(always)]
    fn budgets(&mut self) -> Option<&mut Budgets> {
        let state = maps::BUDGETS.get_ptr_mut(0)?;
        // SAFETY: as above.
        Some(unsafe { &mut *state })
    }
}

pub struct Ring {
    cpu: u32,
}

impl FlowSink for Ring {
    #[inline(always)]
    fn send(
        &mut self,
        head: &Head,
        directions: &[Direction; 2],
        outer: Option<&Outer>,
        why: Sent,
    ) -> bool {
        let Some(mut entry) = maps::FLOW_RING.reserve::<SentFlow>(0) else {
            return false;
        };
        let sent = entry.as_mut_ptr();
        // SAFETY: reserved for exactly one `SentFlow`. Readers don't look at a line that isn't
        // marked, so what was there before may stay there.
        unsafe {
            (*sent).head = *head;
            (*sent).cpu = self.cpu as u16;
            (*sent).sent = why as u8;
            if head.marks & mark::SEEN != 0 {
                (*sent).directions[0] = directions[0];
            }
            if head.marks & mark::SEEN << 1 != 0 {
                (*sent).directions[1] = directions[1];
            }
            if let Some(outer) = outer {
                (*sent).outer = *outer;
            }
        }
        entry.submit(BPF_RB_NO_WAKEUP);
        true
    }
}
