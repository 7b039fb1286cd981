//! Unix time of what the kernel stamps with its monotonic clock.
//!
//! The wall clock is set now and then, and it alone goes on while the machine is suspended. Event time
//! follows it forward at once, and never runs back: after the wall clock was set back, event time goes
//! on a tenth slower until both agree. A stamp is converted by what held when it was made, however
//! late it is read: a flow keeps its start, and no step is applied to it twice.

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sensor_common::datapath;
use sensor_common::flow::{Direction, Flow};

/// Steps that are remembered. Stamps from before them are converted as those at the oldest.
const STEPS: usize = 8;
/// A smaller difference to the wall clock is left alone: reading both clocks is no more exact.
const LEAST_STEP_NS: u64 = 1_000_000;
/// Two readings of the monotonic clock around one of the wall clock must not lie further apart.
const MAX_READING_NS: u64 = 100_000;
/// Readings that are tried.
const READINGS: usize = 4;
/// Event time that is ahead of the wall clock goes slower by this part.
const SLOWER_BY: u64 = 10;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// CLOCK_MONOTONIC of the kernel, as programs read it.
    pub kernel_ns: u64,
    /// Since 1970.
    pub unix_ns: u64,
}

impl ClockReading {
    /// Reads both clocks; none where the reader was held up each time between them, or where the wall
    /// clock stands before 1970.
    pub fn now() -> Option<Self> {
        (0..READINGS).find_map(|_| {
            let before_ns = monotonic_ns();
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
            let took_ns = monotonic_ns().saturating_sub(before_ns);
            (took_ns <= MAX_READING_NS).then(|| Self {
                kernel_ns: before_ns + took_ns / 2,
                unix_ns: unix.as_nanos() as u64,
            })
        })
    }
}

/// The wall clock was set, or went on while the kernel's stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// Forward, or back where negative, nanoseconds.
    pub by_ns: i64,
    /// Event time is so far ahead of the wall clock, nanoseconds.
    pub ahead_ns: u64,
}

/// Offset that turns stamps into unix time from one moment on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Step {
    from_ns: u64,
    /// Unix time is the kernel's and this.
    offset_ns: u64,
    /// Event time is ahead of unix time by this at `from_ns`.
    ahead_ns: u64,
}

impl Step {
    fn ahead_ns(&self, kernel_ns: u64) -> u64 {
        let made_up_ns = kernel_ns.saturating_sub(self.from_ns) / SLOWER_BY;
        self.ahead_ns.saturating_sub(made_up_ns)
    }

    fn unix_ns(self, kernel_ns: u64) -> u64 {
        let unix_ns = kernel_ns.wrapping_add(self.offset_ns);
        unix_ns.saturating_add(self.ahead_ns(kernel_ns))
    }
}

/// Offsets of unix time to the kernel's clock, with the moments from which they hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offsets {
    /// Oldest first; the last holds now.
    steps: [Step; STEPS],
}

impl Offsets {
    const NONE: Self = Self {
        steps: [Step {
            from_ns: 0,
            offset_ns: 0,
            ahead_ns: 0,
        }; STEPS],
    };

    fn of(reading: ClockReading) -> Self {
        let first = Step {
            offset_ns: reading.unix_ns.wrapping_sub(reading.kernel_ns),
            ..Step::default()
        };
        Self {
            steps: [first; STEPS],
        }
    }

    const fn last(&self) -> Step {
        self.steps[STEPS - 1]
    }

    /// Unix time of a stamp of the kernel.
    #[inline]
    pub(super) fn unix_ns(&self, kernel_ns: u64) -> u64 {
        let mut latest_first = self.steps.iter().rev();
        let step = latest_first.find(|step| step.from_ns <= kernel_ns);
        step.unwrap_or(&self.steps[0]).unix_ns(kernel_ns)
    }

    /// Converts the times of a flow.
    pub(super) fn shift(&self, flow: &mut Flow) {
        for direction in &mut flow.directions {
            let Direction {
                first_ns,
                last_ns,
                packets,
                ..
            } = direction;
            if *packets > 0 {
                *first_ns = self.unix_ns(*first_ns);
                *last_ns = self.unix_ns(*last_ns);
            }
        }
    }

