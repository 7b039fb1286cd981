//! The response in the kernel: the lists under the guard.

mod challenges;
mod decisions;
mod feeds;
mod options;
mod reflex;
mod shields;
mod stop;

pub use feeds::{FeedEnd, FeedEntry, FeedLoaded, FeedPart};
pub use options::{Followed, Options};

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use sensor_common::limits::{ALLOW_ENTRIES, BLOCK_ENTRIES};
use sensor_engine::TableUse;
use sensor_record::{About, AuditAction, AuditLine, Feedback, Remark, Timestamp};
use tracing::{error, info, warn};

use super::allowlist::Allowlist;
use super::audit::{self, Audit};
use super::blocklist::Blocklist;
use super::entry::{BlockError, Listed, Origin, Request, Shown, canonical};
use super::facts::{Fact, Networks};
use super::guard::Guard;
use super::proposals::Proposals;
use super::radius::Radius;
use super::reason::{Reason, Why};
use super::saved::{Moment, Saved, Store};
use super::shield::Shields;
use super::watch::{FactState, GuardWatch};
use super::{Mode, Settled};
use sensor_capture::kernel::{BlockMaps, monotonic_ns};

/// The block-list and the allow-list in force.
pub struct KernelRespond {
    options: Options,
    blocks: Blocklist,
    allowlist: Allowlist,
    /// Networks that were put on the allow-list, with their origin.
    allowed: BTreeMap<IpNet, Origin>,
    /// Guard of what the host itself needs; the second one has the allow-list as well.
    of_host: Guard,
    guard: Guard,
    watch: GuardWatch,
    shields: Shields,
    /// Facts that were never read, in words: until it is `None`, nothing new is blocked.
    missing: Option<Arc<str>>,
    /// A run before left its enforcement in force.
    was_enforcing: bool,
    /// Blocks of operators that wait until the guard is known.
    waiting: Option<Saved>,
    /// Protected networks for which the kernel's allow-list has no room.
    n_unlisted: usize,
    /// A person stopped the enforcement.
    is_stopped: bool,
    audit: Option<Audit>,
    store: Option<Store>,
    /// Cause that keeps what was saved from being read: until a person repairs it or does without, it
    /// isn't known who must never be blocked, and nothing is saved over it.
    damaged: Option<String>,
    /// Time of the last try to read it.
    read_at: Instant,
    /// Something that is kept over restarts changed since it was saved.
    is_unsaved: bool,
    looked_before_ns: u64,
    /// Time when saving failed, if it did the last time.
    save_failed: Option<Instant>,
    save_error: Option<String>,
    proposals: Proposals,
    /// Decisions of before on which something was settled since the last look, with the outcome.
    settled: Vec<Settled>,
    radius: Radius,
    /// Lists of others that come in parts.
    loading: Vec<feeds::Loading>,
    started_ns: u64,
}

/// A network that is never blocked.
pub struct Guarded<'a> {
    pub network: &'a IpNet,
    /// Every reason, the weightiest first.
    pub reasons: Vec<Why>,
    /// Origin of the entry of the allow-list, if it is one.
    pub by: Option<&'a Origin>,
}

/// State of a file that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileState {
    /// Name of its kind: state, audit, learned, incidents.
    pub name: &'static str,
    pub path: PathBuf,
    /// Cause that keeps it from being read or written.
    pub error: Option<String>,
    /// Lines that could not be written.
    pub n_lost: u64,
}

/// State of the guard.
#[derive(Clone, Debug, Default)]
pub struct GuardState {
    /// Facts that were never read, in words; until there are none, nothing new is blocked.
    pub missing: Option<String>,
    pub facts: Vec<FactState>,
    /// Networks that are never blocked.
    pub n_networks: usize,
    /// Number of those for which the kernel's allow-list has no room.
    pub n_unlisted: usize,
    /// Number of failures to subscribe to changes of the host, and the cause, if that is so now.
    pub n_deaf: u64,
    pub deaf: Option<String>,
}

/// Shortest prefixes that an operator allows without being asked again: IPv4, IPv6.
const WIDEST_ALLOWED: [u8; 2] = [8, 32];

