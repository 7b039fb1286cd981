//! The headline figures of the evaluation must not fall behind what they were.

use std::process::Command;

use sensor_tests::{binary, shared_data};

/// Left out: days of an idle home, which take a debug build a minute each, and compositions of
/// parts that are run as they are.
const LEFT_OUT: [&str; 4] = ["days1to3", "comp_", "iot_setup_a", "iot_home"];

#[test]
fn headline_figures_of_the_evaluation_hold() {
    let listed = std::fs::read_dir(shared_data("pcap")).unwrap();
    let captures: Vec<_> = listed
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            !LEFT_OUT
                .iter()
                .any(|word| path.to_string_lossy().contains(word))
        })
        .collect();
    let output = Command::new(binary().unwrap())
        .args(["eval", "--json"])
        .args(&captures)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let overall = &figures["overall"];
    let at_least = |what: &str, least: f64| {
        let observed = overall[what].as_f64().unwrap();
        assert!(
            observed >= least,
            "{what}: {observed:.3}, was {least} and more"
        );
    };
    at_least("detected.ratio", 0.90);
    at_least("entity_right.ratio", 0.95);
    at_least("family_right.ratio", 0.88);
    let f1 = figures["entity_windows"]["f1"].as_f64().unwrap();
    // Incidents of severity low name hosts, too: those of timers lasted through half an hour.
    assert!(f1 >= 0.75, "F1 over entity-windows: {f1:.3}");
    let captures = figures["captures"].as_array().unwrap();
    let westermo = captures
        .iter()
        .find(|capture| capture["id"] == "westermo_right_part1");
    if let Some(capture) = westermo {
        let area = &capture["ranking"]["packets"]["fused"]["roc_auc"];
        let area = area.as_f64().unwrap();
        assert!(area > 0.95, "ROC-AUC over packets, fused: {area:.3}");
    }
    let n_false = figures["alarms"]["benign"]["false"].as_u64().unwrap();
    assert!(n_false <= 2, "{n_false} false incidents on benign captures");
}
