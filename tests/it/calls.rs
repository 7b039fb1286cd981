//! Load that the API bears: entries that come and go by the thousand, and calls of every kind while an attack runs.

use std::path::Path;
use std::thread;
use std::time::Duration;

use sensor_tests::calls::Caller;
use sensor_tests::{Network, Running, needs_root, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// Entries of a round, and rounds.
const ENTRIES: usize = 2_500;
const ROUNDS: usize = 4;
/// Random calls of each of two clients.
const CALLS: u64 = 2_000;

fn asked(sensor: &Running, arguments: &str) -> Value {
    let output = sensor.ask(arguments).unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().next().unwrap_or("null")).unwrap()
}

fn n_descriptors(sensor: &Running) -> usize {
    let path = format!("/proc/{}/fd", sensor.id());
    std::fs::read_dir(path).unwrap().count()
}

/// Adds a round of entries that end in a second, and waits until none is left.
fn add_and_expire(sensor: &Running, list: &Path) {
    let added = sensor.ask(&format!("block add --file {} --ttl 1s", list.display()));
    assert!(added.unwrap().status.success());
    let is_empty = || {
        let status = asked(sensor, "status --json");
        (status["blocks"].as_u64() == Some(0)).then_some(())
    };
    wait_until(LIMIT, is_empty).unwrap_or_else(|| panic!("{}", asked(sensor, "status --json")));
}

#[test]
fn ten_thousand_entries_leave_nothing_behind_and_random_calls_hide_no_attack() {
    needs_root();
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, "--mode enforce").unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");

    let list = sensor.socket().with_file_name("list.txt");
    let targets: Vec<String> = (0..ENTRIES)
        .map(|n| format!("198.18.{}.{}", n / 250, n % 250))
        .collect();
    std::fs::write(&list, targets.join("\n")).unwrap();
    add_and_expire(&sensor, &list);
    let before = (n_descriptors(&sensor), sensor.resident_bytes().unwrap());
    for _ in 1..ROUNDS {
        add_and_expire(&sensor, &list);
    }
    let after = (n_descriptors(&sensor), sensor.resident_bytes().unwrap());
    assert!(
        after.0 <= before.0 + 2,
        "descriptors: {before:?}, {after:?}"
    );
    let most = before.1 + (16 << 20);
    assert!(after.1 <= most, "memory: {before:?}, {after:?}");

    let callers: Vec<_> = [1, 2]
        .map(|seed| {
            let mut caller = Caller::new(sensor.socket(), seed).unwrap();
            thread::spawn(move || caller.call(CALLS))
        })
        .into();
    let flood = "hping3 -q -S -p 80 -i u500 -c 60000 10.99.2.1";
    let _flood = network.start("attacker", flood).unwrap();
    let decided = sensor.wait_for(LIMIT, |v| v["kind"] == "decision");
    assert!(decided.is_some(), "{}", sensor.log());
    for caller in callers {
        let tally = caller.join().unwrap().unwrap();
        assert!(tally.n_done > 0 && tally.n_refused > 0, "{tally:?}");
    }
}