    /// Goes by a reading from its moment on; tells of a step.
    fn follow(&mut self, reading: ClockReading) -> Option<ClockStep> {
        let last = self.last();
        let expected_ns = reading.kernel_ns.wrapping_add(last.offset_ns);
        if expected_ns.abs_diff(reading.unix_ns) < LEAST_STEP_NS {
            return None;
        }
        let ahead_ns = self
            .unix_ns(reading.kernel_ns)
            .saturating_sub(reading.unix_ns);
        self.steps.rotate_left(1);
        self.steps[STEPS - 1] = Step {
            from_ns: reading.kernel_ns,
            offset_ns: reading.unix_ns.wrapping_sub(reading.kernel_ns),
            ahead_ns,
        };
        Some(ClockStep {
            by_ns: reading.unix_ns.wrapping_sub(expected_ns).cast_signed(),
            ahead_ns,
        })
    }
}

/// The offsets that hold, for all who read the kernel's tables.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    offsets: Arc<Mutex<Offsets>>,
    /// Captures have unix time already.
    is_unix: bool,
}

impl Clock {
    pub(super) fn of(program: datapath::Clock) -> Self {
        let is_unix = program == datapath::Clock::Frame;
        let first = if is_unix {
            None
        } else {
            // Held up each time: an inexact reading is better than none, and mended at the next look.
            ClockReading::now().or_else(inexact)
        };
        Self {
            offsets: Arc::new(Mutex::new(first.map_or(Offsets::NONE, Offsets::of))),
            is_unix,
        }
    }

    /// Offset that holds now.
    pub(super) fn offsets(&self) -> Offsets {
        *self.lock()
    }

    /// Goes by a reading of the clocks; tells of a step.
    pub(super) fn follow(&self, reading: ClockReading) -> Option<ClockStep> {
        if self.is_unix {
            return None;
        }
        self.lock().follow(reading)
    }

    /// Lead of event time over the wall clock, nanoseconds.
    pub(super) fn ahead_ns(&self) -> u64 {
        self.lock().last().ahead_ns(monotonic_ns())
    }

    /// A thread that failed while it held the lock left whole values behind.
    fn lock(&self) -> MutexGuard<'_, Offsets> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn inexact() -> Option<ClockReading> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(ClockReading {
        kernel_ns: monotonic_ns(),
        unix_ns: unix.as_nanos() as u64,
    })
}

/// CLOCK_MONOTONIC of the kernel, which its programs stamp and compare by. In a time namespace the
/// one of this process differs from it, and its offset is taken off.
pub fn monotonic_ns() -> u64 {
    static OFFSET_NS: OnceLock<i64> = OnceLock::new();
    let offset_ns = *OFFSET_NS.get_or_init(namespace_offset_ns);
    process_monotonic_ns().saturating_add_signed(offset_ns.saturating_neg())
}

/// CLOCK_MONOTONIC as this process has it: others of its time namespace, such as its service manager,
/// have the same.
pub fn process_monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64)
}

/// Lead of this process's CLOCK_MONOTONIC over the kernel's; 0 without time namespaces.
fn namespace_offset_ns() -> i64 {
    let text = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    monotonic_offset_ns(&text).unwrap_or_default()
}

