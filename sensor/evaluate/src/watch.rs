//! Runs one capture through the whole pipeline, as live traffic would arrive, and notes every
//! incident as it stood each time it was published.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use sensor_common::Address;
use sensor_engine::{
    Action, Config, Engine, Incident, Input, Output, PairVector, Sequence, State, from_ip,
};

use super::change::Changed;
use super::roc::Scores;
use super::truth::{Mac, Truth};
use sensor_capture::drive::Listener;
use sensor_capture::pcap::{CaptureReader, to_ethernet};
use sensor_capture::player::{Conditions, Played, Player};

/// An incident at one publication.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub at_ns: u64,
    pub start_ns: u64,
    pub end_ns: u64,
    pub sources: Vec<Address>,
    pub destinations: Vec<Address>,
    pub macs: Vec<Mac>,
}

impl Snapshot {
    fn of(at_ns: u64, incident: &Incident, since_ns: u64) -> Self {
        let addresses = |ips: &[std::net::IpAddr]| ips.iter().map(|ip| from_ip(*ip)).collect();
        Self {
            at_ns,
            start_ns: since_ns,
            end_ns: incident.end_ns,
            sources: addresses(&incident.sources),
            destinations: addresses(&incident.destinations),
            macs: incident.source_mac.into_iter().collect(),
        }
    }

    fn names_the_same(&self, other: &Self) -> bool {
        self.sources == other.sources
            && self.destinations == other.destinations
            && self.macs == other.macs
    }

    pub fn names(&self, address: &Address) -> bool {
        self.sources.contains(address) || self.destinations.contains(address)
    }
}

/// One incident over its life.
#[derive(Clone, Debug)]
pub struct Alarm {
    pub last: Incident,
    pub opened_ns: u64,
    pub snapshots: Vec<Snapshot>,
    /// Times from a beginning, or from being reopened, to its end: first and last.
    pub stretches: Vec<(u64, u64)>,
}

impl Alarm {
    fn opened(at_ns: u64, incident: Incident) -> Self {
        Self {
            opened_ns: at_ns,
            snapshots: vec![Snapshot::of(at_ns, &incident, incident.start_ns)],
            stretches: vec![(incident.start_ns, incident.end_ns)],
            last: incident,
        }
    }

    /// Takes the time of what is published now, and returns when that stretch began: nothing was
    /// found between the end of an incident and its being reopened.
    fn stretch(&mut self, incident: &Incident) -> u64 {
        let begin = incident.end_ns.saturating_sub(incident.window_ns);
        match self.stretches.last_mut() {
            Some((start, end)) if self.last.state != State::Closed || begin <= *end => {
                *end = incident.end_ns.max(*end);
                *start
            }
            _ => {
                self.stretches.push((begin, incident.end_ns));
                begin
            }
        }
    }
}

/// Collects what the engine says.
pub struct Watcher {
    engine: Engine,
    outputs: Vec<Output>,
    by_id: HashMap<String, usize>,
    pub alarms: Vec<Alarm>,
    pub n_flows: u64,
    pub n_decisions: u64,
    /// Decisions to drop packets, at least those of new flows.
    pub n_drops: u64,
    scores: Scores,
    windows: Vec<PairVector>,
    sequences: Vec<Sequence>,
}

impl Watcher {
    fn new(config: Config) -> Self {
        Self {
            engine: Engine::new(config),
            outputs: Vec::new(),
            by_id: HashMap::new(),
            alarms: Vec::new(),
            n_flows: 0,
            n_decisions: 0,
            n_drops: 0,
            scores: Scores::default(),
            windows: Vec::new(),
            sequences: Vec::new(),
        }
    }

    fn note(&mut self, at_ns: u64, incident: Incident) {
        let known = self.by_id.get(&incident.id).copied();
        if let Some(alarm) = known.and_then(|index| self.alarms.get_mut(index)) {
            let since_ns = alarm.stretch(&incident);
            let snapshot = Snapshot::of(at_ns, &incident, since_ns);
            alarm.last = incident;
            let n = alarm.snapshots.len();
            // A long incident that names nobody new: its first word and its latest are enough.
            match alarm.snapshots.get(n.saturating_sub(2)..) {
                Some([before, last])
                    if last.names_the_same(&snapshot)
                        && before.names_the_same(last)
                        && snapshot.end_ns.saturating_sub(before.end_ns) < 1_000_000_000 =>
                {
                    alarm.snapshots.pop();
                }
                _ => {}
            }
            alarm.snapshots.push(snapshot);
            return;
        }
        self.by_id.insert(incident.id.clone(), self.alarms.len());
        self.alarms.push(Alarm::opened(at_ns, incident));
    }
}

