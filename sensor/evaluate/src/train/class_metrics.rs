//! Metrics of a forest on captures that it was not grown from.

use std::collections::{BTreeMap, BTreeSet};

use sensor_engine::{ClassMetrics, Row};

/// Least precision with which a family is to be named, on held-out captures, and from how many
/// groups of captures there must be right ones.
const LEAST_PRECISION: f32 = 0.9;
const LEAST_GROUPS: usize = 2;
/// Above every share: a family that is never named.
pub const NEVER: f32 = 2.0;

/// Prediction of a forest for a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Said {
    /// Class that most trees vote for.
    pub class: u8,
    /// The family that most trees vote for, and their share.
    pub family: u8,
    pub share: f32,
}

/// Forests judged on held-out captures. A capture's rows of a class weigh 1 together: a tunnel of an
/// hour counts as much as a scan of a second.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    pub classes: Vec<String>,
    pub class_metrics: Vec<ClassMetrics>,
    pub thresholds: Vec<f32>,
    /// Captures by true class and the class that most trees vote for.
    pub confusion: Vec<Vec<f32>>,
    pub macro_f1: f32,
    pub baseline_macro_f1: f32,
    pub baseline: String,
    pub named_precision: f32,
    pub named_share: f32,
}

/// One row as it was judged.
struct Judged {
    class: usize,
    said: usize,
    /// Family that it may be named, and the share of the trees for it.
    family: usize,
    share: f32,
    weight: f32,
    group: u32,
}

impl Judgement {
    pub fn of(rows: &[Row], said: &[Said], classes: &[String], groups: &[u32]) -> Self {
        let judged = judge(rows, said, groups);
        let n = classes.len();
        let mut confusion = vec![vec![0.0; n]; n];
        for one in &judged {
            if let Some(cell) = confusion
                .get_mut(one.class)
                .and_then(|r| r.get_mut(one.said))
            {
                *cell += one.weight;
            }
        }
        let thresholds: Vec<f32> = (0..n).map(|class| threshold(&judged, class)).collect();
        let class_metrics: Vec<ClassMetrics> = (0..n)
            .map(|class| {
                let least = thresholds.get(class).copied().unwrap_or(NEVER);
                metrics(&judged, &confusion, class, least, rows)
            })
            .collect();
        let mut judgement = Self {
            classes: classes.to_vec(),
            class_metrics,
            thresholds,
            confusion,
            ..Self::default()
        };
        judgement.sum_up(&judged);
        judgement
    }

    /// Classes that can be judged: there are others of them when one group is held out.
    pub fn is_judged(&self, class: usize) -> bool {
        self.class_metrics
            .get(class)
            .is_some_and(|metrics| metrics.n_groups as usize >= LEAST_GROUPS)
    }

    fn sum_up(&mut self, judged: &[Judged]) {
        let measured: Vec<usize> = (0..self.classes.len())
            .filter(|c| self.is_judged(*c))
            .collect();
        let n = measured.len().max(1) as f32;
        let f1 = |class: &usize| {
            self.class_metrics
                .get(*class)
                .map_or(0.0, |metrics| metrics.f1)
        };
        self.macro_f1 = measured.iter().map(f1).sum::<f32>() / n;
        // One word for everything: right for the most frequent class, and for no other.
        let whole: f32 = judged.iter().map(|one| one.weight).sum();
        let of = |class: usize| {
            let its = judged.iter().filter(|one| one.class == class);
            its.map(|one| one.weight).sum::<f32>()
        };
        let most = (0..self.classes.len()).max_by(|a, b| of(*a).total_cmp(&of(*b)));
        let most = most.unwrap_or(0);
        let precision = of(most) / whole.max(1e-6);
        self.baseline = self.classes.get(most).cloned().unwrap_or_default();
        self.baseline_macro_f1 = 2.0 * precision / (1.0 + precision) / n;
        // Of families alone: what is benign is not named.
        let is_named = |one: &&Judged| {
            let least = self.thresholds.get(one.family).copied().unwrap_or(NEVER);
            one.share >= least
        };
        let sum = |right: bool| {
            let named = judged.iter().filter(is_named).filter(|one| one.class > 0);
            let counted = named.filter(|one| !right || one.family == one.class);
            counted.map(|one| one.weight).sum::<f32>()
        };
        let attacks: f32 = judged
            .iter()
            .filter(|one| one.class > 0)
            .map(|one| one.weight)
            .sum();
        let named: f32 = judged.iter().filter(is_named).map(|one| one.weight).sum();
        self.named_precision = sum(true) / named.max(1e-6);
        self.named_share = sum(false) / attacks.max(1e-6);
    }
}

