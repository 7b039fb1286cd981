//! Opsgenie's alert API, which Jira Service Management has as well: alerts by alias, created and closed.

use sensor_record::Severity;
use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::http::{Http, Request, authorization, base};
use crate::settings::SinkSettings;
use crate::sink::Sink;
use crate::wording::Words;

const URL: &str = "https://api.atlassian.com/jsm/ops/integration/v2/alerts";
/// Characters of the fields.
const MAX_MESSAGE: usize = 130;
const MAX_ALIAS: usize = 512;
const MAX_DESCRIPTION: usize = 15_000;
const MAX_TAG: usize = 50;
const MAX_ENTITY: usize = 512;
const MAX_SOURCE: usize = 100;
/// Characters of all details together are 8,000.
const MAX_DETAIL: usize = 500;

struct Opsgenie {
    settings: SinkSettings,
    http: Http,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(Opsgenie {
        settings: settings.clone(),
        http: Http::new(settings)?,
    }))
}

impl Sink for Opsgenie {
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        batch
            .iter()
            .map(|envelope| self.post(envelope).unwrap_or_else(|answer| answer))
            .collect()
    }
}

impl Opsgenie {
    fn post(&self, envelope: &Envelope) -> Result<Answer, Answer> {
        let incident = envelope
            .incident()
            .ok_or_else(|| Answer::refused("no incident"))?;
        let alias = cut::characters(&incident.id, MAX_ALIAS);
        let url = base(&self.settings, URL)?;
        let (url, body) = if envelope.is_closing() {
            let source = cut::characters(&incident.head.sensor.host_name, MAX_SOURCE);
            let body = json!({"source": source, "note": "the sensor sees no more of it"});
            (format!("{url}/{alias}/close?identifierType=alias"), body)
        } else {
            (url, alert(envelope, &alias))
        };
        let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        headers.extend(authorization(&self.settings, "GenieKey").map_err(Answer::later)?);
        let reply = self.http.post(&Request {
            url,
            headers,
            body: body.to_string().into_bytes(),
        })?;
        Ok(reply.answer())
    }
}

/// An alert. While one of the same alias is open, it is only counted there.
fn alert(envelope: &Envelope, alias: &str) -> Value {
    let words = Words::of(envelope);
    let detail = |(name, value): &(&str, String)| {
        (
            (*name).to_owned(),
            Value::from(cut::characters(value, MAX_DETAIL)),
        )
    };
    let details: Map<String, Value> = words.facts.iter().map(detail).collect();
    let mut alert = json!({
        "message": cut::characters(&words.title, MAX_MESSAGE),
        "alias": alias,
        "description": cut::characters(&words.text, MAX_DESCRIPTION),
        "details": details,
        "source": cut::characters(&envelope.record.head().sensor.host_name, MAX_SOURCE),
    });
    if let Some(incident) = envelope.incident() {
        let tags = [incident.family.as_ref(), incident.technique.as_ref()];
        alert["tags"] = tags
            .map(|tag| cut::characters(tag, MAX_TAG))
            .to_vec()
            .into();
        alert["priority"] = priority(incident.severity).into();
        if let Some(entity) = incident.entity {
            alert["entity"] = cut::characters(&entity.to_string(), MAX_ENTITY).into();
        }
    }
    alert
}

const fn priority(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "P1",
        Severity::High => "P2",
        Severity::Medium => "P3",
        Severity::Low => "P4",
    }
}
