//! IBM QRadar SOAR (Resilient): a case for each incident, with artifacts, and a comment for each further word
//! of it. SOAR has no key of ours: the case of each incident is kept beside the spool, and looked for
//! where it is not.

mod cases;

use std::path::Path;

use sensor_record::{Incident, Severity, State};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::http::{Http, Reply, Request, authorization, base};
use crate::settings::SinkSettings;
use crate::sink::Sink;
use crate::wording::Words;
use cases::{Case, Cases};

const MAX_NAME: usize = 120;
const MAX_TEXT: usize = 20_000;
/// Addresses of each side that become artifacts.
const MAX_ARTIFACTS: usize = 20;
const MS: u64 = 1_000_000;

struct Soar {
    settings: SinkSettings,
    http: Http,
    cases: Cases,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(Soar {
        settings: settings.clone(),
        http: Http::new(settings)?,
        cases: Cases::default(),
    }))
}

impl Sink for Soar {
    fn keep_in(&mut self, folder: &Path) -> Result<(), String> {
        self.cases = Cases::open(folder)?;
        Ok(())
    }

    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        let one = |envelope| self.tell(envelope).unwrap_or_else(|answer| answer);
        batch.iter().map(one).collect()
    }
}

/// Answers other than a success end the work on a record.
fn good(reply: Reply) -> Result<Reply, Answer> {
    match reply.answer() {
        Answer::Accepted(_) => Ok(reply),
        answer => Err(answer),
    }
}

impl Soar {
    fn tell(&mut self, envelope: &Envelope) -> Result<Answer, Answer> {
        let incident = envelope.incident();
        let incident = incident.ok_or_else(|| Answer::refused("no incident"))?;
        let words = Words::of(envelope);
        let known = match self.cases.get(&incident.id) {
            Some(case) => Some(case),
            None => self.look_for(incident)?,
        };
        let (case, told) = match known {
            None => {
                let case = self.create(incident, &words)?;
                (case, format!("case {} made", case.id))
            }
            Some(case) if incident.state == State::Opened => {
                (case, format!("case {} is there", case.id))
            }
            Some(case) => {
                let case = self.go_on(case, incident, &words)?;
                (case, format!("case {} commented", case.id))
            }
        };
        // Also of a case that was made and whose answer was lost.
        if incident.state != State::Updated {
            self.add_artifacts(case, incident)?;
        }
        match incident.state {
            State::Closed => self.cases.remove(&incident.id),
            State::Opened | State::Updated => self.cases.set(&incident.id, case),
        }
        .map_err(Answer::later)?;
        Ok(Answer::Accepted(told))
    }

    fn request(&self, path: &str, body: &Value) -> Result<Request, Answer> {
        let url = base(&self.settings, "")?;
        let organization = self.settings.organization.as_deref().unwrap_or_default();
        let json = "application/json".to_owned();
        let mut headers = vec![
            ("Content-Type".to_owned(), json.clone()),
            ("Accept".to_owned(), json),
        ];
        headers.extend(authorization(&self.settings, "Basic").map_err(Answer::later)?);
        Ok(Request {
            url: format!("{url}/rest/orgs/{organization}/{path}"),
            headers,
            body: body.to_string().into_bytes(),
        })
    }

    fn post(&self, path: &str, body: &Value) -> Result<Reply, Answer> {
        self.http.post(&self.request(path, body)?)
    }

    /// Asks for the case of an incident, which may have been made before its answer was lost.
    fn look_for(&self, incident: &Incident) -> Result<Option<Case>, Answer> {
        let condition = match &self.settings.id_field {
            Some(field) => json!({
                "field_name": format!("properties.{field}"),
                "method": "equals",
                "value": incident.id,
            }),
            None => json!({"field_name": "name", "method": "contains", "value": incident.id}),
        };
        let query = json!({
            "filters": [{"conditions": [condition]}],
            "start": 0,
            "length": 1,
        });
        let reply = good(self.post("incidents/query_paged?return_level=partial", &query)?)?;
        let found: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        let id = found["data"][0]["id"].as_u64();
        Ok(id.map(|id| Case {
            id,
            severity: incident.severity,
        }))
    }

    fn create(&mut self, incident: &Incident, words: &Words) -> Result<Case, Answer> {
        let title = cut::characters(&words.title, MAX_NAME);
        let mut case = json!({
            "name": format!("{title} [{}]", incident.id),
            "description": text(&words.lines()),
            "discovered_date": incident.head.at.0 / MS,
            "start_date": incident.start.0 / MS,
            "severity_code": {"name": severity(incident.severity)},
            "incident_type_ids": [],
        });
        if let Some(field) = &self.settings.id_field {
            case["properties"] = json!({field.as_str(): incident.id});
        }
        let reply = good(self.post("incidents", &case)?)?;
        let made: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        let Some(id) = made["id"].as_u64() else {
            return Err(Answer::later(format!(
                "no number of a case: {}",
                reply.told()
            )));
        };
        let case = Case {
            id,
            severity: incident.severity,
        };
        self.cases.set(&incident.id, case).map_err(Answer::later)?;
        Ok(case)
    }

    /// Comments on a case, whose severity follows upwards. Closing it is for people.
    fn go_on(&mut self, case: Case, incident: &Incident, words: &Words) -> Result<Case, Answer> {
        let path = format!("incidents/{}/comments", case.id);
        let reply = self.post(&path, &json!({"text": text(&words.lines())}))?;
        if reply.status == 404 {
            // Nothing else is to wait for it.
            self.cases.remove(&incident.id).map_err(Answer::later)?;
            return Err(Answer::refused(format!("case {} is gone", case.id)));
        }
        good(reply)?;
        if incident.severity <= case.severity {
            return Ok(case);
        }
        self.raise(case, incident.severity)?;
        Ok(Case {
            severity: incident.severity,
            ..case
        })
    }

    fn raise(&self, case: Case, to: Severity) -> Result<(), Answer> {
        let path = format!("incidents/{}", case.id);
        let reply = good(self.http.get(&self.request(&path, &Value::Null)?)?)?;
        let mut whole: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        if !whole.is_object() {
            return Err(Answer::later(format!("no case: {}", reply.told())));
        }
        whole["severity_code"] = json!({"name": severity(to)});
        let reply = self.http.put(&self.request(&path, &whole)?)?;
        // Somebody else changed it meanwhile: the next try reads it anew.
        match reply.status {
            409 => Err(reply.later()),
            _ => good(reply).map(|_| ()),
        }
    }

    fn add_artifacts(&self, case: Case, incident: &Incident) -> Result<(), Answer> {
        let path = format!("incidents/{}/artifacts", case.id);
        let sources = match incident.is_spoofed {
            true => &[],
            false => incident
                .sources
                .get(..MAX_ARTIFACTS)
                .unwrap_or(&incident.sources),
        };
        let victims = &incident.destinations;
        let victims = victims.get(..MAX_ARTIFACTS).unwrap_or(victims);
        for (addresses, what) in [(sources, "source"), (victims, "destination")] {
            for address in addresses {
                let artifact = json!({
                    "type": {"name": "IP Address"},
                    "value": address.to_string(),
                    "description": text(&format!("{what} of {}", incident.family)),
                });
                good(self.post(&path, &artifact)?)?;
            }
        }
        Ok(())
    }
}

fn text(words: &str) -> Value {
    json!({"format": "text", "content": cut::characters(words, MAX_TEXT)})
}

/// Severities that every organization has.
const fn severity(of: Severity) -> &'static str {
    match of {
        Severity::Low => "Low",
        Severity::Medium => "Medium",
        Severity::High | Severity::Critical => "High",
    }
}
