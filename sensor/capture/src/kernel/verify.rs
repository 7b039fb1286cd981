//! The second step of attaching: a program counts as attached for good only when packets were seen
//! to reach it and to go on arriving. What turns out not to work is named, and the caller detaches
//! it.

use std::time::{Duration, Instant};

use sensor_common::arrival::Way;

use super::attach::AtStart;
use super::interface::Interface;

/// Time for which the kernel's own counters and the program's may disagree.
const PATIENCE: Duration = Duration::from_secs(3);
/// Number of packets that must have come in before a program that saw none is called dead.
const TELLING_PACKETS: u64 = 16;
/// After this long an interface without a packet is called idle, once.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// The counters of one interface, and what the programs counted on all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub received: u64,
    pub sent: u64,
    pub has_carrier: bool,
    /// Packets that the ingress program counted, whichever interface they came by, and the egress
    /// program.
    pub counted: u64,
    pub counted_out: u64,
}

impl Reading {
    /// Counters of an interface beside those of the programs.
    pub const fn of(interface: &Interface, [counted, counted_out]: [u64; 2]) -> Self {
        Self {
            received: interface.received_packets(),
            sent: interface.sent_packets(),
            has_carrier: interface.has_carrier(),
            counted,
            counted_out,
        }
    }
}

/// News of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Verified,
    /// The egress program was seen at work.
    EgressVerified,
    /// Packets go this way, and none of what the program told of was of this interface; said once.
    Unproved(Way),
    /// Nothing came yet, so nothing is proved; said once.
    Idle,
    /// Attachment to be undone, with the reason.
    Broken(String),
}

/// One attachment on probation.
#[derive(Debug)]
pub struct Probation {
    since: Instant,
    at_start: Reading,
    /// Packets came in while the program was loaded, so some must come in afterwards.
    was_busy: bool,
    is_verified: bool,
    is_egress_verified: bool,
    /// A sample came from this interface: ingress, egress.
    is_seen: [bool; 2],
    told_unproved: [bool; 2],
    told_idle: bool,
}

impl Probation {
    /// Begins at `now`; `counted` is what the ingress program has counted so far.
    pub fn new(now: Instant, start: AtStart, [counted, counted_out]: [u64; 2]) -> Self {
        Self {
            since: now,
            at_start: Reading {
                received: start.received,
                sent: start.sent,
                has_carrier: start.had_carrier,
                counted,
                counted_out,
            },
            was_busy: start.received >= start.received_before + TELLING_PACKETS,
            is_verified: false,
            is_egress_verified: false,
            is_seen: [false; 2],
            told_unproved: [false; 2],
            told_idle: false,
        }
    }

    /// A program told of a packet of this interface.
    pub const fn see(&mut self, way: Way) {
        self.is_seen[way as usize] = true;
    }

    /// True while there is something to find out.
    pub const fn is_open(&self) -> bool {
        !self.is_verified || !self.is_egress_verified
    }

    /// Takes in how things stand at `now`. Quiet once the attachment is verified. With `others` on
    /// the same counters, only what was told of this very interface verifies it.
    pub fn look(&mut self, now: Instant, reading: Reading, others: Others) -> Option<News> {
        if self.is_verified {
            return self.look_out(now, reading, others);
        }
        if let Some(why) = self.broken(now, reading, others) {
            return Some(News::Broken(why));
        }
        let came = reading.received.saturating_sub(self.at_start.received);
        let counted = reading.counted.saturating_sub(self.at_start.counted);
        let is_seen = self.is_seen[Way::Ingress as usize] || others == Others::None;
        if came > 0 && counted > 0 && is_seen {
            self.is_verified = true;
            return Some(News::Verified);
        }
        let is_late = now.duration_since(self.since) >= IDLE_AFTER;
        if is_late && came >= TELLING_PACKETS {
            return self.unproved(Way::Ingress);
        }
        if !self.told_idle && is_late && came == 0 {
            self.told_idle = true;
            return Some(News::Idle);
        }
        None
    }

    /// Looks at egress, where nothing is detached: traffic goes on in any case.
    fn look_out(&mut self, now: Instant, reading: Reading, others: Others) -> Option<News> {
        if self.is_egress_verified {
            return None;
        }
        let sent = reading.sent.saturating_sub(self.at_start.sent);
        let counted = reading
            .counted_out
            .saturating_sub(self.at_start.counted_out);
        let is_seen = self.is_seen[Way::Egress as usize] || others == Others::None;
        if sent > 0 && counted > 0 && is_seen {
            self.is_egress_verified = true;
            return Some(News::EgressVerified);
        }
        let is_late = now.duration_since(self.since) >= IDLE_AFTER;
        if is_late && sent >= TELLING_PACKETS {
            return self.unproved(Way::Egress);
        }
        None
    }

    const fn unproved(&mut self, way: Way) -> Option<News> {
        let told = &mut self.told_unproved[way as usize];
        if *told {
            return None;
        }
        *told = true;
        Some(News::Unproved(way))
    }

