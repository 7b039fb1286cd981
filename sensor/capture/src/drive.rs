//! Looks at the tables of a datapath, one after another, and feeds what they hold to a listener. The
//! steps and their order are the same over the kernel's tables and over those of a replay; when to
//! look is up to the caller.

use std::io;

use sensor_common::counters::{Count, Event};
use sensor_common::event::Sample;
use sensor_common::flow::Flow;
use sensor_common::host::HostRow;
use sensor_engine::Input;

use crate::batch::Batch;

/// Tables that a datapath fills: the kernel's, or those in plain memory. Times are event time.
pub trait Tables {
    /// Hands out the records that left the flow cache since the last call, oldest first.
    fn drain_flows(&mut self, take: impl FnMut(&Flow));
    /// Hands out the events and packet samples since the last call, oldest first.
    fn drain_samples(&mut self, take: impl FnMut(&Sample<'_>));
    /// Hands out every flow of the cache that had a packet since the last call.
    fn scan_flows(&mut self, take: impl FnMut(&Flow));
    /// Copies the host rows that a packet met since the last call, in place of what the vectors held.
    fn read_hosts(&mut self, local: &mut Vec<HostRow>, remote: &mut Vec<HostRow>);
    /// Value of a counter since the tables began.
    fn event(&self, event: Event) -> Count;
}

/// Takes what the datapath counted.
pub trait Listener {
    fn feed(&mut self, at_ns: u64, input: Input<'_>);
    /// Tells if flows are to be looked at after these host rows, be it their turn or not.
    fn wants_flows(&self) -> bool;
    /// As [`Self::wants_flows`]; `None`: the answer comes with [`Self::wish`].
    fn ask(&mut self, _at_ns: u64) -> Option<bool> {
        Some(self.wants_flows())
    }
    /// Tells how questions stand that were left open; `waits`: not before something is known of all.
    fn wish(&mut self, _waits: bool) -> Wish {
        Wish::Nothing
    }
    /// Shows the flows that were wished for.
    fn show(&mut self, _flows: Vec<Flow>) {}
    /// Called after each tick, with everything of it fed.
    ///
    /// # Errors
    /// When what was said can't be passed on.
    fn deliver(&mut self, at_ns: u64) -> io::Result<()>;
    /// Called once, at the end.
    fn finish(&mut self, at_ns: u64);
}

/// State of questions that a listener answers later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Every question is answered.
    Nothing,
    /// Some are not.
    Open,
    /// It wants the flows as they were at the question of this number, counted from 1.
    Flows(u64),
}

/// Time between looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    hosts_ns: u64,
    n_hosts_per_flows: u64,
}

impl Pace {
    /// A look at host rows every `hosts_ns`, one at flows with every `n_hosts_per_flows`-th of them;
    /// 0 of either is taken as 1.
    pub const fn new(hosts_ns: u64, n_hosts_per_flows: u64) -> Self {
        Self {
            hosts_ns: if hosts_ns == 0 { 1 } else { hosts_ns },
            n_hosts_per_flows: if n_hosts_per_flows == 0 {
                1
            } else {
                n_hosts_per_flows
            },
        }
    }

    /// Nanoseconds from one look at host rows to the next.
    pub const fn hosts_ns(&self) -> u64 {
        self.hosts_ns
    }

    /// Looks at host rows per look at flows.
    pub const fn n_hosts_per_flows(&self) -> u64 {
        self.n_hosts_per_flows
    }
}

impl Default for Pace {
    /// Host rows every 100 ms, flows every second.
    fn default() -> Self {
        Self::new(100_000_000, 10)
    }
}

/// Records of a run before that were taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Records in the ring.
    pub n_sent: u64,
    /// Records in the flow cache.
    pub n_live: u64,
}

/// Memory of the loop from look to look.
#[derive(Default)]
pub struct Drive {
    pace: Pace,
    /// Ticks so far; every [`Pace::n_hosts_per_flows`]-th from 0 on looks at flows.
    n_ticks: u64,
    /// Flows on their way to the listener.
    batch: Batch,
    local: Vec<HostRow>,
    remote: Vec<HostRow>,
    n_hosts_dropped: u64,
    /// Samples above their budget, and with the ring full.
    n_shed: [u64; 2],
}

