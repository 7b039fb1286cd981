//! The shields of local addresses, in a program of their own that packets reach where one may be armed.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use sensor_common::block::known::spared;
use sensor_common::block::{BlockTable as _, Gate, Level};
use sensor_common::counters::{Event, Outcome};
use sensor_common::datapath::Counters as _;
use sensor_common::packet::Packet;
use sensor_common::shield::{self, SLOTS, Shield, Step};

use crate::asked::{came_before, note_met};
use crate::blocklist::{BlockMaps, sensor_spares};
use crate::maps::Scratch;
use crate::stack::{self, Belongs};
use crate::tables::CounterMaps;
use crate::{challenge, globals, maps, peers};

/// True where the address that a packet goes to may have a shield.
#[inline(always)]
pub fn is_armed_for(packet: &Packet) -> bool {
    shield::concerns(packet, BlockMaps.gate().shields, globals::seed())
}

/// Packet with the shield that covers it.
struct Met<'a> {
    ctx: &'a XdpContext,
    packet: &'a Packet,
    shield: &'a mut Shield,
    gate: Gate,
    now_ns: u64,
}

/// Treats a packet, which the program before this one read and let pass, by the shield of its destination.
#[inline(always)]
pub fn hold(ctx: &XdpContext) -> u32 {
    let Some(Scratch { packet, now_ns, .. }) = maps::scratch() else {
        return globals::pass_action();
    };
    if !Outcome::has_flow(packet.outcome) {
        return globals::pass_action();
    }
    if packet.is_challenged()
        && let Some(action) = challenge::hold(ctx, packet, *now_ns)
    {
        return action;
    }
    let place = shield::place(&packet.destination, globals::seed());
    let Some(bucket) = maps::SHIELDS.get_ptr_mut(place) else {
        return globals::pass_action();
    };
    // SAFETY: the kernel's own pointer to a map value; the agent writes the first half of a shield, which is
    // only read here, and other CPUs the counters, which are only touched atomically.
    let bucket = unsafe { &mut *bucket };
    let slot = bucket.find(packet, *now_ns);
    if slot >= SLOTS {
        return globals::pass_action();
    }
    let shield = &mut bucket.shields[slot & (SLOTS - 1)];
    let step = Step::of(packet, shield.measures);
    if shield.limit != 0 && !is_roused(shield, step, *now_ns) {
        return globals::pass_action();
    }
    let mut met = Met {
        ctx,
        packet,
        shield,
        gate: BlockMaps.gate(),
        now_ns: *now_ns,
    };
    match step {
        Step::Pass => globals::pass_action(),
        Step::Begin => met.begin(),
        Step::Segment => met.segment(),
        Step::Reply => met.reply(),
        Step::Share => met.share(),
    }
}

/// True where a shield of the reflex holds by now; it is about SYNs alone.
#[inline(always)]
fn is_roused(shield: &mut Shield, step: Step, now_ns: u64) -> bool {
    if step != Step::Begin {
        return false;
    }
    let was_roused = shield.roused_ns != 0;
    let is_roused = shield.is_roused(now_ns, BlockMaps::add);
    if is_roused && !was_roused {
        CounterMaps.event(Event::ShieldRoused, 1, 0);
    }
    is_roused
}

impl Met<'_> {
    #[inline(always)]
    fn count(&self, event: Event) {
        // SAFETY: the context is the kernel's own.
        let bytes = unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) };
        CounterMaps.event(event, 1, bytes);
    }

    #[inline(always)]
    fn pass(&self, event: Event) -> u32 {
        self.count(event);
        globals::pass_action()
    }

    /// True where the packet is of a flow that goes both ways.
    #[inline(always)]
    fn is_known(&self) -> bool {
        sensor_spares(self.now_ns, Level::Outer as u64) == spared::BY_ALL
    }

    /// Counts what a shield does without enforcement; `None` where it is enforced.
    #[inline(always)]
    fn would_hold(&mut self) -> Option<u32> {
        if self.gate.enforces() {
            return None;
        }
        BlockMaps::add(&mut self.shield.held, 1);
        Some(self.pass(Event::ShieldWouldHold))
    }

    /// Drops the packet, unless its source is one that nothing of is ever dropped.
    #[inline(always)]
    fn drop(&mut self, event: Event) -> u32 {
        if self.gate.n_allowed != 0 && BlockMaps.is_allowed(&self.packet.source) {
            return self.pass(Event::Allowed);
        }
        if let Some(action) = self.would_hold() {
            return action;
        }
        BlockMaps::add(&mut self.shield.held, 1);
        self.count(event);
        xdp_action::XDP_DROP
    }

    /// Answers the SYN of a stranger.
    #[inline(always)]
    fn begin(&mut self) -> u32 {
        if peers::spend(&self.packet.source, self.now_ns) {
            return self.pass(Event::ShieldKnown);
        }
        if let Some(action) = self.would_hold() {
            return action;
        }
        if came_before(self.packet, self.now_ns) && self.shield.affords_retry(self.now_ns) {
            return self.pass(Event::ShieldRetried);
        }
        match stack::answer(self.ctx, self.packet) {
            Some(true) => {
                BlockMaps::add(&mut self.shield.answered, 1);
                self.count(Event::ShieldAnswered);
                xdp_action::XDP_TX
            }
            Some(false) => self.pass(Event::ShieldNoCookie),
            None => self.pass(Event::ShieldUnread),
        }
    }

    #[inline(always)]
    fn segment(&mut self) -> u32 {
        if self.is_known() {
            return globals::pass_action();
        }
        match stack::belongs(self.ctx, self.packet) {
            Belongs::ToConnection => globals::pass_action(),
            Belongs::ToCookie => {
                note_met(self.ctx, self.packet, self.now_ns);
                BlockMaps::add(&mut self.shield.completed, 1);
                self.pass(Event::ShieldCompleted)
            }
            Belongs::Unread => self.pass(Event::ShieldUnread),
            Belongs::ToNothing => self.drop(Event::ShieldOutOfState),
        }
    }

    #[inline(always)]
    fn reply(&mut self) -> u32 {
        if self.is_known() {
            return globals::pass_action();
        }
        self.drop(Event::ShieldUnasked)
    }

    #[inline(always)]
    fn share(&mut self) -> u32 {
        if self.is_known() || self.shield.affords(self.now_ns) {
            return globals::pass_action();
        }
        self.drop(Event::ShieldOverRate)
    }
}
