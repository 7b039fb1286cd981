//! The allow-list: sources that no entry of the block-list ever meets.

use std::collections::BTreeMap;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Map, MapData};
use ipnet::IpNet;
use sensor_common::block::prefilter::ALLOW_PLANES;
use sensor_common::limits::ALLOW_ENTRIES;
use sensor_engine::from_ip;

use super::entry::{BlockError, canonical};
use super::filter::Filter;
use crate::capture::kernel::SharedArray;

/// The networks, with why each is there, and their image in the kernel.
pub struct Allowlist {
    trie: Option<LpmTrie<MapData, [u32; 4], u32>>,
    filter: Filter,
    networks: BTreeMap<IpNet, &'static str>,
}

impl Allowlist {
    /// Empties the kernel's table, whatever an earlier run left in it. Without a table the list
    /// is kept here only.
    ///
    /// # Errors
    /// When the map is of another kind or can't be emptied.
    pub fn new(table: Option<Map>, words: SharedArray<u64>) -> Result<Self, aya::maps::MapError> {
        let mut filter = Filter::new(words, &ALLOW_PLANES);
        filter.write_all();
        let trie = match table {
            Some(map) => Some(emptied(LpmTrie::try_from(map)?)?),
            None => None,
        };
        Ok(Self {
            trie,
            filter,
            networks: BTreeMap::new(),
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
    pub fn add(&mut self, network: &IpNet, why: &'static str) -> Result<(), BlockError> {
        let network = canonical(network);
        if self.networks.contains_key(&network) {
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
        self.networks.insert(network, why);
        Ok(())
    }

    /// Takes a network off the list.
    ///
    /// # Errors
    /// When it is not on it.
    pub fn remove(&mut self, network: &IpNet) -> Result<(), BlockError> {
        let network = canonical(network);
        if self.networks.remove(&network).is_none() {
            return Err(BlockError::NotListed { target: network });
        }
        self.filter.unmark(&network);
        if let Some(trie) = &mut self.trie {
            let removed = trie.remove(&key(&network));
            removed.map_err(|cause| refused(network, &cause))?;
        }
        Ok(())
    }

    /// Every network with why it is there.
    pub fn iter(&self) -> impl Iterator<Item = (&IpNet, &'static str)> {
        self.networks.iter().map(|(network, why)| (network, *why))
    }
}

fn refused(target: IpNet, cause: &aya::maps::MapError) -> BlockError {
    BlockError::Kernel {
        target,
        cause: format!("the kernel refused: {cause}"),
    }
}

fn emptied(
    mut trie: LpmTrie<MapData, [u32; 4], u32>,
) -> Result<LpmTrie<MapData, [u32; 4], u32>, aya::maps::MapError> {
    let keys: Vec<_> = trie.keys().collect::<Result<_, _>>()?;
    for key in keys {
        trie.remove(&key)?;
    }
    Ok(trie)
}

fn key(network: &IpNet) -> Key<[u32; 4]> {
    let length = match network {
        IpNet::V4(v4) => v4.prefix_len() + 96,
        IpNet::V6(v6) => v6.prefix_len(),
    };
    Key::new(length.into(), from_ip(network.network()))
}
