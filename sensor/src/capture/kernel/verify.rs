//! The second step of attaching: a program counts as attached for good only when packets were seen
//! to reach it and to go on arriving. What turns out not to work is named, and the caller detaches
//! it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::attach::AtStart;
use super::interface::Interface;

/// So long the kernel's own counters and the program's may disagree.
const PATIENCE: Duration = Duration::from_secs(3);
/// So many packets must have come in before a program that saw none is called dead.
const TELLING_PACKETS: u64 = 16;
/// After this long an interface without a packet is called idle, once.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// The counters of one interface, and what the ingress program counted on all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub received: u64,
    pub has_carrier: bool,
    /// Packets that the ingress program counted, whichever interface they came by.
    pub counted: u64,
}

impl Reading {
    /// # Errors
    /// When the interface is gone.
    pub fn of(interface: &Interface, counted: u64) -> Result<Self> {
        Ok(Self {
            received: interface.received_packets()?,
            has_carrier: interface.has_carrier(),
            counted,
        })
    }
}

/// What a look showed that was not known before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Verified,
    /// Nothing came yet, so nothing is proved; said once.
    Idle,
    /// To be detached, with the reason.
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
    told_idle: bool,
    lost_carrier: Option<Instant>,
}

impl Probation {
    /// Begins at `now`; `counted` is what the ingress program has counted so far.
    pub fn new(now: Instant, start: AtStart, counted: u64) -> Self {
        Self {
            since: now,
            at_start: Reading {
                received: start.received,
                has_carrier: start.had_carrier,
                counted,
            },
            was_busy: start.received >= start.received_before + TELLING_PACKETS,
            is_verified: false,
            told_idle: false,
            lost_carrier: None,
        }
    }

    /// Takes in how things stand at `now`. Quiet once the attachment is verified.
    pub fn look(&mut self, now: Instant, reading: Reading, others: Others) -> Option<News> {
        if self.is_verified {
            return None;
        }
        if let Some(why) = self.broken(now, reading, others) {
            return Some(News::Broken(why));
        }
        let came = reading.received.saturating_sub(self.at_start.received);
        let counted = reading.counted.saturating_sub(self.at_start.counted);
        if came > 0 && counted > 0 {
            self.is_verified = true;
            return Some(News::Verified);
        }
        if !self.told_idle && now.duration_since(self.since) >= IDLE_AFTER {
            self.told_idle = true;
            return Some(News::Idle);
        }
        None
    }

    fn broken(&mut self, now: Instant, reading: Reading, others: Others) -> Option<String> {
        if self.at_start.has_carrier && !reading.has_carrier {
            let since = *self.lost_carrier.get_or_insert(now);
            return (now.duration_since(since) >= PATIENCE)
                .then(|| "its link went down and stayed down".to_owned());
        }
        self.lost_carrier = None;
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

/// Whether other interfaces feed the same counters.
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
        has_carrier: true,
        counted: 50,
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
            };
            Self {
                probation: Probation::new(start, at_start, QUIET.counted),
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
    fn a_link_may_blink_but_not_stay_down() {
        let down = Reading {
            has_carrier: false,
            ..QUIET
        };
        let mut case = Case::new(0);
        assert_eq!(case.after(1, down), None);
        assert_eq!(case.after(2, QUIET), None);
        assert_eq!(case.after(3, down), None);
        assert_eq!(case.after(5, down), None);
        assert!(matches!(case.after(6, down), Some(News::Broken(_))));
    }
}
