//! Folds: captures that are held out together.

use std::collections::{BTreeMap, BTreeSet};

use sensor_engine::Family;

use super::collect::Collected;

/// The fold of each capture: whole groups, each family's spread over as many folds as there are.
pub fn assign(captures: &[Collected], groups: &[u32], n_folds: usize) -> Vec<u32> {
    let families: Vec<BTreeSet<Family>> = captures
        .iter()
        .map(|capture| {
            capture
                .rows
                .iter()
                .filter_map(|(family, _)| *family)
                .collect()
        })
        .collect();
    spread(&families, groups, n_folds)
}

fn spread(families: &[BTreeSet<Family>], groups: &[u32], n_folds: usize) -> Vec<u32> {
    let mut of_group: BTreeMap<u32, BTreeSet<Family>> = BTreeMap::new();
    for (families, group) in families.iter().zip(groups) {
        of_group.entry(*group).or_default().extend(families);
    }
    let n_folds = n_folds.clamp(2, of_group.len().max(2));
    let mut n_groups: BTreeMap<Family, usize> = BTreeMap::new();
    for family in of_group.values().flatten() {
        *n_groups.entry(*family).or_default() += 1;
    }
    // The rarest families first: they have the fewest places to go.
    let mut order: Vec<(&u32, &BTreeSet<Family>)> = of_group.iter().collect();
    let rarity = |families: &BTreeSet<Family>| {
        let counts = families.iter().filter_map(|family| n_groups.get(family));
        counts.min().copied().unwrap_or(usize::MAX)
    };
    order.sort_by_key(|(group, families)| (rarity(families), **group));
    let mut held: Vec<(BTreeMap<Family, usize>, usize)> = vec![Default::default(); n_folds];
    let mut fold_of: BTreeMap<u32, u32> = BTreeMap::new();
    for (group, families) in order {
        let cost = |(known, n): &(BTreeMap<Family, usize>, usize)| {
            let of = |family| known.get(family).copied().unwrap_or(0);
            (families.iter().map(of).sum::<usize>(), *n)
        };
        let best = (0..n_folds).min_by_key(|fold| held.get(*fold).map(cost));
        if let Some((known, n)) = best.and_then(|fold| held.get_mut(fold)) {
            families
                .iter()
                .for_each(|f| *known.entry(*f).or_default() += 1);
            *n += 1;
        }
        fold_of.insert(*group, best.unwrap_or(0) as u32);
    }
    groups
        .iter()
        .map(|group| fold_of.get(group).copied().unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stay_whole_and_families_are_spread() {
        let scan = BTreeSet::from([Family::PortScan]);
        let tunnel = BTreeSet::from([Family::DnsTunnel]);
        let families = [&scan, &scan, &scan, &tunnel, &tunnel, &scan].map(Clone::clone);
        let folds = spread(&families, &[0, 1, 2, 3, 4, 0], 3);
        assert_eq!(folds[0], folds[5]);
        assert_ne!(folds[3], folds[4]);
        assert_eq!(BTreeSet::from([folds[0], folds[1], folds[2]]).len(), 3);
    }
}
