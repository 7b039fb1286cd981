//! The thread of the networks: judges the engine's sequences beside it, by the networks that are installed, and
//! follows what is installed. A candidate scores beside the network in force: what it says is compared, and has no
//! effect until it is promoted. Nobody waits for it: what finds its queue full is counted, and findings of networks
//! say so for a minute.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sensor_engine::{Judgement, SECOND_NS, Sequence, SequenceKinds};
use sensor_record::answer::NetworkState;
use sensor_respond::Origin;
use tracing::{info, warn};

use super::Ask;
use crate::config::{NetworkSettings, Promote, Settings};
use crate::networks::{Change, Entry, InstalledFolder, Judge, Judging, Noted, Shadow, Side, name};
use crate::queue::{self, Drain, Gauge, Policy, Sender};

/// Sequences that wait, 19 kB each at most: 20 MB.
const MAX_WAITING: usize = 1_024;
/// Judgements that wait for the engine, which takes them every 100 ms.
const MAX_JUDGED: usize = 4_096;
/// Time between two looks at what is installed.
const LOOK: Duration = Duration::from_millis(250);
/// Time between two writings of the comparisons.
const KEEP: Duration = Duration::from_secs(2);
/// Sequences taken before the batches are judged.
const AT_ONCE: usize = 64;

/// Work for the thread.
enum Work {
    Sequence(Sequence),
    Noted(Noted),
}

/// Rule by which a candidate is promoted without a person's word.
#[derive(Clone, Copy)]
struct Rule {
    least_ns: Option<u64>,
}

impl Rule {
    fn of(settings: &NetworkSettings) -> Self {
        let by_rule = settings.promote == Promote::ByRule;
        let least_ns = u64::from(settings.promote_after.0).saturating_mul(SECOND_NS);
        Self {
            least_ns: by_rule.then_some(least_ns),
        }
    }
}

/// State that status and metrics show.
#[derive(Debug, Default)]
pub struct NetworkStates {
    kinds: Mutex<SequenceKinds>,
    states: Mutex<Vec<NetworkState>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NetworkStates {
    pub fn states(&self) -> Vec<NetworkState> {
        lock(&self.states).clone()
    }
}

/// The engine's end.
pub struct NetworksEnd {
    work: Sender<Work>,
    judged: Drain<Judgement>,
    /// Queue of the judgements, for what finds it full.
    judged_gauge: Gauge,
    states: Arc<NetworkStates>,
    n_told: u64,
}

impl NetworksEnd {
    pub fn gauges(&self) -> [Gauge; 2] {
        [self.work.gauge().clone(), self.judged_gauge.clone()]
    }

    pub fn states(&self) -> Arc<NetworkStates> {
        Arc::clone(&self.states)
    }
}

impl Judging for NetworksEnd {
    fn kinds(&self) -> SequenceKinds {
        *lock(&self.states.kinds)
    }

    fn take(&mut self, sequence: &Sequence) {
        // Counted by the queue.
        let _shed = self.work.send(Work::Sequence(sequence.clone()));
    }

    fn note(&mut self, noted: Noted) {
        // Sequences matter more; what is shed is counted by the queue, and makes a comparison poorer.
        let _shed = self.work.send_minor(Work::Noted(noted));
    }

