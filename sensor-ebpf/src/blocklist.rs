//! The allow-list and block-list maps.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_map_lookup_elem;
use aya_ebpf::maps::lpm_trie::Key;
use sensor_common::Address;
use sensor_common::block::{BlockEntry, Gate, prefilter_bit};
use sensor_common::datapath::BlockTable;

use crate::maps;

pub struct BlockMaps;

impl BlockTable for BlockMaps {
    #[inline(always)]
    fn gate(&self) -> Gate {
        maps::GATE.get(0).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn is_allowed(&self, source: &Address) -> bool {
        maps::ALLOW.get(Key::new(128, *source)).is_some()
    }

    #[inline(always)]
    fn is_near(&self, source: &Address) -> bool {
        let (word, bit) = prefilter_bit(source);
        maps::PREFILTER
            .get(word)
            .is_none_or(|bits| bits >> bit & 1 != 0)
    }

    #[inline(always)]
    fn exact(&mut self, source: &Address) -> Option<&mut BlockEntry> {
        let entry = maps::BLOCK_EXACT.get_ptr_mut(source)?;
        // SAFETY: the kernel's own pointer; entries stay readable until the run ends (RCU).
        // Other CPUs write the counters, which are only touched atomically.
        Some(unsafe { &mut *entry })
    }

    #[inline(always)]
    fn prefix(&mut self, source: &Address) -> Option<&mut BlockEntry> {
        let key = Key::new(128, *source);
        let map = (&raw const maps::BLOCK_PREFIX).cast_mut().cast();
        // The map type only hands out shared references; the entry's counters are written.
        // SAFETY: a map of this program and a key of its size; the kernel returns null or a
        // pointer to a whole value.
        unsafe {
            bpf_map_lookup_elem(map, (&raw const key).cast())
                .cast::<BlockEntry>()
                .as_mut()
        }
    }

    #[inline(always)]
    fn add(counter: &mut u64, amount: u64) {
        // The target has no atomic read-modify-write in `core`.
        // SAFETY: a valid, aligned reference to a map value.
        unsafe {
            asm!(
                "lock *(u64 *)({at} + 0) += {amount}",
                at = in(reg) counter,
                amount = in(reg) amount,
            );
        }
    }
}