/// Reads `/proc/PID/timens_offsets`: a clock's name, seconds and nanoseconds a line.
fn monotonic_offset_ns(text: &str) -> Option<i64> {
    let line = text.lines().find(|line| line.starts_with("monotonic"))?;
    let mut numbers = line.split_whitespace().skip(1);
    let seconds: i64 = numbers.next()?.parse().ok()?;
    let nanoseconds: i64 = numbers.next()?.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    /// A day in November 2023.
    const DAY: u64 = 1_700_000_000 * S;

    fn at(kernel_s: u64, unix_ns: u64) -> ClockReading {
        ClockReading {
            kernel_ns: kernel_s * S,
            unix_ns,
        }
    }

    #[test]
    fn stamps_become_unix_time_and_steady_clocks_no_step() {
        let mut offsets = Offsets::of(at(100, DAY));
        assert_eq!(offsets.unix_ns(90 * S), DAY - 10 * S);
        assert_eq!(offsets.follow(at(200, DAY + 100 * S + 40_000)), None);
        assert_eq!(offsets.unix_ns(300 * S), DAY + 200 * S);
    }

    #[test]
    fn a_step_forward_counts_from_its_moment_on_and_once() {
        let mut offsets = Offsets::of(at(100, DAY));
        let reading = at(200, DAY + 100 * S + 3_600 * S);
        let step = ClockStep {
            by_ns: 3_600_000_000_000,
            ahead_ns: 0,
        };
        assert_eq!(offsets.follow(reading), Some(step));
        assert_eq!(offsets.follow(at(201, reading.unix_ns + S)), None);
        // A flow that began before keeps its start, whenever it is read.
        assert_eq!(offsets.unix_ns(150 * S), DAY + 50 * S);
        assert_eq!(offsets.unix_ns(200 * S), reading.unix_ns);
        assert_eq!(offsets.unix_ns(210 * S), reading.unix_ns + 10 * S);
    }

    #[test]
    fn a_boot_in_1970_is_followed_into_the_present() {
        let mut offsets = Offsets::of(at(5, 5 * S));
        let step = offsets.follow(at(65, DAY)).unwrap();
        assert_eq!(step.by_ns, (DAY - 65 * S).cast_signed());
        assert_eq!(offsets.unix_ns(66 * S), DAY + S);
        assert_eq!(offsets.unix_ns(64 * S), 64 * S);
    }

    #[test]
    fn after_a_step_back_event_time_goes_on_slower_until_it_agrees() {
        let mut offsets = Offsets::of(at(0, DAY));
        let step = offsets.follow(at(100, DAY + 70 * S)).unwrap();
        assert_eq!(step.by_ns, -30_000_000_000);
        assert_eq!(step.ahead_ns, 30 * S);
        let mut last_ns = 0;
        for kernel_s in 90..500 {
            let event_ns = offsets.unix_ns(kernel_s * S);
            assert!(event_ns > last_ns, "{kernel_s}");
            last_ns = event_ns;
        }
        assert_eq!(offsets.unix_ns(100 * S), DAY + 100 * S);
        assert_eq!(offsets.unix_ns(200 * S), DAY + 190 * S);
        assert_eq!(
            offsets.unix_ns(400 * S),
            DAY + 370 * S,
            "agrees from here on"
        );
        assert_eq!(offsets.unix_ns(450 * S), DAY + 420 * S);
    }

    #[test]
    fn a_step_back_is_undone_by_one_forward() {
        let mut offsets = Offsets::of(at(0, DAY));
        offsets.follow(at(100, DAY + 40 * S)).unwrap();
        let step = offsets.follow(at(110, DAY + 110 * S)).unwrap();
        assert_eq!((step.by_ns, step.ahead_ns), (60_000_000_000, 0));
        assert_eq!(offsets.unix_ns(120 * S), DAY + 120 * S);
    }

    #[test]
    fn event_time_never_runs_back_whatever_the_wall_clock_does() {
        let mut offsets = Offsets::of(at(0, DAY));
        let mut last_ns = 0;
        for n in 1..200 {
            let jump = [0, 7, 3_600, 1, 90_000, 2][(n % 6) as usize] * S;
            offsets.follow(at(n, DAY + jump));
            for kernel_ns in [n * S, n * S + S / 2] {
                let event_ns = offsets.unix_ns(kernel_ns);
                assert!(event_ns >= last_ns, "{n}");
                last_ns = event_ns;
            }
        }
    }

    #[test]
    fn clocks_of_captures_are_left_alone() {
        let clock = Clock::of(datapath::Clock::Frame);
        assert_eq!(clock.follow(at(10, DAY)), None);
        assert_eq!(clock.offsets().unix_ns(DAY), DAY);
    }

    #[test]
    fn offsets_of_a_time_namespace_are_read() {
        let text = "monotonic        5000         7\nboottime         1000         0\n";
        assert_eq!(monotonic_offset_ns(text), Some(5_000_000_000_007));
        let text = "monotonic          -5         500000000\nboottime            0         0\n";
        assert_eq!(monotonic_offset_ns(text), Some(-4_500_000_000));
        assert_eq!(monotonic_offset_ns(""), None);
    }

    #[test]
    fn readings_agree_with_each_other() {
        let (first, second) = (inexact().unwrap(), ClockReading::now().unwrap());
        let offset_ns = |reading: ClockReading| reading.unix_ns - reading.kernel_ns;
        assert!(offset_ns(first).abs_diff(offset_ns(second)) < S);
    }
}