/// File of the setting that shields change.
const COOKIES: &str = "tcp_syncookies";

/// Time between two tries to save.
const SAVE_AGAIN: Duration = Duration::from_secs(10);

impl KernelRespond {
    /// Takes over the block maps of the kernel program, with what a run before left in force, and
    /// writes the guard into its allow-list.
    ///
    /// # Errors
    /// When the allow-list can't be read.
    pub fn new(maps: BlockMaps, options: Options, watch: GuardWatch) -> Result<Self> {
        let (mut blocks, words) = Blocklist::new(maps.arrays, maps.seed);
        let looked_before_ns = blocks.state().looked_ns;
        let was_enforcing = maps.is_adopted && blocks.state().enforce != 0;
        let allowlist = Allowlist::new(Some(maps.allow), words).context("map ALLOW")?;
        let config = options.allow.iter().map(|n| (canonical(n), Origin::Config));
        let kept = options.store.as_ref().map(|store| store.beside(COOKIES));
        let mut respond = Self {
            allowed: config.collect(),
            audit: options.audit_log.as_deref().and_then(open_audit),
            store: options.store.clone(),
            damaged: None,
            read_at: Instant::now(),
            is_stopped: false,
            options,
            blocks,
            allowlist,
            guard: Guard::bare(),
            of_host: watch.changed().unwrap_or_else(Guard::bare),
            missing: in_words(&watch.missing()),
            watch,
            shields: Shields::new(maps.shields, maps.seed, kept),
            was_enforcing,
            waiting: None,
            n_unlisted: 0,
            is_unsaved: false,
            looked_before_ns,
            save_failed: None,
            save_error: None,
            proposals: Proposals::default(),
            settled: Vec::new(),
            radius: Radius::default(),
            loading: Vec::new(),
            started_ns: monotonic_ns(),
        };
        if maps.is_adopted {
            respond.tell_adopted();
        }
        respond.restore();
        Ok(respond)
    }

    /// Says what the kernel still enforced for a run before, which goes on.
    fn tell_adopted(&mut self) {
        let n_entries = self.blocks.len();
        info!(
            n_entries,
            "blocks of the previous run adopted from the kernel"
        );
        let about = About {
            n_added: Some(n_entries as u64),
            ..About::default()
        };
        self.note(AuditAction::Adopt, about);
    }

    /// Puts in force what operators asked for before; the blocks wait until the guard is known.
    fn restore(&mut self) {
        let loaded = self.store.as_ref().map(Store::load).transpose();
        let saved = loaded.unwrap_or_else(|cause| {
            let cause = format!("{cause:#}");
            error!(
                cause,
                "the saved allow-list can't be read: repair the file, or do without it by `sensor \
                 allow accept-loss`"
            );
            self.damaged = Some(cause);
            self.missing = self.unknown();
            None
        });
        let saved = saved.unwrap_or_default();
        self.allowed.extend(saved.allowed());
        self.apply_guard();
        if !saved.has_no_blocks() {
            self.waiting = Some(saved);
        }
        match self.missing.clone() {
            Some(missing) => error!(
                %missing,
                "guard incomplete: nothing is blocked until all protected addresses have been read"
            ),
            None => self.put_waiting(),
        }
    }

    /// Whatever is missing to know who must never be blocked, as one text.
    fn unknown(&self) -> Option<Arc<str>> {
        let facts = in_words(&self.watch.missing());
        match (facts, &self.damaged) {
            (Some(facts), Some(damaged)) => Some(Arc::from(format!("{facts}; {damaged}"))),
            (None, Some(damaged)) => Some(Arc::from(damaged.as_str())),
            (facts, None) => facts,
        }
    }

    /// Looks whether a person has repaired what was saved.
    fn read_again(&mut self) {
        if self.damaged.is_none() || self.read_at.elapsed() < SAVE_AGAIN {
            return;
        }
        self.read_at = Instant::now();
        if let Some(Ok(saved)) = self.store.as_ref().map(Store::load) {
            info!("the saved allow-list is read");
            self.allowed.extend(saved.allowed());
            if !saved.has_no_blocks() {
                self.waiting = Some(saved);
            }
            self.leave_damage();
        }
    }

