//! The one that writes, at a thread of its own: what is taken waits in memory and goes to disk together.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rusqlite::Connection;
use sensor_record::Record;
use tracing::warn;

use crate::file;
use crate::flow::Flow;
use crate::incidents;
use crate::rates::{self, Rate};
use crate::second::Second;
use crate::segments::{self, Segment};

/// Between two looks for what has to go, s.
const TIDY_EVERY_S: u64 = 60;
/// Records and rates that wait while nothing can be written, rates no more than half of them; more are lost
/// and counted. Some tens of megabytes of incidents at most.
const MAX_WAITING: usize = 8_192;

/// Bounds of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes on disk: three quarters for flows, the rest for everything else.
    pub max_bytes: u64,
    /// Age of what is kept, s.
    pub max_age_s: u64,
    /// Flows a second; above it flows are thinned.
    pub flows_per_s: u32,
}

/// State of the writer, for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterState {
    /// Flows written, and those above the limit.
    pub n_flows: u64,
    pub n_thinned: u64,
    /// Records and rates written.
    pub n_records: u64,
    /// Records and rates that wait for a disk that takes none.
    pub n_waiting: u64,
    /// Items that could not be written.
    pub n_lost: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// File that was set aside last.
    pub set_aside: Option<PathBuf>,
    /// Why the last try failed.
    pub error: Option<String>,
}

/// Item that waits to be written.
enum Waiting {
    Record(Arc<Record>),
    Rate(Rate),
}

/// Writes the files of a folder.
pub struct Writer {
    folder: PathBuf,
    bounds: Bounds,
    main: Option<Connection>,
    segment: Option<Segment>,
    waiting: Vec<Waiting>,
    flows: Second,
    tidied_s: u64,
    state: WriterState,
}

/// File of incidents and rates.
pub fn main_file(folder: &Path) -> PathBuf {
    folder.join("incidents.sqlite")
}

