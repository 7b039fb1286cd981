//! Files that the sensor keeps: damaged, shared, rotated. Needs root.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use sensor_tests::{Network, Running, binary, needs_program, needs_root, run, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// A folder of the test's own, for the files of a sensor.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        needs_root();
        let name = format!("sensor-state-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _absent = fs::remove_dir_all(&folder);
        Self(folder)
    }

    fn set(&self) -> String {
        format!(
            "--set respond.state_folder={0}/state --set respond.audit_log={0}/log/audit.jsonl",
            self.0.display()
        )
    }

    fn start(&self, network: &Network, arguments: &str) -> Running {
        let sensor = Running::start_plainly(network, &format!("{} {arguments}", self.set()));
        let sensor = sensor.unwrap();
        wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
        sensor
    }

    fn saved(&self) -> PathBuf {
        self.0.join("state/respond.json")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn status(sensor: &Running) -> Value {
    serde_json::from_str(&text(&sensor.ask("status --json").unwrap())).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_damaged_allow_list_keeps_enforcement_off_until_it_is_read_or_done_without() {
    let files = Files::new("damaged");
    let network = Network::new().unwrap();
    let mut sensor = files.start(&network, "");
    text(&sensor.ask("allow add 198.51.100.7").unwrap());
    sensor.stop().unwrap();
    let whole = fs::read(files.saved()).unwrap();
    assert_eq!(
        (mode(&files.saved()), mode(files.saved().parent().unwrap())),
        (0o600, 0o700)
    );
    let half = &whole[..whole.len() / 2];
    fs::write(files.saved(), half).unwrap();

    let mut sensor = files.start(&network, "--mode enforce");
    let refused = sensor.ask("block add 198.51.100.7").unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && told.contains("respond.json"),
        "{told}"
    );
    let file = status(&sensor)["files"]["state"].clone();
    assert!(file["error"].as_str().is_some(), "{file}");
    // Neither an order nor the end writes over it.
    text(&sensor.ask("allow add 198.51.100.8").unwrap());
    sensor.stop().unwrap();
    assert_eq!(fs::read(files.saved()).unwrap(), half);

    // Repaired, it is in force without a restart.
    let mut sensor = files.start(&network, "--mode enforce");
    fs::write(files.saved(), &whole).unwrap();
    let is_known = || (status(&sensor)["guard"]["known"] == true).then_some(());
    assert!(wait_until(LIMIT, is_known).is_some(), "{}", sensor.log());
    let listed = text(&sensor.ask("allow list").unwrap());
    assert!(listed.contains("198.51.100.7"), "{listed}");
    text(&sensor.ask("block add 198.51.100.9 --ttl 60s").unwrap());
    sensor.stop().unwrap();

    // Or a person does without.
    fs::write(files.saved(), half).unwrap();
    let mut sensor = files.start(&network, "--mode enforce");
    let told = text(&sensor.ask("allow accept-loss").unwrap());
    let aside = told
        .split_whitespace()
        .nth(3)
        .unwrap()
        .trim_end_matches(';');
    assert_eq!(fs::read(aside).unwrap(), half);
    text(&sensor.ask("block add 198.51.100.7 --ttl 60s").unwrap());
    let again = sensor.ask("allow accept-loss").unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("nothing is damaged"));
    sensor.stop().unwrap();
}

#[test]
fn a_second_sensor_is_told_to_stop_the_first_and_another_instance_shares_nothing() {
    let files = Files::new("second");
    let network = Network::new().unwrap();
    let sensor = files.start(&network, "");
    let second = |more: &str| {
        let line = format!(
            "timeout -s TERM 20 {} run --plain --iface lo --attach generic {} --set \
             socket.path={}/second.sock {more}",
            binary().unwrap().display(),
            files.set(),
            files.0.display(),
        );
        network.command("server", &line)
    };
    let refused = second("").output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(
        told.contains("stop that one") && told.contains("respond.instance"),
        "{told}"
    );

    let mut other = second("--set respond.instance=dmz").spawn().unwrap();
    let socket = files.0.join("second.sock");
    let state = files.0.join("state/dmz/respond.json");
    wait_until(LIMIT, || socket.exists().then_some(())).expect("a socket");
    let mut ask = Command::new(binary().unwrap());
    let asked = ask
        .args(["allow", "add", "198.51.100.7", "--socket"])
        .arg(&socket);
    text(&asked.output().unwrap());
    assert!(wait_until(LIMIT, || state.exists().then_some(())).is_some());
    assert!(files.0.join("log/dmz/audit.jsonl").exists());
    run(Command::new("kill").arg(other.id().to_string())).unwrap();
    other.wait().unwrap();
    let listed = text(&sensor.ask("allow list").unwrap());
    assert!(!listed.contains("198.51.100.7"), "{listed}");
}

#[test]
fn the_audit_log_is_rotated_as_the_shipped_file_says() {
    needs_program("logrotate");
    let files = Files::new("rotate");
    let network = Network::new().unwrap();
    let mut sensor = files.start(&network, "");
    let log = files.0.join("log");
    let audit = log.join("audit.jsonl");
    text(&sensor.ask("allow add 198.51.100.7").unwrap());
    assert_eq!(mode(&audit), 0o600);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/sensor.logrotate");
    let shipped = fs::read_to_string(shipped).unwrap();
    let hangup = format!("kill -HUP {}", sensor.id());
    let ours: Vec<String> = shipped
        .replace("/var/log/sensor", log.to_str().unwrap())
        .lines()
        .map(|line| match line.trim_start().starts_with("systemctl") {
            true => hangup.clone(),
            false => line.to_owned(),
        })
        .collect();
    let config = files.0.join("logrotate.conf");
    fs::write(&config, ours.join("\n")).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let state = files.0.join("logrotate.state");
    let mut rotate = Command::new("logrotate");
    run(rotate.args(["--force", "--state"]).arg(&state).arg(&config)).unwrap();
    let reloaded = sensor.wait_for(LIMIT, |v| v["event.action"] == "reload");
    assert!(reloaded.is_some(), "{}", sensor.log());
    text(&sensor.ask("allow del 198.51.100.7").unwrap());
    let new = fs::read_to_string(&audit).unwrap();
    assert!(
        new.contains("disallow") && !new.contains("\"event.action\":\"allow\""),
        "{new}"
    );
    sensor.stop().unwrap();
    let detach = Command::new(binary().unwrap())
        .arg("detach")
        .env("SENSOR__RESPOND__STATE_FOLDER", files.0.join("state"))
        .env("SENSOR__RESPOND__AUDIT_LOG", &audit)
        .output()
        .unwrap();
    let told = text(&detach);
    assert!(
        told.contains("kept: ") && told.contains("audit.jsonl"),
        "{told}"
    );
}
