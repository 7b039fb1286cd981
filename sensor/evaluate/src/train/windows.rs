//! Labelled windows of pairs and sources: what captures give to learn from.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::path::Path;

use sensor_capture::pcap::{CaptureReader, to_ethernet};
use sensor_capture::player::Conditions;
use sensor_common::Address;
use sensor_engine::{
    Config, LearnedConfig, PAIR_FEATURES, PairVector, SECOND_NS, Sequence, SequenceKind,
    pair_schema_hash, to_ip,
};

use super::fingerprint::fingerprint;
use crate::change::Changed;
use crate::labels::Labels;
use crate::score::{CaptureScore, Content};
use crate::truth::{Event, Truth, WINDOW_NS, ordered};
use crate::watch::{Watched, watch};
use crate::{Progress, Subject};

/// Panes of 10 s in a window.
const N_PANES: u64 = 6;
/// Packets whose fingerprints are kept, to find captures that share packets.
const MAX_FINGERPRINTS: usize = 300_000;

/// Content of a window, by the labels of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Benign,
    /// Mostly of this event of the capture, which the source began.
    Attack(usize),
    /// Mixed, unknown, or what a victim does.
    Unclear,
}

/// A labelled window.
#[derive(Clone, Debug)]
pub struct Window {
    pub vector: PairVector,
    pub kind: Kind,
}

/// One capture.
#[derive(Debug)]
pub struct Windows {
    pub id: String,
    pub sha256: String,
    pub source: String,
    pub windows: Vec<Window>,
    /// Alarms of the detectors in the same run, the learned model switched off.
    pub score: CaptureScore,
    pub fingerprints: BTreeSet<u64>,
    pub problems: Vec<String>,
}

impl Windows {
    pub fn is_benign(&self) -> bool {
        self.score.content == Content::Benign
    }
}

/// Runs a capture through the pipeline.
///
/// # Errors
/// When it or its labels can't be read at all.
pub fn collect(
    subject: &Subject,
    conditions: &Conditions,
    progress: &impl Progress,
) -> Result<Windows, String> {
    let conditions = conditions.with_engine(Config {
        emit_vectors: true,
        omit_flows: true,
        learned: LearnedConfig {
            enabled: false,
            ..LearnedConfig::default()
        },
        ..conditions.engine.clone()
    });
    collect_with(subject, &conditions, progress, |_| ()).map(|(windows, ())| windows)
}

/// Runs a capture through the pipeline under conditions that emit windows; `more` takes what else is wanted of the run.
pub(super) fn collect_with<T>(
    subject: &Subject,
    conditions: &Conditions,
    progress: &impl Progress,
    more: impl Fn(&mut Watched) -> T,
) -> Result<(Windows, T), String> {
    let truth = Truth::new(Labels::read(&subject.packets, &subject.episodes)?);
    let mut before = 0;
    let seen = |n_bytes: u64| {
        progress.add_bytes(n_bytes.saturating_sub(before));
        before = n_bytes;
    };
    let mut watched = watch(
        &subject.capture,
        conditions,
        truth,
        &Changed::default(),
        seen,
    )?;
    let mut problems = watched.truth.problems(&subject.id);
    problems.append(&mut watched.problems);
    let vectors = std::mem::take(&mut watched.windows);
    let more = more(&mut watched);
    let path = &subject.capture;
    let named = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
    let windows = Windows {
        id: subject.id.clone(),
        sha256: super::collect::sha256(path).map_err(|cause| named(&cause))?,
        source: source_of(subject),
        windows: label(&watched.truth, vectors),
        score: CaptureScore::of(subject, &watched),
        fingerprints: fingerprints(path)?,
        problems,
    };
    Ok((windows, more))
}

/// Its data set, site or tool; a capture that nothing is known of is a source of its own.
fn source_of(subject: &Subject) -> String {
    let source = &subject.source;
    let is_known = source.name != source.folder;
    if is_known {
        source.name.clone()
    } else {
        subject.id.clone()
    }
}

fn fingerprints(path: &Path) -> Result<BTreeSet<u64>, String> {
    let named = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
    let mut reader = CaptureReader::open(path).map_err(|cause| named(&cause))?;
    let (mut found, mut scratch) = (BTreeSet::new(), Vec::new());
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) if found.len() < MAX_FINGERPRINTS => {
                found.extend(fingerprint(to_ethernet(&frame, &mut scratch).data));
            }
            Ok(_) => return Ok(found),
            // Told by the run before.
            Err(_) => {}
        }
    }
}

/// Packets by label: benign, attack, to be ignored.
type Counts = [u64; 3];

fn label(truth: &Truth, vectors: Vec<PairVector>) -> Vec<Window> {
    let labelling = Labelling::new(truth);
    let labelled = vectors.into_iter().map(|vector| Window {
        kind: labelling.of_window(&vector),
        vector,
    });
    labelled.collect()
}

