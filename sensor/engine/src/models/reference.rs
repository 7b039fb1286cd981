//! Models beside published implementations: `tests/reference/models.txt` holds what those say of the
//! vectors that [`Source`] makes, and `tests/reference/models.py` is how that was found.

use super::{
    Clusters, HalfSpaceTrees, IsolationForest, KitNet, Mixture, Model, Rng, RobustCutForest,
};

const COLUMNS: usize = 16;
type Vector = [f32; COLUMNS];

/// Logarithm of the normal densities' factor, (2π)^(-n/2). Scores of the mixture leave it out: it is the
/// same for every vector.
pub(super) const LOG_FACTOR: f64 = -0.918_938_533_204_672_8 * COLUMNS as f64;

/// Values recorded under a name.
pub(crate) fn recorded(name: &str) -> Vec<f64> {
    let text = include_str!("../../../../tests/reference/models.txt");
    let mut lines = text.lines().map(str::split_whitespace);
    let mut line = lines
        .find(|line| line.clone().next() == Some(name))
        .unwrap_or_else(|| panic!("{name} is not recorded"));
    line.next();
    line.map(|value| value.parse().unwrap()).collect()
}

fn value(name: &str) -> f64 {
    recorded(name)[0]
}

/// Two modes, the first eight columns correlated within each.
pub(super) fn normal(rng: &mut Rng) -> Vector {
    let mode = if rng.below(3) == 0 { 1.0 } else { -0.5 };
    let common = rng.unit() - 0.5;
    std::array::from_fn(|i| {
        let own = 0.4 * (rng.unit() - 0.5);
        let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
        if i < 8 {
            mode + sign * common + own
        } else {
            own
        }
    })
}

/// Columns out of their usual range.
pub(super) fn outlier(rng: &mut Rng) -> Vector {
    let mut x = normal(rng);
    for i in [1, 9, 12] {
        x[i] = 0.5 + rng.unit();
    }
    x
}

/// Columns each usual, not together.
fn broken(rng: &mut Rng) -> Vector {
    let mut x = normal(rng);
    for i in [0, 4] {
        x[i] = if x[i] > 0.2 { -x[i] } else { 1.0 };
    }
    x
}

fn some(make: fn(&mut Rng) -> Vector, rng: &mut Rng, n: usize) -> Vec<Vector> {
    (0..n).map(|_| make(rng)).collect()
}

/// Probability that an odd vector scores above a usual one.
fn auc(usual: &[f64], odd: &[f64]) -> f64 {
    let pairs = odd.iter().flat_map(|o| usual.iter().map(move |u| (o, u)));
    let wins: f64 = pairs
        .map(|(o, u)| {
            if o > u {
                1.0
            } else if o < u {
                0.0
            } else {
                0.5
            }
        })
        .sum();
    wins / (usual.len() * odd.len()) as f64
}

fn scores(model: &mut dyn Model, vectors: &[Vector]) -> Vec<f64> {
    vectors.iter().map(|x| model.score(x)).collect()
}

#[test]
fn vectors_are_those_of_the_script() {
    let found = normal(&mut Rng::new(1));
    for (found, expected) in found.iter().zip(recorded("vectors.first")) {
        assert!(
            (f64::from(*found) - expected).abs() < 1e-5,
            "{found} {expected}"
        );
    }
}

/// scikit-learn cuts off trees at depth 7, ours at 9, so that ours set normal vectors apart a little
/// later.
#[test]
fn isolation_forest_scores_as_scikit_learn() {
    const SEEDS: u64 = 12;
    let mut rng = Rng::new(11);
    let train = some(normal, &mut rng, 1_024);
    let mut probes = some(normal, &mut rng, 10);
    probes.extend(some(outlier, &mut rng, 10));
    let mut means = vec![0.0; probes.len()];
    for seed in 0..SEEDS {
        let mut forest = IsolationForest::new(seed, COLUMNS);
        // Thrice, so that every tree has been grown on the whole.
        for x in train.iter().cycle().take(3 * train.len()) {
            forest.learn(x);
        }
        for (mean, score) in means.iter_mut().zip(scores(&mut forest, &probes)) {
            *mean += score / SEEDS as f64;
        }
    }
    let expected = recorded("isolation_forest.scores");
    for (found, expected) in means.iter().zip(&expected) {
        assert!((found - expected).abs() < 0.02, "{means:?}\n{expected:?}");
    }
}

