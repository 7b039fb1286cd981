//! From the engine to the outputs. A reader that is slow, stalled or gone costs lines, which are
//! counted, never time of the engine and never the sensor.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sensor_deliver::Deliveries;
use sensor_record::{Record, Zone};
use tokio::sync::watch;
use tracing::{info, warn};

use super::keeper::Keeper;
use super::recent::Recent;
use super::spawn;
use crate::print::{Format, formatted};
use crate::queue::{self, Closed, Drain, Gauge, Policy, Refusal, Sender};
use crate::stream::{Health, Turn, WholeLines, unbuffered};

/// Records on their way to one output: some ten seconds of a busy minute, 8 MB at most.
const N_LINES: usize = 16_384;
/// Growth of the file of incidents from which on it is begun anew.
const COMPACT_BYTES: usize = 64 << 20;
/// Time that a slow reader has at the end, of the five seconds that a stop takes at most.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Name of the store among the outputs.
const STORE: &str = "store";

/// Place that lines go to.
pub enum Target {
    /// Standard output, in a format that may change; without one the live view has it, and the
    /// records are only taken off the queue.
    Stdout(Option<watch::Receiver<Format>>),
    /// JSON lines in a file, opened anew whenever the number changes.
    File(PathBuf, watch::Receiver<u64>),
    /// Incidents and decisions, which the next run remembers.
    Incidents(PathBuf),
    /// Sinks: records go into their spools.
    Sinks(Arc<Deliveries>),
    /// The store.
    Store(Box<Keeper>),
}

/// The way to one output.
#[derive(Clone)]
struct Port {
    queue: Sender<Arc<Record>>,
    health: Arc<Health>,
    /// Chooses the records that it takes.
    wants: fn(&Record) -> bool,
}

/// The engine's side of all outputs.
#[derive(Clone)]
pub struct Lines {
    ports: Vec<Port>,
    /// Set once, when the engine ends.
    deadline: Arc<Mutex<Option<Instant>>>,
    /// Sees every record, also those that find a queue full.
    recent: Recent,
}

/// The threads that write.
pub struct Printers(Vec<JoinHandle<Result<()>>>);

impl Lines {
    /// Opens every target and starts its thread.
    ///
    /// # Errors
    /// When one can't be opened.
    pub fn open(targets: Vec<Target>, recent: Recent) -> Result<(Self, Printers)> {
        let (mut ports, mut threads) = (Vec::new(), Vec::new());
        for target in targets {
            let (printer, queued) = match target {
                Target::Sinks(sinks) => {
                    let (queue, drain) = queue::bounded("sinks", N_LINES, Policy::DropNewest);
                    let health = Health::new("sinks");
                    ports.push(Port {
                        queue,
                        health: Arc::clone(&health),
                        wants: is_delivered,
                    });
                    let body = move || deliver(&drain, &sinks, &health);
                    threads.push(spawn("sinks", body)?.0);
                    continue;
                }
                Target::Store(keeper) => {
                    let (queue, drain) = queue::bounded(STORE, N_LINES, Policy::DropNewest);
                    ports.push(Port {
                        queue,
                        health: Health::new(STORE),
                        wants: Recent::is_stored,
                    });
                    threads.push(spawn("store", move || keeper.run(&drain))?.0);
                    continue;
                }
                Target::Stdout(formats) => (Printer::on_stdout(formats)?, "lines"),
                Target::File(path, reopen) => (Printer::in_file(path, reopen)?, "file"),
                Target::Incidents(path) => match Printer::of_incidents(path, &recent) {
                    Ok(printer) => (printer, "incidents"),
                    Err(cause) => {
                        let cause = format!("{cause:#}");
                        warn!(cause, "incidents are not kept over a restart");
                        continue;
                    }
                },
            };
            let (queue, drain) = queue::bounded(queued, N_LINES, Policy::DropNewest);
            let health = Arc::clone(&printer.health);
            ports.push(Port {
                queue,
                health,
                wants: match printer.recent {
                    Some(_) => Recent::is_kept,
                    None => |_| true,
                },
            });
            threads.push(spawn("printer", move || printer.run(&drain))?.0);
        }
        let lines = Self {
            ports,
            deadline: Arc::default(),
            recent,
        };
        Ok((lines, Printers(threads)))
    }

    /// Waits for room from now on, instead of dropping, but only for a few seconds in all.
    pub fn wait_from_now(&self) {
        let until = Instant::now() + LAST_LINES;
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Records dropped since the start because a queue was full.
    pub fn n_shed(&self) -> u64 {
        self.ports
            .iter()
            .map(|port| port.queue.gauge().n_shed())
            .sum()
    }

    pub fn gauges(&self) -> impl Iterator<Item = Gauge> + '_ {
        self.ports.iter().map(|port| port.queue.gauge().clone())
    }

    /// States of the outputs but the store, which tells of itself.
    pub fn healths(&self) -> impl Iterator<Item = Arc<Health>> + '_ {
        let others = self.ports.iter().filter(|port| port.health.name != STORE);
        others.map(|port| Arc::clone(&port.health))
    }
}

