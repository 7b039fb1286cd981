//! Follows the facts of the host: reads them once at the start, then whenever the kernel tells of a
//! change, and slowly anyhow. What can't be read keeps its last value.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sensor_capture::netlink::{Changes, Woken, wait_for};
use tracing::{error, info};

use super::facts::{Fact, Networks, Source};
use super::guard::{Guard, Protected};

/// Least time between two looks at a fact that keeps changing.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// And as many times what a look took: one with a million routes takes a second.
const PAUSE_PER_COST: u32 = 50;
/// Time to the next try after one that failed.
const RETRY: Duration = Duration::from_secs(1);
/// Longest wait, so that a lost wake costs no more.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Time after which a fact is read without being told.
const fn period(fact: Fact) -> Duration {
    match fact {
        // The kernel tells of these.
        Fact::Addresses | Fact::Routes | Fact::Neighbours => Duration::from_secs(60),
        Fact::Resolvers => Duration::from_secs(10),
        Fact::TimeServers => Duration::from_secs(30),
        // Nothing tells of a login.
        Fact::Sessions => Duration::from_secs(2),
    }
}

/// State of a fact.
#[derive(Clone, Debug)]
pub struct FactState {
    pub fact: Fact,
    /// Read at least once.
    pub is_known: bool,
    /// Networks that it protects.
    pub n_networks: usize,
    /// Looks that failed.
    pub n_errors: u64,
    /// Why the last look failed, if it did.
    pub error: Option<String>,
    /// Time when it was read last.
    pub read_at: Option<Instant>,
}

impl FactState {
    const fn unknown(fact: Fact) -> Self {
        Self {
            fact,
            is_known: false,
            n_networks: 0,
            n_errors: 0,
            error: None,
            read_at: None,
        }
    }
}

/// Findings of the watch, shared with those who ask.
#[derive(Debug, Default)]
struct Shared {
    /// A guard that nobody took yet.
    guard: Option<Guard>,
    networks: Option<Arc<Networks>>,
    facts: Vec<FactState>,
    /// Why changes are not heard of, if so; facts are read now and then all the same.
    deaf: Option<String>,
    n_deaf: u64,
    stop: bool,
    look: bool,
}

/// A thread that follows the facts of the host; ended with the value.
pub struct GuardWatch {
    shared: Arc<Mutex<Shared>>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GuardWatch {
    /// Reads every fact once, then goes on in a thread. A fact that can't be read is tried again:
    /// [`Self::missing`] tells.
    ///
    /// # Errors
    /// Without a thread.
    pub fn start(source: Box<dyn Source>) -> Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (wake, woken) = UnixStream::pair().context("no wake for the guard")?;
        for end in [&wake, &woken] {
            end.set_nonblocking(true).context("no wake for the guard")?;
        }
        let mut watcher = Watcher::new(source, Arc::clone(&shared), woken);
        watcher.read_due();
        watcher.publish();
        let thread = thread::Builder::new()
            .name("guard".to_owned())
            .spawn(move || watcher.run())
            .context("no thread for the guard")?;
        Ok(Self {
            shared,
            wake,
            thread: Some(thread),
        })
    }

    /// Asks for a look at everything now.
    pub fn look(&self) {
        lock(&self.shared).look = true;
        self.wake();
    }

    fn wake(&self) {
        // A full pipe wakes as well.
        let _full = (&self.wake).write(&[0]);
    }

    /// The latest guard, if it changed since it was asked for last.
    pub fn changed(&self) -> Option<Guard> {
        lock(&self.shared).guard.take()
    }

    /// Networks of the host as read last; `None`: they never were.
    pub fn networks(&self) -> Option<Arc<Networks>> {
        lock(&self.shared).networks.clone()
    }

    /// Each fact as it is known.
    pub fn facts(&self) -> Vec<FactState> {
        let mut facts = lock(&self.shared).facts.clone();
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            for fact in &mut facts {
                fact.n_errors = fact.n_errors.max(1);
                fact.error = Some("the thread that reads it has ended; restart".to_owned());
            }
        }
        facts
    }

    /// Number of failures to subscribe to changes, and the cause, if that is so now.
    pub fn deaf(&self) -> (u64, Option<String>) {
        let shared = lock(&self.shared);
        (shared.n_deaf, shared.deaf.clone())
    }

    /// Facts that were never read, with the cause.
    pub fn missing(&self) -> Vec<(Fact, String)> {
        let shared = lock(&self.shared);
        let unknown = shared.facts.iter().filter(|state| !state.is_known);
        let cause = |state: &FactState| state.error.clone().unwrap_or_default();
        unknown.map(|state| (state.fact, cause(state))).collect()
    }
}

impl Drop for GuardWatch {
    fn drop(&mut self) {
        lock(&self.shared).stop = true;
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic was told by its hook.
            let _ended = thread.join();
        }
    }
}

/// One fact with when to look at it.
struct Followed {
    state: FactState,
    networks: Protected,
    due: Instant,
    /// Earliest time of the next reading.
    earliest: Instant,
}

/// The thread's own.
struct Watcher {
    source: Box<dyn Source>,
    facts: Vec<Followed>,
    changes: Option<Changes>,
    /// The next try to subscribe, without a subscription.
    subscribe_at: Instant,
    woken: UnixStream,
    shared: Arc<Mutex<Shared>>,
    told: Option<Guard>,
    deaf: Option<String>,
    n_deaf: u64,
}

