use super::*;
use crate::models::Rng;

fn rows(seed: u64, n: usize) -> Vec<BoostedRow> {
    let mut rng = Rng::new(seed);
    let row = |_| {
        let values: [f32; N_PAIR_FEATURES] = std::array::from_fn(|_| rng.unit());
        // No single column tells: the sum of two and the product of others do.
        let is_attack = values[3] + values[4] > 1.2 && values[7] > 0.3;
        BoostedRow {
            values,
            is_attack,
            weight: 1.0,
        }
    };
    (0..n).map(row).collect()
}

fn share_right(model: &Boosted, rows: &[BoostedRow]) -> f64 {
    let is_right = |row: &&BoostedRow| (model.sum(&row.values) > 0.0) == row.is_attack;
    rows.iter().filter(is_right).count() as f64 / rows.len() as f64
}

#[test]
fn trees_learn_what_no_single_column_tells_and_hold_on_rows_they_never_saw() {
    let plan = Boosting {
        n_trees: 80,
        ..Boosting::default()
    };
    let model = Boosted::grow(&rows(1, 4_000), &plan);
    assert_eq!(model.n_trees(), 80);
    let right = share_right(&model, &rows(2, 2_000));
    assert!(right > 0.95, "{right}");
    assert_eq!(
        model,
        Boosted::grow(&rows(1, 4_000), &plan),
        "not the same twice"
    );
}

#[test]
fn a_model_survives_its_file_and_damage_is_refused() {
    let plan = Boosting {
        n_trees: 5,
        ..Boosting::default()
    };
    let mut model = Boosted::grow(&rows(1, 500), &plan);
    model.scale.tail = vec![0.0, 1.0, 2.0];
    let bytes = model.to_bytes();
    assert_eq!(Boosted::from_bytes(&bytes), Ok(model.clone()));
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        assert!(Boosted::from_bytes(&bad).is_err(), "byte {at}");
        assert!(Boosted::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
    }
    let mut lost = model;
    lost.roots[0] = u32::MAX;
    assert!(Boosted::from_bytes(&lost.to_bytes()).is_err());
}

#[test]
fn sums_become_shares_of_ordinary_windows() {
    let mut model = Boosted::grow(&rows(1, 200), &Boosting::default());
    model.scale.tail = vec![0.0, 1.0, 2.0];
    for (sum, score) in [(-1.0, 0.0), (0.0, 1.0), (0.5, 1.25), (1.0, 1.5), (9.0, 2.0)] {
        assert!((model.score(sum) - score).abs() < 1e-6, "{sum}");
    }
}
