//! The block-list: what is in force, and its image in the kernel's memory.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::mem::offset_of;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use sensor_common::block::list::{Key, MAX_SHAPES, SCOPES_PER_SOURCE, SHAPES_V6, ScopeSet, Shape};
use sensor_common::block::prefilter::BLOCK_PLANES;
use sensor_common::block::{
    ACTION_CHALLENGE, ACTION_DROP, ACTION_NONE, ACTION_QUARANTINE, ACTION_RATE_LIMIT, BlockEntry,
    Gate, LAYOUT,
};
use sensor_common::limits::BLOCK_ENTRIES;
use sensor_engine::{Scope, from_ip};

use super::entry::{BlockError, Listed, MAX_TTL, Measure, Origin, Request, canonical};
use super::filter::Filter;
use super::table::{Place, Table, amend};
use sensor_capture::kernel::{BlockArrays, SharedArray};

/// Facts of an entry that only user space keeps, beside what lies in the kernel's memory.
struct Note {
    measure: Measure,
    expires_ns: u64,
    origin: Arc<Origin>,
    reason: Arc<str>,
    is_proven: bool,
}

impl Note {
    const fn is_challenge(&self) -> bool {
        matches!(self.measure, Measure::Challenge { .. })
    }
}

/// Part of the sets of scopes that entries about never proven sources share: whoever makes addresses up
/// leaves room for entries about others.
const UNPROVEN_SHARE: usize = 4;
/// Entries that give way to one: each frees the set of scopes of one source, where that has no other.
const MOST_EVICTED: usize = 16;

type Name = (IpNet, Scope);

impl Note {
    /// A request for what is listed already: an operator's entry is neither shortened nor renamed by
    /// anybody else, and the later expiry holds. An operator may shorten what an operator asked for.
    fn merged(&self, request: &Request, now_ns: u64) -> Request {
        let mut merged = request.clone();
        let is_meant = self.origin.is_kept() && request.origin.is_kept();
        if !is_meant {
            let left = Duration::from_nanos(self.expires_ns.saturating_sub(now_ns));
            merged.ttl = merged.ttl.max(left);
        }
        merged.is_proven |= self.is_proven;
        if self.origin.is_kept() && !request.origin.is_kept() {
            merged.measure = self.measure;
            merged.origin = Origin::clone(&self.origin);
            merged.reason = Arc::clone(&self.reason);
        }
        merged
    }
}

/// Entries in force, and where they lie.
pub struct Blocklist {
    gate: SharedArray<Gate>,
    state: Gate,
    filter: Filter,
    sources: Table,
    prefixes: Table,
    scopes: SharedArray<ScopeSet>,
    free_scopes: Vec<u16>,
    shapes: SharedArray<Shape>,
    /// Entries of each prefix length: IPv4, then IPv6, by the length as in IPv6.
    n_per_length: [[u32; 128]; 2],
    notes: BTreeMap<Name, Note>,
    /// Entries by decisions, in the order in which they give way: those about never proven sources before
    /// others, then by expiry.
    automatic: BTreeSet<(bool, u64, Name)>,
    n_unproven: usize,
    n_challenged: usize,
    /// Entries that gave way, for the caller to tell.
    evicted: Vec<Listed>,
    /// Entries by time of expiry; one that was renewed or removed is still in here and passed over.
    expiry: BinaryHeap<Reverse<(u64, Name)>>,
}

impl Blocklist {
    /// Takes over the arrays with what is in them; `Blocklist::list` tells.
    /// `allow_filter` is the caller's.
    pub fn new(arrays: BlockArrays, seed: u64) -> (Self, SharedArray<u64>) {
        let limit = BLOCK_ENTRIES as usize;
        let mut list = Self {
            state: arrays.gate.copy(0, 0).unwrap_or_default(),
            gate: arrays.gate,
            filter: Filter::new(arrays.block_filter, &BLOCK_PLANES),
            sources: Table::new(arrays.sources, seed, limit),
            prefixes: Table::new(arrays.prefixes, seed, limit),
            free_scopes: (0..arrays.scopes.len() as u16).rev().collect(),
            scopes: arrays.scopes,
            shapes: arrays.shapes,
            n_per_length: [[0; 128]; 2],
            notes: BTreeMap::new(),
            automatic: BTreeSet::new(),
            n_unproven: 0,
            n_challenged: 0,
            evicted: Vec::new(),
            expiry: BinaryHeap::new(),
        };
        (list.state.seed, list.state.layout) = (seed, LAYOUT);
        list.adopt();
        (list, arrays.allow_filter)
    }

