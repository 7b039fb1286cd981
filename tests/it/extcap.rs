//! Packet samples in Wireshark's own programs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use sensor_tests::{Network, Running, binary, needs_program, needs_root, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn extcap(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.arg("extcap").args(arguments).output().unwrap()
}

fn told(arguments: &[&str]) -> String {
    let output = extcap(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_questions_of_wireshark_are_answered() {
    let interfaces = told(&["--extcap-interfaces", "--extcap-version=4.0"]);
    assert!(interfaces.starts_with("extcap {version="), "{interfaces}");
    assert!(
        interfaces.contains("interface {value=sensor}{display="),
        "{interfaces}"
    );
    let links = told(&["--extcap-dlts", "--extcap-interface", "sensor"]);
    assert!(links.starts_with("dlt {number=1}{name=EN10MB}"), "{links}");
    let options = told(&["--extcap-config", "--extcap-interface", "sensor"]);
    assert!(
        options.starts_with("arg {number=0}{call=--socket}"),
        "{options}"
    );
    assert_eq!(
        extcap(&["--extcap-dlts", "--extcap-interface", "eth0"])
            .status
            .code(),
        Some(1)
    );
    assert_eq!(
        extcap(&["--capture", "--extcap-interface", "sensor"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn tshark_shows_samples_of_a_running_sensor() {
    needs_root();
    needs_program("tshark");
    let network = Network::new().unwrap();
    let mut sensor = Running::start(&network, "").unwrap();
    let home = sensor.socket().with_file_name("config");
    let folder = home.join("wireshark/extcap");
    fs::create_dir_all(&folder).unwrap();
    let hook = folder.join("sensor-extcap");
    let line = format!(
        "#!/bin/sh\nexec {} extcap --socket {} \"$@\"\n",
        binary().unwrap().display(),
        sensor.socket().display()
    );
    fs::write(&hook, line).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let tshark = |arguments: &[&str]| {
        let mut command = Command::new("tshark");
        command.env("XDG_CONFIG_HOME", &home).args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    };
    let listed = tshark(&["-D"]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.contains("sensor (Sensor: packet samples)"),
        "{listed}"
    );

    let show = "-l -n -i sensor -Y icmp -c 4 -a duration:50";
    let fields = "-T fields -e ip.src -e icmp.type -e frame.comment";
    let line: Vec<&str> = show.split(' ').chain(fields.split(' ')).collect();
    let mut showing = tshark(&line).spawn().unwrap();
    // Samples are kept from the first question on, which is not seen from here.
    let ended = wait_until(LIMIT, || {
        network.run("client", "ping -c 2 -i 0.2 10.99.1.1").unwrap();
        showing.try_wait().unwrap()
    });
    assert!(ended.is_some());
    let output = showing.wait_with_output().unwrap();
    let rows = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split('\t').collect()).collect();
    assert!(rows.len() >= 4, "{rows:?}");
    assert!(
        rows.iter().any(|row| row[..2] == ["10.99.1.2", "8"]),
        "{rows:?}"
    );
    assert!(
        rows.iter().any(|row| row[..2] == ["10.99.1.1", "0"]),
        "{rows:?}"
    );
    for row in &rows {
        assert!(
            row[2].starts_with("sample icmp, ") && row[2].contains(" on client"),
            "{row:?}"
        );
    }
    sensor.stop().unwrap();
}
