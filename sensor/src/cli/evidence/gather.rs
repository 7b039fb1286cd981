//! Records, flows and packets of one incident, out of captures or of lines.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use sensor_record::{Account, Accounts, Flow, Record, Timestamp};
use tracing::error;

use crate::cli::client::Fetched;
use crate::conditions;
use crate::config::Settings;
use crate::evidence::{Folder, Selector};
use crate::identity;
use crate::pipeline::{Pipeline, Show};
use crate::print::Sink;
use sensor_capture::pcap::{CaptureReader, Frame, NgWriter, to_ethernet};
use sensor_capture::player::Player;
use sensor_respond::NoRespond;

/// Flows and records that are kept; the rest is counted, or left out of the timeline.
const MAX_FLOWS: usize = 100_000;
const MAX_RECORDS: usize = 100_000;
const PACKETS: &str = "packets.pcapng";

/// Sink of a replay whose records are looked at one by one.
struct Each<F>(F);

impl<F: FnMut(Record)> Sink for Each<F> {
    fn take(&mut self, record: Record) -> io::Result<()> {
        (self.0)(record);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Plays captures; `false`: part of them was bad, and named on standard error.
fn play(
    settings: &Settings,
    captures: &[PathBuf],
    show: Show,
    take: impl FnMut(Record) + Send + 'static,
    mut look: impl FnMut(&str, &Frame<'_>) -> io::Result<()>,
) -> Result<bool> {
    let conditions = conditions::of_replay(settings);
    let sensor = identity::of_replay(settings);
    let sink = Box::new(Each(take));
    let pipeline = Pipeline::new(conditions.engine.clone(), NoRespond, show, sensor, sink);
    let mut player = Player::new(pipeline, &conditions);
    let is_good = read(captures, |name, frame| {
        look(name, frame)?;
        player.take(frame)
    })?;
    player.finish()?;
    Ok(is_good)
}

/// Reads frames with the name of their capture; faults are named on standard error.
fn read(
    captures: &[PathBuf],
    mut take: impl FnMut(&str, &Frame<'_>) -> io::Result<()>,
) -> Result<bool> {
    let mut is_good = true;
    for path in captures {
        let shown = path.display().to_string();
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy();
        let mut reader = CaptureReader::open(path).with_context(|| shown.clone())?;
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => take(&name, &frame)?,
                Ok(None) => break,
                Err(cause) => {
                    error!("{shown}: {cause}");
                    is_good = false;
                }
            }
        }
    }
    Ok(is_good)
}

/// Looks for an incident in a replay. `false`: part of the captures was bad.
///
/// # Errors
/// When a capture can't be read at all.
pub(super) fn accounts(
    settings: &Settings,
    captures: &[PathBuf],
    accounts: Accounts,
) -> Result<(Accounts, bool)> {
    let shared = Arc::new(Mutex::new(Some(accounts)));
    let theirs = Arc::clone(&shared);
    let take = move |record| {
        if let Some(accounts) = &mut *theirs.lock().unwrap_or_else(PoisonError::into_inner) {
            accounts.take(record);
        }
    };
    let is_good = play(settings, captures, Show::default(), take, |_, _| Ok(()))?;
    let found = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok((found.context("the replay kept nothing")?, is_good))
}

/// Records, flows and packets of an incident.
pub(super) struct Gathered<'a> {
    account: &'a Account,
    selector: &'a Selector,
    max_packets: u64,
    pub timeline: Vec<Record>,
    pub flows: Vec<Flow>,
    pub n_flows_left_out: u64,
    pub n_packets: u64,
    pub n_packets_left_out: u64,
}

impl<'a> Gathered<'a> {
    pub fn new(account: &'a Account, selector: &'a Selector, max_packets: u64) -> Self {
        Self {
            account,
            selector,
            max_packets,
            timeline: Vec::new(),
            flows: Vec::new(),
            n_flows_left_out: 0,
            n_packets: 0,
            n_packets_left_out: 0,
        }
    }

    /// Keeps a record that is about the incident.
    pub fn take(&mut self, record: Record) {
        if let Record::Flow(flow) = record {
            match self.selector.takes(&flow) {
                true if self.flows.len() < MAX_FLOWS => self.flows.push(*flow),
                true => self.n_flows_left_out += 1,
                false => {}
            }
            return;
        }
        if self.is_about_it(&record) && self.timeline.len() < MAX_RECORDS {
            self.timeline.push(record);
        }
    }