fn add(to: &mut Counts, from: &Counts) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// Labels of packets by pair and by address.
pub(super) struct Labelling<'a> {
    truth: &'a Truth,
    of_address: HashMap<(Address, u64), Counts>,
}

/// Something of a source, or of a source and a host, over a time.
struct Stretch {
    source: Address,
    host: Option<Address>,
    first_ns: u64,
    last_ns: u64,
    /// The source may be who suffers.
    takes_any_part: bool,
}

impl<'a> Labelling<'a> {
    pub(super) fn new(truth: &'a Truth) -> Self {
        let mut of_address: HashMap<(Address, u64), Counts> = HashMap::new();
        for ((low, high, window), counts) in &truth.pairs {
            for address in [low, high] {
                add(of_address.entry((*address, *window)).or_default(), counts);
            }
        }
        Self { truth, of_address }
    }

    fn of_window(&self, vector: &PairVector) -> Kind {
        let last = vector.at_ns.saturating_sub(1) / WINDOW_NS;
        self.of(&Stretch {
            source: vector.source,
            host: vector.host,
            first_ns: (last + 1).saturating_sub(N_PANES) * WINDOW_NS,
            last_ns: vector.at_ns,
            takes_any_part: false,
        })
    }

    /// Content of a sequence; a host's minute is an attack's where it suffers one, too.
    pub(super) fn of_sequence(&self, sequence: &Sequence) -> Kind {
        self.of(&Stretch {
            source: sequence.source,
            host: sequence.host,
            first_ns: sequence.first_ns,
            last_ns: sequence.at_ns.saturating_add(1),
            takes_any_part: sequence.kind == SequenceKind::Minute,
        })
    }

    /// Half of the packets of what is an attack's must be of it, and its source have begun it; what has none is
    /// benign if nothing in it is unknown.
    fn of(&self, stretch: &Stretch) -> Kind {
        let truth = self.truth;
        let last = stretch.last_ns.saturating_sub(1) / WINDOW_NS;
        let mut counts = Counts::default();
        for window in stretch.first_ns / WINDOW_NS..=last {
            let found = match stretch.host {
                Some(host) => {
                    let (low, high) = ordered(stretch.source, host);
                    truth.pairs.get(&(low, high, window))
                }
                None => self.of_address.get(&(stretch.source, window)),
            };
            found.into_iter().for_each(|found| add(&mut counts, found));
        }
        let [n_benign, n_attack, n_ignored] = counts;
        if n_attack == 0 {
            return if n_benign > 0 && n_ignored == 0 {
                Kind::Benign
            } else {
                Kind::Unclear
            };
        }
        if 2 * n_attack < n_benign + n_attack + n_ignored {
            return Kind::Unclear;
        }
        let of_event = |event: &Event| {
            let source = event.parties.get(&stretch.source)?;
            let is_party = |host: &Address| event.parties.contains_key(host);
            let is_its = (source.is_initiator || stretch.takes_any_part)
                && stretch.host.as_ref().is_none_or(is_party);
            let is_then = event.start_ns <= stretch.last_ns.saturating_add(SECOND_NS)
                && event.end_ns.saturating_add(SECOND_NS) >= stretch.first_ns;
            (is_its && is_then).then_some(source.n_packets)
        };
        // Numbered among the attacks, as scores are.
        let attacks = truth.events.iter().filter(|event| event.is_attack);
        let events = attacks.enumerate();
        let parts = events.filter_map(|(place, event)| Some((of_event(event)?, place)));
        parts
            .max()
            .map_or(Kind::Unclear, |(_, place)| Kind::Attack(place))
    }
}

/// Writes labelled windows as CSV, one header for all.
///
/// # Errors
/// Those of the output.
pub fn write_csv(out: &mut impl Write, captures: &[Windows], groups: &[u32]) -> io::Result<()> {
    write!(
        out,
        "schema,capture,group,label,attack,time_ns,source,host,packets"
    )?;
    for feature in &PAIR_FEATURES {
        write!(out, ",{}", feature.name)?;
    }
    writeln!(out)?;
    let schema = pair_schema_hash();
    for (capture, group) in captures.iter().zip(groups) {
        for window in &capture.windows {
            let (label, attack) = match window.kind {
                Kind::Benign => (0, String::new()),
                Kind::Attack(event) => (1, event.to_string()),
                Kind::Unclear => (2, String::new()),
            };
            let vector = &window.vector;
            let host = vector.host.map(|host| to_ip(&host).to_string());
            write!(
                out,
                "{schema:016x},{},{group},{label},{attack},{},{},{},{}",
                capture.id,
                vector.at_ns,
                to_ip(&vector.source),
                host.unwrap_or_default(),
                vector.n_packets
            )?;
            for value in &vector.values {
                write!(out, ",{value}")?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}
