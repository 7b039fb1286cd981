//! Properties of every model, and golden values.

use super::*;

fn all() -> Vec<(&'static str, Box<dyn Model>)> {
    vec![
        (
            "half_space_trees",
            Box::new(HalfSpaceTrees::new(1, N_FEATURES)),
        ),
        (
            "isolation_forest",
            Box::new(IsolationForest::new(2, N_FEATURES)),
        ),
        (
            "robust_cut_forest",
            Box::new(RobustCutForest::new(3, N_FEATURES)),
        ),
        ("clusters", Box::new(Clusters::new(N_FEATURES))),
        ("mixture", Box::new(Mixture::new(4, N_FEATURES))),
        ("kitnet", Box::new(KitNet::new(5, N_FEATURES))),
    ]
}

/// Two modes of normal, columns correlated within each.
fn normal(rng: &mut Rng) -> Scaled {
    let mode = if rng.below(3) == 0 { 1.0 } else { -0.5 };
    let common = rng.unit() - 0.5;
    std::array::from_fn(|i| {
        let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
        let own = 0.4 * (rng.unit() - 0.5);
        if i < 28 {
            mode + sign * common + own
        } else {
            own
        }
    })
}

/// A vector with a few columns far out.
fn outlier(rng: &mut Rng) -> Scaled {
    let mut x = normal(rng);
    for i in [3, 8, 13, 17, 22, 28, 31, 36, 40, 45, 49, 52] {
        x[i] = 2.5 + rng.unit();
    }
    x
}

/// A vector whose columns are each usual, but not together.
fn broken(rng: &mut Rng) -> Scaled {
    let (a, b) = (normal(rng), normal(rng));
    let mut x = a;
    for i in (0..28).step_by(4) {
        x[i] = if b[i] > 0.2 { -b[i] } else { 1.0 };
    }
    x
}

fn trained(model: &mut dyn Model, n: usize) -> Rng {
    let mut rng = Rng::new(9);
    for _ in 0..n {
        let x = normal(&mut rng);
        model.learn(&x);
    }
    rng
}

/// Probability that an odd vector scores above a normal one.
fn auc(model: &mut dyn Model, rng: &mut Rng, odd: fn(&mut Rng) -> Scaled) -> f64 {
    let usual: Vec<f64> = (0..300).map(|_| model.score(&normal(rng))).collect();
    let odd: Vec<f64> = (0..300).map(|_| model.score(&odd(rng))).collect();
    let wins = odd
        .iter()
        .flat_map(|o| usual.iter().map(move |u| f64::from(u8::from(o > u))));
    wins.sum::<f64>() / 90_000.0
}

#[test]
fn planted_outliers_score_above_the_rest() {
    let mut found = Vec::new();
    for (name, mut model) in all() {
        let mut rng = trained(model.as_mut(), 3_000);
        let auc = auc(model.as_mut(), &mut rng, outlier);
        found.push((name, auc));
    }
    assert!(found.iter().all(|(_, auc)| *auc > 0.92), "{found:?}");
}

#[test]
fn models_of_correlation_notice_a_broken_one() {
    let mut found = Vec::new();
    for (name, mut model) in all() {
        if !["kitnet", "mixture", "clusters"].contains(&name) {
            continue;
        }
        let mut rng = trained(model.as_mut(), 5_000);
        let auc = auc(model.as_mut(), &mut rng, broken);
        found.push((name, auc));
    }
    assert!(found.iter().all(|(_, auc)| *auc > 0.78), "{found:?}");
}

#[test]
fn scores_are_zero_until_enough_was_learned() {
    for (name, mut model) in all() {
        let mut rng = Rng::new(1);
        assert!(!model.is_ready(), "{name}");
        assert!(model.score(&normal(&mut rng)).abs() < 1e-12, "{name}");
        trained(model.as_mut(), 1_000);
        assert!(model.is_ready(), "{name}");
    }
}

#[test]
fn equal_vectors_and_the_ends_of_the_scale_break_nothing() {
    for (name, mut model) in all() {
        for _ in 0..1_500 {
            model.learn(&[0.0; N_FEATURES]);
        }
        for x in [[0.0; N_FEATURES], [4.0; N_FEATURES], [-4.0; N_FEATURES]] {
            assert!(model.score(&x).is_finite(), "{name}");
            model.learn(&x);
            assert!(model.score(&x).is_finite(), "{name}");
        }
    }
}

#[test]
fn scores_are_the_same_every_time() {
    let golden = [
        ("half_space_trees", 6.330_415),
        ("isolation_forest", 0.541_768),
        ("robust_cut_forest", 0.421_160),
        ("clusters", 8.211_763),
        ("mixture", 79.285_294),
        ("kitnet", 1.391_788),
    ];
    let mut found = Vec::new();
    for (name, mut model) in all() {
        let mut rng = trained(model.as_mut(), 1_000);
        found.push((name, model.score(&outlier(&mut rng))));
    }
    for ((name, expected), (_, score)) in golden.iter().zip(&found) {
        assert!(
            (expected - score).abs() < 1e-3 * score.abs(),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn every_model_has_its_page_with_a_source() {
    for kind in ModelKind::ALL {
        let name = format!("../../docs/models/{}.md", kind.label());
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page.contains("**Source.**"), "{name}");
    }
}

/// Prints what a vector costs: `cargo test --release models::tests::cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost() {
    let mut rng = Rng::new(3);
    let vectors: Vec<Scaled> = (0..4_096).map(|_| normal(&mut rng)).collect();
    for (name, mut model) in all() {
        trained(model.as_mut(), 5_000);
        let begin = std::time::Instant::now();
        let mut sum = 0.0;
        for x in vectors.iter().cycle().take(100_000) {
            sum += model.score(x);
        }
        let scoring = begin.elapsed();
        let begin = std::time::Instant::now();
        for x in vectors.iter().cycle().take(100_000) {
            model.learn(x);
        }
        println!(
            "{name}: score {:.0} ns, learn {:.0} ns ({sum:.1})",
            scoring.as_nanos() as f64 / 1e5,
            begin.elapsed().as_nanos() as f64 / 1e5
        );
    }
}