    fn is_about_it(&self, record: &Record) -> bool {
        let incident = &self.account.incident;
        match record {
            Record::Incident(one) => one.id == incident.id,
            Record::Decision(one) => one.incident_id == incident.id,
            Record::Feedback(one) => one.feedback.incident_id == incident.id,
            Record::Remark(one) => one.incident_id == incident.id,
            Record::Finding(one) => {
                let is_within = (incident.start..=incident.head.at).contains(&one.head.at);
                is_within
                    && Some(one.entity) == incident.entity
                    && one.family == incident.found_as()
            }
            _ => false,
        }
    }

    /// Takes what the agent remembers.
    pub fn take_account(&mut self) {
        let decisions = self.account.decided.decisions.iter().cloned();
        self.timeline.extend(decisions.map(Record::from));
        self.timeline.push(self.account.incident.clone().into());
    }

    /// Takes packets of the agent's ring.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn take_packets(&mut self, packets: &Fetched, folder: &mut Folder) -> Result<()> {
        (self.n_packets, self.n_packets_left_out) = (packets.n_packets, packets.n_left_out);
        folder.fill(PACKETS, |to| to.write_all(&packets.file))
    }

    /// Plays the captures once more: records, flows and packets.
    ///
    /// # Errors
    /// When captures can't be read or the packets can't be written.
    pub fn replay(
        &mut self,
        settings: &Settings,
        captures: &[PathBuf],
        folder: &mut Folder,
    ) -> Result<()> {
        let show = Show {
            flows: true,
            findings: true,
        };
        let records = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&records);
        let take = move |record| {
            theirs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(record);
        };
        let told = self.told();
        folder.fill(PACKETS, |to| {
            let mut packets = Packets::new(to, &told)?;
            let played = play(settings, captures, show, take, |name, frame| {
                self.look(&mut packets, name, frame)?;
                let waiting =
                    std::mem::take(&mut *records.lock().unwrap_or_else(PoisonError::into_inner));
                waiting.into_iter().for_each(|record| self.take(record));
                Ok(())
            });
            played.map_err(|cause| io::Error::other(format!("{cause:#}")))?;
            packets.writer.flush()
        })?;
        let last = std::mem::take(&mut *records.lock().unwrap_or_else(PoisonError::into_inner));
        last.into_iter().for_each(|record| self.take(record));
        Ok(())
    }

    /// Copies packets out of captures that are not played.
    ///
    /// # Errors
    /// As [`Self::replay`].
    pub fn copy(&mut self, captures: &[PathBuf], folder: &mut Folder) -> Result<()> {
        if captures.is_empty() {
            return Ok(());
        }
        let told = self.told();
        folder.fill(PACKETS, |to| {
            let mut packets = Packets::new(to, &told)?;
            let copied = read(captures, |name, frame| self.look(&mut packets, name, frame));
            copied.map_err(|cause| io::Error::other(format!("{cause:#}")))?;
            packets.writer.flush()
        })
    }

    /// Comment on the whole file.
    fn told(&self) -> String {
        let incident = &self.account.incident;
        format!("{}\nPackets {}", incident.explanation, self.selector.told())
    }

    fn look(&mut self, packets: &mut Packets<'_>, name: &str, frame: &Frame<'_>) -> io::Result<()> {
        let ethernet = to_ethernet(frame, &mut packets.scratch);
        let Some(comment) = self.selector.comment(Timestamp(frame.at_ns), &ethernet) else {
            return Ok(());
        };
        if self.n_packets == self.max_packets {
            self.n_packets_left_out += 1;
            return Ok(());
        }
        self.n_packets += 1;
        let comment = format!("{comment}; frame {} of {name}", frame.number);
        packets.writer.frame(frame, &comment)
    }
}

/// The file of packets.
struct Packets<'a> {
    writer: NgWriter<&'a mut dyn Write>,
    scratch: Vec<u8>,
}

impl<'a> Packets<'a> {
    fn new(to: &'a mut dyn Write, told: &str) -> io::Result<Self> {
        let program = concat!("sensor ", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            writer: NgWriter::new(to, program, told)?,
            scratch: Vec::new(),
        })
    }
}