impl Listener for Watcher {
    fn feed(&mut self, at_ns: u64, input: Input<'_>) {
        self.engine.handle(at_ns, input, &mut self.outputs);
    }

    fn deliver(&mut self, at_ns: u64) -> io::Result<()> {
        for item in std::mem::take(&mut self.outputs) {
            match item {
                Output::Incident(incident) => self.note(at_ns, incident),
                Output::FlowEnd(_) => self.n_flows += 1,
                Output::Decision(decision) => {
                    self.n_decisions += 1;
                    let is_drop = decision.action > Action::Challenge && !decision.needs_approval;
                    self.n_drops += u64::from(is_drop);
                }
                Output::Score(score) => self.scores.take(&score),
                Output::Window(window, _) => self.windows.push(*window),
                Output::Sequence(sequence) => self.sequences.push(*sequence),
                Output::Finding(_)
                | Output::Rollback(_)
                | Output::Vector(_)
                | Output::Loss { .. } => {}
            }
        }
        Ok(())
    }

    fn wants_flows(&self) -> bool {
        self.engine.wants_flows()
    }

    fn finish(&mut self, at_ns: u64) {
        self.engine.finish(at_ns, &mut self.outputs);
    }
}

/// A capture that was run.
pub struct Watched {
    pub truth: Truth,
    pub alarms: Vec<Alarm>,
    pub n_flows: u64,
    pub n_decisions: u64,
    pub n_drops: u64,
    pub scores: Scores,
    /// Windows of pairs and sources, with [`Config::emit_vectors`].
    pub windows: Vec<PairVector>,
    /// Steps of pairs, flows and hosts, with [`Config::emit_sequences`].
    pub sequences: Vec<Sequence>,
    pub played: Played,
    /// Time in the pipeline, reading and labelling left out.
    pub busy: Duration,
    /// Faults of the capture.
    pub problems: Vec<String>,
}

/// Time of a capture's first frame; 0 where there is none.
///
/// # Errors
/// When the capture can't be opened.
pub fn first_ns(path: &Path) -> Result<u64, String> {
    let mut reader =
        CaptureReader::open(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
    // Faults of the capture are told when it is run.
    let first = reader
        .next_frames()
        .ok()
        .and_then(|mut frames| frames.next());
    Ok(first.map_or(0, |frame| frame.at_ns))
}

/// Runs a capture as it is or changed. `seen` is told how many bytes of the file were read.
///
/// # Errors
/// When the capture can't be opened.
pub fn watch(
    path: &Path,
    conditions: &Conditions,
    mut truth: Truth,
    changed: &Changed,
    mut seen: impl FnMut(u64),
) -> Result<Watched, String> {
    let named = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
    let mut reader = CaptureReader::open(path).map_err(|cause| named(&cause))?;
    let mut player = Player::new(Watcher::new(conditions.engine.clone()), conditions);
    let (mut problems, mut scratch) = (Vec::new(), Vec::new());
    let mut busy = Duration::ZERO;
    let mut n_frames = 0;
    loop {
        match reader.next_frames() {
            Ok(frames) if frames.len() == 0 => break,
            Ok(frames) => {
                n_frames += frames.len();
                for frame in frames.clone() {
                    truth.pass(frame.number);
                    let Some(frame) = changed.frame(frame) else {
                        continue;
                    };
                    let ethernet = to_ethernet(&frame, &mut scratch);
                    truth.take(frame.number, frame.at_ns, ethernet.data);
                }
                let begin = Instant::now();
                player
                    .take_all(frames.filter_map(|frame| changed.frame(frame)))
                    .map_err(|cause| named(&cause))?;
                busy += begin.elapsed();
            }
            Err(cause) => problems.push(named(&cause)),
        }
        if n_frames >= 4096 {
            n_frames = 0;
            seen(reader.progress().0);
        }
    }
    player.finish().map_err(|cause| named(&cause))?;
    seen(reader.progress().0);
    let played = *player.played();
    let Watcher {
        alarms,
        n_flows,
        n_decisions,
        n_drops,
        scores,
        windows,
        sequences,
        ..
    } = player.listener;
    Ok(Watched {
        truth,
        alarms,
        n_flows,
        n_decisions,
        n_drops,
        scores,
        windows,
        sequences,
        played,
        busy,
        problems,
    })
}
