//! Programs to measure the sensor's against; no part of the sensor. `drive` gives the packet another
//! source and calls the program under test; `generate` does so and sends
//! the packet over a wire; `flood` makes a valid one of another source and port of it first; `textbook` is what tutorials build: a block-list in a
//! trie, a per-CPU LRU hash of flows.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_redirect};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, LpmTrie, LruPerCpuHashMap, PerCpuArray, ProgramArray};
use aya_ebpf::programs::XdpContext;

/// Sources that `drive` makes up. The driver writes it.
#[repr(C)]
pub struct Sources {
    pub seed: u64,
    pub n_flows: u32,
    /// 0: all over the IPv4 space, else the first byte of each source (IPv6: the last of 2001:db8).
    pub net: u32,
}

#[map]
static SOURCES: Array<Sources> = Array::with_max_entries(1, 0);
/// Index of the interface that `generate` sends out of.
#[map]
static SENDER: Array<u32> = Array::with_max_entries(1, 0);
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Flow {
    source: [u32; 4],
    destination: [u32; 4],
    ports: u32,
    protocol: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Value {
    packets: u64,
    bytes: u64,
    first_ns: u64,
    last_ns: u64,
    flags: u32,
    n_syn: u32,
}

#[map]
static FLOWS: LruPerCpuHashMap<Flow, Value> = LruPerCpuHashMap::with_max_entries(1 << 20, 0);
#[map]
static BLOCK4: LpmTrie<u32, u32> = LpmTrie::with_max_entries(200_000, 1);
#[map]
static BLOCK6: LpmTrie<[u32; 4], u32> = LpmTrie::with_max_entries(200_000, 1);
#[map]
static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(4, 0);

const IPV4: u16 = 0x0800_u16.to_be();
const IPV6: u16 = 0x86dd_u16.to_be();
const TCP: u32 = 6;
const UDP: u32 = 17;

/// Reads a `T` at an offset of the frame.
#[inline(always)]
fn at<T>(ctx: &XdpContext, offset: usize) -> Option<*mut T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    Some(start as *mut T)
}

#[xdp]
#[inline(always)]
pub fn drive(ctx: XdpContext) -> u32 {
    if change(&ctx).is_none() {
        return XDP_ABORTED;
    }
    // SAFETY: the context is the kernel's own.
    unsafe { TARGET.tail_call(&ctx, 0) };
    XDP_ABORTED
}

/// Another source, at random out of as many as there are flows.
#[inline(always)]
fn change(ctx: &XdpContext) -> Option<()> {
    let sources = SOURCES.get_ptr_mut(0)?;
    // SAFETY: the kernel's own pointer to a map value; one CPU runs this.
    let sources = unsafe { &mut *sources };
    if sources.n_flows <= 1 {
        return Some(());
    }
    let mut x = sources.seed;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    sources.seed = x;
    let index = (((x & 0xffff_ffff) * sources.n_flows as u64) >> 32) as u32;
    let spread = if sources.net == 0 {
        index.wrapping_add(0x0123_4567).wrapping_mul(0x9e37_79b1)
    } else {
        sources.net << 24 | index & 0x00ff_ffff
    };
    let ethertype = at::<u16>(ctx, 12)?;
    // The last word of an IPv4 or IPv6 source.
    // SAFETY: in the frame, by the check in `at`; packet memory may be unaligned.
    let offset = if unsafe { ethertype.read_unaligned() } == IPV4 {
        26
    } else {
        34
    };
    let source = at::<u32>(ctx, offset)?;
    // SAFETY: as above.
    unsafe { source.write_unaligned(spread.to_be()) };
    Some(())
}

/// Sends the frame out of another interface, as if it came from another source.
#[xdp]
#[inline(always)]
pub fn generate(ctx: XdpContext) -> u32 {
    if change(&ctx).is_none() {
        return XDP_ABORTED;
    }
    let Some(interface) = SENDER.get(0) else {
        return XDP_ABORTED;
    };
    // SAFETY: a helper of numbers.
    unsafe { bpf_redirect(*interface, 0) as u32 }
}

/// Sends the frame out of another interface, from another source and port, with the right sums: stacks take it.
#[xdp]
#[inline(always)]
pub fn flood(ctx: XdpContext) -> u32 {
    if forge(&ctx).is_none() {
        return XDP_ABORTED;
    }
    let Some(interface) = SENDER.get(0) else {
        return XDP_ABORTED;
    };
    // SAFETY: a helper of numbers.
    unsafe { bpf_redirect(*interface, 0) as u32 }
}

/// Another source, in the second word of its address or, of IPv4, within the network of its first byte, and
/// another port.
#[inline(always)]
fn forge(ctx: &XdpContext) -> Option<()> {
    const SOURCE: usize = 26;
    let sources = SOURCES.get_ptr_mut(0)?;
    // SAFETY: the kernel's own pointer to a map value; one CPU runs this.
    let sources = unsafe { &mut *sources };
    let mut x = sources.seed;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    sources.seed = x;
    // SAFETY: in the frame, by the check in `at`, here and below; all accesses allow for no alignment.
    let is_v4 = unsafe { at::<u16>(ctx, 12)?.read_unaligned() } == IPV4;
    let (protocol, segment) = if is_v4 { (23, 34) } else { (20, 54) };
    // SAFETY: as above.
    let is_tcp = unsafe { *at::<u8>(ctx, protocol)? } as u32 == TCP;
    let sum = segment + if is_tcp { 16 } else { 6 };
    let random = (x >> 8) as u32;
    let spread = if is_v4 {
        (sources.net << 24 | random & 0x00ff_ffff).to_be()
    } else {
        random
    };
    let port = (1_024 + (x >> 40) % 60_000) as u16;
    // SAFETY: as above.
    unsafe {
        let source = at::<u32>(ctx, SOURCE)?;
        let old = source.read_unaligned();
        source.write_unaligned(spread);
        let from = at::<u16>(ctx, segment)?;
        let old_port = from.read_unaligned();
        from.write_unaligned(port);
        if is_v4 {
            change_sum(at::<u16>(ctx, 24)?, (old, spread), (0, 0));
        }
        change_sum(at::<u16>(ctx, sum)?, (old, spread), (old_port, port));
    }
    Some(())
}