    /// Builds the notes from what lies in memory.
    fn adopt(&mut self) {
        self.filter.hold();
        let sources = self.sources.places().map(|(place, key)| (place, key, 128));
        let prefixes = self.prefixes.places().map(|(place, key)| {
            let length = self.prefixes.entry(place).length;
            (place, key, length)
        });
        let found: Vec<(Place, Key, u8)> = sources.chain(prefixes).collect();
        for (place, key, length) in found {
            let (target, table) = (network(key, length), self.table(length));
            let entry = table.entry(place);
            if entry.action != ACTION_NONE {
                self.note_found(target, Scope::default(), &entry);
            }
            if let Some(set) = usize::from(entry.scopes).checked_sub(1) {
                self.free_scopes.retain(|free| usize::from(*free) != set);
                for i in 0..SCOPES_PER_SOURCE {
                    let scoped = self.scoped(set, i);
                    if scoped.action != ACTION_NONE {
                        self.note_found(target, scope_of(&scoped), &scoped);
                    }
                }
            }
            self.filter.mark(&target);
            if length < 128 {
                self.n_per_length[family(&target)][usize::from(length)] += 1;
            }
        }
        // Lengths are in the kernel's table already if the run before was whole; written again, they
        // are right in any case.
        for family in 0..2 {
            self.write_shapes(family);
        }
        self.filter.write_all();
        self.open_gate();
    }

    fn note_found(&mut self, target: IpNet, scope: Scope, entry: &BlockEntry) {
        let number = entry.origin;
        let reason = "found in the maps of the run before";
        let note = Note {
            measure: measure_of(entry),
            expires_ns: entry.expires_ns,
            origin: Arc::new(Origin::Adopted { number }),
            reason: Arc::from(reason),
            is_proven: true,
        };
        self.insert_note((target, scope), note);
    }

    fn insert_note(&mut self, name: Name, note: Note) {
        self.forget_note(&name);
        self.n_challenged += usize::from(note.is_challenge());
        self.expiry.push(Reverse((note.expires_ns, name)));
        if matches!(*note.origin, Origin::Incident { .. }) {
            self.automatic
                .insert((note.is_proven, note.expires_ns, name));
            self.n_unproven += usize::from(!note.is_proven);
        }
        self.notes.insert(name, note);
    }

    fn forget_note(&mut self, name: &Name) {
        let Some(note) = self.notes.remove(name) else {
            return;
        };
        self.n_challenged -= usize::from(note.is_challenge());
        let place = (note.is_proven, note.expires_ns, *name);
        if self.automatic.remove(&place) && !note.is_proven {
            self.n_unproven = self.n_unproven.saturating_sub(1);
        }
    }

    /// Takes out the entry by a decision that is first to give way; false where there is none.
    fn evict(&mut self) -> bool {
        let Some((_, _, (target, scope))) = self.automatic.first().copied() else {
            return false;
        };
        match self.remove(&target, scope) {
            Ok(listed) => self.evicted.push(listed),
            // Not to be found: its note alone is left.
            Err(_) => self.forget_note(&(target, scope)),
        }
        true
    }

    /// True where a source is challenged.
    pub const fn has_challenges(&self) -> bool {
        self.n_challenged > 0
    }

    /// Entries that a decision made.
    pub fn of_decision(&self, id: &str) -> Vec<(IpNet, Scope)> {
        let is_of = |note: &Note| matches!(&*note.origin, Origin::Incident { decision_id, .. } if decision_id == id);
        let of_id = self.notes.iter().filter(|(_, note)| is_of(note));
        of_id.map(|(name, _)| *name).collect()
    }

    /// True where a person stopped the enforcement.
    pub fn is_stopped(&self) -> bool {
        let stopped = self.gate.copy::<u32>(0, offset_of!(Gate, stopped));
        stopped.unwrap_or_default() != 0
    }

