//! Clocks that are not those of the machine.
//!
//! Needs root: without, each test says so and passes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sensor_tests::{Network, Running, needs_root, wait_until};

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
