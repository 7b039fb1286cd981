//! Questions to the stack of this host: whose a TCP segment is, and which cookie answers a SYN.

use core::ffi::c_void;

use aya_ebpf::bindings::{
    bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
};
use aya_ebpf::helpers::generated::{
    bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_check_syncookie, bpf_tcp_gen_syncookie,
    bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::programs::XdpContext;
use sensor_common::flow::Sequence as _;
use sensor_common::is_v4;
use sensor_common::packet::{Packet, protocol, tcp_flags};
use sensor_common::shield::answer::{
    self, Cookie, FRAME_BYTES, FrameHead, NETWORK, TCP_V4, TCP_V6, V4_BYTES, V4_HEADER, V6_BYTES,
    V6_HEADER,
};
use sensor_common::shield::is_plain_tcp;

use crate::globals::Announce;
use crate::maps;

/// Owner of a segment.
pub enum Belongs {
    /// A connection of this host, whatever its state.
    ToConnection,
    /// It acknowledges a cookie.
    ToCookie,
    ToNothing,
    /// It can't be told.
    Unread,
}

/// State of a socket that listens (`BPF_TCP_LISTEN`).
const LISTEN: u32 = 10;
/// The namespace of the interface (`BPF_F_CURRENT_NETNS`).
const CURRENT_NETNS: u64 = -1i64 as u64;
/// Bytes of a TCP header.
const MIN_TCP: u64 = 20;
const MAX_TCP: u64 = 60;

/// Headers of a segment, copied.
struct Headers {
    frame: *mut FrameHead,
    tcp_bytes: u64,
    is_v4: bool,
}

/// The value, if it is within bounds that the verifier sees: one comparison for each, and none that the
/// compiler could leave out or merge with another.
#[inline(always)]
fn bounded(value: u64, least: u64, most: u64) -> Option<u64> {
    let value = Announce::opaque(value);
    if value > most {
        return None;
    }
    let value = Announce::opaque(value);
    if value < least {
        return None;
    }
    Some(Announce::opaque(value))
}

impl Headers {
    /// Copies the headers of a segment that has no others than every stack sends.
    #[inline(always)]
    fn copy(ctx: &XdpContext, packet: &Packet) -> Option<Self> {
        if !is_plain_tcp(packet) {
            return None;
        }
        let is_v4 = is_v4(&packet.destination);
        let tcp_at = if is_v4 { TCP_V4 } else { TCP_V6 } as u64;
        let bytes = packet.payload_offset() as u64;
        let tcp_bytes = bounded(bytes.wrapping_sub(tcp_at), MIN_TCP, MAX_TCP)?;
        let bytes = bounded(bytes, TCP_V4 as u64, FRAME_BYTES as u64)?;
        let frame: *mut FrameHead = maps::SHIELD_FRAME.get_ptr_mut(0)?;
        // SAFETY: the context is the kernel's own; the buffer has room, by the check above.
        let copied = unsafe { bpf_xdp_load_bytes(ctx.ctx, 0, frame.cast(), bytes as u32) };
        // SAFETY: the kernel's own pointer to this CPU's value.
        let (version, next) = unsafe { ((*frame)[NETWORK], (*frame)[NETWORK + 6]) };
        let is_plain = if is_v4 {
            version == 0x45
        } else {
            next == protocol::TCP
        };
        (copied == 0 && is_plain).then_some(Self {
            frame,
            tcp_bytes,
            is_v4,
        })
    }

    /// Start of the headers, as the kernel's helpers take them: IP, its length, TCP.
    #[inline(always)]
    fn parts(&self) -> (*mut c_void, u32, *mut u8) {
        let start: *mut u8 = self.frame.cast();
        let (length, tcp_at) = if self.is_v4 {
            (V4_HEADER, TCP_V4)
        } else {
            (V6_HEADER, TCP_V6)
        };
        // SAFETY: offsets within the value.
        unsafe {
            let ip = start.add(NETWORK).cast();
            (ip, length as u32, start.add(tcp_at))
        }
    }
}

/// The socket of a segment's addresses and ports, to be released.
#[inline(always)]
fn socket(ctx: &XdpContext, packet: &Packet) -> *mut bpf_sock {
    let (from, to) = (&packet.source, &packet.destination);
    let (sport, dport) = (packet.source_port.to_be(), packet.destination_port.to_be());
    // SAFETY: integers; all zeros are valid.
    let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
    let size = if is_v4(to) {
        tuple.__bindgen_anon_1.ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: from[3],
            daddr: to[3],
            sport,
            dport,
        };
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>()
    } else {
        tuple.__bindgen_anon_1.ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: *from,
            daddr: *to,
            sport,
            dport,
        };
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>()
    };
    // SAFETY: the context is the kernel's own; the tuple is as long as told.
    unsafe {
        bpf_skc_lookup_tcp(
            ctx.ctx.cast(),
            &raw mut tuple,
            size as u32,
            CURRENT_NETNS,
            0,
        )
    }
}