    /// Entries that gave way since the last call.
    pub fn take_evicted(&mut self) -> Vec<Listed> {
        std::mem::take(&mut self.evicted)
    }

    fn table(&self, length: u8) -> &Table {
        if length == 128 {
            &self.sources
        } else {
            &self.prefixes
        }
    }

    fn table_mut(&mut self, length: u8) -> &mut Table {
        if length == 128 {
            &mut self.sources
        } else {
            &mut self.prefixes
        }
    }

    pub fn len(&self) -> usize {
        self.notes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// State of the lists as the kernel sees it, for the caller to change and write back.
    pub const fn state(&mut self) -> &mut Gate {
        &mut self.state
    }

    /// Writes the state. A person's stop is not the agent's to take back.
    fn write_gate(&mut self) {
        self.state.stopped = u32::from(self.is_stopped());
        self.gate.write(0, self.state);
    }

    /// Lets the kernel see the present state.
    pub fn open_gate(&mut self) {
        self.state.n_sources = self.sources.len() as u32;
        self.state.n_prefixes = self.prefixes.len() as u32;
        self.state.block_planes = self.filter.used();
        self.write_gate();
    }

    /// Makes an entry, or renews the one with the same target and scope.
    ///
    /// # Errors
    /// See [`BlockError`]; the guard's errors are not among them: this is the list alone.
    pub fn add(&mut self, request: &Request, now_ns: u64) -> Result<(), BlockError> {
        self.put(request, now_ns)?;
        self.open_gate();
        Ok(())
    }

    /// Adds many. What can't be added is handed to `refused` with its cause.
    pub fn load_bulk<'a>(
        &mut self,
        requests: impl IntoIterator<Item = &'a Request>,
        now_ns: u64,
        mut refused: impl FnMut(&Request, BlockError),
    ) -> usize {
        self.filter.hold();
        let mut n_added = 0;
        for request in requests {
            match self.put(request, now_ns) {
                Ok(()) => n_added += 1,
                Err(cause) => refused(request, cause),
            }
        }
        self.filter.write_all();
        self.open_gate();
        n_added
    }

    /// Makes an entry; where there is no room, those by decisions give way.
    fn put(&mut self, request: &Request, now_ns: u64) -> Result<(), BlockError> {
        let name = (canonical(&request.target), request.scope);
        let share = self.scopes.len() / UNPROVEN_SHARE;
        if !request.is_proven && !self.notes.contains_key(&name) && self.n_unproven >= share {
            self.evict();
        }
        let mut done = self.try_put(request, now_ns);
        for _ in 0..MOST_EVICTED {
            let is_full = matches!(done, Err(BlockError::Full { .. }));
            if !is_full || !self.evict() {
                break;
            }
            done = self.try_put(request, now_ns);
        }
        done
    }

    fn try_put(&mut self, request: &Request, now_ns: u64) -> Result<(), BlockError> {
        let target = canonical(&request.target);
        let name = (target, request.scope);
        // Looked at as it was asked for: nothing bad is made good by what is there.
        entry_of(request, &target, now_ns)?;
        let held = self.notes.get(&name);
        let held = held.filter(|note| note.expires_ns > now_ns);
        let request = &held.map_or(Cow::Borrowed(request), |note| {
            Cow::Owned(note.merged(request, now_ns))
        });
        let entry = entry_of(request, &target, now_ns)?;
        let (key, length) = key_of(&target);
        let place = match self.table(length).find(key) {
            Some(place) => place,
            None => self.new_place(&target, key, length)?,
        };
        if request.scope == Scope::default() {
            let scopes = self.table(length).entry(place).scopes;
            let entry = BlockEntry { scopes, ..entry };
            self.table_mut(length).amend(place, &entry);
        } else if let Err(cause) = self.put_scope(place, &target, &entry) {
            self.forget_if_bare(&target);
            return Err(cause);
        }
        let note = Note {
            measure: request.measure,
            expires_ns: entry.expires_ns,
            origin: Arc::new(request.origin.clone()),
            reason: Arc::clone(&request.reason),
            is_proven: request.is_proven,
        };
        self.insert_note(name, note);
        Ok(())
    }

