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

/// Part of a list.
#[derive(Clone, Debug)]
pub struct FeedPart {
    /// Name of the list.
    pub feed: String,
    /// Number that the parts of one load share.
    pub generation: u64,
    pub networks: Vec<IpNet>,
    pub measure: Measure,
    pub ttl: Duration,
    /// Last part: what the list had before and has no longer goes.
    pub is_last: bool,
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
}

impl KernelRespond {
    /// Takes part of a list: the guard and the allow-list hold for it as for everything.
    pub fn load_feed(&mut self, part: FeedPart, by: &Origin) -> FeedLoaded {
        self.follow_host();
        let mut loading = self.loading_of(&part);
        let origin = Origin::Feed {
            feed: part.feed.clone(),
        };
        let reason: Arc<str> = Arc::from(format!("list {}", part.feed));
        let mut requests = Vec::new();
        for network in &part.networks {
            let target = canonical(network);
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
                ttl: part.ttl,
                origin: origin.clone(),
                reason: Arc::clone(&reason),
                is_proven: true,
                grounds: None,
            });
        }
        let (_, refused) = self.put_all(&requests);
        loading.refuse(&refused);
        if !part.is_last {
            let total = loading.total.clone();
            self.loading.push(loading);
            return total;
        }
        self.end_feed(loading, &origin, &part, by)
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

    /// Takes out what the list has no longer.
    fn end_feed(
        &mut self,
        mut loading: Loading,
        origin: &Origin,
        part: &FeedPart,
        by: &Origin,
    ) -> FeedLoaded {
        let gone = self
            .blocks
            .list()
            .filter(|listed| *listed.origin == *origin && !loading.seen.contains(&listed.target));
        let gone: Vec<IpNet> = gone.map(|listed| listed.target).collect();
        for target in &gone {
            let removed = self.blocks.remove(target, Scope::default());
            loading.total.n_removed += u64::from(removed.is_ok());
        }
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
            ttl_s: Some(part.ttl.as_secs()),
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
