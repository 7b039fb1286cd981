//! Drives the software datapath by the packets' time and hands what it counts to a listener, as the
//! kernel and its reader would at that pace.

use std::io;

use sensor_common::counters::{Count, Event, Outcome};
use sensor_common::host::HostRow;
use sensor_engine::Input;

use crate::capture::kernel::LoadOptions;
use crate::capture::pcap::{Frame, to_ethernet};
use crate::capture::software::{Look, Software};
use crate::pipeline::Passes;

/// Host rows are looked at this often, event time.
pub const HOST_TICK_NS: u64 = 100_000_000;
/// Flows are looked at every so many host ticks.
pub const FLOW_TICKS: u64 = 10;
/// The engine forgets rows that it is not shown for 100 looks: show all of them before.
const LOOKS_PER_WHOLE: u64 = 50;
/// Event time goes on this long after the last packet: what a live sensor says a moment later, a
/// replay says, too (an attempt is unanswered after a second).
const AFTER_NS: u64 = 5_000_000_000;

/// Who is told what the datapath counted.
pub trait Listener {
    fn feed(&mut self, at_ns: u64, input: Input<'_>);
    /// Called after each tick, with everything of it fed.
    ///
    /// # Errors
    /// When what was said can't be passed on.
    fn deliver(&mut self, at_ns: u64) -> io::Result<()>;
    /// Called once, at the end.
    fn finish(&mut self, at_ns: u64);
}

/// What was played.
#[derive(Clone, Copy, Debug, Default)]
pub struct Played {
    pub n_packets: u64,
    pub n_bytes: u64,
    /// Packets stamped earlier than one before them.
    pub n_backward: u64,
    /// Time of the first and the last packet.
    pub first_ns: u64,
    pub last_ns: u64,
}

/// Packets in, ticks of event time out.
pub struct Player<L> {
    pub listener: L,
    path: Software,
    played: Played,
    local: Vec<HostRow>,
    remote: Vec<HostRow>,
    scratch: Vec<u8>,
    next_tick_ns: u64,
    n_ticks: u64,
    n_looks: u64,
    passes: Passes,
    n_host_dropped: u64,
}

impl<L: Listener> Player<L> {
    pub fn new(listener: L) -> Self {
        Self {
            listener,
            path: Software::new(&LoadOptions::fixed()),
            played: Played::default(),
            local: Vec::new(),
            remote: Vec::new(),
            scratch: Vec::new(),
            next_tick_ns: 0,
            n_ticks: 0,
            n_looks: 0,
            passes: Passes::default(),
            n_host_dropped: 0,
        }
    }

    pub const fn played(&self) -> &Played {
        &self.played
    }

    pub fn outcome(&self, outcome: Outcome) -> Count {
        self.path.outcome(outcome)
    }

    pub fn event(&self, event: Event) -> Count {
        self.path.event(event)
    }

    /// Takes one packet, after the ticks that lie before it.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn take(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        self.advance(frame.at_ns)?;
        let ethernet = to_ethernet(frame, &mut self.scratch);
        self.played.n_packets += 1;
        self.played.n_bytes += u64::from(ethernet.wire_len);
        self.path
            .process(ethernet.data, self.played.last_ns, ethernet.wire_len);
        Ok(())
    }

    /// Moves event time on, with the ticks that lie before the packet. Time never runs back: a
    /// packet from before counts as of now.
    fn advance(&mut self, at_ns: u64) -> io::Result<()> {
        if self.played.last_ns == 0 {
            self.played.first_ns = at_ns;
            self.next_tick_ns = at_ns.saturating_add(HOST_TICK_NS);
        }
        if at_ns < self.played.last_ns {
            self.played.n_backward += 1;
            return Ok(());
        }
        self.tick_until(at_ns)?;
        self.played.last_ns = at_ns;
        Ok(())
    }

    fn tick_until(&mut self, at_ns: u64) -> io::Result<()> {
        while at_ns >= self.next_tick_ns {
            self.tick(self.next_tick_ns)?;
            // Over a long silence all but the flow ticks would see the same rows.
            let silent = at_ns.saturating_sub(self.next_tick_ns) > 2_000_000_000;
            let n = if silent { FLOW_TICKS } else { 1 };
            self.n_ticks += n;
            self.next_tick_ns = self.next_tick_ns.saturating_add(n * HOST_TICK_NS);
        }
        Ok(())
    }

    fn tick(&mut self, at_ns: u64) -> io::Result<()> {
        let listener = &mut self.listener;
        self.path
            .drain(|flow| listener.feed(at_ns, Input::FlowSent(flow)));
        self.path
            .drain_events(|sample| listener.feed(at_ns, Input::Sample(sample)));
        let which = if self.n_looks.is_multiple_of(LOOKS_PER_WHOLE) {
            Look::All
        } else {
            Look::Touched
        };
        self.n_looks += 1;
        self.path
            .read_hosts(which, &mut self.local, &mut self.remote);
        listener.feed(
            at_ns,
            Input::Hosts {
                local: &self.local,
                remote: &self.remote,
            },
        );
        let dropped = self.path.event(Event::HostNotAdmitted).packets;
        if dropped > self.n_host_dropped {
            let packets = dropped - self.n_host_dropped;
            listener.feed(at_ns, Input::HostDropped { packets });
            self.n_host_dropped = dropped;
        }
        if self.n_ticks.is_multiple_of(FLOW_TICKS) {
            let since_ns = self.passes.begin(at_ns);
            self.path
                .scan_flows(since_ns, |flow| listener.feed(at_ns, Input::FlowLive(flow)));
            listener.feed(at_ns, Input::FlowTick);
        }
        listener.deliver(at_ns)
    }

    /// Lets a little time pass, then ends what is open.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn finish(&mut self) -> io::Result<()> {
        let at_ns = self.played.last_ns.saturating_add(AFTER_NS);
        self.tick_until(at_ns)?;
        let listener = &mut self.listener;
        self.path
            .drain(|flow| listener.feed(at_ns, Input::FlowSent(flow)));
        self.path
            .drain_events(|sample| listener.feed(at_ns, Input::Sample(sample)));
        self.path
            .scan_flows(0, |flow| listener.feed(at_ns, Input::FlowLive(flow)));
        listener.finish(at_ns);
        listener.deliver(at_ns)
    }
}
