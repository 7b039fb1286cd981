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
use sensor_common::arrival::{Arrival, Way};
use sensor_common::datapath::Verdict;
use sensor_common::packet::{parse, parse_inner};

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
    let frame = LinearFrame::new(ctx.data(), ctx.data_end());
    scratch.came_in = came_in.into();
    let segments = if segments == 0 { 1 } else { segments as u16 };
    let arrival = Arrival {
        now_ns,
        bytes,
        segments,
        ifindex,
        cpu: tables::cpu() as u16,
    };
    let payload = SkbPayload(&ctx);
    let _verdict = run(&frame, &payload, (Way::Egress, came_in), &arrival, scratch);
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
        // SAFETY: the context is the kernel's own; the verifier rewrites this load.
        ifindex: unsafe { (*ctx.ctx).ingress_ifindex },
        cpu: tables::cpu() as u16,
    };
    let frame = LinearFrame::new(ctx.data(), ctx.data_end());
    if tables::datapath(arrival.cpu as u32).drops_at_once(&frame, &arrival) {
        #[cfg(feature = "kernel-log")]
        log::dropped_at_once(ctx);
        return xdp_action::XDP_DROP;
    }
    let (start, end) = frame::bounds(ctx);
    let frame = LinearFrame::new(start, end);
    let payload = XdpPayload(ctx);
    let verdict = run(&frame, &payload, (Way::Ingress, 0), &arrival, scratch);
    #[cfg(feature = "kernel-log")]
    log::packet(ctx, Way::Ingress, verdict);
    match verdict {
        Verdict::Pass => {
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

#[inline(always)]
fn run<P: Payload>(
    frame: &LinearFrame,
    payload: &P,
    (way, came_in): (Way, u32),
    arrival: &Arrival,
    scratch: &mut Scratch,
) -> Verdict {
    parse(frame, &globals::Tunnels, &mut scratch.packet);
    // SAFETY: the pointer of the reference above, which is not used any more; as below.
    let scratch = unsafe { &mut *globals::barrier(scratch) };
    if crossing::was_counted(&scratch.packet, way, arrival, came_in) {
        let mut datapath = tables::datapath(arrival.cpu as u32);
        datapath.count_elsewhere(&scratch.packet, way, arrival);
        return Verdict::Pass;
    }
    crossing::note(&scratch.packet, way, arrival);
    if scratch.packet.may_carry_packet() {
        parse_inner(frame, &mut scratch.packet, &mut scratch.inner);
    }
    // SAFETY: as above.
    let scratch = unsafe { &mut *globals::barrier(scratch) };
    let packet = &mut scratch.packet;
    let (mut verdict, notice) =
        tables::datapath(arrival.cpu as u32).process::<globals::Announce>(packet, way, arrival);
    let mut is_told = notice.kind != 0;
    if is_told {
        events::keep(frame, packet, None, way, arrival, &notice);
    }
    // SAFETY: as above.
    let scratch = unsafe { &mut *globals::barrier(scratch) };
    if scratch.packet.may_carry_packet() {
        let by_inner = inner(way, arrival, verdict, is_told);
        verdict = by_inner.verdict;
        if by_inner.is_told {
            let ends = (&scratch.packet.source, &scratch.packet.destination);
            events::keep(
                frame,
                &scratch.inner,
                Some(ends),
                way,
                arrival,
                &scratch.notice,
            );
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