    /// An entry without action, found by the kernel from now on.
    fn new_place(&mut self, target: &IpNet, key: Key, length: u8) -> Result<Place, BlockError> {
        let (family, at) = (family(target), usize::from(length));
        let is_new_length = length < 128 && self.n_per_length[family][at] == 0;
        if is_new_length {
            let n_lengths = self.n_per_length[family].iter().filter(|n| **n > 0).count();
            if n_lengths >= MAX_SHAPES as usize {
                return Err(BlockError::TooManyLengths {
                    target: *target,
                    limit: MAX_SHAPES as usize,
                });
            }
        }
        let bare = BlockEntry {
            length,
            ..BlockEntry::default()
        };
        let full = BlockError::Full {
            target: *target,
            limit: BLOCK_ENTRIES as usize,
        };
        let place = self.table_mut(length).insert(key, &bare).ok_or(full)?;
        if length < 128 {
            self.n_per_length[family][at] += 1;
        }
        if is_new_length {
            self.write_shapes(family);
        }
        self.filter.mark(target);
        Ok(place)
    }

    /// Longest first. The table is written from its end when it grows and from its start when it
    /// shrinks: a length that stays is there at any moment.
    fn write_shapes(&mut self, family: usize) {
        let lengths = (0..128u8).rev();
        let used = lengths.filter(|length| self.n_per_length[family][usize::from(*length)] > 0);
        let shapes: Vec<Shape> = used.map(Shape::new).collect();
        let first = [0, SHAPES_V6 as usize][family];
        let n_before = match family {
            0 => self.state.n_shapes_v4,
            _ => self.state.n_shapes_v6,
        };
        let has_grown = shapes.len() >= n_before as usize;
        let mut order: Vec<usize> = (0..shapes.len()).collect();
        if has_grown {
            order.reverse();
        }
        for (n_written, i) in order.into_iter().enumerate() {
            if let Some(shape) = shapes.get(i) {
                self.shapes.write(first + i, *shape);
            }
            // The new last one must be seen before it is overwritten at its old place.
            if has_grown && n_written == 0 {
                self.set_n_shapes(family, shapes.len());
            }
        }
        self.set_n_shapes(family, shapes.len());
    }

    fn set_n_shapes(&mut self, family: usize, n: usize) {
        match family {
            0 => self.state.n_shapes_v4 = n as u32,
            _ => self.state.n_shapes_v6 = n as u32,
        }
        self.write_gate();
    }

    fn scoped(&self, set: usize, i: usize) -> BlockEntry {
        let entry = self.scopes.copy(set, i * size_of::<BlockEntry>());
        entry.unwrap_or_default()
    }

    fn put_scope(
        &mut self,
        place: Place,
        target: &IpNet,
        entry: &BlockEntry,
    ) -> Result<(), BlockError> {
        let (_, length) = key_of(target);
        let mut head = self.table(length).entry(place);
        let Some(set) = usize::from(head.scopes).checked_sub(1) else {
            let set = self.free_scopes.pop().ok_or(BlockError::Full {
                target: *target,
                limit: self.scopes.len(),
            })?;
            self.scopes.write(usize::from(set), ScopeSet::default());
            amend(&mut self.scopes, usize::from(set), 0, entry);
            head.scopes = set + 1;
            self.table_mut(length).amend(place, &head);
            return Ok(());
        };
        let mut slots = (0..SCOPES_PER_SOURCE).map(|i| (i, self.scoped(set, i)));
        let is_same = |e: &BlockEntry| e.action != ACTION_NONE && scope_of(e) == scope_of(entry);
        let slot = slots.clone().find(|(_, e)| is_same(e));
        let slot = slot.or_else(|| slots.find(|(_, e)| e.action == ACTION_NONE));
        let (slot, before) = slot.ok_or(BlockError::TooManyScopes {
            target: *target,
            limit: SCOPES_PER_SOURCE,
        })?;
        let at = slot * size_of::<BlockEntry>();
        if before.action == ACTION_NONE {
            self.scopes.put(set, at, BlockEntry::default());
        }
        amend(&mut self.scopes, set, at, entry);
        Ok(())
    }

