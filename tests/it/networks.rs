//! Networks over sequences: what an installed one says becomes low incidents, in a replay and in the running
//! sensor. The networks are made by `train/tests/fixture.py` and find contacts of one size; they are no
//! detectors of attacks.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use sensor_tests::frames::Dice;
use sensor_tests::frames::ipv4::{End, tcp};
use sensor_tests::{Network, Running, binary, needs_root, wait_until};
use serde_json::Value;

use crate::content::{Frame, START_US};
use crate::replay::capture;

const LIMIT: Duration = Duration::from_secs(60);
const CLIENT: [u8; 4] = [192, 0, 2, 10];
const SERVER: End = ([198, 51, 100, 7], 443);
const FIN: u8 = 1;
const SYN: u8 = 2;
const PUSH: u8 = 8;
const ACK: u8 = 16;

/// A network that is committed with its manifest.
fn network(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/data/networks");
    PathBuf::from(folder).join(name)
}

/// A connection with one question and one answer.
fn contact(at_us: u64, port: u16, n_asked: usize, n_answered: usize) -> Vec<Frame> {
    let client = (CLIENT, port);
    let frames = [
        tcp(client, SERVER, SYN, &[]),
        tcp(SERVER, client, SYN | ACK, &[]),
        tcp(client, SERVER, ACK, &[]),
        tcp(client, SERVER, PUSH | ACK, &vec![7; n_asked]),
        tcp(SERVER, client, PUSH | ACK, &vec![7; n_answered]),
        tcp(client, SERVER, FIN | ACK, &[]),
        tcp(SERVER, client, FIN | ACK, &[]),
        tcp(client, SERVER, ACK, &[]),
    ];
    let times = (0..).map(|n: u64| at_us + n * 15_000);
    times.zip(frames).collect()
}

/// Contacts at no pace; of one size, or of many.
fn contacts(is_alike: bool) -> Vec<Frame> {
    let mut dice = Dice(5);
    let (mut frames, mut at_us) = (Vec::new(), START_US);
    for n in 0..30 {
        let (asked, answered) = if is_alike {
            (400, 1_100)
        } else {
            (40 + dice.below(1_300), 40 + dice.below(1_300))
        };
        frames.extend(contact(at_us, 40_000 + n, asked, answered));
        at_us += 3_000_000 + dice.below(30_000_000) as u64;
    }
    frames
}

fn replayed(frames: &[Frame], name: &str, arguments: &[&str]) -> Output {
    let path = capture(name, frames);
    let output = Command::new(binary().unwrap())
        .args(["replay", "--json"])
        .args(arguments)
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// Incidents that networks opened.
fn opened(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let values = text.lines().map(|line| serde_json::from_str(line).unwrap());
    values
        .filter(|value: &Value| is_of_network(value))
        .collect()
}

fn is_of_network(value: &Value) -> bool {
    let detectors = value["detectors"].as_array();
    value["incident.state"] == "opened"
        && detectors.is_some_and(|all| all.iter().any(|one| one == "networks"))
}

/// Records but for the summary's wall time.
fn but_for_the_time(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text
        .lines()
        .filter(|line| !line.contains("\"kind\":\"summary\""));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_replay_asks_networks_and_says_the_same_every_time() {
    let path = network("same_sizes.onnx");
    let asked = ["--network", path.to_str().unwrap()];
    let alike = contacts(true);
    let first = replayed(&alike, "alike", &asked);
    let found = opened(&first);
    assert_eq!(found.len(), 1, "{}", String::from_utf8_lossy(&first.stdout));
    let incident = &found[0];
    assert_eq!(incident["severity"], "low", "{incident}");
    assert_eq!(incident["source.ips"][0], "192.0.2.10");
    let told = incident.to_string();
    for part in ["network_score", "contacts:", "order and rhythm"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let again = replayed(&alike, "alike", &asked);
    assert_eq!(but_for_the_time(&first), but_for_the_time(&again));
    assert_eq!(opened(&replayed(&alike, "alike", &[])), [] as [Value; 0]);
    let varied = replayed(&contacts(false), "varied", &asked);
    assert_eq!(opened(&varied), [] as [Value; 0]);
}

#[test]
fn a_replay_refuses_what_is_no_network() {
    let path = capture("refused", &contacts(true));
    let good = network("same_sizes.onnx");
    let good = good.to_str().unwrap();
    for (names, part) in [
        (vec!["--network", "/nonexistent.onnx"], "No such file"),
        (
            vec!["--network", good, "--network", good],
            "over the same sequences",
        ),
    ] {
        let output = Command::new(binary().unwrap())
            .arg("replay")
            .args(names)
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(part), "{said}");
    }
}

/// `sensor model` with the arguments, on the state of a sensor that runs.
fn model(sensor: &Running, arguments: &[&str]) -> Output {
    Command::new(binary().unwrap())
        .arg("model")
        .args(arguments)
        .env(
            "SENSOR__RESPOND__STATE_FOLDER",
            sensor.socket().with_file_name("state"),
        )
        .output()
        .unwrap()
}

/// Connections of one size from the client, one after the other, until told that it is enough.
fn call_until(network: &Network, enough: impl FnMut() -> Option<()>) {
    let server = network
        .within("server", || {
            let listener = TcpListener::bind("10.99.1.1:8443").unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let Ok(mut stream) = stream else { return };
                    let mut asked = [0; 400];
                    if stream.read_exact(&mut asked).is_ok() {
                        let _gone = stream.write_all(&[7; 1_100]);
                    }
                }
            });
        })
        .unwrap();
    server.join().unwrap();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let client = network
        .within("client", move || {
            let server: SocketAddr = "10.99.1.1:8443".parse().unwrap();
            let mut dice = Dice(3);
            loop {
                if let Ok(mut stream) = TcpStream::connect_timeout(&server, LIMIT) {
                    let mut answer = Vec::new();
                    let _gone = stream.write_all(&[7; 400]);
                    let _gone = stream.read_to_end(&mut answer);
                }
                // Contacts are apart by more than a second.
                let pause = Duration::from_millis(1_500 + dice.below(1_500) as u64);
                if ended.recv_timeout(pause) != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })
        .unwrap();
    let found = wait_until(LIMIT, enough);
    drop(end);
    client.join().unwrap();
    found.expect("an incident of the network");
}

