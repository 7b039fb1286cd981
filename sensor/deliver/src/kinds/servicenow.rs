//! ServiceNow Event Management (ServiceNow Docs, "Send events via web service").

use sensor_record::{Severity, Timestamp};
use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::http::{Http, Request, authorization, base};
use crate::settings::SinkSettings;
use crate::sink::Sink;
use crate::wording::Words;

/// Characters of the fields (table em_event).
const MAX_NAME: usize = 100;
const MAX_KEY: usize = 1_024;
const MAX_DESCRIPTION: usize = 4_000;
const MAX_VALUE: usize = 1_000;

struct ServiceNow {
    settings: SinkSettings,
    http: Http,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(ServiceNow {
        settings: settings.clone(),
        http: Http::new(settings)?,
    }))
}

impl Sink for ServiceNow {
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        batch
            .iter()
            .map(|envelope| self.post(envelope).unwrap_or_else(|answer| answer))
            .collect()
    }
}

impl ServiceNow {
    fn post(&self, envelope: &Envelope) -> Result<Answer, Answer> {
        let event = event(envelope).ok_or_else(|| Answer::refused("no incident"))?;
        let url = base(&self.settings, "")?;
        let mut headers = vec![
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("Accept".to_owned(), "application/json".to_owned()),
        ];
        headers.extend(authorization(&self.settings, "Bearer").map_err(Answer::later)?);
        let reply = self.http.post(&Request {
            url: format!("{url}/api/global/em/jsonv2"),
            headers,
            body: json!({"records": [event]}).to_string().into_bytes(),
        })?;
        Ok(reply.answer())
    }
}

fn event(envelope: &Envelope) -> Option<Value> {
    let incident = envelope.incident()?;
    let words = Words::of(envelope);
    let fact = |(name, value): &(&str, String)| {
        (
            (*name).to_owned(),
            Value::from(cut::characters(value, MAX_VALUE)),
        )
    };
    let info: Map<String, Value> = words.facts.iter().map(fact).collect();
    let node = incident.destinations.first().map(ToString::to_string);
    let host = &incident.head.sensor.host_name;
    let is_closing = envelope.is_closing();
    let short = |text: &str| cut::characters(text, MAX_NAME);
    Some(json!({
        "source": "sensor",
        "event_class": short(host),
        "node": short(node.as_ref().unwrap_or(host)),
        "resource": short(&incident.sources.first().map_or_else(String::new, ToString::to_string)),
        "metric_name": short(&incident.family),
        "type": short(&incident.family),
        "message_key": cut::characters(&incident.id, MAX_KEY),
        "severity": if is_closing { "0" } else { level(incident.severity) },
        "description": cut::characters(&format!("{}: {}", words.title, words.text), MAX_DESCRIPTION),
        // A document as text.
        "additional_info": Value::Object(info).to_string(),
        "time_of_event": seconds(incident.head.at),
        "resolution_state": if is_closing { "Closing" } else { "New" },
    }))
}

/// `2026-01-02 03:04:05`, in UTC.
fn seconds(at: Timestamp) -> String {
    let text = at.to_string().replace('T', " ");
    text.get(.."2026-01-02 03:04:05".len())
        .unwrap_or_default()
        .to_owned()
}

/// Severity as text: 1 critical to 4 warning.
const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "1",
        Severity::High => "2",
        Severity::Medium => "3",
        Severity::Low => "4",
    }
}
