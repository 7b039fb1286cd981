//! The policy: proposals that wait for a person, and hosts that are never acted on.

use std::time::Duration;

use serde_json::Value;

use sensor_tests::frames::ipv4::{Ip, SYN};
use sensor_tests::{Network, Running, Sender, needs_root, wait_until};

use crate::shapes::tcp;

const LIMIT: Duration = Duration::from_secs(20);
const SERVER: Ip = [10, 99, 2, 1];
const ATTACKER: Ip = [10, 99, 2, 2];

/// Records that a command prints.
fn asked(sensor: &Running, command: &str) -> Vec<Value> {
    let output = sensor.ask(command).unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Lines of the audit log so far.
fn audit(sensor: &Running) -> Vec<Value> {
    let path = sensor.socket().with_file_name("audit.jsonl");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn mac(network: &Network, host: &str, device: &str) -> Vec<u8> {
    let line = format!("cat /sys/class/net/{device}/address");
    let text = String::from_utf8(network.run(host, &line).unwrap().stdout).unwrap();
    let bytes = text.trim().split(':');
    bytes
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

/// SYNs to every port in turn.
fn scan(network: &Network) -> Sender {
    let mut head = mac(network, "server", "attacker");
    head.extend(mac(network, "attacker", "eth0"));
    let frame = move |n: u64| {
        let target = (SERVER, 1 + (n % 60_000) as u16);
        let mut frame = tcp((ATTACKER, 40_000), target, SYN, 0, 0);
        frame[..12].copy_from_slice(&head);
        frame
    };
    Sender::start(network, "attacker", 500, 100_000, frame).unwrap()
}

fn proposed(sensor: &Running, not: &str) -> Value {
    let found = wait_until(LIMIT, || {
        let waiting = asked(sensor, "incidents proposals --json");
        waiting.into_iter().find(|v| v["decision.id"] != not)
    });
    found.unwrap_or_else(|| panic!("nothing is proposed: {}", sensor.log()))
}

#[test]
fn a_proposal_waits_for_a_person_who_approves_or_refuses_it() {
    needs_root();
    let network = Network::new().unwrap();
    let row = r#"[{ name = "ask", source = "remote", action = "drop", approval = true }]"#;
    let environment = [("SENSOR__RESPOND__POLICY", row)];
    let sensor = Running::start_with(&network, "--mode enforce", &environment).unwrap();
    let _scan = scan(&network);
    let waiting = proposed(&sensor, "");
    assert_eq!(waiting["decision.outcome"], "proposed");
    assert_eq!(waiting["decision.mode"], "proposed");
    assert_eq!(waiting["decision.policy"], "ask");
    assert_eq!(
        waiting["decision.action"], "challenge",
        "no more than the proof"
    );
    assert!(waiting["proposal.expires_in_s"].as_u64() > Some(3_000));
    assert!(asked(&sensor, "block list --json").is_empty());
    let incident = waiting["incident.id"].as_str().unwrap();
    let told = asked(&sensor, &format!("policy explain {incident} --json"));
    let of_source = told.iter().find(|v| v["decision.target"] == "10.99.2.2");
    let of_source = of_source.unwrap_or_else(|| panic!("{told:?}"));
    assert_eq!(of_source["decision.policy"], "ask");
    let needs = of_source["decision.needs"].as_array().unwrap();
    assert!(needs.contains(&"connections".into()), "{needs:?}");
    // Approved: in force, with the same identifier, and the audit log says by whom.
    let id = waiting["decision.id"].as_str().unwrap();
    let done = asked(&sensor, &format!("incidents approve {incident} --json"));
    assert_eq!(done[0]["decision.outcome"], "applied");
    assert_eq!(
        asked(&sensor, "block list --json")[0]["action"],
        "challenge"
    );
    let is_applied = |v: &Value| v["decision.id"] == id && v["decision.outcome"] == "applied";
    assert!(sensor.wait_for(LIMIT, is_applied).is_some());
    let approved = audit(&sensor)
        .into_iter()
        .find(|v| v["event.action"] == "approve");
    let approved = approved.expect("an audit line");
    assert_eq!(approved["ended_by"]["uid"], 0);
    assert_eq!(approved["decision.policy"], "ask");
    // Refused: not in force, and not asked again.
    asked(&sensor, "block flush --json");
    let again = proposed(&sensor, id);
    let id = again["decision.id"].as_str().unwrap();
    let done = asked(&sensor, &format!("incidents reject {id} --json"));
    assert_eq!(done[0]["decision.outcome.rule"], "rejected");
    assert!(asked(&sensor, "block list --json").is_empty());
    let nothing = sensor.ask(&format!("incidents approve {id}")).unwrap();
    assert!(!nothing.status.success());
    asked(&sensor, "block flush --json");
    let is_refused = |v: &Value| v["decision.id"] != id && v["decision.outcome.rule"] == "rejected";
    assert!(
        sensor.wait_for(LIMIT, is_refused).is_some(),
        "{}",
        sensor.log()
    );
    assert!(asked(&sensor, "incidents proposals --json").is_empty());
}

#[test]
fn balancers_and_monitoring_are_never_acted_on() {
    needs_root();
    let network = Network::new().unwrap();
    let environment = [
        ("SENSOR__RESPOND__BALANCERS", "10.99.2.2"),
        ("SENSOR__RESPOND__MONITORING", "10.99.1.0/24"),
    ];
    let sensor = Running::start_with(&network, "--mode enforce", &environment).unwrap();
    for (target, why) in [("10.99.2.2", "balancer"), ("10.99.1.2", "monitoring")] {
        let refused = sensor.ask(&format!("block add {target}")).unwrap();
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains(why), "{told}");
    }
    let _scan = scan(&network);
    let is_refused = |v: &Value| v["decision.outcome"] == "refused";
    let decision = sensor.wait_for(LIMIT, is_refused).expect("a decision");
    assert_eq!(decision["decision.outcome.reason"], "balancer");
    assert!(asked(&sensor, "block list --json").is_empty());
}

#[test]
fn presets_are_listed_as_rows_of_the_configuration() {
    let list = |preset: &str| {
        let program = sensor_tests::binary().unwrap();
        let mut command = std::process::Command::new(program);
        let output = command.args(["policy", "list", "--preset", preset]);
        let output = output.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(list("observe").contains("action = \"observe\""));
    let cautious = list("cautious");
    for part in ["name = \"own_hosts\"", "approval = true", "\"slow_http\""] {
        assert!(cautious.contains(part), "{cautious}");
    }
    assert!(list("edge").contains("ttl_max = \"1day\""));
}

#[test]
fn past_the_blast_radius_nothing_new_is_set_and_it_is_told() {
    needs_root();
    let network = Network::new().unwrap();
    let environment = [("SENSOR__RESPOND__RADIUS__NEW_PER_MINUTE", "0")];
    let sensor = Running::start_with(&network, "--mode enforce", &environment).unwrap();
    let _scan = scan(&network);
    let is_held = |v: &Value| v["decision.outcome.rule"] == "blast_radius";
    assert!(
        sensor.wait_for(LIMIT, is_held).is_some(),
        "{}",
        sensor.log()
    );
    let told = sensor.wait_for(LIMIT, |v| v["event.action"] == "response_held");
    let reason = told.expect("a record")["reason"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(reason.contains("new_per_minute"), "{reason}");
    assert!(asked(&sensor, "block list --json").is_empty());
    let is_told = wait_until(LIMIT, || {
        let status = asked(&sensor, "status --json");
        let radius = &status[0]["radius"];
        (radius["held"].is_string() && radius["refused"].as_u64() > Some(0)).then_some(())
    });
    assert!(is_told.is_some());
}

/// Says again what it hears, once a connection.
const SERVER_PROGRAM: &str = "import socket
listener = socket.create_server(('10.99.1.1', 7000), backlog=256)
while True:
    there, _ = listener.accept()
    there.sendall(there.recv(100))
    there.close()
";

/// Begins connection after connection; counts those that were answered.
const CLIENT_PROGRAM: &str = "import socket, time
n = 0
while True:
    try:
        there = socket.create_connection(('10.99.1.1', 7000), timeout=0.3)
        there.sendall(b'line')
        assert there.recv(100) == b'line'
        there.close()
        n += 1
        with open('COUNT', 'w') as f:
            f.write(str(n))
    except OSError:
        pass
    time.sleep(0.03)
";

struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A client who is served all the while, in whose name somebody scans: the limit that comes of it
/// starves him, is taken back within ten seconds, and does not come again.
#[test]
fn a_limit_that_starves_an_innocent_is_rolled_back() {
    needs_root();
    let network = Network::new().unwrap();
    let row = r#"[{ name = "limit", source = "remote", action = "limit" }]"#;
    let environment = [("SENSOR__RESPOND__POLICY", row)];
    let sensor = Running::start_with(&network, "--mode enforce", &environment).unwrap();
    let folder = format!("sensor-policy-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(folder));
    std::fs::create_dir_all(&folder.0).unwrap();
    let count = folder.0.join("count");
    std::fs::write(folder.0.join("server.py"), SERVER_PROGRAM).unwrap();
    let client = CLIENT_PROGRAM.replace("COUNT", &count.display().to_string());
    std::fs::write(folder.0.join("client.py"), client).unwrap();
    let command = |name: &str| format!("python3 {}", folder.0.join(name).display());
    let _server = network.start("server", &command("server.py")).unwrap();
    let _client = network.start("client", &command("client.py")).unwrap();
    let n_served = || {
        let text = std::fs::read_to_string(&count).unwrap_or_default();
        text.parse::<u64>().unwrap_or(0)
    };
    // Served for longer than the slots that a rate is taken of.
    let served = wait_until(Duration::from_secs(60), || (n_served() > 400).then_some(()));
    assert!(served.is_some(), "{} connections", n_served());
    let mut head = mac(&network, "server", "attacker");
    head.extend(mac(&network, "attacker", "eth0"));
    let forged = move |n: u64| {
        let target = ([10, 99, 1, 1], 10_000 + (n % 50_000) as u16);
        let mut frame = tcp(([10, 99, 1, 2], 40_000), target, SYN, 0, 0);
        frame[..12].copy_from_slice(&head);
        frame
    };
    let _forger = Sender::start(&network, "attacker", 2_000, 1_000_000, forged).unwrap();
    let is_on_client = |v: &Value| v["decision.target"] == "10.99.1.2";
    let is_applied = |v: &Value| is_on_client(v) && v["decision.outcome"] == "applied";
    let applied = sensor.wait_for(LIMIT, is_applied).expect("a limit");
    assert_eq!(applied["decision.action"], "limit");
    let is_back = |v: &Value| is_on_client(v) && v["decision.outcome.rule"] == "good_traffic";
    let back = sensor.wait_for(LIMIT, is_back);
    let back = back.unwrap_or_else(|| panic!("not rolled back: {}", sensor.log()));
    let took_s = seconds(&back) - seconds(&applied);
    assert!(
        (0.0..=10.0).contains(&took_s),
        "rolled back after {took_s} s"
    );
    let reason = back["decision.outcome.reason"].as_str().unwrap();
    assert!(reason.starts_with("rolled back: it began"), "{reason}");
    assert!(asked(&sensor, "block list --json").is_empty());
    let noted = audit(&sensor);
    assert!(noted.iter().any(|v| v["event.action"] == "roll_back"));
    // He goes on, and is let alone, while the scan goes on as well.
    let before = n_served();
    let goes_on = wait_until(LIMIT, || (n_served() > before + 100).then_some(()));
    assert!(goes_on.is_some(), "{} to {}", before, n_served());
    let told = sensor.lines(|v| {
        let responses = v["response"].as_array();
        responses.is_some_and(|all| {
            all.iter()
                .any(|r| r["decision.outcome.rule"] == "good_traffic")
        })
    });
    assert!(!told.is_empty(), "the incident does not say so");
    let n_applied = sensor.lines(is_applied).len();
    let n_back = sensor.lines(is_back).len();
    assert!(n_applied <= n_back, "{n_applied} set, {n_back} taken back");
}

/// Seconds of the day of a record.
fn seconds(record: &Value) -> f64 {
    let time = record["@timestamp"].as_str().unwrap();
    let (_, time) = time.trim_end_matches('Z').split_once('T').unwrap();
    let parts = time.split(':').map(|part| part.parse::<f64>().unwrap());
    parts.fold(0.0, |sum, part| sum * 60.0 + part)
}

/// An agent that hangs: what it decided holds nothing back any more, what an operator asked for does.
#[test]
fn a_dead_agent_leaves_decisions_open_and_entries_of_operators_in_force() {
    needs_root();
    let network = Network::new().unwrap();
    let environment = [("SENSOR__RESPOND__DEAD_AFTER", "2s")];
    let sensor = Running::start_with(&network, "--mode enforce", &environment).unwrap();
    let flood = scan(&network);
    let is_applied = |v: &Value| v["decision.outcome"] == "applied";
    assert!(
        sensor.wait_for(LIMIT, is_applied).is_some(),
        "{}",
        sensor.log()
    );
    asked(&sensor, "block add 10.99.1.2 --ttl 60s --json");
    let events = || asked(&sensor, "status --json").remove(0)["events"].clone();
    let limited = wait_until(LIMIT, || {
        let n = events()["rate_limited"].as_u64()?;
        (n > 100).then_some(n)
    });
    assert!(limited.is_some(), "{}", events());
    assert_eq!(events()["would_challenge"], 0);
    sensor.signal("STOP").unwrap();
    let before = flood.n_sent();
    // Four seconds of it.
    wait_until(LIMIT, || (flood.n_sent() > before + 2_000).then_some(())).unwrap();
    let ping = network.run("client", "ping -c 2 -i 0.2 -W 1 10.99.1.1");
    sensor.signal("CONT").unwrap();
    assert!(ping.is_err(), "the operator's entry does not hold");
    let passed = wait_until(LIMIT, || {
        (events()["would_challenge"].as_u64()? > 300).then_some(())
    });
    assert!(passed.is_some(), "{}", events());
    // Back to life: held back as before.
    let again = events()["rate_limited"].as_u64().unwrap();
    let limited = wait_until(LIMIT, || {
        (events()["rate_limited"].as_u64()? > again + 500).then_some(())
    });
    assert!(limited.is_some(), "{}", events());
}