#[test]
fn half_space_trees_set_outliers_apart_as_river_does() {
    let mut rng = Rng::new(12);
    let train = some(normal, &mut rng, 3_000);
    let (usual, odd) = (some(normal, &mut rng, 300), some(outlier, &mut rng, 300));
    let mut trees = HalfSpaceTrees::new(1, COLUMNS);
    for x in &train {
        trees.learn(x);
    }
    let found = auc(&scores(&mut trees, &usual), &scores(&mut trees, &odd));
    let theirs = value("half_space_trees.auc");
    assert!(found > theirs - 0.01, "{found}, river's {theirs}");
}

#[test]
fn kitnet_sets_outliers_apart_as_the_authors_program_does() {
    let mut rng = Rng::new(14);
    let mut net = KitNet::new(1, COLUMNS);
    for x in some(normal, &mut rng, 3_000) {
        net.learn(&x);
    }
    let usual = some(normal, &mut rng, 300);
    let usual = scores(&mut net, &usual);
    for (name, make) in [
        ("outlier", outlier as fn(&mut Rng) -> Vector),
        ("broken", broken),
    ] {
        let odd = some(make, &mut rng, 300);
        let found = auc(&usual, &scores(&mut net, &odd));
        let theirs = value(&format!("kitnet.auc.{name}"));
        assert!(found > theirs - 0.02, "{name}: {found}, theirs {theirs}");
    }
}

#[test]
fn mixture_fits_as_well_as_scikit_learn() {
    let mut rng = Rng::new(15);
    let mut mixture = Mixture::new(1, COLUMNS);
    for x in some(normal, &mut rng, 5_000) {
        mixture.learn(&x);
    }
    let probes = some(normal, &mut rng, 300);
    // The score is the negative logarithm of the density, without its factor.
    let mean = LOG_FACTOR - scores(&mut mixture, &probes).iter().sum::<f64>() / 300.0;
    let theirs = value("mixture.mean_density");
    assert!(mean > theirs - 1.0, "{mean}, scikit-learn's {theirs}");
}

#[test]
fn clusters_lie_as_close_as_those_of_scikit_learn() {
    let mut rng = Rng::new(16);
    let mut clusters = Clusters::new(COLUMNS);
    for x in some(normal, &mut rng, 5_000) {
        clusters.learn(&x);
    }
    let probes = some(normal, &mut rng, 300);
    let distances = probes.iter().map(|x| f64::from(clusters.nearest(x).1));
    let mean = distances.sum::<f64>() / 300.0;
    let theirs = value("clusters.mean_distance");
    assert!(mean < 1.15 * theirs, "{mean}, scikit-learn's {theirs}");
}

/// A forest over nothing but its own trees: the projection to sixteen columns is left out.
#[test]
fn robust_cut_trees_displace_as_rrcf_does() {
    let mut rng = Rng::new(13);
    let points = some(normal, &mut rng, 128);
    let mut probes = some(normal, &mut rng, 4);
    probes.extend(some(outlier, &mut rng, 4));
    // Points that come and go before must leave no trace.
    let before = some(outlier, &mut rng, 128);
    let found = RobustCutForest::mean_displacements(&before, &points, &probes, 600);
    let expected = recorded("robust_cut_forest.displaced");
    let errors = recorded("robust_cut_forest.errors");
    for ((found, expected), error) in found.iter().zip(&expected).zip(errors) {
        // Errors of 2,000 trees there; 600 here.
        let bound = 4.0 * error * (1.0 + 2_000.0_f64 / 600.0).sqrt();
        assert!(
            (found - expected).abs() < bound,
            "{found}, rrcf's {expected}"
        );
    }
}
