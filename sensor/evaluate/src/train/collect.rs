//! One capture: its vectors with the labels of their packets.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sensor_common::Address;
use sensor_engine::{Config, Engine, Family, Input, Inputs, Output, SECOND_NS, Vector, inputs};
use sha2::{Digest as _, Sha256};

use super::fingerprint::fingerprint;
use crate::families::kind_of;
use crate::labels::Labels;
use crate::truth::ordered;
use crate::truth::{Event, Truth, WINDOW_NS};
use crate::{Progress, Subject};
use sensor_capture::drive::Listener;
use sensor_capture::pcap::{CaptureReader, to_ethernet};
use sensor_capture::player::{Conditions, Player};

/// Rows of one class and kind of subject that one capture gives; of more, every nth.
const MAX_ROWS: usize = 200;
/// Vectors held of one capture: of more, every second, then every fourth, ...
const MAX_VECTORS: usize = 200_000;
/// Packets whose fingerprints are kept, to find captures that share packets.
const MAX_FINGERPRINTS: usize = 300_000;

/// One capture.
#[derive(Debug)]
pub struct Collected {
    pub id: String,
    pub sha256: String,
    /// Family, none for what is benign.
    pub rows: Vec<(Option<Family>, Inputs)>,
    pub fingerprints: BTreeSet<u64>,
    pub problems: Vec<String>,
}

/// Runs a capture through the pipeline.
///
/// # Errors
/// When it or its labels can't be read at all.
pub fn collect(
    subject: &Subject,
    conditions: &Conditions,
    progress: &impl Progress,
) -> Result<Collected, String> {
    let path = &subject.capture;
    let named = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
    let mut truth = Truth::new(Labels::read(&subject.packets, &subject.episodes)?);
    let mut reader = CaptureReader::open(path).map_err(|cause| named(&cause))?;
    let mut player = Player::new(Vectors::new(conditions.engine.clone()), conditions);
    let (mut problems, mut scratch) = (Vec::new(), Vec::new());
    let mut fingerprints = BTreeSet::new();
    let (mut n_frames, mut n_before) = (0u64, 0);
    loop {
        match reader.next_frame() {
            Ok(None) => break,
            Ok(Some(frame)) => {
                let ethernet = to_ethernet(&frame, &mut scratch);
                truth.take(frame.number, frame.at_ns, ethernet.data);
                if fingerprints.len() < MAX_FINGERPRINTS {
                    fingerprints.extend(fingerprint(ethernet.data));
                }
                player.take(&frame).map_err(|cause| named(&cause))?;
                n_frames += 1;
            }
            Err(cause) => problems.push(named(&cause)),
        }
        if n_frames.is_multiple_of(4096) {
            progress.add_bytes(reader.progress().0.saturating_sub(n_before));
            n_before = reader.progress().0;
        }
    }
    player.finish().map_err(|cause| named(&cause))?;
    progress.add_bytes(reader.progress().0.saturating_sub(n_before));
    problems.extend(truth.problems(&subject.id));
    Ok(Collected {
        id: subject.id.clone(),
        sha256: sha256(path).map_err(|cause| named(&cause))?,
        rows: label(&truth, &player.listener.kept),
        fingerprints,
        problems,
    })
}

pub(super) fn sha256(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut chunk = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut chunk)?;
        if n == 0 {
            let bytes = hash.finalize();
            return Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(chunk.get(..n).unwrap_or_default());
    }
}

/// Keeps the engine's vectors.
struct Vectors {
    engine: Engine,
    outputs: Vec<Output>,
    kept: Vec<Vector>,
    n_seen: usize,
    keep_one_of: usize,
}

impl Vectors {
    fn new(config: Config) -> Self {
        Self {
            engine: Engine::new(config),
            outputs: Vec::new(),
            kept: Vec::new(),
            n_seen: 0,
            keep_one_of: 1,
        }
    }

    fn keep(&mut self, vector: Vector) {
        self.n_seen += 1;
        if !self.n_seen.is_multiple_of(self.keep_one_of) {
            return;
        }
        self.kept.push(vector);
        if self.kept.len() >= MAX_VECTORS {
            let mut place = 0;
            self.kept.retain(|_| {
                place += 1;
                place % 2 == 0
            });
            self.keep_one_of *= 2;
        }
    }
}

impl Listener for Vectors {
    fn feed(&mut self, at_ns: u64, input: Input<'_>) {
        self.engine.handle(at_ns, input, &mut self.outputs);
    }

    fn wants_flows(&self) -> bool {
        self.engine.wants_flows()
    }

