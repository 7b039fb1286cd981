//! All sinks of a sensor.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sensor_record::{Record, answer, json};
use tracing::error;

use crate::answer::Answer;
use crate::envelope::Envelope;
use crate::filter::Filter;
use crate::sender::{Sender, Shared};
use crate::settings::{ShedChoice, SinkSettings};
use crate::spool::{Folder, Limits, Shed, Spool};
use crate::state::{Counts, Waiting, shown};

/// Between two looks whether a thread has ended.
const AGAIN: Duration = Duration::from_millis(2);

/// Sinks that run, each with its spool and its thread.
#[derive(Default)]
pub struct Deliveries {
    sinks: Vec<Running>,
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.sinks.iter().map(|sink| &sink.settings.name);
        f.debug_list().entries(names).finish()
    }
}

struct Running {
    settings: SinkSettings,
    filter: Mutex<Filter>,
    /// State that is shared with the thread; or why there is none.
    shared: Result<Arc<Shared>, String>,
    /// Records that found no spool.
    n_unspooled: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Deliveries {
    /// Starts every enabled sink; spools are in folders of their names. A sink whose spool can't be
    /// opened is shown as failed, and what it misses is counted: the sensor does not depend on it.
    pub fn start(settings: &[SinkSettings], folder: &Path) -> Self {
        let enabled = settings.iter().filter(|sink| sink.enabled);
        let sinks = enabled.map(|sink| Running::start(sink, &folder.join(&sink.name)));
        Self {
            sinks: sinks.collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.sinks.is_empty()
    }

    /// Puts a record into the spool of each sink that wants it.
    pub fn take(&self, record: &Record) {
        let mut line = None;
        for sink in &self.sinks {
            let mut filter = sink.filter.lock().unwrap_or_else(PoisonError::into_inner);
            if !filter.wants(record) {
                continue;
            }
            let line = line.get_or_insert_with(|| json::line(record));
            match &sink.shared {
                Ok(shared) => shared.append(line.as_bytes()),
                Err(_told) => {
                    sink.n_unspooled.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Opens files anew, and tries at once what failed.
    pub fn reopen(&self) {
        for shared in self
            .sinks
            .iter()
            .filter_map(|sink| sink.shared.as_ref().ok())
        {
            shared.reopen();
        }
    }

    /// Lets the threads deliver what waits, but not past the deadline: what is left stays in the spools.
    pub fn end(&self, deadline: Instant) {
        for shared in self
            .sinks
            .iter()
            .filter_map(|sink| sink.shared.as_ref().ok())
        {
            shared.end();
        }
        for sink in &self.sinks {
            let mut thread = sink.thread.lock().unwrap_or_else(PoisonError::into_inner);
            let is_over = || thread.as_ref().is_none_or(JoinHandle::is_finished);
            while !is_over() && Instant::now() < deadline {
                thread::sleep(AGAIN);
            }
            if is_over() && thread.take().is_some_and(|thread| thread.join().is_err()) {
                error!(
                    sink = sink.settings.name,
                    "the sink's thread panicked; see above"
                );
            }
        }
    }

    /// Each sink by its name.
    pub fn states(&self) -> BTreeMap<String, answer::Sink> {
        let state = |sink: &Running| (sink.settings.name.clone(), sink.state());
        self.sinks.iter().map(state).collect()
    }
}

impl Running {
    fn start(settings: &SinkSettings, folder: &Path) -> Self {
        let (shared, thread) = match run(settings, folder) {
            Ok((shared, thread)) => (Ok(shared), Some(thread)),
            Err(why) => {
                error!(
                    sink = settings.name,
                    why, "the sink has no spool: its records are lost"
                );
                (Err(why), None)
            }
        };
        Self {
            settings: settings.clone(),
            filter: Mutex::new(Filter::new(settings)),
            shared,
            n_unspooled: AtomicU64::new(0),
            thread: Mutex::new(thread),
        }
    }

    fn state(&self) -> answer::Sink {
        let kind = self.settings.kind.label();
        match &self.shared {
            Ok(shared) => {
                let waiting = shared.waiting();
                let counts = shared.state.lock().clone();
                shown(kind, &counts, waiting)
            }
            Err(why) => {
                let counts = Counts {
                    error: Some(why.clone()),
                    ..Counts::default()
                };
                let mut waiting = Waiting::default();
                waiting.lost.disk = self.n_unspooled.load(Ordering::Relaxed);
                shown(kind, &counts, waiting)
            }
        }
    }
}

fn open(settings: &SinkSettings, folder: &Path) -> Result<Spool<Folder>, String> {
    let limits = Limits {
        max_bytes: settings.spool_size,
        shed: match settings.shed {
            ShedChoice::Oldest => Shed::Oldest,
            ShedChoice::Newest => Shed::Newest,
        },
    };
    let opened = Folder::open(folder).and_then(|disk| Spool::open(disk, limits));
    opened.map_err(|cause| format!("spool {}: {cause}", folder.display()))
}

fn run(settings: &SinkSettings, folder: &Path) -> Result<(Arc<Shared>, JoinHandle<()>), String> {
    let shared = Arc::new(Shared::new(open(settings, folder)?));
    // Each process waits in its own rhythm.
    let seed = RandomState::new().hash_one(&settings.name);
    let sender = Sender::new(Arc::clone(&shared), settings, folder, seed);
    let thread = thread::Builder::new().name("sink".to_owned());
    let thread = thread.spawn(move || sender.run());
    let thread = thread.map_err(|cause| format!("no thread: {cause}"))?;
    Ok((shared, thread))
}

/// A folder that goes with its value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// Sends records the whole way, through a spool of their own, and gives the answer to each; the first
/// that is not accepted is the last.
///
/// # Errors
/// When there is no room for the spool, or the sink can't be made ready.
pub fn test(settings: &SinkSettings, records: &[Record]) -> Result<Vec<Answer>, String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("sensor-sink-test-{}-{n}", std::process::id());
    let scratch = Scratch(std::env::temp_dir().join(name));
    let mut spool = open(settings, &scratch.0)?;
    let mut sink = settings.kind.open(settings)?;
    let mut answers = Vec::new();
    for record in records {
        let line = json::line(record);
        spool
            .append(record.head().at.0, line.as_bytes())
            .ok_or("the spool takes nothing")?;
        let frames = spool.oldest(1).map_err(|cause| cause.to_string())?;
        let frame = frames.first().ok_or("the spool lost the record")?;
        let record = Record::read(&frame.payload).map_err(|cause| cause.to_string())?;
        let envelope = Envelope {
            seq: frame.seq,
            at_ns: frame.at_ns,
            record: record.ok_or("no record")?,
        };
        let answer = sink.send(&[envelope]).into_iter().next();
        let answer = answer.unwrap_or_else(|| Answer::later("no answer"));
        let is_over = !matches!(answer, Answer::Accepted(_));
        answers.push(answer);
        if is_over {
            break;
        }
        spool
            .finish(&[frame.seq])
            .map_err(|cause| cause.to_string())?;
    }
    Ok(answers)
}