impl Drive {
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            ..Self::default()
        }
    }

    pub const fn pace(&self) -> Pace {
        self.pace
    }

    /// Looks at another pace from the next tick on.
    pub const fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Counts on from what a run before left in the tables: as a look it would be read as the traffic
    /// of one moment. That run looked at flows until `looked_ns`.
    pub fn adopt(
        &mut self,
        tables: &mut impl Tables,
        listener: &mut impl Listener,
        at_ns: u64,
        looked_ns: u64,
    ) -> Past {
        let mut past_run = Past::default();
        let mut feed = |flow: &Flow, is_final| {
            let past = Input::FlowPast {
                flow,
                is_final,
                looked_ns,
            };
            listener.feed(at_ns, past);
        };
        tables.drain_flows(|flow| {
            past_run.n_sent += 1;
            feed(flow, true);
        });
        tables.scan_flows(|flow| {
            past_run.n_live += 1;
            feed(flow, false);
        });
        tables.read_hosts(&mut self.local, &mut self.remote);
        let (local, remote) = (&self.local, &self.remote);
        listener.feed(at_ns, Input::HostsPast { local, remote });
        self.n_hosts_dropped = tables.event(Event::HostNotAdmitted).packets;
        self.n_shed = n_shed(tables);
        past_run
    }

    /// Feeds everything that is due at this tick, and tells whether it was the turn of flows; they are
    /// looked at out of turn as well where the listener wants them. Delivery is left to the caller.
    pub fn tick(
        &mut self,
        tables: &mut impl Tables,
        listener: &mut impl Listener,
        at_ns: u64,
    ) -> bool {
        self.look_at_hosts(tables, listener, at_ns);
        let is_turn_of_flows = self.n_ticks_to_flows() == 0;
        if is_turn_of_flows || listener.wants_flows() {
            self.look_at_flows(tables, listener, at_ns);
        }
        self.skip(1);
        is_turn_of_flows
    }

    /// The part of a tick before the flows.
    pub(crate) fn look_at_hosts(
        &mut self,
        tables: &mut impl Tables,
        listener: &mut impl Listener,
        at_ns: u64,
    ) {
        self.drain(tables, listener, at_ns);
        tables.read_hosts(&mut self.local, &mut self.remote);
        let (local, remote) = (&self.local, &self.remote);
        listener.feed(at_ns, Input::Hosts { local, remote });
        self.feed_losses(tables, listener, at_ns);
    }

    /// Takes in what is left and ends what is open.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn finish(
        &mut self,
        tables: &mut impl Tables,
        listener: &mut impl Listener,
        at_ns: u64,
    ) -> io::Result<()> {
        self.drain(tables, listener, at_ns);
        self.scan(tables, listener, at_ns);
        listener.finish(at_ns);
        listener.deliver(at_ns)
    }

    /// Ticks before the next one that looks at flows.
    pub(crate) const fn n_ticks_to_flows(&self) -> u64 {
        match self.n_ticks % self.pace.n_hosts_per_flows {
            0 => 0,
            n_done => self.pace.n_hosts_per_flows - n_done,
        }
    }

    /// Counts ticks that have nothing to feed.
    pub(crate) const fn skip(&mut self, n_ticks: u64) {
        self.n_ticks = self.n_ticks.saturating_add(n_ticks);
    }

    pub(crate) fn look_at_flows(
        &mut self,
        tables: &mut impl Tables,
        listener: &mut impl Listener,
        at_ns: u64,
    ) {
        self.scan(tables, listener, at_ns);
        listener.feed(at_ns, Input::FlowTick);
    }

    /// Feeds records that left the cache, and samples.
    fn drain(&mut self, tables: &mut impl Tables, listener: &mut impl Listener, at_ns: u64) {
        let batch = &mut self.batch;
        let mut feed = |flows: &[Flow]| listener.feed(at_ns, Input::FlowsSent(flows));
        tables.drain_flows(|flow| batch.push(flow, &mut feed));
        batch.flush(&mut feed);
        tables.drain_samples(|sample| listener.feed(at_ns, Input::Sample(sample)));
    }

    /// Feeds flows of the cache that had packets.
    fn scan(&mut self, tables: &mut impl Tables, listener: &mut impl Listener, at_ns: u64) {
        let batch = &mut self.batch;
        let mut feed = |flows: &[Flow]| listener.feed(at_ns, Input::FlowsLive(flows));
        tables.scan_flows(|flow| batch.push(flow, &mut feed));
        batch.flush(&mut feed);
    }

    /// Feeds what the datapath's counters say was lost since the last tick.
    fn feed_losses(&mut self, tables: &impl Tables, listener: &mut impl Listener, at_ns: u64) {
        let n_dropped = tables.event(Event::HostNotAdmitted).packets;
        let packets = n_dropped.saturating_sub(self.n_hosts_dropped);
        if packets > 0 {
            listener.feed(at_ns, Input::HostDropped { packets });
            self.n_hosts_dropped = n_dropped;
        }
        let n_shed = n_shed(tables);
        if n_shed != self.n_shed {
            let [over_budget, ring_full] = n_shed;
            let losses = Input::SamplesShed {
                over_budget: over_budget.saturating_sub(self.n_shed[0]),
                ring_full: ring_full.saturating_sub(self.n_shed[1]),
            };
            listener.feed(at_ns, losses);
            self.n_shed = n_shed;
        }
    }
}

/// Samples above their budget, and with the ring full, since the counters began.
fn n_shed(tables: &impl Tables) -> [u64; 2] {
    [Event::SampleOverBudget, Event::EventRingFull].map(|event| tables.event(event).packets)
}
