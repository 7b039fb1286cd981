//! Rate limit of a sink: so many records a minute, the first minute's at once.

use std::time::{Duration, Instant};

/// A bucket that fills with time.
#[derive(Debug)]
pub struct Pace {
    /// Records a minute; 0: any.
    per_min: f64,
    left: f64,
    at: Instant,
}

impl Pace {
    pub fn new(per_min: u32, now: Instant) -> Self {
        let per_min = f64::from(per_min);
        Self {
            per_min,
            left: per_min,
            at: now,
        }
    }

    /// Takes as many of so many records as may go now.
    ///
    /// # Errors
    /// Time until the next may go.
    pub fn take(&mut self, wanted: usize, now: Instant) -> Result<usize, Duration> {
        if self.per_min == 0.0 {
            return Ok(wanted);
        }
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.per_min / 60.0).min(self.per_min);
        self.at = now;
        if self.left < 1.0 {
            return Err(Duration::from_secs_f64(
                (1.0 - self.left) * 60.0 / self.per_min,
            ));
        }
        let n = (self.left as usize).min(wanted);
        self.left -= n as f64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_goes_at_once_and_then_by_and_by() {
        let start = Instant::now();
        let mut pace = Pace::new(6, start);
        assert_eq!(pace.take(4, start), Ok(4));
        assert_eq!(pace.take(4, start), Ok(2));
        assert_eq!(pace.take(4, start), Err(Duration::from_secs(10)));
        assert_eq!(pace.take(4, start + Duration::from_secs(20)), Ok(2));
        assert_eq!(Pace::new(0, start).take(9_999, start), Ok(9_999));
    }
}
