//! The command line as people use it.

use std::process::{Command, Output};
use std::time::Duration;

use sensor_tests::{Network, Running, binary, needs_root, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(15);

fn sensor(arguments: &str) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.args(arguments.split_whitespace()).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(output: &Output, code: i32) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{told}");
    told
}

#[test]
fn commands_of_commands_have_pages_and_completions() {
    let page = text(&sensor("man block add"));
    assert!(
        page.contains("\\-\\-ttl") && page.contains("block\\-add"),
        "{page}"
    );
    assert!(refused(&sensor("man block dance"), 1).contains("add, del, list"));
    assert!(refused(&sensor("man status now"), 1).contains("no commands of its own"));
    assert!(text(&sensor("completions bash")).contains("sensor__subcmd__block__subcmd__add"));
    let checked: Value = serde_json::from_str(&text(&sensor("config check --json"))).unwrap();
    assert_eq!(checked["valid"], true);
}

#[test]
fn ports_without_sense_are_refused() {
    for arguments in ["block add 192.0.2.7 --port 0", "flows --port 0"] {
        let told = refused(&sensor(arguments), 2);
        assert!(told.contains("0 is not in 1..=65535"), "{told}");
    }
    let told = refused(&sensor("block add 192.0.2.7 --protocol icmp --port 22"), 1);
    assert!(told.contains("icmp has no ports"), "{told}");
}

#[test]
fn a_user_without_rights_is_told_which_and_how_to_get_them() {
    needs_root();
    let copy = std::env::temp_dir().join(format!("sensor-cli-{}", std::process::id()));
    std::fs::copy(binary().unwrap(), &copy).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&copy)
        .args(["run", "--iface", "lo", "--plain"])
        .output()
        .unwrap();
    std::fs::remove_file(copy).unwrap();
    let told = refused(&output, 1);
    assert!(
        told.contains("CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN missing"),
        "{told}"
    );
    assert!(
        told.contains("run as root") && told.contains("setcap"),
        "{told}"
    );
}

#[test]
fn a_second_sensor_at_an_interface_is_told_to_stop_the_first() {
    needs_root();
    let network = Network::new().unwrap();
    let _first = Running::start(&network, "").unwrap();
    let line = format!("{} run --iface client --plain", binary().unwrap().display());
    let output = network
        .command("server", &line)
        .env("SENSOR__RESPOND__STATE_FOLDER", "")
        .env("SENSOR__RESPOND__AUDIT_LOG", "")
        .env("SENSOR__SOCKET__ENABLED", "false")
        .output()
        .unwrap();
    let told = refused(&output, 1);
    assert!(
        told.contains("another sensor is attached") && told.contains("stop that one"),
        "{told}"
    );
    assert!(!told.contains("xdp off"), "{told}");
}

/// Nice value of a thread of a process.
fn nice(process: u32, thread: &str) -> Option<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task"))
        .unwrap()
        .flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let mut stats = stats.filter(|stat| stat.contains(&format!("({thread})")));
    let (_, rest) = stats
        .next()?
        .rsplit_once(')')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))?;
    rest.split_whitespace().nth(16)?.parse().ok()
}

#[test]
fn the_engine_goes_before_others() {
    needs_root();
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, "").unwrap();
    assert_eq!(nice(sensor.id(), "engine"), Some(-10));
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/sensor.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    for line in [
        "CPUWeight=1000",
        "Nice=-10",
        "OOMScoreAdjust=-900",
        "MemoryMax=2G",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn incidents_are_found_by_what_they_are_and_come_back_after_a_restart() {
    needs_root();
    let network = Network::new().unwrap();
    let folder = std::env::temp_dir().join(format!("sensor-incidents-{}", std::process::id()));
    let set = format!("--set respond.state_folder={}", folder.display());
    let start = || {
        let sensor = Running::start_plainly(&network, &format!("{set} --set respond.audit_log="));
        let sensor = sensor.unwrap();
        wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
        sensor
    };
    let found = |sensor: &Running, arguments: &str| -> Vec<Value> {
        let output = sensor
            .ask(&format!("incidents --json {arguments}"))
            .unwrap();
        let lines = text(&output);
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let mut first = start();
    let _scan = network
        .start("attacker", "nmap -n -Pn -sS -p 1-2000 10.99.2.1")
        .unwrap();
    let scanned = first.wait_for(LIMIT, |v| v["incident.family"] == "port_scan");
    let id = scanned.expect("a scan")["incident.id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (arguments, is_found) in [
        (
            "--family port_scan --host 10.99.2.2 --severity low --since 1h",
            true,
        ),
        ("--host 10.99.2.0/24 --until 2500-01-01T00:00:00Z", true),
        ("--family beacon", false),
        ("--host 192.0.2.1", false),
        ("--severity critical", false),
        ("--until 1h", false),
    ] {
        let found = found(&first, arguments);
        assert_eq!(
            found.iter().any(|v| v["incident.id"] == id.as_str()),
            is_found,
            "{arguments}"
        );
    }
    let told = text(&first.ask("explain last").unwrap());
    assert!(told.contains("port_scan"), "{told}");
    let said = text(&first.ask(&format!("feedback {id} benign")).unwrap());
    assert!(said.contains("benign"), "{said}");
    first.stop().unwrap();

    let second = start();
    let again = found(&second, "--family port_scan");
    let again = again.iter().find(|v| v["incident.id"] == id.as_str());
    assert_eq!(
        again.expect("the scan of before")["incident.state"],
        "closed"
    );
    let told = text(&second.ask("explain 1").unwrap());
    assert!(told.contains("from 10.99.2.2"), "{told}");
    assert!(told.contains("Said: benign by user 0"), "{told}");
    drop(second);
    std::fs::remove_dir_all(folder).unwrap();
}
