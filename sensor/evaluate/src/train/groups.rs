//! Groups of captures that hold the same packets: a composition and what it is made of must not be
//! on both sides of a split.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Number of packets in common that is no chance; nor is a fifth of the smaller capture's.
const ENOUGH: usize = 16;
const LEAST: usize = 4;

/// Groups of captures that share packets.
#[derive(Debug, PartialEq, Eq)]
pub struct Groups {
    /// The group of each capture, numbered from 0.
    pub of: Vec<u32>,
    /// Compositions: they hold most of several captures that have nothing in common.
    pub is_composed: Vec<bool>,
}

/// Finds the groups of captures by the fingerprints of their packets.
pub fn find(sets: &[&BTreeSet<u64>]) -> Groups {
    let links = links(sets);
    let n = sets.len();
    let is_composed: Vec<bool> = (0..n)
        .map(|place| is_composed(place, sets, &links))
        .collect();
    let left: Vec<usize> = (0..n).filter(|place| !is_composed[*place]).collect();
    let roots = components(&left, &links);
    let mut known: Vec<usize> = roots.iter().map(|(_, root)| *root).collect();
    known.sort_unstable();
    known.dedup();
    let mut of = vec![known.len() as u32; n];
    for (place, root) in roots {
        if let Some(group) = of.get_mut(place) {
            *group = known.binary_search(&root).unwrap_or(0) as u32;
        }
    }
    Groups { of, is_composed }
}

/// Packets that two captures share, where they are more than chance.
type Links = BTreeMap<(usize, usize), usize>;

fn links(sets: &[&BTreeSet<u64>]) -> Links {
    let mut holders: HashMap<u64, Vec<usize>> = HashMap::new();
    for (place, set) in sets.iter().enumerate() {
        for print in *set {
            holders.entry(*print).or_default().push(place);
        }
    }
    let mut links = Links::new();
    for places in holders.values() {
        for (i, a) in places.iter().enumerate() {
            for b in places.iter().skip(i + 1) {
                *links.entry((*a, *b)).or_default() += 1;
            }
        }
    }
    let size = |place: usize| sets.get(place).map_or(0, |set| set.len());
    links.retain(|(a, b), n| *n >= (size(*a).min(size(*b)) / 5).clamp(LEAST, ENOUGH));
    links
}

/// Does it hold most of two smaller captures that have nothing in common?
fn is_composed(place: usize, sets: &[&BTreeSet<u64>], links: &Links) -> bool {
    let mut parts = Vec::new();
    let own = sets.get(place).map_or(0, |set| set.len());
    for ((a, b), n) in links {
        let other = if *a == place { *b } else { *a };
        if (*a == place || *b == place)
            && sets
                .get(other)
                .is_some_and(|set| 2 * n >= set.len() && set.len() < own)
        {
            parts.push(other);
        }
    }
    let are_strangers = |a: usize, b: usize| !links.contains_key(&(a.min(b), a.max(b)));
    let mut pairs = parts.iter().enumerate().flat_map(|(i, a)| {
        let rest = parts.iter().skip(i + 1);
        rest.map(move |b| (*a, *b))
    });
    pairs.any(|(a, b)| are_strangers(a, b))
}

/// Each place with the least of those that it hangs together with.
fn components(places: &[usize], links: &Links) -> Vec<(usize, usize)> {
    let mut roots: Vec<(usize, usize)> = places.iter().map(|place| (*place, *place)).collect();
    let root_of = |roots: &[(usize, usize)], place: usize| {
        roots
            .iter()
            .find(|(known, _)| *known == place)
            .map(|(_, root)| *root)
    };
    for (a, b) in links.keys() {
        if let (Some(a), Some(b)) = (root_of(&roots, *a), root_of(&roots, *b)) {
            let (low, high) = (a.min(b), a.max(b));
            roots
                .iter_mut()
                .filter(|(_, root)| *root == high)
                .for_each(|(_, root)| *root = low);
        }
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(fingerprints: impl Iterator<Item = u64>) -> BTreeSet<u64> {
        fingerprints.collect()
    }

    #[test]
    fn compositions_are_found_and_what_shares_packets_stays_together() {
        let captures = [
            capture(0..1_000),
            // Ten in common are chance among so many.
            capture((9_000..9_900).chain(0..10)),
            capture(5_000..5_030),
            capture((0..1_000).chain(5_000..5_030)),
            // A second one of the same parts, and a cut of the first capture.
            capture((0..990).chain(5_000..5_020)),
            capture(600..900),
        ];
        let groups = find(&captures.iter().collect::<Vec<_>>());
        assert_eq!(groups.is_composed, [false, false, false, true, true, false]);
        assert_eq!(groups.of, [0, 1, 2, 3, 3, 0]);
    }
}
