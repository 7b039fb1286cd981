//! Elastic Common Schema 8.17 (elastic.co/guide/en/ecs): fields that it has by its names, all else below
//! `sensor`.

use sensor_record::{Decision, Incident, OutcomeWord, Record, Severity, json};
use serde_json::{Map, Value, json};

use super::Body;
use crate::envelope::Envelope;
use crate::wording::Words;

const VERSION: &str = "8.17.0";

pub fn shape(envelope: &Envelope) -> Body {
    Body::json(&document(envelope))
}

/// Document of a record.
pub fn document(envelope: &Envelope) -> Value {
    let head = envelope.record.head();
    let kind = envelope.record.kind();
    let words = Words::of(envelope);
    let mut document = json!({
        "@timestamp": head.at.to_string(),
        "ecs": {"version": VERSION},
        "message": words.text,
        "event": {
            "kind": "event",
            "category": ["network"],
            "type": ["info"],
            "module": "sensor",
            "dataset": format!("sensor.{kind}"),
            "id": envelope.key(),
            "sequence": envelope.seq,
        },
        "observer": {
            "hostname": head.sensor.host_name,
            "serial_number": head.sensor.id,
            "type": "sensor",
            "product": "sensor",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "sensor": {"record": own(&envelope.record)},
    });
    match &envelope.record {
        Record::Incident(incident) => add_incident(&mut document, incident, &words.title),
        Record::Decision(decision) => add_decision(&mut document, decision),
        _ => {}
    }
    document
}

/// The record as text: its own names, some of which are the beginnings of others, are no fields there.
fn own(record: &Record) -> String {
    json::line(record)
}

fn add_incident(document: &mut Value, incident: &Incident, title: &str) {
    let is_denied = incident
        .response
        .iter()
        .any(|one| one.outcome == OutcomeWord::Applied);
    let event = &mut document["event"];
    event["kind"] = "alert".into();
    event["category"] = json!(["intrusion_detection", "network"]);
    event["type"] = if is_denied {
        json!(["denied"])
    } else {
        json!(["info"])
    };
    event["action"] = incident.family.as_ref().into();
    event["start"] = incident.start.to_string().into();
    event["end"] = incident.end.to_string().into();
    event["severity"] = number(incident.severity).into();
    event["reason"] = incident.explanation.as_str().into();
    document["rule"] = json!({
        "name": title,
        "id": incident.family,
        "category": incident.family,
        "ruleset": "sensor",
    });
    document["threat"] = json!({
        "framework": "MITRE ATT&CK",
        "technique": {"id": [incident.technique], "name": [incident.technique_name]},
    });
    let source = incident.sources.first().map(ToString::to_string);
    let destination = incident.destinations.first().map(ToString::to_string);
    let mac = incident.source_mac.map(|mac| mac.to_string());
    document["source"] = given([
        ("ip", source.clone().map(Value::from)),
        ("address", source.map(Value::from)),
        ("mac", mac.map(Value::from)),
    ]);
    document["destination"] = given([
        ("ip", destination.clone().map(Value::from)),
        ("address", destination.map(Value::from)),
        (
            "port",
            incident.ports.first().map(|port| Value::from(*port)),
        ),
    ]);
    let mut related: Vec<String> = incident.sources.iter().map(ToString::to_string).collect();
    related.extend(incident.destinations.iter().map(ToString::to_string));
    document["related"] = json!({"ip": related});
    document["sensor"]["incident"] = json!({
        "id": incident.id,
        "state": incident.state.label(),
        "family": incident.family,
        "severity": incident.severity.label(),
        "score": incident.score,
        "confidence": incident.confidence,
        "sources": incident.n_sources,
        "destinations": incident.n_destinations,
        "ports": incident.n_ports,
        "grades": incident.grades,
        "detectors": incident.detectors,
    });
}

fn add_decision(document: &mut Value, decision: &Decision) {
    let is_applied = decision.outcome.word() == OutcomeWord::Applied;
    let event = &mut document["event"];
    event["action"] = decision.action.label().into();
    event["type"] = if is_applied {
        json!(["denied"])
    } else {
        json!(["info"])
    };
    event["outcome"] = if is_applied {
        "success".into()
    } else {
        "unknown".into()
    };
    event["reason"] = decision.reason.as_str().into();
    document["sensor"]["decision"] = json!({
        "id": decision.id,
        "incident_id": decision.incident_id,
        "target": decision.target.to_string(),
        "action": decision.action.label(),
        "mode": decision.mode.label(),
        "outcome": decision.outcome.label(),
        "ttl_s": decision.ttl_s,
    });
}

fn given<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let there = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect::<Map<_, _>>())
}

/// Severity as Elastic's own rules count it.
const fn number(severity: Severity) -> u64 {
    match severity {
        Severity::Low => 21,
        Severity::Medium => 47,
        Severity::High => 73,
        Severity::Critical => 99,
    }
}
