//! MISP: an event for each incident, its addresses as attributes, and sightings while it goes on (MISP
//! OpenAPI; identifiers are ours, so that what is sent again changes the same event).

use std::net::IpAddr;

use sensor_record::{Incident, Severity, State, Timestamp};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::http::{Http, Reply, Request, base};
use crate::settings::SinkSettings;
use crate::sink::Sink;
use crate::uuid::{SENSOR, v5};
use crate::wording::Words;

const MAX_INFO: usize = 1_000;
const MAX_TEXT: usize = 10_000;
const S: u64 = 1_000_000_000;

struct Misp {
    settings: SinkSettings,
    http: Http,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(Misp {
        settings: settings.clone(),
        http: Http::new(settings)?,
    }))
}

impl Sink for Misp {
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        let one = |envelope| self.tell(envelope).unwrap_or_else(|answer| answer);
        batch.iter().map(one).collect()
    }
}

impl Misp {
    fn tell(&self, envelope: &Envelope) -> Result<Answer, Answer> {
        let incident = envelope.incident();
        let incident = incident.ok_or_else(|| Answer::refused("no incident"))?;
        let event = json!({"Event": event(envelope, incident)});
        if incident.state == State::Opened {
            return Ok(answer(&self.post("/events/add", &event)?));
        }
        let path = format!("/events/edit/{}", event_id(incident));
        let mut reply = self.post(&path, &event)?;
        if reply.status == 404 {
            reply = self.post("/events/add", &event)?;
        }
        let told = answer(&reply);
        let is_seen_again = incident.state == State::Updated && !incident.is_spoofed;
        match told {
            Answer::Accepted(_) if is_seen_again && !incident.sources.is_empty() => {
                let seen = self.post("/sightings/add", &sighting(incident))?;
                Ok(answer(&seen))
            }
            told => Ok(told),
        }
    }

    fn post(&self, path: &str, body: &Value) -> Result<Reply, Answer> {
        let url = base(&self.settings, "")?;
        let token = self.settings.far.token.as_ref();
        let key = token.ok_or_else(|| Answer::later("token: missing"))?.read();
        let json = "application/json".to_owned();
        self.http.post(&Request {
            url: format!("{url}{path}"),
            headers: vec![
                // The key alone, without the name of a scheme.
                ("Authorization".to_owned(), key.map_err(Answer::later)?),
                ("Accept".to_owned(), json.clone()),
                ("Content-Type".to_owned(), json),
            ],
            body: body.to_string().into_bytes(),
        })
    }
}

/// MISP says 403 of what it can't save, as it does of a bad key; what it has already is no fault.
fn answer(reply: &Reply) -> Answer {
    let known = ["already exists", "not newer"];
    if known.iter().any(|words| reply.body.contains(words)) {
        return Answer::Accepted(reply.told());
    }
    let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    if reply.status == 403 && body["saved"] == false {
        return Answer::Refused(reply.told());
    }
    reply.answer()
}

fn event_id(incident: &Incident) -> String {
    v5(SENSOR, &format!("misp event {}", incident.id))
}

fn event(envelope: &Envelope, incident: &Incident) -> Value {
    let words = Words::of(envelope);
    let at = incident.head.at.0 / S;
    let attribute = |kind: &str, category: &str, name: &str, value: &str, is_sign: bool| {
        json!({
            "uuid": v5(SENSOR, &format!("misp attribute {} {kind} {name}", incident.id)),
            "type": kind, "category": category, "value": value,
            "to_ids": is_sign, "disable_correlation": false,
            "timestamp": at.to_string(),
        })
    };
    let mut attributes = vec![
        attribute("text", "Internal reference", "id", &incident.id, false),
        attribute(
            "comment",
            "Other",
            "words",
            &cut::characters(&words.lines(), MAX_TEXT),
            false,
        ),
    ];
    let sources = incident.sources.iter().filter(|_| !incident.is_spoofed);
    for source in sources {
        let text = source.to_string();
        let mut one = attribute(
            "ip-src",
            "Network activity",
            &text,
            &text,
            is_sign(incident, source),
        );
        one["first_seen"] = incident.start.to_string().into();
        one["last_seen"] = incident.end.max(incident.start).to_string().into();
        one["comment"] = words.title.as_str().into();
        attributes.push(one);
    }
    for destination in &incident.destinations {
        let text = destination.to_string();
        attributes.push(attribute("ip-dst", "Network activity", &text, &text, false));
    }
    json!({
        "uuid": event_id(incident),
        "info": cut::characters(&words.title, MAX_INFO),
        "date": day(incident.start),
        "timestamp": at.to_string(),
        "threat_level_id": level(incident.severity),
        // Under way, or complete.
        "analysis": if incident.state == State::Closed { "2" } else { "1" },
        // Own organisation only: whom to tell is for a person to say.
        "distribution": "0",
        "published": false,
        "Tag": [{"name": format!("mitre-attack:technique=\"{}\"", incident.technique)}],
        "Attribute": attributes,
    })
}

/// True of an address that others may act on: blamed on more than a shape, which may have been sent in its
/// name, and not of a private network.
fn is_sign(incident: &Incident, source: &IpAddr) -> bool {
    let is_proven = incident.grades.iter().any(|grade| grade != "shape");
    let is_public = match source {
        IpAddr::V4(v4) => !(v4.is_private() || v4.is_loopback() || v4.is_link_local()),
        IpAddr::V6(v6) => !(v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local()),
    };
    is_proven && is_public
}

fn sighting(incident: &Incident) -> Value {
    let sources: Vec<String> = incident.sources.iter().map(ToString::to_string).collect();
    json!({
        "values": sources,
        "type": "0",
        "source": incident.head.sensor.host_name,
        "timestamp": (incident.head.at.0 / S).to_string(),
    })
}

fn day(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(.."2026-01-02".len())
        .unwrap_or_default()
        .to_owned()
}

/// Level of a threat: 1 high to 3 low.
const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "1",
        Severity::Medium => "2",
        Severity::Low => "3",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_record::example;

    #[test]
    fn an_address_is_no_sign_by_a_shape_alone_or_inside() {
        let mut incident = example::incident();
        let public = "198.51.100.7".parse().unwrap();
        assert!(is_sign(&incident, &public));
        assert!(!is_sign(&incident, &"10.0.0.7".parse().unwrap()));
        assert!(!is_sign(&incident, &"fd00::7".parse().unwrap()));
        incident.grades = vec!["shape".into()];
        assert!(!is_sign(&incident, &public));
    }
}
