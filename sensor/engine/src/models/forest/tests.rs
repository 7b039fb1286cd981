use super::*;
use crate::models::Rng;

/// Two classes that a diagonal parts, and a third in a corner, in several captures.
fn rows() -> Vec<Row> {
    let mut rng = Rng::new(3);
    (0..900)
        .map(|i| {
            let mut inputs = [0.0; N_INPUTS];
            inputs.iter_mut().for_each(|x| *x = rng.unit());
            let class = if inputs[3] > 0.8 && inputs[9] > 0.5 {
                2
            } else {
                u8::from(inputs[3] + inputs[7] > 1.0)
            };
            Row {
                inputs,
                class,
                capture: i % 5,
            }
        })
        .collect()
}

fn classes() -> Vec<String> {
    ["benign", "port_scan", "beacon"]
        .map(str::to_owned)
        .to_vec()
}

fn growth() -> Growth {
    Growth {
        n_trees: 24,
        ..Growth::default()
    }
}

#[test]
fn a_forest_learns_what_separates_classes() {
    let rows = rows();
    let (old, new) = rows.split_at(600);
    let forest = Forest::grow(old, &classes(), &growth());
    let is_right =
        |row: &&Row| greatest_from(&forest.shares(&row.inputs), 0).0 == usize::from(row.class);
    let right = new.iter().filter(is_right).count() as f64 / new.len() as f64;
    // The classes alone make a third.
    assert!(right > 0.8, "{right}");
}

#[test]
fn same_rows_and_seed_same_bytes() {
    let grow = |seed| Forest::grow(&rows(), &classes(), &Growth { seed, ..growth() }).to_bytes();
    assert_eq!(grow(7), grow(7));
    assert_ne!(grow(7), grow(8));
}

#[test]
fn a_forest_is_read_back_as_written() {
    let mut forest = Forest::grow(&rows(), &classes(), &growth());
    forest.about.seed = 4;
    let read = Forest::from_bytes(&forest.to_bytes()).unwrap();
    assert_eq!(read, forest);
    assert_eq!(read.id(), forest.id());
}

#[test]
fn a_bad_file_is_an_error_that_names_the_remedy() {
    let bytes = Forest::grow(&rows(), &classes(), &growth()).to_bytes();
    let with = |at: usize| {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        Forest::from_bytes(&bad).unwrap_err()
    };
    assert_eq!(with(0), ForestError::NotOne);
    assert_eq!(with(8), ForestError::Format { found: 0 });
    assert!(matches!(with(12), ForestError::Schema { .. }));
    assert!(matches!(with(20), ForestError::Schema { .. }));
    for at in [24, 32, 40, bytes.len() - 1] {
        assert_eq!(with(at), ForestError::Damaged, "{at}");
    }
    for n in [0, 8, 39, 40, 100, bytes.len() - 1] {
        assert!(Forest::from_bytes(&bytes[..n]).is_err(), "{n}");
    }
    assert!(with(12).to_string().contains("sensor train"));
}

/// A body that was changed on purpose, with a check sum that fits.
fn forged(change: impl Fn(&mut Forest)) -> Result<Forest, ForestError> {
    let mut forest = Forest::grow(&rows(), &classes(), &growth());
    change(&mut forest);
    Forest::from_bytes(&forest.to_bytes())
}

#[test]
fn a_forged_file_is_refused() {
    assert!(forged(|_| {}).is_ok());
    assert!(forged(|f| f.right[0] = 0).is_err(), "a loop");
    assert!(forged(|f| f.right[0] = u32::MAX).is_err());
    assert!(forged(|f| f.column[0] = N_INPUTS as u8).is_err());
    assert!(forged(|f| f.column[0] = LEAF).is_err(), "orphans");
    assert!(forged(|f| f.split[0] = f32::NAN).is_err());
    assert!(forged(|f| f.roots.clear()).is_err());
    assert!(forged(|f| f.roots[1] = 0).is_err());
    assert!(forged(|f| f.votes[0].0 = 3).is_err());
    assert!(forged(|f| f.votes.clear()).is_err());
    assert!(forged(|f| f.thresholds.clear()).is_err());
    assert!(forged(|f| f.classes.truncate(1)).is_err());
    assert!(forged(|f| f.split.truncate(5)).is_err());
}

#[test]
fn shares_sum_to_one_whatever_comes() {
    let forest = Forest::grow(&rows(), &classes(), &growth());
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
        let sum = forest.shares(&[odd; N_INPUTS]).iter().sum::<f32>();
        assert!((sum - 1.0).abs() < 1e-3, "{odd}: {sum}");
    }
}