impl Writer {
    /// Opens the files of a folder, which is made.
    ///
    /// # Errors
    /// When they can't be made, or are of a newer version.
    pub fn open(folder: &Path, bounds: Bounds) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        made.with_context(|| folder.display().to_string())?;
        let (main, set_aside) = file::open(&main_file(folder), incidents::STEPS)?;
        Ok(Self {
            folder: folder.to_owned(),
            bounds,
            main: Some(main),
            segment: None,
            waiting: Vec::new(),
            flows: Second::default(),
            tidied_s: 0,
            state: WriterState {
                set_aside,
                ..WriterState::default()
            },
        })
    }

    pub const fn state(&self) -> &WriterState {
        &self.state
    }

    /// Takes an incident, a decision or what was said of one; everything else passes by.
    pub fn take(&mut self, record: Arc<Record>) {
        if matches!(
            *record,
            Record::Incident(_) | Record::Decision(_) | Record::Feedback(_) | Record::Remark(_)
        ) {
            self.wait(Waiting::Record(record));
        }
    }

    pub fn take_rate(&mut self, rate: Rate) {
        self.wait(Waiting::Rate(rate));
    }

    fn wait(&mut self, item: Waiting) {
        let room = match item {
            Waiting::Record(_) => MAX_WAITING,
            Waiting::Rate(_) => MAX_WAITING / 2,
        };
        if self.waiting.len() < room {
            self.waiting.push(item);
        } else {
            self.state.n_lost += 1;
        }
    }

    /// Takes a flow. Above the limit flows are left out, and from half of it on those that nobody answered:
    /// a flood or a scan leaves room for what did something. Those of the lowest ranks stay, whose packets the
    /// ring keeps as well.
    pub fn take_flow(&mut self, flow: Flow) {
        if !self.flows.take(flow, self.bounds.flows_per_s) {
            self.state.n_thinned += 1;
        }
    }

    /// Writes what waits, once a second; `now_s` is Unix time. Where the disk takes nothing, records and rates
    /// go on waiting, and flows are lost and counted; the next try begins with files opened anew.
    pub fn commit(&mut self, now_s: u64) {
        let waiting = std::mem::take(&mut self.waiting);
        let flows = self.flows.end();
        let n = (waiting.len() as u64, flows.len() as u64);
        let records = self.write_records(&waiting);
        let written = self.write_flows(&flows, now_s);
        let mut error = None;
        match records {
            Ok(()) => self.state.n_records += n.0,
            Err(cause) => {
                if file::is_of_disk(&cause) {
                    self.waiting = waiting;
                } else {
                    // Nothing that waits may hold up what comes.
                    self.state.n_lost += n.0;
                }
                self.main = None;
                error = Some(self.failed(&main_file(&self.folder), &cause));
            }
        }
        self.state.n_waiting = self.waiting.len() as u64;
        match written {
            Ok(()) => self.state.n_flows += n.1,
            Err(cause) => {
                self.state.n_lost += n.1;
                let path = self.segment.take().map(|segment| segment.path);
                let path = path.unwrap_or_else(|| self.folder.clone());
                error = Some(self.failed(&path, &cause));
            }
        }
        self.tell(error);
        if now_s.saturating_sub(self.tidied_s) >= TIDY_EVERY_S || now_s < self.tidied_s {
            self.tidied_s = now_s;
            self.tidy(now_s);
        }
    }

    fn failed(&mut self, path: &Path, cause: &anyhow::Error) -> String {
        if file::is_damaged(cause) && path.is_file() {
            self.state.set_aside = file::set_aside(path).ok();
        }
        format!("{cause:#}")
    }

    fn tell(&mut self, error: Option<String>) {
        if let Some(cause) = &error
            && self.state.error.is_none()
        {
            warn!(
                cause,
                "the store can't be written: flows are lost and counted, incidents wait, the sensor goes on"
            );
        }
        self.state.error = error;
    }

    fn write_records(&mut self, waiting: &[Waiting]) -> Result<()> {
        if waiting.is_empty() {
            return Ok(());
        }
        let main = match &mut self.main {
            Some(main) => main,
            closed => {
                let (main, set_aside) = file::open(&main_file(&self.folder), incidents::STEPS)?;
                self.state.set_aside = set_aside.or(self.state.set_aside.take());
                closed.insert(main)
            }
        };
        let to = main.transaction()?;
        for item in waiting {
            match item {
                Waiting::Rate(rate) => rates::put(&to, rate)?,
                Waiting::Record(record) => match &**record {
                    Record::Incident(incident) => incidents::put(&to, incident)?,
                    Record::Decision(decision) => incidents::put_decision(&to, decision)?,
                    Record::Feedback(given) => incidents::put_feedback(&to, given)?,
                    Record::Remark(remark) => incidents::put_remark(&to, remark)?,
                    _ => {}
                },
            }
        }
        Ok(to.commit()?)
    }

    fn write_flows(&mut self, flows: &[Flow], now_s: u64) -> Result<()> {
        if flows.is_empty() {
            return Ok(());
        }
        let is_full = |segment: &Segment| segment.is_full(now_s, self.flow_bytes());
        if self.segment.as_ref().is_none_or(is_full) {
            self.segment = None;
            self.segment = Some(Segment::open(&self.folder, now_s)?);
        }
        let Some(segment) = &mut self.segment else {
            return Ok(());
        };
        let to = segment.connection.transaction()?;
        for flow in flows {
            segments::put(&to, flow)?;
        }
        Ok(to.commit()?)
    }

    const fn flow_bytes(&self) -> u64 {
        self.bounds.max_bytes / 4 * 3
    }

    /// Lets go what is too old or too much, a bounded part at a time.
    fn tidy(&mut self, now_s: u64) {
        let Bounds {
            max_bytes,
            max_age_s,
            ..
        } = self.bounds;
        let flows = segments::shed(&self.folder, now_s, max_age_s, self.flow_bytes());
        let main = main_file(&self.folder);
        let is_large = file::bytes_on_disk(&main) > max_bytes / 4;
        if let Some(connection) = &mut self.main {
            let done = tidy_main(connection, now_s, max_age_s, is_large);
            if let Err(cause) = done {
                self.main = None;
                let told = self.failed(&main, &cause);
                self.tell(Some(told));
            }
        }
        self.state.bytes = flows + file::bytes_on_disk(&main);
    }
}

fn tidy_main(main: &mut Connection, now_s: u64, age_s: u64, is_large: bool) -> Result<()> {
    let before_ns = now_s.saturating_sub(age_s).saturating_mul(1_000_000_000);
    let to = main.transaction()?;
    incidents::delete(&to, Some(before_ns))?;
    if is_large {
        incidents::delete(&to, None)?;
        // Rates are the other half: the oldest tenth of their time.
        rates::delete(&to, now_s, age_s / 10 * 9)?;
    }
    rates::delete(&to, now_s, age_s)?;
    to.commit()?;
    main.execute_batch("PRAGMA incremental_vacuum(4096)")?;
    Ok(())
}
