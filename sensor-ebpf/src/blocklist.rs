//! The allow-list and block-list maps.

use core::arch::asm;

use aya_ebpf::maps::Array;
use aya_ebpf::maps::lpm_trie::Key;
use sensor_common::Address;
use sensor_common::block::list::{ScopeSet, Shape, SourceBucket};
use sensor_common::block::{BlockTable, Gate};
use sensor_common::limits::BLOCK_BUCKETS;

use crate::maps;

pub struct BlockMaps;

/// An entry of an array that the agent writes, too.
#[inline(always)]
fn shared<T>(map: &Array<T>, index: u32) -> Option<&mut T> {
    let entry = map.get_ptr_mut(index)?;
    // SAFETY: the kernel's own pointer to a map value. The agent and other CPUs write to it, too:
    // counters are only touched atomically, and what the agent changes is read once, in words.
    Some(unsafe { &mut *entry })
}

impl BlockTable for BlockMaps {
    #[inline(always)]
    fn gate(&self) -> Gate {
        maps::GATE.get(0).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn block_filter(&self, word: u32) -> u64 {
        maps::BLOCK_FILTER.get(word).copied().unwrap_or(u64::MAX)
    }

    #[inline(always)]
    fn allow_filter(&self, word: u32) -> u64 {
        maps::ALLOW_FILTER.get(word).copied().unwrap_or(u64::MAX)
    }

    #[inline(always)]
    fn is_allowed(&self, source: &Address) -> bool {
        maps::ALLOW.get(Key::new(128, *source)).is_some()
    }

    #[inline(always)]
    fn bucket_mask(&self) -> u32 {
        BLOCK_BUCKETS - 1
    }

    #[inline(always)]
    fn sources(&mut self, bucket: u32) -> Option<&mut SourceBucket> {
        shared(&maps::BLOCK_SOURCES, bucket)
    }

    #[inline(always)]
    fn prefixes(&mut self, bucket: u32) -> Option<&mut SourceBucket> {
        shared(&maps::BLOCK_PREFIXES, bucket)
    }

    #[inline(always)]
    fn scopes(&mut self, index: u32) -> Option<&mut ScopeSet> {
        shared(&maps::BLOCK_SCOPES, index)
    }

    #[inline(always)]
    fn shape(&self, index: u32) -> Option<Shape> {
        maps::BLOCK_SHAPES.get(index).copied()
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