/// Adds a network of the folder of data; the name that it is kept by.
fn add(sensor: &Running, file: &str) -> String {
    let path = network(file);
    let added = model(sensor, &["add", path.to_str().unwrap(), "--json"]);
    assert!(added.status.success(), "{added:?}");
    let added: Value = serde_json::from_slice(&added.stdout).unwrap();
    added["file"].as_str().unwrap().to_owned()
}

fn status(sensor: &Running) -> Option<Value> {
    let told = sensor.ask("status --json").ok()?;
    serde_json::from_slice(&told.stdout).ok()
}

/// Both are seen at work, and the candidate has no effect.
fn both_judge(sensor: &Running, name: &str, other: &str) {
    let status = status(sensor).unwrap();
    let [active, candidate] = [0, 1].map(|n| &status["networks"][n]);
    assert_eq!(active["name"], name, "{status}");
    assert!(active["alarms"].as_u64() >= Some(1), "{status}");
    assert_eq!(candidate["name"], other, "{status}");
    assert_eq!(candidate["role"], "candidate", "{status}");
    assert!(candidate["judged"].as_u64() >= Some(1), "{status}");
    let said = sensor.lines(|line| line.to_string().contains(other));
    assert_eq!(said, [] as [Value; 0]);
    let told = sensor.ask("status").unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains(&format!("network {name}")), "{told}");
}

/// Promotes the candidate, and takes that back.
fn takes_its_place_and_gives_it_back(sensor: &Running, name: &str, other: &str) {
    for (word, wanted) in [("promote", other), ("rollback", name)] {
        let done = model(sensor, &[word, "contacts"]);
        assert!(done.status.success(), "{done:?}");
        wait_until(LIMIT, || {
            let status = status(sensor)?;
            let active = &status["networks"][0];
            (active["name"] == wanted && active["role"] == "active").then_some(())
        })
        .unwrap_or_else(|| panic!("{wanted} is not in force: {}", sensor.log()));
    }
}

/// The audit log has every change of networks, and who made it.
fn changes_are_on_record(sensor: &Running, parts: &[String]) {
    let audit = sensor.socket().with_file_name("audit.jsonl");
    let noted = wait_until(LIMIT, || {
        let text = std::fs::read_to_string(&audit).ok()?;
        let lines = text
            .lines()
            .filter(|line| line.contains("\"event.action\":\"network\""));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        (lines.len() == parts.len()).then_some(lines)
    })
    .expect("a line of the audit log for each change");
    for (line, part) in noted.iter().zip(parts) {
        assert!(line.contains(part) && line.contains("\"uid\":0"), "{line}");
    }
}

#[test]
fn an_installed_network_judges_and_a_candidate_beside_it_takes_its_place_and_gives_it_back() {
    needs_root();
    let lan = Network::new().unwrap();
    let sensor = Running::start(&lan, "--set metrics.enabled=true").unwrap();
    let name = add(&sensor, "same_sizes.onnx");
    let again = network("same_sizes.onnx");
    let again = model(&sensor, &["add", again.to_str().unwrap()]);
    assert!(!again.status.success(), "{again:?}");
    let listed = model(&sensor, &["list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&name));
    let other = add(&sensor, "same_sizes_2.onnx");
    let opened = || sensor.lines(is_of_network).into_iter().next();
    let compared = || {
        let compared = model(&sensor, &["compare", "contacts", "--json"]);
        serde_json::from_slice::<Value>(&compared.stdout).unwrap_or_default()
    };
    call_until(&lan, || {
        opened()?;
        (compared()["judged"].as_u64() >= Some(1)).then_some(())
    });
    let compared = compared();
    assert_eq!(compared["better"], false, "{compared}");
    assert!(
        compared["reason"].to_string().contains("are wanted"),
        "{compared}"
    );
    let incident = opened().unwrap();
    assert_eq!(incident["severity"], "low", "{incident}");
    assert_eq!(incident["source.ips"][0], "10.99.1.2");
    both_judge(&sensor, &name, &other);
    takes_its_place_and_gives_it_back(&sensor, &name, &other);
    let removed = model(&sensor, &["remove", "contacts"]);
    assert!(removed.status.success(), "{removed:?}");
    let parts = [
        format!("{name} in force"),
        format!("{other} a candidate"),
        format!("{other} promoted"),
        format!("rolled back to {name}"),
        format!("{name} removed"),
    ];
    changes_are_on_record(&sensor, &parts);
    let gone = wait_until(LIMIT, || {
        status(&sensor)?["networks"].is_null().then_some(())
    });
    assert!(gone.is_some(), "the network is still there");
}