    /// Goes on: what is known now is all there is.
    fn leave_damage(&mut self) {
        self.damaged = None;
        self.is_unsaved = true;
        self.missing = self.unknown();
        self.apply_guard();
        if self.missing.is_none() {
            info!("guard complete: {} mode", self.options.mode.label());
            self.put_waiting();
        }
    }

    /// Does without a saved allow-list that can't be read, as a person says: the file is set aside
    /// under the name given back; none where nothing is damaged.
    ///
    /// # Errors
    /// The system's, when the file can't be given another name.
    pub fn accept_loss(&mut self, by: &Origin) -> Result<Option<PathBuf>> {
        let (Some(store), true) = (&self.store, self.damaged.is_some()) else {
            return Ok(None);
        };
        let aside = store.set_aside()?;
        warn!(set_aside = %aside.display(), ?by, "the saved allow-list is done without");
        let about = About {
            origin: Some(by.clone()),
            reason: Some(aside.display().to_string()),
            ..About::default()
        };
        self.note(AuditAction::AcceptLoss, about);
        self.leave_damage();
        Ok(Some(aside))
    }

    /// Opens the audit log anew, so that it can be rotated.
    pub fn reopen_audit(&mut self) {
        match &mut self.audit {
            Some(audit) => {
                if let Err(cause) = audit.reopen() {
                    let cause = format!("{cause:#}");
                    error!(cause, "the audit log of before is still written to");
                }
            }
            None => self.audit = self.options.audit_log.as_deref().and_then(open_audit),
        }
    }

    /// State of the files that are kept.
    pub fn files(&self) -> Vec<FileState> {
        let state = self.store.as_ref().map(|store| FileState {
            name: "state",
            path: store.path(),
            error: self.damaged.clone().or_else(|| self.save_error.clone()),
            n_lost: 0,
        });
        let audit = self.options.audit_log.as_ref().map(|path| FileState {
            name: "audit",
            path: path.clone(),
            error: match &self.audit {
                Some(audit) => audit.error().map(str::to_owned),
                None => Some("can't be opened; the log of the start says why".to_owned()),
            },
            n_lost: self.n_audit_lost(),
        });
        state.into_iter().chain(audit).collect()
    }

    /// Puts in force the blocks that waited for the guard.
    fn put_waiting(&mut self) {
        let Some(saved) = self.waiting.take() else {
            return;
        };
        let requests = saved.requests(&Moment::now());
        if requests.is_empty() {
            return;
        }
        let (n_added, refused) = self.put_all(&requests);
        for cause in &refused {
            warn!(%cause, "saved block not restored");
        }
        info!(n_added, n_refused = refused.len(), "saved blocks restored");
        let about = About {
            n_added: Some(n_added as u64),
            n_refused: Some(refused.len() as u64),
            ..About::default()
        };
        self.note(AuditAction::Restore, about);
    }

    /// Writes what a person said of an incident into the audit log.
    pub fn note_feedback(&mut self, feedback: &Feedback) {
        let about = About {
            feedback: Some(feedback.clone()),
            ..About::default()
        };
        self.note(AuditAction::Feedback, about);
    }

    /// Writes down that a person muted an incident, with the reason, or ended that.
    pub fn note_mute(&mut self, is_muted: bool, by: Origin, reason: String) {
        let about = About {
            origin: Some(by),
            reason: Some(reason),
            ..About::default()
        };
        let action = if is_muted {
            AuditAction::Mute
        } else {
            AuditAction::Unmute
        };
        self.note(action, about);
    }

    /// Writes down a remark of a person on an incident.
    pub fn note_remark(&mut self, remark: &Remark) {
        let about = About {
            origin: Some(remark.by.clone()),
            reason: Some(format!("{}: {}", remark.incident_id, remark.told())),
            ..About::default()
        };
        self.note(AuditAction::Remark, about);
    }

    /// Writes down that a network over sequences was put in force or removed.
    pub fn note_network(&mut self, by: Origin, what: String) {
        let about = About {
            origin: Some(by),
            reason: Some(what),
            ..About::default()
        };
        self.note(AuditAction::Network, about);
    }

