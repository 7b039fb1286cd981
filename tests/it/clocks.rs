//! Clocks that are not those of the machine.
//!
//! Needs root: without, each test says so and passes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sensor_tests::{Network, Running, needs_root, skip, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// Seconds since 1970, of a record's time.
fn unix_s(stamp: &str) -> i64 {
    let line = std::process::Command::new("date")
        .args(["-d", stamp, "+%s"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&line.stdout)
        .trim()
        .parse()
        .unwrap()
}

/// A clock of the process that is a day ahead of the kernel's, or an hour behind it, moves neither the
/// times of records nor the ends of blocks.
#[test]
fn a_time_namespace_moves_neither_records_nor_blocks() {
    needs_root();
    for offset in ["86400", "-3600"] {
        let network = Network::new().unwrap();
        let launcher = format!("unshare -T --monotonic {offset} --boottime {offset}");
        let arguments = "--mode enforce --events";
        let sensor = Running::start_under(&network, &launcher, arguments, &[]).unwrap();
        let reaches = || {
            let line = "ping -c 1 -W 1 10.99.2.1";
            network.run("attacker", line).is_ok()
        };
        assert!(reaches(), "{offset}");
        let event = sensor
            .wait_for(LIMIT, |line| line["kind"] == "event")
            .unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let began_s = unix_s(event["@timestamp"].as_str().unwrap());
        let age_s = now.as_secs().cast_signed() - began_s;
        assert!((0..=60).contains(&age_s), "{offset}: {age_s} s: {event}");

        let added = sensor.ask("block add 10.99.2.2 --ttl 4s").unwrap();
        assert!(added.status.success(), "{offset}");
        assert!(!reaches(), "{offset}: the block does not hold");
        let again = wait_until(LIMIT, || reaches().then_some(()));
        assert!(again.is_some(), "{offset}: the block does not end");
    }
}

/// Library of Debian's `faketime` that lies to one process about the wall clock alone.
fn false_clock() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    let mut libraries = folders.flatten().map(|folder| {
        let folder = folder.path();
        folder.join("faketime/libfaketimeMT.so.1")
    });
    libraries.find(|library| library.is_file())
}

/// The start of a sensor under a wall clock that goes by the offset in `file`.
fn under_the_clock_of(file: &Path) -> String {
    let library = false_clock().unwrap_or_else(|| skip("needs faketime"));
    format!(
        "env LD_PRELOAD={} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 \
         FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1",
        library.display(),
        file.display()
    )
}

/// The step that the sensor told as its `number`th, seconds.
fn step(sensor: &Running, number: usize) -> String {
    let steps = || sensor.lines(|line| line["event.action"] == "clock_step");
    let told = wait_until(LIMIT, || steps().get(number).cloned());
    let told: Value =
        told.unwrap_or_else(|| panic!("step {number} was not told: {}", sensor.log()));
    told["reason"].as_str().unwrap_or_default().to_owned()
}

/// Lead of the newest packet's record over the real wall clock, seconds.
fn lead_s(network: &Network, sensor: &Running) -> i64 {
    let events = || sensor.lines(|line| line["kind"] == "event");
    let before = events().len();
    // Refused, from a port of its own each time: a flow that begins.
    let _ = network.run("attacker", "curl -s -m 1 http://10.99.2.1:9/");
    let event = wait_until(LIMIT, || events().get(before).cloned()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    unix_s(event["@timestamp"].as_str().unwrap()) - now.as_secs().cast_signed()
}

/// NTP sets the clock, or a machine wakes: event time goes on with it at once, goes slower where the clock
/// was set back, and blocks last as long as they were given.
#[test]
fn a_step_of_the_wall_clock_is_followed_and_moves_no_block() {
    needs_root();
    let file: PathBuf =
        std::env::temp_dir().join(format!("sensor-it-{}-clock", std::process::id()));
    fs::write(&file, "+0").unwrap();
    let launcher = under_the_clock_of(&file);
    let network = Network::new().unwrap();
    let arguments = "--mode enforce --events --set sensor.confine=false";
    let sensor = Running::start_under(&network, &launcher, arguments, &[]).unwrap();
    let lead = lead_s(&network, &sensor);
    assert!((-60..=1).contains(&lead), "{lead} s before any step");

    let added = sensor.ask("block add 10.99.2.2 --ttl 6s").unwrap();
    assert!(added.status.success(), "{added:?}");
    fs::write(&file, "+3600").unwrap();
    let told = step(&sensor, 0);
    assert!(told.starts_with("the wall clock went by +3600."), "{told}");
    let reaches = || network.run("attacker", "ping -c 1 -W 1 10.99.2.1").ok();
    assert!(reaches().is_none(), "an hour's step ended the block");
    let again = wait_until(LIMIT, reaches);
    assert!(again.is_some(), "the block does not end");
    let lead = lead_s(&network, &sensor);
    assert!((3_540..=3_601).contains(&lead), "{lead} s after the step");

    fs::write(&file, "+1800").unwrap();
    let told = step(&sensor, 1);
    assert!(told.starts_with("the wall clock went by -1800."), "{told}");
    assert!(told.contains("goes slower until both agree"), "{told}");
    let lead = lead_s(&network, &sensor);
    assert!(
        (3_500..=3_601).contains(&lead),
        "event time ran back: {lead} s"
    );
    let _ = fs::remove_file(&file);
}
