//! OpenTelemetry logs by OTLP over HTTP, in its JSON form (opentelemetry.io/docs/specs/otlp).

use sensor_record::Severity;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::envelope::Envelope;
use crate::http::{Http, Reply, Request, authorization, base};
use crate::settings::SinkSettings;
use crate::shapes::raw_json;
use crate::sink::Sink;
use crate::wording::Words;

struct Otlp {
    settings: SinkSettings,
    http: Http,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(Otlp {
        settings: settings.clone(),
        http: Http::new(settings)?,
    }))
}

impl Sink for Otlp {
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        batch
            .iter()
            .map(|envelope| self.post(envelope).unwrap_or_else(|answer| answer))
            .collect()
    }
}

impl Otlp {
    fn post(&self, envelope: &Envelope) -> Result<Answer, Answer> {
        let url = base(&self.settings, "")?;
        let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        headers.extend(authorization(&self.settings, "Bearer").map_err(Answer::later)?);
        let reply = self.http.post(&Request {
            url: format!("{url}/v1/logs"),
            headers,
            body: logs(envelope).to_string().into_bytes(),
        })?;
        Ok(verdict(&reply))
    }
}

/// One record a request: a partial success does not say which were refused.
fn verdict(reply: &Reply) -> Answer {
    let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    let rejected = &body["partialSuccess"]["rejectedLogRecords"];
    // A 64-bit number is text in this JSON, but not everybody's.
    let n = rejected
        .as_u64()
        .or_else(|| rejected.as_str()?.parse().ok())
        .unwrap_or_default();
    match reply.answer() {
        Answer::Accepted(told) if n > 0 => Answer::Refused(told),
        answer => answer,
    }
}

fn logs(envelope: &Envelope) -> Value {
    let head = envelope.record.head();
    let words = Words::of(envelope);
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let mut attributes = vec![
        text("event.name", &format!("sensor.{}", envelope.record.kind())),
        text("sensor.key", &envelope.key()),
        text("sensor.record", &raw_json(envelope).to_string()),
    ];
    if let Some(incident) = envelope.incident() {
        attributes.extend([
            text("incident.id", &incident.id),
            text("incident.state", incident.state.label()),
            text("incident.family", &incident.family),
            text("threat.technique.id", &incident.technique),
        ]);
        if let Some(source) = incident.sources.first() {
            attributes.push(text("source.address", &source.to_string()));
        }
        if let Some(destination) = incident.destinations.first() {
            attributes.push(text("destination.address", &destination.to_string()));
        }
    }
    let (number, word) = level(envelope);
    json!({"resourceLogs": [{
        "resource": {"attributes": [
            text("service.name", "sensor"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &head.sensor.id),
            text("host.name", &head.sensor.host_name),
        ]},
        "scopeLogs": [{
            "scope": {"name": "sensor"},
            "logRecords": [{
                "timeUnixNano": head.at.0.to_string(),
                "observedTimeUnixNano": envelope.at_ns.to_string(),
                "severityNumber": number,
                "severityText": word,
                "body": {"stringValue": format!("{}: {}", words.title, words.text)},
                "attributes": attributes,
            }],
        }],
    }]})
}

/// Severity of OpenTelemetry's data model.
fn level(envelope: &Envelope) -> (u8, &'static str) {
    match envelope.incident().map(|incident| incident.severity) {
        Some(Severity::Critical) => (21, "FATAL"),
        Some(Severity::High) => (17, "ERROR"),
        Some(Severity::Medium) => (13, "WARN"),
        Some(Severity::Low) => (10, "INFO2"),
        None => (9, "INFO"),
    }
}