/// Tells whose a segment is that begins nothing.
#[inline(always)]
pub fn belongs(ctx: &XdpContext, packet: &Packet) -> Belongs {
    if !is_plain_tcp(packet) {
        return Belongs::Unread;
    }
    let Some(headers) = Headers::copy(ctx, packet) else {
        return Belongs::Unread;
    };
    let socket = socket(ctx, packet);
    if socket.is_null() {
        return Belongs::ToNothing;
    }
    // SAFETY: a socket that the look-up gave, until it is released.
    if unsafe { (*socket).state } != LISTEN {
        // SAFETY: as above.
        unsafe { bpf_sk_release(socket.cast()) };
        return Belongs::ToConnection;
    }
    const OTHER: u8 = tcp_flags::ACK | tcp_flags::SYN | tcp_flags::RST;
    let mut is_cookie = false;
    if packet.tcp_flags & OTHER == tcp_flags::ACK {
        let (ip, ip_bytes, tcp) = headers.parts();
        // SAFETY: a socket as above; headers as long as told.
        let checked = unsafe {
            bpf_tcp_check_syncookie(
                socket.cast(),
                ip,
                ip_bytes,
                tcp.cast(),
                headers.tcp_bytes as u32,
            )
        };
        is_cookie = checked == 0;
    }
    // SAFETY: as above.
    unsafe { bpf_sk_release(socket.cast()) };
    if is_cookie {
        Belongs::ToCookie
    } else {
        Belongs::ToNothing
    }
}

/// Makes the frame of a SYN the answer by a cookie: true where that is done; false where the stack gives
/// none; `None` where the frame is not of the kind that is answered.
#[inline(always)]
pub fn answer(ctx: &XdpContext, packet: &Packet) -> Option<bool> {
    let headers = Headers::copy(ctx, packet)?;
    let Some(cookie) = cookie(ctx, packet, &headers) else {
        return Some(false);
    };
    // SAFETY: the kernel's own pointer to this CPU's value.
    let frame = unsafe { &mut *headers.frame };
    let bytes = if headers.is_v4 {
        answer::write_v4(frame, cookie);
        V4_BYTES
    } else {
        answer::write_v6(frame, cookie);
        V6_BYTES
    } as u32;
    // SAFETY: the context is the kernel's own; the value is longer than either answer.
    let is_written = unsafe {
        let delta = bytes as i32 - bpf_xdp_get_buff_len(ctx.ctx) as i32;
        bpf_xdp_adjust_tail(ctx.ctx, delta) == 0
            && bpf_xdp_store_bytes(ctx.ctx, 0, headers.frame.cast(), bytes) == 0
    };
    Some(is_written)
}

/// The cookie of the socket that listens there.
#[inline(always)]
fn cookie(ctx: &XdpContext, packet: &Packet, headers: &Headers) -> Option<Cookie> {
    let socket = socket(ctx, packet);
    if socket.is_null() {
        return None;
    }
    let mut number = -1;
    // SAFETY: a socket that the look-up gave, until it is released.
    if unsafe { (*socket).state } == LISTEN {
        let (ip, ip_bytes, tcp) = headers.parts();
        // SAFETY: a socket as above; headers as long as told.
        number = unsafe {
            bpf_tcp_gen_syncookie(
                socket.cast(),
                ip,
                ip_bytes,
                tcp.cast(),
                headers.tcp_bytes as u32,
            )
        };
    }
    // SAFETY: as above.
    unsafe { bpf_sk_release(socket.cast()) };
    (number >= 0).then_some(Cookie::of(number as u64))
}