impl crate::print::Sink for Lines {
    fn take(&mut self, record: Record) -> io::Result<()> {
        let record = Arc::new(record);
        self.recent.add(&record);
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        for port in &self.ports {
            if !(port.wants)(&record) {
                continue;
            }
            let record = Arc::clone(&record);
            let sent = match deadline {
                Some(deadline) => port.queue.send_until(record, deadline),
                None if record.is_minor() => port.queue.send_minor(record),
                None => port.queue.send(record),
            };
            // A full queue has counted it.
            if sent == Err(Refusal::Closed) {
                port.health.lose(1);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Printers {
    /// Waits for the thread of another output as well.
    pub fn add(&mut self, thread: JoinHandle<Result<()>>) {
        self.0.push(thread);
    }

    /// Waits until all is written, or until `deadline`: a thread whose reader has stalled is left to
    /// the end of the process.
    ///
    /// # Errors
    /// When a thread panicked.
    pub fn finish(self, deadline: Instant) -> Result<()> {
        let mut result = Ok(());
        for thread in self.0 {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            if thread.is_finished() {
                result = result.and(super::join(thread));
            } else {
                warn!("an output's reader has stalled: what waits for it is lost");
            }
        }
        result
    }
}

/// True for what sinks may be told of; the rest is not queued for them.
const fn is_delivered(record: &Record) -> bool {
    matches!(
        record,
        Record::Incident(_) | Record::Decision(_) | Record::Sensor(_)
    )
}

/// Body of the thread that fills the spools: it waits for a disk, never for a far side.
fn deliver(queue: &Drain<Arc<Record>>, sinks: &Deliveries, health: &Health) -> Result<()> {
    while let Ok(next) = queue.receive(Duration::from_secs(3_600)) {
        if let Some(record) = next {
            sinks.take(&record);
            health.hand_on();
        }
    }
    Ok(())
}

/// One output at its thread.
struct Printer {
    target: Target,
    lines: WholeLines<File>,
    zone: Zone,
    health: Arc<Health>,
    /// All that the file of incidents is to hold.
    recent: Option<Recent>,
    n_appended: usize,
}

impl Printer {
    fn on_stdout(formats: Option<watch::Receiver<Format>>) -> Result<Self> {
        let out = unbuffered(&io::stdout()).context("standard output")?;
        Ok(Self::new(
            Target::Stdout(formats),
            out,
            Health::new("stdout"),
        ))
    }

    fn in_file(path: PathBuf, reopen: watch::Receiver<u64>) -> Result<Self> {
        let out = append(&path)?;
        Ok(Self::new(
            Target::File(path, reopen),
            out,
            Health::new("file"),
        ))
    }

    fn of_incidents(path: PathBuf, recent: &Recent) -> Result<Self> {
        let out = recent.open(&path)?;
        let mut printer = Self::new(Target::Incidents(path), out, Health::new("incidents"));
        printer.recent = Some(recent.clone());
        Ok(printer)
    }

    fn new(target: Target, out: File, health: Arc<Health>) -> Self {
        Self {
            target,
            lines: WholeLines::new(out, Arc::clone(&health)),
            zone: Zone::local(),
            health,
            recent: None,
            n_appended: 0,
        }
    }

    /// Begins the file of incidents anew, with their latest state alone, when it has grown.
    fn compact(&mut self) {
        let (Target::Incidents(path), Some(recent)) = (&self.target, &self.recent) else {
            return;
        };
        if self.n_appended < COMPACT_BYTES {
            return;
        }
        self.n_appended = 0;
        match recent.compact(path) {
            Ok(file) => self.lines.write_to(file),
            Err(cause) => warn!("{cause:#}: the file of before is still written to"),
        }
    }

    /// Body of the thread: ends with the engine's side of the queue.
    fn run(mut self, queue: &Drain<Arc<Record>>) -> Result<()> {
        loop {
            let mut next = match queue.receive(Duration::from_secs(1)) {
                Ok(next) => next,
                Err(Closed) => return Ok(()),
            };
            let Some(format) = self.format() else {
                continue;
            };
            while let Some(record) = next {
                if let Some(line) = formatted(&record, format, &self.zone) {
                    self.n_appended = self.n_appended.saturating_add(line.len());
                    let turn = self.lines.push(line.as_bytes());
                    self.tell(turn);
                }
                next = queue.next_waiting();
            }
            let turn = self.lines.flush();
            self.tell(turn);
            self.compact();
        }
    }

    /// Format that is wanted now; follows a wish to open the file anew.
    fn format(&mut self) -> Option<Format> {
        match &mut self.target {
            Target::Stdout(formats) => formats.as_ref().map(|formats| *formats.borrow()),
            Target::File(path, reopen) => {
                if reopen.has_changed().unwrap_or(false) {
                    reopen.mark_unchanged();
                    match append(path) {
                        Ok(file) => self.lines.write_to(file),
                        Err(cause) => warn!("{cause:#}: the file of before is still written to"),
                    }
                }
                Some(Format::Json)
            }
            Target::Incidents(_) | Target::Sinks(_) | Target::Store(_) => Some(Format::Json),
        }
    }

    fn tell(&self, turn: Option<Turn>) {
        let output = &*self.health.name;
        match turn {
            Some(Turn::Fails(cause)) => warn!(
                output,
                cause,
                "the output can't be written: its lines are lost and counted, the sensor goes on"
            ),
            Some(Turn::Recovers) => {
                info!(
                    output,
                    n_lost = self.health.n_lost(),
                    "the output is written again"
                );
            }
            None => {}
        }
    }
}

/// Opens a file of JSON lines for its owner and its group to read.
fn append(path: &PathBuf) -> Result<File> {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o640).open(path);
    file.with_context(|| format!("output.file: {}", path.display()))
}
