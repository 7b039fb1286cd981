//! Alerts of a machine at a CrowdSec local API (its swagger, `POST /v1/alerts`).
//!
//! Decisions go along for what was dropped or quarantined, so that the bouncers of other hosts can follow
//! it; a limit, or what was only counted, never does: a bouncer knows nothing between all and nothing.

use sensor_record::{Action, Decision, Outcome, Record};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::http::{Http, Reply, Request, base};
use crate::settings::SinkSettings;
use crate::sink::Sink;
use crate::wording::Words;

/// Longest message that is sent.
const MAX_MESSAGE: usize = 1_000;

struct CrowdSec {
    settings: SinkSettings,
    http: Http,
    /// Of the last login; it holds for an hour.
    token: Option<String>,
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(CrowdSec {
        settings: settings.clone(),
        http: Http::new(settings)?,
        token: None,
    }))
}

impl Sink for CrowdSec {
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        batch
            .iter()
            .map(|envelope| self.tell(envelope).unwrap_or_else(|answer| answer))
            .collect()
    }
}

impl CrowdSec {
    fn tell(&mut self, envelope: &Envelope) -> Result<Answer, Answer> {
        let alerts = json!([alert(envelope)]);
        let mut reply = self.post_alerts(&alerts)?;
        // The login has expired, or the machine was made anew.
        if reply.status == 401 {
            self.token = None;
            reply = self.post_alerts(&alerts)?;
        }
        Ok(reply.answer())
    }

    fn post_alerts(&mut self, alerts: &Value) -> Result<Reply, Answer> {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => self.log_in()?,
        };
        let reply = self.post("/v1/alerts", alerts, Some(&token))?;
        self.token = Some(token);
        Ok(reply)
    }

    fn log_in(&self) -> Result<String, Answer> {
        let password = self.settings.far.token.as_ref().map(|token| token.read());
        let password = password.transpose().map_err(Answer::later)?;
        let body = json!({
            "machine_id": self.settings.user,
            "password": password,
            "scenarios": [],
        });
        let reply = self.post("/v1/watchers/login", &body, None)?;
        if !(200..300).contains(&reply.status) {
            // A machine that is not let in is for a person to mend: the record is not to blame.
            return Err(reply.later());
        }
        let login: Result<Login, _> = serde_json::from_str(&reply.body);
        let login = login.map_err(|_| Answer::later("no login of a CrowdSec local API"))?;
        Ok(login.token)
    }

    fn post(&self, path: &str, body: &Value, token: Option<&str>) -> Result<Reply, Answer> {
        let url = base(&self.settings, "")?;
        let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        headers.extend(token.map(|token| ("Authorization".to_owned(), format!("Bearer {token}"))));
        self.http.post(&Request {
            url: format!("{url}{path}"),
            headers,
            body: body.to_string().into_bytes(),
        })
    }
}

fn alert(envelope: &Envelope) -> Value {
    let words = Words::of(envelope);
    let record = &envelope.record;
    let head = record.head();
    let (family, begin, source) = match record {
        Record::Incident(incident) => {
            let source = incident.sources.first().map(ToString::to_string);
            (&*incident.family, incident.start, source)
        }
        Record::Decision(decision) => {
            let (_, value) = scope_of(decision);
            ("decision", head.at, Some(value))
        }
        _ => ("sensor", head.at, None),
    };
    let state = envelope.incident().map(|incident| incident.state.label());
    let scenario = format!("sensor/{family}");
    let value = source.unwrap_or_default();
    let message = match state {
        Some(state) => format!("{state}: {}: {}", words.title, words.text),
        None => format!("{}: {}", words.title, words.text),
    };
    let decisions: Vec<Value> = match record {
        Record::Decision(decision) => ban(decision, &scenario).into_iter().collect(),
        _ => Vec::new(),
    };
    json!({
        "uuid": envelope.key(),
        "scenario": scenario,
        "scenario_hash": "",
        "scenario_version": env!("CARGO_PKG_VERSION"),
        "message": cut::characters(&message, MAX_MESSAGE),
        "events_count": 1,
        "events": [],
        "capacity": 0,
        "leakspeed": "0s",
        "simulated": false,
        "start_at": begin.to_string(),
        "stop_at": head.at.to_string(),
        "labels": [envelope.incident_id().unwrap_or_default(), state.unwrap_or("decision")],
        "source": {"scope": scope_word(&value), "value": value, "ip": value},
        "decisions": decisions,
    })
}

/// Decision for the bouncers, of what this sensor itself drops or quarantines.
fn ban(decision: &Decision, scenario: &str) -> Option<Value> {
    let is_held = matches!(decision.action, Action::Drop | Action::Quarantine);
    if decision.outcome != Outcome::Applied || !is_held {
        return None;
    }
    let (scope, value) = scope_of(decision);
    Some(json!({
        "origin": ORIGIN,
        "type": "ban",
        "scope": scope,
        "value": value,
        "duration": format!("{}s", decision.ttl_s),
        "scenario": scenario,
    }))
}

/// Origin of the sensor's decisions at CrowdSec. Sensors don't follow those of this origin: what one of
/// them decided on its own evidence is no proof for another.
pub const ORIGIN: &str = "sensor";

fn scope_of(decision: &Decision) -> (&'static str, String) {
    let target = decision.target.0;
    if target.prefix_len() == target.max_prefix_len() {
        ("Ip", target.addr().to_string())
    } else {
        ("Range", target.to_string())
    }
}

fn scope_word(value: &str) -> &'static str {
    if value.contains('/') { "Range" } else { "Ip" }
}
