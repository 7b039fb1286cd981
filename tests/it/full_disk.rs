//! A disk without room: what can't be written is named, the sensor goes on, and what was stored
//! before stays. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sensor_tests::{Network, Running, needs_root, run, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// A file system of a few megabytes, with the sensor's files in it.
struct Disk(PathBuf);

impl Disk {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("sensor-full-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]);
        run(mount.arg(&folder)).unwrap();
        Self(folder)
    }

    /// Takes all the room that is left; gives it back with [`Self::empty`].
    fn fill(&self) {
        let _full = fs::write(self.0.join("ballast"), vec![0; 16 << 20]);
        // The last pages, for files that exist.
        for i in 0..64 {
            if fs::write(self.0.join(format!("ballast{i}")), [0; 4096]).is_err() {
                return;
            }
        }
    }

    fn empty(&self) {
        for entry in fs::read_dir(&self.0).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("ballast") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg(&self.0));
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Lines of the audit log, each whole.
fn audit(disk: &Path) -> Vec<Value> {
    let text = fs::read_to_string(disk.join("audit.jsonl")).unwrap();
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "half a line: {text}"
    );
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

fn saved(disk: &Path) -> Value {
    serde_json::from_slice(&fs::read(disk.join("state/respond.json")).unwrap()).unwrap()
}

fn block(sensor: &Running, target: &str) {
    let asked = sensor.ask(&format!(
        "block add {target} --ttl 600s --reason {}",
        "x".repeat(200)
    ));
    let output = asked.unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn configuration(disk: &Disk) -> PathBuf {
    let config = std::env::temp_dir().join(format!("sensor-full-{}.toml", std::process::id()));
    let text = format!(
        "[respond]\nmode = \"enforce\"\naudit_log = \"{0}/audit.jsonl\"\n\
         state_folder = \"{0}/state\"\nbpffs = \"\"\n",
        disk.0.display()
    );
    fs::write(&config, text).unwrap();
    config
}

/// Names the error of the list and of the audit log.
fn tells_of_both(sensor: &Running) {
    let log = wait_until(LIMIT, || {
        let log = sensor.log();
        let is_told = log.contains("blocks and allow-list not saved")
            && log.contains("audit line not written");
        is_told.then_some(log)
    });
    let log = log.unwrap_or_else(|| panic!("{}", sensor.log()));
    assert!(log.contains("No space left on device"), "{log}");
}

/// Files of state, but those that are written to all the time.
fn state_files(disk: &Path) -> Vec<String> {
    let files = fs::read_dir(disk.join("state")).unwrap().flatten();
    let names = files.map(|file| file.file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .filter(|name| !["incidents.jsonl", "packets", "store"].contains(&name.as_str()))
        .collect();
    names.sort();
    names
}

/// Waits until the store says that it can't be written, or no longer, and counts what is lost or waits
/// meanwhile.
fn store_fails(sensor: &Running, fails: bool) {
    let mut status = Value::Null;
    let is_so = wait_until(LIMIT, || {
        let output = sensor.ask("status --json").unwrap();
        let told = serde_json::from_slice::<Value>(&output.stdout).unwrap();
        status = told["store"].clone();
        let count = |name: &str| status[name].as_u64().unwrap_or(0);
        let is_counted = count("lost") + count("waiting") > 0;
        let is_done = count("waiting") == 0;
        let is_failing = status["error"].is_string();
        let is_so = is_failing == fails && if fails { is_counted } else { is_done };
        is_so.then_some(())
    });
    assert!(is_so.is_some(), "{status}");
}

#[test]
fn a_full_disk_costs_output_lines_and_nothing_else() {
    needs_root();
    let disk = Disk::new();
    let config = configuration(&disk);
    let network = Network::new().unwrap();
    let arguments = format!("--config {}", config.display());
    let mut sensor = Running::start_plainly(&network, &arguments).unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
    block(&sensor, "192.0.2.1");
    let is_saved = |n: usize| {
        wait_until(LIMIT, || {
            let blocks = saved(&disk.0)["blocks"].as_array()?.len();
            (blocks >= n).then_some(())
        })
    };
    let exists = wait_until(LIMIT, || {
        disk.0.join("state/respond.json").exists().then_some(())
    });
    assert!(exists.and(is_saved(1)).is_some(), "{}", sensor.log());

    disk.fill();
    (0..40).for_each(|i| block(&sensor, &format!("198.51.100.{i}")));
    block(&sensor, "10.99.2.2");
    tells_of_both(&sensor);
    store_fails(&sensor, true);
    let n_written = audit(&disk.0).len();
    assert_eq!(saved(&disk.0)["blocks"].as_array().unwrap().len(), 1);
    let ping = network.run("attacker", "ping -c 2 -i 0.2 -W 1 10.99.2.1");
    assert!(ping.is_err(), "the block is not in force");
    let metrics = network
        .run("server", "curl -s http://127.0.0.1:9469/metrics")
        .unwrap();
    let metrics = String::from_utf8_lossy(&metrics.stdout).into_owned();
    let mut lost = metrics
        .lines()
        .filter(|l| l.starts_with("sensor_respond_audit_lost_lines_total"));
    assert_ne!(
        lost.next(),
        Some("sensor_respond_audit_lost_lines_total 0"),
        "{metrics}"
    );

    disk.empty();
    assert!(
        is_saved(42).is_some(),
        "not saved when there was room again: {}",
        sensor.log()
    );
    store_fails(&sensor, false);
    block(&sensor, "192.0.2.2");
    assert!(audit(&disk.0).len() > n_written);
    disk.fill();
    // The checkpoint finds no room; the end is clean all the same.
    sensor.stop().unwrap();
    assert!(
        sensor.log().contains("learned.ckpt: can't be written"),
        "{}",
        sensor.log()
    );
    disk.empty();
    assert_eq!(
        state_files(&disk.0),
        ["respond.json"],
        "something was left half written"
    );
    let _ = fs::remove_file(config);
}
