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
        waiting["decision.action"], "limit",
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
    assert_eq!(asked(&sensor, "block list --json")[0]["action"], "limit");
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
