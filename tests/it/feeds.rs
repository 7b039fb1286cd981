//! Lists of others in the block-list: loaded by the difference, under the guard; export and preview.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use sensor_tests::{Network, Running, needs_root, wait_until};

struct List(PathBuf);

impl List {
    fn new() -> Self {
        let name = format!("sensor-feed-{}.txt", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// Imports a text as the list "others".
    fn import(&self, sensor: &Running, text: &str) -> (Output, Value) {
        fs::write(&self.0, text).unwrap();
        let file = self.0.display();
        let command = format!("block import {file} --feed others --ttl 1h --json");
        let output = sensor.ask(&command).unwrap();
        let told = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output, told)
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn printed(sensor: &Running, command: &str) -> String {
    let output = sensor.ask(command).unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_list_is_loaded_by_its_difference_and_obeys_guard_and_allow_list() {
    needs_root();
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, "--mode enforce --allow 203.0.113.7").unwrap();
    let list = List::new();
    let text = "198.51.100.0/24\n203.0.113.7\n203.0.113.9\n10.99.1.1\nnonsense\n";
    let (output, told) = list.import(&sensor, text);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(
        (&told["n_added"], &told["n_refused"]),
        (&2.into(), &2.into())
    );
    assert_eq!(told["n_bad_lines"], 1);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in [".txt:5:", "allow-list", "own address"] {
        assert!(stderr.contains(part), "{stderr}");
    }
    let listed = printed(&sensor, "block list --json");
    let listed: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(listed.len(), 2);
    assert!(
        listed.iter().all(|v| v["origin"]["feed"] == "others"),
        "{listed:?}"
    );
    // The next version: one stays, one is new, one goes; what an operator asked for stays.
    printed(&sensor, "block add 192.0.2.77 --json");
    let (output, told) = list.import(&sensor, "203.0.113.9\n203.0.113.10\n");
    assert!(output.status.success(), "{output:?}");
    let counts = ["n_added", "n_renewed", "n_removed"].map(|name| told[name].as_u64());
    assert_eq!(counts, [Some(1); 3]);
    let plain = "192.0.2.77\n203.0.113.9\n203.0.113.10\n";
    assert_eq!(printed(&sensor, "block export"), plain);
    let ipset = printed(&sensor, "block export --form ipset");
    assert!(
        ipset.contains("add sensor4 203.0.113.10 -exist\n"),
        "{ipset}"
    );
    let csv = printed(&sensor, "block export --form csv --within 203.0.113.0/24");
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(
        csv.contains("203.0.113.9,drop,,0,") && csv.contains("\"list others\""),
        "{csv}"
    );
    // A page in its place: nothing changes.
    let (output, _) = list.import(&sensor, "<html>\n<p>Not found</p>\n</html>\n");
    assert!(!output.status.success());
    assert_eq!(printed(&sensor, "block export"), plain);
    // A list of nobody.
    let (_, told) = list.import(&sensor, "# nobody\n");
    assert_eq!(told["n_removed"], 2);
    assert_eq!(printed(&sensor, "block export"), "192.0.2.77\n");
}

#[test]
fn a_preview_tells_what_an_entry_would_hit() {
    needs_root();
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, "").unwrap();
    network.run("client", "ping -c 3 -i 0.2 10.99.1.1").unwrap();
    let preview = |target: &str| -> Value {
        let told = printed(&sensor, &format!("block preview {target} --json"));
        serde_json::from_str(&told).unwrap()
    };
    let found = wait_until(std::time::Duration::from_secs(20), || {
        let found = preview("10.99.1.2");
        (found["flows"].as_u64() > Some(0) && found["sources"] == 1).then_some(found)
    });
    let found = found.unwrap_or_else(|| panic!("{}", preview("10.99.1.2")));
    assert_eq!(found["refused"], Value::Null);
    assert_eq!(found["services"][0]["host"], "10.99.1.1");
    let whole = preview("10.99.1.0/24");
    let refused = whole["refused"].as_str().unwrap();
    assert!(refused.contains("own address"), "{refused}");
    assert_eq!(preview("203.0.113.9")["sources"], 0);
}