    fn broken(&mut self, now: Instant, reading: Reading, others: Others) -> Option<String> {
        // Nothing comes over a link that is down: what is held against the program is held anew.
        if !reading.has_carrier {
            self.since = now;
            self.at_start.received = reading.received;
            return None;
        }
        if now.duration_since(self.since) < PATIENCE {
            return None;
        }
        let came = reading.received.saturating_sub(self.at_start.received);
        let counted = reading.counted.saturating_sub(self.at_start.counted);
        if came >= TELLING_PACKETS && counted == 0 {
            return Some(format!("{came} packets came in and the program saw none"));
        }
        if self.was_busy && came == 0 && (counted == 0 || others == Others::Attached) {
            return Some("it was busy before and nothing came in since".to_owned());
        }
        None
    }
}

/// Presence of other interfaces that feed the same counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    None,
    Attached,
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Reading = Reading {
        received: 1_000,
        sent: 700,
        has_carrier: true,
        counted: 50,
        counted_out: 20,
    };

    struct Case {
        probation: Probation,
        start: Instant,
    }

    impl Case {
        /// `busy`: packets that came in before attaching.
        fn new(busy: u64) -> Self {
            let start = Instant::now();
            let at_start = AtStart {
                had_carrier: true,
                received_before: QUIET.received - busy,
                received: QUIET.received,
                sent: QUIET.sent,
            };
            Self {
                probation: Probation::new(start, at_start, [QUIET.counted, QUIET.counted_out]),
                start,
            }
        }

        fn after(&mut self, seconds: u64, reading: Reading) -> Option<News> {
            let now = self.start + Duration::from_secs(seconds);
            self.probation.look(now, reading, Others::None)
        }
    }

    fn moved(received: u64, counted: u64) -> Reading {
        Reading {
            received: QUIET.received + received,
            counted: QUIET.counted + counted,
            ..QUIET
        }
    }

    #[test]
    fn a_packet_that_is_counted_verifies_once() {
        let mut case = Case::new(0);
        assert_eq!(case.after(1, moved(0, 0)), None);
        assert_eq!(case.after(2, moved(1, 1)), Some(News::Verified));
        assert_eq!(case.after(3, moved(5_000, 1)), None);
    }

    #[test]
    fn another_interfaces_packets_prove_nothing() {
        let mut case = Case::new(0);
        let mut after = |seconds, reading, seen: Option<Way>| {
            if let Some(way) = seen {
                case.probation.see(way);
            }
            let now = case.start + Duration::from_secs(seconds);
            case.probation.look(now, reading, Others::Attached)
        };
        assert_eq!(after(1, moved(20, 9), None), None);
        let unproved = Some(News::Unproved(Way::Ingress));
        assert_eq!(after(11, moved(30, 90), None), unproved);
        assert_eq!(after(12, moved(40, 95), None), None);
        let verified = Some(News::Verified);
        assert_eq!(after(13, moved(50, 99), Some(Way::Ingress)), verified);
        let out = |sent, counted_out| Reading {
            sent: QUIET.sent + sent,
            counted_out: QUIET.counted_out + counted_out,
            ..moved(60, 100)
        };
        assert_eq!(after(14, out(3, 3), None), None);
        let unproved = Some(News::Unproved(Way::Egress));
        assert_eq!(after(15, out(16, 30), None), unproved);
        let verified = Some(News::EgressVerified);
        assert_eq!(after(16, out(17, 31), Some(Way::Egress)), verified);
        assert!(!case.probation.is_open());
    }

    #[test]
    fn an_idle_interface_stays_and_is_called_idle_once() {
        let mut case = Case::new(0);
        assert_eq!(case.after(9, moved(0, 0)), None);
        assert_eq!(case.after(10, moved(0, 0)), Some(News::Idle));
        assert_eq!(case.after(60, moved(0, 0)), None);
        assert_eq!(case.after(61, moved(1, 1)), Some(News::Verified));
    }

    #[test]
    fn a_program_that_sees_nothing_is_broken() {
        let mut case = Case::new(0);
        assert_eq!(case.after(1, moved(500, 0)), None);
        let news = case.after(3, moved(500, 0));
        let why = "500 packets came in and the program saw none";
        assert_eq!(news, Some(News::Broken(why.to_owned())));
    }

    #[test]
    fn a_busy_interface_that_falls_silent_is_broken() {
        let mut case = Case::new(100);
        assert_eq!(case.after(2, moved(0, 0)), None);
        assert!(matches!(case.after(3, moved(0, 0)), Some(News::Broken(_))));
    }

    #[test]
    fn a_link_that_is_down_proves_nothing_however_long() {
        let down = Reading {
            has_carrier: false,
            ..QUIET
        };
        let mut case = Case::new(100);
        for seconds in [1, 5, 600] {
            assert_eq!(case.after(seconds, down), None);
        }
        assert_eq!(case.after(602, QUIET), None);
        assert_eq!(case.after(604, moved(1, 1)), Some(News::Verified));
    }
}
