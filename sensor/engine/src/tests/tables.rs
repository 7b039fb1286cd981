//! Every table is told of.

use std::collections::BTreeSet;

use super::*;
use crate::features::bounded::tests::MADE;

#[test]
fn every_bounded_table_of_the_engine_is_among_those_that_metrics_show() {
    MADE.with_borrow_mut(Vec::clear);
    let engine = Engine::new(Config::default());
    let made: Vec<&str> = MADE.with_borrow_mut(std::mem::take);
    let shown: Vec<&str> = engine.tables().iter().map(|table| table.table).collect();
    let names: BTreeSet<&str> = shown.iter().copied().collect();
    assert_eq!(names.len(), shown.len(), "a name twice: {shown:?}");
    let missing: Vec<_> = made.iter().filter(|name| !names.contains(*name)).collect();
    assert!(missing.is_empty(), "not among Engine::tables: {missing:?}");
    assert!(made.len() > 30, "{made:?}");
}
