//! The kernel side: one way for every packet, entered by XDP on ingress and TC on egress.
#![no_std]
#![no_main]
// The build sets RUSTC_BOOTSTRAP for this target; atomics need inline assembly.
#![feature(asm_experimental_arch)]

mod asked;
mod blocklist;
mod challenge;
mod crossing;
mod events;
mod frame;
mod globals;
mod inner;
#[cfg(feature = "kernel-log")]
mod log;
mod maps;
mod peers;
mod process;
mod shield;
mod stack;
mod tables;

use aya_ebpf::bindings::{TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::{TcContext, XdpContext};
use events::{Payload, SkbPayload, XdpPayload};
use frame::LinearFrame;
use inner::inner;
use maps::Scratch;
use process::{DROPPED, ELSEWHERE, TOLD};
use sensor_common::arrival::{Arrival, Way};
use sensor_common::datapath::Verdict;
use sensor_common::packet::{Packet, parse, parse_inner, plain};

/// Ingress on interfaces whose frames fit one buffer.
#[xdp]
#[inline(always)]
pub fn sensor_xdp(ctx: XdpContext) -> u32 {
    let bytes = (ctx.data_end() - ctx.data()) as u32;
    ingress(&ctx, bytes, &maps::SHIELD)
}

/// Ingress on interfaces whose frames may span buffers (jumbo MTU): asks for the whole length.
#[xdp(frags)]
#[inline(always)]
pub fn sensor_xdp_frags(ctx: XdpContext) -> u32 {
    // SAFETY: the context is the kernel's own, valid for the run of the program.
    let bytes = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as u32;
    ingress(&ctx, bytes, &maps::SHIELD_FRAGS)
}

/// The challenges and the shields, behind the two above, for packets that pass those.
#[xdp]
#[inline(always)]
pub fn sensor_shield(ctx: XdpContext) -> u32 {
    shield::hold(&ctx)
}

#[xdp(frags)]
#[inline(always)]
pub fn sensor_shield_frags(ctx: XdpContext) -> u32 {
    shield::hold(&ctx)
}

/// Egress. Leaves the verdict to whoever comes after.
#[classifier]
#[inline(always)]
pub fn sensor_egress(ctx: TcContext) -> i32 {
    let Some(scratch) = maps::scratch() else {
        return TC_ACT_UNSPEC;
    };
    let skb = ctx.skb.skb;
    // SAFETY: the context is the kernel's own; the verifier rewrites these loads.
    let (segments, bytes, ifindex, came_in) = unsafe {
        (
            (*skb).gso_segs,
            (*skb).wire_len,
            (*skb).ifindex,
            (*skb).ingress_ifindex,
        )
    };
    let now_ns = if globals::frames_tell_time() {
        // SAFETY: as above.
        unsafe { (*skb).tstamp }
    } else {
        globals::now_ns(&mut scratch.tick)
    };
    scratch.came_in = came_in.into();
    let segments = if segments == 0 { 1 } else { segments as u16 };
    let arrival = Arrival {
        now_ns,
        bytes,
        segments,
        ifindex,
        cpu: tables::cpu() as u16,
    };
    let bounds = || frame::skb_bounds(&ctx);
    read(bounds, scratch);
    let result = process::process(Way::Egress, &arrival);
    let payload = SkbPayload(&ctx);
    let _verdict = finish(bounds, &payload, Way::Egress, &arrival, scratch, result);
    #[cfg(feature = "kernel-log")]
    log::packet(&ctx, Way::Egress, _verdict);
    TC_ACT_UNSPEC
}

#[inline(always)]
fn ingress(ctx: &XdpContext, bytes: u32, shields: &ProgramArray) -> u32 {
    let Some(scratch) = maps::scratch() else {
        return globals::pass_action();
    };
    let metadata = if globals::frames_tell_time() {
        frame::metadata(ctx.metadata(), ctx.data())
    } else {
        None
    };
    let (now_ns, bytes) = match metadata {
        Some(metadata) => (metadata.now_ns, metadata.bytes),
        None => (globals::now_ns(&mut scratch.tick), bytes),
    };
    let arrival = Arrival {
        now_ns,
        bytes,
        segments: 1,
        // The straight way has no use for it.
        ifindex: 0,
        cpu: tables::cpu() as u16,
    };
    let frame = LinearFrame::new(ctx.data(), ctx.data_end());
    if tables::datapath(arrival.cpu as u32).drops_at_once(&frame, &arrival) {
        #[cfg(feature = "kernel-log")]
        log::dropped_at_once(ctx);
        return xdp_action::XDP_DROP;
    }
    let straight = straight(ctx, &arrival, scratch);
    if straight == Straight::Passed {
        return globals::pass_action();
    }
    let arrival = Arrival {
        // SAFETY: the context is the kernel's own; the verifier rewrites this load.
        ifindex: unsafe { (*ctx.ctx).ingress_ifindex },
        ..arrival
    };
    let result = match straight {
        Straight::Passed => 0,
        Straight::Told => TOLD,
        Straight::Begun => process::record(Way::Ingress, &arrival),
        Straight::Read => process::process(Way::Ingress, &arrival),
        Straight::No => {
            read(|| frame::bounds(ctx), scratch);
            // SAFETY: the pointer of the reference, which is not used any more.
            let scratch = unsafe { &mut *globals::barrier(scratch) };
            if is_plain(&arrival, &scratch.packet) {
                process::pass_known(&arrival)
            } else {
                process::process(Way::Ingress, &arrival)
            }
        }
    };
    let payload = XdpPayload(ctx);
    let bounds = || frame::bounds(ctx);
    let verdict = finish(bounds, &payload, Way::Ingress, &arrival, scratch, result);
    #[cfg(feature = "kernel-log")]
    log::packet(ctx, Way::Ingress, verdict);
    match verdict {
        Verdict::Pass => {
            // SAFETY: the pointer of the reference, which is not used any more.
            let scratch = unsafe { &mut *globals::barrier(scratch) };
            if scratch.packet.is_challenged() || shield::is_armed_for(&scratch.packet) {
                scratch.now_ns = now_ns;
                // SAFETY: comes back only where there is no such program; nothing waits to be dropped.
                unsafe { shields.tail_call(ctx, 0) };
                if scratch.packet.is_challenged() {
                    return challenge::limit(bytes, now_ns);
                }
            }
            globals::pass_action()
        }
        Verdict::Drop => xdp_action::XDP_DROP,
    }
}

/// Outcome of the straight way of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Straight {
    /// It is none of the plain many.
    No,
    /// It was read into the scratch memory, no more.
    Read,
    /// It was read there and begun with; no list has to do with it. Its flow is to be begun, or rolled over.
    Begun,
    Passed,
    /// It passed, and its event is in the scratch memory.
    Told,
}