    fn deliver(&mut self, _at_ns: u64) -> io::Result<()> {
        for item in std::mem::take(&mut self.outputs) {
            if let Output::Vector(vector) = item {
                self.keep(*vector);
            }
        }
        Ok(())
    }

    fn finish(&mut self, at_ns: u64) {
        self.engine.finish(at_ns, &mut self.outputs);
    }
}

/// Packets by label: benign, attack, to be ignored.
type Counts = [u64; 3];

/// Labels vectors: half of a subject's packets must be of an attack that it began (a source, a pair)
/// or that was aimed at it (a host, a service); what has no packet of one is benign; the rest is
/// left out, and so is what no one family is right for.
fn label(truth: &Truth, vectors: &[Vector]) -> Vec<(Option<Family>, Inputs)> {
    let mut of_address: HashMap<(Address, u64), Counts> = HashMap::new();
    for ((low, high, window), counts) in &truth.pairs {
        for address in [low, high] {
            add(of_address.entry((*address, *window)).or_default(), counts);
        }
    }
    let mut labelled: Vec<(Option<Family>, Inputs)> = Vec::new();
    for vector in vectors {
        if let Some(class) = class_of(truth, &of_address, vector) {
            labelled.push((class, inputs(vector)));
        }
    }
    thin(labelled)
}

fn add(to: &mut Counts, from: &Counts) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

fn class_of(
    truth: &Truth,
    of_address: &HashMap<(Address, u64), Counts>,
    vector: &Vector,
) -> Option<Option<Family>> {
    use sensor_engine::Subject as S;
    let mut counts = Counts::default();
    for window in vector.first_ns / WINDOW_NS..=vector.last_ns / WINDOW_NS {
        let found = match vector.subject {
            S::Pair(a, b) => {
                let (low, high) = ordered(a, b);
                truth.pairs.get(&(low, high, window))
            }
            S::Source(address) | S::Host(address) | S::Service(address, ..) => {
                of_address.get(&(address, window))
            }
        };
        found.into_iter().for_each(|found| add(&mut counts, found));
    }
    let [n_benign, n_attack, n_ignored] = counts;
    if n_attack == 0 {
        return (n_benign > 0 && n_ignored == 0).then_some(None);
    }
    if 2 * n_attack < n_benign + n_attack + n_ignored {
        return None;
    }
    let is_party = |event: &Event, address: &Address, began: bool| {
        let part = event.parties.get(address)?;
        let is_in_role = if began {
            part.is_initiator
        } else {
            part.is_responder
        };
        // One of ten thousand spoofed sources shows nothing of the flood.
        (is_in_role && event.is_principal(address)).then_some(part.n_packets)
    };
    let of_event = |event: &Event| match &vector.subject {
        S::Source(address) => is_party(event, address, true),
        S::Pair(source, host) => is_party(event, source, true)
            .zip(is_party(event, host, false))
            .map(|(n, _)| n),
        S::Host(address) | S::Service(address, ..) => is_party(event, address, false),
    };
    let is_at_the_time = |event: &&Event| {
        event.is_attack
            && event.start_ns <= vector.last_ns.saturating_add(SECOND_NS)
            && event.end_ns.saturating_add(SECOND_NS) >= vector.first_ns
    };
    let events = truth.events.iter().filter(is_at_the_time);
    let parts = events.filter_map(|event| Some((of_event(event)?, event)));
    let (_, event) = parts.max_by_key(|(n_packets, _)| *n_packets)?;
    let [label] = kind_of(&event.attack).right else {
        return None;
    };
    let mut families = Family::ALL.into_iter();
    let family = families.find(|family| family.label() == *label)?;
    let is_shape = !matches!(family, Family::BehaviourAnomaly | Family::VolumeAnomaly);
    is_shape.then_some(Some(family))
}

/// Every nth row of a class and kind that there are more than enough of.
fn thin(mut rows: Vec<(Option<Family>, Inputs)>) -> Vec<(Option<Family>, Inputs)> {
    let key = |(class, inputs): &(Option<Family>, Inputs)| {
        (*class, inputs.last().map_or(0, |kind| *kind as u8))
    };
    let mut n_of: HashMap<_, usize> = HashMap::new();
    for row in &rows {
        *n_of.entry(key(row)).or_default() += 1;
    }
    let mut n_seen: HashMap<_, usize> = HashMap::new();
    rows.retain(|row| {
        let n = n_of.get(&key(row)).copied().unwrap_or(0).max(MAX_ROWS);
        let seen = n_seen.entry(key(row)).or_default();
        *seen += 1;
        *seen * MAX_ROWS / n != (*seen - 1) * MAX_ROWS / n
    });
    rows
}