/// Brings a checksum up to date (RFC 1624, equation 3) with a word and a half of what it covers.
///
/// # Safety
/// `sum` lies in the frame.
#[inline(always)]
unsafe fn change_sum(sum: *mut u16, word: (u32, u32), half: (u16, u16)) {
    // SAFETY: in the frame, by the caller.
    let old = unsafe { sum.read_unaligned() };
    let halves = |word: u32| (word & 0xffff) + (word >> 16);
    let mut total = !old as u32 + halves(!word.0) + halves(word.1);
    total += !half.0 as u32 + half.1 as u32;
    total = (total & 0xffff) + (total >> 16);
    total = (total & 0xffff) + (total >> 16);
    // SAFETY: as above.
    unsafe { sum.write_unaligned(!(total as u16)) };
}

/// [`textbook`] on a host that drops all that it has seen.
#[xdp]
#[inline(always)]
pub fn textbook_drop(ctx: XdpContext) -> u32 {
    let _passed = sense(&ctx);
    XDP_DROP
}

#[xdp]
#[inline(always)]
pub fn empty_pass(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

#[xdp]
#[inline(always)]
pub fn empty_drop(_ctx: XdpContext) -> u32 {
    XDP_DROP
}

/// The least that a drop by source can do: it reads the source.
#[xdp]
#[inline(always)]
pub fn source_drop(ctx: XdpContext) -> u32 {
    let Some(source) = at::<u32>(&ctx, 26) else {
        return XDP_PASS;
    };
    // SAFETY: in the frame, by the check in `at`; packet memory may be unaligned.
    if unsafe { source.read_unaligned() } == 0 {
        XDP_PASS
    } else {
        XDP_DROP
    }
}

#[xdp]
#[inline(always)]
pub fn textbook(ctx: XdpContext) -> u32 {
    sense(&ctx).unwrap_or(XDP_PASS)
}

#[inline(always)]
fn count(index: u32) {
    if let Some(counter) = COUNTS.get_ptr_mut(index) {
        // SAFETY: the kernel's own pointer to this CPU's value.
        unsafe { *counter += 1 };
    }
}

#[inline(always)]
fn sense(ctx: &XdpContext) -> Option<u32> {
    let mut flow = Flow {
        source: [0; 4],
        destination: [0; 4],
        ports: 0,
        protocol: 0,
    };
    let ethertype = at::<u16>(ctx, 12)?;
    // SAFETY: in the frame, by the check in `at`, here and below; all reads allow for no alignment.
    let (offset, blocked) = match unsafe { ethertype.read_unaligned() } {
        // SAFETY: as above.
        IPV4 => unsafe {
            let header = at::<[u8; 20]>(ctx, 14)?;
            flow.source[0] = header.cast::<u32>().add(3).read_unaligned();
            flow.destination[0] = header.cast::<u32>().add(4).read_unaligned();
            flow.protocol = (*header)[9] as u32;
            let length = ((*header)[0] & 15) as usize * 4;
            let blocked = BLOCK4.get(Key::new(32, flow.source[0])).is_some();
            (14 + length, blocked)
        },
        // SAFETY: as above.
        IPV6 => unsafe {
            let header = at::<[u8; 40]>(ctx, 14)?;
            flow.source = header
                .cast::<u8>()
                .add(8)
                .cast::<[u32; 4]>()
                .read_unaligned();
            flow.destination = header
                .cast::<u8>()
                .add(24)
                .cast::<[u32; 4]>()
                .read_unaligned();
            flow.protocol = (*header)[6] as u32;
            let blocked = BLOCK6.get(Key::new(128, flow.source)).is_some();
            (54, blocked)
        },
        _ => return None,
    };
    if blocked {
        count(1);
        return Some(XDP_DROP);
    }
    let mut flags = 0;
    match flow.protocol {
        // SAFETY: as above.
        TCP => unsafe {
            let header = at::<[u8; 20]>(ctx, offset)?;
            flow.ports = header.cast::<u32>().read_unaligned();
            flags = (*header)[13] as u32;
        },
        // SAFETY: as above.
        UDP => unsafe {
            flow.ports = at::<[u32; 2]>(ctx, offset)?.cast::<u32>().read_unaligned();
        },
        _ => {}
    }
    add(ctx, &flow, flags);
    count(0);
    Some(XDP_PASS)
}

#[inline(always)]
fn add(ctx: &XdpContext, flow: &Flow, flags: u32) {
    let bytes = (ctx.data_end() - ctx.data()) as u64;
    // SAFETY: a helper without arguments.
    let now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    let n_syn = flags >> 1 & 1;
    if let Some(value) = FLOWS.get_ptr_mut(flow) {
        // SAFETY: the kernel's own pointer to this CPU's value.
        let value = unsafe { &mut *value };
        value.packets += 1;
        value.bytes += bytes;
        value.last_ns = now_ns;
        value.flags |= flags;
        value.n_syn += n_syn;
        return;
    }
    let value = Value {
        packets: 1,
        bytes,
        first_ns: now_ns,
        last_ns: now_ns,
        flags,
        n_syn,
    };
    let _full = FLOWS.insert(flow, value, 0);
    count(2);
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
