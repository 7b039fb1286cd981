//! The thread of a sink: takes from the spool, sends, and goes by the answers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sensor_record::{Record, Timestamp, escape};
use tracing::{error, info, warn};

use crate::answer::Answer;
use crate::backoff::Backoff;
use crate::dead_letter::DeadLetters;
use crate::envelope::Envelope;
use crate::pace::Pace;
use crate::settings::SinkSettings;
use crate::sink::Sink;
use crate::spool::{Folder, Frame, Spool};
use crate::state::{State, Waiting};

/// A spool and who waits at it.
pub struct Shared {
    spool: Mutex<Spool<Folder>>,
    wake: Condvar,
    is_ending: AtomicBool,
    /// Wishes to open files anew.
    n_reopens: AtomicU64,
    pub state: State,
}

impl Shared {
    pub fn new(spool: Spool<Folder>) -> Self {
        Self {
            spool: Mutex::new(spool),
            wake: Condvar::new(),
            is_ending: AtomicBool::new(false),
            n_reopens: AtomicU64::new(0),
            state: State::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Spool<Folder>> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a record in; what finds no room is counted.
    pub fn append(&self, payload: &[u8]) {
        let _shed_is_counted = self.lock().append(Timestamp::now().0, payload);
        self.wake.notify_all();
    }

    /// Ends the thread when nothing waits, or when the next try fails.
    pub fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        // The thread looks at it under the lock: it hears of it or sees it.
        drop(self.lock());
        self.wake.notify_all();
    }

    pub fn reopen(&self) {
        self.n_reopens.fetch_add(1, Ordering::Relaxed);
        drop(self.lock());
        self.wake.notify_all();
    }

    pub fn waiting(&self) -> Waiting {
        let spool = self.lock();
        Waiting {
            n_records: spool.n_waiting(),
            n_bytes: spool.waiting_bytes(),
            oldest_ns: spool.oldest_ns(),
            lost: spool.lost(),
        }
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Waits for a record; false when there is none and none will come.
    fn wait_for_record(&self) -> bool {
        let mut spool = self.lock();
        while spool.n_waiting() == 0 {
            if self.is_ending() {
                return false;
            }
            spool = self
                .wake
                .wait(spool)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Waits, unless the sink ends or is told to open its files anew: then a person has mended something.
    fn pause(&self, wait: Duration, n_reopens: u64) {
        let until = Instant::now() + wait;
        let mut spool = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let is_told = self.n_reopens.load(Ordering::Relaxed) != n_reopens;
            if left.is_zero() || self.is_ending() || is_told {
                return;
            }
            let waited = self.wake.wait_timeout(spool, left);
            spool = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The thread's side.
pub struct Sender {
    shared: Arc<Shared>,
    settings: SinkSettings,
    /// Folder of the spool.
    folder: PathBuf,
    letters: DeadLetters,
    backoff: Backoff,
    pace: Pace,
    /// None until it could be opened.
    sink: Option<Box<dyn Sink>>,
    n_reopens: u64,
}

impl Sender {
    pub fn new(shared: Arc<Shared>, settings: &SinkSettings, folder: &Path, seed: u64) -> Self {
        let [least, most] =
            [settings.retry_min_ms, settings.retry_max_ms].map(Duration::from_millis);
        Self {
            shared,
            settings: settings.clone(),
            folder: folder.to_owned(),
            letters: DeadLetters::new(&settings.name, folder),
            backoff: Backoff::new(least, most, seed),
            pace: Pace::new(settings.rate_per_min, Instant::now()),
            sink: None,
            n_reopens: 0,
        }
    }

    /// Body of the thread.
    pub fn run(mut self) {
        while self.shared.wait_for_record() {
            let wait = self.round();
            self.keep();
            let Some(wait) = wait else {
                continue;
            };
            if self.shared.is_ending() {
                return;
            }
            self.shared.pause(wait, self.n_reopens);
        }
    }

    /// Writes through: whatever could not be delivered at once is to outlive a power cut.
    fn keep(&self) {
        let mut spool = self.shared.lock();
        if spool.n_waiting() > 0
            && let Err(cause) = spool.sync()
        {
            warn!(sink = self.settings.name, %cause, "the spool can't be written through");
        }
    }

    /// One try; how long to wait for the next.
    fn round(&mut self) -> Option<Duration> {
        let n_reopens = self.shared.n_reopens.load(Ordering::Relaxed);
        if n_reopens != self.n_reopens {
            self.n_reopens = n_reopens;
            match &mut self.sink {
                Some(sink) => sink.reopen(),
                None => self.backoff.reset(),
            }
        }
        if self.sink.is_none() {
            match self.open() {
                Ok(sink) => self.sink = Some(sink),
                Err(why) => return Some(self.fail(&why, None)),
            }
        }
        let most = self.sink.as_ref().map_or(1, |sink| sink.most());
        let oldest = self.shared.lock().oldest(most);
        let mut batch = match oldest {
            Ok(frames) => self.sort_out(frames),
            Err(cause) => return Some(self.fail(&format!("spool: {cause}"), None)),
        };
        if batch.is_empty() {
            return None;
        }
        match self.pace.take(batch.len(), Instant::now()) {
            Ok(n) => batch.truncate(n),
            Err(wait) => return Some(wait),
        }
        let sink = self.sink.as_mut()?;
        let mut answers = sink.send(&batch);
        answers.resize_with(batch.len(), || Answer::later("not reached"));
        self.settle(&batch, answers)
    }

    fn open(&self) -> Result<Box<dyn Sink>, String> {
        let mut sink = self.settings.kind.open(&self.settings)?;
        sink.keep_in(&self.folder)?;
        Ok(sink)
    }

    /// Records to send: no two about the same incident. What is too old or no record is done with.
    fn sort_out(&mut self, frames: Vec<Frame>) -> Vec<Envelope> {
        let now_ns = Timestamp::now().0;
        let max_age_ns = self.settings.max_age_ms.saturating_mul(1_000_000);
        let mut incidents = BTreeSet::new();
        let (mut batch, mut over) = (Vec::new(), Vec::new());
        for frame in frames {
            if now_ns.saturating_sub(frame.at_ns) > max_age_ns {
                self.shared.state.lock().n_aged += 1;
                over.push(frame.seq);
                continue;
            }
            let Ok(Some(record)) = Record::read(&frame.payload) else {
                self.refuse(frame.seq, &frame.payload, "not a record of this version");
                over.push(frame.seq);
                continue;
            };
            let envelope = Envelope {
                seq: frame.seq,
                at_ns: frame.at_ns,
                record,
            };
            let incident = envelope.incident_id().map(str::to_owned);
            if incident.is_some_and(|id| !incidents.insert(id)) {
                break;
            }
            batch.push(envelope);
        }
        self.finish(&over);
        batch
    }

    fn settle(&mut self, batch: &[Envelope], answers: Vec<Answer>) -> Option<Duration> {
        let mut over = Vec::new();
        let mut again: Option<(String, Option<Duration>)> = None;
        for (envelope, answer) in batch.iter().zip(answers) {
            match answer {
                Answer::Accepted(_) => {
                    self.shared.state.lock().n_sent += 1;
                    over.push(envelope.seq);
                }
                Answer::Refused(why) => {
                    let record = sensor_record::json::line(&envelope.record);
                    self.refuse(envelope.seq, record.as_bytes(), &why);
                    over.push(envelope.seq);
                }
                Answer::Later { why, after } => {
                    self.shared.state.lock().n_retried += 1;
                    let known = again.take();
                    let longest = known.as_ref().and_then(|(_, known)| *known).max(after);
                    again = Some((known.map_or(why, |(why, _)| why), longest));
                }
            }
        }
        self.finish(&over);
        match again {
            Some((why, after)) => Some(self.fail(&why, after)),
            None => {
                self.backoff.reset();
                if self.shared.state.succeeds() {
                    info!(sink = self.settings.name, "the sink takes records again");
                }
                None
            }
        }
    }

    fn fail(&mut self, why: &str, after: Option<Duration>) -> Duration {
        if self.shared.state.fails(why) {
            let sink = &self.settings.name;
            warn!(sink, why = %escape(why), "the sink takes nothing: its records wait in the spool");
        }
        self.backoff.next(after)
    }

    fn refuse(&self, seq: u64, record: &[u8], why: &str) {
        let sink = &self.settings.name;
        let record = String::from_utf8_lossy(record);
        let kept = self.letters.add(seq, &record, why);
        let mut counts = self.shared.state.lock();
        counts.n_refused += 1;
        match kept {
            Ok(()) => {
                warn!(sink, sequence = seq, why = %escape(why), "a record was refused: set aside")
            }
            Err(cause) => {
                counts.n_unkept += 1;
                error!(sink, sequence = seq, why = %escape(why), %cause, "a record was refused, and is lost");
            }
        }
    }

    fn finish(&self, over: &[u64]) {
        if over.is_empty() {
            return;
        }
        if let Err(cause) = self.shared.lock().finish(over) {
            let sink = &self.settings.name;
            warn!(sink, %cause, "what was delivered can't be noted: after a restart it is sent again");
        }
    }
}
