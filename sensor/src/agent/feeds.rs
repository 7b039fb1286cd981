//! Lists of others that the sensor follows by itself, a thread each: fetched, read, and handed to the
//! block-list as the difference to before. One that can't be fetched costs nothing but its age: what is
//! there stays until it expires.

mod crowdsec;
mod list;

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sensor_record::answer::{BlockImported, Feed};
use sensor_record::{Timestamp, escape};
use sensor_respond::{FeedEnd, FeedEntry, FeedPart, Measure, Origin};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::protocol::Answer;
use super::{Ask, GivenOrder, Order};
use crate::config::{FeedKind, FeedSettings};
use crate::queue::{Refusal, Sender};
use crowdsec::Crowdsec;
use list::List;

/// Networks of one order: more would hold the engine up.
const PART: usize = 2_000;
/// Wait before an order is given again that found no room.
const AGAIN: Duration = Duration::from_millis(200);
/// Tries to give it.
const N_TRIES: u32 = 50;
/// Longest wait after failures, as a multiple of the interval between two fetches.
const MAX_BACKOFF: u32 = 8;
/// Least wait after a failure: a far side that is down is not hammered.
const MIN_BACKOFF: Duration = Duration::from_secs(5);

/// A list as the far side has it now.
#[derive(Debug)]
struct Fetched {
    entries: Vec<FeedEntry>,
    /// Set if `entries` is the whole list; else what was added.
    is_whole: bool,
    gone: Vec<ipnet::IpNet>,
    /// Networks of the whole list.
    n_listed: u64,
    /// Lines or decisions that are not followed.
    n_ignored: u64,
}

/// A far side that has a list.
trait Source: Send {
    /// Fetches the list, or what has changed of it.
    ///
    /// # Errors
    /// Why not, in words.
    fn fetch(&mut self) -> Result<Fetched, String>;

    /// The block-list has not taken what was fetched last: it is fetched whole next time.
    fn forget(&mut self) {}
}

/// Lists that are followed.
#[derive(Debug, Default)]
pub struct Feeds {
    feeds: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: String,
    state: Arc<Mutex<Feed>>,
    /// Ends the thread when it is dropped; a message makes it fetch at once.
    wake: mpsc::Sender<()>,
}

impl Feeds {
    /// Starts to follow every enabled list.
    pub fn start(settings: &[FeedSettings], asks: &Sender<Ask>) -> Self {
        let enabled = settings.iter().filter(|feed| feed.enabled);
        Self {
            feeds: enabled.map(|feed| Running::start(feed, asks)).collect(),
        }
    }

    /// Fetches every list now.
    pub fn refresh(&self) {
        for feed in &self.feeds {
            // A thread that has ended says so in its state.
            let _gone = feed.wake.send(());
        }
    }

    /// State of each, by name.
    pub fn states(&self) -> BTreeMap<String, Feed> {
        let state = |feed: &Running| (feed.name.clone(), lock(&feed.state).clone());
        self.feeds.iter().map(state).collect()
    }
}

fn lock(state: &Mutex<Feed>) -> std::sync::MutexGuard<'_, Feed> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    fn start(settings: &FeedSettings, asks: &Sender<Ask>) -> Self {
        let state = Arc::new(Mutex::new(Feed {
            kind: settings.kind.label().into(),
            ..Feed::default()
        }));
        let (wake, woken) = mpsc::channel();
        let opened = open(settings).and_then(|source| Ok((source, settings.measure()?)));
        let failed = match opened {
            Ok((source, measure)) => {
                let follower = Follower {
                    settings: settings.clone(),
                    source,
                    measure,
                    asks: asks.clone(),
                    state: Arc::clone(&state),
                    generation: 0,
                };
                let named = thread::Builder::new().name(format!("feed {}", settings.name));
                let spawned = named.spawn(move || follower.run(&woken));
                spawned.err().map(|cause| format!("no thread: {cause}"))
            }
            Err(why) => Some(why),
        };
        if let Some(why) = failed {
            warn!(feed = settings.name, "list not followed: {why}");
            lock(&state).error = Some(why);
        }
        Self {
            name: settings.name.clone(),
            state,
            wake,
        }
    }
}

fn open(settings: &FeedSettings) -> Result<Box<dyn Source>, String> {
    Ok(match settings.kind {
        FeedKind::List => Box::new(List::new(settings)?),
        FeedKind::Crowdsec => Box::new(Crowdsec::new(settings)?),
    })
}

/// A list with the thread that follows it.
struct Follower {
    settings: FeedSettings,
    source: Box<dyn Source>,
    measure: Measure,
    asks: Sender<Ask>,
    state: Arc<Mutex<Feed>>,
    generation: u64,
}

/// The agent is about to end.
struct Ended;

