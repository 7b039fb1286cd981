//! Lists of others in the block-list: loaded anew by the difference to what is there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use sensor_engine::Scope;
use sensor_record::{About, AuditAction, Origin};
use tracing::info;

use super::KernelRespond;
use crate::entry::{BlockError, Measure, Request, canonical};

/// Lists that are being loaded at a time.
const MAX_LOADING: usize = 16;
/// Refusals that are handed back.
const N_NAMED: usize = 20;

/// A list that comes in parts.
#[derive(Debug)]
pub(super) struct Loading {
    feed: String,
    generation: u64,
    seen: BTreeSet<IpNet>,
    total: FeedLoaded,
}

/// Meaning of a part for what the list had before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedEnd {
    /// More parts of the whole list follow.
    More,
    /// Last part of the whole list: what it had before and has no longer goes.
    Whole,
    /// Differences only: these go, all else stays.
    Change { gone: Vec<IpNet> },
}

/// Network of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    pub network: IpNet,
    pub ttl: Duration,
    /// Reason that the list gives.
    pub reason: Option<Arc<str>>,
}

/// Part of a list.
#[derive(Clone, Debug)]
pub struct FeedPart {
    /// Name of the list.
    pub feed: String,
    /// Number that the parts of one load share.
    pub generation: u64,
    pub entries: Vec<FeedEntry>,
    pub measure: Measure,
    pub end: FeedEnd,
}

/// Result of loading a list so far.
#[derive(Clone, Debug, Default)]
pub struct FeedLoaded {
    /// Entries that are new, that were there, and that went.
    pub n_added: u64,
    pub n_renewed: u64,
    pub n_removed: u64,
    pub n_refused: u64,
    /// The first of those that were refused.
    pub refused: Vec<String>,
    /// Entries of the list that are in force now; known at the end of it.
    pub n_held: u64,
}

impl KernelRespond {
    /// Takes part of a list: the guard and the allow-list hold for it as for everything.
    pub fn load_feed(&mut self, part: FeedPart, by: &Origin) -> FeedLoaded {
        self.follow_host();
        let mut loading = self.loading_of(&part);
        let origin = Origin::Feed {
            feed: part.feed.clone(),
        };
        let usual: Arc<str> = Arc::from(format!("list {}", part.feed));
        let mut requests = Vec::new();
        for entry in &part.entries {
            let target = canonical(&entry.network);
            if !loading.seen.insert(target) {
                continue;
            }
            let listed = self.blocks.origin_of(&target, Scope::default());
            if listed == Some(&origin) {
                loading.total.n_renewed += 1;
            } else {
                loading.total.n_added += 1;
            }
            requests.push(Request {
                target,
                scope: Scope::default(),
                measure: part.measure,
                ttl: entry.ttl,
                origin: origin.clone(),
                reason: Arc::clone(entry.reason.as_ref().unwrap_or(&usual)),
                is_proven: true,
                grounds: None,
            });
        }
        let (_, refused) = self.put_all(&requests);
        loading.refuse(&refused);
        let gone = match &part.end {
            FeedEnd::More => {
                let total = loading.total.clone();
                self.loading.push(loading);
                return total;
            }
            FeedEnd::Whole => {
                let listed = self.blocks.list().filter(|one| *one.origin == origin);
                let gone = listed.map(|one| one.target);
                gone.filter(|target| !loading.seen.contains(target))
                    .collect()
            }
            FeedEnd::Change { gone } => {
                let ours = |target: &IpNet| {
                    self.blocks.origin_of(target, Scope::default()) == Some(&origin)
                };
                gone.iter().map(canonical).filter(ours).collect()
            }
        };
        self.end_feed(loading, gone, &origin, &part, by)
    }

    /// The load that a part belongs to, taken out; a new one where it is the first.
    fn loading_of(&mut self, part: &FeedPart) -> Loading {
        let is_of = |one: &Loading| one.feed == part.feed;
        let known = self.loading.iter().position(is_of);
        let known = known.map(|at| self.loading.remove(at));
        if self.loading.len() >= MAX_LOADING {
            self.loading.remove(0);
        }
        known
            .filter(|one| one.generation == part.generation)
            .unwrap_or_else(|| Loading {
                feed: part.feed.clone(),
                generation: part.generation,
                seen: BTreeSet::new(),
                total: FeedLoaded::default(),
            })
    }

    /// Takes out what the list has no longer, and notes what came of it.
    fn end_feed(
        &mut self,
        mut loading: Loading,
        gone: Vec<IpNet>,
        origin: &Origin,
        part: &FeedPart,
        by: &Origin,
    ) -> FeedLoaded {
        for target in &gone {
            let removed = self.blocks.remove(target, Scope::default());
            loading.total.n_removed += u64::from(removed.is_ok());
        }
        let held = self.blocks.list().filter(|one| *one.origin == *origin);
        loading.total.n_held = held.count() as u64;
        let total = loading.total;
        let (feed, n_added, n_removed) = (&part.feed, total.n_added, total.n_removed);
        info!(feed, n_added, n_removed, "list loaded");
        let about = About {
            n_added: Some(total.n_added),
            n_removed: Some(total.n_removed),
            n_refused: Some(total.n_refused),
            origin: Some(origin.clone()),
            ended_by: Some(by.clone()),
            measure: Some(part.measure),
            ttl_s: part.entries.iter().map(|entry| entry.ttl.as_secs()).max(),
            refused: total.refused.iter().take(10).cloned().collect(),
            ..About::default()
        };
        self.note(AuditAction::BulkLoad, about);
        total
    }
}

impl Loading {
    fn refuse(&mut self, refused: &[BlockError]) {
        let total = &mut self.total;
        total.n_refused += refused.len() as u64;
        total.n_added = total.n_added.saturating_sub(refused.len() as u64);
        let room = N_NAMED.saturating_sub(total.refused.len());
        total
            .refused
            .extend(refused.iter().take(room).map(ToString::to_string));
    }
}