impl Watcher {
    fn new(source: Box<dyn Source>, shared: Arc<Mutex<Shared>>, woken: UnixStream) -> Self {
        let now = Instant::now();
        let followed = |fact| Followed {
            state: FactState::unknown(fact),
            networks: Protected::default(),
            due: now,
            earliest: now,
        };
        let mut watcher = Self {
            source,
            facts: Fact::ALL.map(followed).into(),
            changes: None,
            subscribe_at: now,
            woken,
            shared,
            told: None,
            deaf: None,
            n_deaf: 0,
        };
        // Before the first look, so that no change falls between.
        watcher.subscribe(now);
        watcher
    }

    fn subscribe(&mut self, now: Instant) {
        match Changes::subscribe() {
            Ok(changes) => {
                self.changes = Some(changes);
                if self.deaf.take().is_some() {
                    info!("guard: notifications of host changes are received again");
                    self.all_due(now);
                }
            }
            Err(cause) => self.went_deaf(format!("{cause:#}"), now),
        }
    }

    fn went_deaf(&mut self, cause: String, now: Instant) {
        self.changes = None;
        self.subscribe_at = now + RETRY;
        self.n_deaf += 1;
        if self.deaf.as_ref() != Some(&cause) {
            error!(
                cause,
                "guard: no notifications of host changes; the host is read periodically"
            );
            self.deaf = Some(cause);
        }
    }

    fn run(mut self) {
        loop {
            if let Err(cause) = self.wait() {
                self.went_deaf(format!("{cause:#}"), Instant::now());
                thread::sleep(RETRY);
            }
            let (is_over, is_asked) = {
                let mut shared = lock(&self.shared);
                (shared.stop, std::mem::take(&mut shared.look))
            };
            if is_over {
                return;
            }
            let now = Instant::now();
            if is_asked {
                self.all_due(now);
            }
            if self.changes.is_none() && now >= self.subscribe_at {
                self.subscribe(now);
            }
            self.read_due();
            self.publish();
        }
    }

    /// Waits until a look is due, the kernel tells of a change, or somebody asks.
    fn wait(&mut self) -> Result<()> {
        let now = Instant::now();
        let looks = self
            .facts
            .iter()
            .map(|followed| followed.due.max(followed.earliest));
        let subscription = self.changes.is_none().then_some(self.subscribe_at);
        let next = looks.chain(subscription).min().unwrap_or(now);
        let limit = next.saturating_duration_since(now).min(LONGEST_WAIT);
        let woken = match &mut self.changes {
            Some(changes) => changes.wait(Some(self.woken.as_fd()), limit)?,
            None => {
                wait_for(None, Some(self.woken.as_fd()), limit)?;
                Woken::default()
            }
        };
        while let Ok(1..) = self.woken.read(&mut [0; 64]) {}
        self.take(woken);
        Ok(())
    }

    fn take(&mut self, woken: Woken) {
        let now = Instant::now();
        if let Some(cause) = woken.is_torn {
            info!(
                cause,
                "guard: notifications were lost, reading the host again"
            );
            self.all_due(now);
        }
        for change in &woken.changes {
            let effect = self.source.effect(change);
            if let Some((fact, added)) = &effect.added {
                self.followed(*fact, |followed| followed.networks.extend(added));
            }
            for fact in effect.stale {
                self.followed(fact, |followed| followed.due = now);
            }
        }
    }

    fn followed(&mut self, fact: Fact, change: impl FnOnce(&mut Followed)) {
        let mut facts = self.facts.iter_mut();
        if let Some(followed) = facts.find(|followed| followed.state.fact == fact) {
            change(followed);
        }
    }

    fn all_due(&mut self, now: Instant) {
        for followed in &mut self.facts {
            followed.due = now;
        }
    }

    /// Reads what is due.
    fn read_due(&mut self) {
        for followed in &mut self.facts {
            let start = Instant::now();
            if start < followed.due.max(followed.earliest) {
                continue;
            }
            let read = self.source.read(followed.state.fact);
            let now = Instant::now();
            let cost = now.duration_since(start);
            followed.earliest = now + LEAST_PAUSE.max(cost.saturating_mul(PAUSE_PER_COST));
            match read {
                Ok(networks) => followed.succeed(networks, now),
                Err(cause) => followed.fail(&format!("{cause:#}"), now),
            }
        }
    }

    fn publish(&mut self) {
        let mut all = Protected::default();
        for followed in &mut self.facts {
            followed.state.n_networks = followed.networks.len();
            all.extend(&followed.networks);
        }
        let guard = Guard::of(all);
        let networks = self.source.networks();
        let mut shared = lock(&self.shared);
        shared.facts = self
            .facts
            .iter()
            .map(|followed| followed.state.clone())
            .collect();
        shared.deaf.clone_from(&self.deaf);
        shared.n_deaf = self.n_deaf;
        if shared.networks.as_deref() != networks.as_ref() {
            shared.networks = networks.map(Arc::new);
        }
        if self.told.as_ref() != Some(&guard) {
            self.told = Some(guard.clone());
            shared.guard = Some(guard);
        }
    }
}

impl Followed {
    fn succeed(&mut self, networks: Protected, now: Instant) {
        let label = self.state.fact.label();
        if self.state.error.take().is_some() {
            info!(fact = label, "guard: readable again");
        }
        self.networks = networks;
        self.state.is_known = true;
        self.state.read_at = Some(now);
        self.due = now + period(self.state.fact);
    }

    /// Notes a failure: what was known stays; each new cause is said once.
    fn fail(&mut self, cause: &str, now: Instant) {
        self.state.n_errors += 1;
        self.due = now + RETRY;
        if self.state.error.as_deref() == Some(cause) {
            return;
        }
        let (fact, is_known) = (self.state.fact.label(), self.state.is_known);
        let stays = if is_known {
            "what was known of it stays in force"
        } else {
            "it was never read"
        };
        error!(
            fact,
            cause, "guard: a fact of the host can't be read; {stays}"
        );
        self.state.error = Some(cause.to_owned());
    }
}
