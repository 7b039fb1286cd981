//! The block-list in the kernel: written here, read by every packet.

use std::collections::HashMap as StdHashMap;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::Pod as AyaPod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData};
use sensor_common::Address;
use sensor_common::block::{ACTION_DROP, ACTION_RATE_LIMIT, BlockEntry, Gate, prefilter_bit};
use sensor_engine::{Action, Decision, from_ip};
use tracing::{error, info, warn};

use super::{Guard, Mode, Respond, Verdict};
use crate::capture::kernel::{Kernel, SharedArray, monotonic_ns, u64Word};

#[derive(Clone, Copy)]
#[repr(transparent)]
struct EntryValue(BlockEntry);
// SAFETY: integers without padding, valid for any bytes.
unsafe impl AyaPod for EntryValue {}

/// Packets a second that a rate-limited source may send, and at once.
const RATE_LIMIT_PPS: u64 = 100;

/// Exact entries with their expiry, the prefilter's counts, and the gate.
pub struct KernelRespond {
    mode: Mode,
    guard: Guard,
    exact: HashMap<MapData, [u32; 4], EntryValue>,
    _allow: LpmTrie<MapData, [u32; 4], u32>,
    gate: SharedArray<Gate>,
    prefilter: SharedArray<u64Word>,
    words: StdHashMap<u32, u64>,
    n_per_bit: StdHashMap<(u32, u32), u32>,
    expiry: StdHashMap<Address, u64>,
    state: Gate,
    serial: u32,
}

impl KernelRespond {
    /// Takes over the block maps of the kernel program and writes the guard into its allow-list.
    ///
    /// # Errors
    /// When a map is missing or full.
    pub fn new(kernel: &mut Kernel, mode: Mode, guard: Guard) -> Result<Self> {
        let exact = kernel
            .ebpf
            .take_map("BLOCK_EXACT")
            .context("map BLOCK_EXACT missing")?;
        let allow = kernel.ebpf.take_map("ALLOW").context("map ALLOW missing")?;
        let mut allow: LpmTrie<MapData, [u32; 4], u32> = LpmTrie::try_from(allow)?;
        let mut state = Gate {
            enforce: u32::from(mode == Mode::Enforce),
            ..Gate::default()
        };
        for address in guard.addresses() {
            let key = Key::new(128, from_ip(*address));
            allow
                .insert(&key, 1, 0)
                .with_context(|| format!("{address}: allow-list is full"))?;
            state.n_allowed += 1;
        }
        let (gate, prefilter) = kernel.take_block_arrays()?;
        let mut respond = Self {
            mode,
            guard,
            exact: HashMap::try_from(exact)?,
            _allow: allow,
            gate,
            prefilter,
            words: StdHashMap::new(),
            n_per_bit: StdHashMap::new(),
            expiry: StdHashMap::new(),
            state,
            serial: 0,
        };
        respond.gate.write(0, state);
        Ok(respond)
    }

    /// Adds or replaces an entry. `ttl_s` counts from now; the kernel enforces it.
    ///
    /// # Errors
    /// When the table is full.
    pub fn block(&mut self, source: IpAddr, entry: BlockEntry) -> Result<()> {
        let address = from_ip(source);
        self.exact
            .insert(address, EntryValue(entry), 0)
            .with_context(|| format!("{source}: block-list is full; `sensor run` sheds it"))?;
        if self.expiry.insert(address, entry.expires_ns).is_none() {
            self.mark(&address);
        }
        self.state.n_exact = self.expiry.len() as u32;
        self.gate.write(0, self.state);
        Ok(())
    }

    /// Removes entries that the kernel no longer honours.
    pub fn expire(&mut self, now_ns: u64) {
        let over: Vec<Address> = self
            .expiry
            .iter()
            .filter(|(_, at)| **at <= now_ns)
            .map(|(key, _)| *key)
            .collect();
        for address in over {
            self.expiry.remove(&address);
            if let Err(cause) = self.exact.remove(&address) {
                warn!(%cause, "an expired block entry was already gone");
            }
            self.unmark(&address);
        }
        self.state.n_exact = self.expiry.len() as u32;
        self.gate.write(0, self.state);
    }

    /// Entries in force.
    pub fn n_entries(&self) -> usize {
        self.expiry.len()
    }

    fn mark(&mut self, address: &Address) {
        let bit = prefilter_bit(address);
        let n = self.n_per_bit.entry(bit).or_default();
        *n += 1;
        if *n == 1 {
            let word = self.words.entry(bit.0).or_default();
            *word |= 1 << bit.1;
            self.prefilter.write(bit.0 as usize, u64Word(*word));
        }
    }

    fn unmark(&mut self, address: &Address) {
        let bit = prefilter_bit(address);
        let Some(n) = self.n_per_bit.get_mut(&bit) else {
            return;
        };
        *n -= 1;
        if *n == 0 {
            self.n_per_bit.remove(&bit);
            let word = self.words.entry(bit.0).or_default();
            *word &= !(1 << bit.1);
            self.prefilter.write(bit.0 as usize, u64Word(*word));
        }
    }

    fn entry(&mut self, decision: &Decision) -> BlockEntry {
        self.serial = self.serial.wrapping_add(1);
        let packet_cost_ns = 1_000_000_000 / RATE_LIMIT_PPS;
        let ttl_ns = u64::from(decision.ttl_s) * 1_000_000_000;
        BlockEntry {
            expires_ns: monotonic_ns().saturating_add(ttl_ns),
            packet_cost_ns,
            burst_ns: packet_cost_ns * RATE_LIMIT_PPS,
            action: match decision.action {
                Action::Drop => ACTION_DROP,
                Action::RateLimit => ACTION_RATE_LIMIT,
            },
            protocol: decision.scope.protocol,
            port: decision.scope.local_port,
            serial: self.serial,
            ..BlockEntry::default()
        }
    }
}

impl Respond for KernelRespond {
    fn carry_out(&mut self, decision: &Decision) -> Verdict {
        let target = decision.target;
        if let Some(why) = self.guard.refuses(&target) {
            warn!(%target, why, id = decision.id, "block refused");
            return Verdict {
                mode: self.mode,
                guard: format!("refused: {why}"),
            };
        }
        let entry = self.entry(decision);
        let guard = match self.block(target, entry) {
            Ok(()) => {
                let (mode, ttl_s, reason) = (self.mode.label(), decision.ttl_s, &decision.reason);
                info!(%target, mode, ttl_s, reason, id = decision.id, "block entry written");
                "allowed".to_owned()
            }
            Err(cause) => {
                error!(%target, cause = format!("{cause:#}"), "block entry not written");
                format!("failed: {cause:#}")
            }
        };
        Verdict {
            mode: self.mode,
            guard,
        }
    }
}
