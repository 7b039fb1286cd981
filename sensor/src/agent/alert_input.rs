//! Alerts of other systems as input: for each way on which they come a thread, which hands statements to the
//! engine. Nobody waits for it: what finds no room is counted and gone.

mod ask;
mod listen;

use std::collections::BTreeMap;
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use sensor_alerts::{Alert, Unread};
use sensor_engine::{SECOND_NS, Statement};
use sensor_record::{Timestamp, answer, escape};
use tracing::{info, warn};

use super::Ask;
use crate::config::{AlertInputSettings, AlertKind};
use crate::queue::{Refusal, Sender};

/// Statements that are handed over at once.
const MAX_BATCH: usize = 256;

/// The inputs that are taken from.
#[derive(Debug, Default)]
pub struct AlertInputs {
    inputs: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: String,
    state: Arc<Mutex<answer::AlertInput>>,
    /// Ends the thread when it is dropped.
    _alive: mpsc::Sender<()>,
}

/// Locks a state, whatever became of its thread.
fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AlertInputs {
    /// Starts to take from every input that is enabled.
    pub fn start(settings: &[AlertInputSettings], asks: &Sender<Ask>) -> Self {
        let enabled = settings.iter().filter(|input| input.enabled);
        Self {
            inputs: enabled.map(|input| Running::start(input, asks)).collect(),
        }
    }

    /// State of each, by name.
    pub fn states(&self) -> BTreeMap<String, answer::AlertInput> {
        let state = |one: &Running| (one.name.clone(), lock(&one.state).clone());
        self.inputs.iter().map(state).collect()
    }
}

impl Running {
    fn start(settings: &AlertInputSettings, asks: &Sender<Ask>) -> Self {
        let state = Arc::new(Mutex::new(answer::AlertInput {
            kind: settings.kind.label().into(),
            ..answer::AlertInput::default()
        }));
        let (alive, ended) = mpsc::channel();
        let intake = Intake {
            by: Arc::from(settings.name.as_str()),
            hold_ns: u64::from(settings.hold.0).saturating_mul(SECOND_NS),
            asks: asks.clone(),
            state: Arc::clone(&state),
            ended,
            batch: Vec::new(),
        };
        if let Err(why) = open(settings, intake) {
            warn!(input = settings.name, "no alerts are taken: {why}");
            lock(&state).error = Some(why);
        }
        Self {
            name: settings.name.clone(),
            state,
            _alive: alive,
        }
    }
}

/// Opens an input, with its thread.
fn open(settings: &AlertInputSettings, intake: Intake) -> Result<(), String> {
    let named = thread::Builder::new().name(format!("alerts {}", settings.name));
    let body: Box<dyn FnOnce() + Send> = match settings.kind {
        AlertKind::Udp => {
            let listener = listen::Datagrams::open(settings)?;
            Box::new(move || listener.run(intake))
        }
        AlertKind::Tcp => {
            let listener = listen::Streams::open(settings)?;
            Box::new(move || listener.run(intake))
        }
        AlertKind::Darktrace | AlertKind::Vectra => {
            let product = ask::Product::open(settings)?;
            Box::new(move || product.run(intake))
        }
    };
    let spawned = named.spawn(body);
    spawned.map_err(|cause| format!("no thread: {cause}"))?;
    info!(
        input = settings.name,
        kind = settings.kind.label(),
        "alerts are taken"
    );
    Ok(())
}

/// Way of alerts to the engine, with what became of them.
struct Intake {
    by: Arc<str>,
    hold_ns: u64,
    asks: Sender<Ask>,
    state: Arc<Mutex<answer::AlertInput>>,
    ended: mpsc::Receiver<()>,
    batch: Vec<Statement>,
}

impl Intake {
    fn count(&self, what: &'static str, n: u64) {
        let mut state = lock(&self.state);
        let count = state.counts.entry(what.into()).or_default();
        *count = count.saturating_add(n);
    }

    /// Takes an alert, or counts why it is none.
    fn take(&mut self, read: Result<Alert, Unread>) {
        let alert = match read {
            Ok(alert) => alert,
            Err(why) => return self.count(why.label(), 1),
        };
        self.count("alerts", 1);
        lock(&self.state).last = Some(Timestamp::now());
        if self.batch.len() >= MAX_BATCH {
            return self.count("shed", 1);
        }
        self.batch.push(Statement {
            by: Arc::clone(&self.by),
            product: alert.product,
            what: alert.what,
            about: alert.source,
            against: alert.destination,
            weight: alert.weight,
            certainty: alert.certainty,
            is_blocked: alert.is_blocked,
            hold_ns: self.hold_ns,
        });
    }

    /// True where there is room for no more before it is handed over.
    fn is_full(&self) -> bool {
        self.batch.len() >= MAX_BATCH
    }

    /// Hands over what came; false once the agent ends.
    fn hand_over(&mut self) -> bool {
        if self.ended.try_recv() == Err(TryRecvError::Disconnected) {
            return false;
        }
        if self.batch.is_empty() {
            return true;
        }
        let batch = std::mem::take(&mut self.batch);
        let n = batch.len() as u64;
        match self.asks.send_minor(Ask::Statements(batch)) {
            Ok(()) => {}
            Err(Refusal::Full) => self.count("shed", n),
            Err(Refusal::Closed) => return false,
        }
        true
    }

    /// Notes whether the input works; what changes is told.
    fn note(&self, result: Result<(), String>) {
        let mut state = lock(&self.state);
        let was_failing = state.error.take();
        state.error = result.err();
        let input = &*self.by;
        match (&was_failing, &state.error) {
            (Some(_), None) => info!(input, "alerts are taken again"),
            (before, Some(why)) if before.as_ref() != Some(why) => {
                warn!(input, "no alerts are taken: {}", escape(why));
            }
            _ => {}
        }
    }
}
