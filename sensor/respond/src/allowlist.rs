//! The kernel's allow-list: sources that no entry of the block-list ever meets.

use std::collections::BTreeSet;
use std::net::IpAddr;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Map, MapData};
use ipnet::IpNet;
use sensor_common::block::prefilter::ALLOW_PLANES;
use sensor_common::limits::ALLOW_ENTRIES;
use sensor_engine::{from_ip, to_ip};

use super::entry::{BlockError, canonical};
use super::filter::Filter;
use sensor_capture::kernel::SharedArray;

/// Networks of the kernel's allow-list.
pub struct Allowlist {
    trie: Option<LpmTrie<MapData, [u32; 4], u32>>,
    filter: Filter,
    networks: BTreeSet<IpNet>,
}

impl Allowlist {
    /// Begins with what the kernel's table holds: an earlier run may have left it, and whoever is
    /// in it stays unblocked until it is known who belongs there. Without a table the list is kept
    /// here only.
    ///
    /// # Errors
    /// When the map is of another kind or can't be read.
    pub fn new(table: Option<Map>, words: SharedArray<u64>) -> Result<Self, aya::maps::MapError> {
        let mut filter = Filter::new(words, &ALLOW_PLANES);
        let trie = table.map(LpmTrie::try_from).transpose()?;
        let mut networks = BTreeSet::new();
        filter.hold();
        for network in trie.iter().flat_map(found) {
            let network = network?;
            filter.mark(&network);
            networks.insert(network);
        }
        filter.write_all();
        Ok(Self {
            trie,
            filter,
            networks,
        })
    }

    pub fn len(&self) -> usize {
        self.networks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Planes of the filter that are in use.
    pub fn used(&self) -> u32 {
        self.filter.used()
    }

    /// Puts a network on the list.
    ///
    /// # Errors
    /// When the list is full.
    pub fn add(&mut self, network: &IpNet) -> Result<(), BlockError> {
        let network = canonical(network);
        if self.networks.contains(&network) {
            return Ok(());
        }
        if self.networks.len() >= ALLOW_ENTRIES as usize {
            return Err(BlockError::Full {
                target: network,
                limit: ALLOW_ENTRIES as usize,
            });
        }
        if let Some(trie) = &mut self.trie {
            let inserted = trie.insert(&key(&network), 1, 0);
            inserted.map_err(|cause| refused(network, &cause))?;
        }
        self.filter.mark(&network);
        self.networks.insert(network);
        Ok(())
    }

    /// Takes a network off the list.
    ///
    /// # Errors
    /// When it is not on it.
    pub fn remove(&mut self, network: &IpNet) -> Result<(), BlockError> {
        let network = canonical(network);
        if !self.networks.remove(&network) {
            return Err(BlockError::NotListed { target: network });
        }
        self.filter.unmark(&network);
        if let Some(trie) = &mut self.trie {
            let removed = trie.remove(&key(&network));
            removed.map_err(|cause| refused(network, &cause))?;
        }
        Ok(())
    }

    /// Every network, in order.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.networks.iter()
    }
}

fn refused(target: IpNet, cause: &aya::maps::MapError) -> BlockError {
    BlockError::Kernel {
        target,
        cause: format!("the kernel refused: {cause}"),
    }
}

/// Entries that a table holds.
fn found(
    trie: &LpmTrie<MapData, [u32; 4], u32>,
) -> impl Iterator<Item = Result<IpNet, aya::maps::MapError>> {
    trie.keys().filter_map(|key| match key {
        Ok(key) => network(&key).map(Ok),
        Err(cause) => Some(Err(cause)),
    })
}

fn network(key: &Key<[u32; 4]>) -> Option<IpNet> {
    let length = u8::try_from(key.prefix_len()).ok()?;
    let address = to_ip(&key.data());
    let length = match address {
        IpAddr::V4(_) => length.checked_sub(96)?,
        IpAddr::V6(_) => length,
    };
    IpNet::new(address, length).ok()
}

fn key(network: &IpNet) -> Key<[u32; 4]> {
    let length = match network {
        IpNet::V4(v4) => v4.prefix_len() + 96,
        IpNet::V6(v6) => v6.prefix_len(),
    };
    Key::new(length.into(), from_ip(network.network()))
}
