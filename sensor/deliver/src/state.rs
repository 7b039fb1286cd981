//! Numbers and last words of a sink.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sensor_record::{Timestamp, answer};

use crate::spool::Lost;

/// Counters of a sink; its spool has the rest.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub n_sent: u64,
    pub n_retried: u64,
    pub n_refused: u64,
    /// Given up because of their age.
    pub n_aged: u64,
    /// Refused, and not written to the file of those either.
    pub n_unkept: u64,
    pub last_success: Option<Timestamp>,
    pub last_error: Option<Timestamp>,
    /// Cause of the last try, where it failed.
    pub error: Option<String>,
}

/// Counters that two threads see.
#[derive(Debug, Default)]
pub struct State(Mutex<Counts>);

impl State {
    pub fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a failure; true for the first of a row.
    pub fn fails(&self, why: &str) -> bool {
        let mut counts = self.lock();
        let is_first = counts.error.is_none();
        counts.error = Some(why.to_owned());
        counts.last_error = Some(Timestamp::now());
        is_first
    }

    /// Notes a success; true for the first after failures.
    pub fn succeeds(&self) -> bool {
        let mut counts = self.lock();
        counts.last_success = Some(Timestamp::now());
        counts.error.take().is_some()
    }
}

/// Records that wait in a spool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waiting {
    pub n_records: u64,
    pub n_bytes: u64,
    pub oldest_ns: Option<u64>,
    pub lost: Lost,
}

/// A sink as `status` and the metrics show it.
pub fn shown(kind: &'static str, counts: &Counts, waiting: Waiting) -> answer::Sink {
    let age = |at: u64| Timestamp::now().0.saturating_sub(at) as f64 / 1e9;
    let Waiting { lost, .. } = waiting;
    let dropped = [
        ("full", lost.full),
        ("disk", lost.disk),
        ("damaged", lost.damaged),
        ("age", counts.n_aged),
        ("unkept", counts.n_unkept),
    ];
    answer::Sink {
        kind: Cow::Borrowed(kind),
        sent: counts.n_sent,
        retried: counts.n_retried,
        refused: counts.n_refused,
        dropped: dropped.map(|(reason, n)| (reason.into(), n)).into(),
        waiting: waiting.n_records,
        spool_bytes: waiting.n_bytes,
        oldest_s: waiting.oldest_ns.map(age),
        last_success: counts.last_success,
        last_error: counts.last_error,
        error: counts.error.clone(),
    }
}
