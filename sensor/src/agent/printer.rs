//! From the engine to standard output. A reader that is slow costs lines, which are counted, never
//! time of the engine.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use sensor_record::Record;
use tokio::sync::watch;

use super::queue::{Closed, Drain, Refusal, Sender};
use super::recent::Recent;
use crate::print::{Format, Printer, Sink as _};

/// At the end there is time for a slow reader, within limits.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Puts records into the queue of the printer.
#[derive(Clone)]
pub struct Lines {
    queue: Sender<Record>,
    /// Set once, when the engine ends.
    deadline: Arc<Mutex<Option<Instant>>>,
    /// Sees every record, also those that find the queue full.
    recent: Recent,
}

impl Lines {
    pub fn new(queue: Sender<Record>, recent: Recent) -> Self {
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

    /// Records dropped since the start.
    pub fn n_shed(&self) -> u64 {
        self.queue.gauge().n_shed()
    }
}

impl crate::print::Sink for Lines {
    fn take(&mut self, record: Record) -> io::Result<()> {
        self.recent.add(&record);
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = match deadline {
            Some(deadline) => self.queue.send_until(record, deadline),
            None if record.is_minor() => self.queue.send_minor(record),
            None => self.queue.send(record),
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
/// may change, the records are only taken off the queue.
pub fn print(lines: &Drain<Record>, format: Option<&watch::Receiver<Format>>) -> Result<()> {
    let mut printer = format.map(|format| Printer::new(*format.borrow()));
    loop {
        let mut next = match lines.receive(Duration::from_secs(1)) {
            Ok(next) => next,
            Err(Closed) => return Ok(()),
        };
        if let (Some(printer), Some(format)) = (&mut printer, format) {
            printer.set_format(*format.borrow());
        }
        while let Some(record) = next {
            if let Some(printer) = &mut printer {
                printer.take(record)?;
            }
            next = lines.next_waiting();
        }
        if let Some(printer) = &mut printer {
            printer.flush()?;
        }
    }
}
