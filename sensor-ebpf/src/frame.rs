//! Packet bytes between `data` and `data_end`.

use core::arch::asm;

use aya_ebpf::programs::{TcContext, XdpContext};
use sensor_common::datapath::FrameMetadata;
use sensor_common::flow::Sequence as _;
use sensor_common::packet::{Frame, Packet};

use crate::globals::{Announce, barrier};

/// The linear part of a frame. Headers beyond it read as missing.
pub struct LinearFrame {
    start: usize,
    end: usize,
}

impl LinearFrame {
    #[inline(always)]
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

impl Frame for LinearFrame {
    #[inline(always)]
    fn header<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        let mut from = self.start + offset;
        // The compiler must neither compute this pointer again nor drop a check that another one
        // implies: the verifier only knows the very register that was checked.
        // SAFETY: a register is copied onto itself.
        unsafe { asm!("{0} = {0}", inout(reg) from, options(nomem, nostack, preserves_flags)) };
        if from + N > self.end {
            return None;
        }
        // SAFETY: within the frame by the check above, which the verifier proves again.
        Some(unsafe { &*(from as *const [u8; N]) })
    }

    #[inline(always)]
    fn settle<'a>(&self, packet: &'a mut Packet) -> &'a mut Packet {
        // SAFETY: the pointer of the very reference, which is not used any more.
        unsafe { &mut *barrier(packet) }
    }

    #[inline(always)]
    fn zero(&self) -> u32 {
        Announce::opaque(0) as u32
    }
}

/// Start and end of the frame, read again and behind a barrier: pointers that were used carry what
/// was checked of them on each way, and the verifier would follow all that comes once for each.
#[inline(always)]
pub fn bounds(ctx: &XdpContext) -> (usize, usize) {
    // SAFETY: the context is the kernel's own.
    unsafe {
        let ctx = barrier(ctx.ctx);
        (
            (&raw const (*ctx).data).read_volatile() as usize,
            (&raw const (*ctx).data_end).read_volatile() as usize,
        )
    }
}

/// [`bounds`] of an egress packet.
#[inline(always)]
pub fn skb_bounds(ctx: &TcContext) -> (usize, usize) {
    // SAFETY: the context is the kernel's own.
    unsafe {
        let skb = barrier(ctx.skb.skb);
        (
            (&raw const (*skb).data).read_volatile() as usize,
            (&raw const (*skb).data_end).read_volatile() as usize,
        )
    }
}

/// Metadata that a test put in front of the frame, where the kernel keeps a driver's metadata.
#[inline(always)]
pub fn metadata(start: usize, data: usize) -> Option<FrameMetadata> {
    if start + size_of::<FrameMetadata>() > data {
        return None;
    }
    // SAFETY: within the metadata by the check above, which the verifier proves again.
    Some(unsafe { *(start as *const FrameMetadata) })
}
