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
            Answer::Accepted(_) => self.outcome(&collection, reply),
            answer => Ok(answer),
        }
    }

    fn headers(&self) -> Result<Vec<(String, String)>, Answer> {
        let own = ["Content-Type", "Accept"].map(|name| (name.to_owned(), MEDIA.to_owned()));
        let mut headers = own.to_vec();
        headers.extend(authorization(&self.settings, "Bearer").map_err(Answer::later)?);
        Ok(headers)
    }

    /// Result for the objects, asked for again while the server works on them. One that takes longer has
    /// taken them.
    fn outcome(&self, collection: &str, reply: Reply) -> Result<Answer, Answer> {
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
        Ok(judged(&status, &reply))
    }
}

fn judged(status: &Value, reply: &Reply) -> Answer {
    let failures = status["failures"].as_array().into_iter().flatten();
    // An object that is there already in this version is a success.
    let is_fault = |failure: &&Value| {
        let message = failure["message"].as_str().unwrap_or_default();
        !message.to_ascii_lowercase().contains("already")
    };
    let faults: Vec<String> = failures
        .filter(is_fault)
        .map(|failure| {
            let part = |name: &str| failure[name].as_str().unwrap_or_default();
            format!("{} {}", part("id"), part("message"))
        })
        .collect();
    if !faults.is_empty() {
        return Answer::Refused(cut::bytes(&faults.join("; "), MAX_TOLD));
    }
    match status["status"].as_str() {
        Some(word) => Answer::Accepted(format!(
            "HTTP {}: {word}, {} objects taken",
            reply.status, status["success_count"]
        )),
        None => Answer::Accepted(reply.told()),
    }
}