    fn judged(&mut self, out: &mut Vec<Judgement>) -> u64 {
        while let Some(judgement) = self.judged.next_waiting() {
            out.push(judgement);
        }
        let gauges = [self.work.gauge(), &self.judged_gauge];
        let n_shed = gauges.iter().map(|gauge| gauge.n_shed()).sum();
        let n_new = u64::saturating_sub(n_shed, self.n_told);
        self.n_told = n_shed;
        n_new
    }
}

/// Starts the thread, where there is a folder of state. It ends when the engine's end is gone.
///
/// # Errors
/// When the system has no thread left.
pub fn start(settings: &Settings, asks: &Sender<Ask>) -> Result<Option<NetworksEnd>> {
    let folder = settings.respond.state_of_instance();
    let Some(folder) = folder.filter(|_| settings.networks.enabled) else {
        return Ok(None);
    };
    let (work, waiting) = queue::bounded("sequences", MAX_WAITING, Policy::DropNewest);
    let (judged_in, judged) = queue::bounded("judgements", MAX_JUDGED, Policy::DropNewest);
    let states = Arc::<NetworkStates>::default();
    let end = NetworksEnd {
        work,
        judged,
        judged_gauge: judged_in.gauge().clone(),
        states: Arc::clone(&states),
        n_told: 0,
    };
    let mut bench = Bench {
        folder: InstalledFolder::of_state(&folder),
        benches: Vec::new(),
        rule: Rule::of(&settings.networks),
        judged: judged_in,
        states,
        asks: asks.clone(),
    };
    // The first look is before the first sequence.
    let mut stamp = bench.folder.stamp();
    bench.follow();
    let work = move || {
        let (mut looked, mut kept) = (Instant::now(), Instant::now());
        while let Ok(work) = waiting.receive(LOOK) {
            if let Some(work) = work {
                bench.take(work, &waiting);
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                let now = bench.folder.stamp();
                if now != stamp {
                    stamp = now;
                    bench.keep();
                    bench.follow();
                }
            }
            if kept.elapsed() >= KEEP {
                kept = Instant::now();
                bench.keep();
                bench.obey_rule();
            }
        }
        bench.keep();
    };
    let named = thread::Builder::new().name("networks".to_owned());
    named.spawn(work).context("no thread for the networks")?;
    Ok(Some(end))
}

/// One network at work, with its judgements of a batch, which are kept for their memory.
struct At {
    judge: Judge,
    side: Side,
    found: Vec<Judgement>,
}

/// Networks of a kind of sequences at work, and their comparison where there are two.
struct Pair {
    kind: String,
    networks: Vec<At>,
    shadow: Option<Shadow>,
    has_changed: bool,
}

/// All networks at work.
struct Bench {
    folder: InstalledFolder,
    benches: Vec<Pair>,
    rule: Rule,
    judged: Sender<Judgement>,
    states: Arc<NetworkStates>,
    asks: Sender<Ask>,
}

impl Bench {
    /// Does a piece of work and some that wait behind it.
    fn take(&mut self, first: Work, waiting: &Drain<Work>) {
        let mut next = Some(first);
        for _ in 0..AT_ONCE {
            let Some(work) = next.take().or_else(|| waiting.next_waiting()) else {
                break;
            };
            match work {
                Work::Sequence(sequence) => self.judge(&sequence),
                Work::Noted(noted) => self.note(noted),
            }
        }
        for pair in &mut self.benches {
            for at in &mut pair.networks {
                at.judge.flush(&mut at.found);
            }
            pair.tell(&self.judged, &self.states);
        }
    }

    fn judge(&mut self, sequence: &Sequence) {
        for at in self.benches.iter_mut().flat_map(|pair| &mut pair.networks) {
            at.judge.take(sequence, &mut at.found);
        }
    }

    fn note(&mut self, noted: Noted) {
        for shadow in self
            .benches
            .iter_mut()
            .filter_map(|pair| pair.shadow.as_mut())
        {
            match noted {
                Noted::Found { at_ns, address } => shadow.note_found(at_ns, address),
                Noted::Said { address, is_attack } => shadow.note_said(address, is_attack),
            }
        }
    }

