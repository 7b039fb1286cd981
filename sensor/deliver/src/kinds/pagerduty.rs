//! PagerDuty Events API v2 (PagerDuty/api-schema, events-v2): incidents are triggered and resolved.

use sensor_record::Severity;
use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::http::{Http, Request, base};
use crate::settings::SinkSettings;
use crate::sink::Sink;
use crate::wording::Words;

const URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// Characters.
const MAX_SUMMARY: usize = 1_024;
const MAX_KEY: usize = 255;
/// Characters of a value; an event has 512 KB at most.
const MAX_VALUE: usize = 4_000;

struct PagerDuty {
    settings: SinkSettings,
    http: Http,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(PagerDuty {
        settings: settings.clone(),
        http: Http::new(settings)?,
    }))
}

impl Sink for PagerDuty {
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        batch
            .iter()
            .map(|envelope| self.post(envelope).unwrap_or_else(|answer| answer))
            .collect()
    }
}

impl PagerDuty {
    fn post(&self, envelope: &Envelope) -> Result<Answer, Answer> {
        let key = self
            .settings
            .far
            .token
            .as_ref()
            .ok_or_else(|| Answer::later("token: missing"))?;
        let mut event = event(envelope).ok_or_else(|| Answer::refused("no incident"))?;
        event["routing_key"] = key.read().map_err(Answer::later)?.into();
        let reply = self.http.post(&Request {
            url: base(&self.settings, URL)?,
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: event.to_string().into_bytes(),
        })?;
        Ok(reply.answer())
    }
}

fn event(envelope: &Envelope) -> Option<Value> {
    let incident = envelope.incident()?;
    let words = Words::of(envelope);
    let dedup_key = cut::characters(&incident.id, MAX_KEY);
    if envelope.is_closing() {
        return Some(json!({"event_action": "resolve", "dedup_key": dedup_key}));
    }
    let value = |(name, value): &(&str, String)| {
        (
            (*name).to_owned(),
            Value::from(cut::characters(value, MAX_VALUE)),
        )
    };
    let mut details: Map<String, Value> = words.facts.iter().map(value).collect();
    details.insert(
        "explanation".to_owned(),
        cut::characters(&words.text, MAX_VALUE).into(),
    );
    let summary = format!("{}: {}", words.title, words.text);
    let source = incident.entity.map(|entity| entity.to_string());
    let host = &incident.head.sensor.host_name;
    Some(json!({
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "client": "sensor",
        "payload": {
            "summary": cut::characters(&summary, MAX_SUMMARY),
            "severity": level(incident.severity),
            "source": source.as_ref().unwrap_or(host),
            "timestamp": incident.head.at.to_string(),
            "component": host,
            "class": incident.family,
            "custom_details": details,
        },
    }))
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low => "info",
    }
}