    /// Takes an entry out; its last state.
    ///
    /// # Errors
    /// [`BlockError::NotListed`].
    pub fn remove(&mut self, target: &IpNet, scope: Scope) -> Result<Listed, BlockError> {
        let target = canonical(target);
        let listed = self
            .listed(&(target, scope))
            .ok_or(BlockError::NotListed { target })?;
        self.forget_note(&(target, scope));
        self.take_out(&target, scope);
        self.open_gate();
        Ok(listed)
    }

    /// Entity that asked for an entry.
    pub fn origin_of(&self, target: &IpNet, scope: Scope) -> Option<&Origin> {
        let note = self.notes.get(&(canonical(target), scope))?;
        Some(&note.origin)
    }

    /// Scopes that are listed for a target.
    pub fn scopes_of(&self, target: &IpNet) -> Vec<Scope> {
        let target = canonical(target);
        let first = (target, Scope::default());
        let of_target = self.notes.range(first..).map(|(name, _)| name);
        let of_target = of_target.take_while(|(other, _)| *other == target);
        of_target.map(|(_, scope)| *scope).collect()
    }

    fn take_out(&mut self, target: &IpNet, scope: Scope) {
        let (key, length) = key_of(target);
        let Some(place) = self.table(length).find(key) else {
            return;
        };
        let mut head = self.table(length).entry(place);
        if scope == Scope::default() {
            head.action = ACTION_NONE;
            // What comes later under this name starts to count from nothing.
            self.table_mut(length).write(
                place,
                &BlockEntry {
                    scopes: head.scopes,
                    length,
                    ..BlockEntry::default()
                },
            );
        } else if let Some(set) = usize::from(head.scopes).checked_sub(1) {
            for i in 0..SCOPES_PER_SOURCE {
                let scoped = self.scoped(set, i);
                if scoped.action != ACTION_NONE && scope_of(&scoped) == scope {
                    let at = i * size_of::<BlockEntry>() + offset_of!(BlockEntry, action);
                    self.scopes.put(set, at, ACTION_NONE);
                }
            }
        }
        self.forget_if_bare(target);
    }

    /// Gives back what an entry without action and without scopes holds.
    fn forget_if_bare(&mut self, target: &IpNet) {
        let (key, length) = key_of(target);
        let Some(place) = self.table(length).find(key) else {
            return;
        };
        let mut head = self.table(length).entry(place);
        if let Some(set) = usize::from(head.scopes).checked_sub(1)
            && (0..SCOPES_PER_SOURCE).all(|i| self.scoped(set, i).action == ACTION_NONE)
        {
            head.scopes = 0;
            self.table_mut(length).amend(place, &head);
            self.free_scopes.push(set as u16);
        }
        if head.action != ACTION_NONE || head.scopes != 0 {
            return;
        }
        self.filter.unmark(target);
        self.table_mut(length).remove(place);
        if length < 128 {
            let family = family(target);
            let n = &mut self.n_per_length[family][usize::from(length)];
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.write_shapes(family);
            }
        }
    }

    /// Takes out what the kernel no longer honours.
    pub fn expire(&mut self, now_ns: u64) -> Vec<Listed> {
        let mut over = Vec::new();
        while let Some(Reverse((at, name))) = self.expiry.peek().copied() {
            if at > now_ns {
                break;
            }
            self.expiry.pop();
            let is_current = self.notes.get(&name).is_some_and(|n| n.expires_ns == at);
            if is_current && let Ok(listed) = self.remove(&name.0, name.1) {
                over.push(listed);
            }
        }
        over
    }

    /// Takes out all that `is_meant` says.
    pub fn flush(&mut self, is_meant: impl Fn(&IpNet, &Origin) -> bool) -> Vec<Listed> {
        let meant = self
            .notes
            .iter()
            .filter(|((target, _), note)| is_meant(target, &note.origin));
        let names: Vec<Name> = meant.map(|(name, _)| *name).collect();
        self.filter.hold();
        let gone: Vec<Listed> = names
            .iter()
            .filter_map(|(target, scope)| self.remove(target, *scope).ok())
            .collect();
        self.filter.write_all();
        self.open_gate();
        gone
    }

    /// Every entry, ordered by address.
    pub fn list(&self) -> impl Iterator<Item = Listed> + '_ {
        self.notes.keys().filter_map(|name| self.listed(name))
    }

    fn listed(&self, name: &Name) -> Option<Listed> {
        let note = self.notes.get(name)?;
        let (target, scope) = *name;
        let (key, length) = key_of(&target);
        let head = self
            .table(length)
            .find(key)
            .map(|place| self.table(length).entry(place))?;
        let entry = if scope == Scope::default() {
            head
        } else {
            let set = usize::from(head.scopes).checked_sub(1)?;
            let mut scoped = (0..SCOPES_PER_SOURCE).map(|i| self.scoped(set, i));
            scoped.find(|e| e.action != ACTION_NONE && scope_of(e) == scope)?
        };
        Some(Listed {
            target,
            scope,
            measure: note.measure,
            origin: Arc::clone(&note.origin),
            reason: Arc::clone(&note.reason),
            expires_ns: note.expires_ns,
            packets: entry.packets,
            bytes: entry.bytes,
        })
    }
}

