//! Incidents in sentences, from a file of JSON lines.

use std::fs;
use std::process::{Command, Output};

use sensor_tests::binary;
use serde_json::Value;

use crate::replay::{capture, replay, scan};

fn explain(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.arg("explain").args(arguments).output().unwrap()
}

#[test]
fn explain_reads_the_lines_of_a_replay() {
    let output = replay(&[&capture("explained", &scan())]);
    let lines = std::env::temp_dir().join(format!("sensor-{}-lines.jsonl", std::process::id()));
    fs::write(&lines, &output.stdout).unwrap();
    let lines = lines.to_str().unwrap();

    let told = explain(&["000001", "--from", lines]);
    assert!(told.status.success(), "{told:?}");
    let told = String::from_utf8(told.stdout).unwrap();
    for part in [
        "port_scan",
        "T1046 (Network Service Discovery)",
        "What: 198.51.100.7 tried",
        "from 198.51.100.7 to 192.0.2.1",
        "observed, up to",
        "Counted of source 198.51.100.7 in 1 window of 10 s:",
        "flows 1000",
        "Found by: scan",
        "less than ten minutes of traffic seen",
        "Decided: challenge 198.51.100.7 (tcp) for 300 s",
        "sensor block add 198.51.100.7",
    ] {
        assert!(told.contains(part), "{part} not in\n{told}");
    }
    let json = explain(&["000001", "--json", "--from", lines]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["incident"]["incident.family"], "port_scan");
    assert_eq!(json["incident"]["incident.state"], "closed");
    assert!(json["sentences"].as_array().unwrap().len() > 8);

    let unknown = explain(&["000002-00", "--from", lines]);
    assert_eq!(unknown.status.code(), Some(1));
    let told = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(
        told.contains("no incident 000002-00") && told.contains("the nearest: 000001-"),
        "{told}"
    );

    fs::write(lines, [&output.stdout[..], b"{not json\n"].concat()).unwrap();
    let torn = explain(&["000001", "--from", lines]);
    assert_eq!(torn.status.code(), Some(3));
    let told = String::from_utf8_lossy(&torn.stderr).into_owned();
    assert!(
        told.contains(".jsonl:") && told.contains("not a JSON line"),
        "{told}"
    );
    assert!(String::from_utf8_lossy(&torn.stdout).contains("port_scan"));
}
