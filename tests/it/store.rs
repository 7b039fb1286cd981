//! Store of a running agent, and how what it keeps is found again. Needs root.

use std::process::Output;
use std::time::Duration;

use sensor_tests::{Network, Running, needs_root, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

fn values(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn incidents_and_flows_are_found_again_after_a_kill() {
    needs_root();
    let network = Network::new().unwrap();
    let folder = std::env::temp_dir().join(format!("sensor-it-store-{}", std::process::id()));
    let state = folder.display().to_string();
    let environment = [("SENSOR__RESPOND__STATE_FOLDER", state.as_str())];
    let up = || Running::start_with(&network, "", &environment).unwrap();
    let mut sensor = up();
    network
        .run("attacker", "hping3 -q -S -p 80 -i u200 -c 15000 10.99.2.1")
        .unwrap();
    let find = |sensor: &Running, text: &str| {
        wait_until(LIMIT, || {
            let output = sensor
                .ask(&format!("query --json --limit 1000 {text}"))
                .unwrap();
            let found = values(&output);
            (!found.is_empty()).then_some(found)
        })
        .unwrap_or_else(|| panic!("nothing of {text}: {}", sensor.log()))
    };
    let incidents = find(&sensor, "family syn_flood");
    let id = incidents[0]["incident.id"].as_str().unwrap().to_owned();
    let flows = find(&sensor, "dst host 10.99.2.1 and tcp dst port 80 last 10m");
    assert!(
        flows.iter().all(|flow| flow["kind"] == "stored_flow"),
        "{flows:?}"
    );
    sensor.kill().unwrap();
    drop(sensor);
    let sensor = up();
    assert_eq!(
        find(&sensor, "severity low host 10.99.2.1")[0]["incident.id"],
        *id
    );
    assert!(find(&sensor, "tcp port 80").len() >= flows.len().min(100));
    let shown = sensor.ask(&format!("incidents show {id} --json")).unwrap();
    let story = values(&shown).remove(0);
    assert_eq!(story["incident"]["incident.family"], "syn_flood");
    assert_eq!(story["moments"][0]["state"], "opened");
    let wrong = sensor.ask("query port x").unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("no port"), "{told}");
    let status = values(&sensor.ask("status --json").unwrap()).remove(0);
    assert_eq!(status["store"]["lost"], 0, "{status}");
    std::fs::remove_dir_all(&folder).unwrap();
}
