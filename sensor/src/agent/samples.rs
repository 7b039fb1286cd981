//! Packet samples for those who watch: they are kept while somebody asks for them, and cost nothing else.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use sensor_common::event::Sample;
use sensor_record::answer::{PacketSample, Samples};
use serde::{Deserialize, Serialize};

/// Samples that are kept; the oldest give way.
const MAX_KEPT: usize = 4_096;
/// Samples of one answer: below a megabyte with the longest payloads.
const MAX_TOLD: usize = 512;
/// Nobody watches any more who has not asked for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Question for samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleQuery {
    /// Number of the first that is wanted; without: those to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Number of the next sample.
    next: u64,
    samples: VecDeque<PacketSample>,
    /// Time until which they are kept.
    until: Option<Instant>,
}

/// Samples of the last moments, shared between the engine's thread and those who ask.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    is_watched: Arc<AtomicBool>,
    kept: Arc<Mutex<Kept>>,
}

impl Watched {
    /// True while somebody asks.
    pub fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// Keeps a sample if somebody watches.
    pub fn see(&self, sample: &Sample<'_>, interface: Option<&str>) {
        if !self.is_watched() {
            return;
        }
        let Some(sample) = PacketSample::new(sample, interface) else {
            return;
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.until.is_none_or(|until| Instant::now() > until) {
            self.is_watched.store(false, Ordering::Relaxed);
            kept.samples = VecDeque::new();
            return;
        }
        kept.next += 1;
        kept.samples.push_back(sample);
        if kept.samples.len() > MAX_KEPT {
            kept.samples.pop_front();
        }
    }

    /// Hands out what came since a number, and keeps what is to come.
    pub fn ask(&self, query: SampleQuery) -> Samples {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.until = Some(Instant::now() + PATIENCE);
        self.is_watched.store(true, Ordering::Relaxed);
        let oldest = kept.next - kept.samples.len() as u64;
        let from = query.from.unwrap_or(kept.next).min(kept.next);
        let n_before = from.saturating_sub(oldest);
        let rest = kept
            .samples
            .iter()
            .skip(usize::try_from(n_before).unwrap_or(usize::MAX));
        let samples: Vec<PacketSample> = rest.take(MAX_TOLD).cloned().collect();
        let begin = from.max(oldest);
        Samples {
            next: begin + samples.len() as u64,
            missed: begin - from,
            samples,
        }
    }
}

#[cfg(test)]
mod tests {
    use sensor_common::event::{EventHead, Kind};

    use super::*;

    fn see(watched: &Watched, n: usize) {
        let head = EventHead {
            kind: Kind::Arp as u8,
            ..EventHead::default()
        };
        for _ in 0..n {
            let sample = Sample {
                head: &head,
                payload: &[0; 28],
            };
            watched.see(&sample, Some("eth0"));
        }
    }

    #[test]
    fn nothing_is_kept_while_nobody_asks() {
        let watched = Watched::default();
        see(&watched, 10);
        assert_eq!(watched.ask(SampleQuery::default()), Samples::default());
        see(&watched, 3);
        let told = watched.ask(SampleQuery { from: Some(0) });
        assert_eq!((told.samples.len(), told.next, told.missed), (3, 3, 0));
        assert_eq!(watched.ask(SampleQuery { from: Some(3) }).samples.len(), 0);
    }

    #[test]
    fn what_was_shed_is_counted_as_missed() {
        let watched = Watched::default();
        watched.ask(SampleQuery::default());
        see(&watched, MAX_KEPT + 7);
        let told = watched.ask(SampleQuery { from: Some(2) });
        assert_eq!((told.missed, told.samples.len()), (5, MAX_TOLD));
        assert_eq!(told.next, 7 + MAX_TOLD as u64);
        // A number that was never given is that of what is to come.
        let told = watched.ask(SampleQuery {
            from: Some(u64::MAX),
        });
        assert_eq!((told.missed, told.samples.len()), (0, 0));
    }
}
