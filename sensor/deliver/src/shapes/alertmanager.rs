//! Webhook of Prometheus Alertmanager, version 4 (prometheus.io/docs/alerting/latest/configuration,
//! `<webhook_config>`): receivers made for it take the sensor's incidents.

use std::collections::BTreeMap;

use sensor_record::Timestamp;
use serde_json::{Value, json};

use super::Body;
use crate::envelope::Envelope;
use crate::wording::Words;

/// Time that is not set.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub fn shape(envelope: &Envelope) -> Body {
    let labels = labels(envelope);
    let annotations = annotations(envelope);
    let status = if envelope.is_closing() {
        "resolved"
    } else {
        "firing"
    };
    let (start, end) = times(envelope);
    let alert = json!({
        "status": status,
        "labels": labels,
        "annotations": annotations,
        "startsAt": start.to_string(),
        "endsAt": end.map_or(NEVER.to_owned(), |end| end.to_string()),
        "generatorURL": "",
        "fingerprint": fingerprint(&labels),
    });
    Body::json(&json!({
        "version": "4",
        "groupKey": format!("{{}}:{{incident_id=\"{}\"}}", envelope.incident_id().unwrap_or_default()),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "sensor",
        "groupLabels": {"alertname": labels["alertname"]},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [alert],
    }))
}

/// Labels: they are the alert's identity, so nothing that changes over its life is one.
pub fn labels(envelope: &Envelope) -> BTreeMap<&'static str, String> {
    let sensor = &envelope.record.head().sensor;
    let mut labels = BTreeMap::from([
        ("instance", sensor.host_name.clone()),
        ("job", "sensor".to_owned()),
        ("sensor_id", sensor.id.clone()),
    ]);
    match envelope.incident() {
        Some(incident) => {
            labels.insert("alertname", "SensorIncident".to_owned());
            labels.insert("family", incident.found_as().to_owned());
            labels.insert("incident_id", incident.id.clone());
        }
        None => {
            labels.insert("alertname", format!("Sensor_{}", envelope.record.kind()));
        }
    }
    labels
}

/// Annotations: all that may change.
pub fn annotations(envelope: &Envelope) -> Value {
    let words = Words::of(envelope);
    let mut annotations = json!({"summary": words.title, "description": words.text});
    for (name, value) in words.facts {
        annotations[name] = Value::from(value);
    }
    annotations
}

/// Begin of the behaviour, and its end where it is over.
pub fn times(envelope: &Envelope) -> (Timestamp, Option<Timestamp>) {
    match envelope.incident() {
        Some(incident) => {
            let end = envelope.is_closing().then_some(envelope.record.head().at);
            (incident.start, end)
        }
        None => (envelope.record.head().at, None),
    }
}

/// Hash of the labels (FNV-1a over names and values with separators, as the Prometheus model has it).
fn fingerprint(labels: &BTreeMap<&'static str, String>) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for (name, value) in labels {
        name.bytes().for_each(&mut add);
        add(0xff);
        value.bytes().for_each(&mut add);
        add(0xff);
    }
    format!("{hash:016x}")
}