/// The straight way of nearly all packets.
#[inline(always)]
fn straight(ctx: &XdpContext, arrival: &Arrival, scratch: &mut Scratch) -> Straight {
    let (start, end) = frame::bounds(ctx);
    let frame = LinearFrame::new(start, end);
    let Some(mut packet) = plain::read_ipv4(&frame, &globals::Tunnels) else {
        return Straight::No;
    };
    let mut datapath = tables::datapath(arrival.cpu as u32);
    if crossing::is_possible() || datapath.concerns(&packet) {
        scratch.packet = packet;
        return Straight::Read;
    }
    datapath.count_outcome(&packet, Way::Ingress, arrival);
    match datapath.pass_known::<globals::Announce>(&mut packet, arrival) {
        Some(notice) if notice.kind == 0 => Straight::Passed,
        Some(notice) => {
            scratch.packet = packet;
            scratch.notice = notice;
            Straight::Told
        }
        None => {
            scratch.packet = packet;
            Straight::Begun
        }
    }
}

/// True for a packet that went another way than the straight one and is of the plain many all the same: IPv6.
#[inline(always)]
fn is_plain(arrival: &Arrival, packet: &Packet) -> bool {
    packet.is_plain()
        && !crossing::is_possible()
        && !tables::datapath(arrival.cpu as u32).concerns(packet)
}

/// Reads a packet, and the one within, into the scratch memory.
#[inline(always)]
fn read(bounds: impl Fn() -> (usize, usize), scratch: &mut Scratch) {
    let (start, end) = bounds();
    let frame = LinearFrame::new(start, end);
    parse(&frame, &globals::Tunnels, &mut scratch.packet);
    // SAFETY: the pointer of the reference above, which is not used any more.
    let scratch = unsafe { &mut *globals::barrier(scratch) };
    if scratch.packet.may_carry_packet() {
        let (start, end) = bounds();
        let frame = LinearFrame::new(start, end);
        parse_inner(&frame, &mut scratch.packet, &mut scratch.inner);
    }
}

/// Rest of what is to be done with a packet that went through [`process`]: the packet within, and the event.
#[inline(always)]
fn finish<P: Payload>(
    bounds: impl Fn() -> (usize, usize),
    payload: &P,
    way: Way,
    arrival: &Arrival,
    scratch: &mut Scratch,
    result: u64,
) -> Verdict {
    let mut verdict = if result & DROPPED == 0 {
        Verdict::Pass
    } else {
        Verdict::Drop
    };
    if result & ELSEWHERE != 0 {
        return verdict;
    }
    let mut is_told = result & TOLD != 0;
    // SAFETY: the pointer of the reference, which is not used any more.
    let scratch = unsafe { &mut *globals::barrier(scratch) };
    if is_told {
        let (packet, notice) = (&scratch.packet, &scratch.notice);
        events::keep(bounds(), packet, None, way, arrival, notice);
    }
    // SAFETY: as above.
    let scratch = unsafe { &mut *globals::barrier(scratch) };
    if scratch.packet.may_carry_packet() {
        let by_inner = inner(way, arrival, verdict, is_told);
        verdict = by_inner.verdict;
        if by_inner.is_told {
            let ends = (&scratch.packet.source, &scratch.packet.destination);
            let (packet, notice) = (&scratch.inner, &scratch.notice);
            events::keep(bounds(), packet, Some(ends), way, arrival, notice);
            is_told = true;
        }
    }
    if is_told {
        events::send(payload);
    }
    verdict
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
