//! Every line of a replay is a record: it is read back as itself, says whose it is, and is told in
//! local time.

use std::process::{Command, Output};

use sensor_record::{Record, json};
use sensor_tests::binary;

use crate::replay::{capture, scan};

fn replay(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let path = capture("records", &scan());
    let mut command = Command::new(binary().unwrap());
    command.arg("replay").args(arguments).arg(path);
    command.envs(environment.iter().copied()).output().unwrap()
}

fn records(output: &Output) -> Vec<Record> {
    let text = String::from_utf8_lossy(&output.stdout);
    let read = |line: &str| {
        let record = Record::read(line.as_bytes());
        let record = record.unwrap_or_else(|cause| panic!("{cause}: {line}"));
        let record = record.unwrap_or_else(|| panic!("another kind: {line}"));
        assert_eq!(json::line(&record), line);
        record
    };
    text.lines().map(read).collect()
}

#[test]
fn every_line_is_a_record_that_comes_back_as_itself() {
    let records = records(&replay(&["--json", "--flows", "--findings"], &[]));
    for kind in ["flow", "finding", "incident", "decision", "summary"] {
        assert!(records.iter().any(|record| record.kind() == kind), "{kind}");
    }
    let first = records[0].head().sensor.clone();
    assert!(
        !first.host_name.is_empty() && first.id.len() == 32,
        "{first:?}"
    );
    assert!(records.iter().all(|record| record.head().sensor == first));
}

#[test]
fn records_say_the_name_and_identifier_of_the_configuration() {
    let names = ["--set", "sensor.id=dmz-7", "--set", "sensor.host_name=edge"];
    let records = records(&replay(&[&["--json"][..], &names].concat(), &[]));
    let sensor = &records[0].head().sensor;
    assert_eq!(
        (sensor.id.as_str(), sensor.host_name.as_str()),
        ("dmz-7", "edge")
    );
}

/// A rule of POSIX, so that no database of zones is needed.
#[test]
fn lines_for_people_are_in_local_time_and_say_so() {
    let told = |zone: &str| {
        let output = replay(&["--flows", "--findings"], &[("TZ", zone)]);
        String::from_utf8(output.stdout).unwrap()
    };
    let (utc, east) = (told("UTC0"), told("CET-1"));
    assert!(
        utc.contains("2023-11-14 22:13:20.") && utc.contains("Z  opened"),
        "{utc}"
    );
    assert!(east.contains("2023-11-14 23:13:20."), "{east}");
    assert!(
        east.contains("+01:00  opened   medium   port_scan"),
        "{east}"
    );
    assert!(
        east.contains("challenge 198.51.100.7 (tcp) for 300 s: monitor mode: nothing is dropped"),
        "{east}"
    );
    assert!(!east.contains('{'), "JSON within: {east}");
}
