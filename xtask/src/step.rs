//! Steps of the set-up, told one a line.

use std::{
    io::{Write, stdout},
    time::{Duration, Instant},
};

use crate::proc::Result;

/// Result of a step.
pub enum Outcome {
    Present,
    Done(String),
    /// Not done, and the rest can go on without; says why and what to do about it.
    Skipped(String),
}

/// One line of progress.
pub struct Step {
    label: String,
    started: Instant,
}

impl Step {
    pub fn start(number: usize, total: usize, name: &str) -> Self {
        let label = format!("[{number}/{total}] {name} …");
        print!("{label} ");
        // A lost progress line is no reason to stop.
        let _ = stdout().flush();
        Self {
            label,
            started: Instant::now(),
        }
    }

    /// Says what takes long, on a line of its own so that logs show it too.
    pub fn note(&self, what: &str) {
        print!("{what}\n{} ", self.label);
        let _ = stdout().flush();
    }

    pub fn finish(&self, outcome: &Result<Outcome>) {
        let took = elapsed(self.started);
        match outcome {
            Ok(Outcome::Present) => println!("present"),
            Ok(Outcome::Done(how)) => println!("{how} ({took})"),
            Ok(Outcome::Skipped(why)) => println!("skipped: {why}"),
            Err(_) => println!("failed ({took})"),
        }
    }
}

/// Time since then, in words.
pub fn elapsed(since: Instant) -> String {
    seconds(since.elapsed())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_short() {
        assert_eq!(seconds(Duration::from_millis(1234)), "1.2 s");
    }
}
