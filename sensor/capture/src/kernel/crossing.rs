//! Interfaces that packets cross one after another, for the program to count each packet once
//! ([`sensor_common::crossing`]).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{Array, MapData};
use sensor_common::crossing::{ABOVE, BELOW, COUNTED, INTERFACE_SLOTS, LEFT, MANY, interface_slot};

use crate::netlink::Link;

/// Links below one another that are followed.
const MAX_DEPTH: usize = 8;

/// Flags of interfaces by index, of those that are watched and what lies above and below them.
pub fn crossings(links: &[Link], watched: &BTreeSet<u32>) -> BTreeMap<u32, u32> {
    let below = below(links);
    let mut flags: BTreeMap<u32, u32> = watched.iter().map(|index| (*index, COUNTED)).collect();
    for link in links {
        let lower: BTreeSet<u32> = all_below(link.index, &below)
            .intersection(watched)
            .copied()
            .collect();
        if lower.is_empty() {
            continue;
        }
        *flags.entry(link.index).or_default() |= COUNTED;
        if watched.contains(&link.index) {
            *flags.entry(link.index).or_default() |= ABOVE;
            for index in lower {
                *flags.entry(index).or_default() |= BELOW;
            }
        }
    }
    flags
}

/// Links right below each: the parent of a VLAN or a macvlan, the ports of a bridge, a bond or a VRF.
fn below(links: &[Link]) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut below: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for link in links {
        // The other end of a veth is beside it, and an index elsewhere says nothing here.
        let is_beside = link.kind.as_deref() == Some("veth") || link.is_lower_elsewhere;
        if let Some(lower) = link.lower.filter(|_| !is_beside) {
            below.entry(link.index).or_default().insert(lower);
        }
        if let Some(master) = link.master {
            below.entry(master).or_default().insert(link.index);
        }
    }
    below
}

fn all_below(index: u32, below: &BTreeMap<u32, BTreeSet<u32>>) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut next = BTreeSet::from([index]);
    for _ in 0..MAX_DEPTH {
        let lower = next.iter().filter_map(|index| below.get(index)).flatten();
        next = lower
            .copied()
            .filter(|lower| found.insert(*lower))
            .collect();
    }
    found
}

/// The flags as the program reads them.
pub struct InterfaceFlags {
    map: Array<MapData, u32>,
    /// Entries as they were written last.
    written: Vec<u32>,
}

impl InterfaceFlags {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let map = ebpf.take_map("INTERFACES");
        let map = map.context("map INTERFACES missing")?;
        Ok(Self {
            map: Array::try_from(map)?,
            written: vec![0; MANY as usize + 1],
        })
    }

    /// Writes the flags of interfaces, of which so many are watched.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set(&mut self, flags: &BTreeMap<u32, u32>, n_watched: usize) -> Result<()> {
        let mut wanted = vec![0; MANY as usize + 1];
        for (index, flags) in flags {
            if let Some(entry) = wanted.get_mut(interface_slot(*index) as usize) {
                *entry |= flags;
            }
        }
        if let Some(many) = wanted.get_mut(MANY as usize) {
            *many = u32::from(n_watched > 1);
        }
        for (slot, (wanted, written)) in (0..).zip(wanted.iter().zip(&mut self.written)) {
            if wanted != written {
                let set = self.map.set(slot, *wanted, 0);
                set.context("flags of the interfaces can't be written")?;
                *written = *wanted;
            }
        }
        Ok(())
    }

    /// True where a packet left by the interface that had been counted before: the egress program is at
    /// work there, though it reports none.
    pub fn has_left(&self, ifindex: u32) -> bool {
        let flags = self.map.get(&interface_slot(ifindex), 0);
        flags.is_ok_and(|flags| flags & LEFT != 0)
    }
}

const _: () = assert!(INTERFACE_SLOTS.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, kind: &str, lower: Option<u32>, master: Option<u32>) -> Link {
        Link {
            index,
            kind: Some(kind.to_owned()),
            lower,
            master,
            ..Link::default()
        }
    }

    #[test]
    fn what_lies_above_and_below_is_flagged() {
        let links = [
            link(2, "", None, Some(5)),
            link(3, "veth", Some(9), Some(5)),
            link(4, "vlan", Some(5), None),
            link(5, "bridge", None, None),
            link(9, "veth", Some(3), None),
        ];
        let of = |watched: &[u32]| crossings(&links, &watched.iter().copied().collect());
        // A bridge of which one port is watched: what it takes in was counted.
        assert_eq!(of(&[3]), [(3, COUNTED), (4, COUNTED), (5, COUNTED)].into());
        let (above, below) = (COUNTED | ABOVE, COUNTED | BELOW);
        let all = [(2, below), (3, below), (4, COUNTED), (5, above)];
        assert_eq!(of(&[2, 3, 5]), all.into());
        let middle = [(4, above), (5, below)];
        assert_eq!(of(&[4, 5]), middle.into());
        assert_eq!(of(&[9]), [(9, COUNTED)].into());
    }

    #[test]
    fn links_that_go_round_end() {
        let links = [
            link(2, "vlan", Some(3), None),
            link(3, "vlan", Some(2), None),
        ];
        let flags = crossings(&links, &BTreeSet::from([2, 3]));
        assert_eq!(flags.len(), 2);
    }
}
