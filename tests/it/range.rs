//! Recipes of the range give captures that are what their labels say, in the form that `sensor eval`
//! reads.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use sensor_tests::binary;
use sensor_tests::harness::{needs_root, skip};
use sensor_tests::range::batch::{Batch, chosen, scenarios};
use sensor_tests::range::manifest::Folder;
use sensor_tests::range::packages;
use sensor_tests::range::recipe::{Mark, Recipe};
use sensor_tests::range::recipes::{self, QUICK};
use serde_json::Value;

#[test]
fn every_recipe_is_whole() {
    let mut ids = HashSet::new();
    for scenario in scenarios() {
        let id = scenario.id();
        assert!(ids.insert(id.clone()), "two scenarios are called {id}");
        assert!(!scenario.recipe.group.is_empty(), "{id} has no group");
    }
    for recipe in recipes::all() {
        let name = recipe.name;
        assert!(!recipe.variants.is_empty(), "{name} has no variants");
        assert!(!recipe.checks.is_empty(), "{name} checks nothing");
        assert_eq!(
            recipe.is_attack(),
            !recipe.marks.is_empty(),
            "marks of {name}"
        );
        let has = |role: &str| role == "router" || recipe.roles.iter().any(|r| r.name == role);
        for role in named(recipe) {
            assert!(
                has(role),
                "{name} speaks of {role}, which is none of its roles"
            );
        }
    }
}

/// Roles that a recipe's services, steps and marks speak of.
fn named(recipe: &Recipe) -> Vec<&'static str> {
    let services = recipe.services.iter().map(|service| service.role);
    let steps = recipe.steps.iter().map(|step| step.role);
    let marks = recipe.marks.iter().flat_map(|mark| match *mark {
        Mark::Of(a) | Mark::Sweep(a) | Mark::Forged(a) | Mark::Claims(a) => vec![a],
        Mark::Between(a, b) | Mark::Service(a, b, _) => vec![a, b],
    });
    services.chain(steps).chain(marks).collect()
}

#[test]
fn quick_recipes_give_captures_that_are_what_their_labels_say() {
    needs_root();
    let names: Vec<String> = QUICK.iter().map(|&name| name.to_owned()).collect();
    let scenarios = chosen(&names).unwrap();
    let wanted = scenarios.iter().flat_map(packages::of).collect();
    let there = packages::versions(&wanted).unwrap_or_default();
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| !there.contains_key(*name))
        .collect();
    if !missing.is_empty() {
        skip(format!("needs {missing:?}: cargo xtask setup --test-tools"));
    }
    let path = std::env::temp_dir().join(format!("range-it-{}", std::process::id()));
    let folder = Folder::open(&path).unwrap();
    let batch = Batch {
        folder: &folder,
        seed: 1,
        is_for_missing: false,
        n_jobs: 3,
        progress: &|n, of, line| eprintln!("[{n}/{of}] {line}"),
    };
    let outcome = batch.run(&scenarios).unwrap();
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    for entry in &outcome.made {
        let count = |what: &str| entry[what].as_u64().unwrap();
        assert_eq!(
            count("benign") + count("attack") + count("ignore"),
            count("packets")
        );
        let is_attack = !entry["attacks"].as_array().unwrap().is_empty();
        assert_eq!(is_attack, count("attack") > 0, "{entry}");
    }
    let figures = evaluated(&path);
    let captures = figures["captures"].as_array().unwrap();
    assert_eq!(captures.len(), scenarios.len());
    for entry in &outcome.made {
        let read = captures
            .iter()
            .find(|capture| capture["id"] == entry["id"])
            .unwrap();
        assert_eq!(read["packets"], entry["packets"], "{}", entry["id"]);
    }
    std::fs::remove_dir_all(&path).unwrap();
}

/// Result of `sensor eval` on the folder, which must not complain.
fn evaluated(path: &Path) -> Value {
    let output = Command::new(binary().unwrap())
        .args(["eval", "--json"])
        .arg(path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
