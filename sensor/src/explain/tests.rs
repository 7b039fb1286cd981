use serde_json::json;

use super::*;

fn incident() -> Value {
    json!({
        "kind": "incident", "@timestamp": "2026-01-02T03:04:09.000000000Z",
        "incident.id": "000007-00aa", "incident.state": "updated", "incident.family": "port_scan",
        "event.start": "2026-01-02T03:04:05.000000000Z",
        "event.end": "2026-01-02T03:04:08.500000000Z",
        "source.ips": ["198.51.100.7"], "source.count": 1, "source.spoofed": false,
        "destination.ips": ["192.0.2.1"], "destination.ips.count": 1,
        "destination.ports": [1, 2, 3, 4, 5, 6], "destination.ports.count": 900,
        "score": 34.2, "severity": "medium", "threat.technique.id": "T1046",
        "explanation": "198.51.100.7 tried 900 ports of 192.0.2.1", "detectors": ["scan"],
        "features": [
            {"name": "ports_failed", "observed": 900.0, "expected": 15.0, "share": 0.8},
            {"name": "failed_ratio", "observed": 0.97, "expected": 0.1, "share": 0.2}],
        "window_s": 30.0, "entity": "198.51.100.7", "entity.kind": "source",
        "counters": {"windows": 2, "packets_out": 1800, "flows": 900},
        "models": {"kitnet": 3.1, "clusters": 0.4}, "schema.hash": "f610",
        "naming.family": "port_scan", "naming.probability": 0.91, "naming.model": "abcd",
        "confidence": 0.63, "confidence.lowered_by": ["flow/table_full", "warm_up"],
    })
}

fn decision(target: &str, guard: &str) -> Value {
    json!({"kind": "decision", "incident.id": "000007-00aa", "decision.action": "drop",
        "decision.target": target, "decision.ttl_s": 300, "decision.mode": "enforce",
        "guard": guard})
}

#[test]
fn everything_that_matters_is_told() {
    let mut accounts = Accounts::new("000007");
    accounts.take(&incident());
    accounts.take(&decision("198.51.100.7", "allowed"));
    accounts.take(&decision("192.0.2.53", "refused: resolver"));
    let account = accounts.finish().unwrap();
    let told = text(&account);
    for part in [
        "Incident 000007-00aa: port_scan, severity medium, updated, MITRE ATT&CK T1046 (Network Service Discovery).",
        "What: 198.51.100.7 tried 900 ports of 192.0.2.1.",
        "from 2026-01-02 03:04:05.000 to 2026-01-02 03:04:08.500 UTC",
        "from 198.51.100.7 to 192.0.2.1, ports 1, 2, 3, 4, 5 and 895 more",
        "score 34.2 (10^-34 likely by chance), judged over 30 s",
        "ports_failed: 900 observed, up to 15 expected, 80 % of the score",
        "failed_ratio: 0.970 observed, up to 0.100 expected, 20 % of the score [attempts refused",
        "Counted of source 198.51.100.7 in 2 windows of 10 s: flows 900, packets out 1800.",
        "kitnet 3.1 agree, clusters 0.400 do not. Feature schema f610.",
        "Named: port_scan by 91 % of the trees of model abcd.",
        "Confidence: 0.63, lowered by: flow/table_full was shed",
        "limits are priors still",
        "drop 198.51.100.7 for 300 s (carried out); drop 192.0.2.53 for 300 s (the guard refused: resolver).",
        "sensor block add 198.51.100.7 --ttl 1h",
    ] {
        assert!(told.contains(part), "{part}\nnot in\n{told}");
    }
    assert_eq!(json(&account)["decisions.count"], 2);
}

#[test]
fn nothing_decided_is_explained() {
    let why = |change: Value| {
        let mut incident = incident();
        for (key, value) in change.as_object().unwrap() {
            incident[key] = value.clone();
        }
        let account = Account {
            incident,
            ..Account::default()
        };
        decided(&account)
    };
    assert!(why(json!({"incident.found_as": "behaviour_anomaly"})).contains("no shape"));
    assert!(why(json!({"source.spoofed": true})).contains("would hit others"));
    assert!(why(json!({"source.count": 0})).contains("no source to act on"));
    assert!(why(json!({})).contains("min_score"));
}

#[test]
fn lines_of_an_older_sensor_are_told_as_far_as_they_go() {
    let account = Account {
        incident: json!({"kind": "incident", "incident.id": "1", "incident.family": "beacon"}),
        ..Account::default()
    };
    let told = text(&account);
    assert!(
        told.contains("beacon") && !told.contains("Confidence"),
        "{told}"
    );
}

#[test]
fn an_unknown_incident_is_an_error_with_the_nearest() {
    let of = |wanted: &str| {
        let mut accounts = Accounts::new(wanted);
        for id in ["000001-aa", "000002-bb", "000012-cc", "000112-dd"] {
            let mut other = incident();
            other["incident.id"] = json!(id);
            accounts.take(&other);
        }
        accounts.finish()
    };
    assert_eq!(of("000012").unwrap().incident["incident.id"], "000012-cc");
    let missing = of("000003-bb").unwrap_err();
    assert_eq!(missing.nearest[0], "000002-bb");
    assert_eq!(missing.nearest.len(), 3);
    assert!(missing.to_string().contains("the nearest: 000002-bb"));
    // Several begin so.
    assert!(of("0000").is_err() && of("").is_err());
    assert!(
        Accounts::new("1")
            .finish()
            .unwrap_err()
            .to_string()
            .contains("none at all")
    );
}
