//! Attaching, and what is left when it ends, by whatever way.
//!
//! Needs root: without, each test says so and passes.

use std::process::Command;
use std::time::Duration;

use sensor_tests::{Network, Running, binary, needs_root};

const LIMIT: Duration = Duration::from_secs(20);

fn network() -> Network {
    needs_root();
    Network::new().unwrap()
}

/// Tells if `tc` and `ip` show our programs on an interface of the server.
fn traces(network: &Network, device: &str) -> (bool, bool) {
    let text = |line: &str| {
        let output = network.run("server", line).unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let filters = text(&format!("tc filter show dev {device} egress"));
    let link = text(&format!("ip link show dev {device}"));
    (filters.contains("sensor_egress"), link.contains("prog/xdp"))
}

#[test]
fn traffic_verifies_an_attachment() {
    let network = network();
    let sensor = Running::start(&network, "").unwrap();
    let told = |action: &str, device: &str| {
        sensor.wait_for(LIMIT, |v| {
            v["event.action"] == action && v["interface"] == device
        })
    };
    let verified =
        |device: &str| told("attach_verified", device).and(told("egress_verified", device));
    network.run("client", "ping -c 3 -i 0.2 10.99.1.1").unwrap();
    network
        .run("attacker", "ping -c 3 -i 0.2 10.99.2.1")
        .unwrap();
    assert!(verified("client").is_some(), "{}", sensor.log());
    assert!(verified("attacker").is_some(), "{}", sensor.log());
}

#[test]
fn clsact_is_cleaned_up_on_stop_and_after_a_kill() {
    let network = network();
    let mut sensor = Running::start(&network, "--egress clsact").unwrap();
    assert_eq!(traces(&network, "client"), (true, true));
    sensor.stop().unwrap();
    assert_eq!(traces(&network, "client"), (false, false));
    let qdiscs = network.run("server", "tc qdisc show dev client").unwrap();
    let qdiscs = String::from_utf8_lossy(&qdiscs.stdout).into_owned();
    assert!(!qdiscs.contains("clsact"), "{qdiscs}");

    // Dropping it kills it: the filter stays, but the XDP link goes with the process.
    drop(Running::start(&network, "--egress clsact").unwrap());
    assert_eq!(traces(&network, "client"), (true, false));
    let doctor = doctor(&network, "client");
    assert!(doctor.contains("1 left over from a sensor"), "{doctor}");
    let sensor = Running::start(&network, "--egress clsact").unwrap();
    assert_eq!(traces(&network, "client"), (true, true), "{}", sensor.log());
    assert!(sensor.log().contains("removed the egress filter"));
}

fn doctor(network: &Network, device: &str) -> String {
    let line = format!("{} doctor --iface {device}", binary().unwrap().display());
    let output = network.command("server", &line).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn doctor_names_a_foreign_program_and_our_own() {
    let network = network();
    assert!(doctor(&network, "client").contains("the kernel takes it"));
    let sensor = Running::start(&network, "").unwrap();
    let text = doctor(&network, "client");
    assert!(text.contains("a sensor is attached"), "{text}");
    assert!(text.contains("native (driver veth)"), "{text}");
    drop(sensor);
    let absent = doctor(&network, "absent0");
    assert!(absent.contains("no such interface"), "{absent}");
}

#[test]
fn patterns_choose_interfaces() {
    let network = network();
    let line = format!("{} run --iface no*such", binary().unwrap().display());
    let output = network.command("server", &line).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("no interface matches `no*such`"), "{log}");
    let sensor = Running::start(&network, "--iface att*").unwrap();
    assert_eq!(
        traces(&network, "attacker"),
        (false, true),
        "{}",
        sensor.log()
    );
}

#[test]
fn the_interface_of_the_callers_connection_needs_a_yes() {
    let network = network();
    let line = format!("{} run --iface client", binary().unwrap().display());
    let mut command: Command = network.command("server", &line);
    command.env("SSH_CONNECTION", "10.99.1.2 50000 10.99.1.1 22");
    let output = command.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains("client carries your own connection: say --yes"),
        "{log}"
    );
    assert_eq!(traces(&network, "client"), (false, false));
}

#[test]
fn a_link_without_an_ethernet_header_is_refused_with_the_reason() {
    let network = network();
    network
        .run("server", "ip tuntap add tunnel0 mode tun")
        .unwrap();
    let folder = std::env::temp_dir().join(format!("sensor-tun-{}", std::process::id()));
    let line = format!("{} run --iface tunnel0 --json", binary().unwrap().display());
    let output = network
        .command("server", &line)
        .env("SENSOR__SOCKET__PATH", folder.join("sensor.sock"))
        .env("SENSOR__RESPOND__STATE_FOLDER", folder.join("state"))
        .env("SENSOR__RESPOND__AUDIT_LOG", folder.join("audit.jsonl"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let _absent = std::fs::remove_dir_all(&folder);
    assert!(!output.status.success(), "{told}");
    assert!(told.contains("no Ethernet header"), "{told}");
}
