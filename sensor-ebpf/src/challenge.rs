//! Challenges: what is over the rate of a source is let pass where the source proves that it is real.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use sensor_common::block::{BlockEntry, BlockTable as _};
use sensor_common::counters::Event;
use sensor_common::datapath::Counters as _;
use sensor_common::packet::Packet;
use sensor_common::shield::{Step, measure, retries, spends};

use crate::asked::{came_before, note_met};
use crate::blocklist::BlockMaps;
use crate::stack::{self, Belongs};
use crate::tables::CounterMaps;
use crate::{globals, maps};

/// Packet over the rate of a challenged source.
struct Over<'a> {
    ctx: &'a XdpContext,
    packet: &'a Packet,
    entry: &'a mut BlockEntry,
    is_enforced: bool,
    now_ns: u64,
}

/// Rules on a packet over the rate of a challenged source; `None` where nothing is done to it.
#[inline(always)]
pub fn hold(ctx: &XdpContext, packet: &Packet, now_ns: u64) -> Option<u32> {
    let found = maps::FOUND.get(0).copied()?;
    let is_enforced = BlockMaps.gate().enforces_on(found, now_ns) != 0;
    let mut blocks = BlockMaps;
    let mut over = Over {
        ctx,
        packet,
        entry: found.entry(&mut blocks)?,
        is_enforced,
        now_ns,
    };
    match Step::of(packet, measure::COOKIES | measure::STATE) {
        Step::Begin => over.begin(),
        _ => over.segment(),
    }
}

/// Rules where the program of the shields is gone with its agent: the challenge is a limit.
#[inline(always)]
pub fn limit(bytes: u32, now_ns: u64) -> u32 {
    let Some(found) = maps::FOUND.get(0).copied() else {
        return globals::pass_action();
    };
    let mut blocks = BlockMaps;
    if let Some(entry) = found.entry(&mut blocks) {
        BlockMaps::add(&mut entry.packets, 1);
        BlockMaps::add(&mut entry.bytes, bytes as u64);
    }
    if BlockMaps.gate().enforces_on(found, now_ns) == 0 {
        CounterMaps.event(Event::WouldDrop, 1, bytes as u64);
        return globals::pass_action();
    }
    CounterMaps.event(Event::RateLimited, 1, bytes as u64);
    xdp_action::XDP_DROP
}

impl Over<'_> {
    /// Counts the packet in its entry.
    #[inline(always)]
    fn count(&mut self, event: Event) {
        // SAFETY: the context is the kernel's own.
        let bytes = unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) };
        BlockMaps::add(&mut self.entry.packets, 1);
        BlockMaps::add(&mut self.entry.bytes, bytes);
        CounterMaps.event(event, 1, bytes);
    }

    #[inline(always)]
    fn pass(&self, event: Event) -> u32 {
        // SAFETY: as above.
        let bytes = unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) };
        CounterMaps.event(event, 1, bytes);
        globals::pass_action()
    }

    #[inline(always)]
    fn drop(&mut self) -> Option<u32> {
        if !self.is_enforced {
            self.count(Event::WouldDrop);
            return None;
        }
        self.count(Event::RateLimited);
        Some(xdp_action::XDP_DROP)
    }

    /// Takes a SYN that came again out of the rate of those.
    #[inline(always)]
    fn affords_retry(&self) -> bool {
        let Some(until_ns) = maps::CHALLENGE_RETRIES.get_ptr_mut(0) else {
            return false;
        };
        let rate = (retries::PACKET_COST_NS, retries::BURST_NS);
        // SAFETY: the kernel's own pointer to a map value. CPUs may race for it: the error is a packet.
        unsafe { spends(&mut *until_ns, rate, self.now_ns) }
    }

    /// Answers a SYN by a cookie. Where the stack gives none, nobody listens; where the frame is none that
    /// can be answered, the challenge is a limit.
    #[inline(always)]
    fn begin(&mut self) -> Option<u32> {
        if !self.is_enforced {
            self.count(Event::WouldChallenge);
            return None;
        }
        if came_before(self.packet, self.now_ns) && self.affords_retry() {
            return Some(self.pass(Event::ChallengeRetried));
        }
        if stack::answer(self.ctx, self.packet) == Some(true) {
            self.count(Event::Challenged);
            return Some(xdp_action::XDP_TX);
        }
        self.drop()
    }

    #[inline(always)]
    fn segment(&mut self) -> Option<u32> {
        match stack::belongs(self.ctx, self.packet) {
            Belongs::ToConnection => Some(globals::pass_action()),
            Belongs::ToCookie if self.entry.affords_met(self.now_ns) => {
                note_met(self.ctx, self.packet, self.now_ns);
                Some(self.pass(Event::ChallengeMet))
            }
            Belongs::ToCookie | Belongs::Unread | Belongs::ToNothing => self.drop(),
        }
    }
}
