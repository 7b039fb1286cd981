//! TAXII 2.1 (OASIS): an incident's STIX objects into a collection, with the answer for each object.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::http::{Http, Reply, Request, authorization, base};
use crate::settings::SinkSettings;
use crate::shapes::stix_bundle;
use crate::sink::Sink;

const MEDIA: &str = "application/taxii+json;version=2.1";
/// Questions about objects that the server is not done with, and the time between them.
const MAX_QUESTIONS: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(50);
const MAX_TOLD: usize = 512;

struct Taxii {
    settings: SinkSettings,
    http: Http,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(Taxii {
        settings: settings.clone(),
        http: Http::new(settings)?,
    }))
}

impl Sink for Taxii {
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        let one = |envelope| self.add(envelope).unwrap_or_else(|answer| answer);
        batch.iter().map(one).collect()
    }
}

impl Taxii {
    fn add(&self, envelope: &Envelope) -> Result<Answer, Answer> {
        let incident = envelope.incident();
        let incident = incident.ok_or_else(|| Answer::refused("no incident"))?;
        let collection = base(&self.settings, "")?;
        let objects = &stix_bundle(incident)["objects"];
        let reply = self.http.post(&Request {
            url: format!("{collection}/objects/"),
            headers: self.headers()?,
            body: json!({"objects": objects}).to_string().into_bytes(),
        })?;
        match reply.answer() {
            Answer::Accepted(_) => {
                let status = self.outcome(&collection, &reply)?;
                self.judge(&collection, &status, objects, &reply)
            }
            answer => Ok(answer),
        }
    }

    /// Judges by the objects that failed. One that the collection holds in this version is a success: servers
    /// say of it that it could not be processed.
    fn judge(
        &self,
        collection: &str,
        status: &Value,
        objects: &Value,
        reply: &Reply,
    ) -> Result<Answer, Answer> {
        let failures = status["failures"].as_array().into_iter().flatten();
        let mut faults = Vec::new();
        for failure in failures {
            let part = |name: &str| failure[name].as_str().unwrap_or_default();
            let id = part("id");
            let mut sent = objects.as_array().into_iter().flatten();
            let sent = sent.find(|one| one["id"] == id);
            let is_there = match sent {
                // One that is no longer worth a question fails all.
                Some(sent) if faults.is_empty() => self.holds(collection, id, sent)?,
                _ => false,
            };
            if !is_there {
                faults.push(format!("{id} {}", part("message")));
            }
        }
        if !faults.is_empty() {
            return Ok(Answer::Refused(cut::bytes(&faults.join("; "), MAX_TOLD)));
        }
        Ok(Answer::Accepted(match status["status"].as_str() {
            Some(word) => format!("HTTP {}: {word}", reply.status),
            None => reply.told(),
        }))
    }

    /// Asks whether an object is there in the version that was sent.
    fn holds(&self, collection: &str, id: &str, sent: &Value) -> Result<bool, Answer> {
        let asked = self.http.get(&Request {
            url: format!("{collection}/objects/{id}/"),
            headers: self.headers()?,
            body: Vec::new(),
        })?;
        let found: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        let mut all = found["objects"].as_array().into_iter().flatten();
        Ok(asked.status == 200
            && all.any(|one| one["id"] == id && one["modified"] == sent["modified"]))
    }

    fn headers(&self) -> Result<Vec<(String, String)>, Answer> {
        let own = ["Content-Type", "Accept"].map(|name| (name.to_owned(), MEDIA.to_owned()));
        let mut headers = own.to_vec();
        headers.extend(authorization(&self.settings, "Bearer").map_err(Answer::later)?);
        Ok(headers)
    }

    /// Result for the objects, asked for again while the server works on them. One that takes longer has
    /// taken them.
    fn outcome(&self, collection: &str, reply: &Reply) -> Result<Value, Answer> {
        let mut status: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        let root = collection.split("/collections/").next().unwrap_or_default();
        for _ in 0..MAX_QUESTIONS {
            let Some(id) = status["id"]
                .as_str()
                .filter(|_| status["status"] == "pending")
            else {
                break;
            };
            thread::sleep(BETWEEN);
            let asked = self.http.get(&Request {
                url: format!("{root}/status/{id}/"),
                headers: self.headers()?,
                body: Vec::new(),
            })?;
            match asked.answer() {
                Answer::Accepted(_) => {
                    status = serde_json::from_str(&asked.body).unwrap_or_default();
                }
                // It forgets, or does not tell: the objects were taken all the same.
                _ => break,
            }
        }
        Ok(status)
    }
}
