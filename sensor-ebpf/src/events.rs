//! Sends events: fills the scratch record of this CPU and copies it into the ring.

use core::arch::asm;

use aya_ebpf::helpers::generated::{bpf_ringbuf_output, bpf_skb_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use sensor_common::Address;
use sensor_common::arrival::{Arrival, Way};
use sensor_common::counters::Event;
use sensor_common::datapath::{Counters as _, Events};
use sensor_common::event::{EventHead, EventRecord, Kind, MAX_BYTES, Notice, STEP};
use sensor_common::packet::{Frame as _, Packet};

use crate::frame::{self, LinearFrame};
use crate::tables::{BPF_RB_NO_WAKEUP, CounterMaps, cpu};
use crate::{globals, maps};

/// Payloads begin before.
const MAX_OFFSET: u32 = 0x3fff;

/// Source of payload bytes.
pub trait Payload {
    /// Copies up to `max_bytes` at `offset`, fewer where there are fewer. How many were copied.
    fn copy(&self, offset: u32, max_bytes: u32, to: &mut [u8; MAX_BYTES]) -> u32;
}

impl Payload for LinearFrame {
    /// Copies in steps whose size the verifier knows. (The helper that does it at once,
    /// `bpf_xdp_load_bytes`, came with Linux 5.18.)
    #[inline(always)]
    fn copy(&self, offset: u32, max_bytes: u32, to: &mut [u8; MAX_BYTES]) -> u32 {
        // The verifier loses sight of a packet pointer that may have gone far.
        let offset = (offset & MAX_OFFSET) as usize;
        let mut n = 0;
        for step in to.as_chunks_mut::<STEP>().0 {
            if n + STEP as u32 > max_bytes {
                break;
            }
            let Some(bytes) = self.header::<STEP>(offset + n as usize) else {
                break;
            };
            copy_step(bytes, step);
            n += STEP as u32;
        }
        for _ in 1..STEP {
            if n >= max_bytes {
                break;
            }
            let Some([byte]) = self.header::<1>(offset + n as usize) else {
                break;
            };
            let Some(place) = to.get_mut(n as usize) else {
                break;
            };
            *place = *byte;
            n += 1;
        }
        n
    }
}

/// Copies through registers: a plain copy would become a call of a loop.
#[inline(always)]
fn copy_step(from: &[u8; STEP], to: &mut [u8; STEP]) {
    let (from, to) = (from.as_ptr().cast::<u64>(), to.as_mut_ptr().cast::<u64>());
    for word in 0..STEP / 8 {
        // SAFETY: within both; neither read nor write needs alignment. The empty assembly hides
        // from the compiler that this is a copy.
        unsafe {
            let mut value = from.add(word).read_unaligned();
            asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags));
            to.add(word).write_unaligned(value);
        }
    }
}

/// An ingress packet: its linear part.
pub struct XdpPayload<'a>(pub &'a XdpContext);

impl Payload for XdpPayload<'_> {
    #[inline(always)]
    fn copy(&self, offset: u32, max_bytes: u32, to: &mut [u8; MAX_BYTES]) -> u32 {
        let (start, end) = frame::bounds(self.0);
        LinearFrame::new(start, end).copy(offset, max_bytes, to)
    }
}

/// An egress packet: its payload may lie in fragments.
pub struct SkbPayload<'a>(pub &'a TcContext);

impl Payload for SkbPayload<'_> {
    #[inline(always)]
    fn copy(&self, offset: u32, max_bytes: u32, to: &mut [u8; MAX_BYTES]) -> u32 {
        // SAFETY: the context is the kernel's own; the verifier rewrites this load.
        let n_there = unsafe { (*self.0.skb.skb).len }.saturating_sub(offset);
        let max_bytes = if n_there < max_bytes {
            n_there
        } else {
            max_bytes
        };
        // Hidden from the compiler, which knows too much of one and forgets the other.
        let mut max_bytes = max_bytes;
        // SAFETY: a register is copied onto itself.
        unsafe {
            asm!("{0} = {0}", inout(reg) max_bytes, options(nomem, nostack, preserves_flags))
        };
        let max_bytes = if max_bytes > MAX_BYTES as u32 {
            MAX_BYTES as u32
        } else {
            max_bytes
        };
        let mut length = max_bytes as u64;
        // SAFETY: a register is copied onto itself.
        unsafe { asm!("{0} = {0}", inout(reg) length, options(nomem, nostack, preserves_flags)) };
        if length == 0 {
            return 0;
        }
        // SAFETY: the kernel's own context, and a buffer of at least that length.
        let result = unsafe {
            bpf_skb_load_bytes(
                self.0.skb.skb.cast(),
                offset,
                to.as_mut_ptr().cast(),
                length as u32,
            )
        };
        if result == 0 { max_bytes } else { 0 }
    }
}