    /// Takes what is installed now.
    fn follow(&mut self) {
        let installed = match self.folder.read() {
            Ok(installed) => installed,
            Err(cause) => {
                let cause = format!("{cause:#}");
                warn!(cause, "networks stay as they are");
                return;
            }
        };
        let (mut benches, mut states, mut kinds) = (Vec::new(), Vec::new(), SequenceKinds::NONE);
        for (kind, slots) in &installed.kinds {
            let mut pair = Pair {
                kind: kind.clone(),
                networks: Vec::new(),
                shadow: None,
                has_changed: false,
            };
            for (side, entry) in [
                (Side::Active, &slots.active),
                (Side::Candidate, &slots.candidate),
            ] {
                let Some(entry) = entry else { continue };
                let mut state = self.state(kind, side, entry);
                match self
                    .folder
                    .load(entry)
                    .and_then(|loaded| Judge::new(&loaded))
                {
                    Ok(judge) => {
                        kinds = kinds.with(judge.kind());
                        pair.networks.push(At {
                            judge,
                            side,
                            found: Vec::new(),
                        });
                    }
                    Err(cause) => {
                        warn!(cause, "network not used");
                        state.error = Some(cause);
                    }
                }
                states.push(state);
            }
            if let Some(candidate) = &slots.candidate {
                let active = slots.active.as_ref().map_or("", |entry| &entry.sha256);
                let known = self.folder.read_comparison(kind);
                let known = known.filter(|known| known.is_of(active, &candidate.sha256));
                pair.shadow = known.or_else(|| Some(Shadow::of(active, &candidate.sha256)));
                pair.has_changed = true;
            }
            benches.push(pair);
        }
        self.note_changes(&self.folder.not_noted(&installed), installed.last_change());
        *lock(&self.states.kinds) = kinds;
        self.benches = benches;
        *lock(&self.states.states) = states;
    }

    /// State of a network, which counts on where it is known.
    fn state(&self, kind: &str, side: Side, entry: &Entry) -> NetworkState {
        let own = name(kind, &entry.sha256);
        let known = self.states.states();
        let known = known.iter().find(|known| known.name == own);
        NetworkState {
            sequences: kind.to_owned().into(),
            role: side.label().into(),
            network: entry.network.clone(),
            sha256: entry.sha256.clone(),
            since: entry.since,
            judged: known.map_or(0, |known| known.judged),
            alarms: known.map_or(0, |known| known.alarms),
            error: None,
            name: own,
        }
    }

    /// Keeps the comparisons that went on.
    fn keep(&mut self) {
        for pair in &mut self.benches {
            let Some(shadow) = pair.shadow.as_ref().filter(|_| pair.has_changed) else {
                continue;
            };
            pair.has_changed = false;
            if let Err(cause) = self.folder.keep_comparison(&pair.kind, shadow) {
                warn!(%cause, "comparison of networks not kept");
            }
        }
    }

    /// Promotes candidates that the rule finds better.
    fn obey_rule(&self) {
        let Some(least_ns) = self.rule.least_ns else {
            return;
        };
        for pair in &self.benches {
            let is_better = |shadow: &Shadow| shadow.verdict(least_ns).is_ok();
            if pair.shadow.as_ref().is_some_and(is_better)
                && let Err(cause) = self.folder.promote(&pair.kind, None)
            {
                let cause = format!("{cause:#}");
                warn!(cause, "candidate not promoted");
            }
        }
    }

    /// Has the audit log take changes.
    fn note_changes(&self, changes: &[Change], last: u64) {
        if changes.is_empty() {
            return;
        }
        for change in changes {
            info!(what = change.what, uid = change.uid, "networks changed");
            let by = change
                .uid
                .map_or(Origin::Sensor, |uid| Origin::Operator { uid });
            let ask = Ask::NetworkChange {
                what: change.what.clone(),
                by,
            };
            if self.asks.send(ask).is_err() {
                warn!("the engine is busy: the change is noted later");
                return;
            }
        }
        if let Err(cause) = self.folder.set_noted(last) {
            warn!(%cause, "changes of networks may be noted twice");
        }
    }
}

impl Pair {
    /// Tells the engine what the network in force found, and compares it with what the candidate did.
    fn tell(&mut self, judged: &Sender<Judgement>, states: &NetworkStates) {
        let mut states = lock(&states.states);
        for At { side, found, .. } in &mut self.networks {
            for judgement in found.drain(..) {
                let is_alarm = judgement.score >= judgement.threshold;
                let name = &*judgement.network;
                if let Some(state) = states.iter_mut().find(|state| *state.name == *name) {
                    state.judged = state.judged.saturating_add(1);
                    state.alarms = state.alarms.saturating_add(u64::from(is_alarm));
                }
                if let Some(shadow) = &mut self.shadow {
                    shadow.take(*side, &judgement);
                    self.has_changed = true;
                }
                if is_alarm && *side == Side::Active {
                    // Counted by the queue.
                    let _shed = judged.send(judgement);
                }
            }
        }
    }
}