fn judge(rows: &[Row], said: &[Said], groups: &[u32]) -> Vec<Judged> {
    // Rows of each capture and class by kind of subject, and its kinds.
    let mut n_of: BTreeMap<(u32, u8), BTreeMap<u32, u32>> = BTreeMap::new();
    for row in rows {
        let kinds = n_of.entry((row.capture, row.class)).or_default();
        *kinds.entry(row.kind()).or_default() += 1;
    }
    let weight = |row: &Row| {
        let kinds = n_of.get(&(row.capture, row.class));
        let n = kinds
            .and_then(|kinds| kinds.get(&row.kind()))
            .copied()
            .unwrap_or(1);
        1.0 / (n as f32 * kinds.map_or(1, BTreeMap::len) as f32)
    };
    let one = |(row, said): (&Row, &Said)| Judged {
        class: usize::from(row.class),
        said: usize::from(said.class),
        family: usize::from(said.family),
        share: said.share,
        weight: weight(row),
        group: groups.get(row.capture as usize).copied().unwrap_or(0),
    };
    rows.iter().zip(said).map(one).collect()
}

/// The least share from which a family is named right nine times in ten, in captures of several
/// groups; never, if there is none.
fn threshold(judged: &[Judged], class: usize) -> f32 {
    // What is benign gets no name anyway.
    if class == 0 {
        return NEVER;
    }
    let good_from = |least: f32| {
        let named = judged
            .iter()
            .filter(|one| one.family == class && one.share >= least);
        let (mut right, mut whole, mut groups) = (0.0, 0.0, BTreeSet::new());
        for one in named {
            whole += one.weight;
            if one.class == class {
                right += one.weight;
                groups.insert(one.group);
            }
        }
        groups.len() >= LEAST_GROUPS && right >= LEAST_PRECISION * whole
    };
    // From the highest down, as long as it stays good.
    let steps = (6..=19).rev().map(|step| step as f32 * 0.05);
    let mut best = NEVER;
    for least in steps {
        if good_from(least) {
            best = least;
        } else if best < NEVER {
            break;
        }
    }
    best
}

fn metrics(
    judged: &[Judged],
    confusion: &[Vec<f32>],
    class: usize,
    least: f32,
    rows: &[Row],
) -> ClassMetrics {
    let row: f32 = confusion.get(class).map_or(0.0, |row| row.iter().sum());
    let column: f32 = confusion.iter().filter_map(|row| row.get(class)).sum();
    let right = confusion
        .get(class)
        .and_then(|row| row.get(class))
        .copied()
        .unwrap_or(0.0);
    let share = |part: f32, whole: f32| if whole > 0.0 { part / whole } else { 0.0 };
    let its = || rows.iter().filter(|row| usize::from(row.class) == class);
    let captures: BTreeSet<u32> = its().map(|row| row.capture).collect();
    let groups: BTreeSet<u32> = judged
        .iter()
        .filter(|one| one.class == class)
        .map(|one| one.group)
        .collect();
    let named = judged
        .iter()
        .filter(|one| one.family == class && one.share >= least);
    let (mut named_right, mut n_named) = (0.0, 0.0);
    for one in named {
        n_named += one.weight;
        named_right += if one.class == class { one.weight } else { 0.0 };
    }
    ClassMetrics {
        n_rows: its().count() as u32,
        n_captures: captures.len() as u32,
        n_groups: groups.len() as u32,
        precision: share(right, column),
        recall: share(right, row),
        f1: share(2.0 * right, row + column),
        named_precision: share(named_right, n_named),
        named_recall: share(named_right, row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_engine::N_INPUTS;

    fn row(class: u8, capture: u32) -> Row {
        let inputs = [0.0; N_INPUTS];
        Row {
            inputs,
            class,
            capture,
        }
    }

    #[test]
    fn each_capture_counts_the_same_and_doubtful_names_are_kept_back() {
        let classes = ["benign", "port_scan", "beacon"].map(str::to_owned);
        // Ten rows of one scan, named right; one of another, named wrong with little support; a
        // beacon that there is one recording of.
        let mut rows = vec![row(1, 0); 10];
        rows.extend([row(1, 1), row(2, 2), row(0, 3), row(1, 4)]);
        let one = |class, family, share| Said {
            class,
            family,
            share,
        };
        let mut said = vec![one(1, 1, 0.9); 10];
        said.extend([
            one(2, 2, 0.4),
            one(1, 1, 0.5),
            one(0, 1, 0.2),
            one(1, 1, 0.7),
        ]);
        let judged = Judgement::of(&rows, &said, &classes, &[0, 1, 2, 3, 4]);
        assert_eq!(judged.confusion[1], [0.0, 2.0, 1.0]);
        let scan = &judged.class_metrics[1];
        assert!((scan.recall - 2.0 / 3.0).abs() < 1e-6, "{scan:?}");
        assert!((scan.precision - 2.0 / 3.0).abs() < 1e-6, "{scan:?}");
        // From 0.55 on nothing but scans is called one; a beacon is never named.
        assert!(
            (judged.thresholds[1] - 0.55).abs() < 1e-6,
            "{:?}",
            judged.thresholds
        );
        assert_eq!(judged.thresholds[2], NEVER);
        assert_eq!((judged.is_judged(1), judged.is_judged(2)), (true, false));
        assert!((judged.named_precision - 1.0).abs() < 1e-6);
        assert!((judged.named_share - 0.5).abs() < 1e-6);
        assert_eq!(judged.baseline, "port_scan");
    }
}
