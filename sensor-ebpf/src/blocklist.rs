//! The allow-list and block-list maps.

use core::arch::asm;

use aya_ebpf::maps::Array;
use aya_ebpf::maps::lpm_trie::Key;
use sensor_common::Address;
use sensor_common::block::known::{KnownFlows, spared};
use sensor_common::block::list::{ScopeSet, Shape, SourceBucket};
use sensor_common::block::{self, Asked, BlockTable, Gate, Level, Packed};
use sensor_common::limits::BLOCK_BUCKETS;

use crate::maps::Scratch;
use crate::{globals, maps, peers};

pub struct BlockMaps;

/// An entry of an array that the agent writes, too.
#[expect(
    clippy::mut_from_ref,
    reason = "the entry is the kernel's memory, not part of the handle `map`"
)]
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
    fn known(&mut self, bucket: u32) -> Option<&mut KnownFlows> {
        shared(&maps::KNOWN_FLOWS, bucket)
    }

    #[inline(always)]
    fn note_sent(&mut self, asked: &Asked<'_>) {
        sensor_note_sent(asked.now_ns, asked.bytes as u64, asked.level as u64);
    }

    #[inline(always)]
    fn spares(&mut self, asked: &Asked<'_>) -> u64 {
        sensor_spares(asked.now_ns, asked.level as u64)
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

    #[inline(always)]
    fn opaque(mut value: u64) -> u64 {
        // SAFETY: a register is copied onto itself.
        unsafe { asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }

    #[inline(always)]
    fn forget(&self, value: u64) -> u64 {
        let Some(place) = maps::FOUND.get_ptr_mut(0) else {
            return value;
        };
        let place: *mut Packed = place;
        // SAFETY: the kernel's own pointer to this CPU's value. Volatile, and behind a barrier: the
        // value must be read again.
        unsafe {
            (&raw mut (*place).origin).write_volatile(value);
            (&raw const (*globals::barrier(place)).origin).read_volatile()
        }
    }

    #[inline(always)]
    fn search(&mut self, asked: &Asked<'_>) -> Packed {
        let (bytes, level) = (asked.bytes as u64, asked.level as u64);
        let mut found = Packed::new(sensor_search_blocks(asked.now_ns, bytes, level));
        if found.tells()
            && let Some(last) = maps::FOUND.get(0)
        {
            found.origin = last.origin;
        }
        found
    }

    #[inline(always)]
    fn told(&self) -> u64 {
        maps::FOUND.get(0).map_or(0, |last| last.origin)
    }
}

/// The search of the lists for the packet at hand. A function of its own that other objects could
/// call: such a one the verifier looks at once, whatever led to it, and takes its result for any
/// number. Inlined, its many ways out would each be followed through all that comes after.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_search_blocks(now_ns: u64, bytes: u64, level: u64) -> u64 {
    let Some(asked) = asked(now_ns, bytes, level) else {
        return 0;
    };
    let found = block::search(&mut BlockMaps, &asked);
    if (found.tells() || found.challenges())
        && let Some(last) = maps::FOUND.get_ptr_mut(0)
    {
        // SAFETY: the kernel's own pointer to this CPU's value.
        unsafe { *last = found };
    }
    found.what
}

/// The packet at hand, of that level.
#[inline(always)]
fn asked<'a>(now_ns: u64, bytes: u64, level: u64) -> Option<Asked<'a>> {
    let Scratch { packet, inner, .. } = maps::scratch()?;
    let (packet, level) = if level == Level::Outer as u64 {
        (packet, Level::Outer)
    } else {
        (inner, Level::Inner)
    };
    Some(Asked {
        packet,
        level,
        now_ns,
        bytes: bytes as u32,
        seed: globals::seed(),
    })
}

/// Takes note of the packet at hand, which this host sends.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_note_sent(now_ns: u64, bytes: u64, level: u64) -> u64 {
    if let Some(asked) = asked(now_ns, bytes, level)
        && block::note_sent(&mut BlockMaps, &asked)
        && asked.level == Level::Outer
    {
        peers::note_proven(&asked);
    }
    0
}

/// The actions that leave the packet at hand alone.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_spares(now_ns: u64, level: u64) -> u64 {
    match asked(now_ns, 0, level) {
        Some(asked) => block::spares(&mut BlockMaps, &asked),
        None => spared::NONE,
    }
}