/// Writes down the event of a notice, for [`send`] to complete. `outer` are the addresses outside of a
/// packet within a tunnel.
#[inline(always)]
pub fn keep(
    (start, end): (usize, usize),
    packet: &Packet,
    outer: Option<(&Address, &Address)>,
    way: Way,
    arrival: &Arrival,
    notice: &Notice,
) {
    let Some(record) = maps::EVENT_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    let payload_bytes = packet.payload_bytes(arrival.bytes);
    let wanted = if notice.max_bytes < payload_bytes {
        notice.max_bytes
    } else {
        payload_bytes
    };
    // SAFETY: the kernel's own pointer to this CPU's value; runs don't nest with bottom halves off.
    let head: &mut EventHead = unsafe { &mut (*record).head };
    head.at_ns = arrival.now_ns;
    head.sequence = notice.sequence;
    head.detail = notice.detail;
    head.packet = *packet;
    head.wire_bytes = arrival.bytes;
    head.ifindex = arrival.ifindex;
    head.payload_bytes = payload_bytes;
    head.n_bytes = wanted as u16;
    head.cpu = arrival.cpu;
    head.kind = notice.kind as u8;
    head.way = way as u8;
    (head.outer_source, head.outer_destination) = match outer {
        Some((source, destination)) => (*source, *destination),
        None => ([0; 4], [0; 4]),
    };
    if let Some(macs) = LinearFrame::new(start, end).header::<12>(0) {
        head.set_macs(macs);
    }
}

/// Sends what was kept, with its payload; counts it where the ring is full.
///
/// Everything comes back from memory, so that the verifier follows this once, and not for each way
/// that led here.
#[inline(always)]
pub fn send<P: Payload>(payload: &P) {
    let Some(record) = maps::EVENT_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the kernel's own pointer to this CPU's value; runs don't nest with bottom halves off.
    let record: &mut EventRecord = unsafe { &mut *globals::barrier(record) };
    let (offset, wanted) = (
        record.head.packet.payload_offset(),
        record.head.n_bytes as u32,
    );
    let n = payload.copy(offset, wanted, &mut record.bytes);
    record.head.n_bytes = n as u16;
    // SAFETY: as above.
    let record = unsafe { &mut *globals::barrier(record) };
    let mut n = record.head.n_bytes as u64;
    if n > MAX_BYTES as u64 {
        n = MAX_BYTES as u64;
    }
    output(record, size_of::<EventHead>() as u64 + n);
}

/// Tells that the source of a packet acknowledged a cookie.
#[inline(always)]
pub fn tell_proven(packet: &Packet, now_ns: u64, bytes: u32, ifindex: u32) {
    if globals::events() & Events::SAMPLES == 0 {
        return;
    }
    let Some(sequence) = CounterMaps
        .budgets()
        .and_then(|budgets| budgets.spend(Kind::Proven, now_ns))
    else {
        CounterMaps.event(Event::SampleOverBudget, 1, bytes as u64);
        return;
    };
    let Some(record) = maps::EVENT_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the kernel's own pointer to this CPU's value; runs don't nest with bottom halves off.
    let record: &mut EventRecord = unsafe { &mut *record };
    record.head = EventHead {
        at_ns: now_ns,
        sequence,
        packet: *packet,
        wire_bytes: bytes,
        ifindex,
        cpu: cpu() as u16,
        kind: Kind::Proven as u8,
        way: Way::Ingress as u8,
        ..EventHead::default()
    };
    output(record, size_of::<EventHead>() as u64);
}

/// Writes so many bytes of a record into the ring; counts it where that is full.
#[inline(always)]
fn output(record: &mut EventRecord, size: u64) {
    // SAFETY: the map, and a record that is at least so long.
    let result = unsafe {
        bpf_ringbuf_output(
            (&raw const maps::EVENT_RING).cast_mut().cast(),
            (&raw mut *record).cast(),
            size,
            BPF_RB_NO_WAKEUP,
        )
    };
    if result != 0 {
        CounterMaps.event(Event::EventRingFull, 1, record.head.wire_bytes as u64);
    }
}