impl Follower {
    fn run(mut self, woken: &mpsc::Receiver<()>) {
        let mut n_failed: u32 = 0;
        loop {
            let before = Instant::now();
            match self.follow() {
                Ok(Ok(())) => n_failed = 0,
                Ok(Err(why)) => {
                    n_failed = n_failed.saturating_add(1);
                    self.source.forget();
                    self.note_failure(&why);
                }
                Err(Ended) => return,
            }
            let wait = wait(self.settings.every(), n_failed).saturating_sub(before.elapsed());
            match woken.recv_timeout(wait) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Fetches once and hands over what came.
    fn follow(&mut self) -> Result<Result<(), String>, Ended> {
        let fetched = match self.source.fetch() {
            Ok(fetched) => fetched,
            Err(why) => return Ok(Err(why)),
        };
        let Fetched {
            entries,
            is_whole,
            gone,
            n_listed,
            n_ignored,
        } = fetched;
        let mut taken = None;
        if is_whole || !entries.is_empty() || !gone.is_empty() {
            match self.hand_over(entries, is_whole, gone)? {
                Ok(imported) => taken = Some(imported),
                Err(why) => return Ok(Err(why)),
            }
        }
        self.note_success(taken.as_ref(), n_listed, n_ignored);
        Ok(Ok(()))
    }

    fn hand_over(
        &mut self,
        entries: Vec<FeedEntry>,
        is_whole: bool,
        gone: Vec<ipnet::IpNet>,
    ) -> Result<Result<BlockImported, String>, Ended> {
        self.generation += 1;
        let mut entries = entries.into_iter().peekable();
        let mut gone = Some(gone);
        loop {
            let part: Vec<FeedEntry> = entries.by_ref().take(PART).collect();
            let is_last = entries.peek().is_none();
            let end = match (is_whole, is_last) {
                (true, true) => FeedEnd::Whole,
                (true, false) => FeedEnd::More,
                (false, true) => FeedEnd::Change {
                    gone: gone.take().unwrap_or_default(),
                },
                (false, false) => FeedEnd::Change { gone: Vec::new() },
            };
            let part = FeedPart {
                feed: self.settings.name.clone(),
                generation: self.generation,
                entries: part,
                measure: self.measure,
                end,
            };
            let imported = self.give(part)?;
            if is_last || imported.is_err() {
                return Ok(imported);
            }
        }
    }

    /// Gives an order to the engine, patiently.
    fn give(&self, part: FeedPart) -> Result<Result<BlockImported, String>, Ended> {
        let by = Origin::Feed {
            feed: self.settings.name.clone(),
        };
        for _try in 0..N_TRIES {
            let (reply, answered) = oneshot::channel();
            let ask = Ask::Order(Box::new(GivenOrder {
                order: Order::Load(Box::new(part.clone())),
                by: by.clone(),
                reply,
            }));
            match self.asks.send_minor(ask) {
                Ok(()) => {
                    return match answered.blocking_recv() {
                        Ok(Ok(Answer::BlockImported(imported))) => Ok(Ok(imported)),
                        Ok(Ok(_other)) => Ok(Err("the engine gave another answer".to_owned())),
                        Ok(Err(why)) => Ok(Err(why)),
                        Err(_ended) => Err(Ended),
                    };
                }
                Err(Refusal::Closed) => return Err(Ended),
                Err(Refusal::Full) => thread::sleep(AGAIN),
            }
        }
        Ok(Err("the engine is too busy".to_owned()))
    }

    fn note_failure(&self, why: &str) {
        let mut state = lock(&self.state);
        state.failures += 1;
        let is_new = state.error.as_deref() != Some(why);
        state.error = Some(why.to_owned());
        drop(state);
        if is_new {
            let feed = &self.settings.name;
            let why = escape(why);
            warn!(
                feed,
                "list not fetched, what is there stays until it expires: {why}"
            );
        }
    }

    fn note_success(&self, taken: Option<&BlockImported>, n_listed: u64, n_ignored: u64) {
        let mut state = lock(&self.state);
        state.fetched += 1;
        state.listed = n_listed;
        state.ignored = n_ignored;
        state.last_success = Some(Timestamp::now());
        let was_failing = state.error.take().is_some();
        if let Some(taken) = taken {
            state.held = taken.n_held;
            state.added += taken.n_added;
            state.removed += taken.n_removed;
            state.refused = taken.n_refused;
        }
        drop(state);
        if was_failing {
            info!(feed = self.settings.name, "list fetched again");
        }
    }
}

/// Wait until the next fetch.
fn wait(every: Duration, n_failed: u32) -> Duration {
    if n_failed == 0 {
        return every;
    }
    let doubled = 1_u32 << n_failed.saturating_sub(1).min(8);
    every
        .saturating_mul(doubled.min(MAX_BACKOFF))
        .min(every.max(Duration::from_secs(3_600)))
        .max(MIN_BACKOFF)
}
