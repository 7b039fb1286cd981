//! Open Cybersecurity Schema Framework 1.7 (schema.ocsf.io): incidents are Detection Findings (2004),
//! all else is a Base Event (0).

use std::net::IpAddr;

use sensor_record::{Incident, OutcomeWord, Severity, State, json};
use serde_json::{Value, json};

use super::Body;
use crate::envelope::Envelope;
use crate::wording::Words;

const VERSION: &str = "1.7.0";
const MS: u64 = 1_000_000;
/// Addresses that are named.
const MAX_NAMED: usize = 20;

pub fn shape(envelope: &Envelope) -> Body {
    let words = Words::of(envelope);
    let finding = match envelope.incident() {
        Some(incident) => finding(envelope, incident, &words),
        None => base(envelope, &words),
    };
    Body::json(&finding)
}

fn metadata(envelope: &Envelope) -> Value {
    let sensor = &envelope.record.head().sensor;
    json!({
        "version": VERSION,
        "uid": envelope.key(),
        "sequence": envelope.seq,
        "log_name": envelope.record.kind(),
        "original_time": envelope.record.head().at.to_string(),
        "product": {
            "name": "sensor",
            "vendor_name": "sensor",
            "version": env!("CARGO_PKG_VERSION"),
            "uid": sensor.id,
        },
    })
}

fn base(envelope: &Envelope, words: &Words) -> Value {
    json!({
        "activity_id": 99, "activity_name": envelope.record.kind(),
        "category_uid": 0, "category_name": "Uncategorized",
        "class_uid": 0, "class_name": "Base Event",
        "type_uid": 99, "type_name": "Base Event: Other",
        "severity_id": 1, "severity": "Informational",
        "time": envelope.record.head().at.0 / MS,
        "message": words.text,
        "metadata": metadata(envelope),
        "raw_data": json::line(&envelope.record),
    })
}

fn finding(envelope: &Envelope, incident: &Incident, words: &Words) -> Value {
    let (activity, activity_name) = match incident.state {
        State::Opened => (1, "Create"),
        State::Updated => (2, "Update"),
        State::Closed => (3, "Close"),
    };
    let (status, status_name) = match incident.state {
        State::Opened => (1, "New"),
        State::Updated => (2, "In Progress"),
        State::Closed => (4, "Resolved"),
    };
    let (severity, severity_name) = match incident.severity {
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
    };
    let mut finding = json!({
        "activity_id": activity, "activity_name": activity_name,
        "category_uid": 2, "category_name": "Findings",
        "class_uid": 2004, "class_name": "Detection Finding",
        "type_uid": 200_400 + activity,
        "type_name": format!("Detection Finding: {activity_name}"),
        "severity_id": severity, "severity": severity_name,
        "status_id": status, "status": status_name,
        "time": envelope.record.head().at.0 / MS,
        "start_time": incident.start.0 / MS,
        "end_time": incident.end.0 / MS,
        "is_alert": true,
        "message": words.title,
        "finding_info": info(incident, words),
        "evidences": [evidence(incident)],
        "observables": observables(incident),
        "metadata": metadata(envelope),
        "raw_data": json::line(&envelope.record),
    });
    if let Some(confidence) = incident.confidence {
        finding["confidence_score"] = ((confidence * 100.0).round() as u64).into();
    }
    if incident
        .response
        .iter()
        .any(|one| one.outcome == OutcomeWord::Applied)
    {
        finding["metadata"]["profiles"] = json!(["security_control"]);
        finding["action_id"] = 2.into();
        finding["action"] = "Denied".into();
        finding["disposition_id"] = 2.into();
        finding["disposition"] = "Blocked".into();
    }
    finding
}

fn info(incident: &Incident, words: &Words) -> Value {
    json!({
        "uid": incident.id,
        "title": words.title,
        "desc": words.text,
        "types": [incident.family],
        "created_time": incident.start.0 / MS,
        "first_seen_time": incident.start.0 / MS,
        "last_seen_time": incident.end.0 / MS,
        "analytic": {
            "name": incident.detectors.join(", "),
            "type_id": 2,
            "type": "Behavioral",
        },
        "attacks": [{
            "technique": {"uid": incident.technique, "name": incident.technique_name},
        }],
    })
}

fn evidence(incident: &Incident) -> Value {
    let mut evidence = json!({});
    if let Some(source) = incident.sources.first() {
        evidence["src_endpoint"] = json!({"ip": source.to_string()});
    }
    if let Some(mac) = incident.source_mac {
        evidence["src_endpoint"]["mac"] = mac.to_string().into();
    }
    if let Some(destination) = incident.destinations.first() {
        evidence["dst_endpoint"] = json!({"ip": destination.to_string()});
        if let Some(port) = incident.ports.first() {
            evidence["dst_endpoint"]["port"] = (*port).into();
        }
    }
    evidence["data"] = json!({"explanation": incident.explanation});
    evidence
}

fn observables(incident: &Incident) -> Vec<Value> {
    let of = |name: &'static str, all: &[IpAddr]| {
        let all = all.iter().take(MAX_NAMED);
        let one = |address: &IpAddr| json!({"name": name, "type_id": 2, "type": "IP Address", "value": address.to_string()});
        all.map(one).collect::<Vec<_>>()
    };
    [
        of("evidences[].src_endpoint.ip", &incident.sources),
        of("evidences[].dst_endpoint.ip", &incident.destinations),
    ]
    .concat()
}