    fn note(&mut self, action: AuditAction, about: About) {
        if let Some(audit) = &mut self.audit {
            audit.note(&AuditLine {
                head: self.options.sensor.head(Timestamp::now().0),
                action,
                mode: self.options.mode.into(),
                previous: None,
                about,
            });
        }
    }

    fn note_ended(&mut self, action: AuditAction, ended: &[Listed], by: &Origin, why: &str) {
        for listed in ended {
            self.is_unsaved |= listed.origin.is_kept();
            self.note(action, audit::ended(listed, by, why));
        }
    }

    /// Changes what is done to those on the block-list, at once.
    pub fn set_mode(&mut self, mode: Mode, by: &Origin) {
        info!(
            from = self.options.mode.label(),
            to = mode.label(),
            ?by,
            "mode changed"
        );
        let about = About {
            from: Some(self.options.mode.into()),
            to: Some(mode.into()),
            origin: Some(by.clone()),
            ..About::default()
        };
        self.options.mode = mode;
        self.open_gate();
        self.note(AuditAction::ModeChange, about);
    }

    /// Follows a configuration that was read again.
    pub fn configure(&mut self, now: Followed) {
        let Followed {
            mode,
            allow,
            groups,
            proposal_ttl_s,
            auto_shield,
            reflex,
            bounds,
            dead_after_s,
        } = now;
        self.options.bounds = bounds;
        self.options.dead_after_s = dead_after_s;
        if mode != self.options.mode {
            self.set_mode(mode, &Origin::Config);
        }
        self.options.proposal_ttl_s = proposal_ttl_s;
        self.options.auto_shield = auto_shield;
        self.options.reflex = reflex;
        let has_same_groups = self.options.groups == groups;
        self.options.groups = groups;
        let before: BTreeSet<IpNet> = self.options.allow.iter().map(canonical).collect();
        let now: BTreeSet<IpNet> = allow.iter().map(canonical).collect();
        self.options.allow = allow;
        if before == now && has_same_groups {
            return;
        }
        for network in before.difference(&now) {
            // What an operator asked for meanwhile is not the configuration's to take.
            if self.allowed.get(network) == Some(&Origin::Config) {
                self.allowed.remove(network);
                let about = audit::listed(network, &Origin::Config);
                self.note(AuditAction::Disallow, about);
            }
        }
        for network in now.difference(&before) {
            self.allowed.entry(*network).or_insert(Origin::Config);
            let about = audit::listed(network, &Origin::Config);
            self.note(AuditAction::Allow, about);
        }
        self.apply_guard();
    }

    /// Blocks a source or a prefix, or renews its block.
    ///
    /// # Errors
    /// See [`BlockError`]; `Protected` where the guard refuses.
    pub fn block(&mut self, request: &Request) -> Result<(), BlockError> {
        self.follow_host();
        let request = &self.fitting(request);
        let result = self.check(&request.target);
        let result = result.and_then(|()| self.blocks.add(request, monotonic_ns()));
        let outcome = self.outcome(&result);
        let action = match &result {
            Ok(()) => {
                let origin = self.blocks.origin_of(&request.target, request.scope);
                self.is_unsaved |= origin.is_some_and(Origin::is_kept);
                AuditAction::Block
            }
            Err(_) => AuditAction::Refuse,
        };
        self.note(action, audit::asked(request, outcome));
        result
    }

    /// Refuses a target that must stay reachable, and any target as long as it isn't known what
    /// that is.
    fn check(&self, target: &IpNet) -> Result<(), BlockError> {
        if let Some(missing) = &self.missing {
            return Err(BlockError::GuardUnknown {
                target: *target,
                missing: Arc::clone(missing),
            });
        }
        self.guard.check(target)
    }

    /// Blocks many at once: the number of entries made, and what was refused.
    pub fn load_bulk(&mut self, requests: &[Request]) -> (usize, Vec<BlockError>) {
        self.follow_host();
        let (n_added, refused) = self.put_all(requests);
        self.is_unsaved |= requests.iter().any(|request| request.origin.is_kept());
        if let Some(first) = requests.first() {
            let about = About {
                n_added: Some(n_added as u64),
                n_refused: Some(refused.len() as u64),
                origin: Some(first.origin.clone()),
                reason: Some(first.reason.to_string()),
                ttl_s: Some(first.ttl.as_secs()),
                refused: refused.iter().take(10).map(ToString::to_string).collect(),
                ..About::default()
            };
            self.note(AuditAction::BulkLoad, about);
        }
        (n_added, refused)
    }

