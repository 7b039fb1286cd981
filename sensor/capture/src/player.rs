//! Plays captures: packets go through the software datapath, and its tables are looked at by the
//! packets' time, as the kernel's are live.

use std::fmt;
use std::io;

use sensor_common::arrival::{Arrival, Way};
use sensor_common::counters::{Count, Event, Outcome};
use sensor_common::packet::Packet;
use sensor_engine::{Config, Input};

use crate::drive::{Drive, Listener, Pace, Tables as _, Wish};
use crate::kernel::LoadOptions;
use crate::pcap::{EthernetFrame, FRAMES, Frame, to_ethernet};
use crate::software::Software;

/// Event time goes on this long after the last packet: what a live sensor says a moment later, a
/// replay says, too (an attempt is unanswered after a second).
const AFTER_NS: u64 = 5_000_000_000;
/// After so long without a packet nothing is open any more, no window, no memory of a slow scan: time
/// leaps to the next packet. Captures of different years, or one absurd time stamp, cost no more.
const LEAP_AFTER_NS: u64 = 48 * 3_600 * 1_000_000_000;
/// Time left after a leap.
const LEAP_SHORT_NS: u64 = 60_000_000_000;
/// Buckets of flows that are remembered before an answer is waited for: 14 MB.
const MOST_REMEMBERED: usize = 32_768;
/// Packets out of order are stamped less than this before their predecessors; more is another
/// capture.
const MOST_DISORDER_NS: u64 = 1_000_000_000;

/// Conditions that captures are played under: those of the sensor that is replayed.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// Capacities, tunnels and the secret of the datapath, which is that of one CPU.
    pub load: LoadOptions,
    pub pace: Pace,
    /// Configuration of the engine that listens.
    pub engine: Config,
}

impl Default for Conditions {
    /// Conditions of the default configuration, with a secret that everybody knows.
    fn default() -> Self {
        Self {
            load: LoadOptions::fixed(),
            pace: Pace::default(),
            engine: Config::default(),
        }
    }
}

impl Conditions {
    /// Keeps datapath and pace, with another configuration of the engine.
    #[must_use]
    pub fn with_engine(&self, engine: Config) -> Self {
        Self {
            engine,
            ..self.clone()
        }
    }
}

/// Totals of a replay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Played {
    pub n_packets: u64,
    pub n_bytes: u64,
    /// Packets stamped a little earlier than one before them: they count as of its time.
    pub n_backward: u64,
    /// Time of the first and the last packet.
    pub first_ns: u64,
    pub last_ns: u64,
}

/// Time runs back from one capture to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetBack {
    /// First frame after it.
    pub frame: u64,
    pub by_ns: u64,
}

impl fmt::Display for SetBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "frame {} is stamped {:.3} s before the end of the capture before this one; event time goes \
             on from there, name the captures in the order of their times",
            self.frame,
            self.by_ns as f64 / 1e9
        )
    }
}

/// Packets in, ticks of event time out.
pub struct Player<L> {
    pub listener: L,
    path: Software,
    played: Played,
    drive: Drive,
    /// Frames of other links get their Ethernet header here.
    scratch: [Vec<u8>; FRAMES],
    /// Event time is the packets' time and this: what set-backs of the clock took away.
    behind_ns: u64,
    set_backs: Vec<SetBack>,
    next_tick_ns: u64,
    /// Questions to the listener that are answered later.
    n_asked: u64,
}

impl<L: Listener> Player<L> {
    pub fn new(listener: L, conditions: &Conditions) -> Self {
        Self {
            listener,
            path: Software::new(&conditions.load),
            played: Played::default(),
            drive: Drive::new(conditions.pace),
            scratch: [const { Vec::new() }; FRAMES],
            behind_ns: 0,
            set_backs: Vec::new(),
            next_tick_ns: 0,
            n_asked: 0,
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
        self.take_all([*frame])
    }

    /// Takes packets in turn, each after the ticks that lie before it. Some are read ahead, for the
    /// tables to be brought near; that changes nothing.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn take_all<'a>(&mut self, frames: impl IntoIterator<Item = Frame<'a>>) -> io::Result<()> {
        self.set_backs.clear();
        let mut frames = frames.into_iter();
        let mut scratch = std::mem::take(&mut self.scratch);
        while self.take_some(&mut frames, &mut scratch)? {}
        self.scratch = scratch;
        Ok(())
    }