const fn scope_of(entry: &BlockEntry) -> Scope {
    Scope {
        protocol: entry.protocol,
        local_port: entry.port,
    }
}

fn measure_of(entry: &BlockEntry) -> Measure {
    match entry.action {
        ACTION_RATE_LIMIT => Measure::RateLimit {
            packets_per_s: rate_of(entry),
        },
        ACTION_CHALLENGE => Measure::Challenge {
            packets_per_s: rate_of(entry),
        },
        ACTION_QUARANTINE => Measure::Quarantine,
        _ => Measure::Drop,
    }
}

fn rate_of(entry: &BlockEntry) -> u32 {
    let per_s = 1_000_000_000 / entry.packet_cost_ns.max(1);
    u32::try_from(per_s).unwrap_or(u32::MAX)
}

/// Nanoseconds that one packet of a rate costs.
fn cost_of(packets_per_s: u32) -> Result<u32, BlockError> {
    let cost = 1_000_000_000u32.checked_div(packets_per_s);
    let cost = cost.filter(|cost| *cost > 0);
    cost.ok_or(BlockError::BadRate { packets_per_s })
}

fn family(target: &IpNet) -> usize {
    usize::from(matches!(target, IpNet::V6(_)))
}

/// Key of a network and its length as in IPv6.
fn key_of(target: &IpNet) -> (Key, u8) {
    let length = match target {
        IpNet::V4(v4) => v4.prefix_len() + 96,
        IpNet::V6(v6) => v6.prefix_len(),
    };
    let key = Key::of(&from_ip(target.network()));
    if length == 128 {
        (key, length)
    } else {
        (Shape::new(length).cut(key), length)
    }
}

/// The inverse of [`key_of`].
fn network(key: Key, length: u8) -> IpNet {
    let bits = u128::from(key.high) << 64 | u128::from(key.low);
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    let bytes = (bits & mask).to_be_bytes();
    let address = IpAddr::from(bytes);
    canonical(&IpNet::new(address, length).unwrap_or_else(|_| IpNet::from(address)))
}

fn entry_of(request: &Request, target: &IpNet, now_ns: u64) -> Result<BlockEntry, BlockError> {
    if request.ttl < Duration::from_secs(1) || request.ttl > MAX_TTL {
        return Err(BlockError::BadTtl { ttl: request.ttl });
    }
    let (action, packet_cost_ns) = match request.measure {
        Measure::Drop => (ACTION_DROP, 0),
        Measure::Quarantine => (ACTION_QUARANTINE, 0),
        Measure::RateLimit { packets_per_s } => (ACTION_RATE_LIMIT, cost_of(packets_per_s)?),
        Measure::Challenge { packets_per_s } => (ACTION_CHALLENGE, cost_of(packets_per_s)?),
    };
    let (_, length) = key_of(target);
    Ok(BlockEntry {
        expires_ns: now_ns.saturating_add(request.ttl.as_nanos() as u64),
        packet_cost_ns: packet_cost_ns.into(),
        origin: request.origin.number(),
        action,
        protocol: request.scope.protocol,
        port: request.scope.local_port,
        length,
        ..BlockEntry::default()
    })
}
