//! Alerts as Suricata writes them into eve.json (docs.suricata.io, "Eve JSON Format").

use sensor_record::{OutcomeWord, Severity};
use serde_json::{Value, json};

use super::Body;
use crate::envelope::Envelope;
use crate::wording::Words;

/// Generator identifier of the sensor: Suricata's own rules have 1.
const GID: u32 = 9_469;

pub fn shape(envelope: &Envelope) -> Body {
    let words = Words::of(envelope);
    let head = envelope.record.head();
    let mut event = json!({
        "timestamp": timestamp(&head.at.to_string()),
        "event_type": "alert",
        "host": head.sensor.host_name,
    });
    let (family, severity) = match envelope.incident() {
        Some(incident) => (incident.family.as_ref(), incident.severity),
        None => (envelope.record.kind(), Severity::Low),
    };
    event["alert"] = json!({
        "action": "allowed",
        "gid": GID,
        "signature_id": number(family),
        "rev": 1,
        "signature": words.title,
        "category": family,
        "severity": level(severity),
        "metadata": metadata(envelope, &words),
    });
    if let Some(incident) = envelope.incident() {
        if incident
            .response
            .iter()
            .any(|one| one.outcome == OutcomeWord::Applied)
        {
            event["alert"]["action"] = "blocked".into();
        }
        let fields = [
            (
                "src_ip",
                incident
                    .sources
                    .first()
                    .map(|ip| Value::from(ip.to_string())),
            ),
            (
                "dest_ip",
                incident
                    .destinations
                    .first()
                    .map(|ip| Value::from(ip.to_string())),
            ),
            (
                "dest_port",
                incident.ports.first().map(|port| Value::from(*port)),
            ),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                event[name] = value;
            }
        }
    }
    Body::json(&event)
}

/// Values are lists of text there.
fn metadata(envelope: &Envelope, words: &Words) -> Value {
    let mut metadata = json!({"sequence": [envelope.seq.to_string()], "text": [words.text]});
    for (name, value) in &words.facts {
        metadata[*name] = json!([value]);
    }
    metadata
}

/// `2026-01-02T03:04:09.000000+0000`: six decimals, an offset without a colon.
fn timestamp(at: &str) -> String {
    let end = at.len().saturating_sub("000Z".len());
    format!("{}+0000", at.get(..end).unwrap_or_default())
}

/// Number of a family, the same for ever (FNV-1a).
fn number(family: &str) -> u32 {
    let add = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    1_000_000 + family.bytes().fold(0x811c_9dc5, add) % 1_000_000
}

/// Severity of Suricata: 1 is the worst.
const fn level(severity: Severity) -> u8 {
    match severity {
        Severity::Critical => 1,
        Severity::High => 2,
        Severity::Medium => 3,
        Severity::Low => 4,
    }
}