    /// Takes as many as are read ahead at a time. `false`: there were no more.
    fn take_some<'a>(
        &mut self,
        frames: &mut impl Iterator<Item = Frame<'a>>,
        scratch: &mut [Vec<u8>; FRAMES],
    ) -> io::Result<bool> {
        self.settle(self.path.n_remembered() >= MOST_REMEMBERED);
        let mut batch = [const { None }; FRAMES];
        let mut packets = [Packet::default(); FRAMES];
        let mut n = 0;
        for ((place, packet), scratch) in batch.iter_mut().zip(&mut packets).zip(scratch) {
            let Some(frame) = frames.next() else { break };
            let ethernet = to_ethernet(&frame, scratch);
            *packet = self.path.parse(ethernet.data);
            *place = Some((frame.number, frame.at_ns, ethernet));
            n += 1;
        }
        self.path.fetch(packets.get(..n).unwrap_or_default());
        for (place, packet) in batch.iter().zip(&mut packets) {
            let Some((number, at_ns, frame)) = place else {
                break;
            };
            let at_ns = self.event_time(*number, *at_ns);
            self.advance(at_ns)?;
            self.process(frame, packet);
        }
        Ok(n == FRAMES)
    }

    fn process(&mut self, frame: &EthernetFrame<'_>, packet: &mut Packet) {
        self.played.n_packets += 1;
        self.played.n_bytes += u64::from(frame.wire_len);
        let arrival = Arrival {
            now_ns: self.played.last_ns,
            bytes: frame.wire_len,
            segments: 1,
            ifindex: 0,
            cpu: 0,
        };
        self.path
            .process_parsed(frame.data, packet, Way::Ingress, &arrival);
    }

    /// Takes as many equal packets at once, of `wire_bytes` in all, after the ticks that lie before them;
    /// `frame` is one of them, or what is known of it.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn take_counted(
        &mut self,
        at_ns: u64,
        frame: &[u8],
        wire_bytes: u32,
        n_packets: u16,
    ) -> io::Result<()> {
        self.advance(at_ns)?;
        let mut packet = self.path.parse(frame);
        self.played.n_packets += u64::from(n_packets);
        self.played.n_bytes += u64::from(wire_bytes);
        let arrival = Arrival {
            now_ns: self.played.last_ns,
            bytes: wire_bytes,
            segments: n_packets,
            ifindex: 0,
            cpu: 0,
        };
        self.path
            .process_parsed(frame, &mut packet, Way::Ingress, &arrival);
        Ok(())
    }

    /// Moves event time on without a packet; it begins with the first one.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn pass(&mut self, at_ns: u64) -> io::Result<()> {
        if self.played.n_packets > 0 && at_ns > self.played.last_ns {
            self.advance(at_ns)?;
        }
        Ok(())
    }

    /// Places of the last [`Self::take_all`] where time runs back from one capture to the next.
    pub fn take_set_backs(&mut self) -> impl Iterator<Item = SetBack> {
        self.set_backs.drain(..)
    }

    /// A packet's time, unless it is earlier than the end of the capture before: then time goes on at
    /// the packets' pace, until they have caught up.
    fn event_time(&mut self, frame: u64, at_ns: u64) -> u64 {
        let last_ns = self.played.last_ns;
        if at_ns >= last_ns {
            self.behind_ns = 0;
            return at_ns;
        }
        let by_ns = last_ns.saturating_sub(at_ns.saturating_add(self.behind_ns));
        if by_ns > MOST_DISORDER_NS {
            self.set_backs.push(SetBack { frame, by_ns });
            self.behind_ns = last_ns - at_ns;
        }
        at_ns.saturating_add(self.behind_ns)
    }

    /// Moves event time on, with the ticks that lie before the packet. Time never runs back: a
    /// packet from before counts as of now.
    fn advance(&mut self, at_ns: u64) -> io::Result<()> {
        if self.played.n_packets == 0 {
            self.played.first_ns = at_ns;
            self.played.last_ns = at_ns;
            self.next_tick_ns = at_ns.saturating_add(self.tick_ns());
        }
        if at_ns < self.played.last_ns {
            self.played.n_backward += 1;
            return Ok(());
        }
        self.tick_until(at_ns)?;
        self.played.last_ns = at_ns;
        Ok(())
    }

    /// Nanoseconds from one tick to the next.
    const fn tick_ns(&self) -> u64 {
        self.drive.pace().hosts_ns()
    }

    fn tick_until(&mut self, at_ns: u64) -> io::Result<()> {
        if at_ns < self.next_tick_ns {
            return Ok(());
        }
        let now_ns = self.next_tick_ns;
        self.tick(now_ns);
        self.listener.deliver(now_ns)?;
        self.move_on(1);
        if at_ns >= self.next_tick_ns {
            self.idle_until(at_ns)?;
        }
        Ok(())
    }

    /// As [`Drive::tick`]. Where the listener answers later, the tables remember what they are now.
    fn tick(&mut self, now_ns: u64) {
        self.drive
            .look_at_hosts(&mut self.path, &mut self.listener, now_ns);
        let is_wanted = self.drive.n_ticks_to_flows() == 0
            || match self.listener.ask(now_ns) {
                Some(is_wanted) => is_wanted,
                None => {
                    self.n_asked += 1;
                    self.path.mark(self.n_asked);
                    false
                }
            };
        if is_wanted {
            self.look_at_flows(now_ns);
        }
        self.drive.skip(1);
    }

    fn look_at_flows(&mut self, now_ns: u64) {
        self.settle(true);
        self.drive
            .look_at_flows(&mut self.path, &mut self.listener, now_ns);
    }

    /// Shows the listener flows that it wished for; `waits`: not before it is known of each question
    /// whether it does.
    fn settle(&mut self, waits: bool) {
        loop {
            match self.listener.wish(waits) {
                Wish::Open => return,
                Wish::Nothing => return self.path.forget_marks(),
                Wish::Flows(mark) => {
                    let mut flows = Vec::new();
                    self.path.scan_flows_at(mark, |flow| flows.push(*flow));
                    self.listener.show(flows);
                }
            }
        }
    }

    /// Moves the time of the next tick on.
    const fn move_on(&mut self, n_ticks: u64) {
        let step_ns = n_ticks.saturating_mul(self.tick_ns());
        self.next_tick_ns = self.next_tick_ns.saturating_add(step_ns);
    }

    /// Leaves ticks out.
    const fn skip(&mut self, n_ticks: u64) {
        self.drive.skip(n_ticks);
        self.move_on(n_ticks);
    }

    /// The ticks of a time without packets. Looks at hosts would find nothing: only the last is
    /// said, so that the next one covers no more time than its own.
    fn idle_until(&mut self, at_ns: u64) -> io::Result<()> {
        let leap_ns = self.next_tick_ns.saturating_add(LEAP_AFTER_NS);
        loop {
            if self.next_tick_ns >= leap_ns {
                self.leap_towards(at_ns);
            }
            let n_left = at_ns.saturating_sub(self.next_tick_ns) / self.tick_ns();
            let n_to_flows = self.drive.n_ticks_to_flows();
            self.skip(n_to_flows.min(n_left));
            let now_ns = self.next_tick_ns;
            let is_last = n_left <= n_to_flows;
            if is_last {
                let (local, remote) = (&[], &[]);
                self.listener.feed(now_ns, Input::Hosts { local, remote });
            }
            if n_to_flows <= n_left {
                self.look_at_flows(now_ns);
                self.listener.deliver(now_ns)?;
            }
            self.skip(1);
            if is_last {
                return Ok(());
            }
        }
    }

    /// Leaves ticks out, as many as a whole number of looks at flows, up to shortly before `at_ns`.
    fn leap_towards(&mut self, at_ns: u64) {
        let left_ns = at_ns.saturating_sub(self.next_tick_ns);
        let n_ticks = left_ns.saturating_sub(LEAP_SHORT_NS) / self.tick_ns();
        self.skip(n_ticks - n_ticks % self.drive.pace().n_hosts_per_flows());
    }

    /// Lets a little time pass, then ends what is open.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn finish(&mut self) -> io::Result<()> {
        let at_ns = self.played.last_ns.saturating_add(AFTER_NS);
        self.tick_until(at_ns)?;
        self.settle(true);
        self.drive.finish(&mut self.path, &mut self.listener, at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap::LinkType;

    /// Counts what it is told.
    #[derive(Default)]
    struct Counted {
        n_deliveries: u64,
        last_ns: u64,
        n_flows: usize,
    }

    impl Listener for Counted {
        fn feed(&mut self, at_ns: u64, input: Input<'_>) {
            assert!(at_ns >= self.last_ns, "time runs back");
            self.last_ns = at_ns;
            if let Input::FlowsSent(flows) = input {
                self.n_flows += flows.len();
            }
        }

        fn wants_flows(&self) -> bool {
            false
        }

        fn deliver(&mut self, _at_ns: u64) -> io::Result<()> {
            self.n_deliveries += 1;
            Ok(())
        }

        fn finish(&mut self, _at_ns: u64) {}
    }

    /// Two packets, so long apart.
    fn played(apart_ns: u64) -> Counted {
        let mut data = [0; 60];
        data[12..14].copy_from_slice(&[0x08, 0x00]);
        data[14..24].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17]);
        data[26..34].copy_from_slice(&[192, 0, 2, 1, 192, 0, 2, 2]);
        let first_ns = 1_600_000_000 * 1_000_000_000;
        let mut player = Player::new(Counted::default(), &Conditions::default());
        for (number, at_ns) in [(1, first_ns), (2, first_ns + apart_ns)] {
            let frame = Frame {
                at_ns,
                link: LinkType::Ethernet,
                data: &data,
                wire_len: 60,
                number,
            };
            player.take(&frame).expect("counted");
        }
        assert_eq!(player.listener.last_ns / 1_000_000_000, {
            let at_ns = player.played.last_ns;
            at_ns / 1_000_000_000
        });
        player.finish().expect("counted");
        player.listener
    }

    const DAY_NS: u64 = 86_400_000_000_000;

    #[test]
    fn a_quiet_day_is_walked_a_quiet_century_is_not() {
        let day = played(DAY_NS);
        assert!(day.n_deliveries >= 86_400, "{}", day.n_deliveries);
        let century = played(100 * 365 * DAY_NS);
        assert!(
            century.n_deliveries < 3 * 86_400,
            "{}",
            century.n_deliveries
        );
        let most = played(u64::MAX / 2);
        assert!(most.n_deliveries < 3 * 86_400, "{}", most.n_deliveries);
    }
}