    fn put_all(&mut self, requests: &[Request]) -> (usize, Vec<BlockError>) {
        let mut refused = Vec::new();
        let mut meant = Vec::new();
        for request in requests {
            match self.check(&request.target) {
                Ok(()) => meant.push(self.fitting(request)),
                Err(cause) => refused.push(cause),
            }
        }
        let meant = meant.iter().map(AsRef::as_ref);
        let n_added = self
            .blocks
            .load_bulk(meant, monotonic_ns(), |_, cause| refused.push(cause));
        (n_added, refused)
    }

    /// Takes everybody off the block-list.
    pub fn flush(&mut self, by: &Origin) -> usize {
        let gone = self.blocks.flush(|_, _| true);
        info!(n_entries = gone.len(), ?by, "block-list flushed");
        self.is_unsaved = true;
        let about = About {
            n_removed: Some(gone.len() as u64),
            origin: Some(by.clone()),
            ..About::default()
        };
        self.note(AuditAction::Flush, about);
        gone.len()
    }

    /// The block-list, ordered by address.
    pub fn blocks(&self) -> impl Iterator<Item = Listed> + '_ {
        self.blocks.list()
    }

    /// Entries in force.
    pub fn n_entries(&self) -> usize {
        self.blocks.len()
    }

    /// Fill level of the lists.
    pub fn tables(&self) -> [TableUse; 2] {
        let [n_entries, n_allowed] = [self.blocks.len(), self.allowlist.len()];
        let of = |table, n_entries: usize, capacity: u32| TableUse {
            table,
            n_entries: n_entries as u64,
            capacity: u64::from(capacity),
            // What found no room was refused, and told.
            n_shed: 0,
        };
        [
            of("block_entries", n_entries, 2 * BLOCK_ENTRIES),
            of("allow_entries", n_allowed, ALLOW_ENTRIES),
        ]
    }

    /// Doubts about a network for the allow-list: it is so wide that it takes the response its sense,
    /// or blocks that are in force would end.
    pub fn doubts(&self, network: &IpNet) -> Option<String> {
        let network = canonical(network);
        let widest = match network {
            IpNet::V4(_) => WIDEST_ALLOWED[0],
            IpNet::V6(_) => WIDEST_ALLOWED[1],
        };
        if network.prefix_len() < widest {
            return Some(format!(
                "{network} is wider than /{widest}: nobody within would ever be blocked"
            ));
        }
        let is_met = |target: &IpNet| network.contains(target) || target.contains(&network);
        let mut met = self.blocks.list().filter(|listed| is_met(&listed.target));
        let first = met.next()?.target;
        let n = 1 + met.count();
        Some(format!(
            "{} would end {n} blocks that are in force, {} the first",
            Shown(&network),
            Shown(&first)
        ))
    }

    /// Puts a network on the allow-list; the blocks that had to go for it.
    ///
    /// # Errors
    /// When the list is full.
    pub fn allow(&mut self, network: &IpNet, by: Origin) -> Result<Vec<Listed>, BlockError> {
        let network = canonical(network);
        self.allowlist.add(&network)?;
        info!(network = %Shown(&network), ?by, "allowed");
        self.note(AuditAction::Allow, audit::listed(&network, &by));
        self.is_unsaved |= by.is_kept();
        self.allowed.insert(network, by);
        Ok(self.apply_guard())
    }

    /// Takes a network off the allow-list.
    ///
    /// # Errors
    /// [`BlockError::NotListed`], also for what is protected without being on the list.
    pub fn disallow(&mut self, network: &IpNet, by: &Origin) -> Result<(), BlockError> {
        let target = canonical(network);
        if self.allowed.remove(&target).is_none() {
            return Err(BlockError::NotListed { target });
        }
        info!(network = %Shown(&target), ?by, "no longer allowed");
        self.note(AuditAction::Disallow, audit::listed(&target, by));
        self.is_unsaved = true;
        self.apply_guard();
        Ok(())
    }

    /// Networks that are never blocked.
    pub fn allowed(&self) -> impl Iterator<Item = Guarded<'_>> {
        let by = |network| self.allowed.get(network);
        let guarded = self
            .guard
            .networks()
            .map(move |(network, reasons)| Guarded {
                network,
                reasons: reasons.iter().cloned().collect(),
                by: by(network),
            });
        // Until the guard is known, what a run before put there stays.
        let is_known =
            |network: &&IpNet| !self.guard.networks().any(|(known, _)| known == *network);
        let adopted = self
            .allowlist
            .iter()
            .filter(is_known)
            .map(|network| Guarded {
                network,
                reasons: vec![Why {
                    reason: Reason::Adopted,
                    from: String::new(),
                }],
                by: None,
            });
        guarded.chain(adopted)
    }

    /// Takes over what the watch found since the last call.
    pub fn follow_host(&mut self) {
        let was_missing = self.missing.is_some();
        if was_missing {
            self.missing = self.unknown();
        }
        let changed = self.watch.changed();
        let is_known_now = was_missing && self.missing.is_none();
        if changed.is_none() && !is_known_now {
            return;
        }
        if let Some(of_host) = changed {
            self.of_host = of_host;
        }
        self.apply_guard();
        if is_known_now {
            info!("guard complete: {} mode", self.options.mode.label());
            self.put_waiting();
        }
    }

    /// Makes the guard what the host needs and the allow-list says, here and in the kernel; the
    /// blocks that it forbids go. What the kernel's list has no room for is guarded here alone.
    fn apply_guard(&mut self) -> Vec<Listed> {
        let mut guard = self.of_host.clone();
        for network in self.allowed.keys() {
            guard.add(*network, Reason::Allowed, "");
        }
        for group in &self.options.groups {
            let Some(reason) = group.protection() else {
                continue;
            };
            for network in &group.networks {
                guard.add(*network, reason, "");
            }
        }
        let meant: BTreeSet<IpNet> = guard.networks().map(|(network, _)| *network).collect();
        // As long as the guard isn't known, what is there stays.
        if self.missing.is_none() {
            let listed = self.allowlist.iter().copied();
            let over: Vec<IpNet> = listed.filter(|network| !meant.contains(network)).collect();
            for network in over {
                if let Err(cause) = self.allowlist.remove(&network) {
                    error!(%cause, "network not removed from the kernel's allow-list");
                }
            }
        }
        self.list_all(&guard);
        self.guard = guard;
        self.open_gate();
        let guard = &self.guard;
        let gone = self.blocks.flush(|target, _| guard.check(target).is_err());
        for listed in &gone {
            warn!(target = %Shown(&listed.target), "block removed: the address is protected now");
        }
        self.note_ended(
            AuditAction::Remove,
            &gone,
            &Origin::Sensor,
            "must stay reachable now",
        );
        gone
    }

    /// Puts the guard's networks on the kernel's allow-list, the weightiest first.
    fn list_all(&mut self, guard: &Guard) {
        let mut all: Vec<_> = guard.networks().collect();
        all.sort_by_key(|(_, reasons)| reasons.first().map(|why| why.reason));
        let mut refused = Vec::new();
        for (network, _) in all {
            refused.extend(self.allowlist.add(network).err());
        }
        if refused.len() != self.n_unlisted {
            self.n_unlisted = refused.len();
            if let Some(first) = refused.first() {
                let n = refused.len();
                error!(n, cause = %first, "networks do not fit into the kernel's allow-list; the agent alone protects them");
            }
        }
    }

    /// Addresses and networks of the host; `None` as long as they were never read.
    pub fn host_networks(&self) -> Option<Arc<Networks>> {
        self.watch.networks()
    }

    /// State of the guard, for status and metrics.
    pub fn guard_state(&self) -> GuardState {
        let (n_deaf, deaf) = self.watch.deaf();
        GuardState {
            missing: self.missing.as_deref().map(str::to_owned),
            facts: self.watch.facts(),
            n_networks: self.guard.networks().count(),
            n_unlisted: self.n_unlisted,
            n_deaf,
            deaf,
        }
    }

    fn open_gate(&mut self) {
        let (n_allowed, planes) = (self.allowlist.len() as u32, self.allowlist.used());
        let gate = self.blocks.state();
        gate.n_allowed = n_allowed;
        gate.allow_planes = planes;
        let may_enforce = self.missing.is_none() || self.was_enforcing;
        gate.enforce = u32::from(self.options.mode == Mode::Enforce && may_enforce);
        gate.shields = self.shields.bits();
        gate.dead_after_s = self.options.dead_after_s;
        // The start is a sign of life as well.
        gate.looked_ns = gate.looked_ns.max(self.started_ns);
        self.blocks.open_gate();
    }

    /// Once a second or so: entries that the kernel no longer honours go, changes of the host's
    /// addresses are taken over, and what is kept over restarts is saved if it changed.
    pub fn tick(&mut self) {
        self.follow_stop();
        let over = self.blocks.expire(monotonic_ns());
        for listed in &over {
            info!(target = %Shown(&listed.target), packets = listed.packets, "block expired");
        }
        self.blocks.state().looked_ns = monotonic_ns();
        self.blocks.open_gate();
        self.note_ended(
            AuditAction::Expire,
            &over,
            &Origin::Sensor,
            "time to live is over",
        );
        let evicted = self.blocks.take_evicted();
        self.note_ended(
            AuditAction::Remove,
            &evicted,
            &Origin::Sensor,
            "no room: gave way to another",
        );
        self.lapse_proposals();
        self.radius.pass(monotonic_ns());
        self.follow_host();
        self.tick_shields();
        self.read_again();
        let is_too_soon = self
            .save_failed
            .is_some_and(|failed| failed.elapsed() < SAVE_AGAIN);
        if !is_too_soon {
            self.save();
        }
    }

    /// The wall clock was set: what is kept over restarts is saved by its new time.
    pub const fn note_clock_step(&mut self) {
        self.is_unsaved = true;
    }

    /// Asks for a look at the host's addresses now; the next tick takes over what changed.
    pub fn look_at_host(&self) {
        self.watch.look();
    }

    /// Time when a run before looked at the flows last, kernel monotonic time; 0: there was none.
    pub const fn looked_before_ns(&self) -> u64 {
        self.looked_before_ns
    }

    /// Saves what is kept over restarts, if it changed.
    pub fn save(&mut self) {
        // What can't be read is not written over.
        let may_save = self.is_unsaved && self.damaged.is_none();
        let Some(store) = self.store.as_ref().filter(|_| may_save) else {
            return;
        };
        let mut saved = Saved::of(self.blocks.list(), self.allowed.iter());
        if let Some(waiting) = &self.waiting {
            saved.add_blocks_of(waiting);
        }
        match store.save(&saved) {
            Ok(()) => {
                if self.save_failed.take().is_some() {
                    info!("blocks and allow-list saved again");
                }
                self.is_unsaved = false;
                self.save_error = None;
            }
            Err(cause) => {
                self.save_error = Some(format!("{cause:#}"));
                error!(
                    cause = format!("{cause:#}"),
                    "blocks and allow-list not saved; retrying every {} s",
                    SAVE_AGAIN.as_secs()
                );
                self.save_failed = Some(Instant::now());
            }
        }
    }

    /// Lines of the audit log that could not be written.
    pub fn n_audit_lost(&self) -> u64 {
        self.audit.as_ref().map_or(0, Audit::n_lost)
    }
}

/// Facts that were never read, as one text.
fn in_words(missing: &[(Fact, String)]) -> Option<Arc<str>> {
    let one = |(fact, cause): &(Fact, String)| format!("{}: {cause}", fact.label());
    let all: Vec<String> = missing.iter().map(one).collect();
    (!all.is_empty()).then(|| Arc::from(all.join("; ")))
}

fn open_audit(path: &std::path::Path) -> Option<Audit> {
    Audit::open(path, audit::MAX_BYTES)
        .inspect_err(|cause| error!(cause = format!("{cause:#}"), "audit log not writable: set respond.audit_log to another file or correct its permissions"))
        .ok()
}
