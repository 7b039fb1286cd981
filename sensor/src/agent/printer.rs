//! From the engine to standard output. A reader that is slow costs lines, which are counted, never
//! time of the engine.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;
use tokio::sync::watch;

use super::queue::{Closed, Drain, Refusal, Sender};
use super::recent::Recent;
use crate::print::{Format, Printer, Sink as _};

/// At the end there is time for a slow reader, within limits.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Puts objects into the queue of the printer.
#[derive(Clone)]
pub struct Lines {
    queue: Sender<Value>,
    /// Set once, when the engine ends.
    deadline: Arc<Mutex<Option<Instant>>>,
    /// Sees every object, also those that find the queue full.
    recent: Recent,
}

impl Lines {
    pub fn new(queue: Sender<Value>, recent: Recent) -> Self {
        Self {
            queue,
            deadline: Arc::default(),
            recent,
        }
    }

    /// From now on waits for room, instead of dropping, but only for a few seconds in all.
    pub fn wait_from_now(&self) {
        let until = Instant::now() + LAST_LINES;
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Objects dropped since the start.
    pub fn n_shed(&self) -> u64 {
        self.queue.gauge().n_shed()
    }
}

/// What may be dropped first: there are many of them.
fn is_minor(value: &Value) -> bool {
    matches!(value["kind"].as_str(), Some("flow" | "finding" | "event"))
}

impl crate::print::Sink for Lines {
    fn take(&mut self, value: Value) -> io::Result<()> {
        self.recent.add(&value);
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = match deadline {
            Some(deadline) => self.queue.send_until(value, deadline),
            None if is_minor(&value) => self.queue.send_minor(value),
            None => self.queue.send(value),
        };
        match sent {
            Ok(()) | Err(Refusal::Full) => Ok(()),
            Err(Refusal::Closed) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Body of the printer's thread: ends with the engine's side of the queue. Without a format, which
/// may change, the objects are only taken off the queue.
pub fn print(lines: &Drain<Value>, format: Option<&watch::Receiver<Format>>) -> Result<()> {
    let mut printer = format.map(|format| Printer::new(*format.borrow()));
    loop {
        let mut next = match lines.receive(Duration::from_secs(1)) {
            Ok(next) => next,
            Err(Closed) => return Ok(()),
        };
        if let (Some(printer), Some(format)) = (&mut printer, format) {
            printer.set_format(*format.borrow());
        }
        while let Some(value) = next {
            if let Some(printer) = &mut printer {
                printer.take(value)?;
            }
            next = lines.next_waiting();
        }
        if let Some(printer) = &mut printer {
            printer.flush()?;
        }
    }
}
