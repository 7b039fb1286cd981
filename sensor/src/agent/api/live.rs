//! Server-sent events: the state of the agent once a second, and incidents and decisions as they come.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Sse;
use axum::response::sse::Event;
use futures_util::Stream;
use sensor_record::{Record, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::answers::Answers;

/// Between two events of the state.
const EVERY: Duration = Duration::from_secs(1);

/// A client that watches.
struct Watch {
    answers: Answers,
    records: Receiver<Arc<Record>>,
    ticks: Interval,
}

impl Watch {
    /// Waits for the next event; none when the agent ends.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            _ = self.ticks.tick() => {
                let status = json::line(&self.answers.status());
                Some(Event::default().event("status").data(status))
            }
            record = self.records.recv() => match record {
                Ok(record) => {
                    let name = record.kind();
                    Some(Event::default().event(name).data(json::line(&*record)))
                }
                // The client reads too slowly; nobody waits for it.
                Err(RecvError::Lagged(n)) => {
                    Some(Event::default().event("lost").data(format!("{{\"count\":{n}}}")))
                }
                Err(RecvError::Closed) => None,
            }
        }
    }
}

/// Begins to tell.
pub fn stream(answers: Answers) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let watch = Watch {
        records: answers.watch(),
        answers,
        ticks,
    };
    Sse::new(futures_util::stream::unfold(watch, |mut watch| async {
        let event = watch.next().await?;
        Some((Ok(event), watch))
    }))
}
